//! Connections of a client that stand for another member, or for the room, and end at Portico; and words.

use super::command::{MAX_SAID, Meeting, StreamChoice};
use super::config::Topology;
use super::effect::{self, Effect, EndReason, Playing, Purpose};
use super::member::{Link, Meet, Member, Origin, Stream};
use super::notice::{Notice, Refusal};
use super::peers::Ending;
use super::peers::NewPeer;
use super::rooms::Rooms;
use std::time::Instant;

use crate::vocab::{MemberId, PeerId, RequestId, Right, RoomId, SessionId};

impl Meet {
    /// Which stream it would send now.
    pub(super) fn choice(&self) -> StreamChoice {
        match (self.with, &self.named) {
            (Some(with), _) => StreamChoice::Of(with, None),
            (None, Some(name)) => StreamChoice::Local(name.clone()),
            (None, None) => StreamChoice::Room,
        }
    }
}

impl Rooms {
    /// Opens a connection with another member, or the room. What the rights do not allow is left out of it.
    pub(super) fn meet(&mut self, session: SessionId, member: MemberId, req: RequestId, meeting: Meeting) -> Result<(), Refusal> {
        let asker = self.member(member);
        if let Some(with) = meeting.with {
            self.may_meet(asker, with)?;
        }
        let limit = self.config.max_streams_per_member;
        let (speaks, hears) = (asker.may(Right::Publish), asker.may(Right::Subscribe));
        let of_meeting = |stream: &Stream| match stream.origin {
            Origin::Peer(peer) => self.peers.get(&peer).is_some_and(|peer| matches!(peer.link, Link::Meet(_))),
            Origin::Source(_) => false,
        };
        let may_give = |name: &_| speaks && asker.stream(name).map_or(asker.streams.len() < limit, of_meeting);
        let mut meet = Meet {
            with: meeting.with,
            named: meeting.named,
            outlasts: meeting.outlasts,
            offers: meeting.publish.filter(may_give),
            tracks: Vec::new(),
            publishes: None,
            sends: meeting.play && hears,
            plays: None,
        };
        let found = meet.sends.then(|| self.choose(asker, &meet.choice())).flatten();
        let plays = found.map(|(owner, stream)| Playing { owner: owner.id, stream: stream.name.clone(), feed: stream.feed() });
        meet.plays = plays.as_ref().map(|plays| (plays.owner, plays.stream.clone()));

        let purpose = Purpose::Meet(Box::new(effect::Meet {
            with: meet.with,
            publish: meet.offers.clone(),
            sends: meet.sends,
            expects: meeting.expects,
            plays,
            speaks,
            hears,
            framing: meeting.framing,
            channels: meeting.channels,
            broker: meeting.broker,
            pair: meeting.pair,
        }));
        let played = meet.plays.clone();
        self.open_peer(
            session,
            member,
            req,
            NewPeer { peer: meeting.peer, offer: meeting.offer, purpose, link: Link::Meet(meet), via: None },
        )?;
        if let Some((owner, name)) = played
            && let Some(stream) = self.members.get_mut(&owner).and_then(|owner| owner.stream_mut(&name))
        {
            stream.viewers.insert(meeting.peer);
        }
        Ok(())
    }

    /// Another visible member of the room; in a `mesh` room not one that can be reached directly.
    fn may_meet(&self, asker: &Member, with: MemberId) -> Result<(), Refusal> {
        let other = self.members.get(&with).filter(|m| m.id != asker.id && m.visible && m.room == asker.room);
        let Some(other) = other else { return Err(Refusal::UnknownMember) };
        match self.topology(&asker.room) {
            topology @ Topology::Mesh if other.dialect.meets_directly() => {
                Err(Refusal::Topology { room: asker.room.clone(), topology: topology.as_str() })
            }
            _ => Ok(()),
        }
    }

    /// Gives connections of the room that send nothing, but would, what has come up for them.
    pub(super) fn feed_meetings(&mut self, room: &RoomId) {
        let Some(open) = self.rooms.get(room) else { return };
        let members = self.members_of(open).flat_map(|member| &member.peers);
        self.feed(members.copied().collect());
    }

    /// Gives those of the peers that meet and send nothing, but would, what there is for them.
    pub(super) fn feed(&mut self, peers: Vec<PeerId>) {
        for id in peers {
            let Some(peer) = self.peers.get(&id) else { continue };
            let Link::Meet(meet) = &peer.link else { continue };
            if !meet.sends || meet.plays.is_some() {
                continue;
            }
            let asker = self.member(peer.member);
            let Some((owner, stream)) = self.choose(asker, &meet.choice()) else { continue };
            let plays = Playing { owner: owner.id, stream: stream.name.clone(), feed: stream.feed() };
            self.bind(id, plays);
        }
    }

    fn bind(&mut self, id: PeerId, plays: Playing) {
        if let Some(stream) = self.members.get_mut(&plays.owner).and_then(|owner| owner.stream_mut(&plays.stream)) {
            stream.viewers.insert(id);
        }
        if let Some(Link::Meet(meet)) = self.peers.get_mut(&id).map(|peer| &mut peer.link) {
            meet.plays = Some((plays.owner, plays.stream.clone()));
        }
        self.effects.push_back(Effect::FeedPeer { peer: id, plays: Some(plays) });
    }

    /// Where no connection of the member gives the stream that one of its meetings brings, that one does: the first to bring it, and
    /// when that ends, the next.
    pub(super) fn give_streams(&mut self, member: MemberId) {
        let Some(owner) = self.members.get(&member) else { return };
        for id in owner.peers.clone() {
            let Some(owner) = self.members.get_mut(&member) else { return };
            let full = owner.streams.len() >= self.config.max_streams_per_member;
            let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.up && !full) else { continue };
            let Link::Meet(meet) = &mut peer.link else { continue };
            let Some(name) = meet.offers.clone().filter(|name| owner.stream(name).is_none()) else { continue };
            if meet.tracks.is_empty() {
                continue;
            }
            let mut stream = Stream::new(name.clone(), Origin::Peer(id));
            stream.take(meet.tracks.clone());
            meet.publishes = Some(name.clone());
            owner.streams.push(stream);
            self.put_up(member, &name);
        }
    }

    /// A connection that published brings no tracks any more: the name is free again.
    pub(super) fn publishes_nothing(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Link::Meet(meet) = &mut peer.link else { return };
        let Some(name) = meet.publishes.take() else { return };
        let member = peer.member;
        self.take_down(member, &name);
        if let Some(owner) = self.members.get_mut(&member) {
            owner.streams.retain(|stream| stream.name != name);
        }
    }

    /// Ends the connections that stand for a member that is leaving. One that carries its own member's stream stays, where
    /// its dialect wants that, and stands for nobody any more.
    pub(super) fn end_meetings_with(&mut self, member: MemberId) {
        let Some(room) = self.members.get(&member).and_then(|m| self.rooms.get(&m.room)) else { return };
        let others = self.members_of(room).flat_map(|other| other.peers.iter().copied());
        let met = others.filter(|id| matches!(&self.peers[id].link, Link::Meet(meet) if meet.with == Some(member)));
        for id in met.collect::<Vec<_>>() {
            let stays = self.carries_own(id);
            match self.peers.get_mut(&id).map(|peer| &mut peer.link) {
                Some(Link::Meet(meet)) if meet.outlasts && stays => {
                    meet.sends = false;
                }
                _ => self.end_peer(id, EndReason::Left, Ending { close: true, tell: true }),
            }
        }
    }

    /// Whether a meeting carries its own member's stream, or may yet where no other connection does.
    fn carries_own(&self, id: PeerId) -> bool {
        let Some((peer, Link::Meet(meet))) = self.peers.get(&id).map(|peer| (peer, &peer.link)) else { return false };
        let may_yet = |name| !(peer.up && meet.tracks.is_empty()) && self.member(peer.member).stream(name).is_none();
        meet.publishes.is_some() || meet.offers.as_ref().is_some_and(may_yet)
    }

    // ---- words ----

    /// Words of a member to one other visible member or to all.
    pub(super) fn say(
        &mut self,
        session: SessionId,
        from: MemberId,
        req: RequestId,
        to: Option<MemberId>,
        text: String,
    ) -> Result<(), Refusal> {
        let sender = self.member(from);
        let room = sender.room.clone();
        if !sender.may(Right::Publish) {
            return Err(Refusal::Forbidden { room, right: Right::Publish });
        }
        if text.len() > MAX_SAID {
            return Err(Refusal::TooLong { len: text.len(), max: MAX_SAID });
        }
        let hears = |to: MemberId| self.members.get(&to).is_some_and(|m| m.id != from && m.visible && m.room == room);
        if !sender.visible || to.is_some_and(|to| !hears(to)) {
            return Err(Refusal::UnknownMember);
        }
        self.effects.push_back(Effect::Say { room, from, to, text });
        self.effects.push_back(Effect::Notify(session, Notice::Done { req }));
        Ok(())
    }

    /// Tells a member words that another of its room said, by signalling or over a data channel. Whether the sender may say and
    /// the receiver may hear something is looked at again; what is too long is left out.
    pub fn told(&mut self, now: Instant, from: MemberId, to: MemberId, text: String) {
        self.handle_timeout(now);
        let (Some(sender), Some(hearer)) = (self.members.get(&from), self.members.get(&to)) else { return };
        let allowed = sender.may(Right::Publish) && hearer.hears_of_others();
        if allowed && sender.room == hearer.room && text.len() <= MAX_SAID {
            let from = self.seen(from);
            self.tell(to, Notice::Said { from, text });
        }
    }
}
