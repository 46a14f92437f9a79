//! PeerJS's parts of one large message, put together again (peerjs.md §4.2).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::Value;

/// Most bytes held of unfinished messages, per connection.
pub const MAX_BYTES: usize = 16 << 20;
/// A message that is not complete after this time is forgotten.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// Most parts of one message. The original cuts at 16300 bytes: 16 MiB have 1030 parts.
pub const MAX_PARTS: u64 = 65_536;
/// Most unfinished messages of a connection; the original sends one after the other.
const MAX_MESSAGES: usize = 64;
/// What a part costs beside its bytes.
const OVERHEAD: usize = 64;

/// What a value on a `binary` connection is.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// A whole message.
    Whole(Value),
    /// Part `index` of `total` of message `message`.
    Chunk {
        /// The sender's number of the message.
        message: u64,
        /// From 0.
        index: u64,
        /// How many there are.
        total: u64,
        /// The part's bytes.
        data: Bytes,
    },
    /// The far end closes after what it sent before.
    Close,
    /// It claims to be part of something and is not.
    Broken,
}

impl Part {
    /// Looks at a value that came.
    pub fn of(value: Value) -> Self {
        let Some(mark) = value.get("__peerData") else { return Self::Whole(value) };
        if mark.get("type").and_then(Value::as_text) == Some("close") {
            return Self::Close;
        }
        let number = |name: &str| value.get(name).and_then(Value::as_uint);
        match (mark.as_uint(), number("n"), number("total"), value.get("data")) {
            (Some(message), Some(index), Some(total), Some(Value::Bytes(data)))
                if index < total && total <= MAX_PARTS && data.len() <= MAX_BYTES =>
            {
                Self::Chunk { message, index, total, data: data.clone() }
            }
            _ => Self::Broken,
        }
    }
}

/// The unfinished messages of one connection. At most [`MAX_BYTES`] in all, overhead included.
#[derive(Debug, Default)]
pub struct Chunks {
    messages: BTreeMap<u64, Parts>,
    bytes: usize,
}

#[derive(Debug)]
struct Parts {
    total: u64,
    since: Instant,
    bytes: usize,
    /// Empty and never filled again once the message was given up.
    parts: BTreeMap<u64, Bytes>,
    given_up: bool,
}

impl Parts {
    fn new(total: u64, since: Instant) -> Self {
        Self { total, since, bytes: 0, parts: BTreeMap::new(), given_up: false }
    }

    /// Keeps nothing of it any more; returns the bytes that are free.
    fn give_up(&mut self) -> usize {
        self.given_up = true;
        self.parts.clear();
        std::mem::take(&mut self.bytes)
    }
}

/// What became of a part.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// The message is complete.
    Complete(Bytes),
    /// More are to come.
    Kept,
    /// The message is given up: too large, too many at once, or its parts contradict each other. Said once per message.
    GivenUp,
    /// Part of a message that was given up, or there already.
    Ignored,
}

impl Chunks {
    /// Takes a part, which must come from [`Part::of`].
    pub fn take(&mut self, now: Instant, message: u64, index: u64, total: u64, data: Bytes) -> Taken {
        self.expire(now);
        let known = self.messages.len();
        let parts = match self.messages.entry(message) {
            std::collections::btree_map::Entry::Vacant(_) if known >= MAX_MESSAGES => return Taken::GivenUp,
            entry => entry.or_insert_with(|| Parts::new(total, now)),
        };
        if parts.given_up || parts.parts.contains_key(&index) {
            return Taken::Ignored;
        }
        let cost = data.len() + OVERHEAD;
        if parts.total != total || self.bytes + cost > MAX_BYTES {
            self.bytes -= parts.give_up();
            return Taken::GivenUp;
        }
        self.bytes += cost;
        parts.bytes += cost;
        parts.parts.insert(index, data);
        if parts.parts.len() as u64 != total {
            return Taken::Kept;
        }
        let done = self.messages.remove(&message).expect("it was just looked at");
        self.bytes -= done.bytes;
        let mut whole = BytesMut::with_capacity(done.bytes);
        done.parts.into_values().for_each(|part| whole.extend_from_slice(&part));
        Taken::Complete(whole.freeze())
    }

    /// There is no room for a message of which a part came: it is given up.
    pub fn refuse(&mut self, now: Instant, message: u64, total: u64) -> Taken {
        self.expire(now);
        let known = self.messages.len();
        let parts = match self.messages.entry(message) {
            std::collections::btree_map::Entry::Vacant(_) if known >= MAX_MESSAGES => return Taken::GivenUp,
            entry => entry.or_insert_with(|| Parts::new(total, now)),
        };
        if parts.given_up {
            return Taken::Ignored;
        }
        self.bytes -= parts.give_up();
        Taken::GivenUp
    }

    /// Forgets what is too old; returns how many messages.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.messages.len();
        let bytes = &mut self.bytes;
        self.messages.retain(|_, parts| {
            let young = now.saturating_duration_since(parts.since) < MAX_AGE;
            if !young {
                *bytes -= parts.bytes;
            }
            young
        });
        before - self.messages.len()
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.messages.values().map(|parts| parts.since + MAX_AGE).min()
    }

    /// Bytes held, overhead included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
