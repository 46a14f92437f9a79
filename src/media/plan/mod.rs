//! PURE. The cheapest path from a source to what a viewer can take, and why.
//!
//! `pass < repacketise < layer < hardware < software < refuse` (DESIGN section 5). Nothing here touches GStreamer: what is
//! installed is asked through [`Presences`], so a plan can be computed for any board, on any machine. See
//! `docs/design/planner.md`.

pub mod camera;
pub mod composing;
pub mod layering;

#[cfg(test)]
mod tests;

use super::Wants;
use super::board::{Board, Candidate, DecoderCandidate, DecoderInput, EncoderCandidate, chain};
use super::element::Presence;
use crate::vocab::{Codec, MediaKind, TrackFormat};

/// How a track reaches a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// RTP packets as they come.
    Pass,
    /// Encoded frames as they come, new RTP.
    Repacketise,
    /// A layer that is being encoded anyway.
    Layer,
    /// Encoded in hardware.
    Hardware,
    /// Encoded in software.
    Software,
}

/// A chosen path and its reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Choice {
    /// The path.
    pub path: Path,
    /// Codec at the viewer.
    pub codec: Codec,
    /// The encoder element, where one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Why this one, for people.
    pub reason: String,
}

/// Why no path exists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("no path from {have} to {want}: {reason}")]
pub struct Refusal {
    /// What the source gives.
    pub have: String,
    /// What the viewer takes.
    pub want: String,
    /// What is missing, with the package to install where that would help.
    pub reason: String,
}

/// What a source gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOffer {
    /// Its picture; `None` when it has none.
    pub video: Option<StreamOffer>,
    /// Its sound; `None` when it has none.
    pub audio: Option<StreamOffer>,
}

impl SourceOffer {
    /// The stream of one kind.
    pub fn of(&self, kind: MediaKind) -> Option<&StreamOffer> {
        match kind {
            MediaKind::Audio => self.audio.as_ref(),
            MediaKind::Video => self.video.as_ref(),
        }
    }
}

/// One stream of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOffer {
    /// Uncompressed pictures (also a camera's JPEG once decoded).
    Picture {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Frames per second, rounded up.
        framerate: u32,
    },
    /// Uncompressed sound.
    Sound,
    /// Encoded by somebody else.
    Coded {
        /// The codec as people call it.
        name: String,
        /// How it would be announced, when it can travel over RTP.
        format: Option<TrackFormat>,
        /// Why it cannot go to viewers as it is (B-frames, a profile browsers lack); `None` when it can.
        obstacle: Option<String>,
    },
}

impl std::fmt::Display for StreamOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Picture { width, height, framerate } => write!(f, "raw video {width}x{height} at {framerate}/s"),
            Self::Sound => f.write_str("raw audio"),
            Self::Coded { name, obstacle: None, .. } => f.write_str(name),
            Self::Coded { name, obstacle: Some(obstacle), .. } => write!(f, "{name} ({obstacle})"),
        }
    }
}

/// Says whether a candidate can be used here.
pub type Presences<'a> = &'a dyn Fn(Candidate<'_>) -> Presence;

/// The paths for one viewer: at most one per kind.
///
/// `running` are the encoders at work for the source, best asked anew for each viewer. Among equally cheap paths the board's
/// order of encoders decides: browsers differ in what they list first, and one encoder shall serve them all. Where nothing is
/// encoded, the viewer's order does. A picture that is wanted and cannot be given refuses the viewer;
/// missing sound does not, as long as there is a picture (see [`plan_kind`] for its reason).
pub fn plan(
    source: &SourceOffer,
    wants: &Wants,
    board: &Board,
    presence: Presences<'_>,
    running: &[Choice],
) -> Result<Vec<Choice>, Refusal> {
    let video = plan_kind(MediaKind::Video, source, wants, board, presence, running);
    let audio = plan_kind(MediaKind::Audio, source, wants, board, presence, running);
    match (video, audio) {
        (Some(Err(refusal)), _) => Err(refusal),
        (None, Some(Err(refusal))) => Err(refusal),
        (None, None) => Err(Refusal {
            have: describe(source),
            want: list(wants.video.iter().chain(&wants.audio)),
            reason: "the source has nothing of the kinds the viewer wants".into(),
        }),
        (video, audio) => Ok([video, audio].into_iter().flatten().flatten().collect()),
    }
}

/// The path for one kind; `None` when the source has none of it or the viewer wants none.
pub fn plan_kind(
    kind: MediaKind,
    source: &SourceOffer,
    wants: &Wants,
    board: &Board,
    presence: Presences<'_>,
    running: &[Choice],
) -> Option<Result<Choice, Refusal>> {
    let offer = source.of(kind)?;
    let wanted = match kind {
        MediaKind::Audio => &wants.audio,
        MediaKind::Video => &wants.video,
    };
    if wanted.is_empty() {
        return None;
    }
    let wanted: Vec<Codec> = wanted.iter().copied().filter(|codec| codec.kind() == kind).collect();
    // in the order of cost, so that nobody asks for encoders where none is needed: the first question about one can take long
    let free = |path: &dyn Fn(Codec) -> Option<Choice>| wanted.iter().find_map(|codec| path(*codec));
    if let Some(choice) = free(&|codec| passed(codec, offer)).or_else(|| free(&|codec| shared(codec, running))) {
        return Some(Ok(choice));
    }
    let mut obstacles = Vec::new();
    let best = wanted
        .iter()
        .filter_map(|codec| match encoded(*codec, offer, board, presence) {
            Ok(choice) => Some(choice),
            Err(obstacle) => {
                obstacles.push(format!("{codec}: {obstacle}"));
                None
            }
        })
        // the first of equals stays: the viewer's order
        .min_by_key(|choice| (choice.path, rank(choice, board)));
    Some(best.ok_or_else(|| Refusal {
        have: offer.to_string(),
        want: list(wanted.iter()),
        reason: if obstacles.is_empty() { format!("none of these is {kind}") } else { obstacles.join("; ") },
    }))
}

/// Where the board lists the encoder of a choice; 0 when nothing is encoded.
fn rank(choice: &Choice, board: &Board) -> usize {
    let Some(element) = &choice.encoder else { return 0 };
    board.encoders.iter().position(|it| &it.element == element && it.codec == choice.codec).unwrap_or(usize::MAX)
}

/// The decoder for a codec: the board's first that is present.
pub fn decoder_for<'b>(input: DecoderInput, board: &'b Board, presence: Presences<'_>) -> Option<&'b DecoderCandidate> {
    board.decoders_of(input).find(|it| presence(Candidate::Decoder(it)).is_ready())
}

/// The converter in front of an encoder: its own, else the board's first that is present, else `videoconvert`.
pub fn converter_for<'b>(encoder: &'b EncoderCandidate, board: &'b Board, presence: Presences<'_>) -> &'b str {
    encoder.convert.as_deref().unwrap_or_else(|| board_converter(board, presence))
}

/// The board's first converter that is present, else `videoconvert`.
pub fn board_converter<'b>(board: &'b Board, presence: Presences<'_>) -> &'b str {
    let whole = |entry: &&String| chain(entry).all(|element| presence(Candidate::Element(element)).is_ready());
    board.convert.iter().find(whole).map_or("videoconvert", String::as_str)
}

/// The candidate a choice names.
pub fn candidate<'b>(choice: &Choice, board: &'b Board, presence: Presences<'_>) -> Option<&'b EncoderCandidate> {
    let element = choice.encoder.as_deref()?;
    board.encoders_of(choice.codec).find(|it| it.element == element && presence(Candidate::Encoder(it)).is_ready())
}

/// The source's own frames, where they fit.
fn passed(codec: Codec, offer: &StreamOffer) -> Option<Choice> {
    match offer {
        StreamOffer::Coded { format: Some(format), obstacle: None, .. } if format.codec == codec => {
            let reason = format!("the source gives {codec} that the viewer takes: nothing is encoded");
            Some(Choice { path: Path::Repacketise, codec, encoder: None, reason })
        }
        _ => None,
    }
}

/// An encoder that runs for another viewer.
fn shared(codec: Codec, running: &[Choice]) -> Option<Choice> {
    let layer = running.iter().find(|it| it.codec == codec && it.encoder.is_some())?;
    let reason = format!("{codec} is being encoded for another viewer");
    Some(Choice { path: Path::Layer, codec, encoder: layer.encoder.clone(), reason })
}

/// An encoder of the codec's own, or why there is none.
fn encoded(codec: Codec, offer: &StreamOffer, board: &Board, presence: Presences<'_>) -> Result<Choice, String> {
    let why = match offer {
        StreamOffer::Coded { name, format: Some(format), obstacle: Some(obstacle) } if format.codec == codec => {
            format!("the source's {name} cannot pass: {obstacle}")
        }
        StreamOffer::Coded { name, obstacle: Some(obstacle), .. } => format!("the source gives {name} ({obstacle})"),
        StreamOffer::Coded { name, .. } => format!("the source gives {name}"),
        StreamOffer::Picture { .. } | StreamOffer::Sound => String::new(),
    };
    let mut passed_over = Vec::new();
    if let StreamOffer::Coded { format: Some(format), .. } = offer {
        let input = DecoderInput::Codec(format.codec);
        // no candidate at all leaves the choice to GStreamer (`decodebin`)
        if board.decoders_of(input).next().is_some() && decoder_for(input, board, presence).is_none() {
            let missing = board.decoders_of(input).map(|it| excuse(&it.element, &presence(Candidate::Decoder(it))));
            return Err(format!("nothing decodes {}: {}", format.codec, missing.collect::<Vec<_>>().join(", ")));
        }
    }
    for it in board.encoders_of(codec) {
        if let Some(excess) = beyond(it, offer) {
            passed_over.push(format!("{} {excess}", it.element));
            continue;
        }
        match presence(Candidate::Encoder(it)) {
            Presence::Ready => {
                let path = if it.hardware { Path::Hardware } else { Path::Software };
                let place = if it.hardware { "in hardware" } else { "in software" };
                let mut reason = format!("encoded {place} by {}", it.element);
                for part in std::mem::take(&mut passed_over).into_iter().chain((!why.is_empty()).then(|| why.clone())) {
                    reason.push_str("; ");
                    reason.push_str(&part);
                }
                return Ok(Choice { path, codec, encoder: Some(it.element.clone()), reason });
            }
            absent => passed_over.push(excuse(&it.element, &absent)),
        }
    }
    match passed_over.is_empty() {
        true => Err(format!("board file {} names no encoder", board.name)),
        false => Err(passed_over.join(", ")),
    }
}

/// What of the picture is more than the encoder can carry.
pub fn beyond(encoder: &EncoderCandidate, offer: &StreamOffer) -> Option<String> {
    let &StreamOffer::Picture { width, height, framerate } = offer else { return None };
    let limits = &encoder.limits;
    let blocks = super::budget::blocks(width, height, framerate);
    if limits.max_width.is_some_and(|max| width > max) || limits.max_height.is_some_and(|max| height > max) {
        return Some(format!("cannot encode pictures of {width}x{height}"));
    }
    if limits.macroblocks_per_second.is_some_and(|max| blocks > max) {
        return Some(format!("cannot encode {width}x{height} at {framerate}/s"));
    }
    let aligned = limits.width_align.is_none_or(|align| align == 0 || width % align == 0);
    (!aligned).then(|| format!("needs a width that is a multiple of {}", limits.width_align.unwrap_or(1)))
}

fn excuse(element: &str, presence: &Presence) -> String {
    match presence {
        Presence::Ready => format!("{element} is ready"),
        Presence::Missing { package: Some(package) } => format!("{element} is missing (Debian package {package})"),
        Presence::Missing { package: None } => format!("{element} is missing"),
        Presence::NotReady { why } => format!("{element} does not work here: {why}"),
        Presence::Busy { why } => format!("{element} is busy: {why}"),
    }
}

fn describe(source: &SourceOffer) -> String {
    match (&source.video, &source.audio) {
        (Some(video), Some(audio)) => format!("{video} and {audio}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => "nothing".into(),
    }
}

fn list<'a>(codecs: impl Iterator<Item = &'a Codec>) -> String {
    let names: Vec<&str> = codecs.map(|codec| codec.name()).collect();
    if names.is_empty() { "nothing".into() } else { names.join(" or ") }
}
