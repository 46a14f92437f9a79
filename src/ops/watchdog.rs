//! PURE. Whether the gateway is well, which is what systemd's watchdog is fed for: every owner of state answers, and what should
//! flow flows. A gateway that nobody uses is well.
//!
//! Called every [`Watchdog::period`]: first [`Watchdog::troubles`], then [`Watchdog::ask`]; answers come in between.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Looks per watchdog time: an owner that is slow once, and a machine that is busy, are not taken for dead.
const LOOKS: u32 = 4;
/// Longest time between two looks, so that what is shown by `systemctl status` is not old.
const LONGEST_PERIOD: Duration = Duration::from_secs(10);
/// Shortest, whatever the unit says.
const SHORTEST_PERIOD: Duration = Duration::from_millis(250);

/// An owner of state, with a task or thread of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Rooms, and so all signalling.
    Hub,
    /// Peers and packets.
    Media,
    /// Cameras and other sources.
    Sources,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hub, Self::Media, Self::Sources];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "the hub",
            Self::Media => "the media thread",
            Self::Sources => "the owner of the sources",
        })
    }
}

/// A source now.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Its name.
    pub source: &'a str,
    /// It has viewers and says that it runs. One that says it failed is tried again by its owner: a restart would not help it.
    pub expected: bool,
    /// Frames it gave so far. Any other number than before is a flow: a counter may begin anew.
    pub frames: u64,
}

/// What keeps the watchdog from being fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An owner was asked and does not answer.
    Silent {
        /// It.
        part: Part,
        /// For how long.
        since: Duration,
    },
    /// A source says that it runs, and its viewers get nothing.
    Dry {
        /// It.
        source: String,
        /// For how long.
        since: Duration,
    },
}

impl Trouble {
    /// Whether it is the same one, later.
    pub fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Silent { part, .. }, Self::Silent { part: other, .. }) => part == other,
            (Self::Dry { source, .. }, Self::Dry { source: other, .. }) => source == other,
            _ => false,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { part, since } => write!(f, "{part} has not answered for {} s", since.as_secs()),
            Self::Dry { source, since } => write!(f, "source {source} runs and has given nothing for {} s", since.as_secs()),
        }
    }
}

/// What a source gave at the last look, and since when no more.
#[derive(Debug)]
struct Level {
    frames: u64,
    since: Instant,
}

/// The watchdog's judgement.
#[derive(Debug)]
pub struct Watchdog {
    period: Duration,
    dry_limit: Duration,
    /// Owners that were asked and have not answered, and when.
    asked: BTreeMap<Part, Instant>,
    /// Sources that should flow.
    levels: BTreeMap<String, Level>,
}

impl Watchdog {
    /// For a unit with this `WatchdogSec=`; `None` where there is none. `open_limit` is the time in which a source's owner finds
    /// out by itself that it gives nothing; twice that is trouble.
    pub fn new(limit: Option<Duration>, open_limit: Duration) -> Self {
        let period = limit.map_or(LONGEST_PERIOD, |limit| (limit / LOOKS).clamp(SHORTEST_PERIOD, LONGEST_PERIOD));
        Self { period, dry_limit: open_limit * 2 + period, asked: BTreeMap::new(), levels: BTreeMap::new() }
    }

    /// Time from one look to the next.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Whom to ask now: all but those that still owe an answer.
    #[must_use]
    pub fn ask(&mut self, now: Instant) -> Vec<Part> {
        let free: Vec<Part> = Part::ALL.into_iter().filter(|part| !self.asked.contains_key(part)).collect();
        self.asked.extend(free.iter().map(|part| (*part, now)));
        free
    }

    /// An owner has answered.
    pub fn answered(&mut self, part: Part) {
        self.asked.remove(&part);
    }

    /// All sources now.
    pub fn flows<'a>(&mut self, now: Instant, flows: impl IntoIterator<Item = Flow<'a>>) {
        let mut before = std::mem::take(&mut self.levels);
        for flow in flows.into_iter().filter(|flow| flow.expected) {
            let level = match before.remove(flow.source) {
                Some(level) if level.frames == flow.frames => level,
                _ => Level { frames: flow.frames, since: now },
            };
            self.levels.insert(flow.source.to_owned(), level);
        }
    }

    /// What is wrong now; while anything is, the watchdog is not to be fed.
    #[must_use]
    pub fn troubles(&self, now: Instant) -> Vec<Trouble> {
        let silent = self.asked.iter().map(|(part, asked)| (*part, now.saturating_duration_since(*asked)));
        let silent = silent.filter(|(_, since)| *since >= self.period).map(|(part, since)| Trouble::Silent { part, since });
        let dry = self.levels.iter().map(|(source, level)| (source, now.saturating_duration_since(level.since)));
        let dry = dry.filter(|(_, since)| *since >= self.dry_limit);
        silent.chain(dry.map(|(source, since)| Trouble::Dry { source: source.clone(), since })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const OPEN_LIMIT: Duration = Duration::from_secs(10);

    /// A gateway in simulated time: who answers, and what its one source does.
    struct World {
        watchdog: Watchdog,
        now: Instant,
        fed: Instant,
        deaf: Vec<Part>,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { watchdog: Watchdog::new(Some(LIMIT), OPEN_LIMIT), now, fed: now, deaf: Vec::new() }
        }

        /// One period. Returns whether systemd would still be patient at its end.
        fn look(&mut self, flow: Option<Flow<'_>>) -> bool {
            if self.watchdog.troubles(self.now).is_empty() {
                self.fed = self.now;
            }
            for part in self.watchdog.ask(self.now) {
                if !self.deaf.contains(&part) {
                    self.watchdog.answered(part);
                    if part == Part::Sources {
                        self.watchdog.flows(self.now, flow);
                    }
                }
            }
            self.now += self.watchdog.period();
            self.now - self.fed <= LIMIT
        }
    }

    fn camera(expected: bool, frames: u64) -> Option<Flow<'static>> {
        Some(Flow { source: "camera", expected, frames })
    }

    #[test]
    fn a_gateway_that_nobody_uses_is_well_for_ever() {
        let mut world = World::new();
        assert!((0..100_000).all(|_| world.look(None)));
        assert!((0..100_000).all(|_| world.look(camera(false, 0))), "an idle source gives nothing, and should not");
    }

    #[test]
    fn an_owner_that_stops_answering_starves_the_watchdog_in_time() {
        for part in Part::ALL {
            let mut world = World::new();
            assert!((0..10).all(|_| world.look(None)));
            let held = world.now;
            world.deaf = vec![part];
            while world.look(None) {}
            let took = world.now - held;
            assert!(took > LIMIT / 2 && took < LIMIT * 2, "{part}: {took:?}");
            let troubles = world.watchdog.troubles(world.now);
            assert!(matches!(troubles[..], [Trouble::Silent { part: silent, .. }] if silent == part), "{troubles:?}");
        }
    }

    #[test]
    fn an_owner_that_is_slow_once_is_forgiven() {
        let mut world = World::new();
        world.deaf = vec![Part::Media];
        assert!((0..3).all(|_| world.look(None)));
        assert_eq!(world.watchdog.troubles(world.now).len(), 1);
        world.deaf.clear();
        world.watchdog.answered(Part::Media);
        assert!((0..100).all(|_| world.look(None)));
    }

    #[test]
    fn a_source_that_says_it_runs_must_give() {
        let mut world = World::new();
        assert!((0..100).all(|look| world.look(camera(true, look))));
        let dry = world.now;
        while world.look(camera(true, 7)) {}
        assert!(world.now - dry > OPEN_LIMIT * 2 && world.now - dry < OPEN_LIMIT * 2 + LIMIT * 2, "{:?}", world.now - dry);
        let troubles = world.watchdog.troubles(world.now);
        assert!(troubles[0].to_string().starts_with("source camera runs and has given nothing for "), "{troubles:?}");
    }

    #[test]
    fn a_camera_that_is_unplugged_and_back_is_no_trouble() {
        let mut world = World::new();
        for round in 0..1000 {
            // it runs, fails for ten looks, runs again with a counter that began anew
            assert!((0..5).all(|look| world.look(camera(true, look))), "round {round}");
            assert!((0..10).all(|_| world.look(camera(false, 4))), "round {round}");
        }
    }

    #[test]
    fn looks_are_as_often_as_the_unit_allows() {
        let period = |seconds| Watchdog::new(Some(Duration::from_secs(seconds)), OPEN_LIMIT).period();
        assert_eq!(period(30), Duration::from_millis(7500));
        assert_eq!(period(600), LONGEST_PERIOD);
        assert_eq!(period(0), SHORTEST_PERIOD);
        assert_eq!(Watchdog::new(None, OPEN_LIMIT).period(), LONGEST_PERIOD);
    }
}
