//! Where an engine takes its random numbers from: while it is built from a seed, afterwards from the system.
//!
//! An engine draws its ICE credentials when it is built and new ones at every ICE restart, unless they are set from outside:
//! then a restart brings the same ones again, which is none (RFC 8839 §4.4.1.1.1). But an engine that takes the place of
//! another (AES_CM instead of GCM) must have the credentials the far end was told. Built from the same seed it has.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rtc::crypto::{self, CryptoError, RTCCrypto, RTCCryptoProvider, RTCRandom};

use super::keys::Overheard;

/// As secret as the credentials that come of it.
pub(super) type Seed = [u8; 32];

/// The default provider, with numbers from a seed at first, and an ear on the keys of SRTP.
pub(super) struct Seeded {
    provider: Arc<dyn RTCCryptoProvider>,
    overheard: Overheard,
    numbers: Mutex<Option<StdRng>>,
}

impl Seeded {
    pub(super) fn new(seed: Seed) -> Result<Arc<Self>, CryptoError> {
        let numbers = Mutex::new(Some(StdRng::from_seed(seed)));
        let provider = crypto::default_provider()?;
        Ok(Arc::new(Self { overheard: Overheard::new(Arc::clone(&provider)), provider, numbers }))
    }

    /// What was heard of SRTP's keys.
    pub(super) fn keys(&self) -> &Overheard {
        &self.overheard
    }

    /// The engine is built: from here on numbers are the system's.
    pub(super) fn built(&self) {
        *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl RTCCryptoProvider for Seeded {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        &self.overheard
    }

    fn random(&self) -> &dyn RTCRandom {
        self
    }
}

impl RTCRandom for Seeded {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        match &mut *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(numbers) => {
                numbers.fill_bytes(output);
                Ok(())
            }
            None => self.provider.random().fill(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_says_the_first_numbers_and_nothing_later() {
        let drawn = |provider: &Seeded| {
            let mut bytes = [0; 32];
            provider.random().fill(&mut bytes).unwrap();
            bytes
        };
        let [one, other, different] = [[1; 32], [1; 32], [2; 32]].map(|seed| Seeded::new(seed).unwrap());
        let first = drawn(&one);
        assert_eq!(first, drawn(&other));
        assert_ne!(first, drawn(&different));
        one.built();
        other.built();
        assert_ne!(drawn(&one), drawn(&other));
    }
}
