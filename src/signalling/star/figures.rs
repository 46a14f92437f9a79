//! What the original signalling server counts, under its names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The figures of all listeners. Shared: realms count, whoever writes the metrics reads.
#[derive(Debug, Default)]
pub struct StarFigures {
    /// Joined addresses now.
    pub peers: AtomicU64,
    /// `ss-join` events.
    pub joins: AtomicU64,
    /// Those that joined.
    pub joins_succeeded: AtomicU64,
    /// Those that did not.
    pub joins_failed: AtomicU64,
    /// `ss-handshake` events: every single signal, not every dial.
    pub dials: AtomicU64,
    /// Those that answered.
    pub dials_succeeded: AtomicU64,
    /// Those that were dropped or whose addressee was not there.
    pub dials_failed: AtomicU64,
}

impl StarFigures {
    /// All 0.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Name, meaning and value of each but the totals, under which the original's dashboards look for them.
    pub fn gauges(&self) -> [(&'static str, &'static str, u64); 5] {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        [
            ("webrtc_star_peers", "Peers of webrtc-star now", of(&self.peers)),
            ("webrtc_star_joins_total_success", "Joins that succeeded", of(&self.joins_succeeded)),
            ("webrtc_star_joins_total_failure", "Joins that failed", of(&self.joins_failed)),
            ("webrtc_star_dials_total_success", "Signals that answered", of(&self.dials_succeeded)),
            ("webrtc_star_dials_total_failure", "Signals that reached nobody", of(&self.dials_failed)),
        ]
    }

    /// The same of the totals, without the ending `_total`.
    pub fn totals(&self) -> [(&'static str, &'static str, u64); 2] {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        [
            ("webrtc_star_joins", "Joins asked for", of(&self.joins)),
            ("webrtc_star_dials", "Signals sent by peers", of(&self.dials)),
        ]
    }

    pub(super) fn count(figure: &AtomicU64) {
        figure.fetch_add(1, Ordering::Relaxed);
    }
}
