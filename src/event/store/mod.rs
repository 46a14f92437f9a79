//! Events on disk until every sink has them: a folder of append-only files. Blocks; the keeper calls it from a thread of its own.
//!
//! An embedded database was tried on paper first: a record there costs several pages, each commit a sync, and removing what is
//! too much needs space, which a full disk does not have. Here a record is one write at the end of a file, which a kill cannot
//! undo; syncs are as far apart as the configuration says; and making room is removing a file.

mod frame;
mod ledger;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::record::{Event, EventName, WallMs, lane};
use crate::ops::FileError;
use frame::{HEAD, Head, Record};
use ledger::{Ledger, Segment};

pub use ledger::Limits;

/// What segment files' names end in; they begin with the number of their first event.
const SUFFIX: &str = "events";
/// The file with each sink's place.
const CURSORS: &str = "cursors.json";
/// Held locked for as long as a process uses the folder.
const LOCK: &str = "lock";
/// The places of the sinks are written this often at most: after a kill or a power cut, what was confirmed since is sent again.
const PLACES: Duration = Duration::from_secs(10);
/// Most events and payload bytes read at a time; one event may be larger.
pub(super) const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 << 10;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another Portico has the folder.
    #[error("another process uses {}", folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// The system's word.
    #[error(transparent)]
    Io(#[from] FileError),
}

/// An event as it is handed to sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the store. Grows; never used again.
    pub seq: u64,
    /// Among whose events it keeps its place: its room's.
    pub lane: u64,
    /// Its id: the same whenever it is sent, and no other event's.
    pub id: String,
    /// What happened.
    pub name: EventName,
    /// When.
    pub made: WallMs,
    /// One JSON object.
    pub payload: Vec<u8>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order. Empty when nothing is stored from there on.
    pub events: Vec<Stored>,
    /// Where to read on.
    pub next: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    run: u64,
    ledger: Ledger,
    /// The segment that is written to, and how much of it is whole. `None` until something is written.
    open: Option<File>,
    /// Whether something was written since the last sync.
    unsynced: bool,
    saved: BTreeMap<String, u64>,
    /// Not before this time are they saved again.
    save_from: Instant,
    /// Whether they are saved even if none has moved: the file is not there, or has other sinks.
    save_anyway: bool,
    _lock: File,
}

impl Store {
    /// Makes the folder where it is missing, readable by its user only, and reads what is there. `run` is a random number.
    pub fn open(folder: &Path, limits: Limits, sinks: &[String], run: u64) -> Result<Self, StoreError> {
        let failed = FileError::by::<StoreError>;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("cannot make", folder))?;
        let lock = folder.join(LOCK);
        let lock = create(&lock, false).map_err(failed("cannot write", &lock))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::Taken { folder: folder.into() }),
            Err(fs::TryLockError::Error(source)) => return Err(failed("cannot lock", folder)(source)),
        }
        let mut segments = Vec::new();
        for path in segment_files(folder).map_err(failed("cannot read", folder))? {
            match scan(&path).map_err(failed("cannot read", &path))? {
                Some(segment) => segments.push(segment),
                // a file that was begun and got no record, or is none of ours
                None => fs::remove_file(&path).map_err(failed("cannot remove", &path))?,
            }
        }
        segments.sort_by_key(|segment| segment.head.first);
        let saved = saved_cursors(folder);
        if saved.is_none() && !segments.is_empty() {
            tracing::warn!(folder = %folder.display(), "the places of the sinks are not known; all stored events are sent again");
        }
        let ledger = Ledger::recover(limits, segments, saved.as_ref(), sinks);
        let saved = saved.unwrap_or_default();
        Ok(Self {
            folder: folder.into(),
            run,
            ledger,
            open: None,
            unsynced: true,
            saved,
            save_from: Instant::now(),
            save_anyway: true,
            _lock: lock,
        })
    }

    /// Writes events at the end. They are safe from a kill when this returns, and from a power cut after [`Self::sync`]. Those
    /// that could not be written stay in the queue.
    pub fn append(&mut self, events: &mut std::collections::VecDeque<Event>, now: WallMs) -> Result<(), StoreError> {
        while !events.is_empty() {
            let coming = frame::record_len(events[0].name, &events[0].payload);
            if self.open.is_none() || self.ledger.wants_new_segment(coming, now) {
                self.begin()?;
            }
            // as many as fit into the segment, in one write
            let mut bytes = Vec::new();
            let mut lens = Vec::new();
            for event in events.iter() {
                let len = frame::record_len(event.name, &event.payload);
                if !lens.is_empty() && bytes.len() as u64 + len > self.ledger.space() {
                    break;
                }
                frame::encode(&mut bytes, self.ledger.next() + lens.len() as u64, event.made, event.name, &event.payload);
                lens.push(len);
            }
            self.make_room(bytes.len() as u64, now);
            self.write(&bytes)?;
            for (event, len) in events.drain(..lens.len()).zip(lens) {
                self.ledger.add(event.made, len);
            }
            self.unsynced = true;
        }
        Ok(())
    }

    /// Other limits and sinks from now on. A sink that is new begins with what comes; one that is gone is forgotten.
    pub fn change(&mut self, limits: Limits, sinks: &[String]) {
        self.ledger.change(limits, sinks);
        (self.save_from, self.save_anyway) = (Instant::now(), true);
    }

    /// Removes the segments that are over the limits, or that nobody wants.
    pub fn tidy(&mut self, now: WallMs) {
        if self.ledger.last_is_expired(now)
            && let Err(error) = self.begin()
        {
            tracing::debug!(%error, "no new segment");
        }
        self.make_room(0, now);
    }

    /// The first events from that number on; at most [`BATCH`]. Where a file was damaged since it was scanned, the rest of it is
    /// given up and counted as dropped.
    pub fn read(&mut self, mut from: u64) -> Result<Batch, StoreError> {
        while let Some((segment, mark)) = self.ledger.locate(from) {
            let path = self.path(segment.head);
            let failed = |source| FileError { what: "cannot read", path: path.clone(), source };
            let mut file = File::open(&path).map_err(failed)?;
            file.seek(SeekFrom::Start(mark.offset)).map_err(failed)?;
            let mut file = BufReader::new(file.take(segment.bytes - mark.offset));
            let mut events = Vec::new();
            let mut bytes = 0;
            while events.len() < BATCH && bytes < BATCH_BYTES {
                let Some(record) = frame::decode(&mut file).map_err(failed)? else { break };
                if record.seq >= from {
                    bytes += record.payload.len();
                    events.push(stored(segment.head.run, record));
                }
            }
            if let Some(last) = events.last() {
                let next = last.seq + 1;
                return Ok(Batch { events, next });
            }
            let end = segment.next;
            let dropped = self.ledger.give_up(from);
            tracing::error!(path = %path.display(), dropped, "a file of events is damaged; what cannot be read is dropped");
            from = end;
        }
        Ok(Batch { events: Vec::new(), next: self.ledger.next() })
    }

    /// A sink has got everything before `next` confirmed.
    pub fn confirm(&mut self, sink: &str, next: u64) {
        self.ledger.confirm(sink, next);
    }

    /// Makes what was written safe from a power cut.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.unsynced
            && let Some(file) = &self.open
        {
            file.sync_data().map_err(|source| self.failed(source))?;
        }
        self.unsynced = false;
        Ok(())
    }

    /// Makes the places of the sinks safe from a power cut.
    pub fn save_places(&mut self) -> Result<(), StoreError> {
        // one that fails is tried again as late
        self.save_from = Instant::now() + PLACES;
        let cursors = self.ledger.cursors();
        if self.save_anyway || cursors != self.saved {
            save_cursors(&self.folder, &cursors).map_err(|source| self.failed(source))?;
            (self.saved, self.save_anyway) = (cursors, false);
        }
        Ok(())
    }

    /// Whether something was written that [`Self::sync`] would make safe.
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// When the places are to be saved: some time after one has moved.
    pub fn places_at(&self) -> Option<Instant> {
        (self.save_anyway || self.ledger.cursors() != self.saved).then_some(self.save_from)
    }

    fn failed(&self, source: io::Error) -> StoreError {
        FileError { what: "cannot write to", path: self.folder.clone(), source }.into()
    }

    /// The number the next event gets.
    pub fn next(&self) -> u64 {
        self.ledger.next()
    }

    /// The first event a sink has not got confirmed.
    pub fn wanted(&self, sink: &str) -> u64 {
        self.ledger.wanted(sink)
    }

    /// Events a sink has not got confirmed, and how many it wanted that were let go.
    pub fn account(&self, sink: &str) -> (u64, u64) {
        (self.ledger.backlog(sink), self.ledger.dropped(sink))
    }

    /// When the oldest event that a sink has not got confirmed was made.
    pub fn oldest(&self, sink: &str) -> Option<WallMs> {
        let (segment, mark) = self.ledger.locate(self.ledger.wanted(sink))?;
        let mut file = File::open(self.path(segment.head)).ok()?;
        file.seek(SeekFrom::Start(mark.offset)).ok()?;
        // within 256 records of the one that is meant, which is as exact as an age needs to be
        Some(frame::decode(&mut BufReader::new(file)).ok()??.made)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.ledger.bytes()
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let head = Head { run: self.run, first: self.ledger.next() };
        let path = self.path(head);
        let failed = |source| FileError { what: "cannot write", path: path.clone(), source };
        let mut file = create(&path, true).map_err(failed)?;
        if let Err(error) = file.write_all(&head.encode()) {
            let _ = fs::remove_file(&path);
            return Err(failed(error).into());
        }
        // so that the new file's name is there after a power cut
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        if let Some(before) = self.open.replace(file) {
            let _ = before.sync_data();
        }
        self.ledger.begin(head);
        Ok(())
    }

    /// Writes whole records, or none: what went in of a write that failed is cut off.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (Some(file), Some(last)) = (&mut self.open, self.ledger.last()) else { return Ok(()) };
        let whole = last.bytes;
        let Err(source) = file.write_all(bytes) else { return Ok(()) };
        // if even that fails the reading ends there, and what comes goes to a new file
        if file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).is_err() {
            self.open = None;
        }
        Err(self.failed(source))
    }

    fn make_room(&mut self, coming: u64, now: WallMs) {
        let trimmed = self.ledger.trim(coming, now);
        for head in &trimmed.segments {
            if let Err(error) = fs::remove_file(self.path(*head)) {
                tracing::warn!(%error, "a file of old events cannot be removed");
            }
        }
        if trimmed.dropped > 0 {
            tracing::warn!(dropped = trimmed.dropped, "events are dropped, oldest first: the store's limits are reached");
        }
        self.unsynced |= !trimmed.segments.is_empty();
    }

    fn path(&self, head: Head) -> PathBuf {
        self.folder.join(format!("{:020}.{SUFFIX}", head.first))
    }
}

fn stored(run: u64, record: Record) -> Stored {
    let id = format!("{run:016x}-{}", record.seq);
    Stored { seq: record.seq, lane: lane(&record.payload), id, name: record.name, made: record.made, payload: record.payload }
}

fn create(path: &Path, anew: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(anew).mode(0o600).open(path)
}

fn segment_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == SUFFIX) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a whole segment; `None` when there is no record in it.
fn scan(path: &Path) -> io::Result<Option<Segment>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut head = [0; HEAD as usize];
    match file.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let Some(head) = Head::decode(&head) else { return Ok(None) };
    let mut segment = Segment::new(head);
    while let Some(record) = frame::decode(&mut file)? {
        if record.seq != segment.next {
            break;
        }
        segment.add(record.seq, record.made, record.len);
    }
    Ok((segment.next > head.first).then_some(segment))
}

/// `None` when there is no such file, or it holds something else.
fn saved_cursors(folder: &Path) -> Option<BTreeMap<String, u64>> {
    serde_json::from_slice(&fs::read(folder.join(CURSORS)).ok()?).ok()
}

fn save_cursors(folder: &Path, cursors: &BTreeMap<String, u64>) -> io::Result<()> {
    let beside = folder.join("cursors.tmp");
    let mut file = create(&beside, true)?;
    file.write_all(&serde_json::to_vec(cursors)?)?;
    file.sync_data()?;
    fs::rename(&beside, folder.join(CURSORS))
}
