//! PURE. What an H.265 stream says of itself, as far as it decides whether browsers can play it (ITU-T H.265 §7.3.2.2, §7.3.3).

use super::h264::nal_units;
use crate::vocab::{Codec, TrackFormat};

/// NAL unit type of a sequence parameter set.
const SPS: u8 = 33;
/// Main: 8 bits, 4:2:0.
const MAIN: u8 = 1;

/// What a sequence parameter set says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// `general_profile_idc`.
    pub profile: u8,
    /// `general_tier_flag`: for studios.
    pub high_tier: bool,
    /// `general_level_idc`, thirty times the level.
    pub level: u8,
}

impl Profile {
    /// The profile of the first SPS in an access unit.
    pub fn of(access_unit: &[u8]) -> Option<Self> {
        let sps = nal_units(access_unit).find(|nal| nal.first().is_some_and(|first| (first >> 1) & 0x3f == SPS))?;
        // header, ids and sublayers, profile, 32 flags of compatibility, 48 of constraints, level
        let mut bytes = without_emulation(sps).skip(3);
        let first = bytes.next()?;
        let level = bytes.nth(10)?;
        Some(Self { profile: first & 0x1f, high_tier: first & 0x20 != 0, level })
    }

    /// Why browsers do not take it; `None` when those with H.265 do.
    pub fn obstacle(self) -> Option<String> {
        match (self.profile, self.high_tier) {
            (MAIN, false) => None,
            (MAIN, true) => Some("browsers do not decode its high tier".into()),
            (2, _) => Some("browsers do not all decode its profile Main 10".into()),
            (other, _) => Some(format!("browsers do not decode its H.265 profile {other}")),
        }
    }

    /// As SDP writes it (RFC 7798 §7.1).
    pub fn format(self) -> TrackFormat {
        let tier = u8::from(self.high_tier);
        TrackFormat { codec: Codec::H265, fmtp: format!("level-id={};profile-id={};tier-flag={tier}", self.level, self.profile) }
    }
}

/// The bytes of a NAL unit without those that keep it from looking like a start code (§7.4.2).
fn without_emulation(nal: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    nal.iter().copied().filter(move |byte| {
        let inserted = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        !inserted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_profile_is_read_past_inserted_bytes() {
        // x265 at 160x120: Main, main tier, level 2 (60)
        let sps = [0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3c, 0xa0];
        let stream: Vec<u8> = [0, 0, 0, 1, 0x40, 1, 0x0c, 0, 0, 1].iter().chain(&sps).copied().collect();
        let profile = Profile::of(&stream).unwrap();
        assert_eq!(profile, Profile { profile: 1, high_tier: false, level: 60 });
        assert_eq!(profile.obstacle(), None);
        assert_eq!(profile.format().fmtp, "level-id=60;profile-id=1;tier-flag=0");
        assert!(Profile { profile: 2, ..profile }.obstacle().unwrap().contains("Main 10"));
        assert!(Profile { high_tier: true, ..profile }.obstacle().is_some());
        assert_eq!(Profile::of(&[0, 0, 1, 0x26, 1, 5, 5, 5]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(stream in proptest::collection::vec(0u8..4, 0..80)) {
            let _ = Profile::of(&stream);
        }
    }
}
