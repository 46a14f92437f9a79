//! PURE. Timers that may be late fall together, so that many peers cost the thread few wake-ups.

use std::time::{Duration, Instant};

/// When a timer runs that is due at `at` and may be `slack` late: at the next whole multiple of `slack` since `epoch`.
pub(super) fn due(epoch: Instant, at: Instant, slack: Duration) -> Instant {
    if slack.is_zero() {
        return at;
    }
    let rest = at.saturating_duration_since(epoch).as_nanos() % slack.as_nanos();
    // less than the slack, so within range
    let missing = if rest == 0 { 0 } else { slack.as_nanos() - rest };
    at + Duration::from_nanos(u64::try_from(missing).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_early_never_later_than_the_slack_and_on_common_times(at in 0u64..10_000_000_000, slack in 1u64..100) {
            let (epoch, slack) = (Instant::now(), Duration::from_millis(slack));
            let at = epoch + Duration::from_nanos(at);
            let due = due(epoch, at, slack);
            prop_assert!(due >= at && due < at + slack);
            prop_assert_eq!(due.duration_since(epoch).as_nanos() % slack.as_nanos(), 0);
        }
    }

    #[test]
    fn without_slack_it_is_exact() {
        let now = Instant::now();
        assert_eq!(due(now, now + Duration::from_micros(7), Duration::ZERO), now + Duration::from_micros(7));
    }
}
