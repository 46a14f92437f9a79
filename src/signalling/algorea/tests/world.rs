//! Rooms, and the sessions of several clients.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Value, json};

use crate::room::{
    Body, Command, DialectName, Effect, EndReason, Facts, Framing, Joining, MemberView, Notice, OpenPeer, PeerUpdate, Purpose,
    RoomConfig, Rooms, RoomsConfig, Signal, Topology,
};
use crate::signalling::algorea::{Algorea, AlgoreaConfig, DEFAULT_ROOM, Deps, Variant};
use crate::signalling::{Dialect, Frame, Output};
use crate::vocab::{Candidate, Grant, MemberId, PeerId, RequestId, RoomId, Sdp, SessionId};

/// A client's end of its connection.
pub struct Client {
    pub session: SessionId,
    pub algorea: Algorea,
    /// What it was sent and has not looked at, as text.
    pub inbox: VecDeque<String>,
    pub closed: Option<(u16, &'static str)>,
}

/// A member that speaks something else: it tells and hears what the room carries.
pub struct Foreigner {
    pub session: SessionId,
    pub member: MemberId,
    pub heard: VecDeque<(MemberView, Signal)>,
}

pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub clients: Vec<Client>,
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

impl World {
    pub fn new() -> Self {
        Self::with(RoomsConfig::default())
    }

    pub fn with(config: RoomsConfig) -> Self {
        Self {
            now: Instant::now(),
            rooms: Rooms::new(config, Vec::new()),
            clients: Vec::new(),
            foreigners: Vec::new(),
            meets: Vec::new(),
        }
    }

    /// A room whose members' connections end at Portico.
    pub fn sfu() -> Self {
        let mut world = Self::new();
        let room = RoomConfig {
            name: RoomId::new(DEFAULT_ROOM).unwrap(),
            topology: Topology::Sfu,
            max_members: None,
            sources: Vec::new(),
        };
        let now = world.now;
        world.rooms.configure(now, RoomsConfig::default(), vec![room]);
        world
    }

    /// A new connection whose first outputs have not been carried out.
    pub fn upgrade(&mut self, how: How) -> usize {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let algorea = Algorea::new(Deps {
            room: RoomId::new(how.room.unwrap_or(DEFAULT_ROOM)).unwrap(),
            grant: Grant::all(""),
            remote: None,
            variant: how.variant,
            config: how.config,
        });
        self.clients.push(Client { session, algorea, inbox: VecDeque::new(), closed: None });
        self.clients.len() - 1
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
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        self.foreigners.push(Foreigner { session, member: MemberId([0; 16]), heard: VecDeque::new() });
        let joining = Joining {
            room: RoomId::new(DEFAULT_ROOM).unwrap(),
            user_id: "u".into(),
            dialect,
            remote: None,
            grant: Grant::all(""),
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.rooms.handle(self.now, session, RequestId::next(), Command::Join(Box::new(joining)));
        self.pump();
        self.foreigners.len() - 1
    }

    pub fn tell(&mut self, foreigner: usize, to: &str, signal: Signal) {
        let to = crate::signalling::algorea::wire::read_id(to).unwrap();
        let session = self.foreigners[foreigner].session;
        let command = Command::Tell { to, body: Body::Signal(Box::new(signal)) };
        self.rooms.handle(self.now, session, RequestId::next(), command);
        self.pump();
    }

    /// The id that others see of a client.
    pub fn id(&self, client: usize) -> String {
        let session = self.clients[client].session;
        let all = self.rooms.rooms();
        let ids: Vec<MemberId> = all.iter().flat_map(|room| &room.members).map(|member| member.view.member).collect();
        let own = self.clients[client].algorea.place.as_ref().expect("the client has joined").own;
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
        self.clients[client].algorea.handle_frame(self.now, frame).expect("no frame is a violation");
        self.pump();
    }

    /// The connection ends.
    pub fn end(&mut self, client: usize, goodbye: bool) {
        let command = if goodbye { Command::Leave } else { Command::Lost };
        self.clients[client].closed = Some((0, "by the client"));
        self.rooms.handle(self.now, self.clients[client].session, RequestId::next(), command);
        self.pump();
    }

    pub fn hear_text(&mut self, client: usize) -> String {
        self.clients[client].inbox.pop_front().expect("something was sent")
    }

    pub fn hear(&mut self, client: usize) -> Value {
        serde_json::from_str(&self.hear_text(client)).expect("frames are JSON")
    }

    pub fn hear_all(&mut self, client: usize) -> Vec<Value> {
        self.clients[client].inbox.drain(..).map(|text| serde_json::from_str(&text).expect("frames are JSON")).collect()
    }

    pub fn silent(&self) -> bool {
        self.clients.iter().all(|client| client.inbox.is_empty())
    }

    /// Carries outputs and effects until nothing is left to do.
    pub fn pump(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.clients.len() {
                while let Some(output) = self.clients[at].algorea.poll_output() {
                    idle = false;
                    self.carry(at, output);
                }
            }
            while let Some(effect) = self.rooms.poll_effect() {
                idle = false;
                self.carry_effect(effect);
            }
            if idle {
                return;
            }
        }
    }

    fn carry(&mut self, at: usize, output: Output) {
        let client = &mut self.clients[at];
        match output {
            Output::Command(req, command) => self.rooms.handle(self.now, client.session, req, command),
            Output::Send(text) => client.inbox.push_back(text),
            Output::Close { code, reason } => {
                client.closed = Some((code, reason));
                self.rooms.handle(self.now, client.session, RequestId::next(), Command::Leave);
            }
            Output::SendBinary(_) | Output::Realm(_) => panic!("the dialect has neither"),
        }
    }

    fn carry_effect(&mut self, effect: Effect) {
        let (session, notice) = match effect {
            Effect::Notify(session, notice) => (session, notice),
            other => return self.carry_peer_effect(other),
        };
        if let Some(client) = self.clients.iter_mut().find(|client| client.session == session) {
            if client.closed.is_none() {
                client.algorea.handle_notice(self.now, &notice);
            }
        } else if let Some(foreigner) = self.foreigners.iter_mut().find(|foreigner| foreigner.session == session) {
            match notice {
                Notice::Welcome(welcome) => foreigner.member = welcome.member,
                Notice::Told { from, body: Body::Signal(signal) } => foreigner.heard.push_back((from, *signal)),
                Notice::Ended { reason } => assert_eq!(reason, EndReason::Left),
                _ => {}
            }
        }
    }
}

impl World {
    fn carry_peer_effect(&mut self, effect: Effect) {
        match effect {
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
                self.rooms.handle_peer(self.now, PeerUpdate::Described { peer, sdp });
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
