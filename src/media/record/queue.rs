//! What waits for the disk: bounded, and nobody who fills it ever waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cut::Frame;
use crate::vocab::MediaKind;

/// Most bytes that wait: four seconds at 16 Mbit/s.
const MOST_BYTES: usize = 8 << 20;
/// And most frames.
const MOST_FRAMES: usize = 4096;

/// Frames on their way from the pipeline to the file.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Pictures were left out: nothing of them is taken until a key frame.
    lost: bool,
    closed: bool,
    dropped: u64,
}

/// What there was.
#[derive(Debug)]
pub(super) enum Popped {
    Frame(Frame),
    /// Nothing in that time.
    Nothing,
    /// It was closed, and all that was in it was taken.
    Closed,
}

impl Queue {
    /// Takes a frame, or leaves it out where the disk is too slow. Never waits.
    pub fn push(&self, frame: Frame) {
        let video = frame.format.codec.kind() == MediaKind::Video;
        let mut state = self.state();
        if state.closed {
            return;
        }
        let full = state.bytes + frame.data.len() > MOST_BYTES || state.frames.len() >= MOST_FRAMES;
        if full || (state.lost && video && !frame.key) {
            state.dropped += 1;
            state.lost |= video;
            return;
        }
        state.lost &= !video;
        state.bytes += frame.data.len();
        state.frames.push_back(frame);
        self.filled.notify_one();
    }

    /// Waits for the next.
    pub fn pop(&self, longest: Duration) -> Popped {
        let empty = |state: &mut State| state.frames.is_empty() && !state.closed;
        let (mut state, _) = self.filled.wait_timeout_while(self.state(), longest, empty).unwrap_or_else(PoisonError::into_inner);
        match state.frames.pop_front() {
            Some(frame) => {
                state.bytes = state.bytes.saturating_sub(frame.data.len());
                Popped::Frame(frame)
            }
            None if state.closed => Popped::Closed,
            None => Popped::Nothing,
        }
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }

    /// Frames left out since the last call.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock, and every state is valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::media::record::matroska::Format;
    use crate::vocab::Codec;

    fn frame(codec: Codec, key: bool, bytes: usize) -> Frame {
        let format = Arc::new(Format { codec, private: Vec::new(), width: 0, height: 0 });
        Frame { format, time: Duration::ZERO, key, data: vec![0; bytes].into() }
    }

    #[test]
    fn a_disk_that_is_too_slow_costs_frames_up_to_the_next_key_frame_and_nobody_waits() {
        let queue = Queue::default();
        let push = |key, bytes| queue.push(frame(Codec::VP8, key, bytes));
        push(true, MOST_BYTES - 10);
        push(false, 11);
        push(false, 1);
        queue.push(frame(Codec::Opus, true, 5));
        assert_eq!(queue.take_dropped(), 2, "a picture that misses its reference is of no use, sound is");
        let popped = || match queue.pop(Duration::ZERO) {
            Popped::Frame(frame) => Some((frame.format.codec, frame.data.len())),
            _ => None,
        };
        assert_eq!(popped(), Some((Codec::VP8, MOST_BYTES - 10)));
        push(false, 1);
        push(true, 2);
        push(false, 3);
        assert_eq!(
            [popped(), popped(), popped(), popped()],
            [Some((Codec::Opus, 5)), Some((Codec::VP8, 2)), Some((Codec::VP8, 3)), None]
        );
        assert_eq!(queue.take_dropped(), 1);
        push(true, 7);
        queue.close();
        push(true, 8);
        assert_eq!(popped(), Some((Codec::VP8, 7)), "what is in it is still taken");
        assert!(matches!(queue.pop(Duration::from_secs(60)), Popped::Closed));
    }
}
