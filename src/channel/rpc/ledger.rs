//! Answers to requests without a number of their own leave in the requests' order.

use std::collections::VecDeque;

use super::super::framing::Content;
use super::CallId;

/// Most answers of one connection that wait for an earlier one.
const MAX_SLOTS: usize = 256;

/// The open requests of one connection. At most 256.
#[derive(Debug, Default)]
pub struct Ledger {
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
enum Slot {
    Waits(CallId),
    Ready(Content),
    Silent,
}

impl Ledger {
    /// Whether another request can wait.
    pub fn has_room(&self) -> bool {
        self.slots.len() < MAX_SLOTS
    }

    /// A request waits for its service.
    pub fn open(&mut self, call: CallId) {
        self.slots.push_back(Slot::Waits(call));
    }

    /// A request was answered at once; what is returned can leave.
    pub fn answered(&mut self, answer: Content) -> Vec<Content> {
        self.slots.push_back(Slot::Ready(answer));
        self.ready()
    }

    /// A service replied, `None` where nothing is to be said; what is returned can leave.
    pub fn close(&mut self, call: CallId, answer: Option<Content>) -> Vec<Content> {
        let waits = |slot: &&mut Slot| matches!(slot, Slot::Waits(waiting) if *waiting == call);
        if let Some(slot) = self.slots.iter_mut().find(waits) {
            *slot = answer.map_or(Slot::Silent, Slot::Ready);
        }
        self.ready()
    }

    fn ready(&mut self) -> Vec<Content> {
        let mut ready = Vec::new();
        while let Some(slot) = self.slots.pop_front_if(|slot| !matches!(slot, Slot::Waits(_))) {
            if let Slot::Ready(answer) = slot {
                ready.push(answer);
            }
        }
        ready
    }
}
