//! PURE. Parameter sets, taken out of a layer's packets for the description: recorders want to know them before the first picture.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::forward::FramePackets;
use crate::vocab::Codec;

/// Most sets that are told of a kind, and the longest. What is more is in the packets all the same.
const MOST: usize = 4;
const LONGEST: usize = 512;

/// What of H.264 or H.265 must be known before a picture can be decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    vps: Vec<Vec<u8>>,
    sps: Vec<Vec<u8>>,
    pps: Vec<Vec<u8>>,
}

impl ParameterSets {
    /// Whether a codec has any.
    pub fn exist_for(codec: Codec) -> bool {
        matches!(codec, Codec::H264 | Codec::H265)
    }

    /// What these frames hold.
    pub fn of<'a>(codec: Codec, frames: impl IntoIterator<Item = &'a FramePackets>) -> Self {
        let mut found = Self::default();
        for packet in frames.into_iter().flat_map(|frame| &frame.packets) {
            match codec {
                Codec::H264 => found.take_h264(&packet.payload),
                Codec::H265 => found.take_h265(&packet.payload),
                _ => {}
            }
        }
        found
    }

    /// Whether a decoder could begin with them.
    pub fn are_complete(&self, codec: Codec) -> bool {
        let has_picture = !self.sps.is_empty() && !self.pps.is_empty();
        has_picture && (codec != Codec::H265 || !self.vps.is_empty())
    }

    /// As `a=fmtp` says them (RFC 6184 section 8.1, RFC 7798 section 7.1), without what is not known.
    pub fn fmtp(&self, codec: Codec) -> Vec<String> {
        let list = |sets: &[Vec<u8>]| sets.iter().map(|set| STANDARD.encode(set)).collect::<Vec<_>>().join(",");
        match codec {
            Codec::H264 if self.are_complete(codec) => {
                vec![format!("sprop-parameter-sets={},{}", list(&self.sps), list(&self.pps))]
            }
            Codec::H265 if self.are_complete(codec) => vec![
                format!("sprop-vps={}", list(&self.vps)),
                format!("sprop-sps={}", list(&self.sps)),
                format!("sprop-pps={}", list(&self.pps)),
            ],
            _ => Vec::new(),
        }
    }

    /// Profile, constraints and level of H.264 as the picture itself says them.
    pub fn profile_level_id(&self) -> Option<String> {
        match self.sps.first()?.get(1..4)? {
            [profile, constraints, level] => Some(format!("{profile:02x}{constraints:02x}{level:02x}")),
            _ => None,
        }
    }

    fn take_h264(&mut self, payload: &[u8]) {
        const SPS: u8 = 7;
        const PPS: u8 = 8;
        const STAP_A: u8 = 24;
        let mut take = |unit: &[u8]| match unit.first().map(|first| first & 0x1f) {
            Some(SPS) => keep(&mut self.sps, unit),
            Some(PPS) => keep(&mut self.pps, unit),
            _ => {}
        };
        match payload.split_first() {
            Some((first, units)) if first & 0x1f == STAP_A => aggregated(units, take),
            _ => take(payload),
        }
    }

    fn take_h265(&mut self, payload: &[u8]) {
        const VPS: u8 = 32;
        const SPS: u8 = 33;
        const PPS: u8 = 34;
        const AP: u8 = 48;
        let kind = |unit: &[u8]| unit.first().map(|first| (first >> 1) & 0x3f);
        let mut take = |unit: &[u8]| match kind(unit) {
            Some(VPS) => keep(&mut self.vps, unit),
            Some(SPS) => keep(&mut self.sps, unit),
            Some(PPS) => keep(&mut self.pps, unit),
            _ => {}
        };
        match (kind(payload), payload.get(2..)) {
            (Some(AP), Some(units)) => aggregated(units, take),
            _ => take(payload),
        }
    }
}

/// Units with their length before each (RFC 6184 section 5.7.1, RFC 7798 section 4.4.2). A publisher wrote it: it may be anything.
fn aggregated(mut units: &[u8], mut take: impl FnMut(&[u8])) {
    while let [high, low, rest @ ..] = units {
        let Some((unit, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else { return };
        take(unit);
        units = rest;
    }
}

fn keep(sets: &mut Vec<Vec<u8>>, unit: &[u8]) {
    if unit.len() <= LONGEST && sets.len() < MOST && !sets.iter().any(|known| known == unit) {
        sets.push(unit.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::forward::MediaPacket;
    use crate::vocab::{LayerId, TrackId};

    fn frame(payloads: &[&[u8]]) -> FramePackets {
        let packet =
            |payload: &&[u8]| MediaPacket { sequence: 0, timestamp: 0, marker: false, payload: Bytes::copy_from_slice(payload) };
        let layer = LayerId { track: TrackId(1), index: 0 };
        FramePackets { layer, key: true, packets: payloads.iter().map(packet).collect(), arrived: Instant::now() }
    }

    #[test]
    fn sets_of_h264_are_found_alone_and_together() {
        let alone = frame(&[&[0x67, 0x42, 0xe0, 0x1f, 1], &[0x68, 2], &[0x65, 9]]);
        let together = frame(&[&[0x78, 0, 5, 0x67, 0x42, 0xe0, 0x1f, 1, 0, 2, 0x68, 2], &[0x7c, 0x85, 9]]);
        for frame in [alone, together] {
            let sets = ParameterSets::of(Codec::H264, [&frame, &frame]);
            assert!(sets.are_complete(Codec::H264));
            assert_eq!(sets.profile_level_id().as_deref(), Some("42e01f"));
            assert_eq!(sets.fmtp(Codec::H264), ["sprop-parameter-sets=Z0LgHwE=,aAI="]);
        }
    }

    #[test]
    fn sets_of_h265_are_all_three_or_none() {
        let frame = frame(&[&[0x60, 1, 0, 3, 0x40, 1, 7, 0, 3, 0x42, 1, 8], &[0x44, 1, 9]]);
        let sets = ParameterSets::of(Codec::H265, [&frame]);
        assert_eq!(sets.fmtp(Codec::H265), ["sprop-vps=QAEH", "sprop-sps=QgEI", "sprop-pps=RAEJ"]);
        let less = ParameterSets::of(Codec::H265, [&self::frame(&[&[0x44, 1, 9]])]);
        assert!(less.fmtp(Codec::H265).is_empty());
    }

    proptest! {
        #[test]
        fn no_packets_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            for codec in Codec::ALL {
                let sets = ParameterSets::of(codec, [&frame(&[&payload, &[&[0x78], &payload[..]].concat()])]);
                let _ = (sets.fmtp(codec), sets.profile_level_id());
            }
        }
    }
}
