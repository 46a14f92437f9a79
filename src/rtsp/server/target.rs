//! PURE. What an address of RTSP names: a room, perhaps a stream, perhaps a track of it, and with which token.

use crate::vocab::{RoomId, StreamName};

/// What the last part of a track's address begins with; its number follows.
pub const TRACK: &str = "trackID=";

/// An address that is no stream of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address names no room")]
pub struct BadTarget;

/// What an address names.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The room.
    pub room: RoomId,
    /// The stream; `None`: what the room shows by itself.
    pub stream: Option<StreamName>,
    /// The track of the description.
    pub track: Option<usize>,
    /// `?token=`, for players that can send no password that long.
    pub token: Option<String>,
    /// The address without token, track and user, and without a slash at its end: what others are made from.
    pub base: String,
}

// the token is a secret
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("base", &self.base).field("track", &self.track).finish_non_exhaustive()
    }
}

impl Target {
    /// Reads `rtsp://HOST[:PORT]/ROOM[/STREAM][/trackID=N][?token=TOKEN]`.
    pub fn parse(uri: &str) -> Result<Self, BadTarget> {
        let scheme = uri.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("rtsp://")).ok_or(BadTarget)?;
        let rest = &uri[scheme.len()..];
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // some players put what a track is called behind the token
        let (query, behind) = query.split_once('/').unwrap_or((query, ""));
        let (host, path) = rest.split_once('/').ok_or(BadTarget)?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if host.is_empty() || host.len() > 300 {
            return Err(BadTarget);
        }
        let mut parts: Vec<&str> = path.split('/').chain(behind.split('/')).filter(|part| !part.is_empty()).collect();
        let track = parts.last().and_then(|last| last.strip_prefix(TRACK)).map(|number| number.parse::<usize>());
        let track = track.transpose().map_err(|_| BadTarget)?;
        if track.is_some() {
            parts.pop();
        }
        let (room, stream) = match parts[..] {
            [room] => (room, None),
            [room, stream] => (room, Some(stream)),
            _ => return Err(BadTarget),
        };
        let base = format!("rtsp://{host}/{}", parts.join("/"));
        let token = query.split('&').find_map(|pair| pair.strip_prefix("token=")).map(decoded);
        Ok(Self {
            room: RoomId::new(&decoded(room)).map_err(|_| BadTarget)?,
            stream: stream.map(|name| StreamName::new(&decoded(name))).transpose().map_err(|_| BadTarget)?,
            track,
            token: token.filter(|token| !token.is_empty()),
            base,
        })
    }
}

/// The password of `Authorization: Basic` (RFC 7617); the user's name does not matter, a token says who it is.
pub fn password(authorization: &str) -> Option<String> {
    use base64::Engine as _;
    let (scheme, value) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned()).filter(|password| !password.is_empty())
}

/// RFC 3986 section 2.1; what is no such code stays as it is.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(uri: &str) -> (String, Option<String>, Option<usize>, Option<String>, String) {
        let target = Target::parse(uri).unwrap();
        (target.room.to_string(), target.stream.map(|name| name.to_string()), target.track, target.token, target.base)
    }

    #[test]
    fn addresses_name_rooms_streams_and_tracks() {
        let expected = |room: &str, stream: Option<&str>, track, token: Option<&str>, base: &str| {
            (room.to_owned(), stream.map(str::to_owned), track, token.map(str::to_owned), base.to_owned())
        };
        assert_eq!(read("rtsp://h:8554/main"), expected("main", None, None, None, "rtsp://h:8554/main"));
        assert_eq!(read("RTSP://u:p@h/main/door/"), expected("main", Some("door"), None, None, "rtsp://h/main/door"));
        assert_eq!(
            read("rtsp://h/main/trackID=1?token=a.b%2Dc"),
            expected("main", None, Some(1), Some("a.b-c"), "rtsp://h/main")
        );
        assert_eq!(
            read("rtsp://[::1]:8554/a%20b/c%2Fd?x=y&token=t/trackID=0"),
            expected("a b", Some("c/d"), Some(0), Some("t"), "rtsp://[::1]:8554/a%20b/c%2Fd")
        );
    }

    #[test]
    fn what_names_no_room_is_refused() {
        for uri in [
            "*",
            "rtsp://h",
            "rtsp://h/",
            "rtsp:///a",
            "http://h/a",
            "rtsp://h/a/b/c",
            "rtsp://h/a/trackID=x",
            "rtsp://h/%00",
            "rtsé://h/a",
        ] {
            assert_eq!(Target::parse(uri), Err(BadTarget), "{uri}");
        }
    }

    #[test]
    fn the_password_is_the_token_whoever_sends_it() {
        assert_eq!(password("Basic dXNlcjphLmIuYw=="), Some("a.b.c".into()));
        assert_eq!(password("basic OmEuYi5j"), Some("a.b.c".into()));
        for other in ["Digest username=\"a\"", "Basic", "Basic !", "Basic dXNlcg==", "Basic dXNlcjo="] {
            assert_eq!(password(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", path in "[a-z%0-9/?=&@:]{0,60}") {
            let _ = Target::parse(&text);
            let _ = Target::parse(&format!("rtsp://{path}"));
            let _ = password(&text);
        }
    }
}
