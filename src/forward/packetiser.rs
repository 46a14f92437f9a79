//! Encoded frames to RTP packets, once per layer, whoever watches.
//!
//! The packets of a frame are cut to **equal** sizes, only the last may be shorter: the kernel can then take them as one UDP
//! GSO train (all segments of a train have one size). Each codec's file knows its payload format and nothing of numbers; this
//! file gives sequence numbers and times.

mod h264;
mod h265;
mod nal;
mod opus;
mod vp8;
mod vp9;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::{FramePackets, MediaPacket};
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
#[derive(Debug)]
pub struct Packetiser {
    layer: LayerId,
    codec: Codec,
    format: Format,
    next_sequence: u16,
    first_timestamp: u32,
}

/// What a codec's payload format remembers from frame to frame.
#[derive(Debug)]
enum Format {
    H264(h264::H264),
    H265(h265::H265),
    Vp8(vp8::Vp8),
    Vp9(vp9::Vp9),
    Opus(opus::Opus),
}

/// A frame cut into payloads.
struct Cut {
    /// True when decoding can start here, as the bytes themselves say.
    key: bool,
    payloads: Vec<Bytes>,
    /// Which packet carries the marker.
    marker: Marker,
}

/// Where the marker bit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    /// On the last packet of the frame (video).
    Last,
    /// On none (sound that goes on).
    None,
}

impl Packetiser {
    /// Most payload bytes of a packet: with RTP header, extensions and SRTP tag it stays below 1280 (the IPv6 minimum MTU).
    pub const MAX_PAYLOAD: usize = 1180;

    /// Largest frame taken. Some 14 000 packets: less than half the circle of sequence numbers, so their order stays clear.
    pub const MAX_FRAME: usize = 16 << 20;

    /// A packetiser with random first sequence number and timestamp (RFC 3550 §5.1).
    pub fn new(layer: LayerId, codec: Codec) -> Result<Self, PacketiserError> {
        let format = match codec {
            Codec::H264 => Format::H264(h264::H264::default()),
            Codec::VP8 => Format::Vp8(vp8::Vp8::new(rand::random())),
            Codec::VP9 => Format::Vp9(vp9::Vp9::new(rand::random())),
            Codec::Opus => Format::Opus(opus::Opus::default()),
            Codec::H265 => Format::H265(h265::H265::default()),
            Codec::AV1 => return Err(PacketiserError::Codec(codec)),
        };
        Ok(Self { layer, codec, format, next_sequence: rand::random(), first_timestamp: rand::random() })
    }

    /// Packets of one frame, cut evenly so that they leave as one train of equal datagrams. A frame that is refused uses no
    /// sequence numbers.
    ///
    /// `key` of the result is what the bytes say, not what the frame claims: an H.264 recovery point is no key frame, since a
    /// viewer that starts there sees grey.
    pub fn packetise(&mut self, frame: &EncodedFrame) -> Result<FramePackets, PacketiserError> {
        let malformed = |what| PacketiserError::Malformed { codec: self.codec, what };
        if frame.codec != self.codec {
            return Err(malformed("it is of another codec"));
        }
        if frame.data.len() > Self::MAX_FRAME {
            return Err(malformed("it is larger than 16 MiB"));
        }
        let cut = match &mut self.format {
            Format::H264(format) => format.cut(&frame.data),
            Format::H265(format) => format.cut(&frame.data),
            Format::Vp8(format) => format.cut(&frame.data),
            Format::Vp9(format) => format.cut(&frame.data),
            Format::Opus(format) => format.cut(&frame.data, frame.pts),
        }
        .map_err(malformed)?;
        let timestamp = self.first_timestamp.wrapping_add(rtp_ticks(frame.pts, self.codec.clock_rate()));
        let last = cut.payloads.len().saturating_sub(1);
        let mut sequence = self.next_sequence;
        let packets = cut.payloads.into_iter().enumerate().map(|(index, payload)| {
            let packet = MediaPacket { sequence, timestamp, marker: cut.marker == Marker::Last && index == last, payload };
            sequence = sequence.wrapping_add(1);
            packet
        });
        let packets = packets.collect();
        self.next_sequence = sequence;
        Ok(FramePackets { layer: self.layer, key: cut.key, packets, arrived: frame.arrived })
    }
}

/// A time in ticks of the RTP clock, rounded, modulo 2^32. Computed from the whole time, so that nothing adds up.
fn rtp_ticks(pts: Duration, clock_rate: u32) -> u32 {
    ((pts.as_nanos() * u128::from(clock_rate) + 500_000_000) / 1_000_000_000) as u32
}

/// Splits `len` bytes into the fewest pieces of at most `room` bytes, all of one size but the last, which is shorter by less
/// than the number of pieces. Returns that size; at least 1.
fn even_piece(len: usize, room: usize) -> usize {
    let pieces = len.div_ceil(room).max(1);
    len.div_ceil(pieces).max(1)
}

/// Payloads written one after another into one buffer and then shared out.
///
/// One allocation and one copy per frame. The copy is wanted: a payload that pointed into the encoder's own buffer would hold it
/// for as long as the frame is cached, and hardware encoders have few.
struct Payloads {
    buffer: BytesMut,
    ends: Vec<usize>,
}

impl Payloads {
    fn with_capacity(bytes: usize, packets: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(bytes), ends: Vec::with_capacity(packets) }
    }

    /// Adds bytes to the packet being written.
    fn put(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Ends the packet being written.
    fn end(&mut self) {
        self.ends.push(self.buffer.len());
    }

    fn finish(self) -> Vec<Bytes> {
        let buffer = self.buffer.freeze();
        let mut start = 0;
        let payloads = self.ends.into_iter().map(|end| buffer.slice(std::mem::replace(&mut start, end)..end));
        payloads.collect()
    }
}
