//! H.264 payloads (RFC 6184, packetization-mode 1): single NAL units, STAP-A for small ones, FU-A for large ones.

use bytes::Bytes;

use super::nal::{ParameterSets, Writer, nal_units, put_pieces, put_with_lengths};
use super::{Cut, Marker, Payloads};

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
/// Header of a STAP-A (§5.7.1).
const STAP_HEADER: usize = 1;
/// F and NRI of a NAL unit's first byte.
const F: u8 = 0x80;
const NRI: u8 = 0x60;

const WRITER: Writer = Writer { header: STAP_HEADER, fragment_header: FU_HEADER, together: put_stap_a, fragments: put_fu_a };

/// Remembers the parameter sets.
#[derive(Debug, Default)]
pub(super) struct H264 {
    sps: ParameterSets,
    pps: ParameterSets,
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
        Ok(Cut { key: idr.is_some(), payloads: WRITER.write(&units), marker: Marker::Last })
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

/// RFC 6184 §5.7.1: F if any has it, NRI of the most important.
fn put_stap_a(units: &[&[u8]], payloads: &mut Payloads) {
    let first = |unit: &[u8]| unit.first().copied().unwrap_or_default();
    let f = units.iter().fold(0, |f, unit| f | first(unit) & F);
    let nri = units.iter().map(|unit| first(unit) & NRI).max().unwrap_or(0);
    payloads.put(&[f | nri | kind::STAP_A]);
    put_with_lengths(units, payloads);
}

/// §5.8.
fn put_fu_a(unit: &[u8], payloads: &mut Payloads) {
    let Some((&first, body)) = unit.split_first() else { return };
    let header = |place: u8| -> [u8; FU_HEADER] { [first & (F | NRI) | kind::FU_A, place | first & 0x1f] };
    put_pieces(body, header, payloads);
}
