//! PURE. The steps from one degree to the next, and back.

use std::time::{Duration, Instant};

use super::{Degree, Pressure, StrainConfig};

/// Too much must last for this long before the first step: a moment's hiccup costs nobody anything.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The quiet time grows to at most so many times the configured one.
const MOST_DOUBLED: u32 = 16;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The degree before.
    pub from: Degree,
    /// The degree from now on.
    pub to: Degree,
    /// Why.
    pub reason: String,
}

/// Goes from degree to degree, one at a time, as the looks at one cause say.
#[derive(Clone, Debug)]
pub struct Ladder {
    settle: Duration,
    relief: Duration,
    degree: Degree,
    /// It has been too much since then, without a break.
    over: Option<Instant>,
    /// There has been room since then, without a break, or since the last step back.
    calm: Option<Instant>,
    /// The last step down.
    stepped: Option<Instant>,
    /// The last step back.
    eased: Option<Instant>,
    /// Quiet time that a step back wants now.
    wait: Duration,
}

impl Ladder {
    /// At the top.
    pub fn new(config: &StrainConfig) -> Self {
        let (settle, relief) = (config.settle, config.relief);
        Self { settle, relief, degree: Degree::Full, over: None, calm: None, stepped: None, eased: None, wait: relief }
    }

    /// The degree now.
    pub fn degree(&self) -> Degree {
        self.degree
    }

    /// Takes in how a look went; looks come in the order of time, at whatever distance.
    pub fn feel(&mut self, now: Instant, pressure: &Pressure) -> Option<Step> {
        match pressure {
            Pressure::Over(reason) => {
                self.calm = None;
                let since = *self.over.get_or_insert(now);
                let settled = self.stepped.is_none_or(|last| now.saturating_duration_since(last) >= self.settle);
                if !settled || now.saturating_duration_since(since) < PATIENCE.min(self.settle) {
                    return None;
                }
                let to = self.degree.harder()?;
                // a step back that does not hold was too early
                self.wait = match self.eased.take() {
                    Some(eased) if now.saturating_duration_since(eased) < self.wait => {
                        (self.wait * 2).min(self.relief * MOST_DOUBLED)
                    }
                    Some(_) => self.relief,
                    None => self.wait,
                };
                self.stepped = Some(now);
                Some(self.step(to, reason.clone()))
            }
            Pressure::Steady => {
                (self.over, self.calm) = (None, None);
                None
            }
            Pressure::Relieved => {
                self.over = None;
                let since = *self.calm.get_or_insert(now);
                if now.saturating_duration_since(since) < self.wait {
                    return None;
                }
                let to = self.degree.easier()?;
                (self.calm, self.eased) = (Some(now), Some(now));
                Some(self.step(to, format!("nothing was wrong for {:?}", self.wait)))
            }
        }
    }

    fn step(&mut self, to: Degree, reason: String) -> Step {
        Step { from: std::mem::replace(&mut self.degree, to), to, reason }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_secs(5);
    const RELIEF: Duration = Duration::from_secs(20);

    fn ladder() -> Ladder {
        Ladder::new(&StrainConfig { settle: SETTLE, relief: RELIEF, ..StrainConfig::default() })
    }

    fn over() -> Pressure {
        Pressure::Over("hot".into())
    }

    /// Looks every half second for so many seconds; the steps, with the second they came at.
    fn look(ladder: &mut Ladder, start: Instant, seconds: std::ops::Range<u64>, pressure: &Pressure) -> Vec<(f64, Degree)> {
        let mut steps = Vec::new();
        for half in seconds.start * 2..seconds.end * 2 {
            let at = Duration::from_millis(half * 500);
            steps.extend(ladder.feel(start + at, pressure).map(|step| (at.as_secs_f64(), step.to)));
        }
        steps
    }

    #[test]
    fn it_goes_down_step_by_step_and_back_up_when_it_is_over() {
        let (mut ladder, start) = (ladder(), Instant::now());
        let down = look(&mut ladder, start, 0..30, &over());
        let expected = [(1.0, Degree::OneLayer), (6.0, Degree::HalfRate), (11.0, Degree::HalfSize), (16.0, Degree::NoNewViewers)];
        assert_eq!(down, expected);
        let up = look(&mut ladder, start, 30..120, &Pressure::Relieved);
        let expected = [(50.0, Degree::HalfSize), (70.0, Degree::HalfRate), (90.0, Degree::OneLayer), (110.0, Degree::Full)];
        assert_eq!(up, expected);
    }

    #[test]
    fn a_hiccup_is_no_step_and_steady_keeps_what_is() {
        let (mut ladder, start) = (ladder(), Instant::now());
        assert_eq!(ladder.feel(start, &over()), None);
        assert_eq!(ladder.feel(start + Duration::from_millis(500), &Pressure::Steady), None);
        assert_eq!(ladder.feel(start + Duration::from_millis(1200), &over()), None, "it begins anew");
        look(&mut ladder, start, 2..4, &over());
        assert_eq!(ladder.degree(), Degree::OneLayer);
        assert_eq!(look(&mut ladder, start, 4..400, &Pressure::Steady), []);
    }

    #[test]
    fn a_step_back_that_does_not_hold_makes_the_next_wait_longer() {
        let (mut ladder, start) = (ladder(), Instant::now());
        let mut now = start;
        let mut until = |ladder: &mut Ladder, pressure: &Pressure| {
            let began = now;
            loop {
                now += Duration::from_millis(500);
                if ladder.feel(now, pressure).is_some() {
                    return (now - began).as_secs();
                }
            }
        };
        until(&mut ladder, &over());
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(until(&mut ladder, &Pressure::Relieved));
            until(&mut ladder, &over());
        }
        assert_eq!(waits, [20, 40, 80, 160, 320, 320, 320]);
    }

    proptest! {
        /// One rung at a time, never two down within the settling time, never one back before the quiet time; lasting trouble leads to the
        /// last rung, lasting quiet to the first.
        #[test]
        fn steps_are_single_and_apart(looks in proptest::collection::vec((0u8..3, 1u64..4000), 0..300)) {
            let (mut ladder, mut now) = (ladder(), Instant::now());
            let (mut down, mut loud) = (None::<Instant>, now);
            for (kind, ms) in looks {
                now += Duration::from_millis(ms);
                let pressure = [over(), Pressure::Steady, Pressure::Relieved][usize::from(kind)].clone();
                let before = ladder.degree();
                if kind != 2 {
                    loud = now;
                }
                match ladder.feel(now, &pressure) {
                    None => prop_assert_eq!(ladder.degree(), before),
                    Some(step) => {
                        prop_assert_eq!((step.from, step.to), (before, ladder.degree()));
                        if step.to > step.from {
                            prop_assert!(kind == 0 && before.harder() == Some(step.to));
                            prop_assert!(down.is_none_or(|last| now - last >= SETTLE));
                            down = Some(now);
                        } else {
                            prop_assert!(kind == 2 && before.easier() == Some(step.to));
                            prop_assert!(now - loud >= RELIEF);
                            loud = now;
                        }
                    }
                }
            }
            for _ in 0..12 {
                now += SETTLE;
                ladder.feel(now, &over());
            }
            prop_assert_eq!(ladder.degree(), Degree::NoNewViewers);
            for _ in 0..12 {
                now += RELIEF * MOST_DOUBLED;
                ladder.feel(now, &Pressure::Relieved);
            }
            prop_assert_eq!(ladder.degree(), Degree::Full);
        }
    }
}
