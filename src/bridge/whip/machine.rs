//! PURE. The life of a bridge to a WHIP or WHEP endpoint: join the room, have an offer made, post it, take the answer, and again.
//!
//! ```text
//!              ┌───────────── wait (backoff; a push also for its stream) ◄────────────┐
//!              ▼                                                                      │ any trouble, with its reason
//! Apart ─► Joining ─► Resting ─► Asking ─► Posting ─► Answered ─► Connected ──────────┘
//!                        └► Knocking ┘ a push to an endpoint that was not to be reached: no camera is opened for nothing
//! ```
//!
//! After every `handle*` and [`Machine::stop`] poll the outputs until there is none, then look at the standing and the next timeout.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::config::{BridgeConfig, BridgeKind};
use super::super::retry::{Backoff, Pace};
use super::super::status::{Reason, Standing, StateWord};
use super::verdict::{self, Fault, Resource};
use crate::room::{Command, DialectName, EndReason, Facts, Joining, Notice, Refusal, StreamChoice, Topology};
use crate::vocab::{Grant, PeerId, RequestId, Right, Rights, RoomId, RoomPattern, Sdp, StreamName};

/// A connection that lasted so long was good: the waits begin anew after it.
const STABLE: Duration = Duration::from_secs(10);
/// A stream that is not there is looked for this often, besides when the room tells of one. Costs the far side nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The room describes a connection within this time; a camera may need ten seconds to open (`[sources] open_limit`).
const OFFER_LIMIT: Duration = Duration::from_secs(20);
/// Where a pull does not say what its stream is called.
const DEFAULT_STREAM: &str = "main";

/// What is to be joined to what.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    kind: BridgeKind,
    name: String,
    room: RoomId,
    stream: Option<StreamName>,
}

impl Plan {
    pub(super) fn of(config: &BridgeConfig) -> Self {
        let (room, stream) = (config.room.clone(), config.stream.clone());
        Self { kind: config.kind, name: config.name.to_string(), room, stream }
    }

    fn joining(&self) -> Joining {
        let right = match self.kind {
            BridgeKind::Whep => Right::Publish,
            _ => Right::Subscribe,
        };
        let grant =
            Grant { subject: self.name.clone(), rooms: RoomPattern::any(), rights: Rights::NONE.with(right), expires: None };
        Joining {
            room: self.room.clone(),
            user_id: self.name.clone(),
            dialect: DialectName::Bridge,
            remote: None,
            grant,
            // also a push: who is in a room may know that it is sent elsewhere
            visible: true,
            facts: Facts { name: Some(self.name.clone()), ..Facts::default() },
            opens: Topology::Sfu,
            dialect_limit: None,
            replaces_lost: false,
        }
    }

    /// What makes Portico offer.
    fn ask(&self, peer: PeerId) -> Command {
        match self.kind {
            BridgeKind::Whep => {
                let default = || StreamName::new(DEFAULT_STREAM).expect("a short constant is a name");
                Command::Publish { peer, stream: self.stream.clone().unwrap_or_else(default), offer: None }
            }
            _ => {
                let of = self.stream.clone().map_or(StreamChoice::Default, StreamChoice::Named);
                Command::Play { peer, of, offer: None }
            }
        }
    }
}

/// The endpoint's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) sdp: String,
    /// Where the session is to be ended; `None` where the endpoint does not say.
    pub(super) resource: Option<Resource>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output {
    /// Open a session, tell [`Machine::entering`] the number of the request, and join.
    Enter(Box<Joining>),
    /// Ask the room.
    Ask(RequestId, Box<Command>),
    /// Find out whether the endpoint answers at all; leads to [`Machine::handle_knocked`].
    Knock,
    /// Send the offer to the endpoint; leads to [`Machine::handle_posted`].
    Post(String),
    /// End a session at the endpoint. Nothing follows.
    Delete(Resource),
}

#[derive(Debug)]
enum State {
    /// Not in the room until then.
    Apart { until: Instant },
    /// The room was asked; `None` while the request has no number yet.
    Joining { req: Option<RequestId> },
    /// In the room, until then.
    Resting { until: Instant },
    /// The endpoint was not to be reached, and is tried with a request that needs no offer.
    Knocking,
    /// Portico's offer is being made.
    Asking { peer: PeerId, req: RequestId, until: Instant },
    /// The endpoint has the offer.
    Posting { peer: PeerId },
    /// The answer is taken, the connection being made.
    Answered { peer: PeerId, resource: Option<Resource>, req: RequestId },
    /// Media can flow.
    Connected { peer: PeerId, resource: Option<Resource>, since: Instant },
    /// Nothing more happens.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    plan: Plan,
    state: State,
    backoff: Backoff,
    /// The far side is left alone until then.
    not_before: Instant,
    /// A POST is under way whose connection is gone: what it opens is ended at once.
    unwanted: bool,
    /// The endpoint was not to be reached.
    absent: bool,
    /// It is being tried.
    knocking: bool,
    reason: Option<Reason>,
    attempts: u64,
    connections: u64,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// Begins at once. The seed decides the jitter.
    pub(super) fn new(now: Instant, plan: Plan, seed: u64) -> Self {
        let mut machine = Self {
            plan,
            state: State::Apart { until: now },
            backoff: Backoff::new(seed),
            not_before: now,
            unwanted: false,
            absent: false,
            knocking: false,
            reason: None,
            attempts: 0,
            connections: 0,
            outputs: VecDeque::new(),
        };
        machine.handle_timeout(now);
        machine
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Apart { until } | State::Resting { until } | State::Asking { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether it has stopped; calls may still be under way.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over) && !self.unwanted
    }

    pub(super) fn standing(&self) -> Standing {
        let (state, next, peer) = match &self.state {
            State::Apart { until } | State::Resting { until } => (StateWord::Waiting, Some(*until), None),
            State::Joining { .. } | State::Knocking => (StateWord::Connecting, None, None),
            State::Asking { peer, .. } | State::Posting { peer } | State::Answered { peer, .. } => {
                (StateWord::Connecting, None, Some(*peer))
            }
            State::Connected { peer, .. } => (StateWord::Connected, None, Some(*peer)),
            State::Over => (StateWord::Off, None, None),
        };
        let (attempts, connections) = (self.attempts, self.connections);
        Standing { state, reason: self.reason.clone(), next, attempts, connections, peer }
    }

    /// The join has this number.
    pub(super) fn entering(&mut self, number: RequestId) {
        if let State::Joining { req } = &mut self.state {
            *req = Some(number);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match self.state {
            State::Apart { .. } => {
                self.state = State::Joining { req: None };
                self.outputs.push_back(Output::Enter(Box::new(self.plan.joining())));
            }
            State::Resting { .. } => self.ask(now),
            State::Asking { .. } => self.fail(now, Fault::new("timeout", "the room did not make an offer in time", Pace::Usual)),
            _ => {}
        }
    }

    pub(super) fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        match notice {
            Notice::Welcome(welcome) if self.waits_for(welcome.req) => self.rest(now, self.not_before),
            Notice::Refused { req, why } if self.waits_for(*req) => self.refused(now, why),
            Notice::Description { peer, sdp } => self.described(*peer, sdp),
            Notice::PeerUp { peer } => self.up(now, *peer),
            Notice::PeerDown { peer, reason } if self.peer() == Some(*peer) => self.down(now, *reason),
            // it may be the one that is waited for
            Notice::StreamUp { .. } => {
                if let State::Resting { until } = &mut self.state
                    && self.plan.kind == BridgeKind::Whip
                {
                    *until = self.not_before.max(now).min(*until);
                    self.handle_timeout(now);
                }
            }
            Notice::Ended { reason } => self.gone(now, verdict::of_end(*reason)),
            _ => {}
        }
    }

    /// The session is over: the hub is gone, or has ended it because it did not read.
    pub(super) fn handle_gone(&mut self, now: Instant) {
        self.gone(now, Fault::new("internal", "the room ended the session", Pace::Usual));
    }

    /// Whether the endpoint answers.
    pub(super) fn handle_knocked(&mut self, now: Instant, outcome: Result<(), Fault>) {
        self.knocking = false;
        if !matches!(self.state, State::Knocking) {
            return;
        }
        match outcome {
            Ok(()) => {
                self.absent = false;
                self.ask(now);
            }
            Err(fault) => self.fail(now, fault),
        }
    }

    /// What the POST came to.
    pub(super) fn handle_posted(&mut self, now: Instant, outcome: Result<Answer, Fault>) {
        if std::mem::take(&mut self.unwanted) {
            if let Ok(Answer { resource, .. }) = outcome {
                self.delete(resource);
            }
            return;
        }
        let State::Posting { peer } = self.state else { return };
        match outcome {
            Ok(Answer { sdp, resource }) => {
                let req = self.order(Command::Describe { peer, sdp: Sdp::answer(sdp) });
                self.state = State::Answered { peer, resource, req };
            }
            Err(fault) => {
                self.order(Command::Stop { peer });
                // it is over: there is nothing that could come of it any more
                self.state = State::Resting { until: now };
                self.fail(now, fault);
            }
        }
    }

    /// Says goodbye to the far side and the room.
    pub(super) fn stop(&mut self) {
        let inside = !matches!(self.state, State::Apart { .. } | State::Over);
        self.let_go();
        if inside {
            self.order(Command::Leave);
        }
        self.state = State::Over;
    }

    // ---- steps ----

    fn waits_for(&self, asked: RequestId) -> bool {
        match self.state {
            State::Joining { req } => req == Some(asked),
            State::Asking { req, .. } | State::Answered { req, .. } => req == asked,
            _ => false,
        }
    }

    fn peer(&self) -> Option<PeerId> {
        match &self.state {
            State::Asking { peer, .. }
            | State::Posting { peer }
            | State::Answered { peer, .. }
            | State::Connected { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    fn rest(&mut self, now: Instant, until: Instant) {
        self.state = State::Resting { until };
        self.handle_timeout(now);
    }

    fn ask(&mut self, now: Instant) {
        if self.unwanted {
            // one POST at a time: the one before has a time limit
            self.state = State::Resting { until: now + Duration::from_secs(1) };
            return;
        }
        if self.absent && self.plan.kind == BridgeKind::Whip {
            self.state = State::Knocking;
            if !std::mem::replace(&mut self.knocking, true) {
                self.attempts += 1;
                self.outputs.push_back(Output::Knock);
            }
            return;
        }
        let peer = PeerId::next();
        let req = self.order(self.plan.ask(peer));
        self.state = State::Asking { peer, req, until: now + OFFER_LIMIT };
    }

    fn described(&mut self, peer: PeerId, sdp: &Sdp) {
        if !matches!(self.state, State::Asking { peer: asked, .. } if asked == peer) {
            return;
        }
        self.attempts += 1;
        self.state = State::Posting { peer };
        self.outputs.push_back(Output::Post(sdp.text.clone()));
    }

    fn up(&mut self, now: Instant, up: PeerId) {
        if let State::Answered { peer, resource, .. } = &mut self.state
            && *peer == up
        {
            let resource = resource.take();
            self.state = State::Connected { peer: up, resource, since: now };
            self.connections += 1;
            self.reason = None;
        }
    }

    fn refused(&mut self, now: Instant, why: &Refusal) {
        match (&self.state, why) {
            (State::Joining { .. }, why) => {
                let wait = self.note(verdict::of_refusal(why));
                self.state = State::Apart { until: now + wait };
            }
            (State::Asking { .. }, Refusal::UnknownStream) => {
                let reason = verdict::of_refusal(why);
                self.reason = Some(Reason { code: reason.code, message: reason.message });
                self.state = State::Resting { until: now + LOOK_AGAIN };
            }
            (_, why) => self.fail(now, verdict::of_refusal(why)),
        }
    }

    /// The connection is gone; the room has forgotten it.
    fn down(&mut self, now: Instant, reason: EndReason) {
        if let State::Connected { since, .. } = &self.state
            && now.saturating_duration_since(*since) >= STABLE
        {
            self.backoff.succeeded();
        }
        self.fail(now, verdict::of_end(reason));
    }

    /// Trouble: the session at the endpoint is ended, and another is begun after a while.
    fn fail(&mut self, now: Instant, fault: Fault) {
        self.let_go();
        self.absent = fault.is_absence();
        let wait = self.note(fault);
        self.not_before = now + wait;
        self.state = State::Resting { until: self.not_before };
    }

    /// The place in the room is gone.
    fn gone(&mut self, now: Instant, fault: Fault) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.let_go();
        let wait = self.note(fault);
        self.not_before = now + wait;
        self.state = State::Apart { until: self.not_before };
    }

    fn note(&mut self, fault: Fault) -> Duration {
        let wait = self.backoff.next(fault.pace, fault.retry_after);
        self.reason = Some(Reason { code: fault.code, message: fault.message });
        wait
    }

    /// Ends what there is of a connection, on both sides. A room that has ended it already does not mind.
    fn let_go(&mut self) {
        if let Some(peer) = self.peer() {
            self.order(Command::Stop { peer });
        }
        match &mut self.state {
            State::Posting { .. } => self.unwanted = true,
            State::Answered { resource, .. } | State::Connected { resource, .. } => {
                let resource = resource.take();
                self.delete(resource);
            }
            _ => {}
        }
    }

    fn delete(&mut self, resource: Option<Resource>) {
        self.outputs.extend(resource.map(Output::Delete));
    }

    fn order(&mut self, command: Command) -> RequestId {
        let req = RequestId::next();
        self.outputs.push_back(Output::Ask(req, Box::new(command)));
        req
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
