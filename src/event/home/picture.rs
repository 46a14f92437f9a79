//! Who is in which room, and how the sources stand. PURE.

use std::collections::{BTreeMap, HashMap};

use super::{Listing, SourceSeen};
use crate::room::{DialectName, Report};
use crate::vocab::{MemberId, RoomId};

/// What a member counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Seen by the others.
    Member,
    /// Only watches or listens: WHEP, and who else is in no room's size.
    Viewer,
    /// A source of this gateway.
    Source,
}

/// How many are in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Those whom others see, without the gateway's own sources.
    pub members: usize,
    /// Those whom others do not see: WHEP players.
    pub viewers: usize,
    /// Sources of this gateway.
    pub sources: usize,
}

/// A room whose number has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub room: RoomId,
    pub now: Occupancy,
}

/// Everybody in every room, as reported. As large as the rooms are.
#[derive(Debug, Default)]
pub struct Census {
    rooms: HashMap<RoomId, HashMap<MemberId, Kind>>,
}

impl Census {
    /// The room that has other numbers now.
    pub fn handle_report(&mut self, report: &Report) -> Option<Count> {
        let room = match report {
            Report::MemberJoined { room, member, dialect, visible, facts, .. } => {
                let kind = match (dialect, visible) {
                    // whom a bridge brought is somebody
                    (DialectName::Bridge, true) if facts.via.is_some() => Kind::Member,
                    (DialectName::Source | DialectName::Mix | DialectName::Bridge, _) => Kind::Source,
                    (_, true) => Kind::Member,
                    (_, false) => Kind::Viewer,
                };
                self.rooms.entry(room.clone()).or_default().insert(*member, kind);
                room
            }
            Report::MemberLeft { room, member, .. } => {
                self.rooms.get_mut(room)?.remove(member)?;
                room
            }
            Report::RoomClosed { room } => {
                self.rooms.remove(room)?;
                room
            }
            _ => return None,
        };
        Some(Count { room: room.clone(), now: self.occupancy(room) })
    }

    /// How many are there.
    pub fn occupancy(&self, room: &RoomId) -> Occupancy {
        let mut sum = Occupancy::default();
        for kind in self.rooms.get(room).into_iter().flat_map(HashMap::values) {
            match kind {
                Kind::Member => sum.members += 1,
                Kind::Viewer => sum.viewers += 1,
                Kind::Source => sum.sources += 1,
            }
        }
        sum
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub listing: Listing,
    pub rooms: BTreeMap<RoomId, Occupancy>,
    /// By name; one that was not looked at yet is missing.
    pub sources: BTreeMap<String, SourceSeen>,
}

impl Picture {
    /// Of empty rooms and sources nobody has looked at.
    pub fn new(listing: Listing) -> Self {
        let rooms = listing.rooms.iter().map(|room| (room.clone(), Occupancy::default())).collect();
        Self { listing, rooms, sources: BTreeMap::new() }
    }

    /// Other rooms and sources are listed; whether that is to be told.
    pub fn list(&mut self, listing: Listing, census: &Census) -> bool {
        let mut next = Self::new(listing);
        next.rooms.iter_mut().for_each(|(room, now)| *now = census.occupancy(room));
        let listed = |name: &String| next.listing.sources.iter().any(|source| source.name == *name);
        next.sources =
            self.sources.iter().filter(|(name, _)| listed(name)).map(|(name, seen)| (name.clone(), seen.clone())).collect();
        let changed = *self != next;
        *self = next;
        changed
    }

    /// A room has other numbers; whether that is to be told.
    pub fn count(&mut self, count: &Count) -> bool {
        match self.rooms.get_mut(&count.room) {
            Some(now) if *now != count.now => {
                *now = count.now;
                true
            }
            _ => false,
        }
    }

    /// How sources stand; whether that is to be told. Those that are not listed are left out.
    pub fn see(&mut self, seen: &[SourceSeen]) -> bool {
        let listed = |name: &str| self.listing.sources.iter().any(|source| source.name == name);
        let seen: BTreeMap<String, SourceSeen> =
            seen.iter().filter(|seen| listed(&seen.name)).map(|seen| (seen.name.clone(), seen.clone())).collect();
        let changed = self.sources != seen;
        self.sources = seen;
        changed
    }
}
