//! What is kept of a member, of its streams and of its peers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::command::{DialectName, Facts, LINK, TrackView};
use super::effect::Feed;
use super::missed::Missed;
use super::notice::{MemberView, StreamView};
use crate::vocab::{Grant, MediaKind, MemberId, PeerId, RequestId, Right, RoomId, SessionId, SourceName, StreamName};

/// Who or what is in a room.
#[derive(Debug)]
pub(super) struct Member {
    pub id: MemberId,
    pub room: RoomId,
    pub user_id: String,
    pub dialect: DialectName,
    /// Where it came from; `None` for what lives in this process.
    pub remote: Option<IpAddr>,
    pub grant: Grant,
    /// Whether the others see it, and it them.
    pub visible: bool,
    pub facts: Facts,
    pub seat: Seat,
    /// Streams, the coming ones included, in order of publication.
    pub streams: Vec<Stream>,
    pub peers: BTreeSet<PeerId>,
    /// When its grant ends, where that is known as a time of this process.
    pub expires: Option<Instant>,
}

/// Who listens at a member's place.
#[derive(Debug)]
pub(super) enum Seat {
    /// A session.
    Session(SessionId),
    /// Nobody until somebody resumes; the place is left at `until`.
    Lost { until: Instant, missed: Missed, last: SessionId },
    /// Nobody, ever: a source, or a member that is just being removed.
    Nobody,
}

/// A published or coming stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: StreamName,
    pub origin: Origin,
    pub tracks: Vec<TrackView>,
    pub kinds: Vec<MediaKind>,
    /// Whether it can be played and the others know.
    pub up: bool,
    /// The peers that play it.
    pub viewers: BTreeSet<PeerId>,
}

/// Where a stream comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Peer(PeerId),
    Source(SourceName),
}

/// One connection of a member.
#[derive(Debug)]
pub(super) struct Peer {
    pub member: MemberId,
    pub link: Link,
    /// The request that opened it, until its first description is told. Forgotten with the session that asked.
    pub opening: Option<RequestId>,
    /// The latest request that described it again, until it is answered. Forgotten with the session that asked.
    pub describing: Option<RequestId>,
    /// Whether it has ever been connected.
    pub up: bool,
    /// The trunk that it is a lane of.
    pub via: Option<PeerId>,
}

/// What a peer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// The member's own stream, in.
    Ingest(StreamName),
    /// Someone's stream, out.
    Play(MemberId, StreamName),
    /// What a connection with another member, or the room, carries.
    Meet(Meet),
    /// Nothing itself: its lanes do.
    Trunk,
}

/// A connection that stands for another member, or the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meet {
    /// Whom it stands for; `None` for the room. Somebody who left, where it outlasts that.
    pub with: Option<MemberId>,
    /// Of the room it sends this stream only, where no bridge brought it.
    pub named: Option<StreamName>,
    /// It stays when `with` leaves, if it carries the member's own stream.
    pub outlasts: bool,
    /// What its tracks become once they flow, unless another connection of the member gives it.
    pub offers: Option<StreamName>,
    /// The tracks that it was agreed to receive.
    pub tracks: Vec<TrackView>,
    /// The member's own stream, in.
    pub publishes: Option<StreamName>,
    /// Sends media when there is some.
    pub sends: bool,
    /// What it sends now.
    pub plays: Option<(MemberId, StreamName)>,
}

impl Stream {
    /// Has these tracks from now on.
    pub fn take(&mut self, tracks: Vec<TrackView>) {
        let mut kinds: Vec<MediaKind> = tracks.iter().map(|track| track.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        (self.tracks, self.kinds) = (tracks, kinds);
    }
}

impl Link {
    /// The member's own stream that it carries in.
    pub fn publishes(&self) -> Option<&StreamName> {
        match self {
            Self::Ingest(stream) => Some(stream),
            Self::Play(..) | Self::Trunk => None,
            Self::Meet(meet) => meet.publishes.as_ref(),
        }
    }

    /// Whose stream it carries out now.
    pub fn plays(&self) -> Option<(MemberId, &StreamName)> {
        match self {
            Self::Ingest(_) | Self::Trunk => None,
            Self::Play(owner, stream) => Some((*owner, stream)),
            Self::Meet(meet) => meet.plays.as_ref().map(|(owner, stream)| (*owner, stream)),
        }
    }
}

impl DialectName {
    /// Whether a lost member of this dialect keeps its place for a while. HTTP sessions have no connection to lose: their
    /// resource is deleted or their peer goes down. A vamp client never comes back, but its media goes on without signalling.
    pub(super) fn keeps_places(self) -> bool {
        matches!(self, Self::Tribe | Self::Vamp)
    }

    /// Whether somebody who knows the id of a lost (or connected) member may take over its place.
    pub(super) fn resumes_places(self) -> bool {
        matches!(self, Self::Tribe)
    }

    /// Whether its clients hear words by signalling, where no data channel brings them.
    pub fn hears_words(self) -> bool {
        matches!(self, Self::Tribe | Self::Page | Self::Sigver | Self::Bridge)
    }

    /// Whether its clients connect to each other with plain session descriptions, which Portico can put into one another's form.
    pub fn meets_directly(self) -> bool {
        matches!(self, Self::Tribe | Self::Algorea | Self::Peerjs | Self::Vamp)
    }
}

impl Member {
    pub(super) fn may(&self, right: Right) -> bool {
        self.grant.allows(&self.room, right)
    }

    /// Whether it is told who comes, goes and publishes. `Right::Subscribe` is the right to see members.
    pub(super) fn hears_of_others(&self) -> bool {
        self.visible && self.may(Right::Subscribe)
    }

    /// Whether it is one end of a link between two gateways.
    pub(super) fn is_link(&self) -> bool {
        self.dialect == DialectName::Bridge && self.facts.platform.as_deref() == Some(LINK)
    }

    /// Whether its client finds the other in a mesh without the room. PeerJS clients call each other by ids that they have from
    /// elsewhere, and their broker is the realm of their mount: telling thousands of them of each other would be for nobody.
    pub(super) fn finds_by_itself(&self, other: &Member) -> bool {
        self.dialect == DialectName::Peerjs && other.dialect == DialectName::Peerjs
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.seat, Seat::Lost { .. })
    }

    pub(super) fn stream(&self, name: &StreamName) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name == *name)
    }

    pub(super) fn stream_mut(&mut self, name: &StreamName) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.name == *name)
    }

    /// With its streams, where they are shown.
    pub(super) fn seen(&self, streams: bool) -> MemberView {
        let mut view = self.view();
        view.streams.retain(|_| streams);
        view
    }

    pub(super) fn view(&self) -> MemberView {
        MemberView {
            member: self.id,
            user_id: self.user_id.clone(),
            dialect: self.dialect,
            facts: self.facts.clone(),
            streams: self.streams.iter().filter(|stream| stream.up).map(Stream::view).collect(),
        }
    }
}

impl Stream {
    pub(super) fn new(name: StreamName, origin: Origin) -> Self {
        Self { name, origin, tracks: Vec::new(), kinds: Vec::new(), up: false, viewers: BTreeSet::new() }
    }

    pub(super) fn view(&self) -> StreamView {
        StreamView { name: self.name.clone(), tracks: self.tracks.clone(), kinds: self.kinds.clone() }
    }

    pub(super) fn feed(&self) -> Feed {
        match &self.origin {
            Origin::Source(source) => Feed::Source(source.clone()),
            Origin::Peer(_) => Feed::Published(self.tracks.iter().map(|track| track.track).collect()),
        }
    }
}
