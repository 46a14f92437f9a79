//! Codecs behind V4L2 drivers, really: `vicodec`, a stateful encoder, and `visl`, a stateless decoder. What they make nobody can watch:
//! FWHT is no codec of viewers, and `visl` paints colour bars whatever it is given. That they are tried, used and passed over is real.

use std::path::Path;
use std::time::Duration;

use portico::media::board::Board;
use portico::media::probe::child::Runner;
use portico::media::probe::{Ending, Trial};
use portico::vocab::Codec;

use crate::picture::decode;
use crate::support::Gateway;
use crate::whep::{Viewer, get};
use crate::{PORTICO, only_user, run, said, until};

/// A board of this machine: `v4l2fwhtenc` stands where an encoder of VP8 would, since no viewer's codec has a virtual encoder.
const BOARD: &str = r#"
description = "The test VM"

[[encoder]]
codec = "VP8"
element = "v4l2fwhtenc"
hardware = true
input_caps = "video/x-raw,format=I420"
output_caps = ""
bitrate = { property = "extra-controls", field = "video_bitrate", unit = "bps" }

[[decoder]]
input = "H264"
element = "v4l2slh264dec"
hardware = true

[[decoder]]
input = "VP8"
element = "v4l2slvp8dec"
hardware = true
"#;

/// The drivers, until this is dropped. Their nodes are there for this test alone: who looks for cameras must not meet them elsewhere.
struct Drivers;

impl Drivers {
    fn load() -> Self {
        for driver in ["vicodec", "visl"] {
            let load = run("modprobe", &[driver]);
            assert!(load.status.success(), "{}", said(&load));
        }
        let loaded = Self;
        let settled = run("udevadm", &["settle", "-t", "30"]);
        assert!(settled.status.success(), "{}", said(&settled));
        loaded
    }
}

impl Drop for Drivers {
    fn drop(&mut self) {
        for driver in ["vicodec", "visl"] {
            let removed = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(100));
                run("modprobe", &["-r", driver]).status.success()
            });
            if !removed {
                eprintln!("{driver} is not unloaded");
            }
        }
    }
}

/// A film of one colour.
fn film(path: &Path, colour: &str, coder: &str) {
    let pipeline = format!(
        "-q videotestsrc num-buffers=30 pattern={colour} ! video/x-raw,format=I420,width=320,height=180,framerate=10/1 ! {coder} ! \
         filesink location={}",
        path.display()
    );
    let made = run("gst-launch-1.0", &pipeline.split_whitespace().collect::<Vec<_>>());
    assert!(made.status.success(), "{}", said(&made));
}

/// The elements that decode now, for whatever source.
fn decoders(gateway: &Gateway) -> Vec<String> {
    let sources = get(&gateway.base, "/api/v1/sources").json();
    let sources = sources.as_array().expect("a list of sources").iter();
    let elements = sources.flat_map(|source| source["decoders"].as_array().expect("a list of decoders").clone());
    elements.map(|element| element.as_str().expect("a name").to_owned()).collect()
}

/// How many of the eight bright colours there are in a picture's middle.
fn colours(viewer: &Viewer) -> usize {
    let frames = viewer.take(10);
    let start = frames.iter().position(|frame| frame.is_key()).unwrap_or_default();
    let pictures = decode(&frames[start..]);
    let picture = pictures.last().expect("pictures");
    let bright = |value: u8| value > 100;
    let mut seen: Vec<_> = (0..picture.width)
        .map(|x| picture.pixel(x, picture.height / 2))
        .map(|(r, g, b)| (bright(r), bright(g), bright(b)))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

#[test]
#[ignore = "needs the drivers vicodec and visl of the test VM: make test-board"]
fn drivers_are_tried_and_what_works_decodes_for_a_mix_and_a_transcode() {
    let _only = only_user();
    let _drivers = Drivers::load();
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("testvm.toml"), BOARD).expect("the board file is written");
    let [h264, vp8] = ["green.mkv", "blue.webm"].map(|name| dir.path().join(name));
    film(
        &h264,
        "green",
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! video/x-h264,profile=constrained-baseline ! h264parse ! matroskamux",
    );
    film(&vp8, "blue", "vp8enc deadline=1 cpu-used=16 keyframe-max-dist=10 ! webmmux");
    // a mix decodes the green film's H264; viewers who take H264 only have the blue film's VP8 transcoded
    let config = format!(
        "[sources]\nlinger = '1s'\nopen_limit = '60s'\nboard = 'testvm'\nboard_dir = {:?}\n\
         [[room]]\nname = 'green'\ntopology = 'mcu'\nsources = ['leaf']\nmix = {{ width = 320, height = 180, framerate = 5 }}\n\
         [[room]]\nname = 'blue'\nsources = ['film']\n\
         [[source]]\nname = 'leaf'\ntype = 'file'\npath = {h264:?}\n[[source]]\nname = 'film'\ntype = 'file'\npath = {vp8:?}\n",
        dir.path()
    );
    let state = ("STATE_DIRECTORY", dir.path().display().to_string());
    let mut gateway = Gateway::start_in(&config, &[], &[state]);
    // at the size of the trial the driver gives no buffers: it costs the candidate and nothing else
    let line = gateway.wait_log("codec tried: it is passed over element=\"v4l2fwhtenc\"");
    assert!(line.contains("Failed to allocate required memory"), "{line}");
    gateway.wait_log("codec tried: it works element=\"v4l2slh264dec\"");
    gateway.wait_log("codec tried: it works element=\"v4l2slvp8dec\"");

    for (path, element) in [("green", "v4l2slh264dec"), ("blue/film", "v4l2slvp8dec")] {
        let viewer = Viewer::join_when_ready(&gateway.base, &format!("/whep/{path}"));
        until("the driver decodes, and nothing else does", || decoders(&gateway) == [element]);
        // what went in has one colour; the driver paints bars
        until("its bars are seen", || colours(&viewer) >= 5);
        viewer.leave();
        until("it decodes no more", || decoders(&gateway).is_empty());
    }
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

/// The one size at which GStreamer 1.22 and the driver agree.
#[test]
#[ignore = "needs the driver vicodec of the test VM: make test-board"]
fn trial_runs_frames_through_a_drivers_encoder() {
    let _only = only_user();
    let _drivers = Drivers::load();
    let mut candidate = Board::generic().encoders_of(Codec::VP8).next().expect("an encoder of VP8").clone();
    candidate.element = "v4l2fwhtenc".into();
    candidate.hardware = true;
    candidate.properties.clear();
    candidate.output_caps.clear();
    let trial =
        |size| Trial::Encoder { candidate: Box::new(candidate.clone()), convert: "videoconvert".into(), size: Some(size) };
    let runner = Runner { deadline: Duration::from_secs(60), ..Runner::of(Path::new(PORTICO)) };
    match runner.run(&trial((1280, 720)), &|| false) {
        Ending::Told(seen) => assert_eq!((seen.entered, seen.left, &seen.error), (15, 15, &None), "{seen:?}"),
        other => panic!("{other:?}"),
    }
    match runner.run(&trial((640, 360)), &|| false) {
        Ending::Told(seen) => assert!(seen.left == 0 && seen.error.is_some(), "{seen:?}"),
        other => panic!("{other:?}"),
    }
    // nothing comes of a trial that is killed, and the driver serves the next one
    let hasty = Runner { deadline: Duration::from_millis(100), ..runner.clone() };
    assert_eq!(hasty.run(&trial((1280, 720)), &|| false), Ending::Hung(0));
    match runner.run(&trial((1280, 720)), &|| false) {
        Ending::Told(seen) => assert_eq!((seen.entered, seen.left), (15, 15), "{seen:?}"),
        other => panic!("{other:?}"),
    }
}
