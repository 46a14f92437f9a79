//! Sources, plan and peers.

use axum::Json;
use axum::extract::State;

use super::rooms::sees;
use super::views::{Peer, Plan, Source};
use crate::http::{ApiError, App, Caller};
use crate::vocab::{Grant, Right};

/// Sources are the gateway's, not a room's: a caller that may play anything may see them, one with control sees errors too, which
/// can hold addresses.
fn viewer(caller: &Caller) -> Result<Grant, ApiError> {
    let grant = caller.grant()?;
    match grant.rights.has(Right::Subscribe) || grant.rights.has(Right::Control) {
        true => Ok(grant),
        false => Err(caller.lacking(Right::Subscribe)),
    }
}

/// All sources with their figures.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/sources", tag = "media",
    responses((status = 200, body = Vec<Source>, description = "The configured sources")),
))]
pub(in crate::http) async fn sources(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Source>>, ApiError> {
    let grant = viewer(&caller)?;
    let mut sources: Vec<Source> = app.parts.inventory.sources().await.into_iter().map(Source::from).collect();
    if !grant.rights.has(Right::Control) {
        sources.iter_mut().for_each(|source| source.error = None);
    }
    Ok(Json(sources))
}

/// For each source and codec: the path that would be chosen, or why there is none.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/plan", tag = "media",
    responses((status = 200, body = Vec<Plan>, description = "What the planner says")),
))]
pub(in crate::http) async fn plan(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Plan>>, ApiError> {
    viewer(&caller)?;
    Ok(Json(app.parts.inventory.plan().await.into_iter().map(Plan::from).collect()))
}

/// The connections of the rooms the caller may see, with their figures.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/peers", tag = "media",
    responses((status = 200, body = Vec<Peer>, description = "Living connections")),
))]
pub(in crate::http) async fn peers(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Peer>>, ApiError> {
    let grant = viewer(&caller)?;
    let peers = app.parts.inventory.peers().await.into_iter().filter(|(owner, _)| sees(&grant, &owner.room));
    let peers = peers.map(|(owner, mut figures)| {
        if !grant.allows(&owner.room, Right::Control) {
            figures.remote = None;
        }
        Peer::from((owner, figures))
    });
    Ok(Json(peers.collect()))
}
