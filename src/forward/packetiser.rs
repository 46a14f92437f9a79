//! Encoded frames to RTP payloads (skeleton).
use super::FramePackets;
use crate::vocab::{Codec, EncodedFrame, LayerId};

/// Why a frame cannot be packetised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketiserError {
    /// No packetiser for the codec.
    #[error("{0} cannot be packetised")]
    Codec(Codec),
    /// The frame's bytes are not what the codec says.
    #[error("malformed {codec} frame: {what}")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// What is wrong.
        what: &'static str,
    },
}

/// Turns frames of one layer into packets, once.
pub struct Packetiser {}

impl Packetiser {
    /// Most payload bytes of a packet: with RTP header, extensions and SRTP tag it stays below 1280 (the IPv6 minimum MTU).
    pub const MAX_PAYLOAD: usize = 1180;

    /// A packetiser with random first sequence number and timestamp.
    pub fn new(_layer: LayerId, _codec: Codec) -> Result<Self, PacketiserError> {
        unimplemented!("skeleton")
    }
    /// Packets of one frame, cut evenly so that they leave as one train of equal datagrams.
    pub fn packetise(&mut self, _frame: &EncodedFrame) -> Result<FramePackets, PacketiserError> {
        unimplemented!("skeleton")
    }
}
