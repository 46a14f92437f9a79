//! PURE. Who uses a source, and so whether it is open: opening, lingering after the last viewer, retrying after a failure.
//!
//! One [`Demand`] per source. Must not know GStreamer, threads or the clock. After every call, drain [`Demand::poll_action`].
//!
//! ```text
//! Idle ─arrive─► Opening ─opened, flowed─► Running ─last release─► Lingering ─linger─► Idle
//!                   │ ▲                       │ │                      └──arrive──► Running
//!                   └─┴───── Failed ◄─────────┘ └ quiet for open_limit ─► Silent
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::vocab::{Codec, PeerId};

/// First pause before a failed source is opened again, and the time a failed opening is not repeated for a new viewer.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The times a source keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// From the last release to closing.
    pub linger: Duration,
    /// Longest time without a frame, from opening on.
    pub open_limit: Duration,
    /// Longest pause between two tries. At least [`FIRST_PAUSE`].
    pub longest_pause: Duration,
}

/// What the owner must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start the pipeline. Ends in `opened` or `failed`.
    Open,
    /// Stop the pipeline; the layers end too.
    Close,
    /// Stop the pipeline; the layers stay for when it runs again.
    Abandon,
    /// Plan for the viewer, then call `granted` or `refused`.
    Plan(PeerId),
    /// Answer the viewer with the last error.
    Reject(PeerId),
    /// Feed all layers in use again: the pipeline is a new one.
    Restore,
    /// Nobody has used the codec's layer for the linger time.
    DropLayer(Codec),
    /// Look when the last frame came, then call `flowed` or, after `open_limit` without any, `failed`.
    CheckFlow,
    /// Viewers lost their picture.
    TellFailed,
    /// They have it again.
    TellRecovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Started; `open` once its streams are known.
    Opening {
        check: Instant,
        open: bool,
    },
    Running {
        check: Instant,
        settled: bool,
    },
    /// Not running. With viewers it is opened at `next`; without, a new viewer is turned away until `next`.
    Failed {
        next: Instant,
    },
}

#[derive(Clone, Debug)]
enum Viewer {
    Waiting,
    Uses(BTreeSet<Codec>),
}

/// The use of one source.
#[derive(Debug)]
pub(super) struct Demand {
    habits: Habits,
    phase: Phase,
    viewers: BTreeMap<PeerId, Viewer>,
    /// Layers nobody uses, and until when they stay.
    idle: BTreeMap<Codec, Instant>,
    /// Set while nobody uses an open source.
    linger: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Viewers were told of a failure and not of a recovery.
    told: bool,
    actions: VecDeque<Action>,
}

impl Demand {
    /// A source nobody uses.
    pub fn new(habits: Habits) -> Self {
        Self {
            habits,
            phase: Phase::Idle,
            viewers: BTreeMap::new(),
            idle: BTreeMap::new(),
            linger: None,
            failures: 0,
            told: false,
            actions: VecDeque::new(),
        }
    }

    /// A viewer wants the source. Leads to `Plan` or `Reject`. A viewer that arrives twice is planned anew.
    pub fn arrive(&mut self, now: Instant, viewer: PeerId) {
        self.free(now, viewer);
        let others = !self.viewers.is_empty();
        match self.phase {
            Phase::Failed { next } if others || now < next => {
                self.actions.push_back(Action::Reject(viewer));
                return;
            }
            Phase::Idle | Phase::Failed { .. } => self.open(now),
            Phase::Opening { open: true, .. } | Phase::Running { .. } => self.actions.push_back(Action::Plan(viewer)),
            Phase::Opening { open: false, .. } => {}
        }
        self.linger = None;
        self.viewers.insert(viewer, Viewer::Waiting);
    }

    /// The viewer was given layers of these codecs. Ignored when it left meanwhile.
    pub fn granted(&mut self, viewer: PeerId, codecs: impl IntoIterator<Item = Codec>) {
        if let Some(state) = self.viewers.get_mut(&viewer) {
            let codecs: BTreeSet<Codec> = codecs.into_iter().collect();
            self.idle.retain(|codec, _| !codecs.contains(codec));
            *state = Viewer::Uses(codecs);
        }
    }

    /// The viewer cannot be served; it holds nothing.
    pub fn refused(&mut self, now: Instant, viewer: PeerId) {
        self.release(now, viewer);
    }

    /// The viewer left. Unknown ones are ignored.
    pub fn release(&mut self, now: Instant, viewer: PeerId) {
        if self.free(now, viewer) && self.viewers.is_empty() {
            match self.phase {
                Phase::Idle => {}
                Phase::Failed { .. } => {
                    self.idle.clear();
                    self.told = false;
                    self.actions.push_back(Action::Close);
                }
                Phase::Opening { .. } | Phase::Running { .. } => self.linger = Some(now + self.habits.linger),
            }
        }
    }

    /// The pipeline's streams are known.
    pub fn opened(&mut self, _now: Instant) {
        let Phase::Opening { open, .. } = &mut self.phase else { return };
        *open = true;
        self.actions.push_back(Action::Restore);
        let waiting = self.viewers.iter().filter(|(_, state)| matches!(state, Viewer::Waiting));
        self.actions.extend(waiting.map(|(viewer, _)| Action::Plan(*viewer)));
    }

    /// Frames came, the last one at `last`.
    pub fn flowed(&mut self, _now: Instant, last: Instant) {
        let check = last + self.habits.open_limit;
        match self.phase {
            Phase::Opening { open: true, .. } => {
                self.phase = Phase::Running { check, settled: false };
                if std::mem::take(&mut self.told) {
                    self.actions.push_back(Action::TellRecovered);
                }
            }
            Phase::Running { check: before, settled } if check > before => {
                // it ran for a whole limit: what failed before is over
                if settled {
                    self.failures = 0;
                }
                self.phase = Phase::Running { check, settled: true };
            }
            _ => {}
        }
    }

    /// The pipeline failed, or gave nothing. `jitter` is random in 0..1, so that many gateways do not come back together.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        if matches!(self.phase, Phase::Idle | Phase::Failed { .. }) {
            return;
        }
        self.actions.push_back(Action::Abandon);
        self.linger = None;
        let waiting: Vec<PeerId> =
            self.viewers.iter().filter(|(_, state)| matches!(state, Viewer::Waiting)).map(|(viewer, _)| *viewer).collect();
        for viewer in waiting {
            self.viewers.remove(&viewer);
            self.actions.push_back(Action::Reject(viewer));
        }
        if self.viewers.is_empty() {
            self.phase = Phase::Failed { next: now + FIRST_PAUSE };
            self.failures = 0;
            self.idle.clear();
            self.told = false;
            self.actions.push_back(Action::Close);
            return;
        }
        self.phase = Phase::Failed { next: now + self.pause(jitter) };
        self.failures = self.failures.saturating_add(1);
        if !std::mem::replace(&mut self.told, true) {
            self.actions.push_back(Action::TellFailed);
        }
    }

    /// Other times from now on; what runs out already runs out as before.
    pub fn set_habits(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// What is opened is another from now on. A pipeline is ended and, for those who use it, started anew at once; their layers
    /// stay.
    pub fn restart(&mut self, now: Instant) {
        self.failures = 0;
        let runs = matches!(self.phase, Phase::Opening { .. } | Phase::Running { .. });
        if self.viewers.is_empty() {
            self.phase = Phase::Idle;
            self.linger = None;
            self.idle.clear();
            if runs {
                self.actions.push_back(Action::Close);
            }
            return;
        }
        if runs {
            self.actions.push_back(Action::Abandon);
        }
        self.open(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Failed { next } if now >= *next && !self.viewers.is_empty() => self.open(now),
            Phase::Opening { check, .. } | Phase::Running { check, .. } if now >= *check => {
                // asked again only after another limit, whatever the answer
                *check = now + self.habits.open_limit;
                self.actions.push_back(Action::CheckFlow);
            }
            _ => {}
        }
        if self.linger.is_some_and(|until| now >= until) {
            self.linger = None;
            self.idle.clear();
            self.phase = Phase::Idle;
            self.failures = 0;
            self.told = false;
            self.actions.push_back(Action::Close);
        }
        self.idle.retain(|codec, until| {
            let due = now >= *until;
            if due {
                self.actions.push_back(Action::DropLayer(*codec));
            }
            !due
        });
    }

    /// What must be done, in order.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Failed { next } if !self.viewers.is_empty() => Some(next),
            Phase::Opening { check, .. } | Phase::Running { check, .. } => Some(check),
            Phase::Idle | Phase::Failed { .. } => None,
        };
        [phase, self.linger, self.idle.values().min().copied()].into_iter().flatten().min()
    }

    /// `idle`, `opening`, `running`, `lingering` or `failed`.
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "idle",
            _ if self.linger.is_some() => "lingering",
            Phase::Opening { .. } => "opening",
            Phase::Running { .. } => "running",
            Phase::Failed { .. } => "failed",
        }
    }

    /// How many viewers there are, the waiting included.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Whether the viewer is one of them.
    pub fn has(&self, viewer: PeerId) -> bool {
        self.viewers.contains_key(&viewer)
    }

    /// Whether any viewer uses the codec's layer.
    pub fn uses(&self, codec: Codec) -> bool {
        self.viewers.values().any(|state| matches!(state, Viewer::Uses(codecs) if codecs.contains(&codec)))
    }

    /// How many viewers use the codec's layer.
    pub fn users(&self, codec: Codec) -> usize {
        self.viewers.values().filter(|state| matches!(state, Viewer::Uses(codecs) if codecs.contains(&codec))).count()
    }

    /// Whether the codec's layer is used, or was within the linger time.
    pub fn keeps(&self, codec: Codec) -> bool {
        self.uses(codec) || self.idle.contains_key(&codec)
    }

    fn open(&mut self, now: Instant) {
        self.phase = Phase::Opening { check: now + self.habits.open_limit, open: false };
        self.actions.push_back(Action::Open);
    }

    /// Forgets the viewer; its layers that nobody else uses become idle. Returns whether it was there.
    fn free(&mut self, now: Instant, viewer: PeerId) -> bool {
        let Some(state) = self.viewers.remove(&viewer) else { return false };
        if let Viewer::Uses(codecs) = state {
            for codec in codecs.into_iter().filter(|codec| !self.uses(*codec)).collect::<Vec<_>>() {
                self.idle.insert(codec, now + self.habits.linger);
            }
        }
        true
    }

    fn pause(&self, jitter: f64) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(5)).min(self.habits.longest_pause);
        doubled.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HABITS: Habits =
        Habits { linger: Duration::from_secs(5), open_limit: Duration::from_secs(10), longest_pause: Duration::from_secs(30) };
    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    fn drain(demand: &mut Demand) -> Vec<Action> {
        std::iter::from_fn(|| demand.poll_action()).collect()
    }

    fn running(now: Instant) -> Demand {
        let mut demand = Demand::new(HABITS);
        demand.arrive(now, A);
        demand.opened(now);
        demand.granted(A, [Codec::H264, Codec::Opus]);
        demand.flowed(now, now);
        drain(&mut demand);
        demand
    }

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_first_viewer_opens_and_the_last_closes_after_the_linger() {
        let start = Instant::now();
        let mut demand = Demand::new(HABITS);
        demand.arrive(start, A);
        demand.arrive(start, B);
        assert_eq!(drain(&mut demand), [Action::Open]);
        demand.opened(start);
        assert_eq!(drain(&mut demand), [Action::Restore, Action::Plan(A), Action::Plan(B)]);
        demand.granted(A, [Codec::H264]);
        demand.granted(B, [Codec::H264]);
        demand.flowed(start, start);
        demand.release(start, A);
        assert_eq!((demand.state(), demand.viewers()), ("running", 1));
        demand.release(start, B);
        assert_eq!(demand.state(), "lingering");
        demand.handle_timeout(after(start, 4.9));
        assert_eq!(drain(&mut demand), []);
        demand.handle_timeout(after(start, 5.0));
        assert_eq!(drain(&mut demand), [Action::Close]);
        assert_eq!((demand.state(), demand.next_timeout()), ("idle", None));
    }

    #[test]
    fn a_viewer_within_the_linger_finds_it_running() {
        let start = Instant::now();
        let mut demand = running(start);
        demand.release(start, A);
        demand.arrive(after(start, 4.0), B);
        assert_eq!(drain(&mut demand), [Action::Plan(B)]);
        demand.granted(B, [Codec::H264]);
        demand.handle_timeout(after(start, 6.0));
        assert_eq!(drain(&mut demand), [Action::DropLayer(Codec::Opus)]);
        assert!(demand.uses(Codec::H264) && !demand.uses(Codec::Opus));
    }

    #[test]
    fn a_failure_is_told_once_and_retried_with_growing_pauses() {
        let start = Instant::now();
        let mut demand = running(start);
        demand.failed(start, 0.5);
        assert_eq!(drain(&mut demand), [Action::Abandon, Action::TellFailed]);
        let mut now = start;
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(demand.next_timeout(), Some(now + Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
            demand.handle_timeout(now);
            assert_eq!(drain(&mut demand), [Action::Open]);
            demand.failed(now, 0.5);
            assert_eq!(drain(&mut demand), [Action::Abandon]);
        }
        now += Duration::from_secs(30);
        demand.handle_timeout(now);
        demand.opened(now);
        assert_eq!(drain(&mut demand), [Action::Open, Action::Restore]);
        demand.flowed(now, now);
        assert_eq!(drain(&mut demand), [Action::TellRecovered]);
    }

    #[test]
    fn a_failed_opening_is_answered_and_not_repeated_at_once() {
        let start = Instant::now();
        let mut demand = Demand::new(HABITS);
        demand.arrive(start, A);
        demand.failed(start, 0.0);
        assert_eq!(drain(&mut demand), [Action::Open, Action::Abandon, Action::Reject(A), Action::Close]);
        assert_eq!(demand.next_timeout(), None);
        demand.arrive(after(start, 0.5), B);
        assert_eq!(drain(&mut demand), [Action::Reject(B)]);
        demand.arrive(after(start, 1.0), B);
        assert_eq!(drain(&mut demand), [Action::Open]);
    }

    #[test]
    fn another_configuration_opens_it_anew_for_those_who_use_it() {
        let start = Instant::now();
        let mut demand = running(start);
        demand.restart(start);
        assert_eq!(drain(&mut demand), [Action::Abandon, Action::Open]);
        assert!(demand.uses(Codec::H264), "its layer stays");
        demand.opened(start);
        demand.flowed(start, start);
        assert_eq!(drain(&mut demand), [Action::Restore]);
        assert_eq!((demand.state(), demand.viewers()), ("running", 1));
        // one that failed is not waited for any longer
        demand.failed(start, 0.5);
        demand.restart(start);
        assert_eq!(drain(&mut demand), [Action::Abandon, Action::TellFailed, Action::Open]);
    }

    #[test]
    fn another_configuration_closes_it_where_nobody_uses_it() {
        let start = Instant::now();
        let mut demand = running(start);
        demand.release(start, A);
        demand.restart(start);
        assert_eq!(drain(&mut demand), [Action::Close]);
        assert_eq!((demand.state(), demand.next_timeout()), ("idle", None));
        demand.restart(start);
        assert_eq!(drain(&mut demand), []);
    }

    #[test]
    fn a_source_that_gives_nothing_is_looked_at() {
        let start = Instant::now();
        let mut demand = running(start);
        assert_eq!(demand.next_timeout(), Some(after(start, 10.0)));
        demand.handle_timeout(after(start, 10.0));
        assert_eq!(drain(&mut demand), [Action::CheckFlow]);
        demand.flowed(after(start, 10.0), after(start, 9.9));
        assert_eq!(demand.next_timeout(), Some(after(start, 20.0)));
    }

    #[test]
    fn the_last_viewer_of_a_failed_source_ends_the_retries() {
        let start = Instant::now();
        let mut demand = running(start);
        demand.failed(start, 0.0);
        demand.release(start, A);
        assert_eq!(drain(&mut demand), [Action::Abandon, Action::TellFailed, Action::Close]);
        assert_eq!(demand.next_timeout(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(u64),
        Release(u64),
        Opened,
        Flowed,
        Failed,
        Wait(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4u64).prop_map(Step::Arrive),
            (0..4u64).prop_map(Step::Release),
            Just(Step::Opened),
            Just(Step::Flowed),
            Just(Step::Failed),
            (1..40u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Every arrival is answered or forgotten, the pipeline is never opened twice, and nothing stays open without viewers.
        #[test]
        fn the_pipeline_follows_the_viewers(steps in proptest::collection::vec(any_step(), 0..60)) {
            let mut now = Instant::now();
            let mut demand = Demand::new(HABITS);
            let (mut open, mut known) = (false, false);
            let quiet = Step::Wait(100);
            let end: Vec<Step> = (0..4).map(Step::Release).chain([quiet.clone(), quiet]).collect();
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Arrive(n) => demand.arrive(now, PeerId(n)),
                    Step::Release(n) => demand.release(now, PeerId(n)),
                    Step::Opened if open && !known => { known = true; demand.opened(now); }
                    Step::Flowed if known => demand.flowed(now, now),
                    Step::Failed if open => demand.failed(now, 0.3),
                    Step::Wait(seconds) => {
                        let until = now + Duration::from_secs(seconds);
                        while let Some(next) = demand.next_timeout().filter(|next| *next <= until) {
                            now = now.max(next);
                            demand.handle_timeout(now);
                            let after = demand.next_timeout();
                            prop_assert!(after.is_none_or(|after| after > now), "a timeout that does not move");
                            if demand.actions.iter().any(|it| *it == Action::Open) { break; }
                        }
                        if demand.actions.is_empty() { now = until; }
                    }
                    _ => {}
                }
                while let Some(action) = demand.poll_action() {
                    match action {
                        Action::Open => { prop_assert!(!open); open = true; known = false; }
                        Action::Abandon => { prop_assert!(open); open = false; known = false; }
                        Action::Close => { open = false; known = false; }
                        Action::Plan(viewer) => {
                            prop_assert!(open && known);
                            if viewer.0 % 3 == 2 { demand.refused(now, viewer) } else { demand.granted(viewer, [Codec::H264]) }
                        }
                        Action::DropLayer(codec) => prop_assert!(!demand.uses(codec)),
                        _ => {}
                    }
                }
                prop_assert!(!open || demand.state() != "idle");
            }
            now += Duration::from_secs(100);
            demand.handle_timeout(now);
            while let Some(action) = demand.poll_action() { if action == Action::Close { open = false; } }
            prop_assert!(!open && demand.viewers() == 0, "open without viewers: {:?}", demand);
        }
    }
}
