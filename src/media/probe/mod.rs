//! Whether a candidate really works: it is tried in a process of its own, and what was found is kept.
//!
//! ```text
//! Prober ─► child process `portico probe-one` ─► Observed ─► Verdict ─► Verdicts (a file) ─► planner, doctor
//! ```
//!
//! [`verdict`] is pure: what follows from what was seen. [`run`] is what the child does, [`child`] how it is started, awaited and
//! killed, [`cache`] what is known, [`prober`] tries in the background what is not known while nobody watches. A candidate that
//! hangs or crashes costs its process. No board is named here.

pub mod cache;
pub mod child;
mod observed;
pub mod prober;
pub mod sample;
mod trial;
mod verdict;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::board::{Board, Candidate, DecoderCandidate, DecoderInput, EncoderCandidate};
use super::element;
use crate::vocab::MediaKind;

pub use cache::Verdicts;
pub use observed::{Ending, Observed, Rate, Stage};
pub use trial::run;
pub use verdict::{Fault, Note, Role, Verdict};

/// What is to be tried, as the parent tells its child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase", deny_unknown_fields)]
pub enum Trial {
    /// Encodes a test picture.
    Encoder {
        /// The candidate.
        candidate: Box<EncoderCandidate>,
        /// What stands in front of it: an element or a chain.
        convert: String,
        /// Whether it carries pictures of this size, and nothing else; `None` for all the rest, at a modest size.
        #[serde(default)]
        size: Option<(u32, u32)>,
    },
    /// Decodes a sample.
    Decoder {
        /// The candidate.
        candidate: DecoderCandidate,
    },
}

impl Trial {
    /// How a candidate is tried; `None` for what is not: sound, and elements that are no codec.
    ///
    /// Asks the registry which of the board's converters is installed; nothing is opened.
    pub fn of(candidate: Candidate<'_>, board: &Board) -> Option<Self> {
        match candidate {
            Candidate::Encoder(it) if it.codec.kind() == MediaKind::Video => {
                let installed = |chain: &&String| super::board::chain(chain).all(|name| element::registered(name).is_ready());
                let convert = it.convert.clone().or_else(|| board.convert.iter().find(installed).cloned());
                let convert = convert.unwrap_or_else(|| "videoconvert".into());
                Some(Self::Encoder { candidate: Box::new(it.clone()), convert, size: None })
            }
            Candidate::Decoder(it) if is_picture(it.input) => Some(Self::Decoder { candidate: it.clone() }),
            _ => None,
        }
    }

    /// The same encoder at other sizes, largest first: as large as its board file says, 1920x1080 at most, then 1280x720. None for
    /// software, which has no such limits, and for decoders.
    pub fn larger(&self) -> Vec<Self> {
        let Self::Encoder { candidate, convert, size: None } = self else { return Vec::new() };
        let limits = &candidate.limits;
        let fits = |(width, height): &(u32, u32)| {
            limits.max_width.is_none_or(|most| *width <= most) && limits.max_height.is_none_or(|most| *height <= most)
        };
        let sizes = LARGER.into_iter().filter(|_| candidate.hardware).filter(fits);
        sizes.map(|size| Self::Encoder { candidate: candidate.clone(), convert: convert.clone(), size: Some(size) }).collect()
    }

    /// Which kind of verdict follows.
    pub fn role(&self) -> Role {
        match self {
            Self::Encoder { candidate, .. } => Role::Encoder(candidate.codec),
            Self::Decoder { .. } => Role::Decoder,
        }
    }

    /// The element.
    pub fn element(&self) -> &str {
        match self {
            Self::Encoder { candidate, .. } => &candidate.element,
            Self::Decoder { candidate } => &candidate.element,
        }
    }
}

/// What sources are asked for beyond the trial's own size.
const LARGER: [(u32, u32); 2] = [(1920, 1080), (1280, 720)];

/// Whether a decoder's input is a picture.
fn is_picture(input: DecoderInput) -> bool {
    match input {
        DecoderInput::Jpeg => true,
        DecoderInput::Codec(codec) => codec.kind() == MediaKind::Video,
    }
}

/// The candidates of a board that can be tried, encoders first, in its order.
pub fn candidates(board: &Board) -> impl Iterator<Item = Candidate<'_>> {
    let encoders = board.encoders.iter().filter(|it| it.codec.kind() == MediaKind::Video).map(Candidate::Encoder);
    encoders.chain(board.decoders.iter().filter(|it| is_picture(it.input)).map(Candidate::Decoder))
}
