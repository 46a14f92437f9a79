//! webrtc-star's genuine clients: two libp2p nodes, and socket.io-client of both versions, event by event.

mod support;

use support::{Gateway, http, node};

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

#[tokio::test]
async fn preflights_and_the_start_page_are_for_pages_of_any_origin() {
    let (gateway, base) = gateway("");
    for base in [&base, &gateway.base] {
        let page = http().get(format!("{base}/")).header("Origin", "http://mute.example").send().await.expect("an answer");
        assert_eq!((page.status().as_u16(), &page.headers()["access-control-allow-origin"]), (200, "http://mute.example"));
        let preflight = http()
            .request(reqwest::Method::OPTIONS, format!("{base}/"))
            .header("Origin", "http://mute.example")
            .header("Access-Control-Request-Method", "GET");
        let answer = preflight.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "http://mute.example");
    }
}
