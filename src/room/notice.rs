//! What sessions are told. Each dialect writes these in its own wire form, so that any two dialects interoperate.

use super::command::{Body, DialectName, Facts, TrackView};
use super::config::Topology;
use super::effect::EndReason;
use crate::vocab::{LaneTrack, MediaKind, MemberId, PeerId, RequestId, Right, RoomId, Sdp, StreamName};

/// One thing told to one session.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The join was accepted. Comes before anything else about the room.
    Welcome(Box<Welcome>),
    /// The place was taken over; missed notices follow.
    Resumed(Box<Resumed>),
    /// A request was carried out and has no other answer.
    Done {
        /// Which request.
        req: RequestId,
    },
    /// A request was refused.
    Refused {
        /// Which request.
        req: RequestId,
        /// Why.
        why: Refusal,
    },
    /// Another visible member joined.
    MemberJoined {
        /// It.
        member: MemberView,
        /// Visible members now, this session's included.
        size: usize,
    },
    /// Another visible member left.
    MemberLeft {
        /// It.
        member: MemberId,
        /// Its user id.
        user_id: String,
        /// Visible members now, this session's included.
        size: usize,
        /// Why.
        reason: EndReason,
    },
    /// Another member's facts changed.
    MemberChanged {
        /// It, as it now is.
        member: MemberView,
    },
    /// A stream can be played from now on.
    StreamUp {
        /// Whose.
        member: MemberId,
        /// The stream.
        stream: StreamView,
    },
    /// A stream ended.
    StreamDown {
        /// Whose.
        member: MemberId,
        /// Which.
        stream: StreamName,
    },
    /// Portico's description for one of the session's peers: an answer, or an offer to be answered.
    Description {
        /// The peer.
        peer: PeerId,
        /// Complete, with candidates.
        sdp: Sdp,
    },
    /// A lane of the session's carries from now on. With what the far end must know of its tracks, where it is sent. `PeerUp` follows.
    Lane {
        /// The lane.
        peer: PeerId,
        /// Its tracks; empty where it is received.
        tracks: Vec<LaneTrack>,
    },
    /// One of the session's peers is connected.
    PeerUp {
        /// The peer.
        peer: PeerId,
    },
    /// The first packet of a kind passed on one of the session's peers.
    PeerFlowing {
        /// The peer.
        peer: PeerId,
        /// Audio or video.
        kind: MediaKind,
    },
    /// One of the session's peers ended by something else than the session's own `Stop` or `Leave`.
    PeerDown {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
    /// Another member sent something.
    Told {
        /// Who.
        from: MemberView,
        /// What.
        body: Body,
    },
    /// Another member said something in words, and this one has no data channel to hear it by.
    Said {
        /// Who.
        from: MemberView,
        /// What.
        text: String,
    },
    /// The place is gone; nothing more will be told.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

impl Notice {
    /// The bytes of text in it that came from outside.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Told { body: Body::Json(json), .. } => json.get().len(),
            Self::Told { body: Body::Signal(signal), .. } => signal.weight(),
            Self::Said { text, .. } => text.len(),
            Self::Description { sdp, .. } => sdp.text.len(),
            _ => 0,
        }
    }
}

/// The answer to a join.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The join's number.
    pub req: RequestId,
    /// The new member's own id.
    pub member: MemberId,
    /// The room.
    pub room: RoomId,
    /// Who talks to whom in it.
    pub topology: Topology,
    /// Visible members, the joiner included.
    pub size: usize,
    /// The other visible members, in order of joining, with their streams that are up. In a `mesh` PeerJS clients are not told of
    /// each other: they find each other by ids that they have from elsewhere.
    pub others: Vec<MemberView>,
}

/// The answer to a resume.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The resume's number.
    pub req: RequestId,
    /// The taken-over member.
    pub member: MemberId,
    /// Its user id.
    pub user_id: String,
    /// The room.
    pub room: RoomId,
    /// Who talks to whom in it.
    pub topology: Topology,
    /// Visible members, this one included.
    pub size: usize,
    /// The other visible members.
    pub others: Vec<MemberView>,
    /// The place's living peers, so that the dialect can name them again.
    pub peers: Vec<PeerView>,
}

/// One living peer of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The peer.
    pub peer: PeerId,
    /// `Some` when it plays a stream: whose and which. `None` when it only publishes, or meets a member that gives nothing now.
    pub plays: Option<(MemberId, StreamName)>,
}

/// What a member may know of another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemberView {
    /// Its id.
    pub member: MemberId,
    /// Its user id in its dialect's world; may be empty.
    pub user_id: String,
    /// What it speaks.
    pub dialect: DialectName,
    /// What it shows.
    pub facts: Facts,
    /// Its streams that are up.
    pub streams: Vec<StreamView>,
}

/// A stream that is up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StreamView {
    /// Its name within the member.
    pub name: StreamName,
    /// Its tracks. Empty for a source: their format is decided per viewer.
    pub tracks: Vec<TrackView>,
    /// The kinds it gives.
    pub kinds: Vec<MediaKind>,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session is not a member of a room yet.
    #[error("join a room first")]
    NotJoined,
    /// The session is a member of a room already.
    #[error("already in room {0}")]
    AlreadyJoined(RoomId),
    /// The room has as many members as it may.
    #[error("room {room} is full: {limit} members")]
    RoomFull {
        /// The room.
        room: RoomId,
        /// Its limit, or the dialect's.
        limit: usize,
    },
    /// There are as many rooms as may be.
    #[error("no more rooms: {limit} are open")]
    TooManyRooms {
        /// The limit.
        limit: usize,
    },
    /// Config lists the rooms and this is not one.
    #[error("there is no room {0}")]
    UnknownRoom(RoomId),
    /// The room's topology does not do this.
    #[error("room {room} has topology {topology}, which does not carry this")]
    Topology {
        /// The room.
        room: RoomId,
        /// Its topology's name.
        topology: &'static str,
    },
    /// The grant lacks the right in this room.
    #[error("the right to {right:?} is missing in room {room}")]
    Forbidden {
        /// The room.
        room: RoomId,
        /// What is missing.
        right: Right,
    },
    /// No member with that id in the room.
    #[error("there is no such member in the room")]
    UnknownMember,
    /// Nothing to resume: unknown id, or the grace is over.
    #[error("there is nothing to resume")]
    UnknownPlace,
    /// No stream of that name (now).
    #[error("there is no such stream in the room")]
    UnknownStream,
    /// The member publishes a stream of that name already.
    #[error("stream {0} is being published already")]
    StreamTaken(StreamName),
    /// The session has no peer with that id.
    #[error("there is no such peer")]
    UnknownPeer,
    /// The session has as many peers, or the member as many streams, as it may.
    #[error("too many {what}: {limit} are allowed")]
    TooMany {
        /// `peers` or `streams`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The text is longer than allowed.
    #[error("the text has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The most allowed.
        max: usize,
    },
    /// The description cannot be used.
    #[error("the session description cannot be used")]
    BadDescription,
    /// No codec in common between the stream and the far end.
    #[error("no codec in common")]
    NoCommonCodec,
    /// The source cannot be opened now.
    #[error("the source cannot be opened")]
    SourceFailed,
    /// The board is too hot, or the source's encoder too slow, for another viewer.
    #[error("too much is asked of the gateway now for another viewer")]
    Overloaded,
    /// A fault on this side.
    #[error("the gateway could not serve this")]
    Internal,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Refusal {
    /// Stable code for clients, in lower snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJoined => "not_joined",
            Self::AlreadyJoined(_) => "already_joined",
            Self::RoomFull { .. } => "room_full",
            Self::TooManyRooms { .. } => "too_many_rooms",
            Self::UnknownRoom(_) => "unknown_room",
            Self::Topology { .. } => "wrong_topology",
            Self::Forbidden { .. } => "forbidden",
            Self::UnknownMember => "unknown_member",
            Self::UnknownPlace => "unknown_place",
            Self::UnknownStream => "unknown_stream",
            Self::StreamTaken(_) => "stream_taken",
            Self::UnknownPeer => "unknown_peer",
            Self::TooMany { .. } => "too_many",
            Self::TooLong { .. } => "too_long",
            Self::BadDescription => "bad_description",
            Self::NoCommonCodec => "no_common_codec",
            Self::SourceFailed => "source_failed",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Stopping => "stopping",
        }
    }
}
