//! The client's own stream into the room: one peer at a time, offered by the client.

use std::time::{Duration, Instant};

use super::code::ErrorCode;
use super::config::TribeConfig;
use super::desk::{Desk, Pending};
use super::wire::{About, SdpBody, SdpFrom, Who};
use crate::room::{Command, EndReason};
use crate::signalling::sdp;
use crate::vocab::{Candidate, MediaKind, PeerId, Sdp, SdpKind, StreamName};

/// Candidates kept that come before the offer; the same number the peer keeps before the remote description.
const MAX_EARLY: usize = 64;
/// How long the second kind of media may take after the first before the uplink counts as up all the same: a client may offer
/// a camera that it never turns on.
const SECOND_KIND_WAIT: Duration = Duration::from_secs(5);

/// The uplink, if there is one, and what came before it.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    session: Option<Session>,
    early: Vec<Candidate>,
}

#[derive(Debug)]
struct Session {
    peer: PeerId,
    /// Which connection at the far end it is (SDP origin); not known of a resumed one.
    origin: Option<(String, String)>,
    /// Whether an offer was answered, so that a refusal leaves it as it was.
    answered: bool,
    /// The kinds that were accepted; not known of a resumed one.
    expected: Option<Vec<MediaKind>>,
    flowing: Vec<MediaKind>,
    /// When it counts as up whatever is missing.
    up_at: Option<Instant>,
    announced: bool,
}

impl Session {
    fn new(peer: PeerId, origin: Option<(String, String)>) -> Self {
        Self { peer, origin, answered: false, expected: None, flowing: Vec::new(), up_at: None, announced: false }
    }

    fn announce(&mut self, desk: &mut Desk) {
        if !self.announced {
            self.announced = true;
            desk.event("eventWebrtcUp", About { from: Who::publisher() });
        }
        self.up_at = None;
    }
}

impl Uplink {
    /// The uplink of a place that was taken over.
    pub(super) fn restored(peer: PeerId) -> Self {
        Self { session: Some(Session { answered: true, ..Session::new(peer, None) }), early: Vec::new() }
    }

    /// Whether the peer is this uplink's.
    pub(super) fn is(&self, peer: PeerId) -> bool {
        self.session.as_ref().is_some_and(|session| session.peer == peer)
    }

    /// An offer of the client. On a living uplink it is a renegotiation, unless it comes from another connection at the far
    /// end: then the old one is gone and a new uplink takes its place.
    pub(super) fn offer(&mut self, desk: &mut Desk, config: &TribeConfig, text: String) {
        if !sdp::plausible(&text) {
            return desk.fail("exchangeSdp", ErrorCode::SdpDecode);
        }
        let origin = sdp::origin(&text).map(|(user, id)| (user.to_owned(), id.to_owned()));
        if let Some(session) = &mut self.session {
            let peer = session.peer;
            let another = session.origin.is_some() && origin.is_some() && session.origin != origin;
            if !another {
                if !config.renegotiation {
                    return desk.fail("exchangeSdp", ErrorCode::AlreadyNegotiated);
                }
                session.origin = session.origin.take().or(origin);
                desk.ask(Pending::Uplink(peer), Command::Describe { peer, sdp: Sdp::offer(text) });
                return;
            }
            while desk.settle_uplink(peer) {} // the client gave these offers up
            desk.order(Command::Stop { peer });
            self.session = None;
        }
        let peer = PeerId::next();
        let stream = StreamName::new("main").expect("a constant of four letters");
        if desk.ask(Pending::Uplink(peer), Command::Publish { peer, stream, offer: Some(Sdp::offer(text)) }).is_some() {
            self.session = Some(Session::new(peer, origin));
            for candidate in self.early.drain(..) {
                desk.order(Command::Candidate { peer, candidate });
            }
        }
    }

    /// A candidate of the client; kept while there is no offer yet.
    pub(super) fn candidate(&mut self, desk: &mut Desk, candidate: Candidate) {
        match &self.session {
            Some(session) => desk.order(Command::Candidate { peer: session.peer, candidate }),
            None if self.early.len() < MAX_EARLY => self.early.push(candidate),
            None => {}
        }
    }

    /// Portico's answer. The event goes before the request's own answer; a resumed session owes both, because neither reached
    /// the former connection.
    pub(super) fn answered(&mut self, desk: &mut Desk, text: &str) {
        let Some(session) = &mut self.session else { return };
        session.answered = true;
        session.expected = Some(sdp::received_kinds(text));
        desk.settle_uplink(session.peer);
        desk.event("eventExchangeSdp", SdpFrom { from: Who::publisher(), sdp: SdpBody { kind: SdpKind::Answer, sdp: text } });
        desk.success("exchangeSdp");
    }

    /// The offer with that peer was refused. A first one leaves no uplink; after a later one the uplink goes on as it was.
    pub(super) fn refused(&mut self, desk: &mut Desk, peer: PeerId, code: ErrorCode) {
        if self.session.as_ref().is_some_and(|session| session.peer == peer && !session.answered) {
            self.session = None;
        }
        desk.fail("exchangeSdp", code);
    }

    /// The first packet of a kind arrived.
    pub(super) fn flowing(&mut self, desk: &mut Desk, now: Instant, kind: MediaKind) {
        let Some(session) = &mut self.session else { return };
        if session.announced {
            return;
        }
        if !session.flowing.contains(&kind) {
            session.flowing.push(kind);
        }
        let complete = session.expected.iter().flatten().all(|expected| session.flowing.contains(expected));
        if complete {
            session.announce(desk);
        } else {
            session.up_at.get_or_insert(now + SECOND_KIND_WAIT);
        }
    }

    /// The peer is gone. The client learns it only from offers that were not answered; it sees its own connection fail.
    pub(super) fn down(&mut self, desk: &mut Desk, reason: EndReason) {
        let Some(session) = self.session.take() else { return };
        while desk.settle_uplink(session.peer) {
            desk.fail("exchangeSdp", reason.into());
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.session.as_ref()?.up_at
    }

    pub(super) fn handle_timeout(&mut self, desk: &mut Desk, now: Instant) {
        if let Some(session) = &mut self.session
            && session.up_at.is_some_and(|at| at <= now)
        {
            session.announce(desk);
        }
    }
}
