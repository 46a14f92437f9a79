//! The configuration as written: values that remember where they stand. Layers are merged here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Place, Problem, Source};
use super::shape::Shape;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where the value stands.
    pub place: Place,
    /// Where its key stands, for those that have one.
    pub key_place: Option<Place>,
    /// Whether something was taken out of this table, or found missing in it, and reported.
    pub faulty: bool,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A table.
    Table(BTreeMap<String, Node>),
    /// A list.
    List(Vec<Node>),
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// A date, a time, or a whole number too large: as written. No key takes one.
    Other(String),
}

/// One step from a value to one within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into a list.
    Item(usize),
}

/// `http.limits.sessions`, `source[1].device`.
pub fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl Node {
    /// An empty table that stands nowhere in particular.
    pub fn empty(source: &Arc<Source>) -> Self {
        let place = Place { source: Arc::clone(source), span: 0..0 };
        Self { value: Value::Table(BTreeMap::new()), place, key_place: None, faulty: false }
    }

    /// The table, if it is one.
    pub fn table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value at a path.
    pub fn at(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get(key),
            (Value::List(list), Step::Item(index)) => list.get(*index),
            _ => None,
        })
    }

    /// Where the value at a path stands, or the nearest one around it that stands somewhere.
    pub fn place_of(&self, path: &[Step]) -> Option<Place> {
        (1..=path.len()).rev().find_map(|len| self.at(&path[..len])).map(|node| node.place.clone())
    }

    /// Takes the value at a path out. Returns whether there was one.
    pub fn remove(&mut self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let parent = parents.iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key),
            (Value::List(list), Step::Item(index)) => list.get_mut(*index),
            _ => None,
        });
        match (parent.map(|node| &mut node.value), last) {
            (Some(Value::Table(table)), Step::Key(key)) => table.remove(key).is_some(),
            (Some(Value::List(list)), Step::Item(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }

    /// Puts a value at a path of keys, making tables on the way.
    pub fn put(&mut self, path: &[&str], node: Node) {
        let Value::Table(table) = &mut self.value else { return };
        match path {
            [] => {}
            [key] => drop(table.insert((*key).into(), node)),
            [key, rest @ ..] => {
                let below = table.entry((*key).into()).or_insert_with(|| Node {
                    value: Value::Table(BTreeMap::new()),
                    place: node.place.clone(),
                    key_place: node.key_place.clone(),
                    faulty: false,
                });
                below.put(rest, node);
            }
        }
    }

    /// Lays another layer over this one: tables join, entries of the lists in `by_name` replace those of the same `name` or are
    /// appended, anything else is replaced.
    pub fn merge(&mut self, over: Node, by_name: &[&str]) {
        match (&mut self.value, over.value) {
            (Value::Table(below), Value::Table(over)) => {
                for (key, node) in over {
                    match below.get_mut(&key) {
                        None => drop(below.insert(key, node)),
                        Some(under) if by_name.contains(&key.as_str()) => under.merge_list(node),
                        Some(under) => under.merge(node, &[]),
                    }
                }
            }
            (value, over_value) => {
                *value = over_value;
                self.place = over.place;
                self.key_place = over.key_place;
            }
        }
    }

    fn merge_list(&mut self, over: Node) {
        let (Value::List(below), Value::List(entries)) = (&mut self.value, over.value) else { return };
        for entry in entries {
            let name = entry.at(&[Step::Key("name".into())]).and_then(Node::text).map(str::to_owned);
            let same =
                |node: &Node| name.is_some() && node.at(&[Step::Key("name".into())]).and_then(Node::text) == name.as_deref();
            match below.iter_mut().find(|node| same(node)) {
                Some(node) => *node = entry,
                None => below.push(entry),
            }
        }
    }

    /// As `toml` has it, for serde.
    pub fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Table(table) => toml::Value::Table(table.iter().map(|(key, node)| (key.clone(), node.to_toml())).collect()),
            Value::List(list) => toml::Value::Array(list.iter().map(Node::to_toml).collect()),
            Value::Text(text) | Value::Other(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Number(number) => toml::Value::Float(*number),
            Value::Bool(yes) => toml::Value::Boolean(*yes),
        }
    }
}

/// Reads a TOML text. What cannot be read is a problem; the rest is there all the same.
pub fn parse(source: &Arc<Source>, text: &str, problems: &mut Vec<Problem>) -> Node {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map(|span| Place { source: Arc::clone(source), span });
        problems.push(Problem {
            key: String::new(),
            message: format!("this is not TOML: {}", error.message()),
            help: Some("see https://toml.io: `key = value` lines below `[section]` headers, texts in quotes".into()),
            place,
            warning: false,
        });
    }
    let place = Place { source: Arc::clone(source), span: table.span() };
    Node { value: table_value(source, table.get_ref()), place, key_place: None, faulty: false }
}

fn table_value(source: &Arc<Source>, table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let key_place = Some(Place { source: Arc::clone(source), span: key.span() });
        (key.get_ref().to_string(), Node { key_place, ..node(source, value) })
    });
    Value::Table(entries.collect())
}

fn list_value(source: &Arc<Source>, list: &DeArray<'_>) -> Value {
    Value::List(list.iter().map(|value| node(source, value)).collect())
}

fn node(source: &Arc<Source>, value: &Spanned<DeValue<'_>>) -> Node {
    let place = Place { source: Arc::clone(source), span: value.span() };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other(number.to_string()),
        },
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| Value::Other(number.to_string()), Value::Number),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(when) => Value::Other(when.to_string()),
        DeValue::Array(list) => list_value(source, list),
        DeValue::Table(table) => table_value(source, table),
    };
    Node { value, place, key_place: None, faulty: false }
}

/// Prefix of environment variables that set keys: `PORTICO_HTTP__LISTEN` is `http.listen`.
const ENV_PREFIX: &str = "PORTICO_";

/// Reads the variables `PORTICO_SECTION__KEY`; others are left alone. Values are read as the key wants them; a list is separated
/// by commas, or written as in TOML.
pub fn from_environment(vars: &[(String, String)], shape: &Shape) -> Node {
    let mut settings: Vec<(Vec<String>, &str, &str)> = vars
        .iter()
        .filter_map(|(name, value)| {
            let path = name.strip_prefix(ENV_PREFIX)?;
            let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
            (path.len() > 1).then_some((path, name.as_str(), value.as_str()))
        })
        .collect();
    settings.sort();
    let mut text = String::new();
    let mut spans: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (_, name, value) in &settings {
        let start = text.len();
        text.push_str(name);
        let name_end = text.len();
        text.push('=');
        let value_start = text.len();
        // one line per variable, whatever its value holds
        text.extend(value.chars().map(|c| if c == '\n' { ' ' } else { c }));
        spans.push((start..name_end, value_start..text.len()));
        text.push('\n');
    }
    let source = Source::new("environment", false, &text);
    let mut root = Node::empty(&source);
    for ((path, _, value), (name_span, value_span)) in settings.iter().zip(spans) {
        let wanted =
            path.iter().try_fold(shape, |shape, key| shape.keys(None).into_iter().find(|k| k.name == *key).map(|k| &k.shape));
        let place = |span| Place { source: Arc::clone(&source), span };
        let node = Node {
            value: environment_value(value, wanted, &place(value_span.clone())),
            place: place(value_span),
            key_place: Some(place(name_span)),
            faulty: false,
        };
        root.put(&path.iter().map(String::as_str).collect::<Vec<_>>(), node);
    }
    root
}

fn environment_value(text: &str, wanted: Option<&Shape>, place: &Place) -> Value {
    match wanted {
        Some(Shape::Integer(..)) => text.trim().parse().map_or_else(|_| Value::Text(text.into()), Value::Integer),
        Some(Shape::Number) => text.trim().parse().map_or_else(|_| Value::Text(text.into()), Value::Number),
        Some(Shape::Bool) => text.trim().parse().map_or_else(|_| Value::Text(text.into()), Value::Bool),
        Some(Shape::List(of)) => {
            let items: Vec<String> = match toml::from_str::<toml::Table>(&format!("v = {text}")) {
                Ok(table) => table["v"].as_array().into_iter().flatten().map(plain).collect(),
                Err(_) => text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
            };
            let node = |item: &String| Node {
                value: environment_value(item, Some(of), place),
                place: place.clone(),
                key_place: None,
                faulty: false,
            };
            Value::List(items.iter().map(node).collect())
        }
        _ => Value::Text(text.into()),
    }
}

fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A layer made of flags: `(flag, path, value)`.
pub fn from_flags(flags: &[(&str, &[&str], Value)]) -> Node {
    let mut text = String::from("portico run");
    let mut spans = Vec::new();
    for (flag, _, value) in flags {
        let shown = match value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            _ => String::new(),
        };
        text.push_str(&format!(" {flag} "));
        spans.push(text.len()..text.len() + shown.len());
        text.push_str(&shown);
    }
    let source = Source::new("command line", false, &text);
    let mut root = Node::empty(&source);
    for ((_, path, value), span) in flags.iter().zip(spans) {
        let place = Place { source: Arc::clone(&source), span };
        root.put(path, Node { value: value.clone(), key_place: Some(place.clone()), place, faulty: false });
    }
    root
}
