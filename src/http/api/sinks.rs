//! How the events for brokers stand.

use axum::Json;
use axum::extract::State;

use super::views::EventState;
use crate::http::{ApiError, App, Caller};
use crate::vocab::Right;

/// The store of events and the sinks they go to.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/sinks", tag = "gateway",
    responses((status = 200, body = EventState, description = "The store and the configured sinks")),
))]
pub(in crate::http) async fn sinks(State(app): State<App>, caller: Caller) -> Result<Json<EventState>, ApiError> {
    // errors hold addresses of brokers
    caller.require_anywhere(Right::Control)?;
    Ok(Json(app.parts.inventory.events().await.into()))
}
