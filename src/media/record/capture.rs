//! From layers to files: one pipeline without an encoder, and the thread that writes.
//!
//! ```text
//! Layer ─► Inlet (appsrc ─► rtpjitterbuffer ─► depayloader ─► parser) ─► appsink ─► Queue ─► Cutter ─► Store
//! ```
//!
//! GStreamer's threads end at the queue, which never waits; the disk is waited for by a thread of the recording's own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::cut::{Cutter, Frame, Rules, Write};
use super::matroska::Format;
use super::queue::{Popped, Queue};
use super::shelf::Of;
use super::store::{Store, StoreError, Writing};
use super::{Failure, RecordingFigures};
use crate::forward::Layer;
use crate::media::SourceError;
use crate::media::inlet::Inlet;
use crate::vocab::{Codec, MediaKind};

/// How often it is looked whether the pipeline failed, and whether something waits to be written.
const LOOK: Duration = Duration::from_millis(200);
/// What was gathered is written after this time, also when nothing more comes.
const QUIET: Duration = Duration::from_secs(1);
/// A key frame that did not come is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// That frames are left out is said this often at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Why a recording ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CaptureError {
    pub fn kind(&self) -> Failure {
        match self {
            Self::Source(_) => Failure::Source,
            Self::Store(error) if error.is_full() => Failure::Full,
            Self::Store(_) => Failure::Disk,
        }
    }
}

/// How far it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The file that is being written.
    pub file: Option<String>,
    /// When it began.
    pub began: Option<SystemTime>,
    /// What is in it.
    pub codecs: Vec<Codec>,
    /// Bytes of all files of this recording since it started.
    pub bytes: u64,
    /// Files begun.
    pub files: u64,
    /// Frames left out because the disk was too slow.
    pub dropped: u64,
    /// When the newest frame came.
    pub newest: Option<Instant>,
}

/// Shared with who shows it.
pub(super) type Shared = Arc<Mutex<Progress>>;

/// What it works with.
#[derive(Clone)]
pub(super) struct Setting {
    pub of: Of,
    pub rules: Rules,
    pub store: Arc<Store>,
    pub figures: Arc<RecordingFigures>,
    pub progress: Shared,
}

/// A recording under way; ends when this is dropped.
pub(super) struct Capture {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<Result<(), CaptureError>>,
}

impl Capture {
    /// Starts it on a thread of its own.
    pub fn start(layers: Vec<Arc<Layer>>, setting: Setting) -> Result<Self, SourceError> {
        let queue = Arc::<Queue>::default();
        let (tell, ended) = oneshot::channel();
        let fed = Arc::clone(&queue);
        let work = move || {
            let outcome = run(&layers, &setting, &fed);
            // what other threads of the pipeline still bring is of no use
            fed.close();
            let _ = tell.send(outcome);
        };
        let thread = std::thread::Builder::new().name("record".into()).spawn(work);
        thread.map_err(|error| SourceError::Failed(format!("no thread to record on: {error}")))?;
        Ok(Self { queue, ended })
    }

    /// Waits for its end. Cancel-safe.
    pub async fn ended(&mut self) -> Result<(), CaptureError> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(SourceError::Failed("the recording's thread crashed".into()).into()))
    }

    /// Has it end; the file is complete once [`Self::ended`] says so.
    pub fn stop(&self) {
        self.queue.close();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.queue.close();
    }
}

pub(super) fn lock(progress: &Shared) -> MutexGuard<'_, Progress> {
    // no code that can panic runs under the lock, and every state is valid
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(layers: &[Arc<Layer>], setting: &Setting, queue: &Arc<Queue>) -> Result<(), CaptureError> {
    let pipeline = gst::Pipeline::new();
    let mut inlets = Vec::new();
    for layer in layers {
        let inlet = Inlet::coded(Arc::clone(layer))?;
        join(&pipeline, &inlet, layer.format().codec, queue)?;
        inlets.push(inlet);
    }
    // whatever happens it ends as nothing that runs
    let pipeline = Playing(pipeline);
    if pipeline.0.set_state(gst::State::Playing).is_err() {
        return Err(pipeline.error().unwrap_or_else(|| SourceError::Failed("the pipeline does not start".into())).into());
    }
    inlets.iter().for_each(Inlet::open);
    let has = |kind| layers.iter().any(|layer| layer.format().codec.kind() == kind);
    let mut cutter = Cutter::new(setting.rules, &setting.of.to_string(), has(MediaKind::Video), has(MediaKind::Audio));
    let mut files = Files { setting, codecs: layers.iter().map(|layer| layer.format().codec).collect(), open: None };
    let outcome = write(layers, &pipeline, queue, &mut cutter, &mut files);
    match &outcome {
        Ok(()) | Err(CaptureError::Source(_)) => cutter.end(),
        Err(CaptureError::Store(_)) => cutter.abandon(),
    }
    let last = files.carry_out(&mut cutter);
    files.close();
    outcome.and(last.map_err(CaptureError::from))
}

fn write(
    layers: &[Arc<Layer>],
    pipeline: &Playing,
    queue: &Queue,
    cutter: &mut Cutter,
    files: &mut Files<'_>,
) -> Result<(), CaptureError> {
    let (mut asked, mut complained, mut newest) = (Instant::now(), None::<Instant>, Instant::now());
    loop {
        let popped = queue.pop(LOOK);
        let now = Instant::now();
        match popped {
            Popped::Frame(frame) => {
                newest = now;
                lock(&files.setting.progress).newest = Some(now);
                cutter.push(SystemTime::now(), &frame);
            }
            Popped::Nothing => {
                if let Some(error) = pipeline.error() {
                    return Err(error.into());
                }
                if now - newest >= QUIET {
                    cutter.flush();
                }
            }
            Popped::Closed => return Ok(()),
        }
        files.carry_out(cutter)?;
        if let Some(open) = &mut files.open {
            open.settle()?;
        }
        if cutter.wants_key() && now - asked >= ASK_AGAIN {
            asked = now;
            layers.iter().filter(|layer| layer.format().codec.kind() == MediaKind::Video).for_each(|layer| {
                layer.request_keyframe(now);
            });
        }
        if complained.is_none_or(|last| now - last >= COMPLAIN_EVERY) {
            let frames = queue.take_dropped();
            if frames > 0 {
                complained = Some(now);
                files.setting.figures.dropped(frames);
                lock(&files.setting.progress).dropped += frames;
                warn!(room = %files.setting.of.room, frames, "the disk is too slow for a recording; frames are missing in it");
            }
        }
    }
}

/// Carries out what the cutter says.
struct Files<'s> {
    setting: &'s Setting,
    codecs: Vec<Codec>,
    open: Option<Writing>,
}

impl Files<'_> {
    fn carry_out(&mut self, cutter: &mut Cutter) -> Result<(), StoreError> {
        while let Some(write) = cutter.poll() {
            match write {
                Write::Begin { head, webm, at } => {
                    let writing = self.setting.store.begin(&self.setting.of, at, webm, &head)?;
                    info!(room = %self.setting.of.room, file = writing.id.file, codecs = ?self.codecs, "recording to a new file");
                    let mut progress = lock(&self.setting.progress);
                    progress.file = Some(writing.id.file.clone());
                    progress.began = Some(at);
                    progress.codecs.clone_from(&self.codecs);
                    progress.files += 1;
                    progress.bytes += head.len() as u64;
                    self.open = Some(writing);
                }
                Write::Add { bytes, lasts } => {
                    let Some(open) = &mut self.open else { continue };
                    open.add(&bytes, lasts)?;
                    lock(&self.setting.progress).bytes += bytes.len() as u64;
                }
                Write::End { index, patches } => {
                    let Some(open) = self.open.take() else { continue };
                    info!(room = %self.setting.of.room, file = open.id.file, "a recording's file is complete");
                    lock(&self.setting.progress).file = None;
                    open.complete(&index, &patches)?;
                }
            }
        }
        Ok(())
    }

    /// What is open stays as it is.
    fn close(&mut self) {
        self.open = None;
        let mut progress = lock(&self.setting.progress);
        (progress.file, progress.newest) = (None, None);
    }
}

/// A pipeline that ends with this.
struct Playing(gst::Pipeline);

impl Playing {
    fn error(&self) -> Option<SourceError> {
        let message = self.0.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(SourceError::Failed(error.error().to_string())),
            _ => None,
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// Has what comes out of the inlet put into the queue.
fn join(pipeline: &gst::Pipeline, inlet: &Inlet, codec: Codec, queue: &Arc<Queue>) -> Result<(), SourceError> {
    let failed = |error: gst::glib::BoolError| SourceError::Failed(error.to_string());
    let sink = gst_app::AppSink::builder().sync(false).async_(false).enable_last_sample(false).build();
    let queue = Arc::clone(queue);
    let known = Mutex::new(None::<(gst::Caps, Arc<Format>)>);
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if let Some(frame) = frame_of(&sample, codec, &mut known.lock().unwrap_or_else(PoisonError::into_inner)) {
            queue.push(frame);
        }
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    pipeline.add_many([inlet.bin().upcast_ref::<gst::Element>(), sink.upcast_ref()]).map_err(failed)?;
    inlet.bin().link(&sink).map_err(failed)
}

/// `None` for a buffer without a time.
fn frame_of(sample: &gst::Sample, codec: Codec, known: &mut Option<(gst::Caps, Arc<Format>)>) -> Option<Frame> {
    let buffer = sample.buffer()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = segment.to_running_time(buffer.pts().or(buffer.dts())?)?;
    let caps = sample.caps()?;
    let same = known.as_ref().filter(|(before, _)| before.as_ptr() == caps.as_ptr()).map(|(_, format)| Arc::clone(format));
    let format = match same {
        Some(format) => format,
        None => {
            let format = Arc::new(format_of(caps, codec)?);
            debug!(%codec, %caps, "to be recorded");
            known.insert((caps.to_owned(), format)).1.clone()
        }
    };
    let key = codec == Codec::Opus || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    let data = Bytes::copy_from_slice(&buffer.map_readable().ok()?);
    Some(Frame { format, time: time.into(), key, data })
}

fn format_of(caps: &gst::CapsRef, codec: Codec) -> Option<Format> {
    if codec == Codec::Opus {
        return Some(Format::opus());
    }
    let structure = caps.structure(0)?;
    let number = |name| structure.get::<i32>(name).ok().and_then(|value| u32::try_from(value).ok());
    let private = structure.get::<gst::Buffer>("codec_data").ok();
    let private = private.and_then(|buffer| buffer.map_readable().ok().map(|map| map.to_vec())).unwrap_or_default();
    Some(Format { codec, private, width: number("width")?, height: number("height")? })
}
