//! What the ways to a track's viewers carry, told by their connections to whoever encodes the track.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is told of one track. A viewer whose way never showed a limit tells nothing. A connection tells a few times a second at most,
/// never per packet.
#[derive(Debug)]
pub struct Appetite {
    /// bit/s that the largest layer has where nothing is in the way.
    ceiling: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    next: u64,
    /// bit/s by viewer. Bounded by the viewers there are.
    viewers: BTreeMap<u64, u64>,
}

impl Appetite {
    /// Nobody has told anything; the largest layer may have `ceiling` bit/s.
    pub fn new(ceiling: u64) -> Arc<Self> {
        Arc::new(Self { ceiling: AtomicU64::new(ceiling), told: Mutex::default() })
    }

    /// bit/s that the largest layer has where nothing is in the way: what an estimate may look for.
    pub fn ceiling(&self) -> u64 {
        self.ceiling.load(Ordering::Relaxed)
    }

    /// Another ceiling from now on.
    pub fn set_ceiling(&self, ceiling: u64) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
    }

    /// bit/s that those ways carry which told of it.
    pub fn told(&self) -> Vec<u64> {
        self.lock().viewers.values().copied().collect()
    }

    /// One more that tells, `bps` at first; it is forgotten with the answer.
    pub fn tell(self: &Arc<Self>, bps: u64) -> Teller {
        let mut told = self.lock();
        let id = told.next;
        told.next += 1;
        told.viewers.insert(id, bps);
        Teller { appetite: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        // no code that can panic runs under the lock, and every state is valid
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer's place among those who tell.
#[derive(Debug)]
pub struct Teller {
    appetite: Arc<Appetite>,
    id: u64,
}

impl Teller {
    /// Its way carries so many bit/s for this track.
    pub fn update(&self, bps: u64) {
        self.appetite.lock().viewers.insert(self.id, bps);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.appetite.lock().viewers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_forgotten_with_who_told_it() {
        let appetite = Appetite::new(2_000_000);
        let (one, other) = (appetite.tell(500_000), appetite.tell(900_000));
        one.update(400_000);
        assert_eq!(appetite.told(), [400_000, 900_000]);
        drop(one);
        assert_eq!(appetite.told(), [900_000]);
        drop(other);
        assert_eq!((appetite.told(), appetite.ceiling()), (vec![], 2_000_000));
    }
}
