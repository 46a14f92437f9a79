//! The machine in simulated time, against a room and a far side that do as they are told.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::held;
use super::*;
use crate::bridge::far::Machine as _;
use crate::bridge::far::testing::{OFFER, SECOND, World, lost, somebody, steps};
use crate::bridge::status::StateWord;

fn plan(stream: Option<&str>) -> Plan {
    Plan {
        name: "way".into(),
        room: RoomId::new("hall").unwrap(),
        remote_room: RoomId::new("yard").unwrap(),
        stream: stream.map(|name| StreamName::new(name).unwrap()),
        bearer: "own".into(),
    }
}

fn world(stream: Option<&str>) -> World<Machine> {
    World::new(|now| Machine::new(now, plan(stream), 7))
}

fn party(id: &str) -> Value {
    json!({ "socketId": id, "userId": format!("user-{id}") })
}

fn joined(ids: &[&str]) -> String {
    let sessions: Vec<Value> = ids.iter().map(|id| party(id)).collect();
    json!({ "a": "joinR", "s": true, "d": { "socketId": "ME", "sessions": sessions } }).to_string()
}

fn event(action: &str, from: &str, more: Value) -> String {
    let mut d = json!({ "from": party(from) });
    d.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "a": action, "d": d }).to_string()
}

fn shown(from: &str) -> String {
    event("eventOrientationChange", from, json!({ "orientation": 0, "platform": "Web", "camera": "front" }))
}

fn offer(from: &str, sdp: &str) -> String {
    event("eventExchangeSdp", from, json!({ "sdp": { "type": "offer", "sdp": sdp } }))
}

/// In the far room with these members.
fn connected(stream: Option<&str>, ids: &[&str]) -> World<Machine> {
    let mut world = world(stream);
    world.welcome_all();
    world.dialled(Ok(None));
    world.hear(&joined(ids));
    ids.iter().for_each(|id| world.hear(&shown(id)));
    world.welcome_all();
    assert_eq!(world.state(), StateWord::Connected);
    world
}

#[test]
fn members_come_with_their_streams_and_go() {
    let mut world = connected(None, &["A"]);
    let sent = world.take_sent();
    assert_eq!(
        (&sent[0]["a"], &sent[0]["d"]["roomId"], &sent[0]["d"]["bearer"]),
        (&json!("join"), &json!("yard"), &json!("own"))
    );
    assert_eq!(world.names(), ["user-A".to_owned()].into());
    world.hear(&offer("A", OFFER));
    world.describe_all();
    let sent = world.take_sent();
    assert_eq!(
        (&sent[0]["a"], &sent[0]["d"]["to"], &sent[0]["d"]["sdp"]["type"]),
        (&json!("exchangeSdp"), &json!("A"), &json!("answer"))
    );
    assert_eq!((world.machine.company().members, world.wires.len()), (1, 1));
    // the same connection negotiates again, another takes its place
    let peer = *world.wires.keys().next().unwrap();
    world.hear(&offer("A", OFFER));
    assert_eq!(world.wires.keys().copied().collect::<Vec<_>>(), [peer]);
    world.hear(&offer("A", &OFFER.replace("o=- 1 1", "o=- 2 1")));
    assert!(world.wires.len() == 1 && !world.wires.contains_key(&peer));
    world.hear(&shown("B"));
    world.welcome_all();
    assert_eq!(world.names().len(), 2);
    world.hear(&json!({ "a": "eventLeave", "d": party("A") }).to_string());
    assert_eq!((world.names(), world.wires.len()), (["user-B".to_owned()].into(), 0));
    world.stop();
}

#[test]
fn an_offer_that_comes_before_its_member_is_in_waits() {
    let mut world = connected(None, &[]);
    world.hear(&event("eventExchangeCandidate", "A", json!({ "candidate": { "candidate": "candidate:1" } })));
    world.hear(&offer("A", OFFER));
    world.hear(&event("eventExchangeCandidate", "A", json!({ "candidate": { "candidate": "candidate:2" } })));
    assert!(world.wires.is_empty());
    world.welcome_all();
    assert_eq!(world.wires.len(), 1);
    let candidates = world.asked.iter().filter(|(_, command)| matches!(command, Command::Candidate { .. })).count();
    assert_eq!(candidates, 1, "one of a stranger is of no use");
}

#[test]
fn who_says_nothing_is_brought_after_a_while_and_what_a_bridge_brought_never() {
    let mut world = world(None);
    world.welcome_all();
    world.dialled(Ok(Some("given")));
    assert_eq!(world.take_sent()[0]["d"]["bearer"], "given");
    world.hear(&joined(&["A", "B", "ME"]));
    world.hear(&event("eventOrientationChange", "B", json!({ "platform": BRIDGED })));
    assert!(world.names().is_empty());
    world.pass(3 * SECOND);
    world.hear(&offer("B", OFFER));
    assert_eq!(world.names(), ["user-A".to_owned()].into());
    // also one that shows it late
    world.hear(&event("eventOrientationChange", "A", json!({ "platform": BRIDGED })));
    assert!(world.names().is_empty());
}

#[test]
fn the_stream_of_the_room_is_offered_and_offered_again() {
    let mut world = connected(Some("cam"), &[]);
    world.take_sent();
    // it is not there
    world.down(0, EndReason::Lost);
    assert_eq!((world.state(), world.code()), (StateWord::Connected, Some("no_stream")));
    world.stream_up();
    world.describe_all();
    let sent = world.take_sent();
    assert_eq!((&sent[0]["d"]["to"], &sent[0]["d"]["sdp"]["type"]), (&json!("publisher"), &json!("offer")));
    world.hear(&event("eventExchangeSdp", "publisher", json!({ "sdp": { "type": "answer", "sdp": OFFER } })));
    world.up_all();
    assert_eq!(world.code(), None);
    world.down(0, EndReason::Lost);
    assert_eq!((world.code(), world.wires.len()), (Some("lost"), 0));
    world.stream_up();
    assert!(world.wires.is_empty(), "another stream is no reason to offer sooner");
    world.pass(2 * SECOND);
    world.describe_all();
    world.hear(r#"{"a":"exchangeSdpR","s":false,"e":1298}"#);
    assert_eq!(world.wires.len(), 1, "that was about somebody who left");
    world.hear(r#"{"a":"exchangeSdpR","s":false,"e":1329}"#);
    assert_eq!((world.code(), world.wires.len()), (Some("refused"), 0));
    world.pass(60 * SECOND);
    world.describe_all();
    world.pass(21 * SECOND);
    assert_eq!((world.code(), world.state()), (Some("timeout"), StateWord::Connected), "nobody answered");
    world.stop();
}

#[test]
fn words_cross_both_ways_and_not_round() {
    let mut world = connected(None, &["A", "B"]);
    world.take_sent();
    world.hear(&event("eventMessage", "A", json!({ "message": { "text": "hi" } })));
    world.hear(&event("eventMessage", "A", json!({ "message": null })));
    world.hear(&event("eventMessage", "A", json!({ "message": "x".repeat(MAX_SAID + 1) })));
    assert_eq!(world.said.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["hi"]);
    world.say(&somebody("ann", DialectName::Page), "hello");
    world.say(&somebody("other", DialectName::Bridge), "round");
    let sent = world.take_sent();
    let texts: Vec<_> = sent.iter().map(|frame| (&frame["d"]["to"], &frame["d"]["message"]["text"])).collect();
    assert_eq!(texts, [(&json!("A"), &json!("ann: hello")), (&json!("B"), &json!("ann: hello"))]);
}

#[test]
fn what_is_said_while_the_far_side_is_away_is_told_when_it_is_back() {
    let mut world = connected(None, &["A"]);
    let ann = somebody("ann", DialectName::Page);
    world.close(lost());
    assert!(world.names().is_empty() && world.state() == StateWord::Waiting);
    (0..70).for_each(|n| world.say(&ann, &format!("word {n}")));
    world.say(&somebody("other", DialectName::Bridge), "round");
    world.pass(2 * SECOND);
    world.dialled(Ok(None));
    world.hear(&joined(&["A"]));
    world.take_sent();
    world.hear(&shown("A"));
    let told = world.take_sent();
    assert_eq!((told.len(), &told[63]["d"]["message"]["text"]), (64, &json!("ann: word 69")), "the oldest went first");
    world.hear(&shown("B"));
    assert_eq!(world.take_sent().len(), 64, "somebody who comes at once hears it as well");
    world.pass(held::OPEN + SECOND);
    world.hear(&shown("C"));
    assert!(world.take_sent().is_empty());
    world.close(lost());
    world.say(&ann, "old");
    world.pass(held::LIMIT + SECOND);
    world.dialled(Ok(None));
    world.hear(&joined(&["A"]));
    world.take_sent();
    world.hear(&shown("A"));
    assert!(world.take_sent().is_empty());
}

#[test]
fn refusals_of_the_far_side_are_reasons_and_waits() {
    for (code, reason, slow) in
        [(1286, "unauthorised", true), (1316, "room_full", false), (1314, "not_found", false), (7, "refused", true)]
    {
        let mut world = world(None);
        world.welcome_all();
        world.dialled(Ok(None));
        world.hear(&json!({ "a": "joinR", "s": false, "e": code }).to_string());
        assert_eq!((world.state(), world.code()), (StateWord::Waiting, Some(reason)));
        let wait = far::Machine::next_timeout(&world.machine).unwrap() - world.now;
        assert_eq!(wait >= 30 * SECOND, slow, "{reason} {wait:?}");
    }
    let mut world = world(None);
    world.welcome_all();
    world.dialled(Ok(None));
    world.pass(20 * SECOND);
    assert_eq!(world.code(), Some("timeout"));
}

#[test]
fn a_far_side_that_floods_or_raves_is_left() {
    let many: Vec<String> = (0..1000).map(|n| format!("S{n}")).collect();
    let mut world = connected(None, &many.iter().take(300).map(String::as_str).collect::<Vec<_>>());
    assert_eq!((world.names().len(), world.code()), (MAX_MEMBERS, Some("too_many_members")));
    assert!(world.machine.members.len() <= MAX_KNOWN);
    for n in 0..1000 {
        world.hear(&shown(&format!("T{n}")));
    }
    assert_eq!((world.code(), world.names().len()), (Some("flood"), 0));
    let mut world = connected(None, &["A"]);
    (0..MAX_NONSENSE).for_each(|_| world.hear("[]"));
    assert_eq!((world.code(), world.names().len()), (Some("bad_answer"), 0));
}

#[test]
fn who_an_operator_ends_stays_outside_until_it_comes_again() {
    let mut world = connected(None, &["A"]);
    let guest = *world.seats.keys().last().unwrap();
    world.ended(guest, EndReason::Evicted);
    world.hear(&offer("A", OFFER));
    world.pass(120 * SECOND);
    assert!(world.names().is_empty());
    world.hear(&json!({ "a": "eventLeave", "d": party("A") }).to_string());
    world.hear(&shown("A"));
    assert_eq!(world.names().len(), 1);
    // a room that is full is asked again
    let guest = *world.seats.keys().last().unwrap();
    world.shut_out(guest);
    assert_eq!((world.code(), world.names().len()), (Some("too_many_rooms"), 0));
    world.pass(ASK_AGAIN);
    assert_eq!(world.names().len(), 1);
}

#[test]
fn an_evicted_bridge_takes_all_it_brought_with_it_and_comes_back_later() {
    let mut world = connected(Some("cam"), &["A"]);
    world.ended(OWN, EndReason::Evicted);
    assert!(world.seats.is_empty() && !world.linked);
    assert_eq!((world.state(), world.code()), (StateWord::Waiting, Some("evicted")));
    world.pass(60 * SECOND);
    world.welcome_all();
    world.dialled(Ok(None));
    world.hear(&joined(&[]));
    assert_eq!(world.state(), StateWord::Connected);
}

fn frame(what: u8, who: u8) -> String {
    let id = format!("S{who}");
    match what % 16 {
        0..4 => joined(&["S0", "S1", "S2"][..usize::from(who) % 4]),
        4 => shown(&id),
        5 => event("eventOrientationChange", &id, json!({ "platform": BRIDGED })),
        6 => offer(&id, OFFER),
        7 => offer(&id, &OFFER.replace("o=- 1 1", "o=- 3 1")),
        8 => json!({ "a": "eventLeave", "d": party(&id) }).to_string(),
        9 => event("eventMessage", &id, json!({ "message": "hi" })),
        10 => "{}".into(),
        11 => event("eventExchangeSdp", "publisher", json!({ "sdp": { "type": "answer", "sdp": OFFER } })),
        12 => json!({ "a": "joinR", "s": false, "e": 1280 + u16::from(who) }).to_string(),
        13 => event("eventExchangeCandidate", &id, json!({ "candidate": { "candidate": "candidate:1" } })),
        14 => r#"{"a":"exchangeSdpR","s":false,"e":1329}"#.into(),
        _ => event("eventSetRemoteAudioVideoMode", &id, json!({ "audio": false, "video": true })),
    }
}

proptest! {
    /// Whatever happens: nobody is in the room twice or without the bridge, nothing is sent to a far side that is not there, no connection is
    /// left that nobody has, and a stop ends everything. The world itself checks what is said on the way.
    #[test]
    fn nothing_is_left_behind(sends: bool, seed: u64, steps in steps()) {
        let mut world = World::new(|now| Machine::new(now, plan(sends.then_some("cam")), seed));
        for step in steps {
            world.step(step, frame);
            prop_assert!(world.machine.held.len() <= held::MAX_HELD);
            prop_assert!(world.linked || world.names().is_empty(), "members of a far side that is away");
        }
        world.stop();
    }

    /// No frame, however damaged, breaks anything.
    #[test]
    fn damaged_frames_are_taken(whats in proptest::collection::vec((any::<u8>(), 0u8..6, any::<usize>(), 0usize..9, "[\\[\\]{}\",:0-9a-z\u{e9}]{0,6}"), 0..12)) {
        let mut world = connected(Some("cam"), &["S0"]);
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
