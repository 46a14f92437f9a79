//! The two dialects that share one Socket.IO endpoint, until a connection shows whose it is: its first event decides.
//!
//! Pure. Vamp's clients begin with `join vamp` or `join room`, webrtc-star's with `ss-join` or `ss-handshake`. Before that, other
//! events are passed over; after it, the connection is that dialect's for good, which knows nothing of the other's events.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use tracing::info;

use super::event::Event;
use super::prefixed::Prefixed;
use super::{
    Carrier, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, RealmWord, WallClock, WireError, farewell, star, vamp,
};
use crate::room::{DialectName, Notice};
use crate::vocab::{BearerCheck, Grant, RoomId, RoomPrefix};

/// How both are carried. Pings and silence are Engine.IO's own (the carrier's), so those here are not used.
pub(super) const CARRIER: Carrier = Carrier {
    path: "/socket.io/",
    max_message: 1_000_000,
    ping_every: Duration::from_secs(25),
    silence_limit: Duration::from_secs(45),
    write_limit: Duration::from_secs(10),
    // the protocols know no such limit; a client that only pings is not kept for ever all the same
    join_limit: Duration::from_secs(3600),
};

/// The other path, which libp2p's clients use.
pub const NEXT_PATH: &str = "/socket.io-next/";

/// The row of a connection that has not shown whose it is.
pub const ENTRY: Entry = Entry {
    name: DialectName::SocketIo,
    manners: Manners { offers: Offers::Newcomer, trickle: false, renegotiate: false, peer_per: PeerPer::Member },
    carrier: CARRIER,
};

/// What a session is given.
pub struct Deps {
    /// Checks a token that comes with the connect packet.
    pub access: Arc<dyn BearerCheck>,
    /// What the connection may do without one.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// The client's `socket.id`.
    pub socket_id: String,
    /// `[vamp]`.
    pub vamp: vamp::VampConfig,
    /// See [`vamp::Deps::stores_clips`].
    pub stores_clips: bool,
    /// Put before the names of vamps.
    pub vamp_prefix: RoomPrefix,
    /// `[star]`.
    pub star: star::StarConfig,
    /// The room of the endpoint's peers.
    pub star_room: RoomId,
    /// Put before it.
    pub star_prefix: RoomPrefix,
    /// The calendar's reading when the session is made.
    pub wall: SystemTime,
}

/// One connection.
pub struct Front {
    clock: WallClock,
    state: State,
    /// Said when the connection ends before it is anybody's.
    ended: Option<Output>,
}

/// Whose the connection is.
enum State {
    Nobodys(Box<Deps>),
    Somebodys(Box<dyn Dialect>),
}

/// What a client of version 4 may give when it connects.
#[derive(Deserialize)]
struct Auth {
    token: Option<String>,
}

impl Front {
    /// A connection at its start.
    pub fn new(now: Instant, deps: Deps) -> Self {
        Self { clock: WallClock::new(now, deps.wall), state: State::Nobodys(Box::new(deps)), ended: None }
    }

    /// The object that came with the connect packet.
    fn authorise(&mut self, now: Instant, text: &str) {
        let State::Nobodys(deps) = &mut self.state else { return };
        let token = serde_json::from_str::<Auth>(text).ok().and_then(|auth| auth.token).filter(|token| !token.is_empty());
        let Some(token) = token else { return };
        match deps.access.check(self.clock.at(now), &token) {
            Ok(identity) => deps.grant = identity.grant,
            Err(error) => {
                info!(reason = %error.reason, "token refused");
                self.ended = Some(Output::Close { code: 1008, reason: "the token is wrong or has expired" });
            }
        }
    }

    /// Gives the connection to the dialect that knows the event, if one does.
    fn decide(&mut self, now: Instant, text: &str) {
        let State::Nobodys(deps) = &self.state else { return };
        let Some(event) = Event::read(text) else { return };
        let (grant, remote) = (deps.grant.clone(), deps.remote);
        let (dialect, prefix): (Box<dyn Dialect>, _) = match event.name.as_ref() {
            vamp::JOIN | vamp::JOIN_ROOM => {
                let deps = vamp::Deps {
                    grant,
                    remote,
                    socket_id: deps.socket_id.clone(),
                    config: deps.vamp.clone(),
                    stores_clips: deps.stores_clips,
                };
                (Box::new(vamp::Vamp::new(deps)), self.prefixes().0)
            }
            star::JOIN | star::HANDSHAKE => {
                let deps = star::Deps { grant, remote, room: deps.star_room.clone(), config: deps.star.clone() };
                (Box::new(star::Star::new(deps)), self.prefixes().1)
            }
            _ => return,
        };
        self.state = State::Somebodys(Prefixed::wrap(now, dialect, prefix));
    }

    fn prefixes(&self) -> (RoomPrefix, RoomPrefix) {
        match &self.state {
            State::Nobodys(deps) => (deps.vamp_prefix.clone(), deps.star_prefix.clone()),
            State::Somebodys(_) => Default::default(),
        }
    }
}

impl Dialect for Front {
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if let (State::Nobodys(_), Frame::Text(text)) = (&self.state, frame) {
            // the carrier gives an object once, before any event
            if text.starts_with('{') {
                self.authorise(now, text);
                return Ok(());
            }
            self.decide(now, text);
        }
        match &mut self.state {
            State::Nobodys(_) => Ok(()),
            State::Somebodys(dialect) => dialect.handle_frame(now, frame),
        }
    }

    fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        match (&mut self.state, notice) {
            (State::Somebodys(dialect), notice) => dialect.handle_notice(now, notice),
            (State::Nobodys(_), Notice::Ended { reason }) => self.ended = Some(farewell(*reason)),
            (State::Nobodys(_), _) => {}
        }
    }

    fn handle_realm(&mut self, now: Instant, word: RealmWord) {
        if let State::Somebodys(dialect) = &mut self.state {
            dialect.handle_realm(now, word);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let State::Somebodys(dialect) = &mut self.state {
            dialect.handle_timeout(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match &mut self.state {
            State::Somebodys(dialect) => dialect.poll_output(),
            State::Nobodys(_) => self.ended.take(),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Somebodys(dialect) => dialect.next_timeout(),
            State::Nobodys(_) => None,
        }
    }
}
