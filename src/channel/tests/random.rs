//! Any sequence of joins, opens, messages, stalls, closes and leaves: exactly once, in order, within the bounds, and no account
//! that does not add up (checked after each step by `World::settle`).

use proptest::prelude::*;

use super::*;

const FRAMINGS: [Framing; 6] =
    [Framing::Plain, Framing::Free, Framing::OwnChannels, Framing::Json, Framing::BinaryPack, Framing::None];

#[derive(Clone, Debug)]
enum Step {
    Join { member: u8, hears_text: bool, may_read: bool, store: bool },
    Leave { member: u8 },
    Open { owner: u8, stands: u8, framing: usize, up: bool },
    Up { at: usize },
    Close { at: usize },
    Say { member: u8, to: Option<u8> },
    Text { at: usize },
    Bytes { at: usize, bytes: Vec<u8> },
    Header { at: usize, n: u8 },
    Slice { at: usize, len: usize },
    Stall { at: usize },
    Drain { at: usize },
    Refuse { at: usize, max: Option<usize> },
    Pass { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let at = || any::<prop::sample::Index>().prop_map(|index| index.index(64));
    prop_oneof![
        3 => (0..5_u8, any::<bool>(), prop::bool::weighted(0.9), prop::bool::weighted(0.3))
            .prop_map(|(member, hears_text, may_read, store)| Step::Join { member, hears_text, may_read, store }),
        1 => (0..5_u8).prop_map(|member| Step::Leave { member }),
        6 => (0..5_u8, 0..7_u8, 0..6_usize, prop::bool::weighted(0.8))
            .prop_map(|(owner, stands, framing, up)| Step::Open { owner, stands, framing, up }),
        2 => at().prop_map(|at| Step::Up { at }),
        1 => at().prop_map(|at| Step::Close { at }),
        3 => (0..5_u8, prop::option::of(0..5_u8)).prop_map(|(member, to)| Step::Say { member, to }),
        8 => at().prop_map(|at| Step::Text { at }),
        3 => (at(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(at, bytes)| Step::Bytes { at, bytes }),
        3 => (at(), 0..4_u8).prop_map(|(at, n)| Step::Header { at, n }),
        8 => (at(), 0..200_000_usize).prop_map(|(at, len)| Step::Slice { at, len }),
        2 => at().prop_map(|at| Step::Stall { at }),
        3 => at().prop_map(|at| Step::Drain { at }),
        1 => (at(), prop::option::of(1..100_000_usize)).prop_map(|(at, max)| Step::Refuse { at, max }),
        3 => (0..8000_u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

/// Runs steps and keeps who was heard where: the numbered texts that each receiver got of each sender.
struct Run {
    world: World,
    framing: BTreeMap<PeerId, Framing>,
    /// Per sender the last number it said.
    said: u64,
    /// Per receiver and sender the numbers heard, in the order of arrival, over all ways.
    heard: BTreeMap<(MemberId, MemberId), Vec<u64>>,
}

impl Run {
    fn new() -> Self {
        let clips =
            ClipsConfig { max_clip_bytes: 400_000, max_memory_bytes: 1 << 20, max_disk_bytes: 1 << 20, ..Default::default() };
        Self { world: World::with(clips, RpcConfig::default()), framing: BTreeMap::new(), said: 0, heard: BTreeMap::new() }
    }

    fn peer(&self, at: usize) -> Option<PeerId> {
        let peers: Vec<PeerId> = self.world.far.keys().copied().collect();
        (!peers.is_empty()).then(|| peers[at % peers.len()])
    }

    /// The next numbered text of a sender.
    fn number(&mut self, from: MemberId) -> String {
        self.said += 1;
        format!("n {} {}", from.0[0], self.said)
    }

    fn apply(&mut self, step: Step) {
        let id = |n: u8| MemberId([n + 1; 16]);
        match step {
            Step::Join { member, hears_text, may_read, store } => {
                let clips = if store { ClipUse::Store } else { ClipUse::Relay };
                self.world.join(id(member), Seat { hears_text, may_read, clips, ..seat() });
            }
            Step::Leave { member } => self.world.leave(id(member)),
            Step::Open { owner, stands, framing, up } => {
                let stands = match stands {
                    5 => Stands::Room,
                    6 => Stands::Gateway,
                    member => Stands::Member(id(member)),
                };
                let (peer, is) = (PeerId::next(), connection(id(owner), stands, FRAMINGS[framing]));
                if self.world.desk.open(peer, is).is_ok() {
                    self.world.owners.insert(peer, id(owner));
                    self.framing.insert(peer, FRAMINGS[framing]);
                    self.world.settle();
                    if up {
                        self.world.channel_up(peer);
                    }
                }
            }
            Step::Up { at } => {
                let down: Vec<PeerId> = self.framing.keys().filter(|peer| !self.world.far.contains_key(peer)).copied().collect();
                let gone = |peer: &PeerId| self.world.left.contains(&self.world.owners[peer]);
                if let Some(peer) = down.get(at % down.len().max(1)).filter(|peer| !gone(peer)).copied()
                    && self.world.desk.check_open(peer)
                {
                    self.world.channel_up(peer);
                }
            }
            Step::Say { member, to } => {
                let text = self.number(id(member));
                self.world.desk.say(self.world.now, id(member), to.map(id), text);
                self.world.settle();
            }
            Step::Pass { millis } => self.world.pass(Duration::from_millis(millis)),
            Step::Close { at } => self.on(at, |world, peer| world.close(peer)),
            Step::Stall { at } => self.on(at, |world, peer| world.far.get_mut(&peer).unwrap().stalled = true),
            Step::Drain { at } => self.on(at, World::drain),
            Step::Bytes { at, bytes } => self.on(at, |world, peer| world.send(peer, binary(bytes))),
            Step::Header { at, n } => {
                self.on(at, |world, peer| world.send(peer, text(&format!(r#"{{"userId":"u","startTime":{n}}}"#))));
            }
            Step::Slice { at, len } => self.on(at, |world, peer| world.send(peer, binary(vec![b'x'; len]))),
            Step::Refuse { at, max } => self.on(at, |world, peer| {
                let channel = world.far[&peer].channel;
                world.event(peer, ChannelEvent::Refused { channel, max_message: max });
            }),
            Step::Text { at } => {
                let Some(peer) = self.peer(at) else { return };
                let said = self.number(self.world.owners[&peer]);
                let message = match self.framing[&peer] {
                    Framing::Json => binary(format!("\"{said}\"")),
                    Framing::BinaryPack => {
                        let packed = super::super::value::binarypack::encode(&super::super::value::Value::Text(said));
                        DataMessage::Binary(packed)
                    }
                    _ => text(&said),
                };
                self.world.send(peer, message);
            }
        }
        self.collect();
    }

    fn on(&mut self, at: usize, what: impl FnOnce(&mut World, PeerId)) {
        if let Some(peer) = self.peer(at) {
            what(&mut self.world, peer);
        }
    }

    /// Notes what was heard; a message of any framing shows its numbered text.
    fn collect(&mut self) {
        let mut new = Vec::new();
        for (peer, far) in &mut self.world.far {
            let owner = self.world.owners[peer];
            for message in std::mem::take(&mut far.heard) {
                assert!(message.len() <= Desk::MAX_QUEUED_EACH);
                new.extend(numbered(&String::from_utf8_lossy(message.bytes())).map(|said| (owner, said)));
            }
        }
        new.extend(self.world.told().into_iter().filter_map(|(to, _, text)| Some((to, numbered(&text)?))));
        for (to, (from, number)) in new {
            self.heard.entry((to, from)).or_default().push(number);
        }
    }
}

/// `n SENDER NUMBER` within whatever stands around it.
fn numbered(text: &str) -> Option<(MemberId, u64)> {
    let mut words = text[text.find("n ")? + 2..].split(|c: char| !c.is_ascii_digit());
    Some((MemberId([words.next()?.parse().ok()?; 16]), words.next()?.parse().ok()?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_heard_twice_and_memory_is_bounded(steps in proptest::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for member in 0..5 {
            run.apply(Step::Join { member, hears_text: member == 0, may_read: true, store: false });
        }
        steps.into_iter().for_each(|step| run.apply(step));
        for ((to, from), numbers) in &run.heard {
            let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
            prop_assert_eq!(distinct.len(), numbers.len(), "{} heard {} twice: {:?}", to, from, numbers);
            prop_assert_ne!(to, from);
        }
        (0..5).for_each(|member| run.apply(Step::Leave { member }));
        prop_assert_eq!(run.world.desk.held(), (0, 0, 0));
        prop_assert!(run.world.disk.is_empty());
    }

    /// Connections that stay, stalls that end: each receiver hears all, in order.
    #[test]
    fn everything_is_heard_in_order_where_nothing_is_lost(
        framings in prop::array::uniform4(0..5_usize),
        steps in proptest::collection::vec(prop_oneof![
            8 => (0..64_usize).prop_map(|at| Step::Text { at }),
            2 => (0..64_usize).prop_map(|at| Step::Stall { at }),
            2 => (0..64_usize).prop_map(|at| Step::Drain { at }),
            1 => (0..300_u64).prop_map(|millis| Step::Pass { millis }),
        ], 1..150),
    ) {
        let mut run = Run::new();
        (0..4).for_each(|member| run.apply(Step::Join { member, hears_text: false, may_read: true, store: false }));
        for (owner, framing) in framings.into_iter().enumerate() {
            run.apply(Step::Open { owner: owner as u8, stands: 5, framing, up: true });
        }
        steps.into_iter().for_each(|step| run.apply(step));
        for _ in 0..3 {
            (0..4).for_each(|at| run.apply(Step::Drain { at }));
        }
        let mut said: BTreeMap<MemberId, BTreeSet<u64>> = BTreeMap::new();
        for ((_, from), numbers) in &run.heard {
            prop_assert!(numbers.is_sorted());
            said.entry(*from).or_default().extend(numbers);
        }
        let total: usize = said.values().map(BTreeSet::len).sum();
        prop_assert_eq!(total as u64, run.said, "each message was heard");
        for ((_, from), numbers) in &run.heard {
            prop_assert_eq!(numbers.len(), said[from].len(), "by everyone");
        }
    }

    /// One recording on several connections at different speeds is one recording.
    #[test]
    fn a_recording_by_any_interleaving_of_connections_is_heard_once(
        lens in proptest::collection::vec(1..40_000_usize, 1..30),
        order in proptest::collection::vec(0..3_usize, 0..120),
        late in 0..60_usize,
    ) {
        let mut world = World::new();
        [A, B, C].into_iter().for_each(|member| world.join(member, seat()));
        let out = [B, C, C].map(|other| world.open(A, Stands::Member(other), Framing::Plain));
        let b = world.open(B, Stands::Member(A), Framing::Plain);
        let mut c = None;
        let recorded: Vec<DataMessage> = std::iter::once(text(HEADER))
            .chain(lens.iter().enumerate().map(|(n, len)| binary(vec![n as u8; *len])))
            .collect();
        let mut at = [0; 3];
        let all = order.into_iter().chain((0..3).flat_map(|peer| std::iter::repeat_n(peer, recorded.len())));
        for (n, peer) in all.enumerate() {
            if n == late {
                c = Some(world.open(C, Stands::Member(A), Framing::Plain));
            }
            if let Some(message) = recorded.get(at[peer]) {
                world.send(out[peer], message.clone());
                at[peer] += 1;
                world.pass(Duration::from_millis(10));
            }
        }
        world.pass(Duration::from_millis(500));
        let sound: Vec<u8> = recorded[1..].iter().flat_map(|slice| slice.bytes().to_vec()).collect();
        for peer in [Some(b), c].into_iter().flatten() {
            let heard = world.heard(peer);
            prop_assert_eq!(&heard[0], &recorded[0]);
            let bytes: Vec<u8> = heard[1..].iter().flat_map(|slice| slice.bytes().to_vec()).collect();
            prop_assert!(bytes == sound);
        }
    }
}
