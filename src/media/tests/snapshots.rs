//! Pictures of streams: what is in them, who shares one, and what is said when there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::*;
use crate::forward::{FramePackets, KeyframeRequest, Layer, MediaPacket, Refresh};
use crate::media::board::Board;
use crate::media::pipeline::still::KeyFrame;
use crate::media::snapshot::{Picture, SnapshotError, SnapshotFigures, Snapshots, Subject};
use crate::media::*;
use crate::vocab::{Codec, LayerId, MediaKind, TrackFormat, TrackId};

const TEST: &str = "[[source]]\nname = 'test'\ntype = 'test'\nwidth = 320\nheight = 240\nframerate = 30";

struct Studio {
    bench: Bench,
    runtime: Runtime,
    figures: Arc<SnapshotFigures>,
    snapshots: Snapshots,
    stop: CancellationToken,
}

impl Studio {
    fn new(sources: &str) -> Self {
        Self::on(Board::generic(), sources)
    }

    fn on(board: Board, sources: &str) -> Self {
        let bench = Bench::on(board, sources, "linger = '200ms'");
        let (figures, stop) = (Arc::<SnapshotFigures>::default(), CancellationToken::new());
        let snapshots = Snapshots::new(Arc::clone(&bench.media), Arc::clone(&figures), TaskTracker::new(), stop.clone());
        Self { bench, runtime: Runtime::new().unwrap(), figures, snapshots, stop }
    }

    fn take(&self, subject: Subject, width: Option<u16>) -> Result<Arc<Picture>, SnapshotError> {
        self.runtime.block_on(self.snapshots.take(subject, width))
    }

    fn counted(&self, word: &str) -> u64 {
        self.figures.all().find(|(it, _)| *it == word).unwrap().1
    }
}

fn source(source: &str) -> Subject {
    Subject::Source(name(source))
}

/// Width, height and how many colours there are.
fn look(picture: &Picture) -> (usize, usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (jpeg, raw) = (folder.path().join("a.jpg"), folder.path().join("a.rgb"));
    std::fs::write(&jpeg, &picture.jpeg).unwrap();
    run(&format!(
        "filesrc location={} ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! filesink location={}",
        jpeg.display(),
        raw.display()
    ));
    let pixels = std::fs::read(raw).unwrap();
    let colours: std::collections::HashSet<&[u8]> = pixels.chunks_exact(3).collect();
    // the frame header (ITU-T T.81 section B.2.2): marker, length, precision, height, width
    let head = picture.jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a baseline JPEG");
    let number = |at: usize| usize::from(picture.jpeg[head + at]) << 8 | usize::from(picture.jpeg[head + at + 1]);
    (number(7), number(5), colours.len())
}

struct Asked(AtomicUsize);

impl KeyframeRequest for Arc<Asked> {
    fn request(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A layer of somebody who publishes, and how often a key frame was asked of him.
fn published(number: u64, codec: Codec) -> (Arc<Layer>, Arc<Asked>) {
    let asked = Arc::new(Asked(AtomicUsize::new(0)));
    let id = LayerId { track: TrackId(number), index: 0 };
    let request = Box::new(Arc::clone(&asked));
    (Arc::new(Layer::new(id, TrackFormat::plain(codec), Refresh::OnRequest, request)), asked)
}

#[test]
fn all_who_ask_at_once_get_one_picture_of_a_source_that_is_opened_for_it() {
    let studio = Studio::new(TEST);
    let asked = (0..5).map(|_| studio.snapshots.take(source("test"), None));
    let pictures: Vec<Arc<Picture>> = studio.runtime.block_on(join_all(asked)).into_iter().map(Result::unwrap).collect();
    assert!(pictures.iter().all(|picture| Arc::ptr_eq(picture, &pictures[0])));
    assert_eq!((studio.counted("made"), studio.counted("shared")), (1, 4));
    let (width, height, colours) = look(&pictures[0]);
    assert_eq!((width, height), (320, 240));
    assert!(colours > 16, "{colours} colours");
    assert!(pictures[0].etag.len() == 18 && pictures[0].etag.starts_with('"'), "{}", pictures[0].etag);

    // narrower keeps the proportions; wider is not blown up
    let (width, height, _) = look(&studio.take(source("test"), Some(100)).unwrap());
    assert_eq!((width, height), (100, 75));
    let (width, height, _) = look(&studio.take(source("test"), Some(4096)).unwrap());
    assert_eq!((width, height), (320, 240));
    studio.bench.until("it closes", |figures| figures.state == "idle" && figures.viewers == 0);
}

#[test]
fn what_others_watch_is_not_encoded_again_for_a_picture() {
    for codec in [Codec::H264, Codec::VP8] {
        let mut studio = Studio::new(TEST);
        let (_, tracks) = studio.bench.play("test", &[codec]);
        let layer = Arc::clone(track(&tracks, MediaKind::Video).layers.first());
        Watch::new(&layer).take(20);
        let (width, height, colours) = look(&studio.take(source("test"), None).unwrap());
        assert!((width, height) == (320, 240) && colours > 16, "{codec}: {width}x{height}, {colours} colours");
        assert_eq!(studio.bench.figures().encoders, 1, "{codec}");
        // the same frames as if they came of a publisher
        assert_eq!(look(&studio.take(Subject::Published(layer), Some(64)).unwrap()).0, 64, "{codec}");
        studio.bench.until("only the viewer is left", |figures| figures.viewers == 1);
    }
}

#[test]
fn a_publisher_is_asked_for_a_key_frame_and_an_old_one_does_not_do() {
    let mut studio = Studio::new(TEST);
    let (_, tracks) = studio.bench.play("test", &[Codec::VP8]);
    let (_, key) = Watch::new(track(&tracks, MediaKind::Video).layers.first()).key();
    let (layer, asked) = published(90_001, Codec::VP8);
    let long_ago = Instant::now().checked_sub(Duration::from_secs(5)).expect("the machine runs for a while");
    layer.write(FramePackets { arrived: long_ago, ..(*key).clone() });
    let writer = {
        let (layer, asked) = (Arc::clone(&layer), Arc::clone(&asked));
        std::thread::spawn(move || {
            while asked.0.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            layer.write(FramePackets { arrived: Instant::now(), ..(*key).clone() });
        })
    };
    assert_eq!(look(&studio.take(Subject::Published(Arc::clone(&layer)), None).unwrap()).0, 320);
    writer.join().unwrap();
    assert_eq!(layer.figures().sinks, 0, "nothing stays attached");
    let audio = Arc::new(Layer::idle(TrackFormat::plain(Codec::Opus)));
    assert!(matches!(studio.take(Subject::Published(audio), None), Err(SnapshotError::NoPicture)));
}

#[test]
fn what_is_no_picture_is_said_to_be_none() {
    let studio = Studio::new(TEST);
    let (layer, _) = published(90_002, Codec::VP8);
    let payload = Bytes::from_static(&[0x10, 0x00, 0x9d, 0x01, 0x2a, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    let packet = MediaPacket { sequence: 1, timestamp: 2, marker: true, payload };
    layer.write(FramePackets { layer: layer.id(), key: true, packets: vec![packet], arrived: Instant::now() });
    let error = studio.take(Subject::Published(layer), None).unwrap_err();
    assert!(matches!(error, SnapshotError::Undecoded(_)), "{error}");
    assert_eq!(studio.counted("undecoded"), 1);

    let unknown = studio.take(source("nope"), None).unwrap_err();
    assert!(matches!(unknown, SnapshotError::Source(SourceError::Unknown(_))), "{unknown}");
    assert_eq!(studio.counted("source_failed"), 1);
}

/// The first key frame of a source in a codec.
fn key_frame(source: &str, codec: Codec) -> KeyFrame {
    let mut bench = Bench::new(source);
    let (_, tracks) = bench.play("test", &[codec]);
    let (_, key) = Watch::new(track(&tracks, MediaKind::Video).layers.first()).key();
    bench.media.stop();
    KeyFrame { codec, payloads: key.packets.iter().map(|packet| packet.payload.clone()).collect() }
}

#[test]
fn a_picture_larger_than_any_screen_is_not_decoded() {
    let studio = Studio::new(TEST);
    for (width, fits) in [(4096, true), (4112, false)] {
        let wide = format!("[[source]]\nname = 'test'\ntype = 'test'\nwidth = {width}\nheight = 16\nframerate = 5");
        let made = studio.bench.media.jpeg(&key_frame(&wide, Codec::VP8), None, Instant::now() + PATIENCE);
        assert_eq!(made.is_ok(), fits, "{width}: {made:?}");
        assert!(fits || matches!(made, Err(SnapshotError::Undecoded(_))), "{width}: {made:?}");
    }
}

#[test]
fn damaged_frames_end_as_a_picture_or_as_none() {
    let studio = Studio::new(TEST);
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for codec in [Codec::H264, Codec::VP8] {
        let good = key_frame(TEST, codec);
        for _ in 0..20 {
            let mut payloads: Vec<Vec<u8>> = good.payloads.iter().map(|payload| payload.to_vec()).collect();
            for _ in 0..=random(8) {
                let packet = random(payloads.len());
                let length = payloads[packet].len();
                match random(4) {
                    0 => payloads[packet].truncate(random(length) + 1),
                    1 => payloads[packet][random(length.min(40))] = u8::try_from(random(256)).unwrap(),
                    2 => payloads[packet][random(length)] ^= 1 << random(8),
                    _ => payloads.swap(packet, 0),
                }
            }
            let frame = KeyFrame { codec, payloads: payloads.into_iter().map(Bytes::from).collect() };
            match studio.bench.media.jpeg(&frame, Some(64), Instant::now() + PATIENCE) {
                Ok(jpeg) => assert!(jpeg.starts_with(&[0xff, 0xd8]), "{codec}"),
                Err(error) => assert!(matches!(error, SnapshotError::Undecoded(_)), "{codec}: {error}"),
            }
        }
    }
}

#[test]
fn a_missing_decoder_is_named_and_the_next_one_is_taken_for_one_that_fails() {
    let mut board = Board::generic();
    board.decoders.retain(|it| it.input.to_string() == "H264");
    let works = board.decoders[0].clone();
    for it in &mut board.decoders {
        it.element = "bogus264dec".into();
    }
    let studio = Studio::on(board.clone(), TEST);
    let error = studio.take(source("test"), None).unwrap_err();
    assert!(matches!(error, SnapshotError::NoDecoder { codec: Codec::H264, .. }), "{error}");
    // registered, and takes no H264
    board.decoders[0].element = "vp8dec".into();
    board.decoders.push(works);
    let studio = Studio::on(board, TEST);
    assert_eq!(look(&studio.take(source("test"), None).unwrap()).0, 320);
}

#[test]
fn without_a_key_frame_there_is_an_end_to_waiting_and_to_how_many_wait() {
    let studio = Studio::new(TEST);
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let layers: Vec<_> = (0..9).map(|number| published(90_010 + number, Codec::H264)).collect();
    let asked = layers.iter().map(|(layer, _)| studio.snapshots.take(Subject::Published(Arc::clone(layer)), None));
    let outcomes = clock.block_on(join_all(asked));
    let of = |fits: &dyn Fn(&SnapshotError) -> bool| outcomes.iter().filter(|it| it.as_ref().is_err_and(fits)).count();
    assert_eq!(of(&|error| matches!(error, SnapshotError::NoKeyFrame(_))), 8);
    assert_eq!(of(&|error| matches!(error, SnapshotError::Busy)), 1);
    assert!(layers[..8].iter().all(|(layer, asked)| asked.0.load(Ordering::Relaxed) >= 1 && layer.figures().sinks == 0));
    assert_eq!((studio.counted("no_key_frame"), studio.counted("busy")), (8, 1));
}

#[test]
fn a_stop_ends_what_is_under_way() {
    let studio = Studio::new(TEST);
    let (layer, _) = published(90_030, Codec::H264);
    let (subject, stop) = (Subject::Published(layer), studio.stop.clone());
    let outcome = studio.runtime.block_on(async {
        let (outcome, ()) = tokio::join!(studio.snapshots.take(subject, None), async { stop.cancel() });
        outcome
    });
    assert!(matches!(outcome, Err(SnapshotError::Stopping)), "{outcome:?}");
}
