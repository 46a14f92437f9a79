//! A segment file's bytes. PURE.
//!
//! ```text
//! segment = "PORTICO-EVENTS-1"  run u64  first u64  crc32 of the 32 bytes before   (little endian)
//! record  = length u32  crc32 of the rest  seq u64  made u64  name length u8  name  payload
//! ```
//!
//! A record counts only if it is whole. What a kill or a power cut left unfinished at the end of a file is not read.

use std::io::{self, Read};

use super::super::maker::MOST_PAYLOAD;
use super::super::record::{EventName, WallMs};

const MAGIC: &[u8; 16] = b"PORTICO-EVENTS-1";
/// Bytes of a segment before its first record.
pub(super) const HEAD: u64 = 36;
/// Bytes before a record's body.
const PREFIX: usize = 8;
/// Bytes of a body besides name and payload.
const FIXED: usize = 17;
/// Longest body; a length above it is damage.
const MOST_BODY: usize = FIXED + u8::MAX as usize + MOST_PAYLOAD;

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// A random number of the run that wrote it: with the number of a record it makes an id that no other event ever has.
    pub run: u64,
    /// Number of its first record.
    pub first: u64,
}

impl Head {
    pub fn encode(self) -> [u8; HEAD as usize] {
        let mut bytes = [0; HEAD as usize];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&self.run.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for what is no head of a segment.
    pub fn decode(bytes: &[u8; HEAD as usize]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let crc = u32::from_le_bytes(bytes[32..].try_into().expect("four bytes"));
        let good = &bytes[..16] == MAGIC && crc == crc32fast::hash(&bytes[..32]);
        good.then(|| Self { run: number(16), first: number(24) })
    }
}

/// A record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub seq: u64,
    pub made: WallMs,
    pub name: EventName,
    pub payload: Vec<u8>,
    /// Bytes it takes in the file.
    pub len: u64,
}

/// Bytes a record of this event takes.
pub(super) fn record_len(name: EventName, payload: &str) -> u64 {
    (PREFIX + FIXED + name.as_str().len() + payload.len()) as u64
}

/// Appends a record.
pub(super) fn encode(out: &mut Vec<u8>, seq: u64, made: WallMs, name: EventName, payload: &str) {
    let name = name.as_str().as_bytes();
    let body = FIXED + name.len() + payload.len();
    let start = out.len();
    out.extend_from_slice(&u32::try_from(body).expect("payloads are bounded by the maker").to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&made.0.to_le_bytes());
    out.push(u8::try_from(name.len()).expect("names are short"));
    out.extend_from_slice(name);
    out.extend_from_slice(payload.as_bytes());
    let crc = crc32fast::hash(&out[start + PREFIX..]);
    out[start + 4..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the next record; `None` at the end, which is also where something is unfinished or damaged.
pub(super) fn decode(from: &mut impl Read) -> io::Result<Option<Record>> {
    let mut prefix = [0; PREFIX];
    if !fill(from, &mut prefix)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(prefix[..4].try_into().expect("four bytes")) as usize;
    let crc = u32::from_le_bytes(prefix[4..].try_into().expect("four bytes"));
    if !(FIXED..=MOST_BODY).contains(&length) {
        return Ok(None);
    }
    // grows with what is there, so a damaged length costs no memory
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length || crc32fast::hash(&body) != crc {
        return Ok(None);
    }
    Ok(body_of(&body).map(|(seq, made, name, payload)| Record {
        seq,
        made,
        name,
        payload: payload.to_vec(),
        len: (PREFIX + length) as u64,
    }))
}

fn body_of(body: &[u8]) -> Option<(u64, WallMs, EventName, &[u8])> {
    let (seq, rest) = body.split_first_chunk::<8>()?;
    let (made, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (name, payload) = rest.split_at_checked(usize::from(*length))?;
    let name = EventName::parse(std::str::from_utf8(name).ok()?)?;
    Some((u64::from_le_bytes(*seq), WallMs(u64::from_le_bytes(*made)), name, payload))
}

/// Whether the buffer could be filled.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(events: &[(u64, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (seq, payload) in events {
            encode(&mut bytes, *seq, WallMs(7 * seq), EventName::RoomJoin, payload);
        }
        bytes
    }

    fn read(mut bytes: &[u8]) -> Vec<(u64, String)> {
        let mut records = Vec::new();
        while let Some(record) = decode(&mut bytes).unwrap() {
            assert_eq!((record.made, record.name), (WallMs(7 * record.seq), EventName::RoomJoin));
            records.push((record.seq, String::from_utf8(record.payload).unwrap()));
        }
        records
    }

    #[test]
    fn a_torn_last_write_is_not_read_wherever_it_was_cut() {
        let bytes = written(&[(1, "{}"), (2, "{\"a\":1}"), (3, "{\"b\":\"ü\"}")]);
        let whole = read(&bytes);
        assert_eq!(whole.len(), 3);
        let second = bytes.len() - record_len(EventName::RoomJoin, "{\"b\":\"ü\"}") as usize;
        for cut in second..bytes.len() {
            assert_eq!(read(&bytes[..cut]), whole[..2], "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_bit_ends_the_reading() {
        let bytes = written(&[(1, "{}"), (2, "{\"a\":1}")]);
        let first = record_len(EventName::RoomJoin, "{}") as usize;
        for at in first..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(&damaged), [(1, "{}".to_owned())], "bit of byte {at}");
        }
    }

    #[test]
    fn heads_are_read_as_written_and_nothing_else_is() {
        let head = Head { run: 0xfeed, first: 42 };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        for at in 0..HEAD as usize {
            let mut damaged = head.encode();
            damaged[at] ^= 1;
            assert_eq!(Head::decode(&damaged), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_some_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = bytes.as_slice();
            while decode(&mut rest).unwrap().is_some() {}
        }

        #[test]
        fn what_is_written_is_read(payloads in proptest::collection::vec("\\PC{0,60}", 0..20)) {
            let events: Vec<(u64, &str)> = payloads.iter().enumerate().map(|(i, text)| (i as u64, text.as_str())).collect();
            let expected: Vec<(u64, String)> = events.iter().map(|(seq, text)| (*seq, (*text).to_owned())).collect();
            prop_assert_eq!(read(&written(&events)), expected);
        }
    }
}
