//! How many bits a second there were lately.

use std::time::{Duration, Instant};

/// What is counted together.
const WINDOW: Duration = Duration::from_millis(500);

/// Bits of the present window and of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    began: Option<Instant>,
    bytes: u64,
    before: u64,
}

impl Rate {
    pub(crate) fn add(&mut self, now: Instant, bytes: usize) {
        self.turn(now);
        self.bytes += bytes as u64;
    }

    /// bit/s over the last half to whole second; 0 once nothing came for that long.
    pub(crate) fn get(mut self, now: Instant) -> u64 {
        self.turn(now);
        let Some(began) = self.began else { return 0 };
        let micros = (WINDOW + now.saturating_duration_since(began)).as_micros() as u64;
        (self.bytes + self.before) * 8_000_000 / micros.max(1)
    }

    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed >= 2 * WINDOW {
            (self.began, self.bytes, self.before) = (Some(now), 0, 0);
        } else if passed >= WINDOW {
            (self.began, self.before, self.bytes) = (Some(began + WINDOW), self.bytes, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_an_ended_one_none() {
        let (mut rate, began) = (Rate::default(), Instant::now());
        let mut now = began;
        for _ in 0..100 {
            rate.add(now, 2500);
            now += Duration::from_millis(20);
        }
        let got = rate.get(now);
        assert!((950_000..=1_050_000).contains(&got), "{got}");
        assert_eq!(rate.get(now + 3 * WINDOW), 0);
        assert_eq!(Rate::default().get(now), 0);
    }
}
