//! The life of a peer, and of the stream it carries.

use super::command::{DialectName, PeerUpdate, StreamChoice, TrackView};
use super::config::Topology;
use super::effect::{Effect, EndReason, Feed, OpenPeer, Purpose, Report, Via};
use super::member::{Link, Member, Origin, Peer, Stream};
use super::notice::{Notice, Refusal};
use super::rooms::Rooms;
use crate::vocab::{MemberId, PeerId, RequestId, Right, RoomId, Sdp, SdpKind, SessionId, StreamName};
use std::time::Instant;

/// Who must be told that a peer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The hub: it has not ended the peer itself.
    pub close: bool,
    /// The session: it has not asked for it.
    pub tell: bool,
}

/// A peer to be opened: the parts of the command, and what was decided of it.
pub(super) struct NewPeer {
    pub peer: PeerId,
    pub offer: Option<Sdp>,
    pub purpose: Purpose,
    pub link: Link,
    pub via: Option<Via>,
}

impl Rooms {
    /// News of a peer. News of a peer that is not known (any more) is ignored.
    pub fn handle_peer(&mut self, now: Instant, update: PeerUpdate) {
        self.handle_timeout(now);
        match update {
            PeerUpdate::Described { peer, sdp } => self.described(peer, sdp),
            PeerUpdate::Rejected { peer, reason } => self.rejected(peer, reason),
            PeerUpdate::Lane { peer, tracks } => self.lane_open(peer, tracks),
            PeerUpdate::Tracks { peer, tracks } => self.negotiated(peer, tracks),
            PeerUpdate::Up { peer } => self.connected(peer),
            PeerUpdate::Flowing { peer, kind } => {
                if let Some(member) = self.peers.get(&peer).map(|peer| peer.member) {
                    self.tell(member, Notice::PeerFlowing { peer, kind });
                }
            }
            PeerUpdate::Down { peer, reason } => self.end_peer(peer, reason, Ending { close: false, tell: true }),
        }
    }

    /// A peer that the hub could not even open. The same as [`PeerUpdate::Down`]: before the first description its request is
    /// refused, afterwards the session is told `PeerDown`.
    pub fn refuse_peer(&mut self, now: Instant, peer: PeerId, reason: EndReason) {
        self.handle_peer(now, PeerUpdate::Down { peer, reason });
    }

    // ---- asked by a session ----

    #[expect(clippy::too_many_arguments, reason = "the parts of one command, and how its media travels")]
    pub(super) fn publish(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        peer: PeerId,
        stream: StreamName,
        offer: Option<Sdp>,
        via: Option<Via>,
    ) -> Result<(), Refusal> {
        let asker = self.member(member);
        if !asker.may(Right::Publish) {
            let room = asker.room.clone();
            return Err(Refusal::Forbidden { room, right: Right::Publish });
        }
        if asker.stream(&stream).is_some() {
            return Err(Refusal::StreamTaken(stream));
        }
        let limit = self.config.max_streams_per_member;
        if asker.streams.len() >= limit {
            return Err(Refusal::TooMany { what: "streams", limit });
        }
        let purpose = Purpose::Ingest { stream: stream.clone() };
        let link = Link::Ingest(stream.clone());
        self.open_peer(session, member, req, NewPeer { peer, offer, purpose, link, via })?;
        if let Some(asker) = self.members.get_mut(&member) {
            asker.streams.push(Stream::new(stream, Origin::Peer(peer)));
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one command, and how its media travels")]
    pub(super) fn play(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        peer: PeerId,
        of: StreamChoice,
        offer: Option<Sdp>,
        via: Option<Via>,
    ) -> Result<(), Refusal> {
        let asker = self.member(member);
        if !asker.may(Right::Subscribe) {
            return Err(Refusal::Forbidden { room: asker.room.clone(), right: Right::Subscribe });
        }
        let (owner, stream) = self.choose(asker, &of).ok_or(Refusal::UnknownStream)?;
        let (owner, name) = (owner.id, stream.name.clone());
        let purpose = Purpose::Play { of, owner, stream: name.clone(), feed: stream.feed() };
        let link = Link::Play(owner, name.clone());
        self.open_peer(session, member, req, NewPeer { peer, offer, purpose, link, via })?;
        if let Some(stream) = self.members.get_mut(&owner).and_then(|owner| owner.stream_mut(&name)) {
            stream.viewers.insert(peer);
        }
        Ok(())
    }

    pub(super) fn describe(&mut self, member: MemberId, req: RequestId, peer: PeerId, sdp: Sdp) -> Result<(), Refusal> {
        self.own_peer(member, peer)?;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.describing = Some(req);
        }
        self.effects.push_back(Effect::DescribePeer { peer, sdp });
        Ok(())
    }

    /// The session's own wish: it is not told.
    pub(super) fn stop_peer(&mut self, peer: PeerId) {
        self.end_peer(peer, EndReason::Left, Ending { close: true, tell: false });
    }

    /// Whether the peer is one of the member's.
    pub(super) fn own_peer(&self, member: MemberId, peer: PeerId) -> Result<(), Refusal> {
        self.peers.get(&peer).filter(|peer| peer.member == member).map(|_| ()).ok_or(Refusal::UnknownPeer)
    }

    pub(super) fn open_peer(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        new: NewPeer,
    ) -> Result<(), Refusal> {
        let NewPeer { peer, offer, purpose, link, via } = new;
        let limit = self.config.max_peers_per_member;
        if offer.as_ref().is_some_and(|offer| offer.kind != SdpKind::Offer) {
            return Err(Refusal::BadDescription);
        }
        // ids are made by `PeerId::next`, so that a used one is a fault of the asking dialect
        if self.peers.contains_key(&peer) {
            return Err(Refusal::Internal);
        }
        let Some(owner) = self.members.get_mut(&member) else { return Err(Refusal::NotJoined) };
        if owner.peers.len() >= limit {
            return Err(Refusal::TooMany { what: "peers", limit });
        }
        owner.peers.insert(peer);
        let (room, dialect) = (owner.room.clone(), owner.dialect);
        self.peers.insert(
            peer,
            Peer { member, link, opening: Some(req), describing: None, up: false, via: via.as_ref().map(|via| via.trunk) },
        );
        let open = OpenPeer { peer, session, member, room, dialect, offer, purpose, via };
        self.effects.push_back(Effect::OpenPeer(Box::new(open)));
        Ok(())
    }

    /// The stream that a choice means now, of those that are up, in order of joining and publishing. A member's own streams
    /// are played only when it names itself.
    pub(super) fn choose(&self, asker: &Member, of: &StreamChoice) -> Option<(&Member, &Stream)> {
        let room = self.rooms.get(&asker.room)?;
        let shown = || self.members_of(room).filter(|m| self.shows_streams_to(m, asker));
        let streams = || shown().flat_map(|m| m.streams.iter().filter(|s| s.up).map(move |s| (m, s)));
        let mut foreign = streams().filter(|(owner, _)| owner.id != asker.id);
        match of {
            StreamChoice::Default => default_of(foreign),
            StreamChoice::Room => {
                let source = streams().find(|(owner, stream)| owner.id != asker.id && matches!(stream.origin, Origin::Source(_)));
                let mesh = self.topology(&asker.room) == Topology::Mesh;
                // what clients of meshes give the room is for those whom they do not reach: the others have it from them
                let of_mesh = |stream: &Stream| match stream.origin {
                    Origin::Peer(peer) => self.peers.get(&peer).is_some_and(|peer| matches!(peer.link, Link::Meet(_))),
                    Origin::Source(_) => false,
                };
                let has_it = |(owner, stream): &(&Member, &Stream)| {
                    mesh && asker.dialect.meets_directly() && owner.dialect.meets_directly() && of_mesh(stream)
                };
                source.or_else(|| default_of(foreign.filter(|found| !has_it(found))))
            }
            StreamChoice::Named(name) => foreign.find(|(_, stream)| stream.name == *name),
            StreamChoice::Local(name) => {
                foreign.find(|(owner, stream)| stream.name == *name && owner.dialect != DialectName::Bridge)
            }
            StreamChoice::Of(owner, name) => {
                streams().find(|(m, stream)| m.id == *owner && name.as_ref().is_none_or(|name| stream.name == *name))
            }
        }
    }

    /// Where the media of a room's stream comes from: the first of that name that is up, as for who plays it; with `of` that
    /// member's. Rooms and streams that there are not are refused.
    pub fn shown(&self, room: &RoomId, of: Option<MemberId>, name: &StreamName) -> Result<Feed, Refusal> {
        let open = self.rooms.get(room).ok_or_else(|| Refusal::UnknownRoom(room.clone()))?;
        let members = self.members_of(open).filter(|member| of.is_none_or(|of| member.id == of));
        let mut streams = members.flat_map(|member| member.streams.iter());
        streams.find(|stream| stream.up && stream.name == *name).map(Stream::feed).ok_or(Refusal::UnknownStream)
    }

    // ---- told by the hub ----

    fn described(&mut self, id: PeerId, sdp: Sdp) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.opening = None;
        peer.describing = None;
        let member = peer.member;
        self.tell(member, Notice::Description { peer: id, sdp });
    }

    /// A later description was of no use; the peer goes on as it was.
    fn rejected(&mut self, id: PeerId, reason: EndReason) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let member = peer.member;
        if let Some(req) = peer.describing.take() {
            self.tell(member, Notice::Refused { req, why: refusal(reason) });
        }
    }

    /// New tracks make a new stream of the same name: who played the old one is told that it ended.
    fn negotiated(&mut self, id: PeerId, tracks: Vec<TrackView>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let member = peer.member;
        if let Link::Meet(meet) = &mut peer.link {
            meet.tracks.clone_from(&tracks);
            if meet.publishes.is_none() || tracks.is_empty() {
                self.publishes_nothing(id);
                return self.give_streams(member);
            }
        }
        let Some(name) = self.peers.get(&id).and_then(|peer| peer.link.publishes()).cloned() else { return };
        if self.members.get(&member).and_then(|m| m.stream(&name)).is_none_or(|stream| stream.tracks == tracks) {
            return;
        }
        self.take_down(member, &name);
        if let Some(stream) = self.members.get_mut(&member).and_then(|m| m.stream_mut(&name)) {
            stream.take(tracks);
        }
        self.put_up(member, &name);
    }

    /// Told and reported once; coming back after an interruption is no news.
    pub(super) fn connected(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.up) else { return };
        peer.up = true;
        let (member, publishes) = (peer.member, peer.link.publishes().cloned());
        self.tell(member, Notice::PeerUp { peer: id });
        let room = self.member(member).room.clone();
        self.report(Report::PeerUp { room, member, peer: id });
        if let Some(stream) = publishes {
            self.put_up(member, &stream);
        }
        self.give_streams(member);
    }

    // ---- ends ----

    /// Requests of a session that is gone are answered to nobody, least of all to the session that resumes with numbers of its
    /// own.
    pub(super) fn forget_requests(&mut self, member: MemberId) {
        let Some(member) = self.members.get(&member) else { return };
        for id in &member.peers {
            if let Some(peer) = self.peers.get_mut(id) {
                (peer.opening, peer.describing) = (None, None);
            }
        }
    }

    /// Closes all peers of a member that is leaving, and ends all its streams.
    pub(super) fn end_all_peers(&mut self, member: MemberId, reason: EndReason) {
        self.end_meetings_with(member);
        let Some(leaving) = self.members.get(&member) else { return };
        let streams: Vec<_> = leaving.streams.iter().map(|stream| stream.name.clone()).collect();
        let peers = leaving.peers.clone();
        for peer in &peers {
            if let Some(Link::Meet(meet)) = self.peers.get_mut(peer).map(|peer| &mut peer.link) {
                meet.offers = None;
            }
        }
        for peer in peers {
            self.end_peer(peer, reason, Ending { close: true, tell: false });
        }
        for stream in streams {
            self.take_down(member, &stream);
        }
    }

    pub(super) fn end_peer(&mut self, id: PeerId, reason: EndReason, ending: Ending) {
        let Some(peer) = self.peers.remove(&id) else { return };
        if ending.close {
            self.effects.push_back(Effect::ClosePeer { peer: id, reason });
        }
        if let Some(owner) = self.members.get_mut(&peer.member) {
            owner.peers.remove(&id);
        }
        if peer.link == Link::Trunk {
            self.end_lanes_of(id, peer.member, reason, ending.tell);
        }
        if let Some((owner, stream)) = peer.link.plays()
            && let Some(stream) = self.members.get_mut(&owner).and_then(|owner| owner.stream_mut(stream))
        {
            stream.viewers.remove(&id);
        }
        if let Some(stream) = peer.link.publishes() {
            self.take_down(peer.member, stream);
            if let Some(owner) = self.members.get_mut(&peer.member) {
                owner.streams.retain(|kept| kept.name != *stream);
            }
            self.give_streams(peer.member);
        }
        if ending.tell {
            let notice = match peer.opening {
                Some(req) => Notice::Refused { req, why: refusal(reason) },
                None => Notice::PeerDown { peer: id, reason },
            };
            self.tell(peer.member, notice);
        }
        let room = self.member(peer.member).room.clone();
        self.report(Report::PeerDown { room, member: peer.member, peer: id, reason });
    }

    // ---- streams ----

    /// Makes a stream playable, if it has all it needs: tracks from a connected peer, or a present source.
    pub(super) fn put_up(&mut self, owner: MemberId, name: &StreamName) {
        let Some(member) = self.members.get_mut(&owner) else { return };
        let (room, visible) = (member.room.clone(), member.visible);
        let Some(stream) = member.stream_mut(name).filter(|stream| !stream.up) else { return };
        let ready = match &stream.origin {
            Origin::Source(_) => true,
            Origin::Peer(peer) => !stream.tracks.is_empty() && self.peers.get(peer).is_some_and(|peer| peer.up),
        };
        if !ready {
            return;
        }
        stream.up = true;
        let view = stream.view();
        if visible {
            self.tell_of_stream(owner, Notice::StreamUp { member: owner, stream: view });
        }
        self.report(Report::StreamUp { room: room.clone(), member: owner, stream: name.clone() });
        self.remix(&room);
        self.feed_meetings(&room);
        self.replace_encoders(&room, owner, name);
    }

    /// An encoder that crashed and comes back by WHIP takes the place it had: the path names the stream, so two members behind
    /// one path are never meant. The old one goes when the new one is up, so that a failed attempt costs nothing.
    fn replace_encoders(&mut self, room: &RoomId, newer: MemberId, name: &StreamName) {
        if self.member(newer).dialect != DialectName::Whip {
            return;
        }
        let Some(open) = self.rooms.get(room) else { return };
        let older: Vec<MemberId> = self
            .members_of(open)
            .filter(|m| m.id != newer && m.dialect == DialectName::Whip && m.stream(name).is_some_and(|stream| stream.up))
            .map(|m| m.id)
            .collect();
        for member in older {
            self.end_place(member, EndReason::Replaced);
        }
    }

    /// Nobody plays a stream any more. Returns those who meet, and may be given something else.
    pub(super) fn cut_off(&mut self, owner: MemberId, name: &StreamName) -> Vec<PeerId> {
        let stream = self.members.get_mut(&owner).and_then(|member| member.stream_mut(name));
        let mut starved = Vec::new();
        for viewer in stream.map(|stream| std::mem::take(&mut stream.viewers)).unwrap_or_default() {
            match self.peers.get_mut(&viewer).map(|peer| &mut peer.link) {
                Some(Link::Meet(meet)) => {
                    meet.plays = None;
                    self.effects.push_back(Effect::FeedPeer { peer: viewer, plays: None });
                    starved.push(viewer);
                }
                _ => self.end_peer(viewer, EndReason::StreamEnded, Ending { close: true, tell: true }),
            }
        }
        starved
    }

    /// Ends a stream that is up: who plays it is cut off first, then all are told.
    pub(super) fn take_down(&mut self, owner: MemberId, name: &StreamName) {
        let Some(member) = self.members.get_mut(&owner) else { return };
        let (room, visible) = (member.room.clone(), member.visible);
        let Some(stream) = member.stream_mut(name).filter(|stream| stream.up) else { return };
        stream.up = false;
        let starved = self.cut_off(owner, name);
        if visible {
            self.tell_of_stream(owner, Notice::StreamDown { member: owner, stream: name.clone() });
        }
        self.remix(&room);
        self.report(Report::StreamDown { room, member: owner, stream: name.clone() });
        self.feed(starved);
    }
}

/// DESIGN section 4: the one named `main`, else the first source's, else the first.
fn default_of<'a>(streams: impl Iterator<Item = (&'a Member, &'a Stream)>) -> Option<(&'a Member, &'a Stream)> {
    let mut first = None;
    let mut first_of_source = None;
    for found in streams {
        if found.1.name.as_str() == "main" {
            return Some(found);
        }
        if matches!(found.1.origin, Origin::Source(_)) {
            first_of_source.get_or_insert(found);
        }
        first.get_or_insert(found);
    }
    first_of_source.or(first)
}

/// How the end of a peer that was never described reads as the answer to its request.
fn refusal(reason: EndReason) -> Refusal {
    match reason {
        EndReason::BadDescription => Refusal::BadDescription,
        EndReason::NoCommonCodec => Refusal::NoCommonCodec,
        EndReason::SourceFailed => Refusal::SourceFailed,
        EndReason::Overloaded => Refusal::Overloaded,
        EndReason::StreamEnded => Refusal::UnknownStream,
        EndReason::Stopping => Refusal::Stopping,
        // whom it was to stand for
        EndReason::Left => Refusal::UnknownMember,
        EndReason::Lost
        | EndReason::NeverConnected
        | EndReason::Replaced
        | EndReason::Expired
        | EndReason::Evicted
        | EndReason::Internal => Refusal::Internal,
    }
}
