use bytes::Bytes;

use super::*;
use crate::forward::{KeyframeRequest, Refresh};
use crate::peer::negotiate::{Agreed, Incoming, Stream};
use crate::vocab::{Codec, LayerId, TrackFormat};

const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED: u8 = 11;

struct Nobody;
impl KeyframeRequest for Nobody {
    fn request(&self) {}
}

fn agreed() -> Agreed {
    let feedback = vec!["nack".to_owned()];
    Agreed { pt: 96, rtx: Some(97), format: TrackFormat::plain(Codec::VP8), feedback, instead: Vec::new(), number_id: None }
}

fn incoming(streams: Vec<Stream>) -> Incoming {
    Incoming { streams, mid: Some(MID), rid: Some(RID), repaired_rid: Some(REPAIRED), ..Incoming::default() }
}

fn named(rids: &[&str]) -> Incoming {
    incoming(rids.iter().map(|rid| Stream { rid: Some((*rid).to_owned()), ..Stream::default() }).collect())
}

fn receiving(incoming: Incoming) -> Receiving {
    let track = TrackId(1);
    let layer = |index| Layer::new(LayerId { track, index }, agreed().format, Refresh::OnRequest, Box::new(Nobody));
    Receiving::new("v", MediaKind::Video, track, &agreed(), incoming, layer).unwrap()
}

fn packet(ssrc: u32, pt: u8, words: &[(u8, &str)]) -> Packet {
    let mut header = Header { sequence_number: 7, ssrc, payload_type: pt, ..Header::default() };
    for (id, word) in words {
        header.set_extension(*id, Bytes::copy_from_slice(word.as_bytes())).unwrap();
    }
    Packet { header, payload: Bytes::from_static(&[0x12, 0x34, 9, 9]) }
}

fn place(receiving: &mut Receiving, mut packet: Packet) -> Option<(usize, bool, bool)> {
    receiving.place(&mut packet).map(|placed| (placed.index, placed.recovered, placed.new))
}

#[test]
fn packets_name_their_encoding_until_their_ssrc_is_known() {
    let mut track = receiving(named(&["q", "h", "f"]));
    assert_eq!(place(&mut track, packet(1, 96, &[(MID, "v"), (RID, "h")])), Some((1, false, true)));
    assert_eq!(place(&mut track, packet(1, 96, &[])), Some((1, false, false)));
    assert_eq!(place(&mut track, packet(2, 96, &[(RID, "q")])), Some((0, false, true)), "a mid may be left out");
    assert_eq!(place(&mut track, packet(3, 96, &[])), None, "nobody has said whose this is");
    assert_eq!(place(&mut track, packet(3, 96, &[(MID, "v"), (RID, "x")])), None);
    assert_eq!(place(&mut track, packet(3, 96, &[(MID, "w"), (RID, "f")])), None, "of another section");
    assert_eq!(place(&mut track, packet(3, 100, &[(MID, "v"), (RID, "f")])), None, "of another format");
    assert_eq!(track.encodings.iter().map(|encoding| encoding.ssrc).collect::<Vec<_>>(), [Some(2), Some(1), None]);
}

#[test]
fn an_encoding_may_go_on_with_another_ssrc() {
    let mut track = receiving(named(&["q", "h"]));
    place(&mut track, packet(1, 96, &[(RID, "q")]));
    assert_eq!(place(&mut track, packet(5, 96, &[(RID, "q")])), Some((0, false, true)));
    assert_eq!(place(&mut track, packet(1, 96, &[])), None);
}

#[test]
fn what_is_sent_again_gets_its_own_number_back() {
    let mut track = receiving(named(&["q", "h"]));
    let mut again = packet(11, 97, &[(MID, "v"), (REPAIRED, "h")]);
    let placed = track.place(&mut again).unwrap();
    assert_eq!((placed.index, placed.recovered, placed.new), (1, true, false));
    assert_eq!((again.header.sequence_number, again.header.payload_type, &again.payload[..]), (0x1234, 96, &[9, 9][..]));
    assert_eq!(place(&mut track, packet(11, 97, &[])), Some((1, true, false)));
    let mut probe = packet(11, 97, &[]);
    probe.payload = Bytes::from_static(&[0]);
    assert_eq!(place(&mut track, probe), None);
}

#[test]
fn what_is_sent_again_may_be_known_by_description() {
    let mut track = receiving(Incoming { repairs: vec![(1, 11), (2, 12)], ..named(&["q", "h"]) });
    assert_eq!(place(&mut track, packet(12, 97, &[])), None, "its own stream was not heard");
    place(&mut track, packet(2, 96, &[(RID, "h")]));
    assert_eq!(place(&mut track, packet(12, 97, &[])), Some((1, true, false)));
}

#[test]
fn declared_streams_are_placed_by_their_ssrc() {
    let stream = |ssrc, repair| Stream { rid: None, ssrc: Some(ssrc), repair: Some(repair) };
    let mut track = receiving(incoming(vec![stream(1, 11), stream(2, 12)]));
    assert_eq!(place(&mut track, packet(2, 96, &[])), Some((1, false, false)));
    assert_eq!(place(&mut track, packet(11, 97, &[])), Some((0, true, false)));
    assert_eq!(place(&mut track, packet(3, 96, &[])), None);
}

#[test]
fn of_a_track_with_one_encoding_the_first_ssrc_is_taken() {
    let mut track = receiving(incoming(vec![Stream::default()]));
    assert_eq!(place(&mut track, packet(1, 96, &[])), Some((0, false, true)));
    assert_eq!(place(&mut track, packet(2, 96, &[])), None);
    assert_eq!(place(&mut track, packet(12, 97, &[])), Some((0, true, false)));
    assert_eq!(place(&mut track, packet(13, 97, &[])), None);
}

#[test]
fn a_later_description_with_fewer_encodings_is_of_the_same_track() {
    let mut track = receiving(named(&["q", "h", "f"]));
    place(&mut track, packet(1, 96, &[(RID, "h")]));
    assert!(track.covers(&named(&["h", "q"])) && !track.covers(&named(&["h", "x"])));
    assert!(!track.covers(&incoming(vec![Stream::default()])));
    track.declare(&agreed(), named(&["h"]));
    assert_eq!(place(&mut track, packet(1, 96, &[])), Some((1, false, false)));
}
