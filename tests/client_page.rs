//! The built-in page in headless Chromium, driven as a visitor would.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Gateway, PATIENCE, TEST_SOURCE, node};

#[test]
fn a_visitor_sees_and_hears_the_test_source_with_its_figures() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("page_watch.mjs", &[&gateway.base]);
    assert_eq!(seen["muted"], true, "autoplay is silent: {seen:#}");
    assert!(seen["figures"]["frames"].as_u64() >= Some(100), "{seen:#}");
    assert!(seen["figures"]["audioEnergy"].as_f64() > Some(0.0), "{seen:#}");
    assert_eq!(seen["size"], serde_json::json!([640, 360]), "{seen:#}");
    assert!(seen["codec"].as_str().is_some_and(|codec| codec.starts_with("640×360 · ")), "{seen:#}");
    assert_ne!(seen["path"], "", "{seen:#}");
    assert_eq!(seen["drawn"], serde_json::json!([true, true, true, true]), "{seen:#}");
    assert_eq!(seen["tapGone"], true, "{seen:#}");
    assert_eq!(seen["address"], "#room=main", "{seen:#}");
}

#[test]
fn two_visitors_meet_mute_change_devices_and_part() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("page_meet.mjs", &[&gateway.base]);
    for (visitor, other) in [("anna", "Ben"), ("ben", "Anna")] {
        for name in [other, "test"] {
            let figures = &seen[visitor][name];
            assert!(figures["frames"].as_u64() >= Some(60), "{visitor} and {name}: {seen:#}");
            assert!(figures["audioEnergy"].as_f64() > Some(0.0), "{visitor} and {name}: {seen:#}");
        }
    }
    assert_eq!(seen["mirrored"], "-1 1", "{seen:#}");
    assert_eq!(
        seen["layers"],
        serde_json::json!([["q", "h", "f"], ["q", "h", "f"]]),
        "wide cameras are sent in three sizes: {seen:#}"
    );
    assert_eq!(seen["people"], "2 people", "{seen:#}");
    assert_eq!(seen["lamp"], 0, "a muted camera is closed: {seen:#}");
    assert_eq!(seen["told"], "Ben left", "{seen:#}");
    assert_eq!(seen["backAtList"], true, "{seen:#}");
    // of the first source, not of Anna
    assert_eq!(seen["preview"], serde_json::json!([320, 180]), "{seen:#}");
}

#[test]
fn two_visitors_and_a_peerjs_client_chat() {
    let gateway =
        Gateway::start(&format!("{TEST_SOURCE}\n[http]\nallowed_origins = [\"*\"]\n[[peerjs.mount]]\nkey = \"main\"\n"));
    let seen = node("page_chat.mjs", &[&gateway.base, "main"]);
    assert_eq!(seen["focus"], "chat-text", "{seen:#}");
    assert_eq!(seen["notice"], "Anna: hello all", "{seen:#}");
    assert_eq!((&seen["label"], &seen["unread"]), (&"Chat, 1 new message".into(), &false.into()), "{seen:#}");
    assert_eq!((&seen["images"], &seen["title"]), (&0.into(), &"main – Portico".into()), "text is no HTML: {seen:#}");
    let at_carl: Vec<&str> = seen["atCarl"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
    assert_eq!(at_carl.iter().filter(|text| !text.starts_with("line")).count(), 3, "each once: {seen:#}");
    assert!(at_carl.contains(&"hello all") && at_carl.contains(&"bye"), "{seen:#}");
    assert_eq!((&seen["kept"], &seen["first"]), (&200.into(), &serde_json::json!(["carl", "line 30"])), "{seen:#}");
    assert_eq!((&seen["last"], &seen["atEnd"]), (&serde_json::json!(["carl", "line 229"]), &true.into()), "{seen:#}");
    assert_eq!(seen["ben"], serde_json::json!(["Anna", "bye"]), "{seen:#}");
    assert_eq!((&seen["fieldEmpty"], &seen["closed"]), (&"".into(), &true.into()), "{seen:#}");
}

#[test]
fn a_visitor_without_a_camera_is_told_why_and_goes_on_watching() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("page_denied.mjs", &[&gateway.base]);
    let says = |what: &str, words: &str| {
        assert!(seen[what].as_str().is_some_and(|text| text.contains(words)), "{what}: {seen:#}");
    };
    says("denied", "Permission for camera and microphone was denied");
    says("none", "No camera or microphone found");
    says("taken", "Another program or tab is probably using it");
    says("insecure", "Open the https address of this gateway");
    assert_eq!(seen["own"], 0, "{seen:#}");
}

#[test]
fn a_full_room_says_so_and_lets_in_later() {
    let gateway = Gateway::start("[[room]]\nname = \"small\"\nmax_members = 1\n");
    let seen = node("page_full.mjs", &[&gateway.base]);
    assert_eq!(seen["full"], "This room is full", "{seen:#}");
    assert_eq!(seen["gone"], true, "{seen:#}");
}

#[test]
fn phones_scroll_nothing_sideways_and_reach_every_button() {
    let gateway = Gateway::start(TEST_SOURCE);
    let folder = std::env::var("PORTICO_PICTURES").unwrap_or_default();
    let seen = node("page_phone.mjs", &[&gateway.base, &folder]);
    for look in seen["seen"].as_array().expect("a list of looks") {
        assert!(look["sideways"].as_i64() <= Some(0), "{look:#}");
        assert_eq!(look["cut"], Value::Array(vec![]), "{look:#}");
        assert_eq!(look["small"], Value::Array(vec![]), "{look:#}");
        assert!(look["controlsBelow"].as_f64() <= Some(0.5), "{look:#}");
        let chats = look["where"].as_str().is_some_and(|name| name.starts_with("chat"));
        assert!(!chats || look["log"].as_f64() >= Some(70.0), "{look:#}");
    }
}

#[test]
fn a_token_is_asked_for_and_kept_out_of_addresses() {
    const SECRET: &str = "sixteen characters and more";
    let gateway = Gateway::start(&format!("{TEST_SOURCE}\n[access]\ntoken_secret = \"{SECRET}\"\n"));
    let secret = gateway.dir().join("secret");
    std::fs::write(&secret, SECRET).expect("the secret is written");
    let token = |rights: &str| {
        let made = Command::new(env!("CARGO_BIN_EXE_portico"))
            .args(["token", "--rights", rights, "--secret-file"])
            .arg(&secret)
            .output()
            .expect("portico token runs");
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).expect("a token is text").trim().to_owned()
    };
    let seen = node("page_token.mjs", &[&gateway.base, &token("publish,subscribe"), &token("subscribe")]);
    assert_eq!(seen["list"], "This gateway needs a token", "{seen:#}");
    assert_eq!(seen["room"], "This room needs a token", "{seen:#}");
    assert!(seen["refused"].as_str().is_some_and(|text| text.contains("right to publish")), "{seen:#}");
    assert!(!seen.to_string().contains("token="), "{seen:#}");
}

#[test]
fn a_failed_connection_restarts_and_the_picture_goes_on() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("page_ice.mjs", &[&gateway.base]);
    assert_eq!(seen["connections"], serde_json::json!(["connected", "connected", "connected"]), "{seen:#}");
}

#[test]
fn visitors_come_back_after_a_restart_of_the_gateway() {
    let gateway = Gateway::start(TEST_SOURCE);
    let (base, flag) = (gateway.base.clone(), gateway.dir().join("live"));
    let listen = base.trim_start_matches("http://").to_owned();
    std::thread::scope(|scope| {
        let shown = flag.clone();
        let visitors = scope.spawn(move || node("page_restart.mjs", &[&base, shown.to_str().expect("a plain path")]));
        let start = Instant::now();
        while !flag.exists() {
            assert!(!visitors.is_finished() && start.elapsed() < PATIENCE, "the visitors never were live");
            std::thread::sleep(Duration::from_millis(50));
        }
        let (status, _) = gateway.terminate();
        assert!(status.success(), "{status}");
        let _again = Gateway::start_with(TEST_SOURCE, &["--listen", &listen]);
        let seen = visitors.join().expect("the visitors came back");
        let lost = seen["lost"].as_str().unwrap_or_default();
        assert!(lost.contains("restarting") || lost.contains("Connection lost"), "{seen:#}");
    });
}

#[test]
#[ignore = "writes docs/images/room.png, the picture of the README"]
fn picture_of_a_room() {
    let gateway = Gateway::start(TEST_SOURCE);
    let picture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/room.png");
    std::fs::create_dir_all(picture.parent().expect("a folder")).expect("the folder is made");
    node("page_picture.mjs", &[&gateway.base, picture.to_str().expect("a plain path")]);
    let bytes = std::fs::metadata(&picture).expect("the picture").len();
    assert!(bytes <= 400_000, "{bytes} bytes");
}
