//! PURE. How a bridge that speaks over a websocket comes to be connected: its own place in the room, then the far side, and again.
//!
//! ```text
//! Apart ─► Joining ─► Resting ─► Dialling ─► Greeting ─► Open
//!   ▲                    ▲            any trouble │         │
//!   └─ the room ends it  └──────── backoff ───────┴─────────┘
//! ```

use std::time::{Duration, Instant};

use crate::bridge::retry::Backoff;
use crate::bridge::status::{Reason, Standing, StateWord};
use crate::bridge::whip::verdict::Fault;

/// A connection that lasted so long was good: the waits begin anew after it.
const STABLE: Duration = Duration::from_secs(10);
/// The far side says whether it takes the bridge within this time.
const GREETING_LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug)]
enum State {
    /// Not in the room until then.
    Apart { until: Instant },
    /// The room was asked.
    Joining,
    /// In the room; the far side is left alone until then.
    Resting { until: Instant },
    /// The websocket is being made.
    Dialling,
    /// The far side was told who comes.
    Greeting { until: Instant },
    /// It took the bridge.
    Open { since: Instant },
    /// Nothing more happens.
    Over,
}

/// What is to be done when a time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Step {
    /// Join the room.
    Enter,
    /// Make the websocket.
    Dial,
    /// The far side has said nothing for the time it had to take the bridge.
    Unheard,
}

/// See the module.
#[derive(Debug)]
pub(in crate::bridge) struct Life {
    state: State,
    backoff: Backoff,
    not_before: Instant,
    reason: Option<Reason>,
    attempts: u64,
    connections: u64,
}

impl Life {
    /// Begins at once. The seed decides the jitter.
    pub(in crate::bridge) fn new(now: Instant, seed: u64) -> Self {
        let (state, backoff) = (State::Apart { until: now }, Backoff::new(seed));
        Self { state, backoff, not_before: now, reason: None, attempts: 0, connections: 0 }
    }

    pub(in crate::bridge) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Apart { until } | State::Resting { until } | State::Greeting { until } => Some(until),
            _ => None,
        }
    }

    pub(in crate::bridge) fn handle_timeout(&mut self, now: Instant) -> Option<Step> {
        if self.next_timeout().is_none_or(|at| now < at) {
            return None;
        }
        match self.state {
            State::Apart { .. } => {
                self.state = State::Joining;
                Some(Step::Enter)
            }
            State::Resting { .. } => {
                self.attempts += 1;
                self.state = State::Dialling;
                Some(Step::Dial)
            }
            State::Greeting { .. } => Some(Step::Unheard),
            _ => None,
        }
    }

    /// The room let it in.
    pub(in crate::bridge) fn welcomed(&mut self) {
        if matches!(self.state, State::Joining) {
            self.state = State::Resting { until: self.not_before };
        }
    }

    /// The websocket is there. False when it is of no use any more.
    pub(in crate::bridge) fn dialled(&mut self, now: Instant) -> bool {
        let waited = matches!(self.state, State::Dialling);
        if waited {
            self.state = State::Greeting { until: now + GREETING_LIMIT };
        }
        waited
    }

    /// The far side took the bridge.
    pub(in crate::bridge) fn opened(&mut self, now: Instant) {
        if matches!(self.state, State::Greeting { .. }) {
            self.state = State::Open { since: now };
            self.connections += 1;
            self.reason = None;
        }
    }

    /// Trouble with the far side. False when there was nothing with it.
    pub(in crate::bridge) fn fail(&mut self, now: Instant, fault: Fault) -> bool {
        match self.state {
            State::Open { since } if now.saturating_duration_since(since) >= STABLE => self.backoff.succeeded(),
            State::Open { .. } | State::Dialling | State::Greeting { .. } => {}
            _ => return false,
        }
        self.not_before = now + self.note(fault);
        self.state = State::Resting { until: self.not_before };
        true
    }

    /// The room does not let it in, or ended its place.
    pub(in crate::bridge) fn shut_out(&mut self, now: Instant, fault: Fault) {
        if !matches!(self.state, State::Over) {
            self.not_before = now + self.note(fault);
            self.state = State::Apart { until: self.not_before };
        }
    }

    pub(in crate::bridge) fn stop(&mut self) {
        self.state = State::Over;
    }

    fn note(&mut self, fault: Fault) -> Duration {
        let wait = self.backoff.next(fault.pace, fault.retry_after);
        self.reason = Some(Reason { code: fault.code, message: fault.message });
        wait
    }

    /// Whether the bridge has a place in the room, or has asked for one.
    pub(in crate::bridge) fn is_inside(&self) -> bool {
        !matches!(self.state, State::Apart { .. } | State::Over)
    }

    /// Whether the far side was told who comes, and has not said yes.
    pub(in crate::bridge) fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting { .. })
    }

    pub(in crate::bridge) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(in crate::bridge) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// How it stands. `lacks`: what is missing of a bridge that is connected.
    pub(in crate::bridge) fn standing(&self, lacks: Option<Reason>) -> Standing {
        let (state, next) = match self.state {
            State::Apart { until } | State::Resting { until } => (StateWord::Waiting, Some(until)),
            State::Joining | State::Dialling | State::Greeting { .. } => (StateWord::Connecting, None),
            State::Open { .. } => (StateWord::Connected, None),
            State::Over => (StateWord::Off, None),
        };
        let reason = if self.is_open() { lacks } else { self.reason.clone() };
        Standing { state, reason, next, attempts: self.attempts, connections: self.connections, peer: None }
    }
}
