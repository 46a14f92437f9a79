//! PURE. The sound of a mixed room: everybody's added up once, and each listener's own taken off again.
//!
//! One sum and one subtraction for a listener cost less than a mixer of its own with everybody else's pads, and need no pads to come and
//! go. A block is 20 ms, an Opus packet.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples a second and channel.
pub const RATE: u32 = 48_000;
/// Left and right, in turn.
pub const CHANNELS: usize = 2;
/// How long a block is.
pub const BLOCK_TIME: Duration = Duration::from_millis(20);
/// Samples of a block, both channels.
pub const BLOCK: usize = 960 * CHANNELS;

/// Blocks that are gathered before somebody is heard (again): what comes unevenly then has no holes.
const GATHER: usize = 2;
/// Most blocks kept. What is more than this has come too late for anybody: it is cut back to [`GATHER`].
const MOST: usize = 10;

/// What somebody said and was not mixed yet. At most 200 ms.
#[derive(Debug, Default)]
pub struct Ring {
    samples: VecDeque<i16>,
    heard: bool,
}

impl Ring {
    /// Adds what was said.
    pub fn push(&mut self, samples: impl Iterator<Item = i16>) {
        self.samples.extend(samples);
        if self.samples.len() > MOST * BLOCK {
            self.samples.drain(..self.samples.len() - GATHER * BLOCK);
        }
    }

    /// The next block; `None` while there is too little. A last part of a block is followed by silence.
    pub fn block(&mut self) -> Option<Vec<i16>> {
        if !self.heard && self.samples.len() < GATHER * BLOCK {
            return None;
        }
        let there = self.samples.len().min(BLOCK);
        self.heard = there == BLOCK;
        if there == 0 {
            return None;
        }
        let mut block: Vec<i16> = self.samples.drain(..there).collect();
        block.resize(BLOCK, 0);
        Some(block)
    }
}

/// Everybody's sound of one block, added up.
#[derive(Debug)]
pub struct Sum(Vec<i32>);

impl Default for Sum {
    fn default() -> Self {
        Self(vec![0; BLOCK])
    }
}

impl Sum {
    /// Adds somebody's.
    pub fn add(&mut self, block: &[i16]) {
        self.0.iter_mut().zip(block).for_each(|(sum, sample)| *sum += i32::from(*sample));
    }

    /// What is heard by who hears everybody.
    pub fn all(&self) -> Vec<i16> {
        self.0.iter().map(|sum| clip(*sum)).collect()
    }

    /// What is heard by those who said these: everything else.
    pub fn without<'a>(&self, own: impl Iterator<Item = &'a [i16]>) -> Vec<i16> {
        let mut rest = self.0.clone();
        for block in own {
            rest.iter_mut().zip(block).for_each(|(sum, sample)| *sum -= i32::from(*sample));
        }
        rest.into_iter().map(clip).collect()
    }
}

/// Louder than full scale is full scale.
fn clip(sum: i32) -> i16 {
    i16::try_from(sum).unwrap_or(if sum < 0 { i16::MIN } else { i16::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constant(value: i16, blocks: usize) -> impl Iterator<Item = i16> {
        std::iter::repeat_n(value, blocks * BLOCK)
    }

    #[test]
    fn somebody_is_heard_once_there_is_enough_and_again_after_a_hole() {
        let mut ring = Ring::default();
        ring.push(constant(1, 1));
        assert_eq!(ring.block(), None);
        ring.push(constant(2, 1));
        assert_eq!(ring.block(), Some(vec![1; BLOCK]));
        assert_eq!(ring.block(), Some(vec![2; BLOCK]));
        assert_eq!(ring.block(), None);
        ring.push(constant(3, 1));
        assert_eq!(ring.block(), None, "gathers again");
        ring.push(constant(3, 2).take(BLOCK + 10));
        assert_eq!(ring.block(), Some(vec![3; BLOCK]));
        assert_eq!(ring.block(), Some(vec![3; BLOCK]));
        let last = ring.block().unwrap();
        assert_eq!((last[9], last[10], last.len()), (3, 0, BLOCK));
    }

    #[test]
    fn what_is_late_is_cut() {
        let mut ring = Ring::default();
        for n in 0..100 {
            ring.push(constant(n, 1));
            assert!(ring.samples.len() <= MOST * BLOCK);
        }
        let kept: Vec<i16> = std::iter::from_fn(|| ring.block()).map(|block| block[0]).collect();
        assert!(kept.len() >= GATHER && kept.last() == Some(&99), "{kept:?}");
    }

    proptest! {
        /// Nobody hears itself, and everybody hears all others: exactly, where nothing is too loud.
        #[test]
        fn each_hears_all_but_itself(levels in prop::collection::vec(-3000i16..3000, 1..9)) {
            let blocks: Vec<Vec<i16>> = levels.iter().map(|level| vec![*level; BLOCK]).collect();
            let mut sum = Sum::default();
            blocks.iter().for_each(|block| sum.add(block));
            let total: i16 = levels.iter().sum();
            prop_assert_eq!(sum.all(), vec![total; BLOCK]);
            for (own, level) in blocks.iter().zip(&levels) {
                prop_assert_eq!(sum.without(std::iter::once(own.as_slice())), vec![total - level; BLOCK]);
            }
        }

        #[test]
        fn too_loud_is_as_loud_as_can_be(count in 2usize..20, level in prop::sample::select(vec![i16::MIN, i16::MAX])) {
            let mut sum = Sum::default();
            (0..count).for_each(|_| sum.add(&[level; BLOCK]));
            prop_assert_eq!(sum.all()[0], level);
            let own = [level; BLOCK];
            prop_assert_eq!(sum.without(std::iter::once(own.as_slice()))[0], level);
        }
    }
}
