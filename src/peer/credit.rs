//! What bounds data channels across threads: bytes told and not dealt with, bytes waiting to leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::DataSpec;
use super::shard::Mailbox;
use crate::vocab::PeerId;

/// What a message costs beside its payload, so that empty ones are bounded too.
const OVERHEAD: usize = 128;

/// Bytes of a channel handed over and not yet taken by the far end; cheap to clone and read from any thread.
#[derive(Clone, Debug, Default)]
pub struct Buffered(Arc<AtomicUsize>);

impl Buffered {
    /// The bytes waiting as the shard last saw them. Messages on their way to the shard are not among them.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Part of a peer's receive budget, held while a message is dealt with. Dropping it gives the bytes back.
#[derive(Debug)]
pub struct Credit {
    budget: Arc<Budget>,
    cost: usize,
}

impl Drop for Credit {
    fn drop(&mut self) {
        let before = self.budget.used.fetch_sub(self.cost, Ordering::SeqCst);
        if before - self.cost <= DataSpec::INBOUND / 2 && self.budget.stopped.swap(false, Ordering::SeqCst) {
            self.budget.mailbox.resume_reading(self.budget.peer);
        }
    }
}

/// What a peer's messages hold.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    /// The shard reads no more and is to be told when half is free.
    stopped: AtomicBool,
    mailbox: Mailbox,
    peer: PeerId,
}

impl Budget {
    pub(super) fn new(mailbox: Mailbox, peer: PeerId) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), stopped: AtomicBool::new(false), mailbox, peer })
    }

    /// Takes what a message of `len` bytes costs. The last one may go beyond the budget.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Credit {
        let cost = len + OVERHEAD;
        self.used.fetch_add(cost, Ordering::SeqCst);
        Credit { budget: Arc::clone(self), cost }
    }

    /// Whether another message may be read. After a `false` the shard is woken once half the budget is free.
    pub(super) fn has_room(&self) -> bool {
        if self.used.load(Ordering::SeqCst) < DataSpec::INBOUND && !self.stopped.load(Ordering::SeqCst) {
            return true;
        }
        self.stopped.store(true, Ordering::SeqCst);
        // what was given back in between told nobody
        self.used.load(Ordering::SeqCst) <= DataSpec::INBOUND / 2 && {
            self.stopped.store(false, Ordering::SeqCst);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_has_room_again_at_half() {
        let budget = Budget::new(Mailbox::detached(), PeerId::next());
        let mut credits = Vec::new();
        while budget.has_room() {
            credits.push(budget.take(64 << 10));
        }
        assert_eq!(credits.len(), 16, "a message costs more than its payload");
        while credits.len() > 7 {
            assert!(!budget.has_room(), "{} held", credits.len());
            credits.pop();
        }
        assert!(budget.has_room());
    }

    #[test]
    fn empty_messages_cost_too() {
        let budget = Budget::new(Mailbox::detached(), PeerId::next());
        let credits: Vec<Credit> = std::iter::from_fn(|| budget.has_room().then(|| budget.take(0))).collect();
        assert_eq!(credits.len(), DataSpec::INBOUND / OVERHEAD);
    }
}
