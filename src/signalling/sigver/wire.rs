//! The messages between a netflux client and the server, proto3, one per binary frame.
//!
//! The server's `senderId` and `recipientId` are written even when they are 0, as the original does: the fields are declared with
//! presence, which changes nothing on the wire but that.

use bytes::Bytes;
use prost::Message as _;

/// Most ids of a `connect`; a longer list is refused. A full mesh of so many clients does not exist.
pub const MAX_MEMBERS: usize = 4096;

/// One frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// What it says; `None` when no known field was there.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4")]
    pub kind: Option<Kind>,
}

/// What a frame says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// Alive, whatever the value.
    #[prost(bool, tag = "1")]
    Heartbeat(bool),
    /// Bytes for or from the bound partner.
    #[prost(message, tag = "2")]
    Content(Content),
    /// "May I become, or am I still, a member?"
    #[prost(message, tag = "3")]
    Connect(GroupData),
    /// The answer.
    #[prost(bool, tag = "4")]
    Connected(bool),
}

/// Bytes on their way.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Content {
    /// The joiner's signalling id towards a member, 0 towards a joiner.
    #[prost(uint32, optional, tag = "1")]
    pub sender_id: Option<u32>,
    /// The joiner's signalling id where a joiner is meant, else 0.
    #[prost(uint32, optional, tag = "2")]
    pub recipient_id: Option<u32>,
    /// Nothing more comes in this direction.
    #[prost(bool, optional, tag = "3")]
    pub last_data: Option<bool>,
    /// Opaque. From the server, absent says that the partner has gone.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub data: Option<Bytes>,
}

/// How a client sees its group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupData {
    /// Its own Netflux id.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The others it sees.
    #[prost(uint32, repeated, tag = "2")]
    pub members: Vec<u32>,
}

/// Why a frame cannot be taken. The connection is closed with 4743 and this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not protobuf of this schema.
    #[error("{}", self.reason())]
    Undecodable,
    /// No field of the schema.
    #[error("{}", self.reason())]
    Unknown,
    /// Over [`MAX_MEMBERS`] ids.
    #[error("{}", self.reason())]
    TooManyMembers,
}

impl Malformed {
    /// For the close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Undecodable => "the message cannot be decoded",
            Self::Unknown => "wrong format or unknown message",
            Self::TooManyMembers => "too many members",
        }
    }
}

/// Reads a frame. Fields that the schema does not have are passed over.
pub fn decode(frame: &[u8]) -> Result<Kind, Malformed> {
    match Message::decode(frame).map_err(|_| Malformed::Undecodable)?.kind {
        Some(Kind::Connect(group)) if group.members.len() > MAX_MEMBERS => Err(Malformed::TooManyMembers),
        kind => kind.ok_or(Malformed::Unknown),
    }
}

/// Writes a frame.
pub fn encode(kind: Kind) -> Bytes {
    Message { kind: Some(kind) }.encode_to_vec().into()
}

/// A frame of content as the server writes it. What [`encode`] makes of it, in one piece: it is written for every message.
pub fn content(sender: u32, recipient: u32, data: Option<&[u8]>) -> Vec<u8> {
    use prost::encoding::{encode_varint, encoded_len_varint};
    // field number and wire type: 2 of `Message`, then 1, 2 and 4 of `Content`
    const CONTENT: u8 = (2 << 3) | 2;
    const SENDER: u8 = 1 << 3;
    const RECIPIENT: u8 = 2 << 3;
    const DATA: u8 = (4 << 3) | 2;
    let (sender, recipient) = (u64::from(sender), u64::from(recipient));
    let data = data.map(|data| (data, data.len() as u64));
    let length = 2
        + encoded_len_varint(sender)
        + encoded_len_varint(recipient)
        + data.map_or(0, |(data, length)| 1 + encoded_len_varint(length) + data.len());
    let mut frame = Vec::with_capacity(1 + encoded_len_varint(length as u64) + length);
    frame.push(CONTENT);
    encode_varint(length as u64, &mut frame);
    frame.push(SENDER);
    encode_varint(sender, &mut frame);
    frame.push(RECIPIENT);
    encode_varint(recipient, &mut frame);
    if let Some((data, length)) = data {
        frame.push(DATA);
        encode_varint(length, &mut frame);
        frame.extend_from_slice(data);
    }
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: u32 = 3_000_000_001;
    const B: u32 = 4_000_000_002;
    const S: u32 = 1_234_567_890;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn group(id: u32, members: &[u32]) -> Kind {
        Kind::Connect(GroupData { id, members: members.to_vec() })
    }

    fn from_client(sender: u32, recipient: u32, data: &str) -> Kind {
        let data = Some(bytes(data).into());
        Kind::Content(Content { sender_id: Some(sender), recipient_id: Some(recipient), last_data: Some(false), data })
    }

    // checklist 1: the vectors of section 2.5
    #[test]
    fn the_vectors_are_read() {
        let request = "08 82 d0 ac f3 0e 10 00 18 4a 22 02 12 00";
        let response = "08 00 10 d2 85 d8 cc 04 18 4a 22 02 18 01";
        for (hex, meaning) in [
            ("08 01", Kind::Heartbeat(true)),
            ("08 00", Kind::Heartbeat(false)),
            ("20 01", Kind::Connected(true)),
            ("20 00", Kind::Connected(false)),
            ("1a 06 08 81 bc c1 96 0b", group(A, &[])),
            ("1a 0d 08 82 d0 ac f3 0e 12 05 81 bc c1 96 0b", group(B, &[A])),
            ("1a 0c 08 82 d0 ac f3 0e 10 81 bc c1 96 0b", group(B, &[A])),
            ("12 1a 08 82 d0 ac f3 0e 10 00 18 00 22 0e 08 82 d0 ac f3 0e 10 00 18 4a 22 02 12 00", from_client(B, 0, request)),
            ("12 1a 08 00 10 d2 85 d8 cc 04 18 00 22 0e 08 00 10 d2 85 d8 cc 04 18 4a 22 02 18 01", from_client(0, S, response)),
        ] {
            assert_eq!(decode(&bytes(hex)), Ok(meaning), "{hex}");
        }
    }

    // checklist 1
    #[test]
    fn what_the_server_says_is_written_byte_for_byte() {
        let request = bytes("08 82 d0 ac f3 0e 10 00 18 4a 22 02 12 00");
        let response = bytes("08 00 10 d2 85 d8 cc 04 18 4a 22 02 18 01");
        let content = |sender, recipient, data: Option<&[u8]>| Bytes::from(content(sender, recipient, data));
        for (written, hex) in [
            (encode(Kind::Heartbeat(true)), "08 01"),
            (encode(Kind::Connected(true)), "20 01"),
            (encode(Kind::Connected(false)), "20 00"),
            (content(S, 0, Some(&request)), "12 18 08 d2 85 d8 cc 04 10 00 22 0e 08 82 d0 ac f3 0e 10 00 18 4a 22 02 12 00"),
            (content(0, S, Some(&response)), "12 18 08 00 10 d2 85 d8 cc 04 22 0e 08 00 10 d2 85 d8 cc 04 18 4a 22 02 18 01"),
            (content(S, 0, None), "12 08 08 d2 85 d8 cc 04 10 00"),
            (content(0, S, None), "12 08 08 00 10 d2 85 d8 cc 04"),
            (encode(group(B, &[A])), "1a 0d 08 82 d0 ac f3 0e 12 05 81 bc c1 96 0b"),
        ] {
            assert_eq!(written, bytes(hex), "{hex}");
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_but_alone_they_are_no_message() {
        assert_eq!(decode(&bytes("08 01 52 02 01 02")), Ok(Kind::Heartbeat(true)));
        assert_eq!(decode(&bytes("52 02 01 02 20 01")), Ok(Kind::Connected(true)));
        assert_eq!(decode(&bytes("1a 08 08 81 bc c1 96 0b 78 05")), Ok(group(A, &[])));
        assert_eq!(decode(&bytes("52 02 01 02")), Err(Malformed::Unknown));
        assert_eq!(decode(&[]), Err(Malformed::Unknown));
    }

    #[test]
    fn the_last_of_several_kinds_counts() {
        assert_eq!(decode(&bytes("08 01 20 01")), Ok(Kind::Connected(true)));
        assert_eq!(decode(&bytes("20 01 1a 02 08 07")), Ok(group(7, &[])));
    }

    #[test]
    fn numbers_of_ten_bytes_are_cut_to_32_bits() {
        assert_eq!(decode(&bytes("1a 0b 08 81 bc c1 96 fb ff ff ff ff 01")), Ok(group(A, &[])));
        assert_eq!(decode(&bytes("1a 02 08 05")), Ok(group(5, &[])));
        assert_eq!(decode(&bytes("1a 00")), Ok(group(0, &[])));
    }

    #[test]
    fn what_is_cut_short_or_of_the_wrong_form_is_refused() {
        for hex in ["08", "08 ff", "12 05 08", "1a 06 08 81 bc", "1a 04 08 01 12 09", "12 02 22 09", "0a 00", "07", "00 00"] {
            assert_eq!(decode(&bytes(hex)), Err(Malformed::Undecodable), "{hex}");
        }
    }

    #[test]
    fn the_list_of_members_is_bounded() {
        let list = |n| encode(group(1, &vec![7; n]));
        assert!(decode(&list(MAX_MEMBERS)).is_ok());
        assert_eq!(decode(&list(MAX_MEMBERS + 1)), Err(Malformed::TooManyMembers));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(frame in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(kind) = decode(&frame) {
                // what was read can be written and reads the same
                prop_assert_eq!(decode(&encode(kind.clone())), Ok(kind));
            }
        }

        #[test]
        fn what_is_written_reads_back(id: u32, members in prop::collection::vec(any::<u32>(), 0..50), data in prop::collection::vec(any::<u8>(), 0..200), last: bool) {
            let connect = group(id, &members);
            prop_assert_eq!(decode(&encode(connect.clone())), Ok(connect));
            let content = Kind::Content(Content { sender_id: Some(id), recipient_id: None, last_data: Some(last), data: Some(data.into()) });
            prop_assert_eq!(decode(&encode(content.clone())), Ok(content));
        }

        #[test]
        fn content_is_written_as_the_schema_has_it(sender: u32, recipient: u32, data in prop::option::of(prop::collection::vec(any::<u8>(), 0..300))) {
            let written = content(sender, recipient, data.as_deref());
            prop_assert_eq!(written.capacity(), written.len());
            let data = data.map(Bytes::from);
            let same = Content { sender_id: Some(sender), recipient_id: Some(recipient), last_data: None, data };
            prop_assert_eq!(written, encode(Kind::Content(same)));
        }
    }
}
