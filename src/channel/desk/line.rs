//! One connection: its channels, what waits to leave by it, and when more may leave.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::clip::feed::Feed;
use super::super::framing::{Framing, Written};
use super::super::rpc::Ledger;
use super::super::value::binarypack;
use super::super::value::chunks::Chunks;
use super::Connection;
use crate::vocab::{ChannelId, DataMessage, MemberId};

/// More waiting bytes than this are not handed to a channel (vamp.md §5).
pub const HIGH_WATER: usize = 64 << 10;
/// What was handed over may not show in the channel's gauge for so long.
const GAUGE_LAG: Duration = Duration::from_millis(20);
/// When a full channel is looked at again, should nobody say that it drained.
const RETRY: Duration = Duration::from_millis(100);
/// Largest part of a BinaryPack message (peerjs.md §4.2).
const MAX_PART: usize = 16_300;
/// What stands around a part at most.
const PART_HEAD: usize = 64;
/// What a waiting message costs beside its bytes.
const OVERHEAD: usize = 128;

/// How much waits in a channel. Read often; must be cheap.
pub trait Gauge: Send + Sync + fmt::Debug {
    /// Bytes that wait to leave. May lag behind what was handed over by up to 20 ms.
    fn bytes(&self) -> usize;
}

/// A channel that is open.
#[derive(Debug)]
pub struct Channel {
    pub ours: bool,
    pub max_message: usize,
    pub gauge: Arc<dyn Gauge>,
}

/// What waits.
#[derive(Debug)]
struct Item {
    from: MemberId,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Frame(DataMessage),
    /// A BinaryPack message in parts; `at` is where the next one begins.
    Parts {
        bytes: Bytes,
        message: u64,
        at: usize,
        size: usize,
    },
}

/// What [`Line::next`] finds.
#[derive(Debug)]
pub enum Next {
    /// Nothing waits.
    Nothing,
    /// This is to be sent now, by this channel.
    Send(ChannelId, DataMessage),
    /// The next message is larger than the far end takes; it is gone.
    TooLarge { from: MemberId, len: usize, max: usize },
}

/// A connection as the desk keeps it.
#[derive(Debug)]
pub struct Line {
    pub is: Connection,
    pub channels: BTreeMap<ChannelId, Channel>,
    pub chunks: Chunks,
    pub ledger: Ledger,
    pub feed: Option<Feed>,
    /// Which kind of frame a `json` far end wrote last, or is known to read.
    pub json_as_text: bool,
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    messages: u64,
    handed: usize,
    handed_at: Option<Instant>,
}

impl Line {
    pub fn new(mut is: Connection) -> Self {
        let json_as_text = is.framing == Framing::JsonText;
        if json_as_text {
            is.framing = Framing::Json;
        }
        Self {
            is,
            channels: BTreeMap::new(),
            chunks: Chunks::default(),
            ledger: Ledger::default(),
            feed: None,
            json_as_text,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            messages: 0,
            handed: 0,
            handed_at: None,
        }
    }

    /// The channel that is written to: Portico's own, or the one that was there first.
    pub fn writes_on(&self) -> Option<(ChannelId, &Channel)> {
        let own = self.is.framing == Framing::OwnChannels;
        self.channels.iter().find(|(_, channel)| channel.ours || !own).map(|(id, channel)| (*id, channel))
    }

    /// Bytes of messages that wait and of unfinished ones.
    pub fn bytes(&self) -> usize {
        self.waiting_bytes + self.chunks.bytes()
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What a message would cost.
    pub fn cost(written: &Written) -> usize {
        OVERHEAD + written.len()
    }

    /// Puts a message behind those that wait.
    pub fn push(&mut self, from: MemberId, written: Written) {
        self.waiting_bytes += Self::cost(&written);
        let body = match written {
            Written::Frame(frame) => Body::Frame(frame),
            Written::Packed(bytes) if bytes.len() <= MAX_PART => Body::Frame(DataMessage::Binary(bytes)),
            Written::Packed(bytes) => {
                self.messages += 1;
                Body::Parts { bytes, message: self.messages, at: 0, size: 0 }
            }
        };
        self.waiting.push_back(Item { from, body });
    }

    /// How much may be handed over now; nothing at all is in the channel when the second value is true.
    fn room(&self, now: Instant, channel: &Channel) -> (usize, bool) {
        let recent = self.handed_at.is_some_and(|at| now.saturating_duration_since(at) < GAUGE_LAG);
        let used = channel.gauge.bytes() + if recent { self.handed } else { 0 };
        (HIGH_WATER.saturating_sub(used), used == 0)
    }

    /// Whether a message of that size may be handed over now. A message above the high water leaves alone.
    pub fn has_room(&self, now: Instant, len: usize) -> bool {
        self.writes_on().is_some_and(|(_, channel)| {
            let (room, empty) = self.room(now, channel);
            len <= room || empty
        })
    }

    /// When [`Self::has_room`] may have changed without a word.
    pub fn retry_at(&self, now: Instant) -> Instant {
        match self.handed_at {
            Some(at) if now.saturating_duration_since(at) < GAUGE_LAG => at + GAUGE_LAG,
            _ => now + RETRY,
        }
    }

    /// A message was handed over.
    pub fn handed(&mut self, now: Instant, len: usize) {
        let recent = self.handed_at.is_some_and(|at| now.saturating_duration_since(at) < GAUGE_LAG);
        // a burst counts as waiting until its last message must show in the gauge
        self.handed = if recent { self.handed + len } else { len };
        self.handed_at = Some(now);
    }

    /// The channel says that it drained.
    pub fn drained(&mut self) {
        self.handed = 0;
        self.handed_at = None;
    }

    /// What is next of the messages. Once it says `Send`, the message is on its way.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        let (channel, max) = self.writes_on().map(|(id, channel)| (id, channel.max_message))?;
        let Some(item) = self.waiting.front() else { return Some(Next::Nothing) };
        let (from, message) = (item.from, item.body.message(max));
        let len = message.len();
        if len > max {
            self.drop_front();
            return Some(Next::TooLarge { from, len, max });
        }
        if !self.has_room(now, len) {
            return None;
        }
        self.handed(now, len);
        let front = self.waiting.front_mut().expect("it was looked at above");
        if front.body.advance(max) {
            self.drop_front();
        }
        Some(Next::Send(channel, message))
    }

    fn drop_front(&mut self) {
        if let Some(item) = self.waiting.pop_front() {
            self.waiting_bytes -= OVERHEAD + item.body.len();
        }
    }

    /// The connection has a place for text and may be read.
    pub fn takes_messages(&self) -> bool {
        !matches!(self.is.framing, Framing::None | Framing::Own) && self.is.may_read
    }
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len(),
            Self::Parts { bytes, .. } => bytes.len(),
        }
    }

    /// The frame that is next.
    fn message(&self, max: usize) -> DataMessage {
        match self {
            Self::Frame(frame) => frame.clone(),
            Self::Parts { bytes, message, at, size } => {
                let size = part_size(*size, max);
                let (index, total) = (at / size, bytes.len().div_ceil(size));
                let data = &bytes[*at..bytes.len().min(at + size)];
                DataMessage::Binary(binarypack::encode_chunk(*message, index as u64, data, total as u64))
            }
        }
    }

    /// The frame that was next has left; tells whether it was the last.
    fn advance(&mut self, max: usize) -> bool {
        match self {
            Self::Frame(_) => true,
            Self::Parts { bytes, at, size, .. } => {
                // the size stays what it was for the first part
                *size = part_size(*size, max);
                *at += *size;
                *at >= bytes.len()
            }
        }
    }
}

fn part_size(chosen: usize, max: usize) -> usize {
    if chosen > 0 { chosen } else { MAX_PART.min(max.saturating_sub(PART_HEAD)).max(1) }
}
