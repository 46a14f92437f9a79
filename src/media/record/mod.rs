//! Recordings of streams and mixes, as they are sent: nothing is decoded or encoded for them.
//!
//! Who records is a viewer: a source is opened for it and stays open, a publisher's packets are taken as they come. `take`, `cut`,
//! `matroska`, `scan` and `shelf` are PURE; `capture` has the pipeline and the writing thread, `store` the disk.
//!
//! ```text
//! once a second: what is there ─► take ─┬─ start ─► demand ─► capture ─► cut ─► store
//!                                       └─ stop, wait, try again
//! ```

mod capture;
mod config;
mod cut;
mod matroska;
mod queue;
mod scan;
mod shelf;
mod store;
mod take;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{MediaCommand, PlannedTrack, SourceError, Wants};
use crate::forward::Layer;
use crate::vocab::{Codec, MediaKind, MemberId, PeerId, SourceName};
use capture::{Capture, CaptureError, Progress, Setting, Shared, lock};
pub use config::{RecordConfig, RecordingConfig};
use cut::Rules;
pub use shelf::{FileId, Listed, Of, Why};
use store::Store;
pub use store::StoreError;
use take::{Step, Take, Target};

/// How often it is looked whether what is recorded is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A source has opened, or said why not, after this time.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
/// A file that is not complete by then is left to the thread that writes it.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Limits of age hold within this time, also where nothing is recorded.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Most recordings at a time.
const MOST: usize = 64;
/// So many files of full size are within `max_size`.
const FILES_IN_SIZE: u64 = 8;

/// Where the media of a stream comes from.
pub enum Found {
    /// A source of this gateway.
    Source(SourceName),
    /// What somebody publishes: the layers that are recorded.
    Published(Vec<Arc<Layer>>),
}

/// Tells where a stream is now; `None`: nowhere.
pub type Find = Box<dyn Fn(Of, Option<MemberId>) -> BoxFuture<'static, Option<Found>> + Send + Sync>;

/// What recordings are made with.
pub struct Ports {
    /// Where streams are.
    pub find: Find,
    /// Orders to the sources.
    pub media: Box<dyn Fn(MediaCommand) + Send + Sync>,
}

/// Why one ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Full,
    Disk,
    Source,
}

/// What was done so far, all recordings together.
#[derive(Debug, Default)]
pub struct RecordingFigures {
    written: AtomicU64,
    dropped: AtomicU64,
    removed: [AtomicU64; 3],
    failed: [AtomicU64; 3],
}

impl RecordingFigures {
    /// Bytes written.
    pub fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Frames left out because the disk was too slow.
    pub fn frames_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Files removed, by what they were removed for.
    pub fn files_removed(&self) -> [(&'static str, u64); 3] {
        let get = |why: Why| self.removed[why as usize].load(Ordering::Relaxed);
        [("size", get(Why::Size)), ("age", get(Why::Age)), ("space", get(Why::Space))]
    }

    /// Failures, by their reason.
    pub fn failures(&self) -> [(&'static str, u64); 3] {
        let get = |failure: Failure| self.failed[failure as usize].load(Ordering::Relaxed);
        [("full", get(Failure::Full)), ("disk", get(Failure::Disk)), ("source", get(Failure::Source))]
    }

    fn written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn dropped(&self, frames: u64) {
        self.dropped.fetch_add(frames, Ordering::Relaxed);
    }

    fn removed(&self, why: Why) {
        self.removed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, failure: Failure) {
        self.failed[failure as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Names a recording, from its start to its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingId(pub u64);

/// A recording as it is now.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its number.
    pub id: RecordingId,
    /// What it is of.
    pub of: Of,
    /// Whose stream of that name; `None`: the first.
    pub member: Option<MemberId>,
    /// Whether the configuration asks for it.
    pub configured: bool,
    /// When it was started.
    pub since: SystemTime,
    /// How it stands.
    pub state: RecordingState,
    /// The file that is being written.
    pub file: Option<String>,
    /// What is in it.
    pub codecs: Vec<Codec>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Files begun.
    pub files: u64,
    /// Frames left out because the disk was too slow.
    pub dropped: u64,
}

/// How a recording stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingState {
    /// There is no such stream now.
    Waiting,
    /// The stream is being opened, or its first key frame is waited for.
    Opening,
    /// A file is being written.
    Recording,
    /// It failed and is tried again.
    Failed(String),
}

impl RecordingState {
    /// Every word of [`Self::as_str`].
    pub const WORDS: [&str; 4] = ["waiting", "opening", "recording", "failed"];

    /// In a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Opening => "opening",
            Self::Recording => "recording",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why a recording does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It runs.
    #[error("this is being recorded already, as number {}", .0.0)]
    Already(RecordingId),
    /// Too many.
    #[error("{MOST} recordings run already")]
    TooMany,
    /// A folder cannot be named so.
    #[error("the name of the room or the stream is too long for a folder")]
    Name,
}

/// Owns all recordings. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    ports: Ports,
    segment: Mutex<Rules>,
    entries: Mutex<Entries>,
    figures: Arc<RecordingFigures>,
    wake: watch::Sender<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Entries {
    next: u64,
    running: BTreeMap<RecordingId, Entry>,
}

struct Entry {
    of: Of,
    member: Option<MemberId>,
    configured: bool,
    since: SystemTime,
    phase: Arc<Mutex<RecordingState>>,
    progress: Shared,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Looks at what is there and then records what is listed, until `stop`; whoever stops the gateway waits for `tasks`. Must be
    /// called within the runtime.
    pub fn start(
        config: &RecordingConfig,
        default_folder: PathBuf,
        records: Vec<RecordConfig>,
        ports: Ports,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let figures = Arc::<RecordingFigures>::default();
        let folder = config.directory.clone().unwrap_or(default_folder);
        let store = Arc::new(Store::new(folder, config, Arc::clone(&figures)));
        let (wake, _) = watch::channel(());
        let recorder = Self(Arc::new(Inner {
            store: Arc::clone(&store),
            ports,
            segment: Mutex::new(rules(config)),
            entries: Mutex::default(),
            figures,
            wake,
            tasks: tasks.clone(),
            stop: stop.clone(),
        }));
        for record in records {
            // what cannot be named was told by the check of the configuration
            let _ = recorder.begin(record.of(), None, true);
        }
        let loaded = recorder.0.wake.clone();
        tasks.spawn(async move {
            let work = async {
                let load = Arc::clone(&store);
                let _ = tokio::task::spawn_blocking(move || load.load()).await;
                loaded.send_replace(());
                loop {
                    tokio::time::sleep(TIDY_EVERY).await;
                    let tidy = Arc::clone(&store);
                    let _ = tokio::task::spawn_blocking(move || tidy.make_room(0)).await;
                }
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
        recorder
    }

    /// Other limits, and other recordings that the configuration asks for. What is as before is not touched; the folder stays.
    pub fn configure(&self, config: &RecordingConfig, records: &[RecordConfig]) {
        self.0.store.configure(config);
        *self.0.segment.lock().unwrap_or_else(PoisonError::into_inner) = rules(config);
        let listed: Vec<Of> = records.iter().map(RecordConfig::of).collect();
        let gone: Vec<RecordingId> = {
            let entries = self.entries();
            let gone = entries.running.iter().filter(|(_, entry)| entry.configured && !listed.contains(&entry.of));
            gone.map(|(id, _)| *id).collect()
        };
        for id in gone {
            // ends by itself; nobody waits
            drop(self.take_off(id));
        }
        for of in listed {
            let _ = self.begin(of, None, true);
        }
    }

    /// Starts a recording; it runs until it is stopped.
    pub fn begin(&self, of: Of, member: Option<MemberId>, configured: bool) -> Result<RecordingId, StartError> {
        of.folders().ok_or(StartError::Name)?;
        let mut entries = self.entries();
        let same = entries.running.iter().find(|(_, entry)| entry.of == of && entry.member == member);
        if let Some((id, _)) = same {
            return Err(StartError::Already(*id));
        }
        if entries.running.len() >= MOST {
            return Err(StartError::TooMany);
        }
        entries.next += 1;
        let id = RecordingId(entries.next);
        let stop = self.0.stop.child_token();
        let (phase, progress) = (Arc::new(Mutex::new(RecordingState::Waiting)), Shared::default());
        let run = Run {
            inner: Arc::clone(&self.0),
            of: of.clone(),
            member,
            phase: Arc::clone(&phase),
            progress: Arc::clone(&progress),
            stop: stop.clone(),
        };
        info!(room = %of.room, stream = of.stream.as_ref().map(|name| name.as_str()), configured, "recording started");
        let task = self.0.tasks.spawn(run.run());
        let since = SystemTime::now();
        entries.running.insert(id, Entry { of, member, configured, since, phase, progress, stop, task });
        Ok(id)
    }

    /// Stops a recording and waits until its file is complete. False where there is none of that number.
    pub async fn stop(&self, id: RecordingId) -> bool {
        let Some(task) = self.take_off(id) else { return false };
        let _ = tokio::time::timeout(END_LIMIT, task).await;
        true
    }

    fn take_off(&self, id: RecordingId) -> Option<JoinHandle<()>> {
        let entry = self.entries().running.remove(&id)?;
        info!(room = %entry.of.room, stream = entry.of.stream.as_ref().map(|name| name.as_str()), "recording stopped");
        entry.stop.cancel();
        Some(entry.task)
    }

    /// All recordings that run.
    pub fn recordings(&self) -> Vec<Recording> {
        self.entries().running.iter().map(|(id, entry)| entry.shown(*id)).collect()
    }

    /// All files.
    pub fn files(&self) -> Vec<(FileId, Listed)> {
        self.0.store.list()
    }

    /// Number and bytes of all files, and the bytes that the disk had left at the last look.
    pub fn total(&self) -> (usize, u64, Option<u64>) {
        let (files, bytes) = self.0.store.total();
        let free = self.0.store.free.load(Ordering::Relaxed);
        (files, bytes, (free != u64::MAX).then_some(free))
    }

    /// The folder with the files, and whether what was there at the start is listed.
    pub fn folder(&self) -> (&std::path::Path, bool) {
        (self.0.store.folder(), self.0.store.is_loaded())
    }

    /// Where a file is, of those that are listed.
    pub fn path(&self, id: &FileId) -> Option<(PathBuf, Listed)> {
        self.0.store.path(id)
    }

    /// Removes a file. `Ok(false)`: there is none; [`std::io::ErrorKind::ResourceBusy`]: it is still written. Blocks.
    pub fn remove(&self, id: &FileId) -> std::io::Result<bool> {
        self.0.store.remove(id)
    }

    /// What was done so far.
    pub fn figures(&self) -> &Arc<RecordingFigures> {
        &self.0.figures
    }

    /// Streams came or went: it is looked at once.
    pub fn look_again(&self) {
        self.0.wake.send_replace(());
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // no code that can panic runs under the lock, and every state is valid
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rules(config: &RecordingConfig) -> Rules {
    Rules { length: config.segment, bytes: config.max_size / FILES_IN_SIZE }
}

impl Entry {
    fn shown(&self, id: RecordingId) -> Recording {
        let Progress { file, codecs, bytes, files, dropped, .. } = lock(&self.progress).clone();
        let state = match self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            RecordingState::Opening | RecordingState::Failed(_) if file.is_some() => RecordingState::Recording,
            other => other,
        };
        let (of, member, configured, since) = (self.of.clone(), self.member, self.configured, self.since);
        Recording { id, of, member, configured, since, state, file, codecs, bytes, files, dropped }
    }
}

/// One recording's task.
struct Run {
    inner: Arc<Inner>,
    of: Of,
    member: Option<MemberId>,
    phase: Arc<Mutex<RecordingState>>,
    progress: Shared,
    stop: CancellationToken,
}

/// What is being recorded now; a demand on a source is given up with it.
struct Running {
    capture: Capture,
    _viewing: Option<Viewing>,
}

impl Run {
    async fn run(self) {
        let mut wake = self.inner.wake.subscribe();
        let mut take = Take::new();
        let mut running: Option<Running> = None;
        // said once, until it runs again
        let mut told: Option<String> = None;
        loop {
            // what was there at the start is counted before more is written
            let found = match self.inner.store.is_loaded() {
                true => (self.inner.ports.find)(self.of.clone(), self.member).await,
                false => None,
            };
            let (newest, writes) = {
                let progress = lock(&self.progress);
                (progress.newest, progress.file.is_some())
            };
            if let Some(newest) = newest {
                take.fed(newest);
            }
            if writes {
                told = None;
            }
            match take.look(Instant::now(), found.as_ref().map(target)) {
                Step::Nothing => {}
                Step::Start(_) => {
                    self.show_phase(&take, told.as_ref());
                    let started = tokio::select! {
                        started = self.open(found) => started,
                        () = self.stop.cancelled() => return,
                    };
                    match started {
                        Ok(it) => {
                            take.fed(Instant::now());
                            running = Some(it);
                        }
                        Err(error) => self.failed(&mut take, &mut told, &error),
                    }
                }
                Step::Stop => {
                    if let Some(Err(error)) = self.end(running.take()).await {
                        self.failed(&mut take, &mut told, &error);
                    }
                    self.show_phase(&take, told.as_ref());
                    // another one of that name may be there already
                    continue;
                }
            }
            self.show_phase(&take, told.as_ref());
            let ended = async {
                match &mut running {
                    Some(running) => running.capture.ended().await,
                    None => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                outcome = ended => outcome,
                () = tokio::time::sleep(LOOK) => continue,
                _ = wake.changed() => continue,
                () = self.stop.cancelled() => {
                    if let Some(Err(error)) = self.end(running.take()).await {
                        warn!(room = %self.of.room, %error, "a recording did not end well");
                    }
                    return;
                }
            };
            running = None;
            let error = outcome.err().unwrap_or_else(|| SourceError::Failed("it ended by itself".into()).into());
            self.failed(&mut take, &mut told, &error);
            self.show_phase(&take, told.as_ref());
        }
    }

    async fn open(&self, found: Option<Found>) -> Result<Running, CaptureError> {
        let (layers, viewing) = match found {
            None => (Vec::new(), None),
            Some(Found::Published(layers)) => (layers, None),
            Some(Found::Source(source)) => {
                let viewing = Viewing { inner: Arc::clone(&self.inner), source, viewer: PeerId::next() };
                let silent = |_| SourceError::Silent(OPEN_LIMIT);
                let tracks = tokio::time::timeout(OPEN_LIMIT, viewing.tracks()).await.map_err(silent)??;
                // the whole size: nobody tells that less would do
                (tracks.iter().map(|track| Arc::clone(track.layers.first())).collect(), Some(viewing))
            }
        };
        let layers = one_of_each(layers);
        if layers.is_empty() {
            return Err(SourceError::Failed("the stream has neither picture nor sound".into()).into());
        }
        let setting = Setting {
            of: self.of.clone(),
            rules: *self.inner.segment.lock().unwrap_or_else(PoisonError::into_inner),
            store: Arc::clone(&self.inner.store),
            figures: Arc::clone(&self.inner.figures),
            progress: Arc::clone(&self.progress),
        };
        Ok(Running { capture: Capture::start(layers, setting)?, _viewing: viewing })
    }

    /// Ends what runs, if something does, and waits for its file.
    async fn end(&self, running: Option<Running>) -> Option<Result<(), CaptureError>> {
        let mut running = running?;
        running.capture.stop();
        Some(tokio::time::timeout(END_LIMIT, running.capture.ended()).await.unwrap_or(Ok(())))
    }

    fn failed(&self, take: &mut Take, told: &mut Option<String>, error: &CaptureError) {
        self.inner.figures.failed(error.kind());
        let why = error.to_string();
        if told.as_ref() != Some(&why) {
            warn!(room = %self.of.room, stream = self.of.stream.as_ref().map(|name| name.as_str()), error = why, "recording failed; it is tried again");
            *told = Some(why.clone());
        }
        take.failed(Instant::now(), why);
    }

    /// A failure is shown until a file is written again.
    fn show_phase(&self, take: &Take, told: Option<&String>) {
        let state = match (take.failure(), told) {
            (Some(why), _) => RecordingState::Failed(why.into()),
            (None, Some(why)) if take.is_running() => RecordingState::Failed(why.into()),
            (None, _) if take.is_running() => RecordingState::Opening,
            (None, _) => RecordingState::Waiting,
        };
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

fn target(found: &Found) -> Target {
    match found {
        Found::Source(source) => Target::Source(source.clone()),
        Found::Published(layers) => Target::Published(layers.iter().map(|layer| layer.id()).collect()),
    }
}

/// A file has one picture and one sound.
fn one_of_each(layers: Vec<Arc<Layer>>) -> Vec<Arc<Layer>> {
    let first = |kind| layers.iter().find(|layer| layer.format().codec.kind() == kind).cloned();
    [MediaKind::Video, MediaKind::Audio].into_iter().filter_map(first).collect()
}

/// A demand on a source, given up when it is dropped.
struct Viewing {
    inner: Arc<Inner>,
    source: SourceName,
    viewer: PeerId,
}

impl Viewing {
    async fn tracks(&self) -> Result<Vec<PlannedTrack>, SourceError> {
        let (reply, answer) = oneshot::channel();
        // what is encoded for somebody already comes first, whatever stands first here
        let video = vec![Codec::H264, Codec::VP8, Codec::VP9, Codec::H265];
        let wants = Wants { video, audio: vec![Codec::Opus] };
        let (source, viewer) = (self.source.clone(), self.viewer);
        (self.inner.ports.media)(MediaCommand::Demand { source, viewer, listener: None, wants, reply });
        answer.await.map_err(|_| SourceError::Failed("the gateway is stopping".into()))?
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        (self.inner.ports.media)(MediaCommand::Release { source: self.source.clone(), viewer: self.viewer });
    }
}
