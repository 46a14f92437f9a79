//! The one place that checks rights: who calls, with which token, and what that allows.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use axum::http::request::Parts as Head;
use axum::http::{StatusCode, header};

use super::ApiError;
use crate::vocab::{Grant, Right, Rights, RoomId, RoomPattern};

/// Turns a token, or its absence, into rights. `ops::access` implements it.
pub trait AccessCheck: Send + Sync {
    /// What the caller may do at that time. Without a token: what anonymous callers from there may do, or a refusal.
    fn grant(&self, remote: IpAddr, token: Option<&str>, now: SystemTime) -> Result<Grant, AccessDenied>;
}

/// The token is missing, wrong or expired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access denied: {reason}")]
pub struct AccessDenied {
    /// For the log; not told to the client.
    pub reason: String,
}

/// Signs tokens. `ops::access` implements it.
pub trait TokenSigner: Send + Sync {
    /// A token that gives what is ordered.
    fn sign(&self, order: &TokenOrder, now: SystemTime) -> Result<String, SignError>;
}

/// What a token is to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOrder {
    /// Who it is for; for logs and as the member's user id.
    pub subject: String,
    /// The rooms.
    pub rooms: RoomPattern,
    /// The rights.
    pub rights: Rights,
    /// When it ends.
    pub expires: SystemTime,
}

/// A token could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token cannot be signed: {reason}")]
pub struct SignError {
    /// Why.
    pub reason: String,
}

/// Who sent a request. The edge puts one into every request; handlers take it as an extractor, websocket handlers too.
#[derive(Clone)]
pub struct Caller {
    /// Where from.
    pub remote: IpAddr,
    token: Option<Arc<str>>,
    /// The token came in `Authorization`, not in the query.
    in_header: bool,
    check: Arc<dyn AccessCheck>,
}

impl Caller {
    pub(super) fn new(remote: IpAddr, head: &Head, check: Arc<dyn AccessCheck>) -> Self {
        let bearer = bearer(head);
        let in_header = bearer.is_some();
        let token = bearer.map(str::to_owned).or_else(|| query_token(head.uri.query()?)).map(Arc::from);
        Self { remote, token, in_header, check }
    }

    /// The token as it came, for a dialect that checks it itself.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the request carried a token in `Authorization`.
    pub(super) fn has_bearer(&self) -> bool {
        self.in_header
    }

    /// What the caller may do, or 401.
    pub fn grant(&self) -> Result<Grant, ApiError> {
        self.check.grant(self.remote, self.token.as_deref(), SystemTime::now()).map_err(|denied| {
            tracing::info!(remote_addr = %self.remote, reason = %denied.reason, "access denied");
            self.unauthorised()
        })
    }

    /// The grant, if it gives the right in the room; else 401 or 403 (RFC 6750 section 3.1).
    pub fn require(&self, room: &RoomId, right: Right) -> Result<Grant, ApiError> {
        let grant = self.grant()?;
        match grant.allows(room, right) {
            true => Ok(grant),
            false => Err(self.lacking(right)),
        }
    }

    /// The grant, if it gives the right in any room.
    pub fn require_anywhere(&self, right: Right) -> Result<Grant, ApiError> {
        let grant = self.grant()?;
        match grant.rights.has(right) {
            true => Ok(grant),
            false => Err(self.lacking(right)),
        }
    }

    /// A caller without a token is asked for one; one whose token is too weak is told so.
    pub(super) fn lacking(&self, right: Right) -> ApiError {
        if self.token.is_none() {
            return self.unauthorised();
        }
        let message = format!("the token does not give the right to {} here", right_name(right));
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"portico\", error=\"insufficient_scope\"")
    }

    fn unauthorised(&self) -> ApiError {
        let (message, challenge) = match self.token {
            None => ("a token is needed: Authorization: Bearer", "Bearer realm=\"portico\""),
            Some(_) => ("the token is wrong or has expired", "Bearer realm=\"portico\", error=\"invalid_token\""),
        };
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorised", message).with(header::WWW_AUTHENTICATE, challenge)
    }
}

/// The right's name as in tokens.
pub(super) fn right_name(right: Right) -> &'static str {
    match right {
        Right::Publish => "publish",
        Right::Subscribe => "subscribe",
        Right::Control => "control",
        Right::Bridge => "bridge",
    }
}

/// RFC 6750 section 2.1; the scheme is compared without case (RFC 9110 section 11.1).
fn bearer(head: &Head) -> Option<&str> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

/// `?token=`: for the page, websockets, event streams and players that can set no header (RFC 9725 section 4.7.1 allows it).
fn query_token(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    Some(percent_decoded(value)).filter(|token| !token.is_empty())
}

/// Tokens are base64url and dots; `%2E` and the like are decoded, anything odd stays as it is and fails the check.
fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, ApiError> {
        let caller = head.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request did not pass the edge"))
    }
}
