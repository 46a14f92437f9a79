//! The document's conversation (its section 12), replayed from `tests/transcripts/tribe/conversation.jsonl`.
//!
//! Each line is one step: `from` a client says `frame`; `to` a client hears `frame` next; `peer` of a client (its uplink, or
//! the one that plays `of`) has its first packets; a client is `lost`, `resumes` on a new connection, or is `closed`. `@A` stands
//! for A's socket id, `@offer`, `@answer`, `@down` for descriptions. At the end everything that was sent must have been heard.

use std::collections::BTreeMap;

use serde_json::Value;

use super::world::*;
use crate::room::{PeerUpdate, Report};
use crate::vocab::MediaKind;

const CONVERSATION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/tribe/conversation.jsonl"));

/// Replaces every whole text of a JSON value.
fn replace(value: &mut Value, with: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(other) = with(text) {
                *text = other;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, with)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, with)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn the_documents_conversation_holds() {
    let mut world = World::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in CONVERSATION.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let step: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
        let name = |key: &str| step[key].as_str().map(str::to_owned);
        let said = |names: &BTreeMap<String, usize>, world: &World, mut frame: Value| {
            replace(&mut frame, &|text| match text {
                "@offer" => Some(OFFER.into()),
                "@answer" => Some(ANSWER.into()),
                "@down" => Some(DOWN.into()),
                _ => names.get(text.strip_prefix('@')?).map(|client| world.id(*client)),
            });
            frame
        };
        if let Some(from) = name("from") {
            let client = *names.entry(from).or_insert_with(|| world.connect());
            let frame = said(&names, &world, step["frame"].clone());
            world.say(client, frame);
        } else if let Some(to) = name("to") {
            let heard = world.hear(names[&to]);
            assert_eq!(heard, said(&names, &world, step["frame"].clone()), "line {}", number + 1);
        } else if let Some(whose) = name("peer") {
            let peer = world.peer(names[&whose], name("of").map(|of| names[&of]));
            world.news(PeerUpdate::Up { peer });
            world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
            world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Video });
        } else if let Some(lost) = name("lost") {
            world.end(names[&lost], false);
        } else if let Some(resumes) = name("resumes") {
            let again = world.connect();
            world.clients[again].id = world.id(names[&resumes]);
            names.insert(resumes, again);
        } else if let Some(closed) = name("closed") {
            world.end(names[&closed], true);
        } else {
            panic!("line {}: no such step", number + 1);
        }
    }
    assert!(world.silent(), "more was sent than the conversation has");
    assert!(world.reports.iter().any(|report| matches!(report, Report::Remark { .. })), "the broker hears of the processor");
}
