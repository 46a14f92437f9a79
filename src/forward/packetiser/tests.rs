use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use rtc::rtp::codec::h264::H264Packet;
use rtc::rtp::codec::opus::OpusPacket;
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::codec::vp9::Vp9Packet;
use rtc::rtp::packetizer::Depacketizer;

use super::*;
use crate::vocab::TrackId;

const SPS: &[u8] = &[0x67, 0x42, 0xe0, 0x1f, 0xda];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

fn packetiser(codec: Codec) -> Packetiser {
    let layer = LayerId { track: TrackId(1), index: 0 };
    Packetiser { next_sequence: 65_530, first_timestamp: u32::MAX - 5, ..Packetiser::new(layer, codec).unwrap() }
}

fn frame(codec: Codec, data: impl Into<Bytes>) -> EncodedFrame {
    EncodedFrame { codec, pts: Duration::ZERO, key: true, data: data.into(), arrived: Instant::now() }
}

/// A NAL unit of that type and length without start codes or trailing zero inside.
fn unit(kind: u8, len: usize) -> Vec<u8> {
    let mut unit = vec![0x60 | kind];
    unit.extend((1..len).map(|index| (index % 251) as u8 + 2));
    unit
}

fn byte_stream(units: &[impl AsRef<[u8]>], long_codes: bool) -> Vec<u8> {
    let code: &[u8] = if long_codes { &[0, 0, 0, 1] } else { &[0, 0, 1] };
    units.iter().flat_map(|unit| [code, unit.as_ref()].concat()).collect()
}

fn depacketise(frame: &FramePackets, mut depacketiser: impl Depacketizer) -> Vec<u8> {
    frame.packets.iter().flat_map(|packet| depacketiser.depacketize(&packet.payload).unwrap()).collect()
}

fn lengths(frame: &FramePackets) -> Vec<usize> {
    frame.packets.iter().map(|packet| packet.payload.len()).collect()
}

fn assert_numbered(frame: &FramePackets) {
    for pair in frame.packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp);
    }
}

#[test]
fn large_unit_becomes_one_train_of_equal_packets() {
    let out = packetiser(Codec::H264).packetise(&frame(Codec::H264, byte_stream(&[unit(1, 5_000)], true))).unwrap();
    assert_eq!(lengths(&out), [1002, 1002, 1002, 1002, 1001]);
    assert_numbered(&out);
    assert_eq!(out.packets.iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, false, false, true]);
    assert!(!out.key);
}

#[test]
fn parameter_sets_share_a_packet_and_delimiters_are_left_out() {
    let units = [&[0x09, 0x10][..], SPS, PPS, &unit(5, 4_000), &[0x0c, 0xff, 0x80]];
    let out = packetiser(Codec::H264).packetise(&frame(Codec::H264, byte_stream(&units, false))).unwrap();
    assert_eq!(lengths(&out), [1 + 2 + SPS.len() + 2 + PPS.len(), 1002, 1002, 1002, 1001]);
    assert_eq!(out.packets[0].payload[0], 0x78);
    assert!(out.key);
}

#[test]
fn idr_without_parameter_sets_gets_the_latest() {
    let mut packetiser = packetiser(Codec::H264);
    let idr = unit(5, 300);
    let old = [0x67, 0x42, 0xe0, 0x1e, 0xda];
    packetiser.packetise(&frame(Codec::H264, byte_stream(&[&old[..], PPS, &idr], true))).unwrap();
    packetiser.packetise(&frame(Codec::H264, byte_stream(&[SPS], true))).unwrap();
    let out = packetiser.packetise(&frame(Codec::H264, byte_stream(&[&idr], true))).unwrap();
    assert_eq!(depacketise(&out, H264Packet::default()), byte_stream(&[SPS, PPS, &idr], true));
    let out = packetiser.packetise(&frame(Codec::H264, byte_stream(&[SPS, &idr], true))).unwrap();
    assert_eq!(depacketise(&out, H264Packet::default()), byte_stream(&[SPS, PPS, &idr], true));
    let out = packetiser.packetise(&frame(Codec::H264, byte_stream(&[unit(1, 300)], true))).unwrap();
    assert_eq!(out.packets.len(), 1, "only an IDR needs them");
}

#[test]
fn frame_that_claims_to_be_key_without_idr_is_none() {
    let out = packetiser(Codec::H264).packetise(&frame(Codec::H264, byte_stream(&[SPS, PPS, &unit(1, 50)], true))).unwrap();
    assert!(!out.key);
}

#[test]
fn refused_frame_uses_no_numbers() {
    let mut packetiser = packetiser(Codec::H264);
    assert!(matches!(packetiser.packetise(&frame(Codec::H264, &b"no start code"[..])), Err(PacketiserError::Malformed { .. })));
    assert!(packetiser.packetise(&frame(Codec::H264, byte_stream(&[[0x09, 0x10]], true))).is_err(), "only a delimiter");
    assert!(packetiser.packetise(&frame(Codec::VP8, &b"x"[..])).is_err());
    let out = packetiser.packetise(&frame(Codec::H264, byte_stream(&[unit(1, 50)], true))).unwrap();
    assert_eq!(out.packets[0].sequence, 65_530);
}

#[test]
fn codecs_without_payload_format_are_refused() {
    let layer = LayerId { track: TrackId(1), index: 0 };
    assert_eq!(Packetiser::new(layer, Codec::AV1).unwrap_err(), PacketiserError::Codec(Codec::AV1));
}

#[test]
fn time_is_computed_from_the_whole_pts_and_wraps() {
    let mut packetiser = packetiser(Codec::Opus);
    let mut timestamp = |pts| {
        let frame = EncodedFrame { pts, ..frame(Codec::Opus, &[0xf8, 1][..]) };
        packetiser.packetise(&frame).unwrap().packets[0].timestamp.wrapping_sub(u32::MAX - 5)
    };
    assert_eq!(timestamp(Duration::from_millis(20)), 960);
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(timestamp(week), (7 * 24 * 3600 * 48_000_u64) as u32);
    // thirtieths of a second cut to nanoseconds still give whole frames
    assert_eq!(rtp_ticks(Duration::from_nanos(33_333_333 + 33_333_333), 90_000), 6_000);
    assert_eq!(rtp_ticks(Duration::from_nanos(1_000_000_007 * 33_333_333), 90_000), 2_999_999_991_000_u64 as u32);
}

#[test]
fn vp8_and_vp9_number_their_pictures() {
    for codec in [Codec::VP8, Codec::VP9] {
        let mut packetiser = packetiser(codec);
        packetiser.format = match codec {
            Codec::VP8 => Format::Vp8(vp8::Vp8::new(0xffff)),
            _ => Format::Vp9(vp9::Vp9::new(0xffff)),
        };
        let data: Vec<u8> = if codec == Codec::VP8 { vec![0x11; 3_000] } else { vec![0b1000_0110; 3_000] };
        for picture in [0x7fff, 0, 1] {
            let out = packetiser.packetise(&frame(codec, data.clone())).unwrap();
            assert!(!out.key);
            for packet in &out.packets {
                let seen = if codec == Codec::VP8 {
                    let mut depacketiser = Vp8Packet::default();
                    depacketiser.depacketize(&packet.payload).unwrap();
                    depacketiser.picture_id
                } else {
                    let mut depacketiser = Vp9Packet::default();
                    depacketiser.depacketize(&packet.payload).unwrap();
                    assert!(depacketiser.f && depacketiser.p && depacketiser.pdiff == [1]);
                    depacketiser.picture_id
                };
                assert_eq!(seen, picture);
            }
        }
    }
}

#[test]
fn vp9_key_frame_is_recognised_in_every_profile() {
    for (first, key) in
        [(0b1000_0000, true), (0b1000_0100, false), (0b1000_1000, false), (0b1011_0000, true), (0b1011_0010, false)]
    {
        let out = packetiser(Codec::VP9).packetise(&frame(Codec::VP9, vec![first, 1, 2])).unwrap();
        assert_eq!(out.key, key, "{first:08b}");
    }
}

/// Lengths around the limits as well as any.
fn unit_length() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 3_usize..200,
        3 => Packetiser::MAX_PAYLOAD - 4..Packetiser::MAX_PAYLOAD + 5,
        1 => 2 * Packetiser::MAX_PAYLOAD - 8..2 * Packetiser::MAX_PAYLOAD + 4,
        3 => 3_usize..20_000,
    ]
}

proptest! {
    #[test]
    fn h264_units_come_back_as_they_were(
        units in vec((prop::sample::select(vec![1_u8, 5, 6, 7, 8]), unit_length()), 1..12),
        long_codes: bool,
    ) {
        let units: Vec<_> = units.into_iter().map(|(kind, len)| unit(kind, len)).collect();
        let out = packetiser(Codec::H264).packetise(&frame(Codec::H264, byte_stream(&units, long_codes))).unwrap();
        prop_assert_eq!(depacketise(&out, H264Packet::default()), byte_stream(&units, true));
        prop_assert!(lengths(&out).iter().all(|len| *len <= Packetiser::MAX_PAYLOAD));
        assert_numbered(&out);
    }

    #[test]
    fn vp8_frame_comes_back_in_equal_pieces(body in vec(any::<u8>(), 0..9_000)) {
        let data = [&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0, 1, 0, 1], &body[..]].concat();
        let out = packetiser(Codec::VP8).packetise(&frame(Codec::VP8, data.clone())).unwrap();
        prop_assert!(out.key);
        prop_assert_eq!(depacketise(&out, Vp8Packet::default()), data);
        let (last, others) = lengths(&out).split_last().map(|(last, others)| (*last, others.to_vec())).unwrap();
        prop_assert!(others.iter().all(|len| *len == others[0] && *len <= Packetiser::MAX_PAYLOAD && *len >= last));
        prop_assert!(others.first().is_none_or(|len| len - last <= others.len()));
    }

    #[test]
    fn vp9_frame_comes_back(key: bool, body in vec(any::<u8>(), 0..9_000)) {
        let data = [&[if key { 0x80 } else { 0x84 }], &body[..]].concat();
        let out = packetiser(Codec::VP9).packetise(&frame(Codec::VP9, data.clone())).unwrap();
        prop_assert_eq!(out.key, key);
        // this depacketiser wants a fresh value for every packet
        let back = out.packets.iter().flat_map(|packet| Vp9Packet::default().depacketize(&packet.payload).unwrap());
        prop_assert_eq!(back.collect::<Vec<u8>>(), data);
    }

    #[test]
    fn opus_packet_comes_back(data in vec(any::<u8>(), 1..1_180)) {
        let out = packetiser(Codec::Opus).packetise(&frame(Codec::Opus, data.clone())).unwrap();
        prop_assert_eq!(depacketise(&out, OpusPacket), data);
        prop_assert!(out.key && out.packets[0].marker);
    }

    #[test]
    fn any_bytes_are_packets_within_the_limit_or_an_error(
        codec in prop::sample::select(vec![Codec::H264, Codec::VP8, Codec::VP9, Codec::Opus]),
        frames in vec(vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..3_000), 1..4),
    ) {
        let mut packetiser = packetiser(codec);
        for data in frames {
            if let Ok(out) = packetiser.packetise(&frame(codec, data)) {
                prop_assert!(!out.packets.is_empty());
                prop_assert!(lengths(&out).iter().all(|len| (1..=Packetiser::MAX_PAYLOAD).contains(len)));
            }
        }
    }
}

/// A NAL unit of H.265 of that type and length, in temporal layer 0.
fn h265_unit(kind: u8, len: usize) -> Vec<u8> {
    let mut unit = vec![kind << 1, 1];
    unit.extend((2..len).map(|index| (index % 251) as u8 + 2));
    unit
}

/// The units again, by RFC 7798 §4.4.
fn h265_units(frame: &FramePackets) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for packet in &frame.packets {
        let payload = &packet.payload;
        match payload[0] >> 1 & 0x3f {
            48 => {
                let mut rest = &payload[2..];
                while let Some((len, after)) = rest.split_first_chunk::<2>() {
                    let (unit, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
                    units.push(unit.to_vec());
                    rest = after;
                }
            }
            49 => {
                if payload[2] & 0x80 != 0 {
                    units.push(vec![payload[0] & 0x81 | (payload[2] & 0x3f) << 1, payload[1]]);
                }
                units.last_mut().unwrap().extend_from_slice(&payload[3..]);
            }
            _ => units.push(payload.to_vec()),
        }
    }
    units
}

#[test]
fn h265_is_cut_like_h264_with_its_own_headers() {
    let [vps, sps, pps] = [32, 33, 34].map(|kind| h265_unit(kind, 20));
    let (delimiter, idr, delta) = (vec![35 << 1, 1, 0x50], h265_unit(19, 4_000), h265_unit(1, 900));
    let mut packetiser = packetiser(Codec::H265);
    let whole = byte_stream(&[&delimiter, &vps, &sps, &pps, &idr], true);
    let out = packetiser.packetise(&frame(Codec::H265, whole)).unwrap();
    assert!(out.key);
    assert_eq!(out.packets[0].payload[..2], [48 << 1, 1]);
    assert_eq!(lengths(&out), [2 + 3 * 22, 1003, 1003, 1003, 1001]);
    assert_numbered(&out);
    assert_eq!(h265_units(&out), [vps.clone(), sps.clone(), pps.clone(), idr.clone()]);
    let out = packetiser.packetise(&frame(Codec::H265, byte_stream(&[&delta], true))).unwrap();
    assert!(!out.key && out.packets.len() == 1 && out.packets[0].marker);
    // what a key frame lacks is put in front of it
    let out = packetiser.packetise(&frame(Codec::H265, byte_stream(&[&sps, &idr], true))).unwrap();
    assert_eq!(h265_units(&out), [vps, sps, pps, idr]);
    assert!(packetiser.packetise(&frame(Codec::H265, byte_stream(&[&delimiter], true))).is_err());
}

proptest! {
    #[test]
    fn h265_units_come_back(units in vec((0u8..32, 3usize..6_000), 1..8)) {
        let units: Vec<Vec<u8>> = units.into_iter().filter(|(kind, _)| !(16..=21).contains(kind)).map(|(kind, len)| h265_unit(kind, len)).collect();
        prop_assume!(!units.is_empty());
        let out = packetiser(Codec::H265).packetise(&frame(Codec::H265, byte_stream(&units, false))).unwrap();
        prop_assert!(lengths(&out).iter().all(|len| *len <= Packetiser::MAX_PAYLOAD));
        prop_assert_eq!(h265_units(&out), units);
    }

    #[test]
    fn h265_of_any_bytes_is_cut_or_refused(data in vec(any::<u8>(), 0..600)) {
        let _ = packetiser(Codec::H265).packetise(&frame(Codec::H265, byte_stream(&[data], true)));
    }
}
