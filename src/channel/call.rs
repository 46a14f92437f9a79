//! Carries requests to the configured local HTTP services: the thin half of [`rpc`](super::rpc).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;

use super::config::RpcMethod;
use super::rpc::{Call, CallError, CallId, Reply};
use crate::ops::web;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A service on the LAN that does not take a connection in this time is down.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Makes the calls; cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    client: reqwest::Client,
}

impl Caller {
    /// Follows no redirect, uses no proxy, keeps no cookies. Fails when the TLS provider is not installed.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = web::client(|it| {
            let it = it.redirect(Policy::none()).no_proxy().connect_timeout(CONNECT_LIMIT);
            it.user_agent(concat!("portico/", env!("CARGO_PKG_VERSION")))
        })?;
        Ok(Self { client })
    }

    /// Asks the service; returns within the call's time. What is returned goes to the desk.
    pub async fn run(&self, call: Call) -> (CallId, Result<Reply, CallError>) {
        let id = call.id;
        let limit = call.timeout;
        let reply = tokio::time::timeout(limit, self.ask(call)).await.unwrap_or(Err(CallError::Timeout));
        if let Err(why) = &reply {
            tracing::debug!(call = id.0, error = %why, "a service did not answer");
        }
        (id, reply)
    }

    async fn ask(&self, call: Call) -> Result<Reply, CallError> {
        let request = match call.method {
            RpcMethod::Get => self.client.get(&call.url),
            RpcMethod::Post => self.client.post(&call.url),
        };
        let request = request.header(ACCEPT, JSON);
        let request = match call.body {
            Some(body) => request.header(CONTENT_TYPE, JSON).body(body),
            None => request,
        };
        let mut response =
            request.send().await.map_err(|error| if error.is_timeout() { CallError::Timeout } else { CallError::Unreachable })?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            // of a refusal only the status is told
            return Ok(Reply { status, body: Bytes::new() });
        }
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|_| CallError::Unreachable)? {
            if body.len() + part.len() > call.max_response {
                return Err(CallError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply { status, body: body.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::http::{HeaderMap, StatusCode, Uri};
    use axum::response::Redirect;
    use axum::routing::{get, post};

    use super::*;

    async fn service() -> SocketAddr {
        let echo = |headers: HeaderMap, uri: Uri, body: String| async move {
            let head = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
            format!("{uri} {} {} {body}", head("accept"), head("content-type"))
        };
        let routes = Router::new()
            .route("/echo", get(echo).post(echo))
            .route("/away", get(async || Redirect::temporary("/echo")))
            .route("/large", get(async || "x".repeat(2000)))
            .route("/never", get(async || std::future::pending::<()>().await))
            .route("/sorry", post(async || (StatusCode::NOT_FOUND, "a page")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    #[tokio::test]
    async fn calls_reach_their_service_and_nothing_else() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (address, caller) = (service().await, Caller::new().unwrap());
        let call = |path: &str, method, body: Option<&str>, millis| Call {
            id: CallId(7),
            method,
            url: format!("http://{address}{path}"),
            body: body.map(|body| Bytes::copy_from_slice(body.as_bytes())),
            timeout: Duration::from_millis(millis),
            max_response: 1000,
        };
        let run = async |path: &str, method, body, millis| {
            let (id, reply) = caller.run(call(path, method, body, millis)).await;
            assert_eq!(id, CallId(7));
            reply.map(|reply| (reply.status, String::from_utf8(reply.body.to_vec()).unwrap()))
        };
        let (get, post) = (RpcMethod::Get, RpcMethod::Post);
        assert_eq!(run("/echo?a=1", get, None, 5000).await.unwrap(), (200, "/echo?a=1 application/json - ".into()));
        let posted = run("/echo", post, Some("{}"), 5000).await.unwrap();
        assert_eq!(posted, (200, "/echo application/json application/json {}".into()));
        assert_eq!(run("/away", get, None, 5000).await.unwrap(), (307, String::new()), "no redirect is followed");
        assert_eq!(run("/sorry", post, None, 5000).await.unwrap(), (404, String::new()));
        assert_eq!(run("/large", get, None, 5000).await, Err(CallError::TooLarge));
        assert_eq!(run("/never", get, None, 50).await, Err(CallError::Timeout));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = Call { url: format!("http://{}/", free.local_addr().unwrap()), ..call("", get, None, 5000) };
        drop(free);
        assert_eq!(caller.run(nowhere).await.1, Err(CallError::Unreachable));
    }
}
