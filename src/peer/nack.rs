//! PURE. Which packets of a stream are missing, and when a publisher is asked for them (RFC 4585 §6.2.1).
//!
//! The engine's own generator is not used: it looks at packets before retransmissions are put in their place, so it goes on asking for
//! what has come by RTX, every 100 ms and without end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From a gap to the first question: packets that overtook each other are in order again by then. Where they are not it becomes longer.
const PATIENCE: Duration = Duration::from_millis(5);
/// Longest time to a first question.
const MOST_PATIENCE: Duration = Duration::from_millis(100);
/// Each gap that was none takes so much of the difference from what is believed of overtaking, as a divisor, unless it took longer.
const FORGET: u32 = 512;
/// Shortest time from one question for a packet to the next; with a longer round trip it is a quarter more than that. From the fourth on it doubles
/// with each: who does not answer may be held up.
const SPACING: Duration = Duration::from_millis(40);
/// The same while the round trip is not known.
const UNKNOWN: Duration = Duration::from_millis(100);
/// Questions for one packet before they become rarer: on a bad line question and answer are lost as other packets are.
const STEADY: u8 = 3;
/// Questions for one packet.
const QUESTIONS: u8 = 6;
/// What is older is not asked for any more: it is of little use to a live picture.
const AGE: Duration = Duration::from_secs(1);
/// It is taken so long, should an answer still be on its way.
const KEPT: Duration = Duration::from_secs(2);
/// Most packets missed at a time, about a second at 2 Mbit/s. After a longer gap only a key frame helps.
const MOST: usize = 256;
/// A jump by so many is a new beginning (MAX_DROPOUT of RFC 3550 appendix A.1).
const JUMP: u16 = 3000;
/// Packets that come pay for questions, this many for one: so a line that loses most of what it carries is not burdened with
/// retransmissions of all of it.
const PRICE: u32 = 2;
/// Most that is saved up, and what a stream begins with, in packets.
const SAVINGS: u32 = 512;

/// A packet that has not come.
#[derive(Debug)]
struct Gap {
    sequence: u16,
    since: Instant,
    ask_at: Instant,
    asked: u8,
    /// When it was asked for first.
    first: Option<Instant>,
}

/// What a packet was that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Newer than all before.
    Next,
    /// One that was missing.
    Filled {
        /// It was asked for.
        asked: bool,
    },
    /// One that came before, or was given up.
    Other,
}

/// What a stream is missing.
#[derive(Debug)]
pub(super) struct Missing {
    highest: Option<u16>,
    /// In order of sequence number; at most [`MOST`].
    gaps: VecDeque<Gap>,
    savings: u32,
    /// How long it takes until packets that were overtaken are there, as a rule.
    overtaken: Duration,
    trip: Option<Duration>,
}

impl Default for Missing {
    fn default() -> Self {
        Self { highest: None, gaps: VecDeque::new(), savings: SAVINGS, overtaken: Duration::ZERO, trip: None }
    }
}

impl Missing {
    /// A packet came, by itself or, as `again` says, as a retransmission that is known as such.
    pub(super) fn arrived(&mut self, now: Instant, sequence: u16, again: bool) -> Arrival {
        self.savings = (self.savings + 1).min(SAVINGS);
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return Arrival::Next;
        };
        let ahead = sequence.wrapping_sub(highest);
        let behind = highest.wrapping_sub(sequence);
        if behind < JUMP {
            let gap = self.gaps.iter().position(|gap| gap.sequence == sequence);
            return match gap.and_then(|at| self.gaps.remove(at)) {
                Some(gap) => {
                    self.learn(now, &gap, again);
                    Arrival::Filled { asked: gap.asked > 0 }
                }
                None => Arrival::Other,
            };
        }
        self.highest = Some(sequence);
        let missed = usize::from(ahead - 1);
        if ahead >= JUMP || self.gaps.len() + missed > MOST {
            self.gaps.clear();
            return Arrival::Next;
        }
        let ask_at = now + (self.overtaken * 5 / 4).clamp(PATIENCE, MOST_PATIENCE);
        let gap = |offset: u16| Gap { sequence: highest.wrapping_add(offset), since: now, ask_at, asked: 0, first: None };
        self.gaps.extend((1..ahead).map(gap));
        while self.gaps.front().is_some_and(|gap| sequence.wrapping_sub(gap.sequence) >= JUMP) {
            self.gaps.pop_front();
        }
        Arrival::Next
    }

    /// A gap is filled. What came without a question, or sooner than its answer can be there, was overtaken.
    fn learn(&mut self, now: Instant, gap: &Gap, again: bool) {
        let answered = |first: Instant| now.saturating_duration_since(first) >= self.trip.unwrap_or(UNKNOWN);
        if again || gap.first.is_some_and(answered) {
            self.overtaken -= self.overtaken / FORGET;
            return;
        }
        let took = now.saturating_duration_since(gap.since).min(MOST_PATIENCE);
        self.overtaken = match took.checked_sub(self.overtaken) {
            Some(longer) => self.overtaken + longer,
            None => self.overtaken - (self.overtaken - took) / FORGET,
        };
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.gaps.iter().map(|gap| gap.ask_at).min()
    }

    /// Packets to be asked for now, in order.
    pub(super) fn due(&mut self, now: Instant, round_trip: Option<Duration>) -> Vec<u16> {
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.trip = round_trip;
        let spacing = round_trip.map_or(UNKNOWN, |trip| (trip * 5 / 4).max(SPACING));
        let mut due = Vec::new();
        for gap in self.gaps.iter_mut().filter(|gap| gap.ask_at <= now) {
            let (given_up, kept) = (gap.since + AGE, gap.since + KEPT);
            if self.savings >= PRICE && now < given_up {
                self.savings -= PRICE;
                gap.asked += 1;
                gap.first.get_or_insert(now);
                due.push(gap.sequence);
            }
            gap.ask_at = now + spacing * (1 << gap.asked.saturating_sub(STEADY));
            if gap.asked == QUESTIONS || gap.ask_at >= given_up {
                gap.ask_at = kept;
            }
        }
        self.gaps.retain(|gap| now < gap.since + KEPT);
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRIP: Option<Duration> = Some(Duration::from_millis(60));

    /// What is asked for in the time after, in steps of 5 ms.
    fn asked(missing: &mut Missing, from: Instant, time: Duration, trip: Option<Duration>) -> Vec<(u64, u16)> {
        let steps = time.as_millis() as u64 / 5;
        let at = |step: u64| from + Duration::from_millis(5 * step);
        (1..=steps).flat_map(|step| missing.due(at(step), trip).into_iter().map(move |sequence| (5 * step, sequence))).collect()
    }

    #[test]
    fn a_gap_is_asked_for_until_it_is_given_up() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        [65534, 65535, 1].into_iter().for_each(|sequence| _ = missing.arrived(now, sequence, false));
        assert_eq!(missing.next(), Some(now + PATIENCE));
        let times: Vec<u64> = asked(&mut missing, now, Duration::from_secs(3), TRIP)
            .into_iter()
            .map(|(at, sequence)| {
                assert_eq!(sequence, 0);
                at
            })
            .collect();
        assert_eq!(times, [5, 80, 155, 230, 380, 680]);
        assert_eq!(missing.next(), None, "given up");
    }

    #[test]
    fn an_answer_that_was_held_up_is_taken_for_two_seconds() {
        for (after, came) in [(1_900, Arrival::Filled { asked: true }), (2_100, Arrival::Other)] {
            let (mut missing, now) = (Missing::default(), Instant::now());
            [1, 3].into_iter().for_each(|sequence| _ = missing.arrived(now, sequence, false));
            let after = Duration::from_millis(after);
            assert_eq!(asked(&mut missing, now, after, Some(Duration::ZERO)).len(), 6, "at 5, 45, 85, 125, 205 and 365 ms");
            assert_eq!(missing.arrived(now + after, 2, false), came);
        }
    }

    #[test]
    fn what_came_late_or_again_is_not_asked_for_any_more() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        [10, 14].into_iter().for_each(|sequence| _ = missing.arrived(now, sequence, false));
        assert_eq!(missing.arrived(now, 12, false), Arrival::Filled { asked: false });
        assert_eq!(missing.due(now + PATIENCE, TRIP), [11, 13]);
        let came = [11, 11, 13].map(|sequence| missing.arrived(now, sequence, false));
        assert_eq!(came, [Arrival::Filled { asked: true }, Arrival::Other, Arrival::Filled { asked: true }]);
        assert_eq!(asked(&mut missing, now, AGE, TRIP), []);
    }

    /// Packets that overtake each other by up to 60 ms, without a loss: `(when it arrives in ms, number)`, of one packet each 5 ms.
    fn overtaking(count: u16) -> Vec<(u64, u16)> {
        let mut arrivals: Vec<_> = (0..count).map(|n| (5 * u64::from(n) + u64::from(n) * 37 % 60, n)).collect();
        arrivals.sort();
        arrivals
    }

    #[test]
    fn what_is_only_overtaken_is_soon_not_asked_for() {
        for trip in [TRIP, None] {
            let (mut missing, now, mut questions) = (Missing::default(), Instant::now(), [0; 2]);
            for (at, sequence) in overtaking(4000) {
                let now = now + Duration::from_millis(at);
                let _ = missing.arrived(now, sequence, false);
                questions[usize::from(sequence >= 1000)] += missing.due(now, trip).len();
            }
            assert!(questions[0] < 50 && questions[1] == 0, "{questions:?}");
        }
    }

    #[test]
    fn patience_that_is_not_needed_is_lost_again() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        for (at, sequence) in overtaking(1000) {
            let _ = missing.arrived(now + Duration::from_millis(at), sequence, false);
        }
        assert!(missing.overtaken > Duration::from_millis(30), "{:?}", missing.overtaken);
        let later = now + Duration::from_secs(10);
        for n in 0..3000u64 {
            let (now, sequence) = (later + Duration::from_millis(50 * n), 1002 + 2 * n as u16);
            let _ = missing.arrived(now, sequence, false);
            let _ = missing.arrived(now + Duration::from_millis(20), sequence.wrapping_sub(1), true);
        }
        assert!(missing.overtaken < PATIENCE, "{:?}", missing.overtaken);
    }

    #[test]
    fn with_a_long_way_questions_are_rarer_and_end_with_use() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        [1, 3].into_iter().for_each(|sequence| _ = missing.arrived(now, sequence, false));
        let times = asked(&mut missing, now, Duration::from_secs(3), Some(Duration::from_millis(300)));
        assert_eq!(times, [(5, 2), (380, 2), (755, 2)], "none when a second has passed");
    }

    #[test]
    fn a_long_gap_and_a_new_beginning_are_not_asked_for() {
        for (last, next) in [(5, 5 + 258), (5, 4000), (40_000, 5)] {
            let (mut missing, now) = (Missing::default(), Instant::now());
            [last, next].into_iter().for_each(|sequence| _ = missing.arrived(now, sequence, false));
            assert_eq!(missing.next(), None, "{last} to {next}");
            assert_eq!(missing.arrived(now, next + 2, false), Arrival::Next);
            assert_eq!(missing.due(now + PATIENCE, None), [next + 1], "what comes after is");
        }
    }

    #[test]
    fn who_loses_most_is_asked_for_little() {
        let (mut missing, mut now, mut questions, mut sequence) = (Missing::default(), Instant::now(), 0, 0u16);
        for _ in 0..10_000 {
            now += Duration::from_millis(5);
            // three in four are lost, and so is what is sent again
            sequence = sequence.wrapping_add(4);
            assert_eq!(missing.arrived(now, sequence, false), Arrival::Next);
            questions += missing.due(now, TRIP).len();
        }
        assert!((4_000..6_000).contains(&questions), "{questions}");
    }

    proptest! {
        #[test]
        fn any_numbers_stay_within_bounds(numbers in proptest::collection::vec((any::<u16>(), 0u64..50, any::<bool>()), 0..400)) {
            let (mut missing, mut now, mut base) = (Missing::default(), Instant::now(), 0u16);
            for (number, millis, near) in numbers {
                now += Duration::from_millis(millis);
                base = if near { base.wrapping_add(number % 300) } else { number };
                let _ = missing.arrived(now, base, false);
                let due = missing.due(now, None);
                prop_assert!(missing.gaps.len() <= MOST && due.len() <= MOST);
                let highest = missing.highest.unwrap();
                prop_assert!(missing.gaps.iter().all(|gap| (1..JUMP).contains(&highest.wrapping_sub(gap.sequence))));
            }
        }
    }
}
