//! The picture of a mixed room.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;

use super::rooms::{room_id, room_named};
use super::views::{Mix, MixRequest};
use crate::http::ingest::read_body;
use crate::http::{ApiError, App, Caller};
use crate::hub::RoomView;
use crate::room::{RoomConfig, Topology};
use crate::vocab::{MixLayout, Right};

/// Largest request body, in bytes.
const MAX_BODY: usize = 1 << 10;

/// How a mixed room looks.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/rooms/{room}/mix", tag = "rooms", params(("room" = String, Path, description = "The room's name")),
    responses((status = 200, body = Mix, description = "Its picture"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such room"),
              (status = 409, body = crate::http::error::ErrorBody, description = "The room is not mixed")),
))]
pub(in crate::http) async fn show(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Mix>, ApiError> {
    let room = room_named(&app, &caller, name).await?;
    layout(&app, &room, None).await
}

/// Changes how a mixed room looks, until the gateway ends or its configuration is read again. Needs the control right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    put, path = "/api/v1/rooms/{room}/mix", tag = "rooms", params(("room" = String, Path, description = "The room's name")),
    request_body = MixRequest,
    responses((status = 200, body = Mix, description = "Its picture from now on"),
              (status = 400, body = crate::http::error::ErrorBody, description = "The request is malformed"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such room"),
              (status = 409, body = crate::http::error::ErrorBody, description = "The room is not mixed")),
))]
pub(in crate::http) async fn change(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Mix>, ApiError> {
    let id = room_id(name.map(|Path(name)| name))?;
    caller.require(&id, Right::Control)?;
    let room = room_named(&app, &caller, Ok(Path(id.to_string()))).await?;
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, MAX_BODY).await?;
    let wanted: MixRequest =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_request("malformed", error.to_string()))?;
    tracing::info!(room = %room.room, layout = MixLayout::from(wanted.layout).as_str(), "layout chosen");
    layout(&app, &room, Some(wanted.layout.into())).await
}

async fn layout(app: &App, room: &RoomView, wanted: Option<MixLayout>) -> Result<Json<Mix>, ApiError> {
    let not_mixed = || ApiError::new(StatusCode::CONFLICT, "not_mixed", format!("the room {} is not mixed", room.room));
    let mix = RoomConfig::mix_source_of(&room.room).filter(|_| room.topology == Topology::Mcu).ok_or_else(not_mixed)?;
    let layout = app.parts.inventory.mix_layout(mix, wanted).await.ok_or_else(not_mixed)?;
    Ok(Json(Mix { layout: layout.into() }))
}
