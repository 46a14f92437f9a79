//! A `Media` with a test's own sources, and viewers that keep what they are sent.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::forward::{FramePackets, FrameSink, Layer, Offered, SinkId};
use crate::media::board::Board;
use crate::media::pipeline::PresenceCache;
use crate::media::strain::StrainConfig;
use crate::media::*;
use crate::vocab::{Codec, MediaKind, MemberId, MixConfig, PeerId, SourceName};

/// Nothing here should take longer, even on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const HABITS: &str = "linger = '200ms'";

fn parse(sources: &str, habits: &str) -> MediaSourceConfig {
    #[derive(serde::Deserialize)]
    struct File {
        source: Vec<SourceConfig>,
    }
    let file: File = toml::from_str(sources).unwrap();
    // how busy this machine is must not show
    let strain = StrainConfig { enabled: false, ..Default::default() };
    MediaSourceConfig { habits: toml::from_str(habits).unwrap(), sources: file.source, strain, ..Default::default() }
}

/// With a mix named `mix:a` as well.
fn mixing(sources: &str, mix: MixConfig) -> MediaSourceConfig {
    let mut config = parse(sources, HABITS);
    let bitrate = mix.bitrate;
    config.sources.push(SourceConfig { name: name("mix:a"), kind: SourceKind::Mix(mix), bitrate, audio_device: None });
    config
}

pub struct Bench {
    pub media: Arc<Media>,
    pub events: mpsc::UnboundedReceiver<MediaEvent>,
    next: u64,
}

impl Drop for Bench {
    /// What one test leaves running takes the processor from the next.
    fn drop(&mut self) {
        self.media.stop();
    }
}

impl Bench {
    /// `sources` as `[[source]]` tables.
    pub fn new(sources: &str) -> Self {
        Self::on(Board::generic(), sources, HABITS)
    }

    /// With a mix named `mix:a` as well.
    pub fn with_mix(sources: &str, mix: MixConfig) -> Self {
        Self::start(Board::generic(), mixing(sources, mix))
    }

    /// The same on a board.
    pub fn with_mix_on(board: Board, sources: &str, mix: MixConfig) -> Self {
        Self::start(board, mixing(sources, mix))
    }

    /// Other sources from now on, and a mix named `mix:a`.
    pub fn configure_mix(&self, sources: &str, mix: MixConfig) {
        self.media.configure(mixing(sources, mix));
    }

    pub fn on(board: Board, sources: &str, habits: &str) -> Self {
        Self::start(board, parse(sources, habits))
    }

    fn start(board: Board, config: MediaSourceConfig) -> Self {
        gstreamer::init().unwrap();
        // shown with a test that fails
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        let (tell, events) = mpsc::unbounded_channel();
        Self { media: Arc::new(Media::start_on(board, PresenceCache::default(), config, tell).unwrap()), events, next: 0 }
    }

    /// Other sources from now on, with the habits of `new`.
    pub fn configure(&self, sources: &str) {
        self.media.configure(parse(sources, HABITS));
    }

    pub fn ask(&mut self, source: &str, video: &[Codec]) -> (PeerId, Answer) {
        self.ask_for(source, None, video)
    }

    fn ask_for(&mut self, source: &str, listener: Option<MemberId>, video: &[Codec]) -> (PeerId, Answer) {
        self.next += 1;
        let viewer = PeerId(self.next);
        let (reply, answer) = oneshot::channel();
        let wants = Wants { video: video.to_vec(), audio: vec![Codec::Opus] };
        self.media.send(MediaCommand::Demand { source: name(source), viewer, listener, wants, reply });
        (viewer, answer)
    }

    pub fn play(&mut self, source: &str, video: &[Codec]) -> (PeerId, Vec<PlannedTrack>) {
        self.play_for(source, None, video)
    }

    pub fn play_for(&mut self, source: &str, listener: Option<MemberId>, video: &[Codec]) -> (PeerId, Vec<PlannedTrack>) {
        let (viewer, answer) = self.ask_for(source, listener, video);
        (viewer, answer.blocking_recv().unwrap().unwrap())
    }

    pub fn refusal(&mut self, source: &str) -> SourceError {
        let (_, answer) = self.ask(source, &[Codec::H264, Codec::VP8]);
        match answer.blocking_recv().unwrap() {
            Ok(tracks) => panic!("played with {} tracks", tracks.len()),
            Err(error) => error,
        }
    }

    pub fn release(&self, source: &str, viewer: PeerId) {
        self.media.send(MediaCommand::Release { source: name(source), viewer });
    }

    pub fn figures(&self) -> SourceFigures {
        self.all_figures().remove(0)
    }

    pub fn all_figures(&self) -> Vec<SourceFigures> {
        let (reply, answer) = oneshot::channel();
        self.media.send(MediaCommand::Figures { reply });
        answer.blocking_recv().unwrap()
    }

    /// Waits for the figures to become so.
    pub fn until(&self, what: &str, fits: impl Fn(&SourceFigures) -> bool) -> SourceFigures {
        self.until_of(0, what, fits)
    }

    /// As [`Self::until`], of another source than the first.
    pub fn until_of(&self, index: usize, what: &str, fits: impl Fn(&SourceFigures) -> bool) -> SourceFigures {
        let limit = Instant::now() + PATIENCE;
        loop {
            let (reply, answer) = oneshot::channel();
            self.media.send(MediaCommand::Figures { reply });
            let figures = answer.blocking_recv().unwrap().remove(index);
            if fits(&figures) {
                return figures;
            }
            assert!(Instant::now() < limit, "{what}: {figures:?}");
            std::thread::yield_now();
        }
    }

    pub fn event(&mut self) -> MediaEvent {
        self.events.blocking_recv().unwrap()
    }
}

pub type Answer = oneshot::Receiver<Result<Vec<PlannedTrack>, SourceError>>;

pub fn name(source: &str) -> SourceName {
    SourceName::new(source).unwrap()
}

pub fn track(tracks: &[PlannedTrack], kind: MediaKind) -> &PlannedTrack {
    tracks.iter().find(|track| track.kind == kind).unwrap()
}

/// A viewer of one layer.
pub struct Watch {
    frames: Receiver<Arc<FramePackets>>,
    /// What was cached, not yet seen.
    cached: Mutex<VecDeque<Arc<FramePackets>>>,
    /// Times of the cached frames, which may also have come as they were written.
    known: HashSet<u32>,
}

struct Sink(Mutex<Sender<Arc<FramePackets>>>);

impl FrameSink for Sink {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        match self.0.lock().unwrap().send(Arc::clone(frame)) {
            Ok(()) => Offered::Taken,
            Err(_) => Offered::Gone,
        }
    }
}

impl Watch {
    /// Sees what the layer has cached, then what comes.
    pub fn new(layer: &Layer) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let (frame, frames) = channel();
        let id = SinkId(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        // attached first: nothing is written unseen between the two
        layer.attach(id, Arc::new(Sink(Mutex::new(frame))));
        let cached = VecDeque::from(layer.cached());
        let known = cached.iter().map(|frame| frame.packets[0].timestamp).collect();
        Self { frames, cached: Mutex::new(cached), known }
    }

    pub fn frame(&self) -> Arc<FramePackets> {
        if let Some(frame) = self.cached.lock().unwrap().pop_front() {
            return frame;
        }
        loop {
            let frame = self.frames.recv_timeout(PATIENCE).expect("a frame in time");
            if !self.known.contains(&frame.packets[0].timestamp) {
                return frame;
            }
        }
    }

    pub fn take(&self, count: usize) -> Vec<Arc<FramePackets>> {
        (0..count).map(|_| self.frame()).collect()
    }

    /// The next key frame, and how many frames came before it.
    pub fn key(&self) -> (usize, Arc<FramePackets>) {
        let mut before = 0;
        loop {
            let frame = self.frame();
            if frame.key {
                return (before, frame);
            }
            before += 1;
        }
    }
}

/// RTP times from one frame to the next.
pub fn steps(frames: &[Arc<FramePackets>]) -> Vec<i32> {
    let times: Vec<u32> = frames.iter().map(|frame| frame.packets[0].timestamp).collect();
    times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i32).collect()
}

/// NAL units of an H.264 frame (RFC 6184: single, STAP-A, FU-A).
pub fn nal_units(frame: &FramePackets) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for packet in &frame.packets {
        let payload: &Bytes = &packet.payload;
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while rest.len() > 2 {
                    let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    units.push(rest[2..2 + len].to_vec());
                    rest = &rest[2 + len..];
                }
            }
            28 => {
                if payload[1] & 0x80 != 0 {
                    units.push(vec![payload[0] & 0xe0 | payload[1] & 0x1f]);
                }
                units.last_mut().unwrap().extend_from_slice(&payload[2..]);
            }
            _ => units.push(payload.to_vec()),
        }
    }
    units
}

/// Runs a description to its end.
pub fn run(description: &str) {
    use gstreamer::prelude::*;
    gstreamer::init().unwrap();
    let pipeline = gstreamer::parse::launch(description).unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(
        gstreamer::ClockTime::from_seconds(30),
        &[gstreamer::MessageType::Eos, gstreamer::MessageType::Error],
    );
    pipeline.set_state(gstreamer::State::Null).unwrap();
    assert_eq!(end.unwrap().type_(), gstreamer::MessageType::Eos, "{description}");
}

/// Size of the picture in the next key frame, as its sequence parameter set has it (ITU-T H.264 §7.3.2.1.1, baseline profile).
pub fn size(watch: &Watch) -> (u32, u32) {
    let (_, key) = watch.key();
    let unit = nal_units(&key).into_iter().find(|unit| unit[0] & 0x1f == 7).unwrap();
    // without emulation prevention
    let mut bytes = Vec::new();
    for byte in &unit[4..] {
        if !(*byte == 3 && bytes.ends_with(&[0, 0])) {
            bytes.push(*byte);
        }
    }
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let bits: &mut dyn Iterator<Item = u32> = &mut bits;
    fn number(bits: &mut dyn Iterator<Item = u32>) -> u32 {
        let zeros = bits.take_while(|bit| *bit == 0).count();
        bits.take(zeros).fold(1, |number, bit| number << 1 | bit) - 1
    }
    let (_id, _frame_numbers, order) = (number(bits), number(bits), number(bits));
    if order == 0 {
        number(bits);
    }
    let (_references, _gaps) = (number(bits), bits.next());
    let (width, height) = (16 * (number(bits) + 1), 16 * (number(bits) + 1));
    let (_frames_only, _inference, cropped) = (bits.next(), bits.next(), bits.next());
    if cropped != Some(1) {
        return (width, height);
    }
    let (left, right, top, bottom) = (number(bits), number(bits), number(bits), number(bits));
    (width - 2 * (left + right), height - 2 * (top + bottom))
}
