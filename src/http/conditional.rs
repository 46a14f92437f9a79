//! Requests for what the client may have already.

use axum::http::{HeaderMap, header};

/// Whether `If-None-Match` names the tag (RFC 9110 section 13.1.2: compared weakly; several lines are one list).
pub(super) fn unchanged(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).any(|named| named == "*" || named.trim_start_matches("W/") == tag)
}
