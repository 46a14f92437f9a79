//! Which retained topics brokers have of ours: what is not wanted any more can be taken back, after a restart as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

/// Beside the events.
const FILE: &str = "retained.json";

type Topics = BTreeMap<String, BTreeSet<String>>;

/// Topics by sink, kept in a file of the store's folder, which this process has locked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory {
    folder: PathBuf,
    /// `None` until it was read.
    known: Arc<Mutex<Option<Topics>>>,
}

impl Memory {
    /// Nothing is read yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: Arc::default() }
    }

    /// What a sink's broker has. Blocks.
    pub fn topics(&self, sink: &str) -> BTreeSet<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(|| read(&self.folder)).get(sink).cloned().unwrap_or_default()
    }

    /// A sink's broker has these. Blocks. Where that cannot be written it is known until the next start only.
    pub fn remember(&self, sink: &str, topics: BTreeSet<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.get_or_insert_with(|| read(&self.folder));
        let changed = match topics.is_empty() {
            true => all.remove(sink).is_some(),
            false => all.insert(sink.into(), topics.clone()) != Some(topics),
        };
        if !changed {
            return;
        }
        if let Err(error) = write(&self.folder, all) {
            warn!(folder = %self.folder.display(), %error, "events: which retained topics there are cannot be kept");
        }
    }
}

fn read(folder: &Path) -> Topics {
    fs::read(folder.join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(folder: &Path, topics: &Topics) -> io::Result<()> {
    let beside = folder.join("retained.tmp");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(topics)?)?;
    file.sync_data()?;
    fs::rename(&beside, folder.join(FILE))
}
