//! What a camera's plug can do, while somebody watches: it comes back under another number; it is gone though its node stays; its stream dies.

use std::path::Path;

use crate::picture::decode;
use crate::support::Gateway;
use crate::vivid::Unplugged;
use crate::whep::Viewer;
use crate::{assert_shows_the_bars, camera, config, holds, node, only_user, run, said, stable, until, watch};

/// Sets a control of the driver that plays a fault.
fn play_fault(node: &Path, control: &str) {
    let output = run("v4l2-ctl", &["-d", node.to_str().expect("UTF-8"), "-c", control]);
    assert!(output.status.success(), "{}", said(&output));
}

/// The same connection has the camera's picture again, from a key frame.
fn goes_on(viewer: &Viewer) {
    let frames = viewer.take(10);
    let first = frames.iter().position(crate::whep::Frame::is_key).expect("a key frame");
    assert_shows_the_bars(decode(&frames[first..]).last().expect("pictures"));
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn camera_that_returns_under_another_number_is_the_same() {
    let _camera = only_user();
    let before = camera();
    let link = stable(&before);
    let mut gateway = Gateway::start(&config(&[("camera", &link)]));
    let viewer = watch(&gateway.base, "/whep/main/camera");
    // whoever has the old node open keeps its number taken
    let holder = std::fs::File::open(node(&before)).expect("the node opens");
    let unplugged = Unplugged::new();
    gateway.wait_log("source failed");
    until("udev takes the link away", || !Path::new(&link).exists());
    viewer.forget();
    drop(unplugged);
    until("udev makes the link", || Path::new(&link).exists());
    gateway.wait_log("source runs again");
    goes_on(&viewer);
    let after = camera();
    assert_eq!(stable(&after), link);
    assert_ne!(node(&after), node(&before));
    assert!(holds(gateway.pid(), &node(&after)));
    drop(holder);
    // the next test finds it as it was
    drop(gateway);
    drop(Unplugged::new());
    until("udev makes the link", || Path::new(&link).exists());
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn camera_that_is_gone_though_its_node_stays_comes_back() {
    let _camera = only_user();
    let before = camera();
    let link = stable(&before);
    let mut gateway = Gateway::start(&config(&[("camera", &link)]));
    let viewer = watch(&gateway.base, "/whep/main/camera");
    play_fault(&node(&before), "disconnect=1");
    gateway.wait_log("source failed");
    assert!(node(&before).exists());
    viewer.forget();
    // only its driver's plug brings it back
    drop(Unplugged::new());
    until("udev makes the link", || Path::new(&link).exists());
    gateway.wait_log("source runs again");
    goes_on(&viewer);
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn camera_whose_stream_dies_is_opened_again() {
    let _camera = only_user();
    let before = camera();
    let mut gateway = Gateway::start(&config(&[("camera", &stable(&before))]));
    let viewer = watch(&gateway.base, "/whep/main/camera");
    play_fault(&node(&before), "inject_fatal_streaming_error=1");
    gateway.wait_log("source failed");
    viewer.forget();
    gateway.wait_log("source runs again");
    goes_on(&viewer);
    assert_eq!(node(&camera()), node(&before));
}
