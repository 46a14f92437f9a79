//! Session descriptions and ICE candidates as they cross module borders: opaque text, never logged above trace.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which side of the exchange a description is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdpKind {
    /// Proposes.
    Offer,
    /// Accepts.
    Answer,
}

/// An SDP body. `Debug` and `Display` do not show it: it holds ICE passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Sdp {
    /// Offer or answer.
    pub kind: SdpKind,
    /// The text, RFC 8866.
    pub text: String,
}

impl Sdp {
    /// An offer.
    pub fn offer(text: impl Into<String>) -> Self {
        Self { kind: SdpKind::Offer, text: text.into() }
    }
    /// An answer.
    pub fn answer(text: impl Into<String>) -> Self {
        Self { kind: SdpKind::Answer, text: text.into() }
    }
}

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sdp({:?}, {} bytes)", self.kind, self.text.len())
    }
}

/// A trickled ICE candidate (RFC 8838), in the shape browsers use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// `candidate:…`; empty means the end of candidates.
    pub candidate: String,
    /// The media section's `mid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// The media section's index.
    #[serde(default, rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_mline_index: Option<u16>,
    /// The ICE generation it belongs to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}
