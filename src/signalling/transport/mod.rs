//! Carriers of frames: what the driver needs of a connection, the websocket, and Socket.IO.
//!
//! Knows nothing of dialects and rooms.

#[cfg(feature = "socketio")]
pub mod socketio;
pub mod websocket;

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;

use super::Frame;

/// What came from the far end.
#[derive(Debug)]
pub enum Inbound {
    /// A UTF-8 message.
    Text(String),
    /// A message of bytes.
    Binary(Bytes),
    /// A ping (already answered) or a pong: a sign of life and nothing else.
    Alive,
    /// The far end said goodbye.
    Closed,
    /// A message larger than allowed; it was not read, and nothing can be read after it.
    TooLarge,
    /// A text that is no UTF-8; nothing can be read after it.
    NotUtf8,
    /// The far end broke the carrier's own protocol.
    Violation(&'static str),
    /// The connection is gone without a goodbye.
    Lost(CarrierError),
}

impl Inbound {
    /// The message, if it is one.
    pub fn frame(&self) -> Option<Frame<'_>> {
        match self {
            Self::Text(text) => Some(Frame::Text(text)),
            Self::Binary(bytes) => Some(Frame::Binary(bytes)),
            _ => None,
        }
    }
}

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// The stream ended.
    #[error("the connection ended without a close frame")]
    Ended,
    /// The far end did not answer the carrier's own pings, or sent none.
    #[error("nothing was heard in time")]
    Silent,
    /// The network or the framing failed.
    #[error("the connection failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An ordered connection of whole messages with a liveness check and a goodbye.
pub trait FrameStream: Send {
    /// Whether it has pings and timeouts of its own: the driver's are not used then, and it says by [`Self::next_timeout`] when it
    /// wants to be woken.
    const KEEPS_TIME: bool = false;

    /// The next thing from the far end. Cancel-safe. Not called again after `Closed`, `TooLarge`, `NotUtf8` or `Lost`.
    fn recv(&mut self) -> impl Future<Output = Inbound> + Send;
    /// Writes a text message out. Not cancel-safe: a connection on which it was cut short is only good for dropping.
    fn send(&mut self, text: String) -> impl Future<Output = Result<(), CarrierError>> + Send;
    /// Writes a message of bytes out, as `send`.
    fn send_binary(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), CarrierError>> + Send;
    /// Asks the far end for a sign of life. Not cancel-safe, as `send`.
    fn ping(&mut self) -> impl Future<Output = Result<(), CarrierError>> + Send;
    /// When `handle_timeout` wants to be called. Asked again after every call.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
    /// Time passed. What it has to write then is written by the next call; `Some` ends the connection.
    fn handle_timeout(&mut self, _now: Instant) -> Option<Inbound> {
        None
    }
    /// Says goodbye, or completes the far end's; code 1005 says it without a code. Returns within a few seconds whatever the far end does.
    fn close(&mut self, code: u16, reason: &'static str) -> impl Future<Output = ()> + Send;
}
