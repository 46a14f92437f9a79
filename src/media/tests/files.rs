//! Files, made here with GStreamer.

use std::path::Path as FilePath;

use std::time::{Duration, Instant};

use super::support::*;
use crate::media::plan::Path;
use crate::media::*;
use crate::vocab::{Codec, MediaKind};

const H264: &[Codec] = &[Codec::H264, Codec::VP8];
const X264: &str = "x264enc speed-preset=ultrafast key-int-max=15 bframes=0 ! video/x-h264,profile=main ! h264parse";
const X264_B: &str =
    "x264enc speed-preset=veryfast key-int-max=15 bframes=2 b-adapt=false ! video/x-h264,profile=main ! h264parse";

/// One second of picture and sound.
fn make(path: &FilePath, video: &str, audio: &str, muxer: &str) {
    run(&format!(
        "videotestsrc num-buffers=25 pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 ! {video} ! queue ! \
         {muxer} name=mux ! filesink location={} \
         audiotestsrc num-buffers=50 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 ! {audio} ! queue ! mux.",
        path.display()
    ));
}

fn source(path: &FilePath) -> String {
    format!("[[source]]\nname = 'film'\ntype = 'file'\npath = '{}'", path.display())
}

/// Plays three passes and checks that time goes on evenly over their ends.
fn plays_on(path: &FilePath, video: (Path, Codec), audio: Path) {
    let mut bench = Bench::new(&source(path));
    let (_, tracks) = bench.play("film", H264);
    let (picture, sound) = (track(&tracks, MediaKind::Video), track(&tracks, MediaKind::Audio));
    assert_eq!((picture.choice.path, picture.choice.codec), video, "{}", picture.choice.reason);
    assert_eq!(sound.choice.path, audio, "{}", sound.choice.reason);
    let (pictures, sounds) = (Watch::new(picture.layers.first()), Watch::new(sound.layers.first()));
    let began = Instant::now();
    let (before, _) = pictures.key();
    assert_eq!(before, 0, "nothing of the start is lost");
    let frames = pictures.take(75);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(2200), "in real time, not in {took:?}");
    // a machine that is overloaded loses pictures in front of an encoder, and none on the way past it
    let (longest, more) = if video.0 == Path::Repacketise { (20_000, 10 * 3600) } else { (180_000, 180_000) };
    let steps_between = steps(&frames);
    assert!(steps_between.iter().all(|step| *step > 0 && *step < longest), "{steps_between:?}");
    // 74 steps of 1/25 s at 90 kHz; at the end of each of the three passes the sound may be longer by up to 0.1 s
    let total: i32 = steps_between.iter().sum();
    assert!((74 * 3600 - 3600..74 * 3600 + more).contains(&total), "{total}");
    let frames = sounds.take(120);
    let steps_between = steps(&frames);
    assert!(steps_between.iter().all(|step| *step > 0 && *step < longest), "{steps_between:?}");
    bench.media.stop();
}

#[test]
fn mp4_passes_its_picture_and_its_sound_is_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mp4");
    make(&path, X264, "avenc_aac ! aacparse", "mp4mux");
    plays_on(&path, (Path::Repacketise, Codec::H264), Path::Software);
}

#[test]
fn matroska_passes_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    make(&path, X264, "opusenc", "matroskamux");
    plays_on(&path, (Path::Repacketise, Codec::H264), Path::Repacketise);
}

#[test]
fn webm_passes_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.webm");
    make(&path, "vp8enc deadline=1 keyframe-max-dist=15", "opusenc", "webmmux");
    plays_on(&path, (Path::Repacketise, Codec::VP8), Path::Repacketise);
}

#[test]
fn b_frames_are_transcoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mp4");
    make(&path, X264_B, "avenc_aac ! aacparse", "mp4mux");
    plays_on(&path, (Path::Software, Codec::H264), Path::Software);
}

#[test]
fn a_viewer_of_another_codec_gets_it_decoded_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    make(&path, X264, "opusenc", "matroskamux");
    let mut bench = Bench::new(&source(&path));
    let (_, tracks) = bench.play("film", &[Codec::H264]);
    let watch = Watch::new(track(&tracks, MediaKind::Video).layers.first());
    watch.take(5);
    let (viewer, tracks) = bench.play("film", &[Codec::VP8]);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(20);
    assert_eq!(bench.figures().encoders, 1);
    bench.release("film", viewer);
    bench.until("the encoder ends", |figures| figures.encoders == 0);
    watch.take(40);
    bench.media.stop();
}

#[test]
fn a_decoder_that_fails_in_use_makes_room_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    make(&path, X264, "opusenc", "matroskamux");
    let mut board = board::Board::generic();
    let mut failing = board.decoders_of(board::DecoderInput::Codec(Codec::H264)).next().unwrap().clone();
    let (first, next) = (failing.element.clone(), board.decoders.clone());
    failing.output_caps = "video/x-raw ! identity error-after=20".into();
    board.decoders.insert(0, failing);
    let mut bench = Bench::on(board, &source(&path), "linger = '200ms'");
    let (_, tracks) = bench.play("film", &[Codec::VP8]);
    let watch = Watch::new(track(&tracks, MediaKind::Video).layers.first());
    let passed = Watch::new(track(&tracks, MediaKind::Audio).layers.first());
    // the failing entry and the one behind it are of one element; the next is another
    assert!(next.iter().any(|it| it.input == board::DecoderInput::Codec(Codec::H264) && it.element != first));
    watch.take(60);
    assert!(passed.take(20).len() == 20 && bench.events.try_recv().is_err(), "the file was not opened again");
    bench.media.stop();
}

#[test]
fn a_late_viewer_gets_the_group_since_the_last_key_frame() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    make(&path, X264, "opusenc", "matroskamux");
    let mut bench = Bench::new(&source(&path));
    let (_, tracks) = bench.play("film", H264);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(8);
    let (_, tracks) = bench.play("film", H264);
    let cached = track(&tracks, MediaKind::Video).layers.first().cached();
    assert!(cached.len() > 1 && cached[0].key, "{} cached", cached.len());
    bench.media.stop();
}

#[test]
fn missing_empty_and_foreign_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.mp4");
    let mut bench = Bench::new(&source(&missing));
    assert!(matches!(bench.refusal("film"), SourceError::Missing { what } if what.contains("none.mp4")));
    for (file, content) in [("empty.mp4", &b""[..]), ("text.mp4", b"this is no film, this is a text of some length\n")] {
        let path = dir.path().join(file);
        std::fs::write(&path, content).unwrap();
        let mut bench = Bench::new(&source(&path));
        let error = bench.refusal("film");
        assert!(matches!(error, SourceError::Failed(_)), "{file}: {error}");
    }
}

#[test]
fn a_look_says_what_a_file_gives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    make(&path, X264_B, "opusenc", "matroskamux");
    let config = MediaSourceConfig {
        sources: vec![toml::from_str(&source(&path).replace("[[source]]", "")).unwrap()],
        ..Default::default()
    };
    let offer = look(config.sources[0].clone(), &board::Board::generic(), PATIENCE).unwrap();
    assert!(offer.video.unwrap().to_string().contains("B-frames"));
    assert_eq!(offer.audio.unwrap().to_string(), "opus");
}

const H265: &[Codec] = &[Codec::H265, Codec::H264];

#[test]
fn h265_passes_to_who_plays_it_and_is_encoded_once_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mkv");
    make(
        &path,
        "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=15 ! video/x-h265,profile=main ! h265parse",
        "opusenc",
        "matroskamux",
    );
    let mut bench = Bench::new(&source(&path));
    let (_, tracks) = bench.play("film", H265);
    let picture = track(&tracks, MediaKind::Video);
    assert_eq!((picture.choice.path, picture.choice.codec), (Path::Repacketise, Codec::H265), "{}", picture.choice.reason);
    let format = picture.layers.format();
    assert_eq!((format.parameter("profile-id"), format.parameter("tier-flag")), (Some("1"), Some("0")));
    let watch = Watch::new(picture.layers.first());
    let (before, key) = watch.key();
    assert_eq!(before, 0, "nothing of the start is lost");
    assert_eq!(key.packets[0].payload[0] >> 1 & 0x3f, 48, "parameter sets stand before it");
    assert!(steps(&watch.take(40)).iter().all(|step| *step > 0));
    for _ in 0..2 {
        let (_, tracks) = bench.play("film", &[Codec::H264]);
        Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(10);
    }
    assert_eq!(bench.figures().encoders, 1);
    watch.take(10);
    bench.media.stop();
}

#[test]
fn h265_in_another_order_or_profile_does_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    for (name, encoder) in [
        (
            "reordered.mkv",
            "x265enc speed-preset=veryfast key-int-max=15 option-string=bframes=2:b-adapt=0 ! video/x-h265,profile=main",
        ),
        ("deep.mkv", "videoconvert ! video/x-raw,format=I420_10LE ! x265enc speed-preset=ultrafast tune=zerolatency"),
    ] {
        let path = dir.path().join(name);
        make(&path, &format!("{encoder} ! h265parse"), "opusenc", "matroskamux");
        let mut bench = Bench::new(&source(&path));
        let (_, tracks) = bench.play("film", H265);
        let picture = track(&tracks, MediaKind::Video);
        assert_eq!(
            (picture.choice.path, picture.choice.codec),
            (Path::Software, Codec::H264),
            "{name}: {}",
            picture.choice.reason
        );
        Watch::new(picture.layers.first()).take(10);
        bench.media.stop();
    }
}
