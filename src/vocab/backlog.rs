//! What waits for somebody, in bytes: queues count their entries only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What waits for one receiver: what was handed out and not dealt with yet. One owner alone adds to it.
#[derive(Debug, Default)]
pub struct Backlog(Arc<AtomicUsize>);

/// A part of a [`Backlog`]; gone when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Backlog {
    /// Adds so many; `None` when more than `most` would wait, and then nothing is added.
    pub fn take(&self, bytes: usize, most: usize) -> Option<Share> {
        // the owner alone adds, so that nothing can come between the two
        if self.0.load(Ordering::Relaxed).saturating_add(bytes) > most {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Share { of: Arc::clone(&self.0), bytes })
    }
}

impl Share {
    /// The frame, which keeps its part of the backlog until it is written and dropped, wherever it waits.
    pub fn held_by(self, frame: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        struct Held<T>(T, #[allow(dead_code)] Share); // kept for its end
        impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
            fn as_ref(&self) -> &[u8] {
                self.0.as_ref()
            }
        }
        Bytes::from_owner(Held(frame, self))
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

    const MOST: usize = 1000;

    #[test]
    fn what_was_dealt_with_makes_room() {
        let backlog = Backlog::default();
        let half = backlog.take(MOST / 2, MOST).unwrap();
        let other = backlog.take(MOST / 2, MOST).unwrap();
        assert!(backlog.take(1, MOST).is_none() && backlog.take(usize::MAX, MOST).is_none());
        drop(half);
        assert!(backlog.take(MOST / 2, MOST).is_some());
        // a frame holds its part until its last copy is gone
        let frame = other.held_by(Bytes::from_static(b"frame"));
        let (head, copy) = (frame.slice(..1), frame.clone());
        drop((frame, copy));
        assert!(backlog.take(MOST, MOST).is_none());
        drop(head);
        assert!(backlog.take(MOST, MOST).is_some());
    }
}
