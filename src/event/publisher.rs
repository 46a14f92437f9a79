//! Brings stored events to one sink. PURE: time is an argument, the driver carries out the [`Action`]s.
//!
//! ```text
//! Waiting ─ time ─► Connecting ─ connected ─► Up: read, publish in order, confirm what the far end confirmed
//!    ▲                  │ failed                │ lost, refused, nothing confirmed for too long
//!    └──────────────────┴───────────────────────┘  after a while that doubles, with jitter
//! ```
//!
//! An event is confirmed to the store only when all before it are. After a loss it goes on at the first that was not confirmed;
//! those behind it that were are not sent again.
//!
//! Of each room one event at a time is under way. So whatever becomes of it, a refusal or a loss, none of its room has overtaken
//! it; other rooms do not wait for it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::store::{BATCH, Batch, Stored};

/// The first wait after a loss; it doubles with each try in vain.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest: a broker that is back gets its events within two seconds, and one that is away is asked about 40 times a minute.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Connecting and declaring take no longer than this.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A published event is confirmed within this time, or the connection counts as lost. Brokers confirm after their own disk has it.
pub const CONFIRM_LIMIT: Duration = Duration::from_secs(30);

/// What a sink is like.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Events sent and not confirmed at a time. Bounds memory, and what may come twice.
    pub window: usize,
    /// The longest wait after a loss.
    pub longest_wait: Duration,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect; then `handle_connected` or `handle_lost`.
    Connect,
    /// Read events from that number on; then `handle_batch`, or `handle_lost` when the disk is in trouble.
    Read {
        /// The first wanted.
        from: u64,
    },
    /// Send; then `handle_confirmed`, `handle_refused` or
    /// `handle_lost`.
    Publish(Stored),
    /// The store may forget what is before that number.
    Confirm {
        /// The first that is still wanted.
        next: u64,
    },
    /// Drop the connection.
    Disconnect,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Instant },
    Connecting { until: Instant },
    Up,
}

/// A published event that is not confirmed.
#[derive(Clone, Copy, Debug)]
struct Sent {
    lane: u64,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Publisher {
    state: State,
    habits: Habits,
    /// The first that is not confirmed.
    wanted: u64,
    /// The next to be read.
    next_read: u64,
    /// The number the store's next event gets.
    head: u64,
    /// Where the reading under way began.
    reading: Option<u64>,
    /// Read and not sent, in order. At most two reads of the store.
    ready: VecDeque<Stored>,
    /// By number. Each of another lane.
    sent: BTreeMap<u64, Sent>,
    /// Confirmed before one in front of them. At most a window.
    early: BTreeSet<u64>,
    failures: u32,
    confirmed: u64,
    refused: u64,
    random: StdRng,
    actions: VecDeque<Action>,
}

impl Publisher {
    /// Begins at `wanted`, the first event that is not confirmed; connects at once.
    pub fn new(now: Instant, wanted: u64, head: u64, habits: Habits, seed: u64) -> Self {
        Self {
            state: State::Waiting { until: now },
            habits,
            wanted,
            next_read: wanted,
            head,
            reading: None,
            ready: VecDeque::new(),
            sent: BTreeMap::new(),
            early: BTreeSet::new(),
            failures: 0,
            confirmed: 0,
            refused: 0,
            random: StdRng::seed_from_u64(seed),
            actions: VecDeque::new(),
        }
    }

    /// The store has more: its next event gets that number.
    pub fn handle_head(&mut self, now: Instant, head: u64) {
        self.head = self.head.max(head);
        self.go_on(now);
    }

    /// The connection is there and declared.
    pub fn handle_connected(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting { .. }) {
            self.state = State::Up;
            self.go_on(now);
        }
    }

    /// What was read from `from` on, and where to read on.
    pub fn handle_batch(&mut self, now: Instant, from: u64, batch: Batch) {
        // the answer to a question of before a loss
        if self.reading != Some(from) {
            return;
        }
        self.reading = None;
        self.next_read = self.next_read.max(batch.next);
        self.ready.extend(batch.events.into_iter().filter(|event| !self.early.contains(&event.seq)));
        self.advance();
        self.go_on(now);
    }

    /// The far end has it.
    pub fn handle_confirmed(&mut self, now: Instant, seq: u64) {
        self.failures = 0;
        if self.settle(seq) {
            self.confirmed += 1;
        }
        self.go_on(now);
    }

    /// The far end has it and will never take it: it is passed by, and counted.
    pub fn handle_refused(&mut self, now: Instant, seq: u64) {
        if self.settle(seq) {
            self.refused += 1;
        }
        self.go_on(now);
    }

    /// The connection is lost, could not be made, or the far end could not take an event now.
    pub fn handle_lost(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            return;
        }
        self.actions.retain(|action| matches!(action, Action::Confirm { .. }));
        self.actions.push_back(Action::Disconnect);
        self.ready.clear();
        self.sent.clear();
        self.reading = None;
        self.next_read = self.wanted;
        let longest = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(self.habits.longest_wait);
        self.failures = self.failures.saturating_add(1);
        // many gateways do not come back to one broker in step
        let wait = longest.mul_f64(self.random.random_range(0.5..=1.0));
        self.state = State::Waiting { until: now + wait };
    }

    /// To be called at [`Self::next_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Connecting { until: now + CONNECT_LIMIT };
                self.actions.push_back(Action::Connect);
            }
            State::Connecting { until } if until <= now => self.handle_lost(now),
            State::Up if self.sent.values().any(|sent| sent.until <= now) => self.handle_lost(now),
            _ => {}
        }
    }

    /// When time alone changes something.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } | State::Connecting { until } => Some(until),
            State::Up => self.sent.values().map(|sent| sent.until).min(),
        }
    }

    /// What is to be done. To be drained after every call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether everything stored is confirmed.
    pub fn is_idle(&self) -> bool {
        self.wanted >= self.head
    }

    /// Whether the connection is there.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Confirmed events, and those that were refused for good, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.confirmed, self.refused)
    }

    /// One is dealt with; whether it was still wanted.
    fn settle(&mut self, seq: u64) -> bool {
        if self.sent.remove(&seq).is_none() {
            return false;
        }
        self.early.insert(seq);
        self.advance();
        true
    }

    /// Everything before the oldest that is still open is done; what the store let go of is passed by with it.
    fn advance(&mut self) {
        let sent = self.sent.first_key_value().map(|(seq, _)| *seq);
        let open = sent.into_iter().chain(self.ready.front().map(|event| event.seq)).min().unwrap_or(self.next_read);
        if open > self.wanted {
            self.wanted = open;
            self.early = self.early.split_off(&open);
            self.actions.push_back(Action::Confirm { next: open });
        }
    }

    /// Sends and reads as much as the window allows.
    fn go_on(&mut self, now: Instant) {
        if self.state != State::Up {
            return;
        }
        // lanes with one under way, and those of events that must wait for one before them
        let mut busy: HashSet<u64> = self.sent.values().map(|sent| sent.lane).collect();
        let mut at = 0;
        while self.sent.len() + self.early.len() < self.habits.window && at < self.ready.len() {
            if !busy.insert(self.ready[at].lane) {
                at += 1;
            } else if let Some(event) = self.ready.remove(at) {
                self.sent.insert(event.seq, Sent { lane: event.lane, until: now + CONFIRM_LIMIT });
                self.actions.push_back(Action::Publish(event));
            }
        }
        if self.reading.is_none() && self.ready.len() < BATCH && self.next_read < self.head {
            self.reading = Some(self.next_read);
            self.actions.push_back(Action::Read { from: self.next_read });
        }
    }
}

#[cfg(test)]
mod tests;
