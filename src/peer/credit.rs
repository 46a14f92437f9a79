//! What bounds data channels across threads: bytes told and not dealt with, bytes waiting to leave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::DataSpec;
use super::mailbox::Mailbox;
use crate::vocab::{ChannelId, PeerId};

/// What a message costs beside its payload, so that empty ones are bounded too.
const OVERHEAD: usize = 128;

/// Bytes of a channel handed over and not yet taken by the far end; cheap to clone and read from any thread.
#[derive(Clone, Debug, Default)]
pub struct Buffered(Arc<Flow>);

#[derive(Debug, Default)]
struct Flow {
    /// In the channel, as the shard last saw it.
    waiting: AtomicUsize,
    /// On their way to the shard.
    coming: AtomicUsize,
    /// Above [`DataSpec::CONGESTED`] and not yet down again.
    congested: AtomicBool,
}

impl Buffered {
    /// The bytes waiting, those of commands that the shard has not read yet among them: whoever keeps it below
    /// [`DataSpec::OUTBOUND`] is refused for want of room only beyond 16384 waiting messages.
    pub fn bytes(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst) + self.0.coming.load(Ordering::SeqCst)
    }

    fn coming(&self, len: usize) {
        self.0.coming.fetch_add(len, Ordering::SeqCst);
        self.mark();
    }

    /// A message reached its channel, and was counted there or refused.
    pub(super) fn arrived(&self, len: usize) {
        let _ = self.0.coming.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |coming| Some(coming.saturating_sub(len)));
    }

    pub(super) fn set_waiting(&self, bytes: usize) {
        self.0.waiting.store(bytes, Ordering::SeqCst);
        self.mark();
    }

    fn mark(&self) {
        if self.bytes() > DataSpec::CONGESTED {
            self.0.congested.store(true, Ordering::SeqCst);
        }
    }

    /// Whether it was congested and is no more; true once.
    pub(super) fn is_drained(&self) -> bool {
        self.bytes() <= DataSpec::DRAINED && self.0.congested.swap(false, Ordering::SeqCst)
    }
}

/// The channels of a shard, by which messages are counted before the shard reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows(Arc<Mutex<HashMap<ChannelId, Buffered>>>);

impl Flows {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Buffered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message sets out for a channel; for one that is gone it does not count.
    pub(super) fn coming(&self, channel: ChannelId, len: usize) {
        if let Some(buffered) = self.lock().get(&channel) {
            buffered.coming(len);
        }
    }

    /// Knows a channel as long as the result lives.
    pub(super) fn enter(&self, channel: ChannelId) -> FlowEntry {
        let buffered = Buffered::default();
        self.lock().insert(channel, buffered.clone());
        FlowEntry { flows: self.clone(), channel, buffered }
    }
}

/// A channel among the [`Flows`].
pub(super) struct FlowEntry {
    flows: Flows,
    channel: ChannelId,
    pub(super) buffered: Buffered,
}

impl Drop for FlowEntry {
    fn drop(&mut self) {
        self.flows.lock().remove(&self.channel);
    }
}

/// Part of a peer's receive budget, held while a message is dealt with. Dropping it gives the bytes back.
#[derive(Debug)]
pub struct Credit {
    budget: Arc<Budget>,
    cost: usize,
}

#[cfg(test)]
impl Credit {
    /// One that nobody waits for.
    pub(crate) fn detached() -> Self {
        Budget::new(Mailbox::detached(), PeerId::next()).take(0)
    }
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

    /// The channels of the peer's shard.
    pub(super) fn flows(&self) -> &Flows {
        &self.mailbox.flows
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
    fn what_is_on_its_way_counts_and_congestion_ends_once() {
        let flows = Flows::default();
        let channel = ChannelId::next();
        let entry = flows.enter(channel);
        let buffered = entry.buffered.clone();
        flows.coming(channel, 40 << 10);
        entry.buffered.set_waiting(30 << 10);
        assert_eq!(buffered.bytes(), 70 << 10);
        // the shard never saw more than 40 KiB at once
        entry.buffered.set_waiting(0);
        assert!(!entry.buffered.is_drained());
        entry.buffered.arrived(40 << 10);
        assert!(entry.buffered.is_drained() && !entry.buffered.is_drained());
        drop(entry);
        flows.coming(channel, 1);
        assert_eq!(buffered.bytes(), 0, "a channel that is gone counts no more");
    }

    #[test]
    fn empty_messages_cost_too() {
        let budget = Budget::new(Mailbox::detached(), PeerId::next());
        let credits: Vec<Credit> = std::iter::from_fn(|| budget.has_room().then(|| budget.take(0))).collect();
        assert_eq!(credits.len(), DataSpec::INBOUND / OVERHEAD);
    }
}
