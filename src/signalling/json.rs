//! JSON that was checked before, taken apart without checking it again. Pure.
//!
//! Descriptions are long strings. A reader that checks them looks at each byte; here the end of a string is searched for by itself. Of text
//! that is not well-formed what comes out means nothing, but nothing fails: whoever passes a value on to somebody checks that value.

use memchr::{memchr_iter, memchr2};

/// Where the value ends that the bytes begin with; `None` when it does not end.
fn value_end(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string_end(bytes),
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0_usize);
            loop {
                match bytes.get(at)? {
                    b'"' => at += string_end(&bytes[at..])?,
                    b'{' | b'[' => {
                        depth += 1;
                        at += 1;
                    }
                    b'}' | b']' => {
                        depth -= 1;
                        at += 1;
                        if depth == 0 {
                            return Some(at);
                        }
                    }
                    _ => at += 1,
                }
            }
        }
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            bytes.iter().position(ends).filter(|length| *length > 0)
        }
    }
}

/// The same for a string; the bytes begin with its quote.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let next = at + memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[next] == b'"' {
            return Some(next + 1);
        }
        at = next + 2;
    }
}

/// Takes the value off the front of a text, and the white space behind it.
fn take_value<'a>(text: &mut &'a str) -> Option<&'a str> {
    // a value ends behind an ASCII character or in front of one, so that the border is one of characters
    let (value, rest) = text.split_at_checked(value_end(text.as_bytes())?)?;
    *text = rest.trim_ascii_start();
    Some(value)
}

/// Takes a character off the front, and the white space behind it.
fn take<'a>(text: &mut &'a str, what: char) -> Option<&'a str> {
    *text = text.strip_prefix(what)?.trim_ascii_start();
    Some(text)
}

/// A string's text, if it is written without escapes.
fn plain(string: &str) -> Option<&str> {
    string.strip_prefix('"')?.strip_suffix('"').filter(|text| memchr_iter(b'\\', text.as_bytes()).next().is_none())
}

/// The two values of an array whose first is a string without escapes; `None` for any other form.
pub(crate) fn pair(array: &str) -> Option<(&str, &str)> {
    let mut rest = array.trim_ascii();
    take(&mut rest, '[')?;
    let first = plain(take_value(&mut rest)?)?;
    take(&mut rest, ',')?;
    let second = take_value(&mut rest)?;
    (rest == "]").then_some((first, second))
}

/// The value of an object's member; `None` when it has none or several of that name, or a name that is written with escapes.
pub(crate) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = object.trim_ascii();
    take(&mut rest, '{')?;
    let mut found = None;
    while !rest.starts_with('}') {
        let key = plain(take_value(&mut rest)?)?;
        take(&mut rest, ':')?;
        let value = take_value(&mut rest)?;
        if key == name && found.replace(value).is_some() {
            return None;
        }
        if !rest.starts_with('}') {
            take(&mut rest, ',')?;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn pairs_are_taken_apart() {
        assert_eq!(pair(r#"["a",{"b":[1,"]}\"",2]}]"#), Some(("a", r#"{"b":[1,"]}\"",2]}"#)));
        assert_eq!(pair(" [ \"a b\" , 12 ] "), Some(("a b", "12")));
        assert_eq!(pair("[\"a\",\"é\\\\\"]"), Some(("a", "\"é\\\\\"")));
        for other in
            ["", "[", "[]", "[\"a\"]", "[1,2]", "[\"a\",1,2]", "[\"a\",]", "[\"a\",1", "[\"\\u0061\",1]", "[\"a\",1]x", "{}"]
        {
            assert_eq!(pair(other), None, "{other}");
        }
    }

    #[test]
    fn members_are_found() {
        let object = r#" { "a" : {"type":"inner"} , "type":"offer", "sdp":"v=0\r\n\"type\":" } "#;
        assert_eq!((member(object, "type"), member(object, "a")), (Some("\"offer\""), Some("{\"type\":\"inner\"}")));
        assert_eq!((member(object, "b"), member("{}", "a"), member("[]", "a")), (None, None, None));
        assert_eq!(member(r#"{"a":1,"a":2}"#, "a"), None, "which of the two counts?");
        assert_eq!(member(r#"{"\u0061":1,"b":2}"#, "b"), None, "what is it called?");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from);
            prop_oneof![list, prop::collection::hash_map("[a-d]{1,2}", inner, 0..5).prop_map(Value::from_iter)]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_not(text in "[\\[\\]{}\",:0-9a-zé\\\\ ]{0,80}") {
            let _ = (pair(&text), member(&text, "a"));
        }

        #[test]
        fn what_is_well_formed_comes_apart_as_it_was_put_together(value in json(), pretty: bool) {
            let write = |value: &Value| if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
            let array = write(&Value::from(vec![Value::from("name"), value.clone()]));
            let (name, second) = pair(&array).unwrap();
            prop_assert_eq!((name, serde_json::from_str::<Value>(second).unwrap()), ("name", value.clone()));
            if let Value::Object(map) = &value {
                let object = write(&value);
                for (key, inner) in map {
                    prop_assert_eq!(&serde_json::from_str::<Value>(member(&object, key).unwrap()).unwrap(), inner);
                }
                prop_assert_eq!(member(&object, "z"), None);
            }
        }
    }
}
