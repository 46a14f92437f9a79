//! PURE. Synthetic pictures and sound whose packets say when they left and which frame they are part of.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::forward::{FramePackets, MediaPacket, Packetiser, PacketiserError};
use crate::vocab::{Codec, EncodedFrame, LayerId, MediaKind, TrackFormat, TrackId};

/// Frames from one key frame to the next: 2 s at 30 frames/s, the longest that browsers are comfortable with.
const GROUP: u32 = 60;
/// A key frame is so many times as large as another.
const KEY_WEIGHT: u32 = 6;

/// What a publisher sends: frames of one size; of pictures every 60th is a key frame six times as large.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// H.264 or Opus.
    pub codec: Codec,
    /// Payload bits per second.
    pub bitrate: u64,
    /// Frames per second.
    pub frame_rate: u32,
}

impl Feed {
    /// A picture of so many bits per second, 30 frames/s.
    pub fn picture(bitrate: u64) -> Self {
        Self { codec: Codec::H264, bitrate, frame_rate: 30 }
    }

    /// Speech as browsers send it: 32 kbit/s in packets of 20 ms.
    pub fn sound() -> Self {
        Self { codec: Codec::Opus, bitrate: 32_000, frame_rate: 50 }
    }

    pub(super) fn format(self) -> TrackFormat {
        match self.codec {
            Codec::H264 => TrackFormat::h264_baseline(),
            codec => TrackFormat::plain(codec),
        }
    }

    /// From one frame to the next.
    pub(super) fn spacing(self) -> Duration {
        Duration::from_secs(1) / self.frame_rate.max(1)
    }

    fn has_keys(self) -> bool {
        self.codec.kind() == MediaKind::Video
    }

    /// Bytes of a frame.
    fn frame_bytes(self, key: bool) -> usize {
        let group = self.bitrate / 8 * u64::from(GROUP) / u64::from(self.frame_rate.max(1));
        let weight = if self.has_keys() { KEY_WEIGHT } else { 1 };
        let plain = group / u64::from(GROUP - 1 + weight);
        let bytes = if key { plain * u64::from(weight) } else { plain };
        // a stamp must fit into every packet
        usize::try_from(bytes).unwrap_or(usize::MAX).clamp(3 * Stamp::BYTES, Packetiser::MAX_FRAME / 2)
    }
}

/// Makes the frames of a [`Feed`], packetised.
pub(super) struct Frames {
    feed: Feed,
    packetiser: Packetiser,
    key: Bytes,
    plain: Bytes,
    number: u32,
    since_key: u32,
}

impl Frames {
    pub(super) fn new(feed: Feed) -> Result<Self, PacketiserError> {
        const START: [u8; 4] = [0, 0, 0, 1];
        const PARAMETER_SETS: [&[u8]; 2] = [&[0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40], &[0x68, 0xce, 0x3c, 0x80]];
        // one frame of 20 ms (RFC 6716 §3.1)
        const OPUS_HEAD: u8 = 0xf8;
        // noise without zeros, so without start codes
        let body = |bytes: usize| (0..bytes).map(|n| (n as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 4);
        let unit = |head: u8, bytes: usize| START.into_iter().chain([head]).chain(body(bytes));
        let sets = PARAMETER_SETS.iter().flat_map(|set| START.into_iter().chain(set.iter().copied()));
        let (key, plain): (Bytes, Bytes) = match feed.has_keys() {
            true => (sets.chain(unit(0x65, feed.frame_bytes(true))).collect(), unit(0x41, feed.frame_bytes(false)).collect()),
            false => (Bytes::new(), [OPUS_HEAD].into_iter().chain(body(feed.frame_bytes(false))).collect()),
        };
        let packetiser = Packetiser::new(LayerId { track: TrackId(0), index: 0 }, feed.codec)?;
        Ok(Self { feed, packetiser, key, plain, number: 0, since_key: 0 })
    }

    /// The next frame; a key frame when it is time for one, or when asked.
    pub(super) fn next(&mut self, key: bool) -> Result<Frame, PacketiserError> {
        let key = self.feed.has_keys() && (key || self.since_key == 0);
        self.since_key = if key { 1 } else { (self.since_key + 1) % GROUP };
        let number = self.number;
        self.number = number.wrapping_add(1);
        let frame = EncodedFrame {
            codec: self.feed.codec,
            pts: self.feed.spacing() * number,
            key,
            data: if key { self.key.clone() } else { self.plain.clone() },
            arrived: Instant::now(),
        };
        Ok(Frame { number, key, packets: self.packetiser.packetise(&frame)? })
    }
}

/// A frame to be stamped packet by packet as it leaves.
pub(super) struct Frame {
    number: u32,
    /// Whether it is a key frame of a picture; sound has none, though each of its frames decodes on its own.
    pub(super) key: bool,
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
            let stamp = Stamp { left: clock(), frame: self.number, of: count, key: self.key };
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
        let mut frames = Frames::new(Feed::picture(2_000_000)).unwrap();
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
            let mut frames = Frames::new(Feed::picture(bitrate)).unwrap();
            let bytes: usize =
                (0..GROUP).flat_map(|_| frames.next(false).unwrap().packets.packets).map(|packet| packet.payload.len()).sum();
            let wanted = bitrate as f64 / 8.0 * f64::from(GROUP) / 30.0;
            assert!((bytes as f64 / wanted - 1.0).abs() < 0.05, "{bytes} of {wanted}");
        }
    }

    #[test]
    fn sound_is_one_stamped_packet_after_the_other() {
        let mut frames = Frames::new(Feed::sound()).unwrap();
        for number in 0..3 {
            let frame = frames.next(true).unwrap();
            assert!(!frame.key);
            let packets: Vec<MediaPacket> = frame.stamped(|| Duration::from_secs(1)).collect();
            let [packet] = &packets[..] else { panic!("{packets:?}") };
            let stamp = Stamp { left: Duration::from_secs(1), frame: number, of: 1, key: false };
            assert_eq!((Stamp::read(&packet.payload), packet.payload.len()), (Some(stamp), 81));
        }
    }

    #[test]
    fn a_key_frame_on_request_begins_a_group() {
        let mut frames = Frames::new(Feed::picture(1_000_000)).unwrap();
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
