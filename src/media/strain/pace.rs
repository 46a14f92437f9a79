//! PURE. Whether an encoder keeps up with what it is given, or has stopped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Pressure;

/// How often an encoder is looked at.
pub const LOOK: Duration = Duration::from_millis(250);
/// What is judged: the last looks over this time.
const WINDOW: Duration = Duration::from_secs(2);
/// Most looks kept.
const MOST: usize = 32;
/// With fewer frames than these nothing can be said.
const FEWEST: u64 = 8;
/// An encoder that was well and gives nothing for this long, while frames come in, has stopped.
pub const STOPPED: Duration = Duration::from_millis(1250);
/// Looks that must show new frames meanwhile, so that a machine that stood still is not taken for it.
const STOPPED_LOOKS: usize = 4;
/// Frames that wait this many times the distance of two frames are late: the queue is full.
const LATE: u32 = 5;

/// What was counted at an encoder up to a moment. Begins anew with each encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames that came to its queue.
    pub entered: u64,
    /// Frames that left it.
    pub left: u64,
    /// Time that those spent in it, added up.
    pub spent: Duration,
}

/// The last looks at one encoder.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    looks: VecDeque<(Instant, Count)>,
}

impl Pace {
    /// Takes in a look.
    pub fn look(&mut self, now: Instant, count: Count) {
        let anew = self.looks.back().is_some_and(|(_, last)| count.entered < last.entered || count.left < last.left);
        if anew {
            self.looks.clear();
        }
        self.looks.push_back((now, count));
        // one that is as old as the window stays, to count from
        while self.looks.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) || self.looks.len() > MOST {
            self.looks.pop_front();
        }
    }

    /// Judges the encoder `name` by the last 2 s; before that, nothing is wrong.
    pub fn judge(&self, name: &str) -> Pressure {
        let (Some((began, first)), Some((now, last))) = (self.looks.front(), self.looks.back()) else { return Pressure::Steady };
        let time = now.saturating_duration_since(*began);
        let (entered, left) = (last.entered - first.entered, last.left - first.left);
        if time < WINDOW || entered < FEWEST {
            return Pressure::Steady;
        }
        if left * 100 < entered * 85 {
            return Pressure::Over(format!("{name} gives {left} of {entered} pictures"));
        }
        let mean = |spent: Duration, frames: u64| spent / u32::try_from(frames).unwrap_or(u32::MAX).max(1);
        let (taken, apart) = (mean(last.spent.saturating_sub(first.spent), left), mean(time, entered));
        if taken > apart * LATE {
            return Pressure::Over(format!("{name} takes {} ms for a picture", taken.as_millis()));
        }
        if left * 100 >= entered * 95 { Pressure::Relieved } else { Pressure::Steady }
    }

    /// Whether the encoder has stopped in the middle.
    pub fn has_stopped(&self) -> bool {
        let Some((now, last)) = self.looks.back() else { return false };
        let mut since = *now;
        let mut fed = 0;
        let mut later = last.entered;
        for (at, count) in self.looks.iter().rev().skip(1) {
            if count.left != last.left {
                break;
            }
            since = *at;
            fed += usize::from(count.entered < later);
            later = count.entered;
        }
        last.left > 0 && fed >= STOPPED_LOOKS && now.saturating_duration_since(since) >= STOPPED
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks four times a second at an encoder that is given `fps` frames and gives `out` of them, each after `taken`.
    fn pace(seconds: u64, fps: u64, out: u64, taken: Duration) -> Pace {
        let mut pace = Pace::default();
        run(&mut pace, Instant::now(), Count::default(), seconds, fps, out, taken);
        pace
    }

    fn run(pace: &mut Pace, start: Instant, from: Count, seconds: u64, fps: u64, out: u64, taken: Duration) -> (Instant, Count) {
        let (mut now, mut count) = (start, from);
        for look in 1..=seconds * 4 {
            now = start + LOOK * u32::try_from(look).unwrap();
            let left = look * out / 4;
            count = Count {
                entered: from.entered + look * fps / 4,
                left: from.left + left,
                spent: from.spent + taken * u32::try_from(left).unwrap(),
            };
            pace.look(now, count);
        }
        (now, count)
    }

    #[test]
    fn an_encoder_is_judged_by_what_comes_out_and_how_late() {
        let ms = Duration::from_millis;
        let is_over = |pace: &Pace| matches!(pace.judge("x264enc"), Pressure::Over(_));
        assert_eq!(pace(4, 30, 30, ms(10)).judge("x264enc"), Pressure::Relieved);
        assert_eq!(pace(4, 30, 27, ms(30)).judge("x264enc"), Pressure::Steady);
        let slow = pace(4, 30, 16, ms(60));
        assert_eq!(slow.judge("x264enc"), Pressure::Over("x264enc gives 32 of 60 pictures".into()));
        // a codec may hold some pictures, as hardware does; it may not hold ever more
        assert_eq!(pace(4, 30, 30, ms(100)).judge("x264enc"), Pressure::Relieved);
        assert!(is_over(&pace(4, 30, 30, ms(200))));
        // nothing is said of what is too short or too little
        assert_eq!(pace(1, 30, 10, ms(60)).judge("x264enc"), Pressure::Steady);
        assert_eq!(pace(4, 2, 1, ms(900)).judge("x264enc"), Pressure::Steady);
        assert_eq!(Pace::default().judge("x264enc"), Pressure::Steady);
    }

    #[test]
    fn one_that_gives_nothing_any_more_has_stopped() {
        let taken = Duration::from_millis(10);
        let start = Instant::now();
        let mut pace = Pace::default();
        let (now, count) = run(&mut pace, start, Count::default(), 3, 30, 30, taken);
        assert!(!pace.has_stopped());
        let mut stuck = pace.clone();
        let (mut at, mut looked) = (now, count);
        let mut looks = 0;
        while !stuck.has_stopped() {
            (at, looked.entered, looks) = (at + LOOK, looked.entered + 7, looks + 1);
            stuck.look(at, looked);
        }
        assert_eq!(at - now, STOPPED, "{looks} looks");
        // a source that gives nothing, or a machine that stands still, is another matter
        let mut still = pace.clone();
        (1..=20u32).for_each(|look| still.look(now + LOOK * look, count));
        assert!(!still.has_stopped());
        still.look(now + Duration::from_secs(20), Count { entered: count.entered + 300, ..count });
        assert!(!still.has_stopped());
        // one that has not begun may take its time
        let mut begins = Pace::default();
        run(&mut begins, start, Count::default(), 5, 30, 0, taken);
        assert!(!begins.has_stopped());
    }

    proptest! {
        /// Whatever is counted, in whatever order: bounded, and no panic.
        #[test]
        fn odd_counts_do_no_harm(counts in proptest::collection::vec((any::<u64>(), any::<u64>(), 0u64..5000), 0..100)) {
            let (mut pace, mut now) = (Pace::default(), Instant::now());
            for (entered, left, ms) in counts {
                now += Duration::from_millis(ms);
                pace.look(now, Count { entered: entered / 200, left: left / 200, spent: Duration::from_millis(left % 1000) });
                pace.judge("any");
                pace.has_stopped();
                prop_assert!(pace.looks.len() <= MOST);
            }
        }
    }
}
