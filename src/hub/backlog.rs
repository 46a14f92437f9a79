//! What waits for one session, in bytes: the queue itself counts words only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of long words that wait for one session. One that is this far behind does not read any more and is ended.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Words below this are bounded by their number alone.
pub(super) const LONG: usize = 256;

/// What waits for one session. The hub alone adds to it.
#[derive(Debug, Default)]
pub(super) struct Backlog(Arc<AtomicUsize>);

/// A part of a session's backlog; gone when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Backlog {
    /// Adds so many; `None` when more than [`MAX_BYTES`] would wait.
    pub(super) fn take(&self, bytes: usize) -> Option<Share> {
        if self.0.load(Ordering::Relaxed) + bytes > MAX_BYTES {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Share { of: Arc::clone(&self.0), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_makes_room() {
        let backlog = Backlog::default();
        let half = backlog.take(MAX_BYTES / 2).unwrap();
        let _other = backlog.take(MAX_BYTES / 2).unwrap();
        assert!(backlog.take(1).is_none());
        drop(half);
        assert!(backlog.take(MAX_BYTES / 2).is_some());
    }
}
