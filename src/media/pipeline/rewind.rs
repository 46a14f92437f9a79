//! Endless playing of a file: its streams look like one live stream without end to everything behind them.
//!
//! At the end of a pass the demuxer is sought back to the start. End of stream, flushes and new segments of that are kept from
//! what follows, and times count on from where the pass ended, so no encoder, layer or viewer notices.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::Order;

// What is kept back is returned as `Handled`: `Drop` makes GStreamer before 1.24 complain, as the bindings have freed it already.

/// A pass shorter than this is no film; playing it in a loop would only burn the processor.
const SHORTEST_PASS: gst::ClockTime = gst::ClockTime::from_mseconds(20);

/// What the streams of one file share.
pub(super) struct Rewinder {
    passes: Mutex<Passes>,
    orders: Mutex<mpsc::Sender<Order>>,
}

#[derive(Default)]
struct Passes {
    /// Where the present pass began, in running time.
    start: gst::ClockTime,
    /// Where the last frame of any stream ends.
    end: gst::ClockTime,
    streams: Vec<gst::Pad>,
    ended: usize,
}

impl Rewinder {
    /// For one file.
    pub fn new(orders: mpsc::Sender<Order>) -> Self {
        Self { passes: Mutex::default(), orders: Mutex::new(orders) }
    }

    /// Makes the stream that enters at this sink pad endless. To be called before data flows.
    pub fn join(self: &Arc<Self>, entry: &gst::Pad) {
        self.passes().streams.push(entry.clone());
        let rewinder = Arc::clone(self);
        let segment: Mutex<Option<gst::FormattedSegment<gst::ClockTime>>> = Mutex::new(None);
        let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        entry.add_probe(mask, move |_, info| {
            let mut segment = segment.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut info.data {
                Some(gst::PadProbeData::Event(event)) => match event.view() {
                    gst::EventView::Segment(new) => {
                        *segment = new.segment().downcast_ref::<gst::ClockTime>().cloned();
                        *event = gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new());
                        gst::PadProbeReturn::Ok
                    }
                    gst::EventView::Eos(_) => {
                        rewinder.ended();
                        gst::PadProbeReturn::Handled
                    }
                    gst::EventView::FlushStart(_) | gst::EventView::FlushStop(_) => gst::PadProbeReturn::Handled,
                    _ => gst::PadProbeReturn::Ok,
                },
                Some(gst::PadProbeData::Buffer(buffer)) => match segment.as_ref() {
                    Some(segment) => rewinder.retime(segment, buffer),
                    None => gst::PadProbeReturn::Handled,
                },
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }

    /// Seeks to the start. False when the file cannot be sought or has nothing to play.
    pub fn rewind(&self) -> bool {
        let entry = {
            let mut passes = self.passes();
            if passes.end < passes.start + SHORTEST_PASS {
                return false;
            }
            passes.start = passes.end;
            passes.ended = 0;
            passes.streams.first().cloned()
        };
        // the lock is free: the seek runs through the streams' probes
        let seek = gst::event::Seek::new(
            1.0,
            gst::SeekFlags::FLUSH,
            gst::SeekType::Set,
            gst::ClockTime::ZERO,
            gst::SeekType::None,
            gst::ClockTime::NONE,
        );
        entry.is_some_and(|pad| pad.push_event(seek))
    }

    /// Puts the buffer's times on the endless time line; what lies before the first is left out.
    fn retime(&self, segment: &gst::FormattedSegment<gst::ClockTime>, buffer: &mut gst::Buffer) -> gst::PadProbeReturn {
        let mut passes = self.passes();
        let shown = buffer.pts().or(buffer.dts()).and_then(|time| segment.to_running_time(time)).map(|time| time + passes.start);
        let Some(shown) = shown else { return gst::PadProbeReturn::Handled };
        let decoded = buffer.dts().and_then(|time| segment.to_running_time(time)).map(|time| time + passes.start);
        passes.end = passes.end.max(shown + buffer.duration().unwrap_or(gst::ClockTime::ZERO));
        drop(passes);
        let buffer = buffer.make_mut();
        buffer.set_pts(shown);
        buffer.set_dts(decoded);
        gst::PadProbeReturn::Ok
    }

    fn ended(&self) {
        let all = {
            let mut passes = self.passes();
            passes.ended += 1;
            passes.ended == passes.streams.len()
        };
        if all {
            let _ = self.orders.lock().unwrap_or_else(PoisonError::into_inner).send(Order::Rewind);
        }
    }

    fn passes(&self) -> MutexGuard<'_, Passes> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
