//! The others' streams to the client: at most one peer per member, offered by Portico.
//!
//! A client tells its downlinks apart by the member they come from, so it can take one stream of each: `main`, else the
//! member's first.

use std::time::{Duration, Instant};

use super::desk::{Desk, Pending};
use super::wire::{SdpBody, SdpFrom, Who};
use crate::room::{Command, EndReason, MemberView, Refusal, StreamChoice, StreamView};
use crate::vocab::{Candidate, PeerId, RequestId, Sdp, SdpKind, StreamName};

/// First pause before a stream that could not be played is asked for again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So often in a row is a connection offered again that was up and got lost.
const MAX_REOFFERS: u32 = 5;

/// The client's view of one other member's stream.
#[derive(Debug)]
pub(super) struct Downlink {
    stream: StreamName,
    state: State,
    pause: Duration,
    reoffers: u32,
}

#[derive(Debug)]
enum State {
    /// Asked for; no offer yet. `None`: by a former session of this place.
    Opening { peer: PeerId, req: Option<RequestId> },
    /// The offer is with the client, or is said to be (resumed).
    Offered { peer: PeerId },
    /// The client answered.
    Answered { peer: PeerId, flowing: bool },
    /// To be asked for again.
    Pausing { until: Instant },
    /// Nothing more to be had until the stream comes anew.
    Dead,
}

/// What a member's answer met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It completes this downlink.
    Taken,
    /// This downlink has its answer already.
    Second,
    /// There is no downlink to be answered.
    None,
}

/// The stream of a member that the client gets.
pub(super) fn choose(view: &MemberView) -> Option<&StreamView> {
    view.streams.iter().find(|stream| stream.name.as_str() == "main").or(view.streams.first())
}

impl Downlink {
    /// Asks for the member's stream.
    pub(super) fn open(desk: &mut Desk, view: &MemberView, stream: StreamName) -> Self {
        let mut link = Self { stream, state: State::Dead, pause: FIRST_PAUSE, reoffers: 0 };
        link.ask(desk, view);
        link
    }

    /// The downlink of a place that was taken over.
    pub(super) fn restored(stream: StreamName, peer: PeerId) -> Self {
        Self { stream, state: State::Offered { peer }, pause: FIRST_PAUSE, reoffers: 0 }
    }

    fn ask(&mut self, desk: &mut Desk, view: &MemberView) {
        let peer = PeerId::next();
        let of = StreamChoice::Of(view.member, Some(self.stream.clone()));
        self.state = match desk.ask(Pending::Downlink(view.member), Command::Play { peer, of, offer: None }) {
            Some(req) => State::Opening { peer, req: Some(req) },
            None => State::Dead,
        };
    }

    /// Ends it. When its stream ended the room closed the peer before; only what a resumed place is told late leaves one.
    pub(super) fn end(self, desk: &mut Desk) {
        if let State::Opening { req: Some(req), .. } = self.state {
            desk.settle(req);
        }
        if let Some(peer) = self.peer() {
            desk.order(Command::Stop { peer });
        }
    }

    /// Which stream it carries.
    pub(super) fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The living peer.
    pub(super) fn peer(&self) -> Option<PeerId> {
        match self.state {
            State::Opening { peer, .. } | State::Offered { peer } | State::Answered { peer, .. } => Some(peer),
            State::Pausing { .. } | State::Dead => None,
        }
    }

    /// Whether it waits for that answer of the room.
    pub(super) fn waits_for(&self, asked: RequestId) -> bool {
        matches!(self.state, State::Opening { req: Some(req), .. } if req == asked)
    }

    /// Whether nothing can come of it any more.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead)
    }

    /// Portico's offer.
    pub(super) fn described(&mut self, desk: &mut Desk, view: &MemberView, sdp: &Sdp) {
        let Some(peer) = self.peer() else { return };
        if let State::Opening { req: Some(req), .. } = self.state {
            desk.settle(req);
        }
        if sdp.kind == SdpKind::Offer {
            self.state = State::Offered { peer };
        }
        let sdp = SdpBody { kind: sdp.kind, sdp: &sdp.text };
        desk.event("eventExchangeSdp", SdpFrom { from: Who::member(view), sdp });
    }

    /// Whether an answer of the client would be for this downlink.
    pub(super) fn answer(&self) -> Answer {
        match self.state {
            State::Offered { .. } => Answer::Taken,
            State::Answered { .. } => Answer::Second,
            State::Opening { .. } | State::Pausing { .. } | State::Dead => Answer::None,
        }
    }

    /// The client's answer.
    pub(super) fn answered(&mut self, desk: &mut Desk, text: String) {
        if let Some(peer) = self.peer() {
            self.state = State::Answered { peer, flowing: false };
            desk.order(Command::Describe { peer, sdp: Sdp::answer(text) });
        }
    }

    /// A candidate of the client; false when there is no peer for it.
    pub(super) fn candidate(&self, desk: &mut Desk, candidate: &Candidate) -> bool {
        let Some(peer) = self.peer() else { return false };
        desk.order(Command::Candidate { peer, candidate: candidate.clone() });
        true
    }

    /// The first packet of a kind left; true when it is the first of all.
    pub(super) fn flowing(&mut self) -> bool {
        let Some(peer) = self.peer() else { return false };
        let first = !matches!(self.state, State::Answered { flowing: true, .. });
        self.state = State::Answered { peer, flowing: true };
        (self.pause, self.reoffers) = (FIRST_PAUSE, 0);
        first
    }

    /// The room would not play it.
    pub(super) fn refused(&mut self, now: Instant, why: &Refusal) {
        self.state = match why {
            Refusal::SourceFailed | Refusal::Overloaded | Refusal::Internal => self.pause(now),
            _ => State::Dead,
        };
    }

    /// The peer is gone. What failed on this side is tried again; so is a connection that was up and got lost, a few times. A
    /// client that never answered is left alone.
    pub(super) fn down(&mut self, now: Instant, reason: EndReason) {
        let was_up = matches!(self.state, State::Answered { .. });
        self.state = match reason {
            EndReason::SourceFailed | EndReason::Overloaded | EndReason::Internal => self.pause(now),
            EndReason::Lost if was_up && self.reoffers < MAX_REOFFERS => {
                self.reoffers += 1;
                self.pause(now)
            }
            _ => State::Dead,
        };
    }

    fn pause(&mut self, now: Instant) -> State {
        let until = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        State::Pausing { until }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pausing { until } => Some(until),
            _ => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, desk: &mut Desk, now: Instant, view: &MemberView) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.ask(desk, view);
        }
    }
}
