//! Mixed rooms (`topology = "mcu"`): everybody's streams go into the mix, and the mix is the one stream that everybody is shown.
//!
//! The mix is a member without a session, like a source: there from when the room is listed until it is not. The others see it as one more
//! member with one stream; of each other they see that they are there, and no streams. Operators see everything.

use std::collections::BTreeSet;

use super::command::{DialectName, Facts};
use super::config::Topology;
use super::effect::{Effect, EndReason, MixPart};
use super::member::{Member, Origin, Seat, Stream};
use super::notice::Notice;
use super::rooms::Rooms;
use crate::vocab::{Grant, MediaKind, MemberId, RoomId, StreamName};

/// What the mix is called: its user id, its name and its stream's name.
pub const MIX: &str = "mix";

impl Rooms {
    /// Gives every listed room that is mixed its mix, and takes it from those that are not mixed any more.
    pub(super) fn seat_mixes(&mut self) {
        for room in self.rooms.keys().cloned().collect::<Vec<_>>() {
            let source = self.listed.get(&room).and_then(|listed| listed.mix_source());
            match (self.mix_of(&room).map(|mix| mix.id), source) {
                (None, Some(source)) => {
                    self.hide_streams(&room);
                    let id = MemberId::random();
                    let mut stream =
                        Stream::new(StreamName::new(MIX).expect("a short constant is a name"), Origin::Source(source));
                    stream.kinds = vec![MediaKind::Audio, MediaKind::Video];
                    let name = stream.name.clone();
                    self.seat(Member {
                        id,
                        room: room.clone(),
                        user_id: MIX.into(),
                        remote: None,
                        dialect: DialectName::Mix,
                        grant: Grant::all(MIX),
                        visible: true,
                        facts: Facts { name: Some(MIX.into()), ..Facts::default() },
                        seat: Seat::Nobody,
                        streams: vec![stream],
                        peers: BTreeSet::new(),
                        expires: None,
                    });
                    self.announce(id);
                    self.put_up(id, &name);
                    self.remix(&room);
                }
                (Some(id), None) => {
                    let mix = self.member(id).streams.first().map(|stream| stream.origin.clone());
                    // first: what ends together with the mix is told to all, and they must have been shown it
                    self.show_streams(&room);
                    self.end_place(id, EndReason::Left);
                    if let Some(Origin::Source(mix)) = mix {
                        self.effects.push_back(Effect::Mix { mix, parts: Vec::new() });
                    }
                    self.feed_meetings(&room);
                }
                _ => {}
            }
        }
    }

    /// The room is mixed from now on: who plays somebody's stream is cut off.
    fn hide_streams(&mut self, room: &RoomId) {
        for (owner, name) in self.all_streams(room) {
            let starved = self.cut_off(owner, &name);
            if self.member(owner).visible {
                self.tell_others(owner, Notice::StreamDown { member: owner, stream: name.clone() });
                let stream = self.member(owner).stream(&name).map(|stream| stream.view());
                if let Some(stream) = stream {
                    self.tell_of_stream(owner, Notice::StreamUp { member: owner, stream });
                }
            }
            self.feed(starved);
        }
    }

    /// The room is not mixed any more: all are told what there is beside the mix.
    fn show_streams(&mut self, room: &RoomId) {
        for (owner, name) in self.all_streams(room) {
            let member = self.member(owner);
            if let Some(stream) = member.stream(&name).filter(|_| member.visible && member.dialect != DialectName::Mix) {
                let stream = stream.view();
                self.tell_others(owner, Notice::StreamUp { member: owner, stream });
            }
        }
        self.feed_meetings(room);
    }

    /// The streams of a room that are up.
    fn all_streams(&self, room: &RoomId) -> Vec<(MemberId, StreamName)> {
        let members = self.rooms.get(room).into_iter().flat_map(|room| self.members_of(room));
        members.flat_map(|m| m.streams.iter().filter(|stream| stream.up).map(|stream| (m.id, stream.name.clone()))).collect()
    }

    /// The mix of a room, if it has one.
    pub(super) fn mix_of(&self, room: &RoomId) -> Option<&Member> {
        self.members_of(self.rooms.get(room)?).find(|member| member.dialect == DialectName::Mix)
    }

    /// Whether others in the room are shown a member's streams, and may play them.
    pub(super) fn shows_streams(&self, owner: &Member) -> bool {
        self.topology(&owner.room) != Topology::Mcu || owner.dialect == DialectName::Mix
    }

    /// The same for one of the others. A link sends single streams also of a mixed room: the other side has a mix of its own, in which
    /// nobody hears itself.
    pub(super) fn shows_streams_to(&self, owner: &Member, asker: &Member) -> bool {
        self.shows_streams(owner) || asker.is_link()
    }

    /// Tells those who are shown a member's streams something of one.
    pub(super) fn tell_of_stream(&mut self, owner: MemberId, notice: Notice) {
        let Some(member) = self.members.get(&owner) else { return };
        if self.shows_streams(member) {
            return self.tell_others(owner, notice);
        }
        let Some(room) = self.rooms.get(&member.room) else { return };
        let links: Vec<MemberId> =
            self.members_of(room).filter(|m| m.id != owner && m.is_link() && m.hears_of_others()).map(|m| m.id).collect();
        links.into_iter().for_each(|link| self.tell(link, notice.clone()));
    }

    /// Tells what is to be mixed in a room, if it is mixed.
    pub(super) fn remix(&mut self, room: &RoomId) {
        let Some(mix) = self.mix_of(room).and_then(|mix| mix.streams.first()) else { return };
        let Origin::Source(source) = mix.origin.clone() else { return };
        let Some(open) = self.rooms.get(room) else { return };
        let members = self.members_of(open).filter(|member| member.dialect != DialectName::Mix);
        let parts = members.flat_map(|member| {
            let up = member.streams.iter().filter(|stream| stream.up);
            up.map(|stream| MixPart {
                member: member.id,
                stream: stream.name.clone(),
                label: member.facts.name.clone().unwrap_or_else(|| member.user_id.clone()),
                turns: member.facts.quarter_turns(),
                feed: stream.feed(),
            })
        });
        let parts = parts.collect();
        self.effects.push_back(Effect::Mix { mix: source, parts });
    }
}
