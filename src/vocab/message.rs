//! What travels in data channels.

use std::fmt;

use bytes::Bytes;

/// Bytes known to be UTF-8; cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// Takes bytes as text; what is not UTF-8 in them becomes U+FFFD, as in a browser's decoder.
    pub fn from_lossy(bytes: Bytes) -> Self {
        match String::from_utf8_lossy(&bytes) {
            std::borrow::Cow::Borrowed(_) => Self(bytes),
            std::borrow::Cow::Owned(text) => text.into(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made")
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text in parts of at most so many bytes, as [`text_parts`]; nothing is copied.
    pub fn parts(&self, max: usize) -> impl Iterator<Item = Self> + '_ {
        text_parts(self.as_str(), max).map(|part| Self(self.0.slice_ref(part.as_bytes())))
    }
}

/// A text in parts of at most `max` bytes, cut between characters; an empty text is one part. `max` is 4 at least, the length of the
/// longest character.
pub fn text_parts(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let max = max.max(4);
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (part, after) = rest?.split_at(rest?.floor_char_boundary(max));
        rest = Some(after).filter(|after| !after.is_empty());
        Some(part)
    })
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}
impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}
impl TryFrom<Bytes> for Utf8Bytes {
    type Error = std::str::Utf8Error;
    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }
}
impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// One message of a data channel; text and binary stay what they are (RFC 8831 §8), and an empty one stays empty.
/// `Debug` shows its size only.
#[derive(Clone, PartialEq, Eq)]
pub enum DataMessage {
    /// A string: PPID 51, or 56 when empty.
    Text(Utf8Bytes),
    /// Bytes: PPID 53, or 57 when empty.
    Binary(Bytes),
}

impl DataMessage {
    /// A string.
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// The payload.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Payload bytes.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether it has no payload.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}

impl fmt::Debug for DataMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Text(_)) { "Text" } else { "Binary" };
        write!(f, "{kind}({} bytes)", self.len())
    }
}

/// A data channel to be opened; it is reliable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChannel {
    /// Its label; at most [`Self::MAX_NAME`] bytes.
    pub label: String,
    /// Its subprotocol, often empty; at most [`Self::MAX_NAME`] bytes.
    pub protocol: String,
    /// Whether messages arrive in the order they were sent.
    pub ordered: bool,
}

impl NewChannel {
    /// Longest label and longest subprotocol, in bytes. RFC 8832 allows 65535; names in use have some ten.
    pub const MAX_NAME: usize = 1024;

    /// An ordered channel without a subprotocol.
    pub fn labelled(label: impl Into<String>) -> Self {
        Self { label: label.into(), protocol: String::new(), ordered: true }
    }
}

/// How the data channels of one connection are used: who opens them, and what a message looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Whatever the two ends agree on: no habit that Portico knows of (tribe).
    #[default]
    Free,
    /// Each side opens a channel `chat`, writes only to its own and reads the other's; text (algorea).
    OwnChannels,
    /// The offerer opens one channel for both directions; texts and bytes as they are (vamp, simple-peerjs, PeerJS `raw`).
    Plain,
    /// As `Plain`, each message one JSON value (PeerJS `json`): bytes since 1.5, text before.
    Json,
    /// As `Json`, with a far end that reads texts only (PeerJS before 1.5).
    JsonText,
    /// As `Plain`, each message BinaryPack, in chunks (PeerJS `binary`).
    BinaryPack,
    /// No data channel that carries messages of people (PeerJS media connections).
    None,
    /// The dialect's own: one channel, whose messages pass between the far end and the member's session as they are (sigver).
    Own,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let parts = |text, max| text_parts(text, max).collect::<Vec<_>>();
        assert_eq!(parts("", 8), [""]);
        assert_eq!(parts("12345678", 8), ["12345678"]);
        assert_eq!(parts("123456789", 8), ["12345678", "9"]);
        assert_eq!(parts("üüüüü", 5), ["üü", "üü", "ü"]);
        assert_eq!(parts("😀😀", 1), ["😀", "😀"], "never less than a character");
        let text = Utf8Bytes::from("grüße");
        assert_eq!(text.parts(4).collect::<Vec<_>>(), [Utf8Bytes::from("grü"), Utf8Bytes::from("ße")]);
    }

    #[test]
    fn text_is_utf8_whatever_came() {
        let good = Bytes::from_static("grüß dich".as_bytes());
        assert_eq!(Utf8Bytes::from_lossy(good.clone()).as_str(), "grüß dich");
        assert_eq!(Utf8Bytes::try_from(good).unwrap().as_str(), "grüß dich");
        let bad = Bytes::from_static(b"a\xffb");
        assert!(Utf8Bytes::try_from(bad.clone()).is_err());
        assert_eq!(Utf8Bytes::from_lossy(bad).as_str(), "a\u{fffd}b");
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(format!("{:?}", DataMessage::text("secret")), "Text(6 bytes)");
    }
}
