//! H.264 payloads (RFC 6184, packetization-mode 1): single NAL units, STAP-A for small ones, FU-A for large ones.

use bytes::Bytes;

use super::{Cut, Marker, Packetiser, Payloads, even_piece};

/// NAL unit types (H.264 table 7-1) and those that RTP adds (RFC 6184 table 1).
mod kind {
    pub const IDR: u8 = 5;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const DELIMITER: u8 = 9;
    pub const END_OF_SEQUENCE: u8 = 10;
    pub const END_OF_STREAM: u8 = 11;
    pub const FILLER: u8 = 12;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

/// Indicator and header of an FU-A (RFC 6184 §5.8).
const FU_HEADER: usize = 2;
/// Length before each unit of a STAP-A (RFC 6184 §5.7.1).
const STAP_LENGTH: usize = 2;
const START: u8 = 0x80;
const END: u8 = 0x40;
/// F and NRI of a NAL unit's first byte.
const F: u8 = 0x80;
const NRI: u8 = 0x60;

/// Remembers the parameter sets.
#[derive(Debug, Default)]
pub(super) struct H264 {
    sps: ParameterSets,
    pps: ParameterSets,
}

/// The sets of one kind that the last access unit with any brought. Copies: a slice would hold that whole key frame.
#[derive(Debug, Default)]
struct ParameterSets(Vec<Bytes>);

impl ParameterSets {
    /// Most sets kept of a kind; the standard allows 32 SPS. With [`Packetiser::MAX_PAYLOAD`] each this bounds the memory.
    const MAX: usize = 32;

    fn remember<'a>(&mut self, units: impl Iterator<Item = &'a [u8]> + Clone) {
        let units = units.filter(|unit| unit.len() <= Packetiser::MAX_PAYLOAD).take(Self::MAX);
        if units.clone().next().is_some() && !units.clone().eq(self.iter()) {
            self.0 = units.map(Bytes::copy_from_slice).collect();
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|set| &set[..])
    }
}

impl H264 {
    pub(super) fn cut(&mut self, data: &Bytes) -> Result<Cut, &'static str> {
        let mut units: Vec<&[u8]> = nal_units(data).filter(|unit| is_sent(unit)).collect();
        let of = |wanted: u8| units.iter().copied().filter(move |unit| kind_of(unit) == wanted);
        self.sps.remember(of(kind::SPS));
        self.pps.remember(of(kind::PPS));
        let lacks_sps = of(kind::SPS).next().is_none();
        let lacks_pps = of(kind::PPS).next().is_none();
        let idr = units.iter().position(|unit| kind_of(unit) == kind::IDR);
        if let Some(idr) = idr {
            if lacks_pps {
                units.splice(idr..idr, self.pps.iter());
            }
            if lacks_sps {
                units.splice(0..0, self.sps.iter());
            }
        }
        if units.is_empty() {
            return Err("it has no NAL unit to send");
        }
        Ok(Cut { key: idr.is_some(), payloads: write(&units), marker: Marker::Last })
    }
}

fn kind_of(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |first| first & 0x1f)
}

/// Delimiters, end marks and filler say nothing that RTP does not; types 0 and from 24 mean something else in RTP.
fn is_sent(unit: &[u8]) -> bool {
    let dropped = [kind::DELIMITER, kind::END_OF_SEQUENCE, kind::END_OF_STREAM, kind::FILLER];
    unit.len() > 1 && matches!(kind_of(unit), 1..kind::STAP_A) && !dropped.contains(&kind_of(unit))
}

/// The NAL units of a byte stream (H.264 annex B): what stands between start codes, without the zeros before the next.
fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut codes = memchr::memmem::find_iter(data, &[0, 0, 1]);
    let mut start = codes.next();
    std::iter::from_fn(move || {
        let begin = start? + 3;
        start = codes.next();
        let unit = &data[begin..start.unwrap_or(data.len())];
        // a NAL unit never ends in zero (H.264 §7.4.1); these belong to the next start code or are trailing_zero_8bits
        let len = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..len])
    })
}

/// Neighbours that fit share a STAP-A, others go alone or as a train of FU-A.
fn write(units: &[&[u8]]) -> Vec<Bytes> {
    let bytes: usize = units.iter().map(|unit| unit.len() + STAP_LENGTH + 1).sum();
    let packets = bytes / (Packetiser::MAX_PAYLOAD - FU_HEADER) + units.len() + 1;
    let mut payloads = Payloads::with_capacity(bytes + packets * FU_HEADER, packets);
    let mut rest = units;
    while let Some((first, after)) = rest.split_first() {
        let together = fitting(rest);
        if together > 1 {
            let (group, after) = rest.split_at(together);
            write_stap_a(group, &mut payloads);
            rest = after;
        } else {
            if first.len() <= Packetiser::MAX_PAYLOAD {
                payloads.put(first);
                payloads.end();
            } else {
                write_fu_a(first, &mut payloads);
            }
            rest = after;
        }
    }
    payloads.finish()
}

/// How many of the first units fit into one STAP-A.
fn fitting(units: &[&[u8]]) -> usize {
    let mut size = 1;
    let fits = units.iter().take_while(|unit| {
        size += STAP_LENGTH + unit.len();
        size <= Packetiser::MAX_PAYLOAD
    });
    fits.count()
}

fn write_stap_a(units: &[&[u8]], payloads: &mut Payloads) {
    // RFC 6184 §5.7.1: F if any has it, NRI of the most important
    let f = units.iter().fold(0, |f, unit| f | unit[0] & F);
    let nri = units.iter().map(|unit| unit[0] & NRI).max().unwrap_or(0);
    payloads.put(&[f | nri | kind::STAP_A]);
    for unit in units {
        // at most MAX_PAYLOAD long: `fitting` saw to it
        payloads.put(&(unit.len() as u16).to_be_bytes());
        payloads.put(unit);
    }
    payloads.end();
}

fn write_fu_a(unit: &[u8], payloads: &mut Payloads) {
    let (first, body) = (unit[0], &unit[1..]);
    let piece = even_piece(body.len(), Packetiser::MAX_PAYLOAD - FU_HEADER);
    let last = body.len().div_ceil(piece) - 1;
    for (index, piece) in body.chunks(piece).enumerate() {
        let start = if index == 0 { START } else { 0 };
        let end = if index == last { END } else { 0 };
        payloads.put(&[first & (F | NRI) | kind::FU_A, start | end | first & 0x1f]);
        payloads.put(piece);
        payloads.end();
    }
}
