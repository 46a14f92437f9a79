//! What must happen because of what was decided.

use std::net::IpAddr;
use std::sync::Arc;

use super::command::{BrokerIds, DialectName, Facts, Remark, StreamChoice};
use super::notice::Notice;
use crate::vocab::{
    Candidate, DataMessage, Framing, LaneTrack, MediaKind, MemberId, NewChannel, PeerId, RoomId, Sdp, SessionId, SourceName,
    StreamName, TrackId,
};

/// An order of [`Rooms`](super::Rooms) to the hub, in the order it must be carried out.
#[derive(Debug)]
pub enum Effect {
    /// Tell a session something. Never addressed to a session that left or was never heard of.
    Notify(SessionId, Notice),
    /// The session has no place any more and nothing will be told to it: its owner may end it.
    EndSession(SessionId, EndReason),
    /// Open a peer connection.
    OpenPeer(Box<OpenPeer>),
    /// Hand the far end's later description to the peer.
    DescribePeer {
        /// The peer.
        peer: PeerId,
        /// What the far end sent.
        sdp: Sdp,
    },
    /// Hand a remote candidate to the peer.
    AddCandidate {
        /// The peer.
        peer: PeerId,
        /// The candidate.
        candidate: Candidate,
    },
    /// From now on the peer is sent this, in the sections it has for it, or nothing. Only for peers that meet.
    FeedPeer {
        /// The peer.
        peer: PeerId,
        /// Whose stream, and where its media comes from.
        plays: Option<Playing>,
    },
    /// From now on these are mixed.
    Mix {
        /// The source that the mix is.
        mix: SourceName,
        /// Everything that is published in the room, in order of coming.
        parts: Vec<MixPart>,
    },
    /// A member said something in words by signalling. Who hears it by signalling is told with
    /// [`Rooms::told`](super::Rooms::told).
    Say {
        /// In which room.
        room: RoomId,
        /// Who.
        from: MemberId,
        /// The addressee; `None` for all others in the room.
        to: Option<MemberId>,
        /// What; at most [`MAX_SAID`](super::command::MAX_SAID) bytes.
        text: String,
    },
    /// Send a message on the one channel of a peer whose framing is [`Framing::Own`].
    Transmit {
        /// The peer.
        peer: PeerId,
        /// The message.
        message: DataMessage,
    },
    /// Close the peer. Nothing more will be heard of it.
    ClosePeer {
        /// The peer.
        peer: PeerId,
        /// Why; told to logs.
        reason: EndReason,
    },
    /// For logs, metrics, the event stream and later the broker.
    Report(Report),
}

/// Everything needed to open a peer.
#[derive(Debug)]
pub struct OpenPeer {
    /// The new peer.
    pub peer: PeerId,
    /// Whose it is.
    pub session: SessionId,
    /// Whose it is.
    pub member: MemberId,
    /// In which room.
    pub room: RoomId,
    /// What the member speaks; decides the negotiation manners.
    pub dialect: DialectName,
    /// The far end's offer; `None` when Portico offers.
    pub offer: Option<Sdp>,
    /// What the peer is for.
    pub purpose: Purpose,
    /// It is a lane: no connection is opened for it.
    pub via: Option<Via>,
}

/// How the media of a lane travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The connection that carries it.
    pub trunk: PeerId,
    /// What the far end said of its tracks, where it is received.
    pub tracks: Vec<LaneTrack>,
}

/// What a peer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The far end's stream into the room.
    Ingest {
        /// Its name.
        stream: StreamName,
    },
    /// A stream of the room to the far end.
    Play {
        /// What was asked for.
        of: StreamChoice,
        /// The owner of what it resolved to.
        owner: MemberId,
        /// The stream it resolved to.
        stream: StreamName,
        /// Where its media comes from.
        feed: Feed,
    },
    /// A client's connection with another member, or with the room, that ends here.
    Meet(Box<Meet>),
    /// Lanes.
    Trunk,
}

impl Purpose {
    /// Where the media that is sent from the start comes from.
    pub fn feed(&self) -> Option<&Feed> {
        match self {
            Self::Ingest { .. } | Self::Trunk => None,
            Self::Play { feed, .. } => Some(feed),
            Self::Meet(meet) => meet.plays.as_ref().map(|plays| &plays.feed),
        }
    }
}

/// What a connection carries that stands for another member or the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meet {
    /// Whom it stands for; `None` for the room itself.
    pub with: Option<MemberId>,
    /// What is received becomes this stream; `None`: nothing is received.
    pub publish: Option<StreamName>,
    /// Media is sent, now or later ([`Effect::FeedPeer`]).
    pub sends: bool,
    /// Kinds that Portico's own offer has a section for in any case.
    pub expects: Vec<MediaKind>,
    /// What is sent from the start.
    pub plays: Option<Playing>,
    /// Whether the member may say something: without, what comes over its channels is not taken.
    pub speaks: bool,
    /// Whether the member may hear what others say.
    pub hears: bool,
    /// How messages on its data channels look.
    pub framing: Framing,
    /// Channels that Portico opens.
    pub channels: Vec<NewChannel>,
    /// Who both ends are to their broker, where requests are answered.
    pub broker: Option<BrokerIds>,
    /// Which of several connections with `with`; see [`Meeting::pair`](super::Meeting::pair).
    pub pair: Option<Arc<str>>,
}

/// A stream being sent to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playing {
    /// Whose.
    pub owner: MemberId,
    /// Which.
    pub stream: StreamName,
    /// Where its media comes from.
    pub feed: Feed,
}

/// A stream that is to be in a mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixPart {
    /// Whose.
    pub member: MemberId,
    /// Which.
    pub stream: StreamName,
    /// What its owner is called by people.
    pub label: String,
    /// Quarter turns, clockwise, that put its picture upright.
    pub turns: u8,
    /// Where its media comes from.
    pub feed: Feed,
}

/// Where the media of a stream comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// A source of this gateway; the planner chooses its layers for the viewer.
    Source(SourceName),
    /// A publisher's tracks, forwarded as they are.
    Published(Vec<TrackId>),
}

/// Why a peer, a place or a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The far end said goodbye.
    #[error("the far end left")]
    Left,
    /// The connection was lost and the grace is over.
    #[error("the connection was lost")]
    Lost,
    /// ICE or DTLS never completed in time.
    #[error("no connection within the time allowed")]
    NeverConnected,
    /// The stream it played ended.
    #[error("the stream ended")]
    StreamEnded,
    /// Another session took its place.
    #[error("another session took the place")]
    Replaced,
    /// The description could not be used: not SDP, or not acceptable.
    #[error("the session description cannot be used")]
    BadDescription,
    /// No codec in common.
    #[error("no codec in common")]
    NoCommonCodec,
    /// The source could not be opened.
    #[error("the source cannot be opened")]
    SourceFailed,
    /// The board is too hot, or the source's encoder too slow, for another viewer.
    #[error("too much is asked of the gateway now for another viewer")]
    Overloaded,
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// An operator ended it through the API.
    #[error("ended by an operator")]
    Evicted,
    /// Portico is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// No port, no memory: a fault on this side.
    #[error("the gateway could not serve it")]
    Internal,
}

/// Something that happened in a room, for those who watch from outside.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs)] // the variants say it; the fields are the subjects of the event
pub enum Report {
    RoomOpened {
        room: RoomId,
    },
    RoomClosed {
        room: RoomId,
    },
    MemberJoined {
        room: RoomId,
        member: MemberId,
        dialect: DialectName,
        user_id: String,
        size: usize,
        remote: Option<IpAddr>,
        /// Whether the others see it, and sizes count it.
        visible: bool,
        facts: Facts,
    },
    MemberLost {
        room: RoomId,
        member: MemberId,
    },
    MemberResumed {
        room: RoomId,
        member: MemberId,
    },
    MemberLeft {
        room: RoomId,
        member: MemberId,
        dialect: DialectName,
        user_id: String,
        size: usize,
        reason: EndReason,
    },
    StreamUp {
        room: RoomId,
        member: MemberId,
        stream: StreamName,
    },
    StreamDown {
        room: RoomId,
        member: MemberId,
        stream: StreamName,
    },
    PeerUp {
        room: RoomId,
        member: MemberId,
        peer: PeerId,
    },
    PeerDown {
        room: RoomId,
        member: MemberId,
        peer: PeerId,
        reason: EndReason,
    },
    Remark {
        room: RoomId,
        member: MemberId,
        remark: Remark,
    },
}
