//! `/healthz`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{ApiError, App, Caller};
use crate::vocab::Right;

/// What OpenMetrics calls itself.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the gateway waits for before it can serve. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

/// One thing that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadinessItem {
    /// What.
    pub what: String,
    /// Why it is not there yet.
    pub why: String,
}

impl Readiness {
    /// Waits for these, each with "starting" as the reason.
    pub fn waiting_for(things: &[&'static str]) -> Self {
        Self(Arc::new(Mutex::new(things.iter().map(|what| (*what, "starting".to_owned())).collect())))
    }

    /// The thing is there.
    pub fn ready(&self, what: &'static str) {
        self.lock().remove(what);
    }

    /// The thing is missing (again).
    pub fn missing(&self, what: &'static str, why: impl Into<String>) {
        self.lock().insert(what, why.into());
    }

    /// What is missing now; empty when ready.
    pub fn waiting(&self) -> Vec<ReadinessItem> {
        self.lock().iter().map(|(what, why)| ReadinessItem { what: (*what).into(), why: why.clone() }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    waiting: Vec<ReadinessItem>,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// Open to all: a load balancer has no token, and the reasons name parts of the gateway, not its users.
async fn readyz(State(app): State<App>) -> Response {
    let waiting = app.parts.readiness.waiting();
    let ready = waiting.is_empty() && !app.parts.shutdown.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Ready { ready, waiting })).into_response()
}

/// Needs the control right; callers from loopback have it unless config says otherwise.
async fn metrics(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.require_anywhere(Right::Control)?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], (app.parts.metrics)().await).into_response())
}
