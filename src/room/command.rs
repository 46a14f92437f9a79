//! What may be asked of [`Rooms`](super::Rooms): by a session, by the peers, by the sources.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::config::Topology;
use super::effect::EndReason;
use super::signal::Signal;
use crate::vocab::{
    Bitrate, Candidate, DataMessage, Framing, Grant, LaneTrack, MediaKind, MemberId, NewChannel, PeerId, RoomId, Sdp, SourceName,
    StreamName, TrackFormat, TrackId,
};

/// A request of one session. Every refusal comes back as [`Notice::Refused`](super::Notice::Refused) with its request's number.
#[derive(Clone, Debug)]
pub enum Command {
    /// Become a member of a room, which comes into being if config allows it. Answered by `Notice::Welcome`.
    Join(Box<Joining>),
    /// Say goodbye. Ends the place, if there is one, and the session at once; not answered.
    Leave,
    /// Leave the room and keep the session, which may join again. Others hear of it as of `Leave`. Answered by `Notice::Done`.
    Depart,
    /// The connection went away without a goodbye. Ends the session. The place is kept for the grace, then left; of WHIP and
    /// WHEP it is left at once. Not answered.
    Lost,
    /// Take over the place of a lost (or still connected) tribe or page member. Answered by `Notice::Resumed`, then the notices it missed.
    Resume {
        /// The member whose place is taken over; knowing the id is the proof.
        key: MemberId,
    },
    /// Send a stream into the room over a new peer connection. With an offer, Portico answers; without, Portico offers to receive.
    /// Answered by `Notice::Description`; others learn of it when it is up.
    Publish {
        /// The new connection's id, made by the asker with `PeerId::next()`.
        peer: PeerId,
        /// The stream's name within the member.
        stream: StreamName,
        /// The far end's offer, or `None` for Portico to offer.
        offer: Option<Sdp>,
    },
    /// Receive a stream over a new peer connection. With an offer, Portico answers; without, Portico offers what the stream
    /// has. Answered by `Notice::Description`.
    Play {
        /// The new connection's id, made by the asker with `PeerId::next()`.
        peer: PeerId,
        /// Which stream.
        of: StreamChoice,
        /// The far end's offer, or `None` for Portico to offer.
        offer: Option<Sdp>,
    },
    /// Meet another member, or the room, over a new peer connection that ends at Portico. Answered by `Notice::Description`:
    /// Portico's answer, or its offer where the meeting brings none.
    Meet(Box<Meeting>),
    /// Open a connection that carries streams by lanes, to another Portico. Answered by `Notice::Description`.
    Trunk {
        /// The new connection's id, made by the asker with `PeerId::next()`.
        peer: PeerId,
        /// The far end's offer, or `None` for Portico to offer.
        offer: Option<Sdp>,
    },
    /// Send a stream of the room by a lane of the session's own trunk, which is connected. Answered by `Notice::Lane`.
    SendLane {
        /// The lane's id, made by the asker with `PeerId::next()`.
        peer: PeerId,
        /// The connection.
        trunk: PeerId,
        /// Which stream.
        of: StreamChoice,
    },
    /// Send a stream into the room that comes by a lane of a trunk, which may be another member's. Answered by `Notice::Lane`.
    TakeLane {
        /// The lane's id, made by the asker with `PeerId::next()`.
        peer: PeerId,
        /// The connection.
        trunk: PeerId,
        /// The stream's name within the member.
        stream: StreamName,
        /// What the far end said of its tracks.
        tracks: Vec<LaneTrack>,
    },
    /// A later description for an existing peer: the answer to Portico's offer, or a new offer (renegotiation, ICE restart).
    /// A new offer is answered by `Notice::Description`.
    Describe {
        /// The peer.
        peer: PeerId,
        /// The description.
        sdp: Sdp,
    },
    /// A remote candidate. Buffered (at most 64) while the remote description is missing. Not answered.
    Candidate {
        /// The peer.
        peer: PeerId,
        /// The candidate; an empty one ends them.
        candidate: Candidate,
    },
    /// End one of the session's peers. Not answered.
    Stop {
        /// The peer.
        peer: PeerId,
    },
    /// Send something to one other member of the room. Answered by `Notice::Done`; refused when there is no such member.
    Tell {
        /// The addressee.
        to: MemberId,
        /// What.
        body: Body,
    },
    /// Say something in words to one other member or to all. Who has a data channel for it gets it there, who hears by
    /// signalling gets `Notice::Said`. Needs `Right::Publish`. Answered by `Notice::Done`.
    Say {
        /// The addressee; `None` for all others in the room.
        to: Option<MemberId>,
        /// What; at most [`MAX_SAID`] bytes.
        text: String,
    },
    /// Send a message on the channel of a meeting whose framing is [`Framing::Own`]. Left out where the channel is not open or
    /// does not keep up. Not answered.
    Transmit {
        /// The peer.
        peer: PeerId,
        /// The message.
        message: DataMessage,
    },
    /// Change what the others see of this member. Answered by `Notice::Done`; others get `Notice::MemberChanged`.
    Show {
        /// The changed facts; `None` fields stay.
        facts: Facts,
    },
    /// Say something about the own end that only those who watch from outside hear of (`Report::Remark`). Not answered.
    Remark {
        /// What.
        remark: Remark,
    },
}

/// The platform of a member that is one end of a link between two gateways: such a member is not sent over links, and hears what others say
/// that a bridge has brought, as gateways that are linked form no ring.
pub const LINK: &str = "Portico link";

/// Longest text of [`Command::Say`], in bytes.
pub const MAX_SAID: usize = 16 * 1024;

/// A peer connection of a client that would connect to other members directly, and that ends at Portico instead. To the
/// client it is the connection with the other member, or with the room as one more member.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// The new connection's id, made by the asker with `PeerId::next()`.
    pub peer: PeerId,
    /// Whom it stands for; `None` for the room itself.
    pub with: Option<MemberId>,
    /// The far end's offer, or `None` for Portico to offer.
    pub offer: Option<Sdp>,
    /// The far end's tracks become this stream of its member. Nothing is received where it is `None`, where the name is
    /// taken by another means than a meeting, where the member has as many streams as it may, or without `Right::Publish`. Of several
    /// meetings that receive for one name the first gives the stream; when it ends, the next one does. Where Portico offers, its
    /// tracks are of the kinds that are expected.
    pub publish: Option<StreamName>,
    /// Send the media of `with`: its first stream that is up; of the room [`StreamChoice::Room`]. What comes up later is
    /// sent as soon as it is there, if the connection has a section for it. Nothing is sent without `Right::Subscribe`.
    pub play: bool,
    /// Of the room send [`StreamChoice::Local`] of this name.
    pub named: Option<StreamName>,
    /// Kinds that Portico's own offer has a section for even while there is nothing to send. What can be sent now is offered in
    /// any case; these sections receive as well where the connection publishes.
    pub expects: Vec<MediaKind>,
    /// The connection stays when `with` leaves, as long as it carries the member's own stream. For dialects whose clients
    /// send on their first connection only and never hear that a member left.
    pub outlasts: bool,
    /// How messages on its data channels look.
    pub framing: Framing,
    /// Channels that Portico opens. With [`Framing::OwnChannels`] the one that it writes to.
    pub channels: Vec<NewChannel>,
    /// Who both ends are to their broker; given where requests over the channels are to be answered (PeerJS).
    pub broker: Option<BrokerIds>,
    /// Which of several connections with `with`. What comes by one leaves by the other member's connection of the same name, where
    /// there is one, else by any.
    pub pair: Option<Arc<str>>,
}

/// The two ends of a connection, as their broker calls them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerIds {
    /// Portico's end.
    pub own: String,
    /// The client's end, which is the only `sender` it may name.
    pub far: String,
}

/// What a client says about its own end, for the broker and the logs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Remark {
    /// Its own camera picture stands still.
    Froze,
    /// How busy its processor is.
    Cpu {
        /// In percent, as the client says it.
        percent: i64,
    },
    /// Its network changed.
    Network {
        /// `wifi`, `mobile` or any text.
        network: String,
    },
}

/// What a joiner brings.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The room.
    pub room: RoomId,
    /// Who it is in the dialect's world: tribe's `userId`, a page visitor's name. May be empty.
    pub user_id: String,
    /// What it speaks.
    pub dialect: DialectName,
    /// Where from; `None` for what lives in this process.
    pub remote: Option<IpAddr>,
    /// What it may do; asked at each command.
    pub grant: Grant,
    /// Whether other members see it. WHEP players are not seen; they count in the room's limit all the same.
    pub visible: bool,
    /// What the others see of it from the start.
    pub facts: Facts,
    /// Who talks to whom in the room if it is not listed in config and this joiner opens it.
    pub opens: Topology,
    /// A smaller limit that the dialect sets on members of its own kind (tribe: 8); `None` for the room's alone.
    pub dialect_limit: Option<usize>,
    /// A lost member of the same user, room and dialect is replaced at once by this join (tribe §4.2).
    pub replaces_lost: bool,
}

/// The dialects, WHIP/WHEP and local sources: everything that makes members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DialectName {
    /// live-webrtcsignaling.
    Tribe,
    /// The built-in page.
    Page,
    /// AlgoreaForum: forwarded offers, answers and candidates.
    Algorea,
    /// PeerJS and simple-peerjs.
    Peerjs,
    /// Vamp: socket.io full mesh.
    Vamp,
    /// MUTE's sigver: netflux groups.
    Sigver,
    /// libp2p webrtc-star.
    #[serde(rename = "webrtc-star")]
    Star,
    /// A Socket.IO connection that has not said yet whether it is Vamp's or webrtc-star's. Never a member's.
    #[serde(rename = "socket.io")]
    SocketIo,
    /// HTTP ingest, RFC 9725.
    Whip,
    /// HTTP egress, draft-ietf-wish-whep.
    Whep,
    /// A player by RTSP, RFC 2326.
    Rtsp,
    /// A bridge of this gateway to a remote place.
    Bridge,
    /// A source of this gateway.
    Source,
    /// The mix of a room.
    Mix,
}

impl DialectName {
    /// Lower-case name, as in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tribe => "tribe",
            Self::Page => "page",
            Self::Algorea => "algorea",
            Self::Peerjs => "peerjs",
            Self::Vamp => "vamp",
            Self::Sigver => "sigver",
            Self::Star => "webrtc-star",
            Self::SocketIo => "socket.io",
            Self::Whip => "whip",
            Self::Whep => "whep",
            Self::Rtsp => "rtsp",
            Self::Bridge => "bridge",
            Self::Source => "source",
            Self::Mix => "mix",
        }
    }
}

/// Which stream to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamChoice {
    /// DESIGN section 4: the mix where there is one, else the one named `main`, else the first source's, else the first
    /// publisher's.
    Default,
    /// What the room itself has to give: the first source's, else as `Default`. For connections that stand for the room.
    Room,
    /// The first stream of that name, whoever's.
    Named(StreamName),
    /// The first stream of that name that no bridge has brought: for bridges, which do not send back what they bring.
    Local(StreamName),
    /// A member's stream; without a name its first.
    Of(MemberId, Option<StreamName>),
}

/// What members see of each other besides ids. Each field: `None` = not said (in `Show`: unchanged).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The bridge that brought it from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Tribe: `Android`, `iOS`, `Web` or any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Tribe: degrees, 90 upright.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<i64>,
    /// Tribe: `front` or `back`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Tribe: its pictures come as its camera sees them; `orientation` and `camera` say how they are to be turned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unturned: Option<bool>,
    /// Tribe: `wifi` or `mobile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Microphone muted by the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_muted: Option<bool>,
    /// Camera muted by the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_muted: Option<bool>,
    /// Netflux clients: how far the member is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MemberState>,
    /// What the member's program says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<ClientFacts>>,
}

/// How far a netflux client is on its way into its group, in MUTE's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemberState {
    /// Its place in the group. A client that has LEFT is no member of the room.
    pub group: GroupState,
    /// Its signalling. CONNECTING and CLOSED have no connection; in OPEN the client has not said who it is.
    pub signalling: SignallingState,
}

/// A client's place in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// It looks for a way in.
    Joining,
    /// It is in.
    Joined,
}

/// What a client's signalling does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignallingState {
    /// It asked whether it is in, and waits for the answer.
    Checking,
    /// It has the answer.
    Checked,
}

impl GroupState {
    /// Lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Joined => "joined",
        }
    }
}

impl SignallingState {
    /// Lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Checked => "checked",
        }
    }
}

/// A member's program: for the API and the broker, not shown to other members.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ClientFacts {
    /// The device's name; may be empty.
    pub device: String,
    /// The operating system's or browser's version; may be empty.
    pub version: String,
    /// The program's version; may be empty.
    pub app_version: String,
    /// Most video it wants to be sent, per stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_cap: Option<Bitrate>,
    /// Most audio it wants to be sent, per stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_cap: Option<Bitrate>,
}

impl Facts {
    /// Takes over every field that `newer` sets.
    pub fn update(&mut self, newer: Facts) {
        fn put<T>(place: &mut Option<T>, newer: Option<T>) {
            if newer.is_some() {
                *place = newer;
            }
        }
        put(&mut self.name, newer.name);
        put(&mut self.via, newer.via);
        put(&mut self.platform, newer.platform);
        put(&mut self.orientation, newer.orientation);
        put(&mut self.camera, newer.camera);
        put(&mut self.unturned, newer.unturned);
        put(&mut self.network, newer.network);
        put(&mut self.audio_muted, newer.audio_muted);
        put(&mut self.video_muted, newer.video_muted);
        put(&mut self.state, newer.state);
        put(&mut self.client, newer.client);
    }

    /// Quarter turns, clockwise, that put its pictures upright: 0 for all who turn them themselves, and where it does not say how it is held.
    pub fn quarter_turns(&self) -> u8 {
        if self.unturned != Some(true) {
            return 0;
        }
        match (self.orientation, self.camera.as_deref()) {
            (Some(0), Some("front")) | (Some(180), Some("back")) => 1,
            (Some(270), Some("front" | "back")) => 2,
            (Some(0), Some("back")) | (Some(180), Some("front")) => 3,
            // 90 is upright
            _ => 0,
        }
    }
}

/// What one member sends another through the room.
#[derive(Clone, Debug)]
pub enum Body {
    /// Any JSON value, kept byte for byte.
    Json(Box<RawValue>),
    /// A step towards a direct connection between the two (mesh).
    Signal(Box<Signal>),
}

/// One track of a published stream, as negotiated or as planned.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TrackView {
    /// The track.
    pub track: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Its codec and parameters.
    pub format: TrackFormat,
}

/// What the hub reports of peers.
#[derive(Clone, Debug)]
pub enum PeerUpdate {
    /// Portico's answer or offer is ready to be sent to the far end.
    Described {
        /// The peer.
        peer: PeerId,
        /// Complete, with candidates.
        sdp: Sdp,
    },
    /// A later description could not be used; the connection goes on as it was. Its request is refused.
    Rejected {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
    /// A publishing peer's tracks were negotiated (again).
    Tracks {
        /// The peer.
        peer: PeerId,
        /// All tracks it now has.
        tracks: Vec<TrackView>,
    },
    /// A lane carries from now on.
    Lane {
        /// The lane.
        peer: PeerId,
        /// What the far end must know of its tracks, where it is sent.
        tracks: Vec<LaneTrack>,
    },
    /// ICE and DTLS are up; first time or after an interruption.
    Up {
        /// The peer.
        peer: PeerId,
    },
    /// A track's first media packet arrived (publishing) or left (playing).
    Flowing {
        /// The peer.
        peer: PeerId,
        /// Audio or video.
        kind: MediaKind,
    },
    /// The peer is gone or never came up. Told exactly once per opened peer, unless the room closed it first. Before the first
    /// `Described` it refuses the request that opened the peer.
    Down {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
}

/// What the hub reports of sources.
#[derive(Clone, Debug)]
pub enum SourceUpdate {
    /// The source exists and can be asked for; it becomes a member of these rooms (DESIGN section 3).
    Present {
        /// The source.
        source: SourceName,
        /// All rooms it is in; it leaves those it was in before that are not named.
        rooms: Vec<RoomId>,
        /// What it is expected to give: (audio, video).
        kinds: Vec<MediaKind>,
    },
    /// The source is gone for now (camera unplugged, stream ended): its streams go down, it stays a member.
    Absent {
        /// The source.
        source: SourceName,
    },
    /// The source left the config.
    Removed {
        /// The source.
        source: SourceName,
    },
}
