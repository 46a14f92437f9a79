//! A V4L2 camera, from its driver to a viewer: the kernel's virtual camera `vivid`, in the test VM that `make test-board` boots.
//!
//! Where the camera is real, so are the faults: another program holds it, it is unplugged. `board/service.rs` runs the unit file.

#[path = "support/clients.rs"]
mod clients;
#[path = "board/codecs.rs"]
mod codecs;
#[path = "board/coded.rs"]
mod coded;
#[path = "board/flat.rs"]
mod flat;
#[path = "board/links.rs"]
mod links;
#[path = "support/picture.rs"]
mod picture;
#[path = "board/plug.rs"]
mod plug;
#[path = "board/service.rs"]
mod service;
#[path = "board/sound.rs"]
mod sound;
mod support;
#[path = "board/vivid.rs"]
mod vivid;
#[path = "support/whep.rs"]
mod whep;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use picture::{Picture, decode};
use serde_json::Value;
use support::{Gateway, PATIENCE};
use vivid::Unplugged;
use whep::{Viewer, get};

const PORTICO: &str = env!("CARGO_BIN_EXE_portico");

/// There is one camera: one test at a time.
fn only_user() -> MutexGuard<'static, ()> {
    static CAMERA: Mutex<()> = Mutex::new(());
    CAMERA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn portico(arguments: &[&str]) -> Output {
    Command::new(PORTICO).args(arguments).output().expect("portico runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// The camera as `portico devices --json` shows it.
fn camera() -> Value {
    let output = portico(&["devices", "--cameras", "--json"]);
    let devices: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let cameras = devices["cameras"].as_array().expect("a list of cameras");
    cameras.iter().find(|camera| camera["driver"] == "vivid").unwrap_or_else(|| panic!("no vivid in {devices:#}")).clone()
}

/// Its name that stays, for `device`.
fn stable(camera: &Value) -> String {
    camera["stable"].as_str().unwrap_or_else(|| panic!("no stable name: {camera:#}")).to_owned()
}

fn node(camera: &Value) -> PathBuf {
    camera["node"].as_str().expect("a node").into()
}

/// Small and slow pictures, and patience: the VM's processor is emulated.
fn config(sources: &[(&str, &str)]) -> String {
    let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
    let mut text = format!(
        "[sources]\nlinger = '1s'\nopen_limit = '60s'\n[[room]]\nname = 'main'\nsources = {:?}\n",
        [&names[..], &["other"]].concat()
    );
    for (name, device) in sources {
        text += &format!(
            "[[source]]\nname = '{name}'\ntype = 'v4l2'\ndevice = '{device}'\nwidth = 320\nheight = 180\nframerate = 10\nbitrate = 500000\n"
        );
    }
    text + "[[source]]\nname = 'other'\ntype = 'test'\nwidth = 160\nheight = 120\nframerate = 5\ntone = 0\nbitrate = 200000\n"
}

/// Whether the process has the node open now.
fn holds(pid: u32, node: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { panic!("the gateway is gone") };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == node))
}

fn until(what: &str, mut fits: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < limit, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Another program that takes three pictures from the camera.
fn other_program_captures(node: &Path) -> Output {
    let device = format!("device={}", node.display());
    let pipeline = ["-q", "v4l2src", &device, "num-buffers=3", "!", "video/x-raw,width=320,height=180", "!", "fakesink"];
    Command::new("gst-launch-1.0").args(pipeline).output().expect("gst-launch-1.0 runs")
}

/// Another program that holds the camera until it is dropped.
struct Holder(Child);

impl Holder {
    fn new(node: &Path) -> Self {
        let device = format!("device={}", node.display());
        let pipeline = ["-q", "v4l2src", &device, "!", "video/x-raw,width=320,height=180,framerate=10/1", "!", "fdsink"];
        let mut child =
            Command::new("gst-launch-1.0").args(pipeline).stdout(Stdio::piped()).spawn().expect("gst-launch-1.0 runs");
        // it streams once a byte of a picture is there; nobody reads on, so it waits with the camera in its hands
        let mut first = [0];
        child.stdout.as_mut().expect("stdout is piped").read_exact(&mut first).expect("the other program gets a picture");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The colour bars that vivid shows: white, yellow, cyan, green, magenta, red, blue, black. Looked at in the lower half, where
/// the driver writes no text.
fn assert_shows_the_bars(picture: &Picture) {
    assert_eq!((picture.width, picture.height), (320, 180));
    let bars = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)];
    let seen: Vec<_> = (0..8).map(|bar| picture.pixel(bar * 40 + 20, 150)).collect();
    let bright = |value: u8| u8::from(value > 100);
    assert_eq!(seen.iter().map(|(r, g, b)| (bright(*r), bright(*g), bright(*b))).collect::<Vec<_>>(), bars, "{seen:?}");
}

/// Joins and checks what it sees: a key frame first, then frames in order, and in them the camera's picture.
fn watch(base: &str, path: &str) -> Viewer {
    let viewer = Viewer::join_when_ready(base, path);
    let frames = viewer.take(12);
    assert!(frames[0].is_key(), "the first frame has NAL units {:?}", frames[0].types());
    let steps: Vec<i32> = frames.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32).collect();
    assert!(steps.iter().all(|step| *step > 0), "{steps:?}");
    let pictures = decode(&frames);
    assert_eq!(pictures.len(), frames.len(), "every frame can be decoded");
    assert_shows_the_bars(pictures.last().expect("twelve of them"));
    viewer
}

fn healthy(gateway: &Gateway) {
    assert_eq!(get(&gateway.base, "/healthz").status, 200);
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn camera_is_listed_and_its_number_is_refused() {
    let _camera = only_user();
    let camera = camera();
    assert!(stable(&camera).starts_with("/dev/v4l/by-path/"), "{camera:#}");
    assert_eq!(camera["name"], "vivid");
    let modes = camera["modes"].as_array().expect("modes");
    let small = modes.iter().find(|mode| mode["width"] == 320 && mode["height"] == 180 && mode["pixel"]["raw"] == "YUYV");
    let rates = &small.unwrap_or_else(|| panic!("no 320x180 in {camera:#}"))["framerates"];
    assert!(rates.as_array().is_some_and(|rates| rates.contains(&serde_json::json!([10, 1]))), "{rates}");
    let shown = portico(&["devices", "--cameras"]);
    assert!(text(&shown.stdout).contains(&format!("device  {}", stable(&camera))), "{}", said(&shown));

    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("portico.toml");
    let check = |device: &str| {
        std::fs::write(&file, config(&[("camera", device)])).expect("the configuration is written");
        portico(&["check", "--json", "--config", file.to_str().expect("UTF-8")])
    };
    for good in [stable(&camera).as_str(), "name:vivid", "any"] {
        let output = check(good);
        assert_eq!(output.status.code(), Some(0), "{good}: {}", said(&output));
    }
    let numbered = node(&camera);
    let output = check(numbered.to_str().expect("UTF-8"));
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problem = &outcome["problems"][0];
    assert_eq!((&problem["key"], &problem["place"]["line"]), (&"source[0].device".into(), &10.into()), "{outcome:#}");
    let message = problem["message"].as_str().expect("a message");
    assert!(message.contains("names a camera by its number, which changes from boot to boot"), "{message}");
    assert!(problem["help"].as_str().is_some_and(|help| help.contains("/dev/v4l/by-path")), "{outcome:#}");
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn every_name_gives_the_camera_which_is_open_only_while_watched() {
    let _camera = only_user();
    let camera = camera();
    let (link, node) = (stable(&camera), node(&camera));
    let gateway = Gateway::start(&config(&[("link", &link), ("name", "name:VIVID"), ("any", "any")]));
    // at start the gateway's GStreamer looks into every node for codecs, once
    until("the camera is closed while nobody has watched", || !holds(gateway.pid(), &node));
    for name in ["link", "name", "any", "link"] {
        let viewer = watch(&gateway.base, &format!("/whep/main/{name}"));
        assert!(holds(gateway.pid(), &node), "{name} is watched");
        let refused = other_program_captures(&node);
        assert!(!refused.status.success() && said(&refused).contains("busy"), "{}", said(&refused));
        viewer.forget();
        viewer.take(3);
        viewer.leave();
        // Free for others, that is. Debian 12's v4l2src (1.22.0) keeps an idle descriptor of each run for good.
        until("the camera is free", || other_program_captures(&node).status.success());
    }
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn viewers_of_one_camera_share_it_and_its_encoder() {
    let _camera = only_user();
    let gateway = Gateway::start(&config(&[("camera", "any")]));
    let first = watch(&gateway.base, "/whep/main/camera");
    let second = watch(&gateway.base, "/whep/main/camera");
    let sources = get(&gateway.base, "/api/v1/sources").json();
    let camera = sources.as_array().and_then(|all| all.iter().find(|source| source["source"] == "camera"));
    let camera = camera.unwrap_or_else(|| panic!("{sources:#}"));
    assert_eq!((&camera["state"], &camera["viewers"], &camera["encoders"]), (&"running".into(), &2.into(), &1.into()));
    first.leave();
    second.forget();
    second.take(5);
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn camera_in_use_by_another_program_is_refused_and_harms_nobody() {
    let _camera = only_user();
    let camera = camera();
    let holder = Holder::new(&node(&camera));
    let mut gateway = Gateway::start(&config(&[("camera", &stable(&camera))]));
    let other = Viewer::join(&gateway.base, "/whep/main/other");
    let refused = match Viewer::try_join(&gateway.base, "/whep/main/camera") {
        Err(refused) => refused,
        Ok(_) => panic!("a taken camera is played"),
    };
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.json()["code"], "source_failed");
    assert!(refused.header("retry-after").is_some());
    let line = gateway.wait_log("in use by another program");
    assert!(line.contains("camera") && line.contains(&stable(&camera)), "{line}");

    healthy(&gateway);
    other.forget();
    other.take(5);
    drop(holder);
    watch(&gateway.base, "/whep/main/camera").leave();
}

#[test]
#[ignore = "needs the vivid camera of the test VM: make test-board"]
fn camera_unplugged_while_watched_comes_back() {
    let _camera = only_user();
    let camera = camera();
    let link = stable(&camera);
    let mut gateway = Gateway::start(&config(&[("camera", &link)]));
    let viewer = watch(&gateway.base, "/whep/main/camera");

    let unplugged = Unplugged::new();
    let line = gateway.wait_log("source failed");
    assert!(line.contains("camera"), "{line}");
    until("udev takes the link away", || !Path::new(&link).exists());
    let refused = Viewer::try_join(&gateway.base, "/whep/main/camera").err().expect("there is no camera now");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"source_failed".into()));
    healthy(&gateway);
    viewer.forget();

    drop(unplugged);
    until("udev makes the link", || Path::new(&link).exists());
    gateway.wait_log("source runs again");
    // the same connection goes on, from a key frame
    let frames = viewer.take(10);
    assert!(frames[0].is_key(), "the first frame has NAL units {:?}", frames[0].types());
    assert_shows_the_bars(decode(&frames).last().expect("pictures"));
    watch(&gateway.base, "/whep/main/camera").leave();
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program} does not run: {error}"))
}
