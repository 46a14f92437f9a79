//! Bad input: an answer or a close, never a panic, and memory that stays bounded.

use proptest::prelude::*;
use serde_json::json;

use super::world::*;
use crate::signalling::algorea::held::{Held, MOST_BYTES, MOST_PER_PAIR};
use crate::signalling::algorea::{MOST_EARLY, wire};
use crate::signalling::{Dialect, Frame};
use crate::vocab::MemberId;

#[test]
fn thousands_of_early_candidates_fill_nothing() {
    let mut world = World::new();
    let ids: Vec<String> = (0..20)
        .map(|_| {
            let peer = world.connect();
            world.id(peer)
        })
        .collect();
    let attacker = world.connect();
    let fat = "x".repeat(10_000);
    for round in 0..200 {
        for id in &ids {
            world.say(attacker, json!({"action":"forward-icecandidate","candidate":{"candidate":fat,"n":round},"toPeerId":id}));
        }
    }
    let (count, bytes) = world.clients[attacker].dialect.held.size();
    assert!(bytes <= MOST_BYTES && count <= MOST_PER_PAIR * ids.len(), "{count} candidates, {bytes} bytes");
    assert!(world.clients[attacker].dialect.pending.is_empty());
    assert!(world.silent());
}

#[test]
fn held_candidates_of_those_who_left_are_forgotten() {
    let mut world = World::new();
    let attacker = world.connect();
    for _ in 0..100 {
        let passer = world.connect();
        let id = world.id(passer);
        world.say(attacker, candidate(&id, 1));
        world.say(attacker, offer(&id));
        world.say(attacker, candidate(&id, 2));
        world.end(passer, true);
    }
    let session = &world.clients[attacker].dialect;
    assert_eq!(session.held.size(), (0, 0));
    assert!(session.described.is_empty() && session.pending.is_empty());
    assert!(session.place.as_ref().unwrap().roster.shown().is_empty());
}

#[test]
fn held_bytes_are_counted_right() {
    let mut held = Held::default();
    let raw = |text: &str| serde_json::value::RawValue::from_string(text.into()).unwrap();
    let (a, b) = (MemberId([1; 16]), MemberId([2; 16]));
    assert!(held.push(a, &raw("\"aa\"")) && held.push(b, &raw("1")) && held.push(a, &raw("2")));
    assert_eq!(held.size(), (3, 6));
    let taken = held.take(a);
    assert_eq!(taken.iter().map(|value| value.get()).collect::<Vec<_>>(), ["\"aa\"", "2"]);
    assert_eq!((held.size(), held.take(a).len()), ((1, 1), 0));
}

#[test]
fn a_flood_before_the_list_closes() {
    let mut world = World::new();
    let client = world.upgrade(How::default());
    let now = world.now;
    let session = &mut world.clients[client].dialect;
    for _ in 0..MOST_EARLY.0 + 1 {
        session.handle_frame(now, Frame::Text("{}")).unwrap();
    }
    assert!(session.early.len() <= MOST_EARLY.0);
    world.pump();
    assert_eq!(world.clients[client].closed, Some((1008, "too many messages before the list of peers")));
}

#[test]
fn depth_is_no_danger() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    let id = world.id(a);
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    world.say_text(b, &format!(r#"{{"action":"forward-offer","offer":{deep},"toPeerId":"{id}"}}"#));
    assert!(world.hear_text(a).contains(&deep), "it is not looked into");
    world.say_text(b, &format!(r#"{{"action":{deep},"toPeerId":{deep}}}"#));
    assert_eq!(world.hear(b)["code"], "unknown-action");
    world.say_text(b, &"[".repeat(100_000));
    assert_eq!(world.hear(b)["code"], "bad-json");
    world.say_text(b, &format!("{{\"x\":{}", "{\"a\":".repeat(20_000)));
    assert_eq!(world.hear(b)["code"], "bad-json");
}

#[test]
fn long_names_are_not_repeated_in_errors() {
    let mut world = World::new();
    let client = world.connect();
    let long = "y".repeat(100_000);
    world.say(client, json!({"action":long}));
    world.say(client, offer(&long));
    for _ in 0..2 {
        assert!(world.hear_text(client).len() < 500);
    }
}

#[test]
fn a_sender_cannot_be_forged() {
    let mut world = World::new();
    let (a, b, c) = (world.connect(), world.connect(), world.connect());
    let (id_a, id_b, id_c) = (world.id(a), world.id(b), world.id(c));
    world.say(c, json!({"action":"forward-offer","offer":{},"toPeerId":id_a,"fromPeerId":id_b,"connectionId":id_b}));
    assert_eq!(world.hear(a), json!({"type":"offer","offer":{},"fromPeerId":id_c}));
}

#[test]
fn joins_in_a_loop_leave_nothing_behind() {
    let mut world = World::new();
    let stays = world.connect();
    for round in 0..500 {
        let client = world.connect();
        world.end(client, round % 2 == 0);
    }
    assert!(world.clients[stays].dialect.place.as_ref().unwrap().roster.shown().is_empty());
    let counts = world.rooms.count();
    assert_eq!((counts.sessions, counts.rooms), (1, 1));
}

#[test]
fn ids_of_other_forms_are_nobodys() {
    let member = MemberId::random();
    assert_eq!(wire::read_id(&wire::write_id(member)), Some(member));
    for bad in [
        "",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAAA=",
        "äAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(wire::read_id(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = wire::read_bytes(&bytes);
    }

    #[test]
    fn no_text_of_pieces_breaks_a_session(pieces in proptest::collection::vec(prop_oneof![
        Just("{\"action\":\"forward-offer\",\"offer\":"), Just("{\"action\":\"forward-ice-candidate\",\"iceCandidate\":"),
        Just("null"), Just("{}"), Just(",\"toPeerId\":"), Just("\"@\""), Just("}"), Just("[1,"), Just("\"\\ud800\""), Just(" "),
    ], 0..8)) {
        let mut world = World::new();
        let (a, b) = (world.connect(), world.connect());
        let text = pieces.concat().replace('@', &world.id(a));
        world.say_text(b, &text);
        let from = world.id(b);
        for frame in world.hear_all(a) {
            prop_assert_eq!(frame["fromPeerId"].as_str(), Some(from.as_str()));
        }
        prop_assert!(world.hear_all(b).len() <= 1);
        prop_assert!(world.clients[b].closed.is_none());
    }
}
