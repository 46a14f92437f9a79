//! The few facts of a VP8 frame header that its descriptor repeats (RFC 6386 §9 and §19.2).

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub key: bool,
    /// No later frame needs this one: it changes no reference and leaves the probabilities as they were.
    pub droppable: bool,
}

/// Reads a frame's header; an error when the bytes are no VP8 frame.
pub(super) fn read(data: &[u8]) -> Result<Header, &'static str> {
    let [tag, _, _, rest @ ..] = data else { return Err("it is shorter than its tag") };
    if tag & 1 == 0 {
        return match rest {
            [0x9d, 0x01, 0x2a, _, _, _, _, ..] => Ok(Header { key: true, droppable: false }),
            _ => Err("its key frame start code is missing"),
        };
    }
    Ok(Header { key: false, droppable: is_droppable(&mut BoolDecoder::new(rest)) })
}

/// Reads an inter frame's first partition up to `refresh_last` (RFC 6386 §19.2).
fn is_droppable(bits: &mut BoolDecoder<'_>) -> bool {
    if bits.flag() {
        skip_segmentation(bits);
    }
    bits.literal(1 + 6 + 3); // filter type, level, sharpness
    if bits.flag() && bits.flag() {
        for _ in 0..4 + 4 {
            bits.skip_optional(6 + 1); // loop filter deltas by reference and by mode
        }
    }
    bits.literal(2 + 7); // token partitions, base quantiser
    for _ in 0..5 {
        bits.skip_optional(4 + 1); // quantiser deltas
    }
    let golden = bits.flag();
    let altref = bits.flag();
    let copies_to_golden = !golden && bits.literal(2) != 0;
    let copies_to_altref = !altref && bits.literal(2) != 0;
    bits.literal(2); // sign biases
    let keeps_probabilities = bits.flag();
    let last = bits.flag();
    !(golden || altref || copies_to_golden || copies_to_altref || keeps_probabilities || last)
}

fn skip_segmentation(bits: &mut BoolDecoder<'_>) {
    let map = bits.flag();
    if bits.flag() {
        bits.flag(); // absolute or delta
        for _ in 0..4 {
            bits.skip_optional(7 + 1);
        }
        for _ in 0..4 {
            bits.skip_optional(6 + 1);
        }
    }
    if map {
        for _ in 0..3 {
            bits.skip_optional(8);
        }
    }
}

/// The boolean decoder of RFC 6386 §7.3 for even odds. Past its end it reads zeros, as decoders do.
struct BoolDecoder<'a> {
    rest: &'a [u8],
    value: u32,
    range: u32,
    shifted: u32,
}

impl<'a> BoolDecoder<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut decoder = Self { rest: data, value: 0, range: 255, shifted: 0 };
        decoder.value = decoder.byte() << 8 | decoder.byte();
        decoder
    }

    fn byte(&mut self) -> u32 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        u32::from(*first)
    }

    fn flag(&mut self) -> bool {
        let split = 1 + (((self.range - 1) * 128) >> 8);
        let bit = self.value >= split << 8;
        if bit {
            self.range -= split;
            self.value -= split << 8;
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.value <<= 1;
            self.range <<= 1;
            self.shifted += 1;
            if self.shifted == 8 {
                self.shifted = 0;
                self.value |= self.byte();
            }
        }
        bit
    }

    fn literal(&mut self, bits: u32) -> u32 {
        (0..bits).fold(0, |value, _| value << 1 | u32::from(self.flag()))
    }

    /// A flag and, if it is set, that many bits.
    fn skip_optional(&mut self, bits: u32) {
        if self.flag() {
            self.literal(bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boolean encoder of RFC 6386 §7.3 for even odds.
    fn encode(bits: &[bool]) -> Vec<u8> {
        let (mut out, mut range, mut bottom, mut count) = (Vec::<u8>::new(), 255u32, 0u32, 24);
        for bit in bits.iter().copied().chain([false; 32]) {
            let split = 1 + (((range - 1) * 128) >> 8);
            if bit {
                let (sum, carry) = bottom.overflowing_add(split);
                bottom = sum;
                if carry {
                    carry_into(&mut out);
                }
                range -= split;
            } else {
                range = split;
            }
            while range < 128 {
                range <<= 1;
                if bottom & 1 << 31 != 0 {
                    carry_into(&mut out);
                }
                bottom <<= 1;
                count -= 1;
                if count == 0 {
                    out.push((bottom >> 24) as u8);
                    bottom &= (1 << 24) - 1;
                    count = 8;
                }
            }
        }
        out
    }

    fn carry_into(out: &mut [u8]) {
        for byte in out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    fn inter_frame(segmentation: bool, refs: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        let mut put = |text: &str| bits.extend(text.bytes().filter(|b| *b != b' ').map(|b| b == b'1'));
        if segmentation {
            put("1 1 1 0 1 0101010 1 0 0 0 0 0 0 1 010101 0 1 11110000 0 0");
        } else {
            put("0");
        }
        put("0 101010 011 1 1 1 010101 0 0 0 0 0 0 0 1 000011 1");
        put("00 0110011 0 1 0101 1 0 0 0");
        bits.extend(refs.iter().map(|bit| *bit == 1));
        let mut frame = vec![0x11, 0, 0];
        frame.extend(encode(&bits));
        frame
    }

    #[test]
    fn frame_without_any_update_is_droppable() {
        for segmentation in [false, true] {
            // golden, altref, copy to golden (2), copy to altref (2), sign biases (2), probabilities, last
            let droppable = |refs: &[u8]| read(&inter_frame(segmentation, refs)).unwrap().droppable;
            assert!(droppable(&[0, 0, 0, 0, 0, 0, 1, 1, 0, 0]));
            assert!(!droppable(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "last is refreshed");
            assert!(!droppable(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), "probabilities are kept");
            assert!(!droppable(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), "golden is copied");
            assert!(!droppable(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), "golden is refreshed");
            assert!(!droppable(&[0, 1, 0, 0, 0, 0, 0, 0]), "altref is refreshed");
        }
    }

    #[test]
    fn key_frame_needs_its_start_code() {
        assert_eq!(read(&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0, 1, 0, 1]), Ok(Header { key: true, droppable: false }));
        assert!(read(&[0x10, 0, 0, 0x9d, 0x01, 0x2b, 0, 1, 0, 1]).is_err());
        assert!(read(&[0x11, 0]).is_err());
    }
}
