//! Bridges to WHIP and WHEP endpoints: a server that is not ours (aiortc), and another Portico.

#[allow(dead_code)] // shared with other tests
#[path = "support/bridging.rs"]
mod bridging;
mod support;
#[allow(dead_code)] // shared with other tests
#[path = "support/whep.rs"]
mod whep;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bridging::{add, bridge, join_when_there, remove, until, wait_state};
use serde_json::{Value, json};
use support::{Gateway, PATIENCE, TEST_SOURCE, node, read, tests_dir};
use whep::get;

/// A WHIP and WHEP server on aiortc; killed when dropped.
struct Endpoint {
    child: Child,
    base: String,
}

impl Endpoint {
    fn start(token: Option<&str>) -> Self {
        Self::start_on("0", token)
    }

    fn start_on(port: &str, token: Option<&str>) -> Self {
        let mut command = Command::new(tests_dir().join(".venv/bin/python"));
        command.arg(tests_dir().join("clients/aiortc_endpoint.py")).arg(port).args(token);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python starts (run make test)");
        let mut base = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        out.read_line(&mut base).expect("the endpoint says where it is");
        assert!(base.starts_with("http://"), "the endpoint does not start: {base:?}");
        Self { child, base: base.trim().to_owned() }
    }

    fn port(&self) -> &str {
        self.base.rsplit(':').next().expect("a port")
    }

    fn state(&self) -> Value {
        get(&self.base, "/state").json()
    }

    /// SIGKILL, as a machine that loses its power.
    fn kill(mut self) -> String {
        self.child.kill().expect("it is killed");
        let _ = self.child.wait();
        self.port().to_owned()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a bridge waits for this reason.
fn wait_reason(gateway: &Gateway, name: &str, code: &str) -> Value {
    until(&format!("{name} {code}"), || bridge(gateway, name), |it| it["state"] == "waiting" && it["reason"]["code"] == code)
}

fn listed(name: &str, kind: &str, room: &str, url: &str, more: &str) -> String {
    format!("[[bridge]]\nname = \"{name}\"\nkind = \"{kind}\"\nroom = \"{room}\"\nurl = \"{url}\"\n{more}\n")
}

#[test]
fn a_push_is_decoded_by_the_endpoint_which_hears_of_its_end() {
    let endpoint = Endpoint::start(Some("open-sesame"));
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "open-sesame\n").expect("the token is written");
    let more = format!("token_file = \"{}\"", token.path().display());
    let config = listed("out", "whip", "main", &format!("{}/whip/a", endpoint.base), &more) + TEST_SOURCE;
    let mut gateway = Gateway::start(&config);
    let seen = until("30 frames", || endpoint.state(), |it| it["video"].as_u64() >= Some(30) && it["audio"].as_u64() >= Some(30));
    assert_eq!(seen["size"], json!([640, 360]));
    assert!(seen["changes"].as_u64() > Some(10) && seen["loudest"].as_u64() > Some(1000), "{seen:#}");
    assert_eq!((&seen["posts"], &seen["opened"]), (&json!(1), &json!(1)));

    let shown = wait_state(&gateway, "out", "connected");
    assert!(shown["packets_sent"].as_u64() > Some(30) && shown["bytes_sent"].as_u64() > Some(1000), "{shown:#}");
    assert_eq!((&shown["attempts"], &shown["connections"], &shown["configured"]), (&json!(1), &json!(1), &json!(true)));
    let members = get(&gateway.base, "/api/v1/rooms/main/members").json();
    let member = members.as_array().expect("a list").iter().find(|it| it["dialect"] == "bridge").expect("a member");
    assert_eq!((&member["name"], &member["visible"]), (&json!("out"), &json!(true)));
    let metrics = read(&format!("{}/metrics", gateway.base));
    for line in ["portico_bridges{state=\"connected\"} 1", "portico_bridge_connections_total{kind=\"whip\"} 1"] {
        assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    }
    gateway.wait_log("bridge connected");
    assert_eq!(remove(&gateway, "out"), 409, "it is in the configuration");

    let (status, _) = gateway.terminate();
    assert!(status.success());
    assert_eq!(endpoint.state()["deleted"], 1);
}

#[test]
fn a_pull_is_forwarded_without_an_encoder_and_comes_back_after_the_far_side_was_killed() {
    let endpoint = Endpoint::start(None);
    let config = listed("in", "whep", "garden", &format!("{}/whep/a", endpoint.base), "stream = \"cam\"");
    let gateway = Gateway::start(&config);
    wait_state(&gateway, "in", "connected");
    let viewer = join_when_there(&gateway.base, "/whep/garden/cam");
    viewer.take(10);
    assert!(read(&format!("{}/metrics", gateway.base)).contains("portico_video_encoders 0\n"));
    let shown = bridge(&gateway, "in");
    assert!(shown["packets_received"].as_u64() > Some(10), "{shown:#}");

    let port = endpoint.kill();
    // noticed by its silence
    let lost = until("the loss is noticed", || bridge(&gateway, "in"), |it| it["state"] != "connected");
    assert!(["lost", "ended", "unreachable"].contains(&lost["reason"]["code"].as_str().unwrap_or_default()), "{lost:#}");
    let _again = Endpoint::start_on(&port, None);
    let shown = wait_state(&gateway, "in", "connected");
    assert_eq!(shown["connections"], 2);
    join_when_there(&gateway.base, "/whep/garden/cam").take(10);
}

#[test]
fn two_porticos_are_joined_by_whip_and_by_whep() {
    let far = Gateway::start("");
    let near = Gateway::start(TEST_SOURCE);
    let push = json!({ "name": "out", "kind": "whip", "room": "main", "url": format!("{}/whip/pushed/cam", far.base) });
    let added = add(&near, &push);
    assert_eq!((added.status, &added.json()["state"]), (201, &json!("connecting")));
    let pull = json!({ "name": "in", "kind": "whep", "room": "pulled", "url": format!("{}/whep/main", near.base) });
    assert_eq!(add(&far, &pull).status, 201);
    // and a second one to the same gateway, as well as one of the gateway to itself
    let again = json!({ "name": "again", "kind": "whip", "room": "main", "url": format!("{}/whip/twice/cam", far.base) });
    assert_eq!(add(&near, &again).status, 201);
    let own = json!({ "name": "own", "kind": "whep", "room": "copied", "url": format!("{}/whep/main", near.base) });
    assert_eq!(add(&near, &own).status, 201);
    for (gateway, path) in
        [(&far, "/whep/pushed/cam"), (&far, "/whep/pulled"), (&far, "/whep/twice/cam"), (&near, "/whep/copied")]
    {
        join_when_there(&gateway.base, path).take(10);
    }
    assert_eq!(wait_state(&near, "out", "connected")["configured"], false);
    wait_state(&far, "in", "connected");

    assert_eq!(["again", "own"].map(|name| remove(&near, name)), [204, 204]);
    assert_eq!((remove(&near, "out"), remove(&far, "in")), (204, 204));
    for (gateway, name) in [(&near, "out"), (&far, "in")] {
        assert_eq!(get(&gateway.base, &format!("/api/v1/bridges/{name}")).status, 404);
    }
    // both ends are told: neither room has a member of it any more
    until(
        "the pushed room is empty",
        || get(&far.base, "/api/v1/rooms").json(),
        |rooms| {
            rooms
                .as_array()
                .expect("a list")
                .iter()
                .all(|room| ["pushed", "pulled", "twice"].iter().all(|name| room["room"] != *name))
        },
    );
    until(
        "nobody plays",
        || get(&near.base, "/api/v1/rooms/main/members").json(),
        |members| members.as_array().expect("a list").iter().all(|member| member["dialect"] == "source"),
    );
}

#[test]
fn a_wrong_token_is_a_state_and_no_storm() {
    let endpoint = Endpoint::start(Some("right"));
    let gateway = Gateway::start(TEST_SOURCE);
    let mut wish =
        json!({ "name": "out", "kind": "whip", "room": "main", "url": format!("{}/whip/a", endpoint.base), "token": "wrong" });
    assert_eq!(add(&gateway, &wish).status, 201);
    let shown = wait_reason(&gateway, "out", "unauthorised");
    assert!(shown["next_attempt_s"].as_u64() >= Some(20), "{shown:#}");
    assert!(!shown.to_string().contains("wrong"), "the token is never shown: {shown}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(endpoint.state()["posts"], 1);

    assert_eq!(add(&gateway, &wish).status, 409, "the name is taken");
    assert_eq!(remove(&gateway, "out"), 204);
    wish["token"] = json!("right");
    assert_eq!(add(&gateway, &wish).status, 201);
    wait_state(&gateway, "out", "connected");
}

#[test]
fn a_push_waits_for_its_stream_without_asking_the_endpoint() {
    let endpoint = Endpoint::start(None);
    let (gateway, other) = (Gateway::start(""), Gateway::start(TEST_SOURCE));
    let push =
        json!({ "name": "out", "kind": "whip", "room": "studio", "stream": "cam", "url": format!("{}/whip/a", endpoint.base) });
    assert_eq!(add(&gateway, &push).status, 201);
    wait_reason(&gateway, "out", "no_stream");
    assert_eq!(endpoint.state()["posts"], 0);
    // the stream comes by another bridge: what is pulled can be pushed on
    let pull =
        json!({ "name": "in", "kind": "whep", "room": "studio", "stream": "cam", "url": format!("{}/whep/main", other.base) });
    assert_eq!(add(&gateway, &pull).status, 201);
    wait_state(&gateway, "out", "connected");
    until("10 frames", || endpoint.state(), |it| it["video"].as_u64() >= Some(10));
    // and goes: the session at the endpoint is ended, and nothing is asked of it until the stream is back
    assert_eq!(remove(&gateway, "in"), 204);
    wait_reason(&gateway, "out", "no_stream");
    until("the endpoint hears of it", || endpoint.state(), |it| it["deleted"] == 1);
    let posts = endpoint.state()["posts"].clone();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(endpoint.state()["posts"], posts);
}

#[test]
fn endpoints_in_trouble_are_clear_states() {
    let endpoint = Endpoint::start(None);
    let gateway = Gateway::start(TEST_SOURCE);
    let odd = [
        ("406", "counter_offer"),
        ("403", "forbidden"),
        ("500", "server_error"),
        ("large", "bad_answer"),
        ("page", "bad_answer"),
    ];
    for (name, _) in odd {
        let wish = json!({ "name": name, "kind": "whip", "room": "main", "url": format!("{}/odd/{name}", endpoint.base) });
        assert_eq!(add(&gateway, &wish).status, 201);
    }
    for (name, code) in odd {
        wait_reason(&gateway, name, code);
    }
    // sessions that were opened for nothing are ended
    until("two are deleted", || endpoint.state(), |it| it["deleted"].as_u64() >= Some(2));
    let busy = json!({ "name": "busy", "kind": "whep", "room": "x", "url": format!("{}/odd/busy", endpoint.base) });
    assert_eq!(add(&gateway, &busy).status, 201);
    assert!(wait_reason(&gateway, "busy", "busy")["next_attempt_s"].as_u64() >= Some(290));
    let moved = json!({ "name": "moved", "kind": "whip", "room": "main", "url": format!("{}/redirect/whip/a", endpoint.base), "token": "t" });
    assert_eq!(add(&gateway, &moved).status, 201);
    wait_state(&gateway, "moved", "connected");
}

#[test]
fn a_mixed_room_is_pushed_as_its_mix() {
    let endpoint = Endpoint::start(None);
    let room = "[[room]]\nname = \"hall\"\ntopology = \"mcu\"\nsources = [\"test\"]\nmix = { width = 320, height = 180, framerate = 10 }\n";
    let source = "[[source]]\nname = \"test\"\ntype = \"test\"\nwidth = 640\nheight = 360\nframerate = 10\n";
    let push = listed("out", "whip", "hall", &format!("{}/whip/a", endpoint.base), "");
    let gateway = Gateway::start(&format!("{room}{source}{push}"));
    let seen = until("10 frames", || endpoint.state(), |it| it["video"].as_u64() >= Some(10));
    assert_eq!(seen["size"], json!([320, 180]), "the size of the mix, not of the source");
    wait_state(&gateway, "out", "connected");
}

#[test]
fn a_reload_touches_only_what_changed() {
    let (one, two) = (Endpoint::start(None), Endpoint::start(None));
    let stays = listed("stays", "whip", "main", &format!("{}/whip/a", one.base), "") + TEST_SOURCE;
    let goes = |more: &str| listed("goes", "whip", "main", &format!("{}/whip/b", two.base), more);
    let mut gateway = Gateway::start(&stays);
    let by_api = json!({ "name": "api", "kind": "whep", "room": "x", "url": format!("{}/whep/c", one.base) });
    assert_eq!(add(&gateway, &by_api).status, 201);
    let before = [wait_state(&gateway, "stays", "connected"), wait_state(&gateway, "api", "connected")];
    let mut reload = |config: &str, times: usize| {
        std::fs::write(gateway.dir().join("portico.toml"), config).expect("it is written");
        let sent = Command::new("kill").args(["-HUP", &gateway.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        let end = Instant::now() + PATIENCE;
        while gateway.log().matches("configuration applied").count() < times {
            assert!(Instant::now() < end, "not applied: {}", gateway.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    reload(&(goes("") + &stays), 1);
    until("the new one is there", || two.state(), |it| it["opened"] == 1);
    reload(&(goes("enabled = false") + &stays), 2);
    until("it is ended", || two.state(), |it| it["deleted"] == 1);
    reload(&stays, 3);
    let names: Vec<Value> =
        get(&gateway.base, "/api/v1/bridges").json().as_array().expect("a list").iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["api", "stays"]);
    for shown in before {
        let now = bridge(&gateway, shown["name"].as_str().expect("a name"));
        assert_eq!((&now["peer"], &now["connections"]), (&shown["peer"], &json!(1)), "it was not touched: {now:#}");
    }
    assert_eq!(one.state()["deleted"], 0);
}

#[test]
fn a_far_side_with_a_certificate_of_its_own_is_trusted_by_its_file() {
    let mut far = Gateway::start("[tls]\nmode = \"on\"\n");
    assert!(far.base.starts_with("https://"), "{}", far.base);
    let url = format!("{}/whip/pushed", far.base);
    let ca = format!("ca = \"{}\"", far.dir().join("tls-cert.pem").display());
    let near = Gateway::start(
        &(listed("known", "whip", "main", &url, &ca) + &listed("unknown", "whip", "main", &url, "") + TEST_SOURCE),
    );
    wait_state(&near, "known", "connected");
    wait_reason(&near, "unknown", "tls");
    far.wait_log("stream up");
}

#[test]
fn the_page_plays_what_a_bridge_brings_and_names_the_one_that_sends_on() {
    let far = Gateway::start(TEST_SOURCE);
    let pull = listed("in", "whep", "garden", &format!("{}/whep/main", far.base), "stream = \"cam\"");
    let push = listed("out", "whip", "garden", &format!("{}/whip/back", far.base), "stream = \"cam\"");
    let near = Gateway::start(&(pull + &push));
    wait_state(&near, "out", "connected");
    let seen = node("page_bridge.mjs", &[&near.base, "garden"]);
    // of the three sizes that the source is encoded in, the one that the way carries: on a busy machine not the largest
    let sizes = [640, 320, 160].map(|width| json!(width));
    assert!(sizes.contains(&seen["figures"]["width"]), "{seen:#}");
    assert!(seen["watchers"].as_str().is_some_and(|text| text.contains("Joined to other places by: out")), "{seen:#}");
    assert_eq!(seen["people"], "1 person", "{seen:#}");
}
