//! The compositor and its pads.
//!
//! The compositor is given exactly one picture for each pad and frame, so it never waits for anybody and needs no deadlines, which differ
//! between GStreamer's versions. Its time is counted in frames: what comes out is given the real time again. When nothing has moved nothing
//! is composed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::{debug, warn};

use super::input::Picture;
use super::layout::Rect;
use crate::media::SourceError;
use crate::media::pipeline::make;

/// Frames that wait for the compositor before one is left out: it, or an encoder behind it, does not keep up.
const WAITING: u64 = 2;
/// Longest wait for a pad that is to be taken away to come to rest. It does so within a frame.
const REST: Duration = Duration::from_millis(500);
/// How much of a frozen picture is seen. The rest is black.
const FROZEN: f64 = 0.4;
/// Longest name that is written, in characters.
const LONGEST_NAME: usize = 32;

/// The composed picture.
pub(super) struct Scene {
    pipeline: gst::Pipeline,
    compositor: gst::Element,
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
    shown: Option<(Rect, bool)>,
    text: String,
}

impl Scene {
    /// In a pipeline that has a `compositor` named `mix`. Pictures of so many frames a second.
    pub fn new(pipeline: &gst::Pipeline, framerate: u32, names: bool) -> Result<Self, SourceError> {
        let compositor = pipeline.by_name("mix").ok_or_else(|| SourceError::Failed("the mix has no compositor".into()))?;
        let caps = format!("video/x-raw,format=I420,width=16,height=16,framerate={framerate}/1");
        let base = gst_app::AppSrc::builder().format(gst::Format::Time).is_live(false).build();
        base.set_caps(caps.parse::<gst::Caps>().ok().as_ref());
        let failed = |error: gst::glib::BoolError| SourceError::Failed(error.to_string());
        pipeline.add(&base).map_err(failed)?;
        let pad =
            compositor.request_pad_simple("sink_%u").ok_or_else(|| SourceError::Failed("no room in the compositor".into()))?;
        pad.set_property("alpha", 0.0f64);
        let from = base.static_pad("src").ok_or_else(|| SourceError::Failed("the mix is incomplete".into()))?;
        from.link(&pad).map_err(|error| SourceError::Failed(error.to_string()))?;
        let times = Arc::<Mutex<VecDeque<gst::ClockTime>>>::default();
        give_time_back(&compositor, &times);
        let mut black = vec![16u8; 16 * 16];
        black.resize(16 * 16 * 3 / 2, 128);
        let names = names && can_write();
        Ok(Self {
            pipeline: pipeline.clone(),
            compositor,
            base,
            black: gst::Buffer::from_slice(black),
            framerate,
            count: 0,
            times,
            names,
        })
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
        let bin = make::bin(&format!("appsrc name=frames format=time is-live=false{label} ! identity name=exit silent=true"))?;
        let failed = |error: gst::glib::BoolError| SourceError::Failed(error.to_string());
        let source = bin.by_name("frames").and_then(|it| it.downcast::<gst_app::AppSrc>().ok());
        let source = source.ok_or_else(|| SourceError::Failed("the mix is incomplete".into()))?;
        self.pipeline.add(&bin).map_err(failed)?;
        let pad = self.compositor.request_pad_simple("sink_%u");
        let linked = pad.as_ref().zip(bin.static_pad("src")).is_some_and(|(to, from)| from.link(to).is_ok());
        match pad {
            Some(pad) if linked && bin.sync_state_with_parent().is_ok() => {
                let label = bin.by_name("label");
                let mut pane = Pane { bin, source, label, pad, shown: None, text: String::new() };
                pane.write(name);
                Ok(pane)
            }
            pad => {
                if let Some(pad) = pad {
                    self.compositor.release_request_pad(&pad);
                }
                let _ = bin.set_state(gst::State::Null);
                let _ = self.pipeline.remove(&bin);
                Err(SourceError::Failed("a picture has no place in the mix".into()))
            }
        }
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
        let _ = self.pipeline.remove(&pane.bin);
    }
}

impl Pane {
    /// Shows it there; a frozen picture is dimmed. Returns whether that is news.
    pub fn show(&mut self, rect: Rect, frozen: bool) -> bool {
        if self.shown.replace((rect, frozen)) == Some((rect, frozen)) {
            return false;
        }
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        self.pad.set_property("xpos", number(rect.x));
        self.pad.set_property("ypos", number(rect.y));
        self.pad.set_property("width", number(rect.size.width));
        self.pad.set_property("height", number(rect.size.height));
        self.pad.set_property("zorder", rect.depth);
        self.pad.set_property("alpha", if frozen { FROZEN } else { 1.0 });
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
