//! PURE. Which shard a peer lives on.
//!
//! A shard that wakes for a frame anyway sends it to one more viewer for little, while a second shard is one more wake-up per frame: so
//! shards are filled one after the other, and only a room that is large is spread. The first shard reads the sockets; who sends much
//! lives there.

use std::collections::HashMap;

use crate::vocab::PeerId;

/// Where the peers are.
#[derive(Debug)]
pub(super) struct Placement {
    homes: HashMap<PeerId, usize>,
    /// Peers by shard.
    loads: Vec<usize>,
    /// Peers a shard gets before the next one is used.
    fill: usize,
}

impl Placement {
    pub(super) fn new(shards: usize, fill: usize) -> Self {
        Self { homes: HashMap::new(), loads: vec![0; shards.max(1)], fill }
    }

    /// Finds a shard for a new peer. `sends`: it publishes, or has data channels. `None`: it is there already.
    pub(super) fn place(&mut self, peer: PeerId, sends: bool) -> Option<usize> {
        if self.homes.contains_key(&peer) {
            return None;
        }
        let room = self.loads.iter().position(|load| *load < self.fill);
        // of equals the last: the first has the sockets to read
        let least = || self.loads.iter().enumerate().rev().min_by_key(|(_, load)| **load).map_or(0, |(shard, _)| shard);
        let shard = if sends { 0 } else { room.unwrap_or_else(least) };
        self.loads[shard] += 1;
        self.homes.insert(peer, shard);
        Some(shard)
    }

    /// Where a peer is.
    pub(super) fn home(&self, peer: PeerId) -> Option<usize> {
        self.homes.get(&peer).copied()
    }

    /// A peer is gone.
    pub(super) fn leave(&mut self, peer: PeerId) {
        if let Some(shard) = self.homes.remove(&peer) {
            self.loads[shard] -= 1;
        }
    }

    /// Peers placed.
    pub(super) fn len(&self) -> usize {
        self.homes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shards_are_filled_one_after_the_other_and_then_evenly() {
        let mut placement = Placement::new(3, 10);
        let homes: Vec<_> = (0..36).map(|n| placement.place(PeerId(n), false).unwrap()).collect();
        let expected: Vec<usize> = (0..30).map(|n| n / 10).chain([2, 1, 0, 2, 1, 0]).collect();
        assert_eq!(homes, expected);
        placement.leave(PeerId(1));
        assert_eq!(placement.place(PeerId(1000), false), Some(0), "room again");
    }

    #[test]
    fn who_sends_lives_where_the_sockets_are_read() {
        let mut placement = Placement::new(2, 10);
        assert!((0..100).all(|n| placement.place(PeerId(n), true) == Some(0)));
        assert_eq!(placement.place(PeerId(100), false), Some(1));
        assert_eq!(placement.place(PeerId(100), false), None);
    }

    proptest! {
        #[test]
        fn the_loads_are_those_of_the_homes(steps in proptest::collection::vec((0u64..50, any::<bool>(), any::<bool>()), 0..300)) {
            let mut placement = Placement::new(4, 3);
            for (peer, comes, sends) in steps {
                if comes {
                    let there = placement.home(PeerId(peer)).is_some();
                    prop_assert_eq!(placement.place(PeerId(peer), sends).is_none(), there);
                } else {
                    placement.leave(PeerId(peer));
                }
                for shard in 0..4 {
                    prop_assert_eq!(placement.homes.values().filter(|home| **home == shard).count(), placement.loads[shard]);
                }
            }
        }
    }
}
