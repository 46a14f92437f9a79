//! The built-in page's websocket.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Asked, Mounts, asked};
use crate::http::Caller;
use crate::ops::access::PageTokens;
use crate::signalling::page;
use crate::vocab::Grant;

pub(super) fn routes(mounts: Mounts) -> Router {
    Router::new().route(page::ENTRY.carrier.path, get(async move |caller: Caller, ws: Asked| mounts.page(caller, ws)))
}

impl Mounts {
    fn page(self, caller: Caller, ws: Asked) -> Response {
        let ws = match asked(ws) {
            Ok(ws) => ws,
            Err(refusal) => return refusal.into_response(),
        };
        let grant = match caller.grant() {
            Ok(grant) => grant,
            Err(refusal) if caller.token().is_some() => return refusal.into_response(),
            // the page brings its token in `join`, and hears there that it needs one: a refused upgrade tells a browser nothing
            Err(_) => Grant::nothing(),
        };
        let wall = SystemTime::now();
        let deps = page::Deps {
            access: Arc::new(PageTokens(Arc::clone(&self.access))),
            grant,
            remote: Some(caller.remote),
            ice_servers: self
                .ice_servers
                .told(wall)
                .into_iter()
                .map(|server| page::IceServer::new(server.url, server.credentials))
                .collect(),
            wall,
        };
        self.run(&page::ENTRY, None, caller.remote, ws, |now| Box::new(page::Page::new(now, deps)))
    }
}
