//! Pictures of streams by a running gateway. Those of publishers and films are looked at where their clients and codecs are tested.

mod support;

use portico::ops::access::{Access, AccessConfig, TokenRequest};
use portico::vocab::{Right, RoomPattern};
use serde_json::Value;
use support::{Gateway, TEST_SOURCE, fetch, http, jpeg, read};

const PICTURE: &str = "/api/v1/rooms/main/streams/test/snapshot.jpg";

#[test]
fn a_source_that_nobody_watches_is_opened_for_its_picture_and_closes_after_it() {
    let gateway = Gateway::start(&format!("{TEST_SOURCE}\n[sources]\nlinger = \"200ms\"\n"));
    let at = |path: &str| format!("{}{path}", gateway.base);
    let (status, body) = fetch(&at(PICTURE));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let seen = jpeg::see(&body);
    assert!((seen.width, seen.height) == (640, 360) && seen.colours > 16, "{seen:?}");
    let seen = jpeg::see(&fetch(&at(&format!("{PICTURE}?width=320"))).1);
    assert_eq!((seen.width, seen.height), (320, 180), "{seen:?}");

    for (path, code) in [
        ("/api/v1/rooms/main/streams/nope/snapshot.jpg", "unknown_stream"),
        ("/api/v1/rooms/nope/streams/test/snapshot.jpg", "unknown_room"),
        (&format!("{PICTURE}?member={}", "ab".repeat(16)), "unknown_stream"),
    ] {
        let (status, body) = fetch(&at(path));
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((status, body["code"].as_str()), (404, Some(code)), "{path}");
    }
    // its own member has it
    let streams: Value = serde_json::from_str(&read(&at("/api/v1/streams"))).expect("JSON");
    let member = streams[0]["member"].as_str().expect("the source is a member");
    assert_eq!(fetch(&at(&format!("{PICTURE}?member={member}"))).0, 200);

    let metrics = read(&at("/metrics"));
    assert!(metrics.contains("portico_snapshots_total{result=\"no_key_frame\"} 0"), "{metrics}");
    assert!(!metrics.contains("portico_snapshots_total{result=\"made\"} 0"), "{metrics}");
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let sources: Value = serde_json::from_str(&read(&at("/api/v1/sources"))).expect("JSON");
        if sources[0]["state"] == "idle" {
            assert_eq!(sources[0]["viewers"], 0);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{sources:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(gateway.terminate().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_watch_sees_nothing_and_opens_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").expect("it is written");
    let gateway = Gateway::start(&format!("{TEST_SOURCE}\n[access]\ntoken_secret_file = \"{}\"\n", secret.display()));
    let access = AccessConfig { token_secret_file: Some(secret), ..Default::default() };
    let access = Access::new(&access, false).expect("the secret is good");
    let now = std::time::SystemTime::now();
    let token = |right: Right| {
        let request = TokenRequest {
            rooms: RoomPattern::any(),
            rights: [right].into_iter().collect(),
            expires: None,
            subject: "u1".into(),
            user_id: None,
        };
        access.sign(&request, now).expect("there is a secret")
    };
    let ask = async |token: &str| {
        let request = http().get(format!("{}{PICTURE}", gateway.base)).bearer_auth(token);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(ask(&token(Right::Publish)).await, 403);
    assert_eq!(ask("nonsense").await, 401);
    let request = http().get(format!("{}/api/v1/sources", gateway.base)).bearer_auth(token(Right::Subscribe));
    let sources: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(sources[0]["state"], "idle", "{sources:#}");
    assert_eq!(ask(&token(Right::Subscribe)).await, 200);
}
