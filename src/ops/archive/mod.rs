//! Backups: configuration, secrets and state in one file, and back.
//!
//! A backup is a gzipped tar. First `portico-backup.json` (format, version, when, of which machine), then files below `config/` and
//! `state/`, `credentials/` where there are some (and `clips/` where asked for), last `files.json` with the length and SHA-256 of
//! each: one without it was cut off.
//! Only files and folders go in and come out; names in it are taken below the two folders of the machine that restores, wherever
//! those were on the other.

mod read;
#[cfg(test)]
mod tests;
mod users;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FileError;

pub use read::{Restored, restore};
pub use write::{BackedUp, backup};

/// What this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// The first entry.
const HEAD: &str = "portico-backup.json";
/// The last.
const FILES: &str = "files.json";
/// Bounds of what is unpacked: an archive may come from anywhere.
const MOST_FILES: usize = 100_000;
const MOST_BYTES: u64 = 16 << 30;
/// Longest head and list.
const MOST_ABOUT: u64 = 64 << 20;

/// How names of our credentials begin, as in the unit's `LoadCredential=`.
pub const CREDENTIAL: &str = "portico.";
/// Their folder in an archive.
const CREDENTIALS: &str = "credentials";

/// Below the state: gigabytes that are no state. They stay where they are, also where another state is restored.
const RECORDINGS: &str = "recordings";

/// Held shared by a running gateway, alone by who restores.
const RUNNING: &str = ".running";

/// The folders that are backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// `/etc/portico`: configuration and secrets.
    pub config: PathBuf,
    /// `/var/lib/portico`: certificates, events that wait.
    pub state: PathBuf,
    /// `/etc/credstore`, which is everybody's: of it only files whose names begin with [`CREDENTIAL`].
    pub credentials: Option<PathBuf>,
    /// Where clips are, if they are wanted.
    pub clips: Option<PathBuf>,
}

impl Folders {
    /// With the name each has in an archive.
    fn named(&self) -> Vec<(&'static str, &Path)> {
        let credentials = self.credentials.as_deref().map(|credentials| (CREDENTIALS, credentials));
        let clips = self.clips.as_deref().map(|clips| ("clips", clips));
        let both = [("config", self.config.as_path()), ("state", self.state.as_path())];
        both.into_iter().chain(credentials).chain(clips).collect()
    }
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of Portico that made it.
    pub portico: String,
    /// When, RFC 3339.
    pub made: String,
    /// The machine's name.
    pub host: String,
}

/// What a file was when it went in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    bytes: u64,
    sha256: String,
}

type List = BTreeMap<String, About>;

/// Why there is no backup, or nothing is restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The system's word.
    #[error(transparent)]
    Io(#[from] FileError),
    /// Neither folder is there.
    #[error("there is nothing to back up: neither {} nor {} is there", config.display(), state.display())]
    Nothing {
        /// The folder of the configuration.
        config: PathBuf,
        /// The folder of the state.
        state: PathBuf,
    },
    /// Not a backup, or one that was damaged or cut off.
    #[error("{} is no whole backup of Portico: {why}", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Made by a later version.
    #[error("the backup has format {format} (Portico {portico}); this version reads up to {FORMAT}")]
    Newer {
        /// Its format.
        format: u32,
        /// What made it.
        portico: String,
    },
    /// Something in it would end up elsewhere, or is no file.
    #[error("the backup holds \"{name}\", which is {why}; nothing is restored")]
    Foreign {
        /// The entry.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A gateway uses the state.
    #[error("a running gateway uses {}", folder.display())]
    Running {
        /// The folder.
        folder: PathBuf,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    FileError::by(what, path)
}

/// Says that a gateway uses a folder of state, until it is dropped. A folder that is not there or cannot be written has nothing to
/// restore over. Fails while it is being restored.
pub fn hold(folder: &Path) -> Result<Option<std::fs::File>, ArchiveError> {
    let Some(file) = lock_file(folder) else { return Ok(None) };
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => Err(ArchiveError::Running { folder: folder.into() }),
        _ => Ok(Some(file)),
    }
}

fn lock_file(folder: &Path) -> Option<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let open = |write: bool| {
        let mut options = std::fs::File::options();
        options.read(true).write(write).create(write).mode(0o644).custom_flags(NO_FOLLOW).open(folder.join(RUNNING)).ok()
    };
    // root may have made it
    open(true).or_else(|| open(false))
}

/// What of the folder is no part of it: locks, half-written files, what a restore works with.
fn is_passing(name: &str) -> bool {
    name == "lock" || name == "probe.lock" || name == RUNNING || name.starts_with(".restore-") || name.ends_with(".tmp")
}

/// Whether an entry directly in that folder of an archive is a part of it.
fn is_part(folder: &str, name: &str) -> bool {
    match folder {
        CREDENTIALS => name.starts_with(CREDENTIAL),
        "state" => name != RECORDINGS,
        _ => true,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
