//! A client's messages as text for members of other dialects, and back. A client's message is any JSON value; others have text.
//!
//! | message | text |
//! |---|---|
//! | a string | the string |
//! | an object with a string `text`, the form in which text of others comes | that string |
//! | any other value, as the published clients' media states and games | the value as compact JSON |
//! | `null`, or none | nothing is said |

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// Text as a message.
#[derive(Debug, Serialize, Deserialize)]
struct Words<T> {
    text: T,
}

/// What members of other dialects hear of a message; `None`: it says nothing.
pub(crate) fn of(message: &RawValue) -> Option<String> {
    let json = message.get();
    match json.as_bytes().first()? {
        b'n' => None,
        b'"' => serde_json::from_str(json).ok(),
        b'{' => Some(serde_json::from_str(json).map_or_else(|_| compact(json), |Words { text }| text)),
        _ => Some(compact(json)),
    }
}

/// The message in which a client hears what a member of another dialect says.
pub(crate) fn message(text: &str) -> Box<RawValue> {
    to_raw_value(&Words { text }).expect("a text always serialises")
}

/// JSON without the white space between its tokens. Numbers, escapes and the order of members stay as they were written.
fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let kept = |c: &char| {
        let keeps = quoted || !c.is_ascii_whitespace();
        if escaped {
            escaped = false;
        } else if quoted && *c == '\\' {
            escaped = true;
        } else if *c == '"' {
            quoted = !quoted;
        }
        keeps
    };
    json.chars().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> Option<String> {
        of(&RawValue::from_string(json.into()).unwrap())
    }

    #[test]
    fn strings_and_texts_are_said_as_they_are_and_the_rest_as_compact_json() {
        for (json, said) in [
            (r#""hi \"you\" \u00e9""#, "hi \"you\" é"),
            (r#""""#, ""),
            (r#"{"text":"hi"}"#, "hi"),
            (r#"{"at":3,"text":"hi"}"#, "hi"),
            (r#"{"text":5}"#, r#"{"text":5}"#),
            (
                r#"{ "isVideoEnabled" : false,"videoChangeReason":"a b" }"#,
                r#"{"isVideoEnabled":false,"videoChangeReason":"a b"}"#,
            ),
            (r#"{"app": {"z": 1.50, "a": "\\\" x"}}"#, r#"{"app":{"z":1.50,"a":"\\\" x"}}"#),
            ("[1,\n 2]", "[1,2]"),
            ("17", "17"),
            ("true", "true"),
        ] {
            assert_eq!(text(json).as_deref(), Some(said), "{json}");
        }
        assert_eq!(text("null"), None);
    }

    proptest! {
        #[test]
        fn text_comes_back_as_it_was_and_json_means_the_same(said in ".{0,60}", key in "[a-s]{0,9}", number in any::<i64>()) {
            let there = message(&said);
            prop_assert_eq!(of(&there), Some(said.clone()));
            let value = serde_json::json!({ key: [said, number, null, { "": said }] });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(text(&pretty), Some(value.to_string()));
        }
    }
}
