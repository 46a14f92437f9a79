//! Ended clips of mesh rooms, which lie on disk, and their replay to those who were absent at their start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::feed::MAX_SLICE;
use super::tape::Clip;
use crate::vocab::{DataMessage, MemberId, PeerId, RoomId};

/// An ended clip; a later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClipId(pub u64);

/// What the store is asked to do. Orders are carried out one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreCommand {
    /// Keep a clip; answered with `Kept` or `Lost`.
    Keep {
        /// Its id.
        clip: ClipId,
        /// Its bytes.
        slices: Vec<Bytes>,
    },
    /// Read a part of a clip; answered with `Block` or `Lost`.
    Read {
        /// The clip.
        clip: ClipId,
        /// From which byte.
        offset: u64,
        /// How many bytes at most.
        len: usize,
        /// For whom; told again in the answer.
        reader: MemberId,
    },
    /// Forget a clip. Not answered.
    Remove {
        /// The clip.
        clip: ClipId,
    },
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// The clip is on disk.
    Kept {
        /// The clip.
        clip: ClipId,
    },
    /// The clip cannot be written or read; it is forgotten.
    Lost {
        /// The clip.
        clip: ClipId,
    },
    /// A part of a clip; empty at its end.
    Block {
        /// The clip.
        clip: ClipId,
        /// From which byte.
        offset: u64,
        /// For whom.
        reader: MemberId,
        /// The bytes.
        bytes: Bytes,
    },
}

/// How much of a clip is read at once, in bytes.
pub const BLOCK: usize = 64 << 10;

/// One clip on the shelf.
#[derive(Debug)]
pub struct Shelved {
    /// Its room.
    pub room: RoomId,
    /// Who recorded it.
    pub sender: MemberId,
    /// The text frame it began with.
    pub header: Arc<str>,
    /// The desk's count at its start.
    pub order: u64,
    /// Its size in bytes.
    pub len: u64,
    ended: Instant,
    on_disk: bool,
}

/// All ended clips.
#[derive(Debug, Default)]
pub struct Shelf {
    clips: BTreeMap<ClipId, Shelved>,
    next: u64,
    bytes: u64,
}

impl Shelf {
    /// Puts a clip that has ended on the shelf. What follows must be told to the store.
    pub fn put(&mut self, now: Instant, room: &RoomId, sender: MemberId, clip: Clip, max_bytes: u64) -> Vec<StoreCommand> {
        let len = clip.payload() as u64;
        if len == 0 || !clip.is_whole() || len > max_bytes {
            return Vec::new();
        }
        let mut commands = Vec::new();
        while self.bytes + len > max_bytes
            && let Some(oldest) = self.clips.keys().next().copied()
        {
            commands.extend(self.remove(oldest));
        }
        let id = ClipId(self.next);
        self.next += 1;
        self.bytes += len;
        let (header, order) = (clip.header.clone(), clip.order);
        let shelved = Shelved { room: room.clone(), sender, header, order, len, ended: now, on_disk: false };
        self.clips.insert(id, shelved);
        commands.push(StoreCommand::Keep { clip: id, slices: clip.into_slices() });
        commands
    }

    /// The clip is on disk.
    pub fn kept(&mut self, clip: ClipId) {
        if let Some(shelved) = self.clips.get_mut(&clip) {
            shelved.on_disk = true;
        }
    }

    /// Takes a clip off the shelf, and from disk.
    pub fn remove(&mut self, clip: ClipId) -> Option<StoreCommand> {
        let shelved = self.clips.remove(&clip)?;
        self.bytes -= shelved.len;
        Some(StoreCommand::Remove { clip })
    }

    /// Takes off what is too old.
    pub fn expire(&mut self, now: Instant, max_age: Duration) -> Vec<StoreCommand> {
        let old = |shelved: &Shelved| now.saturating_duration_since(shelved.ended) >= max_age;
        let gone: Vec<ClipId> = self.clips.iter().filter(|(_, clip)| old(clip)).map(|(id, _)| *id).collect();
        gone.into_iter().filter_map(|clip| self.remove(clip)).collect()
    }

    /// Takes off a room's clips.
    pub fn clear(&mut self, room: &RoomId) -> Vec<StoreCommand> {
        let gone: Vec<ClipId> = self.clips.iter().filter(|(_, clip)| clip.room == *room).map(|(id, _)| *id).collect();
        gone.into_iter().filter_map(|clip| self.remove(clip)).collect()
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_timeout(&self, max_age: Duration) -> Option<Instant> {
        self.clips.values().next().and_then(|clip| clip.ended.checked_add(max_age))
    }

    /// The clip.
    pub fn get(&self, clip: ClipId) -> Option<&Shelved> {
        self.clips.get(&clip)
    }

    /// The first clip from that number on which a member that joined at that count has missed. Nothing while that one is still on
    /// its way to disk: clips are heard in their order.
    pub fn missed(&self, room: &RoomId, member: MemberId, joined: u64, from: ClipId) -> Option<ClipId> {
        let missed = |clip: &Shelved| clip.room == *room && clip.sender != member && clip.order < joined;
        let (id, clip) = self.clips.range(from..).find(|(_, clip)| missed(clip))?;
        clip.on_disk.then_some(*id)
    }

    /// Bytes of all clips.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// One member hears one stored clip.
#[derive(Debug)]
pub struct Replay {
    /// The clip.
    pub clip: ClipId,
    /// By which of the member's connections.
    pub by: PeerId,
    header: Option<Arc<str>>,
    /// What was read and not sent yet; at most [`BLOCK`].
    block: Bytes,
    /// Where the next block begins.
    offset: u64,
    len: u64,
    waiting: bool,
}

impl Replay {
    /// From the start.
    pub fn new(clip: ClipId, shelved: &Shelved, by: PeerId) -> Self {
        let header = Some(shelved.header.clone());
        Self { clip, by, header, block: Bytes::new(), offset: 0, len: shelved.len, waiting: false }
    }

    /// What is next to be sent; see [`Self::sent`].
    pub fn next(&self, limit: usize) -> Option<DataMessage> {
        match &self.header {
            Some(header) => Some(DataMessage::text(&**header)),
            None if self.block.is_empty() => None,
            None => Some(DataMessage::Binary(self.block.slice(..self.block.len().min(MAX_SLICE).min(limit.max(1))))),
        }
    }

    /// What [`Self::next`] gave was sent.
    pub fn sent(&mut self, message: &DataMessage) {
        if self.header.take().is_none() {
            let _ = self.block.split_to(message.len().min(self.block.len()));
        }
    }

    /// Whether all of it was sent.
    pub fn is_done(&self) -> bool {
        self.header.is_none() && self.block.is_empty() && self.offset >= self.len
    }

    /// Asks for the next block when the last one was sent.
    pub fn read(&mut self, reader: MemberId) -> Option<StoreCommand> {
        if self.waiting || !self.block.is_empty() || self.offset >= self.len {
            return None;
        }
        self.waiting = true;
        Some(StoreCommand::Read { clip: self.clip, offset: self.offset, len: BLOCK, reader })
    }

    /// A block came; tells whether it is the one that was asked for.
    pub fn handle_block(&mut self, offset: u64, bytes: Bytes) -> bool {
        if !self.waiting || offset != self.offset || bytes.is_empty() {
            return false;
        }
        self.waiting = false;
        self.offset += bytes.len() as u64;
        self.block = bytes;
        true
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }
}
