//! The board's own ears and mouth: what a room says is played on a sound card, and taken out of what its microphone hears.
//!
//! ```text
//! publishers' layers ─► inlets ─► mixer ─► volume ─► probe ─► alsasink        (speaker: a thread and a pipeline of its own)
//!                                                      ╎ what was played, and when
//! alsasrc ─────────────────────────────────────────► webrtcdsp ─► tee "audio"  (in the pipeline of the source with the microphone)
//! ```
//!
//! The canceller compares by running time, so both pipelines run on one clock from one moment: [`Timebase`].

mod config;
mod speaker;

pub use config::SpeakerConfig;
pub(super) use speaker::Speaker;

use std::sync::OnceLock;

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::warn;

/// The name under which a microphone finds the speaker.
const PROBE: &str = "portico-speaker";

/// What the canceller takes: one channel, 48 kHz, so that nothing is converted on the way to Opus.
const CAPS: &str = "audio/x-raw,format=S16LE,layout=interleaved,rate=48000,channels=1";

/// One clock and one moment from which all pipelines with sound of the board count.
pub(super) struct Timebase {
    clock: gst::Clock,
    base: gst::ClockTime,
}

impl Timebase {
    /// The process's own; counts from when it was first asked for.
    pub fn get() -> &'static Self {
        static ONCE: OnceLock<Timebase> = OnceLock::new();
        ONCE.get_or_init(|| {
            let clock = gst::SystemClock::obtain();
            let base = clock.time();
            Self { clock, base }
        })
    }

    /// Makes a pipeline that was not started yet run by it.
    pub fn apply(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base);
    }

    /// The running time of its pipelines now.
    pub fn running_time(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base)
    }
}

/// The configuration as it can be carried out here: without the canceller where GStreamer lacks it.
pub(super) fn possible(config: SpeakerConfig) -> SpeakerConfig {
    let lacks = ["webrtcdsp", "webrtcechoprobe"].into_iter().find(|element| gst::ElementFactory::find(element).is_none());
    match lacks.filter(|_| config.cancels_echo()) {
        Some(element) => {
            let package = crate::media::element::package_of(element);
            warn!(element, package, "echo is not cancelled: the element is missing");
            SpeakerConfig { echo_cancellation: false, ..config }
        }
        None => config,
    }
}

/// What stands behind a microphone, so that others do not hear themselves. The speaker's probe must be there when it starts.
pub(super) fn canceller() -> String {
    // What is more than an echo is left alone: music from a microphone is music. The delay is known from the common clock; left to find it
    // by itself (`delay-agnostic`) the canceller took 2 dB off a real-time echo instead of 30.
    format!("audioconvert ! audioresample ! {CAPS} ! webrtcdsp probe={PROBE} noise-suppression=false gain-control=false")
}

#[cfg(test)]
mod tests;
