//! Socket.IO packets (protocol 4 and 5) inside Engine.IO messages, as text. Pure.
//!
//! Sources: the Socket.IO protocol documents, and socket.io-parser 3.4.5 and 4.2 as observed on the wire. Packets with bytes are
//! recognised and passed over: no dialect has any.

use serde_json::value::RawValue;

use super::packet::Malformed;

/// One Socket.IO packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Opens a namespace.
    Connect {
        /// Its name, query included; `None` for the default.
        namespace: Option<&'a str>,
        /// A JSON object, if there was one; empty otherwise.
        auth: &'a str,
    },
    /// Leaves a namespace.
    Disconnect {
        /// Which; `None` for the default.
        namespace: Option<&'a str>,
    },
    /// An event of the default namespace: a JSON array that starts with its name.
    Event(&'a str),
    /// What nobody here uses: acknowledgements, errors, packets with bytes, packets of other namespaces.
    Other,
}

/// Reads a Socket.IO packet. The JSON of an event is checked to be one array.
pub fn parse(text: &str) -> Result<Message<'_>, Malformed> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(Malformed)?;
    let rest = chars.as_str();
    match kind {
        '0'..='4' => {}
        '5' | '6' => return Ok(Message::Other),
        _ => return Err(Malformed),
    }
    let (namespace, rest) = match rest.starts_with('/') {
        false => (None, rest),
        true => {
            let (name, rest) = rest.split_once(',').unwrap_or((rest, ""));
            (Some(name).filter(|name| *name != "/"), rest)
        }
    };
    match kind {
        '0' => Ok(Message::Connect { namespace, auth: object(rest) }),
        '1' => Ok(Message::Disconnect { namespace }),
        '2' if namespace.is_none() => {
            let array = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            // the number asks for an acknowledgement, which no event of the dialects has
            if array.starts_with('[') && serde_json::from_str::<&RawValue>(array).is_ok() {
                Ok(Message::Event(array))
            } else {
                Err(Malformed)
            }
        }
        _ => Ok(Message::Other),
    }
}

/// The text, if it is a JSON object; else nothing.
fn object(text: &str) -> &str {
    let is_object = text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok();
    if is_object { text } else { "" }
}

/// Packet `4` with CONNECT, as the server of protocol 3 sends it unasked.
pub const CONNECT: &str = "40";
/// Packet `4` with DISCONNECT.
pub const DISCONNECT: &str = "41";

/// Packet `4` with the answer to a CONNECT of protocol 4. `sid` is base64url.
pub fn connected(sid: &str) -> String {
    format!("40{{\"sid\":\"{sid}\"}}")
}

/// Packet `4` with an EVENT; `array` is a JSON array.
pub fn event(array: &str) -> String {
    format!("42{array}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_told_apart() {
        let connect = |namespace, auth| Ok(Message::Connect { namespace, auth });
        assert_eq!(parse("0"), connect(None, ""));
        assert_eq!(parse("0{\"token\":\"x\"}"), connect(None, "{\"token\":\"x\"}"));
        assert_eq!(parse("0/,{}"), connect(None, "{}"));
        assert_eq!(parse("0/admin"), connect(Some("/admin"), ""));
        assert_eq!(parse("0/admin?a=b,{}"), connect(Some("/admin?a=b"), "{}"));
        assert_eq!(parse("0{broken"), connect(None, ""));
        assert_eq!(parse("1"), Ok(Message::Disconnect { namespace: None }));
        assert_eq!(parse("1/admin,"), Ok(Message::Disconnect { namespace: Some("/admin") }));
        assert_eq!(parse("2[\"a\",1]"), Ok(Message::Event("[\"a\",1]")));
        assert_eq!(parse("212[\"a\"]"), Ok(Message::Event("[\"a\"]")));
        for other in ["2/admin,[\"a\"]", "31[]", "4\"text\"", "51-[\"a\",{\"_placeholder\":true,\"num\":0}]", "3"] {
            assert_eq!(parse(other), Ok(Message::Other), "{other}");
        }
        for bad in ["", "7", "x", "2", "2{}", "2[", "2[1,", "2[1]x", "é"] {
            assert_eq!(parse(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let deep = format!("2{}{}", "[".repeat(400_000), "]".repeat(400_000));
        assert!(matches!(parse(&deep), Ok(Message::Event(_))));
        assert_eq!(parse(&"2[".repeat(400_000)), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9/,\\[\\]\"{}a-é]{0,60}") {
            if let Ok(Message::Event(array)) = parse(&text) {
                prop_assert!(array.starts_with('[') && array.ends_with(']'));
            }
        }
    }
}
