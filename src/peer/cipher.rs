//! What SRTP's two suites do to a packet (RFC 3711, RFC 7714), in place and without a look at any other packet.

use rtc::crypto::{
    AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CryptoError, HmacAlgorithm, Mac, RTCCrypto, SecretVec, StreamCipher,
    StreamCipherAlgorithm,
};

use super::keys::KEY;
use super::protect::Suite;

/// Bytes of an RTP header without extensions.
pub(super) const HEADER: usize = 12;
const GCM_TAG: usize = 16;
/// Of SHA-1's twenty bytes.
const CM_TAG: usize = 10;
const SHA1: usize = 20;

/// Labels of key derivation (RFC 3711 §4.3.2).
const LABEL_KEY: u8 = 0;
const LABEL_AUTH: u8 = 1;
const LABEL_SALT: u8 = 2;

/// The session keys of one direction of a connection.
pub(super) enum Cipher {
    Gcm { aead: Box<dyn AeadCipher>, salt: [u8; 12] },
    Cm { stream: Box<dyn StreamCipher>, mac: Box<dyn Mac>, salt: [u8; 14] },
}

impl Cipher {
    /// From a master key and the block that holds the master salt (12 bytes for GCM, 14 else, then zeroes).
    pub(super) fn derive(suite: Suite, key: &[u8], salt: &[u8; KEY], crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        let derive = |label: u8, length: usize| {
            let mut out = Vec::with_capacity(length.next_multiple_of(KEY));
            for counter in 0..length.div_ceil(KEY) as u8 {
                let mut block = *salt;
                block[7] ^= label;
                block[KEY - 1] ^= counter;
                crypto.block_encrypt(BlockCipherAlgorithm::Aes128, key, &mut block)?;
                out.extend_from_slice(&block);
            }
            out.truncate(length);
            Ok::<_, CryptoError>(SecretVec::new(out))
        };
        let (session, session_salt) = (derive(LABEL_KEY, KEY)?, derive(LABEL_SALT, 14)?);
        let session_salt = session_salt.as_ref();
        let mut cipher = match suite {
            Suite::Gcm => Self::Gcm { aead: crypto.new_aead(AeadAlgorithm::Aes128Gcm, session.as_ref())?, salt: [0; 12] },
            Suite::Cm => Self::Cm {
                stream: crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, session.as_ref())?,
                mac: crypto.new_hmac(HmacAlgorithm::Sha1, derive(LABEL_AUTH, SHA1)?.as_ref())?,
                salt: [0; 14],
            },
        };
        match &mut cipher {
            Self::Gcm { salt, .. } => salt.copy_from_slice(&session_salt[..12]),
            Self::Cm { salt, .. } => salt.copy_from_slice(session_salt),
        }
        Ok(cipher)
    }

    pub(super) fn suite(&self) -> Suite {
        match self {
            Self::Gcm { .. } => Suite::Gcm,
            Self::Cm { .. } => Suite::Cm,
        }
    }

    /// Protects the packet that begins at `start` and has its payload from `body` on, and appends its tag. After an error what
    /// stands there is neither protected nor of use.
    pub(super) fn seal(&mut self, index: u64, out: &mut Vec<u8>, start: usize, body: usize) -> Result<(), CryptoError> {
        let numbers = Numbers::of(out.get(start..).unwrap_or_default(), index);
        match self {
            Self::Gcm { aead, salt } => {
                let mut tag = [0; GCM_TAG];
                let (header, payload) = out.split_at_mut(body);
                aead.seal_in_place(&numbers.nonce(salt), &header[start..], payload, &mut tag)?;
                out.extend_from_slice(&tag);
            }
            Self::Cm { stream, mac, salt } => {
                let mut tag = [0; SHA1];
                stream.apply_keystream(&numbers.counter(salt), &mut out[body..])?;
                mac.sign(&[&out[start..], &numbers.rollover], &mut tag)?;
                out.extend_from_slice(&tag[..CM_TAG]);
            }
        }
        Ok(())
    }

    /// Opens a packet in place, whose payload begins at `body`. Returns its length without the tag; after an error it is of no use.
    pub(super) fn open(&mut self, index: u64, packet: &mut [u8], body: usize) -> Result<usize, CryptoError> {
        let numbers = Numbers::of(packet, index);
        let tag_len = match self {
            Self::Gcm { .. } => GCM_TAG,
            Self::Cm { .. } => CM_TAG,
        };
        let end = packet.len().checked_sub(tag_len).filter(|end| *end >= body).ok_or(CryptoError::AuthenticationFailed)?;
        let (packet, tag) = packet.split_at_mut(end);
        match self {
            Self::Gcm { aead, salt } => {
                let (header, payload) = packet.split_at_mut(body);
                aead.open_in_place(&numbers.nonce(salt), header, payload, tag)?;
            }
            Self::Cm { stream, mac, salt } => {
                let mut expected = [0; SHA1];
                mac.sign(&[packet, &numbers.rollover], &mut expected)?;
                // every byte is looked at: how long it takes tells nothing of the tag
                let difference = expected.iter().zip(&*tag).fold(0, |sum, (expected, found)| sum | (expected ^ found));
                if difference != 0 {
                    return Err(CryptoError::AuthenticationFailed);
                }
                stream.apply_keystream(&numbers.counter(salt), &mut packet[body..])?;
            }
        }
        Ok(end)
    }
}

/// What tells a packet from all others of the keys.
struct Numbers {
    ssrc: [u8; 4],
    rollover: [u8; 4],
    sequence: [u8; 2],
}

impl Numbers {
    fn of(packet: &[u8], index: u64) -> Self {
        let fixed: &[u8; HEADER] = packet.first_chunk().unwrap_or(&[0; HEADER]);
        let rollover = ((index >> 16) as u32).to_be_bytes();
        Self { ssrc: [fixed[8], fixed[9], fixed[10], fixed[11]], rollover, sequence: [fixed[2], fixed[3]] }
    }

    fn xored<const N: usize>(&self, mut block: [u8; N], at: usize) -> [u8; N] {
        let fields = self.ssrc.iter().chain(&self.rollover).chain(&self.sequence);
        block[at..].iter_mut().zip(fields).for_each(|(byte, field)| *byte ^= field);
        block
    }

    /// RFC 7714 §8.1.
    fn nonce(&self, salt: &[u8; 12]) -> [u8; 12] {
        self.xored(*salt, 2)
    }

    /// RFC 3711 §4.1.1.
    fn counter(&self, salt: &[u8; 14]) -> [u8; KEY] {
        let mut counter = [0; KEY];
        counter[..14].copy_from_slice(salt);
        self.xored(counter, 4)
    }
}

/// What the engine's own code makes of a master key, and that key with the block of its salt: what is written here is compared with it.
#[cfg(test)]
pub(super) fn engines_own(suite: Suite) -> (rtc::srtp::context::Context, [u8; KEY], [u8; KEY]) {
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;
    let (profile, salt) = match suite {
        Suite::Gcm => (ProtectionProfile::AeadAes128Gcm, &[7; 14][..12]),
        Suite::Cm => (ProtectionProfile::Aes128CmHmacSha1_80, &[7; 14][..]),
    };
    let provider = rtc::crypto::default_provider().unwrap();
    let (key, mut block) = ([9; KEY], [0; KEY]);
    block[..salt.len()].copy_from_slice(salt);
    (Context::new(&key, salt, profile, None, None, provider.crypto()).unwrap(), key, block)
}
