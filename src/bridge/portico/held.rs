//! PURE. What is said while the far side is away, for when it is back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::vocab::MemberId;

/// In texts and bytes; the oldest are dropped first.
const MAX_HELD: usize = 64;
const MAX_BYTES: usize = 64 << 10;
/// Longest time that a text is kept.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<(Instant, MemberId, String)>);

impl Held {
    pub(super) fn put(&mut self, now: Instant, from: MemberId, text: &str) {
        self.0.push_back((now, from, text.into()));
        while self.0.len() > MAX_HELD || self.0.iter().map(|(.., text)| text.len()).sum::<usize>() > MAX_BYTES {
            self.0.pop_front();
        }
    }

    /// What is not too old.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(MemberId, String)> {
        let fresh = |at: Instant| now.saturating_duration_since(at) <= LIMIT;
        std::mem::take(&mut self.0).into_iter().filter(|(at, ..)| fresh(*at)).map(|(_, from, text)| (from, text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_for_two_minutes() {
        let (mut held, now, from) = (Held::default(), Instant::now(), MemberId::random());
        for n in 0..100 {
            held.put(now + Duration::from_secs(n), from, &n.to_string());
        }
        let texts: Vec<String> = held.take(now + Duration::from_secs(161)).into_iter().map(|(_, text)| text).collect();
        assert_eq!((texts.len(), texts[0].as_str()), (59, "41"));
        held.put(now, from, &"a".repeat(MAX_BYTES));
        held.put(now, from, "b");
        assert_eq!(held.take(now), [(from, "b".into())]);
        assert_eq!(held.take(now), []);
    }
}
