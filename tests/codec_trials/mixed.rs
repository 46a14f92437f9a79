//! A mixed room on a board that has a compositor of its own.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::standins::standins;
use super::support::{Gateway, PATIENCE, fetch, jpeg, read};
use super::whep::Viewer;

/// What a Jetson's file says of its compositor and converter, and software for the rest: pictures can be looked at.
const BOARD: &str = r#"
description = "A compositor and nothing else"
convert = ["nvvidconv"]
[[compose]]
element = "nvcompositor"
hardware = true
upload = "nvvidconv"
input_caps = "video/x-raw(memory:NVMM),format=RGBA"
output_caps = "video/x-raw(memory:NVMM),format=RGBA"
download = "queue ! nvvidconv ! queue"
"#;

const HALL: &str = r#"
[[room]]
name = "hall"
topology = "mcu"
sources = ["red", "green"]
mix = { width = 320, height = 180, framerate = 25 }
[[source]]
name = "red"
type = "test"
pattern = "red"
width = 320
height = 180
framerate = 25
[[source]]
name = "green"
type = "test"
pattern = "green"
width = 320
height = 180
framerate = 25
"#;

fn gateway(quirks: &str, state: &Path) -> Gateway {
    let boards = state.join("boards");
    std::fs::create_dir_all(&boards).unwrap();
    std::fs::write(boards.join("composes.toml"), BOARD).unwrap();
    let config = format!("{HALL}\n[sources]\nboard = \"composes\"\nboard_dir = {boards:?}\nlinger = \"10m\"\n");
    let mut environment = standins().environment(quirks).to_vec();
    environment.push(("STATE_DIRECTORY", state.display().to_string()));
    Gateway::start_in(&config, &[], &environment)
}

/// The mix as the API shows it.
fn mix(gateway: &Gateway) -> Value {
    let sources: Value = serde_json::from_str(&read(&format!("{}/api/v1/sources", gateway.base))).unwrap();
    let mix = sources.as_array().unwrap().iter().find(|source| source["source"] == "mix:hall").cloned();
    mix.unwrap_or_else(|| panic!("{sources:#}"))
}

/// Waits until red is seen on the left and green on the right.
fn both_are_seen(gateway: &Gateway) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let (status, body) = fetch(&format!("{}/api/v1/rooms/hall/streams/mix/snapshot.jpg", gateway.base));
        let seen = (status == 200).then(|| jpeg::see(&body));
        let near = |seen: [u8; 3], want: [u8; 3]| seen.iter().zip(want).all(|(seen, want)| seen.abs_diff(want) < 60);
        if seen.as_ref().is_some_and(|it| near(it.halves[0], [255, 0, 0]) && near(it.halves[1], [0, 255, 0])) {
            return;
        }
        assert!(Instant::now() < limit, "{status}: {seen:?}");
    }
}

#[test]
fn a_mix_is_put_together_and_scaled_by_the_board() {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway("", state.path());
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/hall");
    viewer.take(10);
    let mix = mix(&gateway);
    assert_eq!(
        (&mix["compositor"]["element"], &mix["compositor"]["hardware"]),
        (&"nvcompositor".into(), &true.into()),
        "{mix:#}"
    );
    assert_eq!(mix["compositor"]["reason"], "put together in hardware by nvcompositor");
    gateway.wait_log("the board scales for the mix scaler=\"nvvidconv\"");
    both_are_seen(&gateway);
    viewer.leave();
    let doctor = super::doctor(&mut standins().portico("", state.path()), &["--board", "jetson-agx-orin"]);
    let row = super::row(&doctor, "compositor", "nvcompositor");
    assert_eq!((&row["state"], &row["hardware"]), (&"ready".into(), &true.into()), "{row:#}");
    assert_eq!(super::row(&doctor, "compositor", "compositor")["hardware"], false);
}

#[test]
fn a_compositor_that_does_not_start_is_passed_over() {
    let state = tempfile::tempdir().unwrap();
    let gateway = gateway("nvcompositor=refuse-size", state.path());
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/hall");
    viewer.take(10);
    let mix = mix(&gateway);
    assert_eq!(mix["compositor"]["element"], "compositor", "{mix:#}");
    let reason = mix["compositor"]["reason"].as_str().unwrap();
    assert!(reason.contains("nvcompositor does not work here: it failed: the engine is not there"), "{reason}");
    both_are_seen(&gateway);
    viewer.leave();
}

/// A viewer watches 300 pictures; the longest time between two of them, seconds of the mix's clock.
fn watched_through(quirk: &str, why: &str) -> f64 {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway(&format!("nvcompositor={quirk}"), state.path());
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/hall");
    let times: Vec<u32> = viewer.take(300).into_iter().map(|frame| frame.timestamp).collect();
    let longest = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).max().unwrap();
    let told = gateway.wait_log("a compositor fails; another takes its place");
    assert!(told.contains("nvcompositor"), "{told}");
    let mix = mix(&gateway);
    assert_eq!(
        (&mix["compositor"]["element"], &mix["state"], &mix["encoders"]),
        (&"compositor".into(), &"running".into(), &1.into())
    );
    let reason = mix["compositor"]["reason"].as_str().unwrap();
    assert!(reason.contains(why), "{reason}");
    both_are_seen(&gateway);
    // neither the mix nor what it shows was opened anew
    assert!(!gateway.log().contains("source failed") && !gateway.log().contains("source closed"), "{}", gateway.log());
    viewer.leave();
    f64::from(longest) / 90_000.0
}

#[test]
fn a_compositor_that_fails_in_use_gives_way_to_software_while_a_viewer_watches() {
    let longest = watched_through("fail-later", "nvcompositor does not work here: it failed: nvbuffer_composite Failed");
    assert!(longest < 2.0, "{longest} s without a picture");
}

#[test]
fn a_compositor_that_hangs_in_use_gives_way_as_well() {
    let longest = watched_through("hang-later", "it takes no pictures any more");
    println!("{longest} s without a picture");
}
