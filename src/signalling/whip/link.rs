//! STUN and TURN servers as `Link` header values (RFC 9725 section 4.6).

/// A server the client may use to find its way.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, `turns:…` (RFC 7064, RFC 7065).
    pub url: String,
    /// TURN's user name and password, where it wants them.
    pub credentials: Option<(String, String)>,
}

impl IceServer {
    /// A server without credentials.
    pub fn open(url: impl Into<String>) -> Self {
        Self { url: url.into(), credentials: None }
    }

    /// The header's value; `None` when the parts cannot stand in a header (control characters, `<`, `>` in the URL).
    pub fn link(&self) -> Option<String> {
        let plain = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !plain(&self.url) || self.url.contains(['<', '>', ' ']) {
            return None;
        }
        let mut value = format!("<{}>; rel=\"ice-server\"", self.url);
        if let Some((username, credential)) = &self.credentials {
            if !plain(username) || !plain(credential) {
                return None;
            }
            value += &format!(
                "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
                quoted(username),
                quoted(credential)
            );
        }
        Some(value)
    }
}

impl std::fmt::Debug for IceServer {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("url", &self.url).field("credentials", &self.credentials.is_some()).finish()
    }
}

/// The inside of a quoted-string, RFC 9110 section 5.6.4.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_the_rfc_shows() {
        assert_eq!(IceServer::open("stun:stun.example.net").link().unwrap(), "<stun:stun.example.net>; rel=\"ice-server\"");
        let turn = IceServer {
            url: "turn:turn.example.net?transport=udp".into(),
            credentials: Some(("user".into(), "my\"Password".into())),
        };
        assert_eq!(
            turn.link().unwrap(),
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; credential=\"my\\\"Password\"; \
             credential-type=\"password\""
        );
        assert!(!format!("{turn:?}").contains("Password"));
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_left_out() {
        assert_eq!(IceServer::open("stun:a>b").link(), None);
        assert_eq!(IceServer::open("stun:a\r\nx").link(), None);
    }
}
