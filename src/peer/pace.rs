//! PURE. How fast packets of one track leave for one viewer.
//!
//! A frame leaves at once, unless it is so large that a switch or an access point on the way might not hold it: then it leaves in
//! portions. What is sent to a new viewer at once, up to 16 s of a camera's group, is cut up the same way.

use std::time::{Duration, Instant};

/// Packets of a portion: a train of the kernel's has up to 54 of 1200 bytes, and Ethernet switches have some 100 kB per port.
pub(super) const PORTION: usize = 48;
/// From one portion to the next: with packets of 1200 bytes 460 Mbit/s.
pub(super) const SPACING: Duration = Duration::from_millis(1);

/// What one track may send now.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the present portion began.
    began: Option<Instant>,
    /// Packets of it that left.
    gone: usize,
}

impl Pace {
    /// How many of `wanted` packets may leave now; they count as sent.
    pub(super) fn take(&mut self, now: Instant, wanted: usize) -> usize {
        if self.began.is_none_or(|began| now >= began + SPACING) {
            (self.began, self.gone) = (Some(now), 0);
        }
        let granted = wanted.min(PORTION - self.gone);
        self.gone += granted;
        granted
    }

    /// Whether a packet may leave now.
    pub(super) fn may(&self, now: Instant) -> bool {
        self.gone < PORTION || self.next().is_none_or(|next| now >= next)
    }

    /// When the next portion may leave.
    pub(super) fn next(&self) -> Option<Instant> {
        self.began.map(|began| began + SPACING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_leaves_in_portions() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.take(now, 8), 8);
        assert_eq!(pace.take(now, 100), PORTION - 8);
        assert_eq!(pace.take(now + SPACING / 2, 60), 0);
        assert_eq!(pace.next(), Some(now + SPACING));
        assert_eq!(pace.take(now + SPACING, 60), PORTION);
        assert_eq!(pace.take(now + 2 * SPACING, 12), 12);
    }
}
