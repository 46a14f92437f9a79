//! PURE. Whether the rest of a frame that is arriving is worth a short wait.
//!
//! A publisher's frame comes as several datagrams, and each that is read alone costs every viewer a train of its own and the thread a
//! turn. Waiting pays where the next datagram is close behind, on a LAN or behind a fast uplink, and only delays where it is not; so it
//! is tried, and less often the more often nothing came.

use std::time::{Duration, Instant};

/// How long a thread looks away from its sockets while a frame is arriving. Far ends on a LAN send the datagrams of a burst within 10 to
/// 100 µs of each other.
pub(super) const PAUSE: Duration = Duration::from_micros(150);
/// Longest time from a frame's first datagram to its way on, if nothing else delays it.
const LIMIT: Duration = Duration::from_micros(500);
/// After so many vain waits in a row the bursts that are not waited for are 2 to this power.
const MOST: u32 = 6;

/// The waits of one incoming track.
#[derive(Debug, Default)]
pub(super) struct Gather {
    waiting: Option<Waiting>,
    /// Waits in a row that brought nothing.
    vain: u32,
    /// Bursts left that are not waited for.
    skip: u32,
}

#[derive(Debug)]
struct Waiting {
    began: Instant,
    /// When more came last.
    grew: Instant,
    packets: usize,
}

impl Gather {
    /// Asked in each turn while packets are there: whether to leave them where they are for one more [`PAUSE`]. `packets`: how many
    /// there are; `whole`: the last of a frame is among them.
    pub(super) fn wait(&mut self, now: Instant, packets: usize, whole: bool) -> bool {
        let Some(waiting) = &mut self.waiting else {
            let skipped = !whole && self.skip > 0;
            self.skip -= u32::from(skipped);
            if !whole && !skipped {
                self.waiting = Some(Waiting { began: now, grew: now, packets });
            }
            return self.waiting.is_some();
        };
        if packets > waiting.packets {
            (waiting.packets, waiting.grew) = (packets, now);
            self.vain = 0;
        }
        let over = whole || now >= waiting.began + LIMIT || now >= waiting.grew + PAUSE;
        if over {
            if now >= waiting.grew + PAUSE && waiting.grew == waiting.began {
                self.vain = (self.vain + 1).min(MOST);
                self.skip = (1 << self.vain) - 1;
            }
            self.waiting = None;
        }
        !over
    }

    /// When the first of the packets that wait came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(50);

    #[test]
    fn a_whole_frame_is_not_waited_for() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert!(!gather.wait(now, 7, true));
        assert_eq!(gather.since(), None);
    }

    #[test]
    fn the_rest_of_a_frame_is_waited_for() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert!(gather.wait(now, 1, false));
        assert_eq!(gather.since(), Some(now));
        assert!(gather.wait(now, 1, false), "asked again in the same turn");
        assert!(gather.wait(now + STEP, 1, false), "before the pause is over");
        assert!(gather.wait(now + PAUSE, 5, false));
        assert!(!gather.wait(now + PAUSE + STEP, 8, true));
        assert!(gather.wait(now + 10 * PAUSE, 1, false), "it was worth it");
    }

    #[test]
    fn a_wait_has_an_end() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        let waited = (0..100).take_while(|step| gather.wait(now + *step * STEP, *step as usize, false)).count();
        assert_eq!(waited as u32, LIMIT.as_micros() as u32 / STEP.as_micros() as u32);
    }

    #[test]
    fn vain_waits_become_rare_and_a_good_one_makes_them_usual_again() {
        let (mut gather, mut now) = (Gather::default(), Instant::now());
        let mut burst = |gather: &mut Gather, more: bool| {
            now += Duration::from_millis(30);
            let waited = gather.wait(now, 1, false);
            if waited {
                assert!(!gather.wait(now + PAUSE, if more { 2 } else { 1 }, more));
            }
            waited
        };
        let waits = (0..1000).filter(|_| burst(&mut gather, false)).count();
        assert!((10..30).contains(&waits), "{waits}");
        // the next that is waited for brings something
        while !burst(&mut gather, true) {}
        assert!((0..100).all(|_| burst(&mut gather, true)));
    }
}
