//! The machine in simulated time, against a room and an endpoint that do as they are told.

use proptest::prelude::*;

use super::*;
use crate::room::{StreamView, Welcome};
use crate::vocab::MemberId;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    machine: Machine,
    now: Instant,
    start: Instant,
    /// The request that waits for the room, and what it is.
    asked: Option<(RequestId, &'static str)>,
    /// The living peer.
    peer: Option<PeerId>,
    /// POSTs under way and when each left.
    posting: usize,
    posted: Vec<Instant>,
    knocking: bool,
    knocks: usize,
    /// Sessions that the endpoint has, by number.
    living: Vec<u64>,
    sessions: u64,
    inside: bool,
}

fn plan(kind: BridgeKind) -> Plan {
    Plan { kind, name: "out".into(), room: RoomId::new("main").unwrap(), stream: None }
}

fn unreachable() -> Fault {
    Fault::new("unreachable", "the endpoint does not answer", Pace::Usual)
}

fn resource(number: u64) -> Resource {
    Resource(format!("http://far.example/{number}").parse().unwrap())
}

impl World {
    fn new(kind: BridgeKind, seed: u64) -> Self {
        let now = Instant::now();
        let machine = Machine::new(now, plan(kind), seed);
        let mut world = Self {
            machine,
            now,
            start: now,
            asked: None,
            peer: None,
            posting: 0,
            posted: Vec::new(),
            knocking: false,
            knocks: 0,
            living: Vec::new(),
            sessions: 0,
            inside: false,
        };
        world.drain();
        world
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Enter(joining) => {
                    assert!(!self.inside, "joins twice");
                    assert_eq!(joining.dialect, DialectName::Bridge);
                    let req = RequestId::next();
                    self.machine.entering(req);
                    self.asked = Some((req, "join"));
                }
                Output::Ask(req, command) => match *command {
                    Command::Play { peer, offer: None, .. } | Command::Publish { peer, offer: None, .. } => {
                        assert!(self.inside && self.peer.is_none(), "one connection at a time");
                        (self.peer, self.asked) = (Some(peer), Some((req, "offer")));
                    }
                    Command::Describe { .. } => self.asked = Some((req, "answer")),
                    Command::Stop { peer } => {
                        if self.peer == Some(peer) {
                            (self.peer, self.asked) = (None, None);
                        }
                    }
                    Command::Leave => (self.inside, self.peer, self.asked) = (false, None, None),
                    other => panic!("{other:?}"),
                },
                Output::Knock => {
                    assert!(!self.knocking && self.peer.is_none(), "nothing is opened meanwhile");
                    self.knocking = true;
                    self.knocks += 1;
                }
                Output::Post(offer) => {
                    assert_eq!(offer, "an offer");
                    assert_eq!(self.posting, 0, "one POST at a time");
                    if let Some(last) = self.posted.last() {
                        assert!(self.now - *last >= SECOND / 2, "the endpoint is hammered");
                    }
                    self.posting += 1;
                    self.posted.push(self.now);
                }
                Output::Delete(Resource(url)) => {
                    let number: u64 = url.path()[1..].parse().unwrap();
                    let at = self.living.iter().position(|living| *living == number).expect("a session that there is");
                    self.living.remove(at);
                }
            }
        }
    }

    fn notice(&mut self, notice: &Notice) {
        self.machine.handle_notice(self.now, notice);
        self.drain();
    }

    fn welcome(&mut self) {
        let Some((req, "join")) = self.asked.take() else { return };
        self.inside = true;
        let welcome = Welcome {
            req,
            member: MemberId::random(),
            room: RoomId::new("main").unwrap(),
            topology: Topology::Sfu,
            size: 1,
            others: Vec::new(),
        };
        self.notice(&Notice::Welcome(Box::new(welcome)));
    }

    fn offer(&mut self) {
        if matches!(self.asked, Some((_, "offer"))) {
            self.asked = None;
            let peer = self.peer.unwrap();
            self.notice(&Notice::Description { peer, sdp: Sdp::offer("an offer") });
        }
    }

    fn refuse(&mut self, why: Refusal) {
        if let Some((req, what)) = self.asked.take() {
            if what == "offer" {
                self.peer = None;
            }
            self.notice(&Notice::Refused { req, why });
        }
    }

    fn answer(&mut self, outcome: Result<(), Fault>) {
        if self.posting == 0 {
            return;
        }
        self.posting -= 1;
        let outcome = outcome.map(|()| {
            self.sessions += 1;
            self.living.push(self.sessions);
            Answer { sdp: "an answer".into(), resource: Some(resource(self.sessions)) }
        });
        self.machine.handle_posted(self.now, outcome);
        self.drain();
    }

    fn knocked(&mut self, outcome: Result<(), Fault>) {
        if std::mem::take(&mut self.knocking) {
            self.machine.handle_knocked(self.now, outcome);
            self.drain();
        }
    }

    fn up(&mut self) {
        if let (Some(peer), Some((_, "answer"))) = (self.peer, self.asked) {
            self.asked = None;
            self.notice(&Notice::PeerUp { peer });
        }
    }

    fn down(&mut self, reason: EndReason) {
        // before it was described, the end is a refusal
        if let Some(peer) = self.peer.filter(|_| !matches!(self.asked, Some((_, "offer")))) {
            (self.peer, self.asked) = (None, None);
            self.notice(&Notice::PeerDown { peer, reason });
        }
    }

    fn stream_up(&mut self) {
        if self.inside {
            let stream = StreamView { name: StreamName::new("main").unwrap(), tracks: Vec::new(), kinds: Vec::new() };
            self.notice(&Notice::StreamUp { member: MemberId::random(), stream });
        }
    }

    fn evicted(&mut self) {
        if std::mem::take(&mut self.inside) {
            (self.peer, self.asked) = (None, None);
            self.notice(&Notice::Ended { reason: EndReason::Evicted });
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn stop(&mut self) {
        self.machine.stop();
        self.drain();
    }

    fn connect(&mut self) {
        self.welcome();
        self.offer();
        self.answer(Ok(()));
        self.up();
        assert_eq!(self.machine.standing().state, StateWord::Connected);
    }

    fn code(&self) -> &'static str {
        self.machine.standing().reason.expect("a reason").code
    }
}

#[test]
fn a_connected_bridge_says_goodbye_to_both_sides() {
    for kind in [BridgeKind::Whip, BridgeKind::Whep] {
        let mut world = World::new(kind, 1);
        world.connect();
        assert_eq!(world.machine.standing().reason, None);
        assert_eq!(world.living, [1]);
        world.stop();
        assert!(world.machine.is_over() && !world.inside && world.living.is_empty());
    }
}

#[test]
fn without_its_stream_the_endpoint_is_not_asked() {
    let mut world = World::new(BridgeKind::Whip, 1);
    world.welcome();
    for _ in 0..100 {
        world.refuse(Refusal::UnknownStream);
        world.pass(10 * SECOND);
    }
    world.refuse(Refusal::UnknownStream);
    assert_eq!((world.posted.len(), world.code()), (0, "no_stream"));
    world.stream_up();
    world.offer();
    assert_eq!(world.posted.len(), 1, "asked in the same moment");
}

#[test]
fn a_wrong_token_is_tried_again_twice_a_minute_at_most() {
    let mut world = World::new(BridgeKind::Whip, 7);
    world.welcome();
    for _ in 0..20 {
        world.offer();
        world.answer(Err(verdict::of_status(BridgeKind::Whip, 401, None)));
        assert_eq!(world.code(), "unauthorised");
        world.pass(world.machine.next_timeout().unwrap() - world.now);
    }
    assert!(world.posted.windows(2).all(|pair| pair[1] - pair[0] >= 30 * SECOND), "{:?}", world.posted);
    world.stream_up();
    world.offer();
    assert!(world.posted.windows(2).all(|pair| pair[1] - pair[0] >= 30 * SECOND), "a stream is no reason to ask sooner");
}

#[test]
fn a_stream_that_ends_while_the_endpoint_thinks_leaves_no_session() {
    let mut world = World::new(BridgeKind::Whip, 1);
    world.welcome();
    world.offer();
    world.down(EndReason::StreamEnded);
    world.pass(5 * SECOND);
    assert_eq!(world.posted.len(), 1, "the first POST is not over");
    world.answer(Ok(()));
    assert!(world.living.is_empty(), "what it opened is ended");
    world.pass(5 * SECOND);
    world.offer();
    assert_eq!(world.posted.len(), 2);
}

#[test]
fn a_stop_waits_for_the_endpoint_to_be_told() {
    let mut world = World::new(BridgeKind::Whep, 1);
    world.welcome();
    world.offer();
    world.stop();
    assert!(!world.machine.is_over());
    world.answer(Ok(()));
    assert!(world.machine.is_over() && world.living.is_empty());
}

#[test]
fn waits_grow_until_a_connection_has_lasted() {
    let mut world = World::new(BridgeKind::Whep, 3);
    world.welcome();
    for _ in 0..8 {
        world.offer();
        world.answer(Ok(()));
        world.up();
        world.down(EndReason::Lost);
        let wait = world.machine.next_timeout().unwrap() - world.now;
        world.pass(wait);
    }
    world.offer();
    world.answer(Ok(()));
    world.up();
    world.down(EndReason::Lost);
    assert!(world.machine.next_timeout().unwrap() - world.now >= 30 * SECOND, "it never lasted");
    world.pass(60 * SECOND);
    world.offer();
    world.answer(Ok(()));
    world.up();
    world.pass(STABLE);
    world.down(EndReason::Lost);
    assert!(world.machine.next_timeout().unwrap() - world.now <= SECOND);
    assert_eq!(world.code(), "lost");
}

#[test]
fn no_camera_is_opened_for_an_endpoint_that_is_away() {
    let mut world = World::new(BridgeKind::Whip, 3);
    world.welcome();
    world.offer();
    world.answer(Err(unreachable()));
    for _ in 0..20 {
        world.pass(world.machine.next_timeout().unwrap() - world.now);
        assert!(world.knocking && world.asked.is_none(), "the room is not asked for an offer");
        world.knocked(Err(unreachable()));
    }
    world.pass(world.machine.next_timeout().unwrap() - world.now);
    world.knocked(Ok(()));
    world.offer();
    world.answer(Ok(()));
    world.up();
    assert_eq!((world.posted.len(), world.machine.standing().state), (2, StateWord::Connected));
}

#[test]
fn an_evicted_bridge_comes_back_later() {
    let mut world = World::new(BridgeKind::Whep, 3);
    world.connect();
    world.evicted();
    assert!(world.living.is_empty());
    assert_eq!((world.code(), world.machine.standing().state), ("evicted", StateWord::Waiting));
    world.pass(60 * SECOND);
    world.connect();
}

#[derive(Clone, Debug)]
enum Step {
    Welcome,
    Offer,
    Refuse(u8),
    Answer,
    Fail(u16, Option<u16>),
    Unreachable,
    Knocked(bool),
    Up,
    Down(u8),
    StreamUp,
    Evicted,
    Gone,
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Welcome),
        Just(Step::Offer),
        any::<u8>().prop_map(Step::Refuse),
        Just(Step::Answer),
        (200u16..600, any::<Option<u16>>()).prop_map(|(status, after)| Step::Fail(status, after)),
        Just(Step::Unreachable),
        any::<bool>().prop_map(Step::Knocked),
        Just(Step::Up),
        any::<u8>().prop_map(Step::Down),
        Just(Step::StreamUp),
        Just(Step::Evicted),
        Just(Step::Gone),
        any::<u16>().prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    /// Whatever happens: one POST at a time and not in a hurry, every session is ended once, and a stop ends everything. The world
    /// itself checks what is said on the way.
    #[test]
    fn nothing_is_left_behind(pull: bool, seed: u64, steps in steps()) {
        let mut world = World::new(if pull { BridgeKind::Whep } else { BridgeKind::Whip }, seed);
        for step in steps {
            match step {
                Step::Welcome => world.welcome(),
                Step::Offer => world.offer(),
                Step::Refuse(which) => {
                    let room = RoomId::new("main").unwrap();
                    let why = [Refusal::UnknownStream, Refusal::SourceFailed, Refusal::UnknownRoom(room), Refusal::Internal];
                    world.refuse(why[usize::from(which) % why.len()].clone());
                }
                Step::Answer => world.answer(Ok(())),
                Step::Fail(status, after) => {
                    let after = after.map(|seconds| Duration::from_secs(seconds.into()));
                    world.answer(Err(verdict::of_status(BridgeKind::Whip, status, after)));
                }
                Step::Unreachable => world.answer(Err(unreachable())),
                Step::Knocked(answers) => world.knocked(if answers { Ok(()) } else { Err(unreachable()) }),
                Step::Up => world.up(),
                Step::Down(which) => {
                    let reasons = [EndReason::Lost, EndReason::Left, EndReason::StreamEnded, EndReason::NeverConnected];
                    world.down(reasons[usize::from(which) % reasons.len()]);
                }
                Step::StreamUp => world.stream_up(),
                Step::Evicted => world.evicted(),
                Step::Gone => {
                    (world.inside, world.peer, world.asked) = (false, None, None);
                    world.machine.handle_gone(world.now);
                    world.drain();
                }
                Step::Pass(millis) => world.pass(Duration::from_millis(millis.into())),
            }
            prop_assert!(world.living.len() <= 1);
            let standing = world.machine.standing();
            prop_assert_eq!(standing.attempts as usize, world.posted.len() + world.knocks);
            prop_assert!(standing.state != StateWord::Waiting || standing.reason.is_some() || world.now == world.start);
        }
        world.stop();
        world.answer(Ok(()));
        prop_assert!(world.machine.is_over() && world.living.is_empty() && !world.inside && world.posting == 0);
        prop_assert_eq!(world.machine.next_timeout(), None);
    }
}
