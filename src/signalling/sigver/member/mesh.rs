//! The mesh: what comes on an open channel, who is there without one, and how messages find them.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;

use super::pieces::{self, Taken};
use super::wire::{Adjacency, Builder, BuilderKind, Envelope, Ids, Mesh, MeshKind, User, envelope, read, service};
use super::{Action, Gateway, MAX_MISSED, Order, Stage};
use crate::room::MAX_SAID;
use crate::vocab::{SessionId, text_parts};

/// Clients without a channel that are remembered; further ones are not.
const MAX_DISTANT: usize = 256;
/// Neighbours of each that are remembered.
const MAX_ADJACENT: usize = 256;
/// A distant client is given up at the beat at which so many of its heartbeats were missed.
const MAX_MISSED_DISTANT: u32 = MAX_MISSED + 1;
/// A message is routed over at most so many clients.
const MAX_HOPS: usize = 3;

/// A client of the mesh to which there is no channel.
#[derive(Debug, Default)]
pub(super) struct Distant {
    /// To whom it has channels.
    adjacent: BTreeSet<u32>,
    missed: u32,
}

impl Gateway {
    /// A message of a neighbour.
    pub(super) fn received(&mut self, session: SessionId, neighbour: u32, bytes: &[u8]) {
        let Some(message) = read::<Envelope>(bytes) else { return };
        if message.recipient_id != 0 && message.recipient_id != self.id {
            return self.forward(session, message.recipient_id, bytes);
        }
        // who has a channel of its own speaks on that one; a name that others use for it is false
        let known = message.sender_id != self.id && self.session_of(message.sender_id).is_none_or(|owner| owner == session);
        if !known {
            return;
        }
        match message.service_id {
            service::HEARTBEAT => {
                if let Some(link) = self.links.get_mut(&session) {
                    link.stage = Stage::Open { id: neighbour, missed: 0 };
                }
            }
            service::USER => {
                if let Some(user) = read::<User>(&message.content) {
                    self.said(message.sender_id, user);
                }
            }
            service::MESH => self.mesh(neighbour, message.sender_id, read::<Mesh>(&message.content).and_then(|it| it.kind)),
            service::BUILDER => {
                self.asked(neighbour, message.sender_id, read::<Builder>(&message.content).and_then(|it| it.kind))
            }
            _ => {}
        }
    }

    /// A client said something. What is too long for one text of the room is said in several; what is too long for that, the client
    /// hears in Portico's own words, because its protocol has none for it.
    fn said(&mut self, sender: u32, message: User) {
        match self.pieces.take(sender, message) {
            Taken::Text(text) => {
                self.actions.extend(text_parts(&text, MAX_SAID).map(|part| Action::Said(sender, part.to_owned())));
            }
            Taken::TooLong(length) => {
                let words = format!(
                    "Portico: your text of {length} bytes did not leave the group: at most {} cross to the others in the room.",
                    pieces::MAX_TEXT
                );
                for message in pieces::cut(&words, 0) {
                    self.send(sender, service::USER, &message);
                }
            }
            Taken::Nothing => {}
        }
    }

    fn mesh(&mut self, neighbour: u32, sender: u32, kind: Option<MeshKind>) {
        match kind {
            Some(MeshKind::Members(members)) => self.learn(&members.ids, neighbour),
            Some(MeshKind::Adjacent(ids)) => self.place(sender, &ids.ids),
            Some(MeshKind::Heartbeat(_)) => {
                if let Some(distant) = self.distant.get_mut(&sender) {
                    distant.missed = 0;
                }
            }
            None => {}
        }
    }

    /// A client asks by the mesh for a channel. It has, or gets, one by the server.
    fn asked(&mut self, neighbour: u32, sender: u32, kind: Option<BuilderKind>) {
        let Some(BuilderKind::Request(request)) = kind else { return };
        let adjacent = read::<Adjacency>(&request).map(|it| it.adjacent_ids).unwrap_or_default();
        let adjacent = if adjacent.is_empty() { vec![neighbour] } else { adjacent };
        self.place(sender, &adjacent);
        self.send(sender, service::BUILDER, &Builder { kind: Some(BuilderKind::Response(false)) });
    }

    /// Clients that a neighbour knows.
    pub(super) fn learn(&mut self, ids: &[u32], neighbour: u32) {
        for &id in ids.iter().take(MAX_DISTANT) {
            if !self.distant.contains_key(&id) && id != neighbour {
                self.place(id, &[neighbour]);
            }
        }
    }

    /// Remembers to whom a client has channels, unless it has one to Portico.
    fn place(&mut self, id: u32, adjacent: &[u32]) {
        let room = self.distant.len() < MAX_DISTANT || self.distant.contains_key(&id);
        if id != self.id && room && self.session_of(id).is_none() {
            self.distant.entry(id).or_default().adjacent = adjacent.iter().copied().take(MAX_ADJACENT).collect();
        }
    }

    /// Passes on what is for somebody else, but not back to where it came from.
    fn forward(&mut self, from: SessionId, recipient: u32, bytes: &[u8]) {
        if let Some(to) = self.route(recipient).filter(|to| *to != from) {
            self.actions.push_back(Action::Order(to, Order::Send(Bytes::copy_from_slice(bytes))));
        }
    }

    /// Sends a message of Portico's own to a client, wherever it is.
    pub(super) fn send(&mut self, recipient: u32, service: u32, message: &impl prost::Message) {
        if let Some(to) = self.route(recipient) {
            let message = envelope(self.id, recipient, service, message);
            self.actions.push_back(Action::Order(to, Order::Send(message)));
        }
    }

    /// The neighbour by whom a client is reached: itself, else one of its neighbours, else one of theirs.
    fn route(&self, id: u32) -> Option<SessionId> {
        let mut ring = BTreeSet::from([id]);
        let mut seen = ring.clone();
        for _ in 0..=MAX_HOPS {
            if let Some(session) = ring.iter().find_map(|id| self.session_of(*id)) {
                return Some(session);
            }
            let next = ring.iter().filter_map(|id| self.distant.get(id)).flat_map(|distant| &distant.adjacent);
            ring = next.copied().filter(|id| !seen.contains(id)).collect();
            seen.extend(&ring);
        }
        None
    }

    /// The session of a client with an open channel.
    pub fn session_of(&self, netflux: u32) -> Option<SessionId> {
        let open = |stage: Stage| matches!(stage, Stage::Open { id, .. } if id == netflux);
        self.links.iter().find(|(_, link)| open(link.stage)).map(|(session, _)| *session)
    }

    fn neighbours(&self) -> Vec<u32> {
        let id = |stage: Stage| if let Stage::Open { id, .. } = stage { Some(id) } else { None };
        self.links.values().filter_map(|link| id(link.stage)).collect()
    }

    // ---- timers ----

    /// Heartbeats to everybody; who was not heard for too long is given up.
    pub(super) fn beat(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for (session, link) in &mut self.links {
            let Stage::Open { id, missed } = &mut link.stage else { continue };
            *missed += 1;
            if *missed >= MAX_MISSED {
                silent.push(*session);
                continue;
            }
            let beat = envelope(self.id, *id, service::HEARTBEAT, &Mesh::default());
            self.actions.push_back(Action::Order(*session, Order::Send(beat)));
        }
        for session in silent {
            self.fail(now, session);
        }
        self.distant.retain(|_, distant| {
            distant.missed += 1;
            distant.missed < MAX_MISSED_DISTANT
        });
        for id in self.distant.keys().copied().collect::<Vec<_>>() {
            self.send(id, service::MESH, &Mesh { kind: Some(MeshKind::Heartbeat(true)) });
        }
    }

    /// Tells those without a channel who has one: how to reach Portico.
    pub(super) fn tell_distant(&mut self) {
        let kind = Some(MeshKind::Adjacent(Ids { ids: self.neighbours() }));
        for id in self.distant.keys().copied().collect::<Vec<_>>() {
            self.send(id, service::MESH, &Mesh { kind: kind.clone() });
        }
    }

    /// Tells one client all that Portico knows: the next smaller id, else the largest. Each doing so, all learn of all.
    pub(super) fn tell_antecedent(&mut self) {
        let others: BTreeSet<u32> = self.neighbours().into_iter().chain(self.distant.keys().copied()).collect();
        let Some(antecedent) = others.range(..self.id).next_back().or_else(|| others.last()) else { return };
        let ids = others.iter().copied().chain([self.id]).collect();
        self.send(*antecedent, service::MESH, &Mesh { kind: Some(MeshKind::Members(Ids { ids })) });
    }
}
