//! H.265 payloads (RFC 7798, one stream, without DONL): single NAL units, aggregation packets for small ones, fragments for large ones.

use bytes::Bytes;

use super::nal::{ParameterSets, Writer, nal_units, put_pieces, put_with_lengths};
use super::{Cut, Marker, Payloads};

/// NAL unit types (H.265 table 7-1) and those that RTP adds (RFC 7798 §4.4).
mod kind {
    /// Intra random access points: decoding can start there.
    pub const IRAP: std::ops::RangeInclusive<u8> = 16..=21;
    pub const VPS: u8 = 32;
    pub const SPS: u8 = 33;
    pub const PPS: u8 = 34;
    pub const DELIMITER: u8 = 35;
    pub const END_OF_SEQUENCE: u8 = 36;
    pub const END_OF_STREAM: u8 = 37;
    pub const FILLER: u8 = 38;
    pub const AGGREGATION: u8 = 48;
    pub const FRAGMENT: u8 = 49;
}

/// A NAL unit's header, and that of an aggregation packet.
const HEADER: usize = 2;
/// Both headers of a fragment (§4.4.3).
const FRAGMENT_HEADER: usize = 3;

const WRITER: Writer =
    Writer { header: HEADER, fragment_header: FRAGMENT_HEADER, together: put_together, fragments: put_fragments };

/// Remembers the parameter sets.
#[derive(Debug, Default)]
pub(super) struct H265 {
    vps: ParameterSets,
    sps: ParameterSets,
    pps: ParameterSets,
}

impl H265 {
    pub(super) fn cut(&mut self, data: &Bytes) -> Result<Cut, &'static str> {
        let mut units: Vec<&[u8]> = nal_units(data).filter(|unit| is_sent(unit)).collect();
        let of = |wanted: u8| units.iter().copied().filter(move |unit| kind_of(unit) == wanted);
        let sets = [(kind::VPS, &mut self.vps), (kind::SPS, &mut self.sps), (kind::PPS, &mut self.pps)];
        let mut missing: Vec<&[u8]> = Vec::new();
        for (wanted, sets) in sets {
            sets.remember(of(wanted));
            if of(wanted).next().is_none() {
                missing.extend(sets.iter());
            }
        }
        let first = units.iter().position(|unit| kind::IRAP.contains(&kind_of(unit)));
        if first.is_some() {
            // each names the one before it, so all stand before the picture, in this order
            missing.extend(units);
            units = missing;
            units.sort_by_key(|unit| set_order(unit));
        }
        if units.is_empty() {
            return Err("it has no NAL unit to send");
        }
        Ok(Cut { key: first.is_some(), payloads: WRITER.write(&units), marker: Marker::Last })
    }
}

fn kind_of(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |first| (first >> 1) & 0x3f)
}

/// Parameter sets come first, in the order in which they name each other; the rest stays as it is.
fn set_order(unit: &[u8]) -> u8 {
    match kind_of(unit) {
        kind::VPS => 0,
        kind::SPS => 1,
        kind::PPS => 2,
        _ => 3,
    }
}

/// Delimiters, end marks and filler say nothing that RTP does not; types from 48 mean something else in RTP.
fn is_sent(unit: &[u8]) -> bool {
    let dropped = [kind::DELIMITER, kind::END_OF_SEQUENCE, kind::END_OF_STREAM, kind::FILLER];
    unit.len() > HEADER && kind_of(unit) < kind::AGGREGATION && !dropped.contains(&kind_of(unit))
}

/// §4.4.2: F if any has it, the lowest layer and temporal id of all.
fn put_together(units: &[&[u8]], payloads: &mut Payloads) {
    let header = |unit: &[u8]| unit.first_chunk::<HEADER>().map_or(0, |header| u16::from_be_bytes(*header));
    let f = units.iter().fold(0, |f, unit| f | header(unit) & 0x8000);
    let layer = units.iter().map(|unit| header(unit) & 0x01f8).min().unwrap_or(0);
    let time = units.iter().map(|unit| header(unit) & 0x0007).min().unwrap_or(1);
    payloads.put(&(f | u16::from(kind::AGGREGATION) << 9 | layer | time).to_be_bytes());
    put_with_lengths(units, payloads);
}

/// §4.4.3.
fn put_fragments(unit: &[u8], payloads: &mut Payloads) {
    let Some((&[first, second], body)) = unit.split_first_chunk::<HEADER>() else { return };
    let header = |place: u8| -> [u8; FRAGMENT_HEADER] { [first & 0x81 | kind::FRAGMENT << 1, second, place | kind_of(unit)] };
    put_pieces(body, header, payloads);
}
