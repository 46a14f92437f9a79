//! Where bridges of other gateways come in.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Mounts;
use crate::bridge;
use crate::http::{ApiError, Caller};

pub(super) fn routes(mounts: Mounts) -> Router {
    Router::new().route(bridge::PORTICO_PATH, get(async move |caller: Caller, request: Request| mounts.bridge(caller, request)))
}

impl Mounts {
    /// Upgrades the connection (RFC 6455 §4.2) and hands it to the bridges, which speak over both ends' websockets alike.
    fn bridge(self, caller: Caller, mut request: Request) -> Response {
        let Some(accept) = asked(request.method(), request.headers()) else {
            let message = "this path is a websocket for bridges of other gateways; the page for people is at /";
            return ApiError::new(StatusCode::BAD_REQUEST, "refused", message).into_response();
        };
        let grant = match caller.grant() {
            Ok(grant) => grant,
            Err(refusal) => return refusal.into_response(),
        };
        if grant.rights == crate::vocab::Rights::NONE {
            return caller
                .require_anywhere(crate::vocab::Right::Publish)
                .err()
                .map_or_else(|| StatusCode::FORBIDDEN.into_response(), IntoResponse::into_response);
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (bridges, tasks, remote) = (self.bridges, self.tasks, caller.remote);
        tasks.spawn(async move {
            match upgrade.await {
                Ok(upgraded) => bridges.answer(TokioIo::new(upgraded), remote, grant).await,
                Err(error) => tracing::debug!(%remote, %error, "websocket upgrade failed"),
            }
        });
        let headers = [
            (header::CONNECTION, "upgrade".to_owned()),
            (header::UPGRADE, "websocket".to_owned()),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// What answers a request for a websocket; `None` for another.
fn asked(method: &Method, headers: &HeaderMap) -> Option<String> {
    let has = |name, word: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)).then_some(())
    };
    has(header::CONNECTION, "upgrade")?;
    has(header::UPGRADE, "websocket")?;
    has(header::SEC_WEBSOCKET_VERSION, "13")?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    (method == Method::GET).then(|| derive_accept_key(key.as_bytes()))
}
