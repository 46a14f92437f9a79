//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-04): pure translation between HTTP's side and the room's.
//!
//! This folder knows session descriptions, SDP fragments, entity tags and `Link` values as text. It knows no HTTP library, no
//! room and no clock; the thin handlers are in `http::ingest`, the task behind a session in `http::resource`.
//!
//! ```text
//!  POST offer ──► offer::check ──► Publish/Play … Description ──► 201, ETag, Link
//!  PATCH frag ──► Fragment::parse ──► Exchange::judge ──► candidates             ──► 204
//!                                                     └─► restart offer … answer ──► offer::cut ──► 200, new ETag
//! ```

mod exchange;
mod fragment;
mod link;
mod offer;

pub use exchange::{EntityTag, Exchange, Patch, PatchError};
pub use fragment::{Fragment, FragmentError};
pub use link::link;
pub use offer::{OfferError, OfferIce, check, cut, restart};

/// Media type of offers and answers, RFC 8866 §8.1.
pub const SDP_TYPE: &str = "application/sdp";
/// Media type of the fragments that PATCH carries, RFC 8840 §10.
pub const FRAGMENT_TYPE: &str = "application/trickle-ice-sdpfrag";
/// Largest offer taken, in bytes. Browsers' offers for one stream stay below 8 KiB.
pub const MAX_SDP: usize = 64 << 10;
/// Largest fragment taken, in bytes: 64 candidates of at most 200 bytes and their frame.
pub const MAX_FRAGMENT: usize = 16 << 10;
/// The stream that a WHIP path without a stream publishes (DESIGN section 4).
pub const DEFAULT_STREAM: &str = "main";

/// Which way the media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// WHIP: from the client into the room.
    Ingest,
    /// WHEP: from the room to the client.
    Egress,
}

impl Role {
    /// The first segment of the path.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Ingest => "whip",
            Self::Egress => "whep",
        }
    }
}
