//! The websocket (RFC 6455) as a carrier, over axum.

#[cfg(feature = "socketio")]
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use futures_util::SinkExt;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{CarrierError, FrameStream, Inbound};
use crate::hub::{Hub, HubGone};
use crate::room::DialectName;
use crate::signalling::session::{self, Running};
use crate::signalling::{Dialect, Entry, RealmId};

/// The websocket's own read buffer: candidates and descriptions of data channels are smaller. It is the largest part of an idle
/// connection's memory; the library's default is 128 KiB. It does not bound what one system call reads: the stream below is read
/// ahead.
const READ_BUFFER: usize = 3 * 1024;
/// Bytes gathered before a write that nobody asked for: a description and its candidates leave together. Grows as it is used.
const WRITE_BUFFER: usize = 16 * 1024;
/// How long the far end may take to answer a close frame. Short enough for a stop within 2 s.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// RFC 6455 §7.4.1: stands for a close frame without a code, and is never sent.
const NO_STATUS: u16 = 1005;

/// What a connection is wired to.
pub struct Link {
    /// Where its session is opened.
    pub hub: Hub,
    /// The realm of the mount, if the dialect keeps one.
    pub realm: Option<RealmId>,
    /// Where it comes from, after trusted proxies were asked; for the log.
    pub remote: Option<IpAddr>,
    /// Ends every connection.
    pub stop: CancellationToken,
}

/// Answers an upgrade request and runs the dialect on the connection. `dialect` makes the session's value when the
/// connection is up; `guard` is dropped when the connection has ended (a permit of a limit, a task tracker's token).
///
/// A plain HTTP request never gets here: the extractor `WebSocketUpgrade` refuses it with 400.
pub fn upgrade<D, G>(ws: WebSocketUpgrade, entry: &Entry, link: Link, dialect: D, guard: G) -> Response
where
    D: FnOnce(Instant) -> Box<dyn Dialect> + Send + 'static,
    G: Send + 'static,
{
    let entry = *entry;
    let run = move |socket: WebSocket| {
        let socket = Socket::new(socket);
        lean(async move {
            match link.hub.open_session_in(link.realm).await {
                Ok(hub) => (session::run(socket, dialect(Instant::now()), hub, &entry, link.remote, link.stop), guard),
                Err(error) => (turn_away(socket, entry.name, error), guard),
            }
        })
    };
    let run: Box<dyn FnOnce(WebSocket) -> Running + Send> = Box::new(run);
    sized(ws, entry.carrier.max_message)
        .on_failed_upgrade(|error| debug!(error = %error, "websocket upgrade failed"))
        .on_upgrade(run)
}

fn turn_away(mut socket: Socket, dialect: DialectName, error: HubGone) -> Running {
    warn!(dialect = dialect.as_str(), error = %error, "no session for a new connection");
    Box::pin(async move { socket.close(1001, "the gateway is stopping").await })
}

/// Opens a session and runs it, `guard` in hand. What it was opened from is gone while it runs: a future keeps its places for
/// values that were moved on, and there are thousands of sessions.
pub(super) fn lean<G: Send + 'static>(opening: impl Future<Output = (Running, G)> + Send + 'static) -> Running {
    let opening: Pin<Box<dyn Future<Output = (Running, G)> + Send>> = Box::pin(opening);
    Box::pin(async move {
        let (session, _guard) = opening.await;
        session.await;
    })
}

/// An upgrade whose websocket takes messages up to a size and costs little memory while it is idle.
pub(super) fn sized(ws: WebSocketUpgrade, max_message: usize) -> WebSocketUpgrade {
    ws.read_buffer_size(READ_BUFFER).write_buffer_size(WRITE_BUFFER).max_message_size(max_message).max_frame_size(max_message)
}

/// One websocket.
pub(super) struct Socket {
    /// Boxed: it is moved into the future of its session, and each stage of a future keeps a place for what it was given.
    socket: Box<WebSocket>,
    state: State,
}

/// How far the connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The far end's close frame was read; the answer is queued by the library and leaves with the next read.
    ClosedByPeer,
    /// What came was too large or broke the websocket's own rules: reading is over, writing still works.
    Unreadable,
}

impl Socket {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self { socket: Box::new(socket), state: State::Open }
    }
}

/// For a carrier that writes when the socket is ready for it.
#[cfg(feature = "socketio")]
impl Socket {
    /// Waits until a frame can be [`put`](Self::put). Cancel-safe.
    pub(super) async fn ready(&mut self) -> Result<(), CarrierError> {
        poll_fn(|context| self.socket.poll_ready_unpin(context)).await.map_err(failed)
    }

    /// Takes a text frame for which the socket is ready, to be written by [`flush`](FrameStream::flush).
    pub(super) fn put(&mut self, text: String) -> Result<(), CarrierError> {
        self.socket.start_send_unpin(Message::Text(text.into())).map_err(failed)
    }
}

/// Whether the far end wrote what it must not; other faults are those of a connection that is over.
fn is_violation(fault: &ProtocolError) -> bool {
    use ProtocolError::{HandshakeIncomplete, ReceivedAfterClosing, ResetWithoutClosingHandshake, SendAfterClosing};
    !matches!(fault, HandshakeIncomplete | ReceivedAfterClosing | ResetWithoutClosingHandshake | SendAfterClosing)
}

fn failed(error: axum::Error) -> CarrierError {
    CarrierError::Failed(error.into_inner())
}

impl FrameStream for Socket {
    async fn recv(&mut self) -> Inbound {
        match self.socket.recv().await {
            Some(Ok(Message::Text(text))) => Inbound::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => Inbound::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Inbound::Alive,
            Some(Ok(Message::Close(_))) => {
                self.state = State::ClosedByPeer;
                Inbound::Closed
            }
            Some(Err(error)) => {
                let error = error.into_inner();
                let inbound = match error.downcast_ref::<tungstenite::Error>() {
                    Some(tungstenite::Error::Capacity(_)) => Inbound::TooLarge,
                    Some(tungstenite::Error::Utf8(_)) => Inbound::NotUtf8,
                    Some(tungstenite::Error::Protocol(fault)) if is_violation(fault) => {
                        Inbound::Violation("a frame that the websocket protocol does not have")
                    }
                    _ => return Inbound::Lost(CarrierError::Failed(error)),
                };
                self.state = State::Unreadable;
                inbound
            }
            None => Inbound::Lost(CarrierError::Ended),
        }
    }

    async fn feed(&mut self, text: String) -> Result<(), CarrierError> {
        self.socket.feed(Message::Text(text.into())).await.map_err(failed)
    }

    async fn feed_binary(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        self.socket.feed(Message::Binary(bytes)).await.map_err(failed)
    }

    async fn flush(&mut self) -> Result<(), CarrierError> {
        self.socket.flush().await.map_err(failed)
    }

    async fn ping(&mut self) -> Result<(), CarrierError> {
        self.socket.send(Message::Ping(Bytes::new())).await.map_err(failed)
    }

    async fn close(&mut self, code: u16, reason: &'static str) {
        if self.state != State::ClosedByPeer {
            let goodbye = Message::Close((code != NO_STATUS).then(|| CloseFrame { code, reason: reason.into() }));
            if !matches!(timeout(CLOSE_WAIT, self.socket.send(goodbye)).await, Ok(Ok(()))) {
                return;
            }
        }
        if self.state == State::Unreadable {
            // closing a socket with unread bytes resets it, and a reset can overtake the close frame
            sleep(CLOSE_WAIT).await;
        }
        // the far end's answer, or ours to it; what else it says is not for us any more
        let _ = timeout(CLOSE_WAIT, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
    }
}

#[cfg(test)]
mod served;
#[cfg(test)]
mod tests;
