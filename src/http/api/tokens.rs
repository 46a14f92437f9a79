//! Signing tokens.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::views::{Token, TokenRequest, TokenRight};
use crate::http::ingest::read_body;
use crate::http::{ApiError, App, Caller, TokenOrder};
use crate::vocab::{Grant, Right, Rights, RoomId, RoomPattern};

/// Largest request body, in bytes.
const MAX_BODY: usize = 4 << 10;
/// Longest life of a token: a year.
const MAX_LIFE: u64 = 31_536_000;

/// Signs a token. Needs the control right, and gives no more than the caller has: rooms, rights and time.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/api/v1/tokens", tag = "gateway", request_body = TokenRequest,
    responses((status = 201, body = Token, description = "The token"),
              (status = 400, body = crate::http::error::ErrorBody, description = "The request is malformed"),
              (status = 403, body = crate::http::error::ErrorBody, description = "It would give more than the caller has"),
              (status = 409, body = crate::http::error::ErrorBody, description = "No token secret is configured")),
))]
pub(in crate::http) async fn sign(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let grant = caller.require_anywhere(Right::Control)?;
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, MAX_BODY).await?;
    let wanted: TokenRequest =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_request("malformed", error.to_string()))?;
    let now = SystemTime::now();
    let order = order(&grant, wanted, now)?;
    let missing = "no token secret is configured: set access.token_secret_file";
    let signer = app.parts.signer.as_ref().ok_or_else(|| ApiError::new(StatusCode::CONFLICT, "no_secret", missing))?;
    let token = signer.sign(&order, now).map_err(|error| {
        tracing::warn!(%error, "token not signed");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the token could not be signed")
    })?;
    tracing::info!(subject = %order.subject, rooms = %order.rooms.0, by = %grant.subject, "token signed");
    let expires = jiff::Timestamp::try_from(order.expires).map(|at| at.to_string()).unwrap_or_default();
    let answer = (StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(Token { token, expires }));
    Ok(answer.into_response())
}

/// Checks the wish against what the caller has.
fn order(grant: &Grant, wanted: TokenRequest, now: SystemTime) -> Result<TokenOrder, ApiError> {
    let malformed = |message: &str| ApiError::bad_request("malformed", message);
    let characters = |text: &str| text.chars().count();
    if characters(&wanted.subject) > 128 || wanted.subject.chars().any(char::is_control) {
        return Err(malformed("subject has at most 128 characters, none of them a control character"));
    }
    // a line break would stand between two patterns
    if !(1..=256).contains(&characters(&wanted.rooms)) || wanted.rooms.chars().any(char::is_control) {
        return Err(malformed("rooms has 1 to 256 characters, none of them a control character"));
    }
    if wanted.rights.is_empty() {
        return Err(malformed("rights names at least one of publish, subscribe, control, bridge"));
    }
    if !(1..=MAX_LIFE).contains(&wanted.expires_in) {
        return Err(malformed("expires_in is 1 to 31536000 seconds"));
    }
    let rights: Rights = wanted.rights.iter().map(|right| right_of(*right)).collect();
    let beyond = |what: &str| ApiError::new(StatusCode::FORBIDDEN, "forbidden", format!("your own token does not give {what}"));
    if let Some(missing) = rights.iter().find(|right| !grant.rights.has(*right)) {
        return Err(beyond(&format!("the right to {}", crate::http::access::right_name(missing))));
    }
    if !covers(&grant.rooms, &wanted.rooms) {
        return Err(beyond("these rooms"));
    }
    let expires = now + Duration::from_secs(wanted.expires_in);
    let expires = grant.expires.map_or(expires, |own| own.min(expires));
    Ok(TokenOrder { subject: wanted.subject, rooms: RoomPattern(wanted.rooms), rights, expires })
}

fn right_of(right: TokenRight) -> Right {
    match right {
        TokenRight::Publish => Right::Publish,
        TokenRight::Subscribe => Right::Subscribe,
        TokenRight::Control => Right::Control,
        TokenRight::Bridge => Right::Bridge,
    }
}

/// Whether everything the wanted pattern matches is matched by the own one. On the safe side: patterns with `*` are covered only by
/// `*` and by themselves.
fn covers(own: &RoomPattern, wanted: &str) -> bool {
    own.0.split('\n').any(|own| own == "*" || own == wanted)
        || (!wanted.contains('*') && RoomId::new(wanted).is_ok_and(|room| own.matches(&room)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(rooms: &str, rights: &[TokenRight]) -> TokenRequest {
        TokenRequest { subject: "cam".into(), rooms: rooms.into(), rights: rights.to_vec(), expires_in: 3600 }
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let own = Grant {
            rooms: RoomPattern("house-*".into()),
            rights: Rights::NONE.with(Right::Control).with(Right::Subscribe),
            expires: Some(now + Duration::from_secs(60)),
            ..Grant::all("boss")
        };
        let given = order(&own, wish("house-1", &[TokenRight::Subscribe]), now).unwrap();
        assert_eq!(given.expires, now + Duration::from_secs(60));
        assert!(order(&own, wish("house-*", &[TokenRight::Subscribe]), now).is_ok());
        for (rooms, right) in
            [("*", TokenRight::Subscribe), ("house-*x*", TokenRight::Subscribe), ("house-1", TokenRight::Publish)]
        {
            assert_eq!(order(&own, wish(rooms, &[right]), now).unwrap_err().status(), StatusCode::FORBIDDEN, "{rooms}");
        }
        assert!(order(&Grant::all("root"), wish("a*b", &[TokenRight::Bridge]), now).is_ok());
    }

    #[test]
    fn odd_wishes_are_malformed() {
        let now = SystemTime::UNIX_EPOCH;
        let all = Grant::all("root");
        for odd in [
            wish("", &[TokenRight::Publish]),
            wish("*", &[]),
            wish("a\n*", &[TokenRight::Publish]),
            TokenRequest { expires_in: 0, ..wish("*", &[TokenRight::Publish]) },
            TokenRequest { expires_in: MAX_LIFE + 1, ..wish("*", &[TokenRight::Publish]) },
            TokenRequest { subject: "x".repeat(129), ..wish("*", &[TokenRight::Publish]) },
        ] {
            assert_eq!(order(&all, odd, now).unwrap_err().code(), "malformed");
        }
    }
}
