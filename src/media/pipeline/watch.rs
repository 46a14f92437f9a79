//! How long frames take to a branch, and through its encoder.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::forward::Stages;
use crate::media::strain::pace::Count;

/// Frames that an encoder may hold before the oldest is not looked for any more.
const MOST_INSIDE: usize = 64;

/// What went through a branch's encoder, counted by its streaming threads.
#[derive(Debug, Default)]
pub(in crate::media) struct Passed {
    entered: AtomicU64,
    left: AtomicU64,
    spent_us: AtomicU64,
}

impl Passed {
    /// So far.
    pub fn count(&self) -> Count {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        // what left is read first: it is never more than what entered
        let (left, spent) = (read(&self.left), Duration::from_micros(read(&self.spent_us)));
        Count { entered: read(&self.entered), left, spent }
    }

    fn begin(&self) {
        [&self.entered, &self.left, &self.spent_us].into_iter().for_each(|figure| figure.store(0, Ordering::Relaxed));
    }

    fn enter(&self) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self, spent: Duration) {
        self.spent_us.fetch_add(u64::try_from(spent.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts for a branch of video: `entry` is its first pad. What encodes in it, if anything does, has its queue's first pad with it;
/// `passed` is that encoder's from now on.
pub(super) fn watch(entry: &gst::Pad, encoder: Option<(&gst::Element, &gst::Pad)>, stages: &Arc<Stages>, passed: &Arc<Passed>) {
    let counted = Arc::clone(stages);
    entry.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(age) = info.buffer().and_then(|buffer| age(pad, buffer)) {
            counted.capture.note(age);
        }
        gst::PadProbeReturn::Ok
    });
    let Some((encoder, line)) = encoder else { return };
    let Some((sink, source)) = encoder.static_pad("sink").zip(encoder.static_pad("src")) else { return };
    passed.begin();
    let queued = Arc::clone(passed);
    line.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        queued.enter();
        gst::PadProbeReturn::Ok
    });
    let inside = Arc::new(Mutex::new(Inside::default()));
    let entering = Arc::clone(&inside);
    sink.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) {
            entering.lock().unwrap_or_else(PoisonError::into_inner).enter(time, Instant::now());
        }
        gst::PadProbeReturn::Ok
    });
    let (counted, passed) = (Arc::clone(stages), Arc::clone(passed));
    source.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let time = info.buffer().and_then(|buffer| running_time(pad, buffer));
        let took = time.and_then(|time| inside.lock().unwrap_or_else(PoisonError::into_inner).leave(time, Instant::now()));
        if let Some(took) = took {
            counted.encode.note(took);
        }
        passed.leave(took.unwrap_or_default());
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
