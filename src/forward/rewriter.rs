//! What differs per viewer (skeleton).
use std::time::Instant;

use super::FramePackets;

/// Header fields of one packet as the viewer gets it; ssrc and payload type are the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Sequence number, continuous for the viewer except for losses upstream.
    pub sequence: u16,
    /// RTP time, continuous for the viewer.
    pub timestamp: u32,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send its packets.
    Send,
    /// Leave it out: the viewer waits for a key frame.
    WaitKey,
    /// Leave it out: it was sent from the cache already.
    Old,
}

/// Figures of one viewer's rewriting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriterFigures {
    /// Frames sent.
    pub sent: u64,
    /// Frames left out.
    pub dropped: u64,
}

/// One viewer's view of a layer: gates on key frames, keeps sequence numbers and timestamps continuous over gaps that are ours
/// (waiting, dropping, a restarted or other layer) and keeps gaps that are upstream losses.
#[derive(Debug)]
pub struct Rewriter {}

impl Rewriter {
    /// A viewer that starts at the next key frame (video) or at once (audio).
    pub fn new(_clock_rate: u32, _needs_key: bool, _first_sequence: u16, _first_timestamp: u32) -> Self {
        unimplemented!("skeleton")
    }
    /// Decides on a frame; if `Send`, call `rewrite` for each of its packets.
    pub fn admit(&mut self, _now: Instant, _frame: &FramePackets) -> Verdict {
        unimplemented!("skeleton")
    }
    /// The viewer's numbers for a packet of the frame just admitted.
    pub fn rewrite(&mut self, _sequence: u16, _timestamp: u32) -> Rewritten {
        unimplemented!("skeleton")
    }
    /// The viewer or its ring fell behind: go on at the next key frame.
    pub fn skip_to_key(&mut self) {
        unimplemented!("skeleton")
    }
    /// What happened so far.
    pub fn figures(&self) -> RewriterFigures {
        unimplemented!("skeleton")
    }
}
