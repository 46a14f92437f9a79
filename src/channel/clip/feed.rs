//! How far one listener has heard one member's tape.

use super::tape::Tape;
use crate::vocab::{DataMessage, MemberId};

/// Largest slice sent (vamp.md §5).
pub const MAX_SLICE: usize = 16 << 10;

/// A place on a tape: a clip, a slice of it, an offset in the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Whose tape.
    pub sender: MemberId,
    clip: u64,
    slice: u64,
    offset: usize,
    /// The clip's header was sent.
    told: bool,
}

impl Feed {
    /// From the running clip's start, or from the next clip.
    pub fn from_entry(sender: MemberId, tape: &Tape) -> Self {
        Self::at(sender, tape.entry())
    }

    /// From the next clip on.
    pub fn from_next(sender: MemberId, tape: &Tape) -> Self {
        Self::at(sender, tape.next())
    }

    fn at(sender: MemberId, clip: u64) -> Self {
        Self { sender, clip, slice: 0, offset: 0, told: false }
    }

    /// The clip it is at.
    pub fn clip(&self) -> u64 {
        self.clip
    }

    /// What is next to be sent, at most [`MAX_SLICE`] and `limit` bytes of it; nothing while there is none. After it was sent,
    /// say so with [`Self::sent`]. The second value tells how many clips were broken off because their bytes are gone.
    pub fn next(&mut self, tape: &Tape, limit: usize) -> (Option<DataMessage>, u64) {
        let mut broken = 0;
        loop {
            if self.clip < tape.oldest() {
                broken += u64::from(self.told);
                *self = Self::at(self.sender, tape.oldest());
            }
            let Some(clip) = tape.clip(self.clip) else { return (None, broken) };
            if !self.told {
                if clip.is_whole() {
                    return (Some(DataMessage::text(&*clip.header)), broken);
                }
            } else if let Some(slice) = clip.slice(self.slice) {
                let end = slice.len().min(self.offset + MAX_SLICE.min(limit.max(1)));
                return (Some(DataMessage::Binary(slice.slice(self.offset..end))), broken);
            } else if self.slice < clip.first() {
                broken += 1;
            } else if !clip.has_ended() {
                return (None, broken);
            }
            *self = Self::at(self.sender, self.clip + 1);
        }
    }

    /// What [`Self::next`] gave was sent.
    pub fn sent(&mut self, tape: &Tape, message: &DataMessage) {
        if !self.told {
            self.told = true;
            return;
        }
        self.offset += message.len();
        if tape.clip(self.clip).and_then(|clip| clip.slice(self.slice)).is_none_or(|slice| self.offset >= slice.len()) {
            self.slice += 1;
            self.offset = 0;
        }
    }

    /// Whether it is within a clip.
    pub fn has_begun(&self) -> bool {
        self.told
    }

    /// A slice of the clip was lost on the way: what follows of it is of no use.
    pub fn skip(&mut self) {
        *self = Self::at(self.sender, self.clip + 1);
    }
}
