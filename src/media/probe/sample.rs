//! PURE. A writer of the smallest H.264 there is: a grey picture, then pictures in which nothing changes.
//!
//! What a decoder is tried with where nothing else is known to make H.264, in the syntax of ITU-T H.264 (2021) sections 7.3.2 to
//! 7.3.5. Every decoder takes it: constrained baseline, one slice per picture. The test's stand-ins of hardware encoders write it
//! too.

/// What a coded picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// An IDR picture: a decoder can begin here.
    Key,
    /// Refers to the picture before.
    Predicted,
    /// A B picture, which constrained baseline forbids.
    Bidirectional,
}

/// A stream being written.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Macroblocks across and down.
    blocks: (u32, u32),
    /// Pixels the last column and row have too many.
    crop: (u32, u32),
    profile: u8,
    /// Since the last key picture.
    frame: u32,
    keys: u32,
}

/// `profile_idc` of (constrained) baseline, table A-1.
pub const BASELINE: u8 = 66;

impl Writer {
    /// A stream of pictures of this size in pixels, both even and at most 4096, by `profile_idc` 66 (constrained baseline) or 100
    /// (High).
    pub fn new(width: u32, height: u32, profile: u8) -> Self {
        let (width, height) = (width.clamp(16, 4096), height.clamp(16, 4096));
        let blocks = (width.div_ceil(16), height.div_ceil(16));
        Self { blocks, crop: (blocks.0 * 16 - width, blocks.1 * 16 - height), profile, frame: 0, keys: 0 }
    }

    /// The sequence and picture parameter sets, as byte stream.
    pub fn headers(&self) -> Vec<u8> {
        let mut sps = Bits::default();
        let constraints = if self.profile == BASELINE { 0xc0 } else { 0 };
        sps.bytes(&[self.profile, constraints, 40]);
        sps.ue(0);
        if self.profile == 100 {
            // 4:2:0, 8 bits twice, no bypass, no scaling lists
            sps.ue(1);
            sps.ue(0);
            sps.ue(0);
            sps.put(0, 2);
        }
        // log2_max_frame_num_minus4, pic_order_cnt_type 2 (shown in the order they come), one reference
        sps.ue(4);
        sps.ue(2);
        sps.ue(1);
        sps.put(0, 1);
        sps.ue(self.blocks.0 - 1);
        sps.ue(self.blocks.1 - 1);
        // whole frames only, direct_8x8_inference
        sps.put(3, 2);
        match self.crop {
            (0, 0) => sps.put(0, 1),
            (right, bottom) => {
                sps.put(1, 1);
                // in units of chroma samples
                [0, right / 2, 0, bottom / 2].into_iter().for_each(|offset| sps.ue(offset));
            }
        }
        sps.put(0, 1);
        let mut pps = Bits::default();
        pps.ue(0);
        pps.ue(0);
        // CAVLC, no field order
        pps.put(0, 2);
        [0, 0, 0].into_iter().for_each(|one| pps.ue(one));
        // no weights; quantisers and chroma offset 0; no deblocking control, constrained intra, redundant pictures
        pps.put(0, 3);
        pps.put(7, 3);
        pps.put(0, 3);
        [nal(0x67, sps.end()), nal(0x68, pps.end())].concat()
    }

    /// The next picture, as byte stream, without parameter sets.
    pub fn picture(&mut self, slice: Slice) -> Vec<u8> {
        let blocks = self.blocks.0 * self.blocks.1;
        let mut bits = Bits::default();
        if slice == Slice::Key {
            self.frame = 0;
            self.keys += 1;
        }
        bits.ue(0);
        bits.ue(match slice {
            Slice::Key => 7,
            Slice::Predicted => 5,
            Slice::Bidirectional => 6,
        });
        bits.ue(0);
        bits.put(self.frame & 0xff, 8);
        match slice {
            Slice::Key => {
                // idr_pic_id differs between neighbours; no output flag, no long-term reference
                bits.ue(self.keys & 1);
                bits.put(0, 2);
            }
            // default references, no marking
            Slice::Predicted => bits.put(0, 3),
            // spatial direct, default references
            Slice::Bidirectional => bits.put(0b1000, 4),
        }
        // slice_qp_delta 0
        bits.put(1, 1);
        match slice {
            Slice::Key => {
                for _ in 0..blocks {
                    // Intra_16x16 by DC without coefficients (mb_type 3), chroma by DC, quantiser as before, no DC levels
                    bits.ue(3);
                    bits.put(0b111, 3);
                }
            }
            Slice::Predicted | Slice::Bidirectional => bits.ue(blocks),
        }
        if slice != Slice::Bidirectional {
            self.frame += 1;
        }
        let head = match slice {
            Slice::Key => 0x65,
            Slice::Predicted => 0x41,
            Slice::Bidirectional => 0x01,
        };
        nal(head, bits.end())
    }

    /// A message that decoders skip, about `bytes` long: weight without meaning. At most 1 MiB.
    pub fn padding(bytes: usize) -> Vec<u8> {
        let length = bytes.clamp(16, 1 << 20);
        let mut message = vec![5];
        message.resize(1 + length / 255, 0xff);
        message.push(u8::try_from(length % 255).unwrap_or_default());
        message.resize(message.len() + length, 0xa5);
        message.push(0x80);
        nal(0x06, message)
    }
}

/// A NAL unit with start code and emulation prevention (section 7.3.1).
fn nal(head: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut unit = Vec::with_capacity(payload.len() + 8);
    unit.extend([0, 0, 0, 1, head]);
    let mut zeros = 0;
    for byte in payload {
        if zeros == 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    unit
}

/// Bits, first the highest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`.
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(value >> at & 1 == 1) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.put(u32::from(*byte), 8));
    }

    /// `ue(v)`, section 9.1.
    fn ue(&mut self, value: u32) {
        let more = value + 1;
        let length = more.ilog2();
        self.put(0, length);
        self.put(more, length + 1);
    }

    /// With the stop bit.
    fn end(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes
    }
}
