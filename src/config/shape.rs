//! What the configuration may hold, read from its JSON schema: the one description that the check, the environment, the
//! example and the reference go by.

use std::collections::BTreeSet;

use schemars::Schema;
use serde_json::{Map, Value};

use super::Config;
use super::tree::Step;

/// The JSON schema of the whole configuration.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    close_variants(&mut schema);
    schema
}

/// A table that is one of several kinds (`type = …`) says of each kind which keys it has; nothing else may stand in it.
fn close_variants(schema: &mut Value) {
    let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) else { return };
    for definition in definitions.values_mut().filter_map(Value::as_object_mut) {
        if definition.contains_key("oneOf") && definition.contains_key("properties") {
            definition.insert("unevaluatedProperties".into(), false.into());
        }
    }
}

/// One key of a table.
#[derive(Clone, Debug)]
pub struct Key {
    /// As written.
    pub name: String,
    /// What it means, from the struct's comment; lines joined.
    pub doc: String,
    /// Its value when it is not written, where that can be told.
    pub default: Option<Value>,
    /// Whether it must be written.
    pub required: bool,
    /// What its value may be.
    pub shape: Shape,
}

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A table with these keys and no others.
    Table(Vec<Key>),
    /// A table whose keys depend on the value of one of them.
    Kinds {
        /// The key that tells the kinds apart.
        tag: String,
        /// Keys that every kind has.
        common: Vec<Key>,
        /// The kinds.
        kinds: Vec<Kind>,
    },
    /// A list.
    List(Box<Shape>),
    /// One of these words.
    Word(Vec<Word>),
    /// A text.
    Text(TextForm),
    /// A whole number from the first to the last.
    Integer(i64, i64),
    /// Any number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Something this reader does not know; everything is let through and left to serde.
    Any,
}

/// One kind of a [`Shape::Kinds`].
#[derive(Clone, Debug)]
pub struct Kind {
    /// The tag's value.
    pub name: String,
    /// What it is.
    pub doc: String,
    /// The keys it has besides the common ones.
    pub keys: Vec<Key>,
}

/// One allowed word.
#[derive(Clone, Debug)]
pub struct Word {
    /// The word.
    pub name: String,
    /// What it means.
    pub doc: String,
}

/// What a text must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// From so many to so many characters.
    Free(usize, usize),
    /// `500ms`, `30s`.
    Duration,
    /// An IP address.
    Address,
    /// An IP address and a port.
    SocketAddress,
}

impl Shape {
    /// The shape of the whole file.
    pub fn of_config() -> Self {
        Self::of_schema(&schemars::schema_for!(Config))
    }

    fn of_schema(schema: &Schema) -> Self {
        let empty = Map::new();
        let root = schema.as_object().unwrap_or(&empty);
        let definitions = root.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
        Reader { definitions }.shape(root)
    }

    /// The keys of a table, given the kind where it has kinds; empty for everything else.
    pub fn keys(&self, kind: Option<&str>) -> Vec<&Key> {
        match self {
            Self::Table(keys) => keys.iter().collect(),
            Self::Kinds { common, kinds, .. } => {
                let of_kind = kinds.iter().filter(|k| kind.is_none_or(|name| k.name == name)).flat_map(|k| &k.keys);
                let mut seen = BTreeSet::new();
                common.iter().chain(of_kind).filter(|key| seen.insert(key.name.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The key a path ends in; of keys that several kinds have, the first. A path that ends in a list's item has that of the list.
    pub(super) fn key_at(&self, path: &[Step]) -> Option<&Key> {
        let mut shape = self;
        let mut found = None;
        for step in path {
            match (step, shape) {
                (Step::Item(_), Self::List(of)) => shape = of,
                (Step::Key(name), _) => {
                    let key = shape.keys(None).into_iter().find(|key| key.name == *name)?;
                    shape = &key.shape;
                    found = Some(key);
                }
                _ => return None,
            }
        }
        found
    }

    /// What may stand here, for people.
    pub fn allowed(&self) -> String {
        match self {
            Self::Table(_) | Self::Kinds { .. } => "a table".into(),
            Self::List(of) => format!("a list, each item {}", of.allowed()),
            Self::Word(words) => words.iter().map(|word| format!("\"{}\"", word.name)).collect::<Vec<_>>().join(", "),
            Self::Text(TextForm::Free(low, high)) if *low > 0 && *high < usize::MAX => {
                format!("a text of {low} to {high} characters, in quotes")
            }
            Self::Text(TextForm::Free(..)) => "a text in quotes".into(),
            Self::Text(TextForm::Duration) => "a duration such as \"500ms\", \"30s\" or \"2m\"".into(),
            Self::Text(TextForm::Address) => "an IP address such as \"192.168.1.7\" or \"fd00::7\"".into(),
            Self::Text(TextForm::SocketAddress) => "an IP address and port such as \"127.0.0.1:8780\" or \"[::]:8780\"".into(),
            Self::Integer(0, i64::MAX) => "a whole number, 0 or more".into(),
            Self::Integer(i64::MIN, i64::MAX) => "a whole number".into(),
            Self::Integer(low, high) => format!("a whole number from {low} to {high}"),
            Self::Number => "a number".into(),
            Self::Bool => "true or false".into(),
            Self::Any => "any value".into(),
        }
    }
}

/// Resolves references while it reads.
struct Reader<'a> {
    definitions: &'a Map<String, Value>,
}

impl Reader<'_> {
    /// The object itself joined with what it refers to; its own members win.
    fn resolved(&self, object: &Map<String, Value>) -> Map<String, Value> {
        let target = object.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
        let Some(definition) = target.and_then(|name| self.definitions.get(name)).and_then(Value::as_object) else {
            return object.clone();
        };
        let mut joined = self.resolved(definition);
        for (name, value) in object.iter().filter(|(name, _)| *name != "$ref") {
            match (joined.get_mut(name), value) {
                (Some(Value::Object(below)), Value::Object(own)) if name == "properties" => below.extend(own.clone()),
                (Some(Value::Array(below)), Value::Array(own)) if name == "required" => below.extend(own.clone()),
                _ => drop(joined.insert(name.clone(), value.clone())),
            }
        }
        joined
    }

    fn shape(&self, object: &Map<String, Value>) -> Shape {
        let object = self.resolved(object);
        if let Some(options) = object.get("oneOf").or(object.get("anyOf")).and_then(Value::as_array) {
            return self.one_of(&object, options);
        }
        if let Some(names) = object.get("enum").and_then(Value::as_array) {
            let words = names.iter().filter_map(Value::as_str);
            return Shape::Word(words.map(|name| Word { name: name.into(), doc: String::new() }).collect());
        }
        match type_of(&object) {
            Some("object") => Shape::Table(self.keys(&object)),
            Some("array") => {
                let items = object.get("items").and_then(Value::as_object);
                Shape::List(Box::new(items.map_or(Shape::Any, |items| self.shape(items))))
            }
            Some("string") => Shape::Text(text_form(&object)),
            Some("integer") => {
                let bound = |name: &str, open| object.get(name).and_then(Value::as_i64).unwrap_or(open);
                Shape::Integer(bound("minimum", i64::MIN), bound("maximum", i64::MAX))
            }
            Some("number") => Shape::Number,
            Some("boolean") => Shape::Bool,
            _ => Shape::Any,
        }
    }

    fn one_of(&self, object: &Map<String, Value>, options: &[Value]) -> Shape {
        let options: Vec<Map<String, Value>> = options.iter().filter_map(Value::as_object).map(|o| self.resolved(o)).collect();
        let options: Vec<_> = options.into_iter().filter(|option| type_of(option) != Some("null")).collect();
        if let [only] = options.as_slice() {
            return self.shape(only);
        }
        let word = |option: &Map<String, Value>| {
            let name = option.get("const").and_then(Value::as_str)?;
            Some(vec![Word { name: name.into(), doc: doc(option) }])
        };
        let words = |option: &Map<String, Value>| {
            let names = option.get("enum").and_then(Value::as_array)?;
            Some(names.iter().filter_map(Value::as_str).map(|name| Word { name: name.into(), doc: String::new() }).collect())
        };
        if let Some(lists) = options.iter().map(|option| word(option).or_else(|| words(option))).collect::<Option<Vec<_>>>() {
            return Shape::Word(lists.into_iter().flatten().collect());
        }
        let kinds: Option<Vec<(String, Kind)>> = options.iter().map(|option| self.kind(option)).collect();
        match kinds {
            Some(kinds) if !kinds.is_empty() => Shape::Kinds {
                tag: kinds[0].0.clone(),
                common: self.keys(object),
                kinds: kinds.into_iter().map(|(_, kind)| kind).collect(),
            },
            _ => Shape::Any,
        }
    }

    /// Reads an option that is told by a key with one fixed value.
    fn kind(&self, option: &Map<String, Value>) -> Option<(String, Kind)> {
        let keys = option.get("properties")?.as_object()?;
        let (tag, name) = keys.iter().find_map(|(key, value)| Some((key.clone(), value.get("const")?.as_str()?.to_owned())))?;
        let keys = self.keys(option).into_iter().filter(|key| key.name != tag).collect();
        Some((tag, Kind { name, doc: doc(option), keys }))
    }

    fn keys(&self, object: &Map<String, Value>) -> Vec<Key> {
        let required: Vec<&str> =
            object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = object.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name, value.as_object()?)))
            .map(|(name, value)| Key {
                name: name.clone(),
                doc: doc(value),
                default: value.get("default").cloned(),
                required: required.contains(&name.as_str()),
                shape: self.shape(value),
            })
            .collect()
    }
}

fn doc(object: &Map<String, Value>) -> String {
    let text = object.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type, `null` beside it ignored.
fn type_of(object: &Map<String, Value>) -> Option<&str> {
    match object.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn text_form(object: &Map<String, Value>) -> TextForm {
    match object.get("format").and_then(Value::as_str) {
        Some("ip") => return TextForm::Address,
        Some("socket-address") => return TextForm::SocketAddress,
        _ => {}
    }
    // only durations have a pattern (vocab::DurationText)
    if object.contains_key("pattern") {
        return TextForm::Duration;
    }
    let bound = |name: &str, open| object.get(name).and_then(Value::as_u64).map_or(open, |n| n as usize);
    TextForm::Free(bound("minLength", 0), bound("maxLength", usize::MAX))
}
