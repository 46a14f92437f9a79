//! Rooms, members and streams.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::views::{Member, PlacedStream, Room, Stream};
use crate::http::{ApiError, App, Caller};
use crate::hub::RoomView;
use crate::media::record::RecordingState;
use crate::vocab::{Grant, MemberId, Right, RoomId};

/// Whether the grant shows what is in the room.
pub(in crate::http) fn sees(grant: &Grant, room: &RoomId) -> bool {
    grant.allows(room, Right::Subscribe) || grant.allows(room, Right::Control)
}

/// The rooms a caller may see. A grant that shows no room at all is 401 or 403, not an empty list.
async fn visible_rooms(app: &App, caller: &Caller) -> Result<Vec<RoomView>, ApiError> {
    let grant = caller.grant()?;
    if !grant.rights.has(Right::Subscribe) && !grant.rights.has(Right::Control) {
        return Err(caller.lacking(Right::Subscribe));
    }
    let mut rooms = app.parts.hub.rooms().await?;
    rooms.retain(|room| sees(&grant, &room.room));
    Ok(rooms)
}

pub(super) async fn room_named(
    app: &App,
    caller: &Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<RoomView, ApiError> {
    let room = room_id(name.map(|Path(name)| name))?;
    let grant = caller.grant()?;
    if !sees(&grant, &room) {
        return Err(caller.lacking(Right::Subscribe));
    }
    let found = app.parts.hub.rooms().await?.into_iter().find(|view| view.room == room);
    found.ok_or_else(|| ApiError::not_found("unknown_room", format!("there is no room {room}")))
}

pub(super) fn room_id(name: Result<String, PathRejection>) -> Result<RoomId, ApiError> {
    let name = name.map_err(|error| ApiError::bad_request("bad_name", error.body_text()))?;
    RoomId::new(&name).map_err(|error| ApiError::bad_request("bad_name", error.to_string()))
}

/// All rooms the caller may see.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/rooms", tag = "rooms",
    responses((status = 200, body = Vec<Room>, description = "The rooms that are open now"),
              (status = 401, body = crate::http::error::ErrorBody, description = "A token is needed")),
))]
pub(in crate::http) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Room>>, ApiError> {
    let recorded = recorded(&app);
    let shown = |view: RoomView| Room { recorded: recorded.contains(&view.room), ..Room::from(view) };
    Ok(Json(visible_rooms(&app, &caller).await?.into_iter().map(shown).collect()))
}

/// One room.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path, description = "The room's name")),
    responses((status = 200, body = Room, description = "The room"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not reach this room"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such room")),
))]
pub(in crate::http) async fn one(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Room>, ApiError> {
    let view = room_named(&app, &caller, name).await?;
    Ok(Json(Room { recorded: recorded(&app).contains(&view.room), ..Room::from(view) }))
}

/// The rooms of which something is being recorded now.
fn recorded(app: &App) -> Vec<RoomId> {
    let running = app.parts.recorder.recordings().into_iter();
    running.filter(|it| it.state == RecordingState::Recording).map(|it| it.of.room).collect()
}

/// A room's members.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/rooms/{room}/members", tag = "rooms", params(("room" = String, Path, description = "The room's name")),
    responses((status = 200, body = Vec<Member>, description = "Its members"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such room")),
))]
pub(in crate::http) async fn members(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<Member>>, ApiError> {
    Ok(Json(room_named(&app, &caller, name).await?.members.into_iter().map(Member::from).collect()))
}

/// Ends a member's place. Needs the control right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/api/v1/rooms/{room}/members/{member}", tag = "rooms",
    params(("room" = String, Path, description = "The room's name"), ("member" = String, Path, description = "32 hex digits")),
    responses((status = 204, description = "It is gone"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such member")),
))]
pub(in crate::http) async fn evict(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let (name, member) = path.map(|Path((name, member))| (Ok(name), member)).unwrap_or_else(|error| (Err(error), String::new()));
    let room = room_id(name)?;
    caller.require(&room, Right::Control)?;
    let unknown = || ApiError::not_found("unknown_member", "there is no such member in the room");
    let member: MemberId = member.parse().map_err(|_| unknown())?;
    match app.parts.hub.evict(room, member).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}

/// All streams that can be played, with their rooms.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/streams", tag = "rooms",
    responses((status = 200, body = Vec<PlacedStream>, description = "The streams of all rooms the caller may see")),
))]
pub(in crate::http) async fn streams(State(app): State<App>, caller: Caller) -> Result<Json<Vec<PlacedStream>>, ApiError> {
    let rooms = visible_rooms(&app, &caller).await?;
    let placed = rooms.into_iter().flat_map(|room| {
        let name = room.room.to_string();
        room.members.into_iter().flat_map(move |member| {
            let (room, id, dialect) = (name.clone(), member.view.member.to_string(), member.view.dialect.as_str());
            member.view.streams.into_iter().map(move |stream| PlacedStream {
                room: room.clone(),
                member: id.clone(),
                dialect: dialect.into(),
                stream: Stream::from(stream),
            })
        })
    });
    Ok(Json(placed.collect()))
}
