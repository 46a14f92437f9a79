//! What the desk counts.

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages handed on to one receiver each: over a channel or by signalling.
    pub relayed: u64,
    /// Their bytes, in the receiver's framing.
    pub relayed_bytes: u64,
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
    /// Requests for local services.
    pub requests: Requests,
}

impl Figures {
    /// Name (without the ending `_total`), meaning and value of each that stands for itself.
    pub fn totals(&self) -> [(&'static str, &'static str, u64); 11] {
        [
            ("channel_messages", "Messages handed on by data channel or signalling, to one receiver each", self.relayed),
            ("channel_bytes", "Bytes of these messages, as their receivers get them", self.relayed_bytes),
            ("clips", "Clips begun", self.clips),
            ("clip_slices", "Slices of clips taken, each once", self.clip_slices),
            ("clip_copies", "Headers and slices of clips that came more than once", self.clip_copies),
            ("clip_strays", "Slices of clips that belong to none", self.clip_strays),
            ("clips_broken", "Clips that a receiver was too slow for", self.clips_broken),
            ("clips_stored", "Clips stored for members that were absent", self.clips_stored),
            ("clips_lost", "Clips too large or too old to store, or lost by the disk", self.clips_lost),
            ("clips_replayed", "Stored clips played to the end", self.clips_replayed),
            ("rpc_calls", "Requests of members handed to a local service", self.requests.asked),
        ]
    }

    /// Messages that were not handed on, by reason.
    pub fn refused(&self) -> [(&'static str, u64); 6] {
        [
            ("forbidden", self.forbidden),
            ("malformed", self.malformed),
            ("no_route", self.no_route),
            ("no_place", self.no_place),
            ("too_large", self.too_large),
            ("queue_full", self.queue_full),
        ]
    }
}

/// What became of requests for local services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Handed to a service.
    pub asked: u64,
    /// The service did what it was asked.
    pub answered: u64,
    /// 400, 403, 404, 405, 413: by Portico, or by the service.
    pub refused: u64,
    /// 429: more than the member may ask, or than the service takes.
    pub limited: u64,
    /// 500: the service is down, or its answer cannot be used.
    pub failed: u64,
    /// 504: the service did not answer in time.
    pub timed_out: u64,
}

impl Requests {
    /// How requests ended.
    pub fn outcomes(&self) -> [(&'static str, u64); 5] {
        [
            ("answered", self.answered),
            ("refused", self.refused),
            ("limited", self.limited),
            ("failed", self.failed),
            ("timed_out", self.timed_out),
        ]
    }

    /// One was answered with an error of this code.
    pub(super) fn count(&mut self, code: u16) {
        let figure = match code {
            429 => &mut self.limited,
            504 => &mut self.timed_out,
            500.. => &mut self.failed,
            _ => &mut self.refused,
        };
        *figure += 1;
    }
}
