//! How one connection's channels are written and read, and how a message crosses from one way to another.

use bytes::Bytes;

use super::value::{JsonError, MAX_JSON, Value, binarypack};
pub use crate::room::Framing;
use crate::vocab::{DataMessage, Utf8Bytes};

/// Whether frames are carried as they are, so that a vamp recording fits.
pub fn is_plain(framing: Framing) -> bool {
    matches!(framing, Framing::Free | Framing::Plain)
}

/// What a message says, whatever it came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text.
    Text(Utf8Bytes),
    /// Bytes.
    Bytes(Bytes),
    /// Any other value.
    Value(Value),
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.into()),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            other => Self::Value(other),
        }
    }
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// One frame.
    Frame(DataMessage),
    /// BinaryPack, to be cut where it is too long for a frame.
    Packed(Bytes),
}

impl Written {
    /// Its bytes.
    #[allow(clippy::len_without_is_empty)] // nothing asks whether there are none
    pub fn len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len(),
            Self::Packed(bytes) => bytes.len(),
        }
    }
}

/// The receiver's framing has no place for this content: bytes where only text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes to a receiver that takes text only")]
pub struct NoPlace;

/// Reads a `json` frame of either kind.
pub fn read_json(message: &DataMessage) -> Result<Content, JsonError> {
    Value::from_json(message.bytes()).map(Content::from)
}

impl Content {
    /// In the receiver's framing. `json_as_text` is the kind of frame in which a `json` far end wrote last.
    pub fn write(&self, framing: Framing, json_as_text: bool) -> Result<Written, NoPlace> {
        match framing {
            Framing::Json | Framing::JsonText => {
                let json = self.to_json()?;
                let frame = if json_as_text || framing == Framing::JsonText {
                    DataMessage::text(json)
                } else {
                    DataMessage::binary(json)
                };
                Ok(Written::Frame(frame))
            }
            Framing::BinaryPack => Ok(Written::Packed(match self {
                Self::Text(text) => binarypack::encode(&Value::text(text.as_str())),
                Self::Bytes(bytes) => binarypack::encode(&Value::Bytes(bytes.clone())),
                Self::Value(value) => binarypack::encode(value),
            })),
            Framing::Free | Framing::Plain => Ok(Written::Frame(match self {
                Self::Bytes(bytes) => DataMessage::Binary(bytes.clone()),
                _ => DataMessage::Text(self.to_text()?),
            })),
            Framing::OwnChannels | Framing::None | Framing::Own => Ok(Written::Frame(DataMessage::Text(self.to_text()?))),
        }
    }

    /// As text: a text as it is, a value as compact JSON.
    pub fn to_text(&self) -> Result<Utf8Bytes, NoPlace> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Value(value) => value.to_json().map(Utf8Bytes::from).map_err(|_| NoPlace),
            Self::Bytes(_) => Err(NoPlace),
        }
    }

    fn to_json(&self) -> Result<String, NoPlace> {
        match self {
            Self::Text(text) => Value::text(text.as_str()).to_json().map_err(|_| NoPlace),
            Self::Value(value) => value.to_json().map_err(|_| NoPlace),
            Self::Bytes(_) => Err(NoPlace),
        }
    }

    /// A text, or bytes that may be one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Value(_) => None,
        }
    }

    /// The value a text or bytes hold as JSON, or the value itself; nothing where it is none.
    pub fn as_json(&self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Text(text) => parse_object(text.as_bytes()),
            Self::Bytes(bytes) => parse_object(bytes),
        }
    }
}

/// A JSON object; anything that cannot be one is not parsed at all.
fn parse_object(text: &[u8]) -> Option<Value> {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    (first == Some(&b'{') && text.len() <= MAX_JSON).then(|| Value::from_json(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &Content, framing: Framing) -> DataMessage {
        match content.write(framing, false).unwrap() {
            Written::Frame(frame) => frame,
            Written::Packed(bytes) => DataMessage::Binary(bytes),
        }
    }

    #[test]
    fn text_crosses_every_framing() {
        let hi = Content::Text("hi \"you\"".into());
        for framing in [Framing::Free, Framing::Plain, Framing::OwnChannels] {
            assert_eq!(text(&hi, framing), DataMessage::text("hi \"you\""));
        }
        let json = text(&hi, Framing::Json);
        assert_eq!(json, DataMessage::binary("\"hi \\\"you\\\"\""));
        assert_eq!(read_json(&json).unwrap(), hi);
        assert_eq!(hi.write(Framing::Json, true).unwrap(), Written::Frame(DataMessage::text("\"hi \\\"you\\\"\"")));
        let DataMessage::Binary(packed) = text(&hi, Framing::BinaryPack) else { panic!("BinaryPack is binary") };
        assert_eq!(Content::from(binarypack::decode(&packed).unwrap()), hi);
    }

    #[test]
    fn objects_reach_text_receivers_as_compact_json_in_their_order() {
        let value = Content::from(Value::from_json(br#"{ "z": 1, "a": [ true, null ] }"#).unwrap());
        assert_eq!(text(&value, Framing::OwnChannels), DataMessage::text(r#"{"z":1,"a":[true,null]}"#));
        assert_eq!(text(&value, Framing::Json), DataMessage::binary(r#"{"z":1,"a":[true,null]}"#));
    }

    #[test]
    fn bytes_have_no_place_where_only_text_goes() {
        let bytes = Content::Bytes(Bytes::from_static(b"\x01\x02"));
        for framing in [Framing::OwnChannels, Framing::Json] {
            assert_eq!(bytes.write(framing, false), Err(NoPlace));
        }
        assert_eq!(text(&bytes, Framing::Plain), DataMessage::binary(&b"\x01\x02"[..]));
        let within = Content::Value(Value::map([("data", Value::Bytes(Bytes::from_static(b"x")))]));
        assert_eq!(within.write(Framing::Plain, false), Err(NoPlace));
        assert!(matches!(within.write(Framing::BinaryPack, false), Ok(Written::Packed(_))));
    }
}
