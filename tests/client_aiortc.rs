//! aiortc, an independent WebRTC stack in Python, plays and publishes by WHEP and WHIP.

mod support;

use support::{Gateway, TEST_SOURCE, aiortc};

#[test]
fn aiortc_plays_the_test_source() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = aiortc("aiortc_play.py", &[&format!("{}/whep/main", gateway.base)]);
    assert!(seen["video"].as_u64() >= Some(30) && seen["audio"].as_u64() >= Some(30), "{seen:#}");
    assert_eq!(seen["size"], serde_json::json!([640, 360]));
    assert!(seen["changes"].as_u64() > Some(10), "the picture stands still: {seen:#}");
    assert!(seen["loudest"].as_u64() > Some(1000), "no tone: {seen:#}");
    assert_eq!(seen["deleted"], 200);
}

#[test]
fn aiortc_publishes_and_sees_itself() {
    let gateway = Gateway::start("");
    let seen = aiortc("aiortc_publish.py", &[&gateway.base, "garden"]);
    assert!(seen["video"].as_u64() >= Some(20) && seen["audio"].as_u64() >= Some(20), "{seen:#}");
    assert_eq!(seen["size"], serde_json::json!([320, 240]));
    assert!(seen["brightest"].as_u64() > Some(200), "{seen:#}");
    assert_eq!(seen["deleted"], 200);
}
