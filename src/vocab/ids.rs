//! Names and numbers that identify things. Names are checked once, here, and cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    fn names_are_bounded_and_clean() {
        assert!(RoomId::new("kitchen").is_ok());
        assert!(matches!(RoomId::new(""), Err(NameError::Empty { .. })));
        assert!(matches!(RoomId::new(&"x".repeat(257)), Err(NameError::TooLong { .. })));
        assert!(matches!(RoomId::new("a\nb"), Err(NameError::Control { .. })));
    }
}
