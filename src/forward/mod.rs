//! One layer of one track: packetised once, kept for late joiners, offered to every thread that has viewers.
//!
//! Pure but for a short lock per layer and frame: no socket, no clock, no thread, no codec library. A **writer** (the tap
//! of a source, the shard that receives a publisher) calls [`Layer::write`]; each shard with viewers attaches one
//! [`FrameSink`]. What a viewer needs of its own – header rewriting, waiting for a key frame, dropping when behind – is
//! [`Rewriter`].
//!
//! ```text
//! encoder ─► EncodedFrame ─► Packetiser ─► FramePackets ─┐
//! publisher's RTP ─► (as it came) ───────► FramePackets ─┴► Layer ─► FrameSink (per shard) ─► Rewriter (per viewer)
//! ```

mod appetite;
mod layer;
mod layers;
mod packetiser;
mod rate;
mod rewriter;
mod stages;

pub use appetite::{Appetite, Teller};
pub use layer::{FrameSink, KeyframeRequest, Layer, LayerFigures, Offered, Refresh, SinkId};
pub use layers::Layers;
pub use packetiser::{Packetiser, PacketiserError};
pub(crate) use rate::Rate;
pub use rewriter::{Rewriter, RewriterFigures, Rewritten, Verdict};
pub use stages::{Durations, DurationsView, Stages};

use std::time::Instant;

use bytes::Bytes;

use crate::vocab::LayerId;

/// RTP packets of one layer that belong together: a whole frame of a source, or what arrived of a publisher at once.
#[derive(Clone, Debug)]
pub struct FramePackets {
    /// The layer.
    pub layer: LayerId,
    /// True when the first packet starts a frame that decodes on its own.
    pub key: bool,
    /// In order of sequence number; never empty.
    pub packets: Vec<MediaPacket>,
    /// When the data reached Portico; latency is measured from here.
    pub arrived: Instant,
}

/// One RTP packet without what differs per viewer.
#[derive(Clone, Debug)]
pub struct MediaPacket {
    /// The layer's own numbering: the publisher's, or the packetiser's. Gaps are losses upstream.
    pub sequence: u16,
    /// The layer's own RTP time.
    pub timestamp: u32,
    /// Last packet of a frame (video); start of a talk spurt (audio).
    pub marker: bool,
    /// The payload, shared by every viewer.
    pub payload: Bytes,
}
