//! PURE but for the engine's own entry types: which offered format fits a track, and the entries of the engine's tables.

use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};

use crate::vocab::{Codec, MediaKind, TrackFormat};

/// Profile families of H.264 that decoders tell apart (RFC 6184 §8.1, table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    Other(u8, u8),
}

impl H264Profile {
    fn of(format: &TrackFormat) -> Self {
        // RFC 6184 §8.1: without the parameter, baseline at level 1
        let text = format.parameter("profile-level-id").unwrap_or("420010");
        let bytes = if text.is_ascii() && text.len() == 6 { u32::from_str_radix(text, 16).ok() } else { None };
        let Some(bytes) = bytes else { return Self::Other(0, 0) };
        let (idc, iop) = ((bytes >> 16) as u8, (bytes >> 8) as u8);
        match idc {
            0x42 if iop & 0x40 != 0 => Self::ConstrainedBaseline,
            0x42 => Self::Baseline,
            0x4d if iop & 0x80 != 0 => Self::ConstrainedBaseline,
            0x4d => Self::Main,
            0x58 if iop & 0xc0 == 0xc0 => Self::ConstrainedBaseline,
            0x64 if iop & 0x0c == 0x0c => Self::ConstrainedHigh,
            0x64 => Self::High,
            _ => Self::Other(idc, iop),
        }
    }

    /// Whether a decoder of this profile decodes the other's streams.
    fn decodes(self, stream: Self) -> bool {
        use H264Profile::*;
        match stream {
            ConstrainedBaseline => !matches!(self, Other(..)),
            Main => matches!(self, Main | High),
            ConstrainedHigh => matches!(self, ConstrainedHigh | High),
            other => self == other,
        }
    }
}

/// How well an offered format takes a stream of the given one; `None` not at all, 0 best. 2 is beyond what the offer promises.
pub(super) fn fit(stream: &TrackFormat, offered: &TrackFormat) -> Option<u8> {
    if stream.codec != offered.codec {
        return None;
    }
    let same = |key: &str, default: &str| stream.parameter(key).unwrap_or(default) == offered.parameter(key).unwrap_or(default);
    match stream.codec {
        Codec::H264 => {
            if !same("packetization-mode", "0") {
                return None;
            }
            let (ours, theirs) = (H264Profile::of(stream), H264Profile::of(offered));
            // levels may differ: RFC 6184 §8.2.2 with level-asymmetry-allowed, and decoders take what they can
            match (ours, theirs) {
                _ if ours == theirs => Some(0),
                _ if theirs.decodes(ours) => Some(1),
                (H264Profile::Other(..), _) | (_, H264Profile::Other(..)) => None,
                // Firefox and aiortc announce Constrained Baseline alone and decode High: refusing them would leave cameras and
                // files, whose profile nobody here can change without decoding, to Chromium. The answer keeps the offered profile
                _ => Some(2),
            }
        }
        Codec::VP9 => same("profile-id", "0").then_some(0),
        Codec::AV1 => same("profile", "0").then_some(0),
        Codec::H265 => (same("profile-id", "1") && same("tier-flag", "0")).then_some(0),
        Codec::VP8 | Codec::Opus => Some(0),
    }
}

/// How widely a format offered by a publisher plays; 0 best.
pub(super) fn playability(format: &TrackFormat) -> u8 {
    match format.codec {
        Codec::H264 => {
            let profile = match H264Profile::of(format) {
                H264Profile::ConstrainedBaseline => 0,
                H264Profile::Baseline => 1,
                H264Profile::Main => 2,
                H264Profile::ConstrainedHigh => 3,
                H264Profile::High => 4,
                H264Profile::Other(..) => 5,
            };
            profile + if format.parameter("packetization-mode") == Some("1") { 0 } else { 10 }
        }
        Codec::VP9 => u8::from(format.parameter("profile-id").unwrap_or("0") != "0"),
        Codec::AV1 => u8::from(format.parameter("profile").unwrap_or("0") != "0"),
        _ => 0,
    }
}

/// RTCP feedback Portico can give and take, as `a=rtcp-fb` values.
pub(super) fn feedback(kind: MediaKind) -> &'static [&'static str] {
    match kind {
        MediaKind::Video => &["nack", "nack pli", "ccm fir", "transport-cc"],
        MediaKind::Audio => &["transport-cc"],
    }
}

/// Portico's own payload types when it offers: `(media, retransmission)`. From the dynamic range, apart from each other.
pub(super) fn own_payload_types(kind: MediaKind) -> (u8, Option<u8>) {
    match kind {
        MediaKind::Video => (102, Some(103)),
        MediaKind::Audio => (111, None),
    }
}

/// Those of other video formats in the same offer.
pub(super) const OTHER_PAYLOAD_TYPES: [(u8, Option<u8>); 5] =
    [(104, Some(105)), (106, Some(107)), (108, Some(109)), (112, Some(113)), (114, Some(115))];

/// The engine's word for audio and video.
pub(super) fn engine_kind(kind: MediaKind) -> RtpCodecKind {
    match kind {
        MediaKind::Audio => RtpCodecKind::Audio,
        MediaKind::Video => RtpCodecKind::Video,
    }
}

/// The engine's codec of a format.
pub(super) fn engine_codec(format: &TrackFormat, feedback: &[String]) -> RTCRtpCodec {
    let kind = format.codec.kind();
    RTCRtpCodec {
        mime_type: format!("{kind}/{}", format.codec.name()),
        clock_rate: format.codec.clock_rate(),
        channels: if format.codec == Codec::Opus { 2 } else { 0 },
        sdp_fmtp_line: format.fmtp.clone(),
        rtcp_feedback: feedback.iter().map(|value| engine_feedback(value)).collect(),
    }
}

/// The engine's table entries of a payload type and its retransmissions.
pub(super) fn engine_entries(format: &TrackFormat, pt: u8, rtx: Option<u8>, feedback: &[String]) -> Vec<RTCRtpCodecParameters> {
    let mut entries = vec![RTCRtpCodecParameters { rtp_codec: engine_codec(format, feedback), payload_type: pt }];
    if let Some(rtx) = rtx {
        let rtp_codec = RTCRtpCodec {
            mime_type: format!("{}/rtx", format.codec.kind()),
            clock_rate: format.codec.clock_rate(),
            channels: 0,
            sdp_fmtp_line: format!("apt={pt}"),
            rtcp_feedback: Vec::new(),
        };
        entries.push(RTCRtpCodecParameters { rtp_codec, payload_type: rtx });
    }
    entries
}

fn engine_feedback(value: &str) -> RTCPFeedback {
    let (typ, parameter) = value.split_once(' ').unwrap_or((value, ""));
    RTCPFeedback { typ: typ.into(), parameter: parameter.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(profile: &str, mode: u8) -> TrackFormat {
        TrackFormat {
            codec: Codec::H264,
            fmtp: format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}"),
        }
    }

    #[test]
    fn h264_fits_by_profile_not_by_level() {
        let baseline = TrackFormat::h264_baseline();
        assert_eq!(fit(&baseline, &h264("42e034", 1)), Some(0));
        assert_eq!(fit(&baseline, &h264("42c01f", 1)), Some(0));
        assert_eq!(fit(&baseline, &h264("42001f", 1)), Some(1));
        assert_eq!(fit(&baseline, &h264("64001f", 1)), Some(1));
        assert_eq!(fit(&baseline, &h264("42e01f", 0)), None, "single NAL mode cannot carry fragments");
        assert_eq!(fit(&h264("640028", 1), &h264("64001f", 1)), Some(0));
        assert_eq!(fit(&h264("640028", 1), &h264("42e01f", 1)), Some(2), "announced less than it decodes");
        assert_eq!(fit(&h264("7a0028", 1), &h264("42e01f", 1)), None, "High 4:2:2 is decoded by few");
        assert_eq!(fit(&h264("640028", 1), &h264("é0028", 1)), None);
    }

    #[test]
    fn other_codecs_fit_by_name_and_profile() {
        assert_eq!(fit(&TrackFormat::plain(Codec::VP8), &TrackFormat::plain(Codec::VP8)), Some(0));
        assert_eq!(fit(&TrackFormat::plain(Codec::VP8), &TrackFormat::plain(Codec::VP9)), None);
        let profile2 = TrackFormat { codec: Codec::VP9, fmtp: "profile-id=2".into() };
        assert_eq!(fit(&TrackFormat::plain(Codec::VP9), &profile2), None);
        let stereo = TrackFormat { codec: Codec::Opus, fmtp: "minptime=10;useinbandfec=1".into() };
        assert_eq!(fit(&TrackFormat::plain(Codec::Opus), &stereo), Some(0));
    }

    #[test]
    fn constrained_baseline_plays_most_widely() {
        let mut offered = [h264("64001f", 1), h264("42001f", 1), h264("42e01f", 0), h264("42e01f", 1)];
        offered.sort_by_key(playability);
        assert_eq!(offered[0], h264("42e01f", 1));
        assert_eq!(offered[1], h264("42001f", 1));
        assert_eq!(offered[3], h264("42e01f", 0));
    }
}
