//! Compares what is written with what may be written: unknown keys, wrong types, values out of range, missing keys.
//! Everything at fault is reported and taken out, so that the rest can still be read and checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::problem::{Place, Problem};
use super::shape::{Key, Shape, TextForm};
use super::tree::{Node, Step, Value, path_text};

/// Checks a layer and takes out what is at fault.
pub fn check(root: &mut Node, shape: &Shape, problems: &mut Vec<Problem>) {
    let mut checker = Checker { shape, path: Vec::new(), problems };
    checker.value(root, shape, "");
}

struct Checker<'a> {
    shape: &'a Shape,
    path: Vec<Step>,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    /// Returns whether the value may stay.
    fn value(&mut self, node: &mut Node, shape: &Shape, doc: &str) -> bool {
        let fault = match (shape, &mut node.value) {
            (Shape::Any, _) | (Shape::Bool, Value::Bool(_)) | (Shape::Number, Value::Number(_) | Value::Integer(_)) => None,
            (Shape::Table(keys), Value::Table(table)) => {
                let keys: Vec<&Key> = keys.iter().collect();
                node.faulty |= !self.table(table, &keys, None, &node.place);
                None
            }
            (Shape::Kinds { tag, kinds, .. }, Value::Table(table)) => {
                let kind = table.get(tag).and_then(Node::text).map(str::to_owned);
                match kind {
                    Some(name) if kinds.iter().any(|kind| kind.name == name) => {
                        let mut keys = shape.keys(Some(&name));
                        let words = Key {
                            name: tag.clone(),
                            doc: String::new(),
                            default: None,
                            required: true,
                            shape: Shape::Text(TextForm::Free(0, usize::MAX)),
                        };
                        keys.push(&words);
                        node.faulty |= !self.table(table, &keys, Some((shape, &name)), &node.place);
                    }
                    found => {
                        self.unknown_kind(shape, found, table.get(tag).map_or(&node.place, |node| &node.place).clone());
                        return false;
                    }
                }
                None
            }
            (Shape::List(of), Value::List(list)) => {
                let mut index = 0;
                list.retain_mut(|item| {
                    self.path.push(Step::Item(index));
                    let good = self.value(item, of, doc);
                    self.path.pop();
                    index += 1;
                    good
                });
                None
            }
            (Shape::Word(words), Value::Text(text)) if words.iter().any(|word| word.name == *text) => None,
            (Shape::Text(form), Value::Text(text)) => text_fault(text, form),
            (Shape::Integer(low, high), Value::Integer(number)) if (low..=high).contains(&&*number) => None,
            _ => Some(String::new()),
        };
        let Some(why) = fault else { return true };
        self.wrong_value(node, shape, doc, &why);
        false
    }

    fn wrong_value(&mut self, node: &Node, shape: &Shape, doc: &str, why: &str) {
        let key = path_text(&self.path);
        let last = self.path.iter().rev().find_map(|step| if let Step::Key(key) = step { Some(key.as_str()) } else { None });
        let shown = if last == Some("token_secret") { "the value".into() } else { shown(&node.value) };
        let message = match why {
            "" => format!("{shown} is not allowed here"),
            why => format!("{shown} {why}"),
        };
        let guess = match (shape, &node.value) {
            (Shape::Word(words), Value::Text(text)) => {
                nearest(text, words.iter().map(|word| word.name.as_str())).map(|word| format!("did you mean \"{word}\"? "))
            }
            _ => None,
        };
        let mut help = format!("{}allowed: {}", guess.unwrap_or_default(), shape.allowed());
        if !doc.is_empty() {
            help.push_str(&format!("\n{doc}"));
        }
        self.problems.push(Problem { key, message, help: Some(help), place: Some(node.place.clone()), warning: false });
    }

    /// Returns whether all was well.
    fn table(&mut self, table: &mut BTreeMap<String, Node>, keys: &[&Key], kind: Option<(&Shape, &str)>, place: &Place) -> bool {
        let mut guessed = Vec::new();
        let mut faulty = Vec::new();
        // in the order of writing
        let mut names: Vec<(usize, String)> =
            table.iter().map(|(name, node)| (node.key_place.as_ref().unwrap_or(&node.place).span.start, name.clone())).collect();
        names.sort();
        for (_, name) in names {
            let Some(node) = table.get_mut(&name) else { continue };
            self.path.push(Step::Key(name.clone()));
            match keys.iter().find(|key| key.name == name) {
                Some(key) => {
                    if !self.value(node, &key.shape, &key.doc) {
                        faulty.push(name.clone());
                    }
                }
                None => {
                    guessed.extend(self.unknown_key(&name, node, keys, kind));
                    faulty.push(name.clone());
                }
            }
            self.path.pop();
        }
        let told = self.problems.len();
        let missing = keys.iter().filter(|key| key.required && !table.contains_key(&key.name) && !guessed.contains(&key.name));
        for key in missing {
            self.path.push(Step::Key(key.name.clone()));
            self.problems.push(Problem {
                key: path_text(&self.path),
                message: format!("the key `{}` is missing", key.name),
                help: Some(format!("allowed: {}\n{}", key.shape.allowed(), key.doc).trim_end().to_owned()),
                place: Some(place.clone()),
                warning: false,
            });
            self.path.pop();
        }
        table.retain(|name, _| !faulty.contains(name));
        faulty.is_empty() && told == self.problems.len()
    }

    /// Reports the key; returns the known key that was probably meant.
    fn unknown_key(&mut self, name: &str, node: &Node, keys: &[&Key], kind: Option<(&Shape, &str)>) -> Option<String> {
        let key = path_text(&self.path);
        let parent = path_text(&self.path[..self.path.len() - 1]);
        let other_kind = kind.and_then(|(shape, this)| match shape {
            Shape::Kinds { kinds, .. } => kinds.iter().find(|k| k.name != this && k.keys.iter().any(|key| key.name == name)),
            _ => None,
        });
        let guess = nearest(name, keys.iter().map(|key| key.name.as_str())).map(str::to_owned);
        let elsewhere = self.elsewhere(name, &parent);
        let mut help = match (&guess, other_kind, elsewhere) {
            (_, Some(other), _) => format!("`{name}` belongs to type \"{}\"; ", other.name),
            (_, None, Some(section)) => format!("`{name}` belongs into [{section}]; "),
            (Some(guess), None, None) => format!("did you mean `{guess}`? "),
            (None, None, None) => String::new(),
        };
        let known: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        help.push_str(&format!("known keys here: {}", known.join(", ")));
        let message = match (parent.is_empty(), &node.value) {
            (true, Value::Table(_)) => format!("there is no section `{name}`"),
            _ => format!("there is no key `{name}` here"),
        };
        let place = Some(node.key_place.as_ref().unwrap_or(&node.place).clone());
        self.problems.push(Problem { key, message, help: Some(help), place, warning: false });
        guess
    }

    /// The section that has a key of that very name.
    fn elsewhere(&self, name: &str, parent: &str) -> Option<String> {
        fn find(keys: &[&Key], name: &str, path: &str) -> Option<String> {
            keys.iter().find_map(|key| {
                let here = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                let below = match &key.shape {
                    Shape::Table(below) => below.iter().collect::<Vec<_>>(),
                    _ => return None,
                };
                if below.iter().any(|key| key.name == name) { Some(here) } else { find(&below, name, &here) }
            })
        }
        find(&self.shape.keys(None), name, "").filter(|section| section != parent)
    }

    fn unknown_kind(&mut self, shape: &Shape, found: Option<String>, place: Place) {
        let Shape::Kinds { tag, kinds, .. } = shape else { return };
        self.path.push(Step::Key(tag.clone()));
        let all: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", kind.name)).collect();
        let (message, guess) = match &found {
            Some(found) => (format!("\"{found}\" is not allowed here"), nearest(found, kinds.iter().map(|k| k.name.as_str()))),
            None => (format!("the key `{tag}` is missing"), None),
        };
        let guess = guess.map(|word| format!("did you mean \"{word}\"? ")).unwrap_or_default();
        self.problems.push(Problem {
            key: path_text(&self.path),
            message,
            help: Some(format!("{guess}allowed: {}", all.join(", "))),
            place: Some(place),
            warning: false,
        });
        self.path.pop();
    }
}

/// What is wrong with a text, if anything.
fn text_fault(text: &str, form: &TextForm) -> Option<String> {
    match form {
        TextForm::Free(low, high) => match text.chars().count() {
            n if n < *low => Some(if n == 0 { "is empty".into() } else { "is too short".into() }),
            n if n > *high => Some(format!("has {n} characters, at most {high} are allowed")),
            _ => None,
        },
        TextForm::Duration => humantime::parse_duration(text).is_err().then(|| "is not a duration".into()),
        TextForm::Address => text.parse::<IpAddr>().is_err().then(|| "is not an IP address".into()),
        TextForm::SocketAddress => text.parse::<SocketAddr>().is_err().then(|| "is not an IP address and port".into()),
    }
}

/// A value as an error shows it: short.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) if text.chars().count() > 60 => format!("\"{}…\"", text.chars().take(60).collect::<String>()),
        Value::Text(text) => format!("\"{text}\""),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Other(text) => text.clone(),
        Value::Table(_) => "a table".into(),
        Value::List(_) => "a list".into(),
    }
}

/// The known word that is likely meant: a swap, or about one wrong letter in three.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
