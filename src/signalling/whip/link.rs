//! STUN and TURN servers as `Link` header values (RFC 9725 section 4.6).

/// The header's value for a server, `stun:host:port` or `turn:…` (RFC 7064, RFC 7065), with its user name and password. `None` when the parts
/// cannot stand in a header (control characters, `<`, `>` in the URL).
pub fn link(url: &str, credentials: Option<&(String, String)>) -> Option<String> {
    let plain = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !plain(url) || url.contains(['<', '>', ' ']) {
        return None;
    }
    let mut value = format!("<{url}>; rel=\"ice-server\"");
    if let Some((username, credential)) = credentials {
        if !plain(username) || !plain(credential) {
            return None;
        }
        value +=
            &format!("; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"", quoted(username), quoted(credential));
    }
    Some(value)
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
        assert_eq!(link("stun:stun.example.net", None).unwrap(), "<stun:stun.example.net>; rel=\"ice-server\"");
        let credentials = ("user".to_owned(), "my\"Password".to_owned());
        assert_eq!(
            link("turn:turn.example.net?transport=udp", Some(&credentials)).unwrap(),
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; credential=\"my\\\"Password\"; \
             credential-type=\"password\""
        );
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_left_out() {
        assert_eq!(link("stun:a>b", None), None);
        assert_eq!(link("stun:a\r\nx", None), None);
    }
}
