//! The dialect of libp2p's webrtc-star clients: a rendez-vous where they find each other and pass WebRTC signals.
//!
//! Pure. A session reads events and keeps its place in the room of its endpoint; who has joined under which address, who is told
//! of whom, and where a signal goes is decided by the endpoint's [`StarRealm`]. Portico never takes part in their connections.
//! `README.md` beside this file has the rules and their sources.

mod config;
mod figures;
mod realm;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, info};

pub use self::config::StarConfig;
pub use self::figures::StarFigures;
pub use self::realm::{StarMessage, StarRealm, StarWord};
use super::event::Event;
use super::{Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, RealmMessage, RealmWord, WireError, farewell};
use crate::room::{Command, DialectName, Facts, Joining, Notice, Topology};
use crate::vocab::{Grant, RequestId, RoomId};

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Star,
    manners: Manners { offers: Offers::Caller, trickle: true, renegotiate: true, peer_per: PeerPer::Call },
    carrier: super::socketio::CARRIER,
};

/// The event that makes a connection this dialect's.
pub(super) const JOIN: &str = "ss-join";
/// The other one.
pub(super) const HANDSHAKE: &str = "ss-handshake";
const LEAVE: &str = "ss-leave";

/// Most events kept while the room decides on a join.
const MAX_HELD: usize = 64;
/// Most bytes of them.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// What a session of this dialect is given.
pub struct Deps {
    /// What the connection may do.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// The room that its endpoint's peers are members of.
    pub room: RoomId,
    /// `[star]`.
    pub config: StarConfig,
}

/// One client's session.
pub struct Star {
    deps: Deps,
    state: State,
    outputs: VecDeque<Output>,
}

/// How far it is.
enum State {
    /// In no room.
    Out,
    /// A join is with the room; what the client sent meanwhile is kept.
    Entering {
        req: RequestId,
        address: String,
        held: VecDeque<String>,
        held_bytes: usize,
    },
    /// A member, joined or not: `ss-leave` takes back the address only.
    In,
    Ended,
}

impl Star {
    /// A session at its start.
    pub fn new(deps: Deps) -> Self {
        Self { deps, state: State::Out, outputs: VecDeque::new() }
    }

    fn tell_realm(&mut self, message: StarMessage) {
        self.outputs.push_back(Output::Realm(RealmMessage::Star(message)));
    }

    fn handle_text(&mut self, text: &str) {
        if let State::Entering { held, held_bytes, .. } = &mut self.state {
            if held.len() < MAX_HELD && *held_bytes + text.len() <= MAX_HELD_BYTES {
                *held_bytes += text.len();
                held.push_back(text.to_owned());
            }
            return;
        }
        let Some(event) = Event::read(text) else { return };
        match (&self.state, event.name.as_ref()) {
            (State::Ended, _) => {}
            (_, JOIN) => match event.text().filter(|address| address.len() <= realm::MAX_ADDRESS) {
                Some(address) => self.join(address),
                None => self.tell_realm(StarMessage::JoinFailed),
            },
            (State::In, LEAVE) => self.tell_realm(StarMessage::Leave),
            (_, HANDSHAKE) => {
                let object = event.object().map(str::to_owned);
                self.tell_realm(StarMessage::Handshake(object));
            }
            (_, name) => debug!(event = name, "event ignored"),
        }
    }

    fn join(&mut self, address: String) {
        if matches!(self.state, State::In) {
            return self.tell_realm(StarMessage::Join(address));
        }
        if !address.starts_with('/') {
            info!("a peer joins under something that is no multiaddr");
        }
        let req = RequestId::next();
        let joining = Joining {
            room: self.deps.room.clone(),
            user_id: address.clone(),
            dialect: DialectName::Star,
            remote: self.deps.remote,
            grant: self.deps.grant.clone(),
            // they find each other through the realm, and nobody else has anything to say to them
            visible: false,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: Some(self.deps.config.max_peers),
            replaces_lost: false,
        };
        self.outputs.push_back(Output::Command(req, Command::Join(Box::new(joining))));
        self.state = State::Entering { req, address, held: VecDeque::new(), held_bytes: 0 };
    }

    /// The room decided; what the client sent meanwhile is read now.
    fn entered(&mut self, now_in: bool) {
        let next = if now_in { State::In } else { State::Out };
        if let State::Entering { address, held, .. } = std::mem::replace(&mut self.state, next) {
            self.tell_realm(if now_in { StarMessage::Join(address) } else { StarMessage::JoinFailed });
            for text in held {
                self.handle_text(&text);
            }
        }
    }
}

impl Dialect for Star {
    fn handle_frame(&mut self, _now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if let Frame::Text(text) = frame {
            self.handle_text(text);
        }
        Ok(())
    }

    fn handle_notice(&mut self, _now: Instant, notice: &Notice) {
        let entering = match &self.state {
            State::Entering { req, .. } => Some(*req),
            _ => None,
        };
        match notice {
            Notice::Ended { reason } if !matches!(self.state, State::Ended) => {
                self.state = State::Ended;
                self.outputs.push_back(farewell(*reason));
            }
            Notice::Welcome(welcome) if entering == Some(welcome.req) => self.entered(true),
            Notice::Refused { req, why } if entering == Some(*req) => {
                info!(reason = %why, "join refused");
                self.entered(false);
            }
            _ => {}
        }
    }

    fn handle_realm(&mut self, _now: Instant, word: RealmWord) {
        let RealmWord::Star(StarWord(event)) = word else { return };
        if !matches!(self.state, State::Ended) {
            self.outputs.push_back(Output::Send(Arc::unwrap_or_clone(event)));
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}
