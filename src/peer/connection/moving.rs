//! How a connection goes on by another pair of addresses than the engine chose.
//!
//! The engine keeps its first pair for good. But the machine's addresses change, and a far end that chooses may choose anew (RFC 8445 §8.1.1), as
//! browsers do when UDP is found to work after TCP. So the engine goes on with the pair it knows, while datagrams leave and come by the one in
//! use. Checks of far ends are the engine's as they are, with its answers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rtc::crypto;

use super::Connection;
use crate::forward::Refresh;
use crate::peer::check::{self, Kind};
use crate::peer::demux::{Wire, classify};
use crate::peer::engine::{self, Credentials};
use crate::peer::reach::Reach;
use crate::peer::search::{Outcome, Search};
use crate::peer::socket::Outbox;

/// Own and remote address.
pub(super) type Pair = (SocketAddr, SocketAddr);

/// Checks of the engine's whose answers may still come.
const KEPT_CHECKS: usize = 8;

/// The engine's pair, and the one in its place.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    engine: Pair,
    wire: Pair,
    /// Checks that the engine sent by its pair.
    sent: VecDeque<[u8; 12]>,
}

impl Moved {
    fn new(engine: Pair, wire: Pair) -> Self {
        Self { engine, wire, sent: VecDeque::new() }
    }

    /// Where a datagram goes that the engine sends by `pair`.
    fn outward(&mut self, pair: Pair, datagram: &[u8]) -> Pair {
        if pair != self.engine {
            return pair;
        }
        match check::kind(datagram).filter(|_| classify(datagram) == Wire::Stun) {
            Some((Kind::Success | Kind::Error, _)) => return pair,
            Some((Kind::Request, id)) => {
                self.sent.truncate(KEPT_CHECKS - 1);
                self.sent.push_front(id);
            }
            _ => {}
        }
        self.wire
    }

    /// What the engine is told of a datagram that came by `pair`.
    fn inward(&self, pair: Pair, datagram: &[u8]) -> Pair {
        let its = match check::kind(datagram).filter(|_| classify(datagram) == Wire::Stun) {
            Some((Kind::Success | Kind::Error, id)) => self.sent.contains(&id),
            Some(_) => false,
            None => true,
        };
        if pair == self.wire && its { self.engine } else { pair }
    }
}

/// A pair that the far end nominates, until the engine has found the check good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nomination {
    id: [u8; 12],
    pair: Pair,
}

impl Connection {
    /// The gateway is there from now on. With `doubt` the way in use is checked also where its address is still the machine's.
    pub(in crate::peer) fn relocate(&mut self, now: Instant, reach: &Reach, doubt: bool) {
        let known = std::mem::replace(&mut self.blueprint.identity.reach, reach.clone());
        let hosts = reach.hosts.iter().filter(|host| !known.hosts.contains(host)).map(|host| engine::host_candidate(*host));
        let relays =
            reach.relays.iter().filter(|relay| !known.relays.contains(relay)).map(|relay| engine::relay_candidate(*relay));
        for candidate in hosts.chain(relays) {
            // what an ICE restart, or a connection that is being made, can use
            if let Err(error) = candidate.and_then(|candidate| self.engine.add_local_candidate(candidate)) {
                tracing::debug!(peer = %self.peer, %error, "local candidate not used");
            }
        }
        let Some((local, to)) = self.way.filter(|_| self.up && self.closing.is_none()) else { return };
        // one that never was offered, as behind a container's addresses, is as good as it was
        let gone = known.ways().any(|way| *way == local) && !reach.ways().any(|way| *way == local);
        // a relay comes a little after it was lost
        let more = self.search.is_some() && reach.ways().any(|way| !known.ways().any(|known| known == way));
        if doubt || gone || more {
            let ways: Vec<SocketAddr> = reach.ways().copied().collect();
            self.search = Some(Search::new(now, local, to, &ways, rand::random));
        }
    }

    /// Where a datagram of the engine's goes. One that answers a nomination shows that this is from who knows the password.
    pub(super) fn outward(&mut self, pair: Pair, datagram: &[u8]) -> Pair {
        if let Some(Nomination { id, pair: nominated }) = self.nomination.filter(|it| it.pair == pair)
            && check::kind(datagram) == Some((Kind::Success, id))
        {
            self.nomination = None;
            tracing::debug!(peer = %self.peer, local = %nominated.0, remote = %nominated.1, "far end chose another pair");
            self.go_by(nominated);
        }
        self.moved.as_mut().map_or(pair, |moved| moved.outward(pair, datagram))
    }

    /// What the engine is told of a datagram that came by a pair.
    pub(super) fn inward(&mut self, pair: Pair, datagram: &[u8]) -> Pair {
        let chosen = self.up && self.way.is_some_and(|way| way != pair) && !self.controls();
        if chosen && let Some(id) = check::nomination(datagram) {
            self.nomination = Some(Nomination { id, pair });
        }
        self.moved.as_ref().map_or(pair, |moved| moved.inward(pair, datagram))
    }

    /// The own address of the way in use, once it is connected.
    pub(in crate::peer) fn goes_from(&self) -> Option<SocketAddr> {
        self.way.filter(|_| self.up).map(|(local, _)| local)
    }

    /// ICE restarts: the engine chooses among the addresses of now.
    pub(super) fn forget_moves(&mut self) {
        (self.moved, self.nomination, self.search) = (None, None, None);
    }

    /// Sends the checks that are due.
    pub(super) fn look_for_way(&mut self, now: Instant, out: &mut Outbox) {
        let Some(search) = &mut self.search else { return };
        let (outcome, checks) = search.timeout(now);
        if let (Some((_, to)), Some(theirs), Ok(provider)) = (self.way, self.their_credentials(), crypto::default_provider()) {
            let controls = self.controls();
            for (local, id) in checks {
                if let Some(check) = check::request(id, &self.ice, &theirs, controls, provider.crypto()) {
                    out.push(self.peer, local, to, &check);
                }
            }
        }
        self.follow_search(now, outcome);
    }

    /// Takes the answer to such a check; false when it is none.
    pub(super) fn take_answer_to_check(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let found = self.search.as_ref().zip(check::answered(datagram)).and_then(|(search, id)| search.local(id));
        let Some(local) = found else { return false };
        if self.is_answered_by(datagram)
            && let Some(search) = &mut self.search
        {
            let outcome = search.answered(now, local);
            self.follow_search(now, outcome);
        }
        true
    }

    /// Whether a datagram is the far end's answer to a check: it shows that the far end is where it came from.
    pub(in crate::peer) fn is_answered_by(&self, datagram: &[u8]) -> bool {
        check::answered(datagram).is_some()
            && self
                .their_credentials()
                .zip(crypto::default_provider().ok())
                .is_some_and(|(theirs, provider)| check::is_authentic(datagram, &theirs, provider.crypto()))
    }

    fn follow_search(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Searching => return,
            Outcome::Stay => {}
            Outcome::Nothing => tracing::debug!(peer = %self.peer, "no other way to the far end"),
            Outcome::Move(local) => self.move_to(now, local),
        }
        self.search = None;
    }

    fn move_to(&mut self, now: Instant, local: SocketAddr) {
        let Some((before, to)) = self.way else { return };
        tracing::info!(peer = %self.peer, from = %before.ip(), to = %local.ip(), "connection goes on by another address");
        self.go_by((local, to));
        // what left in between went nowhere
        for (_, layer) in self.layers().filter(|(_, layer)| layer.refresh() == Refresh::OnRequest) {
            layer.request_keyframe(now);
        }
    }

    fn go_by(&mut self, pair: Pair) {
        let Some(engine) = self.moved.as_ref().map(|moved| moved.engine).or(self.way) else { return };
        self.moved = (engine != pair).then(|| Moved::new(engine, pair));
        self.way = Some(pair);
    }

    /// Whether Portico chooses the pair.
    fn controls(&self) -> bool {
        let theirs = self.blueprint.offer.as_ref().or(self.blueprint.answer.as_ref());
        // an answer is there only where Portico began, also when the far end offers later
        let began = self.blueprint.offer.is_none() || self.blueprint.answer.is_some();
        controls(began, self.blueprint.identity.reach.lite, theirs.is_some_and(|text| text.contains("\r\na=ice-lite\r\n")))
    }

    /// What the far end's descriptions say it is addressed by.
    fn their_credentials(&self) -> Option<Credentials> {
        let text = self.blueprint.offer.as_ref().or(self.blueprint.answer.as_ref())?;
        Credentials::of(text).ok()
    }
}

/// Who offered first chooses, unless that side alone is lite (RFC 8445 §6.1.1).
fn controls(began: bool, lite: bool, theirs_lite: bool) -> bool {
    if lite == theirs_lite { began } else { theirs_lite }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_began_chooses_unless_lite() {
        assert!(controls(true, false, false) && !controls(false, false, false));
        assert!(controls(false, false, true) && !controls(true, true, false));
        assert!(controls(true, true, true) && !controls(false, true, true));
    }

    fn pair(local: &str, remote: &str) -> Pair {
        (local.parse().unwrap(), remote.parse().unwrap())
    }

    /// A STUN message of a type with a transaction.
    fn stun(kind: [u8; 2], id: u8) -> Vec<u8> {
        [&kind[..], &[0, 0, 0x21, 0x12, 0xa4, 0x42], &[id; 12]].concat()
    }

    #[test]
    fn media_and_the_engines_own_checks_change_pairs_and_checks_of_the_far_end_do_not() {
        let (engine, wire) = (pair("10.0.0.1:1", "10.0.0.9:5"), pair("10.0.0.2:1", "10.0.0.9:6"));
        let mut moved = Moved::new(engine, wire);
        let (dtls, request, success) = ([22, 0, 0], [0, 1], [1, 1]);
        assert_eq!((moved.outward(engine, &dtls), moved.inward(wire, &dtls)), (wire, engine));
        assert_eq!(moved.outward(engine, &stun(request, 1)), wire);
        assert_eq!(moved.inward(wire, &stun(success, 1)), engine, "the answer to it");
        assert_eq!(moved.inward(wire, &stun(success, 2)), wire, "an answer to another one");
        assert_eq!(moved.inward(wire, &stun(request, 3)), wire);
        assert_eq!(moved.outward(engine, &stun(success, 4)), engine, "an answer goes where it was asked from");
        let other = pair("10.0.0.2:1", "10.0.0.9:7");
        assert_eq!((moved.outward(other, &dtls), moved.inward(other, &dtls)), (other, other));
        for id in 0..100 {
            moved.outward(engine, &stun(request, id));
        }
        assert!(moved.sent.len() <= KEPT_CHECKS);
    }
}
