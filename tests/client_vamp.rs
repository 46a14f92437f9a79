//! Vamp's genuine clients: socket.io-client 2 and 4 with simple-peer, in Node and in Chromium; and the endpoint packet by packet.

mod support;

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{Gateway, PATIENCE, http, node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// Clips are not stored: a vamp's members are its clients.
const ALONE: &str = "[clips]\nstore_in_mesh = false\n";

/// A vamp whose connections end at Portico.
const STUDIO: &str = "[[room]]\nname = \"studio\"\ntopology = \"sfu\"\n";

#[test]
fn the_endpoint_keeps_both_protocols_packet_by_packet() {
    let gateway = Gateway::start(ALONE);
    node("suite_engineio.mjs", &[&format!("{}/socket.io/", gateway.base), "both"]);
}

#[test]
fn the_other_path_is_the_same_endpoint() {
    let gateway = Gateway::start(ALONE);
    node("suite_engineio.mjs", &[&format!("{}/socket.io-next/", gateway.base), "4", "--only=handshake|upgrade|errors"]);
}

#[test]
fn clients_of_both_versions_mesh_and_send_recordings() {
    // where the gateway stores clips, it is one more member of the mesh
    let gateways = [Gateway::start(ALONE), Gateway::start("")];
    for (gateway, version) in [(&gateways[0], "2"), (&gateways[1], "4"), (&gateways[0], "mixed")] {
        let stores: &[&str] = if version == "4" { &["--stores=1"] } else { &[] };
        let seen = node("vamp_mesh.mjs", &[&[&gateway.base, version], stores].concat());
        assert_eq!(seen["clips"].as_array().map(Vec::len), Some(6), "{seen:#}");
    }
}

/// `sfu`: each frame once and in order to those who are there, the whole clip to who comes late, nothing after a leave.
#[test]
fn in_an_sfu_room_clips_reach_everybody_from_their_start() {
    let versions = ["2", "4", "mixed"];
    // whoever vanished from one is still heard in it for a while
    let gateway = Gateway::start(&versions.map(|version| STUDIO.replace("studio", &format!("studio-{version}"))).concat());
    for version in versions {
        let seen = node("vamp_clips.mjs", &[&gateway.base, &format!("studio-{version}"), version]);
        assert_eq!(seen["clips"].as_array().map(Vec::len), Some(6), "{seen:#}");
    }
}

#[test]
fn a_clip_beyond_its_bound_reaches_who_is_there_and_nobody_who_comes_late() {
    let gateway = Gateway::start(&format!("[clips]\nmax_clip_bytes = 65536\n{STUDIO}"));
    node("vamp_clips.mjs", &[&gateway.base, "studio", "2", "--bound=65536"]);
}

/// Backpressure, and a connection whose far end is silent for longer than media would be kept.
#[test]
fn a_listener_that_stands_still_holds_nobody_up_and_then_gets_it_all() {
    let gateway = Gateway::start(STUDIO);
    node("vamp_slow.mjs", &[&gateway.base, "studio"]);
}

#[test]
fn a_page_that_comes_late_hears_a_recorded_microphone_from_its_start() {
    let gateway = Gateway::start(&format!("[http]\nallowed_origins = [\"*\"]\n{STUDIO}"));
    let seen = node("vamp_record_late.mjs", &[&gateway.base, "studio", "4"]);
    assert_eq!(seen["got"].as_array().map(Vec::len), Some(2), "{seen:#}");
}

/// `mesh`: Portico is one more peer, and plays a clip after its end to those who were absent at its start.
#[test]
fn in_a_mesh_clips_are_stored_and_played_to_who_was_absent() {
    let gateway = Gateway::start("");
    for version in ["2", "mixed"] {
        let seen = node("vamp_stored.mjs", &[&gateway.base, version]);
        assert_eq!(seen["clips"].as_array().map(Vec::len), Some(2), "{seen:#}");
    }
    let off = Gateway::start(ALONE);
    node("vamp_stored.mjs", &[&off.base, "4", "--off=1"]);
}

#[test]
fn pages_record_their_microphones_to_each_other() {
    // the pages come from elsewhere
    let gateway = Gateway::start("[http]\nallowed_origins = [\"*\"]\n[clips]\nstore_in_mesh = false\n");
    let seen = node("vamp_record.mjs", &[&gateway.base, "2"]);
    assert_eq!(seen["got"].as_array().map(Vec::len), Some(2), "{seen:#}");
}

/// Where everybody's connections end at Portico: data channels only, and a clean end when one leaves.
#[test]
fn in_an_sfu_room_each_other_is_a_connection_with_portico() {
    let gateway = Gateway::start(STUDIO);
    let seen = node("vamp_portico.mjs", &[&gateway.base, "studio"]);
    assert_eq!(seen["ids"].as_array().map(Vec::len), Some(3), "{seen:#}");
}

/// Checklist 16: the time on a busy machine is generous, order and completeness are exact.
#[test]
fn an_offer_of_a_data_channel_is_answered_with_all_candidates() {
    let gateway = Gateway::start(STUDIO);
    let seen = node("vamp_answer.mjs", &[&gateway.base, "studio", "--sfu=1"]);
    assert!(seen["answered"].as_u64() > Some(0) && seen["offered"].as_u64() > Some(0), "{seen:#}");
}

/// Checklist 17, for some seconds; `tests/long.rs` has all ten minutes.
#[test]
fn a_recorders_frames_arrive_once_each_and_in_order() {
    let gateway = Gateway::start(STUDIO);
    for vamp in ["studio", "a-mesh"] {
        let seen = node("vamp_long.mjs", &[&gateway.base, "4", vamp]);
        assert_eq!(seen["frames"], 132, "{seen:#}");
    }
}

// ---- what only raw requests show ----

fn endpoint(gateway: &Gateway, query: &str) -> String {
    format!("{}/socket.io/?{query}", gateway.base)
}

async fn text(url: &str) -> (u16, String) {
    let answer = http().get(url).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

async fn post(url: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let request = http().post(url).header("Content-Type", "text/plain;charset=UTF-8").body(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// A session of protocol 3 by polling: its address.
async fn session(gateway: &Gateway) -> String {
    let (status, body) = text(&endpoint(gateway, "EIO=3&transport=polling")).await;
    assert_eq!(status, 200, "{body}");
    let open: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.find('}').unwrap()]).expect("the open object");
    endpoint(gateway, &format!("EIO=3&transport=polling&sid={}", open["sid"].as_str().expect("a sid")))
}

#[tokio::test]
async fn error_bodies_are_those_of_the_protocol() {
    let gateway = Gateway::start("");
    let bodies = [
        ("EIO=3", r#"{"code":0,"message":"Transport unknown"}"#),
        ("EIO=4&transport=pigeon", r#"{"code":0,"message":"Transport unknown"}"#),
        ("EIO=3&transport=polling&sid=none", r#"{"code":1,"message":"Session ID unknown"}"#),
        ("EIO=4&transport=websocket", r#"{"code":3,"message":"Bad request"}"#),
        ("EIO=3&transport=polling&j=0", r#"{"code":3,"message":"Bad request"}"#),
    ];
    for (query, body) in bodies {
        assert_eq!(text(&endpoint(&gateway, query)).await, (400, body.into()), "{query}");
    }
    let bad_method = (400, r#"{"code":2,"message":"Bad handshake method"}"#.into());
    assert_eq!(post(&endpoint(&gateway, "EIO=3&transport=polling"), "").await, bad_method);
    // a path of nobody: one answer, and not from here
    let (status, body) = text(&format!("{}/socket.iox/?EIO=3&transport=polling", gateway.base)).await;
    assert_eq!(status, 404);
    assert!(!body.contains("Transport"), "{body}");
}

#[tokio::test]
async fn an_upgrade_of_another_path_does_not_come_here() {
    let gateway = Gateway::start("");
    let at = |path: &str| format!("{}{path}?EIO=3&transport=websocket", gateway.base.replace("http", "ws"));
    for path in ["/socket.iox/", "/socket.io/more", "/graphql"] {
        match connect_async(at(path)).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 404, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    // another dialect's own first word, and no handshake of this protocol
    let (mut other, _) = connect_async(at("/algorea")).await.expect("a websocket");
    let first = timeout(PATIENCE, other.next()).await.expect("in time").expect("open").expect("a message");
    assert!(first.into_text().expect("text").contains("connected-peers"));
}

#[tokio::test]
async fn a_second_post_while_one_is_read_ends_the_session() {
    let gateway = Gateway::start("");
    let url = session(&gateway).await;
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let mut slow = tokio::net::TcpStream::connect(host).await.expect("connected");
    let head = format!("POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n1:");
    slow.write_all(head.as_bytes()).await.expect("written");
    let mut other = 200;
    let end = Instant::now() + PATIENCE;
    // until the slow one has arrived
    while other == 200 && Instant::now() < end {
        (other, _) = post(&url, "1:6").await;
    }
    // The slow one's head may come while another is read: then it is the second, and the next finds no session.
    if other == 400 {
        let mut answer = [0; 12];
        timeout(PATIENCE, slow.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 500");
    } else {
        assert_eq!(other, 500);
    }
    assert_eq!(text(&url).await.0, 400, "the session is unknown");
}

#[tokio::test]
async fn what_is_too_large_ends_only_its_session() {
    let gateway = Gateway::start("");
    let (large, other) = (session(&gateway).await, session(&gateway).await);
    let body = format!("1000001:4{}", "x".repeat(1_000_000));
    // the answer may be lost with the connection, which is closed with unread bytes
    if let Ok(answer) = http().post(&large).body(body).send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    assert_eq!(text(&large).await, (400, r#"{"code":1,"message":"Session ID unknown"}"#.into()));
    assert_eq!(post(&other, "1:2").await, (200, "ok".into()));

    let ws = endpoint(&gateway, "EIO=3&transport=websocket").replace("http", "ws");
    let (socket, _) = connect_async(&ws).await.expect("a websocket");
    let (mut write, mut read) = socket.split();
    let writer = tokio::spawn(async move { write.send(Message::Text(format!("4{}", "x".repeat(1_000_000)).into())).await });
    let code = loop {
        match timeout(PATIENCE, read.next()).await.expect("in time") {
            Some(Ok(Message::Close(Some(close)))) => break u16::from(close.code),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    };
    assert_eq!(code, 1009);
    writer.abort();
}

#[tokio::test]
async fn floods_and_half_open_requests_hurt_only_their_session() {
    let gateway = Gateway::start(ALONE);
    let good = session(&gateway).await;
    // a payload of very many packets, joins in a loop, packets out of order, deep nesting
    let deep = format!("42[\"join vamp\",{}{}]", "[".repeat(300_000), "]".repeat(300_000));
    let join = r#"42["join vamp","v"]"#;
    for body in [
        "1:6".repeat(300_000),
        format!("{}:{join}", join.len()).repeat(5_000),
        "1:51:31:00".to_owned(),
        format!("{}:{deep}", deep.len()),
        "1:12".to_owned(),
        "7:4040411".to_owned(),
    ] {
        let url = session(&gateway).await;
        assert_eq!(post(&url, body).await, (200, "ok".into()));
    }
    // an upgrade that never says anything
    let sid = good.rsplit('=').next().expect("a sid");
    let ws = endpoint(&gateway, &format!("EIO=3&transport=websocket&sid={sid}")).replace("http", "ws");
    let (silent, _) = connect_async(&ws).await.expect("a websocket");
    let (mut second, _) = connect_async(&ws).await.expect("a websocket");
    let refused = timeout(PATIENCE, second.next()).await.expect("in time");
    assert!(matches!(refused, None | Some(Err(_) | Ok(Message::Close(_)))), "{refused:?}");
    let join = r#"42["join vamp","v"]"#;
    assert_eq!(post(&good, format!("{}:{join}", join.len())).await, (200, "ok".into()));
    assert!(text(&good).await.1.contains(r#"42["all users",[]]"#));
    drop(silent);
}

#[tokio::test]
async fn tokens_come_in_the_query_or_with_the_connect_packet() {
    let secret = "[access]\ntoken_secret = \"a secret of thirty-two characters.\"\n";
    let gateway = Gateway::start(secret);
    let token = std::process::Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["token", "--config"])
        .arg(gateway.dir().join("portico.toml"))
        .output()
        .expect("the program runs");
    let token = String::from_utf8(token.stdout).expect("text").trim().to_owned();
    assert!(token.contains('.'), "a token");
    assert_eq!(
        text(&endpoint(&gateway, "EIO=3&transport=polling&token=wrong")).await,
        (403, r#"{"code":4,"message":"Forbidden"}"#.into())
    );

    let ws = |query: &str| endpoint(&gateway, query).replace("http", "ws");
    for (query, connect, welcome) in [
        (format!("EIO=4&transport=websocket&token={token}"), "40".to_owned(), true),
        ("EIO=4&transport=websocket".to_owned(), format!("40{}", json!({"token":token})), true),
        ("EIO=4&transport=websocket".to_owned(), "40{\"token\":\"wrong\"}".to_owned(), false),
        ("EIO=4&transport=websocket".to_owned(), "40".to_owned(), false),
    ] {
        let (mut socket, _) = connect_async(ws(&query)).await.expect("a websocket");
        for packet in [connect, r#"42["join vamp","v"]"#.into()] {
            // one that is refused closes before it has heard all
            let _ = socket.send(Message::Text(packet.into())).await;
        }
        let mut heard = String::new();
        while let Ok(Some(Ok(message))) = timeout(PATIENCE, socket.next()).await {
            match message {
                Message::Text(packet) => heard = packet.to_string(),
                _ => break,
            }
            if heard.starts_with("42") {
                break;
            }
        }
        assert!(heard.starts_with(if welcome { "42[\"all users\"" } else { "41" }), "{query}: {heard}");
    }
}

#[tokio::test]
async fn a_stop_says_goodbye_to_all_transports_in_time() {
    let gateway = Gateway::start("");
    let url = session(&gateway).await;
    let poll = tokio::spawn(async move { text(&url).await });
    let ws = endpoint(&gateway, "EIO=3&transport=websocket").replace("http", "ws");
    let (mut socket, _) = connect_async(&ws).await.expect("a websocket");
    for _ in 0..2 {
        timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("a packet");
    }
    let (status, took) = tokio::task::spawn_blocking(move || gateway.terminate()).await.expect("ended");
    assert!(status.success() && took < Duration::from_secs(30), "{status} {took:?}");
    let heard = timeout(PATIENCE, socket.next()).await.expect("in time");
    assert!(matches!(&heard, Some(Ok(Message::Text(packet))) if packet.as_str() == "41"), "{heard:?}");
    let (status, body) = poll.await.expect("a poll");
    assert!(status == 200 && body.ends_with("1:1"), "{status} {body}");
}
