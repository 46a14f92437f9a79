//! The conversation of the protocol's page, and its recording.

use super::super::*;
use super::world::*;

// the conversation of the page, section 9, without the parts that the groups' own tests have
#[test]
fn two_clients_meet_by_the_server() {
    let mut world = World::new();
    let a = world.member("doc1", 3_000_000_001, &[]);
    world.send(a, connect(3_000_000_001, &[]));
    assert_eq!(world.heard(a), [TRUE]);
    let b = world.open("doc1");
    world.send(b, connect(4_000_000_002, &[]));
    assert_eq!(world.heard(b), [FALSE]);
    world.send(b, content(0, b"request"));
    let [Heard::Frame(Kind::Content(asked))] = &world.heard(a)[..] else { panic!("no content") };
    let number = asked.sender_id.unwrap();
    assert!(number != 0 && number < 1 << 31);
    assert_eq!((asked.recipient_id, asked.last_data, asked.data.as_deref()), (Some(0), None, Some(&b"request"[..])));
    world.send(a, content(number, b"response"));
    let [Heard::Frame(Kind::Content(answered))] = &world.heard(b)[..] else { panic!("no content") };
    assert_eq!((answered.sender_id, answered.recipient_id), (Some(0), Some(number)));
    assert_eq!(answered.data.as_deref(), Some(&b"response"[..]));
    world.send(b, connect(4_000_000_002, &[3_000_000_001]));
    assert_eq!(world.heard(b), [TRUE]);
    world.hang_up(b);
    let [Heard::Frame(Kind::Content(gone))] = &world.heard(a)[..] else { panic!("no content") };
    assert_eq!((gone.sender_id, gone.recipient_id, &gone.data), (Some(number), Some(0), &None));
}

/// One line of a recorded conversation.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    note: Option<String>,
    open: Option<String>,
    path: String,
    from: Option<String>,
    to: Option<String>,
    hex: String,
    close: Option<String>,
    closed: Option<String>,
    code: u16,
    wait: Option<u64>,
}

impl Line {
    fn frame(&self) -> Vec<u8> {
        self.hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }
}

#[test]
fn the_conversation_of_the_page_replays_byte_for_byte() {
    let mut world = World::new();
    let mut number = 1_234_567_889;
    world.realm = Groups::new(Box::new(move || {
        number += 1;
        number
    }));
    let mut names: Vec<String> = Vec::new();
    let at = |names: &[String], name: &Option<String>| names.iter().position(|it| Some(it) == name.as_ref());
    for (number, text) in include_str!("../../../../tests/transcripts/sigver/doc1.jsonl").lines().enumerate() {
        let line: Line = serde_json::from_str(text).unwrap();
        if let Some(name) = &line.open {
            assert_eq!(world.open(&line.path), names.len());
            names.push(name.clone());
        } else if let Some(client) = at(&names, &line.from) {
            world.send_bytes(client, &line.frame());
        } else if let Some(client) = at(&names, &line.to) {
            let heard = world.next(client);
            let Some(Heard::Frame(kind)) = heard else { panic!("line {}: {text}: {heard:?}", number + 1) };
            assert_eq!(wire::encode(kind), line.frame(), "line {}: {text}", number + 1);
        } else if let Some(client) = at(&names, &line.close) {
            world.hang_up(client);
        } else if let Some(client) = at(&names, &line.closed) {
            assert_eq!(closed(&world.heard(client)), Some(line.code), "line {}: {text}", number + 1);
        } else if let Some(seconds) = line.wait {
            world.pass(Duration::from_secs(seconds));
        } else {
            assert!(line.note.is_some(), "line {}: {text}", number + 1);
        }
    }
    for (client, name) in names.iter().enumerate() {
        assert_eq!(world.heard(client), [], "{name} heard more than is recorded");
    }
}

// checklist 20
#[test]
fn connected_from_a_client_is_ignored() {
    let mut world = World::new();
    let client = world.member("doc1", 1, &[]);
    world.send(client, Kind::Connected(false));
    world.send(client, Kind::Connected(true));
    assert_eq!(world.heard(client), []);
    assert_eq!(world.states("doc1"), [("1".into(), "joined", "checked")]);
}

// checklist 16
#[test]
fn paths_that_differ_are_different_groups() {
    let mut world = World::new();
    for key in ["a/b", "a", "%C3%A9", "%c3%a9", "x"] {
        world.member(key, 1, &[]);
    }
    let client = world.open("x?favored=1");
    world.send(client, connect(2, &[]));
    assert_eq!(world.heard(client), [FALSE]);
}
