//! The genuine PeerJS and simple-peerjs against Portico as their broker, and a PeerJS broker's duties message by message.

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, ORIGIN};
use serde_json::{Value, json};
use support::{ANY_ORIGIN, Gateway, PATIENCE, TEST_SOURCE, http, node};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

fn broker(more: &str) -> Gateway {
    Gateway::start(&format!("{ANY_ORIGIN}{more}"))
}

fn run(script: &str, gateway: &Gateway, more: &[&str]) -> Value {
    let mut args = vec![gateway.base.as_str(), "/peerjs", "peerjs"];
    args.extend(more);
    node(script, &args)
}

#[test]
fn peerjs_gets_ids_keeps_them_and_hears_who_is_not_there() {
    let seen = run("peerjs_broker.mjs", &broker(""), &["refused"]);
    assert_eq!(seen["taken"]["error"], "unavailable-id", "{seen:#}");
    assert_eq!(seen["absent"]["error"], "peer-unavailable", "{seen:#}");
}

#[test]
fn peerjs_lists_peers_where_that_is_allowed() {
    let seen = run("peerjs_broker.mjs", &broker("[[peerjs.mount]]\nallow_discovery = true\n"), &["allowed"]);
    assert!(seen["list"]["list"].as_array().is_some_and(|list| list.len() >= 3), "{seen:#}");
}

/// Lines 16, 17, 18 and 22: directly, and with Portico as the peer of each.
#[test]
fn peerjs_peers_exchange_every_serialization() {
    for room in ["", SFU] {
        let seen = run("peerjs_data.mjs", &broker(room), &[]);
        assert_forms(&seen, 6, |reliable| json!([reliable, reliable]));
    }
}

/// What was offered for data connections reached the called side; `ordered` says which of both sides' channels keep the order.
fn assert_forms(seen: &Value, many: usize, ordered: impl Fn(bool) -> Value) {
    let forms = seen["forms"].as_array().unwrap();
    assert_eq!(forms.len(), many, "{seen:#}");
    for form in forms {
        let label = form["label"].as_str().unwrap();
        let (serialization, reliable) = label.split_once('-').unwrap();
        assert_eq!(form["ordered"], ordered(reliable == "true"), "{form:#}");
        assert_eq!((&form["serialization"], &form["peer"]), (&json!(serialization), &seen["a"]), "{form:#}");
        assert_eq!((&form["metadata"], &form["channelLabel"]), (&json!({"for": label}), &json!(label)), "{form:#}");
    }
}

/// The variant whose `json` is text. Directly its `json` and that of 1.5 do not understand each other; through Portico they do.
#[test]
fn peerjs_of_before_1_5_exchanges_with_its_successor() {
    let exchange = |versions: &str, room: &str, forms: &str| {
        let versions = format!("--versions={versions}");
        run("peerjs_data.mjs", &broker(room), &[&versions, &format!("--forms={forms}")])
    };
    // the old one's own channels are never ordered, whatever it says; Portico's are as it says
    assert_forms(&exchange("1.4.7,1.5.5", "", "binary,raw"), 4, |_| json!([false, false]));
    assert_forms(&exchange("1.4.7,1.5.5", SFU, "binary,json,raw"), 6, |reliable| json!([false, reliable]));
    assert_forms(&exchange("1.5.5,1.4.7", "", "binary,raw"), 4, |reliable| json!([reliable, reliable]));
    assert_forms(&exchange("1.5.5,1.4.7", SFU, "binary,json,raw"), 6, |reliable| json!([reliable, reliable]));
}

/// Two libraries that cannot meet by themselves, because their offers differ.
#[test]
fn in_an_sfu_room_either_library_calls_the_other() {
    let seen = run("peerjs_libraries.mjs", &broker(SFU), &[]);
    assert_eq!(seen["called"], json!(["Grüße 😀", r#"{"list":[1,"two"]}"#, 60000]), "{seen:#}");
    assert_eq!(seen["of_packed"], json!(["Grüße 😀", 60000]), "{seen:#}");
    assert_eq!(seen["raw"], json!({"serialization": "raw", "reliable": true, "ordered": true}), "{seen:#}");
    assert_eq!((&seen["of_raw"], &seen["calls"]), (&json!(["Grüße 😀", 60000]), &json!(["back"])), "{seen:#}");
    assert_eq!(seen["open"], 0, "{seen:#}");
}

/// What the guide says of messages that are too large.
#[test]
fn messages_that_are_too_large_are_kept_or_told() {
    let seen = run("peerjs_large.mjs", &broker(SFU), &["peerjs"]);
    assert_eq!(seen["binary"], json!([15 << 20, "after"]), "17 MiB in parts are not handed on, and disturb nothing: {seen:#}");
    assert_eq!(seen["json"], "message-too-big", "{seen:#}");
    for answer in [&seen["room"], &seen["simple"]] {
        assert_eq!((&answer["type"], &answer["body"]["code"]), (&json!("error"), &json!(413)), "{seen:#}");
    }
}

#[test]
fn peerjs_peers_call_each_other() {
    for room in ["", SFU] {
        let seen = run("peerjs_media.mjs", &broker(room), &[]);
        for side in ["a", "b"] {
            assert!(seen[side]["framesDecoded"].as_u64() > Some(30), "{seen:#}");
        }
    }
}

#[test]
fn in_an_sfu_room_a_call_by_id_rings() {
    let seen = run("peerjs_ring.mjs", &broker(SFU), &[]);
    assert_eq!((&seen["ring"]["peer"], &seen["ring"]["metadata"]), (&json!("of-peerjs"), &json!({"name": "Ann"})), "{seen:#}");
    assert_eq!((&seen["early"], &seen["answered"]), (&json!([]), &json!(["of-page"])), "not before it is taken: {seen:#}");
    assert_eq!((&seen["goesOn"], &seen["openAtC"]), (&json!(true), &json!(0)), "{seen:#}");
}

#[test]
fn simple_peerjs_peers_connect_with_a_heartbeat_each_millisecond() {
    let seen = run("simple_peerjs.mjs", &broker(""), &[]);
    assert_eq!(seen["absent"], "peer-unavailable", "{seen:#}");
}

/// The default broker's room, where every connection ends at Portico.
const SFU: &str = "[[room]]\nname = \"peerjs\"\ntopology = \"sfu\"\n";

/// The same with a camera.
fn sfu_with_camera() -> String {
    TEST_SOURCE.replacen("name = \"main\"", "name = \"peerjs\"\ntopology = \"sfu\"", 1)
}

/// Lines 19 and 22.
#[test]
fn peerjs_peers_meet_in_an_sfu_room() {
    let seen = run("peerjs_room.mjs", &broker(&sfu_with_camera()), &["peerjs"]);
    assert_eq!(seen["alone"].as_array().map(Vec::len), Some(1), "{seen:#}");
    for side in ["a", "b"] {
        assert_eq!(seen[side].as_array().map(Vec::len), Some(2), "the room's picture and the other's, once each: {seen:#}");
    }
}

#[test]
fn peerjs_data_connections_with_the_room_open() {
    for room in ["", &sfu_with_camera()] {
        let seen = run("peerjs_room_data.mjs", &broker(room), &["peerjs"]);
        for form in seen["forms"].as_array().unwrap() {
            assert_eq!(form["ordered"], form["label"].as_str().unwrap().ends_with("true"), "{form:#}");
        }
        assert_eq!(seen["open"], 5, "{seen:#}");
    }
}

#[test]
fn brokers_listen_on_ports_of_their_own() {
    // the ports that the system gives are in the log
    let listener = "[[listener]]\ndialect = \"{}\"\nlisten = \"127.0.0.1:0\"\n";
    let config = ["peerjs", "liberdus"].map(|dialect| listener.replace("{}", dialect)).concat();
    let mut gateway = broker(&config);
    let mut base = |dialect: &str| {
        let line = gateway.wait_log(&format!("dialect=\"{dialect}\""));
        let port = line.split("listen=127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a port");
        format!("http://127.0.0.1:{port}")
    };
    let (peerjs, liberdus) = (base("peerjs"), base("liberdus"));
    node("simple_peerjs.mjs", &[&peerjs, "/", "peerjs"]);
    node("simple_peerjs.mjs", &[&liberdus, "/liberdus-peer", "liberdus"]);
}

#[test]
fn the_liberdus_profile_is_a_broker_of_its_own() {
    let gateway = broker("[[peerjs.mount]]\n[[peerjs.mount]]\nprofile = \"liberdus\"\n");
    node("simple_peerjs.mjs", &[&gateway.base, "/liberdus-peer", "liberdus"]);
}

#[test]
fn a_brokers_duties_are_kept_message_by_message() {
    run("suite_peerjs.mjs", &broker(""), &["refused"]);
    run("suite_peerjs.mjs", &broker("[[peerjs.mount]]\nallow_discovery = true\n"), &["allowed"]);
}

/// Lines 1 and 2 of the checklist, without the setting that lets every page in.
#[tokio::test]
async fn http_gives_ids_and_lists() {
    let gateway = Gateway::start(
        r#"
        [[peerjs.mount]]
        [[peerjs.mount]]
        profile = "liberdus"
        allow_discovery = true
        nodes = true
        [[peerjs.mount.node]]
        external_ip = "192.0.2.1"
        external_port = 6000
        public_key = "k1"
        "#,
    );
    let get = async |path: &str| {
        let request = http().get(format!("{}{path}", gateway.base)).header(ORIGIN, "https://elsewhere.example");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{path}");
        response
    };
    let mut ids = Vec::new();
    for path in ["/peerjs/peerjs/id?ts=1", "/peerjs/peerjs/id?ts=1", "/peerjs/wrong/id"] {
        let response = get(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://elsewhere.example");
        ids.push(response.text().await.unwrap());
    }
    assert!(ids.iter().all(|id| id.len() == 36) && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    for path in ["/peerjs/peerjs/peers", "/peerjs/liberdus/peers", "/liberdus-peer/peerjs/peers"] {
        let response = get(path).await;
        assert_eq!(response.status(), 401, "{path}");
        assert!(response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).is_none(), "who is there is not for every page");
        assert_eq!(response.text().await.unwrap(), "Unauthorized");
    }
    assert_eq!(get("/liberdus-peer/liberdus/peers").await.json::<Value>().await.unwrap(), json!([]));
    assert_eq!(get("/peerjs/nodes").await.status(), 404);
    let node = json!({"externalIp": "192.0.2.1", "externalPort": 6000, "publicKey": "k1", "peerId": "liberdus"});
    assert_eq!(get("/liberdus-peer/nodes").await.json::<Value>().await.unwrap(), json!([{"nodeInfo": node}]));
}

/// Line 12, with a short time.
#[tokio::test]
async fn a_client_without_heartbeats_is_closed_and_one_with_them_stays() {
    let gateway = Gateway::start("[peerjs]\nalive_timeout = \"2s\"\n");
    let url = |id: &str| format!("{}/peerjs/peerjs?key=peerjs&id={id}&token=t", gateway.base.replace("http", "ws"));
    let (mut quiet, _) = connect_async(url("quiet")).await.expect("connected");
    let (mut lively, _) = connect_async(url("lively")).await.expect("connected");
    for client in [&mut quiet, &mut lively] {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text(r#"{"type":"OPEN"}"#));
    }
    let beats = async {
        loop {
            lively.send(Message::text(r#"{"type":"HEARTBEAT"}"#)).await.expect("still open");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let end = tokio::select! {
        () = beats => unreachable!("heartbeats go on"),
        end = timeout(PATIENCE, quiet.next()) => end.expect("closed in time"),
    };
    assert!(matches!(end, Some(Ok(Message::Close(None)))), "{end:?}");
    lively.send(Message::text(r#"{"type":"OFFER","dst":"lively","payload":1}"#)).await.expect("still open");
    let heard = timeout(PATIENCE, lively.next()).await.expect("in time").unwrap().unwrap();
    assert_eq!(heard, Message::text(r#"{"type":"OFFER","src":"lively","dst":"lively","payload":1}"#));
}

/// Line 11: 100 clients, 1000 heartbeats a second in all; nobody is answered, and nobody closed.
#[tokio::test]
async fn a_thousand_heartbeats_a_second_are_not_answered() {
    let gateway = Gateway::start("[peerjs]\nalive_timeout = \"30s\"\n");
    let base = gateway.base.replace("http", "ws");
    let mut clients = Vec::new();
    for n in 0..100 {
        let (mut client, _) = connect_async(format!("{base}/peerjs/peerjs?key=peerjs&id=c{n}&token=t")).await.expect("connected");
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text(r#"{"type":"OPEN"}"#));
        clients.push(client);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..50 {
        ticks.tick().await;
        for client in &mut clients {
            client.send(Message::text(r#"{"type":"HEARTBEAT"}"#)).await.expect("open");
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        // the next thing each hears is its own offer
        let offer = format!(r#"{{"type":"OFFER","dst":"c{n}","payload":1}}"#);
        client.send(Message::text(offer)).await.expect("open");
        let heard = timeout(PATIENCE, client.next()).await.expect("in time").unwrap().unwrap();
        assert_eq!(heard, Message::text(format!(r#"{{"type":"OFFER","src":"c{n}","dst":"c{n}","payload":1}}"#)));
    }
}
