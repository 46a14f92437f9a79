//! `/api/v1`: rooms, members, streams, sources, plan, peers, sinks, bridges, tokens, events, version.
//!
//! Reading what a room has needs the right to subscribe (or control) there, and lists leave out the rooms a caller may not see;
//! changes need control. Answers are of types of their own ([`views`]), so that they do not change when the inside does.

pub(super) mod bridges;
pub(super) mod mix;
pub(super) mod recordings;
pub(super) mod rooms;
pub(super) mod sinks;
pub(super) mod snapshot;
pub(super) mod sources;
pub(super) mod tokens;
pub mod views;

use axum::routing::{delete, get, post};
use axum::{Json, Router};

use super::{App, events};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/version", get(version))
        .route("/rooms", get(rooms::list))
        .route("/rooms/{room}", get(rooms::one))
        .route("/rooms/{room}/members", get(rooms::members))
        .route("/rooms/{room}/members/{member}", delete(rooms::evict))
        .route("/rooms/{room}/mix", get(mix::show).put(mix::change))
        .route("/rooms/{room}/streams/{stream}/snapshot.jpg", get(snapshot::snapshot))
        .route("/rooms/{room}/recordings", get(recordings::of_room).post(recordings::start))
        .route("/rooms/{room}/recordings/{id}", delete(recordings::stop))
        .route("/recordings", get(recordings::all))
        .route("/recordings/{room}/{stream}/{file}", get(recordings::download).delete(recordings::remove))
        .route("/streams", get(rooms::streams))
        .route("/sources", get(sources::sources))
        .route("/plan", get(sources::plan))
        .route("/peers", get(sources::peers))
        .route("/sinks", get(sinks::sinks))
        .route("/bridges", get(bridges::list).post(bridges::add))
        .route("/bridges/{name}", get(bridges::one).delete(bridges::remove))
        .route("/tokens", post(tokens::sign))
        .route("/events", get(events::events))
}

/// Which Portico this is. Needs no right.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/version", tag = "gateway",
    responses((status = 200, description = "Name and version", body = views::Version)),
))]
pub(super) async fn version() -> Json<views::Version> {
    Json(views::Version { name: "portico".into(), version: env!("CARGO_PKG_VERSION").into() })
}
