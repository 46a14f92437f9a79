//! Mixes with the real GStreamer: test pictures of one colour and one tone each go in, and what comes out is looked at and listened to.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::*;
use crate::forward::{FramePackets, FrameSink, KeyframeRequest, Offered, Refresh, SinkId};
use crate::media::board::Board;
use crate::media::inlet::Inlet;
use crate::media::pipeline::PresenceCache;
use crate::media::tests::support::{Bench, PATIENCE, name, track};
use crate::media::{MediaCommand, PlannedTrack};
use crate::vocab::{Codec, LayerId, MediaKind, TrackId};

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];
const BLACK: [u8; 3] = [0, 0, 0];
const COLOURS: [(&str, [u8; 3], u32); 4] =
    [("red", RED, 440), ("green", GREEN, 700), ("blue", BLUE, 1000), ("white", WHITE, 1400)];

/// A source for each colour, with a tone of its own.
fn sources() -> String {
    let source = |(colour, _, tone): (&str, [u8; 3], u32)| {
        format!(
            "[[source]]\nname='{colour}'\ntype='test'\nwidth=320\nheight=180\nframerate=10\npattern='{colour}'\ntone={tone}\n"
        )
    };
    COLOURS.into_iter().map(source).collect()
}

fn small() -> MixConfig {
    MixConfig { width: 320, height: 180, framerate: 10, ..MixConfig::default() }
}

/// These sources and a mix.
fn bench() -> Bench {
    Bench::with_mix(&sources(), small())
}

fn member(n: u8) -> MemberId {
    MemberId([n; 16])
}

fn input(n: u8, from: MixFrom) -> MixInput {
    MixInput { member: member(n), stream: StreamName::new("main").unwrap(), label: format!("member {n}"), from, turns: 0 }
}

fn of_source(n: u8, colour: &str) -> MixInput {
    input(n, MixFrom::Source(name(colour)))
}

fn mix(bench: &Bench, inputs: &[MixInput]) {
    bench.media.send(MediaCommand::Mix { source: name("mix:a"), inputs: inputs.to_vec() });
}

/// A viewer of the mix who looks and listens.
struct Viewer {
    viewer: PeerId,
    pictures: Decoded,
    sound: Decoded,
}

impl Viewer {
    fn new(bench: &mut Bench, listener: Option<MemberId>) -> Self {
        let (viewer, tracks) = bench.play_for("mix:a", listener, &[Codec::VP8]);
        let layer = |kind| Arc::clone(track(&tracks, kind).layers.first());
        Self { viewer, pictures: Decoded::new(&layer(MediaKind::Video)), sound: Decoded::new(&layer(MediaKind::Audio)) }
    }

    /// Waits until these colours are seen at these places, in parts of the picture.
    fn sees(&self, what: &str, wanted: &[((f64, f64), [u8; 3])]) {
        let limit = Instant::now() + PATIENCE;
        loop {
            let seen: Vec<[u8; 3]> = {
                let picture = self.pictures.next();
                wanted.iter().map(|((x, y), _)| pixel(&picture, *x, *y)).collect()
            };
            if seen.iter().zip(wanted).all(|(seen, (_, want))| near(*seen, *want)) {
                return;
            }
            assert!(Instant::now() < limit, "{what}: {seen:?} instead of {wanted:?}");
        }
    }

    /// Waits until these tones are heard, and those are not.
    fn hears(&self, what: &str, tones: &[u32], not: &[u32]) {
        let limit = Instant::now() + PATIENCE;
        let mut samples = Vec::new();
        loop {
            samples.extend(self.sound.next().bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
            // a fifth of a second of both channels
            if samples.len() < 19_200 {
                continue;
            }
            let loud: Vec<(u32, f64)> = tones.iter().chain(not).map(|tone| (*tone, loudness(&samples, *tone))).collect();
            let (yes, no) = loud.split_at(tones.len());
            if yes.iter().all(|(_, loud)| *loud > 0.02) && no.iter().all(|(_, loud)| *loud < 0.004) {
                return;
            }
            samples.clear();
            assert!(Instant::now() < limit, "{what}: {loud:?}");
        }
    }
}

/// How much of a tone there is, 1 being full scale (Goertzel's algorithm, of the left channel).
fn loudness(samples: &[i16], tone: u32) -> f64 {
    let left: Vec<f64> = samples.iter().step_by(2).map(|sample| f64::from(*sample) / 32768.0).collect();
    let step = std::f64::consts::TAU * f64::from(tone) / 48_000.0;
    let part = |turn: fn(f64) -> f64| left.iter().enumerate().map(|(n, sample)| sample * turn(step * n as f64)).sum::<f64>();
    2.0 * part(f64::cos).hypot(part(f64::sin)) / left.len() as f64
}

fn near(seen: [u8; 3], want: [u8; 3]) -> bool {
    seen.iter().zip(want).all(|(seen, want)| seen.abs_diff(want) < 60)
}

fn pixel(picture: &Raw, x: f64, y: f64) -> [u8; 3] {
    let at = |part: f64, of: usize| ((part * of as f64) as usize).min(of - 1);
    let start = (at(y, picture.height) * picture.width + at(x, picture.width)) * 3;
    picture.bytes[start..start + 3].try_into().unwrap()
}

struct Raw {
    bytes: Vec<u8>,
    width: usize,
    height: usize,
}

/// What comes out of a layer.
struct Decoded {
    pipeline: gst::Pipeline,
    _inlet: Inlet,
    out: Receiver<Raw>,
}

impl Decoded {
    fn new(layer: &Arc<Layer>) -> Self {
        let inlet = Inlet::new(Arc::clone(layer), &Board::generic(), &PresenceCache::default(), &HashSet::new()).unwrap();
        let convert = match layer.format().codec.kind() {
            MediaKind::Video => "videoconvert name=entry ! video/x-raw,format=RGB",
            MediaKind::Audio => "audioconvert name=entry ! audioresample ! audio/x-raw,format=S16LE,rate=48000,channels=2",
        };
        let tail = crate::media::pipeline::make::bin(&format!("{convert} ! appsink name=out sync=false async=false")).unwrap();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([inlet.bin(), &tail]).unwrap();
        inlet.bin().link(&tail).unwrap();
        let sink = tail.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let (tell, out): (Sender<Raw>, _) = channel();
        let tell = Mutex::new(tell);
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let caps = sample.caps().unwrap().structure(0).unwrap().to_owned();
            let number = |key| usize::try_from(caps.get::<i32>(key).unwrap_or(0)).unwrap();
            let bytes = sample.buffer().unwrap().map_readable().unwrap().to_vec();
            let raw = Raw { bytes, width: number("width"), height: number("height") };
            let _ = tell.lock().unwrap().send(raw);
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
        pipeline.set_state(gst::State::Playing).unwrap();
        inlet.open();
        Self { pipeline, _inlet: inlet, out }
    }

    /// The newest, waited for where there is none.
    fn next(&self) -> Raw {
        let first = self.out.recv_timeout(PATIENCE).expect("something comes out in time");
        match first.width {
            // sound is listened to without holes
            0 => first,
            _ => self.out.try_iter().last().unwrap_or(first),
        }
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// Places in four pictures where neither their clocks nor their names are.
const FOUR: [(f64, f64); 4] = [(0.25, 0.15), (0.75, 0.15), (0.25, 0.65), (0.75, 0.65)];

#[test]
fn four_are_seen_in_their_places_and_nobody_hears_itself() {
    let mut bench = bench();
    let all: Vec<MixInput> = (1..).zip(COLOURS).map(|(n, (colour, ..))| of_source(n, colour)).collect();
    mix(&bench, &all);
    let nobody = Viewer::new(&mut bench, Some(member(9)));
    let (places, tones) =
        (FOUR.into_iter().zip(COLOURS.map(|(_, colour, _)| colour)).collect::<Vec<_>>(), [440, 700, 1000, 1400]);
    nobody.sees("all four", &places);
    nobody.hears("all four", &tones, &[]);
    let green = Viewer::new(&mut bench, Some(member(2)));
    green.hears("all but itself", &[440, 1000, 1400], &[700]);
    green.sees("all four", &places);

    // one leaves: the others stay where they are, and what it said is not heard any more
    mix(&bench, &[all[0].clone(), all[1].clone(), all[3].clone()]);
    nobody.sees("three", &[places[0], places[1], (FOUR[2], BLACK), places[3]]);
    nobody.hears("three", &[440, 700, 1400], &[1000]);
    green.hears("two others", &[440, 1400], &[700, 1000]);
    // who gives nothing any more hears what all hear
    mix(&bench, &[all[0].clone(), all[3].clone()]);
    green.hears("two others, once more", &[440, 1400], &[700, 1000]);
    nobody.sees("two", &[((0.25, 0.3), RED), ((0.75, 0.3), WHITE)]);

    // the cameras are not encoded on their way here: the mix's own encoder is the only one
    let figures = bench.all_figures();
    let encoders: Vec<_> = figures.iter().map(|it| (it.source.as_str(), it.state, it.encoders)).collect();
    assert_eq!(figures.iter().map(|it| it.encoders).sum::<usize>(), 1, "{encoders:?}");
    assert!(figures.iter().filter(|it| it.source != "mix:a").all(|it| it.paths.is_empty()), "nor their sound: {figures:?}");
    // one encoder of pictures for both viewers; none when nobody looks, and the sources are let go
    let of_mix = |figures: &crate::media::SourceFigures| figures.source == "mix:a";
    assert!(bench.all_figures().iter().any(|it| of_mix(it) && it.encoders == 1 && it.viewers == 2));
    for viewer in [nobody.viewer, green.viewer] {
        bench.release("mix:a", viewer);
    }
    drop((nobody, green));
    let limit = Instant::now() + PATIENCE;
    while !bench.all_figures().iter().all(|it| it.state == "idle" && it.encoders == 0) {
        assert!(Instant::now() < limit, "{:?}", bench.all_figures());
        std::thread::yield_now();
    }
}

/// Takes frames of one layer, to be passed on into another, for as long as it is told to.
struct Tap(Mutex<Sender<Arc<FramePackets>>>, std::sync::atomic::AtomicBool);

impl FrameSink for Tap {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = self.0.lock().unwrap().send(Arc::clone(frame));
        }
        Offered::Taken
    }
}

struct Ask(Arc<Layer>);

impl KeyframeRequest for Ask {
    fn request(&self) {
        self.0.request_keyframe(Instant::now());
    }
}

/// A publisher that sends what a source gives, and can stop.
fn publisher(of: &[PlannedTrack]) -> (Arc<Tap>, MixFrom) {
    let from = track(of, MediaKind::Video).layers.first();
    let id = LayerId { track: TrackId::next(), index: 0 };
    let to = Arc::new(Layer::new(id, from.format().clone(), Refresh::OnRequest, Box::new(Ask(Arc::clone(from)))));
    let (tell, frames) = channel::<Arc<FramePackets>>();
    let (tap, layer) = (Arc::new(Tap(Mutex::new(tell), true.into())), Arc::clone(&to));
    // on a thread of its own: the first layer is locked while it is written
    std::thread::spawn(move || frames.iter().for_each(|frame| layer.write(FramePackets::clone(&frame))));
    from.attach(SinkId(77), Arc::clone(&tap) as Arc<dyn FrameSink>);
    (tap, MixFrom::Published(vec![to.into()]))
}

#[test]
fn a_frozen_publisher_is_dimmed_and_comes_back_and_another_layout_moves_everybody() {
    let mut bench = bench();
    let (_, red) = bench.play("red", &[Codec::VP8]);
    let (tap, from) = publisher(&red);
    let red = input(1, from);
    mix(&bench, &[red.clone(), of_source(2, "green")]);
    let viewer = Viewer::new(&mut bench, None);
    let (left, right) = ((0.25, 0.3), (0.75, 0.3));
    viewer.sees("both", &[(left, RED), (right, GREEN)]);
    tap.1.store(false, std::sync::atomic::Ordering::Relaxed);
    viewer.sees("red is frozen", &[(left, [102, 0, 0]), (right, GREEN)]);
    tap.1.store(true, std::sync::atomic::Ordering::Relaxed);
    viewer.sees("red is back", &[(left, RED), (right, GREEN)]);

    let (reply, answer) = tokio::sync::oneshot::channel();
    bench.media.send(MediaCommand::MixLayout { source: name("mix:a"), layout: Some(MixLayout::Pip), reply });
    assert_eq!(answer.blocking_recv().unwrap(), Some(MixLayout::Pip));
    // green speaks, so it fills the picture, and red is small in its corner
    viewer.sees("who speaks is large", &[((0.2, 0.3), GREEN), ((0.9, 0.78), RED)]);
    // turned upright: as narrow as it was low
    mix(&bench, &[MixInput { turns: 1, ..red }]);
    viewer.sees("alone and upright", &[((0.5, 0.1), RED), ((0.1, 0.5), BLACK), ((0.9, 0.5), BLACK)]);
    mix(&bench, &[]);
    viewer.sees("nobody", &[((0.5, 0.5), BLACK)]);
}

/// Rooms are configured before sources are.
#[test]
fn what_is_told_of_a_mix_before_it_is_configured_is_kept() {
    let mut bench = Bench::new(&sources());
    mix(&bench, &[of_source(1, "blue")]);
    bench.configure_mix(&sources(), small());
    Viewer::new(&mut bench, None).sees("the one", &[((0.5, 0.1), BLUE)]);
}

/// What cannot scale is no scaler: neither behind a camera, which is encoded then, nor behind a decoder.
#[test]
fn a_scaler_of_the_board_that_fails_is_passed_over_and_the_camera_goes_on() {
    let mut board = Board::generic();
    board.convert.insert(0, "identity".into());
    let mut bench = Bench::with_mix_on(board, &sources(), small());
    mix(&bench, &[of_source(1, "red"), of_source(2, "green")]);
    let viewer = Viewer::new(&mut bench, None);
    let red = bench.until("red is encoded", |it| it.encoders == 1);
    assert_eq!((red.source.as_str(), red.error), ("red", None));
    viewer.sees("both", &[((0.25, 0.3), RED), ((0.75, 0.3), GREEN)]);
}
