//! PURE. How fast packets of one track leave for one viewer.
//!
//! A frame leaves at once, unless it is so large that a switch or an access point on the way might not hold it: then it leaves in
//! portions. What is sent to a new viewer at once, up to 16 s of a camera's group, is cut up the same way. Where the way is known to be
//! narrow the portions are small: a key frame must not look like a crowded way.

use std::time::{Duration, Instant};

/// Packets of a portion: a train of the kernel's has up to 54 of 1200 bytes, and Ethernet switches have some 100 kB per port.
pub(super) const PORTION: usize = 48;
/// From one portion to the next: with packets of 1200 bytes 460 Mbit/s.
pub(super) const SPACING: Duration = Duration::from_millis(1);

/// Faster than the way carries on average, as libwebrtc paces: a frame that is larger than others is through before the next.
const HASTE: u64 = 5;
/// The same, as a divisor: 2.5 times.
const HASTE_PER: u64 = 2;
/// Packets of the smallest portion.
const LEAST: usize = 2;
/// Bits of a large packet.
const PACKET_BITS: u64 = 1200 * 8;
/// Portions are about so long on a way whose rate is known.
const NARROW_SPACING: Duration = Duration::from_millis(5);

/// What one track may send now.
#[derive(Debug)]
pub(super) struct Pace {
    portion: usize,
    spacing: Duration,
    /// When the present portion began.
    began: Option<Instant>,
    /// Packets of it that left.
    gone: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { portion: PORTION, spacing: SPACING, began: None, gone: 0 }
    }
}

impl Pace {
    /// What the way carries, in bit/s; `None` where that is not known.
    pub(super) fn set_rate(&mut self, rate: Option<u64>) {
        let Some(rate) = rate else {
            (self.portion, self.spacing) = (PORTION, SPACING);
            return;
        };
        let rate = (rate.saturating_mul(HASTE) / HASTE_PER).max(1);
        let packets = rate.saturating_mul(NARROW_SPACING.as_millis() as u64) / 1000 / PACKET_BITS;
        self.portion = usize::try_from(packets).unwrap_or(PORTION).clamp(LEAST, PORTION);
        self.spacing = Duration::from_micros(self.portion as u64 * PACKET_BITS * 1_000_000 / rate).max(SPACING);
    }

    /// How many of `wanted` packets may leave now; they count as sent.
    pub(super) fn take(&mut self, now: Instant, wanted: usize) -> usize {
        if self.began.is_none_or(|began| now >= began + self.spacing) {
            (self.began, self.gone) = (Some(now), 0);
        }
        let granted = wanted.min(self.portion.saturating_sub(self.gone));
        self.gone += granted;
        granted
    }

    /// Whether a packet may leave now.
    pub(super) fn may(&self, now: Instant) -> bool {
        self.gone < self.portion || self.next().is_none_or(|next| now >= next)
    }

    /// When the next portion may leave.
    pub(super) fn next(&self) -> Option<Instant> {
        self.began.map(|began| began + self.spacing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_way_gets_small_portions() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.set_rate(Some(1_000_000));
        assert_eq!(pace.take(now, 10), 2);
        assert!(!pace.may(now));
        // two packets of 9600 bits at 2.5 Mbit/s
        assert_eq!(pace.next(), Some(now + Duration::from_micros(7680)));
        assert_eq!(pace.take(now + Duration::from_millis(8), 10), 2);
        pace.set_rate(Some(10_000_000));
        assert_eq!(pace.take(now + Duration::from_millis(20), 100), 13);
        for (rate, portion) in [(Some(1), LEAST), (Some(u64::MAX), PORTION), (None, PORTION)] {
            pace.set_rate(rate);
            assert_eq!(pace.portion, portion);
        }
    }

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
