//! The websocket dialects on their paths, one file each: every connection gets a dialect value and a session of the hub.

mod algorea;
mod bridge;
mod page;
pub(super) mod peerjs;
mod sigver;
#[cfg(feature = "socketio")]
pub(super) mod socketio;
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
use crate::ops::turn::IceServers;
use crate::signalling::algorea::AlgoreaConfig;
use crate::signalling::listener::{ListenerConfig, ListenerDialect, RoomPrefixes};
use crate::signalling::prefixed::Prefixed;
use crate::signalling::transport::websocket::{Link, upgrade};
use crate::signalling::tribe::TribeConfig;
use crate::signalling::{Dialect, Entry, Realm, RealmId};
use crate::vocab::RoomPrefix;

/// What connections are wired to.
#[derive(Clone)]
pub(super) struct Mounts {
    pub hub: Hub,
    pub access: Arc<Access>,
    pub ice_servers: IceServers,
    pub tribe: TribeConfig,
    pub algorea: AlgoreaConfig,
    #[cfg(feature = "socketio")]
    pub socketio: Arc<socketio::Endpoints>,
    pub prefixes: Arc<RoomPrefixes>,
    /// That of the listener, where it has one of its own.
    pub listener_prefix: Option<RoomPrefix>,
    pub peerjs: Arc<peerjs::Brokers>,
    pub bridges: crate::bridge::Bridges,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub metrics: Arc<Metrics>,
}

/// The routes of all websocket dialects.
pub(super) fn routes(mounts: Mounts) -> Router {
    let routes = page::routes(mounts.clone())
        .merge(algorea::routes(mounts.clone()))
        .merge(bridge::routes(mounts.clone()))
        .merge(sigver::routes(mounts.clone()))
        .merge(peerjs::routes(&mounts))
        .merge(tribe::routes(mounts.clone()));
    #[cfg(feature = "socketio")]
    let routes = routes.merge(socketio::routes(mounts));
    routes
}

/// What the mounts keep across their connections, each at the place its mount names.
pub(super) fn realms() -> Vec<Box<dyn Realm>> {
    vec![sigver::realm()]
}

/// The routes of a listener of its own. `None`: this build does not have the dialect.
pub(super) fn listener_routes(mut mounts: Mounts, listener: &ListenerConfig) -> Option<Router> {
    mounts.listener_prefix.clone_from(&listener.room_prefix);
    match listener.dialect {
        ListenerDialect::Algorea => Some(algorea::listener_routes(mounts, listener)),
        #[cfg(feature = "socketio")]
        ListenerDialect::WebrtcStar => socketio::listener_routes(mounts, listener),
        #[cfg(not(feature = "socketio"))]
        ListenerDialect::WebrtcStar => None,
        ListenerDialect::Sigver => Some(sigver::listener_routes(mounts, listener)),
        ListenerDialect::Peerjs | ListenerDialect::Liberdus => peerjs::listener_routes(mounts, listener),
    }
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
    /// What is put before the names of rooms that clients of a dialect ask for here. [`Mounts::run`] does it; only who names rooms
    /// before a session starts needs to ask.
    fn prefix(&self, entry: &Entry) -> RoomPrefix {
        self.listener_prefix.clone().unwrap_or_else(|| self.prefixes.of(entry.name).clone())
    }

    /// Runs a dialect on the connection. `realm` is what the mount keeps across its connections, if anything.
    fn run(
        self,
        entry: &Entry,
        realm: Option<RealmId>,
        remote: IpAddr,
        ws: WebSocketUpgrade,
        dialect: impl FnOnce(Instant) -> Box<dyn Dialect> + Send + 'static,
    ) -> Response {
        let guard = (self.tasks.token(), Open::new(Arc::clone(&self.metrics), entry.name.as_str()));
        let prefix = self.prefix(entry);
        let dialect = |now| Prefixed::wrap(now, dialect(now), prefix);
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
