//! Rooms, and the sessions of several clients, known by their names, which are their ids.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::room::{Command, Effect, Notice, Rooms, RoomsConfig};
use crate::signalling::vamp::{Deps, Vamp, VampConfig};
use crate::signalling::{Dialect, Frame, Output};
use crate::vocab::{Grant, RequestId, SessionId};

struct Client {
    session: SessionId,
    vamp: Vamp,
    inbox: VecDeque<String>,
    closed: Option<u16>,
}

pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub config: VampConfig,
    pub grant: Grant,
    clients: BTreeMap<String, Client>,
}

impl World {
    pub fn new() -> Self {
        let rooms = Rooms::new(RoomsConfig::default(), Vec::new());
        let (config, grant) = (VampConfig::default(), Grant::all(""));
        Self { now: Instant::now(), rooms, config, grant, clients: BTreeMap::new() }
    }

    /// These, in this order in the vamp `v`, with nothing unheard.
    pub fn of(names: &[&str]) -> Self {
        let mut world = Self::new();
        for name in names {
            world.join(name, "v");
        }
        world
    }

    /// A new connection.
    pub fn client(&mut self, name: &str) {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let vamp =
            Vamp::new(Deps { grant: self.grant.clone(), remote: None, socket_id: name.into(), config: self.config.clone() });
        self.clients.insert(name.into(), Client { session, vamp, inbox: VecDeque::new(), closed: None });
    }

    /// A new connection that joins; its list is dropped.
    pub fn join(&mut self, name: &str, vamp: &str) {
        self.client(name);
        self.say(name, json!(["join vamp", vamp]));
        self.heard(name);
    }

    /// Hands an event over; what it causes is not carried out yet.
    pub fn write_text(&mut self, name: &str, text: &str) {
        let client = self.clients.get_mut(name).expect("a client");
        client.vamp.handle_frame(self.now, Frame::Text(text)).expect("vamp has no violations");
    }

    pub fn write(&mut self, name: &str, event: Value) {
        self.write_text(name, &event.to_string());
    }

    pub fn say(&mut self, name: &str, event: Value) {
        self.write(name, event);
        self.pump();
    }

    /// The goodbye of a client.
    pub fn leave(&mut self, name: &str) {
        self.end(name, Command::Leave);
    }

    /// The end of a connection without a goodbye.
    pub fn lose(&mut self, name: &str) {
        self.end(name, Command::Lost);
    }

    fn end(&mut self, name: &str, command: Command) {
        let client = self.clients.get_mut(name).expect("a client");
        let session = std::mem::replace(&mut client.session, SessionId::next());
        self.rooms.handle(self.now, session, RequestId::next(), command);
        self.pump();
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
        for client in self.clients.values_mut() {
            client.vamp.handle_timeout(self.now);
        }
        self.pump();
    }

    /// Carries out what sessions and rooms want until nothing is left.
    pub fn pump(&mut self) {
        loop {
            let mut quiet = true;
            for client in self.clients.values_mut() {
                while let Some(output) = client.vamp.poll_output() {
                    quiet = false;
                    match output {
                        Output::Send(text) => client.inbox.push_back(text),
                        Output::Command(req, command) => self.rooms.handle(self.now, client.session, req, command),
                        Output::Close { code, .. } => client.closed = Some(code),
                        other => panic!("{other:?}"),
                    }
                }
            }
            while let Some(effect) = self.rooms.poll_effect() {
                quiet = false;
                if let Effect::Notify(session, notice) = effect {
                    self.notify(session, &notice);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn notify(&mut self, session: SessionId, notice: &Notice) {
        if let Some(client) = self.clients.values_mut().find(|client| client.session == session) {
            client.vamp.handle_notice(self.now, notice);
        }
    }

    /// The next event that the client was sent.
    pub fn next_text(&mut self, name: &str) -> Option<String> {
        self.clients.get_mut(name).expect("a client").inbox.pop_front()
    }

    pub fn heard_texts(&mut self, name: &str) -> Vec<String> {
        self.clients.get_mut(name).expect("a client").inbox.drain(..).collect()
    }

    pub fn heard(&mut self, name: &str) -> Vec<Value> {
        self.heard_texts(name).iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    pub fn closed(&self, name: &str) -> Option<u16> {
        self.clients[name].closed
    }

    pub fn all_quiet(&self) -> bool {
        self.clients.values().all(|client| client.inbox.is_empty())
    }
}
