//! Bridges that join rooms of tribe and PeerJS servers: another Portico, npm's `peer`, and far sides that misbehave.

mod support;
#[allow(dead_code)] // shared with other tests
#[path = "support/whep.rs"]
mod whep;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Gateway, PATIENCE, TEST_SOURCE, node, read};
use whep::{Viewer, get, request};

/// Asks until it is so.
fn until(what: &str, mut ask: impl FnMut() -> Value, good: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let value = ask();
        if good(&value) {
            return value;
        }
        assert!(Instant::now() < end, "{what} never was: {value:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Plays a stream as soon as it is there.
fn join_when_there(base: &str, path: &str) -> Viewer {
    let end = Instant::now() + PATIENCE;
    loop {
        match Viewer::try_join(base, path) {
            Ok(viewer) => return viewer,
            Err(answer) if matches!(answer.status, 404 | 409) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(answer) => panic!("{path} answered {}: {}", answer.status, answer.body),
        }
    }
}

fn bridge(gateway: &Gateway, name: &str) -> Value {
    get(&gateway.base, &format!("/api/v1/bridges/{name}")).json()
}

fn wait_state(gateway: &Gateway, name: &str, state: &str) -> Value {
    until(&format!("{name} {state}"), || bridge(gateway, name), |it| it["state"] == state)
}

fn wait_reason(gateway: &Gateway, name: &str, code: &str) -> Value {
    until(&format!("{name} {code}"), || bridge(gateway, name), |it| it["reason"]["code"] == code)
}

/// The members of a room whose dialect is `bridge`, by their names.
fn brought(gateway: &Gateway, room: &str) -> Vec<String> {
    let answer = get(&gateway.base, &format!("/api/v1/rooms/{room}/members"));
    let members = if answer.status == 200 { answer.json() } else { json!([]) };
    let bridged = members.as_array().expect("a list").iter().filter(|member| member["dialect"] == "bridge");
    let mut names: Vec<String> = bridged.map(|member| member["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

fn wait_brought(gateway: &Gateway, room: &str, names: &[&str]) {
    let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    until(&format!("{names:?} in {room}"), || json!(brought(gateway, room)), |it| *it == json!(wanted));
}

fn listed(name: &str, kind: &str, room: &str, url: &str, more: &str) -> String {
    format!("[[bridge]]\nname = \"{name}\"\nkind = \"{kind}\"\nroom = \"{room}\"\nurl = \"{url}\"\n{more}\n")
}

/// A room with a camera that is called as the room.
fn camera(room: &str) -> String {
    TEST_SOURCE
        .replace("\"main\"", &format!("\"{room}\""))
        .replace("\"test\"\ntype", &format!("\"{room}-cam\"\ntype"))
        .replace("sources = [\"test\"]", &format!("sources = [\"{room}-cam\"]"))
}

#[test]
fn two_rooms_are_one_by_tribe() {
    let far = Gateway::start(&camera("yard"));
    let more = "remote_room = \"yard\"\nstream = \"hall-cam\"";
    let near = Gateway::start(&(listed("way", "tribe", "hall", &format!("{}/api", far.base), more) + &camera("hall")));
    let shown = wait_state(&near, "way", "connected");
    assert_eq!((&shown["attempts"], &shown["connections"], &shown["remote_room"]), (&json!(1), &json!(1), &json!("yard")));
    // the far camera is a member here, and the near one a stream there
    wait_brought(&near, "hall", &["way", "yard-cam"]);
    join_when_there(&near.base, "/whep/hall/yard-cam").take(10);
    join_when_there(&far.base, "/whep/yard/main").take(10);
    let shown = until("figures", || bridge(&near, "way"), |it| it["packets_sent"].as_u64() > Some(10));
    assert!(shown["packets_received"].as_u64() > Some(10) && shown["members"] == 1, "{shown:#}");
}
