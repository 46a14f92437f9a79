//! PURE. One member of the far side: whether it is in the room, and its stream.

use std::time::Instant;

use crate::bridge::far::Guest;
use crate::room::Facts;
use crate::vocab::{Candidate, PeerId, RequestId};

/// Candidates kept that come before their offer is with the room.
pub(super) const MAX_EARLY: usize = 32;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) user_id: String,
    pub(super) facts: Facts,
    pub(super) place: Place,
    /// Its stream's connection, if it has one.
    pub(super) link: Option<Link>,
    /// An offer that waits until the member is in.
    pub(super) offer: Option<String>,
    pub(super) early: Vec<Candidate>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is known of it yet but its id: who it is told of first shows whether a bridge has brought it there. Until then.
    Unknown { until: Instant },
    /// It stays outside: a bridge has brought it there, or an operator has ended it here.
    Outside,
    /// The room did not let it in; asked again then.
    Refused { until: Instant },
    /// The room was asked.
    Entering { guest: Guest, req: RequestId },
    /// In the room.
    In { guest: Guest },
}

/// The connection that carries its stream.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    /// Which connection at the far end it is (SDP origin).
    pub(super) origin: Option<(String, String)>,
    /// The request that has no answer yet.
    pub(super) waiting: Option<RequestId>,
}

impl Member {
    pub(super) fn new(user_id: String, until: Instant) -> Self {
        let (facts, place) = (Facts::default(), Place::Unknown { until });
        Self { user_id, facts, place, link: None, offer: None, early: Vec::new() }
    }

    pub(super) fn guest(&self) -> Option<Guest> {
        match self.place {
            Place::Entering { guest, .. } | Place::In { guest } => Some(guest),
            _ => None,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.place {
            Place::Unknown { until } | Place::Refused { until } => Some(until),
            _ => None,
        }
    }
}
