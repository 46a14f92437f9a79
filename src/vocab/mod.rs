//! Shared words: ids, codecs, frames, session descriptions, rights.
//!
//! Every other module may use these; they use nothing of Portico and no IO. Time is always an argument.

mod access;
mod backlog;
mod duration;
mod ids;
mod media;
mod message;
mod mix;
mod number_map;
mod sdp;

pub use access::{BearerCheck, BearerError, Grant, Identity, Right, Rights, RoomPattern};
pub use backlog::{Backlog, Share};
pub use duration::DurationText;
pub use ids::{
    BridgeName, ChannelId, LayerId, MemberId, NameError, PeerId, RequestId, RoomId, RoomPrefix, SessionId, SourceName,
    StreamName, TrackId,
};
pub use media::{Bitrate, Codec, EncodedFrame, LaneTrack, MAX_LANES, MediaKind, PICTURE_WIDTHS, TrackFormat};
pub use message::{DataMessage, Framing, NewChannel, Utf8Bytes, text_parts};
pub use mix::{MixConfig, MixLayout};
pub use number_map::{NumberHasher, NumberMap};
pub use sdp::{Candidate, Sdp, SdpKind};
