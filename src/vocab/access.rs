//! Who may do what: rights, room patterns, and the grant a session carries after it was checked.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::RoomId;

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Send streams and messages into a room.
    Publish,
    /// See members and play streams.
    Subscribe,
    /// Read the API and change what runs.
    Control,
    /// Join as a bridge to another place.
    Bridge,
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// None at all.
    pub const NONE: Rights = Rights(0);
    /// Every right.
    pub const ALL: Rights = Rights(0b1111);

    const fn bit(right: Right) -> u8 {
        1 << right as u8
    }
    /// This set with one more right.
    pub const fn with(self, right: Right) -> Self {
        Self(self.0 | Self::bit(right))
    }
    /// Whether the right is in the set.
    pub const fn has(self, right: Right) -> bool {
        self.0 & Self::bit(right) != 0
    }
    /// The rights in the set.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        [Right::Publish, Right::Subscribe, Right::Control, Right::Bridge].into_iter().filter(move |r| self.has(*r))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Room names with `*` for any run of characters: `kitchen`, `house-*`, `*`. Several stand on lines of their own (no room's
/// name holds a line break); it is enough that one fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct RoomPattern(pub String);

impl RoomPattern {
    /// Matches every room.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// One pattern out of many; without any it matches no room.
    pub fn any_of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self(patterns.into_iter().collect::<Vec<_>>().join("\n"))
    }

    /// Whether the room's name fits. Runs in O(pattern × name).
    pub fn matches(&self, room: &RoomId) -> bool {
        self.0.split('\n').any(|pattern| Self::fits(pattern, room.as_str()))
    }

    /// Whether a name fits a pattern in which `*` stands for any text.
    pub fn fits(pattern: &str, name: &str) -> bool {
        let mut parts = pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// What a session may do, decided once when it was opened; `room` asks it at each command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who it was given to, for logs; empty for the anonymous.
    pub subject: String,
    /// The rooms it holds in.
    pub rooms: RoomPattern,
    /// The rights it gives there.
    pub rights: Rights,
    /// When it ends; `None` never.
    pub expires: Option<SystemTime>,
}

impl Grant {
    /// Everything, everywhere, for ever: local sources, and loopback by default.
    pub fn all(subject: &str) -> Self {
        Self { subject: subject.into(), rooms: RoomPattern::any(), rights: Rights::ALL, expires: None }
    }

    /// Nothing, nowhere: a session that brings its own token in the dialect (tribe's bearer) starts with this.
    pub fn nothing() -> Self {
        Self { subject: String::new(), rooms: RoomPattern(String::new()), rights: Rights::NONE, expires: None }
    }

    /// Whether the right holds in the room.
    pub fn allows(&self, room: &RoomId, right: Right) -> bool {
        self.rights.has(right) && self.rooms.matches(room)
    }
}

/// Who a dialect's own bearer token says its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id in the dialect's own world.
    pub user_id: String,
    /// What the holder may do.
    pub grant: Grant,
}

/// Why a bearer was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bearer refused: {reason}")]
pub struct BearerError {
    /// For the log; not told to the client.
    pub reason: String,
}

/// Checks the bearer tokens that dialects carry inside their own messages. `ops::access` implements it.
pub trait BearerCheck: Send + Sync {
    /// Says who the bearer belongs to at that time, or why it is refused.
    fn check(&self, now: SystemTime, bearer: &str) -> Result<Identity, BearerError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let fits = |pattern: &str, room: &str| RoomPattern(pattern.into()).matches(&RoomId::new(room).unwrap());
        assert!(fits("*", "a") && fits("a*", "abc") && fits("*c", "abc") && fits("a*c", "abbc") && fits("a*b*c", "axbxc"));
        assert!(!fits("a", "ab") && !fits("a*c", "acb") && !fits("", "a") && !fits("ab*bc", "abc"));
        let two = RoomPattern::any_of(["a*", "kitchen"]);
        assert!(two.matches(&RoomId::new("abc").unwrap()) && two.matches(&RoomId::new("kitchen").unwrap()));
        assert!(!two.matches(&RoomId::new("b").unwrap()) && !RoomPattern::any_of([]).matches(&RoomId::new("a").unwrap()));
    }

    #[test]
    fn a_grant_holds_only_in_its_rooms() {
        let grant =
            Grant { rooms: RoomPattern("house-*".into()), rights: Rights::NONE.with(Right::Subscribe), ..Grant::all("x") };
        let house = RoomId::new("house-1").unwrap();
        assert!(grant.allows(&house, Right::Subscribe) && !grant.allows(&house, Right::Publish));
        assert!(!grant.allows(&RoomId::new("yard").unwrap(), Right::Subscribe));
    }
}
