//! `[tribe]` of the configuration.

use serde::{Deserialize, Serialize};

use crate::vocab::Bitrate;

/// The dialect of live-webrtcsignaling clients, at `/api`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TribeConfig {
    /// Most tribe clients in one room, whatever the room itself allows. Default 8.
    pub max_members: usize,
    /// Whether a client may send a new offer on its uplink. Default true; false answers it with error 1330.
    pub renegotiation: bool,
    /// Halve the picture that clients on a mobile network are asked to capture. Default false.
    pub halve_on_mobile: bool,
    /// In mixed rooms, turn the pictures of clients by the orientation and camera that they tell. Only for clients that send their pictures
    /// as the camera sees them: browsers and most apps send them upright. Default false.
    pub rotate_by_orientation: bool,
    /// Most video sent to a client per stream, in bit/s; a client may ask for less, down to 64000. Default 2000000.
    pub max_video_bitrate: Bitrate,
    /// Most audio sent to a client per stream, in bit/s; a client may ask for less, down to 16000. Default 64000.
    pub max_audio_bitrate: Bitrate,
}

impl Default for TribeConfig {
    fn default() -> Self {
        Self {
            max_members: 8,
            renegotiation: true,
            halve_on_mobile: false,
            rotate_by_orientation: false,
            max_video_bitrate: Bitrate::from_bps(2_000_000),
            max_audio_bitrate: Bitrate::from_bps(64_000),
        }
    }
}

/// Least video cap a client may ask for.
const MIN_VIDEO: u64 = 64_000;
/// Least audio cap a client may ask for.
const MIN_AUDIO: u64 = 16_000;

impl TribeConfig {
    /// The video cap that holds for a client that asked for so many bit/s; nothing or 0 asks for the most.
    pub(super) fn video_cap(&self, asked: Option<i64>) -> Bitrate {
        cap(asked, MIN_VIDEO, self.max_video_bitrate)
    }

    /// The same for audio.
    pub(super) fn audio_cap(&self, asked: Option<i64>) -> Bitrate {
        cap(asked, MIN_AUDIO, self.max_audio_bitrate)
    }
}

fn cap(asked: Option<i64>, min: u64, max: Bitrate) -> Bitrate {
    match asked.and_then(|asked| u64::try_from(asked).ok()) {
        None | Some(0) => max,
        Some(asked) => Bitrate::from_bps(asked.max(min).min(max.bps())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_stay_within_the_configured_range() {
        let config = TribeConfig::default();
        for (asked, expected) in
            [(None, 2_000_000), (Some(0), 2_000_000), (Some(-5), 2_000_000), (Some(1), 64_000), (Some(500_000), 500_000)]
        {
            assert_eq!(config.video_cap(asked).bps(), expected);
        }
        assert_eq!(config.audio_cap(Some(i64::MAX)).bps(), 64_000);
    }
}
