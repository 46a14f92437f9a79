//! The gateway with stand-ins: it tries its board's codecs by itself, and sources run by what was found.

use std::time::Instant;

use serde_json::Value;

use super::standins::standins;
use super::support::{Gateway, PATIENCE, TEST_SOURCE, fetch, jpeg, read};
use super::whep::Viewer;

const TEST_SOURCE_FULL_HD: &str = r#"
[[room]]
name = "main"
sources = ["large"]

[[source]]
name = "large"
type = "test"
width = 1920
height = 1080
framerate = 5
"#;

const PICTURE: &str = "/api/v1/rooms/main/streams/test/snapshot.jpg";

/// A gateway on a board, with a test picture.
pub fn gateway(board: &str, quirks: &str, state: &std::path::Path) -> Gateway {
    gateway_with(board, quirks, state, "", &[])
}

/// The same with more configuration and environment.
pub fn gateway_with(
    board: &str,
    quirks: &str,
    state: &std::path::Path,
    more: &str,
    environment: &[(&'static str, String)],
) -> Gateway {
    gateway_of(TEST_SOURCE, board, quirks, state, more, environment)
}

fn gateway_of(
    sources: &str,
    board: &str,
    quirks: &str,
    state: &std::path::Path,
    more: &str,
    environment: &[(&'static str, String)],
) -> Gateway {
    let standins = standins();
    let boards = standins.boards();
    let config = format!("{sources}\n[sources]\nboard = \"{board}\"\nboard_dir = {boards:?}\nlinger = \"10m\"\n{more}");
    let mut all = standins.environment(quirks).to_vec();
    all.push(("STATE_DIRECTORY", state.display().to_string()));
    all.extend_from_slice(environment);
    Gateway::start_in(&config, &[], &all)
}

/// A picture through the board's own encoder and decoder; the encoder in use and why.
fn played(gateway: &Gateway) -> (String, String) {
    let (status, body) = fetch(&format!("{}{PICTURE}", gateway.base));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let seen = jpeg::see(&body);
    assert_eq!((seen.width, seen.height), (640, 360));
    in_use(gateway)
}

/// The encoder in use and why.
fn in_use(gateway: &Gateway) -> (String, String) {
    let sources: Value = serde_json::from_str(&read(&format!("{}/api/v1/sources", gateway.base))).unwrap();
    let paths = sources[0]["paths"].as_array().unwrap();
    let path = paths.iter().find(|path| path["codec"] == "H264").unwrap_or_else(|| panic!("{sources:#}"));
    (path["encoder"].as_str().unwrap().into(), path["reason"].as_str().unwrap().into())
}

/// Waits until an element has passed its trial: until then it is not used.
pub fn tried(gateway: &mut Gateway, element: &str) {
    gateway.wait_log(&format!("codec tried: it works element=\"{element}\""));
}

#[test]
fn boards_run_by_their_own_elements() {
    for (board, encoder) in [
        ("raspberry-pi-4", "v4l2h264enc"),
        ("raspberry-pi-5", "x264enc"),
        ("jetson-agx-orin", "nvv4l2h264enc"),
        ("rk3588", "mpph264enc"),
        ("imx8mp", "vpuenc_h264"),
        ("intel", "vah264lpenc"),
        ("nvidia", "nvh264enc"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let mut gateway = gateway(board, "", state.path());
        if encoder != "x264enc" {
            tried(&mut gateway, encoder);
        }
        assert_eq!(played(&gateway).0, encoder, "{board}");
    }
}

#[test]
fn an_untried_codec_waits_and_the_plan_changes_when_its_verdict_is_in() {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway("rk3588", "", state.path());
    // a join waits for no trial
    let viewer = Viewer::join(&gateway.base, "/whep/main/test");
    let (encoder, reason) = in_use(&gateway);
    assert_eq!(encoder, "x264enc");
    assert!(reason.contains("mpph264enc") && reason.contains("it is tried first"), "{reason}");
    tried(&mut gateway, "mpph264enc");
    gateway.wait_log("moves to a better encoder");
    // the same connection goes on, from a key frame of the other encoder: a stand-in's pictures are small and equal
    viewer.forget();
    while !viewer.frame().is_key() {}
    let until = Instant::now() + PATIENCE;
    while in_use(&gateway).0 != "mpph264enc" {
        assert!(Instant::now() < until);
    }
    viewer.take(30);
    viewer.leave();
    // what is known is used at once by the next start
    drop(gateway);
    let again = super::gateway::gateway("rk3588", "", state.path());
    assert_eq!(played(&again).0, "mpph264enc");
}

#[test]
fn a_codec_that_fails_at_full_hd_is_used_for_smaller_pictures_only() {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway_of(TEST_SOURCE_FULL_HD, "rk3588", "mpph264enc=refuse-large", state.path(), "", &[]);
    tried(&mut gateway, "mpph264enc");
    let viewer = Viewer::join(&gateway.base, "/whep/main/large");
    let (encoder, reason) = in_use(&gateway);
    assert_eq!(encoder, "x264enc");
    assert!(reason.contains("mpph264enc") && reason.contains("it carries 1280x720"), "{reason}");
    viewer.leave();
}

#[test]
fn the_gateway_tries_its_codecs_while_nobody_watches_and_outlives_those_that_crash() {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway("imx8mm", "vpuenc_h264=crash-at-open;imxvpuenc_h264=headers-once", state.path());
    let refused = gateway.wait_log("it is passed over");
    assert!(refused.contains("vpuenc_h264") && refused.contains("it crashed"), "{refused}");
    tried(&mut gateway, "imxvpuenc_h264");
    let (encoder, reason) = played(&gateway);
    assert_eq!(encoder, "imxvpuenc_h264");
    assert!(reason.contains("vpuenc_h264 does not work here: its trial found: it crashed"), "{reason}");
    // asked before the gateway's end: its codecs are in use
    let doctor = standins().portico("", state.path()).args(["doctor", "--probe"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(69), "{}", String::from_utf8_lossy(&doctor.stdout));
    assert!(String::from_utf8_lossy(&doctor.stderr).contains("codecs are in use"));
    assert!(gateway.terminate().0.success());
}
