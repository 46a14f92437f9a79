//! One publisher's track, decoded by a pipeline of its own.
//!
//! Of its own, so that a decoder that fails, hangs or needs seconds to open concerns nobody else. A thread holds it: it builds the
//! pipeline, starts it anew when it fails, and ends it. What comes out is left where the runner finds it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::{debug, info, warn};

use super::ear::sound_caps;
use super::layout::Size;
use super::sound::Ring;
use crate::forward::Layer;
use crate::media::SourceError;
use crate::media::board::{Board, chain};
use crate::media::decoding::Decoding;
use crate::media::inlet::Inlet;
use crate::media::pipeline::{PresenceCache, RAW_QUEUE, RawTap, make};
use crate::media::plan;
use crate::vocab::MediaKind;

/// A pipeline that failed is built anew after this time.
const PAUSE: Duration = Duration::from_secs(1);

/// What every input works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub board: Arc<Board>,
    pub presences: Arc<PresenceCache>,
    pub decoding: Arc<Decoding>,
}

/// A track that is being decoded until this is dropped.
pub(super) struct Input {
    /// The layer that it decodes: another one is another input. `None`: nothing is decoded.
    layer: Option<Arc<Layer>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Input {
    /// Pictures, left in `eye`.
    pub fn pictures(layer: &Arc<Layer>, tools: &Tools, eye: Arc<Eye>) -> Self {
        let build = {
            let eye = Arc::clone(&eye);
            move |inlet: &Inlet, scaler: Option<&str>| picture_pipeline(inlet, &eye, scaler)
        };
        // a picture that is turned is turned in plain memory, and is there then
        Self::start("mix-picture", layer, tools.clone(), eye.turns.is_multiple_of(4), build)
    }

    /// Sound, left in `ring`.
    pub fn sound(layer: &Arc<Layer>, tools: &Tools, ring: Arc<Mutex<Ring>>) -> Self {
        Self::start("mix-sound", layer, tools.clone(), false, move |inlet, _| sound_pipeline(inlet, &ring))
    }

    /// Nothing is decoded: pictures or samples come raw, from a pipeline of another.
    pub fn raw() -> Self {
        Self { layer: None, stop: None, thread: None }
    }

    /// The layer that it decodes.
    pub fn layer(&self) -> Option<Arc<Layer>> {
        self.layer.clone()
    }

    /// Whether it decodes this layer.
    pub fn is_of(&self, layer: &Arc<Layer>) -> bool {
        self.layer.as_ref().is_some_and(|own| Arc::ptr_eq(own, layer))
    }

    /// Asks it to end. The thread may still be closing a device.
    pub fn stop(mut self) -> Option<JoinHandle<()>> {
        self.stop = None;
        self.thread.take()
    }

    fn start(
        name: &str,
        layer: &Arc<Layer>,
        tools: Tools,
        scales: bool,
        build: impl Fn(&Inlet, Option<&str>) -> Result<gst::Pipeline, SourceError> + Send + 'static,
    ) -> Self {
        let (stop, stopped) = mpsc::channel();
        let of = Arc::clone(layer);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || hold(&of, &tools, scales, &build, &stopped));
        if let Err(error) = &thread {
            warn!(%error, "no thread to decode on");
        }
        Self { layer: Some(Arc::clone(layer)), stop: Some(stop), thread: thread.ok() }
    }
}

type Build = dyn Fn(&Inlet, Option<&str>) -> Result<gst::Pipeline, SourceError>;

/// Keeps a pipeline running until `stopped` says that nobody wants it.
fn hold(layer: &Arc<Layer>, tools: &Tools, scales: bool, build: &Build, stopped: &mpsc::Receiver<()>) {
    let _using = tools.presences.use_codecs(&tools.board);
    let mut passed_over = HashSet::new();
    let mut told: Option<String> = None;
    loop {
        let scaler = scaler(tools, &passed_over).filter(|_| scales);
        match once(layer, tools, scaler, build, &passed_over, stopped) {
            Ok(()) => return,
            Err((error, culprit)) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    warn!(codec = %layer.format().codec, error, "a publisher cannot be decoded for the mix; it is tried again");
                    told = Some(error);
                }
                match culprit {
                    Some(element) => drop(passed_over.insert(element)),
                    // all have been tried: the first may do it now
                    None => passed_over.clear(),
                }
            }
        }
        if stopped.recv_timeout(PAUSE) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// The board's own scaler: an element or a chain. `None` where software scales.
fn scaler<'t>(tools: &'t Tools, passed_over: &HashSet<String>) -> Option<&'t str> {
    let it = plan::board_converter(&tools.board, &|asked| tools.presences.get(asked));
    let software = chain(it).all(|element| matches!(element, "videoconvertscale" | "videoconvert" | "videoscale"));
    Some(it).filter(|_| !software && !passed_over.contains(it))
}

/// One pipeline, from its start to its end. The decoder or scaler that failed is named, if it was one.
fn once(
    layer: &Arc<Layer>,
    tools: &Tools,
    scaler: Option<&str>,
    build: &Build,
    passed_over: &HashSet<String>,
    stopped: &mpsc::Receiver<()>,
) -> Result<(), (SourceError, Option<String>)> {
    /// How often it is looked whether the pipeline failed.
    const LOOK: Duration = Duration::from_millis(100);
    let inlet = match scaler {
        Some(_) => Inlet::unfetched(Arc::clone(layer), &tools.board, &tools.presences, passed_over),
        None => Inlet::new(Arc::clone(layer), &tools.board, &tools.presences, passed_over),
    };
    let inlet = inlet.map_err(|error| (error, None))?;
    let pipeline = build(&inlet, scaler).map_err(|error| (error, None))?;
    let error_of = || {
        let bus = pipeline.bus()?;
        let message = bus.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => {
                let decoder = inlet.bin().by_name("decoder");
                let culprit = decoder.is_some_and(|decoder| {
                    error
                        .src()
                        .is_some_and(|source| source.has_as_ancestor(&decoder) || source == decoder.upcast_ref::<gst::Object>())
                });
                // a converter that cannot do something says so by what stands in front of it
                let culprit = if culprit { Some(inlet.decoder()) } else { scaler };
                Some((SourceError::Failed(error.error().to_string()), culprit.map(str::to_owned)))
            }
            _ => None,
        }
    };
    let mut outcome = Ok(());
    if pipeline.set_state(gst::State::Playing).is_err() {
        outcome = Err(error_of().unwrap_or_else(|| {
            (SourceError::Failed("the decoder does not start and does not say why".into()), Some(inlet.decoder().to_owned()))
        }));
    } else {
        let codec = layer.format().codec;
        info!(%codec, element = inlet.decoder(), "decoding for the mix");
        let _at_work = (codec.kind() == MediaKind::Video).then(|| tools.decoding.begin(inlet.decoder()));
        inlet.open();
        while stopped.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(error) = error_of() {
                outcome = Err(error);
                break;
            }
        }
    }
    let _ = pipeline.set_state(gst::State::Null);
    outcome
}

/// The newest picture of a publisher, and the size it is wanted in.
#[derive(Default)]
pub(super) struct Eye {
    /// Width and height before it is scaled; 0 while nothing is known.
    size: AtomicU64,
    /// Quarter turns, clockwise.
    turns: u8,
    /// Least time between two pictures that are taken, in ns.
    pace: u64,
    state: Mutex<EyeState>,
}

#[derive(Default)]
struct EyeState {
    newest: Option<Picture>,
    wanted: Option<Size>,
    scaler: Option<gst::Element>,
}

/// A picture, ready to be put into the scene.
#[derive(Clone)]
pub(super) struct Picture {
    pub buffer: gst::Buffer,
    pub caps: gst::Caps,
    /// When it came.
    pub at: Instant,
    /// Counts pictures.
    pub number: u64,
}

impl Eye {
    /// Takes up to `framerate` pictures a second, and turns them.
    pub fn new(framerate: u32, turns: u8) -> Self {
        // a little less than a frame: pictures do not come evenly
        Self { turns, pace: 600_000_000 / u64::from(framerate.max(1)), ..Self::default() }
    }

    /// The newest picture.
    pub fn newest(&self) -> Option<Picture> {
        self.state().newest.clone()
    }

    /// The size of its pictures as they are sent, upright.
    pub fn size(&self) -> Size {
        let both = self.size.load(Ordering::Relaxed);
        let half = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or_default();
        Size { width: half(both >> 32), height: half(both) }
    }

    /// Has its pictures scaled to this size from now on.
    pub fn want(&self, size: Size) {
        let mut state = self.state();
        if state.wanted.replace(size) != Some(size) {
            state.scale();
        }
    }

    fn state(&self) -> MutexGuard<'_, EyeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, sample: &gst::Sample) {
        let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else { return };
        let mut state = self.state();
        let number = state.newest.as_ref().map_or(1, |picture| picture.number + 1);
        state.newest = Some(Picture { buffer, caps, at: Instant::now(), number });
    }
}

impl EyeState {
    fn scale(&self) {
        let (Some(scaler), Some(Size { width, height })) = (&self.scaler, self.wanted) else { return };
        let caps = format!("video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1");
        scaler.set_property("caps", caps.parse::<gst::Caps>().ok());
    }
}

/// The inlet's pictures, turned, scaled and left in the eye.
fn picture_pipeline(inlet: &Inlet, eye: &Arc<Eye>, scaler: Option<&str>) -> Result<gst::Pipeline, SourceError> {
    join(inlet, &picture_tail("identity silent=true", eye, scaler)?)
}

/// What is hung on a source's tees, so that its pictures come into the eye and its sound into the ring.
pub(super) fn raw_taps(tools: &Tools, eye: &Arc<Eye>, ring: &Arc<Mutex<Ring>>) -> Vec<RawTap> {
    let (tools, eye, ring) = (tools.clone(), Arc::clone(eye), Arc::clone(ring));
    let pictures = move || picture_tail(RAW_QUEUE, &eye, scaler(&tools, &HashSet::new()));
    let sound = move || sound_tail("queue max-size-buffers=0 max-size-bytes=0 max-size-time=200000000 leaky=downstream", &ring);
    vec![RawTap { kind: MediaKind::Video, build: Box::new(pictures) }, RawTap { kind: MediaKind::Audio, build: Box::new(sound) }]
}

/// Turns and scales pictures and leaves them in the eye. `front` is what they come in by.
fn picture_tail(front: &str, eye: &Arc<Eye>, scaler: Option<&str>) -> Result<gst::Bin, SourceError> {
    let direction = ["identity", "90r", "180", "90l"][usize::from(eye.turns % 4)];
    let turn = if eye.turns.is_multiple_of(4) {
        "identity silent=true".into()
    } else {
        format!("videoflip video-direction={direction}")
    };
    let tail = make::bin(&format!(
        "{front} name=entry ! {turn} name=turn ! {} ! capsfilter name=size caps=video/x-raw,format=I420 ! \
         appsink name=out sync=false async=false max-buffers=1 drop=true enable-last-sample=false",
        scaler.unwrap_or("videoscale ! videoconvert")
    ))?;
    if let Some(scaler) = scaler {
        info!(scaler, "the board scales for the mix");
    }
    if let Some(pad) = tail.static_pad("sink") {
        let (pace, mut last) = (eye.pace, None::<u64>);
        let last = Mutex::new(last.take());
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()).map(|pts| pts.nseconds()) else {
                return gst::PadProbeReturn::Ok;
            };
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            // also when the clock of the publisher jumps back
            if last.is_some_and(|last| pts >= last && pts - last < pace) {
                return gst::PadProbeReturn::Drop;
            }
            *last = Some(pts);
            gst::PadProbeReturn::Ok
        });
    }
    if let Some(pad) = tail.by_name("turn").and_then(|turn| turn.static_pad("src")) {
        let eye = Arc::clone(eye);
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
                && let Some(structure) = caps.caps().structure(0)
                && let (Ok(width), Ok(height)) = (structure.get::<i32>("width"), structure.get::<i32>("height"))
            {
                let number = |n: i32| u64::try_from(n).unwrap_or_default();
                debug!(width, height, "pictures of this size come");
                eye.size.store(number(width) << 32 | number(height), Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
    }
    {
        let mut state = eye.state();
        state.scaler = tail.by_name("size");
        state.scale();
    }
    let eye = Arc::clone(eye);
    on_sample(&tail, move |sample| eye.take(sample))?;
    Ok(tail)
}

/// The inlet's sound, put into the ring.
fn sound_pipeline(inlet: &Inlet, ring: &Arc<Mutex<Ring>>) -> Result<gst::Pipeline, SourceError> {
    join(inlet, &sound_tail("identity silent=true", ring)?)
}

/// Puts sound into the ring. `front` is what it comes in by.
fn sound_tail(front: &str, ring: &Arc<Mutex<Ring>>) -> Result<gst::Bin, SourceError> {
    let tail = make::bin(&format!(
        "{front} name=entry ! audioconvert ! audioresample ! {} ! appsink name=out sync=false async=false max-buffers=16 drop=true enable-last-sample=false",
        sound_caps()
    ))?;
    let ring = Arc::clone(ring);
    on_sample(&tail, move |sample| {
        let Some(map) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) else { return };
        let samples = map.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        ring.lock().unwrap_or_else(PoisonError::into_inner).push(samples);
    })?;
    Ok(tail)
}

fn join(inlet: &Inlet, tail: &gst::Bin) -> Result<gst::Pipeline, SourceError> {
    let failed = |error: gst::glib::BoolError| SourceError::Failed(error.to_string());
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([inlet.bin(), tail]).map_err(failed)?;
    inlet.bin().link(tail).map_err(failed)?;
    Ok(pipeline)
}

fn on_sample(tail: &gst::Bin, take: impl Fn(&gst::Sample) + Send + Sync + 'static) -> Result<(), SourceError> {
    let sink = tail.by_name("out").and_then(|it| it.downcast::<gst_app::AppSink>().ok());
    let sink = sink.ok_or_else(|| SourceError::Failed("the way out is incomplete".into()))?;
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        take(&sample);
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    Ok(())
}
