//! The websocket dialects on their paths, one file each: every connection gets a dialect value and a session of the hub.

mod page;
pub(super) mod peerjs;
mod tribe;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::ApiError;
use crate::hub::Hub;
use crate::ops::access::Access;
use crate::ops::metrics::Metrics;
use crate::signalling::transport::websocket::{Link, upgrade};
use crate::signalling::{Dialect, Entry, RealmId, tribe::TribeConfig};

/// What connections are wired to.
#[derive(Clone)]
pub(super) struct Mounts {
    pub hub: Hub,
    pub access: Arc<Access>,
    pub ice_servers: Vec<String>,
    pub tribe: TribeConfig,
    pub peerjs: Arc<peerjs::Brokers>,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub metrics: Arc<Metrics>,
}

/// The routes of all websocket dialects.
pub(super) fn routes(mounts: Mounts) -> Router {
    page::routes(mounts.clone()).merge(peerjs::routes(&mounts)).merge(tribe::routes(mounts))
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
    /// Runs a dialect on the connection. `realm` is what the mount keeps across its connections, if anything.
    fn run(
        self,
        entry: &Entry,
        realm: Option<RealmId>,
        remote: IpAddr,
        ws: WebSocketUpgrade,
        dialect: impl FnOnce(Instant) -> Box<dyn Dialect> + Send + 'static,
    ) -> Response {
        let guard = (self.tasks.token(), Open::new(self.metrics, entry.name.as_str()));
        upgrade(ws, entry, Link { hub: self.hub, realm, remote: Some(remote), stop: self.stop }, dialect, guard)
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
