//! What the realms of all brokers count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted since the start. Shared: realms count, whoever writes the metrics reads.
#[derive(Debug, Default)]
pub struct PeerjsFigures {
    queued: AtomicU64,
    expired: AtomicU64,
}

impl PeerjsFigures {
    /// All 0.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Name (without the ending `_total`), meaning and value of each.
    pub fn totals(&self) -> [(&'static str, &'static str, u64); 2] {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        [
            ("peerjs_messages_queued", "Messages that waited for an absent PeerJS peer", of(&self.queued)),
            ("peerjs_expires", "PeerJS senders told that a peer did not come in time, or that too much waits", of(&self.expired)),
        ]
    }

    pub(super) fn queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }
}
