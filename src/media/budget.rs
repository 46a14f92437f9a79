//! PURE. What the encoders of all sources use of what the board can do.
//!
//! An encoder of the board serves every source and room; its board file says what it can carry in all. Who starts one claims its share
//! here. A claim for a smaller layer yields to whoever has no picture at all without it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::board::EncoderCandidate;
use crate::vocab::Codec;

/// Who claims: a source (or whatever else encodes), the codec, and which of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimId {
    /// Numbers of sources.
    pub owner: u64,
    /// What is encoded.
    pub codec: Codec,
    /// 0 for the full size.
    pub layer: usize,
}

#[derive(Clone, Debug)]
struct Claim {
    unit: String,
    /// Macroblocks a second.
    blocks: u64,
}

/// The claims on a board's encoders. Shared by all who encode; locked for moments.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    claims: BTreeMap<ClaimId, Claim>,
    /// Counts what was given back.
    freed: u64,
}

/// Macroblocks (16×16 pixels) a second of a picture.
pub(super) fn blocks(width: u32, height: u32, framerate: u32) -> u64 {
    u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16)) * u64::from(framerate)
}

fn unit(encoder: &EncoderCandidate) -> &str {
    encoder.limits.unit.as_deref().unwrap_or(&encoder.element)
}

impl Budget {
    /// Whether an encoder can take on `blocks` macroblocks a second as well, or why not. What `of` has of it already is not counted; the
    /// smaller layers of others are not either when a full size is asked for, as they would yield.
    pub fn fits(&self, encoder: &EncoderCandidate, of: ClaimId, blocks: u64) -> Result<(), String> {
        let state = self.lock();
        let counts = |id: &ClaimId| *id != of && (of.layer > 0 || id.layer == 0);
        let (used, sessions) = state.used(encoder, counts);
        if let Some(most) = encoder.limits.macroblocks_per_second.filter(|most| used + blocks > *most) {
            return Err(format!("other pictures use {used} of its {most} macroblocks/s, this one needs {blocks}"));
        }
        match encoder.limits.sessions {
            Some(most) if sessions >= u64::from(most) => Err(format!("it can encode {most} pictures at a time and does")),
            _ => Ok(()),
        }
    }

    /// Notes that an encoder runs.
    pub fn claim(&self, encoder: &EncoderCandidate, id: ClaimId, blocks: u64) {
        let claim = Claim { unit: unit(encoder).to_owned(), blocks };
        self.lock().claims.insert(id, claim);
    }

    /// It runs no more. Without a claim nothing happens.
    pub fn release(&self, id: ClaimId) {
        let mut state = self.lock();
        if state.claims.remove(&id).is_some() {
            state.freed += 1;
        }
    }

    /// A smaller layer that must end, because claims on this encoder are more than it can carry: the smallest first.
    pub fn overdrawn(&self, encoder: &EncoderCandidate) -> Option<ClaimId> {
        let state = self.lock();
        let (used, sessions) = state.used(encoder, |_| true);
        let limits = &encoder.limits;
        let over = limits.macroblocks_per_second.is_some_and(|most| used > most)
            || limits.sessions.is_some_and(|most| sessions > u64::from(most));
        let extra = state.claims.iter().filter(|(id, claim)| id.layer > 0 && claim.unit == unit(encoder));
        extra.map(|(id, _)| *id).max_by_key(|id| id.layer).filter(|_| over)
    }

    /// How often something was given back: who had to make do with less may look again when it changed.
    pub fn freed(&self) -> u64 {
        self.lock().freed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock, and every state is valid
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Macroblocks a second and encoders of those claims that count.
    fn used(&self, encoder: &EncoderCandidate, counts: impl Fn(&ClaimId) -> bool) -> (u64, u64) {
        let of_unit = self.claims.iter().filter(|(id, claim)| claim.unit == unit(encoder) && counts(id));
        of_unit.fold((0, 0), |(blocks, count), (_, claim)| (blocks + claim.blocks, count + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::board::{Board, EncoderLimits};

    fn encoder(limits: EncoderLimits) -> EncoderCandidate {
        let generic = Board::generic();
        let first = generic.encoders_of(Codec::H264).next().unwrap().clone();
        EncoderCandidate { limits, ..first }
    }

    fn id(owner: u64, layer: usize) -> ClaimId {
        ClaimId { owner, codec: Codec::H264, layer }
    }

    #[test]
    fn pictures_of_all_sources_share_the_macroblocks() {
        let encoder = encoder(EncoderLimits { macroblocks_per_second: Some(245_760), ..Default::default() });
        let (budget, full) = (Budget::default(), blocks(1280, 720, 30));
        assert_eq!(full, 108_000);
        for owner in [1, 2] {
            assert_eq!(budget.fits(&encoder, id(owner, 0), full), Ok(()));
            budget.claim(&encoder, id(owner, 0), full);
        }
        let why = budget.fits(&encoder, id(3, 0), full).unwrap_err();
        assert!(why.contains("216000 of its 245760"), "{why}");
        assert_eq!(budget.fits(&encoder, id(2, 0), full), Ok(()), "its own share is not in its way");
        assert_eq!(budget.freed(), 0);
        budget.release(id(1, 0));
        budget.release(id(1, 0));
        assert_eq!((budget.fits(&encoder, id(3, 0), full), budget.freed()), (Ok(()), 1));
    }

    #[test]
    fn smaller_layers_yield_to_a_full_size_and_not_to_each_other() {
        let encoder = encoder(EncoderLimits { sessions: Some(3), unit: Some("one".into()), ..Default::default() });
        let budget = Budget::default();
        for claim in [id(1, 0), id(1, 1), id(1, 2)] {
            budget.claim(&encoder, claim, 1);
        }
        assert!(budget.fits(&encoder, id(2, 1), 1).is_err());
        assert_eq!(budget.fits(&encoder, id(2, 0), 1), Ok(()));
        assert_eq!(budget.overdrawn(&encoder), None);
        budget.claim(&encoder, id(2, 0), 1);
        assert_eq!(budget.overdrawn(&encoder), Some(id(1, 2)), "the smallest goes");
        budget.release(id(1, 2));
        assert_eq!(budget.overdrawn(&encoder), None);
        let other = EncoderCandidate { element: "other".into(), limits: EncoderLimits::default(), ..encoder };
        assert_eq!((budget.fits(&other, id(9, 0), u64::MAX / 2), budget.overdrawn(&other)), (Ok(()), None), "no limit");
    }
}
