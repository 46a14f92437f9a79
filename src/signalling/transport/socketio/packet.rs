//! Packets of Engine.IO 3 and 4, and the payloads that carry several of them over HTTP. Pure.
//!
//! Sources: the Engine.IO protocol documents, and engine.io-parser 2.2.1 and engine.io 6.6 as observed on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};

/// Between the packets of a payload of version 4.
const SEPARATOR: char = '\u{1e}';
/// Ends the length of a packet in the binary form of version 3.
const LENGTH_END: u8 = 255;
/// Most digits of a packet's length. A payload is smaller than a million bytes.
const MAX_DIGITS: usize = 9;

/// Version of the Engine.IO protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Socket.IO 1 and 2: the client pings.
    V3,
    /// Socket.IO 3 and 4: the server pings.
    V4,
}

impl Version {
    /// The version a request asks for with `EIO`: 4, or else 3.
    pub fn asked(eio: Option<&str>) -> Self {
        if eio == Some("4") { Self::V4 } else { Self::V3 }
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First packet of a session; from the server.
    Open,
    /// Last packet of a session.
    Close,
    /// Asks for a pong with the same data.
    Ping,
    /// Answers a ping.
    Pong,
    /// Carries a Socket.IO packet.
    Message,
    /// The websocket takes over; from the client.
    Upgrade,
    /// Nothing; ends a poll.
    Noop,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Open,
            1 => Self::Close,
            2 => Self::Ping,
            3 => Self::Pong,
            4 => Self::Message,
            5 => Self::Upgrade,
            6 => Self::Noop,
            _ => return None,
        })
    }
}

/// One packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Its data is text.
    Text(Kind, &'a str),
    /// Its data is bytes, which no dialect uses: they are not kept.
    Binary(Kind),
}

/// Bytes that are no packet or payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet")]
pub struct Malformed;

/// Reads a packet out of a websocket's text frame or out of a text payload.
pub fn parse_text(version: Version, text: &str) -> Result<Packet<'_>, Malformed> {
    let mut chars = text.chars();
    match (version, chars.next()) {
        (Version::V3, Some('b')) => {
            let kind = chars.next().and_then(|digit| digit.to_digit(10)).and_then(|byte| Kind::of(byte as u8));
            base64_packet(kind.ok_or(Malformed)?, chars.as_str())
        }
        (Version::V4, Some('b')) => base64_packet(Kind::Message, chars.as_str()),
        (_, Some(first)) => {
            let kind = first.to_digit(10).and_then(|byte| Kind::of(byte as u8)).ok_or(Malformed)?;
            Ok(Packet::Text(kind, chars.as_str()))
        }
        (_, None) => Err(Malformed),
    }
}

fn base64_packet(kind: Kind, text: &str) -> Result<Packet<'static>, Malformed> {
    STANDARD.decode(text).map(|_| Packet::Binary(kind)).map_err(|_| Malformed)
}

/// Reads a packet out of a websocket's binary frame or out of a binary payload: version 3 starts it with its kind as a byte,
/// version 4 has only messages.
pub fn parse_binary(version: Version, bytes: &[u8]) -> Result<Packet<'static>, Malformed> {
    match version {
        Version::V3 => bytes.first().and_then(|byte| Kind::of(*byte)).map(Packet::Binary).ok_or(Malformed),
        Version::V4 => Ok(Packet::Binary(Kind::Message)),
    }
}

/// Puts text packets into one payload.
pub fn payload<'a>(version: Version, packets: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for packet in packets {
        match version {
            // counted in UTF-16 code units, as JavaScript counts
            Version::V3 => {
                out.push_str(&packet.encode_utf16().count().to_string());
                out.push(':');
            }
            Version::V4 if !out.is_empty() => out.push(SEPARATOR),
            Version::V4 => {}
        }
        out.push_str(packet);
    }
    out
}

/// The packets of a client's payload, one after the other. Holds the payload and nothing else, however many packets it has.
#[derive(Debug)]
pub struct Payload {
    version: Version,
    /// `application/octet-stream`.
    binary: bool,
    rest: Bytes,
}

impl Payload {
    /// `binary`: the payload came as `application/octet-stream`.
    pub fn new(version: Version, binary: bool, body: Bytes) -> Self {
        Self { version, binary, rest: body }
    }

    /// Reads the next packet and hands it to `take`; `None` at the end. After an error nothing more comes.
    pub fn next<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> Option<Result<T, Malformed>> {
        if self.rest.is_empty() {
            return None;
        }
        let (packet, text) = match self.cut() {
            Ok(cut) => cut,
            Err(error) => {
                self.rest = Bytes::new();
                return Some(Err(error));
            }
        };
        let read = if text {
            std::str::from_utf8(&packet).map_err(|_| Malformed).and_then(|text| parse_text(self.version, text).map(take))
        } else {
            parse_binary(self.version, &packet).map(take)
        };
        if read.is_err() {
            self.rest = Bytes::new();
        }
        Some(read)
    }

    /// Takes the next packet's bytes off the front; whether they are text.
    fn cut(&mut self) -> Result<(Bytes, bool), Malformed> {
        match (self.version, self.binary) {
            (Version::V3, false) => self.cut_text().map(|packet| (packet, true)),
            (Version::V3, true) => self.cut_binary(),
            // version 4 has no binary payloads
            (Version::V4, true) => Err(Malformed),
            (Version::V4, false) => {
                let end = memchr::memchr(SEPARATOR as u8, &self.rest);
                let packet = self.rest.split_to(end.unwrap_or(self.rest.len()));
                if end.is_some() {
                    self.rest.advance(1);
                    if self.rest.is_empty() {
                        return Err(Malformed); // a separator with nothing behind
                    }
                }
                Ok((packet, true))
            }
        }
    }

    /// `<length>:<packet>`, the length in UTF-16 code units.
    fn cut_text(&mut self) -> Result<Bytes, Malformed> {
        let digits = self.rest.iter().take(MAX_DIGITS + 1).position(|byte| *byte == b':').ok_or(Malformed)?;
        let digits = self.rest.split_to(digits);
        self.rest.advance(1);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        let units = digits.iter().fold(0_usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        let bytes = utf16_prefix(&self.rest, units).ok_or(Malformed)?;
        Ok(self.rest.split_to(bytes))
    }

    /// A byte 0 (text) or 1 (bytes), the length as digits of one byte 0 to 9 each, 255, the packet. Here a length is of bytes.
    fn cut_binary(&mut self) -> Result<(Bytes, bool), Malformed> {
        let text = match self.rest[0] {
            0 => true,
            1 => false,
            _ => return Err(Malformed),
        };
        let digits = self.rest[1..].iter().take(MAX_DIGITS + 1).position(|byte| *byte == LENGTH_END).ok_or(Malformed)?;
        let mut length = 0_usize;
        for digit in &self.rest[1..=digits] {
            if *digit > 9 {
                return Err(Malformed);
            }
            length = length * 10 + usize::from(*digit);
        }
        self.rest.advance(digits + 2);
        if digits == 0 || length == 0 || length > self.rest.len() {
            return Err(Malformed);
        }
        Ok((self.rest.split_to(length), text))
    }
}

/// How many bytes of UTF-8 make so many UTF-16 code units; `None` when there are fewer, or the border is inside a character.
/// Looks at lead bytes only; whether it is UTF-8 at all is checked with the packet.
fn utf16_prefix(bytes: &[u8], units: usize) -> Option<usize> {
    let (mut at, mut left) = (0, units);
    while left > 0 {
        let (length, counts) = match bytes.get(at)? {
            0x00..=0x7f => (1, 1),
            0xc0..=0xdf => (2, 1),
            0xe0..=0xef => (3, 1),
            0xf0..=0xf7 => (4, 2),
            _ => return None,
        };
        at += length;
        left = left.checked_sub(counts)?;
    }
    (units > 0 && at <= bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(packet: Packet<'_>) -> (Option<Kind>, String) {
        match packet {
            Packet::Text(kind, data) => (Some(kind), data.into()),
            Packet::Binary(kind) => (Some(kind), "<bytes>".into()),
        }
    }

    fn read(version: Version, binary: bool, body: &[u8]) -> Vec<Result<(Option<Kind>, String), Malformed>> {
        let mut payload = Payload::new(version, binary, Bytes::copy_from_slice(body));
        std::iter::from_fn(|| payload.next(owned)).collect()
    }

    fn ok(kind: Kind, data: &str) -> Result<(Option<Kind>, String), Malformed> {
        Ok((Some(kind), data.into()))
    }

    #[test]
    fn lengths_of_version_3_count_utf16_code_units() {
        assert_eq!(payload(Version::V3, ["2", "4😀", "4é"]), "1:23:4😀2:4é");
        assert_eq!(
            read(Version::V3, false, "1:23:4😀2:4é".as_bytes()),
            [ok(Kind::Ping, ""), ok(Kind::Message, "😀"), ok(Kind::Message, "é")]
        );
    }

    #[test]
    fn packets_of_version_4_are_separated() {
        assert_eq!(payload(Version::V4, ["2", "4😀"]), "2\u{1e}4😀");
        assert_eq!(read(Version::V4, false, "2\u{1e}4😀".as_bytes()), [ok(Kind::Ping, ""), ok(Kind::Message, "😀")]);
        assert_eq!(read(Version::V4, false, b"bAQID"), [ok(Kind::Message, "<bytes>")]);
    }

    #[test]
    fn binary_packets_of_version_3_are_read() {
        assert_eq!(read(Version::V3, false, b"6:b4AQID"), [ok(Kind::Message, "<bytes>")]);
        let body = [&[0, 6, 255][..], b"4hello", &[1, 4, 255, 4, 1, 2, 3], &[0, 1, 255], b"2"].concat();
        assert_eq!(
            read(Version::V3, true, &body),
            [ok(Kind::Message, "hello"), ok(Kind::Message, "<bytes>"), ok(Kind::Ping, "")]
        );
        assert_eq!(parse_binary(Version::V4, &[]), Ok(Packet::Binary(Kind::Message)));
        assert_eq!(parse_binary(Version::V3, &[7]), Err(Malformed));
    }

    #[test]
    fn wrong_lengths_and_kinds_are_malformed() {
        for bad in
            ["x", ":2", "0:", "3:42", "1:2 ", "-1:2", "2:4😀", "1:😀", "9999999999:4", "1:7", "1:a", "6:b4!!!!", "5:b9AAAA"]
        {
            assert_eq!(read(Version::V3, false, bad.as_bytes()).last(), Some(&Err(Malformed)), "{bad}");
        }
        for bad in [&b"\x1e"[..], b"2\x1e", b"\x1e2", b"9", b"x", b"b?", b"4\xff"] {
            assert_eq!(read(Version::V4, false, bad).last(), Some(&Err(Malformed)), "{bad:?}");
        }
        for bad in [&[2, 1, 255, 4][..], &[0, 1, 254, 4], &[0, 255], &[0, 0, 255], &[0, 9, 255, 4], &[0], &[1, 1, 255, 9]] {
            assert_eq!(read(Version::V3, true, bad), [Err(Malformed)], "{bad:?}");
        }
        assert_eq!(read(Version::V4, true, b"2"), [Err(Malformed)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), binary: bool) {
            for version in [Version::V3, Version::V4] {
                let packets = read(version, binary, &body);
                prop_assert!(packets.len() <= body.len());
                prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
            }
        }

        #[test]
        fn payloads_read_back(texts in proptest::collection::vec("[^\u{1e}]{0,20}", 1..20)) {
            let packets: Vec<String> = texts.iter().map(|text| format!("4{text}")).collect();
            for version in [Version::V3, Version::V4] {
                let body = payload(version, packets.iter().map(String::as_str));
                let expected: Vec<_> = texts.iter().map(|text| ok(Kind::Message, text)).collect();
                prop_assert_eq!(read(version, false, body.as_bytes()), expected);
            }
        }
    }
}
