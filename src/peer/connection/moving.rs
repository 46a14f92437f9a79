//! How a connection goes on when the machine's addresses change under it.
//!
//! The engine keeps the pair it chose for good. So it goes on with the address it knows, while datagrams leave from, and come to, the one that
//! [`Search`] found.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rtc::crypto;

use super::Connection;
use crate::forward::Refresh;
use crate::peer::check;
use crate::peer::engine::{self, Credentials};
use crate::peer::reach::Reach;
use crate::peer::search::{Outcome, Search};
use crate::peer::socket::Outbox;

/// An address of the engine's that is another one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    engine: IpAddr,
    wire: IpAddr,
}

impl Connection {
    /// The gateway is there from now on. With `doubt` the way in use is checked also where its address is still the machine's.
    pub(in crate::peer) fn relocate(&mut self, now: Instant, reach: &Reach, doubt: bool) {
        let known = std::mem::replace(&mut self.blueprint.identity.reach, reach.clone()).hosts;
        for host in reach.hosts.iter().filter(|host| !known.contains(host)) {
            // what an ICE restart, or a connection that is being made, can use
            let added = engine::host_candidate(*host).and_then(|candidate| self.engine.add_local_candidate(candidate));
            if let Err(error) = added {
                tracing::debug!(peer = %self.peer, %error, "local candidate not used");
            }
        }
        let Some((local, to)) = self.way.filter(|_| self.up && self.closing.is_none()) else { return };
        if doubt || !reach.hosts.contains(&local) {
            self.search = Some(Search::new(now, local, to, &reach.hosts, rand::random));
        }
    }

    /// The address that the engine knows this one of the wire by.
    pub(super) fn engine_local(&self, local: SocketAddr) -> SocketAddr {
        match self.moved {
            Some(Moved { engine, wire }) if wire == local.ip() => SocketAddr::new(engine, local.port()),
            _ => local,
        }
    }

    /// The other way round.
    pub(super) fn wire_local(&self, local: SocketAddr) -> SocketAddr {
        match self.moved {
            Some(Moved { engine, wire }) if engine == local.ip() => SocketAddr::new(wire, local.port()),
            _ => local,
        }
    }

    /// ICE restarts: the engine chooses among the addresses of now.
    pub(super) fn forget_moves(&mut self) {
        (self.moved, self.search) = (None, None);
    }

    /// Sends the checks that are due.
    pub(super) fn look_for_way(&mut self, now: Instant, out: &mut Outbox) {
        let Some(search) = &mut self.search else { return };
        let (outcome, checks) = search.timeout(now);
        if let (Some((_, to)), Some(theirs), Ok(provider)) = (self.way, self.their_credentials(), crypto::default_provider()) {
            let controlling = self.blueprint.offer.is_none();
            for (local, id) in checks {
                if let Some(check) = check::request(id, &self.ice, &theirs, controlling, provider.crypto()) {
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
        let theirs = self.their_credentials();
        let authentic = theirs
            .zip(crypto::default_provider().ok())
            .is_some_and(|(theirs, provider)| check::is_authentic(datagram, &theirs, provider.crypto()));
        if authentic && let Some(search) = &mut self.search {
            let outcome = search.answered(now, local);
            self.follow_search(now, outcome);
        }
        true
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
        let engine = self.engine_local(before).ip();
        self.moved = (engine != local.ip()).then_some(Moved { engine, wire: local.ip() });
        self.way = Some((local, to));
        // what left in between went nowhere
        for (_, layer) in self.layers().filter(|(_, layer)| layer.refresh() == Refresh::OnRequest) {
            layer.request_keyframe(now);
        }
    }

    /// What the far end's descriptions say it is addressed by.
    fn their_credentials(&self) -> Option<Credentials> {
        let text = self.blueprint.offer.as_ref().or(self.blueprint.answer.as_ref())?;
        Credentials::of(text).ok()
    }
}
