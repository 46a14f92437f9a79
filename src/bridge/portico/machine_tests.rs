//! Two machines and a room for each, in simulated time: whatever happens in either room is in the other in the end, once, and nothing comes back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::bridge::far::Machine as _;
use crate::bridge::status::StateWord;
use crate::room::{Effect, Facts, LINK, PeerUpdate, Purpose, Rooms, RoomsConfig, TrackView};
use crate::vocab::{LaneTrack, MediaKind, SessionId, TrackFormat, TrackId};

const A_SECOND: Duration = Duration::from_secs(1);

/// One gateway: its rooms, its end of the link, and a peer that is always up at once.
struct Side {
    rooms: Rooms,
    links: Arc<Links>,
    machine: Option<Machine>,
    sessions: BTreeMap<Guest, SessionId>,
    guests: BTreeMap<SessionId, Guest>,
    /// Members that live here, by number.
    locals: BTreeMap<u8, SessionId>,
    /// What they heard: who, what.
    heard: BTreeMap<SessionId, Vec<(String, String)>>,
    out: VecDeque<String>,
    /// What the brought ones are told: their sessions are read later than the bridge's own.
    late: VecDeque<(Guest, Notice)>,
    hung_up: bool,
    dials: usize,
    lanes: u32,
}

fn room() -> RoomId {
    RoomId::new("r").unwrap()
}

impl Side {
    fn new() -> Self {
        Self {
            rooms: Rooms::new(RoomsConfig::default(), Vec::new()),
            links: Arc::new(Links::new()),
            machine: None,
            sessions: BTreeMap::new(),
            guests: BTreeMap::new(),
            locals: BTreeMap::new(),
            heard: BTreeMap::new(),
            out: VecDeque::new(),
            late: VecDeque::new(),
            hung_up: false,
            dials: 0,
            lanes: 0,
        }
    }

    fn begin(&mut self, now: Instant, role: Role) {
        let plan = Plan { name: "way".into(), room: room(), role, links: Arc::clone(&self.links) };
        (self.hung_up, self.machine) = (false, Some(Machine::new(now, plan, 7)));
    }

    /// Somebody who lives here comes.
    fn come(&mut self, now: Instant, who: u8) {
        if self.locals.contains_key(&who) {
            return;
        }
        let session = SessionId::next();
        self.locals.insert(who, session);
        self.rooms.open_session(now, session);
        let facts = Facts { name: Some(format!("n{who}")), ..Facts::default() };
        let joining = crate::room::Joining { dialect: DialectName::Page, ..far::joining(&room(), &format!("u{who}"), facts) };
        self.rooms.handle(now, session, RequestId::next(), Command::Join(Box::new(joining)));
    }

    fn ask(&mut self, now: Instant, who: u8, command: Command) {
        if let Some(session) = self.locals.get(&who) {
            self.rooms.handle(now, *session, RequestId::next(), command);
        }
    }

    fn publish(&mut self, now: Instant, who: u8) {
        let stream = StreamName::new("main").unwrap();
        self.ask(now, who, Command::Publish { peer: PeerId::next(), stream, offer: Some(Sdp::offer("o")) });
    }

    fn leave(&mut self, now: Instant, who: u8) {
        self.ask(now, who, Command::Leave);
        self.locals.remove(&who);
    }

    /// Carries out what room and machine want, until neither wants anything.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut busy = false;
            while let Some(output) = self.machine.as_mut().and_then(|machine| machine.poll_output()) {
                busy = true;
                match output {
                    Output::Enter(guest, req, joining) => {
                        let session = SessionId::next();
                        self.sessions.insert(guest, session);
                        self.guests.insert(session, guest);
                        self.rooms.open_session(now, session);
                        self.rooms.handle(now, session, req, Command::Join(joining));
                    }
                    Output::Ask(guest, req, command) => {
                        if let Some(session) = self.sessions.get(&guest) {
                            self.rooms.handle(now, *session, req, *command);
                        }
                    }
                    Output::Release(guest) => {
                        if let Some(session) = self.sessions.remove(&guest) {
                            self.guests.remove(&session);
                            self.rooms.handle(now, session, RequestId::next(), Command::Lost);
                        }
                    }
                    Output::Dial => self.dials += 1,
                    Output::Send(text) => self.out.push_back(text),
                    Output::HangUp => self.hung_up = true,
                }
            }
            while let Some(effect) = self.rooms.poll_effect() {
                busy = true;
                self.rooms.check_invariants();
                self.carry_out(now, effect);
            }
            if !busy {
                return;
            }
        }
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        let track = |format: TrackFormat| TrackView { track: TrackId::next(), kind: MediaKind::Video, format };
        match effect {
            Effect::Notify(session, notice) => match self.guests.get(&session) {
                Some(guest) if *guest != OWN => self.late.push_back((*guest, notice)),
                Some(guest) => {
                    let guest = *guest;
                    if let Some(machine) = &mut self.machine {
                        machine.handle_notice(now, guest, &notice);
                    }
                }
                None => {
                    if let Notice::Said { from, text } = notice {
                        self.heard.entry(session).or_default().push((from.facts.name.unwrap_or_default(), text));
                    }
                }
            },
            Effect::OpenPeer(open) => {
                let peer = open.peer;
                match (&open.via, &open.purpose) {
                    (Some(via), Purpose::Ingest { .. }) => {
                        let tracks = via.tracks.iter().map(|it| track(it.format.clone())).collect();
                        self.rooms.handle_peer(now, PeerUpdate::Tracks { peer, tracks });
                        self.rooms.handle_peer(now, PeerUpdate::Lane { peer, tracks: Vec::new() });
                    }
                    (Some(_), _) => {
                        self.lanes += 1;
                        let format = TrackFormat::h264_baseline();
                        let tracks = vec![LaneTrack { ssrc: self.lanes, payload_type: 117, repair: None, format }];
                        self.rooms.handle_peer(now, PeerUpdate::Lane { peer, tracks });
                    }
                    (None, Purpose::Trunk) => {
                        let sdp = if open.offer.is_some() { Sdp::answer("answer") } else { Sdp::offer("offer") };
                        self.rooms.handle_peer(now, PeerUpdate::Described { peer, sdp });
                        if open.offer.is_some() {
                            self.rooms.handle_peer(now, PeerUpdate::Up { peer });
                        }
                    }
                    (None, _) => {
                        self.rooms
                            .handle_peer(now, PeerUpdate::Tracks { peer, tracks: vec![track(TrackFormat::h264_baseline())] });
                        self.rooms.handle_peer(now, PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
                        self.rooms.handle_peer(now, PeerUpdate::Up { peer });
                    }
                }
            }
            Effect::DescribePeer { peer, .. } => self.rooms.handle_peer(now, PeerUpdate::Up { peer }),
            Effect::Say { from, to, text, .. } => {
                // whoever hears words by signalling
                let hearers: Vec<MemberId> =
                    self.rooms.rooms().iter().flat_map(|room| room.members.iter().map(|m| m.view.member)).collect();
                for hearer in hearers.into_iter().filter(|hearer| *hearer != from && to.is_none_or(|to| to == *hearer)) {
                    self.rooms.told(now, from, hearer, text.clone());
                }
            }
            _ => {}
        }
    }

    /// Who is in the room, with their streams: those that live here, and those that were brought.
    fn seen(&self) -> BTreeSet<(String, Vec<String>)> {
        let rooms = self.rooms.rooms();
        let members = rooms.iter().flat_map(|room| &room.members).map(|member| &member.view);
        let people = members.filter(|view| view.facts.platform.as_deref() != Some(LINK));
        let mut seen = BTreeSet::new();
        for view in people {
            let streams = view.streams.iter().map(|stream| stream.name.to_string()).collect();
            let new = seen.insert((view.facts.name.clone().unwrap_or_default(), streams));
            assert!(new, "nobody is there twice: {:?}", self.rooms.rooms());
        }
        seen
    }

    fn state(&self) -> StateWord {
        self.machine.as_ref().map_or(StateWord::Off, |machine| machine.standing().state)
    }
}

/// Two gateways; `a` dials.
struct World {
    now: Instant,
    a: Side,
    b: Side,
    /// The websocket is there.
    wired: bool,
    /// It can be made.
    reachable: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let (mut a, b) = (Side::new(), Side::new());
        a.begin(now, Role::Dial { remote_room: room(), judge: Arc::new(|_| Ok(())) });
        let mut world = Self { now, a, b, wired: false, reachable: true };
        world.run();
        world
    }

    /// Everything that happens without time going on.
    fn run(&mut self) {
        let now = self.now;
        loop {
            self.a.settle(now);
            self.b.settle(now);
            if self.b.machine.as_ref().is_some_and(|machine| machine.is_over()) {
                self.b.machine = None;
            }
            if std::mem::take(&mut self.a.dials) > 0 {
                self.a.hung_up = false;
                let Some(machine) = &mut self.a.machine else { continue };
                match self.reachable {
                    true => machine.handle_dialled(now, Ok(None)),
                    false => machine.handle_dialled(now, Err(Fault::new("unreachable", "nobody there", Pace::Usual))),
                }
                self.wired = self.reachable;
                continue;
            }
            if self.wired {
                if let Some(text) = self.a.out.pop_front() {
                    match (&mut self.b.machine, serde_json::from_str(&text)) {
                        (Some(machine), _) => machine.handle_text(now, &text),
                        (None, Ok(Message::Hello(hello))) => {
                            self.b.begin(now, Role::Answer { hello, token: None, expires: None })
                        }
                        // it has ended before this came
                        (None, _) => {}
                    }
                    continue;
                }
                if let Some(text) = self.b.out.pop_front() {
                    if let Some(machine) = &mut self.a.machine {
                        machine.handle_text(now, &text);
                    }
                    continue;
                }
            }
            if self.wired && (self.a.hung_up || self.b.hung_up || self.b.machine.is_none()) {
                self.cut();
                continue;
            }
            self.a.out.clear();
            self.b.out.clear();
            let mut later = false;
            for side in [&mut self.a, &mut self.b] {
                if let Some((guest, notice)) = side.late.pop_front() {
                    later = true;
                    if let Some(machine) = side.machine.as_mut().filter(|_| side.sessions.contains_key(&guest)) {
                        machine.handle_notice(now, guest, &notice);
                    }
                }
            }
            if !later {
                return;
            }
        }
    }

    fn cut(&mut self) {
        if std::mem::take(&mut self.wired) {
            let gone = || Fault::new("lost", "the connection was lost", Pace::Usual);
            for side in [&mut self.a, &mut self.b] {
                side.out.clear();
                if let Some(machine) = &mut side.machine {
                    machine.handle_closed(self.now, gone());
                }
                side.hung_up = false;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let next = [&self.a, &self.b].iter().filter_map(|side| side.machine.as_ref()?.next_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for side in [&mut self.a, &mut self.b] {
                if let Some(machine) = &mut side.machine {
                    machine.handle_timeout(self.now);
                }
            }
            self.run();
        }
        self.now = end;
    }

    fn side(&mut self, a: bool) -> &mut Side {
        if a { &mut self.a } else { &mut self.b }
    }
}

#[test]
fn what_is_in_one_room_is_in_the_other() {
    let mut world = World::new();
    let now = world.now;
    for (a, who) in [(true, 1), (false, 2), (true, 3)] {
        world.side(a).come(now, who);
        world.run();
    }
    world.a.publish(now, 1);
    world.b.publish(now, 2);
    world.pass(A_SECOND);
    assert_eq!((world.a.state(), world.b.state()), (StateWord::Connected, StateWord::Connected));
    let all: BTreeSet<_> = [("n1", vec!["main"]), ("n2", vec!["main"]), ("n3", vec![])]
        .map(|(name, streams)| (name.to_owned(), streams.into_iter().map(str::to_owned).collect::<Vec<_>>()))
        .into();
    assert_eq!(world.a.seen(), all);
    assert_eq!(world.b.seen(), all);
    assert_eq!((world.a.lanes, world.b.lanes), (1, 1), "each stream crosses once");

    world.a.ask(now, 1, Command::Say { to: None, text: "hello".into() });
    world.run();
    let hello = vec![("n1".to_owned(), "hello".to_owned())];
    let heard = |side: &Side, who: u8| side.heard.get(&side.locals[&who]).cloned().unwrap_or_default();
    assert_eq!((heard(&world.b, 2), heard(&world.a, 3), heard(&world.a, 1)), (hello.clone(), hello, vec![]));

    // what is muted, and who leaves
    world.a.ask(now, 3, Command::Show { facts: Facts { name: Some("m3".into()), ..Facts::default() } });
    world.b.leave(now, 2);
    world.pass(A_SECOND);
    assert!(world.b.seen().contains(&("m3".into(), vec![])) && world.a.seen().len() == 2, "{:?}", world.a.seen());
}

#[test]
fn words_wait_for_a_far_side_that_is_away() {
    let mut world = World::new();
    let now = world.now;
    world.a.come(now, 1);
    world.b.come(now, 2);
    world.run();
    world.reachable = false;
    world.cut();
    world.run();
    assert_eq!((world.a.state(), world.b.seen().len()), (StateWord::Waiting, 1));
    world.a.ask(now, 1, Command::Say { to: None, text: "are you there?".into() });
    world.pass(20 * A_SECOND);
    world.reachable = true;
    world.pass(70 * A_SECOND);
    assert_eq!(world.a.state(), StateWord::Connected);
    assert_eq!(world.b.heard[&world.b.locals[&2]], [("n1".to_owned(), "are you there?".to_owned())]);
}

#[test]
fn an_end_leaves_nothing() {
    let mut world = World::new();
    let now = world.now;
    world.a.come(now, 1);
    world.b.come(now, 2);
    world.a.publish(now, 1);
    world.pass(A_SECOND);
    if let Some(machine) = &mut world.a.machine {
        machine.stop();
    }
    world.run();
    assert!(world.a.machine.as_ref().is_some_and(|machine| machine.is_over()) && world.b.machine.is_none());
    for side in [&mut world.a, &mut world.b] {
        side.machine = None;
        assert_eq!(side.seen().len(), 1, "only who lives there");
        assert_eq!(side.rooms.rooms()[0].members.len(), 1, "and no bridge");
        assert!(!side.links.lock().has(&room(), LinkId(1)) && side.links.lock().version() >= 2);
    }
}

#[test]
fn a_far_side_of_another_version_or_without_proof_is_a_state() {
    let mut world = World::new();
    world.a.begin(world.now, Role::Dial { remote_room: room(), judge: Arc::new(|_| Err("no token".into())) });
    world.b.machine = None;
    world.wired = false;
    world.pass(A_SECOND);
    let standing = world.a.machine.as_ref().unwrap().standing();
    assert_eq!((standing.state, standing.reason.unwrap().code), (StateWord::Waiting, "unauthorised"));
    assert!(world.b.machine.is_none(), "who answers has heard of it");

    let mut side = Side::new();
    side.begin(world.now, Role::Dial { remote_room: room(), judge: Arc::new(|_| Ok(())) });
    side.settle(world.now);
    let machine = side.machine.as_mut().unwrap();
    machine.handle_dialled(world.now, Ok(None));
    let welcome = Message::Welcome { version: 2, node: "x/r".into(), reach: vec![], token: None };
    machine.handle_text(world.now, &welcome.text());
    assert_eq!(machine.standing().reason.unwrap().code, "version");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// People come, publish and leave on both sides while the line is cut and comes back. In the end both rooms show the same people with the
    /// same streams, everyone once.
    #[test]
    fn both_rooms_are_the_same_in_the_end(steps in proptest::collection::vec((any::<bool>(), 0u8..6, 0u8..7), 1..60)) {
        let mut world = World::new();
        for (a, who, what) in steps {
            let now = world.now;
            let who = if a { who } else { 10 + who };
            match what {
                0 | 1 => world.side(a).come(now, who),
                2 => world.side(a).publish(now, who),
                3 => world.side(a).leave(now, who),
                4 => world.pass(A_SECOND / 2),
                5 => { world.reachable = a; world.cut() }
                // without waiting for anything
                _ => continue,
            }
            if who % 2 == 0 {
                world.run();
            }
        }
        world.reachable = true;
        world.pass(200 * A_SECOND);
        prop_assert_eq!(world.a.state(), StateWord::Connected);
        let (a, b) = (world.a.seen(), world.b.seen());
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(a.len(), world.a.locals.len() + world.b.locals.len());
    }
}
