use proptest::prelude::*;

use super::member::wire::{Envelope, envelope, read, service};
use super::*;
use crate::room::{Effect, EndReason, RoomView, Rooms, RoomsConfig};
use crate::signalling::{Realm, RealmOutput};
use crate::vocab::{Right, RoomPattern, SessionId};

/// What a client of the world heard.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Frame(Kind),
    Closed(u16, &'static str),
}

/// Sessions, groups and rooms, wired as driver and hub do it, in simulated time.
struct World {
    now: Instant,
    rooms: Rooms,
    groups: Groups,
    sessions: Vec<Client>,
    /// What the media plane was asked for.
    orders: Vec<Effect>,
    /// What sessions of other dialects were told.
    told: Vec<(SessionId, Notice)>,
}

struct Client {
    id: SessionId,
    dialect: Sigver,
    heard: Vec<Heard>,
    open: bool,
}

fn deps(path: &str) -> Deps {
    let (key, query) = path.split_once('?').map_or((path, None), |(key, query)| (key, Some(query)));
    Deps { address: Address::read(key, query), grant: Grant::all("test"), remote: None, wall: SystemTime::now() }
}

fn connect(id: u32, members: &[u32]) -> Kind {
    Kind::Connect(GroupData { id, members: members.to_vec() })
}

fn content(recipient: u32, data: &[u8]) -> Kind {
    let data = Some(Bytes::copy_from_slice(data));
    Kind::Content(wire::Content { sender_id: Some(0), recipient_id: Some(recipient), last_data: Some(false), data })
}

const TRUE: Heard = Heard::Frame(Kind::Connected(true));
const FALSE: Heard = Heard::Frame(Kind::Connected(false));
const BEAT: Heard = Heard::Frame(Kind::Heartbeat(true));

impl World {
    fn new() -> Self {
        Self::with(RoomsConfig::default())
    }

    fn with(config: RoomsConfig) -> Self {
        let rooms = Rooms::new(config, Vec::new());
        Self { now: Instant::now(), rooms, groups: Groups::default(), sessions: Vec::new(), orders: Vec::new(), told: Vec::new() }
    }

    fn open(&mut self, path: &str) -> usize {
        self.open_with(deps(path))
    }

    fn open_with(&mut self, deps: Deps) -> usize {
        let id = SessionId::next();
        self.rooms.open_session(self.now, id);
        self.sessions.push(Client { id, dialect: Sigver::new(self.now, deps), heard: Vec::new(), open: true });
        self.settle();
        self.sessions.len() - 1
    }

    /// A client that is a member, alone or by seeing the others.
    fn member(&mut self, key: &str, id: u32, members: &[u32]) -> usize {
        let client = self.open(key);
        self.send(client, connect(id, members));
        assert_eq!(self.heard(client), [TRUE]);
        client
    }

    fn send(&mut self, client: usize, kind: Kind) {
        self.send_bytes(client, &wire::encode(kind));
    }

    fn send_bytes(&mut self, client: usize, frame: &[u8]) {
        self.frame(client, Frame::Binary(frame));
    }

    fn frame(&mut self, client: usize, frame: Frame<'_>) {
        let client = &mut self.sessions[client];
        if client.open {
            client.dialect.handle_frame(self.now, frame).unwrap();
        }
        self.settle();
    }

    fn heard(&mut self, client: usize) -> Vec<Heard> {
        std::mem::take(&mut self.sessions[client].heard)
    }

    /// The connection goes.
    fn hang_up(&mut self, client: usize) {
        let client = &mut self.sessions[client];
        if std::mem::replace(&mut client.open, false) {
            let id = client.id;
            self.rooms.handle(self.now, id, RequestId::next(), Command::Leave);
            self.groups.handle_gone(self.now, id);
        }
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.sessions.iter().filter(|c| c.open).filter_map(|c| c.dialect.next_timeout()).min()
            && next <= end
        {
            self.now = self.now.max(next);
            for client in self.sessions.iter_mut().filter(|client| client.open) {
                if client.dialect.next_timeout().is_some_and(|at| at <= self.now) {
                    client.dialect.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    /// Carries everything out until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.sessions.len() {
                while let Some(output) = self.sessions[at].dialect.poll_output() {
                    idle = false;
                    self.carry_out(at, output);
                }
            }
            while let Some(effect) = self.rooms.poll_effect() {
                idle = false;
                let now = self.now;
                match effect {
                    Effect::Notify(to, notice) => match self.client(to) {
                        Some(client) => client.dialect.handle_notice(now, &notice),
                        None => self.told.push((to, notice)),
                    },
                    Effect::EndSession(session, _) => self.groups.handle_gone(now, session),
                    Effect::Report(_) => {}
                    // as the desk does where nobody has another channel
                    Effect::Say { room, from, to, text } => {
                        let views = self.rooms.rooms().into_iter().filter(|view| view.room == room).flat_map(|view| view.members);
                        let hearers =
                            views.map(|member| member.view.member).filter(|id| *id != from && to.is_none_or(|to| to == *id));
                        hearers.for_each(|hearer| self.rooms.told(now, from, hearer, text.clone()));
                    }
                    order => self.orders.push(order),
                }
            }
            while let Some(RealmOutput { to, word }) = self.groups.poll_output() {
                idle = false;
                let now = self.now;
                if let Some(client) = self.client(to) {
                    client.dialect.handle_realm(now, word);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn client(&mut self, session: SessionId) -> Option<&mut Client> {
        self.sessions.iter_mut().find(|client| client.id == session && client.open)
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let (now, client) = (self.now, &mut self.sessions[at]);
        if !client.open {
            return;
        }
        match output {
            Output::SendBinary(frame) => client.heard.push(Heard::Frame(wire::decode(&frame).unwrap())),
            Output::Realm(message) => self.groups.handle(now, client.id, message),
            Output::Command(req, command) => self.rooms.handle(now, client.id, req, command),
            Output::Close { code, reason } => {
                assert!(reason.len() < 123);
                client.heard.push(Heard::Closed(code, reason));
                self.hang_up(at);
            }
            Output::Send(text) => panic!("a text frame: {text}"),
        }
    }

    fn view(&self, room: &str) -> Option<RoomView> {
        self.rooms.rooms().into_iter().find(|view| view.room.as_str() == room)
    }

    /// User id and state of a room's members.
    fn states(&self, room: &str) -> Vec<(String, &'static str, &'static str)> {
        let members = self.view(room).map(|view| view.members).unwrap_or_default();
        members
            .into_iter()
            .map(|member| {
                let state = member.view.facts.state.unwrap();
                (member.view.user_id, state.group.as_str(), state.signalling.as_str())
            })
            .collect()
    }
}

fn closed(heard: &[Heard]) -> Option<u16> {
    match heard {
        [.., Heard::Closed(code, _)] => Some(*code),
        _ => None,
    }
}

// the conversation of the page, section 9, without the parts that the groups' own tests have
#[test]
fn two_clients_meet_by_the_server() {
    let mut world = World::new();
    let a = world.member("doc1", 3_000_000_001, &[]);
    world.send(a, connect(3_000_000_001, &[]));
    assert_eq!(world.heard(a), [TRUE]);
    let b = world.open("doc1");
    world.send(b, connect(4_000_000_002, &[]));
    assert_eq!(world.heard(b), [FALSE]);
    world.send(b, content(0, b"request"));
    let [Heard::Frame(Kind::Content(asked))] = &world.heard(a)[..] else { panic!("no content") };
    let number = asked.sender_id.unwrap();
    assert!(number != 0 && number < 1 << 31);
    assert_eq!((asked.recipient_id, asked.last_data, asked.data.as_deref()), (Some(0), None, Some(&b"request"[..])));
    world.send(a, content(number, b"response"));
    let [Heard::Frame(Kind::Content(answered))] = &world.heard(b)[..] else { panic!("no content") };
    assert_eq!((answered.sender_id, answered.recipient_id), (Some(0), Some(number)));
    assert_eq!(answered.data.as_deref(), Some(&b"response"[..]));
    world.send(b, connect(4_000_000_002, &[3_000_000_001]));
    assert_eq!(world.heard(b), [TRUE]);
    world.hang_up(b);
    let [Heard::Frame(Kind::Content(gone))] = &world.heard(a)[..] else { panic!("no content") };
    assert_eq!((gone.sender_id, gone.recipient_id, &gone.data), (Some(number), Some(0), &None));
}

#[test]
fn the_states_of_mute_are_seen_in_the_room() {
    let mut world = World::new();
    let a = world.open("doc1");
    assert!(world.view("doc1").is_none(), "who only opened a connection has LEFT");
    world.send(a, connect(1, &[]));
    assert_eq!(world.states("doc1"), [("1".into(), "joined", "checked")]);
    let b = world.open("doc1");
    world.send(b, connect(2, &[]));
    assert_eq!(world.states("doc1")[1], ("2".into(), "joining", "checked"));
    world.send(b, connect(2, &[1]));
    assert_eq!(world.states("doc1")[1], ("2".into(), "joined", "checked"));
    world.send(b, connect(2, &[77]));
    assert_eq!(world.states("doc1")[1], ("2".into(), "joining", "checked"));
    world.hang_up(b);
    world.hang_up(a);
    assert!(world.view("doc1").is_none());
}

#[test]
fn a_client_that_waits_for_its_answer_is_seen_as_checking() {
    let now = Instant::now();
    let mut dialect = Sigver::new(now, deps("doc1"));
    dialect.handle_frame(now, Frame::Binary(&wire::encode(connect(7, &[])))).unwrap();
    let Some(Output::Command(_, Command::Join(joining))) = dialect.poll_output() else { panic!("no join") };
    let state = joining.facts.state.unwrap();
    assert_eq!((state.group, state.signalling), (GroupState::Joining, SignallingState::Checking));
    assert_eq!((joining.user_id.as_str(), joining.room.as_str(), joining.opens), ("7", "doc1", Topology::Mesh));
}

/// One line of a recorded conversation.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    note: Option<String>,
    open: Option<String>,
    path: String,
    from: Option<String>,
    to: Option<String>,
    hex: String,
    close: Option<String>,
    closed: Option<String>,
    code: u16,
    wait: Option<u64>,
}

impl Line {
    fn frame(&self) -> Vec<u8> {
        self.hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }
}

#[test]
fn the_conversation_of_the_page_replays_byte_for_byte() {
    let mut world = World::new();
    let mut number = 1_234_567_889;
    world.groups = Groups::new(Box::new(move || {
        number += 1;
        number
    }));
    let mut names: Vec<String> = Vec::new();
    let at = |names: &[String], name: &Option<String>| names.iter().position(|it| Some(it) == name.as_ref());
    for (number, text) in include_str!("../../../tests/transcripts/sigver/doc1.jsonl").lines().enumerate() {
        let line: Line = serde_json::from_str(text).unwrap();
        if let Some(name) = &line.open {
            assert_eq!(world.open(&line.path), names.len());
            names.push(name.clone());
        } else if let Some(client) = at(&names, &line.from) {
            world.send_bytes(client, &line.frame());
        } else if let Some(client) = at(&names, &line.to) {
            let heard = if world.sessions[client].heard.is_empty() { None } else { Some(world.sessions[client].heard.remove(0)) };
            let Some(Heard::Frame(kind)) = heard else { panic!("line {}: {text}: {heard:?}", number + 1) };
            assert_eq!(wire::encode(kind), line.frame(), "line {}: {text}", number + 1);
        } else if let Some(client) = at(&names, &line.close) {
            world.hang_up(client);
        } else if let Some(client) = at(&names, &line.closed) {
            assert_eq!(closed(&world.heard(client)), Some(line.code), "line {}: {text}", number + 1);
        } else if let Some(seconds) = line.wait {
            world.pass(Duration::from_secs(seconds));
        } else {
            assert!(line.note.is_some(), "line {}: {text}", number + 1);
        }
    }
    for (client, name) in names.iter().enumerate() {
        assert_eq!(world.heard(client), [], "{name} heard more than is recorded");
    }
}

// checklist 11, 12, 20 of the conversation
#[test]
fn a_silent_client_sees_two_heartbeats_and_is_closed_at_15_seconds() {
    let mut world = World::new();
    let client = world.open("doc1");
    world.pass(Duration::from_millis(4_999));
    assert_eq!(world.heard(client), []);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(client), [BEAT]);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.heard(client), [BEAT]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(client), [Heard::Closed(4742, "too many missed heartbeats")]);
}

// checklist 11, 13
#[test]
fn heartbeats_keep_a_client_and_are_not_answered() {
    let mut world = World::new();
    let client = world.open("doc1");
    for _ in 0..10 {
        world.pass(Duration::from_secs(4));
        world.heard(client);
        world.send(client, Kind::Heartbeat(false));
        assert_eq!(world.heard(client), []);
    }
    let mut beats = 0;
    for _ in 0..8 {
        world.pass(Duration::from_secs(5));
        world.send(client, Kind::Heartbeat(true));
        beats += world.heard(client).len();
    }
    assert_eq!(beats, 8, "one each 5 s, whatever the client sends");
}

// checklist 12: the decision that any valid message counts
#[test]
fn a_client_that_talks_is_kept_without_heartbeats() {
    let mut world = World::new();
    let client = world.member("doc1", 1, &[]);
    for _ in 0..5 {
        world.pass(Duration::from_secs(9));
        world.send(client, content(5, b"to nobody"));
    }
    assert_eq!(closed(&world.heard(client)), None);
}

#[test]
fn ticks_that_come_late_are_not_made_up_for() {
    let now = Instant::now();
    let mut dialect = Sigver::new(now, deps("doc1"));
    // the driver was busy writing for 17 s; the client's own heartbeats wait to be read
    let late = now + Duration::from_secs(17);
    dialect.handle_timeout(late);
    assert!(matches!(dialect.poll_output(), Some(Output::SendBinary(_))));
    assert!(dialect.poll_output().is_none());
    assert_eq!(dialect.next_timeout(), Some(late + HEARTBEAT));
}

// checklist 14
#[test]
fn what_is_no_message_closes_only_its_sender() {
    let mut world = World::new();
    let good = world.member("doc1", 1, &[]);
    for bad in [&[][..], &[0x08], &[0x12, 0x05, 0x08], &[0xff; 20], &[0x52, 0x01, 0x00]] {
        let client = world.member("doc1", 2, &[1]);
        world.send_bytes(client, bad);
        assert_eq!(closed(&world.heard(client)), Some(4743), "{bad:?}");
        world.send(client, connect(2, &[1]));
        assert_eq!(world.heard(client), [], "what comes after the close does not count");
    }
    let client = world.open("doc1");
    world.frame(client, Frame::Text("hello my friend"));
    assert_eq!(world.heard(client), [Heard::Closed(4743, "Wrong data type")]);
    let client = world.open("doc1");
    world.send(client, connect(2, &vec![7; wire::MAX_MEMBERS + 1]));
    assert_eq!(closed(&world.heard(client)), Some(4743));
    world.send(good, connect(1, &[]));
    assert_eq!(world.heard(good), [TRUE]);
    assert_eq!(world.states("doc1").len(), 1);
}

// checklist 15
#[test]
fn keys_of_no_or_too_many_characters_are_closed() {
    let mut world = World::new();
    for (key, code) in [(String::new(), Some(4741)), ("k".repeat(513), Some(4741)), ("k".repeat(512), None)] {
        let client = world.open(&key);
        let heard = world.heard(client);
        assert_eq!(closed(&heard), code, "{}", key.len());
        assert!(heard.iter().all(|it| matches!(it, Heard::Closed(_, reason) if reason.starts_with("4741: "))));
    }
    world.member(&"k".repeat(512), 1, &[]);
}

// checklist 16
#[test]
fn paths_that_differ_are_different_groups() {
    let mut world = World::new();
    for key in ["a/b", "a", "%C3%A9", "%c3%a9", "x"] {
        world.member(key, 1, &[]);
    }
    let client = world.open("x?favored=1");
    world.send(client, connect(2, &[]));
    assert_eq!(world.heard(client), [FALSE]);
}

// checklist 20
#[test]
fn connected_from_a_client_is_ignored() {
    let mut world = World::new();
    let client = world.member("doc1", 1, &[]);
    world.send(client, Kind::Connected(false));
    world.send(client, Kind::Connected(true));
    assert_eq!(world.heard(client), []);
    assert_eq!(world.states("doc1"), [("1".into(), "joined", "checked")]);
}

// checklist 22
#[test]
fn after_a_restart_ten_clients_are_joined_within_ten_seconds() {
    let mut world = World::new();
    world.pass(Duration::from_secs(3)); // the clients' wait
    let ids: Vec<u32> = (1..=10).collect();
    for id in [7, 2, 9, 1, 10, 3, 8, 4, 6, 5] {
        let others: Vec<u32> = ids.iter().copied().filter(|other| *other != id).collect();
        let client = world.open("doc1");
        world.send(client, connect(id, &others));
        assert_eq!(world.heard(client), [TRUE], "no partner, so no new data channel");
    }
    let states = world.states("doc1");
    assert_eq!(states.len(), 10);
    assert!(states.iter().all(|(_, group, _)| *group == "joined"));
}

#[test]
fn a_client_that_may_not_join_is_closed() {
    let mut world = World::new();
    let nothing = world.open_with(Deps { grant: Grant::nothing(), ..deps("doc1") });
    assert_eq!(closed(&world.heard(nothing)), Some(1008));
    let over = world.open_with(Deps { grant: Grant { expires: Some(SystemTime::UNIX_EPOCH), ..Grant::all("") }, ..deps("doc1") });
    assert_eq!(closed(&world.heard(over)), Some(1008));
    let rights = Rights::NONE.with(Right::Publish);
    let elsewhere = Grant { rooms: RoomPattern("other".into()), rights, ..Grant::all("") };
    let client = world.open_with(Deps { grant: elsewhere, ..deps("doc1") });
    world.send(client, connect(1, &[]));
    assert_eq!(world.heard(client), [Heard::Closed(1008, "not allowed in this room")]);

    let mut world = World::with(RoomsConfig { max_members: 1, ..RoomsConfig::default() });
    let first = world.member("doc1", 1, &[]);
    let client = world.open("doc1");
    world.send(client, connect(2, &[1]));
    assert_eq!(world.heard(client), [Heard::Closed(1008, "the room is full")]);
    world.send(first, connect(1, &[2]));
    assert_eq!(world.heard(first), [TRUE]);
}

#[test]
fn what_is_said_while_the_room_is_asked_waits_and_is_bounded() {
    let now = Instant::now();
    let mut dialect = Sigver::new(now, deps("doc1"));
    let send = |dialect: &mut Sigver, kind| dialect.handle_frame(now, Frame::Binary(&wire::encode(kind))).unwrap();
    send(&mut dialect, content(1, b"before it asked: to nobody"));
    send(&mut dialect, connect(1, &[]));
    assert!(matches!(dialect.poll_output(), Some(Output::Command(_, Command::Join(_)))));
    send(&mut dialect, content(1, b"early"));
    assert!(dialect.poll_output().is_none());
    for _ in 0..10 {
        send(&mut dialect, content(1, &[0; 10_000]));
    }
    assert!(matches!(dialect.poll_output(), Some(Output::Close { code: 1008, .. })));
    assert!(dialect.poll_output().is_none());
}

#[test]
fn the_room_is_told_of_a_state_once() {
    let mut world = World::new();
    let client = world.member("doc1", 1, &[]);
    let session = world.sessions[client].id;
    world.sessions[client].dialect.handle_realm(world.now, RealmWord::Sigver(Word::Connected(true)));
    let dialect = &mut world.sessions[client].dialect;
    assert!(matches!(dialect.poll_output(), Some(Output::SendBinary(_))));
    assert!(dialect.poll_output().is_none(), "nothing new for the room of {session}");
}

#[test]
fn the_end_of_the_place_is_said() {
    for (reason, code) in [(EndReason::Stopping, 1001), (EndReason::Evicted, 1008)] {
        let now = Instant::now();
        let mut dialect = Sigver::new(now, deps("doc1"));
        dialect.handle_notice(now, &Notice::Ended { reason });
        assert!(matches!(dialect.poll_output(), Some(Output::Close { code: said, .. }) if said == code));
        assert_eq!(dialect.next_timeout(), None);
    }
}

impl World {
    /// A member of another dialect.
    fn page(&mut self, room: &str) -> SessionId {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let joining = Joining {
            room: crate::vocab::RoomId::new(room).unwrap(),
            user_id: "anna".into(),
            dialect: DialectName::Page,
            remote: None,
            grant: Grant::all("test"),
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.rooms.handle(self.now, session, RequestId::next(), Command::Join(Box::new(joining)));
        self.settle();
        session
    }

    fn channel(&mut self, client: usize, peer: PeerId, bytes: Bytes) {
        let news = ChannelNews::Message(DataMessage::Binary(bytes));
        self.sessions[client].dialect.handle_channel(self.now, peer, news);
        self.settle();
    }

    /// What was written on the channel since the last look.
    fn transmitted(&mut self) -> Vec<Bytes> {
        let orders = std::mem::take(&mut self.orders).into_iter();
        orders
            .filter_map(|it| if let Effect::Transmit { message, .. } = it { Some(message.bytes().clone()) } else { None })
            .collect()
    }

    /// The client's side of a service message that came by the server: the binding's number, service and content.
    fn service(&mut self, client: usize) -> Vec<(u32, u32, Bytes)> {
        let contents = self.heard(client).into_iter().filter_map(|it| match it {
            Heard::Frame(Kind::Content(content)) => Some(content),
            _ => None,
        });
        contents
            .map(|content| {
                let message: Envelope = read(&content.data.unwrap()).unwrap();
                (content.sender_id.unwrap(), message.service_id, message.content)
            })
            .collect()
    }
}

#[test]
fn text_crosses_between_a_group_and_others_in_its_room() {
    use member::wire::{Builder, BuilderKind, DataChannel, DataChannelKind, Init, InitKind, Ping, User, UserContent};
    let mut world = World::new();
    let client = world.member("doc1", 3_000_000_001, &[]);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.service(client), [], "among themselves netflux clients need nobody");
    let page = world.page("doc1");
    let [(number, service::BUILDER, request)] = &world.service(client)[..] else { panic!("Portico does not ask") };
    assert_eq!(read::<Builder>(request).unwrap().kind, Some(BuilderKind::Request(Bytes::new())));

    let say = |world: &mut World, service, message: &Builder| {
        world.send(client, content(*number, &envelope(0, *number, service, message)));
    };
    say(&mut world, service::BUILDER, &Builder { kind: Some(BuilderKind::Response(true)) });
    let offer = DataChannel { kind: Some(DataChannelKind::Offer("the client's offer".into())) };
    world.send(client, content(*number, &envelope(0, *number, service::DATA_CHANNEL, &offer)));
    let Some(Effect::OpenPeer(open)) = world.orders.pop() else { panic!("no connection is opened") };
    assert_eq!(open.offer, Some(Sdp::offer("the client's offer")));
    world.heard(client);
    let answer = Sdp::answer("Portico's answer");
    world.rooms.handle_peer(world.now, crate::room::PeerUpdate::Described { peer: open.peer, sdp: answer });
    world.settle();
    let answers = world.service(client);
    assert_eq!(answers.len(), 2, "the answer, and the end of candidates");
    let answer = read::<DataChannel>(&answers[0].2).unwrap().kind;
    assert_eq!(answer, Some(DataChannelKind::Answer("Portico's answer".into())));

    let ping = Ping { sender_id: 3_000_000_001, members: vec![3_000_000_001], ..Ping::default() };
    world.channel(client, open.peer, member::wire::init(InitKind::Ping(ping)));
    let pong: Init = read(&world.transmitted()[0]).unwrap();
    let Some(InitKind::Pong(portico)) = pong.kind else { panic!("no pong") };

    world.rooms.handle(world.now, page, RequestId::next(), Command::Say { to: None, text: "hello group".into() });
    world.settle();
    let message: Envelope = read(&world.transmitted()[0]).unwrap();
    assert_eq!((message.sender_id, message.service_id), (portico, service::USER));
    let Some(UserContent::Full(text)) = read::<User>(&message.content).unwrap().content else { panic!("no text") };
    assert_eq!(text, "hello group");

    world.told.clear();
    for message in member::pieces::cut("hello room", 1) {
        world.channel(client, open.peer, envelope(3_000_000_001, 0, service::USER, &message));
    }
    let [(to, Notice::Said { from, text })] = &world.told[..] else { panic!("{:?}", world.told) };
    assert_eq!((*to, from.user_id.as_str(), text.as_str()), (page, "3000000001", "hello room"));

    // the other leaves: so does Portico
    world.orders.clear();
    world.rooms.handle(world.now, page, RequestId::next(), Command::Leave);
    world.settle();
    assert!(world.orders.iter().any(|it| matches!(it, Effect::ClosePeer { peer, .. } if *peer == open.peer)));
}

#[test]
fn a_connection_that_goes_down_is_tried_again() {
    use member::wire::{Builder, BuilderKind, DataChannel, DataChannelKind};
    let mut world = World::new();
    world.page("doc1");
    let client = world.open("doc1");
    world.send(client, connect(3_000_000_001, &[]));
    let number = world.service(client)[0].0;
    let yes = Builder { kind: Some(BuilderKind::Response(true)) };
    world.send(client, content(number, &envelope(0, number, service::BUILDER, &yes)));
    let offer = DataChannel { kind: Some(DataChannelKind::Offer("offer".into())) };
    world.send(client, content(number, &envelope(0, number, service::DATA_CHANNEL, &offer)));
    let Some(Effect::OpenPeer(open)) = world.orders.pop() else { panic!("no connection is opened") };
    world.rooms.handle_peer(world.now, crate::room::PeerUpdate::Down { peer: open.peer, reason: EndReason::NeverConnected });
    world.settle();
    world.heard(client);
    // the test's world does not wake the groups by itself
    world.now += Duration::from_secs(3);
    world.groups.handle_timeout(world.now);
    world.settle();
    let again = world.service(client);
    assert!(again[0].0 != number && again[0].1 == service::BUILDER, "{again:?}");
}

proptest! {
    // any bytes in: an answer or a close, and the others go on
    #[test]
    fn any_frames_are_answered_or_closed(
        frames in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            (0..5_u32, prop::collection::vec(0..5_u32, 0..3)).prop_map(|(id, seen)| wire::encode(connect(id, &seen)).to_vec()),
            (any::<u32>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(to, data)| wire::encode(content(to, &data)).to_vec()),
        ], 0..40),
    ) {
        let mut world = World::new();
        let good = world.member("doc1", 1000, &[]);
        let mut bad = world.open("doc1");
        for frame in frames {
            world.send_bytes(bad, &frame);
            if closed(&world.heard(bad)).is_some() {
                bad = world.open("doc1");
            }
            world.heard(good);
        }
        if world.sessions[good].open {
            world.send(good, connect(1000, &[]));
            let heard = world.heard(good);
            prop_assert!(heard.contains(&TRUE) || heard.contains(&FALSE), "{:?}", heard);
        }
    }
}
