//! PURE. As much of H.264 (ITU-T H.264, 2021) as is needed to say whether a browser plays a stream as it is.
//!
//! Reads byte-stream access units. Everything here is input from outside: nothing indexes unchecked, nothing recurses.

use crate::vocab::{Codec, TrackFormat};

/// NAL unit types used here (table 7-1).
const SLICE: u8 = 1;
const SLICE_DATA_A: u8 = 2;
const IDR: u8 = 5;
const SPS: u8 = 7;

/// `profile_idc` of the profiles browsers decode.
const BASELINE: u8 = 66;
const MAIN: u8 = 77;
const HIGH: u8 = 100;

/// What a sequence parameter set says first (section 7.3.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags, set0 in the highest bit.
    pub constraints: u8,
    /// `level_idc`, ten times the level.
    pub level: u8,
}

impl Profile {
    /// The profile of the first SPS in an access unit.
    pub fn of(access_unit: &[u8]) -> Option<Self> {
        nal_units(access_unit).find_map(|nal| match *nal {
            [head, profile, constraints, level, ..] if head & 0x1f == SPS => Some(Self { profile, constraints, level }),
            _ => None,
        })
    }

    /// Why browsers do not take the profile; `None` when they do.
    pub fn obstacle(self) -> Option<String> {
        match self.profile {
            BASELINE | MAIN | HIGH => None,
            110 => Some("browsers do not decode its profile High 10".into()),
            122 => Some("browsers do not decode its profile High 4:2:2".into()),
            244 => Some("browsers do not decode its profile High 4:4:4".into()),
            other => Some(format!("browsers do not decode its H.264 profile {other}")),
        }
    }

    /// Whether the profile rules B-frames out (annex A.2.1).
    pub fn without_b_frames(self) -> bool {
        self.profile == BASELINE
    }

    /// As SDP writes it (RFC 6184 §8.1). All forms of constrained baseline become `42e0`, as browsers write it.
    pub fn format(self) -> TrackFormat {
        // constraint_set1 makes baseline "constrained" (RFC 6184 table 5)
        let constraints = match self.profile {
            BASELINE if self.constraints & 0x40 != 0 => 0xe0,
            _ => self.constraints & 0xfc,
        };
        TrackFormat { codec: Codec::H264, fmtp: fmtp(self.profile, constraints, self.level) }
    }
}

/// Constrained baseline at the lowest level that holds the picture (table A-1), 3.1 at least as every browser offers it.
pub(super) fn baseline_format(width: u32, height: u32, framerate: u32) -> TrackFormat {
    let blocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    let rate = blocks * u64::from(framerate);
    // (level_idc, most macroblocks per frame, most macroblocks per second)
    const LEVELS: [(u8, u64, u64); 6] = [
        (31, 3_600, 108_000),
        (32, 5_120, 216_000),
        (40, 8_192, 245_760),
        (42, 8_704, 522_240),
        (51, 36_864, 983_040),
        (52, 36_864, 2_073_600),
    ];
    let level = LEVELS.iter().find(|(_, frame, second)| blocks <= *frame && rate <= *second).map_or(52, |(level, ..)| *level);
    TrackFormat { codec: Codec::H264, fmtp: fmtp(BASELINE, 0xe0, level) }
}

fn fmtp(profile: u8, constraints: u8, level: u8) -> String {
    format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile:02x}{constraints:02x}{level:02x}")
}

/// Whether any slice of the access unit is a B slice: such a frame is shown before one that was sent earlier, which WebRTC
/// receivers do not expect.
pub(super) fn has_b_slice(access_unit: &[u8]) -> bool {
    nal_units(access_unit).any(|nal| {
        let Some((head, body)) = nal.split_first() else { return false };
        if !matches!(head & 0x1f, SLICE | SLICE_DATA_A | IDR) {
            return false;
        }
        let mut bits = Bits::new(body);
        let (_first_mb, slice_type) = (bits.exp_golomb(), bits.exp_golomb());
        slice_type.is_some_and(|kind| kind % 5 == 1)
    })
}

/// What an access unit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// A decoder can begin here.
    Key,
    /// Anything else.
    Other,
}

/// The picture of an access unit; `None` when it has only parameter sets and messages.
pub(super) fn picture(access_unit: &[u8]) -> Option<Picture> {
    nal_units(access_unit).find_map(|nal| match nal.first()? & 0x1f {
        IDR => Some(Picture::Key),
        SLICE | SLICE_DATA_A => Some(Picture::Other),
        _ => None,
    })
}

/// The NAL units of a byte stream, without start codes (annex B).
pub(super) fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = unit.windows(3).position(|three| three == [0, 0, 1]);
        rest = end.and_then(|end| unit.get(end + 3..));
        let mut nal = &unit[..end.unwrap_or(unit.len())];
        // zeros before a start code belong to it
        while let [shorter @ .., 0] = nal {
            nal = shorter;
        }
        Some(nal)
    })
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    let at = stream.windows(3).position(|three| three == [0, 0, 1])?;
    stream.get(at + 3..)
}

/// Bits of a NAL unit's payload, emulation prevention bytes left out (section 7.3.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    bit: u8,
    zeros: u8,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, bit: 0, zeros: 0 }
    }

    fn next(&mut self) -> Option<bool> {
        if self.bit == 0 && self.zeros >= 2 && self.bytes.get(self.at) == Some(&3) {
            self.at += 1;
            self.zeros = 0;
        }
        let byte = *self.bytes.get(self.at)?;
        let bit = byte & (0x80 >> self.bit) != 0;
        self.bit += 1;
        if self.bit == 8 {
            self.bit = 0;
            self.at += 1;
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        }
        Some(bit)
    }

    /// `ue(v)` of section 9.1; `None` at the end or past 32 bits.
    fn exp_golomb(&mut self) -> Option<u64> {
        let mut zeros = 0;
        while !self.next()? {
            zeros += 1;
            if zeros > 32 {
                return None;
            }
        }
        let mut value = 1u64;
        for _ in 0..zeros {
            value = value << 1 | u64::from(self.next()?);
        }
        Some(value - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn profiles_are_written_as_browsers_write_them() {
        let id = |bytes: &[u8]| Profile::of(bytes).unwrap().format().parameter("profile-level-id").unwrap().to_owned();
        assert_eq!(id(&[0, 0, 0, 1, 0x67, 66, 0xc0, 31, 9]), "42e01f");
        assert_eq!(id(&[0, 0, 0, 1, 9, 16, 0, 0, 1, 0x67, 77, 0x40, 31]), "4d401f");
        assert_eq!(id(&[0, 0, 1, 0x67, 100, 0, 40]), "640028");
        assert_eq!(Profile::of(&[0, 0, 1, 0x68, 1, 2, 3]), None);
        assert!(Profile { profile: 122, constraints: 0, level: 40 }.obstacle().is_some());
    }

    #[test]
    fn level_follows_size_and_rate() {
        let level = |w, h, f| baseline_format(w, h, f).parameter("profile-level-id").unwrap().to_owned();
        assert_eq!(baseline_format(1280, 720, 30), TrackFormat::h264_baseline());
        assert_eq!(level(1920, 1080, 30), "42e028");
        assert_eq!(level(1920, 1080, 60), "42e02a");
        assert_eq!(level(3840, 2160, 30), "42e033");
        assert_eq!(level(7680, 4320, 240), "42e034");
    }

    #[test]
    fn b_slices_are_seen_by_their_type() {
        // first_mb 0 = "1"; slice_type: P 0 = "1", B 1 = "010", I 7 = "0001000"
        assert!(!has_b_slice(&[0, 0, 1, 0x41, 0b1100_0000]));
        assert!(has_b_slice(&[0, 0, 1, 0x01, 0b1010_0000]));
        assert!(!has_b_slice(&[0, 0, 1, 0x65, 0b1000_1000, 0b1000_0000]));
        assert!(has_b_slice(&[0, 0, 1, 0x65, 0b1000_1000, 0, 0, 1, 0x01, 0b1010_0000]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(3), any::<u8>()], 0..200)) {
            has_b_slice(&bytes);
            Profile::of(&bytes);
            prop_assert!(nal_units(&bytes).map(<[u8]>::len).sum::<usize>() <= bytes.len());
        }

        #[test]
        fn nal_units_come_back(units in proptest::collection::vec(proptest::collection::vec(4u8..=255, 1..20), 0..8)) {
            let stream: Vec<u8> = units.iter().flat_map(|unit| [0, 0, 0, 1].into_iter().chain(unit.iter().copied())).collect();
            prop_assert_eq!(nal_units(&stream).map(<[u8]>::to_vec).collect::<Vec<_>>(), units);
        }
    }
}
