//! The keys of SRTP, overheard where the engine derives them.
//!
//! The engine keeps its SRTP contexts to itself and sends every packet of media through all of its handlers. Packets of media are
//! protected and opened by Portico instead (`protect`, `unprotect`), which takes the engine's keys. It derives them through the crypto
//! provider of its connection (RFC 3711 §4.3): the first block that is encrypted holds the master salt, under the master key, and the
//! context for sending is made before the one for receiving, which has another master key.
//!
//! This order is the only thing here that leans on the engine's inside: `update_srtp_contexts` in
//! `rtc/src/peer_connection/handler/dtls.rs` and `aes_cm_key_derivation` in `rtc-srtp/src/key_derivation.rs`, both 0.21.1. Where
//! another version does otherwise, no far end can read a packet: every test with a real peer fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher, CryptoAlgorithm, CryptoError,
    HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey, RTCCrypto, RTCCryptoProvider, SecretVec, SignatureScheme,
    SigningKey, StreamCipher, StreamCipherAlgorithm,
};

use super::protect::{Protector, Suite};
use super::unprotect::Unprotector;

/// Bytes of a master key.
pub(super) const KEY: usize = 16;

/// A provider's cryptography with an ear on it.
pub(super) struct Overheard {
    provider: Arc<dyn RTCCryptoProvider>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    ours: Once,
    theirs: Once,
    suite: Option<Suite>,
}

/// Heard once, taken once.
#[derive(Default)]
enum Once {
    #[default]
    Unheard,
    Heard(Master),
    Taken,
}

impl Once {
    fn take(&mut self) -> Option<Master> {
        match std::mem::replace(self, Self::Taken) {
            Self::Heard(master) => Some(master),
            Self::Unheard => {
                *self = Self::Unheard;
                None
            }
            Self::Taken => None,
        }
    }
}

impl Heard {
    /// A block that is encrypted under a key.
    fn hear(&mut self, key: &[u8], salt: [u8; KEY]) {
        let heard = || Once::Heard(Master { key: SecretVec::new(key.to_vec()), salt });
        match (&self.ours, &self.theirs) {
            (Once::Unheard, _) => self.ours = heard(),
            (Once::Heard(ours), Once::Unheard) if ours.key.as_ref() != key => self.theirs = heard(),
            _ => {}
        }
    }
}

struct Master {
    /// Wiped when dropped.
    key: SecretVec,
    /// The first block's input: the salt, at its end zeroes.
    salt: [u8; KEY],
}

impl Overheard {
    pub(super) fn new(provider: Arc<dyn RTCCryptoProvider>) -> Self {
        Self { provider, heard: Mutex::default() }
    }

    /// What protects as the engine would; once, when DTLS is done. The keys are forgotten here.
    pub(super) fn protector(&self) -> Result<Protector, CryptoError> {
        let (suite, Master { key, salt }) = self.take(|heard| heard.ours.take())?;
        Protector::new(suite, key.as_ref(), &salt, self.provider.crypto())
    }

    /// What opens what the far end protects; once, when DTLS is done. The keys are forgotten here.
    pub(super) fn unprotector(&self) -> Result<Unprotector, CryptoError> {
        let (suite, Master { key, salt }) = self.take(|heard| heard.theirs.take())?;
        Unprotector::new(suite, key.as_ref(), &salt, self.provider.crypto())
    }

    fn take(&self, master: impl FnOnce(&mut Heard) -> Option<Master>) -> Result<(Suite, Master), CryptoError> {
        let mut heard = self.lock();
        let taken = heard.suite.zip(master(&mut heard));
        taken.ok_or_else(|| CryptoError::Provider("the engine derived no SRTP keys".into()))
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // no code that can panic runs under the lock
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first cipher made after the first derivation is that of the sending context.
    fn note_suite(&self, suite: Suite) {
        let mut heard = self.lock();
        if !matches!(heard.ours, Once::Unheard) && heard.suite.is_none() {
            heard.suite = Some(suite);
        }
    }

    fn inner(&self) -> &dyn RTCCrypto {
        self.provider.crypto()
    }
}

impl RTCCrypto for Overheard {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner().hash(algorithm, data)
    }

    fn block_encrypt(&self, algorithm: BlockCipherAlgorithm, key: &[u8], block: &mut [u8]) -> Result<(), CryptoError> {
        if let (Ok(salt), KEY) = (<[u8; KEY]>::try_from(&*block), key.len()) {
            self.lock().hear(key, salt);
        }
        self.inner().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(&self, algorithm: StreamCipherAlgorithm, key: &[u8]) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.note_suite(Suite::Cm);
        self.inner().new_stream_cipher(algorithm, key)
    }

    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        self.note_suite(Suite::Gcm);
        self.inner().new_aead(algorithm, key)
    }

    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner().new_cbc(algorithm, key)
    }

    fn start_key_exchange(&self, algorithm: KeyExchangeAlgorithm) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner().start_key_exchange(algorithm)
    }

    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner().generate_signing_key(scheme)
    }

    fn import_signing_key(&self, scheme: SignatureScheme, pkcs8_der: &[u8]) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner().verify_signature(scheme, public_key, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::*;

    #[test]
    fn the_keys_of_both_contexts_are_heard_whatever_comes_before() {
        let cases = [(ProtectionProfile::AeadAes128Gcm, 12, Suite::Gcm), (ProtectionProfile::Aes128CmHmacSha1_80, 14, Suite::Cm)];
        for (profile, salt_len, suite) in cases {
            let ear = Overheard::new(rtc::crypto::default_provider().unwrap());
            assert!(ear.protector().is_err() && ear.unprotector().is_err());
            // DTLS makes ciphers of its own before
            ear.new_aead(AeadAlgorithm::Aes128Gcm, &[5; 16]).unwrap();
            let (ours, theirs) = (([1; KEY], vec![2; salt_len]), ([3; KEY], vec![4; salt_len]));
            let mut local = Context::new(&ours.0, &ours.1, profile, None, None, &ear).unwrap();
            let mut remote = Context::new(&theirs.0, &theirs.1, profile, None, None, &ear).unwrap();
            let mut protector = ear.protector().unwrap();
            assert_eq!(protector.suite(), suite);
            let header = crate::peer::protect::Header::new(false, 96, 7, 9, 1);
            let plain = [0x80, 96, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1];
            let mut out = Vec::new();
            protector.protect(&header, &[b"payload"], &mut out).unwrap();
            assert_eq!(out, local.encrypt_rtp(&[&plain[..], b"payload"].concat()).unwrap());
            let mut unprotector = ear.unprotector().unwrap();
            let opened = unprotector.open(&remote.encrypt_rtp(&[&plain[..], b"payload"].concat()).unwrap()).unwrap();
            assert_eq!((opened.header.ssrc, &opened.payload[..]), (1, &b"payload"[..]));
            assert!(ear.protector().is_err() && ear.unprotector().is_err(), "taken once");
        }
    }
}
