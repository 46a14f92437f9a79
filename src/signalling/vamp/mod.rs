//! The dialect of Vamp's clients: a full mesh by Socket.IO events, one connection a pair, no trickling.
//!
//! Pure. The clients' own connections are their business: their signals pass unread but for what they are. `README.md` beside this
//! file has the rules and their sources.

mod call;
mod config;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use tracing::{debug, info};

use self::call::Call;
pub use self::config::VampConfig;
use super::event::Event;
use super::{Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, WireError, farewell};
use crate::room::{Command, DialectName, Facts, Joining, Notice, Refusal, Topology};
use crate::vocab::{Grant, RequestId, RoomId};

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Vamp,
    manners: Manners { offers: Offers::Newcomer, trickle: false, renegotiate: false, peer_per: PeerPer::Member },
    carrier: super::socketio::CARRIER,
};

/// The event that makes a connection this dialect's.
pub(super) const JOIN: &str = "join vamp";
/// The same in older clients.
pub(super) const JOIN_ROOM: &str = "join room";

/// Most events kept while the room decides on a join.
const MAX_HELD: usize = 64;
/// Most bytes of them: some joiners' offers.
const MAX_HELD_BYTES: usize = 1_000_000;

/// What a session of this dialect is given.
pub struct Deps {
    /// What the connection may do.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// The client's `socket.id`, by which its others know it.
    pub socket_id: String,
    /// `[vamp]`.
    pub config: VampConfig,
    /// Whether mesh rooms store clips: Portico is one more member of a vamp then.
    pub stores_clips: bool,
}

/// One client's session.
pub struct Vamp {
    deps: Deps,
    state: State,
    outputs: VecDeque<Output>,
}

/// How far it is.
enum State {
    /// In no vamp.
    Out,
    /// A join is with the room.
    Entering(Box<Entering>),
    /// In a vamp.
    In(Box<Call>),
    Ended,
}

/// A join that waits for the room.
struct Entering {
    req: RequestId,
    vamp: RoomId,
    /// What the client sent meanwhile.
    held: VecDeque<String>,
    held_bytes: usize,
}

impl Vamp {
    /// A session at its start.
    pub fn new(deps: Deps) -> Self {
        Self { deps, state: State::Out, outputs: VecDeque::new() }
    }

    fn handle_text(&mut self, text: &str) {
        if let State::Entering(entering) = &mut self.state {
            if entering.held.len() < MAX_HELD && entering.held_bytes + text.len() <= MAX_HELD_BYTES {
                entering.held_bytes += text.len();
                entering.held.push_back(text.to_owned());
            }
            return;
        }
        let Some(event) = Event::read(text) else { return };
        match (&mut self.state, event.name.as_ref()) {
            (_, JOIN | JOIN_ROOM) => match event.text().and_then(|name| RoomId::new(&name).ok()) {
                Some(vamp) => self.join(vamp),
                None => debug!("join of something that is no vamp ignored"),
            },
            (State::In(call), name) => call.handle_event(name, &event),
            (_, name) => debug!(event = name, "event ignored"),
        }
        self.drain();
    }

    fn join(&mut self, vamp: RoomId) {
        match &mut self.state {
            State::In(call) if *call.room() == vamp => return call.list_again(),
            State::In(_) => self.outputs.push_back(Output::Command(RequestId::next(), Command::Depart)),
            State::Out => {}
            State::Entering(_) | State::Ended => return,
        }
        let joining = Joining {
            room: vamp.clone(),
            user_id: self.deps.socket_id.clone(),
            dialect: DialectName::Vamp,
            remote: self.deps.remote,
            grant: self.deps.grant.clone(),
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: Some(self.deps.config.max_members),
            replaces_lost: false,
        };
        let req = RequestId::next();
        self.outputs.push_back(Output::Command(req, Command::Join(Box::new(joining))));
        self.state = State::Entering(Box::new(Entering { req, vamp, held: VecDeque::new(), held_bytes: 0 }));
    }

    /// The entering join with that number.
    fn take_entering(&mut self, req: RequestId) -> Option<Entering> {
        match std::mem::replace(&mut self.state, State::Out) {
            State::Entering(entering) if entering.req == req => Some(*entering),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// What the client sent while the room decided is read now.
    fn entered(&mut self, entering: Entering) {
        self.drain();
        for text in entering.held {
            self.handle_text(&text);
        }
    }

    fn refused(&mut self, entering: &Entering, why: &Refusal) {
        info!(vamp = %entering.vamp, reason = %why, "join refused");
        self.outputs.push_back(match why {
            Refusal::RoomFull { .. } | Refusal::TooManyRooms { .. } => Output::Send(r#"["room full"]"#.into()),
            _ => Output::Close { code: 1008, reason: "this vamp is not for you" },
        });
    }

    /// Takes over what the call wants done.
    fn drain(&mut self) {
        if let State::In(call) = &mut self.state {
            while let Some(output) = call.poll_output() {
                self.outputs.push_back(output);
            }
        }
    }
}

impl Dialect for Vamp {
    fn handle_frame(&mut self, _now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if let (Frame::Text(text), false) = (frame, matches!(self.state, State::Ended)) {
            self.handle_text(text);
        }
        Ok(())
    }

    fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        match notice {
            _ if matches!(self.state, State::Ended) => {}
            Notice::Ended { reason } => {
                self.state = State::Ended;
                self.outputs.push_back(farewell(*reason));
            }
            Notice::Welcome(welcome) => {
                if let Some(entering) = self.take_entering(welcome.req) {
                    self.state = State::In(Box::new(Call::joined(welcome, &self.deps)));
                    self.entered(entering);
                }
            }
            Notice::Refused { req, why } if matches!(&self.state, State::Entering(entering) if entering.req == *req) => {
                if let Some(entering) = self.take_entering(*req) {
                    self.refused(&entering, why);
                    self.entered(entering);
                }
            }
            notice => {
                if let State::In(call) = &mut self.state {
                    call.handle_notice(now, notice);
                    self.drain();
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let State::In(call) = &mut self.state {
            call.handle_timeout(now);
            self.drain();
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::In(call) => call.next_timeout(),
            State::Out | State::Entering(_) | State::Ended => None,
        }
    }
}
