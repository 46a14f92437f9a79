//! A value as JSON and BinaryPack carry it: members keep their order, and byte strings have a place.
//!
//! The one form in which the desk holds what is not plain text, so that a value crosses from any framing to any other.

pub mod binarypack;
pub mod chunks;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

/// Deepest nesting of lists and maps. A chat object has 2 or 3 levels.
pub const MAX_DEPTH: usize = 64;
/// Most values within a value. Bounds the memory of a hostile list of one-byte items to some 16 MiB.
pub const MAX_ITEMS: usize = 262_144;
/// Longest JSON text read, in bytes. Above what one data channel message of a browser holds.
pub const MAX_JSON: usize = 1 << 20;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null, or JavaScript's undefined.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number, 0 or more.
    UInt(u64),
    /// A whole number below 0.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes. JSON has none.
    Bytes(Bytes),
    /// A list.
    List(Vec<Value>),
    /// Named members, in order, each name once.
    Map(Vec<(String, Value)>),
}

/// Why a JSON text or value cannot cross.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or nested too deep for the reader.
    #[error("not JSON")]
    Syntax(#[source] serde_json::Error),
    /// Longer than [`MAX_JSON`], deeper than [`MAX_DEPTH`] or more than [`MAX_ITEMS`].
    #[error("the value is too large or nested too deep")]
    TooLarge,
    /// Bytes have no place in JSON.
    #[error("JSON holds no bytes")]
    Bytes,
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map of these members.
    pub fn map<const N: usize>(members: [(&str, Value); N]) -> Self {
        Self::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The member of that name, if this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(members) => members.iter().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number of 0 or more, if it is one.
    pub fn as_uint(&self) -> Option<u64> {
        match self {
            Self::UInt(n) => Some(*n),
            _ => None,
        }
    }

    /// Whether it is neither list nor map nor bytes.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Bytes(_) | Self::List(_) | Self::Map(_))
    }

    /// Reads JSON. Of members with the same name the last counts, as in JavaScript.
    pub fn from_json(text: &[u8]) -> Result<Self, JsonError> {
        if text.len() > MAX_JSON {
            return Err(JsonError::TooLarge);
        }
        let value: Self = serde_json::from_slice(text).map_err(JsonError::Syntax)?;
        let mut items = MAX_ITEMS;
        if value.fits(MAX_DEPTH, &mut items) { Ok(value) } else { Err(JsonError::TooLarge) }
    }

    /// Writes compact JSON. Numbers that JSON cannot hold become null, as in JavaScript.
    pub fn to_json(&self) -> Result<String, JsonError> {
        serde_json::to_string(self).map_err(|_| JsonError::Bytes)
    }

    fn fits(&self, depth: usize, items: &mut usize) -> bool {
        let Some(left) = items.checked_sub(1) else { return false };
        *items = left;
        match self {
            Self::List(list) => depth > 0 && list.iter().all(|value| value.fits(depth - 1, items)),
            Self::Map(members) => depth > 0 && members.iter().all(|(_, value)| value.fits(depth - 1, items)),
            _ => true,
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        u64::try_from(n).map_or(Self::Int(n), Self::UInt)
    }
}

/// Puts members in, the last of a name winning in the place of the first.
#[derive(Default)]
struct Members {
    list: Vec<(String, Value)>,
    at: BTreeMap<String, usize>,
}

impl Members {
    fn put(&mut self, name: String, value: Value) {
        match self.at.get(&name) {
            Some(&at) => self.list[at].1 = value,
            None => {
                self.at.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::UInt(n) => serializer.serialize_u64(*n),
            Self::Int(n) => serializer.serialize_i64(*n),
            Self::Float(n) => serializer.serialize_f64(*n),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(_) => Err(ser::Error::custom("bytes")),
            Self::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|value| seq.serialize_element(value))?;
                seq.end()
            }
            Self::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value, E> {
        Ok(Value::UInt(n))
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }
    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Float(n))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Members::default();
        while let Some((name, value)) = map.next_entry()? {
            members.put(name, value);
        }
        Ok(Value::Map(members.list))
    }
}

#[cfg(test)]
mod tests;
