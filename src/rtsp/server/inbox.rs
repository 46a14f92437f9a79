//! What a viewer was not sent yet: bounded, filled by whoever writes a layer, emptied by the viewer's connection.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::forward::{FramePackets, FrameSink, Offered};

/// Most frames that wait: 6 s of 30 pictures and 50 pieces of sound a second.
const MOST_FRAMES: usize = 512;
/// Most payload bytes that wait: some seconds of a good picture, and any key frame.
const MOST_BYTES: usize = 4 << 20;

/// One thing for a viewer.
#[derive(Debug)]
pub enum Waiting {
    /// A frame of a track.
    Frame(usize, Arc<FramePackets>),
    /// Frames of the track are missing here: there was no room for them.
    Hole(usize),
}

/// The queue of one viewer, for all its tracks.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// Tracks whose newest in the queue is a hole.
    holed: BTreeSet<usize>,
    closed: bool,
}

impl Inbox {
    /// Where a layer writes what it has for a track.
    pub fn sink(self: &Arc<Self>, track: usize) -> Arc<dyn FrameSink> {
        Arc::new(Sink { inbox: Arc::clone(self), track })
    }

    /// What comes next; also says to the writers that there is room again.
    pub fn pop(&self) -> Option<Waiting> {
        let mut state = self.lock();
        let next = state.queue.pop_front()?;
        match &next {
            Waiting::Frame(_, frame) => state.bytes -= size(frame),
            Waiting::Hole(track) => drop(state.holed.remove(track)),
        }
        Some(next)
    }

    /// Waits until something was put since the last wait. Cancel-safe.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Layers forget it.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.clear();
    }

    fn put(&self, track: usize, frame: &Arc<FramePackets>) -> Offered {
        let mut state = self.lock();
        if state.closed {
            return Offered::Gone;
        }
        let bytes = size(frame);
        let full = state.queue.len() >= MOST_FRAMES || state.bytes + bytes > MOST_BYTES;
        // after a hole nothing more is taken until it was reached: it would be waited for a key frame all the same
        let offered = match full || state.holed.contains(&track) {
            true => {
                if state.holed.insert(track) {
                    state.queue.push_back(Waiting::Hole(track));
                }
                Offered::Full
            }
            false => {
                state.bytes += bytes;
                state.queue.push_back(Waiting::Frame(track, Arc::clone(frame)));
                Offered::Taken
            }
        };
        drop(state);
        self.wake.notify_one();
        offered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(frame: &FramePackets) -> usize {
    frame.packets.iter().map(|packet| packet.payload.len()).sum()
}

struct Sink {
    inbox: Arc<Inbox>,
    track: usize,
}

impl FrameSink for Sink {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        self.inbox.put(self.track, frame)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::forward::MediaPacket;
    use crate::vocab::{LayerId, TrackId};

    fn frame(bytes: usize) -> Arc<FramePackets> {
        let packet = MediaPacket { sequence: 0, timestamp: 0, marker: true, payload: vec![0; bytes].into() };
        let layer = LayerId { track: TrackId(1), index: 0 };
        Arc::new(FramePackets { layer, key: false, packets: vec![packet], arrived: Instant::now() })
    }

    /// Everything that waits, in a letter each: the track's number, or `h` for a hole.
    fn drained(inbox: &Inbox) -> String {
        std::iter::from_fn(|| inbox.pop())
            .map(|waiting| match waiting {
                Waiting::Frame(track, _) => track.to_string(),
                Waiting::Hole(_) => "h".into(),
            })
            .collect()
    }

    #[test]
    fn what_does_not_fit_is_one_hole_until_it_was_reached() {
        let inbox = Arc::<Inbox>::default();
        let (video, sound) = (inbox.sink(0), inbox.sink(1));
        assert_eq!(video.offer(&frame(MOST_BYTES - 10)), Offered::Taken);
        assert_eq!(video.offer(&frame(20)), Offered::Full);
        assert_eq!(video.offer(&frame(1)), Offered::Full, "there is room, but not before the hole was told");
        assert_eq!(sound.offer(&frame(10)), Offered::Taken);
        assert_eq!(drained(&inbox), "0h1");
        assert_eq!(video.offer(&frame(20)), Offered::Taken);
        assert_eq!(drained(&inbox), "0");
    }

    #[test]
    fn frames_are_bounded_by_their_number_as_well() {
        let inbox = Arc::<Inbox>::default();
        let sink = inbox.sink(0);
        (0..MOST_FRAMES).for_each(|_| assert_eq!(sink.offer(&frame(1)), Offered::Taken));
        (0..MOST_FRAMES).for_each(|_| assert_eq!(sink.offer(&frame(1)), Offered::Full));
        assert_eq!(drained(&inbox).len(), MOST_FRAMES + 1);
        inbox.close();
        assert_eq!(sink.offer(&frame(1)), Offered::Gone);
    }
}
