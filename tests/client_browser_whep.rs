//! Headless Chromium plays and publishes by WHEP and WHIP.

mod support;

use support::{Gateway, TEST_SOURCE, node};

#[test]
fn chromium_plays_the_test_source() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("whep_play.mjs", &[&gateway.base, "/whep/main"]);
    let figures = &seen["figures"];
    assert!(figures["framesDecoded"].as_u64() > Some(100), "{seen:#}");
    assert_eq!((figures["width"].as_u64(), figures["height"].as_u64()), (Some(640), Some(360)), "{seen:#}");
    assert!(figures["audioEnergy"].as_f64() > Some(0.0), "{seen:#}");
    assert!(seen["moved"].as_f64() > Some(0.2), "the clock stands still: {seen:#}");
    assert_eq!(figures["codec"], "video/H264", "{seen:#}");
    assert_eq!(figures["srtp"], "SRTP_AEAD_AES_128_GCM", "{seen:#}");
    assert_eq!(seen["deleted"], 200, "{seen:#}");
}

#[test]
fn chromium_without_h264_gets_vp8() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("whep_play.mjs", &[&gateway.base, "/whep/main/test", "VP8"]);
    assert_eq!(seen["figures"]["codec"], "video/VP8", "{seen:#}");
    assert!(seen["figures"]["framesDecoded"].as_u64() > Some(100), "{seen:#}");
}

#[test]
fn a_second_chromium_sees_and_hears_the_first() {
    for codec in ["H264", "VP8", "VP9"] {
        let gateway = Gateway::start("");
        let seen = node("whip_publish.mjs", &[&gateway.base, "yard", codec]);
        assert!(seen["figures"]["framesDecoded"].as_u64() >= Some(60), "{seen:#}");
        assert!(seen["figures"]["audioEnergy"].as_f64() > Some(0.0), "{seen:#}");
        assert_eq!(seen["figures"]["codec"], format!("video/{codec}"), "forwarded, not transcoded: {seen:#}");
        assert!(seen["moved"].as_f64() > Some(0.2), "{seen:#}");
        assert_eq!(seen["deleted"], 200, "{seen:#}");
        assert_ne!(seen["ended"], "connected", "the viewer was not told: {seen:#}");
    }
}

#[test]
fn a_chromium_that_sends_three_sizes_is_received_in_all_of_them() {
    for codec in ["VP8", "H264"] {
        let gateway = Gateway::start("");
        let seen = node("whip_simulcast.mjs", &[&gateway.base, "yard", codec]);
        let layers = seen["layers"].as_array().expect("a list");
        let rids: Vec<_> = layers.iter().map(|layer| layer["rid"].as_str().unwrap_or_default()).collect();
        assert_eq!(rids, ["q", "h", "f"], "{seen:#}");
        for layer in layers {
            assert!(layer["packets"].as_u64() > Some(50) && layer["bitrate_bps"].as_u64() > Some(0), "{seen:#}");
        }
        assert!(layers.iter().any(|layer| layer["watched"] == true), "{seen:#}");
        assert!(seen["widest"][0].as_u64() > Some(240), "the viewer leaves the smallest: {seen:#}");
        assert!(
            seen["recovered"].as_u64() >= Some(10),
            "what a lossy line loses is sent again by streams that name theirs: {seen:#}"
        );
        assert!(seen["figures"]["framesDecoded"].as_u64() >= Some(60), "{seen:#}");
        assert_eq!(seen["figures"]["codec"], seen["wanted"], "{seen:#}");
        assert_eq!(seen["deleted"], 200, "{seen:#}");
    }
}

/// What one loses never shows at the other. On a busy machine a socket may be full for a moment.
fn assert_nothing_lost_at_the_wide_line(seen: &serde_json::Value) {
    let [lost, overrun] = [&seen["still"]["wide"]["lost"], &seen["still"]["overrun"]].map(serde_json::Value::as_u64);
    assert!(lost.is_some() && lost <= overrun, "{seen:#}");
}

#[test]
fn each_viewer_gets_the_size_its_line_carries() {
    let gateway = Gateway::start("");
    let seen = node("narrow.mjs", &[&gateway.base, "yard"]);
    let width = |when: &str, who: &str| seen[when][who]["width"].as_u64().unwrap_or_default();
    assert!(width("apart", "narrow") > 0 && width("apart", "wide") >= 2 * width("apart", "narrow"), "{seen:#}");
    for moving in seen["moving"].as_array().expect("both") {
        assert!(moving["framesDecoded"].as_u64() >= Some(40), "{seen:#}");
    }
    assert_nothing_lost_at_the_wide_line(&seen);
    assert_eq!(width("together", "narrow"), width("together", "wide"), "{seen:#}");
    assert!(width("together", "narrow") > width("apart", "narrow"), "{seen:#}");
    assert_eq!(seen["deleted"], 200, "{seen:#}");
}

/// 5 % of all datagrams are lost, both ways, and each takes 100 ms, 30 ms more or less.
#[test]
fn pictures_go_on_over_bad_lines() {
    let gateway = Gateway::start(&TEST_SOURCE.replace("640", "320").replace("360", "180").replace("30", "20"));
    let seen = node("bad.mjs", &[&gateway.base, "/whep/main", "yard", "0.05"]);
    for which in ["playing", "published"] {
        let picture = &seen[which];
        assert!(picture["frames"].as_u64() >= Some(80), "{which}: {seen:#}");
        assert!(picture["part"].as_f64().is_some_and(|part| part <= 0.05), "{which} stood still: {seen:#}");
    }
    for line in seen["counts"].as_array().expect("two lines") {
        assert!(line["lost"].as_u64() >= Some(50), "the lines were good: {seen:#}");
    }
    assert!(seen["playing"]["again"].as_u64() >= Some(10), "nothing was sent again: {seen:#}");
    assert_eq!(seen["deleted"], 200, "{seen:#}");
}

#[test]
fn a_camera_is_encoded_in_the_sizes_that_its_viewers_lines_carry() {
    const SNOW: &str = "
[[source]]
name = 'snow'
type = 'test'
width = 640
height = 360
framerate = 15
pattern = 'snow'
bitrate = 1500000
[[room]]
name = 'main'
sources = ['snow']
";
    let gateway = Gateway::start(SNOW);
    let seen = node("narrow.mjs", &[&gateway.base, "main", "camera"]);
    let width = |when: &str, who: &str| seen[when][who]["width"].as_u64().unwrap_or_default();
    assert_eq!(width("apart", "wide"), 640, "{seen:#}");
    assert!([320, 160].contains(&width("apart", "narrow")), "{seen:#}");
    assert_nothing_lost_at_the_wide_line(&seen);
    assert!(seen["layers"][0].as_array().is_some_and(|layers| layers.len() >= 2), "{seen:#}");
    assert_eq!((width("together", "narrow"), width("together", "wide")), (640, 640), "{seen:#}");
    let sizes: Vec<_> = seen["layers"][1].as_array().expect("a list").iter().map(|layer| layer["size"].as_str()).collect();
    assert_eq!(sizes, [Some("full")], "what nobody needs any more ends: {seen:#}");
}

#[test]
fn where_no_udp_gets_through_it_goes_by_tcp() {
    let gateway = Gateway::start("");
    let seen = node("tcp.mjs", &[&gateway.base, "yard"]);
    assert_eq!(seen["carried"], serde_json::json!(["tcp", "tcp"]), "{seen:#}");
    assert!(seen["figures"]["framesDecoded"].as_u64() >= Some(90), "{seen:#}");
    assert!(seen["figures"]["audioEnergy"].as_f64() > Some(0.0), "{seen:#}");
    assert_eq!(seen["goodbye"], "closed", "{seen:#}");
    assert_eq!(seen["deleted"], 200, "{seen:#}");
}

#[test]
fn a_restart_by_patch_is_answered_with_new_credentials() {
    let gateway = Gateway::start("");
    let seen = node("whip_restart.mjs", &[&gateway.base, "yard"]);
    for side in ["published", "played"] {
        let restart = &seen[side];
        assert_ne!(restart["local"][0], restart["local"][1], "{seen:#}");
        assert_ne!(restart["remote"][0], restart["remote"][1], "{side}: {seen:#}");
        assert_eq!(restart["used"], restart["local"][1], "{side}: the new pair is in use: {seen:#}");
        assert!(restart["tag"].is_string(), "{seen:#}");
    }
    let frames: Vec<u64> = seen["frames"].as_array().expect("three counts").iter().filter_map(|count| count.as_u64()).collect();
    assert!(frames.len() == 3 && frames[0] + 60 <= frames[1] && frames[1] + 60 <= frames[2], "{seen:#}");
}

#[test]
fn five_viewers_cost_one_encoder() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = node("viewers.mjs", &[&gateway.base, "/whep/main", "5"]);
    for figures in seen["figures"].as_array().expect("five figures") {
        assert!(figures["framesDecoded"].as_u64() >= Some(30), "{seen:#}");
    }
    let metrics = seen["metrics"].as_str().expect("a metrics page");
    assert!(metrics.lines().any(|line| line == "portico_video_encoders 1"), "{metrics}");
    for stage in ["capture", "encode", "packetise", "send"] {
        let count = format!("portico_stage_seconds_count{{stage=\"{stage}\"}} ");
        let counted = metrics.lines().find_map(|line| line.strip_prefix(&count)).and_then(|count| count.parse::<u64>().ok());
        assert!(counted >= Some(30), "{stage}: {metrics}");
    }
    // an encoder branch brings several threads of its own; a worker of the runtime may come to life meanwhile
    let threads: Vec<u64> = seen["threadsWith"].as_array().expect("a list").iter().filter_map(|n| n.as_u64()).collect();
    assert!(threads.len() == 5 && threads[4] <= threads[0] + 1, "threads with 1 to 5 viewers: {threads:?}");
    assert_eq!(seen["sources"][0]["viewers"], 5, "{seen:#}");
    assert_eq!(seen["sources"][0]["encoders"], 1, "{seen:#}");
}
