//! Recordings on disk: the thin half of [`shelf`](super::shelf). Everything here blocks: a recording's own thread calls it, or one that
//! may wait.
//!
//! ```text
//! DIRECTORY/ROOM/STREAM/2026-11-22T15-03-05Z.webm
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::matroska::Patch;
use super::scan::scan;
use super::shelf::{FileId, Limits, Listed, Of, Shelf, Why, began, file_name};
use super::{RecordingConfig, RecordingFigures};

/// What was written is on the disk within about this time. A little less than two clusters.
const SYNC_EVERY: Duration = Duration::from_millis(900);
/// A file without anything to play is removed at the start, if it is smaller than this: it was begun as the power went.
const NOTHING: u64 = 64 << 10;
/// A file is begun where there is room for so much of it.
const START_ROOM: u64 = 1 << 20;
/// Most files of one stream that begin in one second.
const MOST_NAMES: u32 = 1000;

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or has less left than must stay free.
    #[error("the disk is full: {free} bytes are left, {kept} stay free")]
    Full {
        /// Bytes it has.
        free: u64,
        /// Bytes that stay free.
        kept: u64,
    },
    /// What is being written at the same time is larger than all may be.
    #[error("what is being recorded now is larger than max_size = {0}")]
    TooLarge(u64),
    /// A folder cannot be named so.
    #[error("the name of the room is too long for a folder")]
    Name,
    /// Somebody else's recordings are in there.
    #[error("another gateway records to {}", .0.display())]
    InUse(PathBuf),
    /// The system refuses.
    #[error("cannot write {}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// As it is counted.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::TooLarge(_))
    }
}

/// The folder of all recordings.
pub(super) struct Store {
    folder: PathBuf,
    limits: Mutex<Limits>,
    shelf: Mutex<Shelf>,
    figures: Arc<RecordingFigures>,
    /// Bytes the disk had left when it was looked at last; its largest value: it was not.
    pub free: AtomicU64,
    /// What was there at the start is listed.
    loaded: AtomicBool,
    /// Locked, so that no other gateway mends or removes what this one writes.
    held: Mutex<Option<File>>,
}

impl Store {
    /// Nothing is looked at yet.
    pub fn new(folder: PathBuf, config: &RecordingConfig, figures: Arc<RecordingFigures>) -> Self {
        let (limits, shelf, free) = (Mutex::new(limits(config)), Mutex::default(), AtomicU64::new(u64::MAX));
        Self { folder, limits, shelf, figures, free, loaded: AtomicBool::new(false), held: Mutex::default() }
    }

    /// Other limits from now on.
    pub fn configure(&self, config: &RecordingConfig) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits(config);
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether what was there at the start is listed.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Whether the folder is this gateway's, from now on until it ends.
    fn hold(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = File::open(&self.folder).ok().filter(|folder| folder.try_lock().is_ok());
        }
        held.is_some()
    }

    /// Lists what is there, and makes whole what was cut off. To be called before anything is recorded.
    pub fn load(&self) {
        if self.folder.exists() && !self.hold() {
            warn!(folder = %self.folder.display(), "another gateway records there: its files are left alone");
            return self.loaded.store(true, Ordering::Release);
        }
        for room in folders(&self.folder) {
            for stream in folders(&room) {
                let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let Some(of) = Of::of_folders(&name(&room), &name(&stream)) else { continue };
                for entry in fs::read_dir(&stream).into_iter().flatten().flatten() {
                    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                    let file = entry.file_name().to_string_lossy().into_owned();
                    let Some(began) = began(&file).filter(|_| is_file) else { continue };
                    let id = FileId { of: of.clone(), file };
                    match self.look(&entry.path(), began) {
                        Ok(Some(listed)) => self.shelf().put(id, listed),
                        Ok(None) => {}
                        Err(error) => warn!(file = %entry.path().display(), %error, "a recording cannot be read"),
                    }
                }
            }
        }
        self.make_room(0);
        self.loaded.store(true, Ordering::Release);
    }

    fn look(&self, path: &Path, began: SystemTime) -> io::Result<Option<Listed>> {
        let meta = fs::metadata(path)?;
        let ended = meta.modified().unwrap_or(began);
        let mut listed = Listed { began, ended, bytes: meta.len(), lasts: Duration::ZERO, open: false };
        match scan(&mut File::open(path)?)? {
            Some(scan) => {
                listed.lasts = Duration::from_millis(scan.lasts);
                if !scan.finished {
                    // where the disk is read-only or full it stays as it is, and plays all the same
                    match self.repair(path, &scan) {
                        Ok(()) => {
                            info!(file = %path.display(), seconds = listed.lasts.as_secs(), "a recording that was cut off is complete")
                        }
                        Err(error) => warn!(file = %path.display(), %error, "a recording that was cut off stays so"),
                    }
                    listed.bytes = fs::metadata(path)?.len();
                }
            }
            None if meta.len() < NOTHING => {
                fs::remove_file(path)?;
                return Ok(None);
            }
            None => {}
        }
        Ok(Some(listed))
    }

    fn repair(&self, path: &Path, scan: &super::scan::Scan) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let modified = file.metadata()?.modified()?;
        file.set_len(scan.good)?;
        let (index, patches) = scan.repair();
        complete(&file, scan.good, &index, &patches)?;
        // its age is that of its content
        file.set_modified(modified)
    }

    /// A new file with its first bytes.
    pub fn begin(self: &Arc<Self>, of: &Of, at: SystemTime, webm: bool, head: &[u8]) -> Result<Writing, StoreError> {
        let [room, stream] = of.folders().ok_or(StoreError::Name)?;
        let folder = self.folder.join(room).join(stream);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o750).create(&folder).map_err(io(&folder))?;
        if !self.hold() {
            return Err(StoreError::InUse(self.folder.clone()));
        }
        self.room_for(START_ROOM.min(self.limits().size / 8))?;
        for nth in 0..MOST_NAMES {
            let name = file_name(at, nth, webm);
            let path = folder.join(&name);
            match File::options().write(true).create_new(true).mode(0o640).open(&path) {
                Ok(file) => {
                    let id = FileId { of: of.clone(), file: name };
                    let listed = Listed { began: at, ended: at, bytes: 0, lasts: Duration::ZERO, open: true };
                    self.shelf().put(id.clone(), listed);
                    let store = Arc::clone(self);
                    let mut writing =
                        Writing { store, id, path, file, len: 0, head: head.len() as u64, synced: Instant::now(), dirty: false };
                    writing.add(head, Duration::ZERO)?;
                    // the name must outlive a power cut too; a file system that cannot say so loses nothing else
                    let _ = File::open(&folder).and_then(|folder| folder.sync_all());
                    return Ok(writing);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failed(&path, error)),
            }
        }
        Err(io(&folder)(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Everything there is, in order of room, stream and name.
    pub fn list(&self) -> Vec<(FileId, Listed)> {
        self.shelf().iter().map(|(id, listed)| (id.clone(), listed.clone())).collect()
    }

    /// How many files there are, and their bytes.
    pub fn total(&self) -> (usize, u64) {
        let shelf = self.shelf();
        (shelf.iter().count(), shelf.bytes())
    }

    /// Where a listed file is. Names that are not listed have no path.
    pub fn path(&self, id: &FileId) -> Option<(PathBuf, Listed)> {
        let listed = self.shelf().get(id)?.clone();
        let [room, stream] = id.of.folders()?;
        Some((self.folder.join(room).join(stream).join(&id.file), listed))
    }

    /// Removes a file that is not written any more. `Ok(false)`: there is none.
    pub fn remove(&self, id: &FileId) -> io::Result<bool> {
        let Some((path, listed)) = self.path(id) else { return Ok(false) };
        if listed.open {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.shelf().remove(id);
        // folders that are empty now go too; others stay
        if let Some(stream) = path.parent()
            && fs::remove_dir(stream).is_ok()
            && let Some(room) = stream.parent()
        {
            let _ = fs::remove_dir(room);
        }
        Ok(true)
    }

    /// Removes what the limits say, so that so many bytes can come.
    pub fn make_room(&self, coming: u64) {
        let (limits, free) = (self.limits(), self.look_free());
        let surplus = self.shelf().surplus(&limits, SystemTime::now(), free, coming);
        for (id, why) in surplus {
            match self.remove(&id) {
                // another recording's thread was faster
                Ok(false) => {}
                Ok(true) => {
                    self.figures.removed(why);
                    info!(room = %id.of.room, file = id.file, ?why, "a recording was removed");
                }
                Err(error) => warn!(room = %id.of.room, file = id.file, %error, "a recording cannot be removed"),
            }
        }
    }

    fn room_for(&self, coming: u64) -> Result<(), StoreError> {
        self.make_room(coming);
        let (limits, free) = (self.limits(), self.look_free());
        match self.shelf().fits(&limits, free, coming) {
            Ok(()) => Ok(()),
            Err(Why::Size | Why::Age) => Err(StoreError::TooLarge(limits.size)),
            Err(Why::Space) => Err(StoreError::Full { free, kept: limits.free }),
        }
    }

    fn look_free(&self) -> u64 {
        // a folder that is not there yet will be on the disk of the one above
        let there = self.folder.ancestors().find(|folder| folder.exists());
        let free = there
            .and_then(|folder| rustix::fs::statvfs(folder).ok())
            .map_or(u64::MAX, |it| it.f_bavail.saturating_mul(it.f_frsize));
        self.free.store(free, Ordering::Relaxed);
        free
    }

    fn failed(&self, path: &Path, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { free: self.look_free(), kept: self.limits().free }
            }
            _ => StoreError::Io { path: path.to_owned(), source },
        }
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // no code that can panic runs under the lock, and every state is valid
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is being written.
pub(super) struct Writing {
    store: Arc<Store>,
    pub id: FileId,
    path: PathBuf,
    file: File,
    len: u64,
    /// Bytes before anything that plays.
    head: u64,
    synced: Instant,
    /// Something was written since.
    dirty: bool,
}

impl Writing {
    /// Adds bytes; it then lasts so long. What cannot be written whole is not there at all.
    pub fn add(&mut self, bytes: &[u8], lasts: Duration) -> Result<(), StoreError> {
        self.store.room_for(bytes.len() as u64)?;
        if let Err(error) = self.file.write_all(bytes) {
            let _ = self.file.set_len(self.len);
            return Err(self.store.failed(&self.path, error));
        }
        self.len += bytes.len() as u64;
        self.store.figures.written(bytes.len() as u64);
        if let Some(listed) = self.store.shelf().get_mut(&self.id) {
            (listed.bytes, listed.lasts, listed.ended) = (self.len, lasts, SystemTime::now());
        }
        self.dirty = true;
        Ok(())
    }

    /// Has what was written reach the disk, when it is time. To be called a few times a second.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.dirty && self.synced.elapsed() >= SYNC_EVERY {
            self.file.sync_data().map_err(|error| self.store.failed(&self.path, error))?;
            (self.synced, self.dirty) = (Instant::now(), false);
        }
        Ok(())
    }

    /// Makes it whole. Where that fails it is as after a power cut, and made whole at the next start.
    pub fn complete(self, index: &[u8], patches: &[Patch]) -> Result<(), StoreError> {
        complete(&self.file, self.len, index, patches).map_err(|error| {
            let _ = self.file.set_len(self.len);
            self.store.failed(&self.path, error)
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.len <= self.head {
            // nothing of it plays
            let _ = fs::remove_file(&self.path);
            self.store.shelf().remove(&self.id);
            return;
        }
        let bytes = self.file.metadata().map_or(self.len, |meta| meta.len());
        if let Some(listed) = self.store.shelf().get_mut(&self.id) {
            (listed.bytes, listed.open) = (bytes, false);
        }
    }
}

/// The index first, and on disk, before anything speaks of it.
fn complete(file: &File, at: u64, index: &[u8], patches: &[Patch]) -> io::Result<()> {
    file.write_all_at(index, at)?;
    file.sync_data()?;
    patches.iter().try_for_each(|patch| file.write_all_at(&patch.bytes, patch.at))?;
    file.sync_data()
}

fn limits(config: &RecordingConfig) -> Limits {
    Limits { size: config.max_size, age: config.max_age, free: config.min_free }
}

/// The folders in a folder, links not followed.
fn folders(inside: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(inside).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::{RoomId, StreamName};

    #[test]
    fn a_second_gateway_leaves_the_files_of_the_first_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = RecordingConfig::default();
        let store = || {
            let store = Arc::new(Store::new(folder.path().to_owned(), &config, Arc::default()));
            store.load();
            store
        };
        let of = Of { room: RoomId::new("yard").unwrap(), stream: Some(StreamName::new("door").unwrap()) };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let first = store();
        let mut writing = first.begin(&of, at, false, b"a head").unwrap();
        writing.add(b" and more", Duration::from_secs(1)).unwrap();
        let second = store();
        assert!(second.is_loaded() && second.list().is_empty());
        let refused = second.begin(&of, at, false, b"a head").err().unwrap().to_string();
        assert!(refused.contains("another gateway records to"), "{refused}");
        assert_eq!(fs::read(&writing.path).unwrap(), b"a head and more");
        drop((writing, first));
        assert!(second.begin(&of, at, false, b"a head").is_ok(), "the first has ended");
    }
}
