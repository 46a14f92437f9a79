//! Clips: vamp's recordings in flight (vamp.md §5 and §6).
//!
//! | what | where |
//! |---|---|
//! | what a member records, each slice once | [`tape`] |
//! | what one listener has heard of it (`sfu` rooms) | [`feed`] |
//! | ended clips on disk, and who still has to hear them (`mesh` rooms) | [`shelf`] |

pub mod feed;
pub mod shelf;
pub mod tape;

/// What a room does with clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClipUse {
    /// Relay them as they run, to late joiners from their start (`sfu` rooms).
    #[default]
    Relay,
    /// Store them, and play each after its end to members that were absent at its start (`mesh` rooms).
    Store,
    /// A recording is ignored.
    Ignore,
}
