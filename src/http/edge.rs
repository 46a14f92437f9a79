//! What every request passes: request id, host, origin and rate checks, the time limit, the error body, CORS headers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::access::AccessCheck;
use super::error::{RefusedAs, Verbatim};
use super::linger::linger;
use super::{ApiError, Caller, Limits, Origins, Parts};
use crate::ops::metrics::Metrics;

/// Carries the request's id in both directions of the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Headers that pages of other origins may send.
const ALLOW_HEADERS: &str = "Authorization, Content-Type, If-Match, Last-Event-ID, Link";
/// Headers that pages of other origins may read; WHIP and WHEP need the first four.
const EXPOSE_HEADERS: &str = "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate, X-Request-Id";
/// Browsers need not ask again for ten minutes.
const PREFLIGHT_AGE: &str = "600";
/// Addresses remembered by the rate limiter before those at rest are forgotten. 4096 cost about 300 kB.
const REMEMBERED_ADDRESSES: usize = 4096;

/// The checks' state.
pub(super) struct Edge {
    access: Arc<dyn AccessCheck>,
    origins: Origins,
    rate: Rate,
    request_time: Duration,
    trusted_proxies: Vec<IpAddr>,
    metrics: Arc<Metrics>,
}

impl Edge {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            access: parts.access.clone(),
            origins: parts.origins.clone(),
            rate: Rate::new(&parts.limits),
            request_time: parts.limits.request_time,
            trusted_proxies: parts.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
            metrics: parts.figures.clone(),
        }
    }

    /// Host, origin and rate; says which origin the answer may be shown to.
    fn check(&self, remote: IpAddr, head: &Head) -> Result<Option<HeaderValue>, ApiError> {
        let host = head.headers.get(header::HOST).and_then(|value| value.to_str().ok()).or(head.uri.host());
        if remote.is_loopback()
            && let Some(host) = host
            && !self.origins.knows_host(host)
        {
            let message = "this gateway is not known by that name; add it to http.allowed_origins, as in \"https://NAME\"";
            return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message));
        }
        let shown_to = match head.headers.get(header::ORIGIN) {
            Some(origin) if origin.to_str().is_ok_and(|origin| self.origins.allows(origin, host)) => Some(origin.clone()),
            // the start page tells nothing of anybody; MUTE reads it from other origins to see whether its server is there
            Some(origin) if head.uri.path() == "/" && !changes(head) => Some(origin.clone()),
            Some(_) if changes(head) => {
                let message = "pages of that origin may not use this gateway; add it to http.allowed_origins";
                return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_refused", message));
            }
            _ => None,
        };
        self.rate.check(remote).map_err(|wait| {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "too many requests from this address")
                .retry_after(wait.as_secs() + 1)
        })?;
        Ok(shown_to)
    }
}

/// Whether a request of a foreign page must be refused outright rather than merely not shown its answer.
fn changes(head: &Head) -> bool {
    head.headers.contains_key(header::UPGRADE) || !(head.method.is_safe())
}

/// The middleware around everything.
pub(super) async fn pass(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let request_id = uuid::Uuid::new_v4().simple().to_string();
    let (mut head, body) = request.into_parts();
    let remote = head.extensions.get::<ConnectInfo<SocketAddr>>().map_or(Ipv6Addr::UNSPECIFIED.into(), |info| info.0.ip());
    let remote = client_address(remote.to_canonical(), &head.headers, &edge.trusted_proxies);
    let preflight = head.method == Method::OPTIONS && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let method = head.method.clone();
    let version = head.version;
    // the path only: a query may hold a token
    let path = head.uri.path().to_owned();

    let (mut response, shown_to) = match edge.check(remote, &head) {
        Err(refusal) => {
            let answer = refusal.finish(&request_id);
            if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                drop(linger(&head.headers, body));
            }
            (answer, None)
        }
        Ok(shown_to) => {
            let caller = Caller::new(remote, &head, edge.access.clone());
            head.extensions.insert(caller);
            let body = linger(&head.headers, body);
            let answer = tokio::time::timeout(edge.request_time, next.run(Request::from_parts(head, body))).await;
            let response = answer.unwrap_or_else(|_| {
                ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long").finish(&request_id)
            });
            (finish(response, &request_id), shown_to)
        }
    };
    let unread = matches!(response.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
    if unread && version <= Version::HTTP_11 {
        // what is left of the body is not read: a client must know that its next request needs another connection (RFC 9112 §9.6)
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if preflight && matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND) {
        response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let headers = response.headers_mut();
    if let Some(origin) = shown_to {
        share(headers, origin, preflight);
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    edge.metrics.http_request(status);
    let code = response.extensions().get::<RefusedAs>().map(|refused| refused.0);
    match (status, code) {
        (500.., _) => tracing::warn!(%remote, %method, path, status, code, request_id, "request failed"),
        // what somebody wanted to do and could not, such as publishing; the rest, and a flood, is for whoever debugs
        (_, Some(code)) if !method.is_safe() && status != StatusCode::TOO_MANY_REQUESTS => {
            tracing::info!(%remote, %method, path, status, code, request_id, "request refused");
        }
        _ => tracing::debug!(%remote, %method, path, status, request_id, "request answered"),
    }
    response
}

/// Writes the body of a refusal; keeps what the router added (`Allow`).
fn finish(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if response.extensions().get::<Verbatim>().is_some() => return response,
        // a refusal of the framework, such as that of a plain request to a websocket
        None if (status.is_client_error() || status.is_server_error()) && is_text(response.headers()) => {
            ApiError::new(status, "refused", status.canonical_reason().unwrap_or("the request was refused"))
        }
        None => return response,
    };
    let mut finished = error.finish(request_id);
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        finished.headers_mut().entry(header::ALLOW).or_insert(allow);
    }
    finished
}

fn is_text(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"text/plain"))
}

/// The CORS headers, as the Fetch standard has them. No credentials mode: tokens travel in headers, there are no cookies.
fn share(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSE_HEADERS));
    if preflight {
        let methods = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE, OPTIONS");
        headers.entry(header::ACCESS_CONTROL_ALLOW_METHODS).or_insert(methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOW_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE));
    }
}

/// Whom a request comes from. A trusted proxy's word is believed: of `X-Forwarded-For` the last address that is no trusted proxy
/// itself (those before it are whatever the client wrote), else `X-Real-Ip`.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    if !trusted.contains(&peer) {
        return peer;
    }
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let hops = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let forwarded = hops.rsplit(',').map(parse).take_while(Option::is_some).flatten().find(|address| !trusted.contains(address));
    let real = || headers.get("x-real-ip").and_then(|value| parse(value.to_str().ok()?));
    forwarded.or_else(real).unwrap_or(peer)
}

/// What limits are counted by: an address, an IPv6 one by its /64, since a host has all of it.
pub(super) fn limit_key(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// Requests per address over time.
struct Rate {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
}

impl Rate {
    fn new(limits: &Limits) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.requests_per_second)).allow_burst(at_least_one(limits.request_burst));
        Self { limiter: RateLimiter::new(quota, HashMapStateStore::default(), DefaultClock::default()) }
    }

    fn check(&self, remote: IpAddr) -> Result<(), Duration> {
        if remote.is_loopback() {
            return Ok(());
        }
        if self.limiter.len() >= REMEMBERED_ADDRESSES {
            self.limiter.retain_recent();
            if self.limiter.len() >= REMEMBERED_ADDRESSES {
                return Err(Duration::from_secs(1));
            }
        }
        self.limiter.check_key(&limit_key(remote)).map_err(|not_yet| not_yet.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let mut client = |peer: &str, forwarded: &'static str| {
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(client("192.0.2.1", "127.0.0.1"), "192.0.2.1", "a client may write what it likes");
        assert_eq!(client("127.0.0.1", "127.0.0.1, 192.0.2.7, 10.0.0.1"), "192.0.2.7");
        assert_eq!(client("127.0.0.1", "192.0.2.9, rubbish"), "127.0.0.1");
        assert_eq!(client("10.0.0.1", "::ffff:192.0.2.8"), "192.0.2.8");
        headers.remove("x-forwarded-for");
        headers.insert("x-real-ip", HeaderValue::from_static("2001:db8::1"));
        assert_eq!(client_address(trusted[0], &headers, &trusted).to_string(), "2001:db8::1");
    }
}
