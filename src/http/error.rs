//! The error body: one form for every refusal.
//!
//! `application/problem+json` (RFC 9457, as RFC 9725 section 4.1 suggests) with the members `status`, `code` (stable, lower snake
//! case), `message` (for people) and `request_id` (the same as in the header `x-request-id` and in the log).

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::hub::HubGone;
use crate::room::{EndReason, Refusal};
use crate::signalling::whip::{FragmentError, OfferError, PatchError};

/// A refusal on its way to the client. The edge writes the body, since only it knows the request id.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The code of a finished refusal, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedAs(pub &'static str);

/// Put on a refusal whose body stands as it is: that of another server's protocol, which its clients know.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim;

/// The body.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// The HTTP status again.
    pub status: u16,
    /// Stable, lower snake case; `docs/ref/http.md` lists them.
    pub code: String,
    /// For people.
    pub message: String,
    /// Names the request in the log.
    pub request_id: String,
}

impl ApiError {
    /// A refusal with a stable code.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// With a header; left out when the value cannot stand in one.
    pub fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    /// With `Retry-After` in seconds (RFC 9110 section 10.2.3).
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with(header::RETRY_AFTER, seconds.to_string())
    }

    /// 400.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 503 with the time after which another try makes sense.
    pub fn unavailable(code: &'static str, message: impl Into<String>, seconds: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(seconds)
    }

    /// The status it will have.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The finished response.
    pub(super) fn finish(self, request_id: &str) -> Response {
        let body = ErrorBody {
            status: self.status.as_u16(),
            code: self.code.into(),
            message: self.message,
            request_id: request_id.into(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.headers.into_iter().for_each(|(name, value)| {
            headers.append(name, value);
        });
        response.extensions_mut().insert(RefusedAs(self.code));
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<HubGone> for ApiError {
    fn from(gone: HubGone) -> Self {
        Self::unavailable("stopping", gone.to_string(), 5)
    }
}

/// RFC 9725 names few status codes and leaves the rest to HTTP; section numbers say where one is named.
impl From<Refusal> for ApiError {
    fn from(why: Refusal) -> Self {
        let (code, message) = (why.code(), why.to_string());
        let status = match why {
            // section 4.5: overload is 503; a full room is one, and Retry-After says so
            Refusal::RoomFull { .. } | Refusal::TooManyRooms { .. } | Refusal::TooMany { .. } | Refusal::Overloaded => {
                return Self::unavailable(code, message, 10);
            }
            Refusal::SourceFailed | Refusal::Stopping => return Self::unavailable(code, message, 5),
            // draft-ietf-wish-whep-04, "Session Management": no live publisher is 409 with Retry-After
            Refusal::UnknownStream => return Self::new(StatusCode::CONFLICT, code, message).retry_after(2),
            Refusal::UnknownRoom(_) | Refusal::UnknownMember | Refusal::UnknownPlace | Refusal::UnknownPeer => {
                StatusCode::NOT_FOUND
            }
            Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
            Refusal::StreamTaken(_) | Refusal::Topology { .. } => StatusCode::CONFLICT,
            Refusal::BadDescription | Refusal::TooLong { .. } => StatusCode::BAD_REQUEST,
            // section 4.4.3: not a partial answer but 422 (406 would announce a counter-offer to a WHEP player)
            Refusal::NoCommonCodec => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::NotJoined | Refusal::AlreadyJoined(_) | Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, code, message)
    }
}

/// A peer that ended before it was described, or a place that ended.
impl From<EndReason> for ApiError {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::BadDescription => Refusal::BadDescription.into(),
            EndReason::NoCommonCodec => Refusal::NoCommonCodec.into(),
            EndReason::SourceFailed => Refusal::SourceFailed.into(),
            EndReason::Overloaded => Refusal::Overloaded.into(),
            EndReason::StreamEnded => Refusal::UnknownStream.into(),
            EndReason::Stopping => Refusal::Stopping.into(),
            EndReason::Expired => Self::new(StatusCode::UNAUTHORIZED, "unauthorised", reason.to_string())
                .with(header::WWW_AUTHENTICATE, "Bearer realm=\"portico\", error=\"invalid_token\""),
            EndReason::Left
            | EndReason::Lost
            | EndReason::NeverConnected
            | EndReason::Replaced
            | EndReason::Evicted
            | EndReason::Internal => Self::unavailable("session_ended", reason.to_string(), 1),
        }
    }
}

impl From<OfferError> for ApiError {
    fn from(error: OfferError) -> Self {
        let (status, code) = match &error {
            OfferError::Empty => (StatusCode::BAD_REQUEST, "no_offer"),
            OfferError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            OfferError::Malformed { .. } | OfferError::Missing(_) | OfferError::UnknownMid(_) => {
                (StatusCode::BAD_REQUEST, "bad_description")
            }
            // RFC 9725 sections 4.4.2 and 4.4.3
            OfferError::Direction(_) | OfferError::TooManyTracks(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unacceptable_offer"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<FragmentError> for ApiError {
    fn from(error: FragmentError) -> Self {
        Self::bad_request("bad_fragment", error.to_string())
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Missing => Self::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", error.to_string()),
            PatchError::Stale => Self::new(StatusCode::PRECONDITION_FAILED, "stale_etag", error.to_string()),
            PatchError::Offer(inner) => inner.into(),
        }
    }
}

/// Answers a method that the path does not know; the router adds `Allow`.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path does not take this method")
}
