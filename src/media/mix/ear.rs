//! What a listener hears: everybody but itself.
//!
//! Who publishes no sound hears what all hear, which is encoded once: its packets are passed on. Who does, gets an encoder of its own.
//! Both fill the same layer, so a listener that begins to speak, or stops, changes nothing at its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::{debug, warn};

use super::sound::{BLOCK_TIME, CHANNELS, RATE};
use crate::forward::{FramePackets, FrameSink, Layer, Offered, SinkId, Stages};
use crate::media::SourceError;
use crate::media::board::{Board, Candidate};
use crate::media::pipeline::{BranchId, BranchSpec, Encode, PresenceCache, make, sound_branch};
use crate::media::tap::Feed;
use crate::vocab::{Bitrate, Codec, EncodedFrame, LayerId, MemberId, TrackId};

/// One listener.
pub(super) struct Ear {
    /// Whose ear it is.
    pub member: MemberId,
    feed: Arc<Feed>,
    epoch: Instant,
    /// What everybody hears is not for it.
    own: AtomicBool,
}

impl Ear {
    /// Where its packets come out.
    pub fn layer(&self) -> &Arc<Layer> {
        self.feed.layer()
    }

    /// Whether it gets what everybody hears.
    pub fn set_common(&self, common: bool) {
        self.own.store(!common, Ordering::Relaxed);
    }
}

impl FrameSink for Ear {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        if !self.own.load(Ordering::Relaxed) {
            for packet in &frame.packets {
                let data = packet.payload.clone();
                let frame =
                    EncodedFrame { codec: Codec::Opus, pts: self.epoch.elapsed(), key: true, data, arrived: frame.arrived };
                self.feed.put(frame, BLOCK_TIME);
            }
        }
        Offered::Taken
    }
}

/// An ear that hears what everybody hears, until this is dropped.
pub(super) struct Listening {
    pub ear: Arc<Ear>,
    common: Arc<Layer>,
    id: SinkId,
}

impl Listening {
    pub fn start(member: MemberId, epoch: Instant, common: &Arc<Layer>) -> Option<Self> {
        // far from the numbers of shards, snapshots and inlets
        static NEXT: AtomicUsize = AtomicUsize::new(usize::MAX / 2);
        let id = LayerId { track: TrackId::next(), index: 0 };
        let feed = Feed::new(id, common.format().clone(), true).ok()?;
        let ear = Arc::new(Ear { member, feed: Arc::new(feed), epoch, own: AtomicBool::new(false) });
        let id = SinkId(NEXT.fetch_add(1, Ordering::Relaxed));
        common.attach(id, Arc::clone(&ear) as Arc<dyn FrameSink>);
        Some(Self { ear, common: Arc::clone(common), id })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.common.detach(self.id);
    }
}

/// The caps of sound as it is mixed.
pub(super) fn sound_caps() -> String {
    format!("audio/x-raw,format=S16LE,rate={RATE},channels={CHANNELS},layout=interleaved")
}

/// Most blocks that wait for an encoder: 100 ms. An encoder that is further behind loses some.
const WAITING: u64 = 5;

/// Hands a block to an appsrc, as of `time`.
pub(super) fn push_block(to: &gst_app::AppSrc, block: &[i16], time: Duration) {
    if to.current_level_buffers() >= WAITING {
        return;
    }
    let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut buffer = gst::Buffer::from_slice(bytes);
    if let Some(buffer) = buffer.get_mut() {
        let nanos = |time: Duration| gst::ClockTime::from_nseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX >> 1));
        buffer.set_pts(nanos(time));
        buffer.set_duration(nanos(BLOCK_TIME));
    }
    if let Err(flow) = to.push_buffer(buffer) {
        debug!(?flow, "sound not taken");
    }
}

/// The encoder of one ear, in the mix's pipeline.
pub(super) struct Voice {
    source: gst_app::AppSrc,
    bin: gst::Bin,
}

impl Voice {
    /// Starts it, into the ear's layer. `offset` is added to the pipeline's times.
    pub fn start(
        pipeline: &gst::Pipeline,
        ear: &Ear,
        board: &Board,
        presences: &PresenceCache,
        offset: Duration,
    ) -> Result<Self, SourceError> {
        let mut candidates = board.encoders_of(Codec::Opus);
        let encoder =
            candidates.find(|it| presences.get(Candidate::Encoder(it)).is_ready()).ok_or_else(|| make::missing("opusenc"))?;
        let encode = Encode {
            encoder: encoder.clone(),
            convert: String::new(),
            decoder: None,
            bitrate: Bitrate::default(),
            size: None,
            restarts: false,
            shape: Default::default(),
        };
        let spec =
            BranchSpec { id: BranchId { codec: Codec::Opus, layer: 0 }, feed: Arc::clone(&ear.feed), encode: Some(encode) };
        let bin = sound_branch(&spec, offset, &Arc::<Stages>::default())?;
        let source = gst_app::AppSrc::builder().format(gst::Format::Time).is_live(false).build();
        source.set_caps(sound_caps().parse::<gst::Caps>().ok().as_ref());
        let failed = |error: gst::glib::BoolError| SourceError::Failed(error.to_string());
        pipeline.add_many([source.upcast_ref::<gst::Element>(), bin.upcast_ref()]).map_err(failed)?;
        let voice = Self { source, bin };
        let linked = voice.source.link(&voice.bin).map_err(failed);
        if let Err(error) = linked {
            voice.stop(pipeline);
            return Err(error);
        }
        let _ = voice.bin.sync_state_with_parent();
        let _ = voice.source.sync_state_with_parent();
        Ok(voice)
    }

    /// What it is to say, as of `time`.
    pub fn say(&self, block: &[i16], time: Duration) {
        push_block(&self.source, block, time);
    }

    /// Ends it. The source first: nothing then meets elements that have stopped.
    pub fn stop(self, pipeline: &gst::Pipeline) {
        for element in [self.source.upcast_ref::<gst::Element>(), self.bin.upcast_ref()] {
            if element.set_state(gst::State::Null).is_err() {
                warn!("a listener's encoder did not stop cleanly");
            }
            let _ = pipeline.remove(element);
        }
    }
}
