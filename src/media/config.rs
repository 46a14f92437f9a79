//! `[[source]]` and `[sources]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocab::{Bitrate, MixConfig, SourceName};

mod table;
mod url;

pub use url::{RtspUrl, RtspUrlError};

/// Habits of all sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesConfig {
    /// A source whose last viewer left is closed after this time. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub linger: Duration,
    /// A source that gives no frame within this time of being opened counts as failed. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub open_limit: Duration,
    /// Folder with board files that override the built-in ones. Default `/etc/portico/boards`.
    pub board_dir: PathBuf,
    /// Board file to use, by name, instead of the recognised one. Default: recognise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
}

impl Default for SourcesConfig {
    fn default() -> Self {
        Self {
            linger: Duration::from_secs(5),
            open_limit: Duration::from_secs(10),
            board_dir: "/etc/portico/boards".into(),
            board: None,
        }
    }
}

/// One source.
///
/// Read through a flat table that knows every key of every type, so that a misspelt key, or one of another type, is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct SourceConfig {
    /// Its name, unique. 1 to 64 characters.
    pub name: SourceName,
    /// Where its pictures and sound come from.
    #[serde(flatten)]
    pub kind: SourceKind,
    /// Bit rate of its encoder in bit/s, where one is needed. 100000 to 50000000, default 2000000.
    #[serde(default = "default_bitrate")]
    #[schemars(extend("minimum" = 100_000, "maximum" = 50_000_000))]
    pub bitrate: Bitrate,
    /// An ALSA device to take sound from (see `portico devices`). Default: none for cameras; files and RTSP bring their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_device: Option<String>,
}

pub(crate) fn default_bitrate() -> Bitrate {
    Bitrate::from_bps(2_000_000)
}

/// The kinds of sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceKind {
    /// A camera by Video4Linux.
    V4l2(V4l2Config),
    /// A camera on the board's CSI connector, by the element the board file names.
    Csi(PictureConfig),
    /// A moving picture with a clock and frame number, and a tone.
    Test(TestConfig),
    /// A file, played in a loop.
    File(FileConfig),
    /// A camera or server that speaks RTSP.
    Rtsp(RtspConfig),
    /// What is published in a mixed room. Comes from `[[room]]`, never from `[[source]]`.
    #[serde(skip)]
    #[schemars(skip)]
    Mix(MixConfig),
}

/// Size and rate of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct PictureConfig {
    /// Pixels. 16 to 7680, default 1280.
    #[schemars(range(min = 16, max = 7680))]
    pub width: u32,
    /// Pixels. 16 to 4320, default 720.
    #[schemars(range(min = 16, max = 4320))]
    pub height: u32,
    /// Frames per second. 1 to 240, default 30.
    #[schemars(range(min = 1, max = 240))]
    pub framerate: u32,
}

impl Default for PictureConfig {
    fn default() -> Self {
        Self { width: 1280, height: 720, framerate: 30 }
    }
}

/// A V4L2 camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct V4l2Config {
    /// The camera: a link below `/dev/v4l/by-id` or `/dev/v4l/by-path`, `name:TEXT` (part of the card's name), `serial:TEXT`,
    /// or `any` for the first camera. `/dev/videoN` is refused: the number changes from boot to boot.
    pub device: String,
    /// Size and rate wanted; the nearest the camera has is used.
    #[serde(flatten)]
    pub picture: PictureConfig,
    /// Pixel format wanted: `auto`, `raw`, `mjpeg` or `h264`. Default `auto`: H.264 where the camera makes it, else raw at the
    /// wanted rate, else MJPEG.
    #[serde(default)]
    pub format: CameraFormat,
}

/// What to take from a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CameraFormat {
    /// The cheapest that gives the wanted rate.
    #[default]
    Auto,
    /// Uncompressed.
    Raw,
    /// Motion JPEG.
    Mjpeg,
    /// H.264 made in the camera; passed through.
    H264,
}

/// The test picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct TestConfig {
    /// Size and rate.
    #[serde(flatten)]
    pub picture: PictureConfig,
    /// `videotestsrc` pattern by nick. Default `smpte`.
    pub pattern: String,
    /// Tone in Hz. 0 to 20000, 0 for silence, default 440.
    #[schemars(range(max = 20_000))]
    pub tone: u32,
}

impl Default for TestConfig {
    fn default() -> Self {
        Self { picture: PictureConfig::default(), pattern: "smpte".into(), tone: 440 }
    }
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FileConfig {
    /// MP4, Matroska or WebM.
    pub path: PathBuf,
}

/// An RTSP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RtspConfig {
    /// `rtsp://…` or `rtsps://…`; user and password may be part of it.
    pub url: RtspUrl,
    /// `tcp` or `udp`. Default `tcp`.
    #[serde(default)]
    pub transport: RtspTransport,
    /// Jitter buffer. Default 100 ms.
    #[serde(default = "default_latency", with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub latency: Duration,
}

fn default_latency() -> Duration {
    Duration::from_millis(100)
}

/// How RTP comes from an RTSP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// In datagrams.
    Udp,
}

/// Everything `Media` needs to know.
#[derive(Clone, Debug, Default)]
pub struct MediaSourceConfig {
    /// Habits.
    pub habits: SourcesConfig,
    /// The sources.
    pub sources: Vec<SourceConfig>,
    /// What is done when the board is hot or an encoder too slow.
    pub strain: super::strain::StrainConfig,
    /// The board's loudspeaker.
    pub speaker: super::sound::SpeakerConfig,
    /// Where it is counted how long frames take.
    pub stages: std::sync::Arc<crate::forward::Stages>,
}
