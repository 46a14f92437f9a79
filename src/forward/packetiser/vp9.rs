//! VP9 payloads (RFC 9628), flexible mode without layers: each picture refers to the one before.

use bytes::Bytes;

use super::{Cut, Marker, Packetiser, Payloads, even_piece};

/// Bits of the first descriptor byte (RFC 9628 §4.2).
const I: u8 = 0x80;
const P: u8 = 0x40;
const F: u8 = 0x10;
const B: u8 = 0x08;
const E: u8 = 0x04;
/// The PictureID has 15 bits.
const M: u8 = 0x80;
/// P_DIFF 1, no further reference.
const ONE_BACK: u8 = 1 << 1;

/// Counts pictures.
#[derive(Debug)]
pub(super) struct Vp9 {
    picture: u16,
}

impl Vp9 {
    pub(super) fn new(first_picture: u16) -> Self {
        Self { picture: first_picture & 0x7fff }
    }

    pub(super) fn cut(&mut self, data: &Bytes) -> Result<Cut, &'static str> {
        let key = is_key(data)?;
        let [high, low] = self.picture.to_be_bytes();
        self.picture = (self.picture + 1) & 0x7fff;
        let descriptor = if key { 3 } else { 4 };
        let piece = even_piece(data.len(), Packetiser::MAX_PAYLOAD - descriptor);
        let packets = data.len().div_ceil(piece);
        let mut payloads = Payloads::with_capacity(data.len() + packets * descriptor, packets);
        for (index, piece) in data.chunks(piece).enumerate() {
            let begin = if index == 0 { B } else { 0 };
            let end = if index + 1 == packets { E } else { 0 };
            let inter = if key { 0 } else { P };
            payloads.put(&[I | inter | F | begin | end, M | high, low]);
            if !key {
                payloads.put(&[ONE_BACK]);
            }
            payloads.put(piece);
            payloads.end();
        }
        Ok(Cut { key, payloads: payloads.finish(), marker: Marker::Last })
    }
}

/// Whether the frame's uncompressed header says key frame (VP9 bitstream specification §6.2).
fn is_key(data: &[u8]) -> Result<bool, &'static str> {
    let first = *data.first().ok_or("it is empty")?;
    if first >> 6 != 0b10 {
        return Err("its frame marker is missing");
    }
    // profile 3 has a reserved bit before show_existing_frame
    let rest = if first >> 4 & 0b11 == 0b11 { first << 5 } else { first << 4 };
    let shows_existing = rest & 0x80 != 0;
    Ok(!shows_existing && rest & 0x40 == 0)
}
