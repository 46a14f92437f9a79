//! The compositor and its pads.
//!
//! The compositor is given exactly one picture for each pad and frame, so it never waits for anybody and needs no deadlines, which differ
//! between GStreamer's versions. Its time is counted in frames: what comes out is given the real time again. When nothing has moved nothing
//! is composed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::{debug, warn};

use super::input::Picture;
use super::layout::{Rect, Size};
use crate::media::SourceError;
use crate::media::board::{CompositorCandidate, PadNames};
use crate::media::pipeline::make;

/// Frames that wait for the compositor before one is left out: it, or an encoder behind it, does not keep up.
const WAITING: u64 = 2;
/// Longest wait for a pad that is to be taken away to come to rest. It does so within a frame.
const REST: Duration = Duration::from_millis(500);
/// How much of a frozen picture is seen. The rest is black.
const FROZEN: f64 = 0.4;
/// Longest name that is written, in characters.
const LONGEST_NAME: usize = 32;
/// Width and height of the black spot: no compositor of a board says that this is too small.
const SPOT: usize = 64;
/// What the bins of scenes are called, with a number behind.
pub(super) const NAME: &str = "scene";

/// The composed picture: a compositor, what stands around it, and what feeds it, in one bin that can be taken away as a whole.
pub(super) struct Scene {
    pipeline: gst::Pipeline,
    bin: gst::Bin,
    compositor: gst::Element,
    candidate: CompositorCandidate,
    /// A black spot that is not seen: with it there is a picture also while nobody gives one.
    base: gst_app::AppSrc,
    black: gst::Buffer,
    framerate: u32,
    /// Frames composed.
    count: u64,
    /// Their real times, until they come out.
    times: Arc<Mutex<VecDeque<gst::ClockTime>>>,
    names: bool,
}

/// One picture in it.
pub(super) struct Pane {
    bin: gst::Bin,
    source: gst_app::AppSrc,
    label: Option<gst::Element>,
    pad: gst::Pad,
    called: PadNames,
    shown: Option<(Rect, bool)>,
    text: String,
}

fn failed(error: gst::glib::BoolError) -> SourceError {
    SourceError::Failed(error.to_string())
}

impl Scene {
    /// Starts a compositor in a pipeline that runs and has a tee `video`, to which it gives so many pictures of this size a second.
    /// Where it does not start nothing of it stays; `reason` is what the bus tells of the scene of that name.
    pub fn start(
        pipeline: &gst::Pipeline,
        candidate: &CompositorCandidate,
        size: Size,
        framerate: u32,
        names: bool,
        reason: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SourceError> {
        // what is said of one that is gone must not be taken for another's
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let bin = make::bin(&describe(candidate, size, framerate))?;
        bin.set_property("name", format!("{NAME}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let compositor = bin.by_name("mix").ok_or_else(|| SourceError::Failed("the mix has no compositor".into()))?;
        make::set_all(&compositor, &candidate.properties);
        let times = Arc::<Mutex<VecDeque<gst::ClockTime>>>::default();
        give_time_back(&compositor, &times);
        if let Some(exit) = bin.static_pad("src") {
            keep_end(&exit);
        }
        let (feed, base) = feed(candidate, "")?;
        let caps = format!("video/x-raw,format=I420,width={SPOT},height={SPOT},framerate={framerate}/1");
        base.set_caps(caps.parse::<gst::Caps>().ok().as_ref());
        let mut black = vec![16u8; SPOT * SPOT];
        black.resize(SPOT * SPOT * 3 / 2, 128);
        let scene = Self {
            pipeline: pipeline.clone(),
            bin,
            compositor,
            candidate: candidate.clone(),
            base,
            black: gst::Buffer::from_slice(black),
            framerate,
            count: 0,
            times,
            names: names && can_write(),
        };
        match scene.set_going(&feed) {
            Ok(()) => Ok(scene),
            Err(error) => {
                let why = reason(&scene.name());
                scene.end();
                Err(why.map_or(error, SourceError::Failed))
            }
        }
    }

    fn set_going(&self, base: &gst::Bin) -> Result<(), SourceError> {
        let tee = self.pipeline.by_name("video").ok_or_else(|| SourceError::Failed("the mix is incomplete".into()))?;
        let pad = self.link(base)?;
        set(&pad, &self.candidate.pad.alpha, "0");
        self.pipeline.add(&self.bin).map_err(failed)?;
        self.bin.link(&tee).map_err(failed)?;
        self.bin.sync_state_with_parent().map_err(failed)
    }

    /// Puts what feeds a pad into the bin, and links it.
    fn link(&self, feed: &gst::Bin) -> Result<gst::Pad, SourceError> {
        self.bin.add(feed).map_err(failed)?;
        let Some(pad) = self.compositor.request_pad_simple("sink_%u") else {
            let _ = self.bin.remove(feed);
            return Err(SourceError::Failed(format!("no room in {}", self.candidate.element)));
        };
        let names = &self.candidate.pad;
        let lacking =
            [&names.x, &names.y, &names.width, &names.height].into_iter().find(|name| pad.find_property(name).is_none());
        let linked = match (lacking, feed.static_pad("src")) {
            (Some(name), _) => Err(format!("pads of {} have no property `{name}`", self.candidate.element)),
            (None, Some(from)) => from.link(&pad).map(drop).map_err(|error| format!("{}: {error}", self.candidate.element)),
            (None, None) => Err("the mix is incomplete".into()),
        };
        if let Err(why) = linked {
            self.compositor.release_request_pad(&pad);
            let _ = self.bin.remove(feed);
            return Err(SourceError::Failed(why));
        }
        Ok(pad)
    }

    /// What its bin is called: who says an error of it is inside.
    pub fn name(&self) -> String {
        self.bin.name().to_string()
    }

    /// The compositor's element.
    pub fn element(&self) -> &str {
        &self.candidate.element
    }

    /// Takes it away, with all panes. What stands behind it sees no end of the stream.
    pub fn end(self) {
        if let Some(exit) = self.bin.static_pad("src") {
            let (done, resting) = mpsc::sync_channel(1);
            exit.add_probe(gst::PadProbeType::IDLE, move |pad, _| {
                if let Some(peer) = pad.peer() {
                    let _ = pad.unlink(&peer);
                }
                let _ = done.try_send(());
                gst::PadProbeReturn::Remove
            });
            if resting.recv_timeout(REST).is_err() {
                warn!(element = self.candidate.element, "a compositor is taken away while it works");
                if let Some(peer) = exit.peer() {
                    let _ = exit.unlink(&peer);
                }
            }
        }
        let _ = self.pipeline.remove(&self.bin);
        crate::media::pipeline::end_apart(self.bin);
    }

    /// Whether a frame can be taken now. Where not, it is left out.
    pub fn has_room(&self) -> bool {
        self.base.current_level_buffers() < WAITING
    }

    /// Composes a frame of these, as of `time`. Every pane must be among them.
    pub fn compose<'a>(&mut self, time: Duration, panes: impl Iterator<Item = (&'a Pane, Picture)>) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX >> 1);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).push_back(gst::ClockTime::from_nseconds(nanos));
        for (pane, picture) in panes {
            let buffer = self.timed(&picture.buffer);
            let sample = gst::Sample::builder().buffer(&buffer).caps(&picture.caps).build();
            if let Err(flow) = pane.source.push_sample(&sample) {
                debug!(?flow, "picture not taken");
            }
        }
        let black = self.timed(&self.black);
        if let Err(flow) = self.base.push_buffer(black) {
            debug!(?flow, "frame not taken");
        }
        self.count += 1;
    }

    /// The picture at the time of the next frame. The bytes are shared.
    fn timed(&self, buffer: &gst::Buffer) -> gst::Buffer {
        let at = |frame: u64| gst::ClockTime::from_nseconds(frame * 1_000_000_000 / u64::from(self.framerate.max(1)));
        let mut timed = buffer.copy();
        if let Some(timed) = timed.get_mut() {
            timed.set_pts(at(self.count));
            timed.set_dts(gst::ClockTime::NONE);
            timed.set_duration(at(self.count + 1) - at(self.count));
        }
        timed
    }

    /// A place for one more picture. It must be in every frame from now on.
    pub fn add(&self, name: &str) -> Result<Pane, SourceError> {
        let label = match self.names {
            true => {
                " ! textoverlay name=label halignment=left valignment=bottom xpad=8 ypad=8 shaded-background=true font-desc=\"Sans 14\""
            }
            false => "",
        };
        let (bin, source) = feed(&self.candidate, label)?;
        let pad = self.link(&bin)?;
        let label = bin.by_name("label");
        let called = self.candidate.pad.clone();
        let mut pane = Pane { bin, source, label, pad, called, shown: None, text: String::new() };
        if pane.bin.sync_state_with_parent().is_err() {
            self.remove(pane);
            return Err(SourceError::Failed("a picture has no place in the mix".into()));
        }
        pane.write(name);
        Ok(pane)
    }

    /// Takes a picture away. The others go on.
    pub fn remove(&self, pane: Pane) {
        // first nothing passes any more, so that nothing meets a pad that is gone: that would be an error of the whole pipeline
        let (done, resting) = mpsc::sync_channel(1);
        if let Some(pad) = pane.bin.static_pad("src") {
            pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM | gst::PadProbeType::IDLE, move |_, _| {
                let _ = done.try_send(());
                gst::PadProbeReturn::Ok
            });
            if resting.recv_timeout(REST).is_err() {
                warn!("a picture is taken out of the mix while it moves");
            }
        }
        self.compositor.release_request_pad(&pane.pad);
        if pane.bin.set_state(gst::State::Null).is_err() {
            debug!("a place in the mix did not close cleanly");
        }
        let _ = self.bin.remove(&pane.bin);
    }
}

impl Pane {
    /// Shows it there; a frozen picture is dimmed. Returns whether that is news.
    pub fn show(&mut self, rect: Rect, frozen: bool) -> bool {
        if self.shown.replace((rect, frozen)) == Some((rect, frozen)) {
            return false;
        }
        let called = &self.called;
        let places =
            [(&called.x, rect.x), (&called.y, rect.y), (&called.width, rect.size.width), (&called.height, rect.size.height)];
        for (property, value) in places.into_iter().chain([(&called.depth, rect.depth)]) {
            set(&self.pad, property, &value.to_string());
        }
        set(&self.pad, &called.alpha, &if frozen { FROZEN } else { 1.0 }.to_string());
        true
    }

    /// Writes a name into it. Returns whether that is news.
    pub fn write(&mut self, text: &str) -> bool {
        if self.text == text {
            return false;
        }
        self.text = text.to_owned();
        if let Some(label) = &self.label {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
            // it reads markup
            label.set_property("text", gst::glib::markup_escape_text(&shown).as_str());
            label.set_property("silent", shown.is_empty());
        }
        true
    }
}

/// The compositor and what stands behind it, up to plain pictures.
fn describe(it: &CompositorCandidate, size: Size, framerate: u32) -> String {
    let sized = format!("width={},height={},framerate={framerate}/1", size.width, size.height);
    // caps cannot stand behind caps
    let download = if it.download.is_empty() { "identity silent=true" } else { &it.download };
    format!(
        "{} name=mix ! {},{sized} ! {download} ! video/x-raw,format=I420,{sized},pixel-aspect-ratio=1/1 ! identity name=exit silent=true",
        it.element, it.output_caps
    )
}

/// What feeds a pad of the compositor: its bin, and where pictures go in.
fn feed(it: &CompositorCandidate, label: &str) -> Result<(gst::Bin, gst_app::AppSrc), SourceError> {
    let part = |text: &str| if text.is_empty() { String::new() } else { format!(" ! {text}") };
    let (upload, caps) = (part(&it.upload), part(&it.input_caps));
    let bin = make::bin(&format!(
        "appsrc name=frames format=time is-live=false{label}{upload}{caps} ! identity name=exit silent=true"
    ))?;
    let source = bin.by_name("frames").and_then(|it| it.downcast::<gst_app::AppSrc>().ok());
    let source = source.ok_or_else(|| SourceError::Failed("the mix is incomplete".into()))?;
    Ok((bin, source))
}

/// Sets a pad's property, whatever kind of number it is. One that the pad lacks is skipped.
fn set(pad: &gst::Pad, property: &str, value: &str) {
    let value = pad.find_property(property).map(|spec| gst::glib::Value::deserialize_with_pspec(value, &spec));
    match value {
        Some(Ok(value)) => pad.set_property_from_value(property, &value),
        Some(Err(error)) => debug!(property, %error, "a compositor's pad takes another kind of value"),
        None => {}
    }
}

/// A compositor that fails tells those behind it that the stream ended: another one goes on with it.
fn keep_end(exit: &gst::Pad) {
    exit.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| match info.event().map(|event| event.type_()) {
        Some(gst::EventType::Eos) => gst::PadProbeReturn::Drop,
        _ => gst::PadProbeReturn::Ok,
    });
}

/// Whether names can be written; said once where not.
fn can_write() -> bool {
    static TOLD: std::sync::Once = std::sync::Once::new();
    let can = gst::ElementFactory::find("textoverlay").is_some();
    if !can {
        let package = crate::media::element::package_of("textoverlay").unwrap_or_default();
        TOLD.call_once(|| warn!(element = "textoverlay", package, "mixed pictures without names: install the package"));
    }
    can
}

/// The compositor's time is counted in frames; what leaves it has the time it was composed at.
fn give_time_back(compositor: &gst::Element, times: &Arc<Mutex<VecDeque<gst::ClockTime>>>) {
    let Some(pad) = compositor.static_pad("src") else { return };
    let times = Arc::clone(times);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let time = times.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let (Some(time), Some(buffer)) = (time, info.buffer_mut()) {
            buffer.make_mut().set_pts(time);
        }
        gst::PadProbeReturn::Ok
    });
}
