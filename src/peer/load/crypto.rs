//! What SRTP costs here: packets protected as they are when they are forwarded, and taken apart as the engine does.

use std::time::{Duration, Instant};

use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use serde::Serialize;

use super::LoadError;
use crate::peer::Suite;
use crate::peer::cipher::HEADER;
use crate::peer::keys::KEY;
use crate::peer::protect::{Header, Protector};

/// Bytes of payload: sound, and video as packetisers cut it.
const PAYLOADS: [usize; 2] = [100, 1200];
/// Packets between two looks at the clock.
const ROUND: u32 = 64;
/// Rounds kept per figure; more are not needed for a median.
const ROUNDS: usize = 4096;

/// What packets of one size cost with one profile.
#[derive(Clone, Debug, Serialize)]
pub struct SrtpCost {
    /// The profile.
    pub profile: Suite,
    /// Bytes of payload; the packet has 12 more of header, and its tag.
    pub payload_bytes: usize,
    /// Nanoseconds to protect a packet, as it is done for each viewer.
    pub protect_ns: f64,
    /// Nanoseconds to check and decrypt one, as it is done for each publisher.
    pub unprotect_ns: f64,
}

/// Measures both profiles with small and large packets, all in turn, for `length`. Each figure is the median of rounds of 64 packets, so
/// that what else runs matters little. Takes the whole of a core.
pub fn srtp_costs(length: Duration) -> Result<Vec<SrtpCost>, LoadError> {
    let cells = Suite::ALL.into_iter().flat_map(|suite| PAYLOADS.map(|payload| Cell::new(suite, payload)));
    let mut cells = cells.collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    loop {
        for cell in &mut cells {
            cell.round()?;
        }
        if began.elapsed() >= length || cells[0].protect.len() >= ROUNDS {
            return Ok(cells.into_iter().map(Cell::cost).collect());
        }
    }
}

/// One profile with packets of one size.
struct Cell {
    suite: Suite,
    payload: Vec<u8>,
    protector: Protector,
    context: Context,
    sequence: u16,
    out: Vec<u8>,
    protect: Vec<f64>,
    unprotect: Vec<f64>,
}

impl Cell {
    fn new(suite: Suite, payload: usize) -> Result<Self, LoadError> {
        let provider = rtc::crypto::default_provider().map_err(|_| LoadError::Cipher)?;
        let (profile, salt_len) = match suite {
            Suite::Gcm => (ProtectionProfile::AeadAes128Gcm, 12),
            Suite::Cm => (ProtectionProfile::Aes128CmHmacSha1_80, 14),
        };
        let key: [u8; KEY] = rand::random();
        let mut salt: [u8; KEY] = rand::random();
        salt[salt_len..].fill(0);
        Ok(Self {
            suite,
            payload: vec![0x5a; payload],
            protector: Protector::new(suite, &key, &salt, provider.crypto()).map_err(|_| LoadError::Cipher)?,
            context: Context::new(&key, &salt[..salt_len], profile, None, None, provider.crypto())?,
            sequence: 0,
            out: Vec::with_capacity(2048),
            protect: Vec::new(),
            unprotect: Vec::new(),
        })
    }

    fn round(&mut self) -> Result<(), LoadError> {
        let began = Instant::now();
        for _ in 0..ROUND {
            self.sequence = self.sequence.wrapping_add(1);
            let header = Header::new(true, 96, self.sequence, 1, 7);
            self.out.clear();
            self.protector.protect(&header, &[&self.payload], &mut self.out).map_err(|_| LoadError::Cipher)?;
        }
        self.protect.push(per_packet(began));
        let began = Instant::now();
        let mut taken = None;
        for _ in 0..ROUND {
            taken = Some(self.context.decrypt_rtp(&self.out)?);
        }
        self.unprotect.push(per_packet(began));
        match taken {
            Some(packet) if packet[HEADER..] == self.payload[..] => Ok(()),
            _ => Err(LoadError::Cipher),
        }
    }

    fn cost(self) -> SrtpCost {
        SrtpCost {
            profile: self.suite,
            payload_bytes: self.payload.len(),
            protect_ns: median(self.protect),
            unprotect_ns: median(self.unprotect),
        }
    }
}

fn per_packet(began: Instant) -> f64 {
    began.elapsed().as_nanos() as f64 / f64::from(ROUND)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_and_size_is_measured_and_reads_what_it_wrote() {
        let costs = srtp_costs(Duration::ZERO).unwrap();
        let cells: Vec<_> = costs.iter().map(|cost| (cost.profile, cost.payload_bytes)).collect();
        assert_eq!(cells, [(Suite::Gcm, 100), (Suite::Gcm, 1200), (Suite::Cm, 100), (Suite::Cm, 1200)]);
        assert!(costs.iter().all(|cost| cost.protect_ns > 0.0 && cost.unprotect_ns > 0.0));
    }

    #[test]
    fn rollover_of_the_measured_stream_is_followed() {
        for suite in Suite::ALL {
            let mut cell = Cell::new(suite, 20).unwrap();
            cell.round().unwrap();
            cell.sequence = u16::MAX - 10;
            // both ends see the jump, then the rollover
            cell.round().unwrap();
            cell.round().unwrap();
        }
    }
}
