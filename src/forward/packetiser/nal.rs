//! What H.264 and H.265 have in common: NAL units of a byte stream, parameter sets, and several units in one packet.

use bytes::Bytes;

use super::{Packetiser, Payloads, even_piece};

/// Length before each unit of a packet with several (RFC 6184 §5.7.1, RFC 7798 §4.4.2).
pub(super) const LENGTH: usize = 2;

/// The sets of one kind that the last access unit with any brought. Copies: a slice would hold that whole key frame.
#[derive(Debug, Default)]
pub(super) struct ParameterSets(Vec<Bytes>);

impl ParameterSets {
    /// Most sets kept of a kind; the standard allows 32 SPS. With [`Packetiser::MAX_PAYLOAD`] each this bounds the memory.
    const MAX: usize = 32;

    pub(super) fn remember<'a>(&mut self, units: impl Iterator<Item = &'a [u8]> + Clone) {
        let units = units.filter(|unit| unit.len() <= Packetiser::MAX_PAYLOAD).take(Self::MAX);
        if units.clone().next().is_some() && !units.clone().eq(self.iter()) {
            self.0 = units.map(Bytes::copy_from_slice).collect();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|set| &set[..])
    }
}

/// The NAL units of a byte stream (H.264 and H.265 annex B): what stands between start codes, without the zeros before the next.
pub(super) fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut codes = memchr::memmem::find_iter(data, &[0, 0, 1]);
    let mut start = codes.next();
    std::iter::from_fn(move || {
        let begin = start? + 3;
        start = codes.next();
        let unit = &data[begin..start.unwrap_or(data.len())];
        // a NAL unit never ends in zero (§7.4.1 of H.264, §7.4.2 of H.265); these belong to the next start code or are trailing_zero_8bits
        let len = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..len])
    })
}

/// How a payload format writes units.
pub(super) struct Writer {
    /// Bytes in front of several units in one packet.
    pub(super) header: usize,
    /// Bytes in front of a piece of one.
    pub(super) fragment_header: usize,
    /// Puts several into one packet, each with its length ([`LENGTH`]) before it. All fit: each is at most as long as a payload.
    pub(super) together: fn(&[&[u8]], &mut Payloads),
    /// Puts one that is longer than a payload into several packets.
    pub(super) fragments: fn(&[u8], &mut Payloads),
}

impl Writer {
    /// Neighbours that fit share a packet, others go alone or in pieces.
    pub(super) fn write(&self, units: &[&[u8]]) -> Vec<Bytes> {
        let bytes: usize = units.iter().map(|unit| unit.len() + LENGTH + self.header).sum();
        let packets = bytes / (Packetiser::MAX_PAYLOAD - self.fragment_header) + units.len() + 1;
        let mut payloads = Payloads::with_capacity(bytes + packets * self.fragment_header, packets);
        let mut rest = units;
        while let Some((first, after)) = rest.split_first() {
            let fitting = self.fitting(rest);
            if fitting > 1 {
                let (group, after) = rest.split_at(fitting);
                (self.together)(group, &mut payloads);
                rest = after;
            } else {
                if first.len() <= Packetiser::MAX_PAYLOAD {
                    payloads.put(first);
                    payloads.end();
                } else {
                    (self.fragments)(first, &mut payloads);
                }
                rest = after;
            }
        }
        payloads.finish()
    }

    /// How many of the first units fit into one packet.
    fn fitting(&self, units: &[&[u8]]) -> usize {
        let mut size = self.header;
        let fits = units.iter().take_while(|unit| {
            size += LENGTH + unit.len();
            size <= Packetiser::MAX_PAYLOAD
        });
        fits.count()
    }
}

/// Writes units that fit into the packet being written, each with its length before it.
pub(super) fn put_with_lengths(units: &[&[u8]], payloads: &mut Payloads) {
    for unit in units {
        // at most MAX_PAYLOAD long: `Writer::fitting` saw to it
        payloads.put(&(unit.len() as u16).to_be_bytes());
        payloads.put(unit);
    }
    payloads.end();
}

/// Cuts a unit's body into pieces of one size; `header` makes what stands before each, from the bits that say whether it is the first or last.
pub(super) fn put_pieces<const N: usize>(body: &[u8], header: impl Fn(u8) -> [u8; N], payloads: &mut Payloads) {
    const START: u8 = 0x80;
    const END: u8 = 0x40;
    let piece = even_piece(body.len(), Packetiser::MAX_PAYLOAD - N);
    let last = body.len().div_ceil(piece).saturating_sub(1);
    for (index, piece) in body.chunks(piece).enumerate() {
        let start = if index == 0 { START } else { 0 };
        let end = if index == last { END } else { 0 };
        payloads.put(&header(start | end));
        payloads.put(piece);
        payloads.end();
    }
}
