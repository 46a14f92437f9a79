//! Codecs that fail in the middle, at a gateway that somebody watches.

use serde_json::Value;

use super::gateway::{gateway, tried};
use super::support::{Gateway, read};
use super::whep::Viewer;

/// The test source as the API shows it.
pub fn source(gateway: &Gateway) -> Value {
    let sources: Value = serde_json::from_str(&read(&format!("{}/api/v1/sources", gateway.base))).unwrap();
    sources[0].clone()
}

fn encoder(gateway: &Gateway) -> String {
    let source = source(gateway);
    let path = source["paths"].as_array().unwrap().iter().find(|path| path["codec"] == "H264").cloned();
    path.unwrap_or_else(|| panic!("{source:#}"))["encoder"].as_str().unwrap().to_owned()
}

/// A viewer watches 240 pictures; the longest time between two of them, seconds of the source's clock.
fn watched_through(quirk: &str) -> f64 {
    let state = tempfile::tempdir().unwrap();
    let mut gateway = gateway("raspberry-pi-4", &format!("v4l2h264enc={quirk}"), state.path());
    tried(&mut gateway, "v4l2h264enc");
    let viewer = Viewer::join(&gateway.base, "/whep/main/test");
    assert_eq!(encoder(&gateway), "v4l2h264enc");
    let mut times = vec![viewer.frame().timestamp];
    let mut keys = Vec::new();
    while times.len() < 240 {
        let frame = viewer.frame();
        if frame.is_key() {
            keys.push(times.len());
        }
        times.push(frame.timestamp);
    }
    let steps: Vec<u32> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let (at, longest) = steps.iter().enumerate().max_by_key(|(_, step)| **step).unwrap();
    assert!(keys.contains(&(at + 1)), "the next encoder begins with a key frame: {keys:?}, after {at}");
    let told = gateway.wait_log("codec failed; another takes its place");
    assert!(told.contains("v4l2h264enc"), "{told}");
    assert_eq!(encoder(&gateway), "x264enc");
    let source = source(&gateway);
    assert_eq!((&source["state"], &source["encoders"], &source["error"]), (&"running".into(), &1.into(), &Value::Null));
    // the camera was open all the time
    assert!(!gateway.log().contains("source failed") && !gateway.log().contains("source closed"));
    viewer.leave();
    f64::from(*longest) / 90_000.0
}

#[test]
fn a_codec_that_fails_in_use_is_replaced_within_two_seconds() {
    let longest = watched_through("fail-later");
    assert!(longest < 2.0, "{longest} s without a picture");
}

#[test]
fn a_codec_that_hangs_in_use_is_replaced() {
    // 1.25 s of silence, 0.3 s for it to stop; how long the machine lets the next one wait is another matter
    println!("{} s without a picture", watched_through("hang-later"));
}
