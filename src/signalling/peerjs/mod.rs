//! The dialect of PeerJS and simple-peerjs: a PeerJS broker. `README.md` beside this file says who speaks it and where Portico
//! differs.
//!
//! Pure. This file is one client's connection: it is registered in the mount's realm, joins the mount's room and hands its
//! messages on. Messages between two PeerJS clients pass through `realm` alone; the room learns nothing of them. What goes to
//! the room, to members of other dialects, or, where connections end at Portico, to any member is for `calls`.

mod calls;
mod config;
mod figures;
pub mod http;
mod pairs;
pub mod payload;
mod realm;
#[cfg(test)]
mod tests;
pub mod wire;

pub use config::{PeerjsConfig, PeerjsMount, PeerjsMountError, PeerjsNode, PeerjsProfile};
pub use figures::PeerjsFigures;
pub use realm::{Ask, Parcel, Passing, PeerjsRealm, RealmConfig, Word};

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use self::calls::{Calls, Library, Way};
use self::wire::{Kind, Said, says};
use super::{Carrier, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, RealmMessage, RealmWord, WireError, farewell};
use crate::room::{Command, DialectName, Facts, Joining, Notice, Refusal, Topology};
use crate::vocab::{Grant, RequestId, RoomId};

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Peerjs,
    manners: Manners { offers: Offers::Caller, trickle: true, renegotiate: false, peer_per: PeerPer::Call },
    carrier: Carrier {
        path: "/peerjs",
        max_message: 256 << 10,
        // the clients' own heartbeats say that they live; this finds half-open connections of those that stopped
        ping_every: Duration::from_secs(30),
        silence_limit: Duration::from_secs(75),
        write_limit: Duration::from_secs(10),
        join_limit: Duration::from_secs(30),
    },
};

/// Longest id of a client, in characters.
pub const MAX_ID_CHARS: usize = 256;
/// Longest token of a client, in bytes. Portico's own tokens may stand there, which are some hundred bytes.
const MAX_TOKEN: usize = 4096;
/// So many frames in a row that are not JSON end the connection.
const MAX_NOT_JSON: u32 = 16;
/// Frames kept until the client is in its room. Clients wait for `OPEN`; one that reconnects may not.
const MAX_HELD: usize = 64;
/// Their bytes.
const MAX_HELD_BYTES: usize = 256 << 10;
/// Heartbeats a second that are borne. simple-peerjs sends up to a thousand; they do not count as messages, so a flood of them
/// must end somewhere.
const MAX_HEARTBEATS: u32 = 20_000;

/// What a client says in the address of its websocket.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct Introduction {
    /// The id it wants to be called by.
    #[serde(default)]
    pub id: String,
    /// Its secret.
    #[serde(default)]
    pub token: String,
    /// The mount's key.
    #[serde(default)]
    pub key: String,
    /// What PeerJS says of itself; simple-peerjs says nothing.
    #[serde(default)]
    pub version: Option<String>,
}

/// What a session of this dialect is given.
pub struct Deps {
    /// The mount's room; `None` when no mount has the client's key.
    pub room: Option<RoomId>,
    /// Who the client says it is.
    pub who: Introduction,
    /// What it may do.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// How long it may send no heartbeat.
    pub alive_timeout: Duration,
}

/// One client's session.
pub struct Peerjs {
    id: Arc<str>,
    /// The id by which the room is called.
    room: Box<str>,
    library: Option<Library>,
    state: State,
    /// When it last said that it lives.
    alive: Instant,
    alive_timeout: Duration,
    /// Heartbeats since `beats_from`.
    beats: u32,
    beats_from: Instant,
    /// Frames in a row that were not JSON.
    not_json: u32,
    outputs: VecDeque<Output>,
}

/// How far the connection is.
enum State {
    /// The realm decides on the id; then the room on the client.
    Entering(Box<Entering>),
    /// `OPEN` was said.
    Open(Box<Calls>),
    /// It gave its id back; the connection stays.
    Left,
    /// Closed, or about to be.
    Ended,
}

/// A client that is not in its room yet.
struct Entering {
    /// What it will ask the room, once the realm knows it.
    joining: Option<Joining>,
    /// The join's number, once it was asked.
    req: Option<RequestId>,
    /// What the client sent meanwhile, and its bytes.
    held: Vec<String>,
    held_bytes: usize,
}

impl Peerjs {
    /// A session at its start: it is refused, or asks its realm for its id.
    pub fn new(now: Instant, deps: Deps) -> Self {
        let Deps { room, who, grant, remote, alive_timeout } = deps;
        let mut new = Self {
            id: who.id.as_str().into(),
            room: room.as_ref().map(RoomId::as_str).unwrap_or_default().into(),
            library: who.version.as_deref().map(Library::of_version),
            state: State::Ended,
            alive: now,
            alive_timeout,
            beats: 0,
            beats_from: now,
            not_json: 0,
            outputs: VecDeque::new(),
        };
        let refusal = if who.id.is_empty() || who.token.is_empty() || who.key.is_empty() {
            Some(says::MISSING)
        } else if room.is_none() {
            Some(says::KEY)
        } else if who.id.chars().count() > MAX_ID_CHARS {
            Some("Invalid id provided: it is too long")
        } else if who.token.len() > MAX_TOKEN {
            Some("Invalid token provided")
        } else {
            None
        };
        match (refusal, room) {
            (None, Some(room)) => {
                let joining = Joining {
                    room,
                    user_id: who.id,
                    dialect: DialectName::Peerjs,
                    remote,
                    grant,
                    visible: true,
                    facts: Facts::default(),
                    opens: Topology::Mesh,
                    dialect_limit: None,
                    replaces_lost: false,
                };
                let entering = Entering { joining: Some(joining), req: None, held: Vec::new(), held_bytes: 0 };
                new.state = State::Entering(Box::new(entering));
                new.ask_realm(Ask::Register { id: Arc::clone(&new.id), token: who.token.into() });
            }
            (refusal, _) => new.refuse(wire::error(refusal.unwrap_or(says::KEY)), "refused"),
        }
        new
    }

    fn ask_realm(&mut self, ask: Ask) {
        self.outputs.push_back(Output::Realm(RealmMessage::Peerjs(ask)));
    }

    /// Tells the client why, and closes as PeerJS brokers do: without a code.
    fn refuse(&mut self, frame: String, reason: &'static str) {
        self.outputs.push_back(Output::Send(frame));
        self.close(1005, reason);
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.outputs.push_back(Output::Close { code, reason });
        self.state = State::Ended;
    }

    fn heartbeat(&mut self, now: Instant) {
        self.alive = now;
        self.not_json = 0;
        if now.saturating_duration_since(self.beats_from) > Duration::from_secs(1) {
            (self.beats, self.beats_from) = (0, now);
        }
        self.beats += 1;
        if self.beats > MAX_HEARTBEATS {
            self.close(1008, "too many heartbeats");
        }
    }

    fn handle_text(&mut self, now: Instant, text: &str) {
        let Ok(said) = wire::read(text) else { return self.not_json() };
        self.not_json = 0;
        match (said, &mut self.state) {
            (Said::Heartbeat, _) => self.heartbeat(now),
            (Said::Unknown, _) | (_, State::Ended | State::Left) => {}
            (Said::Message { .. }, State::Entering(entering)) => entering.hold(text),
            (Said::Message { kind, dst: Some(dst), payload }, State::Open(calls)) => {
                if calls.handle(&mut self.outputs, kind, &dst, payload) == Way::Realm {
                    let frame = wire::write(kind, &self.id, &dst, payload);
                    let returns = calls.ends_all();
                    self.ask_realm(Ask::Pass(Box::new(Passing { kind, dst: dst.into(), frame, returns })));
                }
            }
            (Said::Message { kind: Kind::Leave, dst: None, .. }, State::Open(_)) => {
                self.state = State::Left;
                self.ask_realm(Ask::Unregister);
            }
            (Said::Message { dst: None, .. }, State::Open(_)) => {}
        }
    }

    /// A message whose addressee came while it waited: it is in the room now, or cannot be reached.
    fn returned(&mut self, text: &str) {
        let State::Open(calls) = &mut self.state else { return };
        let Ok(Said::Message { kind, dst: Some(dst), payload }) = wire::read(text) else { return };
        if calls.handle(&mut self.outputs, kind, &dst, payload) == Way::Realm && kind == Kind::Offer {
            self.outputs.push_back(Output::Send(wire::write(Kind::Expire, &dst, &self.id, None)));
        }
    }

    fn not_json(&mut self) {
        self.not_json += 1;
        debug!(in_a_row = self.not_json, "a frame is not JSON");
        if self.not_json >= MAX_NOT_JSON {
            self.close(1003, "what is sent here is JSON");
        }
    }

    fn refused(&mut self, why: &Refusal) {
        info!(reason = %why, "client refused by its room");
        let text = match why {
            Refusal::RoomFull { .. } => says::LIMIT.to_owned(),
            other => other.to_string(),
        };
        self.refuse(wire::error(&text), "refused by the room");
    }
}

impl Entering {
    fn hold(&mut self, text: &str) {
        if self.held.len() < MAX_HELD && self.held_bytes + text.len() <= MAX_HELD_BYTES {
            self.held_bytes += text.len();
            self.held.push(text.to_owned());
        }
    }
}

impl Dialect for Peerjs {
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if self.is_heartbeat(frame) {
            self.heartbeat(now);
            return Ok(());
        }
        match frame {
            Frame::Text(text) => self.handle_text(now, text),
            Frame::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.handle_text(now, text),
                Err(_) => self.not_json(),
            },
        }
        Ok(())
    }

    fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        match (&mut self.state, notice) {
            (State::Ended, _) => {}
            (_, Notice::Ended { reason }) => {
                self.outputs.push_back(farewell(*reason));
                self.state = State::Ended;
            }
            (State::Entering(entering), Notice::Welcome(welcome)) if entering.req == Some(welcome.req) => {
                let held = std::mem::take(&mut entering.held);
                self.state = State::Open(Box::new(Calls::new(Arc::clone(&self.id), &self.room, welcome, self.library)));
                self.outputs.push_back(Output::Send(wire::OPEN.into()));
                self.ask_realm(Ask::Ready);
                for text in held {
                    self.handle_text(now, &text);
                }
            }
            (State::Entering(entering), Notice::Refused { req, why }) if entering.req == Some(*req) => self.refused(why),
            (State::Open(calls), notice) => calls.handle_notice(&mut self.outputs, notice),
            (State::Entering(_) | State::Left, _) => {}
        }
    }

    fn handle_realm(&mut self, _now: Instant, word: RealmWord) {
        #[allow(irrefutable_let_patterns)] // other dialects' realms have words of their own
        let RealmWord::Peerjs(word) = word else { return };
        match (word, &mut self.state) {
            (_, State::Ended) => {}
            (Word::Registered, State::Entering(entering)) => {
                if let Some(joining) = entering.joining.take() {
                    let req = RequestId::next();
                    entering.req = Some(req);
                    self.outputs.push_back(Output::Command(req, Command::Join(Box::new(joining))));
                }
            }
            (Word::Registered, State::Open(_) | State::Left) => {}
            (Word::Taken, _) => self.refuse(wire::ID_TAKEN.into(), "the id is taken"),
            (Word::Full, _) => self.refuse(wire::error(says::LIMIT), "too many clients"),
            (Word::Replaced, _) => self.close(1005, "another connection of the client took the place"),
            (Word::Stuck, _) => self.close(1005, "the client does not read"),
            (Word::Frame(parcel), _) => self.outputs.push_back(Output::Send(parcel.open())),
            (Word::Returned(parcel), _) => self.returned(&parcel.open()),
            (Word::Told(parcel), State::Open(calls)) => calls.handle_told(&mut self.outputs, &parcel.open()),
            (Word::Told(_), State::Entering(_) | State::Left) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.close(1005, "no heartbeat");
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ended => None,
            _ => Some(self.alive + self.alive_timeout),
        }
    }

    fn is_heartbeat(&self, frame: Frame<'_>) -> bool {
        match frame {
            Frame::Text(text) => text == wire::HEARTBEAT,
            Frame::Binary(bytes) => bytes == wire::HEARTBEAT.as_bytes(),
        }
    }
}
