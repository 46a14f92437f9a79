//! What a client says in the URL: the group's key, and whether it is favored.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::vocab::{RoomId, RoomPrefix};

/// Longest key, in characters of the path as it was sent.
pub const MAX_KEY: usize = 512;
/// Longest name of a room that is a key and nothing else; leaves room for what config may put before it.
const MAX_NAME: usize = RoomId::MAX_CHARS - RoomPrefix::MAX_CHARS;

/// Where a connection belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The path behind the mount, not percent-decoded.
    pub key: Arc<str>,
    /// Preferred as partner of joiners: bots and servers.
    pub favored: bool,
    /// The key among those of all mounts.
    group: Arc<str>,
}

/// Why a path is no key. The connection is accepted and then closed with 4741.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing behind the mount.
    #[error("{}", self.reason())]
    Empty,
    /// Over [`MAX_KEY`].
    #[error("{}", self.reason())]
    TooLong,
}

impl BadKey {
    /// For the close frame; starts as the original's.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "4741: the key is empty",
            Self::TooLong => "4741: the key is too long, 512 characters are allowed",
        }
    }
}

impl Address {
    /// Reads the path behind the mount, without its first `/`, and the query.
    pub fn read(key: &str, query: Option<&str>) -> Result<Self, BadKey> {
        // a path is ASCII, so that characters are bytes
        match key.chars().count() {
            0 => return Err(BadKey::Empty),
            n if n > MAX_KEY => return Err(BadKey::TooLong),
            _ => {}
        }
        let names = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        let key: Arc<str> = key.into();
        Ok(Self { group: key.clone(), key, favored: names.into_iter().any(|name| name == "favored") })
    }

    /// The same at a mount whose rooms have a prefix: its groups are its own, as its rooms are.
    pub fn with_prefix(self, prefix: &RoomPrefix) -> Self {
        match prefix.add(self.room()) {
            // no room's name holds a line break
            Ok(room) if !prefix.is_empty() => Self { group: format!("{room}\n{}", self.key).into(), ..self },
            _ => self,
        }
    }

    /// The group's name among those of all mounts.
    pub fn group(&self) -> Arc<str> {
        self.group.clone()
    }

    /// The room the group belongs to: the key as other dialects write it, percent-decoded where that gives a name. A long one is
    /// cut, and told apart by its hash.
    pub fn room(&self) -> RoomId {
        let decoded = percent_decoded(&self.key).and_then(|key| RoomId::new(&short(&key)).ok());
        decoded.unwrap_or_else(|| RoomId::new(&short(&self.key)).expect("a key is 1 to 512 characters of a path"))
    }
}

/// A text of at most [`MAX_NAME`] characters that stands for this one and no other.
fn short(text: &str) -> Cow<'_, str> {
    if text.chars().count() <= MAX_NAME {
        return text.into();
    }
    let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let cut: String = text.chars().take(MAX_NAME - hash.len() - 1).collect();
    format!("{cut}~{hash}").into()
}

/// `None` when it is not percent-encoded UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || (bytes.next()? as char).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, query: Option<&str>) -> (String, bool) {
        let address = Address::read(key, query).unwrap();
        (address.key.to_string(), address.favored)
    }

    // checklist 16
    #[test]
    fn keys_are_taken_as_they_are() {
        assert_eq!(read("a/b", None), ("a/b".into(), false));
        assert_eq!(read("%C3%A9", None), ("%C3%A9".into(), false));
        assert_eq!(read("x", Some("favored=1")), ("x".into(), true));
        assert_eq!(read("x", Some("token=1&favored")), ("x".into(), true));
        assert_eq!(read("x", Some("favoured&token=favored")), ("x".into(), false));
        assert_eq!(read("x", Some("")), ("x".into(), false));
    }

    // checklist 15
    #[test]
    fn keys_have_1_to_512_characters() {
        assert_eq!(Address::read("", None), Err(BadKey::Empty));
        assert_eq!(Address::read(&"k".repeat(513), None), Err(BadKey::TooLong));
        assert!(Address::read(&"k".repeat(512), None).is_ok());
    }

    #[test]
    fn a_prefix_keeps_groups_apart() {
        let group =
            |key, prefix| Address::read(key, None).unwrap().with_prefix(&RoomPrefix::new(prefix).unwrap()).group().to_string();
        assert_eq!(group("doc1", ""), "doc1");
        assert_ne!(group("a-doc1", ""), group("doc1", "a-"));
        assert_ne!(group("%61", "a-"), group("a", "a-"));
    }

    #[test]
    fn the_room_has_the_keys_name() {
        let room = |key: &str| Address::read(key, None).unwrap().room().to_string();
        assert_eq!(room("doc1"), "doc1");
        assert_eq!(room("caf%C3%A9%20noir"), "café noir");
        for odd in ["%", "%4", "%zz", "%FF", "a%00b"] {
            assert_eq!(room(odd), odd, "what cannot be decoded stays as it is");
        }
        let (long, longer) = (room(&"k".repeat(300)), room(&"k".repeat(301)));
        assert_eq!((long.len(), longer.len()), (MAX_NAME, MAX_NAME));
        assert_ne!(long, longer);
        assert_eq!(room(&"k".repeat(MAX_NAME)), "k".repeat(MAX_NAME));
    }
}
