//! How many messages a connection may send.

use std::time::Instant;

/// Messages per second a connection may send for long. A call's set-up takes some tens of messages in all.
pub(super) const PER_SECOND: f64 = 200.0;
/// Messages it may send at once: a joiner that trickles candidates of many connections.
pub(super) const BURST: f64 = 1000.0;

/// A token bucket. Pure.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: BURST, filled: now }
    }

    /// Takes one token; false when there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_of(now, PER_SECOND, BURST)
    }

    /// The same of a bucket that is filled otherwise: by so many a second up to so many, at most [`BURST`].
    pub(crate) fn take_of(&mut self, now: Instant, per_second: f64, burst: f64) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * per_second;
        self.tokens = (self.tokens + gained).min(burst);
        self.filled = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
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
        let mut bucket = Bucket::new(now);
        assert_eq!((0..2000).filter(|_| bucket.take(now)).count(), 1000);
        now += Duration::from_secs(1);
        assert_eq!((0..2000).filter(|_| bucket.take(now)).count(), 200);
        now += Duration::from_secs(3600);
        assert_eq!((0..2000).filter(|_| bucket.take(now)).count(), 1000);
    }
}
