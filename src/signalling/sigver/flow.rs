//! How much content passes: a rate for each direction of a binding.

use std::time::Instant;

/// Bytes a second a direction of a binding carries for long. A connection's whole set-up takes some kilobytes.
pub const BYTES_PER_SECOND: usize = 64 * 1024;
/// Bytes it carries at once, and bytes that may wait for one client.
pub const BURST: usize = 256 * 1024;

/// A token bucket of bytes. Pure.
#[derive(Debug)]
pub struct Rate {
    left: f64,
    filled: Instant,
}

impl Rate {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST as f64, filled: now }
    }

    /// Takes so many; false when there are not as many, and then nothing is taken.
    pub fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * BYTES_PER_SECOND as f64;
        self.left = (self.left + gained).min(BURST as f64);
        self.filled = now;
        let enough = self.left >= bytes as f64;
        if enough {
            self.left -= bytes as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        assert!(rate.take(now, BURST) && !rate.take(now, 1));
        now += Duration::from_secs(1);
        assert!(!rate.take(now, BYTES_PER_SECOND + 1));
        assert!(rate.take(now, BYTES_PER_SECOND) && !rate.take(now, 1));
    }
}
