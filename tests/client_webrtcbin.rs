//! GStreamer's webrtcbin, which knows only AES_CM for SRTP, plays by WHEP.

mod support;

use support::{Gateway, TEST_SOURCE, system_python};

#[test]
fn webrtcbin_plays_the_test_source() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = system_python("webrtcbin_play.py", &[&format!("{}/whep/main", gateway.base)]);
    assert!(seen["video"].as_u64() >= Some(30) && seen["audio"].as_u64() >= Some(30), "{seen:#}");
}
