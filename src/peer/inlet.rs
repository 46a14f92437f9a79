//! Datagrams that the first shard read for another one: handed over once, in order, within bounds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::vocab::PeerId;

use super::ring::Waker;

/// Bytes that wait for a shard at most, each datagram counted with [`OVERHEAD`]; what comes beyond is dropped, as by a full socket.
const ROOM: usize = 4 << 20;
/// What a datagram costs beside its bytes.
const OVERHEAD: usize = 96;

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) peer: PeerId,
    pub(super) local: SocketAddr,
    pub(super) from: SocketAddr,
    pub(super) datagram: Box<[u8]>,
}

/// A shard's door for them.
#[derive(Debug)]
pub(super) struct Inlet {
    waker: Arc<Waker>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<Handed>,
    bytes: usize,
}

impl Inlet {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self { waker, waiting: Mutex::default() }
    }

    /// Takes over what was gathered in a turn, as far as there is room, and wakes the shard. Returns how many were dropped.
    pub(super) fn hand_over(&self, gathered: &mut Vec<Handed>) -> usize {
        if gathered.is_empty() {
            return 0;
        }
        let mut dropped = 0;
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for handed in gathered.drain(..) {
                let cost = handed.datagram.len() + OVERHEAD;
                if waiting.bytes + cost > ROOM {
                    dropped += 1;
                    continue;
                }
                waiting.bytes += cost;
                waiting.datagrams.push_back(handed);
            }
        }
        self.waker.wake();
        dropped
    }

    /// Everything that waits.
    pub(super) fn take(&self) -> VecDeque<Handed> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        std::mem::take(&mut waiting.datagrams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_comes_in_order_and_within_bounds() {
        let inlet = Inlet::new(Arc::new(Waker::new().unwrap()));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let handed = |n: u64| Handed { peer: PeerId(n), local: address, from: address, datagram: vec![0; 1000].into() };
        let mut gathered: Vec<Handed> = (0..10_000).map(handed).collect();
        let dropped = inlet.hand_over(&mut gathered);
        assert!(gathered.is_empty());
        let taken = inlet.take();
        assert_eq!((taken.len(), taken.len() + dropped), (ROOM / (1000 + OVERHEAD), 10_000));
        assert!(taken.iter().enumerate().all(|(n, handed)| handed.peer == PeerId(n as u64)));
        assert_eq!(inlet.hand_over(&mut vec![handed(1)]), 0);
        assert_eq!(inlet.take().len(), 1);
    }
}
