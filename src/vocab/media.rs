//! Codecs, formats and encoded frames.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Narrowest and widest still picture of a stream that can be asked for, in pixels.
pub const PICTURE_WIDTHS: std::ops::RangeInclusive<u16> = 16..=4096;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// A codec that can travel over RTP, named as in SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7741.
    VP8,
    /// RFC 9628.
    VP9,
    /// AV1 RTP payload specification 1.0.
    AV1,
    /// RFC 7587; written in lower case in SDP by most stacks, compared without case.
    #[serde(rename = "opus")]
    Opus,
}

impl Codec {
    /// Every codec there is.
    pub const ALL: [Codec; 6] = [Codec::H264, Codec::H265, Codec::VP8, Codec::VP9, Codec::AV1, Codec::Opus];

    /// The encoding name of SDP `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::VP8 => "VP8",
            Self::VP9 => "VP9",
            Self::AV1 => "AV1",
            Self::Opus => "opus",
        }
    }

    /// The codec with that SDP encoding name, compared without case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            _ => 90_000,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec with its parameters, as `a=fmtp` writes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TrackFormat {
    /// The codec.
    pub codec: Codec,
    /// The parameters, for example `profile-level-id=42e01f;packetization-mode=1`; empty when there are none.
    pub fmtp: String,
}

/// Most lanes of a connection in each direction.
pub const MAX_LANES: usize = 32;

/// What the receiver of a lane must know of one of its tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneTrack {
    /// The SSRC of its packets.
    pub ssrc: u32,
    /// Their payload type.
    pub payload_type: u8,
    /// Payload type and SSRC of its retransmissions (RFC 4588), where there are any.
    pub repair: Option<(u8, u32)>,
    /// What is in them.
    pub format: TrackFormat,
}

impl TrackFormat {
    /// Constrained baseline level 3.1, the H.264 every WebRTC stack takes.
    pub const H264_BASELINE: &'static str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

    /// A format without parameters.
    pub fn plain(codec: Codec) -> Self {
        Self { codec, fmtp: String::new() }
    }

    /// Constrained baseline H.264.
    pub fn h264_baseline() -> Self {
        Self { codec: Codec::H264, fmtp: Self::H264_BASELINE.into() }
    }

    /// H.264 High, packetization mode 1: what cameras and encoders in hardware mostly make.
    pub fn h264_high() -> Self {
        let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f";
        Self { codec: Codec::H264, fmtp: fmtp.into() }
    }

    /// Opus as browsers announce it (RFC 7587 §6.1): who sends it is asked to have each packet of speech bring a rough copy of the one before.
    pub fn opus() -> Self {
        Self { codec: Codec::Opus, fmtp: "minptime=10;useinbandfec=1".into() }
    }

    /// One parameter of the fmtp line; keys compared without case.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map(|(_, v)| v)
    }
}

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Bitrate(u64);

impl Bitrate {
    /// From bit/s.
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }
    /// In bit/s.
    pub const fn bps(self) -> u64 {
        self.0
    }
    /// In kbit/s, rounded down.
    pub const fn kbps(self) -> u64 {
        self.0 / 1000
    }
}

/// One encoded picture or one packet of sound, as an encoder, parser or depacketiser made it.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    /// How `data` is encoded. H.264 and H.265 are byte-stream (start codes), access-unit aligned.
    pub codec: Codec,
    /// Presentation time on the source's own clock, from an arbitrary start; audio and video of a source share it.
    pub pts: Duration,
    /// True when decoding can start here.
    pub key: bool,
    /// The encoded bytes.
    pub data: Bytes,
    /// When the frame reached Portico from the encoder.
    pub arrived: Instant,
}
