//! What this machine offers for capture and codecs: the board files and how a board is recognised.
//!
//! A board file (`pipelines/boards/*.toml`, schema in `pipelines/README.md`) only orders candidate elements and says how to set
//! them up. It owns no verdict: whether an element is there and works is found out by [`super::element`]. No board is named in
//! this code; what a file cannot say becomes part of the schema.

mod file;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::element::Presence;
use crate::vocab::Codec;

pub use file::{BoardError, Identity};

/// Candidate elements of one board, best first; every list ends in software.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Board {
    /// The file's name without `.toml`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Where the file came from.
    pub origin: Origin,
    /// Encoders in order of preference, video and audio mixed; see [`Board::encoders_of`].
    pub encoders: Vec<EncoderCandidate>,
    /// Decoders in order of preference; see [`Board::decoders_of`].
    pub decoders: Vec<DecoderCandidate>,
    /// Elements that capture from the CSI connector, in order of preference. Empty where there is none.
    pub csi: Vec<CsiCandidate>,
    /// What puts the pictures of a mixed room together, in order of preference.
    pub compositors: Vec<CompositorCandidate>,
    /// Converters and scalers in order of preference. Each is one element or a chain written `a ! b`.
    pub convert: Vec<String>,
    /// Where elements come from that Debian has no package of.
    pub vendor: BTreeMap<String, String>,
    /// Systems that its maker gives out, where these matter.
    pub systems: Vec<System>,
    /// What is known to go wrong on it.
    pub quirks: Vec<Quirk>,
}

/// A system that a board's maker gives out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its name for people: `JetPack 5 (L4T 35)`.
    pub name: String,
    /// Its GStreamer: major and minor number.
    pub gstreamer: (u32, u32),
    /// A file of it that says which release it is.
    pub file: PathBuf,
    /// A text that is in the file's first 4096 bytes on this system, and on no other of the board.
    pub contains: String,
}

impl System {
    /// Oldest GStreamer that Portico runs with.
    pub const OLDEST: (u32, u32) = (1, 20);

    /// Whether Portico cannot run on it.
    pub fn is_too_old(&self) -> bool {
        self.gstreamer < Self::OLDEST
    }

    /// Whether this machine runs it. `root` is `/`.
    pub fn is_here(&self, root: &Path) -> bool {
        use std::io::Read;
        let file = root.join(self.file.strip_prefix("/").unwrap_or(&self.file));
        let mut bytes = Vec::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(4096).read_to_end(&mut bytes));
        read.is_ok() && String::from_utf8_lossy(&bytes).contains(&self.contains)
    }
}

/// What is known to go wrong on a board, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirk {
    /// What happens.
    pub what: String,
    /// What this file does about it, or what a person can do.
    pub remedy: String,
    /// Where that is known from.
    pub source: String,
}

/// Where a board file came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Part of the program.
    #[default]
    BuiltIn,
    /// A file of this machine.
    File(PathBuf),
}

/// One way to encode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderCandidate {
    /// What comes out.
    pub codec: Codec,
    /// GStreamer's name of it.
    pub element: String,
    /// True when the work is done outside the CPU.
    pub hardware: bool,
    /// Caps in front of it, without size and rate.
    pub input_caps: String,
    /// Caps behind it: profile, level, stream format.
    pub output_caps: String,
    /// Converter that must stand in front of it (one element or `a ! b`); `None`: the first of [`Board::convert`] that is present.
    pub convert: Option<String>,
    /// Properties to set before start, as `gst-launch-1.0` would take them. One that the element lacks is skipped.
    pub properties: BTreeMap<String, String>,
    /// How its bit rate is set.
    pub bitrate: BitrateControl,
    /// How a key frame is asked for.
    pub key_frame: KeyMethod,
    /// Properties without which this candidate does not apply (elements of one name differ between versions).
    pub requires: Vec<String>,
    /// Device nodes of which one must exist and be more than a stub; empty when the element needs none.
    pub nodes: Vec<PathBuf>,
    /// What the encoder can carry.
    pub limits: EncoderLimits,
}

/// How an encoder's bit rate is set, at start and while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitrateControl {
    /// The property.
    pub property: String,
    /// Where the property is a structure (`extra-controls`), the field of it. Only this field is then sent while running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Unit of the number.
    pub unit: BitrateUnit,
    /// How it changes while the encoder runs.
    #[serde(default)]
    pub change: BitrateChange,
}

/// How an encoder's bit rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BitrateChange {
    /// By its property, while it runs.
    #[default]
    Running,
    /// By another encoder in its place.
    Restart,
}

impl BitrateControl {
    /// The number to write for a bit rate.
    pub fn value(&self, bitrate: crate::vocab::Bitrate) -> u64 {
        match self.unit {
            BitrateUnit::Bps => bitrate.bps(),
            BitrateUnit::Kbps => bitrate.kbps(),
        }
    }
}

/// Unit of an encoder's bit rate property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BitrateUnit {
    /// bit/s.
    Bps,
    /// kbit/s.
    Kbps,
}

/// How an encoder is asked for a key frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMethod {
    /// GStreamer's force-key-unit event, sent upstream from behind the encoder.
    #[default]
    ForceKeyUnit,
    /// An action signal of the element, to be emitted only after its first output.
    ActionSignal(String),
}

/// What an encoder can carry. `None`: not known, or no limit of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderLimits {
    /// Widest picture, pixels.
    pub max_width: Option<u32>,
    /// Highest picture, pixels.
    pub max_height: Option<u32>,
    /// Macroblocks (16×16) per second of all its running encoders together.
    pub macroblocks_per_second: Option<u64>,
    /// Pictures it encodes at a time.
    pub sessions: Option<u32>,
    /// Name of the unit whose macroblocks and sessions these are, where encoders of several names share one. Default: the element's.
    pub unit: Option<String>,
    /// Lowest bit rate it holds, bit/s.
    pub min_bitrate: Option<u64>,
    /// Highest bit rate it accepts, bit/s.
    pub max_bitrate: Option<u64>,
    /// Smallest change it makes, bit/s.
    pub bitrate_step: Option<u64>,
    /// Width must be a multiple of this, pixels.
    pub width_align: Option<u32>,
}

/// What a decoder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecoderInput {
    /// A codec that travels over RTP.
    Codec(Codec),
    /// JPEG pictures, as many cameras give them.
    Jpeg,
}

/// One way to decode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderCandidate {
    /// What goes in; written `H264`, `opus`, … or `jpeg`.
    pub input: DecoderInput,
    /// GStreamer's name of it.
    pub element: String,
    /// True when the work is done outside the CPU.
    pub hardware: bool,
    /// Caps behind it, without size and rate; empty: whatever it gives.
    pub output_caps: String,
    /// Properties, as for encoders.
    pub properties: BTreeMap<String, String>,
    /// As for encoders.
    pub requires: Vec<String>,
    /// As for encoders.
    pub nodes: Vec<PathBuf>,
}

/// One way to capture from the CSI connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsiCandidate {
    /// GStreamer's name of it.
    pub element: String,
    /// Caps behind it; width, height and framerate are added.
    pub output_caps: String,
    /// Properties, as for encoders.
    pub properties: BTreeMap<String, String>,
}

/// One way to put pictures together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompositorCandidate {
    /// GStreamer's name of it.
    pub element: String,
    /// True when the work is done outside the CPU.
    pub hardware: bool,
    /// Elements in front of each of its pads, which bring pictures from plain memory (I420) into its own; empty where it takes these.
    pub upload: String,
    /// Caps in front of each of its pads, without size and rate; empty: whatever comes.
    pub input_caps: String,
    /// Caps behind it, without size and rate.
    pub output_caps: String,
    /// Elements behind it, which bring its picture into plain memory (I420); empty where it gives that.
    pub download: String,
    /// Properties, as for encoders.
    pub properties: BTreeMap<String, String>,
    /// What its pads call a picture's place.
    pub pad: PadNames,
    /// As for encoders.
    pub requires: Vec<String>,
    /// As for encoders.
    pub nodes: Vec<PathBuf>,
}

/// Properties of a compositor's pads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PadNames {
    /// Pixels from the left.
    pub x: String,
    /// Pixels from above.
    pub y: String,
    /// Pixels.
    pub width: String,
    /// Pixels.
    pub height: String,
    /// What is higher is in front. A compositor without it shows later pads in front.
    pub depth: String,
    /// How much is seen of a picture, 1 being all. A compositor without it does not dim what is frozen.
    pub alpha: String,
}

impl Default for PadNames {
    /// Those of GStreamer's own compositors.
    fn default() -> Self {
        let [x, y, width, height, depth, alpha] = ["xpos", "ypos", "width", "height", "zorder", "alpha"].map(str::to_owned);
        Self { x, y, width, height, depth, alpha }
    }
}

impl CompositorCandidate {
    /// The elements around it.
    pub fn around(&self) -> impl Iterator<Item = &str> {
        [&self.upload, &self.download].into_iter().filter(|it| !it.is_empty()).flat_map(|it| chain(it))
    }
}

impl Board {
    /// The board this machine is, from its device tree; `generic` where none is recognised.
    ///
    /// `dir` holds files that replace or add to the built-in ones (it need not exist). `forced` picks a file by name instead.
    /// `root` is `/`; tests give a tree of their own. Fails when a file of `dir` is broken or `forced` names none.
    pub fn recognise(dir: &Path, forced: Option<&str>, root: &Path) -> Result<Board, BoardError> {
        file::recognise(dir, forced, root)
    }

    /// Software only: runs on any machine.
    pub fn generic() -> Board {
        file::generic()
    }

    /// Every board there is, by name. Fails when a file of `dir` is broken.
    pub fn all(dir: &Path) -> Result<Vec<Board>, BoardError> {
        file::all(dir)
    }

    /// A board file by itself: read, and its caps understood. GStreamer must be initialised. Fails at the first thing that is wrong.
    pub fn check(file: &Path) -> Result<Board, BoardError> {
        file::check(file)
    }

    /// The encoders of one codec, best first.
    pub fn encoders_of(&self, codec: Codec) -> impl Iterator<Item = &EncoderCandidate> {
        self.encoders.iter().filter(move |candidate| candidate.codec == codec)
    }

    /// The decoders of one input, best first.
    pub fn decoders_of(&self, input: DecoderInput) -> impl Iterator<Item = &DecoderCandidate> {
        self.decoders.iter().filter(move |candidate| candidate.input == input)
    }
}

impl EncoderCandidate {
    /// Whether it can be used on this machine: nodes, element, required properties, READY. May take up to
    /// [`super::element::READY_LIMIT`].
    pub fn presence(&self) -> Presence {
        super::element::candidate(&self.element, &self.requires, &self.nodes)
    }
}

impl DecoderCandidate {
    /// As [`EncoderCandidate::presence`].
    pub fn presence(&self) -> Presence {
        super::element::candidate(&self.element, &self.requires, &self.nodes)
    }
}

/// An element that a plan asks about.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// A way to encode.
    Encoder(&'a EncoderCandidate),
    /// A way to decode.
    Decoder(&'a DecoderCandidate),
    /// A way to put pictures together.
    Compositor(&'a CompositorCandidate),
    /// Anything else, by GStreamer's name of it.
    Element(&'a str),
}

impl Candidate<'_> {
    /// GStreamer's name of it.
    pub fn element(&self) -> &str {
        match self {
            Self::Encoder(it) => &it.element,
            Self::Decoder(it) => &it.element,
            Self::Compositor(it) => &it.element,
            Self::Element(element) => element,
        }
    }

    /// Properties without which it does not apply.
    pub fn requires(&self) -> &[String] {
        match self {
            Self::Encoder(it) => &it.requires,
            Self::Decoder(it) => &it.requires,
            Self::Compositor(it) => &it.requires,
            Self::Element(_) => &[],
        }
    }

    /// Device nodes of which one must exist.
    pub fn nodes(&self) -> &[PathBuf] {
        match self {
            Self::Encoder(it) => &it.nodes,
            Self::Decoder(it) => &it.nodes,
            Self::Compositor(it) => &it.nodes,
            Self::Element(_) => &[],
        }
    }

    /// True when the work is done outside the CPU by a codec that can be tried.
    pub fn is_hardware_codec(&self) -> bool {
        match self {
            Self::Encoder(it) => it.hardware,
            Self::Decoder(it) => it.hardware,
            Self::Compositor(_) | Self::Element(_) => false,
        }
    }

    /// As [`EncoderCandidate::presence`].
    pub fn presence(&self) -> Presence {
        super::element::candidate(self.element(), self.requires(), self.nodes())
    }
}

impl CsiCandidate {
    /// As [`EncoderCandidate::presence`].
    pub fn presence(&self) -> Presence {
        super::element::candidate(&self.element, &[], &[])
    }
}

/// The elements of a `convert` entry: `a ! b` is `a`, then `b`.
pub fn chain(entry: &str) -> impl Iterator<Item = &str> {
    entry.split('!').map(str::trim)
}

impl std::fmt::Display for DecoderInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Codec(codec) => codec.fmt(f),
            Self::Jpeg => f.write_str("jpeg"),
        }
    }
}

impl Serialize for DecoderInput {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
