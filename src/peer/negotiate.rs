//! PURE. What an SDP says: offered codecs and directions, before any engine sees it.

use crate::vocab::{MediaKind, TrackFormat};

/// What an offer proposes, as far as planning needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferSummary {
    /// The media sections in order.
    pub sections: Vec<SectionSummary>,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSummary {
    /// Its mid.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The offerer sends.
    pub sends: bool,
    /// The offerer receives.
    pub receives: bool,
    /// Known codecs in the offerer's order.
    pub formats: Vec<TrackFormat>,
}

/// Why an SDP cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not parse.
    #[error("not a session description: {0}")]
    Malformed(String),
    /// It lacks something WebRTC needs.
    #[error("the session description has no {0}")]
    Missing(&'static str),
    /// It is larger than allowed.
    #[error("the session description has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The most allowed.
        max: usize,
    },
}

/// Reads an offer or answer. At most 64 KiB and 64 sections; never panics on any bytes.
pub fn summarise(_sdp: &str) -> Result<OfferSummary, SdpError> {
    unimplemented!("skeleton")
}
