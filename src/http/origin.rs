//! Which web pages may talk to the gateway, and by which names the gateway may be called. Pure.

use std::net::IpAddr;

/// Why configured origins cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin:?} is not an origin: write scheme and host, as in https://example.org, or * for any")]
pub struct OriginError {
    /// What was written.
    pub origin: String,
}

/// The allowed origins. A page of the gateway itself (same host and port) is always allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    list: Vec<String>,
}

impl Origins {
    /// Reads `http.allowed_origins`: `https://example.org`, `http://host:3000`, or `*` for any page anywhere.
    pub fn parse<T: AsRef<str>>(entries: &[T]) -> Result<Self, OriginError> {
        let mut origins = Self::default();
        for entry in entries.iter().map(AsRef::as_ref) {
            let bare = entry.trim_end_matches('/');
            match bare.split_once("://") {
                _ if bare == "*" => origins.any = true,
                Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '@', ' ', '*']) => {
                    origins.list.push(bare.to_ascii_lowercase());
                }
                _ => return Err(OriginError { origin: entry.into() }),
            }
        }
        Ok(origins)
    }

    /// Whether a page of that origin may talk to the gateway that it calls by that `Host`.
    pub fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        let same = origin.split_once("://").is_some_and(|(scheme, authority)| {
            host.is_some_and(|host| with_port(authority, scheme) == with_port(&host.to_ascii_lowercase(), scheme))
        });
        same || self.any || self.list.contains(&origin)
    }

    /// Whether a caller from this machine may call the gateway by that name. Callers from loopback may do everything by default,
    /// so a page of a name that was made to point at 127.0.0.1 (DNS rebinding), or a proxy that opens the gateway to the world
    /// unasked, must not pass for them: only addresses, names without a dot, `*.localhost`, `*.local` and configured ones do.
    pub fn knows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = host_name(&host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        self.any
            || bare.parse::<IpAddr>().is_ok()
            || !name.contains('.')
            || name.ends_with(".localhost")
            || name.ends_with(".local")
            || self.list.iter().filter_map(|origin| origin.split_once("://")).any(|(_, authority)| host_name(authority) == name)
    }
}

/// The name of `name:port` or `[address]:port`.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => authority,
    }
}

fn with_port(authority: &str, scheme: &str) -> String {
    if host_name(authority) != authority {
        return authority.to_owned();
    }
    let port = if matches!(scheme, "https" | "wss") { 443 } else { 80 };
    format!("{authority}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_page_is_always_allowed() {
        let none = Origins::default();
        assert!(none.allows("http://127.0.0.1:8780", Some("127.0.0.1:8780")));
        assert!(none.allows("https://Board.local", Some("board.local:443")));
        assert!(none.allows("http://[::1]:8780", Some("[::1]:8780")));
        assert!(!none.allows("http://127.0.0.1:3000", Some("127.0.0.1:8780")));
        assert!(!none.allows("null", Some("127.0.0.1:8780")) && !none.allows("https://evil.example", None));
    }

    #[test]
    fn others_by_list_or_star() {
        let listed = Origins::parse(&["https://app.example/", "http://dev:3000"]).unwrap();
        assert!(listed.allows("https://app.example", Some("x")) && listed.allows("HTTP://DEV:3000", None));
        assert!(!listed.allows("http://app.example", Some("x")) && !listed.allows("https://app.example.evil", Some("x")));
        assert!(Origins::parse(&["*"]).unwrap().allows("null", None));
        assert!(Origins::parse(&["app.example"]).is_err() && Origins::parse(&["https://*.example"]).is_err());
    }

    #[test]
    fn names_that_could_be_rebound_are_unknown() {
        let origins = Origins::parse(&["https://cam.example.org"]).unwrap();
        for known in ["127.0.0.1:8780", "[::1]:8780", "::1", "localhost", "board:8780", "board.local", "cam.example.org:8780"] {
            assert!(origins.knows_host(known), "{known}");
        }
        assert!(!origins.knows_host("evil.example:8780") && !origins.knows_host("127.0.0.1.evil.example"));
    }
}
