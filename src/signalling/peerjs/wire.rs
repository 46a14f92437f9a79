//! The JSON between a client and the broker. Nothing but how it reads and how it is written.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The sign of life as both libraries write it, byte for byte: recognised without reading JSON.
pub const HEARTBEAT: &str = r#"{"type":"HEARTBEAT"}"#;
/// The first frame of a good connection.
pub const OPEN: &str = r#"{"type":"OPEN"}"#;
/// To who asks for an id that somebody has.
pub const ID_TAKEN: &str = r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#;

/// Texts of `ERROR` that clients know.
pub mod says {
    /// A parameter of the websocket's address is missing or empty.
    pub const MISSING: &str = "No id, token, or key supplied to websocket server";
    /// The key is not the mount's.
    pub const KEY: &str = "Invalid key provided";
    /// Too many are registered.
    pub const LIMIT: &str = "Server has reached its concurrent user limit";
}

/// Messages that go from one peer to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A proposal of a connection.
    Offer,
    /// The answer to it.
    Answer,
    /// A candidate.
    Candidate,
    /// Ends the connections with a peer.
    Leave,
    /// A message could not be delivered.
    Expire,
}

impl Kind {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "OFFER" => Self::Offer,
            "ANSWER" => Self::Answer,
            "CANDIDATE" => Self::Candidate,
            "LEAVE" => Self::Leave,
            "EXPIRE" => Self::Expire,
            _ => return None,
        })
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "OFFER",
            Self::Answer => "ANSWER",
            Self::Candidate => "CANDIDATE",
            Self::Leave => "LEAVE",
            Self::Expire => "EXPIRE",
        }
    }

    /// Whether it waits for an addressee who is not there.
    pub fn waits(self) -> bool {
        matches!(self, Self::Offer | Self::Answer | Self::Candidate)
    }
}

/// What a client said.
#[derive(Debug)]
pub enum Said<'a> {
    /// It lives.
    Heartbeat,
    /// Something for another peer; a LEAVE without one is about the sender itself.
    Message {
        /// What it is.
        kind: Kind,
        /// To whom; never empty.
        dst: Option<String>,
        /// Any JSON value, as it was written.
        payload: Option<&'a RawValue>,
    },
    /// JSON that means nothing here.
    Unknown,
}

/// The frame is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not JSON")]
pub struct NotJson;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    dst: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
}

/// A payload of `null` is a payload.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(reader).map(Some)
}

/// What a client hears, for bridges.
#[derive(Debug)]
pub enum Heard<'a> {
    /// It is registered.
    Open,
    /// Somebody else has its id.
    Taken,
    /// It is refused, in words.
    Refused(String),
    /// Something of another peer.
    Message {
        /// What it is.
        kind: Kind,
        /// Of whom; never empty.
        src: String,
        /// Any JSON value, as it was written.
        payload: Option<&'a RawValue>,
    },
    /// JSON that means nothing here.
    Unknown,
}

/// Reads a frame as a client does.
pub fn hear(text: &str) -> Result<Heard<'_>, NotJson> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(default)]
        r#type: Option<String>,
        #[serde(default)]
        src: Option<String>,
        #[serde(borrow, default, deserialize_with = "present")]
        payload: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Words {
        #[serde(default)]
        msg: String,
    }
    if !text.trim_ascii_start().starts_with('{') {
        return serde_json::from_str::<&RawValue>(text).map(|_| Heard::Unknown).map_err(|_| NotJson);
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => return Ok(Heard::Unknown),
        Err(_) => return Err(NotJson),
    };
    let words = |payload: Option<&RawValue>| {
        let words = payload.filter(|it| it.get().starts_with('{')).and_then(|it| serde_json::from_str::<Words>(it.get()).ok());
        words.map(|words| words.msg).unwrap_or_default()
    };
    Ok(match envelope.r#type.as_deref() {
        Some("OPEN") => Heard::Open,
        Some("ID-TAKEN") => Heard::Taken,
        Some("ERROR" | "INVALID-KEY") => Heard::Refused(words(envelope.payload)),
        Some(name) => match (Kind::read(name), envelope.src.filter(|src| !src.is_empty())) {
            (Some(kind), Some(src)) => Heard::Message { kind, src, payload: envelope.payload },
            _ => Heard::Unknown,
        },
        None => Heard::Unknown,
    })
}

/// Reads a frame. What is inside `payload` is not looked at beyond being JSON, however deep.
pub fn read(text: &str) -> Result<Said<'_>, NotJson> {
    if text == HEARTBEAT {
        return Ok(Said::Heartbeat);
    }
    // a derived reader would also take an array
    if !text.trim_ascii_start().starts_with('{') {
        return serde_json::from_str::<&RawValue>(text).map(|_| Said::Unknown).map_err(|_| NotJson);
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => return Ok(Said::Unknown),
        Err(_) => return Err(NotJson),
    };
    let text_of = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
    let Some(name) = envelope.r#type.and_then(text_of) else { return Ok(Said::Unknown) };
    let kind = match Kind::read(&name) {
        Some(kind) => kind,
        None if name == "HEARTBEAT" => return Ok(Said::Heartbeat),
        None => return Ok(Said::Unknown),
    };
    let dst = match envelope.dst.map(text_of) {
        // an addressee that is no text is nobody's id
        Some(None) => return Ok(Said::Unknown),
        dst => dst.flatten().filter(|dst| !dst.is_empty()),
    };
    Ok(Said::Message { kind, dst, payload: envelope.payload })
}

/// A message as its addressee gets it: these members and no other, the payload byte for byte.
pub fn write(kind: Kind, src: &str, dst: &str, payload: Option<&RawValue>) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        src: &'a str,
        dst: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    }
    // nearly all of it is the payload: it is copied once, not as often as a text grows
    let bytes = payload.map_or(0, |payload| payload.get().len()) + src.len() + dst.len();
    let mut message = Vec::with_capacity(bytes + 64);
    serde_json::to_writer(&mut message, &Message { r#type: kind.as_str(), src, dst, payload })
        .expect("texts, numbers and JSON always serialise");
    String::from_utf8(message).expect("JSON is written as UTF-8")
}

/// An `ERROR` with a text for people.
pub fn error(text: &str) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        msg: &'a str,
    }
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        payload: Payload<'a>,
    }
    json(&Message { r#type: "ERROR", payload: Payload { msg: text } })
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and JSON always serialise")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> (Kind, Option<String>, Option<&str>) {
        match read(text) {
            Ok(Said::Message { kind, dst, payload }) => (kind, dst, payload.map(RawValue::get)),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn four_members_are_read_and_the_payload_is_kept_as_it_is() {
        let text = r#"{"src":"forged","id":"q7","payload":{ "a" : 1.0e2, "ü":"\u00fc" },"dst":"b","type":"OFFER"}"#;
        let (kind, dst, payload) = message(text);
        assert_eq!((kind, dst.as_deref()), (Kind::Offer, Some("b")));
        assert_eq!(payload, Some(r#"{ "a" : 1.0e2, "ü":"\u00fc" }"#));
        let raw = RawValue::from_string(payload.unwrap().to_owned()).unwrap();
        let written = write(kind, "a\"", "b", Some(&raw));
        assert_eq!(written, r#"{"type":"OFFER","src":"a\"","dst":"b","payload":{ "a" : 1.0e2, "ü":"\u00fc" }}"#);
    }

    #[test]
    fn null_is_a_payload_and_nothing_is_none() {
        assert_eq!(message(r#"{"type":"LEAVE","payload":null}"#), (Kind::Leave, None, Some("null")));
        assert_eq!(message(r#"{"type":"LEAVE","dst":null}"#), (Kind::Leave, None, None));
        assert_eq!(write(Kind::Expire, "ghost", "c", None), r#"{"type":"EXPIRE","src":"ghost","dst":"c"}"#);
    }

    #[test]
    fn what_means_nothing_is_told_from_what_is_not_json() {
        for text in ["[]", "[\"OFFER\",\"b\"]", "1", "{}", r#"{"type":5}"#, r#"{"type":"DANCE"}"#, r#"{"type":"OFFER","dst":5}"#]
        {
            assert!(matches!(read(text), Ok(Said::Unknown)), "{text}");
        }
        for text in ["", "{", "hello", r#"{"type":"OFFER","dst":"b","payload":}"#, "[1,", "{}{}"] {
            assert_eq!(read(text).err(), Some(NotJson), "{text}");
        }
        assert!(matches!(read(r#" {"type": "HEARTBEAT", "x": []}"#), Ok(Said::Heartbeat)));
    }

    #[test]
    fn a_client_hears_what_a_broker_says() {
        assert!(matches!(hear(OPEN), Ok(Heard::Open)));
        assert!(matches!(hear(ID_TAKEN), Ok(Heard::Taken)));
        assert!(matches!(hear(&error(says::KEY)), Ok(Heard::Refused(words)) if words == says::KEY));
        assert!(matches!(hear(r#"{"type":"ERROR","payload":[1]}"#), Ok(Heard::Refused(words)) if words.is_empty()));
        let raw = RawValue::from_string("[1]".into()).unwrap();
        let frame = write(Kind::Offer, "a", "b", Some(&raw));
        assert!(matches!(hear(&frame), Ok(Heard::Message { kind: Kind::Offer, src, payload: Some(_) }) if src == "a"));
        for text in ["[]", "7", "{}", r#"{"type":"OFFER"}"#, r#"{"type":"OFFER","src":""}"#, r#"{"type":5}"#] {
            assert!(matches!(hear(text), Ok(Heard::Unknown)), "{text}");
        }
        assert!(["", "{", "hello"].iter().all(|text| hear(text).is_err()));
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!(r#"{{"type":"OFFER","dst":"b","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(message(&deep).2.map(str::len), Some(200_000));
        assert_eq!(read(&"[".repeat(200_000)).err(), Some(NotJson));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}") {
            let _ = (read(&text), hear(&text));
        }

        #[test]
        fn what_is_written_reads_back(src in ".{1,20}", dst in ".{1,20}", n in any::<i64>()) {
            let payload = RawValue::from_string(n.to_string()).unwrap();
            let written = write(Kind::Candidate, &src, &dst, Some(&payload));
            let (kind, to, inner) = message(&written);
            prop_assert_eq!((kind, to, inner), (Kind::Candidate, Some(dst), Some(payload.get())));
        }
    }
}
