//! The gateway with stand-ins: it tries its board's codecs by itself, and sources run by what was found.

use std::os::unix::process::ExitStatusExt;

use portico::media::probe::prober::Usage;
use serde_json::Value;

use super::standins::standins;
use super::support::{Gateway, TEST_SOURCE, fetch, jpeg, read};

const PICTURE: &str = "/api/v1/rooms/main/streams/test/snapshot.jpg";

/// A gateway on a board, with a test picture.
fn gateway(board: &str, quirks: &str, state: &std::path::Path) -> Gateway {
    let standins = standins();
    let config =
        format!("{TEST_SOURCE}\n[sources]\nboard = \"{board}\"\nboard_dir = {:?}\nlinger = \"10m\"\n", standins.boards());
    let mut environment = standins.environment(quirks).to_vec();
    environment.push(("STATE_DIRECTORY", state.display().to_string()));
    Gateway::start_in(&config, &[], &environment)
}

/// A picture through the board's own encoder and decoder; the encoder in use and why.
fn played(gateway: &Gateway) -> (String, String) {
    let (status, body) = fetch(&format!("{}{PICTURE}", gateway.base));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let seen = jpeg::see(&body);
    assert_eq!((seen.width, seen.height), (640, 360));
    let sources: Value = serde_json::from_str(&read(&format!("{}/api/v1/sources", gateway.base))).unwrap();
    let paths = sources[0]["paths"].as_array().unwrap();
    let path = paths.iter().find(|path| path["codec"] == "H264").unwrap_or_else(|| panic!("{sources:#}"));
    (path["encoder"].as_str().unwrap().into(), path["reason"].as_str().unwrap().into())
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
        let gateway = gateway(board, "", state.path());
        assert_eq!(played(&gateway).0, encoder, "{board}");
    }
}

#[test]
fn a_codec_that_ends_the_gateway_before_its_trial_ends_it_once() {
    let state = tempfile::tempdir().unwrap();
    let quirks = "vpuenc_h264=crash-at-open";
    // somebody watches before anything was tried
    let claim = Usage::of(state.path()).claim().unwrap();
    let mut first = gateway("imx8mm", quirks, state.path());
    let url = format!("{}{PICTURE}", first.base);
    let viewer = std::thread::spawn(move || fetch(&url));
    assert_eq!(first.wait_end().signal(), Some(6));
    assert!(viewer.join().is_err(), "there was nobody to answer");
    drop(claim);
    let second = gateway("imx8mm", quirks, state.path());
    assert_eq!(played(&second).0, "imxvpuenc_h264");
}

#[test]
fn the_gateway_tries_its_codecs_while_nobody_watches_and_outlives_those_that_crash() {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway("imx8mm", "vpuenc_h264=crash-at-open;imxvpuenc_h264=headers-once", state.path());
    let refused = gateway.wait_log("it is passed over");
    assert!(refused.contains("vpuenc_h264") && refused.contains("it crashed"), "{refused}");
    gateway.wait_log("it works");
    let (encoder, reason) = played(&gateway);
    assert_eq!(encoder, "imxvpuenc_h264");
    assert!(reason.contains("vpuenc_h264 does not work here: its trial found: it crashed"), "{reason}");
    // asked before the gateway's end: its codecs are in use
    let doctor = standins().portico("", state.path()).args(["doctor", "--probe"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(69), "{}", String::from_utf8_lossy(&doctor.stdout));
    assert!(String::from_utf8_lossy(&doctor.stderr).contains("codecs are in use"));
    assert!(gateway.terminate().0.success());
}
