//! What the desk counts.

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages handed on to one receiver each: over a channel or by signalling.
    pub relayed: u64,
    /// Messages of members that may not send.
    pub forbidden: u64,
    /// Messages that are not what the connection's framing promises, and parts of messages that do not fit together.
    pub malformed: u64,
    /// Messages to one receiver each that had no way to it.
    pub no_route: u64,
    /// Messages to one receiver each that take bytes where only text goes.
    pub no_place: u64,
    /// Messages to one receiver each that are larger than it takes.
    pub too_large: u64,
    /// Messages to one receiver each that were dropped because too much waits.
    pub queue_full: u64,
    /// Clips begun.
    pub clips: u64,
    /// Slices of clips taken, each once.
    pub clip_slices: u64,
    /// Copies of headers and slices that came by another connection, and headers that were repeated.
    pub clip_copies: u64,
    /// Slices without a clip that runs.
    pub clip_strays: u64,
    /// Clips that a receiver did not get to their end because it was too slow.
    pub clips_broken: u64,
    /// Clips stored.
    pub clips_stored: u64,
    /// Clips that were too large or too old to store, or that the disk lost.
    pub clips_lost: u64,
    /// Stored clips played to the end.
    pub clips_replayed: u64,
    /// Requests to services.
    pub calls: u64,
    /// Requests answered with an error.
    pub calls_failed: u64,
}
