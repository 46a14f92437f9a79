//! PURE. What a way carries whose far end does not tell when packets arrive: all there is, until its reports speak of trouble.

use std::time::{Duration, Instant};

/// What is left of what was sent when there was trouble, in percent.
const LESS: u64 = 70;
/// What is tried after a while without, in percent.
const MORE: u64 = 125;
/// From one to the next.
const PATIENCE: Duration = Duration::from_secs(5);

/// A guess, in bit/s.
#[derive(Debug)]
pub(super) struct Guess {
    rate: u64,
    since: Instant,
}

impl Guess {
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: u64::MAX, since: now }
    }

    /// Takes what the reports of the last second said, while so much was sent.
    pub(super) fn report(&mut self, now: Instant, trouble: bool, sent: u64) {
        if trouble {
            (self.rate, self.since) = (self.rate.min(sent) / 100 * LESS, now);
        } else if now.saturating_duration_since(self.since) >= PATIENCE {
            (self.rate, self.since) = ((self.rate / 100).saturating_mul(MORE), now);
        }
    }

    pub(super) fn rate(&self) -> u64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_with_trouble_and_rises_without() {
        let now = Instant::now();
        let mut guess = Guess::new(now);
        guess.report(now, false, 2_500_000);
        assert_eq!(guess.rate(), u64::MAX);
        guess.report(now, true, 2_500_000);
        assert_eq!(guess.rate(), 1_750_000);
        guess.report(now, true, 600_000);
        assert_eq!(guess.rate(), 420_000);
        guess.report(now + PATIENCE / 2, false, 300_000);
        assert_eq!(guess.rate(), 420_000);
        guess.report(now + PATIENCE, false, 300_000);
        assert_eq!(guess.rate(), 525_000);
        (2..200).for_each(|n| guess.report(now + PATIENCE * n, false, 300_000));
        assert!(guess.rate() > 1_000_000_000_000, "without end, and without overflow");
    }
}
