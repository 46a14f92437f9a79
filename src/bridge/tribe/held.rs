//! PURE. What is said here while the far side is away, and which of its members hear it when it is back.

use std::time::{Duration, Instant};

use crate::bridge::far::held;
#[cfg(test)]
pub(super) use crate::bridge::far::held::{LIMIT, MAX_HELD};

/// Members that are there within this time of the first one hear it as well.
pub(super) const OPEN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Held {
    texts: held::Held<()>,
    /// When the first member heard it.
    told: Option<Instant>,
}

impl Held {
    pub(super) fn keep(&mut self, now: Instant, text: String) {
        if self.told.take().is_some() {
            self.texts.clear();
        }
        self.texts.put(now, (), text);
    }

    /// What a member that is there now is to be told.
    pub(super) fn told_to(&mut self, now: Instant) -> Vec<String> {
        if self.told.is_some_and(|at| now.saturating_duration_since(at) > OPEN) {
            self.texts.clear();
        }
        let texts: Vec<String> = self.texts.fresh(now).into_iter().map(|((), text)| text).collect();
        if !texts.is_empty() {
            self.told.get_or_insert(now);
        }
        texts
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}
