//! PURE. Which layer of a track a viewer gets, by what its way carries.
//!
//! Down at once, up with care: a layer that does not fit costs a frozen picture, one that would have fitted a less sharp one. A step up
//! that had to be taken back makes the next try wait twice as long.

use std::time::{Duration, Instant};

use crate::forward::Layers;

/// A larger layer must leave so much of the estimate, in percent: rates of encoders go up and down.
const HEADROOM: u64 = 15;
/// A layer in use may exceed the estimate by so much, in percent, before it is left.
const TOLERANCE: u64 = 10;
/// How long a layer in use must not fit before it is left.
const PATIENCE: Duration = Duration::from_millis(600);
/// Beyond so much of what the way carries, in percent, there is nothing to wait for: most of it is lost.
pub(super) const FLOOD: u64 = 150;
/// How long not even the smallest must fit before the picture pauses.
const PAUSE: Duration = Duration::from_secs(3);
/// While so much of the smallest arrives, in percent, it goes on whatever the estimate: a busy machine looks like a crowded way.
const ARRIVES: u64 = 85;
/// From one change to a step up.
const SETTLE: Duration = Duration::from_secs(1);
/// So long after a step up, what arrives counts as well as the estimate: a larger layer begins with a key frame, whose queue the estimate
/// takes for a crowded way.
const GRACE: Duration = Duration::from_secs(6);
/// Beyond so much of what the way carries, in percent, a step up is taken back before it has settled.
const HOPELESS: u64 = 300;
/// A step up that is taken back within this time was wrong.
const TRIAL: Duration = Duration::from_secs(10);
/// The first and longest wait after a wrong step up.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(60));

/// What a viewer is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The layer with this index.
    Layer(usize),
    /// Nothing: not even the smallest fits.
    Pause,
}

/// The choice for one track of one viewer.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    /// Since when what is sent does not fit.
    tight: Option<Instant>,
    /// Since when too little of the smallest arrives.
    starving: Option<Instant>,
    changed: Option<Instant>,
    /// The last step up.
    stepped: Option<Instant>,
    back_off: Option<Duration>,
    /// No step up before.
    wait: Option<Instant>,
}

impl Chooser {
    /// Decides. `rates` are the layers', in bit/s, 0 for one that does not flow; `budget` is what the way is estimated to carry beside all
    /// else, `delivered` what of the track arrived lately; `None` when nobody has told for a while.
    pub(super) fn choose(&mut self, now: Instant, budget: u64, delivered: Option<u64>, rates: &[u64], current: Choice) -> Choice {
        debug_assert!(rates.len() <= Layers::MAX);
        let flowing = || rates.iter().enumerate().filter(|(_, rate)| **rate > 0);
        let Some((smallest, least)) = flowing().min_by_key(|(_, rate)| **rate) else { return current };
        let fits = |rate: u64| rate.saturating_mul(100) <= budget.saturating_mul(100 - HEADROOM);
        let best = flowing().filter(|(_, rate)| fits(**rate)).max_by_key(|(_, rate)| **rate).map(|(index, _)| index);
        match current {
            Choice::Pause => match best {
                Some(_) if self.may_rise(now) => self.change(now, Choice::Layer(smallest), true),
                _ => Choice::Pause,
            },
            Choice::Layer(index) => {
                let rate = rates.get(index).copied().unwrap_or(0);
                if rate == 0 {
                    // a publisher whose own way is too narrow leaves its large layers out
                    return self.change(now, Choice::Layer(best.unwrap_or(smallest)), false);
                }
                let starves = delivered.is_some_and(|delivered| delivered.saturating_mul(100) < least.saturating_mul(ARRIVES));
                // rates and what arrived are not of the same moment: one look says little
                self.starving = self.starving.filter(|_| starves).or(starves.then_some(now));
                let starved = self.starving.is_some_and(|since| now.saturating_duration_since(since) >= PAUSE);
                let risen = self.stepped.map(|stepped| now.saturating_duration_since(stepped));
                let budget = match risen.is_some_and(|risen| risen < GRACE) {
                    true => budget.max(delivered.unwrap_or(0)),
                    false => budget,
                };
                if rate.saturating_mul(100) > budget.saturating_mul(100 + TOLERANCE) {
                    let since = now.saturating_duration_since(*self.tight.get_or_insert(now));
                    let beyond = |part: u64| rate.saturating_mul(100) > budget.saturating_mul(part);
                    let settling = risen.is_some_and(|risen| risen < SETTLE);
                    let overdue = if settling { beyond(HOPELESS) } else { since >= PATIENCE || beyond(FLOOD) };
                    return match best {
                        Some(best) if overdue => self.fall(now, Choice::Layer(best)),
                        None if index != smallest && overdue => self.fall(now, Choice::Layer(smallest)),
                        None if index == smallest && since >= PAUSE && *least > budget && starved => {
                            self.fall(now, Choice::Pause)
                        }
                        _ => current,
                    };
                }
                self.tight = None;
                match best {
                    Some(best) if rates[best] > rate && self.may_rise(now) => self.change(now, Choice::Layer(best), true),
                    _ => current,
                }
            }
        }
    }

    fn may_rise(&self, now: Instant) -> bool {
        let settled = self.changed.is_none_or(|changed| now.saturating_duration_since(changed) >= SETTLE);
        settled && self.wait.is_none_or(|wait| now >= wait)
    }

    fn change(&mut self, now: Instant, to: Choice, up: bool) -> Choice {
        (self.tight, self.starving, self.changed) = (None, None, Some(now));
        if up {
            self.stepped = Some(now);
        }
        to
    }

    fn fall(&mut self, now: Instant, to: Choice) -> Choice {
        let wrong = self.stepped.take().is_some_and(|stepped| now.saturating_duration_since(stepped) < TRIAL);
        self.back_off = wrong.then(|| self.back_off.map_or(BACK_OFF.0, |last| (last * 2).min(BACK_OFF.1)));
        self.wait = self.back_off.map(|wait| now + wait);
        self.change(now, to, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: [u64; 3] = [150_000, 600_000, 2_500_000];
    const TICK: Duration = Duration::from_millis(200);

    struct Viewer {
        chooser: Chooser,
        now: Instant,
        choice: Choice,
        delivered: Option<u64>,
    }

    impl Viewer {
        fn new(choice: Choice) -> Self {
            Self { chooser: Chooser::default(), now: Instant::now(), choice, delivered: Some(0) }
        }

        /// What it gets after so long with such a way.
        fn after(&mut self, ticks: u32, budget: u64) -> Choice {
            for _ in 0..ticks {
                self.choice = self.chooser.choose(self.now, budget, self.delivered, &RATES, self.choice);
                self.now += TICK;
            }
            self.choice
        }
    }

    #[test]
    fn each_way_gets_what_it_carries() {
        for (budget, index) in [(20_000_000, 2), (1_000_000, 1), (500_000, 0)] {
            assert_eq!(Viewer::new(Choice::Layer(0)).after(20, budget), Choice::Layer(index), "{budget}");
            assert_eq!(Viewer::new(Choice::Layer(2)).after(20, budget), Choice::Layer(index), "{budget}");
        }
    }

    #[test]
    fn a_short_dip_changes_nothing_and_a_long_one_does() {
        let mut viewer = Viewer::new(Choice::Layer(2));
        assert_eq!(viewer.after(2, 1_900_000), Choice::Layer(2));
        assert_eq!(viewer.after(5, 5_000_000), Choice::Layer(2));
        assert_eq!(viewer.after(4, 1_900_000), Choice::Layer(1));
        assert_eq!(viewer.after(1, 300_000), Choice::Layer(0), "a flood is left at once");
    }

    #[test]
    fn the_picture_pauses_where_nothing_fits_and_comes_back() {
        let mut viewer = Viewer::new(Choice::Layer(1));
        assert_eq!(viewer.after(5, 60_000), Choice::Layer(0));
        assert_eq!(viewer.after(10, 60_000), Choice::Layer(0), "not at once");
        assert_eq!(viewer.after(10, 60_000), Choice::Pause);
        assert_eq!(viewer.after(10, 160_000), Choice::Pause, "not where it only just fits");
        assert_eq!(viewer.after(2, 20_000_000), Choice::Layer(0), "the smallest first");
        assert_eq!(viewer.after(6, 20_000_000), Choice::Layer(2));
    }

    #[test]
    fn the_picture_goes_on_while_it_arrives_or_nobody_tells() {
        for delivered in [Some(140_000), None] {
            let mut viewer = Viewer { delivered, ..Viewer::new(Choice::Layer(0)) };
            assert_eq!(viewer.after(100, 60_000), Choice::Layer(0), "{delivered:?}");
            viewer.delivered = Some(100_000);
            assert_eq!(viewer.after(10, 60_000), Choice::Layer(0), "not at once");
            assert_eq!(viewer.after(10, 60_000), Choice::Pause);
        }
    }

    #[test]
    fn a_step_up_that_fails_is_tried_less_and_less_often() {
        let mut viewer = Viewer::new(Choice::Layer(1));
        let mut waits = Vec::new();
        for _ in 0..5 {
            let mut waited = 0;
            while viewer.after(1, 3_500_000) != Choice::Layer(2) {
                waited += 1;
            }
            waits.push(waited);
            // it does not fit after all
            while viewer.after(1, 1_000_000) != Choice::Layer(1) {}
        }
        assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
        // one that lasts is forgiven
        viewer.after(400, 3_500_000);
        while viewer.after(1, 1_000_000) != Choice::Layer(1) {}
        assert_eq!(viewer.after(8, 3_500_000), Choice::Layer(2));
    }

    #[test]
    fn after_a_step_up_what_arrives_counts_for_a_while() {
        let mut viewer = Viewer::new(Choice::Layer(0));
        assert_eq!(viewer.after(1, 1_000_000), Choice::Layer(1));
        viewer.delivered = Some(600_000);
        assert_eq!(viewer.after(25, 280_000), Choice::Layer(1), "the estimate is wrong");
        assert_eq!(viewer.after(15, 280_000), Choice::Layer(0), "or not");
        let mut viewer = Viewer::new(Choice::Layer(1));
        assert_eq!(viewer.after(6, 20_000_000), Choice::Layer(2));
        viewer.delivered = Some(900_000);
        assert_eq!(viewer.after(6, 800_000), Choice::Layer(1), "most of it is lost");
    }

    #[test]
    fn a_layer_that_stops_is_left_for_one_that_flows() {
        let mut chooser = Chooser::default();
        let now = Instant::now();
        assert_eq!(chooser.choose(now, 20_000_000, None, &[150_000, 600_000, 0], Choice::Layer(2)), Choice::Layer(1));
        assert_eq!(chooser.choose(now, 20_000_000, None, &[0, 0, 0], Choice::Layer(1)), Choice::Layer(1), "all stand still");
        assert_eq!(chooser.choose(now, 20_000_000, None, &[], Choice::Layer(0)), Choice::Layer(0));
    }

    proptest! {
        #[test]
        fn what_is_chosen_flows(
            steps in proptest::collection::vec(
                (0u64..5_000_000, proptest::option::of(0u64..5_000_000), proptest::collection::vec(0u64..4_000_000, 3), 0u64..3000), 1..60,
            ),
        ) {
            let mut chooser = Chooser::default();
            let (mut now, mut choice) = (Instant::now(), Choice::Layer(0));
            for (budget, delivered, rates, passed) in steps {
                let next = chooser.choose(now, budget, delivered, &rates, choice);
                if let Choice::Layer(index) = next && next != choice {
                    prop_assert!(rates[index] > 0);
                }
                choice = next;
                now += Duration::from_millis(passed);
            }
        }
    }
}
