//! This gateway's own sources: members without a session, in the rooms that config puts them in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::command::{DialectName, Facts, SourceUpdate};
use super::config::Topology;
use super::effect::EndReason;
use super::member::{Member, Origin, Seat, Stream};
use super::rooms::{Room, Rooms};
use crate::vocab::{Grant, MediaKind, MemberId, RoomId, SourceName, StreamName};

/// A source and its place in each of its rooms. The place stays while the source is absent.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub places: BTreeMap<RoomId, MemberId>,
}

impl Rooms {
    /// News of a source. It becomes a visible member of its rooms, opening those that are not; limits do not hold for it,
    /// because config put it there. Its one stream has the source's name and is up while the source is present.
    pub fn handle_source(&mut self, now: Instant, update: SourceUpdate) {
        self.handle_timeout(now);
        if self.stopped {
            return;
        }
        match update {
            SourceUpdate::Present { source, rooms, kinds } => self.source_present(source, rooms, kinds),
            SourceUpdate::Absent { source } => {
                let stream = stream_of(&source);
                for place in self.places_of(&source) {
                    self.take_down(place, &stream);
                }
            }
            SourceUpdate::Removed { source } => {
                for place in self.places_of(&source) {
                    self.end_place(place, EndReason::Left);
                }
                self.sources.remove(&source);
            }
        }
    }

    fn source_present(&mut self, source: SourceName, rooms: Vec<RoomId>, mut kinds: Vec<MediaKind>) {
        kinds.sort_unstable();
        kinds.dedup();
        let wanted: BTreeSet<RoomId> = rooms.into_iter().collect();
        let had = std::mem::take(&mut self.sources.entry(source.clone()).or_default().places);
        let (mut places, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = had.into_iter().partition(|(room, _)| wanted.contains(room));
        for place in gone.into_values() {
            self.end_place(place, EndReason::Left);
        }
        for room in wanted {
            let place = *places.entry(room.clone()).or_insert_with(|| self.seat_source(&source, room));
            self.source_gives(place, &source, &kinds);
        }
        self.sources.insert(source, Source { places });
    }

    fn seat_source(&mut self, source: &SourceName, room: RoomId) -> MemberId {
        let id = MemberId::random();
        self.open_room(&room, Topology::default());
        self.seat(Member {
            id,
            room,
            user_id: source.as_str().into(),
            remote: None,
            dialect: DialectName::Source,
            grant: Grant::all(source.as_str()),
            visible: true,
            facts: Facts { name: Some(source.as_str().into()), ..Facts::default() },
            seat: Seat::Nobody,
            streams: vec![Stream::new(stream_of(source), Origin::Source(source.clone()))],
            peers: BTreeSet::new(),
            expires: None,
        });
        self.announce(id);
        id
    }

    /// The stream is up with these kinds. Other kinds than before make a new stream.
    fn source_gives(&mut self, place: MemberId, source: &SourceName, kinds: &[MediaKind]) {
        let name = stream_of(source);
        if self.members.get(&place).and_then(|m| m.stream(&name)).is_some_and(|stream| stream.kinds != kinds) {
            self.take_down(place, &name);
        }
        if let Some(stream) = self.members.get_mut(&place).and_then(|m| m.stream_mut(&name)) {
            stream.kinds = kinds.to_vec();
        }
        self.put_up(place, &name);
    }

    fn places_of(&self, source: &SourceName) -> Vec<MemberId> {
        self.sources.get(source).into_iter().flat_map(|source| source.places.values().copied()).collect()
    }

    /// Whether config has put a source into the room, which lets it exist without being listed.
    pub(super) fn has_source(&self, room: &Room) -> bool {
        self.members_of(room).any(|member| member.dialect == DialectName::Source)
    }
}

fn stream_of(source: &SourceName) -> StreamName {
    StreamName::new(source.as_str()).expect("a source's name is a stream's name: both have the same rules")
}
