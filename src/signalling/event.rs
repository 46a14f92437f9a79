//! Events of Socket.IO dialects: a JSON array of a name and arguments. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json;

/// An event's name and first argument. The dialects' events have no more; further arguments are not looked at.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its first argument, unread.
    pub argument: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// Reads an event; `None` when it is no array with a name in front. Takes no more memory than the name, however long and deep
    /// the array is. The carrier has checked that it is JSON: what the argument holds is not checked again before it is read.
    pub fn read(text: &'a str) -> Option<Self> {
        match json::pair(text) {
            Some((name, argument)) => Some(Self { name: name.into(), argument: Some(argument) }),
            None => serde_json::from_str(text).ok(),
        }
    }

    /// The argument, if it is a string.
    pub fn text(&self) -> Option<String> {
        serde_json::from_str(self.argument?).ok()
    }

    /// The argument's JSON text, if it is an object.
    pub fn object(&self) -> Option<&'a str> {
        self.argument.map(str::trim_ascii).filter(|text| text.starts_with('{'))
    }

    /// An event with one argument, as JSON.
    pub fn write(name: &str, argument: &(impl Serialize + ?Sized)) -> String {
        Self::write_long(name, argument, 0)
    }

    /// The same where the argument is long: about so many bytes.
    pub fn write_long(name: &str, argument: &(impl Serialize + ?Sized), bytes: usize) -> String {
        let mut event = Vec::with_capacity(name.len() + bytes + 64);
        serde_json::to_writer(&mut event, &(name, argument)).expect("strings, lists and JSON as it came always serialise");
        String::from_utf8(event).expect("JSON is written as UTF-8")
    }
}

/// A derived reader would take memory for every argument.
impl<'de: 'a, 'a> Deserialize<'de> for Event<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event's name and arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let name: Name<'de> = array.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                let argument = array.next_element::<&RawValue>()?.map(RawValue::get);
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Event { name: name.0, argument })
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_first_arguments_are_read() {
        let event = Event::read(r#"["join \u0076amp", "v1" ,{"x":1},3]"#).unwrap();
        assert_eq!((event.name.as_ref(), event.text().as_deref(), event.object()), ("join vamp", Some("v1"), None));
        let event = Event::read(r#"["a", {"b":[1]} ]"#).unwrap();
        assert_eq!((event.text(), event.object()), (None, Some(r#"{"b":[1]}"#)));
        let event = Event::read(r#"["a"]"#).unwrap();
        assert!(event.argument.is_none() && event.text().is_none() && event.object().is_none());
        assert!(Event::read(r#"["a",null]"#).unwrap().text().is_none());
        for none in ["", "[]", "{}", "[1]", "[null]", "\"a\"", "[\"a\"", "[[\"a\"]]", "[\"a\"]x"] {
            assert!(Event::read(none).is_none(), "{none}");
        }
        assert_eq!(Event::write("all users", &["a", "b"]), r#"["all users",["a","b"]]"#);
    }

    #[test]
    fn deep_and_long_events_are_read() {
        // 400 kB of brackets: read without recursion as an argument, refused by serde's limit behind it
        let deep = format!("[\"a\",{}{}]", "[".repeat(200_000), "]".repeat(200_000));
        assert!(Event::read(&deep).is_some_and(|event| event.object().is_none()));
        let long = format!("[\"a\"{}]", ",1".repeat(200_000));
        assert!(Event::read(&long).is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,80}") {
            drop(Event::read(&text));
        }
    }
}
