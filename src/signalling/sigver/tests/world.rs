//! A group's sessions, as the shared wiring has them, by their messages.

use std::ops::{Deref, DerefMut};

use super::super::*;
use crate::room::{Effect, RoomView, RoomsConfig};
use crate::signalling::testing::{Sent, Wiring};

/// What a client of the world heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Frame(Kind),
    Closed(u16, &'static str),
}

/// Sessions, groups and rooms.
pub struct World {
    wiring: Wiring<Sigver, Groups>,
    /// Close frames that clients have looked at.
    seen: Vec<usize>,
}

impl Deref for World {
    type Target = Wiring<Sigver, Groups>;

    fn deref(&self) -> &Self::Target {
        &self.wiring
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.wiring
    }
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
        Self { wiring: Wiring::new(config, Groups::default()), seen: Vec::new() }
    }

    pub fn open(&mut self, path: &str) -> usize {
        self.open_with(deps(path))
    }

    pub fn open_with(&mut self, deps: Deps) -> usize {
        let dialect = Sigver::new(self.now, deps);
        let client = self.wiring.open(dialect);
        self.settle();
        client
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
        self.send_frame(client, Frame::Binary(frame));
    }

    pub fn send_frame(&mut self, client: usize, frame: Frame<'_>) {
        self.wiring.frame(client, frame);
        self.settle();
    }

    /// What a client heard since the last look; its close frame once, as the last of all.
    pub fn heard(&mut self, client: usize) -> Vec<Heard> {
        let mut heard: Vec<Heard> = std::iter::from_fn(|| self.next(client)).collect();
        if let Some((code, reason)) = self.clients[client].closed
            && code != 0
            && !self.seen.contains(&client)
        {
            self.seen.push(client);
            heard.push(Heard::Closed(code, reason));
        }
        heard
    }

    /// The next frame to a client.
    pub fn next(&mut self, client: usize) -> Option<Heard> {
        match self.clients[client].inbox.pop_front()? {
            Sent::Bytes(frame) => Some(Heard::Frame(wire::decode(&frame).unwrap())),
            Sent::Text(text) => panic!("a text frame: {text}"),
        }
    }

    /// The connection goes.
    pub fn hang_up(&mut self, client: usize) {
        self.end(client, Command::Leave);
        self.settle();
    }

    pub fn pass(&mut self, time: Duration) {
        self.wiring.pass(time);
        self.settle();
    }

    /// Carries everything out until nobody has anything to say. Words go to all others of the room, as the desk brings them where nobody has
    /// another channel.
    pub fn settle(&mut self) {
        self.wiring.pump();
        while let Some(at) = self.orders.iter().position(|order| matches!(order, Effect::Say { .. })) {
            let Some(Effect::Say { room, from, to, text }) = self.orders.remove(at) else { unreachable!("it was just found") };
            let now = self.now;
            let views = self.rooms.rooms().into_iter().filter(|view| view.room == room).flat_map(|view| view.members);
            let others = views.map(|member| member.view.member).filter(|id| *id != from && to.is_none_or(|to| to == *id));
            others.for_each(|hearer| self.rooms.told(now, from, hearer, text.clone()));
            self.wiring.pump();
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
