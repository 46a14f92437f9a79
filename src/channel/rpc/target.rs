//! From a request's `url` to an address below a configured one, and nowhere else.

use std::fmt::Write as _;

use super::super::value::Value;

/// Longest query made of arguments, in bytes.
const MAX_QUERY: usize = 4096;

/// Why a text is not an address, a path, or part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not `http://HOST[:PORT][/PATH]`.
    #[error("a target is http://HOST:PORT, with a path or without")]
    Target,
    /// An empty segment, `.`, `..`, or a character that is not allowed.
    #[error(
        "a path has segments of letters, digits and - . _ ~ : @ ! $ & ' ( ) * + , ; = between single slashes, none of them empty, . or .. up to a ;"
    )]
    Path,
    /// A pattern that does not begin with a written-out segment, or has `**` before its end.
    #[error("a path begins with a written-out segment; `*` is a whole segment, `**` the end")]
    Pattern,
    /// A query with a character that is not allowed.
    #[error("the query has a character that must be percent-encoded")]
    Query,
    /// The body of a GET is not an object of scalars.
    #[error("the body of a GET is an object of texts, numbers, true, false and null")]
    Arguments,
    /// The query made of the arguments is too long.
    #[error("the arguments are too long for a GET")]
    TooLong,
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 `pchar` without percent-encoding: an encoded slash or dot would come out elsewhere. Neither is anything before a `;`
/// empty or dots: some servers take what follows it for a parameter, and read `..;` as `..`.
fn is_segment(segment: &str) -> bool {
    let plain = |byte: u8| is_unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte);
    let name = segment.split(';').next().unwrap_or_default();
    !matches!(name, "" | "." | "..") && segment.bytes().all(plain)
}

/// A `url`'s segments, and its query. One slash in front is allowed.
pub fn split(url: &str) -> Result<(Vec<&str>, Option<&str>), TargetError> {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if !segments.iter().all(|segment| is_segment(segment)) {
        return Err(TargetError::Path);
    }
    let good = |byte: u8| is_unreserved(byte) || b"!$&'()*+,;=:@/?%".contains(&byte);
    if !query.unwrap_or_default().bytes().all(good) {
        return Err(TargetError::Query);
    }
    Ok((segments, query))
}

/// Whether the segments fit a pattern.
pub fn matches(pattern: &str, path: &[&str]) -> bool {
    let mut rest = path.iter();
    for part in pattern.split('/') {
        match (part, rest.next()) {
            ("**", _) => return true,
            ("*", Some(_)) => {}
            (part, Some(segment)) if part == *segment => {}
            _ => return false,
        }
    }
    rest.next().is_none()
}

/// Checks a configured path pattern.
pub fn check_path(pattern: &str) -> Result<(), TargetError> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let wild = |part: &&str| part.contains('*');
    let odd = parts.iter().any(|part| part.contains('*') && *part != "*" && *part != "**");
    let early = parts.iter().rev().skip(1).any(|part| *part == "**");
    if parts.first().is_none_or(wild) || odd || early {
        return Err(TargetError::Pattern);
    }
    if parts.iter().filter(|part| !wild(part)).all(|part| is_segment(part)) { Ok(()) } else { Err(TargetError::Path) }
}

/// Checks a configured target.
pub fn check_target(target: &str) -> Result<(), TargetError> {
    let rest = target.strip_prefix("http://").ok_or(TargetError::Target)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(TargetError::Target)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| TargetError::Target)?;
        (after.is_empty() || after.starts_with(':')).then_some(after.strip_prefix(':')).ok_or(TargetError::Target)?
    } else {
        let (name, port) = authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port)));
        let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        good.then_some(port).ok_or(TargetError::Target)?
    };
    if host.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(TargetError::Target);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path.split('/').all(is_segment) { Ok(()) } else { Err(TargetError::Target) }
}

/// Adds the arguments of a GET to its query.
pub fn append_arguments(query: &mut String, body: &Value) -> Result<(), TargetError> {
    let members = match body {
        Value::Null => return Ok(()),
        Value::Map(members) => members,
        _ => return Err(TargetError::Arguments),
    };
    for (name, value) in members {
        let text = match value {
            Value::Null => String::new(),
            Value::Text(text) => text.clone(),
            Value::Bool(_) | Value::UInt(_) | Value::Int(_) | Value::Float(_) => {
                value.to_json().map_err(|_| TargetError::Arguments)?
            }
            Value::Bytes(_) | Value::List(_) | Value::Map(_) => return Err(TargetError::Arguments),
        };
        if !query.is_empty() {
            query.push('&');
        }
        encode(query, name);
        query.push('=');
        encode(query, &text);
        if query.len() > MAX_QUERY {
            return Err(TargetError::TooLong);
        }
    }
    Ok(())
}

fn encode(query: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_unreserved(byte) {
            query.push(char::from(byte));
        } else {
            let _ = write!(query, "%{byte:02X}");
        }
    }
}
