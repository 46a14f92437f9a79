//! Capture, codecs and devices: the only place that names `gstreamer` and `v4l`.
//!
//! [`Media`] owns every source. A viewer's demand is planned ([`plan`]), a pipeline is opened or shared, and the viewer gets
//! the [`Layer`]s to attach to. A source without viewers is closed after a short grace. Encoded frames go from appsink to
//! `Layer` on GStreamer's threads and pass nobody else.

pub mod board;
mod budget;
pub mod config;
mod decoding;
mod demand;
pub mod device;
pub mod element;
mod examine;
mod h264;
mod h265;
mod inlet;
pub mod mix;
mod pipeline;
pub mod plan;
pub mod probe;
pub mod record;
mod slot;
pub mod snapshot;
mod sound;
mod sources;
pub mod strain;
mod tap;
#[cfg(test)]
mod tests;

pub use config::{MediaSourceConfig, RtspUrl, SourceConfig, SourceKind, SourcesConfig};
pub use examine::{Finding, examine};
pub use pipeline::launch::{an_encoder_each, played_for_nobody};
pub use sound::SpeakerConfig;
pub use sources::{Media, MediaError, look};

use tokio::sync::oneshot;

use crate::forward::Layers;
use crate::vocab::{Bitrate, Codec, MediaKind, MemberId, MixLayout, PeerId, RoomId, SourceName, TrackId};

/// An order to the sources' owner.
pub enum MediaCommand {
    /// A viewer wants the source; answered once its layers exist (a camera or RTSP server may need seconds to open).
    Demand {
        /// The source.
        source: SourceName,
        /// Who wants it; released by the same id.
        viewer: PeerId,
        /// Whose viewer it is: of a mix it hears everybody but itself. `None` for who is nobody's.
        listener: Option<MemberId>,
        /// What the viewer can take.
        wants: Wants,
        /// The layers, or why not.
        reply: oneshot::Sender<Result<Vec<PlannedTrack>, SourceError>>,
    },
    /// The viewer is gone.
    Release {
        /// The source.
        source: SourceName,
        /// The viewer.
        viewer: PeerId,
    },
    /// Sets the bit rate of the source's video encoders while they run, and of those started later.
    Bitrate {
        /// The source.
        source: SourceName,
        /// The rate, kept within what each encoder can do.
        bitrate: Bitrate,
    },
    /// The sound that a peer publishes in a room now; nothing when it ended.
    Heard {
        /// The room; `None` where the peer ended.
        room: Option<RoomId>,
        /// The publisher.
        peer: PeerId,
        /// Its tracks of sound.
        tracks: Vec<(TrackId, Layers)>,
    },
    /// How warm the board is; told about once a second.
    Warmth(strain::heat::Warmth),
    /// From now on these are mixed. Of a source that is no mix nothing is.
    Mix {
        /// The mix.
        source: SourceName,
        /// Everything that is to be in it, in order of coming.
        inputs: Vec<mix::MixInput>,
    },
    /// Tells the layout of a mix, and sets another.
    MixLayout {
        /// The mix.
        source: SourceName,
        /// Which, from now on; `None` leaves it.
        layout: Option<MixLayout>,
        /// The one it has then; `None` where there is no such mix.
        reply: oneshot::Sender<Option<MixLayout>>,
    },
    /// Figures of all sources.
    Figures {
        /// Where to.
        reply: oneshot::Sender<Vec<SourceFigures>>,
    },
}

/// What a viewer can take, best first per kind. An empty list means the kind is not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Video codecs.
    pub video: Vec<Codec>,
    /// Audio codecs.
    pub audio: Vec<Codec>,
}

/// One track the viewer gets.
#[derive(Clone)]
pub struct PlannedTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// Where its packets come from, in up to three sizes; shared with other viewers of the same plan.
    pub layers: Layers,
    /// The planner's choice and reason.
    pub choice: plan::Choice,
}

/// Why a source gives nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// No source of that name.
    #[error("there is no source {0}")]
    Unknown(SourceName),
    /// The planner refuses: no codec in common, nothing installed that could make one.
    #[error("{0}")]
    Refused(plan::Refusal),
    /// The device or file is not there.
    #[error("{what} is missing")]
    Missing {
        /// The device, file or address.
        what: String,
    },
    /// Another program holds the device.
    #[error("{what} is in use by another program")]
    Busy {
        /// The device.
        what: String,
    },
    /// An element is not installed.
    #[error("GStreamer element {element} is missing: install Debian package {package}")]
    MissingElement {
        /// The element.
        element: String,
        /// The package that has it.
        package: String,
    },
    /// Anything else that the pipeline said.
    #[error("the pipeline failed: {0}")]
    Failed(String),
    /// The board is too hot, or the encoder too slow, for another viewer.
    #[error("nobody new may watch now: {0}")]
    Overloaded(String),
    /// No data in the time allowed.
    #[error("no picture within {0:?}")]
    Silent(std::time::Duration),
}

/// News of sources.
#[derive(Clone, Debug)]
pub enum MediaEvent {
    /// A running source failed; its viewers' layers will get no more frames until it recovers. Recovery is tried by itself.
    Failed {
        /// The source.
        source: SourceName,
        /// Why.
        error: SourceError,
    },
    /// It runs again.
    Recovered {
        /// The source.
        source: SourceName,
    },
}

/// One size of a picture that is being encoded.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EncodedLayer {
    /// What it is encoded as.
    pub codec: crate::vocab::Codec,
    /// `full`, `half` or `quarter`.
    pub size: &'static str,
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

/// Figures of one source.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SourceFigures {
    /// Its name.
    pub source: String,
    /// `idle`, `opening`, `running`, `lingering` or `failed`.
    pub state: &'static str,
    /// Viewers now.
    pub viewers: usize,
    /// Video encoders running for it now.
    pub encoders: usize,
    /// What each of them makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<EncodedLayer>,
    /// The elements that decode pictures for it now, one for each that runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decoders: Vec<String>,
    /// The paths in use, with reasons.
    pub paths: Vec<plan::Choice>,
    /// Of a mix that runs: what puts its pictures together, and why not something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compositor: Option<plan::composing::Composer>,
    /// Frames that the layers in use got so far, for who watches that it flows; begins anew when a layer does. Not shown.
    #[serde(skip)]
    pub frames: u64,
    /// How much less it does than it could, and why.
    pub strain: strain::Strain,
    /// The last error, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
