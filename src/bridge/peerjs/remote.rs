//! PURE. One peer of the far side: whether it is in the room, and its connections.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::bridge::far::Guest;
use crate::room::Framing;
use crate::signalling::peerjs::payload::Style;
use crate::vocab::{Candidate, PeerId, RequestId};

/// Connections of one peer.
pub(super) const MAX_LINKS: usize = 8;
/// Offers kept until it is in the room.
pub(super) const MAX_PENDING: usize = 2;
/// Candidates kept that come before their offer is with the room.
pub(super) const MAX_EARLY: usize = 32;

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) guest: Guest,
    /// The request to enter that the room has not answered.
    pub(super) entering: Option<RequestId>,
    /// By the id that its two ends call it.
    pub(super) links: BTreeMap<String, Link>,
    pub(super) pending: Vec<Offer>,
    pub(super) early: Vec<(String, Candidate)>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) style: Style,
    pub(super) framing: Framing,
    /// Portico called.
    pub(super) placed: bool,
    /// The request that has no answer yet.
    pub(super) waiting: Option<RequestId>,
    pub(super) up: Option<Instant>,
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) connection: String,
    pub(super) style: Style,
    pub(super) framing: Framing,
    pub(super) text: String,
}

impl Link {
    pub(super) fn is_media(&self) -> bool {
        matches!(self.style, Style::Peerjs { media: true } | Style::Either { media: true })
    }
}

impl Remote {
    pub(super) fn new(guest: Guest, req: RequestId) -> Self {
        Self { guest, entering: Some(req), links: BTreeMap::new(), pending: Vec::new(), early: Vec::new() }
    }

    /// Nothing joins it with the room.
    pub(super) fn is_idle(&self) -> bool {
        self.links.is_empty() && self.pending.is_empty()
    }

    pub(super) fn link_of(&self, peer: PeerId) -> Option<&str> {
        self.links.iter().find(|(_, link)| link.peer == peer).map(|(connection, _)| connection.as_str())
    }

    /// Whether Portico's own call of it, or its own data connection with it, is there or on its way.
    pub(super) fn is_placed(&self, media: bool) -> bool {
        self.links.values().any(|link| link.placed && link.is_media() == media)
    }

    pub(super) fn take_early(&mut self, connection: &str) -> Vec<Candidate> {
        let (taken, kept) = std::mem::take(&mut self.early).into_iter().partition(|(of, _)| of == connection);
        self.early = kept;
        let taken: Vec<(String, Candidate)> = taken;
        taken.into_iter().map(|(_, candidate)| candidate).collect()
    }
}
