//! Rooms, and the sessions of several clients.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use crate::room::{
    Body, Command, DialectName, Effect, EndReason, Framing, MemberView, Notice, OpenPeer, PeerUpdate, Purpose, RoomConfig,
    RoomsConfig, Signal, Topology,
};
use crate::signalling::Frame;
use crate::signalling::algorea::{Algorea, AlgoreaConfig, DEFAULT_ROOM, Deps, Variant};
use crate::signalling::testing::{NoRealm, Sent, Wiring};
use crate::vocab::{Candidate, Grant, MemberId, PeerId, RoomId, Sdp, SessionId};

/// A member that speaks something else: it tells and hears what the room carries.
pub struct Foreigner {
    pub session: SessionId,
    pub member: MemberId,
    pub heard: VecDeque<(MemberView, Signal)>,
}

pub struct World {
    wiring: Wiring<Algorea>,
    pub foreigners: Vec<Foreigner>,
    /// Connections that end at Portico.
    pub meets: Vec<Meeting>,
}

/// A connection that ends at Portico, which answers or offers at once.
pub struct Meeting {
    pub peer: PeerId,
    pub session: SessionId,
    pub with: Option<MemberId>,
    /// The client's descriptions.
    pub described: Vec<Sdp>,
    pub candidates: Vec<Candidate>,
}

/// How a client connects.
#[derive(Default)]
pub struct How {
    pub variant: Option<Variant>,
    pub room: Option<&'static str>,
    pub config: AlgoreaConfig,
}

impl Deref for World {
    type Target = Wiring<Algorea>;

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
        Self::with(RoomsConfig::default())
    }

    pub fn with(config: RoomsConfig) -> Self {
        Self { wiring: Wiring::new(config, NoRealm), foreigners: Vec::new(), meets: Vec::new() }
    }

    /// A room whose members' connections end at Portico.
    pub fn sfu() -> Self {
        let mut world = Self::new();
        let room = RoomConfig {
            name: RoomId::new(DEFAULT_ROOM).unwrap(),
            topology: Topology::Sfu,
            max_members: None,
            sources: Vec::new(),
            mix: Default::default(),
        };
        let now = world.now;
        world.rooms.configure(now, RoomsConfig::default(), vec![room]);
        world
    }

    /// A new connection whose first outputs have not been carried out.
    pub fn upgrade(&mut self, how: How) -> usize {
        let algorea = Algorea::new(Deps {
            room: RoomId::new(how.room.unwrap_or(DEFAULT_ROOM)).unwrap(),
            grant: Grant::all(""),
            remote: None,
            variant: how.variant,
            config: how.config,
        });
        self.wiring.open(algorea)
    }

    /// A new connection that has its list; the ids in it.
    pub fn connect_as(&mut self, how: How) -> (usize, Vec<String>) {
        let client = self.upgrade(how);
        self.pump();
        let list = self.hear(client);
        assert!(matches!(list["type"].as_str(), Some("connected-peers" | "peers")), "the list comes first: {list}");
        let ids = list["peerIds"].as_array().expect("a list").iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        (client, ids)
    }

    pub fn connect(&mut self) -> usize {
        self.connect_as(How::default()).0
    }

    pub fn connect_branch(&mut self) -> usize {
        self.connect_as(How { variant: Some(Variant::Branch), ..How::default() }).0
    }

    /// A member of another dialect in the default room.
    pub fn foreigner(&mut self, dialect: DialectName) -> usize {
        let session = self.stranger(dialect, DEFAULT_ROOM, "u");
        self.foreigners.push(Foreigner { session, member: MemberId([0; 16]), heard: VecDeque::new() });
        self.pump();
        self.foreigners.len() - 1
    }

    pub fn tell(&mut self, foreigner: usize, to: &str, signal: Signal) {
        let to = crate::signalling::algorea::wire::read_id(to).unwrap();
        let session = self.foreigners[foreigner].session;
        let command = Command::Tell { to, body: Body::Signal(Box::new(signal)) };
        self.ask(session, command);
        self.pump();
    }

    /// The id that others see of a client.
    pub fn id(&self, client: usize) -> String {
        let session = self.clients[client].session;
        let all = self.rooms.rooms();
        let ids: Vec<MemberId> = all.iter().flat_map(|room| &room.members).map(|member| member.view.member).collect();
        let own = self.clients[client].dialect.place.as_ref().expect("the client has joined").own;
        assert!(ids.contains(&own) || self.clients[client].closed.is_some(), "{session} is in a room");
        crate::signalling::algorea::wire::write_id(own)
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

    /// The connection ends.
    pub fn end(&mut self, client: usize, goodbye: bool) {
        self.wiring.end(client, if goodbye { Command::Leave } else { Command::Lost });
        self.pump();
    }

    pub fn hear_text(&mut self, client: usize) -> String {
        match self.clients[client].inbox.pop_front().expect("something was sent") {
            Sent::Text(text) => text,
            Sent::Bytes(bytes) => panic!("the dialect has no frames of bytes: {bytes:?}"),
        }
    }

    pub fn hear(&mut self, client: usize) -> Value {
        serde_json::from_str(&self.hear_text(client)).expect("frames are JSON")
    }

    pub fn hear_all(&mut self, client: usize) -> Vec<Value> {
        (0..self.clients[client].inbox.len()).map(|_| self.hear(client)).collect()
    }

    /// Carries outputs and effects until nothing is left to do.
    pub fn pump(&mut self) {
        loop {
            self.wiring.pump();
            while let Some((session, notice)) = self.told.pop_front() {
                self.tell_foreigner(session, notice);
            }
            match self.orders.pop_front() {
                Some(order) => self.carry_order(order),
                None => return,
            }
        }
    }

    fn tell_foreigner(&mut self, session: SessionId, notice: Notice) {
        let Some(foreigner) = self.foreigners.iter_mut().find(|foreigner| foreigner.session == session) else { return };
        match notice {
            Notice::Welcome(welcome) => foreigner.member = welcome.member,
            Notice::Told { from, body: Body::Signal(signal) } => foreigner.heard.push_back((from, *signal)),
            Notice::Ended { reason } => assert_eq!(reason, EndReason::Left),
            _ => {}
        }
    }

    fn carry_order(&mut self, order: Effect) {
        let now = self.now;
        match order {
            Effect::OpenPeer(open) => {
                let OpenPeer { peer, session, offer, purpose, .. } = *open;
                let Purpose::Meet(meet) = purpose else { panic!("algorea's clients only meet") };
                assert_eq!(meet.framing, Framing::OwnChannels);
                let sdp = match offer {
                    Some(_) => Sdp::answer("v=0\r\nportico\r\n"),
                    None => Sdp::offer("v=0\r\nportico\r\n"),
                };
                let described = offer.into_iter().collect();
                self.meets.push(Meeting { peer, session, with: meet.with, described, candidates: Vec::new() });
                self.rooms.handle_peer(now, PeerUpdate::Described { peer, sdp });
            }
            Effect::DescribePeer { peer, sdp } => {
                self.meets.iter_mut().find(|meet| meet.peer == peer).unwrap().described.push(sdp)
            }
            Effect::AddCandidate { peer, candidate } => {
                self.meets.iter_mut().find(|meet| meet.peer == peer).unwrap().candidates.push(candidate);
            }
            Effect::ClosePeer { peer, .. } => self.meets.retain(|meet| meet.peer != peer),
            _ => {}
        }
    }

    /// The client's connection that stands for somebody, or for the room.
    pub fn meeting(&self, client: usize, with: Option<MemberId>) -> Option<&Meeting> {
        let session = self.clients[client].session;
        self.meets.iter().find(|meet| meet.session == session && meet.with == with)
    }
}

pub fn offer(to: &str) -> Value {
    json!({"action":"forward-offer","toPeerId":to,"offer":{"type":"offer","sdp":"v=0\r\n"}})
}

pub fn answer(to: &str) -> Value {
    json!({"action":"forward-answer","toPeerId":to,"answer":{"type":"answer","sdp":"v=0\r\n"}})
}

pub fn candidate(to: &str, number: usize) -> Value {
    json!({"action":"forward-icecandidate","toPeerId":to,"candidate":a_candidate(number)})
}

pub fn a_candidate(number: usize) -> Value {
    json!({"candidate":format!("candidate:{number} 1 udp 1 192.0.2.1 9 typ host"),"sdpMid":"0","sdpMLineIndex":0})
}

/// An error frame without its request's number, which must be a UUID.
pub fn error(mut frame: Value) -> Value {
    let id = frame.as_object_mut().and_then(|frame| frame.remove("requestId")).expect("errors have a request id");
    assert!(uuid::Uuid::parse_str(id.as_str().unwrap()).is_ok(), "{id}");
    frame
}
