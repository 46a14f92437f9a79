//! What differs per viewer: whether a frame is sent, and with which sequence number and RTP time.
//!
//! A viewer's numbering is cut into **segments**. Inside a segment the viewer's numbers are the layer's plus a constant, so that
//! losses and reordering upstream stay visible and NACK keeps its meaning (RFC 3550 §6.4.1 counts losses by sequence
//! number). A new segment begins wherever *we* made the gap: the viewer waited for a key frame, fell behind, was moved to another
//! layer, or the source began again with new random numbers. It continues with the next sequence number and a later time.
//!
//! ```text
//!            ┌──────── key frame ────────┐
//! Waiting ───┘                           ▼        burst directly after the cache
//!    ▲ ▲── skip_to_key, jump ◄──────── Open ◄─────────────┐
//!    │                                   └─ cache_sent ─► AfterCache
//!    └────────────── any other burst ahead ────────────────┘
//! ```
//!
//! A number is never used for two different packets: with SRTP that would reuse a key stream (RFC 3711 §9.1).

use std::time::{Duration, Instant};

use super::{FramePackets, MediaPacket};
use crate::vocab::LayerId;

#[cfg(test)]
mod tests;

/// How far behind the newest a packet still gets its number. 512 packets are 2.5 s at 2 Mbit/s; what is later helps no live
/// picture.
const WINDOW: u16 = 512;

/// A sequence number further from the newest than this belongs to a restarted source: MAX_DROPOUT of RFC 3550 appendix A.1.
const JUMP: u16 = 3000;

/// Up to here a step in sequence numbers alone says that the source goes on, whatever its time does.
const STEP: u16 = 100;

/// A time further from the expected than this is a leap (a file that loops, a restarted source).
const LEAP: Duration = Duration::from_secs(10);

/// A packet with a number behind the newest is late, not of a restarted source, when its time is within this of the newest's. Longer
/// than [`LEAP`], since a packet may be overtaken by one from after a silence.
const LAG: Duration = Duration::from_secs(60);

/// After a gap of ours the source's own distance in time is kept when it agrees this well with the time that passed.
const AGREES: Duration = Duration::from_secs(1);

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
    /// Leave it out: it was sent already (from the cache), or it is too late.
    Old,
}

/// Figures of one viewer's rewriting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriterFigures {
    /// Frames (or bursts) sent.
    pub sent: u64,
    /// Frames left out because the viewer waited for a key frame.
    pub dropped: u64,
    /// Frames left out because they were sent already or came too late.
    pub old: u64,
}

/// One viewer's view of a layer: gates on key frames, keeps sequence numbers and timestamps continuous over gaps that are ours
/// (waiting, dropping, a restarted or other layer) and keeps gaps that are upstream losses.
#[derive(Debug)]
pub struct Rewriter {
    clock_rate: u32,
    needs_key: bool,
    first: Rewritten,
    gate: Gate,
    segment: Option<Segment>,
    /// When the frame just admitted was admitted.
    now: Option<Instant>,
    figures: RewriterFigures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Only a key frame opens; for sound any frame does.
    Waiting,
    /// The cached key frame was sent: what follows it directly opens, anything else makes it `Waiting`.
    AfterCache,
    Open,
}

/// A stretch with constant distance between the layer's numbers and the viewer's.
#[derive(Clone, Debug)]
struct Segment {
    layer: LayerId,
    /// Added to the layer's sequence number.
    sequence_shift: u16,
    /// Added to the layer's RTP time.
    timestamp_shift: u32,
    /// How many numbers back the segment began, at most [`WINDOW`]; numbers before its start are not the segment's.
    span: u16,
    /// Newest sequence number of the layer that was sent, its time, and when.
    newest: u16,
    newest_timestamp: u32,
    newest_at: Instant,
    /// Latest RTP time the viewer has seen. Not always the newest packet's: frames may be out of display order.
    latest: u32,
    /// Which of the last [`WINDOW`] numbers were sent, by number modulo the window.
    sent: Sent,
}

/// Where a packet stands to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Newer than all before by this many numbers (1: directly after).
    Ahead(u16),
    /// Inside the window and not sent yet.
    Late,
    /// Sent already, before the segment, or older than the window.
    Past,
    /// As `Ahead`, but the source's time leapt.
    Leap(u16),
    /// Another numbering: the source began again.
    Jump,
}

impl Rewriter {
    /// A viewer that starts at the next key frame (video) or at once (audio). The first packet gets `first_sequence` and
    /// `first_timestamp`; both should be random (RFC 3550 §5.1). `clock_rate` in Hz.
    pub fn new(clock_rate: u32, needs_key: bool, first_sequence: u16, first_timestamp: u32) -> Self {
        Self {
            clock_rate,
            needs_key,
            first: Rewritten { sequence: first_sequence, timestamp: first_timestamp },
            gate: Gate::Waiting,
            segment: None,
            now: None,
            figures: RewriterFigures::default(),
        }
    }

    /// Decides on a frame; if `Send`, call [`Self::rewrite`] for each of its packets before the next frame is admitted.
    ///
    /// Frames of a layer other than the current are left out until one is a key frame (or at once for audio); until then the
    /// current layer's frames still pass, so a caller can feed both and drop the old layer when the new one is sent.
    pub fn admit(&mut self, now: Instant, frame: &FramePackets) -> Verdict {
        let verdict = self.judge(now, frame);
        match verdict {
            Verdict::Send => {
                self.now = Some(now);
                self.figures.sent += 1;
            }
            Verdict::WaitKey => self.figures.dropped += 1,
            Verdict::Old => self.figures.old += 1,
        }
        verdict
    }

    /// The viewer's numbers for a packet of the frame just admitted. `None`: leave this packet out; a burst may hold packets
    /// that were sent already or that come too late to have a number of their own.
    pub fn rewrite(&mut self, sequence: u16, timestamp: u32) -> Option<Rewritten> {
        let now = self.now?;
        let segment = self.segment.as_mut()?;
        if (1..=JUMP).contains(&sequence.wrapping_sub(segment.newest)) {
            segment.advance(sequence, timestamp, now);
        } else if !segment.is_unsent(sequence) {
            return None;
        }
        segment.sent.insert(sequence);
        let rewritten = Rewritten {
            sequence: sequence.wrapping_add(segment.sequence_shift),
            timestamp: timestamp.wrapping_add(segment.timestamp_shift),
        };
        if signed(rewritten.timestamp, segment.latest) > 0 {
            segment.latest = rewritten.timestamp;
        }
        Some(rewritten)
    }

    /// Frames were or will be withheld (the ring overflowed, the viewer fell behind or paused): go on at the next key frame, sound at
    /// the next frame. What was left out leaves no gap in the viewer's numbers.
    pub fn skip_to_key(&mut self) {
        self.gate = Gate::Waiting;
    }

    /// The cached key frame has been sent ([`Refresh::OnRequest`](super::Refresh::OnRequest)): frames that follow it directly
    /// go on, else the viewer waits for the next key frame. Not needed after a replayed group, where nothing is missing.
    pub fn cache_sent(&mut self) {
        if self.needs_key && self.gate == Gate::Open {
            self.gate = Gate::AfterCache;
        }
    }

    /// True while only a key frame helps: the caller should see that one is requested.
    pub fn waits_for_key(&self) -> bool {
        self.needs_key && self.gate != Gate::Open
    }

    /// The layer whose frames are sent now; `None` before the first.
    pub fn layer(&self) -> Option<LayerId> {
        self.segment.as_ref().map(|segment| segment.layer)
    }

    /// The viewer's RTP time for a time of the layer, as packets are rewritten now: for sender reports, so that the distance
    /// between a source's audio and video is kept. `None` until live packets are sent: a cached key frame says nothing of now.
    pub fn viewer_time(&self, timestamp: u32) -> Option<u32> {
        let segment = self.segment.as_ref().filter(|_| self.gate == Gate::Open)?;
        Some(timestamp.wrapping_add(segment.timestamp_shift))
    }

    /// What happened so far.
    pub fn figures(&self) -> RewriterFigures {
        self.figures
    }

    fn judge(&mut self, now: Instant, frame: &FramePackets) -> Verdict {
        let [first, ..] = frame.packets.as_slice() else { return Verdict::Old };
        let opens = frame.key || !self.needs_key;
        let Some(segment) = self.segment.as_ref().filter(|segment| segment.layer == frame.layer) else {
            return self.open_if(opens, now, frame.layer, first);
        };
        let place = segment.place_of_burst(now, self.clock_rate, &frame.packets);
        match (self.gate, place) {
            (_, Place::Past) => Verdict::Old,
            (Gate::Open | Gate::AfterCache, Place::Late) => Verdict::Send,
            (Gate::Open, Place::Ahead(_)) => Verdict::Send,
            (Gate::Open, Place::Leap(step)) => {
                self.open(now, frame.layer, first, step);
                Verdict::Send
            }
            (Gate::AfterCache, Place::Ahead(1)) => {
                self.gate = Gate::Open;
                Verdict::Send
            }
            // before the gap: the viewer's numbers go on after it
            (Gate::Waiting, Place::Late) => Verdict::Old,
            (Gate::Waiting | Gate::AfterCache, _) | (Gate::Open, Place::Jump) => {
                self.gate = Gate::Waiting;
                self.open_if(opens, now, frame.layer, first)
            }
        }
    }

    fn open_if(&mut self, opens: bool, now: Instant, layer: LayerId, first: &MediaPacket) -> Verdict {
        if !opens {
            return Verdict::WaitKey;
        }
        self.open(now, layer, first, 1);
        Verdict::Send
    }

    /// Begins a segment whose first packet is `first`, `step` numbers after the last one sent.
    fn open(&mut self, now: Instant, layer: LayerId, first: &MediaPacket, step: u16) {
        let begin = match &self.segment {
            None => self.first,
            Some(last) => Rewritten {
                sequence: last.newest.wrapping_add(last.sequence_shift).wrapping_add(step),
                timestamp: last.time_after(now, self.clock_rate, layer, first.timestamp),
            },
        };
        self.gate = Gate::Open;
        self.segment = Some(Segment {
            layer,
            sequence_shift: begin.sequence.wrapping_sub(first.sequence),
            timestamp_shift: begin.timestamp.wrapping_sub(first.timestamp),
            span: 0,
            newest: first.sequence.wrapping_sub(1),
            newest_timestamp: first.timestamp,
            newest_at: now,
            latest: begin.timestamp,
            sent: Sent::default(),
        });
    }
}

impl Segment {
    /// A burst is ahead when any of its packets is; else it is what its most useful packet is.
    fn place_of_burst(&self, now: Instant, clock_rate: u32, packets: &[MediaPacket]) -> Place {
        let mut best = Place::Past;
        for (index, packet) in packets.iter().enumerate() {
            match self.place(now, clock_rate, packet) {
                Place::Past => {}
                Place::Late => best = Place::Late,
                // a new segment would begin at the burst's first packet, which here belongs to the present one
                Place::Leap(step) if index > 0 => return Place::Ahead(step),
                // in order of sequence number: the first that is not behind decides
                ahead => return ahead,
            }
        }
        best
    }

    fn place(&self, now: Instant, clock_rate: u32, packet: &MediaPacket) -> Place {
        let ahead = packet.sequence.wrapping_sub(self.newest);
        let behind = self.newest.wrapping_sub(packet.sequence);
        let leapt = self.error(now, clock_rate, packet.timestamp) > ticks(LEAP, clock_rate);
        match () {
            _ if (1..=STEP).contains(&ahead) && leapt => Place::Leap(ahead),
            _ if (1..=JUMP).contains(&ahead) && !leapt => Place::Ahead(ahead),
            // the time a packet behind may lag is its own distance, not that of the silence after the newest
            _ if behind <= JUMP && signed(packet.timestamp, self.newest_timestamp).unsigned_abs() <= ticks(LAG, clock_rate) => {
                if self.is_unsent(packet.sequence) {
                    Place::Late
                } else {
                    Place::Past
                }
            }
            _ => Place::Jump,
        }
    }

    /// How far `timestamp` is from what the time passed since the newest packet lets expect, in ticks.
    fn error(&self, now: Instant, clock_rate: u32, timestamp: u32) -> u32 {
        let expected = self.newest_timestamp.wrapping_add(self.passed(now, clock_rate));
        signed(timestamp, expected).unsigned_abs()
    }

    fn passed(&self, now: Instant, clock_rate: u32) -> u32 {
        ticks(now.saturating_duration_since(self.newest_at), clock_rate)
    }

    /// The viewer's time for the first packet after a gap of ours: the source's own distance where it can be believed, else the
    /// time that passed. A cached key frame may be minutes older than the live one; sent as such, a receiver would take
    /// the difference for delay.
    fn time_after(&self, now: Instant, clock_rate: u32, layer: LayerId, timestamp: u32) -> u32 {
        let own = timestamp.wrapping_add(self.timestamp_shift);
        let believed = layer == self.layer
            && self.error(now, clock_rate, timestamp) <= ticks(AGREES, clock_rate)
            && signed(own, self.latest) > 0;
        if believed { own } else { self.latest.wrapping_add(self.passed(now, clock_rate).max(1)) }
    }

    fn is_unsent(&self, sequence: u16) -> bool {
        let behind = self.newest.wrapping_sub(sequence);
        behind < self.span && !self.sent.contains(sequence)
    }

    fn advance(&mut self, sequence: u16, timestamp: u32, now: Instant) {
        let ahead = sequence.wrapping_sub(self.newest);
        self.sent.forget_after(self.newest, ahead);
        self.span = self.span.saturating_add(ahead).min(WINDOW);
        self.newest = sequence;
        self.newest_timestamp = timestamp;
        self.newest_at = now;
    }
}

/// A set of the last [`WINDOW`] sequence numbers.
#[derive(Clone, Debug, Default)]
struct Sent([u64; WINDOW as usize / 64]);

impl Sent {
    fn slot(sequence: u16) -> (usize, u64) {
        let index = usize::from(sequence % WINDOW);
        (index / 64, 1 << (index % 64))
    }

    fn insert(&mut self, sequence: u16) {
        let (word, bit) = Self::slot(sequence);
        self.0[word] |= bit;
    }

    fn contains(&self, sequence: u16) -> bool {
        let (word, bit) = Self::slot(sequence);
        self.0[word] & bit != 0
    }

    /// Clears the `count` numbers after `sequence`.
    fn forget_after(&mut self, sequence: u16, count: u16) {
        if count >= WINDOW {
            self.0 = Default::default();
            return;
        }
        for step in 1..=count {
            let (word, bit) = Self::slot(sequence.wrapping_add(step));
            self.0[word] &= !bit;
        }
    }
}

/// Ticks of the RTP clock in a time, modulo 2^32.
fn ticks(time: Duration, clock_rate: u32) -> u32 {
    (time.as_micros() * u128::from(clock_rate) / 1_000_000) as u32
}

/// Distance from `b` to `a` on the circle of RTP times.
fn signed(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}
