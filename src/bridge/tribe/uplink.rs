//! PURE. The stream of the room that a tribe server is sent: one connection, for which Portico offers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bridge::config::BridgeKind;
use crate::bridge::far::{OWN, Output};
use crate::bridge::retry::{Backoff, Pace};
use crate::bridge::status::Reason;
use crate::bridge::whip::verdict::{self, Fault};
use crate::room::{Command, EndReason, Refusal, StreamChoice};
use crate::vocab::{PeerId, RequestId, Sdp, SdpKind, StreamName};

/// A connection that lasted so long was good: the waits begin anew after it.
const STABLE: Duration = Duration::from_secs(10);
/// A stream that is not there is looked for this often, besides when the room tells of one.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The room describes the connection within this time, and the far side answers within as much; a camera may need ten seconds to open.
const STEP_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum State {
    /// The far side is not there, or there is nothing to be sent.
    Off,
    /// To be begun then.
    Waiting { until: Instant },
    /// Portico's offer is being made.
    Asking { peer: PeerId, req: RequestId, until: Instant },
    /// The far side has the offer.
    Offered { peer: PeerId, offer: String, until: Instant },
    /// The answer is with the room.
    Answered { peer: PeerId, req: RequestId },
    /// Media can flow.
    Up { peer: PeerId, since: Instant },
}

#[derive(Debug)]
pub(super) struct Uplink {
    stream: Option<StreamName>,
    state: State,
    backoff: Backoff,
    reason: Option<Reason>,
}

impl Uplink {
    pub(super) fn new(stream: Option<StreamName>, seed: u64) -> Self {
        Self { stream, state: State::Off, backoff: Backoff::new(seed), reason: None }
    }

    /// The far side is there.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.stream.is_some() {
            self.state = State::Waiting { until: now };
        }
    }

    /// The far side is gone: so is the connection.
    pub(super) fn end(&mut self, outputs: &mut VecDeque<Output>) {
        self.let_go(outputs);
        self.state = State::Off;
        self.reason = None;
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } | State::Asking { until, .. } | State::Offered { until, .. } => Some(until),
            _ => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, outputs: &mut VecDeque<Output>) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match (&self.state, &self.stream) {
            (State::Waiting { .. }, Some(stream)) => {
                let peer = PeerId::next();
                let of = StreamChoice::Local(stream.clone());
                let req = order(outputs, Command::Play { peer, of, offer: None });
                self.state = State::Asking { peer, req, until: now + STEP_LIMIT };
            }
            (State::Asking { .. }, _) => {
                let fault = Fault::new("timeout", "the room did not make an offer in time", Pace::Usual);
                self.fail(now, fault, outputs);
            }
            (State::Offered { .. }, _) => {
                self.fail(now, Fault::new("timeout", "the far side does not answer the offer", Pace::Usual), outputs);
            }
            _ => {}
        }
    }

    /// Something new is in the room: it may be what is waited for. The far side is not asked sooner for that.
    pub(super) fn stream_up(&mut self, now: Instant) {
        if let State::Waiting { until } = &mut self.state
            && self.reason.as_ref().is_some_and(|reason| reason.code == "no_stream")
        {
            *until = now;
        }
    }

    pub(super) fn peer(&self) -> Option<PeerId> {
        match &self.state {
            State::Asking { peer, .. } | State::Offered { peer, .. } | State::Answered { peer, .. } | State::Up { peer, .. } => {
                Some(*peer)
            }
            State::Off | State::Waiting { .. } => None,
        }
    }

    /// Why nothing is sent, where something is to be.
    pub(super) fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// Portico's offer: what is to be sent to the far side.
    pub(super) fn described(&mut self, now: Instant, peer: PeerId, sdp: &Sdp) -> Option<String> {
        match self.state {
            State::Asking { peer: asked, .. } if asked == peer && sdp.kind == SdpKind::Offer => {
                self.state = State::Offered { peer, offer: sdp.text.clone(), until: now + STEP_LIMIT };
                Some(sdp.text.clone())
            }
            _ => None,
        }
    }

    /// The far side's answer.
    pub(super) fn answered(&mut self, now: Instant, text: String, outputs: &mut VecDeque<Output>) {
        let State::Offered { peer, offer, .. } = &self.state else { return };
        let peer = *peer;
        match verdict::check_answer(BridgeKind::Whip, offer, &text) {
            Ok(()) => {
                let req = order(outputs, Command::Describe { peer, sdp: Sdp::answer(text) });
                self.state = State::Answered { peer, req };
            }
            Err(fault) => self.fail(now, fault, outputs),
        }
    }

    /// The far side does not take the offer.
    pub(super) fn refused_there(&mut self, now: Instant, code: i64, outputs: &mut VecDeque<Output>) {
        if matches!(self.state, State::Offered { .. }) {
            let message = format!("the far side does not take the offer ({code})");
            self.fail(now, Fault::new("refused", message, Pace::Slow), outputs);
        }
    }

    /// The far side's candidate.
    pub(super) fn takes_candidates(&self) -> Option<PeerId> {
        self.peer().filter(|_| !matches!(self.state, State::Asking { .. }))
    }

    /// The room refuses something: true when it was this.
    pub(super) fn refused(&mut self, now: Instant, req: RequestId, why: &Refusal, outputs: &mut VecDeque<Output>) -> bool {
        match self.state {
            State::Asking { req: asked, .. } if asked == req => {
                if *why == Refusal::UnknownStream {
                    self.note(&verdict::of_refusal(why));
                    self.state = State::Waiting { until: now + LOOK_AGAIN };
                } else {
                    self.fail(now, verdict::of_refusal(why), outputs);
                }
                true
            }
            State::Answered { req: asked, .. } if asked == req => {
                self.fail(now, verdict::of_refusal(why), outputs);
                true
            }
            _ => false,
        }
    }

    pub(super) fn up(&mut self, now: Instant, up: PeerId) {
        if matches!(self.state, State::Answered { peer, .. } if peer == up) {
            self.state = State::Up { peer: up, since: now };
            self.reason = None;
        }
    }

    /// The connection is gone; the room has forgotten it.
    pub(super) fn down(&mut self, now: Instant, down: PeerId, reason: EndReason, outputs: &mut VecDeque<Output>) {
        if self.peer() != Some(down) {
            return;
        }
        if matches!(self.state, State::Up { since, .. } if now.saturating_duration_since(since) >= STABLE) {
            self.backoff.succeeded();
        }
        if reason == EndReason::StreamEnded {
            self.note(&verdict::of_end(reason));
            self.state = State::Waiting { until: now + LOOK_AGAIN };
        } else {
            self.fail(now, verdict::of_end(reason), outputs);
        }
    }

    fn fail(&mut self, now: Instant, fault: Fault, outputs: &mut VecDeque<Output>) {
        self.let_go(outputs);
        self.note(&fault);
        self.state = State::Waiting { until: now + self.backoff.next(fault.pace, fault.retry_after) };
    }

    fn note(&mut self, fault: &Fault) {
        self.reason = Some(Reason { code: fault.code, message: fault.message.clone() });
    }

    /// A room that has ended it already does not mind.
    fn let_go(&mut self, outputs: &mut VecDeque<Output>) {
        if let Some(peer) = self.peer() {
            order(outputs, Command::Stop { peer });
        }
    }
}

fn order(outputs: &mut VecDeque<Output>, command: Command) -> RequestId {
    let req = RequestId::next();
    outputs.push_back(Output::Ask(OWN, req, Box::new(command)));
    req
}
