//! The HTTP side of an endpoint: which request is which, and the answers. Thin: sessions decide.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::engine::{Ids, MAX_PAYLOAD};
use super::link::Link;
use super::packet::Version;
use super::table::{Fault, Handle, INBOX, Input, Polled, Registered, Table, posted, random_id};
use crate::hub::Hub;
use crate::signalling::session::{self, Running};
use crate::signalling::transport::FrameStream;
use crate::signalling::transport::websocket::{Socket, lean, sized};
use crate::signalling::{Dialect, Entry, RealmId};

/// What sessions of an endpoint are wired to.
pub struct Wiring {
    /// Where sessions are opened.
    pub hub: Hub,
    /// What they keep across connections.
    pub realm: Option<RealmId>,
    /// What they speak.
    pub entry: Entry,
    /// Ends every session.
    pub stop: CancellationToken,
    /// Owns the tasks of sessions that poll.
    pub tasks: TaskTracker,
    /// A request must be answered in this time, so a poll waits a little less.
    pub request_time: Duration,
    /// Most sessions of one address but loopback.
    pub max_per_address: usize,
}

/// One Socket.IO server. It may stand on several paths; its sessions are known on all of them. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    wiring: Arc<Wiring>,
    table: Arc<Table>,
}

/// Makes a session's dialect, given the client's `socket.id`.
pub type MakeDialect = Box<dyn FnOnce(Instant, String) -> Box<dyn Dialect> + Send>;

/// Who opens a session, and what it gets.
pub struct Opening {
    /// Where the client is.
    pub remote: IpAddr,
    /// Its dialect.
    pub dialect: MakeDialect,
    /// Asked when the session begins; what it gives is dropped when the session ended.
    pub guard: Box<dyn FnOnce() -> Box<dyn Send> + Send>,
}

/// Why a request is refused, with its code and message on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest,
    Forbidden,
}

impl Refusal {
    fn body(self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownTransport => (StatusCode::BAD_REQUEST, r#"{"code":0,"message":"Transport unknown"}"#),
            Self::UnknownSession => (StatusCode::BAD_REQUEST, r#"{"code":1,"message":"Session ID unknown"}"#),
            Self::BadMethod => (StatusCode::BAD_REQUEST, r#"{"code":2,"message":"Bad handshake method"}"#),
            Self::BadRequest => (StatusCode::BAD_REQUEST, r#"{"code":3,"message":"Bad request"}"#),
            Self::Forbidden => (StatusCode::FORBIDDEN, r#"{"code":4,"message":"Forbidden"}"#),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = self.body();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// What a request asks for, by its query.
#[derive(Debug, PartialEq, Eq)]
struct Query<'a> {
    version: Version,
    transport: Option<&'a str>,
    sid: Option<&'a str>,
    jsonp: bool,
}

impl<'a> Query<'a> {
    fn read(query: &'a str) -> Self {
        let value = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        Self {
            version: Version::asked(value("EIO")),
            transport: value("transport"),
            sid: value("sid"),
            jsonp: value("j").is_some(),
        }
    }
}

impl Endpoint {
    /// An endpoint without sessions.
    pub fn new(wiring: Wiring) -> Self {
        let table = Arc::new(Table::new(wiring.max_per_address));
        Self { wiring: Arc::new(wiring), table }
    }

    /// The answer to a caller who may open no session.
    pub fn forbidden() -> Response {
        Refusal::Forbidden.into_response()
    }

    /// Whether a request opens a session, so that the caller's rights count.
    pub fn opens(query: Option<&str>) -> bool {
        Query::read(query.unwrap_or_default()).sid.is_none()
    }

    /// Answers a request to one of the endpoint's paths. `opening` is used only if it opens a session.
    pub async fn serve(&self, request: Request<Body>, opening: Opening) -> Response {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = self.answer(request, opening).await;
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        // any page may read; which may post or open a websocket is decided at the edge, for all paths alike
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        } else {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        response
    }

    async fn answer(&self, request: Request<Body>, opening: Opening) -> Response {
        let (mut head, body) = request.into_parts();
        if head.method == Method::OPTIONS {
            return StatusCode::METHOD_NOT_ALLOWED.into_response(); // the edge answers preflights
        }
        let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &()).await.ok();
        let query = Query::read(head.uri.query().unwrap_or_default());
        match (query.transport, query.sid) {
            (Some("polling" | "websocket"), _) if query.jsonp => Refusal::BadRequest.into_response(),
            (Some("polling"), Some(sid)) => self.polling(sid, &head, body).await,
            (Some("websocket"), Some(sid)) => self.upgrade(sid, upgrade),
            (Some("polling" | "websocket"), None) if head.method != Method::GET => Refusal::BadMethod.into_response(),
            (Some("polling"), None) if head.headers.contains_key(header::UPGRADE) => Refusal::BadRequest.into_response(),
            (Some("polling"), None) => self.open_polling(query.version, opening).await,
            (Some("websocket"), None) => self.open_websocket(query.version, opening, upgrade),
            _ => Refusal::UnknownTransport.into_response(),
        }
    }

    /// A poll or a post.
    async fn polling(&self, sid: &str, head: &Head, body: Body) -> Response {
        let Some(handle) = self.table.get(sid) else { return Refusal::UnknownSession.into_response() };
        let Some(inbox) = handle.inbox.as_ref().filter(|_| !handle.is_websocket()) else {
            return Refusal::BadRequest.into_response();
        };
        match head.method {
            Method::GET => poll(inbox).await,
            Method::POST => self.post(sid, &handle, inbox, &head.headers, body).await,
            _ => Refusal::BadRequest.into_response(),
        }
    }

    async fn post(&self, sid: &str, handle: &Handle, inbox: &mpsc::Sender<Input>, headers: &HeaderMap, body: Body) -> Response {
        if !handle.begin_post() {
            self.fail(sid, inbox, Fault::SecondPost).await;
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let binary = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/octet-stream");
        let response = match axum::body::to_bytes(body, MAX_PAYLOAD).await {
            Ok(body) => {
                let (done, answered) = oneshot::channel();
                if inbox.send(Input::Post(posted(handle, binary, body), done)).await.is_ok() {
                    // a session that ended meanwhile has its packets handled as far as it goes
                    let _ = answered.await;
                }
                ([(header::CONTENT_TYPE, "text/html")], "ok").into_response()
            }
            Err(error) if is_too_large(&error) => {
                self.fail(sid, inbox, Fault::TooLarge).await;
                (StatusCode::PAYLOAD_TOO_LARGE, [(header::CONNECTION, "close")]).into_response()
            }
            // the client went away in the middle
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        };
        handle.post_done();
        response
    }

    /// The session is unknown from now on, and ends.
    async fn fail(&self, sid: &str, inbox: &mpsc::Sender<Input>, fault: Fault) {
        self.table.remove(sid);
        let _ = inbox.send(Input::Fault(fault)).await;
    }

    /// A websocket that wants to take over a session.
    fn upgrade(&self, sid: &str, upgrade: Option<WebSocketUpgrade>) -> Response {
        let Some(handle) = self.table.get(sid) else { return Refusal::UnknownSession.into_response() };
        let Some(upgrade) = upgrade else { return Refusal::BadRequest.into_response() };
        sized(upgrade, MAX_PAYLOAD).on_upgrade(async move |socket| {
            let mut socket = Box::new(Socket::new(socket));
            if let Some(inbox) = handle.inbox.as_ref().filter(|_| !handle.is_websocket()) {
                let (back, returned) = oneshot::channel();
                match inbox.send(Input::Upgrade(socket, back)).await {
                    Ok(()) => match returned.await {
                        Ok(unwanted) => socket = unwanted,
                        Err(_) => return, // it took over, or the session is gone with it
                    },
                    Err(mpsc::error::SendError(Input::Upgrade(unsent, _))) => socket = unsent,
                    Err(_) => return,
                }
            }
            socket.close(1000, "").await;
        })
    }

    async fn open_polling(&self, version: Version, opening: Opening) -> Response {
        let (inbox, requests) = mpsc::channel(INBOX);
        let Some((registered, ids)) = self.register(version, opening.remote, Some(inbox.clone())) else {
            return Refusal::Forbidden.into_response();
        };
        let link = Link::polling(registered, requests, &ids, self.hold());
        let session = self.clone().run(link, ids.socket_id, opening);
        drop(self.wiring.tasks.spawn(session));
        poll(&inbox).await
    }

    fn open_websocket(&self, version: Version, opening: Opening, upgrade: Option<WebSocketUpgrade>) -> Response {
        let Some(upgrade) = upgrade else { return Refusal::BadRequest.into_response() };
        let Some((registered, ids)) = self.register(version, opening.remote, None) else {
            return Refusal::Forbidden.into_response();
        };
        let endpoint = self.clone();
        let run = move |socket| {
            let link = Link::websocket(registered, Socket::new(socket), &ids, endpoint.hold());
            endpoint.run(link, ids.socket_id, opening)
        };
        let run: Box<dyn FnOnce(WebSocket) -> Running + Send> = Box::new(run);
        sized(upgrade, MAX_PAYLOAD).on_failed_upgrade(|error| debug!(error = %error, "websocket upgrade failed")).on_upgrade(run)
    }

    fn register(&self, version: Version, remote: IpAddr, inbox: Option<mpsc::Sender<Input>>) -> Option<(Registered, Ids)> {
        let registered = self.table.register(version, remote, inbox)?;
        let sid = registered.sid.clone();
        let socket_id = match version {
            Version::V3 => sid.clone(),
            Version::V4 => random_id(),
        };
        Some((registered, Ids { sid, socket_id }))
    }

    fn hold(&self) -> Duration {
        self.wiring.request_time.saturating_sub(HOLD_MARGIN).max(MIN_HOLD)
    }

    fn run(self, mut link: Link, socket_id: String, opening: Opening) -> Running {
        lean(async move {
            let Opening { remote, dialect, guard } = opening;
            let guard = guard();
            let wiring = &self.wiring;
            let session = match wiring.hub.open_session_in(wiring.realm).await {
                Ok(hub) => {
                    let dialect = dialect(Instant::now(), socket_id);
                    session::run(link, dialect, hub, &wiring.entry, Some(remote), wiring.stop.clone())
                }
                Err(error) => {
                    warn!(error = %error, "no session for a new connection");
                    Box::pin(async move { link.close(1001, "the gateway is stopping").await }) as Running
                }
            };
            (session, guard)
        })
    }
}

/// A poll is ended so long before the time of requests is over.
const HOLD_MARGIN: Duration = Duration::from_secs(2);
/// A poll waits at least so long, however short requests may be.
const MIN_HOLD: Duration = Duration::from_secs(1);

async fn poll(inbox: &mpsc::Sender<Input>) -> Response {
    let (reply, polled) = oneshot::channel();
    if inbox.send(Input::Poll(reply)).await.is_err() {
        return Refusal::UnknownSession.into_response();
    }
    match polled.await {
        Ok(Polled::Payload(payload)) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], Bytes::from(payload)).into_response()
        }
        Ok(Polled::Second) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => Refusal::UnknownSession.into_response(),
    }
}

/// Whether a body was refused for its size rather than cut short.
fn is_too_large(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
