//! What is in the store and what each sink still wants. PURE: the store carries out what it says.
//!
//! Segments are files of records, oldest first; only the last is written to. A cursor is the number of the first event that a
//! sink has not got confirmed. A segment goes when every cursor is past it, or when the limits need its place: then what was
//! still wanted of it is counted as dropped.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::record::WallMs;
use super::frame::{HEAD, Head};

/// Records between two marks: as many are read in vain at most to find one.
const MARK_EVERY: u64 = 256;
/// Segments the size limit is divided into: so much of it is lost at a time.
const PARTS: u64 = 16;
/// Smallest and largest segment.
const SEGMENT: std::ops::RangeInclusive<u64> = 16 << 10..=8 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk.
    pub max_bytes: u64,
    /// Age of an event.
    pub max_age: Duration,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub seq: u64,
    pub offset: u64,
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub head: Head,
    /// One more than the number of its last record.
    pub next: u64,
    /// Its length.
    pub bytes: u64,
    /// When its first record was made.
    pub oldest: WallMs,
    /// When its last one was.
    pub newest: WallMs,
    /// Every so many records, the first included.
    marks: Vec<Mark>,
}

impl Segment {
    pub fn new(head: Head) -> Self {
        let none = WallMs::default();
        Self { head, next: head.first, bytes: HEAD, oldest: none, newest: none, marks: Vec::new() }
    }

    /// A record was added.
    pub fn add(&mut self, seq: u64, made: WallMs, len: u64) {
        if self.is_empty() {
            self.oldest = made;
        }
        if (seq - self.head.first).is_multiple_of(MARK_EVERY) {
            self.marks.push(Mark { seq, offset: self.bytes });
        }
        self.newest = self.newest.max(made);
        self.next = seq + 1;
        self.bytes += len;
    }

    fn is_empty(&self) -> bool {
        self.next == self.head.first
    }

    /// Whether everything in it is older than that. A time from a clock that was not set says nothing.
    fn is_older(&self, age: Duration, now: WallMs) -> bool {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.newest.is_plausible() && now.0.saturating_sub(self.newest.0) > age
    }
}

/// What a sink still wants.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    sink: String,
    /// The first event that is not confirmed.
    next: u64,
    /// Events it wanted that were let go or damaged.
    dropped: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    segments: VecDeque<Segment>,
    cursors: Vec<Cursor>,
    next: u64,
}

impl Ledger {
    /// Of the segments that were found, in order, and the cursors that were saved. A sink without a saved cursor begins with what
    /// comes, unless none was saved at all although there are events: then nothing is known, and everything is told again.
    pub fn recover(limits: Limits, segments: Vec<Segment>, saved: Option<&BTreeMap<String, u64>>, sinks: &[String]) -> Self {
        let first = segments.first().map_or(0, |segment| segment.head.first);
        let stored = segments.last().map_or(0, |segment| segment.next);
        // numbers are never used again: a cursor may be further than what a power cut has left
        let next = saved.into_iter().flat_map(BTreeMap::values).copied().chain([stored]).max().unwrap_or_default();
        let cursor = |sink: &String| {
            let place = match saved {
                Some(saved) => saved.get(sink).copied().unwrap_or(next),
                None => first,
            };
            Cursor { sink: sink.clone(), next: place, dropped: 0 }
        };
        let mut ledger = Self { limits, segments: segments.into(), cursors: sinks.iter().map(cursor).collect(), next };
        ledger.count_gaps();
        ledger
    }

    /// Other limits and sinks. One that stays keeps its place, one that is new begins with what comes.
    pub fn change(&mut self, limits: Limits, sinks: &[String]) {
        self.limits = limits;
        let next = self.next;
        let before = std::mem::take(&mut self.cursors);
        let place = |sink: &String| {
            let known = before.iter().find(|cursor| cursor.sink == *sink).cloned();
            known.unwrap_or(Cursor { sink: sink.clone(), next, dropped: 0 })
        };
        self.cursors = sinks.iter().map(place).collect();
    }

    /// Events between segments were in a part of a file that could not be read.
    fn count_gaps(&mut self) {
        let starts = self.segments.iter().skip(1).map(|segment| segment.head.first);
        let gaps: Vec<(u64, u64)> = self.segments.iter().map(|segment| segment.next).zip(starts).collect();
        for cursor in &mut self.cursors {
            for (from, to) in &gaps {
                cursor.dropped += to.saturating_sub((*from).max(cursor.next));
            }
        }
    }

    /// The number the next event gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether the next record, of that length, belongs into a new segment.
    pub fn wants_new_segment(&self, len: u64, now: WallMs) -> bool {
        let full = |last: &Segment| len > self.space() || last.is_older_than_part(&self.limits, now);
        self.segments.back().is_none_or(|last| !last.is_empty() && full(last))
    }

    /// Bytes that still fit into the last segment.
    pub fn space(&self) -> u64 {
        let most = (self.limits.max_bytes / PARTS).clamp(*SEGMENT.start(), *SEGMENT.end());
        most.saturating_sub(self.segments.back().map_or(0, |last| last.bytes))
    }

    /// A new segment, which is written to from now on. One that got no record is forgotten: its file has the same name.
    pub fn begin(&mut self, head: Head) {
        debug_assert_eq!(head.first, self.next);
        if self.segments.back().is_some_and(Segment::is_empty) {
            self.segments.pop_back();
        }
        self.segments.push_back(Segment::new(head));
    }

    /// A segment cannot be read from that event on: nobody waits for it any more. How many events are lost to the sink that loses
    /// most.
    pub fn give_up(&mut self, from: u64) -> u64 {
        let segment = self.segments.iter().find(|segment| segment.next > from && !segment.is_empty());
        let Some(segment) = segment.cloned() else { return 0 };
        self.pass(&segment)
    }

    /// The segment that is written to.
    pub fn last(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// A record was written to the last segment.
    pub fn add(&mut self, made: WallMs, len: u64) {
        let seq = self.next;
        self.segments.back_mut().expect("a segment is begun before a record is written").add(seq, made, len);
        self.next += 1;
    }

    /// Takes off the segments that must go before so many bytes more are written: what is over the limits, oldest first, and what
    /// nobody wants. The last one stays.
    pub fn trim(&mut self, coming: u64, now: WallMs) -> Trimmed {
        let mut trimmed = Trimmed::default();
        let wanted = self.cursors.iter().map(|cursor| cursor.next).min().unwrap_or(self.next);
        let mut bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        while self.segments.len() > 1 {
            let oldest = &self.segments[0];
            let over = bytes + coming > self.limits.max_bytes || oldest.is_older(self.limits.max_age, now);
            if oldest.next > wanted && !over {
                break;
            }
            let oldest = self.segments.pop_front().expect("there are two");
            bytes -= oldest.bytes;
            trimmed.dropped += self.pass(&oldest);
            trimmed.segments.push(oldest.head);
        }
        trimmed
    }

    /// The last segment may be closed so that it can go: nobody writes, and it is too old.
    pub fn last_is_expired(&self, now: WallMs) -> bool {
        self.segments.back().is_some_and(|last| !last.is_empty() && last.is_older(self.limits.max_age, now))
    }

    /// Moves the cursors past a segment that goes; how many events were dropped for any of the sinks.
    fn pass(&mut self, gone: &Segment) -> u64 {
        let mut most = 0;
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.next < gone.next) {
            let dropped = gone.next - cursor.next.max(gone.head.first);
            cursor.dropped += dropped;
            cursor.next = gone.next;
            most = most.max(dropped);
        }
        most
    }

    /// A sink has everything before `next`.
    pub fn confirm(&mut self, sink: &str, next: u64) {
        let known = self.next;
        if let Some(cursor) = self.cursors.iter_mut().find(|cursor| cursor.sink == sink) {
            cursor.next = cursor.next.max(next.min(known));
        }
    }

    /// Where to look for the first stored event from that number on: its segment, and a record at or before it.
    pub fn locate(&self, seq: u64) -> Option<(&Segment, Mark)> {
        let segment = self.segments.iter().find(|segment| segment.next > seq && !segment.is_empty())?;
        let mark = segment.marks.iter().rev().find(|mark| mark.seq <= seq.max(segment.head.first))?;
        Some((segment, *mark))
    }

    /// The first event a sink has not got confirmed.
    pub fn wanted(&self, sink: &str) -> u64 {
        self.cursors.iter().find(|cursor| cursor.sink == sink).map_or(self.next, |cursor| cursor.next)
    }

    /// Stored events that a sink has not got confirmed.
    pub fn backlog(&self, sink: &str) -> u64 {
        let wanted = self.wanted(sink);
        self.segments.iter().map(|segment| segment.next.saturating_sub(segment.head.first.max(wanted))).sum()
    }

    /// Events a sink wanted that were let go.
    pub fn dropped(&self, sink: &str) -> u64 {
        self.cursors.iter().find(|cursor| cursor.sink == sink).map_or(0, |cursor| cursor.dropped)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// What is to be saved.
    pub fn cursors(&self) -> BTreeMap<String, u64> {
        self.cursors.iter().map(|cursor| (cursor.sink.clone(), cursor.next)).collect()
    }
}

impl Segment {
    /// Whether its first record is older than a part of the age limit: a new segment then keeps ages apart.
    fn is_older_than_part(&self, limits: &Limits, now: WallMs) -> bool {
        let part = u64::try_from(limits.max_age.as_millis()).unwrap_or(u64::MAX) / PARTS;
        now.0.saturating_sub(self.oldest.0) > part
    }
}

/// Segments whose files are to be removed.
#[derive(Debug, Default)]
pub(super) struct Trimmed {
    pub segments: Vec<Head>,
    /// Events in them that a sink still wanted.
    pub dropped: u64,
}
