//! PURE. Does an RTP payload start a frame that decodes on its own? Looks at as few bytes as each format allows.

use crate::vocab::Codec;

/// Whether the payload is the start, or an early part, of a key frame. A key frame's later packets may also say true; the
/// caller counts the first of a timestamp.
pub(super) fn starts_key_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264(payload),
        Codec::H265 => h265(payload),
        Codec::VP8 => vp8(payload).unwrap_or(false),
        Codec::VP9 => vp9(payload).unwrap_or(false),
        Codec::AV1 => av1(payload),
        Codec::Opus => false,
    }
}

/// RFC 6184 §5.2 to §5.8: parameter sets and IDR slices, alone, aggregated, or in the first fragment.
fn h264(payload: &[u8]) -> bool {
    let is_key = |header: u8| matches!(header & 0x1f, 5 | 7);
    let Some((&first, rest)) = payload.split_first() else { return false };
    match first & 0x1f {
        // STAP-A: each unit has a length of two bytes before it
        24 => nal_units(rest).any(|unit| unit.first().is_some_and(|header| is_key(*header))),
        // FU-A and FU-B: the start bit and the type of the whole unit
        28 | 29 => rest.first().is_some_and(|header| header & 0x80 != 0 && is_key(*header)),
        _ => is_key(first),
    }
}

/// RFC 7798 §4.4: parameter sets and IRAP pictures (types 16 to 21).
fn h265(payload: &[u8]) -> bool {
    let is_key = |kind: u8| matches!(kind, 16..=21 | 32..=34);
    let (Some(&first), Some(rest)) = (payload.first(), payload.get(2..)) else { return false };
    match (first >> 1) & 0x3f {
        48 => nal_units(rest).any(|unit| unit.first().is_some_and(|header| is_key((header >> 1) & 0x3f))),
        49 => rest.first().is_some_and(|header| header & 0x80 != 0 && is_key(header & 0x3f)),
        kind => is_key(kind),
    }
}

/// The units of an aggregation packet; ends at the first that is cut short.
fn nal_units(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let unit = rest.get(2..2 + len)?;
        rest = &rest[2 + len..];
        Some(unit)
    })
}

/// RFC 7741 §4.2 and RFC 6386 §9.1: first packet of the first partition, and the frame header's inverse key bit.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(at)?;
        at += 1;
        if extension & 0x80 != 0 {
            at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    }
    let starts = first & 0x10 != 0 && first & 0x07 == 0;
    Some(starts && *payload.get(at)? & 0x01 == 0)
}

/// RFC 9628 §4.2: not predicted from another picture, start of a frame, lowest spatial layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let (has_id, predicted, layered, begins) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x20 != 0, first & 0x08 != 0);
    let mut at = 1;
    if has_id {
        at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let spatial = if layered { (*payload.get(at)? >> 1) & 0x07 } else { 0 };
    Some(!predicted && begins && spatial == 0)
}

/// AV1 RTP payload format §4.4: the N bit says that a coded video sequence starts here.
fn av1(payload: &[u8]) -> bool {
    payload.len() > 1 && payload[0] & 0x88 == 0x08
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(codec: Codec, payload: &[u8]) -> bool {
        starts_key_frame(codec, payload)
    }

    #[test]
    fn h264_units_alone_aggregated_and_fragmented() {
        assert!(key(Codec::H264, &[0x67, 1]) && key(Codec::H264, &[0x65, 1]));
        assert!(!key(Codec::H264, &[0x41, 1]) && !key(Codec::H264, &[0x68, 1]) && !key(Codec::H264, &[0x06, 5]));
        assert!(key(Codec::H264, &[0x78, 0, 2, 0x09, 0x10, 0, 1, 0x67]));
        assert!(!key(Codec::H264, &[0x78, 0, 2, 0x09, 0x10, 0, 9, 0x67]), "cut short");
        assert!(key(Codec::H264, &[0x7c, 0x85, 1]) && !key(Codec::H264, &[0x7c, 0x45, 1]) && !key(Codec::H264, &[0x7c, 0x81]));
    }

    #[test]
    fn h265_parameter_sets_and_irap() {
        assert!(key(Codec::H265, &[0x40, 1]) && key(Codec::H265, &[0x26, 1]) && !key(Codec::H265, &[0x02, 1]));
        assert!(key(Codec::H265, &[0x62, 1, 0x93]) && !key(Codec::H265, &[0x62, 1, 0x13]));
        assert!(key(Codec::H265, &[0x60, 1, 0, 2, 0x42, 1]));
    }

    #[test]
    fn vp8_with_and_without_descriptor_extension() {
        assert!(key(Codec::VP8, &[0x10, 0x00]) && !key(Codec::VP8, &[0x10, 0x01]));
        assert!(!key(Codec::VP8, &[0x00, 0x00]) && !key(Codec::VP8, &[0x11, 0x00]));
        assert!(key(Codec::VP8, &[0x90, 0xf0, 0x81, 0x02, 3, 4, 0x00]));
        assert!(!key(Codec::VP8, &[0x90, 0xf0, 0x81, 0x02, 3, 4]));
    }

    #[test]
    fn vp9_first_packet_of_the_lowest_layer() {
        assert!(key(Codec::VP9, &[0x8c, 0x81, 0x02, 0]) && !key(Codec::VP9, &[0xcc, 0x81, 0x02, 0]));
        assert!(!key(Codec::VP9, &[0x84, 0x01, 0]));
        assert!(key(Codec::VP9, &[0xa8, 0x01, 0x00]) && !key(Codec::VP9, &[0xa8, 0x01, 0x02]));
    }

    #[test]
    fn av1_new_sequence() {
        assert!(key(Codec::AV1, &[0x18, 1]) && !key(Codec::AV1, &[0x10, 1]) && !key(Codec::AV1, &[0x98, 1]));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            for codec in Codec::ALL {
                let _ = starts_key_frame(codec, &payload);
            }
        }
    }
}
