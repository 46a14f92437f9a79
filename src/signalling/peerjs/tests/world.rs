//! Several clients' dialects wired to one realm and one room.

use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use super::super::*;
use crate::room::{Effect, Meet, PeerUpdate, Purpose, RoomConfig, RoomsConfig, TrackView};
use crate::signalling::testing::{Sent, Wiring};
use crate::vocab::{Candidate, Codec, MediaKind, MemberId, PeerId, Sdp, SdpKind, SessionId, TrackFormat, TrackId};

/// The mount's key and, with it, its room.
pub const KEY: &str = "k";

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
    wiring: Wiring<Peerjs, PeerjsRealm>,
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

impl Deref for World {
    type Target = Wiring<Peerjs, PeerjsRealm>;

    fn deref(&self) -> &Self::Target {
        &self.wiring
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.wiring
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(RoomsConfig::default(), 5000)
    }

    pub fn with(rooms: RoomsConfig, limit: usize) -> Self {
        let realm = RealmConfig { reserved: KEY.into(), limit, expire: Duration::from_secs(5) };
        let realm = PeerjsRealm::new(realm, PeerjsFigures::shared());
        Self { wiring: Wiring::new(rooms, realm), others: Vec::new(), ends: Vec::new() }
    }

    /// The room is an `sfu`.
    pub fn sfu() -> Self {
        let mut world = Self::new();
        let name = RoomId::new(KEY).unwrap();
        let room = RoomConfig { name, topology: Topology::Sfu, max_members: None, sources: Vec::new(), mix: Default::default() };
        let now = world.now;
        world.rooms.configure(now, RoomsConfig::default(), vec![room]);
        world
    }

    /// A member of another dialect joins; its number.
    pub fn join(&mut self, dialect: DialectName) -> usize {
        let session = self.wiring.stranger(dialect, KEY, "somebody");
        self.others.push(Other { session, member: MemberId([0; 16]), notices: Vec::new() });
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
        self.wiring.ask(self.others[other].session, command);
        self.pump();
    }

    /// A member of another dialect has a stream that is up.
    pub fn publish(&mut self, other: usize, stream: &str) -> PeerId {
        let peer = PeerId::next();
        let stream = crate::vocab::StreamName::new(stream).unwrap();
        self.ask(other, Command::Publish { peer, stream, offer: Some(Sdp::offer(CALL)) });
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

    fn tell(&mut self, update: PeerUpdate) {
        self.wiring.rooms.handle_peer(self.wiring.now, update);
    }

    pub fn news(&mut self, update: PeerUpdate) {
        self.tell(update);
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
        let client = self.enter(Peerjs::new(self.now, deps));
        self.pump();
        client
    }

    /// A connection of which nothing was carried out yet; its number.
    pub fn enter(&mut self, dialect: Peerjs) -> usize {
        self.wiring.open(dialect)
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
        self.wiring.frame(client, frame);
        self.pump();
    }

    /// The next frame, as JSON.
    pub fn hear(&mut self, client: usize) -> Value {
        serde_json::from_str(&self.hear_text(client)).unwrap()
    }

    pub fn hear_text(&mut self, client: usize) -> String {
        let one = &mut self.clients[client];
        match one.inbox.pop_front() {
            Some(Sent::Text(text)) => text,
            Some(Sent::Bytes(_)) => panic!("brokers send text"),
            None => panic!("nothing was sent to client {client}; closed: {:?}", one.closed),
        }
    }

    /// The client closes its socket.
    pub fn hang_up(&mut self, client: usize) {
        self.wiring.end(client, Command::Leave);
        self.pump();
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.wake();
            self.pump();
        }
        self.now = end;
    }

    /// Members of the room now, by their ids.
    pub fn members(&self) -> Vec<String> {
        let rooms = self.rooms.rooms();
        rooms.iter().flat_map(|room| &room.members).map(|member| member.view.user_id.clone()).collect()
    }

    /// Who has a stream that is up, by their ids.
    pub fn streams(&self) -> Vec<String> {
        let rooms = self.rooms.rooms();
        let members = rooms.iter().flat_map(|room| &room.members);
        let mut ids: Vec<String> =
            members.filter(|member| !member.view.streams.is_empty()).map(|member| member.view.user_id.clone()).collect();
        ids.sort();
        ids
    }

    /// Carries everything out until nothing is left to do: Portico answers and offers at once.
    pub fn pump(&mut self) {
        loop {
            self.wiring.pump();
            while let Some((session, notice)) = self.told.pop_front() {
                self.others.iter_mut().find(|other| other.session == session).expect("a stranger").notices.push(notice);
            }
            let Some(order) = self.orders.pop_front() else { return };
            self.carry_out(order);
        }
    }

    fn carry_out(&mut self, order: Effect) {
        let end = |ends: &[End], peer| ends.iter().position(|end| end.peer == peer);
        match order {
            Effect::OpenPeer(open) => {
                let (peer, offer) = (open.peer, open.offer);
                let tracks = match &open.purpose {
                    Purpose::Ingest { .. } => true,
                    Purpose::Meet(meet) => meet.publish.is_some(),
                    Purpose::Play { .. } | Purpose::Trunk => false,
                };
                let sdp = if offer.is_some() { Sdp::answer(PORTICO) } else { Sdp::offer(PORTICO) };
                if let Purpose::Meet(meet) = open.purpose {
                    let descriptions = offer.into_iter().collect();
                    self.ends.push(End { peer, meet: *meet, descriptions, candidates: Vec::new() });
                }
                if tracks {
                    self.tell(PeerUpdate::Tracks { peer, tracks: views(peer) });
                }
                self.tell(PeerUpdate::Described { peer, sdp });
            }
            Effect::DescribePeer { peer, sdp } => {
                let offered = sdp.kind == SdpKind::Offer;
                if let Some(at) = end(&self.ends, peer) {
                    self.ends[at].descriptions.push(sdp);
                }
                if offered {
                    self.tell(PeerUpdate::Described { peer, sdp: Sdp::answer(PORTICO) });
                }
            }
            Effect::AddCandidate { peer, candidate } => {
                if let Some(at) = end(&self.ends, peer) {
                    self.ends[at].candidates.push(candidate);
                }
            }
            Effect::ClosePeer { peer, .. } => self.ends.retain(|end| end.peer != peer),
            _ => {}
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
