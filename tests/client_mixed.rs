//! Genuine clients of several dialects in one room, beyond what the matrix looks at.

mod support;

use support::{Gateway, node};

/// One room of this topology, which PeerJS's clients reach by the key `mixed`.
fn room(topology: &str) -> String {
    format!(
        r#"
[http]
allowed_origins = ["*"]

[[room]]
name = "mixed"
topology = "{topology}"

[[peerjs.mount]]
key = "mixed"
"#
    )
}

/// Portico's first offer to a client takes what the client has to send, and carries who comes later.
#[test]
fn vamp_pages_have_picture_and_sound_both_ways_whoever_came_first() {
    let gateway = Gateway::start(&room("sfu"));
    let seen = node("vamp_media.mjs", &[&gateway.base, "mixed"]);
    assert_eq!(seen["states"][0], "connected", "{seen:#}");
}

#[test]
fn what_peerjs_offers_to_a_vamp_client_in_a_mesh_connects() {
    let gateway = Gateway::start(&room("mesh"));
    let seen = node("vamp_peerjs.mjs", &[&gateway.base, "mixed", "mixed"]);
    assert_eq!(seen["joined"].as_array().map(Vec::len), Some(3), "{seen:#}");
}

#[test]
fn a_tribe_client_has_one_connection_with_each_member() {
    let gateway = Gateway::start(&room("mesh"));
    let seen = node("tribe_peerjs.mjs", &[&gateway.base, "mixed", "mixed"]);
    assert_eq!(seen["answer"]["s"], false, "{seen:#}");
}

#[test]
fn a_peerjs_client_that_brings_no_camera_is_asked_for_it_when_it_is_called_back() {
    let gateway = Gateway::start(&room("sfu"));
    let seen = node("peerjs_back.mjs", &[&gateway.base, "mixed", "mixed"]);
    assert!(seen["both"].is_string(), "{seen:#}");
}
