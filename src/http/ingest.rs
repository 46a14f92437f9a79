//! `/whip` and `/whep`: the HTTP side of RFC 9725 and draft-ietf-wish-whep-04.

use std::time::SystemTime;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http};
use uuid::Uuid;

use super::resource::{Opening, Patched, Resource, gone};
use super::{ApiError, App, Caller};
use crate::room::{DialectName, Facts, Joining, Topology};
use crate::signalling::whip::{DEFAULT_STREAM, FRAGMENT_TYPE, Fragment, MAX_FRAGMENT, MAX_SDP, Role, SDP_TYPE, link};
use crate::vocab::{Right, RoomId, StreamName};

/// W3C LDP section 7.1.
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// RFC 5789 section 3.1.
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

pub(super) fn routes() -> Router<App> {
    let endpoint = |role: Role| {
        post(move |app, caller, place, request| open(role, app, caller, place, request))
            .options(move |app: State<App>, headers: HeaderMap| async move { endpoint_options(&app, &headers) })
            .get(move || async move { discover(role) })
    };
    let session = |role: Role| {
        get(move |app, caller, place| present(role, app, caller, place))
            .patch(move |app, caller, place, request| patch(role, app, caller, place, request))
            .delete(move |app, caller, place| delete(role, app, caller, place))
            .options(session_options)
    };
    Router::new()
        .route("/whip/{room}", endpoint(Role::Ingest))
        .route("/whip/{room}/{stream}", endpoint(Role::Ingest))
        .route("/whip/{room}/{stream}/{session}", session(Role::Ingest))
        .route("/whep/{room}", endpoint(Role::Egress))
        .route("/whep/{room}/{stream}", endpoint(Role::Egress))
        .route("/whep/{room}/{stream}/{session}", session(Role::Egress))
}

/// What a path names.
struct Place {
    room: RoomId,
    stream: Option<StreamName>,
    session: Option<Uuid>,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Head, state: &S) -> Result<Self, ApiError> {
        let bad = |why: String| ApiError::bad_request("bad_name", why);
        let Path(segments) =
            Path::<Vec<(String, String)>>::from_request_parts(head, state).await.map_err(|error| bad(error.body_text()))?;
        let find = |name: &str| segments.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        Ok(Self {
            room: RoomId::new(find("room").unwrap_or_default()).map_err(|error| bad(error.to_string()))?,
            // a session's path may carry the placeholder for "no stream", which is no name
            stream: match find("stream").filter(|name| *name != NO_STREAM || find("session").is_none()) {
                Some(name) => Some(StreamName::new(name).map_err(|error| bad(error.to_string()))?),
                None => None,
            },
            session: match find("session") {
                Some(id) => Some(id.parse().map_err(|_| gone())?),
                None => None,
            },
        })
    }
}

/// Stands in a WHEP session's path where the player named no stream.
const NO_STREAM: &str = "-";

fn right_of(role: Role) -> Right {
    match role {
        Role::Ingest => Right::Publish,
        Role::Egress => Right::Subscribe,
    }
}

/// POST on an endpoint (RFC 9725 section 4.2).
async fn open(role: Role, State(app): State<App>, caller: Caller, place: Place, request: Request) -> Result<Response, ApiError> {
    let grant = caller.require(&place.room, right_of(role))?;
    let (head, body) = request.into_parts();
    require_type(&head.headers, SDP_TYPE, ACCEPT_POST)?;
    let offer = read_text(&head.headers, body, MAX_SDP).await?;
    crate::signalling::whip::check(role, &offer)?;

    let dialect = if role == Role::Ingest { DialectName::Whip } else { DialectName::Whep };
    let subject = grant.subject.clone();
    let user_id = if subject.is_empty() { role.segment().to_owned() } else { subject };
    let stream = match (role, place.stream) {
        (Role::Ingest, None) => StreamName::new(DEFAULT_STREAM).ok(),
        (_, named) => named,
    };
    let facts = Facts { name: Some(user_id.clone()), ..Facts::default() };
    let joining = Joining {
        room: place.room.clone(),
        user_id,
        dialect,
        remote: Some(caller.remote),
        grant,
        visible: role == Role::Ingest,
        facts,
        opens: Topology::Sfu,
        dialect_limit: None,
        replaces_lost: false,
    };
    let opening = Opening { role, joining, stream: stream.clone(), offer, bearer: caller.has_bearer() };
    let opened = app.resources.open(&app, opening).await?;

    let stream = stream.as_ref().map_or(NO_STREAM, StreamName::as_str);
    let location = format!("/{}/{}/{}/{}", role.segment(), escaped(place.room.as_str()), escaped(stream), opened.id);
    let mut response = (StatusCode::CREATED, opened.answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP_TYPE));
    put(headers, header::LOCATION, &location);
    put(headers, header::ETAG, &opened.tag.to_string());
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_links(headers, &app);
    Ok(response)
}

/// OPTIONS on an endpoint: 200 with `Accept-Post` (RFC 9725 section 4.2). Servers are told here too, except to a mere preflight
/// (section 4.6).
fn endpoint_options(app: &App, headers: &HeaderMap) -> Response {
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(SDP_TYPE));
    put(response.headers_mut(), header::ALLOW, "GET, HEAD, OPTIONS, POST");
    if !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        add_links(response.headers_mut(), app);
    }
    response
}

/// GET and HEAD on an endpoint: success without content (RFC 9725 section 4.1). A WHEP endpoint shows itself by its content type
/// (draft-ietf-wish-whep-04, "WHEP Endpoint URL Discoverability").
fn discover(role: Role) -> Response {
    match role {
        Role::Ingest => StatusCode::NO_CONTENT.into_response(),
        Role::Egress => ([(header::CONTENT_TYPE, SDP_TYPE)], "").into_response(),
    }
}

/// The living session of a path, if the caller may touch it. The path is unguessable; a session opened with `Authorization` needs
/// it again, of the same subject or with the control right.
fn session_of(role: Role, app: &App, caller: &Caller, place: &Place) -> Result<std::sync::Arc<Resource>, ApiError> {
    let resource = place.session.and_then(|id| app.resources.find(id)).ok_or_else(gone)?;
    if resource.role != role || resource.room != place.room {
        return Err(gone());
    }
    if resource.bearer {
        let grant = caller.grant()?;
        let own = grant.subject == resource.subject && grant.allows(&resource.room, right_of(role));
        if !own && !grant.allows(&resource.room, Right::Control) {
            return Err(caller.lacking(right_of(role)));
        }
    }
    Ok(resource)
}

/// GET and HEAD on a session: success without content (RFC 9725 section 4.1).
async fn present(role: Role, State(app): State<App>, caller: Caller, place: Place) -> Result<StatusCode, ApiError> {
    session_of(role, &app, &caller, &place).map(|_| StatusCode::NO_CONTENT)
}

/// PATCH on a session (RFC 9725 sections 4.3.1 to 4.3.3).
async fn patch(role: Role, State(app): State<App>, caller: Caller, place: Place, request: Request) -> Result<Response, ApiError> {
    let resource = session_of(role, &app, &caller, &place)?;
    let (head, body) = request.into_parts();
    require_type(&head.headers, FRAGMENT_TYPE, ACCEPT_PATCH)?;
    let fragment = Fragment::parse(&read_text(&head.headers, body, MAX_FRAGMENT).await?)?;
    // several If-Match lines are one list (RFC 9110 section 5.3)
    let tags: Vec<&str> = head.headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok()).collect();
    let if_match = (!tags.is_empty()).then(|| tags.join(", "));
    match resource.patch(if_match, fragment).await? {
        Patched::Added => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted(tag, fragment) => {
            let mut response = fragment.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT_TYPE));
            put(response.headers_mut(), header::ETAG, &tag.to_string());
            Ok(response)
        }
    }
}

/// DELETE on a session: 200 once the member has left (RFC 9725 section 4.2); entity tags are ignored (section 4.3.1).
async fn delete(role: Role, State(app): State<App>, caller: Caller, place: Place) -> Result<StatusCode, ApiError> {
    session_of(role, &app, &caller, &place)?.end().await;
    Ok(StatusCode::OK)
}

async fn session_options() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT_TYPE));
    put(response.headers_mut(), header::ALLOW, "DELETE, GET, HEAD, OPTIONS, PATCH");
    response
}

/// 415 tells what would be taken (RFC 9110 section 15.5.16, RFC 5789 section 2.2).
fn require_type(headers: &HeaderMap, wanted: &'static str, tell: HeaderName) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", format!("the body must be {wanted}"));
    Err(error.with(tell, wanted).with(header::ACCEPT, wanted))
}

/// A body of at most so many bytes.
pub(super) async fn read_body(headers: &HeaderMap, body: Body, most: usize) -> Result<bytes::Bytes, ApiError> {
    let too_large =
        || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body may have {most} bytes at most"));
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    to_bytes(body, most).await.map_err(|error| match is_length_error(&error) {
        true => too_large(),
        false => ApiError::bad_request("incomplete_body", "the body did not arrive whole"),
    })
}

fn is_length_error(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.to_string().contains("length limit") {
            return true;
        }
        cause = inner.source();
    }
    false
}

async fn read_text(headers: &HeaderMap, body: Body, most: usize) -> Result<String, ApiError> {
    let bytes = read_body(headers, body, most).await?;
    String::from_utf8(bytes.into()).map_err(|_| ApiError::bad_request("not_text", "the body is not UTF-8 text"))
}

fn add_links(headers: &mut HeaderMap, app: &App) {
    let servers = app.parts.ice_servers.told(SystemTime::now());
    for value in servers.iter().filter_map(|server| link(&server.url, server.credentials.as_ref())) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(header::LINK, value);
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// RFC 3986: everything but unreserved characters is percent-encoded.
fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
