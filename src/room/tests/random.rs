//! Random walks: whatever is asked, told and waited for, in any order, the parts of the state agree, and what the sessions and
//! the hub were told adds up to what is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::value::RawValue;

use super::*;

/// One step. An `Index` picks among what is there at that point: open sessions, members ever seen, peers ever opened.
#[derive(Clone, Debug)]
enum Step {
    Open,
    Join { who: Index, room: u8, kind: u8, user: u8, replaces_lost: bool, lives: Option<u8> },
    Leave(Index),
    Depart(Index),
    Lost(Index),
    Resume { who: Index, key: Index },
    Publish { who: Index, stream: u8, stolen: Option<Index> },
    Play { who: Index, of: u8, owner: Index },
    Meet { who: Index, with: Option<Index>, how: u8 },
    Say { who: Index, to: Option<Index> },
    Told { from: Index, to: Index },
    Describe { who: Index, peer: Index },
    Stop { who: Index, peer: Index },
    StopOwn(Index),
    Tell { who: Index, to: Index },
    Show(Index),
    Connect(Index),
    Tracks { peer: Index, tracks: u8 },
    Described(Index),
    Rejected(Index),
    Down(Index),
    Source { source: u8, rooms: u8, kinds: u8 },
    SourceAbsent(u8),
    SourceRemoved(u8),
    Evict(Index),
    Configure { listed: u8, ad_hoc: bool },
    Clock(u8),
    Pass(u8),
    StopAll,
}

const ROOMS: [&str; 3] = ["a", "b", "c"];
const LIMIT: usize = 5;
const PEERS: usize = 3;
const STREAMS: usize = 2;
const GRACE: Duration = Duration::from_secs(10);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = any::<Index>;
    let step = prop_oneof![
        6 => Just(Step::Open),
        12 => (at(), prop_oneof![4 => Just(0u8), 2 => Just(1), 1 => Just(2)], 0..12u8, 0..3u8, any::<bool>(), prop::option::weighted(0.1, 0..90u8)).prop_map(
            |(who, room, kind, user, replaces_lost, lives)| Step::Join { who, room, kind, user, replaces_lost, lives }
        ),
        2 => at().prop_map(Step::Leave),
        2 => at().prop_map(Step::Depart),
        4 => at().prop_map(Step::Lost),
        4 => (at(), at()).prop_map(|(who, key)| Step::Resume { who, key }),
        6 => (at(), 0..3u8, prop::option::weighted(0.1, at()))
            .prop_map(|(who, stream, stolen)| Step::Publish { who, stream, stolen }),
        6 => (at(), 0..6u8, at()).prop_map(|(who, of, owner)| Step::Play { who, of, owner }),
        10 => (at(), prop::option::weighted(0.8, at()), 0..16u8).prop_map(|(who, with, how)| Step::Meet { who, with, how }),
        2 => (at(), prop::option::of(at())).prop_map(|(who, to)| Step::Say { who, to }),
        2 => (at(), at()).prop_map(|(from, to)| Step::Told { from, to }),
        1 => (at(), at()).prop_map(|(who, peer)| Step::Describe { who, peer }),
        1 => (at(), at()).prop_map(|(who, peer)| Step::Stop { who, peer }),
        2 => at().prop_map(Step::StopOwn),
        3 => (at(), at()).prop_map(|(who, to)| Step::Tell { who, to }),
        2 => at().prop_map(Step::Show),
        8 => at().prop_map(Step::Connect),
        8 => (at(), 0..3u8).prop_map(|(peer, tracks)| Step::Tracks { peer, tracks }),
        3 => at().prop_map(Step::Described),
        1 => at().prop_map(Step::Rejected),
        2 => at().prop_map(Step::Down),
        3 => (0..2u8, 0..8u8, 0..4u8).prop_map(|(source, rooms, kinds)| Step::Source { source, rooms, kinds }),
        1 => (0..2u8).prop_map(Step::SourceAbsent),
        1 => (0..2u8).prop_map(Step::SourceRemoved),
        1 => at().prop_map(Step::Evict),
        1 => (0..16u8, any::<bool>()).prop_map(|(listed, ad_hoc)| Step::Configure { listed, ad_hoc }),
        1 => (0..30u8).prop_map(Step::Clock),
        3 => (0..8u8).prop_map(Step::Pass),
    ];
    (prop::collection::vec(step, 1..200), prop::bool::weighted(0.2)).prop_map(|(mut steps, stop)| {
        if stop {
            let late = steps.len() * 9 / 10;
            steps.insert(late, Step::StopAll);
        }
        steps
    })
}

/// What one member believes of the others, from what it was told and nothing else.
#[derive(Default)]
struct Belief {
    others: BTreeMap<MemberId, BTreeSet<StreamName>>,
    own_peers: BTreeSet<PeerId>,
}

/// The walker: Portico's surroundings, as far as the room can tell.
struct Walk {
    rooms: Rooms,
    now: Instant,
    requests: u64,
    /// Who asked what; a refusal or a plain answer ends the asking.
    asked: BTreeMap<RequestId, SessionId>,
    /// Sessions that may be told something, and whose place they have.
    alive: BTreeMap<SessionId, Option<MemberId>>,
    /// Requests to depart: who is told that one is done has no place any more.
    departs: BTreeSet<RequestId>,
    beliefs: BTreeMap<MemberId, Belief>,
    /// Every member id ever seen, the gone included.
    members: Vec<MemberId>,
    /// Every peer ever opened, the ended included.
    peers: Vec<PeerId>,
    /// Peers as the hub has them: opened and neither closed nor reported down.
    open: BTreeMap<PeerId, SessionId>,
    rooms_open: BTreeSet<RoomId>,
    streams_up: BTreeSet<(MemberId, StreamName)>,
    /// What was last told to be mixed, by mix.
    mixed: BTreeMap<SourceName, BTreeSet<(MemberId, StreamName)>>,
}

fn config(ad_hoc: bool) -> RoomsConfig {
    RoomsConfig {
        ad_hoc,
        max_rooms: 2,
        max_members: LIMIT,
        max_streams_per_member: STREAMS,
        max_peers_per_member: PEERS,
        rejoin_grace: GRACE,
    }
}

fn listed_of(bits: u8) -> Vec<RoomConfig> {
    let chosen = ROOMS.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0);
    let topology = |n| match n {
        // changes from one configuration to the next
        1 if bits & 8 != 0 => Topology::Mcu,
        2 => Topology::Mesh,
        _ => Topology::Sfu,
    };
    chosen.map(|(n, name)| RoomConfig { topology: topology(n), ..listed(name) }).collect()
}

fn source_name(n: u8) -> SourceName {
    SourceName::new(["cam", "door"][usize::from(n) % 2]).unwrap()
}

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

impl Walk {
    fn new() -> Self {
        let now = Instant::now();
        let mut walk = Self {
            rooms: Rooms::new(config(true), listed_of(1)),
            now,
            requests: 0,
            asked: BTreeMap::new(),
            alive: BTreeMap::new(),
            departs: BTreeSet::new(),
            beliefs: BTreeMap::new(),
            members: Vec::new(),
            peers: Vec::new(),
            open: BTreeMap::new(),
            rooms_open: BTreeSet::new(),
            streams_up: BTreeSet::new(),
            mixed: BTreeMap::new(),
        };
        walk.settle();
        walk
    }

    fn pick<T: Copy>(index: &Index, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[index.index(of.len())])
    }

    /// Mostly a session that is seated (or not), as the request wants it; sometimes any.
    fn session(&self, index: &Index, seated: bool) -> Option<SessionId> {
        let fitting = self.alive.iter().filter(|(_, place)| place.is_some() == seated || index.index(8) == 0);
        Self::pick(index, &fitting.map(|(session, _)| *session).collect::<Vec<_>>())
    }

    /// Mostly a peer that is there, sometimes one that was.
    fn peer(&self, index: &Index) -> PeerId {
        let living: Vec<_> = self.open.keys().copied().collect();
        let choice = if index.index(8) == 0 { Self::pick(index, &self.peers) } else { Self::pick(index, &living) };
        choice.unwrap_or(PeerId(0))
    }

    fn member(&self, index: &Index) -> MemberId {
        let known: Vec<_> = self.rooms.rooms().into_iter().flat_map(|room| room.members).map(|m| m.view.member).collect();
        let choice = if index.index(8) == 0 { Self::pick(index, &self.members) } else { Self::pick(index, &known) };
        choice.unwrap_or(MemberId([0; 16]))
    }

    fn ask(&mut self, who: &Index, cmd: Command) {
        let seated = !matches!(cmd, Command::Join(_) | Command::Resume { .. });
        if let Some(session) = self.session(who, seated) {
            self.ask_as(session, cmd);
        }
    }

    fn ask_as(&mut self, session: SessionId, cmd: Command) {
        self.requests += 1;
        let req = RequestId(self.requests);
        self.asked.insert(req, session);
        self.rooms.handle(self.now, session, req, cmd);
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Open => {
                let session = SessionId::next();
                self.alive.insert(session, None);
                self.rooms.open_session(now, session);
            }
            Step::Join { who, room: r, kind, user, replaces_lost, lives } => {
                let user = ["", "u", "v"][usize::from(user)];
                let grant = Grant {
                    rights: match kind {
                        0 => Rights::NONE,
                        1 => Rights::NONE.with(Right::Publish),
                        2 => Rights::NONE.with(Right::Subscribe),
                        _ => Rights::ALL,
                    },
                    expires: lives.map(|s| wall() + Duration::from_secs(s.into())),
                    ..Grant::all("x")
                };
                let dialect = match kind {
                    3 => DialectName::Whip,
                    4 => DialectName::Whep,
                    5 => DialectName::Page,
                    6 => DialectName::Vamp,
                    // not PeerJS, whose clients are not told of each other in a mesh
                    7 => DialectName::Algorea,
                    _ => DialectName::Tribe,
                };
                let visible = dialect != DialectName::Whep;
                let dialect_limit = (dialect == DialectName::Tribe).then_some(3);
                let joining = joining(ROOMS[usize::from(r)], user);
                let joining = Joining { grant, dialect, visible, dialect_limit, replaces_lost, ..joining };
                self.ask(&who, Command::Join(Box::new(joining)));
            }
            Step::Leave(who) => self.ask(&who, Command::Leave),
            Step::Depart(who) => {
                let before = self.requests;
                self.ask(&who, Command::Depart);
                if self.requests > before {
                    self.departs.insert(RequestId(self.requests));
                }
            }
            Step::Lost(who) => self.ask(&who, Command::Lost),
            Step::Resume { who, key } => {
                let key = self.member(&key);
                self.ask(&who, Command::Resume { key });
            }
            Step::Publish { who, stream: name, stolen } => {
                let peer = stolen.map_or_else(PeerId::next, |peer| self.peer(&peer));
                let stream = stream(["main", "cam", "screen"][usize::from(name)]);
                self.ask(&who, Command::Publish { peer, stream, offer: Some(Sdp::offer("o")) });
            }
            Step::Play { who, of, owner } => {
                let of = match of {
                    0..=2 => StreamChoice::Default,
                    3 => StreamChoice::Named(stream("cam")),
                    4 => StreamChoice::Of(self.member(&owner), Some(stream("main"))),
                    _ => StreamChoice::Of(self.member(&owner), None),
                };
                self.ask(&who, Command::Play { peer: PeerId::next(), of, offer: None });
            }
            Step::Meet { who, with, how } => {
                let meeting = Meeting {
                    peer: PeerId::next(),
                    with: with.map(|with| self.member(&with)),
                    offer: (how & 1 == 0).then(|| Sdp::offer("o")),
                    publish: (how & 2 == 0).then(|| stream("main")),
                    play: how & 4 == 0,
                    named: None,
                    expects: Vec::new(),
                    outlasts: how & 8 == 0,
                    framing: Framing::Plain,
                    channels: Vec::new(),
                    broker: None,
                    pair: None,
                };
                self.ask(&who, Command::Meet(Box::new(meeting)));
            }
            Step::Say { who, to } => {
                let to = to.map(|to| self.member(&to));
                self.ask(&who, Command::Say { to, text: "hello".into() });
            }
            Step::Told { from, to } => {
                let (from, to) = (self.member(&from), self.member(&to));
                if from != to {
                    self.rooms.told(now, from, to, "hello".into());
                }
            }
            Step::Describe { who, peer } => {
                let peer = self.peer(&peer);
                self.ask(&who, Command::Describe { peer, sdp: Sdp::offer("o") });
            }
            Step::Stop { who, peer } => {
                let peer = self.peer(&peer);
                self.ask(&who, Command::Stop { peer });
            }
            Step::StopOwn(peer) => {
                let peer = self.peer(&peer);
                if let Some((_, _, session)) = self.rooms.owner_of(peer) {
                    self.ask_as(session, Command::Stop { peer });
                }
            }
            Step::Tell { who, to } => {
                let body = Body::Json(RawValue::from_string("1".into()).unwrap());
                let to = self.member(&to);
                self.ask(&who, Command::Tell { to, body });
            }
            Step::Show(who) => {
                let facts = Facts { audio_muted: Some(true), ..Facts::default() };
                self.ask(&who, Command::Show { facts });
            }
            Step::Connect(peer) => self.rooms.handle_peer(now, PeerUpdate::Up { peer: self.peer(&peer) }),
            Step::Tracks { peer, tracks } => {
                let peer = self.peer(&peer);
                let tracks = (0..tracks).map(|n| video(peer.0 * 10 + u64::from(n))).collect();
                self.rooms.handle_peer(now, PeerUpdate::Tracks { peer, tracks });
            }
            Step::Described(peer) => {
                self.rooms.handle_peer(now, PeerUpdate::Described { peer: self.peer(&peer), sdp: Sdp::answer("a") });
            }
            Step::Rejected(peer) => {
                let reason = EndReason::BadDescription;
                self.rooms.handle_peer(now, PeerUpdate::Rejected { peer: self.peer(&peer), reason });
            }
            Step::Down(peer) => {
                // what is due comes first: it may close this very peer
                self.rooms.handle_timeout(now);
                self.settle();
                let peer = self.peer(&peer);
                self.open.remove(&peer);
                self.rooms.refuse_peer(now, peer, EndReason::NeverConnected);
            }
            Step::Source { source, rooms, kinds } => {
                let rooms = listed_of(rooms).into_iter().map(|listed| listed.name).collect();
                let kinds = if kinds == 0 { vec![MediaKind::Video] } else { vec![MediaKind::Video, MediaKind::Audio] };
                self.rooms.handle_source(now, SourceUpdate::Present { source: source_name(source), rooms, kinds });
            }
            Step::SourceAbsent(n) => self.rooms.handle_source(now, SourceUpdate::Absent { source: source_name(n) }),
            Step::SourceRemoved(n) => self.rooms.handle_source(now, SourceUpdate::Removed { source: source_name(n) }),
            Step::Evict(member) => {
                let member = self.member(&member);
                for name in ROOMS {
                    self.rooms.evict(now, &room(name), member);
                }
            }
            Step::Configure { listed, ad_hoc } => self.rooms.configure(now, config(ad_hoc), listed_of(listed)),
            Step::Clock(seconds) => {
                self.rooms.set_wall_clock(now, wall() + Duration::from_secs(seconds.into()));
            }
            Step::Pass(seconds) => {
                self.now += Duration::from_secs(seconds.into());
                // half of the time the timer is late and the next step comes first
                if seconds % 2 == 0 {
                    self.rooms.handle_timeout(self.now);
                    assert!(self.rooms.next_timeout().is_none_or(|at| at > self.now), "what is due was done");
                }
            }
            Step::StopAll => self.rooms.stop(now),
        }
    }

    /// Drains the effects into the beliefs and compares these with what is.
    fn settle(&mut self) {
        while let Some(effect) = self.rooms.poll_effect() {
            self.carry_out(effect);
        }
        self.rooms.check_invariants();
        self.compare();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Notify(session, notice) => {
                assert!(self.alive.contains_key(&session), "nothing is told to a session that is over: {notice:?}");
                self.hear(session, notice);
            }
            Effect::EndSession(session, _) => {
                assert!(self.alive.remove(&session).is_some(), "a session ends once");
            }
            Effect::OpenPeer(open) => {
                assert_eq!(
                    self.alive.get(&open.session),
                    Some(&Some(open.member)),
                    "a peer is opened for a member that is there"
                );
                assert!(self.open.insert(open.peer, open.session).is_none(), "a peer is opened once");
                let plays = match &open.purpose {
                    Purpose::Ingest { .. } | Purpose::Trunk => None,
                    Purpose::Play { owner, stream, .. } => Some((*owner, stream.clone())),
                    Purpose::Meet(meet) => meet.plays.as_ref().map(|plays| (plays.owner, plays.stream.clone())),
                };
                assert!(plays.is_none_or(|plays| self.streams_up.contains(&plays)), "only what is up is played");
                self.peers.push(open.peer);
                self.beliefs.entry(open.member).or_default().own_peers.insert(open.peer);
            }
            Effect::DescribePeer { peer, .. } | Effect::AddCandidate { peer, .. } | Effect::Transmit { peer, .. } => {
                assert!(self.open.contains_key(&peer), "only living peers are told something");
            }
            Effect::FeedPeer { peer, plays } => {
                assert!(self.open.contains_key(&peer), "only living peers are fed");
                assert!(plays.is_none_or(|it| self.streams_up.contains(&(it.owner, it.stream))), "with what is up");
            }
            Effect::Mix { mix, parts } => {
                let parts: BTreeSet<_> = parts.into_iter().map(|part| (part.member, part.stream)).collect();
                assert!(parts.is_subset(&self.streams_up), "only what is up is mixed");
                self.mixed.insert(mix, parts);
            }
            Effect::Say { from, to, .. } => assert!(self.members.contains(&from) && to != Some(from)),
            Effect::ClosePeer { peer, .. } => {
                assert!(self.open.remove(&peer).is_some(), "a peer is closed once, and only when it was opened");
            }
            Effect::Report(report) => self.hear_report(report),
        }
    }

    fn hear_report(&mut self, report: Report) {
        match report {
            Report::RoomOpened { room } => assert!(self.rooms_open.insert(room)),
            Report::RoomClosed { room } => assert!(self.rooms_open.remove(&room)),
            Report::MemberJoined { room, member, .. } => {
                assert!(self.rooms_open.contains(&room), "members join open rooms");
                self.members.push(member);
            }
            Report::MemberLeft { member, .. } => {
                self.beliefs.remove(&member);
                // who departed may join again
                self.alive.values_mut().filter(|place| **place == Some(member)).for_each(|place| *place = None);
            }
            Report::StreamUp { member, stream, .. } => assert!(self.streams_up.insert((member, stream))),
            Report::StreamDown { member, stream, .. } => assert!(self.streams_up.remove(&(member, stream))),
            Report::PeerDown { member, peer, .. } => {
                assert!(!self.open.contains_key(&peer), "a peer that ended is closed");
                if let Some(belief) = self.beliefs.get_mut(&member) {
                    belief.own_peers.remove(&peer);
                }
            }
            Report::PeerUp { peer, .. } => assert!(self.open.contains_key(&peer)),
            Report::MemberLost { .. } | Report::MemberResumed { .. } | Report::Remark { .. } => {}
        }
    }

    fn hear(&mut self, session: SessionId, notice: Notice) {
        match notice {
            Notice::Welcome(welcome) => {
                self.alive.insert(session, Some(welcome.member));
                let belief = Belief { others: welcome.others.iter().map(seen).collect(), ..Belief::default() };
                assert!(self.beliefs.insert(welcome.member, belief).is_none(), "a member is welcomed once");
                return;
            }
            Notice::Resumed(resumed) => {
                self.alive.insert(session, Some(resumed.member));
                let belief = &self.beliefs[&resumed.member];
                let peers: BTreeSet<_> = resumed.peers.iter().map(|view| view.peer).collect();
                assert_eq!(peers, belief.own_peers, "the place's peers are named again");
                return;
            }
            Notice::Refused { req, .. } | Notice::Done { req } => {
                if matches!(notice, Notice::Done { .. }) && self.departs.contains(&req) {
                    self.alive.insert(session, None);
                }
                assert_eq!(self.asked.remove(&req), Some(session), "who asked is answered, once");
                return;
            }
            Notice::Ended { .. } => return,
            _ => {}
        }
        let member = self.alive[&session].expect("only members are told of a room");
        let belief = self.beliefs.get_mut(&member).expect("a member that is told something has been welcomed");
        match notice {
            Notice::MemberJoined { member, size } => {
                let (id, streams) = seen(&member);
                assert!(belief.others.insert(id, streams).is_none(), "a member joins once");
                assert_eq!(size, belief.others.len() + 1, "the size told is the size seen");
            }
            Notice::MemberLeft { member, size, .. } => {
                let streams = belief.others.remove(&member).expect("who leaves was there");
                assert!(streams.is_empty(), "streams end before their owner leaves");
                assert_eq!(size, belief.others.len() + 1, "the size told is the size seen");
            }
            Notice::MemberChanged { member } => assert!(belief.others.contains_key(&member.member)),
            Notice::StreamUp { member, stream } => {
                let streams = belief.others.get_mut(&member).expect("a stream's owner is known");
                assert!(streams.insert(stream.name), "a stream comes up once");
            }
            Notice::StreamDown { member, stream } => {
                assert!(belief.others.get_mut(&member).is_some_and(|streams| streams.remove(&stream)), "it was up");
            }
            Notice::Told { from, .. } | Notice::Said { from, .. } => assert_ne!(from.member, member),
            _ => {}
        }
    }

    /// What is, seen from outside, against what was told.
    fn compare(&self) {
        let views = self.rooms.rooms();
        let names: BTreeSet<_> = views.iter().map(|view| view.room.clone()).collect();
        assert_eq!(names, self.rooms_open, "rooms are reported");
        let mut up = BTreeSet::new();
        for view in &views {
            let ours = |dialect| matches!(dialect, DialectName::Source | DialectName::Mix);
            let joined = view.members.iter().filter(|m| !ours(m.view.dialect)).count();
            assert!(joined <= LIMIT, "the room's limit holds");
            if view.topology == Topology::Mcu {
                let of = |mixes: bool| view.members.iter().filter(move |m| (m.view.dialect == DialectName::Mix) == mixes);
                assert_eq!(of(true).map(|m| m.view.streams.len()).collect::<Vec<_>>(), [1], "a mixed room has one mix");
                let name = SourceName::new(&format!("mix:{}", view.room)).unwrap();
                let streams = of(false).flat_map(|m| m.view.streams.iter().map(|s| (m.view.member, s.name.clone())));
                assert_eq!(self.mixed.get(&name), Some(&streams.collect()), "all that is up is mixed");
            }
            let tribe = view.members.iter().filter(|m| m.visible && m.view.dialect == DialectName::Tribe).count();
            assert!(tribe <= 3, "the dialect's limit holds");
            for member in &view.members {
                up.extend(member.view.streams.iter().map(|s| (member.view.member, s.name.clone())));
                for peer in &member.peers {
                    assert!(self.open.contains_key(peer), "a member's peers are open");
                    assert_eq!(self.rooms.owner_of(*peer).map(|(_, owner, _)| owner), Some(member.view.member));
                }
            }
        }
        assert_eq!(up, self.streams_up, "streams are reported");
        let counts = self.rooms.count();
        assert_eq!((counts.peers, counts.streams), (self.open.len(), up.len()));
        assert_eq!(counts.members.values().sum::<usize>(), views.iter().map(|view| view.members.len()).sum::<usize>());
        assert_eq!(counts.sessions, self.alive.len(), "sessions are ended by effects only");

        for place in self.alive.values().flatten() {
            let belief = &self.beliefs[place];
            let view = views.iter().find(|view| view.members.iter().any(|m| m.view.member == *place)).expect("it has a room");
            let me = view.members.iter().find(|m| m.view.member == *place).expect("it is in it");
            assert_eq!(me.peers.iter().copied().collect::<BTreeSet<_>>(), belief.own_peers);
            if me.visible && self.rooms.members[place].may(Right::Subscribe) {
                let others = view.members.iter().filter(|m| m.visible && m.view.member != *place);
                // of a mixed room the mix's stream is shown and nobody else's
                let shown = |m: &RoomMember| {
                    let (member, streams) = seen(&m.view);
                    let all = view.topology != Topology::Mcu || m.view.dialect == DialectName::Mix;
                    (member, if all { streams } else { BTreeSet::new() })
                };
                assert_eq!(others.map(shown).collect::<BTreeMap<_, _>>(), belief.others, "nobody is overlooked");
            } else {
                assert!(belief.others.is_empty(), "who may not see is told of nobody");
            }
        }
    }
}

fn seen(view: &MemberView) -> (MemberId, BTreeSet<StreamName>) {
    (view.member, view.streams.iter().map(|stream| stream.name.clone()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_the_rooms_in_order(steps in steps()) {
        let mut walk = Walk::new();
        for step in steps {
            walk.take(step);
            walk.settle();
        }
        // everybody goes: nothing may be left behind
        for session in walk.alive.keys().copied().collect::<Vec<_>>() {
            walk.ask_as(session, Command::Leave);
            walk.settle();
        }
        for n in 0..2 {
            walk.take(Step::SourceRemoved(n));
            walk.settle();
        }
        walk.now += GRACE;
        walk.rooms.handle_timeout(walk.now);
        walk.rooms.configure(walk.now, config(true), Vec::new());
        walk.settle();
        prop_assert_eq!(walk.rooms.count(), Counts::default());
        prop_assert!(walk.open.is_empty() && walk.rooms.next_timeout().is_none());
    }
}
