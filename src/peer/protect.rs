//! SRTP for packets that are forwarded: protected in place, in the buffer they are sent from.
//!
//! Nothing is allocated for a packet. A header is the twelve bytes of RFC 3550 §5.1 and what extensions there are; a stream's rollover counter is ours to keep
//! (RFC 3711 §3.3.1), so no packet of such a stream may go through the engine.

use rtc::crypto::{CryptoError, RTCCrypto};
use serde::Serialize;

use super::cipher::{Cipher, HEADER};
use super::keys::KEY;

/// How packets are protected: the SRTP protection profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Suite {
    /// AEAD_AES_128_GCM (RFC 7714).
    #[serde(rename = "AEAD_AES_128_GCM")]
    Gcm,
    /// AES_CM_128_HMAC_SHA1_80 (RFC 3711).
    #[serde(rename = "AES_CM_128_HMAC_SHA1_80")]
    Cm,
}

impl Suite {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gcm, Self::Cm];

    /// Its name, as in RFC 7714 and RFC 4568.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gcm => "AEAD_AES_128_GCM",
            Self::Cm => "AES_CM_128_HMAC_SHA1_80",
        }
    }

    /// Its number in DTLS (RFC 5764 §4.1.2, RFC 7714 §14.2).
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Gcm => 0x0007,
            Self::Cm => 0x0001,
        }
    }

    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Gcm => Self::Cm,
            Self::Cm => Self::Gcm,
        }
    }
}

/// Bytes of the one extension there may be, with its frame (RFC 8285 §4.2).
pub(super) const EXTENSION: usize = 8;

/// An RTP header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    bytes: [u8; HEADER + EXTENSION],
    len: usize,
}

impl Header {
    /// Without extensions.
    pub(super) fn new(marker: bool, pt: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Self {
        let mut bytes = [0; HEADER + EXTENSION];
        bytes[0] = 2 << 6;
        bytes[1] = u8::from(marker) << 7 | pt;
        bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
        bytes[8..HEADER].copy_from_slice(&ssrc.to_be_bytes());
        Self { bytes, len: HEADER }
    }

    /// With a transport-wide number, under the extension id that was agreed on, 1 to 14.
    pub(super) fn numbered(mut self, id: u8, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        // one word of one-byte elements: id and length less one, two bytes, padding
        self.bytes[HEADER..].copy_from_slice(&[0xbe, 0xde, 0, 1, id << 4 | 1, high, low, 0]);
        self.bytes[0] |= 1 << 4;
        self.len = HEADER + EXTENSION;
        self
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn fixed(&self) -> &[u8; HEADER] {
        self.bytes.first_chunk().unwrap_or(&[0; HEADER])
    }
}

/// Protects the packets of one connection.
pub(super) struct Protector {
    cipher: Cipher,
    /// The newest index of every stream: one per track and one for its retransmissions.
    newest: Vec<(u32, u64)>,
}

impl Protector {
    /// From a master key and the block that holds the master salt, as [`Cipher::derive`] has them.
    pub(super) fn new(suite: Suite, key: &[u8], salt: &[u8; KEY], crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        Ok(Self { cipher: Cipher::derive(suite, key, salt, crypto)?, newest: Vec::new() })
    }

    /// Which suite.
    pub(super) fn suite(&self) -> Suite {
        self.cipher.suite()
    }

    /// Appends the protected packet to `out`: the header, whose extensions stay in the clear (RFC 3711 §3.1), and the payload, which may
    /// come in parts.
    pub(super) fn protect(&mut self, header: &Header, payload: &[&[u8]], out: &mut Vec<u8>) -> Result<(), CryptoError> {
        let (header, fixed) = (header.bytes(), header.fixed());
        let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
        let ssrc = [fixed[8], fixed[9], fixed[10], fixed[11]];
        let index = self.index(u32::from_be_bytes(ssrc), sequence);
        let start = out.len();
        out.extend_from_slice(header);
        let body = start + header.len();
        payload.iter().for_each(|part| out.extend_from_slice(part));
        let protected = self.cipher.seal(index, out, start, body);
        if protected.is_err() {
            // nothing of it may leave unprotected
            out.truncate(start);
        }
        protected
    }

    /// The packet's index (RFC 3711 §3.3.1): the one with this sequence number that is nearest to the newest.
    fn index(&mut self, ssrc: u32, sequence: u16) -> u64 {
        let Some((_, newest)) = self.newest.iter_mut().find(|(known, _)| *known == ssrc) else {
            self.newest.push((ssrc, u64::from(sequence)));
            return u64::from(sequence);
        };
        let step = i64::from(sequence.wrapping_sub(*newest as u16) as i16);
        let index = newest.saturating_add_signed(step);
        *newest = index.max(*newest);
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::srtp::context::Context;

    use super::*;
    use crate::peer::cipher::engines_own;

    fn pair(suite: Suite) -> (Protector, Context) {
        let (context, key, block) = engines_own(suite);
        let provider = rtc::crypto::default_provider().unwrap();
        (Protector::new(suite, &key, &block, provider.crypto()).unwrap(), context)
    }

    fn header(sequence: u16, ssrc: u32) -> Header {
        Header::new(true, 0x60, sequence, 0x0102_0304, ssrc)
    }

    #[test]
    fn a_header_has_its_fields_where_they_belong() {
        let header = Header::new(true, 96, 0x0102, 0x0304_0506, 0x0708_090a);
        assert_eq!(header.bytes(), [0x80, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(Header::new(false, 127, 0, 0, 0).bytes()[1], 127);
        let numbered = header.numbered(3, 0xabcd);
        assert_eq!(numbered.bytes()[..HEADER], [0x90, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(numbered.bytes()[HEADER..], [0xbe, 0xde, 0, 1, 0x31, 0xab, 0xcd, 0]);
    }

    #[test]
    fn a_far_end_reads_every_packet_over_rollovers_and_out_of_order() {
        for suite in [Suite::Gcm, Suite::Cm] {
            let (mut ours, mut theirs) = pair(suite);
            let mut newest = 0u64;
            // steps as losses make them, backwards as retransmissions do
            for step in [0i64, 1, 1, 40, -3, 2, 500, -400, 30_000, 2000, 1, -1, 30_000, 5, -2, 3, 20_000, 20_000, -10] {
                newest = newest.saturating_add_signed(step);
                let header = header(newest as u16, 0x1122_3344);
                let mut packet = Vec::new();
                ours.protect(&header, &[b"some", b"", b" payload"], &mut packet).unwrap();
                let read = theirs.decrypt_rtp(&packet).unwrap_or_else(|error| panic!("{suite:?} {newest}: {error}"));
                assert_eq!(read, [header.bytes(), b"some payload"].concat());
            }
        }
    }

    #[test]
    fn streams_roll_over_by_themselves_and_what_is_before_in_the_buffer_stays() {
        for suite in [Suite::Gcm, Suite::Cm] {
            let (mut ours, mut theirs) = pair(suite);
            for (sequence, ssrc) in [(65_535, 1), (10, 2), (0, 1), (11, 2), (1, 1)] {
                let mut out = b"before".to_vec();
                ours.protect(&header(sequence, ssrc), &[b"x"], &mut out).unwrap();
                assert_eq!(out[..6], *b"before");
                theirs.decrypt_rtp(&out[6..]).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn the_engines_own_context_writes_the_same_bytes(
            payload in proptest::collection::vec(any::<u8>(), 0..1300), sequence in any::<u16>(), ssrc in any::<u32>(), gcm: bool,
            number in proptest::option::of((1u8..15, any::<u16>())),
        ) {
            let plain = header(sequence, ssrc);
            let header = number.map_or(plain, |(id, number)| plain.numbered(id, number));
            let (mut ours, mut theirs) = pair(if gcm { Suite::Gcm } else { Suite::Cm });
            let mut out = Vec::new();
            ours.protect(&header, &[&payload], &mut out).unwrap();
            let plain = [header.bytes(), &payload].concat();
            prop_assert_eq!(out, theirs.encrypt_rtp(&plain).unwrap().to_vec());
        }
    }
}
