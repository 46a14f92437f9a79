//! PURE. Which layers of a picture are encoded, and at which bit rates: what the viewers' ways carry decides.
//!
//! The largest layer serves those who can take it at its best; one viewer on a narrow way must not cost the others their picture, so it
//! gets a smaller layer, as long as the encoders' budget has one. Where there is none, all share one rate, within reason.

use std::time::{Duration, Instant};

use crate::forward::Layers;

/// What a layer leaves free of a way, in percent: encoders miss their rate, and a viewer steps up only with that much room.
const HEADROOM: u64 = 18;
/// Ways that carry so much of the best of a layer's ways, in percent, share the layer.
const TOGETHER: u64 = 75;
/// Least rate of a layer that is not the last, in thousandths of the full rate.
const LEAST: [u64; Layers::MAX] = [330, 100, 25];
/// Highest rate of a layer, in thousandths of the full rate: more would show nothing at that size.
const MOST: [u64; Layers::MAX] = [1000, 500, 160];
/// The last layer is not lowered below so much for those who could take more, in thousandths of the full rate.
const FLOOR: [u64; Layers::MAX] = [250, 80, 25];
/// No layer is encoded at less, bit/s: nothing can be seen any more.
const BARELY: u64 = 40_000;
/// A layer nobody needs any more runs on so long.
const LINGER: Duration = Duration::from_secs(8);
/// From one change of a rate to the next higher one.
const SETTLE: Duration = Duration::from_secs(2);
/// A rate rises by so much at a time, in percent, unless nothing is in the way of the full one: estimates of what a way carries beyond what
/// is sent on it are guesses.
const STEP: u64 = 130;
/// How long a rate that fell stays down: at first, and at most, where each rise was followed by a fall.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(60));
/// A rise that is followed by a fall within this time was wrong.
const TRIAL: Duration = Duration::from_secs(10);
/// A rate is changed when it differs by so much, in percent: downwards, upwards.
const DIFFERS: (u64, u64) = (5, 10);

/// The rate of each layer, full size first, in bit/s; `None` for one that is not needed.
pub type Rates = [Option<u64>; Layers::MAX];

/// A size of a picture in each layer: whole, half, quarter.
pub fn size(width: u32, height: u32, index: usize) -> (u32, u32) {
    let shift = index.min(Layers::MAX - 1) as u32;
    // 4:2:0 needs even numbers
    let part = |pixels: u32| if shift == 0 { pixels } else { ((pixels >> shift) & !1).max(2) };
    (part(width), part(height))
}

/// How many layers make sense of a picture: the smallest is not to be narrower than 160 pixels.
pub fn count(width: u32, height: u32) -> usize {
    (1..=Layers::MAX).rev().find(|count| (width.min(height * 2) >> (count - 1)) >= 160).unwrap_or(1)
}

/// What is needed now. `full` is the rate of the largest layer where nothing is in the way; `told` are the rates that viewers' ways carry;
/// `others` tells that there are viewers of whose ways nothing is known: they get the best. At most `count` layers (1 to 3).
pub fn needed(full: u64, told: &[u64], others: bool, count: usize) -> Rates {
    let part = |thousandths: u64| (full.saturating_mul(thousandths) / 1000).max(BARELY).min(full.max(BARELY));
    let usable = |bps: u64| (bps.min(full.saturating_mul(2)).saturating_mul(100 - HEADROOM) / 100).min(full);
    let mut rates: Vec<u64> = told.iter().map(|bps| usable(*bps)).chain(others.then_some(full)).collect();
    rates.sort_unstable_by(|a, b| b.cmp(a));
    let mut needed = Rates::default();
    let mut rest = &rates[..];
    let last = count.clamp(1, Layers::MAX) - 1;
    for index in 0..=last {
        let (Some(best), Some(worst)) = (rest.first(), rest.last()) else { break };
        let top = part(MOST[index]);
        if index == last {
            let floor = (*best).min(part(FLOOR[index]));
            needed[index] = Some((*worst).max(floor).clamp(BARELY.min(top), top));
            break;
        }
        if *best < part(LEAST[index]) {
            continue;
        }
        let best = (*best).min(top);
        let members = rest.iter().take_while(|rate| **rate * 100 >= best * TOGETHER).count();
        needed[index] = rest.get(members.saturating_sub(1)).map(|rate| (*rate).min(top));
        rest = &rest[members..];
    }
    needed
}

/// What is to be done with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Begin to encode it, at that rate.
    Start(usize, u64),
    /// Another rate for it.
    Rate(usize, u64),
    /// Encode it no more.
    Stop(usize),
}

/// The layers of one codec of a source over time: what is needed is followed at once where a way is too narrow, else with care.
#[derive(Clone, Debug, Default)]
pub struct Layering {
    running: [Option<Running>; Layers::MAX],
}

#[derive(Clone, Copy, Debug)]
struct Running {
    rate: u64,
    /// When the rate was changed last.
    changed: Instant,
    /// The last time it rose.
    rose: Option<Instant>,
    /// How long it stays down after the last fall.
    back_off: Option<Duration>,
    /// Since when it is not needed.
    idle: Option<Instant>,
}

impl Running {
    fn new(now: Instant, rate: u64) -> Self {
        Self { rate, changed: now, rose: None, back_off: None, idle: None }
    }

    /// Takes another rate, if it is to; `sure` tells that nothing is in its way.
    fn follow(&mut self, now: Instant, rate: u64, sure: bool) -> Option<u64> {
        let since = |then: Instant| now.saturating_duration_since(then);
        let lower = rate.saturating_mul(100) <= self.rate.saturating_mul(100 - DIFFERS.0);
        let higher = rate.saturating_mul(100) >= self.rate.saturating_mul(100 + DIFFERS.1);
        if lower {
            let wrong = self.rose.take().is_some_and(|rose| since(rose) < TRIAL);
            let longer = |last: Duration| (last * 2).min(BACK_OFF.1);
            self.back_off = Some(self.back_off.filter(|_| wrong).map_or(BACK_OFF.0, longer));
            (self.rate, self.changed) = (rate, now);
        } else if higher && since(self.changed) >= if sure { SETTLE } else { self.back_off.unwrap_or(SETTLE) } {
            self.rate = if sure { rate } else { rate.min(self.rate / 100 * STEP) };
            (self.changed, self.rose) = (now, Some(now));
        } else {
            return None;
        }
        Some(self.rate)
    }
}

impl Layering {
    /// Layers that run, with their rates.
    pub fn rates(&self) -> Rates {
        self.running.map(|running| running.map(|it| it.rate))
    }

    /// A layer was started for another reason.
    pub fn started(&mut self, now: Instant, index: usize, rate: u64) {
        if let Some(running) = self.running.get_mut(index) {
            *running = Some(Running::new(now, rate));
        }
    }

    /// A layer ended for another reason.
    pub fn ended(&mut self, index: usize) {
        if let Some(running) = self.running.get_mut(index) {
            *running = None;
        }
    }

    /// What to do. `full` is the rate of the largest layer where nothing is in the way; `watched` tells which layers somebody gets now. One of
    /// the layers always runs.
    pub fn follow(&mut self, now: Instant, full: u64, needed: Rates, watched: [bool; Layers::MAX]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (index, (running, need)) in self.running.iter_mut().zip(needed).enumerate() {
            match (&mut *running, need) {
                (None, Some(rate)) => {
                    *running = Some(Running::new(now, rate));
                    changes.push(Change::Start(index, rate));
                }
                (Some(running), Some(rate)) => {
                    running.idle = None;
                    if let Some(rate) = running.follow(now, rate, rate >= full) {
                        changes.push(Change::Rate(index, rate));
                    }
                }
                (Some(it), None) => {
                    let idle = it.idle.filter(|_| !watched[index]).unwrap_or(now);
                    it.idle = Some(idle);
                    let others = needed.iter().any(Option::is_some);
                    if others && now.saturating_duration_since(idle) >= LINGER {
                        *running = None;
                        changes.push(Change::Stop(index));
                    }
                }
                (None, None) => {}
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: u64 = 2_000_000;

    #[test]
    fn pictures_have_as_many_layers_as_can_be_seen() {
        assert_eq!((count(1280, 720), count(640, 360), count(320, 240), count(176, 144)), (3, 3, 2, 1));
        assert_eq!((count(720, 1280), count(16, 16)), (3, 1));
        assert_eq!((size(640, 360, 0), size(640, 360, 1), size(640, 360, 2)), ((640, 360), (320, 180), (160, 90)));
        assert_eq!((size(1366, 768, 1), size(1, 1, 2)), ((682, 384), (2, 2)));
    }

    #[test]
    fn who_tells_nothing_gets_the_best() {
        assert_eq!(needed(FULL, &[], true, 3), [Some(FULL), None, None]);
        assert_eq!(needed(FULL, &[20_000_000], true, 3), [Some(FULL), None, None]);
        assert_eq!(needed(FULL, &[], false, 3), Rates::default());
    }

    #[test]
    fn one_on_a_narrow_way_gets_a_layer_and_costs_the_others_nothing() {
        assert_eq!(needed(FULL, &[500_000], true, 3), [Some(FULL), Some(410_000), None]);
        assert_eq!(needed(FULL, &[500_000, 120_000, 20_000_000], true, 3), [Some(FULL), Some(410_000), Some(98_400)]);
        assert_eq!(needed(FULL, &[100_000], true, 3), [Some(FULL), None, Some(82_000)]);
        // between the sizes: half a size more would not fit
        assert_eq!(needed(FULL, &[1_500_000], true, 3), [Some(FULL), Some(1_000_000), None]);
    }

    #[test]
    fn those_who_watch_alone_decide_the_rate() {
        assert_eq!(needed(FULL, &[1_500_000], false, 3), [Some(1_230_000), None, None]);
        assert_eq!(needed(FULL, &[1_500_000, 1_300_000], false, 3), [Some(1_066_000), None, None], "both by one encoder");
        assert_eq!(needed(FULL, &[500_000, 480_000], false, 3), [None, Some(393_600), None], "and no larger one");
        assert_eq!(needed(FULL, &[60_000], false, 3), [None, None, Some(49_200)]);
        assert_eq!(needed(FULL, &[10_000], false, 3), [None, None, Some(BARELY)]);
    }

    #[test]
    fn without_a_second_layer_all_share_a_rate_within_reason() {
        assert_eq!(needed(FULL, &[1_500_000], true, 1), [Some(1_230_000), None, None]);
        assert_eq!(needed(FULL, &[100_000], true, 1), [Some(500_000), None, None], "one cannot spoil it for all");
        assert_eq!(needed(FULL, &[100_000], false, 1), [Some(82_000), None, None], "but gets what it can alone");
        assert_eq!(needed(FULL, &[400_000, 100_000], true, 2), [Some(FULL), Some(160_000), None]);
    }

    #[test]
    fn rates_fall_at_once_and_rise_with_care() {
        let now = Instant::now();
        let after = |seconds: f64| now + Duration::from_secs_f64(seconds);
        let mut layering = Layering::default();
        let mut follow =
            |seconds: f64, rate: u64| layering.follow(after(seconds), FULL, [Some(rate), None, None], [true, false, false]);
        assert_eq!(follow(0.0, FULL), [Change::Start(0, FULL)]);
        assert_eq!(follow(0.5, 1_000_000), [Change::Rate(0, 1_000_000)]);
        assert_eq!(follow(1.0, 1_040_000), [], "about the same");
        assert_eq!(follow(4.0, 1_500_000), [], "not at once");
        assert_eq!(follow(4.5, 1_500_000), [Change::Rate(0, 1_300_000)], "and not by much");
        assert_eq!(follow(5.0, 1_000_000), [Change::Rate(0, 1_000_000)], "it was too much");
        assert_eq!(follow(12.0, 1_500_000), [], "so it waits for longer");
        assert_eq!(follow(13.0, 1_500_000), [Change::Rate(0, 1_300_000)]);
        assert_eq!(follow(15.0, FULL), [Change::Rate(0, FULL)], "nothing is in the way any more");
    }

    #[test]
    fn a_layer_ends_after_a_while_and_never_under_a_viewer() {
        let now = Instant::now();
        let mut layering = Layering::default();
        layering.started(now, 0, FULL);
        let needed = [None, Some(400_000), None];
        assert_eq!(layering.follow(now, FULL, needed, [true, false, false]), [Change::Start(1, 400_000)]);
        assert_eq!(layering.follow(now + 2 * LINGER, FULL, needed, [true, true, false]), [], "somebody is still there");
        assert_eq!(layering.follow(now + 3 * LINGER, FULL, needed, [false, true, false]), [Change::Stop(0)]);
        // nobody at all: the source's own linger decides
        assert_eq!(layering.follow(now + 9 * LINGER, FULL, Rates::default(), [false; 3]), []);
        assert_eq!(layering.follow(now + 19 * LINGER, FULL, Rates::default(), [false; 3]), []);
        assert_eq!(layering.rates(), [None, Some(400_000), None]);
    }

    proptest! {
        #[test]
        fn everybody_gets_what_fits_if_anything_can(
            full in 100_000u64..50_000_000,
            told in proptest::collection::vec(0u64..100_000_000, 0..40),
            others: bool,
            count in 1usize..=3,
        ) {
            let rates = needed(full, &told, others, count);
            prop_assert_eq!(rates.iter().any(Option::is_some), others || !told.is_empty());
            prop_assert!(rates[count..].iter().all(Option::is_none));
            let running: Vec<u64> = rates.iter().flatten().copied().collect();
            prop_assert!(running.windows(2).all(|pair| pair[0] >= pair[1]), "smaller ones are lighter: {:?}", rates);
            prop_assert!(running.iter().all(|rate| (BARELY.min(full)..=full).contains(rate)));
            if others {
                let least = if count == 1 { full / 4 } else { full * 3 / 4 };
                prop_assert!(rates[0] >= Some(least), "nobody costs the others much: {:?}", rates);
            }
            if count == 3 {
                for bps in told.iter().filter(|bps| **bps * 3 / 4 >= full / 40 && **bps >= 2 * BARELY) {
                    prop_assert!(running.iter().any(|rate| rate <= bps), "{} of {:?}", bps, rates);
                }
            }
        }
    }
}
