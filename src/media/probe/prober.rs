//! Tries candidates one at a time, never while codecs are in use.
//!
//! Codecs count as in use from the opening of a source's pipeline that may use the board's to its end. One that has only software to
//! choose from, because the board's codecs are to be tried first, uses none: they are tried while it plays. The gateway shows that to other processes by a
//! shared lock on a file of the state directory; who tries candidates holds the same lock for itself alone.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tracing::{debug, info, warn};

use super::cache::Verdicts;
use super::child::Runner;
use super::trial::SIZE;
use super::verdict::{Note, Verdict};
use super::{Trial, candidates};
use crate::media::board::{Board, Candidate};
use crate::media::element;

/// The lock's name in the state directory.
pub const LOCK: &str = "probe.lock";
/// The start has more important things to do for this long.
const START_AFTER: Duration = Duration::from_secs(2);
/// Pause before another look when another process uses the codecs.
const PAUSE: Duration = Duration::from_secs(10);
/// How often it is tried to show others that codecs are in use, and between two times.
const SHOW_TRIES: u32 = 100;
const SHOW_PAUSE: Duration = Duration::from_millis(20);
/// How often a candidate's trial may be broken off, or put off, before it is left for the next start.
const MOST_TRIES: u32 = 50;

/// Who uses codecs now.
#[derive(Debug, Default)]
pub struct Usage {
    lock: Option<PathBuf>,
    state: Mutex<Users>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Users {
    pipelines: usize,
    shared: Option<File>,
    stopping: bool,
}

/// Codecs are in use until this is dropped.
#[derive(Debug)]
pub struct Using(Arc<Usage>);

impl Usage {
    /// With a lock in a state directory, for other processes to see.
    pub fn of(state_dir: &Path) -> Self {
        Self { lock: Some(state_dir.join(LOCK)), ..Self::default() }
    }

    /// Codecs are used from now on. Never waits; a trial that runs is broken off within 20 ms.
    pub fn enter(self: &Arc<Self>) -> Using {
        let mut state = self.state();
        state.pipelines += 1;
        self.show(&mut state);
        drop(state);
        self.changed.notify_all();
        Using(Arc::clone(self))
    }

    /// As [`Self::enter`], and waits until a trial has let go of them: 1 s at the longest.
    pub fn enter_when_free(self: &Arc<Self>) -> Using {
        let using = self.enter();
        for _ in 0..50 {
            let mut state = self.state();
            self.show(&mut state);
            if state.shared.is_some() || self.lock.is_none() {
                break;
            }
            drop(state);
            std::thread::sleep(Duration::from_millis(20));
        }
        using
    }

    /// Whether somebody in this process uses codecs.
    pub fn is_busy(&self) -> bool {
        self.state().pipelines > 0
    }

    /// The right to try candidates, as long as the file lives; `None` while codecs are in use or others are tried.
    pub fn claim(&self) -> Option<Claim> {
        let Some(path) = &self.lock else { return Some(Claim(None)) };
        let _ = std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")));
        let Some(file) = open(path) else { return Some(Claim(None)) };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            _ => Some(Claim(Some(file))),
        }
    }

    /// Shows other processes that codecs are in use. While another process tries candidates it cannot be shown.
    fn show(&self, users: &mut Users) {
        if users.shared.is_none()
            && let Some(file) = self.lock.as_deref().and_then(open)
            && file.try_lock_shared().is_ok()
        {
            users.shared = Some(file);
        }
    }

    /// A source that was opened while candidates were tried could not show that it was. A child process that another thread starts
    /// holds the lock for a moment longer, from its fork to its exec.
    fn make_up(&self) {
        for _ in 0..SHOW_TRIES {
            let mut users = self.state();
            if users.pipelines > 0 {
                self.show(&mut users);
            }
            if users.pipelines == 0 || users.shared.is_some() || users.stopping {
                return;
            }
            drop(users);
            std::thread::sleep(SHOW_PAUSE);
        }
    }

    fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    fn wanted(&self) -> bool {
        let state = self.state();
        state.stopping || state.pipelines > 0
    }

    /// Waits for a time, or until told to stop; returns whether to go on.
    fn pause(&self, time: Duration) -> bool {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    /// Waits until nobody in this process uses codecs; returns whether to go on.
    fn wait_until_free(&self) -> bool {
        let state = self.state();
        let waited = self.changed.wait_while(state, |state| !state.stopping && state.pipelines > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).stopping
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Users> {
        // counters and a handle: valid in every state
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.pipelines -= 1;
        if state.pipelines == 0 {
            state.shared = None;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

/// The right to try candidates.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held for its lock")] Option<File>);

/// Opens the lock's file. Root may have made it: reading is enough for a lock.
fn open(path: &Path) -> Option<File> {
    let open = |write: bool| File::options().read(true).write(write).create(write).truncate(false).open(path).ok();
    open(true).or_else(|| open(false))
}

/// Tries one candidate and keeps the verdict. `Err` says why there is none.
pub fn try_one(
    candidate: Candidate<'_>,
    board: &Board,
    verdicts: &Verdicts,
    runner: &Runner,
    stop: &dyn Fn() -> bool,
) -> Result<Verdict, String> {
    let trial = Trial::of(candidate, board).ok_or("it is no codec for pictures")?;
    let mut verdict = Verdict::of(trial.role(), &runner.run(&trial, stop))?;
    if let Verdict::Works { notes } = &mut verdict {
        notes.extend(limit(&trial, runner, stop)?);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if let Err(error) = verdicts.put(candidate, verdict.clone(), now) {
        warn!(%error, "verdicts on codecs cannot be kept: they are tried again after the next start");
    }
    Ok(verdict)
}

/// The largest size that an encoder carries, where that is less than it should.
fn limit(trial: &Trial, runner: &Runner, stop: &dyn Fn() -> bool) -> Result<Option<Note>, String> {
    let mut why = None;
    for larger in trial.larger() {
        match (Verdict::at_size(&runner.run(&larger, stop))?, larger) {
            (None, Trial::Encoder { size: Some((width, height)), .. }) => {
                return Ok(why.map(|why| Note::Carries { width, height, why }));
            }
            (fault, _) => why = fault.or(why),
        }
    }
    let (width, height) = SIZE;
    Ok(why.map(|why| Note::Carries { width, height, why }))
}

/// Tries, in the background, the hardware candidates of which nothing is known.
#[derive(Debug)]
pub struct Prober {
    usage: Arc<Usage>,
    thread: JoinHandle<()>,
}

impl Prober {
    /// Starts the thread. It ends when everything has its verdict; `tell` is called for each. What is going to be tried is not used until
    /// then.
    pub fn start(
        board: Arc<Board>,
        verdicts: Arc<Verdicts>,
        usage: Arc<Usage>,
        runner: Runner,
        tell: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        wanting(&board, &verdicts).for_each(|candidate| verdicts.expect(candidate));
        let of_thread = Arc::clone(&usage);
        let work = move || {
            if of_thread.pause(START_AFTER) {
                work_off(&board, &verdicts, &of_thread, &runner, &tell);
            }
        };
        Ok(Self { usage, thread: std::thread::Builder::new().name("probe".into()).spawn(work)? })
    }

    /// Ends it, and a trial that runs; takes a moment.
    pub fn stop(self) {
        self.usage.stop();
        if self.thread.join().is_err() {
            warn!("the thread that tries codecs ended by a panic");
        }
    }
}

/// The hardware candidates that are there and of which nothing is known.
fn wanting<'b>(board: &'b Board, verdicts: &'b Verdicts) -> impl Iterator<Item = Candidate<'b>> {
    let there = |it: &Candidate<'_>| element::installed(it.element(), it.nodes()).is_ready();
    candidates(board).filter(Candidate::is_hardware_codec).filter(there).filter(|it| verdicts.wants_trial(*it))
}

pub(super) fn work_off(board: &Board, verdicts: &Verdicts, usage: &Usage, runner: &Runner, tell: &dyn Fn()) {
    let mut left: VecDeque<(Candidate<'_>, u32)> = wanting(board, verdicts).map(|it| (it, 0)).collect();
    while let Some((candidate, tries)) = left.pop_front() {
        let element = candidate.element();
        if tries > MOST_TRIES || !verdicts.wants_trial(candidate) {
            // not for ever: it is used as one that works, as long as it opens
            verdicts.expect_no_more(candidate);
            tell();
            continue;
        }
        if !usage.wait_until_free() {
            return;
        }
        let Some(claim) = usage.claim() else {
            left.push_front((candidate, tries + 1));
            match usage.pause(PAUSE) {
                true => continue,
                false => return,
            }
        };
        let outcome = try_one(candidate, board, verdicts, runner, &|| usage.wanted());
        drop(claim);
        usage.make_up();
        match outcome {
            Ok(Verdict::Works { notes }) => {
                let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
                info!(element, notes = notes.join("; "), "codec tried: it works");
                tell();
            }
            Ok(Verdict::Refused { fault }) => {
                warn!(element, reason = %fault, help = fault.help(), "codec tried: it is passed over");
            }
            Err(why) => {
                debug!(element, why, "codec not tried to the end");
                match usage.wanted() {
                    true => left.push_back((candidate, tries + 1)),
                    // there is nothing to try it with
                    false => {
                        verdicts.expect_no_more(candidate);
                        tell();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Fault;
    use super::*;

    fn script(text: &str) -> Runner {
        Runner { program: "/bin/sh".into(), arguments: vec!["-c".into(), text.into()], deadline: Duration::from_secs(60) }
    }

    /// Ends the process where it never is so: a scope would wait for the trial for ever.
    fn until(is_so: impl Fn() -> bool) {
        for _ in 0..12_000 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("what a test of the trials waits for never came");
        std::process::abort();
    }

    /// A board whose hardware encoder is an element that every machine has.
    fn board() -> Board {
        gstreamer::init().unwrap();
        let mut board = Board::generic();
        board.encoders.truncate(1);
        board.decoders.clear();
        board.encoders[0].element = "identity".into();
        board.encoders[0].hardware = true;
        board
    }

    #[test]
    fn what_is_not_known_is_tried_once_and_kept() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let verdicts = Verdicts::open(dir.path(), &board);
        let runs = dir.path().join("runs");
        let runner = script(&format!("cat >/dev/null; echo run >>{}; kill -ABRT $$", runs.display()));
        let usage = Usage::of(dir.path());
        work_off(&board, &verdicts, &usage, &runner, &|| {});
        work_off(&board, &Verdicts::open(dir.path(), &board), &usage, &runner, &|| {});
        assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n");
        let verdict = verdicts.get(Candidate::Encoder(&board.encoders[0])).unwrap();
        assert_eq!(verdict.fault(), Some(&Fault::Crashes { how: "signal 6".into() }));
    }

    #[test]
    fn a_source_that_opens_ends_the_trial_and_it_is_made_up_for() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let verdicts = Verdicts::open(dir.path(), &board);
        let (first, usage) = (dir.path().join("first"), Arc::new(Usage::of(dir.path())));
        // the first run would take long, a second one ends at once
        let path = first.display();
        let runner = script(&format!("cat >/dev/null; test -e {path} && exit 3; touch {path}; exec sleep 600"));
        let using = std::thread::scope(|scope| {
            let trials = scope.spawn(|| work_off(&board, &verdicts, &usage, &runner, &|| {}));
            until(|| first.exists());
            let using = usage.enter();
            // the codecs are let go of although the trial had ten minutes to go, and others see who has them
            until(|| usage.state().shared.is_some());
            assert!(usage.is_busy() && usage.claim().is_none() && verdicts.get(Candidate::Encoder(&board.encoders[0])).is_none());
            drop(using);
            trials.join()
        });
        using.unwrap();
        let verdict = verdicts.get(Candidate::Encoder(&board.encoders[0])).unwrap();
        assert_eq!(verdict.fault(), Some(&Fault::Crashes { how: "exit code 3".into() }));
        assert!(!usage.is_busy() && usage.claim().is_some());
    }

    #[test]
    fn who_uses_codecs_keeps_others_from_trying_and_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let (gateway, doctor) = (Arc::new(Usage::of(dir.path())), Usage::of(dir.path()));
        let claim = doctor.claim().unwrap();
        assert!(doctor.claim().is_none() && gateway.claim().is_none());
        drop(claim);
        let (one, two) = (gateway.enter(), gateway.enter());
        assert!(doctor.claim().is_none());
        drop(one);
        assert!(doctor.claim().is_none());
        drop(two);
        assert!(doctor.claim().is_some());
    }
}
