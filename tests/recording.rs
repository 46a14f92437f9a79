//! Recordings by a running gateway: what is on the disk after a kill, limits, a full disk, and that nothing is encoded for them.

mod support;
#[allow(dead_code)] // shared with the tests in the VM
#[path = "support/whep.rs"]
mod whep;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use serde_json::{Value, json};
use support::{ANY_ORIGIN, Gateway, PATIENCE, TEST_SOURCE, fetch, film, http, node, read};
use whep::{Viewer, request};

/// What a file plays.
#[derive(Debug, Default)]
struct Played {
    pictures: u64,
    sounds: u64,
    /// When the last picture and the last sound end.
    picture_end: Duration,
    sound_end: Duration,
    /// What the file says of itself.
    duration: Option<Duration>,
}

/// Decodes all of a file with GStreamer's own demuxer; `seen` gets each picture as I420 and each sound as samples of 16 bits.
fn decode(path: &Path, seen: impl Fn(bool, Duration, &[u8]) + Send + Sync + 'static) -> Option<Duration> {
    gstreamer::init().expect("GStreamer starts");
    let description = format!(
        "filesrc location={} ! matroskademux name=d d.video_0 ! queue ! decodebin ! videoconvert ! video/x-raw,format=I420 ! \
         appsink name=pictures sync=false d.audio_0 ! queue ! opusdec ! audio/x-raw,format=S16LE ! appsink name=sounds sync=false",
        path.display()
    );
    let pipeline = gstreamer::parse::launch(&description).unwrap_or_else(|e| panic!("{description}: {e}"));
    let bin = pipeline.downcast_ref::<gstreamer::Bin>().expect("several elements");
    let seen = Arc::new(seen);
    for (name, is_picture) in [("pictures", true), ("sounds", false)] {
        let sink = bin.by_name(name).and_downcast::<AppSink>().expect("the appsink");
        let seen = Arc::clone(&seen);
        let take = move |sink: &AppSink| {
            let sample = sink.pull_sample().map_err(|_| gstreamer::FlowError::Eos)?;
            if let Some(buffer) = sample.buffer() {
                let time = buffer.pts().map(Duration::from).unwrap_or_default();
                seen(is_picture, time, &buffer.map_readable().expect("plain memory"));
            }
            Ok(gstreamer::FlowSuccess::Ok)
        };
        sink.set_callbacks(AppSinkCallbacks::builder().new_sample(take).build());
    }
    pipeline.set_state(gstreamer::State::Playing).unwrap_or_else(|e| panic!("{description}: {e}"));
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let ends = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
    let end = bus.timed_pop_filtered(gstreamer::ClockTime::from_seconds(60), &ends);
    let duration = pipeline.query_duration::<gstreamer::ClockTime>().map(Duration::from);
    let _ = pipeline.set_state(gstreamer::State::Null);
    let end = end.unwrap_or_else(|| panic!("{} does not end", path.display()));
    assert_eq!(end.type_(), gstreamer::MessageType::Eos, "{}: {end:?}", path.display());
    duration
}

/// Decodes all of a file.
fn play(path: &Path) -> Played {
    let played = Arc::<Mutex<Played>>::default();
    let note = Arc::clone(&played);
    let duration = decode(path, move |is_picture, time, _| {
        let mut played = note.lock().expect("no panic");
        if is_picture {
            played.pictures += 1;
            played.picture_end = played.picture_end.max(time);
        } else {
            played.sounds += 1;
            played.sound_end = played.sound_end.max(time);
        }
    });
    let mut played = std::mem::take(&mut *played.lock().expect("no panic"));
    played.duration = duration;
    played
}

fn api(gateway: &Gateway, path: &str) -> Value {
    serde_json::from_str(&read(&format!("{}{path}", gateway.base))).expect("JSON")
}

/// Waits until what the API says of recordings fits.
fn until(gateway: &Gateway, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let limit = Instant::now() + PATIENCE;
    loop {
        let said = api(gateway, "/api/v1/recordings");
        if fits(&said) {
            return said;
        }
        assert!(Instant::now() < limit, "{what}: {said:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn seconds(file: &Value) -> f64 {
    file["seconds"].as_f64().unwrap_or_default()
}

fn recording(folder: &Path, more: &str) -> String {
    format!("[recording]\ndirectory = \"{}\"\nmin_free = 0\n{more}\n", folder.display())
}

const RECORD: &str = "[[record]]\nroom = \"main\"\nstream = \"test\"\n";

fn encoders(gateway: &Gateway) -> u64 {
    let sources = api(gateway, "/api/v1/sources");
    sources.as_array().expect("a list").iter().map(|source| source["encoders"].as_u64().unwrap_or_default()).sum()
}

#[test]
fn a_kill_costs_less_than_two_seconds_and_nothing_is_encoded_for_a_recording() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = format!("{TEST_SOURCE}{}{RECORD}", recording(folder.path(), ""));
    let gateway = Gateway::start(&config);
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/main/test");
    viewer.take(5);
    let said = until(&gateway, "five seconds are recorded", |said| seconds(&said["files"][0]) >= 5.0);
    assert_eq!(encoders(&gateway), 1, "one for both");
    let running = &said["running"][0];
    assert_eq!((running["state"].as_str(), running["configured"].as_bool()), (Some("recording"), Some(true)), "{said:#}");
    assert_eq!(running["codecs"], json!(["H264", "opus"]), "{said:#}");
    let file = &said["files"][0];
    assert_eq!(file["open"], true, "{said:#}");
    let began: jiff::Timestamp = file["began"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    let lasted = SystemTime::now().duration_since(began.into()).expect("it began before");
    // SIGKILL
    drop(viewer);
    let name = file["file"].as_str().expect("a name").to_owned();
    drop(gateway);
    let path = folder.path().join("main/test").join(&name);
    let torn = std::fs::read(&path).expect("it is there");
    let played = play(&path);
    for end in [played.picture_end, played.sound_end] {
        assert!(end + Duration::from_secs(2) >= lasted, "{played:?} of {lasted:?}");
        assert!(end <= lasted + Duration::from_secs(2), "{played:?} of {lasted:?}");
    }
    assert!(played.pictures >= 100 && played.sounds >= 200, "{played:?}");

    // the next start lists it, makes it whole, and goes on with another file
    let gateway = Gateway::start(&config);
    let said = until(&gateway, "another file is written", |said| said["files"][1]["open"] == true);
    let file = &said["files"][0];
    assert!(file["open"] == false && (seconds(file) - played.sound_end.as_secs_f64()).abs() < 1.0, "{said:#} {played:?}");
    let again = play(&path);
    assert_eq!((again.pictures, again.sounds), (played.pictures, played.sounds), "nothing was lost");
    assert!(again.duration.is_some_and(|it| (it.as_secs_f64() - seconds(file)).abs() < 0.1), "it says how long it is: {again:?}");

    // fetched it is what is on the disk
    let url = format!("{}{}", gateway.base, file["url"].as_str().expect("an address"));
    let whole = std::fs::read(&path).expect("it is there");
    assert!(whole.len() > torn.len() / 2);
    assert!(fetch(&url) == (200, whole.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (status, range, bytes) = runtime.block_on(async {
        let answer = http().get(&url).header("range", "bytes=1000-1999").send().await.expect("an answer");
        let range = answer.headers()["content-range"].to_str().expect("text").to_owned();
        (answer.status().as_u16(), range, answer.bytes().await.expect("a body"))
    });
    assert_eq!((status, range), (206, format!("bytes 1000-1999/{}", whole.len())));
    assert!(bytes == whole[1000..2000]);

    // what is not listed is not there, whatever the path
    for path in
        ["/main/test/nope.mkv", "/main/..%2f..%2f..%2fetc/passwd", "/%2e%2e/test/x", "/main/test/..%2f..%2f..%2fetc%2fpasswd"]
    {
        assert_eq!(fetch(&format!("{}/api/v1/recordings{path}", gateway.base)).0, 404, "{path}");
    }
    // removed; the one that is written is not
    let open = said["files"][1]["url"].as_str().expect("an address");
    assert_eq!(request("DELETE", &gateway.base, open, "", "").status, 409);
    assert_eq!(request("DELETE", &gateway.base, file["url"].as_str().expect("an address"), "", "").status, 204);
    assert!(!path.exists());
    let open = folder.path().join("main/test").join(said["files"][1]["file"].as_str().expect("a name"));
    assert!(gateway.terminate().0.success());
    let ended = play(&open);
    assert!(ended.duration.is_some() && ended.pictures > 0, "a stop completes the file: {ended:?}");
}

#[test]
fn limits_of_size_and_age_hold() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    const MOST: u64 = 2 << 20;
    let limits = recording(folder.path(), &format!("segment = \"1s\"\nmax_size = {MOST}"));
    let gateway = Gateway::start(&format!("{TEST_SOURCE}{limits}{RECORD}"));
    let sizes = || -> Vec<u64> {
        let entries = std::fs::read_dir(folder.path().join("main/test")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).collect()
    };
    let limit = Instant::now() + PATIENCE;
    while read(&format!("{}/metrics", gateway.base)).contains("portico_recording_removed_files_total{reason=\"size\"} 0") {
        let on_disk = sizes().iter().sum::<u64>();
        // an index is some bytes more than the clusters that were counted
        assert!(on_disk <= MOST + 4096, "{on_disk}");
        assert!(Instant::now() < limit, "nothing is removed: {:?}", sizes());
        std::thread::sleep(Duration::from_millis(50));
    }
    let kept = sizes();
    assert!(kept.len() > 3 && kept.iter().sum::<u64>() <= MOST + 4096, "{kept:?}");
    let said = api(&gateway, "/api/v1/recordings");
    let files = said["files"].as_array().expect("a list");
    assert!(files.iter().filter(|file| file["open"] == true).count() <= 1, "{said:#}");
    assert!(gateway.terminate().0.success());
    // kept files are older than that when the next gateway starts
    std::thread::sleep(Duration::from_millis(1500));
    let limits = recording(folder.path(), "max_age = \"1s\"");
    let gateway = Gateway::start(&format!("{TEST_SOURCE}{limits}"));
    until(&gateway, "all are too old", |said| said["files"] == json!([]));
    assert!(sizes().is_empty());
    // what a reload lists is recorded, and what it does not list any more is not
    let file = gateway.dir().join("portico.toml");
    let hang_up = || Command::new("kill").args(["-HUP", &gateway.pid().to_string()]).status().expect("kill runs");
    std::fs::write(&file, format!("{TEST_SOURCE}{limits}{RECORD}")).expect("it is written");
    assert!(hang_up().success());
    until(&gateway, "it is recorded", |said| said["running"][0]["state"] == "recording");
    std::fs::write(&file, format!("{TEST_SOURCE}{limits}")).expect("it is written");
    assert!(hang_up().success());
    until(&gateway, "it is not recorded any more", |said| said["running"] == json!([]));
    assert!(gateway.terminate().0.success());
}

#[test]
fn a_publisher_and_a_mix_are_recorded_as_they_are_sent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hall = "[[room]]\nname = \"hall\"\ntopology = \"mcu\"\nsources = [\"test\"]\nmix = { width = 320, height = 180, framerate = 15 }\n";
    let config = format!("{TEST_SOURCE}{hall}{ANY_ORIGIN}{}", recording(folder.path(), ""));
    let gateway = Gateway::start(&config);
    let start = |room: &str, body: Value| {
        let path = format!("/api/v1/rooms/{room}/recordings");
        let answer = request("POST", &gateway.base, &path, "application/json", &body.to_string());
        (answer.status, answer.json())
    };
    // before it is there
    let (status, started) = start("yard", json!({"stream": "main"}));
    assert_eq!((status, started["state"].as_str()), (201, Some("waiting")), "{started:#}");
    assert_eq!(start("yard", json!({"stream": "main"})).1["code"], "already_recorded");
    assert_eq!(start("main", json!({})).1["code"], "not_mixed");
    let seen = node("whip_publish.mjs", &[&gateway.base, "yard", "VP8"]);
    let said = until(&gateway, "the publisher's file is complete", |said| said["files"][0]["open"] == false);
    assert_eq!(said["running"][0]["state"], "waiting", "{said:#}");
    let file = said["files"][0]["file"].as_str().expect("a name");
    assert!(file.ends_with(".webm"), "{said:#}");
    let played = play(&folder.path().join("yard/main").join(file));
    assert!(played.pictures >= 60 && played.sounds >= 50, "{played:?} {seen:#}");
    assert!(played.picture_end.abs_diff(played.sound_end) < Duration::from_secs(1), "{played:?}");
    assert_eq!(encoders(&gateway), 0, "{said:#}");

    let (status, mix) = start("hall", json!({}));
    assert_eq!(status, 201, "{mix:#}");
    let of_mix = |said: &Value| said["files"].as_array().and_then(|files| files.iter().find(|it| it["room"] == "hall").cloned());
    until(&gateway, "the mix is recorded", |said| of_mix(said).is_some_and(|file| seconds(&file) >= 3.0));
    assert_eq!(encoders(&gateway), 1, "that of the mix");
    let path = format!("/api/v1/rooms/hall/recordings/{}", mix["id"]);
    assert_eq!(request("DELETE", &gateway.base, &path, "", "").status, 204);
    let file = of_mix(&api(&gateway, "/api/v1/rooms/hall/recordings")).expect("it is listed");
    assert_eq!(file["open"], false, "complete with the answer: {file:#}");
    let played = play(&folder.path().join("hall/@mix").join(file["file"].as_str().expect("a name")));
    assert!(played.pictures >= 30 && played.sounds >= 100, "{played:?}");
    assert!(gateway.terminate().0.success());
}

/// A film that is black and silent for a second, then white and loud, and so on.
#[test]
fn sound_and_picture_stay_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let film = folder.path().join("film.mkv");
    let parts = ["black silence", "white sine"].map(|part| part.split_once(' ').expect("two words"));
    let part = |(picture, sound): (&str, &str)| {
        format!(
            "videotestsrc pattern={picture} num-buffers=25 ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! c. \
             audiotestsrc wave={sound} num-buffers=50 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 ! a. "
        )
    };
    film::run(&format!(
        "matroskamux name=mux ! filesink location={} \
         concat name=c ! queue ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! queue ! mux. \
         concat name=a ! queue ! opusenc ! queue ! mux. {}",
        film.display(),
        parts.map(part).concat()
    ));
    let source = format!("[[source]]\nname = \"test\"\ntype = \"file\"\npath = \"{}\"\n", film.display());
    let gateway = Gateway::start(&format!("{source}{}{RECORD}", recording(&folder.path().join("disk"), "")));
    let said = until(&gateway, "five seconds are recorded", |said| seconds(&said["files"][0]) >= 5.0);
    assert_eq!(encoders(&gateway), 0, "{said:#}");
    assert!(gateway.terminate().0.success());
    // when it becomes bright, and when loud
    let rises = Arc::<Mutex<[Vec<Duration>; 2]>>::default();
    let (note, before) = (Arc::clone(&rises), Mutex::new([true; 2]));
    let file = folder.path().join("disk/main/test").join(said["files"][0]["file"].as_str().expect("a name"));
    decode(&file, move |is_picture, time, bytes| {
        let high = match is_picture {
            true => bytes[0] > 128,
            false => bytes.chunks_exact(2).any(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs() > 8000),
        };
        let which = usize::from(is_picture);
        let was = std::mem::replace(&mut before.lock().expect("no panic")[which], high);
        if high && !was {
            note.lock().expect("no panic")[which].push(time);
        }
    });
    let [loud, bright] = std::mem::take(&mut *rises.lock().expect("no panic"));
    assert!(loud.len() >= 2 && bright.len() >= 2, "{loud:?} {bright:?}");
    for bright in &bright[..2] {
        // a picture lasts 40 ms, a packet of sound 20 ms
        assert!(loud.iter().any(|loud| loud.abs_diff(*bright) < Duration::from_millis(150)), "{loud:?} {bright:?}");
    }
}

#[test]
fn a_page_says_that_its_room_is_recorded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gateway = Gateway::start(&format!("{TEST_SOURCE}{}{RECORD}", recording(folder.path(), "")));
    let seen = node("page_recorded.mjs", &[&gateway.base, "main"]);
    assert_eq!((&seen["shown"], &seen["stopped"]), (&json!("Recorded"), &json!([204])), "{seen:#}");
}

#[test]
fn a_full_disk_is_told_and_disturbs_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    // the source is the last table
    let config = format!("{}{RECORD}{TEST_SOURCE}bitrate = 300000\n", recording(&disk, ""));
    let file = dir.path().join("portico.toml");
    std::fs::write(&file, config).expect("the configuration is written");
    // a small disk of the gateway's own
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=8m tmpfs \"$0\" && exec \"$@\"";
    command.args(["-r", "-m", "sh", "-c", script]).arg(&disk).arg(env!("CARGO_BIN_EXE_portico"));
    command.args(["run", "--listen", "127.0.0.1:0", "--ice-port", "0", "--config"]).arg(&file);
    command.env("PORTICO_TLS__STATE_DIR", dir.path()).env("PORTICO_STRAIN__ENABLED", "false");
    let gateway = Gateway::start_command(command, dir);
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/main/test");
    until(&gateway, "two seconds are recorded", |said| seconds(&said["files"][0]) >= 2.0);
    let inside = PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), disk.display()));
    let ballast = inside.join("ballast");
    let fill = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display())).output();
    assert!(!fill.expect("dd runs").status.success(), "it ends as the disk is full");
    let said = until(&gateway, "the disk is full", |said| said["running"][0]["state"] == "failed");
    assert!(said["running"][0]["reason"].as_str().is_some_and(|why| why.starts_with("the disk is full")), "{said:#}");
    viewer.forget();
    assert_eq!(viewer.take(30).len(), 30, "who watches goes on");
    let metrics = read(&format!("{}/metrics", gateway.base));
    assert!(metrics.contains("portico_recordings{state=\"failed\"} 1"), "{metrics}");
    assert!(!metrics.contains("portico_recording_failures_total{reason=\"full\"} 0"), "{metrics}");
    // what could be written before plays
    std::fs::remove_file(ballast).expect("the ballast is removed");
    let said = until(&gateway, "it goes on by itself", |said| said["running"][0]["state"] == "recording");
    let first = inside.join("main/test").join(said["files"][0]["file"].as_str().expect("a name"));
    let copy = tempfile::tempdir().expect("a temporary folder");
    let copied = copy.path().join("first.mkv");
    std::fs::copy(first, &copied).expect("it is there");
    assert!(play(&copied).pictures > 0);
}
