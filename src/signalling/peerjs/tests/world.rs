//! Several clients' dialects wired to one realm and one room.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::*;
use crate::room::{Effect, Rooms, RoomsConfig};
use crate::signalling::Realm;
use crate::vocab::SessionId;

/// The mount's key and, with it, its room.
pub const KEY: &str = "k";

pub struct Client {
    pub session: SessionId,
    pub dialect: Peerjs,
    pub inbox: VecDeque<String>,
    pub closed: Option<(u16, &'static str)>,
}

pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub realm: PeerjsRealm,
    pub clients: Vec<Client>,
}

impl World {
    pub fn new() -> Self {
        Self::with(RoomsConfig::default(), 5000)
    }

    pub fn with(rooms: RoomsConfig, limit: usize) -> Self {
        let realm = RealmConfig { reserved: KEY.into(), limit, expire: Duration::from_secs(5) };
        Self { now: Instant::now(), rooms: Rooms::new(rooms, Vec::new()), realm: PeerjsRealm::new(realm), clients: Vec::new() }
    }

    /// A new connection, not looked at yet; its number.
    pub fn connect(&mut self, id: &str, token: &str, key: &str) -> usize {
        self.connect_as(id, token, key, Grant::all(""))
    }

    pub fn connect_as(&mut self, id: &str, token: &str, key: &str, grant: Grant) -> usize {
        let deps = Deps {
            room: (key == KEY).then(|| RoomId::new(KEY).unwrap()),
            who: Introduction { id: id.into(), token: token.into(), key: key.into() },
            grant,
            remote: None,
            alive_timeout: Duration::from_secs(90),
        };
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
                        }
                    }
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
