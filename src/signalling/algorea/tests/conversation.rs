//! The document's conversation (its section 10) in both variants, replayed from `tests/transcripts/algorea/*.jsonl`.
//!
//! Each line is one step: `opens` a client connects (`variant` as in its address); `from` a client says `frame`; `to` a client
//! hears `frame` next; a client is `closed`. `@A` stands for A's id, `@uuid` for any UUID. At the end everything that was sent
//! must have been heard.

use std::collections::BTreeMap;

use serde_json::Value;

use super::world::*;
use crate::signalling::algorea::Variant;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/algorea/document.jsonl"));
const BRANCH: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/algorea/branch.jsonl"));

fn named(frame: &Value, ids: &BTreeMap<String, String>) -> Value {
    match frame {
        Value::String(text) => match text.strip_prefix('@').and_then(|name| ids.get(name)) {
            Some(id) => Value::String(id.clone()),
            None => frame.clone(),
        },
        Value::Array(items) => items.iter().map(|item| named(item, ids)).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), named(value, ids))).collect(),
        other => other.clone(),
    }
}

fn replay(conversation: &str) {
    let mut world = World::new();
    let (mut clients, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (number, line) in conversation.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let step: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
        let name = |key: &str| step[key].as_str().map(str::to_owned);
        if let Some(opens) = name("opens") {
            let client = world.upgrade(How { variant: name("variant").and_then(|v| Variant::named(&v)), ..How::default() });
            world.pump();
            ids.insert(opens.clone(), world.id(client));
            clients.insert(opens, client);
        } else if let Some(from) = name("from") {
            world.say(clients[&from], named(&step["frame"], &ids));
        } else if let Some(to) = name("to") {
            let mut heard = world.hear(clients[&to]);
            if step["frame"]["requestId"] == "@uuid" {
                heard = error(heard);
                heard["requestId"] = "@uuid".into();
            }
            assert_eq!(heard, named(&step["frame"], &ids), "line {}", number + 1);
        } else if let Some(closed) = name("closed") {
            world.end(clients[&closed], true);
        } else {
            panic!("line {}: no such step", number + 1);
        }
    }
    assert!(world.silent(), "more was sent than the conversation has");
}

#[test]
fn the_documents_conversation_holds() {
    replay(DOCUMENT);
}

#[test]
fn the_branchs_conversation_holds() {
    replay(BRANCH);
}
