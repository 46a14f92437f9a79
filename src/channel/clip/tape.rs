//! What one member records, from all the connections that bring it.
//!
//! A vamp client sends the same recording on every connection it has: header, then slices. Each connection is read as a sequence
//! of its own, and a slice is taken from whichever brings it first:
//!
//! ```text
//! connection 1:  H a b c d │            log of the clip:  H a b c d
//! connection 2:  H a b     │  lagging: a and b are copies, c and d will be
//! connection 3:      b c d │  opened late: brought no header; b is known by its bytes, and c and d from there
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::vocab::PeerId;

/// A clip ends when nothing came for so long (vamp.md §5).
pub const SILENCE: Duration = Duration::from_secs(5);
/// Most clips of a member at a time; a newer one ends and replaces the oldest.
const MAX_CLIPS: usize = 8;
/// So many headers of clips that are gone are kept, for connections that are behind by whole clips.
const MAX_PAST: usize = 16;
/// What a slice costs beside its bytes.
const OVERHEAD: usize = 64;
/// A connection without a header is placed by the bytes of a slice of this length: shorter ones may be alike, and longer ones are not
/// kept for that. Genuine ones have some 500 bytes.
const TELLING: std::ops::RangeInclusive<usize> = 32..=(16 << 10);
/// So many slices, counted from the last, are looked through for it: two seconds.
const LOOK_BACK: usize = 64;

/// One recording.
#[derive(Debug)]
pub struct Clip {
    /// The text frame it began with.
    pub header: Arc<str>,
    /// When it began.
    pub started: Instant,
    /// The desk's count at its start, to tell who was there.
    pub order: u64,
    last: Instant,
    /// How many slices were let go from the front.
    base: u64,
    slices: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

impl Clip {
    /// Whether nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it is there from its first byte.
    pub fn is_whole(&self) -> bool {
        self.base == 0
    }

    /// The slice of that number; nothing where it was let go or has not come.
    pub fn slice(&self, index: u64) -> Option<&Bytes> {
        usize::try_from(index.checked_sub(self.base)?).ok().and_then(|at| self.slices.get(at))
    }

    /// The number of the first slice that is there.
    pub fn first(&self) -> u64 {
        self.base
    }

    /// How many slices came in all.
    pub fn count(&self) -> u64 {
        self.base + self.slices.len() as u64
    }

    /// The slices that are there.
    pub fn into_slices(self) -> Vec<Bytes> {
        self.slices.into()
    }

    /// Bytes of sound.
    pub fn payload(&self) -> usize {
        self.bytes - self.slices.len() * OVERHEAD
    }

    fn let_go(&mut self, down_to: usize) -> usize {
        let before = self.bytes;
        while self.bytes > down_to
            && let Some(slice) = self.slices.pop_front()
        {
            self.base += 1;
            self.bytes -= slice.len() + OVERHEAD;
        }
        before - self.bytes
    }
}

/// What a header was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The start of a new clip.
    New,
    /// Another connection's copy.
    Copy,
    /// The same again with nothing between: dropped (vamp.md §6, bug 2).
    Repeated,
}

/// What a slice was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The next of its clip.
    New,
    /// Another connection's copy.
    Copy,
    /// Without a clip: its clip has ended, or this connection never brought its header.
    Stray,
}

#[derive(Debug)]
struct Carrier {
    /// The number of the clip whose header this connection brought last, or before which it came.
    clip: u64,
    /// How many slices of it this connection brought, or has passed; nothing where it did not bring the header and is not placed.
    brought: Option<u64>,
    /// Not placed: a slice that nobody else has brought yet, at most 16 KiB, and how many came after it.
    ahead: Option<(Bytes, u64)>,
}

/// The recordings of one member: those that run, and those that listeners still have to hear.
#[derive(Debug, Default)]
pub struct Tape {
    clips: VecDeque<Clip>,
    /// The number of `clips[0]`.
    first: u64,
    /// Headers and counts of slices of the clips before it, the last one in front.
    past: VecDeque<(Arc<str>, u64)>,
    carriers: BTreeMap<PeerId, Carrier>,
    bytes: usize,
}

impl Tape {
    /// The number that the next new clip gets.
    pub fn next(&self) -> u64 {
        self.first + self.clips.len() as u64
    }

    /// The clip of that number.
    pub fn clip(&self, number: u64) -> Option<&Clip> {
        usize::try_from(number.checked_sub(self.first)?).ok().and_then(|at| self.clips.get(at))
    }

    fn clip_mut(&mut self, number: u64) -> Option<&mut Clip> {
        usize::try_from(number.checked_sub(self.first)?).ok().and_then(|at| self.clips.get_mut(at))
    }

    fn header_of(&self, number: u64) -> Option<&Arc<str>> {
        self.past_clip(number).map(|(header, _)| header).or_else(|| self.clip(number).map(|clip| &clip.header))
    }

    fn past_clip(&self, number: u64) -> Option<&(Arc<str>, u64)> {
        self.past.get(usize::try_from(self.first.checked_sub(number + 1)?).ok()?)
    }

    /// The first clip that is there.
    pub fn oldest(&self) -> u64 {
        self.first
    }

    /// Where a listener that joins now begins: with the clip that runs, else with the next.
    pub fn entry(&self) -> u64 {
        self.clips.iter().position(|clip| !clip.ended).map_or(self.next(), |at| self.first + at as u64)
    }

    /// Bytes held, overhead included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A connection of the member is there; its next header belongs to a later clip than those that are known.
    pub fn attach(&mut self, peer: PeerId) {
        let clip = self.next();
        self.carriers.entry(peer).or_insert(Carrier { clip, brought: None, ahead: None });
    }

    /// A connection is gone. A clip that no other connection brings ends.
    pub fn detach(&mut self, peer: PeerId) {
        self.carriers.remove(&peer);
        let (first, carriers) = (self.first, &self.carriers);
        for (at, clip) in self.clips.iter_mut().enumerate() {
            let number = first + at as u64;
            // one that is ahead of all others left a gap behind it
            let brings =
                |carrier: &Carrier| carrier.clip == number && carrier.brought.is_some_and(|brought| brought <= clip.count());
            let ended = !carriers.values().any(brings);
            clip.ended |= ended;
        }
    }

    /// A header came. `order` is the desk's count.
    pub fn header(&mut self, now: Instant, peer: PeerId, header: &str, order: u64) -> Header {
        self.attach(peer);
        let next = self.next();
        let carrier = &self.carriers[&peer];
        let (at, brought) = (carrier.clip, carrier.brought);
        if brought == Some(0) && self.clip(at).is_some_and(|clip| &*clip.header == header) {
            return Header::Repeated;
        }
        let after = if brought.is_some() { at + 1 } else { at };
        let known = after.max(self.first.saturating_sub(self.past.len() as u64));
        let copy = (known..next).find(|number| self.header_of(*number).is_some_and(|known| &**known == header));
        // whoever brought a clip and moves on has brought all of it
        if let Some(brought) = brought
            && let Some(clip) = self.clip_mut(at).filter(|clip| brought <= clip.count())
        {
            clip.ended = true;
        }
        let number = copy.unwrap_or(next);
        self.carriers.insert(peer, Carrier { clip: number, brought: Some(0), ahead: None });
        if copy.is_some() {
            return Header::Copy;
        }
        self.clips.push_back(Clip {
            header: header.into(),
            started: now,
            order,
            last: now,
            base: 0,
            slices: VecDeque::new(),
            bytes: 0,
            ended: false,
        });
        if self.clips.len() > MAX_CLIPS {
            self.drop_first();
        }
        Header::New
    }

    /// A slice came. A clip of more than `max_clip` bytes, or older than `max_age`, is let go from its front.
    pub fn slice(&mut self, now: Instant, peer: PeerId, slice: Bytes, max_clip: usize, max_age: Duration) -> Slice {
        let Some(carrier) = self.carriers.get_mut(&peer) else { return Slice::Stray };
        let Some(brought) = carrier.brought else { return self.place(peer, slice) };
        let number = carrier.clip;
        // an empty slice carries nothing and is counted by nobody
        if !slice.is_empty() {
            carrier.brought = Some(brought + 1);
        }
        let copy_of_past = self.past_clip(number).is_some_and(|(_, count)| brought < *count);
        let Some(clip) = self.clip_mut(number) else { return if copy_of_past { Slice::Copy } else { Slice::Stray } };
        if brought < clip.count() {
            return Slice::Copy;
        }
        // of what lies beyond a gap nothing is of use; the others bring it in its turn
        if clip.ended || brought > clip.count() {
            return Slice::Stray;
        }
        clip.last = now;
        if slice.is_empty() {
            return Slice::New;
        }
        let added = slice.len() + OVERHEAD;
        clip.bytes += added;
        clip.slices.push_back(slice.clone());
        let count = clip.count();
        let old = now.saturating_duration_since(clip.started) > max_age;
        // what is let go is never the slice that just came
        let gone = if old || clip.bytes > max_clip { clip.let_go(if old { added } else { max_clip.max(added) }) } else { 0 };
        self.bytes = self.bytes + added - gone;
        for carrier in self.carriers.values_mut().filter(|carrier| carrier.clip == number + 1 && carrier.brought.is_none()) {
            if let Some((_, after)) = carrier.ahead.take_if(|(first, _)| *first == slice) {
                (carrier.clip, carrier.brought) = (number, Some(count + after));
            }
        }
        Slice::New
    }

    /// A slice of a connection that came within a clip: it belongs where the others have brought the same bytes.
    fn place(&mut self, peer: PeerId, slice: Bytes) -> Slice {
        let number = self.carriers.get(&peer).and_then(|carrier| carrier.clip.checked_sub(1));
        let Some((number, clip)) = number.and_then(|number| Some((number, self.clip(number)?))) else { return Slice::Stray };
        if clip.ended || !TELLING.contains(&slice.len()) {
            return Slice::Stray;
        }
        let mut alike = clip.slices.iter().enumerate().rev().take(LOOK_BACK).filter(|(_, other)| **other == slice);
        let place = alike.next().filter(|_| alike.next().is_none()).map(|(at, _)| clip.base + at as u64 + 1);
        let Some(carrier) = self.carriers.get_mut(&peer) else { return Slice::Stray };
        match (place, &mut carrier.ahead) {
            (Some(after), _) => {
                *carrier = Carrier { clip: number, brought: Some(after), ahead: None };
                return Slice::Copy;
            }
            (None, Some((_, after))) => *after += 1,
            (None, ahead) => *ahead = Some((slice, 0)),
        }
        Slice::Stray
    }

    /// Ends what has been silent for too long. A clip that is nothing but its header goes on until something comes after it, so
    /// that a repeated header finds it.
    pub fn end_silent(&mut self, now: Instant) {
        let newest = self.clips.len().saturating_sub(1);
        for (at, clip) in self.clips.iter_mut().enumerate() {
            let may_end = at < newest || clip.count() > 0;
            clip.ended |= may_end && now.saturating_duration_since(clip.last) >= SILENCE;
        }
    }

    /// When [`Self::end_silent`] has something to do, unless something comes.
    pub fn next_timeout(&self) -> Option<Instant> {
        let newest = self.clips.len().saturating_sub(1);
        let may_end = |at: usize, clip: &Clip| !clip.ended && (at < newest || clip.count() > 0);
        self.clips.iter().enumerate().filter(|(at, clip)| may_end(*at, clip)).map(|(_, clip)| clip.last + SILENCE).min()
    }

    /// Ends everything.
    pub fn end_all(&mut self) {
        self.clips.iter_mut().for_each(|clip| clip.ended = true);
    }

    /// When the oldest clip that holds anything began.
    pub fn oldest_start(&self) -> Option<Instant> {
        self.clips.iter().find(|clip| clip.bytes > 0).map(|clip| clip.started)
    }

    /// Lets the oldest clip's bytes go; listeners that have them all go on.
    pub fn let_go_oldest(&mut self) {
        if let Some(clip) = self.clips.iter_mut().find(|clip| clip.bytes > 0) {
            self.bytes -= clip.let_go(0);
        }
    }

    /// Takes the first clip off if it has ended and its number is below.
    pub fn take_ended(&mut self, below: u64) -> Option<Clip> {
        let done = self.first < below && self.clips.front().is_some_and(Clip::has_ended);
        done.then(|| self.drop_first()).flatten()
    }

    fn drop_first(&mut self) -> Option<Clip> {
        let clip = self.clips.pop_front()?;
        self.first += 1;
        self.bytes -= clip.bytes;
        self.past.push_front((clip.header.clone(), clip.count()));
        self.past.truncate(MAX_PAST);
        Some(clip)
    }
}

/// The text, if it is the start of a recording: a JSON object with `userId` and a number `startTime`.
pub fn is_header(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Start {
        #[serde(rename = "userId")]
        _user: serde::de::IgnoredAny,
        #[serde(rename = "startTime")]
        _start: f64,
    }
    text.len() <= MAX_HEADER && text.trim_start().starts_with('{') && serde_json::from_str::<Start>(text).is_ok()
}

/// Longest header, in bytes; a genuine one has some 60.
pub const MAX_HEADER: usize = 4096;
