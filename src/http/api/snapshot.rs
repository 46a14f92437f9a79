//! A JPEG of a stream.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::rooms::room_id;
use crate::http::conditional::unchanged;
use crate::http::{ApiError, App, Caller, NoStill, Still};
use crate::media::SourceError;
use crate::media::snapshot::SnapshotError;
use crate::room::Refusal;
use crate::vocab::{Grant, MemberId, PICTURE_WIDTHS, Right, RoomId, StreamName};

/// Everybody gets the same picture for a second. Not for shared caches: who may see it is the gateway's to say.
const CACHE: &str = "private, max-age=1";

/// What of the stream is wanted.
#[derive(Debug, serde::Deserialize)]
pub(in crate::http) struct Wish {
    width: Option<u16>,
    member: Option<String>,
}

/// A picture of a stream as it is now, as a JPEG. All who ask within a second get the same. A source that nobody watches is opened for
/// it. Needs the right to subscribe in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/rooms/{room}/streams/{stream}/snapshot.jpg", tag = "rooms",
    params(("room" = String, Path, description = "The room's name"),
           ("stream" = String, Path, description = "The stream's name; the first of that name in the room is meant"),
           ("member" = Option<String>, Query, description = "32 hex digits: this member's stream of that name"),
           ("width" = Option<u16>, Query, minimum = 16, maximum = 4096,
            description = "Most pixels in width; the proportions stay, and nothing is made larger than it is")),
    responses((status = 200, description = "The picture", content_type = "image/jpeg", body = Vec<u8>),
              (status = 304, description = "The picture that `If-None-Match` names is still the newest"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give the right to watch here"),
              (status = 404, body = crate::http::error::ErrorBody, description = "No such room or stream, or one without video"),
              (status = 503, body = crate::http::error::ErrorBody, description = "No picture now; `Retry-After`")),
))]
pub(in crate::http) async fn snapshot(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    wish: Result<Query<Wish>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (room, stream) = path.map(|Path((room, stream))| (Ok(room), stream)).unwrap_or_else(|error| (Err(error), String::new()));
    let room = room_id(room)?;
    let grant = caller.require(&room, Right::Subscribe)?;
    let stream = StreamName::new(&stream).map_err(|error| ApiError::bad_request("bad_name", error.to_string()))?;
    let Query(wish) = wish.map_err(|error| ApiError::bad_request("malformed", error.body_text()))?;
    if wish.width.is_some_and(|width| !PICTURE_WIDTHS.contains(&width)) {
        return Err(ApiError::bad_request(
            "malformed",
            format!("width is {} to {} pixels", PICTURE_WIDTHS.start(), PICTURE_WIDTHS.end()),
        ));
    }
    let unknown = || ApiError::not_found("unknown_member", "there is no such member in the room");
    let member: Option<MemberId> = wish.member.map(|id| id.parse().map_err(|_| unknown())).transpose()?;
    let still = Still { room: room.clone(), member, stream, width: wish.width };
    let picture = app.parts.stills.take(still).await.map_err(|why| refused(why, &grant, &room))?;
    let tag = HeaderValue::from_str(&picture.etag).unwrap_or(HeaderValue::from_static("\"\""));
    let common = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static(CACHE))];
    if unchanged(&headers, &picture.etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"))];
    Ok((common, kind, picture.jpeg.clone()).into_response())
}

fn refused(why: NoStill, grant: &Grant, room: &RoomId) -> ApiError {
    let why = match why {
        NoStill::Hub(gone) => return gone.into(),
        // not 409 as for a player, which is told to wait for its publisher: what a path names is not there
        NoStill::Refused(why @ Refusal::UnknownStream) => return ApiError::not_found("unknown_stream", why.to_string()),
        NoStill::Refused(why) => return why.into(),
        NoStill::Snapshot(why) => why,
    };
    let shown = match &why {
        // these can hold addresses
        SnapshotError::Source(SourceError::MissingElement { .. } | SourceError::Refused(_)) => why.to_string(),
        SnapshotError::Source(_) | SnapshotError::Undecoded(_) if !grant.allows(room, Right::Control) => {
            "the stream gives no picture now".into()
        }
        why => why.to_string(),
    };
    match why {
        SnapshotError::NoPicture => ApiError::not_found("no_picture", shown),
        SnapshotError::Source(SourceError::Overloaded(_)) => ApiError::unavailable("overloaded", shown, 10),
        SnapshotError::Source(_) => ApiError::unavailable("source_failed", shown, 5),
        SnapshotError::NoKeyFrame(_) => ApiError::unavailable("no_key_frame", shown, 2),
        // somebody has to install something first
        SnapshotError::NoDecoder { .. } | SnapshotError::MissingElement { .. } => ApiError::unavailable("no_decoder", shown, 60),
        SnapshotError::Undecoded(_) => ApiError::unavailable("undecoded", shown, 5),
        SnapshotError::Busy => ApiError::unavailable("too_many_snapshots", shown, 1),
        SnapshotError::Stopping => ApiError::unavailable("stopping", shown, 5),
    }
}
