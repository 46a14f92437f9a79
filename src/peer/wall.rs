//! The time of day in reports (RFC 3550 §4).
//!
//! It is read once and counted on from there. A system clock that is set later, as on a board without a battery, is no step in a report: the time
//! between two of them is what matters, for round trips and for sound and picture to stay together.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1900 and their 2^32nd parts.
pub(crate) fn ntp(now: Instant) -> u64 {
    static READ: OnceLock<(Instant, SystemTime)> = OnceLock::new();
    let (at, time) = *READ.get_or_init(|| (Instant::now(), SystemTime::now()));
    let time = match now.checked_duration_since(at) {
        Some(passed) => time.checked_add(passed),
        None => time.checked_sub(at.saturating_duration_since(now)),
    };
    of(time.unwrap_or(UNIX_EPOCH))
}

/// The middle 32 bits of it: seconds and 1/65536 s.
pub(super) fn compact(now: Instant) -> u32 {
    (ntp(now) >> 16) as u32
}

fn of(time: SystemTime) -> u64 {
    const NTP_TO_UNIX_SECONDS: u64 = 2_208_988_800;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    ((since.as_secs() + NTP_TO_UNIX_SECONDS) << 32) | fraction
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn wall_clock_in_seconds_since_1900_and_fractions() {
        assert_eq!(of(UNIX_EPOCH), 2_208_988_800 << 32);
        assert_eq!(of(UNIX_EPOCH + Duration::from_millis(1500)), (2_208_988_801 << 32) | 1 << 31);
    }

    #[test]
    fn it_goes_on_as_the_clock_that_is_given() {
        let now = Instant::now();
        let seconds = |ahead: u64| (ntp(now + Duration::from_secs(ahead)) - ntp(now)) as f64 / f64::powi(2.0, 32);
        assert!((seconds(100) - 100.0).abs() < 1e-6 && (seconds(100_000) - 100_000.0).abs() < 1e-6);
        assert_eq!(compact(now + Duration::from_secs(3)).wrapping_sub(compact(now)), 3 << 16);
    }
}
