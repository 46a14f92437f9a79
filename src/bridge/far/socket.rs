//! The websocket to a far side: thin.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{StatusCode, Upgraded, Url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use zeroize::Zeroizing;

use super::Door;
use crate::bridge::retry::Pace;
use crate::bridge::whip::call::{self, Endpoint};
use crate::bridge::whip::verdict::Fault;

/// Connection, TLS and the upgrade take no longer.
const DIAL_LIMIT: Duration = Duration::from_secs(15);
/// A ping is sent this often.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A far side that sends nothing for so long, not even the answer to a ping, is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// A message that cannot be written in this time ends the connection.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// The far side may take so long to answer a close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Messages that wait to be written. One more, and the far side does not keep up: the connection is ended.
const OUTBOX: usize = 256;
/// Messages that were read and wait to be dealt with; while it is full nothing is read.
const INBOX: usize = 16;
/// The read buffer; candidates and descriptions of data channels are smaller.
const READ_BUFFER: usize = 8 * 1024;

/// What came.
#[derive(Debug)]
pub(in crate::bridge) enum Heard {
    Text(String),
    /// It is over. The last word.
    Closed(Fault),
}

/// Our end of the websocket. Dropping it closes it; whoever runs [`Line::carry`] sees to that.
#[derive(Debug)]
pub(in crate::bridge) struct Socket {
    out: mpsc::Sender<String>,
    heard: mpsc::Receiver<Heard>,
}

impl Socket {
    /// Sends a message; false when the far side does not keep up. One that is gone is heard of.
    pub(in crate::bridge) fn send(&self, text: String) -> bool {
        !matches!(self.out.try_send(text), Err(mpsc::error::TrySendError::Full(_)))
    }

    pub(in crate::bridge) async fn hear(&mut self) -> Heard {
        let gone = || Heard::Closed(Fault::new("internal", "the connection's task is gone", Pace::Usual));
        self.heard.recv().await.unwrap_or_else(gone)
    }
}

/// The websocket itself, to be carried by a task.
pub(in crate::bridge) struct Line<S> {
    socket: WebSocketStream<S>,
    out: mpsc::Receiver<String>,
    heard: mpsc::Sender<Heard>,
}

/// What a dial came to: our end, what carries it, and the token that the far side is to be shown.
pub(super) struct Dialled {
    pub(super) socket: Socket,
    pub(super) line: Line<Upgraded>,
    pub(super) token: Option<Zeroizing<String>>,
}

/// Makes a websocket (RFC 6455 §4.1) over the HTTP client that the other kinds use, so that certificates are judged as theirs.
/// Redirects are not followed, as no websocket client does.
pub(super) async fn dial(endpoint: &Endpoint, door: &Door) -> Result<Dialled, Fault> {
    timeout(DIAL_LIMIT, try_dial(endpoint, door)).await.unwrap_or_else(|_| Err(call::too_slow()))
}

async fn try_dial(endpoint: &Endpoint, door: &Door) -> Result<Dialled, Fault> {
    let token = endpoint.token().await?;
    let url: Url = (door.address)(endpoint.configured()?, token.as_ref().map(|token| token.as_str()));
    let key = generate_key();
    let request = endpoint.client().await?.get(url).header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
    let mut request = request.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, &key);
    if let Some(token) = token.as_ref().filter(|_| door.bearer) {
        request = request.bearer_auth(token.as_str());
    }
    let response = request.send().await.map_err(|error| call::no_answer(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(of_status(response.status().as_u16()));
    }
    let accepted =
        response.headers().get(SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept == derive_accept_key(key.as_bytes()).as_str());
    if !accepted {
        return Err(Fault::new("bad_answer", "what answers is no websocket server", Pace::Slow));
    }
    let upgraded = response.upgrade().await.map_err(|error| call::no_answer(&error))?;
    let (socket, line) = wired(upgraded, Role::Client, door.max_message).await;
    Ok(Dialled { socket, line, token })
}

/// A websocket over a connection that was upgraded to one.
pub(in crate::bridge) async fn wired<S: AsyncRead + AsyncWrite + Unpin>(
    upgraded: S,
    role: Role,
    max_message: usize,
) -> (Socket, Line<S>) {
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    let websocket = WebSocketStream::from_raw_socket(upgraded, role, Some(limits)).await;
    let ((out, to_write), (read, heard)) = (mpsc::channel(OUTBOX), mpsc::channel(INBOX));
    (Socket { out, heard }, Line { socket: websocket, out: to_write, heard: read })
}

/// What answered the upgrade otherwise.
fn of_status(status: u16) -> Fault {
    let (code, message, pace) = match status {
        300..=399 => ("redirect", "the far side redirects, which websockets do not follow".to_owned(), Pace::Slow),
        401 => ("unauthorised", "the far side wants another token (401)".to_owned(), Pace::Slow),
        403 => ("forbidden", "the far side does not allow it (403)".to_owned(), Pace::Slow),
        404 | 410 => ("not_found", format!("there is no such server at this path ({status})"), Pace::Usual),
        429 | 503 => ("busy", format!("the far side cannot serve it now ({status})"), Pace::Usual),
        500..=599 => ("server_error", format!("the far side has failed ({status})"), Pace::Usual),
        _ => ("bad_answer", format!("what answers is no websocket server ({status})"), Pace::Slow),
    };
    Fault::new(code, message, pace)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Carries messages until either side ends it.
    pub(in crate::bridge) async fn carry(mut self) {
        if let Some(fault) = self.talk().await {
            // who is gone does not hear it
            let _ = self.heard.send(Heard::Closed(fault)).await;
        }
        let Self { socket, .. } = &mut self;
        let goodbye = async {
            if socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_WAIT, goodbye).await;
    }

    /// `None`: our end was dropped.
    async fn talk(&mut self) -> Option<Fault> {
        let mut pings = interval(PING_EVERY);
        let mut heard_at = Instant::now();
        loop {
            let message = tokio::select! {
                came = self.socket.next() => {
                    heard_at = Instant::now();
                    let text = match came {
                        Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
                        // bytes that are text are taken, as the servers do; others are no message
                        Some(Ok(Message::Binary(bytes))) => String::from_utf8(bytes.into()).unwrap_or_default(),
                        Some(Ok(Message::Close(frame))) => return Some(of_close(frame.map(|frame| frame.code.into()))),
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                        Some(Err(error)) => return Some(of_error(&error)),
                        None => return Some(of_close(None)),
                    };
                    // our end may be dropped while it is full
                    if self.heard.send(Heard::Text(text)).await.is_err() {
                        return None;
                    }
                    continue;
                }
                text = self.out.recv() => Message::text(text?),
                _ = pings.tick() => {
                    if heard_at.elapsed() > SILENCE_LIMIT {
                        return Some(Fault::new("lost", "the far side fell silent", Pace::Usual));
                    }
                    Message::Ping(Default::default())
                }
            };
            match timeout(WRITE_LIMIT, self.socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some(of_error(&error)),
                Err(_) => return Some(stuck()),
            }
        }
    }
}

pub(super) fn stuck() -> Fault {
    Fault::new("lost", "the far side takes no more messages", Pace::Usual)
}

fn of_close(code: Option<u16>) -> Fault {
    match code {
        Some(code) => Fault::new("ended", format!("the far side ended the connection ({code})"), Pace::Usual),
        None => Fault::new("ended", "the far side ended the connection", Pace::Usual),
    }
}

fn of_error(error: &Error) -> Fault {
    match error {
        Error::Capacity(_) => Fault::new("too_large", "the far side sends messages that are too large", Pace::Slow),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => {
            Fault::new("lost", format!("the connection was lost: {error}"), Pace::Usual)
        }
        Error::ConnectionClosed | Error::AlreadyClosed => of_close(None),
        error => Fault::new("bad_answer", format!("the far side breaks the rules of websockets: {error}"), Pace::Slow),
    }
}
