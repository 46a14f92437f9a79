//! What the tests of dialects share: rooms, a realm and the sessions of clients, wired as driver and hub do it, without IO and in
//! simulated time. A dialect's own test world stands around one of these and carries out what the media plane is asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Dialect, Frame, Output, Realm, RealmMessage, RealmOutput};
use crate::room::{Command, DialectName, Effect, Facts, Joining, Notice, Rooms, RoomsConfig, Topology};
use crate::vocab::{Grant, RequestId, RoomId, SessionId};

/// A client's end of its connection.
pub struct Client<D> {
    pub session: SessionId,
    pub dialect: D,
    /// What it was sent and has not looked at.
    pub inbox: VecDeque<Sent>,
    /// Code and reason of a close from this side; code 0 where the client hung up.
    pub closed: Option<(u16, &'static str)>,
}

/// A frame to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Text(String),
    Bytes(Bytes),
}

/// Sessions of one dialect `D` at one mount with the realm `R`, and all rooms.
pub struct Wiring<D, R = NoRealm> {
    pub now: Instant,
    pub rooms: Rooms,
    pub realm: R,
    pub clients: Vec<Client<D>>,
    /// What sessions of other dialects were told, oldest first.
    pub told: VecDeque<(SessionId, Notice)>,
    /// What the media plane and the desk were asked for, oldest first; nothing of it was carried out.
    pub orders: VecDeque<Effect>,
}

/// Of a dialect that keeps nothing between its connections.
pub struct NoRealm;

impl Realm for NoRealm {
    fn handle(&mut self, _: Instant, _: SessionId, message: RealmMessage) {
        panic!("the dialect keeps no realm: {message:?}");
    }

    fn handle_gone(&mut self, _: Instant, _: SessionId) {}

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<RealmOutput> {
        None
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

impl<D: Dialect, R: Realm> Wiring<D, R> {
    /// Nobody is there.
    pub fn new(config: RoomsConfig, realm: R) -> Self {
        Self {
            now: Instant::now(),
            rooms: Rooms::new(config, Vec::new()),
            realm,
            clients: Vec::new(),
            told: VecDeque::new(),
            orders: VecDeque::new(),
        }
    }

    /// A new connection whose first outputs have not been carried out; its number.
    pub fn open(&mut self, dialect: D) -> usize {
        let session = self.open_session();
        self.clients.push(Client { session, dialect, inbox: VecDeque::new(), closed: None });
        self.clients.len() - 1
    }

    fn open_session(&mut self) -> SessionId {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        session
    }

    /// A session of another dialect, which has asked to be a member of a room.
    pub fn stranger(&mut self, dialect: DialectName, room: &str, user_id: &str) -> SessionId {
        let session = self.open_session();
        let joining = Joining {
            room: RoomId::new(room).expect("a room's name"),
            user_id: user_id.into(),
            dialect,
            remote: None,
            grant: Grant::all("test"),
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.ask(session, Command::Join(Box::new(joining)));
        session
    }

    /// A session asks something of the rooms.
    pub fn ask(&mut self, session: SessionId, command: Command) {
        self.rooms.handle(self.now, session, RequestId::next(), command);
    }

    /// A client says something; nothing is heard from one that was closed.
    pub fn frame(&mut self, client: usize, frame: Frame<'_>) {
        let client = &mut self.clients[client];
        if client.closed.is_none() {
            client.dialect.handle_frame(self.now, frame).expect("no frame breaks this protocol beyond an answer");
        }
    }

    /// The client's connection ends, by [`Command::Leave`] or [`Command::Lost`]. One that was closed before ended then.
    pub fn end(&mut self, client: usize, command: Command) {
        let client = &mut self.clients[client];
        if client.closed.is_none() {
            client.closed = Some((0, "by the client"));
            let session = client.session;
            self.ask(session, command);
        }
    }

    /// Carries everything out until nobody has anything to say. Orders are left to the caller.
    pub fn pump(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.clients.len() {
            while let Some(output) = self.clients[at].dialect.poll_output() {
                busy = true;
                self.carry(at, output);
            }
        }
        while let Some(effect) = self.rooms.poll_effect() {
            busy = true;
            match effect {
                Effect::Notify(to, notice) => match self.clients.iter_mut().find(|client| client.session == to) {
                    Some(client) if client.closed.is_some() => {}
                    Some(client) => client.dialect.handle_notice(self.now, &notice),
                    None => self.told.push_back((to, notice)),
                },
                Effect::EndSession(session, _) => self.realm.handle_gone(self.now, session),
                Effect::Report(_) => {}
                order => self.orders.push_back(order),
            }
        }
        while let Some(RealmOutput { to, word }) = self.realm.poll_output() {
            busy = true;
            if let Some(client) = self.clients.iter_mut().find(|client| client.session == to && client.closed.is_none()) {
                client.dialect.handle_realm(self.now, word);
            }
        }
        busy
    }

    fn carry(&mut self, at: usize, output: Output) {
        let client = &mut self.clients[at];
        if client.closed.is_some() {
            return;
        }
        let session = client.session;
        match output {
            Output::Send(text) => client.inbox.push_back(Sent::Text(text)),
            Output::SendBinary(bytes) => client.inbox.push_back(Sent::Bytes(bytes)),
            Output::Realm(message) => self.realm.handle(self.now, session, message),
            Output::Command(req, command) => self.rooms.handle(self.now, session, req, command),
            Output::Close { code, reason } => {
                assert!(reason.len() <= 123, "a close frame holds 123 bytes of reason");
                client.closed = Some((code, reason));
                self.ask(session, Command::Leave);
            }
        }
    }

    /// The next time that anybody wants to be woken at.
    pub fn next_timeout(&self) -> Option<Instant> {
        let living = self.clients.iter().filter(|client| client.closed.is_none());
        let dialects = living.filter_map(|client| client.dialect.next_timeout());
        dialects.chain(self.realm.next_timeout()).chain(self.rooms.next_timeout()).min()
    }

    /// Wakes whoever wants to be woken by now.
    pub fn wake(&mut self) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.rooms.next_timeout()) {
            self.rooms.handle_timeout(now);
        }
        if due(self.realm.next_timeout()) {
            self.realm.handle_timeout(now);
        }
        for client in self.clients.iter_mut().filter(|client| client.closed.is_none()) {
            if due(client.dialect.next_timeout()) {
                client.dialect.handle_timeout(now);
            }
        }
        self.pump();
    }

    /// Time passes, and everybody is woken at the times they named.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.wake();
        }
        self.now = end;
    }

    /// Nobody was sent anything that was not looked at.
    pub fn silent(&self) -> bool {
        self.clients.iter().all(|client| client.inbox.is_empty())
    }
}
