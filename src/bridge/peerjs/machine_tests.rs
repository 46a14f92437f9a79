//! The machine in simulated time, against a room and a far side that do as they are told.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::calls::KNOCK_LIMIT;
use super::*;
use crate::bridge::far::Machine as _;
use crate::bridge::far::testing::{OFFER, SECOND, World, lost, steps};
use crate::bridge::status::StateWord;
use crate::room::EndReason;

fn plan(call: &[&str]) -> Plan {
    Plan {
        name: "way".into(),
        room: RoomId::new("hall").unwrap(),
        stream: StreamName::new("cam").ok(),
        id: "the-hall".into(),
        call: call.iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// Registered at the server.
fn open(call: &[&str]) -> World<Machine> {
    let mut world = World::new(|now| Machine::new(now, plan(call), 7));
    world.welcome_all();
    world.dialled(Ok(None));
    world.hear(wire::OPEN);
    assert_eq!(world.state(), StateWord::Connected);
    world
}

fn from(kind: &str, src: &str, payload: Value) -> String {
    json!({ "type": kind, "src": src, "dst": "the-hall", "payload": payload }).to_string()
}

fn offer(src: &str, connection: &str, kind: &str) -> String {
    let sdp = if kind == "media" { OFFER.to_owned() } else { OFFER.replace("m=audio 9 X 111", "m=application 9 X webrtc") };
    let payload =
        json!({ "sdp": { "type": "offer", "sdp": sdp }, "type": kind, "connectionId": connection, "serialization": "raw" });
    from("OFFER", src, payload)
}

fn of(sent: &[Value], kind: &str) -> Vec<(String, String)> {
    let wanted = sent.iter().filter(|frame| frame["type"] == kind);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    wanted.map(|frame| (text(&frame["dst"]), text(&frame["payload"]["connectionId"]))).collect()
}

#[test]
fn a_peer_that_calls_is_a_member_as_long_as_it_has_a_connection() {
    let mut world = open(&[]);
    world.hear(&offer("A", "mc_1", "media"));
    assert_eq!((world.names(), world.wires.len()), (["A".to_owned()].into(), 0));
    world.hear(&from(
        "CANDIDATE",
        "A",
        json!({ "candidate": { "candidate": "candidate:1" }, "type": "media", "connectionId": "mc_1" }),
    ));
    world.welcome_all();
    world.hear(&offer("A", "dc_1", "data"));
    world.describe_all();
    assert_eq!(of(&world.take_sent(), "ANSWER"), [("A".into(), "mc_1".into()), ("A".into(), "dc_1".into())]);
    assert_eq!(world.asked.iter().filter(|(_, command)| matches!(command, Command::Candidate { .. })).count(), 1);
    // the same connection again takes its own place
    world.hear(&offer("A", "mc_1", "media"));
    assert_eq!(world.wires.len(), 2);
    world.down(1, EndReason::Left);
    assert_eq!(world.names().len(), 1);
    world.describe_all();
    world.down(0, EndReason::Left);
    assert!(world.names().is_empty());
    world.stop();
}

#[test]
fn who_is_to_be_called_is_called_until_it_is_there_and_again_when_it_is_gone() {
    let mut world = open(&["B", "the-hall"]);
    world.welcome_all();
    world.describe_all();
    let calls = of(&world.take_sent(), "OFFER");
    assert_eq!(calls.iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), ["B", "B"], "a call and a data connection");
    world.hear(&json!({ "type": "EXPIRE", "src": "B", "dst": "the-hall" }).to_string());
    assert_eq!((world.state(), world.code(), world.names().len()), (StateWord::Connected, Some("peer_absent"), 0));
    // who was not there is asked for before the room sees it again
    for _ in 0..10 {
        let mut sent = Vec::new();
        while !sent.iter().any(|frame: &Value| frame["type"] == "CANDIDATE") {
            world.pass(SECOND);
            sent.extend(world.take_sent());
        }
        assert!(of(&sent, "OFFER").is_empty());
        world.pass(5 * SECOND);
        world.hear(&json!({ "type": "EXPIRE", "src": "B", "dst": "the-hall" }).to_string());
        assert!(world.names().is_empty() && of(&world.take_sent(), "OFFER").is_empty());
    }
    world.pass(16 * SECOND + KNOCK_LIMIT);
    world.welcome_all();
    world.describe_all();
    let calls = of(&world.take_sent(), "OFFER");
    assert_eq!(calls.len(), 2);
    for (_, connection) in &calls {
        let kind = if connection.starts_with("mc_") { "media" } else { "data" };
        let payload = json!({ "sdp": { "type": "answer", "sdp": OFFER }, "type": kind, "connectionId": connection });
        world.hear(&from("ANSWER", "B", payload));
    }
    world.up_all();
    assert_eq!((world.code(), world.machine.company().members), (None, 1));
    world.pass(60 * SECOND);
    assert!(of(&world.take_sent(), "OFFER").is_empty(), "it is there");
    world.hear(&from("LEAVE", "B", json!(null)));
    assert!(world.names().is_empty() && world.wires.is_empty());
    world.pass(16 * SECOND);
    assert_eq!(world.names().len(), 1, "called again");
}

#[test]
fn connections_outlive_the_server_and_answers_wait_for_it() {
    let mut world = open(&[]);
    world.hear(&offer("A", "mc_1", "media"));
    world.welcome_all();
    world.close(lost());
    world.describe_all();
    world.up_all();
    assert_eq!((world.state(), world.machine.company().members), (StateWord::Waiting, 1));
    world.pass(SECOND);
    world.dialled(Ok(None));
    // a server that remembers the id says nothing
    world.pass(4 * SECOND);
    assert!(world.take_sent().is_empty() && world.state() == StateWord::Connecting);
    world.pass(2 * SECOND);
    assert_eq!(world.state(), StateWord::Connected);
    assert_eq!(of(&world.take_sent(), "ANSWER"), [("A".into(), "mc_1".into())]);
    // a server that never took it has to say so
    let mut world = World::new(|now| Machine::new(now, plan(&[]), 7));
    world.welcome_all();
    world.dialled(Ok(None));
    world.pass(16 * SECOND);
    assert_eq!((world.state() == StateWord::Connected, world.code()), (false, Some("timeout")));
}

#[test]
fn it_says_that_it_lives_as_peerjs_does() {
    let mut world = open(&[]);
    world.pass(21 * SECOND);
    let beats = world.sent.iter().filter(|text| *text == wire::HEARTBEAT).count();
    assert_eq!(beats, 4);
}

#[test]
fn refusals_of_the_server_are_reasons_and_waits() {
    let error = |words: &str| json!({ "type": "ERROR", "payload": { "msg": words } }).to_string();
    for (text, code, slow) in [
        (wire::ID_TAKEN.to_owned(), "id_taken", false),
        (error(says::KEY), "wrong_key", true),
        (error(says::LIMIT), "busy", false),
        (error("something\u{7} else"), "refused", true),
    ] {
        let mut world = World::new(|now| Machine::new(now, plan(&[]), 7));
        world.welcome_all();
        world.dialled(Ok(None));
        world.hear(&text);
        assert_eq!((world.state(), world.code()), (StateWord::Waiting, Some(code)));
        assert!(!far::Machine::standing(&world.machine).reason.unwrap().message.contains('\u{7}'));
        let wait = far::Machine::next_timeout(&world.machine).unwrap() - world.now;
        assert_eq!(wait >= 30 * SECOND, slow, "{code} {wait:?}");
    }
}

#[test]
fn many_callers_are_bounded_and_a_flood_ends_the_connection() {
    let mut world = open(&[]);
    for n in 0..100 {
        world.hear(&offer(&format!("P{n}"), "mc", "media"));
    }
    assert_eq!((world.names().len(), world.code()), (MAX_MEMBERS, Some("too_many_members")));
    assert_eq!(of(&world.take_sent(), "LEAVE").len(), 100 - MAX_MEMBERS);
    for n in 0..20 {
        world.hear(&offer("P1", &format!("mc_{n}"), "media"));
    }
    world.welcome_all();
    for n in 0..20 {
        world.hear(&offer("P1", &format!("dc_{n}"), "data"));
    }
    assert!(world.machine.remotes["P1"].links.len() <= MAX_LINKS);
    for n in 0..1000 {
        world.hear(&offer(&format!("Q{n}"), "mc", "media"));
    }
    assert_eq!(world.code(), Some("flood"));
    world.stop();
}

fn frame(what: u8, who: u8) -> String {
    let id = ["A", "B", "C"][usize::from(who) % 3];
    let connection = if who < 3 { "mc_1" } else { "mc_2" };
    match what % 12 {
        0..3 => wire::OPEN.into(),
        3 | 4 => offer(id, connection, "media"),
        5 => offer(id, connection, "data"),
        6 => from(
            "CANDIDATE",
            id,
            json!({ "candidate": { "candidate": "candidate:1" }, "type": "media", "connectionId": connection }),
        ),
        7 => {
            from("ANSWER", id, json!({ "sdp": { "type": "answer", "sdp": OFFER }, "type": "media", "connectionId": connection }))
        }
        8 => from("LEAVE", id, json!(null)),
        9 => from("EXPIRE", id, json!(null)),
        10 => from("OFFER", id, json!({ "id": connection, "signal": { "type": "offer", "sdp": OFFER } })),
        _ => [wire::ID_TAKEN, "[]", "{", r#"{"type":"ERROR"}"#][usize::from(who) % 4].into(),
    }
}

proptest! {
    /// Whatever happens: nobody is in the room twice or without the bridge, nothing is sent to a server that is not there, no connection is
    /// left that nobody has, and a stop ends everything. The world itself checks what is said on the way.
    #[test]
    fn nothing_is_left_behind(calls: bool, seed: u64, steps in steps()) {
        let call: &[&str] = if calls { &["B", "D"] } else { &[] };
        let mut world = World::new(|now| Machine::new(now, plan(call), seed));
        for step in steps {
            world.step(step, frame);
            prop_assert!(world.machine.queued.len() <= MAX_QUEUED);
            let idle = |remote: &Remote| remote.entering.is_none() && remote.is_idle();
            prop_assert!(!world.machine.remotes.values().any(idle), "who has no connection is no member");
        }
        world.stop();
    }

    /// No frame, however damaged, breaks anything.
    #[test]
    fn damaged_frames_are_taken(whats in proptest::collection::vec((any::<u8>(), 0u8..6, any::<usize>(), 0usize..9, "[\\[\\]{}\",:0-9a-z\u{e9}]{0,6}"), 0..12)) {
        let mut world = open(&["B"]);
        for (what, who, at, gone, put) in whats {
            let mut text: Vec<char> = frame(what, who).chars().collect();
            let at = at % (text.len() + 1);
            let end = (at + gone).min(text.len());
            text.splice(at..end, put.chars());
            world.hear(&text.into_iter().collect::<String>());
            world.welcome_all();
        }
        world.stop();
    }
}
