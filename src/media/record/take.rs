//! PURE. When a recording starts, ends and is tried again: what is there is looked at every second.

use std::time::{Duration, Instant};

use crate::vocab::{LayerId, SourceName};

/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A recording that ran for so long has got over what failed before.
const RECOVERED: Duration = Duration::from_secs(30);
/// Where nothing comes for so long, the stream is opened anew.
const SILENT: Duration = Duration::from_secs(10);
/// Another size of the same picture must have been the largest for so long before it is recorded instead.
const SETTLED: Duration = Duration::from_secs(3);

/// What is recorded, as far as it matters whether it is still the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Source(SourceName),
    Published(Vec<LayerId>),
}

impl Target {
    /// Whether both are of the same tracks, maybe in other sizes.
    fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Source(one), Self::Source(other)) => one == other,
            (Self::Published(one), Self::Published(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.track == other.track)
            }
            _ => false,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Record this.
    Start(Target),
    /// End what is recorded, and look again.
    Stop,
}

/// One recording over all its files.
#[derive(Debug)]
pub(super) struct Take {
    phase: Phase,
    failures: u32,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Running { target: Target, since: Instant, fed: Instant, other: Option<(Target, Instant)> },
    Failed { until: Instant, why: String },
}

impl Take {
    pub fn new() -> Self {
        Self { phase: Phase::Waiting, failures: 0 }
    }

    /// What there is now.
    pub fn look(&mut self, now: Instant, there: Option<Target>) -> Step {
        match (&mut self.phase, there) {
            (Phase::Waiting, Some(there)) => self.start(now, there),
            (Phase::Failed { until, .. }, Some(there)) if now >= *until => self.start(now, there),
            // what failed is of no interest once there is nothing to record
            (Phase::Failed { until, .. }, None) if now >= *until => {
                self.phase = Phase::Waiting;
                Step::Nothing
            }
            (Phase::Waiting, None) | (Phase::Failed { .. }, _) => Step::Nothing,
            (Phase::Running { target, since, fed, other }, there) => {
                if now.saturating_duration_since(*since) >= RECOVERED {
                    self.failures = 0;
                }
                let goes_on = match there {
                    Some(there) if there == *target => {
                        *other = None;
                        true
                    }
                    Some(there) if there.is_alike(target) => {
                        let (_, first) = other.take().filter(|(seen, _)| *seen == there).unwrap_or((there.clone(), now));
                        *other = Some((there, first));
                        now.saturating_duration_since(first) < SETTLED
                    }
                    _ => false,
                };
                if goes_on && now.saturating_duration_since(*fed) < SILENT {
                    return Step::Nothing;
                }
                self.phase = Phase::Waiting;
                Step::Stop
            }
        }
    }

    /// Something came.
    pub fn fed(&mut self, at: Instant) {
        if let Phase::Running { fed, .. } = &mut self.phase {
            *fed = at.max(*fed);
        }
    }

    /// It cannot go on as it is.
    pub fn failed(&mut self, now: Instant, why: String) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Failed { until: now + pause, why };
    }

    /// Why it failed, while it waits to try again.
    pub fn failure(&self) -> Option<&str> {
        match &self.phase {
            Phase::Failed { why, .. } => Some(why),
            _ => None,
        }
    }

    /// Whether something is being recorded, or opened for it.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    fn start(&mut self, now: Instant, target: Target) -> Step {
        self.phase = Phase::Running { target: target.clone(), since: now, fed: now, other: None };
        Step::Start(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::TrackId;

    fn published(index: u8) -> Target {
        Target::Published(vec![LayerId { track: TrackId(1), index }, LayerId { track: TrackId(2), index: 0 }])
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn it_follows_the_stream() {
        let start = Instant::now();
        let mut take = Take::new();
        assert_eq!(take.look(start, None), Step::Nothing);
        assert_eq!(take.look(start, Some(published(0))), Step::Start(published(0)));
        assert_eq!(take.look(start, Some(published(0))), Step::Nothing);
        assert_eq!(take.look(after(start, 1), None), Step::Stop);
        assert!(!take.is_running());
        let source = Target::Source(SourceName::new("a").unwrap());
        assert_eq!(take.look(after(start, 2), Some(source.clone())), Step::Start(source));
        assert_eq!(take.look(after(start, 3), Some(published(0))), Step::Stop, "another thing of that name");
    }

    #[test]
    fn another_size_is_taken_once_it_stays_the_largest() {
        let start = Instant::now();
        let mut take = Take::new();
        take.look(start, Some(published(0)));
        assert_eq!(take.look(after(start, 1), Some(published(1))), Step::Nothing);
        assert_eq!(take.look(after(start, 2), Some(published(0))), Step::Nothing);
        for seconds in 3..6 {
            assert_eq!(take.look(after(start, seconds), Some(published(1))), Step::Nothing);
        }
        assert_eq!(take.look(after(start, 6), Some(published(1))), Step::Stop);
        assert_eq!(take.look(after(start, 6), Some(published(1))), Step::Start(published(1)));
    }

    #[test]
    fn what_gives_nothing_is_opened_anew() {
        let start = Instant::now();
        let mut take = Take::new();
        take.look(start, Some(published(0)));
        take.fed(after(start, 5));
        assert_eq!(take.look(after(start, 14), Some(published(0))), Step::Nothing);
        assert_eq!(take.look(after(start, 15), Some(published(0))), Step::Stop);
    }

    #[test]
    fn a_failure_is_retried_with_growing_pauses_until_it_runs_well() {
        let mut now = Instant::now();
        let mut take = Take::new();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(take.look(now, Some(published(0))), Step::Start(published(0)));
            take.failed(now, "the disk is full".into());
            assert_eq!(take.failure(), Some("the disk is full"));
            assert_eq!(take.look(after(now, pause) - Duration::from_millis(1), Some(published(0))), Step::Nothing);
            assert!(take.failure().is_some(), "it stays until it is tried again");
            assert_eq!(take.look(after(now, pause), None), Step::Nothing);
            assert_eq!(take.failure(), None, "or there is nothing to record");
            now = after(now, pause);
        }
        assert_eq!(take.look(now, Some(published(0))), Step::Start(published(0)));
        take.fed(after(now, 29));
        take.look(after(now, 30), Some(published(0)));
        take.failed(after(now, 31), "again".into());
        assert_eq!(take.look(after(now, 32), Some(published(0))), Step::Start(published(0)), "one second, as the first time");
    }
}
