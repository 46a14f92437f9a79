//! Candidates that wait for the description they belong to.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::vocab::MemberId;

/// Most candidates held for one addressee (algorea.md section 6).
pub const MOST_PER_PAIR: usize = 64;
/// Most bytes held for all addressees of one connection. 64 candidates of a browser are about 12 KiB.
pub const MOST_BYTES: usize = 256 * 1024;

/// What one connection has sent too early, by addressee, in order. The sender's own memory: it can fill nobody else's.
#[derive(Debug, Default)]
pub struct Held {
    waiting: HashMap<MemberId, Vec<Box<RawValue>>>,
    bytes: usize,
}

impl Held {
    /// Keeps one; false when there is no room for it.
    pub fn push(&mut self, to: MemberId, candidate: &RawValue) -> bool {
        let weight = candidate.get().len();
        let here = self.waiting.get(&to).map_or(0, Vec::len);
        if here >= MOST_PER_PAIR || self.bytes + weight > MOST_BYTES {
            return false;
        }
        self.bytes += weight;
        self.waiting.entry(to).or_default().push(candidate.to_owned());
        true
    }

    /// Takes out what waits for an addressee.
    pub fn take(&mut self, to: MemberId) -> Vec<Box<RawValue>> {
        let waiting = self.waiting.remove(&to).unwrap_or_default();
        self.bytes -= waiting.iter().map(|candidate| candidate.get().len()).sum::<usize>();
        waiting
    }

    /// How many are held, and how many bytes that is.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        (self.waiting.values().map(Vec::len).sum(), self.bytes)
    }
}
