//! Cameras that compress their pictures themselves: the driver `v4l2loopback`, which shows to those who capture what another program
//! writes. What is written is known, so what arrives can be judged. Such a camera has no USB or PCI parent and so no link that stays: it is
//! chosen by its name.
//!
//! Unlike a real camera it takes its buffers back when it needs them, so that there must be many; and it lets several programs capture.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::picture::{Picture, decode};
use crate::support::Gateway;
use crate::whep::{Frame, Viewer, get};
use crate::{holds, only_user, portico, run, said, text, until};

/// The driver with one camera of each kind, until this is dropped.
struct Loopback;

impl Loopback {
    fn new() -> Self {
        let load = run(
            "modprobe",
            &[
                "v4l2loopback",
                "devices=2",
                // a camera only while somebody feeds it
                "exclusive_caps=1,1",
                "max_buffers=32",
                "video_nr=40,41",
                "card_label=mjpeg camera,h264 camera",
            ],
        );
        assert!(load.status.success(), "{}", said(&load));
        let loaded = Self;
        until("udev has made the nodes", || CAMERAS.iter().all(|camera| Path::new(camera.node).exists()));
        loaded
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // who captured may still be closing it
        for _ in 0..100 {
            if run("modprobe", &["-r", "v4l2loopback"]).status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        eprintln!("v4l2loopback is not unloaded");
    }
}

/// A camera of the driver, and how it is fed.
struct Camera {
    name: &'static str,
    node: &'static str,
    /// As `portico devices --json` tells it.
    pixel: &'static str,
    /// GStreamer elements that compress a raw picture.
    encoder: &'static str,
}

const MJPEG: Camera = Camera {
    name: "mjpeg camera",
    node: "/dev/video40",
    pixel: "mjpeg",
    // v4l2sink of 1.22 takes no JPEG that does not say this of itself
    encoder: "jpegenc ! capssetter replace=true \
              caps=image/jpeg,parsed=(boolean)true,width=320,height=180,framerate=10/1,colorimetry=(string)2:4:7:1",
};

/// A key frame every 2 s, with its parameter sets, as the cameras there are do.
const H264: Camera = Camera {
    name: "h264 camera",
    node: "/dev/video41",
    pixel: "h264",
    encoder: "x264enc speed-preset=ultrafast tune=zerolatency bitrate=300 key-int-max=20 ! \
              h264parse config-interval=-1 ! \
              video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline",
};

const CAMERAS: [Camera; 2] = [MJPEG, H264];

/// A program that feeds a camera, until it is dropped.
struct Feeder(Child);

impl Feeder {
    fn new(camera: &Camera, pattern: &str) -> Self {
        // the driver tells 30 a second, unless it is told
        let rate = run("v4l2-ctl", &["-d", camera.node, "--set-output-parm", "10"]);
        assert!(rate.status.success(), "{}", said(&rate));
        let pipeline = format!(
            "-q videotestsrc is-live=true pattern={pattern} ! video/x-raw,format=I420,width=320,height=180,framerate=10/1 ! \
             {} ! v4l2sink sync=false device={}",
            camera.encoder, camera.node
        );
        let words: Vec<&str> = pipeline.split_whitespace().collect();
        let child = Command::new("gst-launch-1.0").args(words).stdout(Stdio::null()).spawn().expect("gst-launch-1.0 runs");
        let mut fed = Self(child);
        until("the camera is there", || {
            assert!(fed.0.try_wait().is_ok_and(|ended| ended.is_none()), "what feeds the camera has ended");
            listed(camera).is_some()
        });
        fed
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listed(camera: &Camera) -> Option<Value> {
    let output = portico(&["devices", "--cameras", "--json"]);
    let devices: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let cameras = devices["cameras"].as_array().expect("a list of cameras");
    cameras.iter().find(|it| it["name"] == camera.name).cloned()
}

fn config(camera: &Camera) -> String {
    // long enough for this machine to open a camera; a camera that goes silent is noticed after it
    format!(
        "[sources]\nlinger = '1s'\nopen_limit = '12s'\n[[room]]\nname = 'main'\nsources = ['camera']\n[[source]]\nname = 'camera'\n\
         type = 'v4l2'\ndevice = 'name:{}'\nwidth = 320\nheight = 180\nframerate = 10\nbitrate = 500000\n",
        camera.name
    )
}

/// The source as the API shows it.
fn source(gateway: &Gateway) -> Value {
    get(&gateway.base, "/api/v1/sources").json()[0].clone()
}

/// Whether the process has buffers of the camera mapped, which it does while it captures.
fn captures(gateway: &Gateway, camera: &Camera) -> bool {
    std::fs::read_to_string(format!("/proc/{}/maps", gateway.pid())).expect("the gateway runs").contains(camera.node)
}

/// The top of `videotestsrc pattern=smpte`: white, yellow, cyan, green, magenta, red, blue.
fn assert_shows_smpte(picture: &Picture) {
    assert_eq!((picture.width, picture.height), (320, 180));
    let bars = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1)];
    assert_eq!(seen(picture, 7, 60), bars);
}

fn assert_shows_green(picture: &Picture) {
    assert_eq!(seen(picture, 3, 90), [(0, 1, 0); 3]);
}

/// What is bright in the middle of so many columns at a height.
fn seen(picture: &Picture, columns: usize, y: usize) -> Vec<(u8, u8, u8)> {
    let bright = |value: u8| u8::from(value > 100);
    let middles = (0..columns).map(|column| (2 * column + 1) * picture.width / (2 * columns));
    middles.map(|x| picture.pixel(x, y)).map(|(r, g, b)| (bright(r), bright(g), bright(b))).collect()
}

/// Joins; what comes begins with a key frame and can all be decoded.
fn watch(gateway: &Gateway, count: usize) -> (Viewer, Vec<Frame>, Vec<Picture>) {
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/main/camera");
    let frames = viewer.take(count);
    assert!(frames[0].is_key(), "the first frame has NAL units {:?}", frames[0].types());
    let pictures = decode(&frames);
    assert_eq!(pictures.len(), frames.len(), "every frame can be decoded");
    (viewer, frames, pictures)
}

/// It is listed with its one mode, by the name that chooses it; and taken only while it is watched.
fn assert_listed_and_closed(camera: &Camera, gateway: &Gateway) {
    let found = listed(camera).expect("it is fed");
    let mode = json!({ "pixel": camera.pixel, "width": 320, "height": 180, "framerates": [[10, 1]] });
    assert_eq!((&found["driver"], &found["stable"], &found["modes"]), (&"v4l2 loopback".into(), &Value::Null, &json!([mode])));
    let shown = portico(&["devices", "--cameras"]);
    assert!(text(&shown.stdout).contains(&format!("device  name:{}\n", camera.name)), "{}", said(&shown));
    until("the camera is closed while nobody has watched", || !holds(gateway.pid(), Path::new(camera.node)));
}

/// The feeder of a watched camera ends, another begins with another picture: the viewer's goes on.
fn feeder_stops_and_returns(camera: &Camera, mut gateway: Gateway, feeder: Feeder, viewer: &Viewer) {
    drop(feeder);
    let line = gateway.wait_log("source failed");
    assert!(line.contains("no picture within"), "{line}");
    let refused = Viewer::try_join(&gateway.base, "/whep/main/camera").err().expect("there is no camera now");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"source_failed".into()));
    assert!(listed(camera).is_none() && !captures(&gateway, camera));
    viewer.forget();

    let _feeder = Feeder::new(camera, "green");
    gateway.wait_log("source runs again");
    let frames = viewer.take(10);
    assert!(frames[0].is_key(), "the first frame has NAL units {:?}", frames[0].types());
    assert_shows_green(decode(&frames).last().expect("pictures"));
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "needs the driver v4l2loopback of the test VM: make test-board"]
fn mjpeg_camera_is_decoded_once_for_all_viewers_and_survives_its_feeder() {
    let _camera = only_user();
    let _driver = Loopback::new();
    let feeder = Feeder::new(&MJPEG, "smpte");
    let gateway = Gateway::start(&config(&MJPEG));
    assert_listed_and_closed(&MJPEG, &gateway);

    let (first, _, pictures) = watch(&gateway, 12);
    assert_shows_smpte(pictures.last().expect("twelve of them"));
    assert!(captures(&gateway, &MJPEG));
    let (second, _, pictures) = watch(&gateway, 3);
    assert_shows_smpte(pictures.last().expect("three of them"));
    let now = source(&gateway);
    assert_eq!((&now["viewers"], &now["encoders"], &now["decoders"]), (&json!(2), &json!(1), &json!(["jpegdec"])), "{now:#}");
    first.leave();
    second.leave();
    until("the camera is closed", || source(&gateway)["state"] == "idle" && !captures(&gateway, &MJPEG));
    // its pipeline is taken apart after that
    until("nothing decodes", || source(&gateway)["decoders"] == json!([]));

    let (viewer, ..) = watch(&gateway, 3);
    feeder_stops_and_returns(&MJPEG, gateway, feeder, &viewer);
}

#[test]
#[ignore = "needs the driver v4l2loopback of the test VM: make test-board"]
fn h264_camera_is_passed_on_without_encoder_and_survives_its_feeder() {
    let _camera = only_user();
    let _driver = Loopback::new();
    let feeder = Feeder::new(&H264, "smpte");
    let gateway = Gateway::start(&config(&H264));
    assert_listed_and_closed(&H264, &gateway);

    // past the camera's next key frame, in case the first was its very first
    let (first, frames, pictures) = watch(&gateway, 25);
    assert_shows_smpte(&pictures[0]);
    assert_shows_smpte(pictures.last().expect("25 of them"));
    assert!(captures(&gateway, &H264));
    // A camera cannot be asked for a key frame: who comes later gets what came since the last one, so begins with a picture that the
    // first has seen.
    let (second, later, pictures) = watch(&gateway, 3);
    assert_shows_smpte(pictures.last().expect("three of them"));
    let key = &later[0].units;
    // the first may have more to tell than what was taken of it
    let shared = frames.iter().any(|frame| frame.units == *key) || (0..100).any(|_| first.frame().units == *key);
    assert!(shared, "the second viewer begins with a key frame of its own");
    let now = source(&gateway);
    let path = &now["paths"][0];
    assert_eq!((&now["viewers"], &now["encoders"], &now["decoders"]), (&json!(2), &json!(0), &json!([])), "{now:#}");
    assert_eq!((&path["path"], &path["codec"], path.get("encoder")), (&"repacketise".into(), &"H264".into(), None), "{now:#}");
    first.leave();
    second.leave();
    until("the camera is closed", || source(&gateway)["state"] == "idle" && !captures(&gateway, &H264));

    let (viewer, ..) = watch(&gateway, 3);
    feeder_stops_and_returns(&H264, gateway, feeder, &viewer);
}
