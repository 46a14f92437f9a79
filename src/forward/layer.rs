//! A layer: the cache for late joiners and the list of shards that want its frames.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::FramePackets;
use super::rate::Rate;
use crate::vocab::{LayerId, MediaKind, TrackFormat, TrackId};

/// Names one attached sink of a layer: one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SinkId(pub usize);

/// A shard's end of a layer: a bounded ring plus a wake-up.
pub trait FrameSink: Send + Sync {
    /// Takes the frame or says that the ring is full. Never blocks.
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered;
}

/// What became of an offered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is in the ring.
    Taken,
    /// The ring is full; the shard's viewers of this layer go on at the next key frame.
    Full,
    /// The shard is gone; the sink is detached.
    Gone,
}

/// Asks whoever feeds the layer for a key frame: an encoder, or a publisher by PLI. Called without the layer's lock.
pub trait KeyframeRequest: Send + Sync {
    /// Sends the request. Never blocks.
    fn request(&self);
}

/// How a viewer that joins gets its first picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// A key frame can be asked for: the cached key frame is shown, the live picture starts at the next.
    OnRequest,
    /// It cannot (a file, an RTSP camera): everything since the last key frame is kept, up to a bound, and replayed.
    ReplayGroup,
    /// Every packet stands alone (audio): nothing is cached.
    Always,
}

/// Figures of one layer since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerFigures {
    /// Frames (or bursts) written.
    pub frames: u64,
    /// Packets written.
    pub packets: u64,
    /// Payload bytes written.
    pub bytes: u64,
    /// Key frames among the frames.
    pub key_frames: u64,
    /// Requests for a key frame that were passed on.
    pub key_requests: u64,
    /// Offers that found a ring full.
    pub overruns: u64,
    /// Sinks attached now.
    pub sinks: usize,
}

/// The track of all idle layers. `TrackId::next` begins at 1.
const IDLE: TrackId = TrackId(0);

/// One encoding of a track and everything that is done for it once, however many watch.
pub struct Layer {
    id: LayerId,
    format: TrackFormat,
    refresh: Refresh,
    source: Box<dyn KeyframeRequest>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sinks: Vec<(SinkId, Arc<dyn FrameSink>)>,
    cache: Vec<Arc<FramePackets>>,
    cache_bytes: usize,
    cache_complete: bool,
    last_request: Option<Instant>,
    /// A request was held back by the spacing and no key frame came since.
    request_due: bool,
    rate: Rate,
    figures: LayerFigures,
}

impl Layer {
    /// Requests for a key frame within this time of the last become one (boards.md §3.3).
    pub const REQUEST_SPACING: Duration = Duration::from_millis(500);
    /// Most payload bytes kept for late joiners. 4 MiB is 16 s at 2 Mbit/s.
    pub const CACHE_BYTES: usize = 4 << 20;
    /// Most frames kept for late joiners: 34 s at 30 frames/s. A still picture's group stays small in bytes for very long, and decoding
    /// that many frames would take a joiner longer than waiting for a key frame.
    pub const CACHE_FRAMES: usize = 1024;

    /// A layer without frames yet.
    pub fn new(id: LayerId, format: TrackFormat, refresh: Refresh, source: Box<dyn KeyframeRequest>) -> Self {
        Self { id, format, refresh, source, state: Mutex::default() }
    }

    /// A layer that nobody ever writes: holds the place of one that may come.
    pub fn idle(format: TrackFormat) -> Self {
        struct Nobody;
        impl KeyframeRequest for Nobody {
            fn request(&self) {}
        }
        let refresh = if format.codec.kind() == MediaKind::Audio { Refresh::Always } else { Refresh::OnRequest };
        Self::new(LayerId { track: IDLE, index: 0 }, format, refresh, Box::new(Nobody))
    }

    /// Whether nobody ever writes it.
    pub fn is_idle(&self) -> bool {
        self.id.track == IDLE
    }

    /// Which layer.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// How it is encoded.
    pub fn format(&self) -> &TrackFormat {
        &self.format
    }

    /// How joiners get their first picture.
    pub fn refresh(&self) -> Refresh {
        self.refresh
    }

    /// Caches the frame and offers it to every attached sink, in one step: a sink attached before [`Self::cached`] is called misses
    /// nothing, and what it gets twice is the newest part of the cache. A frame without packets is ignored.
    pub fn write(&self, frame: FramePackets) {
        if frame.packets.is_empty() {
            return;
        }
        let frame = Arc::new(frame);
        let bytes = frame.packets.iter().map(|packet| packet.payload.len()).sum();
        let request = {
            let mut state = self.lock();
            state.count(&frame, bytes);
            state.rate.add(frame.arrived, bytes);
            state.remember(self.refresh, &frame, bytes);
            state.offer(&frame);
            state.request_due &= !frame.key;
            state.request_due && state.may_request(frame.arrived)
        };
        if request {
            self.source.request();
        }
    }

    /// Adds a sink; frames written from now on are offered to it. Attaching twice replaces.
    pub fn attach(&self, id: SinkId, sink: Arc<dyn FrameSink>) {
        let mut state = self.lock();
        state.sinks.retain(|(other, _)| *other != id);
        state.sinks.push((id, sink));
        state.figures.sinks = state.sinks.len();
    }

    /// Removes a sink.
    pub fn detach(&self, id: SinkId) {
        let mut state = self.lock();
        state.sinks.retain(|(other, _)| *other != id);
        state.figures.sinks = state.sinks.len();
    }

    /// What a joiner is sent first: the last key frame, or the group since it (see [`Refresh`]); empty when there is none
    /// or it outgrew
    /// [`Self::CACHE_BYTES`] or [`Self::CACHE_FRAMES`]. The last element is the newest frame cached.
    pub fn cached(&self) -> Vec<Arc<FramePackets>> {
        let state = self.lock();
        if state.cache_complete { state.cache.clone() } else { Vec::new() }
    }

    /// Passes a request for a key frame on, unless one was within [`Self::REQUEST_SPACING`]. Returns whether it did. A request
    /// held back is made up for by a later [`Self::write`], if no key frame came meanwhile.
    pub fn request_keyframe(&self, now: Instant) -> bool {
        if self.refresh != Refresh::OnRequest {
            return false;
        }
        let request = self.lock().may_request(now);
        if request {
            self.source.request();
        }
        request
    }

    /// Payload bits per second lately; 0 when nothing came for a second.
    pub fn bitrate(&self, now: Instant) -> u64 {
        let rate = self.lock().rate;
        rate.get(now)
    }

    /// What happened so far.
    pub fn figures(&self) -> LayerFigures {
        self.lock().figures
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock, and every state is valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, frame: &FramePackets, bytes: usize) {
        self.figures.frames += 1;
        self.figures.packets += frame.packets.len() as u64;
        self.figures.key_frames += u64::from(frame.key);
        self.figures.bytes += bytes as u64;
    }

    fn offer(&mut self, frame: &Arc<FramePackets>) {
        let mut overruns = 0;
        self.sinks.retain(|(_, sink)| match sink.offer(frame) {
            Offered::Taken => true,
            Offered::Full => {
                overruns += 1;
                true
            }
            Offered::Gone => false,
        });
        self.figures.overruns += overruns;
        self.figures.sinks = self.sinks.len();
    }

    /// Notes a request: true when it is to be passed on now, else it is due later.
    fn may_request(&mut self, now: Instant) -> bool {
        let early = self.last_request.is_some_and(|last| now.saturating_duration_since(last) < Layer::REQUEST_SPACING);
        self.request_due = early;
        if !early {
            self.last_request = Some(now);
            self.figures.key_requests += 1;
        }
        !early
    }

    fn remember(&mut self, refresh: Refresh, frame: &Arc<FramePackets>, bytes: usize) {
        match refresh {
            Refresh::Always => return,
            _ if frame.key => {
                self.cache.clear();
                self.cache_bytes = 0;
                self.cache_complete = true;
            }
            Refresh::ReplayGroup => {}
            // a publisher's key frame may span several bursts: those with the key frame's own time belong to it
            Refresh::OnRequest => {
                let time = |frame: &FramePackets| frame.packets.first().map(|packet| packet.timestamp);
                let same_frame = self.cache.first().is_some_and(|key| time(key) == time(frame));
                if !same_frame {
                    return;
                }
            }
        }
        if !self.cache_complete {
            return;
        }
        if self.cache_bytes + bytes > Layer::CACHE_BYTES || self.cache.len() == Layer::CACHE_FRAMES {
            self.cache = Vec::new();
            self.cache_complete = false;
            return;
        }
        self.cache_bytes += bytes;
        self.cache.push(Arc::clone(frame));
    }
}
