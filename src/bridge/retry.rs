//! PURE. How long a bridge waits before it tries again.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait that is Portico's own choice.
const LONGEST: Duration = Duration::from_secs(60);
/// Longest wait for something that is likely to come any moment, as a stream that its publisher has not begun yet.
const LONGEST_POLL: Duration = Duration::from_secs(15);
/// Longest wait that a far side can ask for (`Retry-After`).
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It may be over in a moment or last: doubled each time.
    Usual,
    /// The far side works and has not what is wanted yet: as `Usual`, within 15 s.
    Poll,
    /// Somebody must change something: the longest wait at once.
    Slow,
}

/// Waits that grow, with jitter: each is between half and the whole of 1, 2, 4 … 60 s.
#[derive(Debug)]
pub(super) struct Backoff {
    step: u32,
    random: u64,
}

impl Backoff {
    /// The seed decides the jitter.
    pub(super) fn new(seed: u64) -> Self {
        Self { step: 0, random: seed }
    }

    /// The next wait. `asked`: what the far side wants; it is waited for that long at least, up to ten minutes.
    pub(super) fn next(&mut self, pace: Pace, asked: Option<Duration>) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.step.min(16));
        let whole = match pace {
            Pace::Usual => doubled.min(LONGEST),
            Pace::Poll => doubled.min(LONGEST_POLL),
            Pace::Slow => LONGEST,
        };
        self.step = self.step.saturating_add(1);
        let share = self.share();
        let own = whole.mul_f64(0.5 + share / 2.0);
        match asked {
            // those who were all told the same do not come back in the same moment
            Some(asked) => own.max(asked.min(LONGEST_ASKED).mul_f64(1.0 + share / 10.0)),
            None => own,
        }
    }

    /// It worked for a while: the next wait is the first again.
    pub(super) fn succeeded(&mut self) {
        self.step = 0;
    }

    /// From 0 up to 1 (splitmix64).
    fn share(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(seed: u64, steps in 1usize..100, asked in proptest::option::of(0u64..100_000)) {
            let asked = asked.map(Duration::from_secs);
            for (pace, most) in [(Pace::Usual, LONGEST), (Pace::Poll, LONGEST_POLL), (Pace::Slow, LONGEST)] {
                let mut backoff = Backoff::new(seed);
                for step in 0..steps {
                    let wait = backoff.next(pace, None);
                    let whole = if pace == Pace::Slow { most } else { FIRST.saturating_mul(1 << step.min(16)).min(most) };
                    prop_assert!(whole / 2 <= wait && wait <= whole, "{pace:?} {step} {wait:?}");
                }
                if let Some(asked) = asked {
                    let wait = Backoff::new(seed).next(pace, Some(asked));
                    prop_assert!(wait >= asked.min(LONGEST_ASKED));
                    prop_assert!(wait <= LONGEST_ASKED.mul_f64(1.1));
                }
            }
        }
    }

    #[test]
    fn success_begins_anew_and_seeds_differ() {
        let mut backoff = Backoff::new(1);
        for _ in 0..10 {
            let _ = backoff.next(Pace::Usual, None);
        }
        assert!(backoff.next(Pace::Usual, None) >= Duration::from_secs(30));
        backoff.succeeded();
        assert!(backoff.next(Pace::Usual, None) <= Duration::from_secs(1));
        let first = |seed| Backoff::new(seed).next(Pace::Usual, None);
        assert_ne!(first(1), first(2));
    }
}
