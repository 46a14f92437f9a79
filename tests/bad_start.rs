//! What is wrong at start is said at start, precisely, and the rest keeps running.

#[path = "support/clients.rs"]
mod clients;
mod support;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use clients::*;
use gstreamer::prelude::*;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use support::Gateway;

/// Runs `portico run` to its end.
fn run(config: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portico.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    command.env_clear().env("PORTICO_TLS__STATE_DIR", dir.path()).args(["run", "--config"]).arg(&file);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    if !arguments.contains(&"--ice-port") {
        command.args(["--ice-port", "0"]);
    }
    let Output { status, stderr, .. } = command.args(arguments).output().expect("the binary runs");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

fn assert_ends(config: &str, arguments: &[&str], code: i32, parts: &[&str]) {
    let (ended, told) = run(config, arguments);
    assert_eq!(ended, Some(code), "{config} {arguments:?}: {told}");
    for part in parts {
        assert!(told.contains(part), "{part:?} in: {told}");
    }
}

#[test]
fn wrong_configuration_is_78_with_file_line_and_what_is_allowed() {
    assert_ends("[http]\nlitsen = \"127.0.0.1:1\"\n", &[], 78, &["portico.toml:2:1", "litsen", "did you mean `listen`?"]);
    assert_ends("[media]\nice_port = 70000\n", &[], 78, &["portico.toml:2:12", "ice_port", "65535"]);
    assert_ends("[rooms]\nmax_members = \"many\"\n", &[], 78, &["portico.toml:2:15", "max_members"]);
    assert_ends("[rooms\n", &[], 78, &["portico.toml:1"]);
    assert_ends("[log]\nfilter = \"info,=\"\n", &[], 78, &["portico.toml:2", "filter"]);
    assert_ends("[[room]]\nname = \"a\"\nsources = [\"none\"]\n", &[], 78, &["portico.toml:3", "none"]);
    assert_ends(
        "[[source]]\nname = \"c\"\ntype = \"v4l2\"\ndevice = \"/dev/video0\"\n",
        &[],
        78,
        &["portico.toml:4", "/dev/video0"],
    );
    assert_ends("[[source]]\nname = \"c\"\ntype = \"hologram\"\n", &[], 78, &["portico.toml:3", "hologram", "rtsp"]);
    assert_ends("[access]\ntoken_secret_file = \"/nowhere/secret\"\n", &[], 78, &["/nowhere/secret", "openssl rand"]);
}

#[test]
fn address_that_others_reach_needs_a_guard() {
    let told =
        ["0.0.0.0:0 can be reached by others, and nothing says who may do what", "token_secret_file", "anonymous", "127.0.0.1"];
    assert_ends("", &["--listen", "0.0.0.0:0"], 78, &told);
}

#[test]
fn usage_error_is_64() {
    assert_ends("", &["--lissen", "127.0.0.1:0"], 64, &["--lissen"]);
    assert_ends("", &["--ice-port", "many"], 64, &["many"]);
}

#[test]
fn listeners_are_checked_before_the_start() {
    let listener = |rest: &str| format!("[[listener]]\ndialect = \"algorea\"\n{rest}");
    assert_ends(&listener("key = \"x\"\n"), &[], 78, &["portico.toml:3", "has no key", "peerjs"]);
    assert_ends("[[listener]]\ndialect = \"peerjs\"\npath = \"peers\"\n", &[], 78, &["portico.toml:3", "a path such as"]);
    assert_ends("[[listener]]\ndialect = \"algoria\"\n", &[], 78, &["portico.toml:2", "did you mean \"algorea\"?", "sigver"]);
    let twice = listener("listen = \"127.0.0.1:3901\"\n") + &listener("listen = \"0.0.0.0:3901\"\n");
    let told = ["portico.toml:6", "0.0.0.0:3901 is taken by listener[0]", "can be reached by others"];
    assert_ends(&twice, &[], 78, &told);
    assert_ends(&listener("listen = \"127.0.0.1:3902\"\n"), &["--listen", "127.0.0.1:3902"], 78, &["is taken by http.listen"]);
}

#[test]
fn a_listeners_taken_port_is_69_and_names_the_listener() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let config = format!("[[listener]]\ndialect = \"algorea\"\nlisten = \"{address}\"\n");
    assert_ends(
        &config,
        &[],
        69,
        &["cannot listen on", &address, "listener[0], algorea", "in use", "`listen` in that [[listener]]"],
    );
}

#[test]
fn taken_port_is_69_and_names_the_address() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    assert_ends("", &["--listen", &address], 69, &["cannot listen on", &address, "another program", "in use"]);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port().to_string();
    assert_ends("", &["--ice-port", &port], 69, &["cannot bind UDP", &format!("127.0.0.1:{port}"), "in use"]);
}

#[test]
fn broken_board_file_is_78() {
    let dir = tempfile::tempdir().unwrap();
    let config = |board: &str| format!("[sources]\nboard_dir = {:?}\nboard = \"{board}\"\n", dir.path());
    assert_ends(&config("nosuchboard"), &[], 78, &["board", "nosuchboard"]);
    std::fs::write(dir.path().join("mine.toml"), "description = \"mine\"\n[[encodre]]\n").unwrap();
    assert_ends(&config("mine"), &[], 78, &["mine.toml", "encodre"]);
}

/// Two seconds of picture that browsers can take as it is.
fn make_film(path: &Path) {
    gstreamer::init().unwrap();
    let pipeline = gstreamer::parse::launch(&format!(
        "videotestsrc num-buffers=30 ! video/x-raw,width=160,height=120,framerate=15/1 ! \
         x264enc speed-preset=ultrafast key-int-max=15 bframes=0 ! video/x-h264,profile=baseline ! h264parse ! \
         matroskamux ! filesink location={}",
        path.display()
    ))
    .unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let ends = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(gstreamer::ClockTime::from_seconds(60), &ends);
    pipeline.set_state(gstreamer::State::Null).unwrap();
    assert_eq!(end.expect("an end").type_(), gstreamer::MessageType::Eos);
}

/// One source as `/api/v1/sources` shows it.
async fn source(base: &str, name: &str) -> Value {
    let sources = get(base, "/api/v1/sources").await;
    sources.as_array().unwrap().iter().find(|source| source["source"] == name).unwrap_or_else(|| panic!("{sources:#}")).clone()
}

async fn until_ready(base: &str) {
    until("ready", async || match get(base, "/readyz").await {
        answer if answer["ready"] == true => Ok(()),
        answer => Err(answer.to_string()),
    })
    .await;
}

/// What a player of a source hears that cannot be opened.
async fn assert_source_failed(base: &str, path: &str) {
    assert_not_played(base, path, 503, "source_failed").await;
}

async fn assert_not_played(base: &str, path: &str, status: u16, code: &str) {
    let offer = play_offer().await.text;
    let response = http().post(format!("{base}{path}")).header(CONTENT_TYPE, "application/sdp").body(offer).send().await.unwrap();
    assert_eq!(response.status(), status, "{path}");
    assert_eq!(response.json::<Value>().await.unwrap()["code"], code, "{path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_sources_are_named_at_start_and_the_good_one_plays() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mkv");
    let config = format!(
        r#"
[[room]]
name = "main"
sources = ["good", "camera", "film", "plaid"]
[[source]]
name = "good"
type = "test"
width = 320
height = 180
framerate = 15
[[source]]
name = "camera"
type = "v4l2"
device = "name:NoSuchCamera"
[[source]]
name = "film"
type = "file"
path = {film:?}
[[source]]
name = "plaid"
type = "test"
pattern = "plaid"
"#
    );
    let mut gateway = Gateway::start(&config);
    let base = gateway.base.clone();
    until_ready(&base).await;
    // nobody has asked for anything yet
    for (name, what, help) in [
        ("camera", "NoSuchCamera", "portico devices"),
        ("film", "film.mkv is missing", "`path`"),
        ("plaid", "no pattern `plaid`", "smpte"),
    ] {
        let line = gateway.wait_log(&format!("source={name}"));
        assert!(line.contains("WARN") && line.contains(what) && line.contains(help), "{line}");
        let shown = source(&base, name).await;
        assert!(shown["error"].as_str().unwrap_or_default().contains(what), "{shown}");
        assert_eq!(shown["state"], "idle");
    }
    assert_eq!(source(&base, "good").await["error"], Value::Null);
    let viewer = Viewer::start(&base, "/whep/main/good").await;
    for name in ["camera", "film", "plaid"] {
        assert_source_failed(&base, &format!("/whep/main/{name}")).await;
    }
    viewer.plays_on().await;

    // what comes later is played on demand, without a restart; a failed opening is not repeated within a second
    make_film(&dir.path().join("making.mkv"));
    std::fs::rename(dir.path().join("making.mkv"), &film).unwrap();
    let offer = play_offer().await.text;
    until("the film", async || {
        let post = http().post(format!("{base}/whep/main/film")).header(CONTENT_TYPE, "application/sdp").body(offer.clone());
        match post.send().await.unwrap().status().as_u16() {
            201 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    Viewer::start(&base, "/whep/main/film").await.plays_on().await;
    assert_eq!(source(&base, "film").await["error"], Value::Null);
    viewer.plays_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_that_comes_later_is_found_without_a_viewer() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mkv");
    let config = format!(
        "[[room]]\nname = \"main\"\nsources = [\"film\"]\n[[source]]\nname = \"film\"\ntype = \"file\"\npath = {film:?}\n"
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait_log("source cannot be opened");
    std::fs::write(&film, "anything").unwrap();
    gateway.wait_log("source can be opened now");
    assert_eq!(source(&gateway.base, "film").await["error"], Value::Null);
}

/// A folder with links to all plugins but those that hold these elements, and the environment that makes it the only one.
fn plugins_without(dir: &Path, elements: &[&str]) -> Vec<(&'static str, String)> {
    gstreamer::init().unwrap();
    let registry = gstreamer::Registry::get();
    let left_out: Vec<_> = elements
        .iter()
        .filter_map(|element| gstreamer::ElementFactory::find(element)?.plugin_name().map(|name| name.to_string()))
        .collect();
    assert!(!left_out.is_empty(), "none of {elements:?} is installed");
    let links = dir.join("plugins");
    std::fs::create_dir(&links).unwrap();
    for plugin in registry.plugins() {
        if let Some(file) = plugin.filename().filter(|_| !left_out.contains(&plugin.plugin_name().to_string())) {
            std::os::unix::fs::symlink(&file, links.join(file.file_name().unwrap())).unwrap();
        }
    }
    vec![
        ("GST_PLUGIN_SYSTEM_PATH_1_0", links.display().to_string()),
        ("GST_PLUGIN_PATH_1_0", String::new()),
        ("GST_REGISTRY_1_0", dir.join("registry.bin").display().to_string()),
    ]
}

/// A raw source, and a file that needs no encoder.
fn film_and_test(film: &Path) -> String {
    format!(
        "[[room]]\nname = \"main\"\nsources = [\"test\", \"film\"]\n[[source]]\nname = \"film\"\ntype = \"file\"\npath = {film:?}\n\
         [[source]]\nname = \"test\"\ntype = \"test\"\nwidth = 320\nheight = 180\nframerate = 15\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_encoders_are_named_with_their_package_and_what_needs_none_plays() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mkv");
    make_film(&film);
    let without = plugins_without(dir.path(), &["x264enc", "openh264enc", "vp8enc"]);
    let mut gateway = Gateway::start_in(&film_and_test(&film), &[], &without);
    let base = gateway.base.clone();
    let line = gateway.wait_log("source cannot be opened");
    for part in ["source=test", "x264enc is missing (Debian package gstreamer1.0-plugins-ugly)", "portico doctor"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(source(&base, "test").await["error"].as_str().unwrap().contains("gstreamer1.0-plugins-ugly"));
    let viewer = Viewer::start(&base, "/whep/main/film").await;
    assert_not_played(&base, "/whep/main/test", 422, "no_common_codec").await;
    viewer.plays_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_encoder_is_named_and_the_next_one_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mkv");
    make_film(&film);
    let mut gateway = Gateway::start_in(&film_and_test(&film), &[], &plugins_without(dir.path(), &["x264enc"]));
    let line = gateway.wait_log("source=test");
    assert!(
        line.contains("found good") && line.contains("x264enc is missing (Debian package gstreamer1.0-plugins-ugly)"),
        "{line}"
    );
    until_ready(&gateway.base).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoder_of_a_board_file_that_is_missing_is_named_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let film = dir.path().join("film.mkv");
    make_film(&film);
    let board = "description = \"a board whose encoder is not there\"\n[[encoder]]\ncodec = \"H264\"\nelement = \"bogush264enc\"\n\
                 hardware = true\ninput_caps = \"video/x-raw\"\noutput_caps = \"video/x-h264\"\n\
                 [encoder.bitrate]\nproperty = \"bitrate\"\nunit = \"bps\"\n";
    std::fs::write(dir.path().join("bogus.toml"), board).unwrap();
    let config = format!("[sources]\nboard_dir = {:?}\nboard = \"bogus\"\n{}", dir.path(), film_and_test(&film));
    let mut gateway = Gateway::start(&config);
    // every board's list ends in software
    let line = gateway.wait_log("source=test");
    assert!(line.contains("encoded in software by") && line.contains("bogush264enc is missing"), "{line}");
    Viewer::start(&gateway.base, "/whep/main/test").await.plays_on().await;
}
