//! What waits while a client does not read.

use std::collections::VecDeque;

use crate::signalling::{Dialect, Output};

/// Most frames that may come up while one is being written to a client that does not read. Some dialects' pages ask for this
/// number (algorea.md section 6); none asks for more.
pub const MOST_FRAMES: usize = 256;
/// Most bytes in them.
pub const MOST_BYTES: usize = 1 << 20;

/// Outputs of a dialect in order, and how much of it others have caused.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Output>,
    frames: usize,
    bytes: usize,
}

impl Queue {
    /// The next one. An empty queue counts from nothing again.
    pub(super) fn pop(&mut self) -> Option<Output> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            (self.frames, self.bytes) = (0, 0);
        }
        next
    }

    /// Takes over what the dialect wants, uncounted: the answer to the client's own doing, which the dialect bounds.
    pub(super) fn keep(&mut self, dialect: &mut dyn Dialect) {
        while let Some(output) = dialect.poll_output() {
            self.waiting.push_back(output);
        }
    }

    /// Takes over what the dialect wants because of others.
    pub(super) fn count(&mut self, dialect: &mut dyn Dialect) {
        while let Some(output) = dialect.poll_output() {
            self.frames += 1; // what goes to the room or the realm counts as well: it waits as long
            self.bytes += match &output {
                Output::Send(text) => text.len(),
                Output::SendBinary(bytes) => bytes.len(),
                Output::Command(..) | Output::Realm(_) | Output::Close { .. } => 0,
            };
            self.waiting.push_back(output);
        }
    }

    /// Whether more waits than may.
    pub(super) fn is_over(&self) -> bool {
        self.frames > MOST_FRAMES || self.bytes > MOST_BYTES
    }
}
