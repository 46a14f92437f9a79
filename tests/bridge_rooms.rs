//! Bridges that join rooms of tribe and PeerJS servers: another Portico, npm's `peer`, and far sides that misbehave.

#[allow(dead_code)] // shared with other tests
#[path = "support/bridging.rs"]
mod bridging;
mod support;
#[allow(dead_code)] // shared with other tests
#[path = "support/whep.rs"]
mod whep;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bridging::{bridge, join_when_there, until, wait_state};
use serde_json::{Value, json};
use support::{Gateway, PATIENCE, TEST_SOURCE, node, read, tests_dir};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept, connect};
use whep::{get, request};

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

/// A tribe client by hand, for words.
struct Tribe(WebSocket<MaybeTlsStream<TcpStream>>);

impl Tribe {
    fn join(gateway: &Gateway, room: &str, user: &str) -> Self {
        let (mut socket, _) = connect(format!("{}/api", gateway.base.replace("http", "ws"))).expect("a websocket");
        if let MaybeTlsStream::Plain(stream) = socket.get_mut() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        }
        let mut tribe = Self(socket);
        tribe.send("join", json!({ "roomId": room, "bearer": bearer(user) }));
        assert_eq!(tribe.wait("joinR")["s"], true);
        tribe
    }

    fn send(&mut self, action: &str, d: Value) {
        self.0.send(Message::text(json!({ "a": action, "d": d }).to_string())).expect("it is sent");
    }

    /// The next frame of that action.
    fn wait(&mut self, action: &str) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap_or_else(|error| panic!("no {action}: {error}")) {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                if frame["a"] == action {
                    return frame;
                }
            }
        }
    }

    /// Waits until somebody of that name says something; gives its id and the text.
    fn hear(&mut self, user: &str) -> (Value, String) {
        loop {
            let said = self.wait("eventMessage");
            if said["d"]["from"]["userId"] == user {
                return (
                    said["d"]["from"]["socketId"].clone(),
                    said["d"]["message"]["text"].as_str().unwrap_or_default().to_owned(),
                );
            }
        }
    }

    fn say(&mut self, to: &Value, message: Value) {
        self.send("sendMessage", json!({ "to": to, "message": message }));
    }
}

/// A bearer for a gateway without a secret.
fn bearer(user: &str) -> String {
    use base64::Engine as _;
    let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&json!({ "userId": user })), "AAAA")
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
    let members = get(&near.base, "/api/v1/rooms/hall/members").json();
    let via = |name: &str| members.as_array().expect("a list").iter().find(|it| it["name"] == name).expect(name)["via"].clone();
    assert_eq!((via("way"), via("yard-cam")), (Value::Null, json!("way")));
    join_when_there(&near.base, "/whep/hall/yard-cam").take(10);
    join_when_there(&far.base, "/whep/yard/main").take(10);
    let shown = until("figures", || bridge(&near, "way"), |it| it["packets_sent"].as_u64() > Some(10));
    assert!(shown["packets_received"].as_u64() > Some(10) && shown["members"] == 1, "{shown:#}");
    let metrics = read(&format!("{}/metrics", near.base));
    assert!(metrics.contains("portico_bridge_connections_total{kind=\"tribe\"} 1\n"), "{metrics}");

    // words cross both ways, with the name of who said them where they come from the bridge
    let mut bob = Tribe::join(&far, "yard", "bob");
    wait_brought(&near, "hall", &["bob", "way", "yard-cam"]);
    let mut ann = Tribe::join(&near, "hall", "ann");
    let members = get(&far.base, "/api/v1/rooms/yard/members").json();
    let way = members.as_array().expect("a list").iter().find(|it| it["user_id"] == "way").expect("the bridge is there");
    bob.say(&json!(way["id"].as_str().expect("an id").to_uppercase()), json!({ "text": "hello" }));
    let (of_bob, text) = ann.hear("bob");
    assert_eq!(text, "hello");
    ann.say(&of_bob, json!("good day"));
    assert_eq!(bob.hear("way").1, "ann: good day");
    drop(bob);
    // a tribe client that is lost keeps its place for a while; one that says goodbye does not
    let mut carl = Tribe::join(&far, "yard", "carl");
    wait_brought(&near, "hall", &["bob", "carl", "way", "yard-cam"]);
    carl.0.close(None).expect("it is closed");
    wait_brought(&near, "hall", &["bob", "way", "yard-cam"]);

    // the far side hears of the bridge's end
    drop(ann);
    assert!(near.terminate().0.success());
    until(
        "the far room is without it",
        || get(&far.base, "/api/v1/rooms/yard/members").json(),
        |it| it.as_array().expect("a list").iter().all(|member| member["user_id"] != "way"),
    );
}

#[test]
fn a_far_room_that_was_killed_is_joined_again_and_rooms_in_a_ring_do_not_grow() {
    let far = Gateway::start(&camera("yard"));
    let listen = far.base.trim_start_matches("http://").to_owned();
    let near = Gateway::start(&listed("way", "tribe", "hall", &format!("{}/api", far.base), "remote_room = \"yard\""));
    wait_brought(&near, "hall", &["way", "yard-cam"]);
    drop(far); // SIGKILL
    until("the loss is noticed", || bridge(&near, "way"), |it| it["state"] != "connected");
    wait_brought(&near, "hall", &["way"]);
    // a ring: each joins the other's room
    let back = listed("back", "tribe", "yard", &format!("{}/api", near.base), "remote_room = \"hall\"");
    let far = Gateway::start_with(&(camera("yard") + &back), &["--listen", &listen]);
    let shown = wait_state(&near, "way", "connected");
    assert_eq!(shown["connections"], 2, "{shown:#}");
    join_when_there(&near.base, "/whep/hall/yard-cam").take(10);
    wait_state(&far, "back", "connected");
    let mut ann = Tribe::join(&near, "hall", "ann");
    wait_brought(&far, "yard", &["ann", "back"]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        (brought(&near, "hall"), brought(&far, "yard")),
        (vec!["way".into(), "yard-cam".into()], vec!["ann".into(), "back".into()])
    );
    let size = get(&near.base, "/api/v1/rooms/hall/members").json().as_array().expect("a list").len();
    assert_eq!(size, 4, "ann, both bridges, the far camera");
    // words do not go round either: the far room hears them once
    let mut bob = Tribe::join(&far, "yard", "bob");
    wait_brought(&near, "hall", &["bob", "way", "yard-cam"]);
    let joined = get(&far.base, "/api/v1/rooms/yard/members").json();
    let of_ann = joined.as_array().expect("a list").iter().find(|it| it["user_id"] == "ann").expect("ann")["id"].clone();
    bob.say(&json!(of_ann.as_str().expect("an id").to_uppercase()), json!("once"));
    assert_eq!(ann.hear("back").1, "bob: once");
}

#[test]
fn a_peer_of_another_portico_is_called_and_called_again() {
    let config = camera("peerjs");
    let far = Gateway::start(&config);
    let listen = far.base.trim_start_matches("http://").to_owned();
    let more = "call = [\"peerjs\"]\nstream = \"hall-cam\"";
    let near = Gateway::start(&(listed("way", "peerjs", "hall", &format!("{}/peerjs", far.base), more) + &camera("hall")));
    wait_brought(&near, "hall", &["peerjs", "way"]);
    join_when_there(&near.base, "/whep/hall/peerjs").take(10);
    join_when_there(&far.base, "/whep/peerjs/main").take(10);
    let shown = until("figures", || bridge(&near, "way"), |it| it["packets_sent"].as_u64() > Some(10));
    assert_eq!((&shown["state"], &shown["members"], &shown["call"]), (&json!("connected"), &json!(1), &json!(["peerjs"])));
    // the other's words come by a data connection
    let mut bob = Tribe::join(&far, "peerjs", "bob");
    let mut ann = Tribe::join(&near, "hall", "ann");
    let members = get(&far.base, "/api/v1/rooms/peerjs/members").json();
    let way = members.as_array().expect("a list").iter().find(|it| it["user_id"] == "way").expect("the bridge is there");
    bob.say(&json!(way["id"].as_str().expect("an id").to_uppercase()), json!("hello"));
    let (of_room, text) = ann.hear("peerjs");
    assert_eq!(text, "hello");
    ann.say(&of_room, json!("good day"));
    assert_eq!(bob.hear("way").1, "good day");
    drop(bob);
    assert!(far.terminate().0.success());
    until("the loss is noticed", || bridge(&near, "way"), |it| it["state"] != "connected");
    let far = Gateway::start_with(&config, &["--listen", &listen]);
    wait_state(&near, "way", "connected");
    join_when_there(&far.base, "/whep/peerjs/main").take(10);
    join_when_there(&near.base, "/whep/hall/peerjs").take(10);
}

/// npm's `peer`; killed when dropped.
struct PeerServer(Child);

impl PeerServer {
    fn start(port: u16) -> Self {
        let mut command = Command::new("node");
        command.arg(tests_dir().join("clients/peer_server.mjs")).arg(port.to_string()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("it says that it listens");
        assert!(line.starts_with("listening"), "the PeerJS server does not start: {line:?}");
        Self(child)
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

#[test]
fn the_room_is_a_peer_at_the_published_server() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let server = PeerServer::start(port);
    let more = "id = \"the-hall\"\ncall = [\"called\"]\nstream = \"hall-cam\"";
    let near = Gateway::start(&(listed("way", "peerjs", "hall", &url, more) + &camera("hall")));
    wait_reason(&near, "way", "peer_absent");
    assert_eq!(bridge(&near, "way")["state"], "connected", "it can be called all the same");
    let mut ann = Tribe::join(&near, "hall", "ann");
    let seen = std::thread::scope(|scope| {
        let pages = scope.spawn(|| node("peerjs_bridge.mjs", &[&url, "the-hall", "called"]));
        wait_brought(&near, "hall", &["called", "caller", "way"]);
        for peer in ["caller", "called"] {
            join_when_there(&near.base, &format!("/whep/hall/{peer}")).take(10);
        }
        // connections live on without the server
        drop(server);
        until("the loss is noticed", || bridge(&near, "way"), |it| it["state"] != "connected");
        let (of_caller, text) = ann.hear("caller");
        assert_eq!(text, "from afar");
        let again = PeerServer::start(port);
        let shown = wait_state(&near, "way", "connected");
        assert_eq!((&shown["connections"], &shown["members"]), (&json!(2), &json!(2)), "{shown:#}");
        ann.say(&of_caller, json!("good day"));
        (pages.join().expect("the pages do their part"), again)
    });
    for peer in ["a", "b"] {
        assert!([640, 320, 160].map(|width| json!(width)).contains(&seen.0[peer]["width"]), "{:#}", seen.0);
    }
    assert_eq!(
        (&seen.0["texts"][0]["from"], &seen.0["texts"][0]["text"]),
        (&json!("the-hall"), &json!("good day")),
        "{:#}",
        seen.0
    );
    wait_brought(&near, "hall", &["way"]);
}

/// A websocket server that does something odd with each of its connections, until the test ends.
fn odd(what: impl Fn(&mut WebSocket<TcpStream>) -> Option<()> + Send + Copy + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || accept(stream).ok().and_then(|mut socket| what(&mut socket)));
        }
    });
    format!("http://{address}/api")
}

/// Resident memory of a process, in KiB.
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

#[test]
fn far_sides_in_trouble_are_clear_states_and_disturb_nobody() {
    let secret = "[access]\ntoken_secret = \"sixteen characters or more\"\n";
    let strict = Gateway::start(secret);
    let near = Gateway::start(&camera("hall"));
    let add = |name: &str, kind: &str, room: &str, url: &str, more: Value| {
        let mut body = json!({ "name": name, "kind": kind, "room": room, "url": url });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let answer = request("POST", &near.base, "/api/v1/bridges", "application/json", &body.to_string());
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    };
    let viewer = join_when_there(&near.base, "/whep/hall");
    viewer.take(5);
    let before = resident(&near);

    let say = |socket: &mut WebSocket<TcpStream>, text: &str| socket.send(Message::text(text)).ok();
    let nonsense = odd(move |socket| {
        loop {
            say(socket, "hello")?;
        }
    });
    let other_version = odd(move |socket| {
        socket.read().ok()?;
        say(socket, r#"{"a":"joinR","s":true,"d":{"session":{"id":1}}}"#)?;
        socket.read().ok().map(drop)
    });
    let huge = odd(move |socket| {
        say(socket, &"x".repeat(4 << 20))?;
        socket.read().ok().map(drop)
    });
    // ten thousand members at once, then more of them and what they say without end
    let members = odd(move |socket| {
        socket.read().ok()?;
        let sessions: Vec<Value> =
            (0..2000).map(|n| json!({ "socketId": format!("S{n}"), "userId": format!("user {n}") })).collect();
        say(socket, &json!({ "a": "joinR", "s": true, "d": { "socketId": "ME", "sessions": sessions } }).to_string())?;
        std::thread::sleep(Duration::from_secs(4));
        for n in 0.. {
            let from = json!({ "socketId": format!("T{n}"), "userId": "u" });
            say(socket, &json!({ "a": "eventOrientationChange", "d": { "from": from } }).to_string())?;
            say(socket, &json!({ "a": "eventMessage", "d": { "from": from, "message": "x".repeat(10_000) } }).to_string())?;
        }
        Some(())
    });
    let open = odd(move |socket| {
        say(socket, r#"{"type":"OPEN"}"#)?;
        for n in 0.. {
            let payload = json!({ "sdp": { "type": "offer", "sdp": "v=0\r\nm=audio 9 X 0\r\n".repeat(2000) }, "type": "media", "connectionId": "c" });
            say(socket, &json!({ "type": "OFFER", "src": format!("p{n}"), "dst": "x", "payload": payload }).to_string())?;
        }
        Some(())
    });
    let strict_tribe = format!("{}/api", strict.base);
    let cases = [
        ("nonsense", "tribe", nonsense.clone(), json!({}), "bad_answer"),
        ("nonsense-p", "peerjs", nonsense, json!({}), "bad_answer"),
        ("other", "tribe", other_version, json!({}), "bad_answer"),
        ("huge", "tribe", huge.clone(), json!({}), "too_large"),
        ("huge-p", "peerjs", huge, json!({}), "too_large"),
        ("members", "tribe", members, json!({}), "flood"),
        ("offers-p", "peerjs", open, json!({}), "flood"),
        ("token", "tribe", strict_tribe.clone(), json!({ "token": bearer("way") }), "unauthorised"),
        ("none", "tribe", strict_tribe, json!({}), "unauthorised"),
        ("page", "tribe", format!("{}/nothing-here", near.base), json!({}), "not_found"),
        ("key-p", "peerjs", format!("{}/peerjs", near.base), json!({ "key": "other" }), "wrong_key"),
        ("away", "peerjs", format!("http://127.0.0.1:{}", free_port()), json!({}), "unreachable"),
    ];
    let misfit = json!({ "name": "x", "kind": "tribe", "room": "x", "url": near.base, "call": ["a"] }).to_string();
    assert_eq!(request("POST", &near.base, "/api/v1/bridges", "application/json", &misfit).status, 400);
    for (name, kind, url, more, _) in &cases {
        add(name, kind, &format!("of-{name}"), url, more.clone());
    }
    let full = |it: &Value| it["members"] == 64 && it["reason"]["code"] == "too_many_members";
    until("as many as may be", || bridge(&near, "members"), full);
    for (name, .., code) in &cases {
        wait_reason(&near, name, code);
    }
    // the same with a token as the guide makes it
    let secret = strict.dir().join("secret");
    std::fs::write(&secret, "sixteen characters or more\n").expect("it is written");
    let words = ["token", "--room", "yard", "--rights", "publish,subscribe", "--user-id", "way", "--secret-file"];
    let token = Command::new(env!("CARGO_BIN_EXE_portico")).args(words).arg(&secret).output().expect("it runs");
    let token = String::from_utf8(token.stdout).expect("text").trim().to_owned();
    add("right", "tribe", "yard", &format!("{}/api", strict.base), json!({ "token": token }));
    wait_state(&near, "right", "connected");
    assert!(bridge(&near, "token")["next_attempt_s"].as_u64() >= Some(20), "somebody must change something first");
    until("they are gone", || json!(brought(&near, "of-members")), |it| *it == json!(["members"]));
    let grown = resident(&near).saturating_sub(before);
    assert!(grown < 100 << 10, "{grown} KiB more");
    // who watches the camera has noticed nothing
    viewer.forget();
    viewer.take(10);
}
