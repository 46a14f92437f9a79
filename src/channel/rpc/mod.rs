//! Requests over a data channel, answered by local HTTP services (peerjs.md §6).
//!
//! ```text
//! {url, method, body, sender, id?} ─► read ─► Table::call ─► Call ─► call.rs (HTTP) ─► Reply ─► answer {type, method, body, sender, id?}
//!                                       └──────── Fault ◄────────────────────────────────────┘    or {type: "error", …}
//! ```

mod ledger;
mod target;

pub use ledger::Ledger;
pub use target::{TargetError, check_path, check_target};

use std::time::Duration;

use bytes::Bytes;

use super::config::{RpcConfig, RpcMethod, RpcService};
use super::value::Value;

/// Largest request and largest answer, in bytes of JSON (peerjs.md §6).
pub const MAX_MESSAGE: usize = 64 << 10;
/// Longest `url` and longest text `id`, in bytes.
const MAX_URL: usize = 1024;
const MAX_ID: usize = 256;
/// Longest time a service is waited for, whatever is configured.
const MAX_TIME: Duration = Duration::from_secs(120);

/// What makes a connection one that carries requests: who both ends are to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcSeat {
    /// Portico's own peer id on this connection, the `sender` of answers.
    pub own_id: String,
    /// The far end's peer id, which a request's `sender` must not contradict.
    pub far_id: String,
}

/// One request that waits for its service; its number is unique in the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// An HTTP request to a local service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Told again in the answer.
    pub id: CallId,
    /// The method.
    pub method: RpcMethod,
    /// The whole address, below the configured one.
    pub url: String,
    /// A JSON body.
    pub body: Option<Bytes>,
    /// It must have been answered by then.
    pub timeout: Duration,
    /// Most bytes of the answer's body.
    pub max_response: usize,
}

/// What a service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why a service did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not within its time.
    #[error("the service did not answer in time")]
    Timeout,
    /// The answer is larger than configured.
    #[error("the service's answer is too large")]
    TooLarge,
    /// No connection, or a broken one.
    #[error("the service cannot be reached")]
    Unreachable,
    /// Too many calls wait already for all members together.
    #[error("the gateway is busy")]
    Busy,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    url: String,
    method: String,
    body: Value,
    id: Option<Value>,
}

/// Why a request is answered with an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// 400, 403, 404, 405, 413, 429, 500 or 504.
    pub code: u16,
    message: String,
}

impl Fault {
    /// An error of that code.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a value on such a connection is.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A request, well formed or not.
    Request(Request, Result<(), Fault>),
    /// It has a `type`: an answer to something Portico never asks.
    Answer,
    /// Neither.
    Other,
}

/// Looks at a value of `len` bytes that came on a connection.
pub fn read(value: &Value, len: usize, seat: &RpcSeat) -> Asked {
    let Some(url) = value.get("url") else {
        return if value.get("type").is_some() { Asked::Answer } else { Asked::Other };
    };
    let text = |name: &str, max: usize| value.get(name).and_then(Value::as_text).filter(|text| text.len() <= max);
    let id = value.get("id").filter(|id| id.is_scalar() && id.as_text().is_none_or(|id| id.len() <= MAX_ID));
    let request = Request {
        url: url.as_text().filter(|url| url.len() <= MAX_URL).unwrap_or_default().to_owned(),
        method: text("method", 16).unwrap_or_default().to_owned(),
        body: value.get("body").cloned().unwrap_or(Value::Null),
        id: id.cloned(),
    };
    let fault = |code, message: &str| Err(Fault::new(code, message));
    let checked = if len > MAX_MESSAGE {
        fault(413, "a request has at most 65536 bytes")
    } else if request.url.is_empty() {
        fault(400, "`url` is a text of 1 to 1024 bytes")
    } else if request.method.is_empty() {
        fault(400, "`method` is a text of 1 to 16 bytes")
    } else if value.get("id").is_some() && request.id.is_none() {
        fault(400, "`id` is a number, a short text, true, false or null")
    } else if value.get("sender").is_some_and(|sender| sender.as_text() != Some(&seat.far_id)) {
        fault(400, "`sender` is not who sent this")
    } else {
        Ok(())
    };
    Asked::Request(request, checked)
}

/// Whether a text that is no JSON was to be a request: it begins as an object and names `url`.
pub fn is_broken_request(text: &str) -> bool {
    text.trim_start().starts_with('{') && text.contains("\"url\"")
}

/// What is said of `len` bytes that are no request.
pub fn not_a_request(len: usize) -> Fault {
    if len > MAX_MESSAGE { Fault::new(413, "too large") } else { Fault::new(400, "not a request") }
}

impl Asked {
    /// A request of `len` bytes that is no JSON.
    pub fn unreadable(len: usize) -> Self {
        Self::Request(Request::unreadable(), Err(not_a_request(len)))
    }
}

impl Request {
    /// A value that is nothing of what is understood here.
    pub fn unreadable() -> Self {
        Self { url: String::new(), method: String::new(), body: Value::Null, id: None }
    }

    /// Whether its answer is matched by a number of its own; without one answers keep the requests' order.
    pub fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// The first segment of `url`.
    fn kind(&self) -> &str {
        let path = self.url.strip_prefix('/').unwrap_or(&self.url);
        path.split(['/', '?']).next().unwrap_or_default()
    }

    /// `inject` without a number is not answered when it went well (as the document has it).
    fn is_silent(&self) -> bool {
        self.kind() == "inject" && self.method == "POST" && self.id.is_none()
    }

    /// The answer to what the service replied; `None` where there is to be none, an error where it did not do it.
    pub fn answer(&self, reply: Result<Reply, CallError>, seat: &RpcSeat) -> Result<Option<Value>, Fault> {
        let reply = reply.map_err(|why| {
            let code = match why {
                CallError::Timeout => 504,
                CallError::Busy => 429,
                CallError::TooLarge | CallError::Unreachable => 500,
            };
            Fault::new(code, why.to_string())
        })?;
        if !(200..300).contains(&reply.status) {
            let code = match reply.status {
                400 | 403 | 404 | 405 | 413 | 429 => reply.status,
                408 | 504 => 504,
                _ => 500,
            };
            return Err(Fault::new(code, format!("the service answered {}", reply.status)));
        }
        if self.is_silent() {
            return Ok(None);
        }
        let body = self.body_of(&reply.body)?;
        Ok(Some(self.answer_with(self.kind(), body, seat)))
    }

    fn body_of(&self, body: &[u8]) -> Result<Value, Fault> {
        if body.iter().all(u8::is_ascii_whitespace) {
            let done = || Value::map([("success", Value::Bool(true))]);
            return Ok(if self.kind() == "inject" { done() } else { Value::Null });
        }
        let text = || std::str::from_utf8(body).map(Value::text);
        let value =
            Value::from_json(body).or_else(|_| text()).map_err(|_| Fault::new(500, "the service's answer is not text"))?;
        // 512 bytes are left for what stands around it
        let fits = value.to_json().is_ok_and(|json| json.len() <= MAX_MESSAGE - 512);
        if fits { Ok(value) } else { Err(Fault::new(500, CallError::TooLarge.to_string())) }
    }

    /// An error answer.
    pub fn error(&self, fault: &Fault, seat: &RpcSeat) -> Value {
        let body = [
            ("code", Value::UInt(fault.code.into())),
            ("message", Value::text(&fault.message)),
            ("url", if self.url.is_empty() { Value::Null } else { Value::text(&self.url) }),
        ];
        self.answer_with("error", Value::map(body), seat)
    }

    fn answer_with(&self, kind: &str, body: Value, seat: &RpcSeat) -> Value {
        let method = if self.method.is_empty() { Value::Null } else { Value::text(&self.method) };
        let mut members = vec![("type", Value::text(kind)), ("method", method), ("body", body)];
        members.push(("sender", Value::text(&seat.own_id)));
        members.extend(self.id.clone().map(|id| ("id", id)));
        Value::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl RpcService {
    fn too_large(&self) -> Fault {
        Fault::new(413, format!("this service takes at most {} bytes", self.max_request))
    }
}

/// The allow-list.
#[derive(Clone, Debug, Default)]
pub struct Table {
    services: Vec<RpcService>,
}

impl Table {
    /// From the configuration; a service that [`check_path`] or [`check_target`] refuses is left out.
    pub fn new(config: &RpcConfig) -> Self {
        let good = |service: &&RpcService| check_path(&service.path).is_ok() && check_target(&service.target).is_ok();
        Self { services: config.service.iter().filter(good).cloned().collect() }
    }

    /// The service a request goes to, by its place in the list.
    pub fn service(&self, request: &Request, len: usize) -> Result<(usize, &RpcService), Fault> {
        let (path, query) = target::split(&request.url).map_err(|why| Fault::new(400, why.to_string()))?;
        let fits = |service: &&(usize, &RpcService)| target::matches(&service.1.path, &path);
        let fitting: Vec<(usize, &RpcService)> = self.services.iter().enumerate().collect();
        let mut fitting = fitting.iter().filter(fits).copied().peekable();
        if fitting.peek().is_none() {
            return Err(Fault::new(404, "no service for this `url`"));
        }
        let (at, service) = fitting
            .find(|(_, service)| service.methods.iter().any(|method| method.as_str() == request.method))
            .ok_or_else(|| Fault::new(405, "the service does not take this method"))?;
        if query.is_some() && !service.query {
            return Err(Fault::new(400, "this `url` takes no query"));
        }
        if len > service.max_request {
            return Err(service.too_large());
        }
        Ok((at, service))
    }

    /// The HTTP request to make of it.
    pub fn call(&self, id: CallId, request: &Request, service: &RpcService) -> Result<Call, Fault> {
        let (path, query) = target::split(&request.url).map_err(|why| Fault::new(400, why.to_string()))?;
        let mut url = format!("{}/{}", service.target.trim_end_matches('/'), path.join("/"));
        let mut query = query.unwrap_or_default().to_owned();
        let (method, body) = match request.method.as_str() {
            "GET" => {
                target::append_arguments(&mut query, &request.body).map_err(|why| Fault::new(400, why.to_string()))?;
                (RpcMethod::Get, None)
            }
            _ => {
                let json = request.body.to_json().map_err(|_| Fault::new(400, "`body` holds bytes"))?;
                // a packed value is shorter than the JSON it becomes
                if json.len() > service.max_request {
                    return Err(service.too_large());
                }
                (RpcMethod::Post, (request.body != Value::Null).then(|| json.into()))
            }
        };
        if !query.is_empty() {
            url.push('?');
            url.push_str(&query);
        }
        Ok(Call { id, method, url, body, timeout: service.timeout.min(MAX_TIME), max_response: service.max_response })
    }
}

#[cfg(test)]
mod tests;
