//! What is known of candidates, kept over restarts.
//!
//! One JSON file of the state directory, replaced whole. A verdict holds for one candidate set up in one way, with one version of
//! its plugin and of GStreamer, under one kernel, on one board; when any of these is another, it does not count.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::verdict::{Fault, Verdict};
use crate::media::board::{Board, Candidate};
use crate::media::element::{self, Presence};

/// The file's name in the state directory.
pub const FILE: &str = "verdicts.json";
/// Most verdicts kept. A board has a dozen candidates; the oldest go first.
const MOST: usize = 128;
/// A larger file is not ours, bytes.
const LARGEST: u64 = 512 * 1024;
/// How the file is written. Another one is ignored.
const FORMAT: u32 = 1;

/// What a verdict holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `encoder` or `decoder`.
    role: String,
    /// The element.
    element: String,
    /// Version of its plugin, and of GStreamer.
    version: String,
    /// A digest of how the board file sets it up.
    settings: String,
    /// The kernel's release.
    kernel: String,
    /// The board file's name.
    board: String,
}

impl Key {
    /// Whether both are of one candidate set up in one way, of whatever version and on whatever kernel.
    fn same_candidate(&self, other: &Self) -> bool {
        (&self.role, &self.element, &self.settings) == (&other.role, &other.element, &other.settings)
    }
}

/// A verdict as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    key: Key,
    verdict: Verdict,
    /// When it was tried, seconds since 1970.
    tried: u64,
    /// Written before this process touched it untried; still there after the process died of that. A trial settles it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    provisional: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    records: Vec<Record>,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Verdicts {
    file: Option<PathBuf>,
    board: String,
    kernel: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    /// Of the file when it was read or written last: when it was changed, and its length.
    stamp: Option<(SystemTime, u64)>,
    /// Candidates that are going to be tried by this process. Never more than a board has.
    awaited: Vec<Key>,
    /// Versions of elements, which do not change while the program runs.
    versions: BTreeMap<String, Option<String>>,
}

impl Verdicts {
    /// What a state directory knows of a board. A file that is missing or cannot be read knows nothing.
    pub fn open(state_dir: &Path, board: &Board) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let verdicts = Self { file: Some(state_dir.join(FILE)), board: board.name.clone(), kernel, state: Mutex::default() };
        verdicts.refresh();
        verdicts
    }

    /// Reads the file again if somebody else (`portico doctor`) changed it.
    pub fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let stamp = stamp(file);
        let mut state = self.state();
        if stamp.is_some() && stamp != state.stamp {
            state.records = read(file);
            state.stamp = stamp;
        }
    }

    /// The verdict on a candidate that holds now. Elements that are not installed have none.
    pub fn get(&self, candidate: Candidate<'_>) -> Option<Verdict> {
        Some(self.find(candidate)?.verdict)
    }

    /// Whether no trial has settled how a candidate stands.
    pub fn wants_trial(&self, candidate: Candidate<'_>) -> bool {
        self.find(candidate).is_none_or(|record| record.provisional)
    }

    /// Touches a candidate of which nothing is known in this very process. Should that end the process, the candidate is passed
    /// over after the next start, until it is tried in a process of its own.
    pub fn touch<T>(&self, candidate: Candidate<'_>, touch: impl FnOnce() -> T) -> T {
        let key = self.key(candidate).filter(|_| self.file.is_some() && self.find(candidate).is_none());
        let Some(key) = key else { return touch() };
        let fault = Fault::Crashes { how: "with the gateway that opened it".into() };
        let record = Record { key: key.clone(), verdict: Verdict::Refused { fault }, tried: 0, provisional: true };
        // where nothing can be kept there is nothing to keep off from either
        let _ = self.write_with(|records| records.push(record));
        let outcome = touch();
        let _ = self.write_with(|records| records.retain(|record| !(record.provisional && record.key == key)));
        outcome
    }

    /// How a candidate stands that a trial refused, or that is going to be tried; `None` for every other.
    pub fn refusal(&self, candidate: Candidate<'_>) -> Option<Presence> {
        if self.is_awaited(candidate) {
            return Some(Presence::Busy { why: "it is tried first".into() });
        }
        let verdict = self.get(candidate)?;
        verdict.fault().map(|fault| Presence::NotReady { why: format!("its trial found: {fault}") })
    }

    /// The candidate is going to be tried: until then it is not used.
    pub fn expect(&self, candidate: Candidate<'_>) {
        if let Some(key) = self.key(candidate).filter(|_| !self.is_awaited(candidate)) {
            self.state().awaited.push(key);
        }
    }

    /// The candidate is not going to be tried after all, or not now: it may be used as one that works.
    pub fn expect_no_more(&self, candidate: Candidate<'_>) {
        if let Some(key) = self.key(candidate) {
            self.state().awaited.retain(|awaited| *awaited != key);
        }
    }

    fn is_awaited(&self, candidate: Candidate<'_>) -> bool {
        if self.state().awaited.is_empty() {
            return false;
        }
        let Some(key) = self.key(candidate) else { return false };
        self.state().awaited.contains(&key)
    }

    /// When the verdict was found, seconds since 1970.
    pub fn tried(&self, candidate: Candidate<'_>) -> Option<u64> {
        Some(self.find(candidate)?.tried)
    }

    fn find(&self, candidate: Candidate<'_>) -> Option<Record> {
        if self.state().records.is_empty() {
            return None;
        }
        let key = self.key(candidate)?;
        self.state().records.iter().find(|record| record.key == key).cloned()
    }

    /// Keeps a verdict, in place of any earlier one on the candidate, and writes the file. `now` is in seconds since 1970. A
    /// file that cannot be written is an error, and the verdict holds for as long as the process runs.
    pub fn put(&self, candidate: Candidate<'_>, verdict: Verdict, now: u64) -> std::io::Result<()> {
        let Some(key) = self.key(candidate) else { return Ok(()) };
        self.state().awaited.retain(|awaited| *awaited != key);
        self.write_with(|records| {
            records.retain(|record| !record.key.same_candidate(&key));
            records.push(Record { key, verdict, tried: now, provisional: false });
        })
    }

    /// Changes what is known, here and in the file.
    fn write_with(&self, change: impl FnOnce(&mut Vec<Record>)) -> std::io::Result<()> {
        // what another process found meanwhile stays
        self.refresh();
        let mut state = self.state();
        change(&mut state.records);
        let excess = state.records.len().saturating_sub(MOST);
        state.records.drain(..excess);
        let Some(file) = &self.file else { return Ok(()) };
        write(file, &state.records)?;
        state.stamp = stamp(file);
        Ok(())
    }

    fn key(&self, candidate: Candidate<'_>) -> Option<Key> {
        let (role, settings) = match candidate {
            Candidate::Encoder(it) => ("encoder", serde_json::to_vec(it)),
            Candidate::Decoder(it) => ("decoder", serde_json::to_vec(it)),
            Candidate::Compositor(_) | Candidate::Element(_) => return None,
        };
        let digest = Sha256::digest(settings.ok()?);
        let version = {
            let name = candidate.element();
            let known = self.state().versions.get(name).cloned();
            let version = known.unwrap_or_else(|| element::version(name));
            self.state().versions.insert(name.to_owned(), version.clone());
            version?
        };
        Some(Key {
            role: role.into(),
            element: candidate.element().into(),
            version,
            settings: digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            kernel: self.kernel.clone(),
            board: self.board.clone(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // every state between two lines is valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn read(file: &Path) -> Vec<Record> {
    if std::fs::metadata(file).map_or(true, |meta| !meta.is_file() || meta.len() > LARGEST) {
        return Vec::new();
    }
    let stored = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
    let mut records = stored.filter(|stored| stored.format == FORMAT).map(|stored| stored.records).unwrap_or_default();
    records.truncate(MOST);
    records
}

/// Writes beside the file and renames, so that it is whole at every moment.
fn write(file: &Path, records: &[Record]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!("verdicts.{}.tmp", std::process::id()));
    let text = serde_json::to_vec_pretty(&Stored { format: FORMAT, records: records.to_vec() })?;
    // a leftover of a process of the same number, or a link that somebody put there
    let _ = std::fs::remove_file(&beside);
    let outcome = std::fs::File::create_new(&beside)
        .and_then(|mut new| new.write_all(&text).and_then(|()| new.sync_all()))
        .and_then(|()| std::fs::rename(&beside, file));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Note;
    use super::*;
    use crate::media::board::EncoderCandidate;

    fn board() -> Board {
        gstreamer::init().unwrap();
        Board::generic()
    }

    fn refused() -> Verdict {
        Verdict::Refused { fault: Fault::Hangs { seconds: 20 } }
    }

    #[test]
    fn a_verdict_is_kept_over_a_restart_and_replaced_by_a_later_one() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let encoder = Candidate::Encoder(&board.encoders[0]);
        let state = dir.path().join("not/yet/there");
        let verdicts = Verdicts::open(&state, &board);
        assert_eq!(verdicts.get(encoder), None);
        verdicts.put(encoder, refused(), 1000).unwrap();
        let again = Verdicts::open(&state, &board);
        assert_eq!((again.get(encoder), again.tried(encoder)), (Some(refused()), Some(1000)));
        assert_eq!(again.get(Candidate::Decoder(&board.decoders[0])), None);
        let works = Verdict::Works { notes: vec![Note::BareKeys] };
        again.put(encoder, works.clone(), 2000).unwrap();
        verdicts.refresh();
        assert_eq!((verdicts.get(encoder), verdicts.tried(encoder)), (Some(works), Some(2000)));
        let names: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
    }

    #[test]
    fn what_is_going_to_be_tried_is_not_used_until_then() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let verdicts = Verdicts::open(dir.path(), &board);
        let (first, second) = (Candidate::Encoder(&board.encoders[0]), Candidate::Encoder(&board.encoders[1]));
        verdicts.expect(first);
        verdicts.expect(second);
        let waits = |it| matches!(verdicts.refusal(it), Some(Presence::Busy { .. }));
        assert!(waits(first) && waits(second) && verdicts.wants_trial(first));
        verdicts.put(first, Verdict::Works { notes: vec![] }, 0).unwrap();
        verdicts.expect_no_more(second);
        assert_eq!((verdicts.refusal(first), verdicts.refusal(second)), (None, None));
        // another process waits for nothing
        assert_eq!(Verdicts::open(dir.path(), &board).refusal(second), None);
    }

    #[test]
    fn another_kernel_board_version_or_setting_makes_it_void() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let encoder = board.encoders[0].clone();
        Verdicts::open(dir.path(), &board).put(Candidate::Encoder(&encoder), refused(), 0).unwrap();
        let file = dir.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let version = element::version(&encoder.element).unwrap();
        for (have, other) in [(kernel.as_str(), "2.4.0"), ("generic", "anvil"), (version.as_str(), "0.0.1")] {
            assert!(text.contains(have), "{text}");
            std::fs::write(&file, text.replace(have, other)).unwrap();
            assert_eq!(Verdicts::open(dir.path(), &board).get(Candidate::Encoder(&encoder)), None, "{other}");
        }
        std::fs::write(&file, text).unwrap();
        let mut properties = encoder.properties.clone();
        properties.insert("threads".into(), "2".into());
        let other = EncoderCandidate { properties, ..encoder.clone() };
        let verdicts = Verdicts::open(dir.path(), &board);
        assert_eq!(verdicts.get(Candidate::Encoder(&other)), None);
        assert!(verdicts.get(Candidate::Encoder(&encoder)).is_some());
    }

    #[test]
    fn a_spoilt_file_knows_nothing_and_is_written_anew() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let encoder = Candidate::Encoder(&board.encoders[0]);
        for spoilt in ["", "[]", "{\"format\":99,\"records\":[]}", "{\"format\":1,\"records\":[{}]}", "\u{0}\u{1}"] {
            std::fs::write(dir.path().join(FILE), spoilt).unwrap();
            let verdicts = Verdicts::open(dir.path(), &board);
            assert_eq!(verdicts.get(encoder), None);
            verdicts.put(encoder, refused(), 0).unwrap();
            assert_eq!(Verdicts::open(dir.path(), &board).get(encoder), Some(refused()));
        }
    }

    #[test]
    fn what_ends_the_process_is_passed_over_by_the_next_until_it_is_tried() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        let encoder = Candidate::Encoder(&board.encoders[0]);
        let verdicts = Verdicts::open(dir.path(), &board);
        assert!(verdicts.wants_trial(encoder));
        // the next process, had this one died here
        let next = verdicts.touch(encoder, || Verdicts::open(dir.path(), &board));
        assert!(next.refusal(encoder).is_some() && next.wants_trial(encoder));
        // this one lived, so nothing stands against it
        assert_eq!((verdicts.get(encoder), Verdicts::open(dir.path(), &board).get(encoder)), (None, None));
        next.put(encoder, Verdict::Works { notes: vec![] }, 1).unwrap();
        assert!(next.refusal(encoder).is_none() && !next.wants_trial(encoder));
        // what is settled is not written again
        let before = stamp(&dir.path().join(FILE));
        next.touch(encoder, || assert_eq!(stamp(&dir.path().join(FILE)), before));
    }

    #[test]
    fn no_more_than_the_most_are_kept() {
        let board = board();
        let verdicts = Verdicts::default();
        let candidate = |n: usize| {
            let mut encoder = board.encoders[0].clone();
            encoder.properties.insert("n".into(), n.to_string());
            encoder
        };
        for n in 0..MOST + 5 {
            verdicts.put(Candidate::Encoder(&candidate(n)), refused(), 0).unwrap();
        }
        assert_eq!(verdicts.state().records.len(), MOST);
        assert_eq!(verdicts.get(Candidate::Encoder(&candidate(0))), None);
        assert!(verdicts.get(Candidate::Encoder(&candidate(MOST + 4))).is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_the_verdict_holds() {
        let (dir, board) = (tempfile::tempdir().unwrap(), board());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let verdicts = Verdicts::open(&dir.path().join("file"), &board);
        let encoder = Candidate::Encoder(&board.encoders[0]);
        assert!(verdicts.put(encoder, refused(), 0).is_err());
        assert_eq!(verdicts.get(encoder), Some(refused()));
    }
}
