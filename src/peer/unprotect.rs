//! SRTP of what is received: packets are opened in place, in the one copy that is made of them.
//!
//! The engine would pass each through all of its handlers and copy it several times. What has no key, a wrong tag, or came before is
//! dropped here, and nothing that a stranger sends is remembered: a stream is known from its first packet with a right tag.

use bytes::{Bytes, BytesMut};
use rtc::crypto::{CryptoError, RTCCrypto};
use rtc::rtp::{Header, Packet};
use rtc::shared::marshal::Unmarshal;

use super::cipher::{Cipher, HEADER};
use super::keys::KEY;
use super::protect::Suite;

/// Streams whose numbers are kept. A browser with a camera in three sizes and a microphone has eight; a far end that begins new ones all the
/// time loses what was longest silent.
const STREAMS: usize = 64;
/// Of 64 packets each, for those that came.
const WORDS: usize = 16;
/// Packets back from the newest of a stream that are told apart from repetitions (RFC 3711 §3.3.2): a second of 10 Mbit/s. The newest
/// word is not yet full.
const WINDOW: u64 = 64 * (WORDS as u64 - 1);

/// Opens the packets of one connection.
pub(super) struct Unprotector {
    cipher: Cipher,
    streams: Vec<Stream>,
    /// Packets opened so far.
    opened: u64,
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No RTP.
    Malformed,
    /// It came before, or is too old to tell.
    Repeated,
    /// Not by who has the keys, or changed on its way.
    Forged,
}

struct Stream {
    ssrc: u32,
    /// The newest index (RFC 3711 §3.3.1).
    newest: u64,
    seen: [u64; WORDS],
    /// Number of its newest packet among all.
    heard: u64,
}

impl Stream {
    fn new(ssrc: u32) -> Self {
        Self { ssrc, newest: 0, seen: [0; WORDS], heard: 0 }
    }

    /// The index that a packet with this number has, if it is the nearest to the newest.
    fn index(&self, sequence: u16) -> Option<u64> {
        let step = i64::from(sequence.wrapping_sub(self.newest as u16) as i16);
        self.newest.checked_add_signed(step)
    }

    fn bit(index: u64) -> (usize, u64) {
        ((index / 64) as usize % WORDS, 1 << (index % 64))
    }

    fn has(&self, index: u64) -> bool {
        let (word, bit) = Self::bit(index);
        index <= self.newest && (self.newest - index >= WINDOW || self.seen[word] & bit != 0)
    }

    fn note(&mut self, index: u64) {
        // a word is cleared when the newest enters it
        for entered in (self.newest / 64 + 1..=index / 64).rev().take(WORDS) {
            self.seen[entered as usize % WORDS] = 0;
        }
        self.newest = self.newest.max(index);
        let (word, bit) = Self::bit(index);
        self.seen[word] |= bit;
    }
}

impl Unprotector {
    /// From the far end's master key and the block that holds its salt, as [`Cipher::derive`] has them.
    pub(super) fn new(suite: Suite, key: &[u8], salt: &[u8; KEY], crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        Ok(Self { cipher: Cipher::derive(suite, key, salt, crypto)?, streams: Vec::new(), opened: 0 })
    }

    /// Opens a packet.
    pub(super) fn open(&mut self, datagram: &[u8]) -> Result<Packet, Refused> {
        let body = header_len(datagram).ok_or(Refused::Malformed)?;
        let (Some(sequence), Some(ssrc)) = (word(datagram, 2), datagram.get(8..).and_then(|rest| rest.first_chunk())) else {
            return Err(Refused::Malformed);
        };
        let ssrc = u32::from_be_bytes(*ssrc);
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let index = match known {
            Some(at) => {
                let stream = &self.streams[at];
                stream.index(sequence).filter(|index| !stream.has(*index)).ok_or(Refused::Repeated)?
            }
            None => u64::from(sequence),
        };
        let mut packet = BytesMut::from(datagram);
        let end = self.cipher.open(index, &mut packet, body).map_err(|_| Refused::Forged)?;
        packet.truncate(end);
        let at = known.unwrap_or_else(|| self.remember(Stream { newest: index, ..Stream::new(ssrc) }));
        self.opened += 1;
        let stream = &mut self.streams[at];
        stream.note(index);
        stream.heard = self.opened;
        parse(packet.freeze(), body).ok_or(Refused::Malformed)
    }

    /// Returns where.
    fn remember(&mut self, stream: Stream) -> usize {
        if self.streams.len() < STREAMS {
            self.streams.push(stream);
            return self.streams.len() - 1;
        }
        let silent = (0..STREAMS).min_by_key(|at| self.streams[*at].heard).unwrap_or_default();
        self.streams[silent] = stream;
        silent
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Bytes of the header with contributing sources and extensions (RFC 3550 §5.1, §5.3.1).
fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let plain = HEADER + 4 * usize::from(first & 0x0f);
    let len = match first & 0x10 {
        0 => plain,
        _ => plain + 4 + 4 * usize::from(word(packet, plain + 2)?),
    };
    Some(len).filter(|len| *len <= packet.len())
}

/// Header and payload of a packet in the clear, without its padding.
fn parse(packet: Bytes, body: usize) -> Option<Packet> {
    let header = Header::unmarshal(&mut packet.slice(..body)).ok()?;
    let mut payload = packet.slice(body..);
    if header.padding {
        let padding = usize::from(*payload.last()?);
        payload.truncate(payload.len().checked_sub(padding).filter(|_| padding > 0)?);
    }
    Some(Packet { header, payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::srtp::context::Context;

    use super::*;
    use crate::peer::cipher::engines_own;

    fn pair(suite: Suite) -> (Context, Unprotector) {
        let (context, key, block) = engines_own(suite);
        let provider = rtc::crypto::default_provider().unwrap();
        (context, Unprotector::new(suite, &key, &block, provider.crypto()).unwrap())
    }

    fn plain(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend(payload);
        packet
    }

    #[test]
    fn every_packet_is_read_once_over_rollovers_and_out_of_order() {
        for suite in [Suite::Gcm, Suite::Cm] {
            let (mut theirs, mut ours) = pair(suite);
            let mut newest = 1000u64;
            for step in [0i64, 1, 1, 40, -3, 2, 500, -400, 30_000, 2000, 1, -1, 30_000, 5, -2, 3, 20_000, 20_000, -10] {
                newest = newest.saturating_add_signed(step);
                let packet = theirs.encrypt_rtp(&plain(newest as u16, 7, b"some payload")).unwrap();
                let opened = ours.open(&packet).map(|opened| (opened.header.sequence_number, opened.payload));
                // a step back of one meets the packet before it again
                match step {
                    -1 => assert_eq!(opened, Err(Refused::Repeated)),
                    _ => assert_eq!(opened.unwrap(), (newest as u16, Bytes::from_static(b"some payload")), "{suite:?} {newest}"),
                }
                assert_eq!(ours.open(&packet).unwrap_err(), Refused::Repeated);
            }
        }
    }

    #[test]
    fn what_is_too_old_to_tell_is_left_out_and_what_is_just_young_enough_is_not() {
        let (mut theirs, mut ours) = pair(Suite::Gcm);
        let mut packets: Vec<_> = (0..=WINDOW as u16).map(|n| theirs.encrypt_rtp(&plain(100 + n, 7, b"x")).unwrap()).collect();
        let newest = packets.pop().unwrap();
        ours.open(&packets[0]).unwrap();
        ours.open(&newest).unwrap();
        assert_eq!(ours.open(&packets[0]).unwrap_err(), Refused::Repeated);
        packets[1..].iter().for_each(|packet| assert!(ours.open(packet).is_ok()));
        packets[1..].iter().for_each(|packet| assert!(ours.open(packet).is_err()));
    }

    #[test]
    fn extensions_and_padding_are_read_and_left_out_of_the_payload() {
        for suite in [Suite::Gcm, Suite::Cm] {
            let (mut theirs, mut ours) = pair(suite);
            let mut packet = plain(5, 7, &[0xbe, 0xde, 0, 1, 0x31, 0xab, 0xcd, 0, b'o', b'k', 0, 0, 3]);
            packet[0] |= 0x30;
            let opened = ours.open(&theirs.encrypt_rtp(&packet).unwrap()).unwrap();
            assert_eq!(opened.payload, Bytes::from_static(b"ok"));
            assert_eq!(opened.header.get_extension(3), Some(Bytes::from_static(&[0xab, 0xcd])));
            // more padding than there is payload, and none though it is announced
            for last in [14u8, 0] {
                packet[3] += 1;
                *packet.last_mut().unwrap() = last;
                assert_eq!(ours.open(&theirs.encrypt_rtp(&packet).unwrap()).unwrap_err(), Refused::Malformed);
            }
        }
    }

    #[test]
    fn strangers_leave_nothing_behind_and_new_streams_push_out_the_silent() {
        let (mut theirs, mut ours) = pair(Suite::Gcm);
        for ssrc in 0..1000 {
            assert_eq!(ours.open(&plain(1, ssrc, &[0; 40])).unwrap_err(), Refused::Forged);
        }
        assert!(ours.streams.is_empty());
        let mut send = |sequence, ssrc| ours.open(&theirs.encrypt_rtp(&plain(sequence, ssrc, b"x")).unwrap()).map(drop);
        for ssrc in 1..1000 {
            send(1, ssrc).unwrap();
            // one that goes on stays
            send(ssrc as u16, 0).unwrap();
        }
        assert_eq!(send(1, 999), Err(Refused::Repeated));
        assert_eq!((ours.streams.len(), ours.streams.iter().any(|stream| stream.ssrc == 0)), (STREAMS, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_opened(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), gcm: bool) {
            let (_, mut ours) = pair(if gcm { Suite::Gcm } else { Suite::Cm });
            prop_assert!(ours.open(&bytes).is_err());
            // the header's lengths meet what is there
            if let Some(first) = bytes.first_mut() {
                *first = 0x9f;
            }
            prop_assert!(ours.open(&bytes).is_err());
        }

        #[test]
        fn one_changed_bit_is_noticed(at in 0usize..400, gcm: bool) {
            let (mut theirs, mut ours) = pair(if gcm { Suite::Gcm } else { Suite::Cm });
            let mut packet = theirs.encrypt_rtp(&plain(5, 7, b"some payload")).unwrap().to_vec();
            let bit = at % (packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ours.open(&packet).is_err());
            packet[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ours.open(&packet).is_ok());
        }
    }
}
