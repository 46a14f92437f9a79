//! The test picture: encoders, sharing, closing, failing.

use std::sync::Arc;
use std::time::Instant;

use super::support::*;
use crate::media::board::Board;
use crate::media::plan::Path;
use crate::media::*;
use crate::vocab::{Bitrate, Codec, MediaKind};

const TEST: &str = "[[source]]\nname = 'test'\ntype = 'test'\nwidth = 320\nheight = 240\nframerate = 30";
const H264: &[Codec] = &[Codec::H264, Codec::VP8];
const VP8: &[Codec] = &[Codec::VP8];

#[test]
fn test_source_gives_picture_and_sound() {
    let mut bench = Bench::new(TEST);
    let (_, tracks) = bench.play("test", H264);
    let (video, audio) = (track(&tracks, MediaKind::Video), track(&tracks, MediaKind::Audio));
    assert_eq!((video.choice.path, video.choice.encoder.as_deref()), (Path::Software, Some("x264enc")));
    assert_eq!(video.layers.first().format().parameter("profile-level-id"), Some("42e01f"));
    assert_ne!(video.layers.first().id().track, audio.layers.first().id().track);
    let (pictures, sounds) = (Watch::new(video.layers.first()), Watch::new(audio.layers.first()));
    let (_, first) = pictures.key();
    let units = nal_units(&first);
    let kinds: Vec<u8> = units.iter().map(|unit| unit[0] & 0x1f).collect();
    assert!(kinds.contains(&7) && kinds.contains(&8) && kinds.contains(&5), "{kinds:?}");
    let frames = pictures.take(25);
    assert!(frames.iter().all(|frame| !frame.key), "no key frame without need in the first second");
    assert!(steps(&frames).iter().all(|step| *step > 0), "{:?}", steps(&frames));
    let mean = steps(&frames).iter().sum::<i32>() / 24;
    assert!((2900..=3200).contains(&mean) || mean > 3200, "30 frames per second are 3000 ticks apart: {mean}");
    // the first is shorter by what the encoder looks ahead; a machine that is overloaded may lose some
    let steps = steps(&sounds.take(40));
    assert!(steps.iter().filter(|step| **step == 960).count() > 30, "20 ms packets: {steps:?}");
    bench.media.stop();
}

#[test]
fn five_viewers_share_one_encoder_and_another_codec_adds_one() {
    let mut bench = Bench::new(TEST);
    let answers: Vec<_> = (0..5).map(|_| bench.ask("test", &[Codec::H264]).1).collect();
    let all: Vec<_> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap().unwrap()).collect();
    let first = track(&all[0], MediaKind::Video);
    assert!(all.iter().all(|tracks| Arc::ptr_eq(track(tracks, MediaKind::Video).layers.first(), first.layers.first())));
    let figures = bench.figures();
    assert_eq!((figures.viewers, figures.encoders, figures.state), (5, 1, "running"), "{figures:?}");

    let watch = Watch::new(first.layers.first());
    let (other, tracks) = bench.play("test", VP8);
    let vp8 = track(&tracks, MediaKind::Video);
    assert_eq!(vp8.choice.codec, Codec::VP8);
    Watch::new(vp8.layers.first()).key();
    assert_eq!(bench.figures().encoders, 2);
    watch.take(10);

    bench.release("test", other);
    bench.until("the encoder nobody uses ends", |figures| figures.encoders == 1);
    watch.take(60);
    let (_, tracks) = bench.play("test", VP8);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).key();
    watch.take(10);
    bench.media.stop();
}

#[test]
fn a_key_frame_comes_when_it_is_asked_for() {
    for (codec, element) in [(Codec::H264, "x264enc"), (Codec::VP8, "vp8enc")] {
        let mut bench = Bench::new(TEST);
        let (_, tracks) = bench.play("test", &[codec]);
        let video = track(&tracks, MediaKind::Video);
        assert_eq!(video.choice.encoder.as_deref(), Some(element));
        let watch = Watch::new(video.layers.first());
        watch.key();
        watch.take(5);
        assert!(video.layers.first().request_keyframe(Instant::now()));
        let (before, _) = watch.key();
        assert!(before < 20, "{element}: {before} frames until the key frame");
        bench.media.stop();
    }
}

#[test]
fn without_viewers_it_closes_and_opens_again() {
    let mut bench = Bench::new(TEST);
    let (viewer, tracks) = bench.play("test", H264);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).key();
    bench.release("test", viewer);
    let figures = bench.until("it closes", |figures| figures.state == "idle");
    assert_eq!((figures.viewers, figures.encoders), (0, 0));
    let (_, tracks) = bench.play("test", H264);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(5);
    bench.media.stop();
}

#[test]
fn bit_rate_follows_while_it_runs() {
    let source = TEST.to_owned() + "\npattern = 'snow'\nbitrate = 3000000";
    let mut bench = Bench::new(&source);
    let (_, tracks) = bench.play("test", &[Codec::H264]);
    let watch = Watch::new(track(&tracks, MediaKind::Video).layers.first());
    let bytes = |frames: Vec<Arc<crate::forward::FramePackets>>| -> usize {
        frames.iter().flat_map(|frame| &frame.packets).map(|packet| packet.payload.len()).sum()
    };
    watch.take(20);
    let before = bytes(watch.take(30));
    bench.media.send(MediaCommand::Bitrate { source: name("test"), bitrate: Bitrate::from_bps(500_000) });
    watch.take(40);
    let after = bytes(watch.take(30));
    assert!(after * 3 < before, "{before} bytes before, {after} after");
    bench.media.stop();
}

#[test]
fn the_next_encoder_is_taken_when_the_first_is_missing_or_fails() {
    let mut board = Board::generic();
    let mut bogus = board.encoders_of(Codec::H264).next().unwrap().clone();
    bogus.element = "bogus264enc".into();
    // reaches READY, then cannot work as an encoder between these caps
    let mut broken = bogus.clone();
    broken.element = "opusenc".into();
    board.encoders.splice(0..0, [bogus, broken]);
    let mut bench = Bench::on(board, TEST, "linger = '200ms'");
    let (_, tracks) = bench.play("test", &[Codec::H264]);
    let video = track(&tracks, MediaKind::Video);
    assert!(video.choice.reason.contains("bogus264enc is missing"), "{}", video.choice.reason);
    assert_eq!(video.choice.encoder.as_deref(), Some("x264enc"));
    Watch::new(video.layers.first()).key();
    bench.media.stop();
}

#[test]
fn nothing_that_encodes_is_a_refusal_that_names_the_element() {
    let mut board = Board::generic();
    board.encoders.retain(|it| it.codec == Codec::Opus || it.element == "x264enc");
    board.encoders.iter_mut().filter(|it| it.codec == Codec::H264).for_each(|it| it.element = "bogus264enc".into());
    let mut bench = Bench::on(board, TEST, "");
    let SourceError::Refused(refusal) = bench.refusal("test") else { panic!("refused") };
    assert!(refusal.reason.contains("bogus264enc is missing"), "{refusal}");
    assert!(matches!(bench.refusal("other"), SourceError::Unknown(_)));
    bench.media.stop();
}

#[test]
fn a_missing_camera_is_said_and_hurts_no_other() {
    let sources = "[[source]]\nname = 'cam'\ntype = 'v4l2'\ndevice = 'serial:none-such'\n".to_owned() + TEST;
    let mut bench = Bench::new(&sources);
    let error = bench.refusal("cam");
    assert!(matches!(&error, SourceError::Missing { what } if what.contains("none-such")), "{error}");
    assert!(bench.figures().error.unwrap().contains("missing"));
    bench.play("test", H264);
    bench.media.stop();
}

#[test]
fn a_wrong_pattern_is_named() {
    let mut bench = Bench::new(&(TEST.to_owned() + "\npattern = 'tartan'"));
    let error = bench.refusal("test");
    assert!(error.to_string().contains("`tartan`"), "{error}");
    bench.media.stop();
}

#[test]
fn a_viewer_that_leaves_before_the_answer_leaves_nothing_behind() {
    let mut bench = Bench::new(TEST);
    let (viewer, answer) = bench.ask("test", H264);
    drop(answer);
    bench.release("test", viewer);
    bench.until("it closes", |figures| figures.state == "idle");
    let (_, answer) = bench.ask("test", H264);
    drop(answer);
    bench.until("it closes without a word", |figures| figures.state == "idle" && figures.viewers == 0);
    bench.media.stop();
}

#[test]
fn an_encoder_that_fails_in_use_makes_room_for_the_next_and_viewers_go_on() {
    let mut board = Board::generic();
    // `x264enc` by description, with something behind it that fails after 20 frames
    let mut failing = board.encoders_of(Codec::H264).next().unwrap().clone();
    failing.output_caps = "video/x-h264 ! identity error-after=20".into();
    failing.element = "x264enc".into();
    board.encoders.insert(0, failing);
    let mut bench = Bench::on(board, TEST, "linger = '200ms'");
    let (_, tracks) = bench.play("test", &[Codec::H264]);
    let watch = Watch::new(track(&tracks, MediaKind::Video).layers.first());
    let sound = Watch::new(track(&tracks, MediaKind::Audio).layers.first());
    let other = |figures: &SourceFigures| {
        figures.encoders == 1 && figures.paths.iter().any(|choice| choice.encoder.as_deref() == Some("openh264enc"))
    };
    bench.until("another encoder", other);
    watch.take(60);
    // the rest of the source went on: neither was it closed, nor is anything of its sound missing
    assert!(bench.events.try_recv().is_err());
    assert!(steps(&sound.take(60)).iter().all(|step| *step < 4000));
    bench.media.stop();
}

#[test]
fn the_first_picture_is_there_soon() {
    let mut bench = Bench::new(TEST);
    let began = Instant::now();
    let (_, tracks) = bench.play("test", H264);
    let answered = began.elapsed();
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).key();
    // no assertion on time: the machine may be busy
    println!("answered after {answered:?}, first key frame after {:?}", began.elapsed());
    bench.media.stop();
}

#[test]
fn an_encoder_that_gives_nothing_is_replaced() {
    let mut board = Board::generic();
    let mut mute = board.encoders_of(Codec::H264).next().unwrap().clone();
    mute.output_caps = "video/x-h264 ! identity drop-probability=1".into();
    board.encoders.insert(0, mute);
    let mut bench = Bench::on(board, TEST, "open_limit = '300ms'");
    let (_, tracks) = bench.play("test", &[Codec::H264]);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(10);
    let figures = bench.figures();
    assert!(figures.paths.iter().any(|choice| choice.reason.contains("it failed while in use")), "{figures:?}");
    assert!(bench.events.try_recv().is_err(), "the source went on");
    bench.media.stop();
}
