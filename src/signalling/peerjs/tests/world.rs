//! Several clients' dialects wired to one realm and one room.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::*;
use crate::room::{Effect, Meet, PeerUpdate, Purpose, RoomConfig, Rooms, RoomsConfig, TrackView};
use crate::signalling::Realm;
use crate::vocab::{Candidate, Codec, MediaKind, MemberId, PeerId, Sdp, SdpKind, SessionId, TrackFormat, TrackId};

/// The mount's key and, with it, its room.
pub const KEY: &str = "k";

pub struct Client {
    pub session: SessionId,
    pub dialect: Peerjs,
    pub inbox: VecDeque<String>,
    pub closed: Option<(u16, &'static str)>,
}

/// A member of another dialect.
pub struct Other {
    pub session: SessionId,
    pub member: MemberId,
    pub notices: Vec<Notice>,
}

impl Other {
    /// Its id as PeerJS clients write it.
    pub fn id(&self) -> String {
        self.member.to_string()
    }
}

/// A connection that ends at Portico.
pub struct End {
    pub peer: PeerId,
    pub meet: Meet,
    pub descriptions: Vec<Sdp>,
    pub candidates: Vec<Candidate>,
}

pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub realm: PeerjsRealm,
    pub clients: Vec<Client>,
    pub others: Vec<Other>,
    pub ends: Vec<End>,
}

/// Portico's answer to every offer, and its own offer.
pub const PORTICO: &str = "v=0\r\no=- 5 1 IN IP4 127.0.0.1\r\n";
/// A client's offer of a call.
pub const CALL: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendrecv\r\n\
                        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendrecv\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
/// A client's offer of a data connection.
pub const DATA: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";

/// What a client's session is given.
pub fn deps(id: &str, token: &str, key: &str, grant: Grant) -> Deps {
    Deps {
        room: (key == KEY).then(|| RoomId::new(KEY).unwrap()),
        who: Introduction { id: id.into(), token: token.into(), key: key.into(), version: None },
        grant,
        remote: None,
        alive_timeout: Duration::from_secs(90),
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(RoomsConfig::default(), 5000)
    }

    pub fn with(rooms: RoomsConfig, limit: usize) -> Self {
        let realm = RealmConfig { reserved: KEY.into(), limit, expire: Duration::from_secs(5) };
        Self {
            now: Instant::now(),
            rooms: Rooms::new(rooms, Vec::new()),
            realm: PeerjsRealm::new(realm, PeerjsFigures::shared()),
            clients: Vec::new(),
            others: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The room is an `sfu`.
    pub fn sfu() -> Self {
        let mut world = Self::new();
        let name = RoomId::new(KEY).unwrap();
        let room = RoomConfig { name, topology: Topology::Sfu, max_members: None, sources: Vec::new() };
        world.rooms.configure(world.now, RoomsConfig::default(), vec![room]);
        world
    }

    /// A member of another dialect joins; its number.
    pub fn join(&mut self, dialect: DialectName) -> usize {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let joining = Joining {
            room: RoomId::new(KEY).unwrap(),
            user_id: "somebody".into(),
            dialect,
            remote: None,
            grant: Grant::all(""),
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.others.push(Other { session, member: MemberId([0; 16]), notices: Vec::new() });
        self.rooms.handle(self.now, session, RequestId::next(), Command::Join(Box::new(joining)));
        self.pump();
        let other = self.others.last_mut().unwrap();
        let welcome = other.notices.drain(..).find_map(|notice| match notice {
            Notice::Welcome(welcome) => Some(welcome),
            _ => None,
        });
        other.member = welcome.expect("welcome").member;
        self.others.len() - 1
    }

    /// Something a member of another dialect asks for.
    pub fn ask(&mut self, other: usize, command: Command) {
        self.rooms.handle(self.now, self.others[other].session, RequestId::next(), command);
        self.pump();
    }

    /// A member of another dialect has a stream that is up.
    pub fn publish(&mut self, other: usize, stream: &str) -> PeerId {
        let peer = PeerId::next();
        let stream = crate::vocab::StreamName::new(stream).unwrap();
        self.ask(other, Command::Publish { peer, stream, offer: Sdp::offer(CALL) });
        self.news(PeerUpdate::Up { peer });
        self.news(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
        peer
    }

    /// The connection is up and its media flows.
    pub fn flow(&mut self, end: usize) {
        let peer = self.ends[end].peer;
        self.news(PeerUpdate::Up { peer });
        self.news(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
        self.news(PeerUpdate::Flowing { peer, kind: MediaKind::Video });
    }

    pub fn news(&mut self, update: PeerUpdate) {
        self.rooms.handle_peer(self.now, update);
        self.pump();
    }

    /// A new connection, not looked at yet; its number.
    pub fn connect(&mut self, id: &str, token: &str, key: &str) -> usize {
        self.connect_as(id, token, key, Grant::all(""))
    }

    pub fn connect_as(&mut self, id: &str, token: &str, key: &str, grant: Grant) -> usize {
        self.introduce(deps(id, token, key, grant))
    }

    /// A new connection that says which PeerJS it is.
    pub fn connect_with(&mut self, id: &str, version: &str) -> usize {
        let mut deps = deps(id, "t", KEY, Grant::all(""));
        deps.who.version = Some(version.into());
        self.introduce(deps)
    }

    fn introduce(&mut self, deps: Deps) -> usize {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let dialect = Peerjs::new(self.now, deps);
        self.clients.push(Client { session, dialect, inbox: VecDeque::new(), closed: None });
        self.pump();
        self.clients.len() - 1
    }

    /// A new client that heard `OPEN`.
    pub fn open(&mut self, id: &str) -> usize {
        let client = self.connect(id, &format!("token of {id}"), KEY);
        assert_eq!(self.hear(client), json!({"type": "OPEN"}));
        client
    }

    pub fn say(&mut self, client: usize, message: Value) {
        self.say_text(client, &message.to_string());
    }

    pub fn say_text(&mut self, client: usize, text: &str) {
        self.say_frame(client, Frame::Text(text));
    }

    pub fn say_frame(&mut self, client: usize, frame: Frame<'_>) {
        if self.clients[client].closed.is_none() {
            self.clients[client].dialect.handle_frame(self.now, frame).expect("every frame is taken");
            self.pump();
        }
    }

    /// The next frame, as JSON.
    pub fn hear(&mut self, client: usize) -> Value {
        serde_json::from_str(&self.hear_text(client)).unwrap()
    }

    pub fn hear_text(&mut self, client: usize) -> String {
        let one = &mut self.clients[client];
        one.inbox.pop_front().unwrap_or_else(|| panic!("nothing was sent to client {client}; closed: {:?}", one.closed))
    }

    pub fn silent(&self) -> bool {
        self.clients.iter().all(|client| client.inbox.is_empty())
    }

    /// The client closes its socket.
    pub fn hang_up(&mut self, client: usize) {
        self.clients[client].closed.get_or_insert((0, "by the client"));
        self.rooms.handle(self.now, self.clients[client].session, RequestId::next(), Command::Leave);
        self.pump();
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
        if self.realm.next_timeout().is_some_and(|at| at <= self.now) {
            self.realm.handle_timeout(self.now);
        }
        for client in self.clients.iter_mut().filter(|client| client.closed.is_none()) {
            if client.dialect.next_timeout().is_some_and(|at| at <= self.now) {
                client.dialect.handle_timeout(self.now);
            }
        }
        self.pump();
    }

    /// Members of the room now, by their ids.
    pub fn members(&self) -> Vec<String> {
        let rooms = self.rooms.rooms();
        rooms.iter().flat_map(|room| &room.members).map(|member| member.view.user_id.clone()).collect()
    }

    /// Carries outputs and effects until nothing is left to do.
    pub fn pump(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.clients.len() {
                while let Some(output) = self.clients[at].dialect.poll_output() {
                    idle = false;
                    self.carry(at, output);
                }
            }
            while let Some(effect) = self.rooms.poll_effect() {
                idle = false;
                match effect {
                    Effect::Notify(session, notice) => {
                        if let Some(client) = self.living(session) {
                            self.clients[client].dialect.handle_notice(self.now, &notice);
                        } else if let Some(other) = self.others.iter_mut().find(|other| other.session == session) {
                            other.notices.push(notice);
                        }
                    }
                    Effect::OpenPeer(open) => {
                        let (peer, offer) = (open.peer, open.offer);
                        let tracks = match &open.purpose {
                            Purpose::Ingest { .. } => true,
                            Purpose::Meet(meet) => meet.publish.is_some(),
                            Purpose::Play { .. } => false,
                        };
                        let sdp = if offer.is_some() { Sdp::answer(PORTICO) } else { Sdp::offer(PORTICO) };
                        if let Purpose::Meet(meet) = open.purpose {
                            let descriptions = offer.into_iter().collect();
                            self.ends.push(End { peer, meet: *meet, descriptions, candidates: Vec::new() });
                        }
                        if tracks {
                            self.rooms.handle_peer(self.now, PeerUpdate::Tracks { peer, tracks: views(peer) });
                        }
                        self.rooms.handle_peer(self.now, PeerUpdate::Described { peer, sdp });
                    }
                    Effect::DescribePeer { peer, sdp } => {
                        let offered = sdp.kind == SdpKind::Offer;
                        if let Some(end) = self.ends.iter_mut().find(|end| end.peer == peer) {
                            end.descriptions.push(sdp);
                        }
                        if offered {
                            let sdp = Sdp::answer(PORTICO);
                            self.rooms.handle_peer(self.now, PeerUpdate::Described { peer, sdp });
                        }
                    }
                    Effect::AddCandidate { peer, candidate } => {
                        if let Some(end) = self.ends.iter_mut().find(|end| end.peer == peer) {
                            end.candidates.push(candidate);
                        }
                    }
                    Effect::ClosePeer { peer, .. } => self.ends.retain(|end| end.peer != peer),
                    Effect::EndSession(session, _) => self.realm.handle_gone(self.now, session),
                    _ => {}
                }
            }
            while let Some(output) = self.realm.poll_output() {
                idle = false;
                if let Some(client) = self.living(output.to) {
                    self.clients[client].dialect.handle_realm(self.now, output.word);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn living(&self, session: SessionId) -> Option<usize> {
        self.clients.iter().position(|client| client.session == session && client.closed.is_none())
    }

    fn carry(&mut self, at: usize, output: Output) {
        let client = &mut self.clients[at];
        if client.closed.is_some() {
            return;
        }
        match output {
            Output::Command(req, command) => self.rooms.handle(self.now, client.session, req, command),
            Output::Realm(message) => self.realm.handle(self.now, client.session, message),
            Output::Send(text) => client.inbox.push_back(text),
            Output::Close { code, reason } => {
                client.closed = Some((code, reason));
                self.rooms.handle(self.now, client.session, RequestId::next(), Command::Leave);
            }
            Output::SendBinary(_) => panic!("brokers send text"),
        }
    }
}

fn views(peer: PeerId) -> Vec<TrackView> {
    let view =
        |kind: MediaKind, codec| TrackView { track: TrackId(peer.0 * 10 + kind as u64), kind, format: TrackFormat::plain(codec) };
    vec![view(MediaKind::Audio, Codec::Opus), view(MediaKind::Video, Codec::VP8)]
}

pub fn offer(dst: &str) -> Value {
    json!({"type": "OFFER", "dst": dst, "payload": {"sdp": {"type": "offer", "sdp": "v=0"}, "type": "data", "connectionId": "dc_1"}})
}

/// What the broker makes of a message of `src`.
pub fn from(src: &str, mut message: Value) -> Value {
    message["src"] = src.into();
    message
}

pub fn expire(absent: &str, dst: &str) -> Value {
    json!({"type": "EXPIRE", "src": absent, "dst": dst})
}
