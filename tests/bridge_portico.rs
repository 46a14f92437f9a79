//! Bridges of the kind `portico`: rooms of several gateways that are one.

#[allow(dead_code)] // shared with other tests
#[path = "support/bridging.rs"]
mod bridging;
mod support;
#[allow(dead_code)] // shared with other tests
#[path = "support/whep.rs"]
mod whep;

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::Duration;

use bridging::{add, bridge, join_when_there, remove, until, wait_state};
use serde_json::{Value, json};
use support::{Gateway, PATIENCE, TEST_SOURCE};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, connect};
use whep::{Viewer, get};

fn wait_reason(gateway: &Gateway, name: &str, code: &str) -> Value {
    until(&format!("{name} {code}"), || bridge(gateway, name), |it| it["reason"]["code"] == code)
}

/// A bridge to another gateway, by the API.
fn join(gateway: &Gateway, name: &str, room: &str, far: &Gateway, there: &str) {
    let body = json!({ "name": name, "kind": "portico", "room": room, "url": far.base, "remote_room": there });
    let answer = add(gateway, &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// The members of a room that the others see, by their names.
fn members(gateway: &Gateway, room: &str) -> Vec<String> {
    let answer = get(&gateway.base, &format!("/api/v1/rooms/{room}/members"));
    let members = if answer.status == 200 { answer.json() } else { json!([]) };
    let name = |member: &Value| member["name"].as_str().unwrap_or_default().to_owned();
    let seen = members.as_array().expect("a list").iter().filter(|member| member["visible"] == true);
    let mut names: Vec<String> = seen.map(name).collect();
    names.sort();
    names
}

fn wait_members(gateway: &Gateway, room: &str, names: &[&str]) {
    let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    until(&format!("{names:?} in {room}"), || json!(members(gateway, room)), |it| *it == json!(wanted));
}

fn listed(name: &str, room: &str, url: &str, more: &str) -> String {
    format!("[[bridge]]\nname = \"{name}\"\nkind = \"portico\"\nroom = \"{room}\"\nurl = \"{url}\"\n{more}\n")
}

/// A room with a camera.
fn camera(room: &str, name: &str) -> String {
    TEST_SOURCE
        .replace("\"main\"", &format!("\"{room}\""))
        .replace("\"test\"\ntype", &format!("\"{name}\"\ntype"))
        .replace("sources = [\"test\"]", &format!("sources = [\"{name}\"]"))
}

/// A page's websocket.
struct Page(WebSocket<MaybeTlsStream<TcpStream>>);

impl Page {
    fn join(gateway: &Gateway, room: &str, name: &str) -> Self {
        let url = format!("{}/page", gateway.base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("origin", gateway.base.parse().expect("an origin"));
        let (socket, _) = connect(request).expect("the page's websocket");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        }
        let mut page = Self(socket);
        page.send(&json!({ "type": "join", "room": room, "name": name }));
        page.hear("welcome");
        page
    }

    fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).expect("it is sent");
    }

    /// The next message of a type.
    fn hear(&mut self, kind: &str) -> Value {
        let mut others = VecDeque::new();
        loop {
            let Message::Text(text) = self.0.read().unwrap_or_else(|error| panic!("no {kind}: {error}; heard {others:?}")) else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["type"] == kind {
                return message;
            }
            others.push_back(message);
        }
    }

    fn say(&mut self, text: &str) {
        self.send(&json!({ "type": "say", "text": text }));
    }

    /// Who says what, next.
    fn said(&mut self) -> (String, String) {
        let said = self.hear("said");
        let word = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        (word("name"), word("text"))
    }
}

#[test]
fn two_rooms_are_one() {
    let far = Gateway::start(&camera("yard", "yard-cam"));
    let config = listed("way", "hall", &far.base, "remote_room = \"yard\"") + &camera("hall", "hall-cam");
    let mut near = Gateway::start(&config);
    let shown = wait_state(&near, "way", "connected");
    assert_eq!((&shown["attempts"], &shown["connections"], &shown["kind"]), (&json!(1), &json!(1), &json!("portico")));
    wait_members(&near, "hall", &["hall-cam", "way", "yard-cam"]);
    wait_members(&far, "yard", &["hall-cam", "way", "yard-cam"]);

    // each side's picture at the other; however many watch it there, it crosses once
    let viewers = [(&near, "/whep/hall/yard-cam"), (&far, "/whep/yard/hall-cam"), (&far, "/whep/yard/hall-cam")];
    let viewers: Vec<Viewer> = viewers.iter().map(|(gateway, path)| join_when_there(&gateway.base, path)).collect();
    for viewer in &viewers {
        viewer.take(30);
    }
    let (here, there) = (wait_state(&near, "way", "connected"), wait_state(&far, "way", "connected"));
    assert_eq!((&here["members"], &there["members"]), (&json!(1), &json!(1)));
    assert_eq!((&here["configured"], &there["configured"]), (&json!(true), &json!(false)));
    assert!(there["url"].as_str().is_some_and(|url| url.starts_with("from 127.0.0.1")), "{there:#}");
    for side in [&here, &there] {
        assert!(side["packets_sent"].as_u64() > Some(20) && side["packets_received"].as_u64() > Some(20), "{side:#}");
    }
    // of what was sent, as much came: nothing crosses twice
    let sent = |gateway: &Gateway| bridge(gateway, "way")["packets_sent"].as_u64().unwrap_or(0);
    let (before, first) = (sent(&near), viewers[1].take(60).len() as u64);
    let crossed = sent(&near) - before;
    // 60 frames of a few packets each, and the sound beside them; twice would be more than this
    let alone = {
        let before = sent(&near);
        viewers[1].take(60);
        sent(&near) - before
    };
    assert!(first == 60 && crossed > 60 && crossed < 3 * alone, "{crossed} and {alone}");

    // words
    let (mut ann, mut bob) = (Page::join(&near, "hall", "Ann"), Page::join(&far, "yard", "Bob"));
    wait_members(&far, "yard", &["Ann", "Bob", "hall-cam", "way", "yard-cam"]);
    wait_members(&near, "hall", &["Ann", "Bob", "hall-cam", "way", "yard-cam"]);
    ann.say("hello");
    assert_eq!(bob.said(), ("Ann".to_owned(), "hello".to_owned()));
    bob.say("and hello");
    assert_eq!(ann.said(), ("Bob".to_owned(), "and hello".to_owned()));
    // nobody hears an echo: the next words are the next
    ann.say("bye");
    assert_eq!(bob.said().1, "bye");
    bob.say("bye too");
    assert_eq!(ann.said().1, "bye too");
    drop(bob);
    wait_members(&near, "hall", &["Ann", "hall-cam", "way", "yard-cam"]);

    let metrics = support::read(&format!("{}/metrics", near.base));
    let line = "portico_bridge_connections_total{kind=\"portico\"} 1";
    assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    near.wait_log("bridge connected");
    let (status, _) = near.terminate();
    assert!(status.success());
    wait_members(&far, "yard", &["yard-cam"]);
    assert_eq!(bridge(&far, "way"), Value::Null, "it has gone with who dialled");
}

#[test]
fn what_is_published_crosses_and_goes() {
    let (near, far) = (Gateway::start(""), Gateway::start(&camera("b", "cam")));
    join(&near, "way", "a", &far, "b");
    wait_state(&near, "way", "connected");
    // a stream that is pulled from elsewhere into the room here is a publisher's there
    let pull = json!({ "name": "in", "kind": "whep", "room": "a", "url": format!("{}/whep/b/cam", far.base), "stream": "copy" });
    assert_eq!(add(&near, &pull).status, 201);
    let viewer = join_when_there(&far.base, "/whep/b/copy");
    viewer.take(20);
    wait_members(&far, "b", &["cam", "in", "way"]);
    // and goes with it
    assert_eq!(remove(&near, "in"), 204);
    wait_members(&far, "b", &["cam", "way"]);
    until(
        "the stream is gone",
        || json!(get(&far.base, "/api/v1/rooms/b/streams").body.contains("copy")),
        |it| *it == json!(false),
    );
    // who answers may end it; who dials comes again until it is removed there
    assert_eq!(remove(&far, "way"), 204);
    until("it is back", || bridge(&near, "way"), |it| it["connections"] == 2 && it["state"] == "connected");
    assert_eq!(remove(&near, "way"), 204);
    wait_members(&far, "b", &["cam"]);
}

#[test]
fn a_mixed_room_sends_its_single_streams() {
    let mixed = camera("m", "m-cam").replacen("[[room]]", "[[room]]\ntopology = \"mcu\"", 1);
    let (near, far) = (Gateway::start(&mixed), Gateway::start(&camera("b", "cam")));
    join(&near, "way", "m", &far, "b");
    // what is alone in a mixed room's picture is a stream of its own there; of the mix itself the far room hears nothing
    join_when_there(&far.base, "/whep/b/m-cam").take(10);
    wait_members(&far, "b", &["cam", "m-cam", "way"]);
    // and the mix here goes on, with what comes from there
    join_when_there(&near.base, "/whep/m").take(10);
    wait_members(&near, "m", &["cam", "m-cam", "mix", "way"]);
}

#[test]
fn it_is_back_after_either_side_was_killed() {
    let mut far = Gateway::start(&camera("b", "far-cam"));
    let port = far.base.rsplit(':').next().expect("a port").to_owned();
    let config = listed("way", "a", &far.base, "remote_room = \"b\"") + &camera("a", "near-cam");
    let near = Gateway::start(&config);
    join_when_there(&near.base, "/whep/a/far-cam").take(10);
    let kill = |gateway: &mut Gateway| {
        let pid = gateway.pid().to_string();
        assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs").success());
        gateway.wait_end();
    };
    kill(&mut far);
    wait_members(&near, "a", &["near-cam", "way"]);
    let far = Gateway::start_with(&camera("b", "far-cam"), &["--listen", &format!("127.0.0.1:{port}")]);
    join_when_there(&far.base, "/whep/b/near-cam").take(10);
    assert!(wait_state(&near, "way", "connected")["connections"].as_u64() >= Some(2));
    join_when_there(&near.base, "/whep/a/far-cam").take(10);

    // the other side
    let mut near = near;
    kill(&mut near);
    wait_members(&far, "b", &["far-cam"]);
    let near = Gateway::start(&config);
    join_when_there(&near.base, "/whep/a/far-cam").take(10);
    join_when_there(&far.base, "/whep/b/near-cam").take(10);
    wait_members(&far, "b", &["far-cam", "near-cam", "way"]);
}

#[test]
fn when_both_dial_one_bridge_is_left() {
    let (one, other) = (Gateway::start(&camera("r", "one-cam")), Gateway::start(&camera("r", "other-cam")));
    join(&one, "to-other", "r", &other, "r");
    join(&other, "to-one", "r", &one, "r");
    // of the two the one is connected, the other waits
    let states = || {
        let state = |gateway, name| bridge(gateway, name)["state"].clone();
        json!([state(&one, "to-other"), state(&other, "to-one")])
    };
    let good = |it: &Value| *it == json!(["connected", "waiting"]) || *it == json!(["waiting", "connected"]);
    let settled = until("one is left", states, good);
    let (loser, name) = if settled[0] == "waiting" { (&one, "to-other") } else { (&other, "to-one") };
    wait_reason(loser, name, "duplicate");
    join_when_there(&one.base, "/whep/r/other-cam").take(10);
    join_when_there(&other.base, "/whep/r/one-cam").take(10);
    let winner = if name == "to-other" { "to-one" } else { "to-other" };
    // the one that waits has a place in its own room as well
    let [at_loser, at_winner] = [vec!["one-cam", "other-cam", "to-one", "to-other"], vec!["one-cam", "other-cam", winner]];
    let (one_sees, other_sees) = if name == "to-other" { (at_loser, at_winner) } else { (at_winner, at_loser) };
    wait_members(&one, "r", &one_sees);
    wait_members(&other, "r", &other_sees);
}

#[test]
fn a_ring_is_refused_and_a_chain_carries() {
    let [a, b, c] = ["a-cam", "b-cam", "c-cam"].map(|name| Gateway::start(&camera("r", name)));
    join(&a, "a-b", "r", &b, "r");
    wait_state(&a, "a-b", "connected");
    join(&b, "b-c", "r", &c, "r");
    wait_state(&b, "b-c", "connected");
    // all are everywhere, also over two bridges
    join_when_there(&a.base, "/whep/r/c-cam").take(10);
    join_when_there(&c.base, "/whep/r/a-cam").take(10);
    wait_members(&b, "r", &["a-b", "a-cam", "b-c", "b-cam", "c-cam"]);
    let (mut ann, mut cid) = (Page::join(&a, "r", "Ann"), Page::join(&c, "r", "Cid"));
    wait_members(&c, "r", &["Ann", "Cid", "a-cam", "b-c", "b-cam", "c-cam"]);
    ann.say("from one end");
    assert_eq!(cid.said(), ("Ann".to_owned(), "from one end".to_owned()));
    cid.say("from the other");
    assert_eq!(ann.said(), ("Cid".to_owned(), "from the other".to_owned()));
    drop((ann, cid));
    join(&c, "c-a", "r", &a, "r");
    let refused = wait_reason(&c, "c-a", "loop");
    assert!(refused["reason"]["message"].as_str().is_some_and(|it| it.contains("ring")), "{refused:#}");
    wait_members(&c, "r", &["a-cam", "b-c", "b-cam", "c-a", "c-cam"]);
    // the chain is cut: the same bridge closes no ring any more
    assert_eq!(remove(&b, "b-c"), 204);
    wait_state(&c, "c-a", "connected");
    join_when_there(&b.base, "/whep/r/c-cam").take(10);
    // a room with itself, and with another of the same gateway
    join(&a, "self", "r", &a, "r");
    wait_reason(&a, "self", "loop");
    join(&a, "next-door", "s", &a, "r");
    join_when_there(&a.base, "/whep/s/c-cam").take(10);
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// A token for a room, signed with a gateway's secret.
fn token(secret: &str, room: &str) -> String {
    let secret = portico::ops::access::Secret::new(secret);
    let request = portico::ops::access::TokenRequest {
        rooms: portico::vocab::RoomPattern(room.into()),
        rights: if room == "*" {
            portico::vocab::Rights::ALL
        } else {
            [portico::vocab::Right::Publish, portico::vocab::Right::Subscribe].into_iter().collect()
        },
        expires: None,
        subject: "bridge".into(),
        user_id: None,
    };
    portico::ops::access::sign(&request, &secret, std::time::SystemTime::now())
}

#[test]
fn each_side_wants_a_token_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.display().to_string()
    };
    let (near_secret, far_secret) = (file("near", SECRET), file("far", OTHER_SECRET));
    let (right, shown) = (file("right", &token(OTHER_SECRET, "b")), file("shown", &token(SECRET, "a")));
    let wrong_room = file("wrong", &token(OTHER_SECRET, "elsewhere"));
    let access = |secret: &str| format!("[access]\ntoken_secret_file = \"{secret}\"\n");
    // what it shows to whoever dials under this name, without dialling itself
    let entry =
        |name: &str, file: &str| listed(name, "b", "http://127.0.0.1:9/", &format!("enabled = false\ntoken_file = \"{file}\""));
    let config = access(&far_secret) + &entry("way", &shown) + &entry("stranger", &right) + &camera("b", "cam");
    let far = Gateway::start(&config);
    let to = |name: &str, file: &str| listed(name, "a", &far.base, &format!("remote_room = \"b\"\ntoken_file = \"{file}\""));
    let near = access(&near_secret) + &to("way", &right) + &to("unknown", &wrong_room) + &to("stranger", &right);
    let near = near + &listed("bare", "a", &far.base, "remote_room = \"b\"");
    let near = Gateway::start(&near);
    let owner = token(SECRET, "*");
    let state = |name: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asked = support::http().get(format!("{}/api/v1/bridges/{name}", near.base)).bearer_auth(&owner);
        let text = runtime.block_on(async { asked.send().await.expect("an answer").text().await.expect("a body") });
        serde_json::from_str::<Value>(&text).unwrap_or_default()
    };
    until("it is connected", || state("way"), |it| it["state"] == "connected");
    until("another room's token", || state("unknown"), |it| it["reason"]["code"] == "forbidden");
    until("no token", || state("bare"), |it| it["reason"]["code"] == "unauthorised");
    let stranger =
        until("a token that this side did not sign", || state("stranger"), |it| it["reason"]["code"] == "unauthorised");
    assert!(stranger["reason"]["message"].as_str().is_some_and(|it| it.contains("does not show who it is")), "{stranger:#}");
}

#[test]
fn a_far_side_that_misbehaves_hurts_itself_alone() {
    let gateway = Gateway::start(&camera("r", "cam"));
    let viewer = join_when_there(&gateway.base, "/whep/r/cam");
    let url = format!("{}/bridge", gateway.base.replacen("http", "ws", 1));
    let dial = || {
        let (socket, _) = connect(url.as_str()).expect("a websocket");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        }
        socket
    };
    let hello = |version: u32| {
        json!({ "t": "hello", "version": version, "node": "x/r", "name": "odd", "room": "r", "reach": ["x/r"] }).to_string()
    };
    let code = |socket: &mut WebSocket<MaybeTlsStream<TcpStream>>| loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["t"] == "refuse" {
                    return message["code"].as_str().unwrap_or_default().to_owned();
                }
            }
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    };
    let refused = |first: &str| {
        eprintln!("a far side says {first}");
        let mut socket = dial();
        socket.send(Message::text(first)).expect("it is sent");
        code(&mut socket)
    };
    assert_eq!(refused(&hello(2)), "version");
    assert_eq!(refused("nonsense"), "bad_request");
    assert_eq!(refused(&json!({ "t": "said", "from": "a", "text": "b" }).to_string()), "bad_request");
    let far_room = json!({ "t": "hello", "version": 1, "node": "x/r", "name": "odd", "room": "", "reach": [] });
    assert_eq!(refused(&far_room.to_string()), "bad_request");

    // members without end, lanes of nothing, words of nobody: what is too many is left out, and then it is ended
    let mut socket = dial();
    socket.send(Message::text(hello(1))).expect("it is sent");
    // a ping may come first
    let welcome = loop {
        if let Message::Text(text) = socket.read().expect("an answer") {
            break text;
        }
    };
    assert!(welcome.contains("welcome"), "{welcome}");
    for n in 0..100 {
        let member = json!({ "t": "member", "id": format!("m{n}"), "user": "u", "name": "n".repeat(10_000) });
        socket.send(Message::text(member.to_string())).expect("it is sent");
        if n == 10 {
            until("they come", || json!(members(&gateway, "r").len()), |it| it.as_u64() >= Some(5));
        }
    }
    until("as many as may be", || bridge(&gateway, "odd"), |it| it["reason"]["code"] == "too_many_members");
    assert!(members(&gateway, "r").len() <= 66, "64, the bridge and the camera");
    assert!(members(&gateway, "r").iter().all(|name| name.len() <= 256));
    for n in 0..20_000 {
        let odd = match n % 3 {
            0 => json!({ "t": "lane", "lane": n, "member": "m1", "stream": "s", "tracks": [] }),
            1 => json!({ "t": "said", "from": "nobody", "text": "x" }),
            _ => json!({ "t": "lane_end", "lane": n }),
        };
        match socket.send(Message::text(odd.to_string())) {
            Ok(()) => {}
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let end = code(&mut socket);
    assert!(end == "flood" || end.contains("reset") || end.contains("closed") || end.contains("Broken pipe"), "{end}");
    wait_members(&gateway, "r", &["cam"]);
    // one that says nothing does not hold up the end
    let _silent = dial();
    // a message that is too large
    let mut socket = dial();
    socket.send(Message::text(hello(1))).expect("it is sent");
    wait_members(&gateway, "r", &["cam", "odd"]);
    let _ = socket.send(Message::text("x".repeat(1 << 20)));
    wait_members(&gateway, "r", &["cam"]);
    viewer.take(30);
    drop(viewer);
    let (status, took) = gateway.terminate();
    assert!(status.success() && took < Duration::from_secs(12), "{took:?}");
}
