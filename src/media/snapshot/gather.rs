//! PURE. One whole key frame out of what a layer is written.

use bytes::Bytes;

use crate::forward::{FramePackets, MediaPacket};

/// Most payload bytes of a key frame that is turned into a picture: the most that a layer keeps for joiners.
pub(super) const MOST_BYTES: usize = crate::forward::Layer::CACHE_BYTES;
/// And most packets: payloads of 64 bytes at that size would be a fault or an attack.
const MOST_PACKETS: usize = 8192;

/// Collects packets until a key frame is whole. Holds at most one frame.
#[derive(Debug, Default)]
pub(super) struct Gather {
    packets: Vec<MediaPacket>,
    bytes: usize,
    whole: bool,
}

impl Gather {
    /// Takes what was written next; whether a key frame is whole now. What does not belong to it is left aside, and a frame with
    /// packets missing is given up: the next key frame is waited for.
    pub fn take_in(&mut self, frame: &FramePackets) -> bool {
        for (index, packet) in frame.packets.iter().enumerate() {
            if self.whole {
                break;
            }
            // only the first packet of what is written together can start a key frame
            self.take(packet, frame.key && index == 0);
        }
        self.whole
    }

    /// The payloads of the frame, once it is whole.
    pub fn finish(self) -> Option<Vec<Bytes>> {
        self.whole.then(|| self.packets.into_iter().map(|packet| packet.payload).collect())
    }

    fn take(&mut self, packet: &MediaPacket, starts: bool) {
        let follows = self.packets.last().map(|last| packet.sequence == last.sequence.wrapping_add(1));
        let belongs = self.packets.last().is_some_and(|last| last.timestamp == packet.timestamp);
        match (follows, belongs) {
            (Some(true), true) => self.add(packet),
            // the next frame begins without a gap: some encoders do not mark the end of one
            (Some(true), false) => self.whole = true,
            // a later part of the frame that says of itself that it starts one: it does not, the beginning is lost
            (Some(false), true) => self.clear(),
            (Some(false), false) | (None, _) => {
                self.clear();
                if starts {
                    self.add(packet);
                }
            }
        }
    }

    fn add(&mut self, packet: &MediaPacket) {
        self.bytes += packet.payload.len();
        if self.bytes > MOST_BYTES || self.packets.len() == MOST_PACKETS {
            return self.clear();
        }
        self.packets.push(packet.clone());
        self.whole = packet.marker;
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::vocab::{LayerId, TrackId};

    fn frame(key: bool, timestamp: u32, packets: &[(u16, bool)]) -> FramePackets {
        let packet = |(sequence, marker): &(u16, bool)| MediaPacket {
            sequence: *sequence,
            timestamp,
            marker: *marker,
            payload: Bytes::copy_from_slice(&sequence.to_be_bytes()),
        };
        let layer = LayerId { track: TrackId(1), index: 0 };
        FramePackets { layer, key, packets: packets.iter().map(packet).collect(), arrived: Instant::now() }
    }

    fn payloads(gather: Gather) -> Option<Vec<u16>> {
        Some(gather.finish()?.iter().map(|payload| u16::from_be_bytes([payload[0], payload[1]])).collect())
    }

    #[test]
    fn a_frame_of_one_write_is_whole_at_once_and_what_follows_is_not_taken() {
        let mut gather = Gather::default();
        assert!(!gather.take_in(&frame(false, 1, &[(7, true)])), "no key frame");
        assert!(gather.take_in(&frame(true, 2, &[(8, false), (9, false), (10, true)])));
        assert!(gather.take_in(&frame(false, 3, &[(11, true)])));
        assert_eq!(payloads(gather), Some(vec![8, 9, 10]));
    }

    #[test]
    fn bursts_of_one_frame_are_put_together_also_over_the_end_of_the_numbers() {
        let mut gather = Gather::default();
        assert!(!gather.take_in(&frame(true, 2, &[(65534, false), (65535, false)])));
        assert!(!gather.take_in(&frame(false, 2, &[(0, false)])));
        assert!(gather.take_in(&frame(false, 2, &[(1, true)])));
        assert_eq!(payloads(gather), Some(vec![65534, 65535, 0, 1]));
    }

    #[test]
    fn the_end_may_be_told_by_the_next_frame_alone() {
        let mut gather = Gather::default();
        assert!(!gather.take_in(&frame(true, 2, &[(5, false), (6, false)])));
        assert!(gather.take_in(&frame(false, 3, &[(7, true)])));
        assert_eq!(payloads(gather), Some(vec![5, 6]));
    }

    #[test]
    fn a_frame_with_a_hole_is_given_up_for_the_next() {
        let mut gather = Gather::default();
        assert!(!gather.take_in(&frame(true, 2, &[(5, false), (7, true)])), "inside");
        assert!(!gather.take_in(&frame(true, 3, &[(8, false)])));
        assert!(!gather.take_in(&frame(false, 4, &[(10, true)])), "at its end: whether it was whole is not known");
        assert!(!gather.take_in(&frame(true, 5, &[(11, false)])));
        assert!(!gather.take_in(&frame(true, 5, &[(13, false)])), "a later part is no beginning");
        assert!(!gather.take_in(&frame(false, 5, &[(14, true)])));
        assert!(gather.take_in(&frame(true, 6, &[(15, true)])));
        assert_eq!(payloads(gather), Some(vec![15]));
    }

    #[test]
    fn what_never_ends_is_let_go() {
        let mut gather = Gather::default();
        for sequence in 0..=u16::try_from(MOST_PACKETS).unwrap() {
            assert!(!gather.take_in(&frame(sequence == 0, 2, &[(sequence, false)])));
        }
        assert!(gather.packets.is_empty() && gather.bytes == 0);
        assert_eq!(payloads(gather), None);
    }
}
