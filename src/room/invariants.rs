//! What must hold after every call, whatever was asked.

use std::collections::{BTreeMap, BTreeSet};

use super::command::DialectName;
use super::member::{Link, Meet, Member, Origin, Seat, Stream};
use super::rooms::{Rooms, Timer};
use crate::vocab::Right;

impl Rooms {
    /// Panics with the reason when the parts of the state contradict each other.
    pub(crate) fn check_invariants(&self) {
        self.check_rooms();
        self.check_sessions();
        self.check_peers();
        self.check_timers();
        for member in self.members.values() {
            self.check_member(member);
        }
        for (name, source) in &self.sources {
            for (room, place) in &source.places {
                let member = self.members.get(place).expect("a source's place is a member");
                assert!(member.room == *room && member.user_id == name.as_str(), "a source's place is its own");
            }
        }
    }

    fn check_rooms(&self) {
        let mut seen = BTreeSet::new();
        for (name, room) in &self.rooms {
            assert!(
                !room.members.is_empty() || self.listed.contains_key(name),
                "{name}: an unlisted room without members is gone"
            );
            for id in &room.members {
                assert!(seen.insert(*id), "{name}: a member is in one room, once");
                assert_eq!(self.members.get(id).map(|m| &m.room), Some(name), "{name}: its member exists and knows its room");
            }
        }
        assert_eq!(seen.len(), self.members.len(), "every member is in a room");
        assert!(self.listed.keys().all(|name| self.rooms.contains_key(name)), "listed rooms are open");
    }

    fn check_sessions(&self) {
        let seated: BTreeMap<_, _> = self.sessions.iter().filter_map(|(session, place)| Some((*session, (*place)?))).collect();
        let seats = self.members.values().filter_map(|member| match member.seat {
            Seat::Session(session) => Some((session, member.id)),
            Seat::Lost { .. } | Seat::Nobody => None,
        });
        assert_eq!(seated, seats.collect(), "sessions and seats agree");
    }

    fn check_member(&self, member: &Member) {
        let of_ours = matches!(member.dialect, DialectName::Source | DialectName::Mix);
        assert_eq!(of_ours, matches!(member.seat, Seat::Nobody), "only sources and mixes have no listener");
        assert!(!member.is_lost() || member.dialect.keeps_places(), "only those who can come back are lost");
        if let Seat::Lost { missed, .. } = &member.seat {
            assert!(missed.is_sound(), "what a lost member missed is bounded");
        }
        assert!(member.peers.len() <= self.config.max_peers_per_member, "not too many peers");
        assert!(member.streams.len() <= self.config.max_streams_per_member, "not too many streams");
        assert!(member.peers.iter().all(|id| self.peers.get(id).is_some_and(|p| p.member == member.id)), "its peers are its own");
        let names: BTreeSet<_> = member.streams.iter().map(|stream| &stream.name).collect();
        assert_eq!(names.len(), member.streams.len(), "stream names are unique within a member");
        for stream in &member.streams {
            self.check_stream(member, stream);
        }
    }

    fn check_stream(&self, owner: &Member, stream: &Stream) {
        assert!(stream.up || stream.viewers.is_empty(), "nobody plays what is not up");
        for viewer in &stream.viewers {
            let plays = self.peers.get(viewer).and_then(|peer| peer.link.plays());
            assert_eq!(plays, Some((owner.id, &stream.name)), "a viewer plays the stream");
        }
        match &stream.origin {
            Origin::Peer(id) => {
                let peer = self.peers.get(id).expect("a published stream has its peer");
                assert_eq!((peer.member, peer.link.publishes()), (owner.id, Some(&stream.name)), "and it is the owner's");
                assert_eq!(stream.up, peer.up && !stream.tracks.is_empty(), "it is up when it can be played");
            }
            Origin::Source(name) if owner.dialect == DialectName::Mix => {
                let wanted = self.listed.get(&owner.room).and_then(|room| room.mix_source());
                assert_eq!(wanted.as_ref(), Some(name), "a mix belongs to a listed room that is mixed");
            }
            Origin::Source(name) => {
                let place = self.sources.get(name).and_then(|source| source.places.get(&owner.room));
                assert_eq!(place, Some(&owner.id), "a source's stream belongs to its place");
            }
        }
    }

    fn check_peers(&self) {
        for (id, peer) in &self.peers {
            let owner = self.members.get(&peer.member).expect("a peer has a member");
            assert!(owner.peers.contains(id), "and the member knows it");
            assert!(!owner.is_lost() || (peer.opening, peer.describing) == (None, None), "no answer is owed to a lost session");
            if let Some(name) = peer.link.publishes() {
                let stream = owner.stream(name).expect("a publishing peer has a stream");
                assert_eq!(stream.origin, Origin::Peer(*id), "and it is the stream's");
            }
            if let Some((whose, name)) = peer.link.plays() {
                let publisher = self.members.get(&whose).expect("what is played has an owner");
                assert_eq!(publisher.room, owner.room, "in the same room");
                let stream = publisher.stream(name).expect("what is played exists");
                assert!(stream.up && stream.viewers.contains(id), "and is up and knows who plays it");
            }
            if let Some(trunk) = peer.via {
                let trunk = self.peers.get(&trunk).expect("a lane has its trunk");
                assert!(trunk.link == Link::Trunk && trunk.up, "which is one, and connected");
                assert_eq!(self.members.get(&trunk.member).map(|m| &m.room), Some(&owner.room), "in the same room");
            }
            if let Link::Meet(meet) = &peer.link {
                self.check_meet(owner, meet, peer.up);
            }
        }
    }

    fn check_meet(&self, owner: &Member, meet: &Meet, up: bool) {
        if let Some(with) = meet.with {
            let Some(other) = self.members.get(&with) else {
                assert!(meet.outlasts && !meet.sends && meet.plays.is_none(), "what stands for nobody sends nothing");
                return;
            };
            assert!(other.room == owner.room && other.id != owner.id && other.visible, "in the same room, another, and seen");
        }
        assert!(meet.offers.is_none() || owner.may(Right::Publish), "nothing is received without the right");
        assert!(meet.publishes.is_none() || meet.publishes == meet.offers, "it gives what it offers");
        if let Some(name) = meet.offers.as_ref().filter(|_| up && !meet.tracks.is_empty()) {
            let full = owner.streams.len() >= self.config.max_streams_per_member;
            assert!(full || owner.stream(name).is_some(), "what is brought is given, by it or by another");
        }
        match &meet.plays {
            Some((whose, _)) => {
                assert!(meet.sends && owner.may(Right::Subscribe), "nothing is sent without the right");
                assert!(*whose != owner.id && meet.with.is_none_or(|with| with == *whose), "it plays whom it stands for");
            }
            None if meet.sends => {
                assert!(self.choose(owner, &meet.choice()).is_none(), "what can be played is played");
            }
            None => {}
        }
    }

    fn check_timers(&self) {
        let mut wanted = BTreeSet::new();
        for member in self.members.values() {
            if let Seat::Lost { until, .. } = member.seat {
                wanted.insert((until, member.id, Timer::Grace));
            }
            wanted.extend(member.expires.map(|at| (at, member.id, Timer::Expiry)));
        }
        assert_eq!(self.timers, wanted, "a timer for each thing waited for, and no other");
    }
}
