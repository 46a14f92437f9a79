//! The websocket dialects on their paths: each connection gets a dialect value and a session of the hub.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{ApiError, Caller};
use crate::hub::Hub;
use crate::ops::access::{Access, PageTokens};
use crate::ops::metrics::Metrics;
use crate::signalling::transport::websocket::{Link, upgrade};
use crate::signalling::{Dialect, Entry, page, tribe};
use crate::vocab::Grant;

/// What connections are wired to.
#[derive(Clone)]
pub(super) struct Mounts {
    pub hub: Hub,
    pub access: Arc<Access>,
    pub ice_servers: Vec<String>,
    pub tribe: tribe::TribeConfig,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub metrics: Arc<Metrics>,
}

/// The routes of all websocket dialects.
pub(super) fn routes(mounts: Mounts) -> Router {
    let (page, tribe) = (mounts.clone(), mounts);
    Router::new()
        .route(page::ENTRY.carrier.path, get(async move |caller: Caller, ws: Asked| page.page(caller, ws)))
        .route(tribe::ENTRY.carrier.path, get(async move |caller: Caller, ws: Asked| tribe.tribe(caller, ws)))
}

/// A request for a websocket, or one that is none.
type Asked = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Somebody who opens such a path in a browser is told what it is.
fn asked(ws: Asked) -> Result<WebSocketUpgrade, ApiError> {
    ws.map_err(|rejection| {
        let status = rejection.into_response().status();
        ApiError::new(status, "refused", "this path is a websocket for clients of its dialect; the page for people is at /")
    })
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
        let deps = page::Deps {
            access: Arc::new(PageTokens(Arc::clone(&self.access))),
            grant,
            remote: Some(caller.remote),
            ice_servers: self.ice_servers.iter().map(|url| page::IceServer::open(url)).collect(),
            wall: SystemTime::now(),
        };
        self.run(&page::ENTRY, caller.remote, ws, |now| Box::new(page::Page::new(now, deps)))
    }

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
        self.run(&tribe::ENTRY, caller.remote, ws, |now| Box::new(tribe::Tribe::new(now, deps)))
    }

    fn run(
        self,
        entry: &Entry,
        remote: IpAddr,
        ws: WebSocketUpgrade,
        dialect: impl FnOnce(Instant) -> Box<dyn Dialect> + Send + 'static,
    ) -> Response {
        let guard = (self.tasks.token(), Open::new(self.metrics, entry.name.as_str()));
        upgrade(ws, entry, Link { hub: self.hub, realm: None, remote: Some(remote), stop: self.stop }, dialect, guard)
    }
}

/// Counts a session for as long as it lives.
struct Open {
    metrics: Arc<Metrics>,
    dialect: &'static str,
}

impl Open {
    fn new(metrics: Arc<Metrics>, dialect: &'static str) -> Self {
        metrics.session_opened(dialect);
        Self { metrics, dialect }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.session_closed(self.dialect);
    }
}
