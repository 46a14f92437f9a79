//! PURE. The cheapest path from a source to what a viewer can take, and why.
//!
//! `pass < repacketise < layer < hardware < software < refuse` (DESIGN section 5).

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
    pub codec: crate::vocab::Codec,
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
