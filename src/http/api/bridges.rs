//! Bridges: rooms joined to remote places.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use serde::{Deserialize, Serialize};

use crate::bridge::{AddError, BridgeConfig, BridgeKind, BridgeView, RemoveError};
use crate::http::ingest::read_body;
use crate::http::{ApiError, App, Caller};
use crate::ops::access::Secret;
use crate::vocab::{BridgeName, Right, RoomId, StreamName};

/// Largest request body, in bytes.
const MAX_BODY: usize = 16 << 10;
/// Longest token of an endpoint, in bytes.
const MAX_TOKEN: usize = 8 << 10;
/// Longest address of an endpoint, in bytes.
const MAX_URL: usize = 2048;

/// A bridge: a room joined to a remote place.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// What is done.
    pub kind: Kind,
    /// The room of this gateway.
    pub room: String,
    /// The stream that is pushed, or the name of the one that is pulled; absent for the default, of `tribe` and `peerjs` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The endpoint.
    pub url: String,
    /// `tribe`: the room at the far side, where it has another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_room: Option<String>,
    /// `peerjs`: the id by which others call the room, where it is not the bridge's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `peerjs`: the ids that are called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub call: Vec<String>,
    /// Whether it is in the configuration; else it came by the API and goes with the process.
    pub configured: bool,
    /// `off`, `waiting`, `connecting` or `connected`.
    pub state: String,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Seconds in this state.
    pub since_s: u64,
    /// Seconds until it tries again, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_s: Option<u64>,
    /// How often the endpoint was asked.
    pub attempts: u64,
    /// How often a connection came of it.
    pub connections: u64,
    /// The number of its connection, as in `/api/v1/peers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<u64>,
    /// `tribe`, `peerjs`, `portico`: how many members of the far side are in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
    /// RTP packets sent to the endpoint.
    pub packets_sent: u64,
    /// RTP payload bytes sent to it.
    pub bytes_sent: u64,
    /// RTP packets received from it.
    pub packets_received: u64,
    /// RTP payload bytes received from it.
    pub bytes_received: u64,
}

/// Why a bridge is not connected.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// Stable, lower snake case; the guide lists them.
    pub code: String,
    /// For people.
    pub message: String,
}

/// A bridge that is to be.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BridgeRequest {
    /// Its name, unique on this gateway. 1 to 64 characters.
    pub name: String,
    /// What is done.
    pub kind: Kind,
    /// The room of this gateway.
    pub room: String,
    /// `whip`: the stream that is pushed, default as for a WHEP player without a stream. `whep`: what it is called here, default `main`.
    /// `tribe`, `peerjs`: the stream of the room that the far side gets, default none.
    #[serde(default)]
    pub stream: Option<String>,
    /// The endpoint: `https://HOST/PATH` or `http://…`. At most 2048 bytes.
    pub url: String,
    /// `tribe`: the room at the far side. Default: the same name as here.
    #[serde(default)]
    pub remote_room: Option<String>,
    /// `peerjs`: the id by which others call the room. Default: the bridge's name.
    #[serde(default)]
    pub id: Option<String>,
    /// `peerjs`: the server's key. Default `peerjs`.
    #[serde(default)]
    pub key: Option<String>,
    /// `peerjs`: ids that are called, and again when they are gone; 16 at most.
    #[serde(default)]
    pub call: Vec<String>,
    /// The token that the far side wants. It is never shown.
    #[serde(default)]
    pub token: Option<String>,
}

/// What a bridge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = BridgeKind))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pushes a stream of the room, or its mix, to a WHIP endpoint.
    Whip,
    /// Pulls the stream of a WHEP endpoint into the room.
    Whep,
    /// Joins a room of a tribe server: its members come into the room, and a stream of the room goes there.
    Tribe,
    /// Is a peer at a PeerJS server: who calls it comes into the room, and gets a stream of the room.
    Peerjs,
    /// Makes the room one with a room of another Portico.
    Portico,
}

impl From<Kind> for BridgeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Whip => Self::Whip,
            Kind::Whep => Self::Whep,
            Kind::Tribe => Self::Tribe,
            Kind::Peerjs => Self::Peerjs,
            Kind::Portico => Self::Portico,
        }
    }
}

impl From<BridgeKind> for Kind {
    fn from(kind: BridgeKind) -> Self {
        match kind {
            BridgeKind::Whip => Self::Whip,
            BridgeKind::Whep => Self::Whep,
            BridgeKind::Tribe => Self::Tribe,
            BridgeKind::Peerjs => Self::Peerjs,
            BridgeKind::Portico => Self::Portico,
        }
    }
}

impl From<BridgeView> for Bridge {
    fn from(view: BridgeView) -> Self {
        let BridgeConfig { name, kind, room, stream, url, remote_room, id, call, .. } = view.config;
        Self {
            name: name.to_string(),
            kind: kind.into(),
            room: room.to_string(),
            stream: stream.map(|stream| stream.to_string()),
            url,
            remote_room: remote_room.map(|room| room.to_string()),
            id,
            call,
            configured: view.configured,
            state: view.state.as_str().into(),
            reason: view.reason.map(|reason| Reason { code: reason.code.into(), message: reason.message }),
            since_s: view.since_s,
            next_attempt_s: view.next_attempt_s,
            attempts: view.attempts,
            connections: view.connections,
            peer: view.peer.map(|peer| peer.0),
            members: view.members,
            packets_sent: view.flow.packets_sent,
            bytes_sent: view.flow.bytes_sent,
            packets_received: view.flow.packets_received,
            bytes_received: view.flow.bytes_received,
        }
    }
}

/// The bridges of the rooms in which the caller has the control right.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/bridges", tag = "bridges",
    responses((status = 200, body = Vec<Bridge>, description = "In order of their names"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control")),
))]
pub(in crate::http) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Bridge>>, ApiError> {
    let grant = caller.require_anywhere(Right::Control)?;
    let views = app.parts.bridges.views().await.into_iter();
    Ok(Json(views.filter(|view| grant.allows(&view.config.room, Right::Control)).map(Bridge::from).collect()))
}

/// One bridge.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/bridges/{name}", tag = "bridges", params(("name" = String, Path, description = "The bridge's name")),
    responses((status = 200, body = Bridge, description = "The bridge"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such bridge")),
))]
pub(in crate::http) async fn one(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Bridge>, ApiError> {
    Ok(Json(named(&app, &caller, name).await?.into()))
}

/// Adds a bridge that lives until it is deleted or the gateway ends; `[[bridge]]` in the configuration is for those that stay. Needs
/// the rights to control and to bridge in its room.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/api/v1/bridges", tag = "bridges", request_body = BridgeRequest,
    responses((status = 201, body = Bridge, description = "The bridge, which begins at once"),
              (status = 400, body = crate::http::error::ErrorBody, description = "The request is malformed"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control and bridge here"),
              (status = 409, body = crate::http::error::ErrorBody, description = "The name is taken, or there are too many")),
))]
pub(in crate::http) async fn add(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    caller.require_anywhere(Right::Bridge)?;
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, MAX_BODY).await?;
    let wanted: BridgeRequest =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_request("malformed", error.to_string()))?;
    let (bridge, token) = read(wanted)?;
    let grant = caller.require(&bridge.room, Right::Bridge)?;
    caller.require(&bridge.room, Right::Control)?;
    let (name, kind, room) = (bridge.name.clone(), bridge.kind.as_str(), bridge.room.clone());
    let view = app.parts.bridges.add(bridge, token)?;
    tracing::info!(bridge = %name, kind, %room, by = %grant.subject, "bridge added");
    Ok((StatusCode::CREATED, Json(Bridge::from(view))).into_response())
}

/// Ends a bridge that was added, and its session at the far side. Those of the configuration are ended there. Needs the control right
/// in its room.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/api/v1/bridges/{name}", tag = "bridges", params(("name" = String, Path, description = "The bridge's name")),
    responses((status = 204, description = "It is gone"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such bridge"),
              (status = 409, body = crate::http::error::ErrorBody, description = "It is in the configuration")),
))]
pub(in crate::http) async fn remove(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let view = named(&app, &caller, name).await?;
    app.parts.bridges.remove(&view.config.name).await?;
    tracing::info!(bridge = %view.config.name, room = %view.config.room, "bridge removed");
    Ok(StatusCode::NO_CONTENT)
}

/// One that is in a room that the caller does not control is not there.
async fn named(app: &App, caller: &Caller, name: Result<Path<String>, PathRejection>) -> Result<BridgeView, ApiError> {
    let grant = caller.require_anywhere(Right::Control)?;
    let Path(name) = name.map_err(|error| ApiError::bad_request("bad_name", error.body_text()))?;
    let view = app.parts.bridges.views().await.into_iter().find(|view| view.config.name.as_str() == name);
    let view = view.filter(|view| grant.allows(&view.config.room, Right::Control));
    view.ok_or_else(|| ApiError::not_found("unknown_bridge", "there is no such bridge"))
}

fn read(wanted: BridgeRequest) -> Result<(BridgeConfig, Option<Secret>), ApiError> {
    let malformed = |message: String| ApiError::bad_request("malformed", message);
    if wanted.url.len() > MAX_URL {
        return Err(malformed(format!("url has at most {MAX_URL} bytes")));
    }
    if wanted.token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(malformed(format!("token has at most {MAX_TOKEN} visible ASCII characters")));
    }
    let name = |error: crate::vocab::NameError| malformed(error.to_string());
    let bridge = BridgeConfig {
        name: BridgeName::new(&wanted.name).map_err(name)?,
        kind: wanted.kind.into(),
        room: RoomId::new(&wanted.room).map_err(name)?,
        stream: wanted.stream.as_deref().map(StreamName::new).transpose().map_err(name)?,
        url: wanted.url,
        remote_room: wanted.remote_room.as_deref().map(RoomId::new).transpose().map_err(name)?,
        id: wanted.id,
        key: wanted.key,
        call: wanted.call,
        // files are for who writes the configuration
        token_file: None,
        ca: None,
        enabled: true,
    };
    Ok((bridge, wanted.token.map(|token| Secret::new(&token))))
}

impl From<AddError> for ApiError {
    fn from(error: AddError) -> Self {
        let message = error.to_string();
        match error {
            AddError::Taken(_) => Self::new(StatusCode::CONFLICT, "bridge_taken", message),
            AddError::TooMany(_) => Self::new(StatusCode::CONFLICT, "too_many_bridges", message),
            AddError::Url(_) | AddError::Misfit(..) => Self::bad_request("malformed", message),
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        let message = error.to_string();
        match error {
            RemoveError::Unknown(_) => Self::not_found("unknown_bridge", message),
            RemoveError::Configured(_) => Self::new(StatusCode::CONFLICT, "configured_bridge", message),
        }
    }
}
