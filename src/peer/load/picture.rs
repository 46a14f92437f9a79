//! PURE. A synthetic H.264 picture whose packets say when they left and which frame they are part of.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::forward::{FramePackets, MediaPacket, Packetiser, PacketiserError};
use crate::vocab::{Codec, EncodedFrame, LayerId, TrackId};

/// Frames from one key frame to the next: 2 s at 30 frames/s, the longest that browsers are comfortable with.
const GROUP: u32 = 60;
/// A key frame is so many times as large as another.
const KEY_WEIGHT: u32 = 6;

/// What is sent: frames of one size, with a key frame six times as large every 60 frames.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// Payload bits per second.
    pub bitrate: u64,
    /// Frames per second.
    pub frame_rate: u32,
}

impl Picture {
    /// From one frame to the next.
    pub(super) fn spacing(self) -> Duration {
        Duration::from_secs(1) / self.frame_rate.max(1)
    }

    /// Bytes of a frame.
    fn frame_bytes(self, key: bool) -> usize {
        let group = self.bitrate / 8 * u64::from(GROUP) / u64::from(self.frame_rate.max(1));
        let plain = group / u64::from(GROUP - 1 + KEY_WEIGHT);
        let bytes = if key { plain * u64::from(KEY_WEIGHT) } else { plain };
        // a stamp must fit into every packet
        usize::try_from(bytes).unwrap_or(usize::MAX).clamp(4 * Stamp::BYTES, Packetiser::MAX_FRAME / 2)
    }
}

/// Makes the frames of a [`Picture`], packetised.
pub(super) struct Frames {
    picture: Picture,
    packetiser: Packetiser,
    key: Bytes,
    plain: Bytes,
    number: u32,
    since_key: u32,
}

impl Frames {
    pub(super) fn new(picture: Picture) -> Result<Self, PacketiserError> {
        const START: [u8; 4] = [0, 0, 0, 1];
        const PARAMETER_SETS: [&[u8]; 2] = [&[0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40], &[0x68, 0xce, 0x3c, 0x80]];
        // noise without zeros, so without start codes
        let body = |bytes: usize| (0..bytes).map(|n| (n as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 4);
        let unit = |head: u8, bytes: usize| START.into_iter().chain([head]).chain(body(bytes));
        let sets = PARAMETER_SETS.iter().flat_map(|set| START.into_iter().chain(set.iter().copied()));
        Ok(Self {
            picture,
            packetiser: Packetiser::new(LayerId { track: TrackId(0), index: 0 }, Codec::H264)?,
            key: sets.chain(unit(0x65, picture.frame_bytes(true))).collect(),
            plain: unit(0x41, picture.frame_bytes(false)).collect(),
            number: 0,
            since_key: 0,
        })
    }

    /// The next frame; a key frame when it is time for one, or when asked.
    pub(super) fn next(&mut self, key: bool) -> Result<Frame, PacketiserError> {
        let key = key || self.since_key == 0;
        self.since_key = if key { 1 } else { (self.since_key + 1) % GROUP };
        let number = self.number;
        self.number = number.wrapping_add(1);
        let frame = EncodedFrame {
            codec: Codec::H264,
            pts: self.picture.spacing() * number,
            key,
            data: if key { self.key.clone() } else { self.plain.clone() },
            arrived: Instant::now(),
        };
        Ok(Frame { number, packets: self.packetiser.packetise(&frame)? })
    }
}

/// A frame to be stamped packet by packet as it leaves.
pub(super) struct Frame {
    number: u32,
    pub(super) packets: FramePackets,
}

impl Frame {
    /// The packets, each with a stamp of the moment it is asked for. Parameter sets are too small for one and go as they are.
    pub(super) fn stamped(&self, clock: impl Fn() -> Duration) -> impl Iterator<Item = MediaPacket> {
        let fits = |packet: &&MediaPacket| packet.payload.len() > 2 * Stamp::BYTES;
        let count = self.packets.packets.iter().filter(fits).count() as u16;
        self.packets.packets.iter().map(move |packet| {
            if !fits(&packet) {
                return packet.clone();
            }
            let stamp = Stamp { left: clock(), frame: self.number, of: count, key: self.packets.key };
            MediaPacket { payload: stamp.write(&packet.payload), ..packet.clone() }
        })
    }
}

/// What the last bytes of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Wall clock when it was handed over for sending.
    pub(super) left: Duration,
    /// Number of the frame.
    pub(super) frame: u32,
    /// Stamped packets the frame has.
    pub(super) of: u16,
    /// Whether it is a key frame.
    pub(super) key: bool,
}

impl Stamp {
    const MARK: [u8; 8] = *b"PORTICO!";
    /// Mark, nanoseconds, frame, count, key.
    pub(super) const BYTES: usize = 8 + 8 + 4 + 2 + 1;

    fn write(self, payload: &[u8]) -> Bytes {
        let mut bytes = BytesMut::from(payload);
        let at = payload.len().saturating_sub(Self::BYTES);
        bytes.truncate(at);
        bytes.extend_from_slice(&Self::MARK);
        bytes.extend_from_slice(&(self.left.as_nanos() as u64).to_be_bytes());
        bytes.extend_from_slice(&self.frame.to_be_bytes());
        bytes.extend_from_slice(&self.of.to_be_bytes());
        bytes.extend_from_slice(&[u8::from(self.key)]);
        bytes.freeze()
    }

    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let rest = payload.last_chunk::<{ Self::BYTES }>()?.strip_prefix(&Self::MARK)?;
        let (nanos, rest) = rest.split_first_chunk()?;
        let (frame, rest) = rest.split_first_chunk()?;
        let (of, rest) = rest.split_first_chunk()?;
        Some(Self {
            left: Duration::from_nanos(u64::from_be_bytes(*nanos)),
            frame: u32::from_be_bytes(*frame),
            of: u16::from_be_bytes(*of),
            key: rest == [1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_a_plain_frame_bears_its_stamp() {
        let mut frames = Frames::new(Picture { bitrate: 2_000_000, frame_rate: 30 }).unwrap();
        let (first, second) = (frames.next(false).unwrap(), frames.next(false).unwrap());
        assert!(first.packets.key && !second.packets.key);
        let left = Duration::from_nanos(1_795_252_000_123_456_789);
        let packets: Vec<MediaPacket> = second.stamped(|| left).collect();
        for packet in &packets {
            let stamp = Stamp { left, frame: 1, of: packets.len() as u16, key: false };
            assert_eq!(Stamp::read(&packet.payload), Some(stamp));
        }
        let keys: Vec<Stamp> = first.stamped(|| left).filter_map(|packet| Stamp::read(&packet.payload)).collect();
        assert!(keys.iter().all(|stamp| stamp.key && usize::from(stamp.of) == keys.len()));
        assert_eq!(keys.len() + 1, first.packets.packets.len(), "parameter sets are not stamped");
    }

    #[test]
    fn the_bit_rate_is_met_over_a_group() {
        for bitrate in [100_000, 2_000_000, 20_000_000] {
            let mut frames = Frames::new(Picture { bitrate, frame_rate: 30 }).unwrap();
            let bytes: usize =
                (0..GROUP).flat_map(|_| frames.next(false).unwrap().packets.packets).map(|packet| packet.payload.len()).sum();
            let wanted = bitrate as f64 / 8.0 * f64::from(GROUP) / 30.0;
            assert!((bytes as f64 / wanted - 1.0).abs() < 0.05, "{bytes} of {wanted}");
        }
    }

    #[test]
    fn a_key_frame_on_request_begins_a_group() {
        let mut frames = Frames::new(Picture { bitrate: 1_000_000, frame_rate: 30 }).unwrap();
        let keys: Vec<bool> = (0..70).map(|n| frames.next(n == 5).unwrap().packets.key).collect();
        let at: Vec<usize> = (0..70).filter(|n| keys[*n]).collect();
        assert_eq!(at, [0, 5, 65]);
    }

    #[test]
    fn no_payload_panics_the_reader() {
        for len in 0..40 {
            assert_eq!(Stamp::read(&vec![7; len]), None);
        }
    }
}
