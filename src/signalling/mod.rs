//! Signalling: the contracts every dialect keeps, the driver that runs them, and the one list of dialects.
//!
//! A dialect is pure: frames and notices in, commands and frames out. One value per **session**; a session may outlive
//! its connection. `session` and `transport` do the IO. One dialect never imports another.

pub mod algorea;
pub(crate) mod event;
pub mod gateway;
mod json;
pub mod listener;
pub mod page;
pub mod peerjs;
pub mod prefixed;
pub(crate) mod sdp;
pub mod session;
pub mod sigver;
pub mod socketio;
pub mod star;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod tribe;
pub mod vamp;
pub mod whip;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::room::{Command, EndReason, Notice};
use crate::vocab::{DataMessage, PeerId, RequestId, SessionId};

/// One message of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Frame<'_> {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a dialect wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Ask the room. The refusal or answer comes back as a [`Notice`] with the same number.
    Command(RequestId, Command),
    /// Send a text frame.
    Send(String),
    /// Send a frame of bytes.
    SendBinary(Bytes),
    /// Hand something to the realm of the mount. What comes back arrives at [`Dialect::handle_realm`].
    Realm(RealmMessage),
    /// Close the connection and end the session. `code` is a websocket close code.
    Close {
        /// RFC 6455 §7.4; 1005 sends a close frame without a code.
        code: u16,
        /// For people; at most 123 bytes.
        reason: &'static str,
    },
}

/// How a connection whose place ended is closed: RFC 6455 §7.4 code, and a reason for people.
pub(crate) fn close_of(reason: EndReason) -> (u16, &'static str) {
    match reason {
        EndReason::Left => (1000, "left"),
        EndReason::Replaced => (1000, "another connection took the place"),
        EndReason::Stopping => (1001, "the gateway is stopping"),
        EndReason::Expired => (1008, "the token has expired"),
        EndReason::Evicted => (1008, "ended by an operator"),
        EndReason::Lost => (1008, "the connection was lost"),
        _ => (1011, "the gateway could not serve this"),
    }
}

/// The output that closes so.
pub(crate) fn farewell(reason: EndReason) -> Output {
    let (code, reason) = close_of(reason);
    Output::Close { code, reason }
}

/// Turns the monotonic time that dialects get into calendar time, which tokens are checked against. Pure: read once, where
/// the connection is opened. A step of the calendar (NTP) during the connection is not seen; tokens are checked at its start.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    at: Instant,
    wall: SystemTime,
}

impl WallClock {
    /// `wall` is the calendar's reading at `at`.
    pub fn new(at: Instant, wall: SystemTime) -> Self {
        Self { at, wall }
    }

    /// The calendar's reading at `now`.
    pub fn at(&self, now: Instant) -> SystemTime {
        self.wall + now.saturating_duration_since(self.at)
    }
}

/// A frame that the dialect cannot take at all. Anything the dialect has an answer for is not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The peer broke the protocol; the connection is closed with this code.
    #[error("protocol violation: {0}")]
    Violation(&'static str),
}

/// One session's protocol state. After every `handle_*`, drain `poll_output` to `None` and ask `next_timeout` again.
pub trait Dialect: Send {
    /// A frame from the client.
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), WireError>;
    /// Something the room tells.
    fn handle_notice(&mut self, now: Instant, notice: &Notice);
    /// Something the mount's realm tells. Only for dialects that keep one.
    fn handle_realm(&mut self, _now: Instant, _word: RealmWord) {}
    /// Something about the channel of a connection whose framing is [`Framing::Own`](crate::room::Framing::Own). Only for
    /// dialects that ask for one.
    fn handle_channel(&mut self, _now: Instant, _peer: PeerId, _news: ChannelNews) {}
    /// Time passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing to do.
    #[must_use]
    fn poll_output(&mut self) -> Option<Output>;
    /// When `handle_timeout` wants to be called.
    #[must_use]
    fn next_timeout(&self) -> Option<Instant>;
    /// Whether a frame is a mere sign of life, which the limit of messages a second does not count (PeerJS `HEARTBEAT`, which
    /// simple-peerjs sends every millisecond). Must be cheap: asked of every frame before anything else.
    fn is_heartbeat(&self, _frame: Frame<'_>) -> bool {
        false
    }
    /// The websocket code that closes a connection on which nothing was heard for [`Carrier::silence_limit`].
    fn silence_code(&self) -> u16 {
        1008
    }
}

/// What a session hears of a data channel that it reads itself.
#[derive(Debug)]
pub enum ChannelNews {
    /// It is open.
    Open {
        /// Its label.
        label: String,
    },
    /// A message came.
    Message(DataMessage),
    /// It is closed; the connection may still be there.
    Closed,
}

/// What a dialect keeps across its connections: one value per mount, pure, owned by the hub. (Queues, groups, tables.)
pub trait Realm: Send {
    /// A message a session sent to its realm.
    fn handle(&mut self, now: Instant, from: SessionId, message: RealmMessage);
    /// A session of the mount is over, whether it ever sent anything or not. Told once, last.
    fn handle_gone(&mut self, now: Instant, session: SessionId);
    /// Time passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing to do.
    #[must_use]
    fn poll_output(&mut self) -> Option<RealmOutput>;
    /// When `handle_timeout` wants to be called.
    #[must_use]
    fn next_timeout(&self) -> Option<Instant>;
    /// The ids of who is there, in no order, where the dialect lets clients list them (PeerJS discovery).
    #[must_use]
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a session hands its realm: one variant per dialect that keeps one.
#[derive(Debug)]
pub enum RealmMessage {
    /// webrtc-star.
    Star(star::StarMessage),
    /// What a netflux client said.
    Sigver(sigver::realm::Said),
    /// PeerJS.
    Peerjs(peerjs::Ask),
}

/// What a realm tells a session: one variant per dialect that keeps one.
#[derive(Debug)]
pub enum RealmWord {
    /// webrtc-star.
    Star(star::StarWord),
    /// What a netflux client is to be told.
    Sigver(sigver::realm::Word),
    /// PeerJS.
    Peerjs(peerjs::Word),
}

/// A realm's word to one of its sessions. To a session that is gone it is dropped.
#[derive(Debug)]
pub struct RealmOutput {
    /// The addressee.
    pub to: SessionId,
    /// What.
    pub word: RealmWord,
}

/// Which of the realms the hub owns a mount's sessions talk to: its place in `HubParts::realms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealmId(pub usize);

/// Who sends the first offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// The client offers uplinks, Portico offers downlinks (tribe).
    ServerOffersDownlinks,
    /// The client offers everything (page, WHIP, WHEP).
    Client,
    /// Who comes later offers to those who are there (algorea, vamp).
    Newcomer,
    /// Who is there offers to the one who comes (sigver).
    Present,
    /// Whoever calls offers (PeerJS, webrtc-star).
    Caller,
}

/// What one peer connection of a client carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPer {
    /// One stream each.
    Stream,
    /// Everything between two members.
    Member,
    /// One call or data connection; there may be several between two members.
    Call,
}

/// How a dialect's clients negotiate: data, not branches. `room` and `peer` read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Who sends the first offer.
    pub offers: Offers,
    /// Whether the client takes candidates after a description.
    pub trickle: bool,
    /// Whether the client takes a second offer on a connection.
    pub renegotiate: bool,
    /// What one connection carries.
    pub peer_per: PeerPer,
}

/// Transport habits of a websocket dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// Where it is mounted by default.
    pub path: &'static str,
    /// Largest inbound message in bytes; larger closes with 1009.
    pub max_message: usize,
    /// A websocket ping is sent this often.
    pub ping_every: Duration,
    /// The connection counts as lost when nothing at all arrived for this long.
    pub silence_limit: Duration,
    /// A frame that cannot be written in this time ends the connection.
    pub write_limit: Duration,
    /// A client that has not joined a room by then is closed.
    pub join_limit: Duration,
}

/// One row of the list of websocket dialects.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: crate::room::DialectName,
    /// How it negotiates.
    pub manners: Manners,
    /// How it is carried.
    pub carrier: Carrier,
}

/// The websocket dialects there are.
pub const DIALECTS: &[Entry] =
    &[tribe::ENTRY, algorea::ENTRY, peerjs::ENTRY, vamp::ENTRY, sigver::ENTRY, star::ENTRY, page::ENTRY];
