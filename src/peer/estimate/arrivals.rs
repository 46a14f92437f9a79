//! PURE. What arrived lately, by the far end's own word: a way carries at least that. And whether a queue stands on it, by how much longer packets
//! take than the quickest.
//!
//! The controller measures it as well, but more slowly than it decides: a layer that begins with a key frame looks to it like a crowded
//! way that carries what the layer before took.

use std::collections::VecDeque;

/// What is looked at, in microseconds of the far end's clock.
const WINDOW: i64 = 1_000_000;
/// The same for how long packets take.
const QUICK_WINDOW: i64 = 500_000;
/// Packets of a window at most: 20 Mbit/s. Of more the newest count.
const MOST: usize = 2048;
/// A queue stands when even the quickest packets take so much longer than they did, in microseconds.
const STANDING: i64 = 40_000;
/// It is gone when they take no more than that again.
const GONE: i64 = 20_000;
/// Reports of the far end tell of a queue by a round trip that is so much longer than the shortest, in microseconds, and of none below the second:
/// they are few, and count the way back too.
const LATE: (i64, i64) = (150_000, 80_000);
/// What is left of what arrives where a queue stands, in percent: it is to become shorter.
const DRAIN: u64 = 88;
/// Of so many in a hundred that arrive, the others were lost by chance, where no queue stands: radio does that. More of them are taken for a way
/// that carries no more.
const CHANCE: u64 = 92;
/// How long the quickest is remembered: so many terms of ten seconds. Clocks differ, and ways change.
const TERMS: usize = 3;
const TERM: i64 = 10_000_000;

#[derive(Clone, Copy)]
struct Told {
    /// Our clock, microseconds.
    sent: i64,
    /// The far end's, microseconds; `None`: lost.
    arrived: Option<i64>,
    size: u16,
}

/// What was told lately.
#[derive(Default)]
pub(super) struct Arrivals {
    told: VecDeque<Told>,
    /// When the newest that arrived left.
    newest: Option<i64>,
    /// The shortest time on the way by term of our clock, as a difference of two clocks.
    quickest: VecDeque<(i64, i64)>,
    /// A queue stands.
    standing: bool,
    /// How much longer a round trip is than the shortest, in microseconds.
    late: i64,
}

impl Arrivals {
    /// A round trip takes so much longer than the shortest, in microseconds. Packets may be numbered only since a queue stands: then the quickest
    /// says nothing.
    pub(super) fn late(&mut self, late: i64) {
        self.late = late;
    }

    /// How long packets are under way beyond the quickest, on average, in microseconds: as much as the way varies, or as its queue does.
    pub(super) fn spread(&self) -> i64 {
        let Some(newest) = self.newest else { return 0 };
        let recent = self.told.iter().filter(|told| told.sent > newest.saturating_sub(QUICK_WINDOW));
        let took: Vec<i64> = recent.filter_map(|told| Some(told.arrived?.saturating_sub(told.sent))).collect();
        let least = took.iter().copied().min().unwrap_or(0);
        took.iter().fold(0i64, |sum, took| sum.saturating_add(took.saturating_sub(least))) / took.len().max(1) as i64
    }

    /// A packet that left then arrived, or did not.
    pub(super) fn add(&mut self, sent: i64, arrived: Option<i64>, size: u16) {
        if self.told.len() == MOST {
            self.told.pop_front();
        }
        self.told.push_back(Told { sent, arrived, size });
        let Some(arrived) = arrived else { return };
        self.newest = Some(self.newest.map_or(sent, |newest| newest.max(sent)));
        let (term, took) = (sent.div_euclid(TERM), arrived.saturating_sub(sent));
        match self.quickest.iter_mut().find(|(known, _)| *known == term) {
            Some((_, least)) => *least = (*least).min(took),
            None => {
                self.quickest.push_back((term, took));
                if self.quickest.len() > TERMS {
                    self.quickest.pop_front();
                }
            }
        }
    }

    /// When the newest packet that arrived left.
    pub(super) fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// What the way carries at least, in bit/s.
    pub(super) fn floor(&mut self) -> u64 {
        let Some(newest) = self.newest else { return 0 };
        while self.told.front().is_some_and(|told| told.sent <= newest.saturating_sub(WINDOW)) {
            self.told.pop_front();
        }
        let (mut sent, mut arrived) = (0u64, 0u64);
        for told in self.told.iter().filter(|told| told.sent <= newest) {
            sent += u64::from(told.size) * 8;
            arrived += told.arrived.map_or(0, |_| u64::from(told.size) * 8);
        }
        let (queue, late) = (self.queue(), self.late);
        self.standing = match self.standing {
            true => queue > GONE || late > LATE.1,
            false => queue > STANDING || late > LATE.0,
        };
        match self.standing {
            true => self.arrival_rate() * DRAIN / 100,
            false => sent.min(arrived * 100 / CHANCE),
        }
    }

    /// What arrives, by the far end's clock, in bit/s: with a queue that is less than what leaves.
    fn arrival_rate(&self) -> u64 {
        let Some(last) = self.told.iter().filter_map(|told| told.arrived).max() else { return 0 };
        let from = last.saturating_sub(QUICK_WINDOW);
        let recent = self.told.iter().filter(|told| told.arrived.is_some_and(|arrived| arrived > from));
        recent.map(|told| u64::from(told.size) * 8).sum::<u64>() * (1_000_000 / QUICK_WINDOW) as u64
    }

    /// How much longer the quickest of now take than the quickest of the last half minute, in microseconds.
    fn queue(&self) -> i64 {
        let Some(newest) = self.newest else { return 0 };
        let recent = self.told.iter().filter(|told| told.sent > newest.saturating_sub(QUICK_WINDOW));
        let now = recent.filter_map(|told| Some(told.arrived?.saturating_sub(told.sent))).min();
        let least = self.quickest.iter().map(|(_, took)| *took).min();
        now.zip(least).map_or(0, |(now, least)| now.saturating_sub(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1000;

    /// A packet of 1250 bytes each 10 ms is 1 Mbit/s; `lost` of a hundred are lost, and each takes `took` ms.
    fn send(arrivals: &mut Arrivals, from: i64, count: i64, lost: i64, took: impl Fn(i64) -> i64) -> i64 {
        for n in 0..count {
            let sent = from + 10 * MS * n;
            let arrived = (n * lost % 100 >= lost).then(|| 7_000_000 + sent + MS * took(n));
            arrivals.add(sent, arrived, 1250);
        }
        from + 10 * MS * count
    }

    #[test]
    fn what_arrives_is_carried() {
        for (lost, least, most) in [(0, 990_000, 1_000_000), (5, 980_000, 1_000_000), (20, 800_000, 890_000)] {
            let mut arrivals = Arrivals::default();
            send(&mut arrivals, 0, 300, lost, |n| 70 + n * 37 % 60);
            let floor = arrivals.floor();
            assert!((least..=most).contains(&floor), "{lost} %: {floor}");
        }
        assert_eq!(Arrivals::default().floor(), 0);
    }

    #[test]
    fn where_a_queue_stands_it_is_less() {
        let mut arrivals = Arrivals::default();
        let end = send(&mut arrivals, 0, 300, 0, |_| 20);
        // each takes 10 ms longer than the one before: half of it gets through
        send(&mut arrivals, end, 60, 0, |n| 20 + 10 * n);
        let floor = arrivals.floor();
        assert!((420_000..=460_000).contains(&floor), "{floor}");
    }

    #[test]
    fn a_queue_that_stood_before_is_known_by_round_trips() {
        let mut arrivals = Arrivals::default();
        let end = send(&mut arrivals, 0, 300, 0, |_| 20);
        arrivals.late(300 * MS);
        assert_eq!(arrivals.floor(), 880_000);
        arrivals.late(100 * MS);
        assert_eq!(arrivals.floor(), 880_000, "until it is gone");
        arrivals.late(60 * MS);
        assert_eq!(arrivals.floor(), 1_000_000);
        send(&mut arrivals, end, 300, 0, |n| 20 + n * 37 % 60);
        assert!((25 * MS..35 * MS).contains(&arrivals.spread()), "{}", arrivals.spread());
    }

    #[test]
    fn a_longer_way_is_a_queue_for_half_a_minute_at_most() {
        let mut arrivals = Arrivals::default();
        let end = send(&mut arrivals, 0, 300, 0, |_| 20);
        let end = send(&mut arrivals, end, 1000, 0, |_| 90);
        assert_eq!(arrivals.floor(), 880_000);
        send(&mut arrivals, end, 3000, 0, |_| 90);
        assert_eq!(arrivals.floor(), 1_000_000);
    }

    #[test]
    fn strange_times_break_nothing() {
        let mut arrivals = Arrivals::default();
        for (sent, arrived) in [(0, i64::MIN), (0, i64::MAX), (i64::MAX / 2, i64::MIN), (5, 5)] {
            arrivals.add(sent, Some(arrived), u16::MAX);
            let _ = (arrivals.floor(), arrivals.spread());
        }
        (0..10_000).for_each(|n| arrivals.add(n, None, 1));
        assert!(arrivals.told.len() <= MOST);
    }
}
