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
use crate::forward::{KeyframeRequest, Layer, Packetiser, PacketiserError, Refresh};
use crate::vocab::{Codec, EncodedFrame, LayerId, TrackFormat};

/// One layer and what turns frames into its packets.
pub(super) struct Feed {
    layer: Arc<Layer>,
    key: Arc<KeySwitch>,
    state: Mutex<State>,
}

struct State {
    packetiser: Packetiser,
    /// The last frame's time: a new pipeline goes on after it.
    last: Option<Duration>,
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
        Ok(Self { layer, key, state: Mutex::new(State { packetiser, last: None, left_out: 0, complained: None }) })
    }

    /// The layer.
    pub fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// Sends key frame requests to this encoder from now on.
    pub fn set_encoder(&self, encoder: &gst::Element, method: KeyMethod) {
        *self.key.target() = Some((encoder.downgrade(), method));
    }

    /// Fills the layer from the appsink. `offset` is added to the pipeline's running time, so that the times of one source
    /// go on over its pipelines.
    pub fn attach(self: &Arc<Self>, sink: &gst_app::AppSink, offset: Duration) {
        let feed = Arc::clone(self);
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(frame) = frame_of(&sample, feed.layer.format().codec, offset) {
                feed.write(frame);
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
    }

    fn write(&self, mut frame: EncodedFrame) {
        // no code that can panic runs under the lock, and every state is valid
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last {
            frame.pts = frame.pts.max(last + Duration::from_micros(1));
        }
        state.last = Some(frame.pts);
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

/// `None` for a buffer without a time or outside its segment.
fn frame_of(sample: &gst::Sample, codec: Codec, offset: Duration) -> Option<EncodedFrame> {
    let buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = segment.to_running_time(buffer.pts().or(buffer.dts())?)?;
    let key = codec == Codec::Opus || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    let data = Bytes::from_owner(Mapped(buffer.into_mapped_buffer_readable().ok()?));
    Some(EncodedFrame { codec, pts: offset + Duration::from(time), key, data, arrived: Instant::now() })
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
        let Some(encoder) = encoder.upgrade() else { return };
        match method {
            KeyMethod::ForceKeyUnit => {
                let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
                if !encoder.send_event(event) {
                    debug!(element = %encoder.name(), "encoder did not take the request for a key frame");
                }
            }
            // the board files name the signals; one that the element lacks would be a panic in GLib's bindings
            KeyMethod::ActionSignal(signal) => match gst::glib::subclass::SignalId::lookup(&signal, encoder.type_()) {
                Some(_) => encoder.emit_by_name::<()>(&signal, &[]),
                None => debug!(element = %encoder.name(), signal, "encoder lacks the signal for a key frame"),
            },
        }
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
