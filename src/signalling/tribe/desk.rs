//! What leaves the dialect, and which requests wait for the room's word.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use tracing::{debug, info};

use super::code::ErrorCode;
use super::wire::{Event, Failure, Success};
use crate::room::Command;
use crate::signalling::Output;
use crate::vocab::{MemberId, PeerId, RequestId};

/// Most requests that wait for the room at a time. The hub answers each at once, so a client gets here only when the hub is
/// far behind; its further requests are then refused instead of kept.
const MAX_PENDING: usize = 512;
/// An action longer than this is not repeated in its answer; the longest known one has 28 letters.
const MAX_ACTION: usize = 64;

/// A request that waits for the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// `join`.
    Join,
    /// `reconnect`.
    Reconnect,
    /// `exchangeSdp` to `publisher`.
    Uplink(PeerId),
    /// `exchangeSdp` to a member, relayed.
    Relay,
    /// `sendMessage`.
    Message,
    /// `orientationChange`.
    Orientation,
    /// Not asked by the client: a member's stream is to be played.
    Downlink(MemberId),
}

impl Pending {
    /// The action whose answer is owed.
    pub(super) fn action(self) -> Option<&'static str> {
        match self {
            Self::Join => Some("join"),
            Self::Reconnect => Some("reconnect"),
            Self::Uplink(_) | Self::Relay => Some("exchangeSdp"),
            Self::Message => Some("sendMessage"),
            Self::Orientation => Some("orientationChange"),
            Self::Downlink(_) => None,
        }
    }
}

/// Outgoing frames and commands, in order.
#[derive(Debug, Default)]
pub(super) struct Desk {
    outputs: VecDeque<Output>,
    pending: HashMap<RequestId, Pending>,
    refusals: u64,
}

impl Desk {
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn send(&mut self, message: &impl Serialize) {
        let text = serde_json::to_string(message).expect("strings, numbers and checked JSON always serialise");
        self.push(Output::Send(text));
    }

    /// An event to the client.
    pub(super) fn event(&mut self, a: &'static str, d: impl Serialize) {
        self.send(&Event { a, d });
    }

    /// The success of a request, without data.
    pub(super) fn success(&mut self, action: &str) {
        self.succeed::<()>(action, None);
    }

    /// The success of a request, with data.
    pub(super) fn success_with(&mut self, action: &str, d: impl Serialize) {
        self.succeed(action, Some(d));
    }

    fn succeed<D: Serialize>(&mut self, action: &str, d: Option<D>) {
        self.send(&Success { a: &answer_to(action), s: true, d });
    }

    /// The failure of a request. The first of a session is logged for the operator, the rest for whoever debugs.
    pub(super) fn fail(&mut self, action: &str, code: ErrorCode) {
        let action = if action.len() <= MAX_ACTION { action } else { "general" };
        if self.refusals == 0 {
            info!(action, code = code.number(), reason = ?code, "request refused");
        } else {
            debug!(action, code = code.number(), reason = ?code, "request refused");
        }
        self.refusals += 1;
        self.send(&Failure::new(&answer_to(action), code));
    }

    /// A command to which no answer is owed.
    pub(super) fn order(&mut self, command: Command) {
        self.push(Output::Command(RequestId::next(), command));
    }

    /// A command whose answer is owed, by a number of its own. `None` when too many wait already; the client was told.
    ///
    /// Numbers are unique in the process: a resumed place may be told answers to its former session's requests, which must not
    /// be taken for answers to this one's.
    pub(super) fn ask(&mut self, pending: Pending, command: Command) -> Option<RequestId> {
        if self.pending.len() >= MAX_PENDING {
            if let Some(action) = pending.action() {
                self.fail(action, ErrorCode::System);
            }
            return None;
        }
        let req = RequestId::next();
        self.pending.insert(req, pending);
        self.push(Output::Command(req, command));
        Some(req)
    }

    /// Takes a request off the list.
    pub(super) fn settle(&mut self, req: RequestId) -> Option<Pending> {
        self.pending.remove(&req)
    }

    /// Takes the oldest offer off the list that waits for an answer of this uplink; false when none waits.
    pub(super) fn settle_uplink(&mut self, peer: PeerId) -> bool {
        let oldest = self.pending.iter().filter(|(_, pending)| **pending == Pending::Uplink(peer)).map(|(req, _)| *req).min();
        oldest.and_then(|req| self.pending.remove(&req)).is_some()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }
}

fn answer_to(action: &str) -> String {
    format!("{action}R")
}
