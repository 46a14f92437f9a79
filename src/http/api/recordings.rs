//! Recordings: started, stopped, listed, fetched and removed.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::rooms::{room_id, room_named};
use super::views::{RecordRequest, Recording, RecordingFile, Recordings};
use crate::http::ingest::read_body;
use crate::http::{ApiError, App, Caller};
use crate::media::record::{self, FileId, Listed, Of, Recorder, RecordingId, RecordingState, StartError};
use crate::room::Topology;
use crate::vocab::{Grant, MemberId, Right, RoomId, StreamName};

/// Largest request body, in bytes.
const MAX_BODY: usize = 1 << 10;
/// A file is read in pieces of this size.
const PIECE: u64 = 64 << 10;

/// All recordings and files of the rooms that the caller controls.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/recordings", tag = "recordings",
    responses((status = 200, body = Recordings, description = "What is recorded, and the files"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control anywhere")),
))]
pub(in crate::http) async fn all(State(app): State<App>, caller: Caller) -> Result<Json<Recordings>, ApiError> {
    let grant = caller.require_anywhere(Right::Control)?;
    Ok(Json(listed(&app.parts.recorder, |room| controls(&grant, room))))
}

/// A room's recordings and files. Needs the control right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/rooms/{room}/recordings", tag = "recordings",
    params(("room" = String, Path, description = "The room's name")),
    responses((status = 200, body = Recordings, description = "What is recorded there, and the files"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here")),
))]
pub(in crate::http) async fn of_room(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Recordings>, ApiError> {
    let room = room_id(name.map(|Path(name)| name))?;
    caller.require(&room, Right::Control)?;
    Ok(Json(listed(&app.parts.recorder, |other| *other == room)))
}

/// Records a stream of a room, or the room's mix, until it is stopped or the gateway ends. It need not be there yet. Needs the control
/// right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/api/v1/rooms/{room}/recordings", tag = "recordings",
    params(("room" = String, Path, description = "The room's name")),
    request_body = RecordRequest,
    responses((status = 201, body = Recording, description = "It was started"),
              (status = 400, body = crate::http::error::ErrorBody, description = "The request is malformed"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here"),
              (status = 409, body = crate::http::error::ErrorBody,
               description = "It is being recorded already, or the room is not mixed"),
              (status = 503, body = crate::http::error::ErrorBody, description = "Too many are being recorded")),
))]
pub(in crate::http) async fn start(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<Recording>), ApiError> {
    let room = room_id(name.map(|Path(name)| name))?;
    caller.require(&room, Right::Control)?;
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, MAX_BODY).await?;
    let malformed = |error: String| ApiError::bad_request("malformed", error);
    let wanted: RecordRequest = serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    let stream = wanted.stream.map(|name| StreamName::new(&name)).transpose();
    let stream = stream.map_err(|error| ApiError::bad_request("bad_name", error.to_string()))?;
    let member = wanted.member.map(|id| id.parse::<MemberId>()).transpose();
    let member = member.map_err(|_| malformed("`member` is 32 hex digits".into()))?;
    if stream.is_none() {
        let view = room_named(&app, &caller, Ok(Path(room.to_string()))).await?;
        if member.is_some() {
            return Err(malformed("a mix is of no member: name a `stream`".into()));
        }
        if view.topology != Topology::Mcu {
            let message = format!("the room {room} is not mixed: name a `stream`");
            return Err(ApiError::new(StatusCode::CONFLICT, "not_mixed", message));
        }
    }
    let recorder = &app.parts.recorder;
    let id = recorder.begin(Of { room, stream }, member, false).map_err(|error| match error {
        StartError::Already(_) => ApiError::new(StatusCode::CONFLICT, "already_recorded", error.to_string()),
        StartError::TooMany => ApiError::unavailable("too_many_recordings", error.to_string(), 10),
        StartError::Name => ApiError::bad_request("bad_name", error.to_string()),
    })?;
    let started = recorder.recordings().into_iter().find(|it| it.id == id);
    let started = started.ok_or_else(|| ApiError::not_found("unknown_recording", "it was stopped already"))?;
    Ok((StatusCode::CREATED, Json(started.into())))
}

/// Stops a recording; its file is complete with the answer. Needs the control right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/api/v1/rooms/{room}/recordings/{id}", tag = "recordings",
    params(("room" = String, Path, description = "The room's name"), ("id" = u64, Path, description = "The recording's number")),
    responses((status = 204, description = "It is stopped"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such recording in the room")),
))]
pub(in crate::http) async fn stop(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let (name, id) = path.map(|Path((name, id))| (Ok(name), id)).unwrap_or_else(|error| (Err(error), String::new()));
    let room = room_id(name)?;
    caller.require(&room, Right::Control)?;
    let recorder = &app.parts.recorder;
    let there = recorder.recordings().into_iter().find(|it| it.of.room == room && it.id.0.to_string() == id);
    let id: RecordingId = there.ok_or_else(unknown_recording)?.id;
    match recorder.stop(id).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown_recording()),
    }
}

/// A file of a recording, also while it is still written: as far as it is then. Takes `Range` with one range of bytes. Needs the
/// control right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/recordings/{room}/{stream}/{file}", tag = "recordings",
    params(("room" = String, Path, description = "As in the file's `url`"), ("stream" = String, Path, description = "As in the file's `url`"),
           ("file" = String, Path, description = "The file's name")),
    responses((status = 200, description = "The file", content_type = "video/webm", body = Vec<u8>),
              (status = 206, description = "The bytes that `Range` names"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such file"),
              (status = 416, body = crate::http::error::ErrorBody, description = "The file is shorter")),
))]
pub(in crate::http) async fn download(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = file_id(&caller, path)?;
    let (path, listed) = app.parts.recorder.path(&id).ok_or_else(unknown_file)?;
    let mut file = tokio::fs::File::open(&path).await.map_err(|error| unreadable(&error))?;
    // what is not listed yet may change again
    let len = file.metadata().await.map_err(|error| unreadable(&error))?.len().min(listed.bytes);
    let common = [
        (header::CONTENT_TYPE, if id.file.ends_with(".webm") { "video/webm" } else { "video/x-matroska" }.to_owned()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::CACHE_CONTROL, "private, no-cache".into()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{}\"", id.file)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    let wanted = headers.get(header::RANGE).map(|range| range_of(range, len));
    let (status, range) = match wanted {
        None | Some(Wanted::All) => (StatusCode::OK, 0..len),
        Some(Wanted::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Wanted::Beyond) => {
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "beyond_the_end", format!("the file has {len} bytes"));
            return Err(error.with(header::CONTENT_RANGE, format!("bytes */{len}")));
        }
    };
    file.seek(io::SeekFrom::Start(range.start)).await.map_err(|error| unreadable(&error))?;
    let mut response = (status, common, Body::from_stream(pieces(file, range.end - range.start))).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let said = format!("bytes {}-{}/{len}", range.start, range.end.saturating_sub(1));
        if let Ok(said) = HeaderValue::from_str(&said) {
            response.headers_mut().insert(header::CONTENT_RANGE, said);
        }
    }
    Ok(response)
}

/// Removes a file that is not written any more. Needs the control right in the room.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/api/v1/recordings/{room}/{stream}/{file}", tag = "recordings",
    params(("room" = String, Path, description = "As in the file's `url`"), ("stream" = String, Path, description = "As in the file's `url`"),
           ("file" = String, Path, description = "The file's name")),
    responses((status = 204, description = "It is gone"),
              (status = 403, body = crate::http::error::ErrorBody, description = "The token does not give control here"),
              (status = 404, body = crate::http::error::ErrorBody, description = "There is no such file"),
              (status = 409, body = crate::http::error::ErrorBody, description = "It is still written")),
))]
pub(in crate::http) async fn remove(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let id = file_id(&caller, path)?;
    let recorder = app.parts.recorder.clone();
    tracing::info!(room = %id.of.room, file = id.file, "a recording is removed by request");
    let removed = tokio::task::spawn_blocking(move || recorder.remove(&id)).await;
    match removed.unwrap_or_else(|crashed| Err(io::Error::other(crashed))) {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown_file()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(ApiError::new(StatusCode::CONFLICT, "still_written", "the file is still written: stop the recording first"))
        }
        Err(error) => Err(unreadable(&error)),
    }
}

fn controls(grant: &Grant, room: &RoomId) -> bool {
    grant.allows(room, Right::Control)
}

fn unknown_recording() -> ApiError {
    ApiError::not_found("unknown_recording", "there is no such recording in the room")
}

fn unknown_file() -> ApiError {
    ApiError::not_found("unknown_file", "there is no such file")
}

fn unreadable(error: &io::Error) -> ApiError {
    match error.kind() {
        // removed by a limit a moment ago
        io::ErrorKind::NotFound => unknown_file(),
        _ => ApiError::unavailable("disk_failed", error.to_string(), 10),
    }
}

/// Names the file; the caller controls its room. Nothing of the request becomes a path: what is not listed is not there.
fn file_id(caller: &Caller, path: Result<Path<(String, String, String)>, PathRejection>) -> Result<FileId, ApiError> {
    let Path((room, stream, file)) = path.map_err(|error| ApiError::bad_request("bad_name", error.body_text()))?;
    let Some(of) = Of::of_folders(&room, &stream) else {
        caller.require_anywhere(Right::Control)?;
        return Err(unknown_file());
    };
    caller.require(&of.room, Right::Control)?;
    Ok(FileId { of, file })
}

fn listed(recorder: &Recorder, shows: impl Fn(&RoomId) -> bool) -> Recordings {
    let running = recorder.recordings().into_iter().filter(|it| shows(&it.of.room)).map(Recording::from).collect();
    let files = recorder.files().into_iter().filter(|(id, _)| shows(&id.of.room)).map(RecordingFile::from).collect();
    Recordings { running, files }
}

/// The next bytes of a file, `left` of them; fewer where it became shorter.
fn pieces(file: tokio::fs::File, left: u64) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    futures_util::stream::try_unfold((file, left), |(mut file, left)| async move {
        let mut piece = Vec::new();
        (&mut file).take(left.min(PIECE)).read_to_end(&mut piece).await?;
        let read = piece.len() as u64;
        Ok((read > 0).then(|| (Bytes::from(piece), (file, left - read))))
    })
}

/// What a `Range` wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Another form than ours: it is passed over, as RFC 9110 §14.2 lets a server do.
    All,
    Part(Range<u64>),
    Beyond,
}

/// One range of bytes: `bytes=A-B`, `bytes=A-`, `bytes=-N` (RFC 9110 §14.1.2).
fn range_of(range: &HeaderValue, len: u64) -> Wanted {
    let one = range.to_str().ok().and_then(|text| text.strip_prefix("bytes="));
    let Some((first, last)) = one.and_then(|one| one.trim().split_once('-')) else { return Wanted::All };
    let number = |text: &str| if text.is_empty() { Ok(None) } else { text.parse::<u64>().map(Some) };
    let range = match (number(first), number(last)) {
        (Ok(Some(first)), Ok(last)) if last.is_none_or(|last| first <= last) => {
            first..last.map_or(len, |last| last.saturating_add(1)).min(len)
        }
        (Ok(None), Ok(Some(count))) => len.saturating_sub(count)..len,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Beyond } else { Wanted::Part(range) }
}

fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
}

impl From<record::Recording> for Recording {
    fn from(it: record::Recording) -> Self {
        let state = it.state.as_str().into();
        let reason = match it.state {
            RecordingState::Failed(why) => Some(why),
            _ => None,
        };
        Self {
            id: it.id.0,
            room: it.of.room.to_string(),
            stream: it.of.stream.map(|name| name.to_string()),
            member: it.member.map(|member| member.to_string()),
            configured: it.configured,
            since: rfc3339(it.since),
            state,
            reason,
            file: it.file,
            codecs: it.codecs.iter().map(ToString::to_string).collect(),
            bytes: it.bytes,
            files: it.files,
            frames_dropped: it.dropped,
        }
    }
}

impl From<(FileId, Listed)> for RecordingFile {
    fn from((id, listed): (FileId, Listed)) -> Self {
        let [room, stream] = id.of.folders().unwrap_or_default();
        Self {
            url: format!("/api/v1/recordings/{}/{}/{}", in_path(&room), in_path(&stream), id.file),
            room: id.of.room.to_string(),
            stream: id.of.stream.map(|name| name.to_string()),
            file: id.file,
            began: rfc3339(listed.began),
            seconds: listed.lasts.as_secs_f64(),
            bytes: listed.bytes,
            open: listed.open,
        }
    }
}

/// A folder's name as part of an address.
fn in_path(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        let of = |text: &str| range_of(&HeaderValue::from_str(text).unwrap(), 100);
        assert_eq!(of("bytes=0-"), Wanted::Part(0..100));
        assert_eq!(of("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(of("bytes=90-900"), Wanted::Part(90..100));
        assert_eq!(of("bytes=-10"), Wanted::Part(90..100));
        assert_eq!(of("bytes=-1000"), Wanted::Part(0..100));
        for beyond in ["bytes=100-", "bytes=200-300", "bytes=-0"] {
            assert_eq!(of(beyond), Wanted::Beyond, "{beyond}");
        }
        for other in ["bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,5-6", "items=0-1", "bytes=x-", "bytes=99999999999999999999-"] {
            assert_eq!(of(other), Wanted::All, "{other}");
        }
        assert_eq!(range_of(&HeaderValue::from_static("bytes=0-"), 0), Wanted::Beyond);
    }
}
