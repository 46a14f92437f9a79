//! Film files of known colours, looped, as Chromium shows them.

mod support;

use support::{Gateway, film, jpeg, node};

/// Seconds per colour: long enough that a busy browser sees each.
const SECONDS: u64 = 2;
/// Times around the film that must be seen without a gap.
const ROUNDS: u64 = 2;

/// Makes a film and watches it; gives the source's figures.
fn watch(file: &str, video: &str, audio: &str, muxer: &str, codec: &str) -> serde_json::Value {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(file);
    film::colours(&path, SECONDS, video, audio, muxer);
    let gateway = Gateway::start(&format!(
        "[[room]]\nname = \"cinema\"\nsources = [\"film\"]\n\
         [[source]]\nname = \"film\"\ntype = \"file\"\npath = \"{}\"\n",
        path.display()
    ));
    let seen = node("whep_colours.mjs", &[&gateway.base, "/whep/cinema", &ROUNDS.to_string()]);
    assert!(seen["run"].as_u64() >= Some(3 * ROUNDS), "{file} is not red, green, blue over and over: {seen:#}");
    assert_eq!(seen["figures"]["codec"], format!("video/{codec}"), "{file}: {seen:#}");
    assert_eq!((&seen["figures"]["width"], &seen["figures"]["height"]), (&160.into(), &120.into()), "{file}: {seen:#}");
    let energy = |when: &str| seen[when]["audioEnergy"].as_f64().unwrap_or_default();
    assert!(energy("figures") > 0.0 && energy("later") > energy("figures"), "{file}: the tone stops: {seen:#}");
    let picture = format!("{}/api/v1/rooms/cinema/streams/film/snapshot.jpg", gateway.base);
    let seen_still = jpeg::see(&support::fetch(&picture).1);
    assert_eq!((seen_still.width, seen_still.height), (160, 120), "{file}: {seen_still:?}");
    let strong = seen_still.middle.iter().filter(|part| **part > 150).count();
    assert!(strong == 1, "{file} is not red, green or blue: {seen_still:?}");
    seen["sources"][0].clone()
}

/// The picture passes as it is in the file.
fn passes(file: &str, video: &str, audio: &str, muxer: &str, codec: &str) -> serde_json::Value {
    let source = watch(file, video, audio, muxer, codec);
    let paths = source["paths"].as_array().expect("a list of paths");
    let path = paths.iter().find(|path| path["codec"] == codec).unwrap_or_else(|| panic!("no {codec}: {source:#}"));
    assert!(path["path"] == "pass" || path["path"] == "repacketise", "{file}: {source:#}");
    assert!(path.get("encoder").is_none(), "{file}: {source:#}");
    source
}

const BASELINE: &str =
    "x264enc speed-preset=ultrafast key-int-max=25 bframes=0 ! video/x-h264,profile=constrained-baseline ! h264parse";
const VP8: &str = "vp8enc deadline=1 keyframe-max-dist=25";

#[test]
fn mp4_with_h264_and_aac() {
    let source = passes("film.mp4", BASELINE, "avenc_aac ! aacparse", "mp4mux", "H264");
    assert_eq!(source["encoders"], 0, "{source:#}");
}

#[test]
fn mp4_with_h264_and_opus() {
    let source = passes("film.mp4", BASELINE, "opusenc", "mp4mux", "H264");
    assert_eq!(source["encoders"], 0, "{source:#}");
}

#[test]
fn matroska_with_vp8_and_opus() {
    let source = passes("film.mkv", VP8, "opusenc", "matroskamux", "VP8");
    assert_eq!(source["encoders"], 0, "{source:#}");
}

#[test]
fn webm_with_vp9_and_opus() {
    let source = passes("film.webm", "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25", "opusenc", "webmmux", "VP9");
    assert_eq!(source["encoders"], 0, "{source:#}");
}

#[test]
fn mp4_with_b_frames_is_encoded_anew() {
    let video = "x264enc speed-preset=veryfast key-int-max=25 bframes=2 b-adapt=false ! video/x-h264,profile=main ! h264parse";
    let source = watch("film.mp4", video, "avenc_aac ! aacparse", "mp4mux", "H264");
    assert_eq!(source["encoders"], 1, "{source:#}");
}
