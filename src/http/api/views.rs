//! What the API answers with.

use serde::{Deserialize, Serialize};

use crate::event::{EventFigures, SinkFigures};
use crate::http::{PlanOutcome, PlanRow};
use crate::hub::{PeerOwner, RoomMember, RoomView};
use crate::media::plan::Choice;
use crate::media::{self, SourceFigures};
use crate::peer::{PeerFigures, ReceivedFigures};
use crate::room::StreamView;
use crate::vocab::MixLayout;

macro_rules! view {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Serialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    )*};
}

mod recordings;

pub use recordings::{RecordRequest, Recording, RecordingFile, Recordings};

view! {
    /// Which Portico this is.
    pub struct Version {
        /// `portico`.
        pub name: String,
        /// Semantic version.
        pub version: String,
    }

    /// A room.
    pub struct Room {
        /// Its name.
        pub room: String,
        /// `sfu`, `mcu` or `mesh`.
        pub topology: String,
        /// Most members it takes.
        pub max_members: usize,
        /// Whether something in it is being recorded.
        pub recorded: bool,
        /// Its members, unseen ones (WHEP players) included.
        pub members: Vec<Member>,
    }

    /// A member of a room.
    pub struct Member {
        /// 32 hex digits.
        pub id: String,
        /// Its user's id in its dialect's world; may be empty.
        pub user_id: String,
        /// A name for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// `tribe`, `page`, `algorea`, `peerjs`, `vamp`, `sigver`, `webrtc-star`, `whip`, `whep`, `bridge`, `source` or `mix`.
        pub dialect: String,
        /// The bridge that brought it from elsewhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub via: Option<String>,
        /// How far a netflux client is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub state: Option<State>,
        /// Whether the other members see it.
        pub visible: bool,
        /// Whether its connection is lost and its place kept.
        pub lost: bool,
        /// Its streams that can be played.
        pub streams: Vec<Stream>,
        /// Its connections, by number.
        pub peers: Vec<u64>,
    }

    /// How far a netflux client is on its way into its group, in MUTE's words.
    pub struct State {
        /// `joining` or `joined`.
        pub group: String,
        /// `checking` or `checked`.
        pub signalling: String,
    }

    /// A stream of a member.
    pub struct Stream {
        /// Its name within the member.
        pub name: String,
        /// `audio`, `video`.
        pub kinds: Vec<String>,
        /// Its tracks, as far as they are decided for all viewers alike.
        pub tracks: Vec<Track>,
    }

    /// A track of a stream.
    pub struct Track {
        /// Its number.
        pub track: u64,
        /// `audio` or `video`.
        pub kind: String,
        /// As in SDP.
        pub codec: String,
        /// Codec parameters as in SDP; may be empty.
        pub fmtp: String,
    }

    /// A stream with its place, for the list of all.
    pub struct PlacedStream {
        /// Its room.
        pub room: String,
        /// Its member's id.
        pub member: String,
        /// Its member's dialect.
        pub dialect: String,
        /// The stream.
        pub stream: Stream,
    }

    /// A source of this gateway.
    pub struct Source {
        /// Its name.
        pub source: String,
        /// `idle`, `opening`, `running`, `lingering` or `failed`.
        pub state: String,
        /// Viewers now.
        pub viewers: usize,
        /// Encoders running for it now.
        pub encoders: usize,
        /// What each of them makes.
        pub layers: Vec<EncodedLayer>,
        /// The elements that decode pictures for it now, one for each that runs.
        pub decoders: Vec<String>,
        /// The paths in use.
        pub paths: Vec<PathChoice>,
        /// Of a mix that runs: what puts its pictures together.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub compositor: Option<Compositor>,
        /// How much less it does than it could.
        pub strain: SourceStrain,
        /// The last error; only shown to callers with the control right.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<String>,
    }

    /// What puts the pictures of a mixed room together.
    pub struct Compositor {
        /// GStreamer's name of it.
        pub element: String,
        /// Whether the work is done outside the CPU.
        pub hardware: bool,
        /// Why this one and no other.
        pub reason: String,
    }

    /// How much less a source does than it could, because the board is hot or its encoder slow.
    pub struct SourceStrain {
        /// `full`, `one-layer`, `half-rate`, `half-size` or `no-new-viewers`.
        pub degree: String,
        /// Why; missing at `full`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
    }

    /// One size of a picture that is being encoded.
    pub struct EncodedLayer {
        /// What it is encoded as.
        pub codec: String,
        /// `full`, `half` or `quarter`.
        pub size: String,
        /// Pixels; absent where only the decoder in front of it knows.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub width: Option<u32>,
        /// Pixels.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub height: Option<u32>,
        /// The rate its encoder is set to, bit/s.
        pub target_bps: u64,
        /// The rate it has, bit/s.
        pub bps: u64,
    }

    /// A path from a source to a viewer.
    pub struct PathChoice {
        /// `pass`, `repacketise`, `layer`, `hardware` or `software`.
        pub path: String,
        /// Codec at the viewer.
        pub codec: String,
        /// The encoder element, where one runs.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub encoder: Option<String>,
        /// Why this one.
        pub reason: String,
    }

    /// What the planner says to one demand.
    pub struct Plan {
        /// The source.
        pub source: String,
        /// The codec wanted.
        pub want: String,
        /// The chosen path, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub chosen: Option<PathChoice>,
        /// Why there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub refused: Option<String>,
    }

    /// A connection's figures since it was opened.
    pub struct Peer {
        /// Its number.
        pub peer: u64,
        /// Its room.
        pub room: String,
        /// Its member's id.
        pub member: String,
        /// Whether it is connected now.
        pub connected: bool,
        /// The far end's address in use; only shown to callers with the control right.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub remote: Option<String>,
        /// Whether it goes by a relay of the gateway's own.
        pub relayed: bool,
        /// RTP packets sent.
        pub packets_sent: u64,
        /// RTP payload bytes sent.
        pub bytes_sent: u64,
        /// RTP packets received.
        pub packets_received: u64,
        /// RTP payload bytes received.
        pub bytes_received: u64,
        /// Packets that did not arrive.
        pub packets_lost: u64,
        /// Packets sent again.
        pub retransmitted: u64,
        /// Packets the far end was asked to send again, counted each time.
        pub nacked: u64,
        /// Key frames asked for by the far end.
        pub key_requests: u64,
        /// Frames left out because the viewer was behind.
        pub frames_dropped: u64,
        /// What the way to it is estimated to carry, in bit/s; there while something depends on it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub estimate_bps: Option<u64>,
        /// Whether its picture pauses, because the way carries not even the smallest layer.
        pub paused: bool,
        /// Last round trip in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rtt_ms: Option<f64>,
        /// SRTP profile in use.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub srtp_profile: Option<String>,
        /// What it publishes, layer by layer; empty where it only plays.
        pub layers: Vec<PeerLayer>,
    }

    /// One encoding of a track that a connection publishes: of a simulcast picture there are several.
    pub struct PeerLayer {
        /// `audio` or `video`.
        pub kind: String,
        /// The name its sender gave it (RID), where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rid: Option<String>,
        /// Its number within the track, from 0.
        pub layer: u8,
        /// Packets received.
        pub packets: u64,
        /// Payload bytes received.
        pub bytes: u64,
        /// Packets missing.
        pub packets_lost: u64,
        /// Packets that came because they were asked for again.
        pub recovered: u64,
        /// Bit rate of the last second; 0 where it does not flow.
        pub bitrate_bps: u64,
        /// Whether it is sent to anybody.
        pub watched: bool,
    }

    /// How the events for brokers stand.
    pub struct EventState {
        /// Bytes of events on disk.
        pub store_bytes: u64,
        /// Why events cannot be stored now.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub store_error: Option<String>,
        /// Events that never reached the disk, since the start.
        pub lost: u64,
        /// The configured sinks.
        pub sinks: Vec<Sink>,
    }

    /// Where events go.
    pub struct Sink {
        /// Its name in the configuration.
        pub name: String,
        /// `amqp`, `mqtt` or `webhook`.
        pub kind: String,
        /// Whether it takes events now.
        pub connected: bool,
        /// Why not.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<String>,
        /// Stored events it has not confirmed.
        pub backlog: u64,
        /// Age of the oldest of them in seconds, as exact as the store looks: within 256 events.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub oldest_age_s: Option<u64>,
        /// Events it has confirmed since the start.
        pub confirmed: u64,
        /// Those among them that nobody there wanted: no queue is bound, nobody subscribes.
        pub unrouted: u64,
        /// Events it said it will never take, since the start.
        pub refused: u64,
        /// Events dropped for the store's size or their age, since the start.
        pub dropped: u64,
    }

    /// A signed token.
    pub struct Token {
        /// For `Authorization: Bearer` or `?token=`.
        pub token: String,
        /// When it ends, RFC 3339.
        pub expires: String,
    }
}

/// What a token is to give.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Who it is for; for logs and as the member's user id. At most 128 characters, default empty.
    #[serde(default)]
    pub subject: String,
    /// Room names with `*` for any run of characters. 1 to 256 characters.
    pub rooms: String,
    /// `publish`, `subscribe`, `control`, `bridge`.
    pub rights: Vec<TokenRight>,
    /// Seconds from now. 1 to 31536000, default 86400.
    #[serde(default = "one_day")]
    pub expires_in: u64,
}

fn one_day() -> u64 {
    86_400
}

/// A right in a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // named as `vocab::Right`, which explains them
pub enum TokenRight {
    Publish,
    Subscribe,
    Control,
    Bridge,
}

/// How a mixed room is to look.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MixRequest {
    /// `grid`, `speaker` or `pip`.
    pub layout: Layout,
}

/// The picture of a mixed room.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mix {
    /// `grid`, `speaker` or `pip`.
    pub layout: Layout,
}

/// Who is where in the picture of a mixed room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // named as `vocab::MixLayout`, which explains them
pub enum Layout {
    Grid,
    Speaker,
    Pip,
}

impl From<Layout> for MixLayout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Grid => Self::Grid,
            Layout::Speaker => Self::Speaker,
            Layout::Pip => Self::Pip,
        }
    }
}

impl From<MixLayout> for Layout {
    fn from(layout: MixLayout) -> Self {
        match layout {
            MixLayout::Grid => Self::Grid,
            MixLayout::Speaker => Self::Speaker,
            MixLayout::Pip => Self::Pip,
        }
    }
}

impl From<RoomView> for Room {
    fn from(view: RoomView) -> Self {
        Self {
            room: view.room.to_string(),
            topology: view.topology.as_str().into(),
            max_members: view.max_members,
            // not the hub's to know: whoever answers fills it in
            recorded: false,
            members: view.members.into_iter().map(Member::from).collect(),
        }
    }
}

impl From<RoomMember> for Member {
    fn from(member: RoomMember) -> Self {
        Self {
            id: member.view.member.to_string(),
            user_id: member.view.user_id,
            name: member.view.facts.name,
            dialect: member.view.dialect.as_str().into(),
            via: member.view.facts.via,
            state: member
                .view
                .facts
                .state
                .map(|state| State { group: state.group.as_str().into(), signalling: state.signalling.as_str().into() }),
            visible: member.visible,
            lost: member.lost,
            streams: member.view.streams.into_iter().map(Stream::from).collect(),
            peers: member.peers.iter().map(|peer| peer.0).collect(),
        }
    }
}

impl From<StreamView> for Stream {
    fn from(stream: StreamView) -> Self {
        let track = |track: crate::room::TrackView| Track {
            track: track.track.0,
            kind: track.kind.to_string(),
            codec: track.format.codec.to_string(),
            fmtp: track.format.fmtp,
        };
        Self {
            name: stream.name.to_string(),
            kinds: stream.kinds.iter().map(ToString::to_string).collect(),
            tracks: stream.tracks.into_iter().map(track).collect(),
        }
    }
}

impl From<SourceFigures> for Source {
    fn from(figures: SourceFigures) -> Self {
        Self {
            source: figures.source,
            state: figures.state.into(),
            viewers: figures.viewers,
            encoders: figures.encoders,
            layers: figures.layers.into_iter().map(EncodedLayer::from).collect(),
            decoders: figures.decoders,
            paths: figures.paths.into_iter().map(PathChoice::from).collect(),
            compositor: figures.compositor.map(|it| Compositor { element: it.element, hardware: it.hardware, reason: it.reason }),
            strain: SourceStrain {
                degree: figures.strain.degree.as_str().into(),
                reason: Some(figures.strain.reason).filter(|reason| !reason.is_empty()),
            },
            error: figures.error,
        }
    }
}

impl From<media::EncodedLayer> for EncodedLayer {
    fn from(layer: media::EncodedLayer) -> Self {
        let media::EncodedLayer { codec, size, width, height, target_bps, bps } = layer;
        Self { codec: codec.to_string(), size: size.into(), width, height, target_bps, bps }
    }
}

impl From<EventFigures> for EventState {
    fn from(figures: EventFigures) -> Self {
        Self {
            store_bytes: figures.store_bytes,
            store_error: figures.store_error,
            lost: figures.lost,
            sinks: figures.sinks.into_iter().map(Sink::from).collect(),
        }
    }
}

impl From<SinkFigures> for Sink {
    fn from(figures: SinkFigures) -> Self {
        Self {
            name: figures.name,
            kind: figures.kind.into(),
            connected: figures.connected,
            error: figures.error,
            backlog: figures.backlog,
            oldest_age_s: figures.oldest_age.map(|age| age.as_secs()),
            confirmed: figures.confirmed,
            unrouted: figures.unrouted,
            refused: figures.refused,
            dropped: figures.dropped,
        }
    }
}

impl From<Choice> for PathChoice {
    fn from(choice: Choice) -> Self {
        use crate::media::plan::Path;
        let path = match choice.path {
            Path::Pass => "pass",
            Path::Repacketise => "repacketise",
            Path::Layer => "layer",
            Path::Hardware => "hardware",
            Path::Software => "software",
        };
        Self { path: path.into(), codec: choice.codec.to_string(), encoder: choice.encoder, reason: choice.reason }
    }
}

impl From<PlanRow> for Plan {
    fn from(row: PlanRow) -> Self {
        let (chosen, refused) = match row.outcome {
            PlanOutcome::Chosen(choice) => (Some(choice.into()), None),
            PlanOutcome::Refused(refusal) => (None, Some(refusal.to_string())),
        };
        Self { source: row.source, want: row.want, chosen, refused }
    }
}

impl From<(PeerOwner, PeerFigures)> for Peer {
    fn from((owner, figures): (PeerOwner, PeerFigures)) -> Self {
        Self {
            peer: owner.peer.0,
            room: owner.room.to_string(),
            member: owner.member.to_string(),
            connected: figures.connected,
            remote: figures.remote.map(|remote| remote.to_string()),
            relayed: figures.relayed,
            packets_sent: figures.packets_sent,
            bytes_sent: figures.bytes_sent,
            packets_received: figures.packets_received,
            bytes_received: figures.bytes_received,
            packets_lost: figures.packets_lost,
            retransmitted: figures.retransmitted,
            key_requests: figures.key_requests,
            frames_dropped: figures.frames_dropped,
            rtt_ms: figures.rtt_ms,
            estimate_bps: figures.estimate_bps,
            paused: figures.paused,
            srtp_profile: figures.srtp_profile.map(str::to_owned),
            nacked: figures.nacked,
            layers: figures.received.into_iter().map(PeerLayer::from).collect(),
        }
    }
}

impl From<ReceivedFigures> for PeerLayer {
    fn from(figures: ReceivedFigures) -> Self {
        Self {
            kind: figures.kind.to_string(),
            rid: figures.rid,
            layer: figures.layer,
            packets: figures.packets,
            bytes: figures.bytes,
            packets_lost: figures.packets_lost,
            recovered: figures.recovered,
            bitrate_bps: figures.bitrate.bps(),
            watched: figures.watched,
        }
    }
}
