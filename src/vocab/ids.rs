//! Names and numbers that identify things. Names are checked once, here, and cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// What the name would have named.
        what: &'static str,
    },
    /// The text has more characters than allowed.
    #[error("{what} has {len} characters, at most {max} are allowed")]
    TooLong {
        /// What the name would have named.
        what: &'static str,
        /// Its length in characters.
        len: usize,
        /// The longest allowed, in characters.
        max: usize,
    },
    /// The text holds a control character.
    #[error("{what} holds a control character")]
    Control {
        /// What the name would have named.
        what: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest name, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Checks and wraps a name: 1 to [`Self::MAX_CHARS`] characters, no control characters.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let len = text.chars().count();
                match len {
                    0 => Err(NameError::Empty { what: $what }),
                    n if n > $max => Err(NameError::TooLong { what: $what, len, max: $max }),
                    _ if text.chars().any(char::is_control) => Err(NameError::Control { what: $what }),
                    _ => Ok(Self(text.into())),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": $max })
            }
        }
    };
}

name!(
    /// A room's name, the same whatever the dialect. 1 to 256 characters.
    RoomId, "room name", 256
);
name!(
    /// A stream's name, unique within its member. 1 to 64 characters.
    StreamName, "stream name", 64
);
name!(
    /// A configured source's name, unique on this gateway. 1 to 64 characters.
    SourceName, "source name", 64
);
name!(
    /// A bridge's name, unique on this gateway. 1 to 64 characters.
    BridgeName, "bridge name", 64
);

/// What a mount puts before the names its clients use for rooms. At most 64 characters, none of them a control character; mostly
/// empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomPrefix(Arc<str>);

impl RoomPrefix {
    /// Longest prefix, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Checks and wraps a prefix.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let (len, what) = (text.chars().count(), "room prefix");
        match len {
            n if n > Self::MAX_CHARS => Err(NameError::TooLong { what, len, max: Self::MAX_CHARS }),
            _ if text.chars().any(char::is_control) => Err(NameError::Control { what }),
            _ => Ok(Self(text.into())),
        }
    }

    /// Nothing is put before names.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<RoomPrefix> = LazyLock::new(RoomPrefix::default);
        &NONE
    }

    /// The room that a client means by a name; fails when the two together are too long.
    pub fn add(&self, room: RoomId) -> Result<RoomId, NameError> {
        if self.0.is_empty() { Ok(room) } else { RoomId::new(&format!("{}{room}", self.0)) }
    }

    /// The name that a client uses for a room. Undoes [`Self::add`]; any other room stays as it is.
    pub fn strip(&self, room: &RoomId) -> RoomId {
        if self.0.is_empty() {
            return room.clone();
        }
        room.as_str().strip_prefix(&*self.0).and_then(|bare| RoomId::new(bare).ok()).unwrap_or_else(|| room.clone())
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for RoomPrefix {
    fn default() -> Self {
        Self("".into())
    }
}
impl Serialize for RoomPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for RoomPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
impl schemars::JsonSchema for RoomPrefix {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RoomPrefix".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 0, "maxLength": Self::MAX_CHARS })
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The next unused value of this process.
            pub fn next() -> Self {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                Self(NEXT.fetch_add(1, Ordering::Relaxed))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

counter!(
    /// One signalling session (a websocket, an HTTP ingest or egress session, a local source).
    SessionId
);
counter!(
    /// One WebRTC connection between Portico and a far end.
    PeerId
);
counter!(
    /// One published track: audio or video of one stream.
    TrackId
);
counter!(
    /// One data channel of one peer.
    ChannelId
);
counter!(
    /// A session's own number for one request, so that a refusal can be matched to it.
    RequestId
);

/// One encoding of a track: what a writer fills and viewers subscribe to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct LayerId {
    /// The track this is an encoding of.
    pub track: TrackId,
    /// 0 is the first (and for most tracks only) layer.
    pub index: u8,
}

/// Who or what is in a room: 128 random bits, written as 32 lower-case hex digits. A dialect may write it in its own form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub [u8; 16]);

impl MemberId {
    /// A fresh random id.
    pub fn random() -> Self {
        Self(rand::random())
    }
}
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self})")
    }
}
impl FromStr for MemberId {
    type Err = std::num::ParseIntError;
    /// Reads 32 hex digits of either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(u8::from_str_radix("x", 16).expect_err("x is no hex digit"));
        }
        u128::from_str_radix(text, 16).map(|n| Self(n.to_be_bytes()))
    }
}
impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_id_reads_what_it_writes_in_either_case() {
        let id = MemberId::random();
        assert_eq!(id.to_string().parse::<MemberId>().unwrap(), id);
        assert_eq!(id.to_string().to_uppercase().parse::<MemberId>().unwrap(), id);
        assert!("".parse::<MemberId>().is_err());
        assert!("+123456789012345678901234567890f".parse::<MemberId>().is_err());
    }

    #[test]
    fn a_prefix_comes_off_as_it_went_on() {
        let (prefix, room) = (RoomPrefix::new("forum-").unwrap(), RoomId::new("a").unwrap());
        let real = prefix.add(room.clone()).unwrap();
        assert_eq!((real.as_str(), prefix.strip(&real)), ("forum-a", room.clone()));
        assert_eq!(prefix.strip(&room), room, "somebody else's room keeps its name");
        assert!(prefix.add(RoomId::new(&"x".repeat(256)).unwrap()).is_err());
        assert_eq!(RoomPrefix::none().add(room.clone()).unwrap(), room);
        assert!(RoomPrefix::new("a\nb").is_err() && RoomPrefix::new(&"x".repeat(65)).is_err());
    }

    #[test]
    fn names_are_bounded_and_clean() {
        assert!(RoomId::new("kitchen").is_ok());
        assert!(matches!(RoomId::new(""), Err(NameError::Empty { .. })));
        assert!(matches!(RoomId::new(&"x".repeat(257)), Err(NameError::TooLong { .. })));
        assert!(matches!(RoomId::new("a\nb"), Err(NameError::Control { .. })));
    }
}
