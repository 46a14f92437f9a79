//! A shard's end of a layer: a bounded ring that a writer on any thread fills, and the wake-up of the shard.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::forward::{FramePackets, FrameSink, Offered};

/// Frames a shard may be behind before its viewers skip to the next key frame: 8 s of 30 pictures a second, or 1 s of a
/// publisher that sends 256 bursts a second.
const RING_FRAMES: usize = 256;

/// Wakes a shard from its wait. Costs a system call only while the shard sleeps, and then once.
///
/// The shard calls [`Waker::begin_turn`] before it looks at its inputs and [`Waker::fall_asleep`] before it waits: what is
/// put in between is seen by the second.
#[derive(Debug)]
pub(super) struct Waker {
    event: OwnedFd,
    /// Something was put since the turn began.
    called: AtomicBool,
    asleep: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { event, called: AtomicBool::new(false), asleep: AtomicBool::new(false) })
    }

    /// Wakes the shard; called after the input is in place.
    pub(super) fn wake(&self) {
        // sequentially consistent like `fall_asleep`: of the two, at least one sees the other's store
        self.called.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // it can fail only when the counter is at its end, and then the shard wakes anyway
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Said by the shard before it looks at its inputs.
    pub(super) fn begin_turn(&self) {
        self.called.store(false, Ordering::SeqCst);
    }

    /// Said by the shard before it waits; false when there is new input.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.called.load(Ordering::SeqCst)
    }

    /// Said by the shard after [`Self::fall_asleep`], whether it waited or not.
    pub(super) fn get_up(&self) {
        if !self.asleep.swap(false, Ordering::SeqCst) {
            // somebody wrote, or is about to: an event that comes late costs one empty turn
            let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// The ring of one layer in one shard.
pub(super) struct Ring {
    waker: Arc<Waker>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Arc<FramePackets>>,
    overrun: bool,
    closed: bool,
}

/// What a ring held.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) frames: VecDeque<Arc<FramePackets>>,
    /// Frames after these were lost.
    pub(super) overrun: bool,
}

impl Ring {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self { waker, state: Mutex::default() }
    }

    /// Everything in the ring.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.lock();
        Taken { frames: std::mem::take(&mut state.frames), overrun: std::mem::take(&mut state.overrun) }
    }

    /// Lets the layer forget the ring.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.frames.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameSink for Ring {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        let offered = {
            let mut state = self.lock();
            if state.closed {
                return Offered::Gone;
            }
            // after an overrun nothing more is taken until the shard has looked, so that the hole is at the end
            if state.overrun || state.frames.len() >= RING_FRAMES {
                state.overrun = true;
                Offered::Full
            } else {
                state.frames.push_back(Arc::clone(frame));
                Offered::Taken
            }
        };
        self.waker.wake();
        offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::MediaPacket;
    use crate::vocab::{LayerId, TrackId};

    fn frame(timestamp: u32) -> Arc<FramePackets> {
        let packet = MediaPacket { sequence: 0, timestamp, marker: true, payload: bytes::Bytes::new() };
        let layer = LayerId { track: TrackId(1), index: 0 };
        Arc::new(FramePackets { layer, key: false, packets: vec![packet], arrived: std::time::Instant::now() })
    }

    #[test]
    fn a_full_ring_takes_nothing_until_it_is_emptied() {
        let ring = Ring::new(Arc::new(Waker::new().unwrap()));
        (0..RING_FRAMES as u32).for_each(|n| assert_eq!(ring.offer(&frame(n)), Offered::Taken));
        assert_eq!(ring.offer(&frame(0)), Offered::Full);
        let taken = ring.take();
        assert!(taken.overrun && taken.frames.len() == RING_FRAMES && taken.frames[0].packets[0].timestamp == 0);
        assert_eq!(ring.offer(&frame(1)), Offered::Taken);
        ring.close();
        assert_eq!(ring.offer(&frame(2)), Offered::Gone);
    }

    #[test]
    fn many_wakes_are_one_event() {
        let waker = Waker::new().unwrap();
        waker.begin_turn();
        (0..5).for_each(|_| waker.wake());
        assert!(!waker.fall_asleep(), "what was put during the turn is seen");
        waker.get_up();
        waker.begin_turn();
        assert!(waker.fall_asleep());
        (0..5).for_each(|_| waker.wake());
        let mut count = [0u8; 8];
        rustix::io::read(waker.fd(), &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
