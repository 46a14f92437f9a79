//! How long frames take to a branch, and through its encoder.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::forward::Stages;

/// Frames that an encoder may hold before the oldest is not looked for any more.
const MOST_INSIDE: usize = 64;

/// Counts for a branch of video: `entry` is its first pad, `encoder` what encodes in it, if anything does.
pub(super) fn watch(entry: &gst::Pad, encoder: Option<&gst::Element>, stages: &Arc<Stages>) {
    let counted = Arc::clone(stages);
    entry.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(age) = info.buffer().and_then(|buffer| age(pad, buffer)) {
            counted.capture.note(age);
        }
        gst::PadProbeReturn::Ok
    });
    let pads = encoder.and_then(|encoder| encoder.static_pad("sink").zip(encoder.static_pad("src")));
    let Some((sink, source)) = pads else { return };
    let inside = Arc::new(Mutex::new(Inside::default()));
    let entering = Arc::clone(&inside);
    sink.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) {
            entering.lock().unwrap_or_else(PoisonError::into_inner).enter(time, Instant::now());
        }
        gst::PadProbeReturn::Ok
    });
    let counted = Arc::clone(stages);
    source.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let time = info.buffer().and_then(|buffer| running_time(pad, buffer));
        let took = time.and_then(|time| inside.lock().unwrap_or_else(PoisonError::into_inner).leave(time, Instant::now()));
        if let Some(took) = took {
            counted.encode.note(took);
        }
        gst::PadProbeReturn::Ok
    });
}

/// How long ago a frame was taken, by the pipeline's clock. `None` before it has one, or for a frame without a time.
fn age(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<Duration> {
    let now = pad.parent_element()?.current_running_time()?;
    Some(now.saturating_sub(running_time(pad, buffer)?).into())
}

/// A frame's time by the pipeline's clock. Encoders may move its own time together with their segment: x264enc does, by 1000 hours.
fn running_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    segment.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts()?)
}

/// When the frames that are inside an encoder came in, by their running times. Encoders keep those, and may change the order.
#[derive(Default)]
struct Inside(VecDeque<(gst::ClockTime, Instant)>);

impl Inside {
    fn enter(&mut self, time: gst::ClockTime, now: Instant) {
        if self.0.len() >= MOST_INSIDE {
            self.0.pop_front();
        }
        self.0.push_back((time, now));
    }

    /// How long it was inside; of one that never came in nothing is known.
    fn leave(&mut self, time: gst::ClockTime, now: Instant) -> Option<Duration> {
        let at = self.0.iter().position(|(of, _)| *of == time)?;
        self.0.remove(at).map(|(_, since)| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_times() {
        let (mut inside, start) = (Inside::default(), Instant::now());
        let ms = |n: u64| start + Duration::from_millis(n);
        let pts = gst::ClockTime::from_mseconds;
        for (time, at) in [(0, 0), (33, 33), (66, 66)] {
            inside.enter(pts(time), ms(at));
        }
        assert_eq!(inside.leave(pts(33), ms(40)), Some(Duration::from_millis(7)));
        assert_eq!(inside.leave(pts(0), ms(41)), Some(Duration::from_millis(41)));
        assert_eq!(inside.leave(pts(0), ms(42)), None, "each leaves once");
        // an encoder that swallows everything fills nothing up
        for n in 0..1000 {
            inside.enter(pts(1000 + n), ms(n));
        }
        assert_eq!((inside.0.len(), inside.leave(pts(66), ms(2000))), (MOST_INSIDE, None));
    }
}
