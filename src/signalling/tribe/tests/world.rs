//! Several clients' dialects wired to one room, with peers that answer and offer at once.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::*;
use crate::room::{Effect, PeerUpdate, Purpose, Report, TrackView};
use crate::room::{Rooms, RoomsConfig};
use crate::vocab::{
    BearerError, Codec, Grant, Identity, MediaKind, MemberId, PeerId, Sdp, SdpKind, SessionId, TrackFormat, TrackId,
};

/// A client's offer, audio and video, of one connection.
pub const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendrecv\r\n\
                         m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendrecv\r\n";
/// Portico's answer to it.
pub const ANSWER: &str = "v=0\r\no=- 5 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\n\
                          m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\n";
/// Portico's offer of a downlink.
pub const DOWN: &str = "v=0\r\no=- 6 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendonly\r\n";

/// Bearers are user ids; `bad` is none.
struct UserIds;

impl BearerCheck for UserIds {
    fn check(&self, _: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        match bearer {
            "" | "bad" => Err(BearerError { reason: "not a user".into() }),
            user => Ok(Identity { user_id: user.into(), grant: Grant::all(user) }),
        }
    }
}

pub fn tribe(now: Instant, config: TribeConfig) -> Tribe {
    Tribe::new(now, Deps { bearer: Arc::new(UserIds), remote: None, config, wall: SystemTime::UNIX_EPOCH })
}

/// A client's end of its connection.
pub struct Client {
    pub session: SessionId,
    pub tribe: Tribe,
    /// What it was sent and has not looked at.
    pub inbox: VecDeque<Value>,
    pub closed: Option<(u16, &'static str)>,
    /// Its socket id once it joined.
    pub id: String,
}

/// An open peer.
pub struct Open {
    pub peer: PeerId,
    pub session: SessionId,
    pub member: MemberId,
    pub purpose: Purpose,
    /// The far end's descriptions, first offer included.
    pub described: Vec<Sdp>,
    pub candidates: Vec<String>,
}

pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub clients: Vec<Client>,
    pub peers: Vec<Open>,
    pub reports: Vec<Report>,
    /// What is told to sessions that are no tribe clients.
    pub strangers: Vec<(SessionId, Notice)>,
    /// What was said in words: to whom, and what.
    pub said: Vec<(Option<MemberId>, String)>,
    /// The answer that peers give next instead of [`ANSWER`].
    pub answer: Result<String, EndReason>,
}

use crate::room::EndReason;

impl World {
    pub fn new() -> Self {
        Self {
            now: Instant::now(),
            rooms: Rooms::new(RoomsConfig::default(), Vec::new()),
            clients: Vec::new(),
            peers: Vec::new(),
            reports: Vec::new(),
            strangers: Vec::new(),
            said: Vec::new(),
            answer: Ok(ANSWER.into()),
        }
    }

    /// A new connection; its number.
    pub fn connect(&mut self) -> usize {
        self.connect_with(TribeConfig::default())
    }

    pub fn connect_with(&mut self, config: TribeConfig) -> usize {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let tribe = tribe(self.now, config);
        self.clients.push(Client { session, tribe, inbox: VecDeque::new(), closed: None, id: String::new() });
        self.clients.len() - 1
    }

    /// A new connection that has joined, and looked at what that brought to it and the others.
    pub fn joined(&mut self, room: &str, user: &str) -> usize {
        let client = self.connect();
        self.say(client, join(room, user));
        assert_eq!(self.hear(client)["s"], true);
        self.ignore();
        client
    }

    pub fn id(&self, client: usize) -> String {
        self.clients[client].id.clone()
    }

    pub fn say(&mut self, client: usize, message: Value) {
        self.say_text(client, &message.to_string());
    }

    pub fn say_text(&mut self, client: usize, text: &str) {
        self.clients[client].tribe.handle_frame(self.now, Frame::Text(text)).expect("tribe takes everything");
        self.pump();
    }

    /// The connection ends with or without a goodbye.
    pub fn end(&mut self, client: usize, goodbye: bool) {
        let command = if goodbye { Command::Leave } else { Command::Lost };
        self.rooms.handle(self.now, self.clients[client].session, RequestId::next(), command);
        self.clients[client].closed = Some((0, "by the client"));
        self.pump();
    }

    pub fn hear(&mut self, client: usize) -> Value {
        self.clients[client].inbox.pop_front().expect("something was sent")
    }

    pub fn hear_all(&mut self, client: usize) -> Vec<Value> {
        self.clients[client].inbox.drain(..).collect()
    }

    /// Clears everybody's inbox.
    pub fn ignore(&mut self) {
        self.clients.iter_mut().for_each(|client| client.inbox.clear());
    }

    pub fn silent(&self) -> bool {
        self.clients.iter().all(|client| client.inbox.is_empty())
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
        for client in &mut self.clients {
            if client.tribe.next_timeout().is_some_and(|at| at <= self.now) {
                client.tribe.handle_timeout(self.now);
            }
        }
        self.pump();
    }

    /// The client's living peer: its uplink, or the one that plays `of`.
    pub fn peer(&self, client: usize, of: Option<usize>) -> PeerId {
        self.find(client, of).expect("there is such a peer").peer
    }

    pub fn find(&self, client: usize, of: Option<usize>) -> Option<&Open> {
        let session = &self.clients[client];
        let of = of.map(|of| self.clients[of].id.parse::<MemberId>().unwrap());
        self.peers.iter().find(|open| {
            let ours = open.member == session.id.parse().unwrap();
            ours && match (&open.purpose, of) {
                (Purpose::Ingest { .. }, None) => true,
                (Purpose::Play { owner, .. }, Some(of)) => *owner == of,
                _ => false,
            }
        })
    }

    pub fn news(&mut self, update: PeerUpdate) {
        if let PeerUpdate::Down { peer, .. } = &update {
            let gone = *peer;
            self.peers.retain(|open| open.peer != gone);
        }
        self.rooms.handle_peer(self.now, update);
        self.pump();
    }

    /// The client's uplink is offered, answered, up and flowing.
    pub fn publish(&mut self, client: usize) {
        self.say(client, sdp("publisher", "offer", OFFER));
        let peer = self.peer(client, None);
        self.news(PeerUpdate::Up { peer });
        self.news(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
        self.news(PeerUpdate::Flowing { peer, kind: MediaKind::Video });
    }

    /// Carries outputs and effects until nothing is left to do.
    pub fn pump(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.clients.len() {
                while let Some(output) = self.clients[at].tribe.poll_output() {
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
            Output::Send(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(frame.get("e").is_some(), frame["s"] == false, "e goes with failure alone: {text}");
                if frame["a"] == "joinR" && frame["s"] == true {
                    client.id = frame["d"]["socketId"].as_str().unwrap().to_owned();
                }
                client.inbox.push_back(frame);
            }
            Output::Close { code, reason } => {
                client.closed = Some((code, reason));
                self.rooms.handle(self.now, client.session, RequestId::next(), Command::Leave);
            }
            Output::SendBinary(_) | Output::Realm(_) => panic!("the dialect has neither"),
        }
    }

    fn carry_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Notify(session, notice) => {
                let Some(client) = self.clients.iter_mut().find(|client| client.session == session) else {
                    return self.strangers.push((session, notice));
                };
                if client.closed.is_none() {
                    client.tribe.handle_notice(self.now, &notice);
                }
            }
            Effect::OpenPeer(open) => {
                let (peer, offered) = (open.peer, open.offer.is_some());
                self.peers.push(Open {
                    peer,
                    session: open.session,
                    member: open.member,
                    purpose: open.purpose,
                    described: open.offer.into_iter().collect(),
                    candidates: Vec::new(),
                });
                self.describe(peer, offered);
            }
            Effect::DescribePeer { peer, sdp } => {
                let offered = sdp.kind == SdpKind::Offer;
                if let Some(open) = self.peers.iter_mut().find(|open| open.peer == peer) {
                    open.described.push(sdp);
                }
                if offered {
                    self.describe(peer, true);
                }
            }
            Effect::AddCandidate { peer, candidate } => {
                if let Some(open) = self.peers.iter_mut().find(|open| open.peer == peer) {
                    open.candidates.push(candidate.candidate);
                }
            }
            Effect::ClosePeer { peer, .. } => self.peers.retain(|open| open.peer != peer),
            Effect::FeedPeer { .. } | Effect::Transmit { .. } => panic!("a tribe client meets nobody"),
            Effect::Say { to, text, .. } => self.said.push((to, text)),
            Effect::Report(report) => self.reports.push(report),
            Effect::Mix { .. } | Effect::EndSession(..) => {}
        }
    }

    /// What the peer says: an answer, or its offer.
    fn describe(&mut self, peer: PeerId, answers: bool) {
        let sdp = match (&self.answer, answers) {
            (Ok(answer), true) => Sdp::answer(answer.clone()),
            (Ok(_), false) => Sdp::offer(DOWN),
            (Err(reason), _) => {
                let reason = *reason;
                self.peers.retain(|open| open.peer != peer);
                return self.rooms.handle_peer(self.now, PeerUpdate::Down { peer, reason });
            }
        };
        if answers {
            let kinds = crate::signalling::sdp::received_kinds(&sdp.text);
            let format = |kind| TrackFormat::plain(if kind == MediaKind::Audio { Codec::Opus } else { Codec::VP8 });
            let base = TrackId(peer.0 * 10); // kept over renegotiations
            let tracks =
                kinds.iter().map(|kind| TrackView { track: TrackId(base.0 + *kind as u64), kind: *kind, format: format(*kind) });
            self.rooms.handle_peer(self.now, PeerUpdate::Tracks { peer, tracks: tracks.collect() });
        }
        self.rooms.handle_peer(self.now, PeerUpdate::Described { peer, sdp });
    }
}

pub fn join(room: &str, user: &str) -> Value {
    json!({"a":"join","d":{"roomId":room,"bearer":user,"platform":"Web","orientation":90,"camera":"front","networkType":"wifi"}})
}

pub fn sdp(to: &str, kind: &str, sdp: &str) -> Value {
    json!({"a":"exchangeSdp","d":{"to":to,"sdp":{"type":kind,"sdp":sdp}}})
}

pub fn failure(action: &str, code: u16) -> Value {
    json!({"a": format!("{action}R"), "s": false, "e": code})
}

pub fn success(action: &str) -> Value {
    json!({"a": format!("{action}R"), "s": true})
}
