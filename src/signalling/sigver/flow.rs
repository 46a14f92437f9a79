//! How much content passes: a rate for each direction of a binding, and what may wait for a client that reads slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;

/// Bytes a second a direction of a binding carries for long. A connection's whole set-up takes some kilobytes.
pub const BYTES_PER_SECOND: usize = 64 * 1024;
/// Bytes it carries at once, and bytes that may wait for one client.
pub const BURST: usize = 256 * 1024;

/// A token bucket of bytes. Pure.
#[derive(Debug)]
pub struct Rate {
    left: f64,
    filled: Instant,
}

impl Rate {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST as f64, filled: now }
    }

    /// Takes so many; false when there are not as many, and then nothing is taken.
    pub fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * BYTES_PER_SECOND as f64;
        self.left = (self.left + gained).min(BURST as f64);
        self.filled = now;
        let enough = self.left >= bytes as f64;
        if enough {
            self.left -= bytes as f64;
        }
        enough
    }
}

/// What waits for one client, in bytes: what was handed out and not yet written to its connection.
#[derive(Debug, Default)]
pub struct Backlog(Arc<AtomicUsize>);

/// A part of a [`Backlog`]; gone when it is dropped.
#[derive(Debug)]
pub struct Share {
    backlog: Arc<AtomicUsize>,
    bytes: usize,
}

impl Backlog {
    /// Adds so many; `None` when more than [`BURST`] would wait.
    pub fn take(&self, bytes: usize) -> Option<Share> {
        // the groups alone add, so that nothing can come between the two
        if self.0.load(Ordering::Relaxed) + bytes > BURST {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Share { backlog: Arc::clone(&self.0), bytes })
    }
}

impl Share {
    /// The frame, which keeps its part of the backlog until it is written and dropped, wherever it waits.
    pub fn held_by(self, frame: Bytes) -> Bytes {
        struct Held(Bytes, #[allow(dead_code)] Share); // kept for its end
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Held(frame, self))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.backlog.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        assert!(rate.take(now, BURST) && !rate.take(now, 1));
        now += Duration::from_secs(1);
        assert!(!rate.take(now, BYTES_PER_SECOND + 1));
        assert!(rate.take(now, BYTES_PER_SECOND) && !rate.take(now, 1));
    }

    #[test]
    fn what_was_written_makes_room() {
        let backlog = Backlog::default();
        let half = backlog.take(BURST / 2).unwrap();
        let other = backlog.take(BURST / 2).unwrap();
        assert!(backlog.take(1).is_none());
        drop(half);
        assert!(backlog.take(BURST / 2).is_some());
        // a frame holds its part until its last copy is gone
        let frame = other.held_by(Bytes::from_static(b"frame"));
        let (head, copy) = (frame.slice(..1), frame.clone());
        drop((frame, copy));
        assert!(backlog.take(BURST).is_none());
        drop(head);
        assert!(backlog.take(BURST).is_some());
    }
}
