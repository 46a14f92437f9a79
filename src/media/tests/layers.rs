//! Encoders in several sizes, at rates that follow viewers, within what the board can do.

use super::support::*;
use crate::media::board::Board;
use crate::media::plan::Path;
use crate::media::*;
use crate::vocab::{Codec, MediaKind};

const SNOW: &str =
    "[[source]]\nname = 'test'\ntype = 'test'\nwidth = 640\nheight = 360\nframerate = 15\npattern = 'snow'\nbitrate = 1500000";
const H264: &[Codec] = &[Codec::H264];

fn video(tracks: &[PlannedTrack]) -> &Layers {
    &track(tracks, MediaKind::Video).layers
}

fn sizes(figures: &SourceFigures) -> Vec<&'static str> {
    figures.layers.iter().map(|layer| layer.size).collect()
}

#[test]
fn a_narrow_way_gets_a_smaller_picture_and_the_others_keep_theirs() {
    let mut bench = Bench::new(SNOW);
    let (_, wide) = bench.play("test", H264);
    let (_, narrow) = bench.play("test", H264);
    let layers = video(&wide);
    assert_eq!(layers.len(), 3);
    assert_eq!(sizes(&bench.figures()), ["full"], "only what is needed");
    let (full, half) = (Watch::new(&layers[0]), Watch::new(&layers[1]));
    assert_eq!(size(&full), (640, 360));

    let teller = video(&narrow).appetite().unwrap().tell(400_000);
    let figures = bench.until("a smaller layer", |figures| figures.layers.len() == 2);
    assert_eq!((figures.layers[1].size, figures.layers[1].width, figures.layers[1].height), ("half", Some(320), Some(180)));
    assert_eq!((figures.layers[0].target_bps, figures.layers[1].target_bps), (1_500_000, 328_000));
    let (before, _) = half.key();
    assert_eq!((before, size(&half)), (0, (320, 180)), "it begins with a key frame");
    full.take(10);

    teller.update(60_000);
    bench.until("the smallest", |figures| sizes(figures).contains(&"quarter"));
    assert_eq!(size(&Watch::new(&layers[2])), (160, 90));
    drop(half);
    drop(teller);
    bench.until("what nobody needs any more ends", |figures| sizes(figures) == ["full"]);
    full.take(10);
    bench.media.stop();
}

#[test]
fn the_rate_follows_the_only_viewer() {
    let mut bench = Bench::new(SNOW);
    let (_, tracks) = bench.play("test", H264);
    let layers = video(&tracks);
    let watch = Watch::new(&layers[0]);
    let bytes = |count: usize| -> usize {
        let frames = watch.take(count);
        frames.iter().flat_map(|frame| &frame.packets).map(|packet| packet.payload.len()).sum()
    };
    bytes(20);
    let before = bytes(15);
    let teller = layers.appetite().unwrap().tell(700_000);
    let figures = bench.until("a lower rate", |figures| figures.layers[0].target_bps == 574_000);
    assert_eq!(figures.encoders, 1, "and no other encoder");
    bytes(20);
    let after = bytes(15);
    assert!(after * 3 < before * 2, "{before} bytes before, {after} after");
    teller.update(50_000_000);
    bench.until("the rate is back", |figures| figures.layers[0].target_bps == 1_500_000);
    bench.media.stop();
}

/// `x264enc` as if it was hardware with room for so many pictures.
fn board(sessions: u32) -> Board {
    let mut board = Board::generic();
    let first = board.encoders.iter_mut().find(|it| it.element == "x264enc").unwrap();
    (first.hardware, first.limits.sessions) = (true, Some(sessions));
    board
}

fn two() -> String {
    format!("{SNOW}\n{}", SNOW.replace("'test'\ntype", "'other'\ntype"))
}

#[test]
fn an_encoder_that_is_full_is_left_alone_and_taken_when_it_is_free() {
    let mut bench = Bench::on(board(1), &two(), "linger = '200ms'");
    let (first, tracks) = bench.play("test", H264);
    assert_eq!(track(&tracks, MediaKind::Video).choice.encoder.as_deref(), Some("x264enc"));
    let (_, tracks) = bench.play("other", H264);
    let choice = &track(&tracks, MediaKind::Video).choice;
    assert_eq!((choice.path, choice.encoder.as_deref()), (Path::Software, Some("openh264enc")));
    assert!(choice.reason.contains("x264enc is busy: it can encode 1 pictures at a time and does"), "{}", choice.reason);
    let watch = Watch::new(&video(&tracks)[0]);
    watch.take(5);

    bench.release("test", first);
    let figures = bench.until_of(1, "the better encoder", |figures| figures.paths.iter().any(|it| it.path == Path::Hardware));
    assert_eq!((figures.state, figures.viewers), ("running", 1));
    watch.take(20);
    watch.key();
    watch.take(10);
    bench.media.stop();
}

#[test]
fn a_smaller_layer_gives_way_to_a_picture() {
    let mut bench = Bench::on(board(2), &two(), "linger = '200ms'");
    let (_, tracks) = bench.play("test", H264);
    let _teller = video(&tracks).appetite().unwrap().tell(300_000);
    let (_, _) = bench.play("test", H264);
    bench.until("a smaller layer", |figures| sizes(figures) == ["full", "half"]);
    let (_, tracks) = bench.play("other", H264);
    assert_eq!(track(&tracks, MediaKind::Video).choice.encoder.as_deref(), Some("x264enc"));
    bench.until("it gives way", |figures| sizes(figures) == ["full"]);
    let figures = bench.until("the one rate is a compromise", |figures| figures.layers[0].target_bps == 375_000);
    assert_eq!(figures.viewers, 2);
    bench.media.stop();
}

/// A film that has to be encoded anew: B-frames.
fn film(path: &std::path::Path) -> String {
    let picture = "videotestsrc num-buffers=60 pattern=smpte ! video/x-raw,width=640,height=360,framerate=15/1";
    let coded = "x264enc speed-preset=veryfast key-int-max=15 bframes=2 b-adapt=false ! video/x-h264,profile=main ! h264parse";
    run(&format!("{picture} ! {coded} ! matroskamux ! filesink location={}", path.display()));
    format!("[[source]]\nname = 'test'\ntype = 'file'\npath = '{}'\nbitrate = 1500000", path.display())
}

#[test]
fn what_is_decoded_first_has_smaller_layers_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(&film(&dir.path().join("film.mkv")));
    let (_, tracks) = bench.play("test", H264);
    let figures = bench.until("its size is known", |figures| figures.layers.iter().any(|layer| layer.width.is_some()));
    assert_eq!((figures.layers[0].width, figures.layers[0].height), (Some(640), Some(360)));
    let layers = video(&tracks);
    let _teller = layers.appetite().unwrap().tell(300_000);
    bench.until("a smaller layer", |figures| sizes(figures).contains(&"half"));
    assert_eq!(size(&Watch::new(&layers[1])), (320, 180));
    bench.media.stop();
}

#[test]
fn an_encoder_that_cannot_carry_what_is_decoded_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = Board::generic();
    board.encoders.iter_mut().find(|it| it.element == "x264enc").unwrap().limits.max_width = Some(320);
    let mut bench = Bench::on(board, &film(&dir.path().join("film.mkv")), "linger = '200ms'");
    let (_, tracks) = bench.play("test", H264);
    let watch = Watch::new(&video(&tracks)[0]);
    let figures =
        bench.until("another encoder", |figures| figures.paths.iter().any(|it| it.encoder.as_deref() == Some("openh264enc")));
    let path = figures.paths.iter().find(|it| it.codec == Codec::H264).unwrap();
    assert!(path.reason.contains("x264enc does not work here: cannot encode pictures of 640x360"), "{}", path.reason);
    watch.take(30);
    bench.media.stop();
}
