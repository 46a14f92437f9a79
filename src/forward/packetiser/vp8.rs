//! VP8 payloads (RFC 7741): a four-byte descriptor with a 15-bit PictureID, then a piece of the frame.

use bytes::Bytes;

use super::{Cut, Marker, Packetiser, Payloads, even_piece};

mod header;

/// X (extended), I (PictureID), M (15 bits): RFC 7741 §4.2.
const DESCRIPTOR: usize = 4;
const X: u8 = 0x80;
const N: u8 = 0x20;
const S: u8 = 0x10;
const I: u8 = 0x80;
const M: u8 = 0x80;

/// Counts pictures.
#[derive(Debug)]
pub(super) struct Vp8 {
    picture: u16,
}

impl Vp8 {
    pub(super) fn new(first_picture: u16) -> Self {
        Self { picture: first_picture & 0x7fff }
    }

    pub(super) fn cut(&mut self, data: &Bytes) -> Result<Cut, &'static str> {
        let header = header::read(data)?;
        let [high, low] = self.picture.to_be_bytes();
        self.picture = (self.picture + 1) & 0x7fff;
        let piece = even_piece(data.len(), Packetiser::MAX_PAYLOAD - DESCRIPTOR);
        let packets = data.len().div_ceil(piece);
        let mut payloads = Payloads::with_capacity(data.len() + packets * DESCRIPTOR, packets);
        let reference = if header.droppable { N } else { 0 };
        let mut start = S;
        for piece in data.chunks(piece) {
            payloads.put(&[X | reference | start, I, M | high, low]);
            payloads.put(piece);
            payloads.end();
            start = 0;
        }
        Ok(Cut { key: header.key, payloads: payloads.finish(), marker: Marker::Last })
    }
}
