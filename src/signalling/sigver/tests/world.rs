//! Sessions, groups and rooms, wired as driver and hub do it.

use super::super::*;
use crate::room::{Effect, RoomView, Rooms, RoomsConfig};
use crate::signalling::{Realm, RealmOutput};
use crate::vocab::SessionId;

/// What a client of the world heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Frame(Kind),
    Closed(u16, &'static str),
}

/// Sessions, groups and rooms, wired as driver and hub do it, in simulated time.
pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub groups: Groups,
    pub sessions: Vec<Client>,
    /// What the media plane was asked for.
    pub orders: Vec<Effect>,
    /// What sessions of other dialects were told.
    pub told: Vec<(SessionId, Notice)>,
}

pub struct Client {
    pub id: SessionId,
    pub dialect: Sigver,
    pub heard: Vec<Heard>,
    pub open: bool,
}

pub fn deps(path: &str) -> Deps {
    let (key, query) = path.split_once('?').map_or((path, None), |(key, query)| (key, Some(query)));
    Deps { address: Address::read(key, query), grant: Grant::all("test"), remote: None, wall: SystemTime::now() }
}

pub fn connect(id: u32, members: &[u32]) -> Kind {
    Kind::Connect(GroupData { id, members: members.to_vec() })
}

pub fn content(recipient: u32, data: &[u8]) -> Kind {
    let data = Some(Bytes::copy_from_slice(data));
    Kind::Content(wire::Content { sender_id: Some(0), recipient_id: Some(recipient), last_data: Some(false), data })
}

pub const TRUE: Heard = Heard::Frame(Kind::Connected(true));
pub const FALSE: Heard = Heard::Frame(Kind::Connected(false));
pub const BEAT: Heard = Heard::Frame(Kind::Heartbeat(true));

impl World {
    pub fn new() -> Self {
        Self::with(RoomsConfig::default())
    }

    pub fn with(config: RoomsConfig) -> Self {
        let rooms = Rooms::new(config, Vec::new());
        Self { now: Instant::now(), rooms, groups: Groups::default(), sessions: Vec::new(), orders: Vec::new(), told: Vec::new() }
    }

    pub fn open(&mut self, path: &str) -> usize {
        self.open_with(deps(path))
    }

    pub fn open_with(&mut self, deps: Deps) -> usize {
        let id = SessionId::next();
        self.rooms.open_session(self.now, id);
        self.sessions.push(Client { id, dialect: Sigver::new(self.now, deps), heard: Vec::new(), open: true });
        self.settle();
        self.sessions.len() - 1
    }

    /// A client that is a member, alone or by seeing the others.
    pub fn member(&mut self, key: &str, id: u32, members: &[u32]) -> usize {
        let client = self.open(key);
        self.send(client, connect(id, members));
        assert_eq!(self.heard(client), [TRUE]);
        client
    }

    pub fn send(&mut self, client: usize, kind: Kind) {
        self.send_bytes(client, &wire::encode(kind));
    }

    pub fn send_bytes(&mut self, client: usize, frame: &[u8]) {
        self.frame(client, Frame::Binary(frame));
    }

    pub fn frame(&mut self, client: usize, frame: Frame<'_>) {
        let client = &mut self.sessions[client];
        if client.open {
            client.dialect.handle_frame(self.now, frame).unwrap();
        }
        self.settle();
    }

    pub fn heard(&mut self, client: usize) -> Vec<Heard> {
        std::mem::take(&mut self.sessions[client].heard)
    }

    /// The connection goes.
    pub fn hang_up(&mut self, client: usize) {
        let client = &mut self.sessions[client];
        if std::mem::replace(&mut client.open, false) {
            let id = client.id;
            self.rooms.handle(self.now, id, RequestId::next(), Command::Leave);
            self.groups.handle_gone(self.now, id);
        }
        self.settle();
    }

    pub fn pass(&mut self, time: Duration) {
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
    pub fn settle(&mut self) {
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

    pub fn view(&self, room: &str) -> Option<RoomView> {
        self.rooms.rooms().into_iter().find(|view| view.room.as_str() == room)
    }

    /// User id and state of a room's members.
    pub fn states(&self, room: &str) -> Vec<(String, &'static str, &'static str)> {
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

pub fn closed(heard: &[Heard]) -> Option<u16> {
    match heard {
        [.., Heard::Closed(code, _)] => Some(*code),
        _ => None,
    }
}
