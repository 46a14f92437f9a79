//! The page's conversation (its section 8), replayed from `tests/transcripts/peerjs/conversation.jsonl`.
//!
//! Each line is one step: a client `connect`s with `id` and `token`; `from` a client comes `frame`; `to` a client `frame` is sent
//! next; time passes (`wait_ms`); a client `closes` its socket, or its socket was `closed` by the broker.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::*;
use super::world::*;

const CONVERSATION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/peerjs/conversation.jsonl"));

#[test]
fn the_pages_conversation_holds() {
    let mut world = World::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in CONVERSATION.lines().enumerate() {
        let step: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
        let name = |key: &str| step[key].as_str().map(str::to_owned);
        if let Some(who) = name("connect") {
            let client = world.connect(&name("id").unwrap(), &name("token").unwrap(), KEY);
            names.insert(who, client);
        } else if let Some(from) = name("from") {
            world.say(names[&from], step["frame"].clone());
        } else if let Some(to) = name("to") {
            assert_eq!(world.hear(names[&to]), step["frame"], "line {}", number + 1);
        } else if let Some(time) = step["wait_ms"].as_u64() {
            world.wait(Duration::from_millis(time));
        } else if let Some(closes) = name("closes") {
            world.hang_up(names[&closes]);
        } else if let Some(closed) = name("closed") {
            assert_eq!(world.clients[names[&closed]].closed.map(|(code, _)| code), Some(1005), "line {}", number + 1);
        } else {
            panic!("line {}: no such step", number + 1);
        }
    }
    assert!(world.silent(), "more was sent than the conversation has");
}
