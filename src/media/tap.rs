//! From appsink to [`Layer`]: encoded buffers become frames, frames become packets, once.
//!
//! Runs on GStreamer's streaming threads: nothing here blocks but the short locks of the feed and its layer. A [`Feed`]
//! outlives the pipelines that fill it, so viewers stay attached while a source is opened again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tracing::{debug, warn};

use super::board::KeyMethod;
use super::pipeline::Passed;
use crate::forward::{KeyframeRequest, Layer, Packetiser, PacketiserError, Refresh, Stages};
use crate::vocab::{Codec, EncodedFrame, LayerId, MediaKind, TrackFormat};

/// One layer and what turns frames into its packets.
pub(super) struct Feed {
    layer: Arc<Layer>,
    passed: Arc<Passed>,
    key: Arc<KeySwitch>,
    state: Mutex<State>,
}

struct State {
    packetiser: Packetiser,
    /// The last frame's time, and its length where known: a new pipeline goes on after it.
    last: Option<(Duration, Option<Duration>)>,
    /// Frames left out since the last complaint, and when that was.
    left_out: u64,
    complained: Option<Instant>,
}

impl Feed {
    /// A feed for a new layer. `on_request`: an encoder of ours makes its frames, so key frames can be had.
    pub fn new(id: LayerId, format: TrackFormat, on_request: bool) -> Result<Self, PacketiserError> {
        let codec = format.codec;
        let packetiser = Packetiser::new(id, codec)?;
        let key = Arc::new(KeySwitch::default());
        let refresh = match codec {
            Codec::Opus => Refresh::Always,
            _ if on_request => Refresh::OnRequest,
            _ => Refresh::ReplayGroup,
        };
        let layer = Arc::new(Layer::new(id, format, refresh, Box::new(Arc::clone(&key))));
        let passed = Arc::default();
        Ok(Self { layer, passed, key, state: Mutex::new(State { packetiser, last: None, left_out: 0, complained: None }) })
    }

    /// The layer.
    pub fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// What went through the encoder that fills it now.
    pub fn passed(&self) -> &Arc<Passed> {
        &self.passed
    }

    /// Sends key frame requests to this encoder from now on.
    pub fn set_encoder(&self, encoder: &gst::Element, method: KeyMethod) {
        *self.key.target() = Some((encoder.downgrade(), method));
    }

    /// Fills the layer from the appsink. `offset` is added to the pipeline's running time, so that the times of one source
    /// go on over its pipelines. How long that takes is counted into `stages`.
    pub fn attach(self: &Arc<Self>, sink: &gst_app::AppSink, offset: Duration, stages: Arc<Stages>) {
        let feed = Arc::clone(self);
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some((frame, length)) = frame_of(&sample, feed.layer.format().codec, offset) {
                let (began, video) = (frame.arrived, frame.codec.kind() == MediaKind::Video);
                feed.write(frame, length);
                if video {
                    stages.packetise.note(began.elapsed());
                }
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
    }

    /// Takes a frame that some other pipeline encoded; it lasts so long.
    pub fn put(&self, frame: EncodedFrame, length: Duration) {
        self.write(frame, Length { length: Some(length), gap: false });
    }

    fn write(&self, mut frame: EncodedFrame, Length { length, gap }: Length) {
        // no code that can panic runs under the lock, and every state is valid
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pts) = in_line(frame.codec, frame.pts, gap, state.last) else { return };
        frame.pts = pts;
        state.last = Some((frame.pts, length));
        match state.packetiser.packetise(&frame) {
            // under the lock, so that packets reach the layer in their order
            Ok(packets) => self.layer.write(packets),
            Err(error) => state.complain(&self.layer, &error),
        }
    }
}

impl State {
    /// Counts, and says so at most once per second.
    fn complain(&mut self, layer: &Layer, error: &PacketiserError) {
        self.left_out += 1;
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= Duration::from_secs(1)) {
            warn!(codec = %layer.format().codec, frames = self.left_out, %error, "frames left out");
            self.complained = Some(now);
            self.left_out = 0;
        }
    }
}

/// How a frame stands to its neighbours.
#[derive(Clone, Copy)]
struct Length {
    /// How long it lasts, where known.
    length: Option<Duration>,
    /// Something is missing in front of it.
    gap: bool,
}

/// Sound that comes later than it should by less than this joins the last packet all the same.
const LATE: Duration = Duration::from_millis(80);
/// Sound that is ahead of its time by more than this is left out until it is not.
const AHEAD: Duration = Duration::from_millis(500);

/// The time of a frame after the `last` one: always later; `None` leaves it out.
///
/// Receivers take sound that does not join for a loss, while the clocks of cameras jitter and those of jitter buffers are far
/// off at first. So a packet of sound joins the one before, unless packets are missing between them or the clocks have drifted
/// apart too far.
fn in_line(codec: Codec, pts: Duration, gap: bool, last: Option<(Duration, Option<Duration>)>) -> Option<Duration> {
    /// More than one tick of any RTP clock.
    const LEAST: Duration = Duration::from_millis(1);
    match last {
        Some((last, Some(length))) if codec == Codec::Opus => {
            let next = last + length;
            let slack = if gap { length / 2 } else { LATE };
            match () {
                () if pts >= next + slack => Some(pts),
                () if pts + AHEAD < next => None,
                () => Some(next),
            }
        }
        Some((last, _)) => Some(pts.max(last + LEAST)),
        None => Some(pts),
    }
}

/// With its length, where that is known. `None` for a buffer without a time or outside its segment.
fn frame_of(sample: &gst::Sample, codec: Codec, offset: Duration) -> Option<(EncodedFrame, Length)> {
    let buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = segment.to_running_time(buffer.pts().or(buffer.dts())?)?;
    let key = codec == Codec::Opus || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    let length = buffer.duration().filter(|it| !it.is_zero()).map(Duration::from);
    let length = Length { length, gap: buffer.flags().contains(gst::BufferFlags::DISCONT) };
    let data = Bytes::from_owner(Mapped(buffer.into_mapped_buffer_readable().ok()?));
    Some((EncodedFrame { codec, pts: offset + Duration::from(time), key, data, arrived: Instant::now() }, length))
}

/// The bytes of a buffer without a copy.
struct Mapped(gst::MappedBuffer<gst::buffer::Readable>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Where a layer's key frame requests go: the encoder of the pipeline that runs now, if any.
#[derive(Default)]
pub(super) struct KeySwitch {
    target: Mutex<Option<(gst::glib::WeakRef<gst::Element>, KeyMethod)>>,
}

impl KeySwitch {
    fn target(&self) -> std::sync::MutexGuard<'_, Option<(gst::glib::WeakRef<gst::Element>, KeyMethod)>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyframeRequest for Arc<KeySwitch> {
    fn request(&self) {
        let target = self.target().clone();
        let Some((encoder, method)) = target else { return };
        if let Some(encoder) = encoder.upgrade() {
            ask_for_key(&encoder, &method);
        }
    }
}

/// Asks an encoder for a key frame in its own way.
pub(super) fn ask_for_key(encoder: &gst::Element, method: &KeyMethod) {
    match method {
        KeyMethod::ForceKeyUnit => {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !encoder.send_event(event) {
                debug!(element = %encoder.name(), "encoder did not take the request for a key frame");
            }
        }
        // the board files name the signals; one that the element lacks would be a panic in GLib's bindings
        KeyMethod::ActionSignal(signal) => match gst::glib::subclass::SignalId::lookup(signal, encoder.type_()) {
            Some(_) => encoder.emit_by_name::<()>(signal, &[]),
            None => debug!(element = %encoder.name(), signal, "encoder lacks the signal for a key frame"),
        },
    }
}

/// When a source last gave a buffer, written by its streaming threads.
#[derive(Debug)]
pub(super) struct LastFrame {
    start: Instant,
    /// Milliseconds since `start`, plus one; 0 for never.
    at: AtomicU64,
}

impl LastFrame {
    /// Never, as yet.
    pub fn new(start: Instant) -> Self {
        Self { start, at: AtomicU64::new(0) }
    }

    /// A buffer came. Returns whether it is the first.
    pub fn mark(&self) -> bool {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.at.swap(elapsed + 1, Ordering::Relaxed) == 0
    }

    /// When the last one came.
    pub fn last(&self) -> Option<Instant> {
        let at = self.at.load(Ordering::Relaxed);
        at.checked_sub(1).map(|elapsed| self.start + Duration::from_millis(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_and_sound_joins() {
        let ms = Duration::from_millis;
        let packet = Some((ms(1000), Some(ms(20))));
        let sound = |pts, gap| in_line(Codec::Opus, ms(pts), gap, packet);
        assert_eq!(sound(1033, false), Some(ms(1020)));
        assert_eq!(sound(700, false), Some(ms(1020)));
        assert_eq!(sound(1040, true), Some(ms(1040)), "a packet is missing");
        assert_eq!(sound(1022, true), Some(ms(1020)));
        assert_eq!(sound(1100, false), Some(ms(1100)), "the clocks are too far apart");
        assert_eq!(sound(500, false), None, "and so they come together again");
        let picture = |pts, last| in_line(Codec::H264, ms(pts), false, last);
        assert_eq!(picture(1033, packet), Some(ms(1033)));
        assert_eq!(picture(1000, packet), Some(ms(1001)));
        assert_eq!(picture(0, None), Some(ms(0)));
    }
}
