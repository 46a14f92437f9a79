//! PURE. What is said here while the far side is away, for when it is back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// In texts and bytes; the oldest are dropped first.
pub(in crate::bridge) const MAX_HELD: usize = 64;
const MAX_BYTES: usize = 64 << 10;
/// Longest time that a text is kept.
pub(in crate::bridge) const LIMIT: Duration = Duration::from_secs(120);

/// Texts, each with who says it.
#[derive(Debug)]
pub(in crate::bridge) struct Held<Who>(VecDeque<(Instant, Who, String)>);

impl<Who> Default for Held<Who> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<Who: Clone> Held<Who> {
    pub(in crate::bridge) fn put(&mut self, now: Instant, who: Who, text: String) {
        self.0.push_back((now, who, text));
        while self.0.len() > MAX_HELD || self.0.iter().map(|(.., text)| text.len()).sum::<usize>() > MAX_BYTES {
            self.0.pop_front();
        }
    }

    /// What is not too old; the rest is dropped.
    pub(in crate::bridge) fn fresh(&mut self, now: Instant) -> Vec<(Who, String)> {
        self.0.retain(|(at, ..)| now.saturating_duration_since(*at) <= LIMIT);
        self.0.iter().map(|(_, who, text)| (who.clone(), text.clone())).collect()
    }

    #[cfg(test)]
    pub(in crate::bridge) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::bridge) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_for_two_minutes() {
        let (mut held, now) = (Held::default(), Instant::now());
        for n in 0..100 {
            held.put(now + Duration::from_secs(n), n, n.to_string());
        }
        let texts = held.fresh(now + Duration::from_secs(161));
        assert_eq!((texts.len(), texts[0].clone()), (59, (41, "41".to_owned())));
        held.clear();
        held.put(now, 1, "a".repeat(MAX_BYTES));
        held.put(now, 2, "b".into());
        assert_eq!(held.fresh(now), [(2, "b".into())]);
    }
}
