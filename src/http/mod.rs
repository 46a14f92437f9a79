//! HTTP: the router, API handlers, WHIP and WHEP, the error body, the page's files and the server loop.
//!
//! It asks the hub and turns what it says into HTTP; it decides nothing about rooms. Every request passes [`edge`] once, which
//! gives it a request id, checks host, origin and rate, and writes the error body; every handler asks [`access::Caller`] for the
//! right it needs, and nothing else checks rights.
//!
//! ```text
//! TCP/TLS ─► serve ─► edge ─┬─► ingest ─► resource task ─► hub session      /whip /whep
//!                           ├─► api, events ─► hub, Inventory               /api/v1
//!                           ├─► health, tribe                               /healthz /readyz /metrics /memstats /state
//!                           ├─► ui                                          /
//!                           └─► the caller's own routes (websockets)
//! ```

pub mod access;
pub mod api;
mod bridges;
mod conditional;
pub mod config;
mod edge;
mod error;
mod events;
mod health;
mod hub_door;
mod ingest;
mod inventory;
mod linger;
#[cfg(feature = "openapi")]
pub mod openapi;
mod origin;
mod read_ahead;
mod resource;
mod serve;
mod stills;
mod tribe;
mod ui;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use access::{AccessCheck, AccessDenied, Caller, SignError, TokenOrder, TokenSigner};
pub use bridges::BridgeDoor;
pub use config::{HttpConfig, Limits};
pub use error::{ApiError, Verbatim};
pub use health::{Readiness, ReadinessItem};
pub use hub_door::HubDoor;
pub use inventory::{Inventory, PlanOutcome, PlanRow};
pub use origin::Origins;
pub use serve::{Admission, serve};
pub use stills::{NoStill, Still, Stills};

use crate::media::record::Recorder;
use crate::ops::metrics::Metrics;
use crate::ops::turn::IceServers;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

/// What the router is built from.
pub struct Parts {
    /// The rooms.
    pub hub: Arc<dyn HubDoor>,
    /// Turns a token, or its absence, into rights.
    pub access: Arc<dyn AccessCheck>,
    /// Signs tokens; `None` when no secret is configured, and `POST /api/v1/tokens` answers 409 then.
    pub signer: Option<Arc<dyn TokenSigner>>,
    /// Sources, plans and peers as the API shows them.
    pub inventory: Arc<dyn Inventory>,
    /// Takes pictures of streams.
    pub stills: Arc<dyn Stills>,
    /// Recordings and their files.
    pub recorder: Recorder,
    /// Rooms joined to remote places.
    pub bridges: Arc<dyn BridgeDoor>,
    /// Servers told to WHIP and WHEP clients.
    pub ice_servers: IceServers,
    /// Origins and host names that browsers may come from, besides the gateway's own.
    pub origins: Origins,
    /// Reverse proxies that are believed when they say whom a request comes from.
    pub trusted_proxies: Vec<IpAddr>,
    /// Sizes, rates and counts.
    pub limits: Limits,
    /// Counts requests, WHIP and WHEP sessions and refusals.
    pub figures: Arc<Metrics>,
    /// Writes the metrics in OpenMetrics text form.
    pub metrics: Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>,
    /// What the gateway still waits for.
    pub readiness: Readiness,
    /// Cancelled when the gateway stops: WHIP and WHEP sessions leave and event streams end.
    pub shutdown: CancellationToken,
    /// Tasks of WHIP and WHEP sessions; whoever stops the gateway waits for it.
    pub tasks: TaskTracker,
}

/// What handlers share.
pub(crate) struct Shared {
    parts: Parts,
    resources: resource::Resources,
    streams: Arc<tokio::sync::Semaphore>,
    events: Arc<events::EventLog>,
}

/// What every handler gets as axum state.
pub(crate) type App = Arc<Shared>;

/// The checks that every request passes. One for all listeners, so that limits are counted together. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<edge::Edge>);

impl Gate {
    /// From what the router is built from as well.
    pub fn new(parts: &Parts) -> Self {
        Self(Arc::new(edge::Edge::new(parts)))
    }

    /// The routes behind the checks; their handlers can take a [`Caller`].
    pub fn guard(&self, routes: Router) -> Router {
        routes.layer(axum::middleware::from_fn_with_state(Arc::clone(&self.0), edge::pass))
    }
}

/// The whole router. `extra` brings the routes of others (the websocket dialects); they pass the same checks at the edge, and
/// their handlers can take a [`Caller`]. Must be called within the runtime: it starts the task that numbers events.
pub fn router(parts: Parts, gate: &Gate, extra: Router) -> Router {
    let events = events::EventLog::new();
    parts.tasks.spawn(events.clone().run(parts.hub.reports(), parts.shutdown.clone()));
    let shared: App = Arc::new(Shared {
        events,
        resources: resource::Resources::new(parts.limits.max_http_sessions),
        streams: Arc::new(tokio::sync::Semaphore::new(parts.limits.max_event_streams)),
        parts,
    });
    let routes = Router::new()
        .merge(ingest::routes())
        .nest("/api/v1", api::routes())
        .merge(openapi_route())
        .merge(health::routes())
        .merge(tribe::routes())
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(ui::file)
        .with_state(shared)
        .merge(extra);
    gate.guard(routes)
}

#[cfg(feature = "openapi")]
fn openapi_route() -> Router<App> {
    Router::new().route("/api/openapi.json", axum::routing::get(openapi::document))
}

#[cfg(not(feature = "openapi"))]
fn openapi_route() -> Router<App> {
    Router::new()
}
