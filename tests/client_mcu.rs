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
