//! PURE. What is said here while the far side is away.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most texts, and their bytes; the oldest are dropped first.
pub(super) const MAX_HELD: usize = 64;
const MAX_BYTES: usize = 64 << 10;
/// Longest time a text is kept.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// Members that are there within this time of the first one hear it as well.
pub(super) const OPEN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Held {
    texts: VecDeque<(Instant, String)>,
    /// When the first member heard it.
    told: Option<Instant>,
}

impl Held {
    pub(super) fn keep(&mut self, now: Instant, text: String) {
        if self.told.take().is_some() {
            self.texts.clear();
        }
        self.texts.push_back((now, text));
        while self.texts.len() > MAX_HELD || self.texts.iter().map(|(_, text)| text.len()).sum::<usize>() > MAX_BYTES {
            self.texts.pop_front();
        }
    }

    /// What a member that is there now is to be told.
    pub(super) fn told_to(&mut self, now: Instant) -> impl Iterator<Item = &str> {
        if self.told.is_some_and(|at| now.saturating_duration_since(at) > OPEN) {
            self.texts.clear();
        }
        self.texts.retain(|(at, _)| now.saturating_duration_since(*at) <= LIMIT);
        if !self.texts.is_empty() {
            self.told.get_or_insert(now);
        }
        self.texts.iter().map(|(_, text)| text.as_str())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}
