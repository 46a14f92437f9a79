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
use crate::media::*;
use crate::vocab::{Codec, MediaKind, PeerId, SourceName};

/// Nothing here should take longer, even on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const HABITS: &str = "linger = '200ms'";

fn parse(sources: &str, habits: &str) -> MediaSourceConfig {
    #[derive(serde::Deserialize)]
    struct File {
        source: Vec<SourceConfig>,
    }
    let file: File = toml::from_str(sources).unwrap();
    MediaSourceConfig { habits: toml::from_str(habits).unwrap(), sources: file.source, ..Default::default() }
}

pub struct Bench {
    pub media: Arc<Media>,
    pub events: mpsc::UnboundedReceiver<MediaEvent>,
    next: u64,
}

impl Bench {
    /// `sources` as `[[source]]` tables.
    pub fn new(sources: &str) -> Self {
        Self::on(Board::generic(), sources, HABITS)
    }

    pub fn on(board: Board, sources: &str, habits: &str) -> Self {
        gstreamer::init().unwrap();
        // shown with a test that fails
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        let (tell, events) = mpsc::unbounded_channel();
        Self {
            media: Arc::new(Media::start_on(board, PresenceCache::default(), parse(sources, habits), tell).unwrap()),
            events,
            next: 0,
        }
    }

    /// Other sources from now on, with the habits of `new`.
    pub fn configure(&self, sources: &str) {
        self.media.configure(parse(sources, HABITS));
    }

    pub fn ask(&mut self, source: &str, video: &[Codec]) -> (PeerId, Answer) {
        self.next += 1;
        let viewer = PeerId(self.next);
        let (reply, answer) = oneshot::channel();
        let wants = Wants { video: video.to_vec(), audio: vec![Codec::Opus] };
        self.media.send(MediaCommand::Demand { source: name(source), viewer, wants, reply });
        (viewer, answer)
    }

    pub fn play(&mut self, source: &str, video: &[Codec]) -> (PeerId, Vec<PlannedTrack>) {
        let (viewer, answer) = self.ask(source, video);
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
        let (reply, answer) = oneshot::channel();
        self.media.send(MediaCommand::Figures { reply });
        answer.blocking_recv().unwrap().remove(0)
    }

    /// Waits for the figures to become so.
    pub fn until(&self, what: &str, fits: impl Fn(&SourceFigures) -> bool) -> SourceFigures {
        let limit = Instant::now() + PATIENCE;
        loop {
            let figures = self.figures();
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
