//! Registration, forwarding, queues and liveness.

use serde_json::json;

use super::super::*;
use super::world::*;
use crate::room::RoomsConfig;
use crate::signalling::Realm;
use crate::vocab::Rights;

fn error(text: &str) -> serde_json::Value {
    json!({"type": "ERROR", "payload": {"msg": text}})
}

/// Line 3, and the order of the refusals.
#[test]
fn what_is_missing_or_wrong_is_told_and_the_socket_closed_without_a_code() {
    let missing = "No id, token, or key supplied to websocket server";
    let mut world = World::with(RoomsConfig::default(), 1);
    for (id, token, key, text) in [
        ("", "t", KEY, missing),
        ("a", "", KEY, missing),
        ("a", "t", "", missing),
        ("", "", "wrong", missing),
        ("a", "t", "wrong", "Invalid key provided"),
    ] {
        let client = world.connect(id, token, key);
        assert_eq!(world.hear(client), error(text));
        assert_eq!(world.clients[client].closed.map(|(code, _)| code), Some(1005));
    }
    assert!(world.members().is_empty());
    world.open("a");
    let late = world.connect("b", "t", KEY);
    assert_eq!(world.hear(late), error("Server has reached its concurrent user limit"));
    assert_eq!(world.clients[late].closed.map(|(code, _)| code), Some(1005));
    // a taken id is told before the limit, and its owner may come back at the limit
    let same = world.connect("a", "other", KEY);
    assert_eq!(world.hear(same)["type"], "ID-TAKEN");
    let back = world.connect("a", "token of a", KEY);
    assert_eq!(world.hear(back), json!({"type": "OPEN"}));
}

#[test]
fn an_id_has_at_most_256_characters() {
    let mut world = World::new();
    let long = "ü".repeat(257);
    let client = world.connect(&long, "t", KEY);
    assert_eq!(world.hear(client)["type"], "ERROR");
    world.open(&long[2..]);
}

#[test]
fn the_rooms_refusal_is_told() {
    let mut world = World::new();
    let nobody = Grant { rights: Rights::NONE, ..Grant::all("") };
    let client = world.connect_as("a", "t", KEY, nobody);
    assert_eq!(world.hear(client)["type"], "ERROR");
    assert_eq!(world.clients[client].closed.map(|(code, _)| code), Some(1005));
    let mut world = World::with(RoomsConfig { max_members: 1, ..RoomsConfig::default() }, 5000);
    world.open("a");
    let full = world.connect("b", "t", KEY);
    assert_eq!(world.hear(full), error("Server has reached its concurrent user limit"));
    // its id is free
    assert_eq!(world.realm.names(), ["a"]);
}

/// Lines 4 and 5.
#[test]
fn an_id_belongs_to_who_has_its_token() {
    let mut world = World::new();
    let first = world.open("a");
    let other = world.connect("a", "another token", KEY);
    assert_eq!(world.hear_text(other), r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#);
    assert_eq!(world.clients[other].closed.map(|(code, _)| code), Some(1005));
    assert!(world.clients[first].closed.is_none() && world.silent());

    let again = world.open("a");
    assert_eq!(world.clients[first].closed.map(|(code, _)| code), Some(1005), "the old socket is closed");
    assert_eq!(world.members(), ["a"]);
    let b = world.open("b");
    world.say(b, offer("a"));
    assert_eq!(world.hear(again), from("b", offer("a")));
    // the end of the old socket does not free the id
    world.hang_up(first);
    assert_eq!(world.connect("a", "x", KEY), 4);
    assert_eq!(world.hear(4)["type"], "ID-TAKEN");
}

#[test]
fn the_rooms_name_is_nobodys_id() {
    let mut world = World::new();
    let client = world.connect(KEY, "t", KEY);
    assert_eq!(world.hear(client)["type"], "ID-TAKEN");
}

/// Line 6.
#[test]
fn a_sender_cannot_lie_and_the_payload_is_untouched() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let said = r#"{"id":"top","src":"b","payload":{ "x":[1,1.0,1e2,"\u00e4",{}]},"type":"CANDIDATE","expires":1,"dst":"b"}"#;
    world.say_text(a, said);
    let heard = world.hear_text(b);
    assert_eq!(heard, r#"{"type":"CANDIDATE","src":"a","dst":"b","payload":{ "x":[1,1.0,1e2,"\u00e4",{}]}}"#);
}

/// Line 7.
#[test]
fn messages_wait_for_an_absent_peer_in_order() {
    let mut world = World::new();
    let a = world.open("a");
    world.say(a, offer("b"));
    for n in 0..10 {
        world.say(a, json!({"type": "CANDIDATE", "dst": "b", "payload": n}));
    }
    world.wait(Duration::from_millis(4900));
    let b = world.open("b"); // OPEN comes first
    assert_eq!(world.hear(b), from("a", offer("b")));
    for n in 0..10 {
        assert_eq!(world.hear(b)["payload"], n);
    }
    world.wait(Duration::from_secs(60));
    assert!(world.silent(), "what was delivered does not expire");
}

/// Line 8, in simulated time.
#[test]
fn a_message_that_is_not_delivered_expires_once_for_each_sender() {
    let mut world = World::new();
    let (a, c) = (world.open("a"), world.open("c"));
    for _ in 0..3 {
        world.say(a, offer("ghost"));
    }
    world.say(c, offer("ghost"));
    world.say(a, offer("phantom"));
    world.wait(Duration::from_millis(4999));
    world.say(c, offer("ghost"));
    assert!(world.silent());
    world.wait(Duration::from_millis(2));
    let mut heard = [world.hear(a), world.hear(a)];
    heard.sort_by_key(ToString::to_string);
    assert_eq!(heard, [expire("ghost", "a"), expire("phantom", "a")]);
    assert_eq!(world.hear(c), expire("ghost", "c"));
    assert!(world.silent());
    world.wait(Duration::from_secs(60));
    assert!(world.silent());
    assert_eq!(world.realm.next_timeout(), None);
}

#[test]
fn a_sender_that_left_hears_of_no_expiry() {
    let mut world = World::new();
    let a = world.open("a");
    world.say(a, offer("ghost"));
    world.hang_up(a);
    world.wait(Duration::from_secs(6));
    assert!(world.silent());
}

/// Line 9.
#[test]
fn leave_and_expire_wait_for_nobody() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    for kind in ["LEAVE", "EXPIRE"] {
        world.say(a, json!({"type": kind, "dst": "ghost"}));
        world.say(a, json!({"type": kind, "dst": "b"}));
        assert_eq!(world.hear(b), json!({"type": kind, "src": "a", "dst": "b"}));
    }
    world.wait(Duration::from_secs(6));
    world.open("ghost");
    assert!(world.silent());
}

/// Line 10.
#[test]
fn leave_without_an_addressee_frees_the_id() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    world.say(a, json!({"type": "LEAVE"}));
    assert!(world.clients[a].closed.is_none(), "the socket stays open");
    let other = world.connect("a", "another token", KEY);
    assert_eq!(world.hear(other), json!({"type": "OPEN"}));
    // who gave the id up does not speak by it any more
    world.say(a, offer("b"));
    assert!(world.silent());
    world.hang_up(a);
    world.say(b, offer("a"));
    assert_eq!(world.hear(other)["src"], "b");
}

/// Line 11: no answer and no end, for 100 clients during an hour; their cost is measured by the benchmark.
#[test]
fn a_thousand_heartbeats_a_second_from_100_clients_change_nothing() {
    let mut world = World::new();
    let clients: Vec<usize> = (0..100).map(|n| world.open(&format!("c{n}"))).collect();
    let beat = r#"{"type":"HEARTBEAT"}"#;
    // ten a second of each, a minute at a time: the last one of the minute is as late as it may be
    for _ in 0..60 {
        for _ in 0..600 {
            let now = world.now;
            for client in &clients {
                world.clients[*client].dialect.handle_frame(now, Frame::Text(beat)).unwrap();
                assert!(world.clients[*client].dialect.poll_output().is_none());
            }
            world.now += Duration::from_millis(100);
        }
        world.wait(Duration::ZERO);
    }
    assert!(world.silent() && world.clients.iter().all(|client| client.closed.is_none()));
    assert_eq!(world.members().len(), 100);
}

/// One client alone may send them all.
#[test]
fn a_thousand_heartbeats_a_second_are_borne() {
    let mut world = World::new();
    let a = world.open("a");
    for _ in 0..120 {
        for _ in 0..1000 {
            assert!(world.clients[a].dialect.is_heartbeat(Frame::Text(r#"{"type":"HEARTBEAT"}"#)));
            world.say_text(a, r#"{"type":"HEARTBEAT"}"#);
        }
        world.wait(Duration::from_secs(1));
    }
    assert!(world.clients[a].closed.is_none() && world.silent());
    assert!(!world.clients[a].dialect.is_heartbeat(Frame::Text(r#"{"type":"OFFER"}"#)));
}

/// Line 12.
#[test]
fn silence_ends_a_client_and_only_heartbeats_break_it() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    for _ in 0..8 {
        world.wait(Duration::from_secs(10));
        world.say_text(b, r#"{"type":"HEARTBEAT"}"#);
        world.say(a, json!({"type": "LEAVE", "dst": "b"})); // is no sign of life
        world.hear(b);
    }
    world.wait(Duration::from_millis(9_900));
    assert!(world.clients[a].closed.is_none());
    world.wait(Duration::from_millis(500));
    assert_eq!(world.clients[a].closed.map(|(code, _)| code), Some(1005));
    assert!(world.clients[b].closed.is_none() && world.silent(), "nobody is told");
    assert_eq!(world.realm.names(), ["b"]);
    assert_eq!(world.members(), ["b"]);
    world.open("a");
}

/// Line 13.
#[test]
fn what_means_nothing_disturbs_nothing() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    for text in
        ["[1]", "null", r#"{"type":"DANCE","dst":"b"}"#, r#"{"dst":"b"}"#, r#"{"type":"OFFER"}"#, r#"{"type":"OPEN","dst":"b"}"#]
    {
        world.say_text(a, text);
    }
    for _ in 0..15 {
        world.say_text(a, "{");
    }
    world.say(a, offer("b"));
    for _ in 0..15 {
        world.say_text(a, "}");
    }
    assert_eq!(world.hear(b), from("a", offer("b")));
    assert!(world.silent() && world.clients[a].closed.is_none());
}

/// Line 15.
#[test]
fn bytes_that_are_json_are_read() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    world.say_frame(a, Frame::Binary(offer("b").to_string().as_bytes()));
    assert_eq!(world.hear(b), from("a", offer("b")));
    world.wait(Duration::from_secs(89));
    world.say_frame(a, Frame::Binary(br#"{"type":"HEARTBEAT"}"#));
    world.wait(Duration::from_secs(2));
    assert!(world.clients[a].closed.is_none() && world.clients[b].closed.is_some());
}

#[test]
fn a_closed_socket_frees_the_id_and_leaves_the_room_at_once() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    assert_eq!(world.members(), ["a", "b"]);
    world.hang_up(a);
    assert_eq!(world.members(), ["b"]);
    world.say(b, offer("a"));
    assert!(world.silent());
    let a = world.connect("a", "another token", KEY);
    assert_eq!(world.hear(a), json!({"type": "OPEN"}));
    assert_eq!(world.hear(a), from("b", offer("a")));
}

#[test]
fn what_is_said_before_open_is_read_after_it() {
    let mut world = World::new();
    let b = world.open("b");
    let mut dialect = Peerjs::new(world.now, deps("a", "t", KEY, Grant::all("")));
    dialect.handle_frame(world.now, Frame::Text(&offer("b").to_string())).unwrap();
    world.enter(dialect);
    world.pump();
    assert_eq!(world.hear(1), json!({"type": "OPEN"}));
    assert_eq!(world.hear(b), from("a", offer("b")));
}

#[test]
fn a_stop_is_said_by_the_close() {
    let mut world = World::new();
    let a = world.open("a");
    let now = world.now;
    world.rooms.stop(now);
    world.pump();
    assert_eq!(world.clients[a].closed.map(|(code, _)| code), Some(1001));
}
