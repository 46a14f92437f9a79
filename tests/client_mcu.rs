//! A mixed room, with pages of a genuine Chromium as publishers and viewers.

mod support;

use support::{Gateway, node};

const ROOM: &str = r#"
[[room]]
name = "hall"
topology = "mcu"
mix = { width = 640, height = 360, framerate = 10 }
"#;

/// Who sees and hears what is waited for in the script; it says what does not come.
#[test]
fn four_publish_three_watch_and_each_sees_all_and_hears_the_others() {
    let gateway = Gateway::start(ROOM);
    let seen = node("mcu.mjs", &[&gateway.base, "hall"]);
    assert_eq!(seen["before"]["state"], "idle", "nothing is mixed while nobody watches: {seen:#}");
    // in the sizes that the viewers' ways ask for: on a busy machine they may be several
    assert_eq!((seen["mix"]["paths"].as_array().map(Vec::len), &seen["mix"]["viewers"]), (Some(2), &3.into()), "{seen:#}");
    assert!(seen["mix"]["encoders"].as_u64().is_some_and(|encoders| (1..=3).contains(&encoders)), "{seen:#}");
    for viewer in ["red", "green"] {
        let others = seen["shown"][viewer].as_array().expect("the others");
        let of_mix = others.iter().filter(|other| other["name"] == "mix" && other["streams"] == serde_json::json!(["mix"]));
        assert_eq!((others.len(), of_mix.count()), (4, 1), "everybody, and the mix alone with a stream: {seen:#}");
        assert_eq!(seen["figures"][viewer]["state"], "connected", "{seen:#}");
    }
    assert_eq!(seen["layout"]["now"], serde_json::json!({"layout": "speaker"}), "{seen:#}");
    assert_eq!((&seen["layout"]["status"], &seen["layout"]["refused"]), (&200.into(), &400.into()), "{seen:#}");
    assert_eq!((&seen["idle"]["encoders"], &seen["idle"]["viewers"]), (&0.into(), &0.into()), "{seen:#}");
}

/// Who is there all the time, and a room that nothing happens in.
const STAYING: &str = r#"
[[room]]
name = "hall"
topology = "mcu"
sources = ["green", "blue"]
mix = { width = 640, height = 360, framerate = 25 }
[[room]]
name = "plain"
sources = ["plain"]
[[source]]
name = "green"
type = "test"
pattern = "green"
width = 320
height = 180
framerate = 10
[[source]]
name = "blue"
type = "test"
pattern = "blue"
width = 320
height = 180
framerate = 10
[[source]]
name = "plain"
type = "test"
width = 160
height = 90
framerate = 25
"#;

/// As a viewer's browser shows it, by the RTP time of the pictures. Who stays is seen in each, and neither the pictures nor what moves in
/// them pause for more than 100 ms. On a busy machine everything pauses now and then: that counts only where the plain picture does not.
#[test]
fn nobody_stalls_or_blackens_the_others() {
    let gateway = Gateway::start(STAYING);
    let seen = node("mcu_stall.mjs", &[&gateway.base, "hall", "plain"]);
    for what in ["join", "turn", "freeze", "thaw", "leave"] {
        let found = &seen["best"][what];
        assert_eq!(found["black"], 0, "{what}: {seen:#}");
        assert!(found["smooth"].as_u64() > Some(0) || found["stalled"] == 0, "{what}: {seen:#}");
    }
}

#[test]
fn visitors_of_the_page_see_one_picture_and_choose_its_layout() {
    let gateway = Gateway::start(ROOM);
    let seen = node("page_mixed.mjs", &[&gateway.base, "hall"]);
    assert_eq!(seen["tiles"].as_array().map(Vec::len), Some(2), "the mix and the own picture: {seen:#}");
    // the whole picture, or a smaller one where the machine is busy
    let side = |at: usize| seen["size"][at].as_u64().unwrap_or_default();
    assert!(side(0) >= 160 && side(0) * 9 == side(1) * 16, "{seen:#}");
    for visitor in ["anna", "ben"] {
        assert!(seen[visitor]["audioEnergy"].as_f64() > Some(0.0), "the other is heard: {seen:#}");
    }
    assert_eq!(seen["people"], "3 people", "the mix is none: {seen:#}");
    let here = seen["here"].as_str().unwrap_or_default();
    assert!(here.starts_with("Here: ") && here.contains("Anna") && here.contains("Ben"), "{seen:#}");
}

/// A room for every dialect; PeerJS clients name none, theirs is configured.
fn with_client(client: &str, more: &str) -> serde_json::Value {
    let config = format!("[http]\nallowed_origins = [\"*\"]\n{more}{ROOM}[[peerjs.mount]]\nkey = \"hall\"\n");
    let gateway = Gateway::start(&config);
    node("mcu_dialects.mjs", &[&gateway.base, "hall", client])
}

#[test]
fn a_tribe_client_gets_the_mix_and_is_in_it() {
    assert_eq!(with_client("tribe", "")["members"], serde_json::json!(["mix", "page", "tribe"]));
}

#[test]
fn a_vamp_client_gets_the_mix_and_is_in_it() {
    assert_eq!(with_client("vamp", "")["members"], serde_json::json!(["mix", "page", "vamp"]));
}

#[test]
fn a_peerjs_client_gets_the_mix_and_is_in_it() {
    assert_eq!(with_client("peerjs", "")["members"], serde_json::json!(["mix", "page", "peerjs"]));
}

#[test]
fn a_whep_player_gets_the_mix() {
    let seen = with_client("whep", "");
    assert_eq!(seen["seen"].as_array().map(Vec::len), Some(1), "{seen:#}");
}

#[test]
fn a_tribe_client_that_does_not_turn_its_pictures_is_turned_where_that_is_configured() {
    assert_eq!(with_client("tribe-turned", "[tribe]\nrotate_by_orientation = true\n")["turned"], true);
}
