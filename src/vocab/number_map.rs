//! Maps whose keys are numbers that this process gave out itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by a number of our own ([`SessionId`](super::SessionId) and its like), which is looked up for every message: the keyed hash that
/// the standard map takes costs more than all else there is to a look-up. Not for keys that a client chooses: it could choose them so
/// that all fall together.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers by one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, as in Knuth's multiplicative hashing (The Art of Computer Programming, 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
    }

    fn finish(&self) -> u64 {
        // the map looks at both ends, and multiplying mixes upwards only
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;
    use crate::vocab::SessionId;

    fn hash(value: impl Hash) -> u64 {
        BuildHasherDefault::<NumberHasher>::default().hash_one(value)
    }

    #[test]
    fn numbers_in_a_row_and_numbers_far_apart_fall_apart_at_both_ends() {
        for step in [1, 2, 64, 4096, 1 << 20, 1 << 32] {
            let hashes: Vec<u64> = (0..1024).map(|n| hash(SessionId(n * step))).collect();
            let low: HashSet<u64> = hashes.iter().map(|hash| hash & 1023).collect();
            let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            // of 1024 that fall at random 647 places of 1024 are taken
            assert!(low.len() > 400 && high.len() > 100, "{step}: {} {}", low.len(), high.len());
        }
    }

    #[test]
    fn a_map_of_them_is_a_map() {
        let mut map: NumberMap<SessionId, u64> = NumberMap::default();
        map.extend((0..1000).map(|n| (SessionId(n), n)));
        assert!((0..1000).all(|n| map.get(&SessionId(n)) == Some(&n)) && !map.contains_key(&SessionId(1000)));
        assert_ne!(hash(1_u32), hash(2_u32));
        assert_ne!(hash([1_u8, 2]), hash([2_u8, 1]));
    }
}
