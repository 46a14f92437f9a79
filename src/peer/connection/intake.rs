//! How datagrams reach the engine: past the gate that chooses the SRTP profile, and past what the far end only repeats.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::Connection;
use crate::peer::demux::{self, Wire, classify};
use crate::peer::engine::Built;
use crate::peer::protect::Suite;
use crate::peer::repeats::Heard;
use crate::peer::srtp::{Gate, Profile};

/// Checks kept to be told again to a rebuilt engine; a far end has a few pairs under test.
const KEPT_CHECKS: usize = 16;

/// What a datagram asks for, once all that came with it are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peer) enum Then {
    /// [`Connection::pass_on`]: the engine has not seen it.
    PassOn,
    /// [`Connection::drain`].
    Drain,
}

impl Connection {
    /// Takes a datagram of this peer. Returns what is to be called for it.
    pub(in crate::peer) fn datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Then {
        self.heard = now;
        if classify(datagram) != Wire::Stun {
            self.note_way(now, from);
        } else if self.search.is_some() && self.take_answer_to_check(now, datagram) {
            return Then::Drain;
        }
        if demux::is_media(datagram) {
            self.take_media(now, datagram);
            return Then::PassOn;
        }
        let (local, from) = self.inward((local, from), datagram);
        self.take_other(now, local, from, datagram);
        Then::Drain
    }

    fn take_other(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) {
        if !self.up && classify(datagram) == Wire::Dtls {
            match self.repeats.hears(datagram) {
                Heard::New => {
                    let turn = self.said.take().map(|said| now.saturating_duration_since(said));
                    self.turn = self.turn.max(turn.unwrap_or_default());
                }
                Heard::Again(flight) => {
                    self.again.extend(flight);
                    return;
                }
            }
        }
        let prefer = match self.blueprint.profile {
            Profile::Only(suite) if !self.up && !self.gate.is_decided() => Some(suite),
            _ => None,
        };
        match (classify(datagram), prefer) {
            // the rebuilt engine takes a nomination only for a pair it has checked itself, and the far end nominated the old
            // one: after each answer to its checks it is told the nomination again
            (Wire::Stun, _) if !self.waiting.is_empty() => {
                self.feed(now, local, from, datagram);
                self.repeat_checks(now);
            }
            (Wire::Stun, Some(_)) if demux::local_ufrag(datagram).is_some() => {
                if self.checks.len() == KEPT_CHECKS {
                    self.checks.pop_front();
                }
                self.checks.push_back((local, from, datagram.to_vec()));
                self.feed(now, local, from, datagram);
            }
            (Wire::Dtls, _) if !self.waiting.is_empty() => {}
            (Wire::Dtls, Some(prefer)) => match self.gate.admit(prefer, datagram) {
                Gate::Pass => self.feed(now, local, from, datagram),
                Gate::Hold => {}
                Gate::Decided { suite, datagrams } if suite == prefer => {
                    datagrams.iter().for_each(|held| self.feed(now, local, from, held));
                }
                Gate::Decided { suite, datagrams } => self.fall_back(now, local, from, suite, datagrams),
            },
            (Wire::Dtls, None) if self.channels.as_mut().is_some_and(|channels| !channels.admits(datagram)) => {}
            (Wire::Dtls, None) => {
                self.feed(now, local, from, datagram);
                self.notice_goodbye();
            }
            _ => self.feed(now, local, from, datagram),
        }
    }

    pub(super) fn feed(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) {
        let transport =
            TransportContext { local_addr: local, peer_addr: from, ecn: None, transport_protocol: TransportProtocol::UDP };
        let message = BytesMut::from(datagram);
        if let Err(error) = self.engine.handle_read(TaggedBytesMut { now, transport, message }) {
            tracing::trace!(peer = %self.peer, %error, "datagram refused");
        }
        if !self.up {
            // the engine installs SRTP keys with its events: media that comes in the same batch needs them
            self.events.extend(std::iter::from_fn(|| self.engine.poll_event()));
        }
        self.collect();
        self.hear_reports(now);
    }

    /// The far end knows only the profile that is not preferred: a new engine for it, with the same credentials and certificate, is
    /// told the checks again; the ClientHello follows when it has a pair.
    fn fall_back(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, suite: Suite, datagrams: Vec<Vec<u8>>) {
        self.blueprint.profile = Profile::Only(suite);
        if let Err(error) = self.rebuild(now) {
            tracing::warn!(peer = %self.peer, %error, profile = suite.name(), "engine not rebuilt");
            return;
        }
        tracing::debug!(peer = %self.peer, profile = suite.name(), "far end knows only the other SRTP profile");
        self.waiting = datagrams.into_iter().map(|datagram| (local, from, datagram)).collect();
        self.repeat_checks(now);
    }

    pub(super) fn repeat_checks(&mut self, now: Instant) {
        let checks = std::mem::take(&mut self.checks);
        checks.iter().for_each(|(local, from, check)| self.feed(now, *local, *from, check));
        self.checks = checks;
    }

    pub(super) fn rebuild(&mut self, now: Instant) -> Result<(), Error> {
        let Built { engine, crypto, watch, ice, .. } = self.blueprint.build(now)?;
        if ice != self.ice {
            return Err(Error::Other("the new engine has other ICE credentials".into()));
        }
        (self.engine, self.crypto, self.unprotector) = (engine, crypto, None);
        self.watch = watch;
        self.follow_streams();
        self.timer = Some(now);
        Ok(())
    }
}
