//! The dialect tribe.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Asked, Mounts, asked};
use crate::http::Caller;
use crate::signalling::tribe;

pub(super) fn routes(mounts: Mounts) -> Router {
    Router::new().route(tribe::ENTRY.carrier.path, get(async move |caller: Caller, ws: Asked| mounts.tribe(caller, ws)))
}

impl Mounts {
    /// A tribe client brings its bearer in `join`.
    fn tribe(self, caller: Caller, ws: Asked) -> Response {
        let ws = match asked(ws) {
            Ok(ws) => ws,
            Err(refusal) => return refusal.into_response(),
        };
        let deps = tribe::Deps {
            bearer: Arc::clone(&self.access) as _,
            remote: Some(caller.remote),
            config: self.tribe.clone(),
            wall: SystemTime::now(),
        };
        self.run(&tribe::ENTRY, None, caller.remote, ws, |now| Box::new(tribe::Tribe::new(now, deps)))
    }
}
