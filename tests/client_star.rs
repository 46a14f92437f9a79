//! webrtc-star's genuine clients: two libp2p nodes, and socket.io-client 2, 3 and 4, event by event.

#[path = "support/events.rs"]
mod events;
mod support;

use events::Events;
use serde_json::{Value, json};
use support::{End, Gateway, http, node, node_through_restart};

/// A gateway with a listener for webrtc-star on a free port, and that port's address.
fn gateway(more: &str) -> (Gateway, String) {
    let mut gateway = Gateway::start(&format!("[[listener]]\ndialect = \"webrtc-star\"\nlisten = \"127.0.0.1:0\"\n{more}"));
    let line = gateway.wait_log("listening for one dialect");
    let at = line.find("127.0.0.1:").expect("the log names the address");
    let address: String = line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    (gateway, format!("http://{address}"))
}

#[test]
fn two_libp2p_nodes_find_each_other_dial_and_echo() {
    let (_gateway, base) = gateway("");
    let seen = node("star.mjs", &[&base]);
    assert_eq!(seen["echoed"], 1 << 20, "{seen:#}");
    assert_ne!(seen["absent"], "connected", "one that has gone is not reached: {seen:#}");
}

/// MUTE has version 3 of the transport, with libp2p 0.39; among themselves and with the last version.
#[test]
fn nodes_of_the_version_mute_has_meet_each_other_and_newer_ones() {
    let (_gateway, base) = gateway("");
    for versions in ["3,3", "3,7"] {
        let seen = node("star.mjs", &[&base, "100000", versions]);
        assert_eq!((&seen["echoed"], &seen["back"]), (&100_000.into(), &1000.into()), "{versions}: {seen:#}");
    }
}

// checklist 21; the page's 10 s are generous here, since the clients' wait between attempts is theirs
#[test]
fn two_libp2p_nodes_rejoin_after_a_restart_and_dial_again() {
    let gateway = Gateway::start("");
    let base = gateway.base.clone();
    let seen = node_through_restart(gateway, "", End::Killed, "star_restart.mjs", &[&base]);
    assert_eq!((&seen["there"], &seen["back"]), (&10_000.into(), &10_000.into()), "{seen:#}");
    assert!(seen["seconds"].as_f64() < Some(60.0), "{seen:#}");
}

#[test]
fn two_libp2p_nodes_meet_on_the_main_listener_too() {
    let gateway = Gateway::start("");
    let seen = node("star.mjs", &[&gateway.base, "1000"]);
    assert_eq!(seen["echoed"], 1000, "{seen:#}");
}

#[test]
fn events_are_those_of_the_original_server() {
    let (_gateway, base) = gateway("");
    node("suite_star.mjs", &[&base]);
}

#[test]
fn the_main_listener_serves_the_same_events() {
    let gateway = Gateway::start("");
    // its start page and unknown paths are Portico's own
    node("suite_star.mjs", &[&gateway.base, "--skip=GET /"]);
}

/// One that has joined: it was told so by the answer to a call of nobody.
async fn joined(base: &str, address: &str) -> Events {
    let mut client = Events::open(base).await;
    client.emit(json!(["ss-join", address])).await;
    client.emit(json!(["ss-handshake", offer(address, "/nobody")])).await;
    assert_eq!(client.event("ws-handshake").await[1]["err"], "peer is not available");
    client
}

fn offer(from: &str, to: &str) -> Value {
    json!({"intentId": "9f", "srcMultiaddr": from, "dstMultiaddr": to, "signal": {"type": "offer", "sdp": "v=0"}})
}

/// The figures of a metrics page that begin with `webrtc_star_`, in the order of the protocol's page.
async fn figures(base: &str) -> [u64; 7] {
    let text = http().get(format!("{base}/metrics")).send().await.expect("an answer").text().await.expect("text");
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("webrtc_star_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    };
    [
        of("peers"),
        of("joins_total"),
        of("joins_total_success"),
        of("joins_total_failure"),
        of("dials_total"),
        of("dials_total_success"),
        of("dials_total_failure"),
    ]
}

// checklist 8, 18
#[tokio::test]
async fn the_figures_are_right_after_a_known_sequence() {
    let (gateway, base) = gateway("");
    assert_eq!(figures(&base).await, [0; 7]);
    let mut a = joined(&base, "/a").await;
    let mut b = joined(&base, "/b").await;
    a.emit(json!(["ss-join", null])).await;
    a.emit(json!(["ss-handshake", offer("/a", "/b")])).await;
    let mut answer = b.event("ws-handshake").await[1].clone();
    assert_eq!(answer, offer("/a", "/b"));
    answer["answer"] = json!(true);
    b.emit(json!(["ss-handshake", answer])).await;
    assert_eq!(a.event("ws-handshake").await[1], answer);
    a.emit(json!(["ss-handshake", {}])).await;
    // what a said is counted once it is answered what it said last
    a.emit(json!(["ss-handshake", offer("/a", "/nobody")])).await;
    a.event("ws-handshake").await;
    for page in [&base, &gateway.base] {
        assert_eq!(figures(page).await, [2, 3, 2, 1, 6, 1, 4], "{page}");
    }
}

// checklist 19
#[tokio::test]
async fn a_message_over_a_million_bytes_closes_only_its_session() {
    let (_gateway, base) = gateway("");
    let (mut a, mut b) = (joined(&base, "/a").await, joined(&base, "/b").await);
    a.event("ws-peer").await;
    let mut large = joined(&base, "/c").await;
    assert_eq!(a.event("ws-peer").await, json!(["ws-peer", "/c"]));
    let text = |bytes: usize| format!("42[\"{}\"]", "x".repeat(bytes - 6));
    large.packet(&text(1_000_000)).await;
    large.emit(json!(["ss-handshake", offer("/c", "/a")])).await;
    assert_eq!(a.event("ws-handshake").await[1], offer("/c", "/a"), "a million is taken");
    let too_large = text(1_000_001);
    tokio::time::timeout(support::PATIENCE, large.packet(&too_large)).await.expect("written or refused");
    assert_eq!(large.closed().await, Some(1009));
    a.emit(json!(["ss-handshake", offer("/a", "/b")])).await;
    assert_eq!(b.event("ws-handshake").await[1], offer("/a", "/b"));
}

// checklist 22; both on one endpoint
#[tokio::test]
async fn a_connection_of_vamp_hears_of_no_peer_and_a_peer_of_no_vamp() {
    let gateway = Gateway::start("[clips]\nstore_in_mesh = false\n");
    let base = &gateway.base;
    let mut vamps = Vec::new();
    for _ in 0..2 {
        let mut vamp = Events::open(base).await;
        vamp.emit(json!(["join vamp", "v"])).await;
        vamp.event("all users").await;
        // what another dialect's clients say is nothing here
        vamp.emit(json!(["ss-join", "/v"])).await;
        vamps.push(vamp);
    }
    let mut star = joined(base, "/a").await;
    star.emit(json!(["join vamp", "v"])).await;
    let _late = joined(base, "/b").await;
    assert_eq!(star.event("ws-peer").await, json!(["ws-peer", "/b"]));
    // what was to be told by now comes before the answers to these
    star.emit(json!(["ss-handshake", offer("/a", "/v")])).await;
    assert_eq!(star.event("ws-handshake").await[1]["err"], "peer is not available");
    let [first, second] = &mut vamps[..] else { unreachable!("two were made") };
    let signal = json!({"type": "offer", "sdp": "x"});
    second.emit(json!(["sending signal", {"userToSignal": first.id, "callerID": second.id, "signal": signal}])).await;
    assert_eq!(first.event("user joined").await[1]["callerID"], json!(second.id));
    first.emit(json!(["returning signal", {"callerID": second.id, "signal": signal}])).await;
    second.event("receiving returned signal").await;
    assert_eq!(first.heard, ["all users", "user joined"]);
    assert_eq!(second.heard, ["all users", "receiving returned signal"]);
    assert!(star.heard.iter().all(|name| name.starts_with("ws-")), "{:?}", star.heard);
}

#[tokio::test]
async fn preflights_and_the_start_page_are_for_pages_of_any_origin() {
    let (gateway, base) = gateway("");
    for base in [&base, &gateway.base] {
        let page = http().get(format!("{base}/")).header("Origin", "http://mute.example").send().await.expect("an answer");
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["access-control-allow-origin"], "http://mute.example");
        let preflight = http()
            .request(reqwest::Method::OPTIONS, format!("{base}/"))
            .header("Origin", "http://mute.example")
            .header("Access-Control-Request-Method", "GET");
        let answer = preflight.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "http://mute.example");
    }
}
