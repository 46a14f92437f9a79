//! Ended clips on disk: the thin half of [`clip::shelf`](super::clip::shelf). One file per clip; what a former run left is removed.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::clip::shelf::{BLOCK, ClipId, StoreCommand, StoreEvent};

/// What the names of finished files end in; unfinished ones end in `.tmp`.
const SUFFIX: &str = "clip";
/// The folder below the cache directory.
const FOLDER: &str = "clips";

/// Where clips are kept when the configuration does not say: below systemd's `CACHE_DIRECTORY`, else in a folder of this process
/// among the temporary files. Its name cannot be guessed, so nobody can have put something there before.
pub fn default_directory() -> PathBuf {
    match std::env::var_os("CACHE_DIRECTORY") {
        Some(cache) => Path::new(&cache).join(FOLDER),
        None => std::env::temp_dir().join(format!("portico-{FOLDER}-{:016x}", rand::random::<u64>())),
    }
}

/// The folder with the clips. Blocks: [`run`] calls it from a thread of its own.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes the folder where it is missing, readable by its user only, and removes the clips that lie there.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let store = Self { folder };
        store.empty()?;
        Ok(store)
    }

    fn empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == SUFFIX || end == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Carries out one order. What it answers goes to the desk.
    pub fn handle(&self, command: StoreCommand) -> Option<StoreEvent> {
        match command {
            StoreCommand::Keep { clip, slices } => Some(match self.keep(clip, &slices) {
                Ok(()) => StoreEvent::Kept { clip },
                Err(error) => lost(clip, &error, "a clip cannot be stored"),
            }),
            StoreCommand::Read { clip, offset, len, reader } => Some(match self.read(clip, offset, len) {
                Ok(bytes) => StoreEvent::Block { clip, offset, reader, bytes },
                Err(error) => lost(clip, &error, "a clip cannot be read"),
            }),
            StoreCommand::Remove { clip } => {
                // a clip that could not be stored is not there
                let _ = fs::remove_file(self.path(clip, SUFFIX));
                None
            }
        }
    }

    fn path(&self, clip: ClipId, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", clip.0))
    }

    fn keep(&self, clip: ClipId, slices: &[Bytes]) -> io::Result<()> {
        let unfinished = self.path(clip, "tmp");
        let write = || {
            let mut file = io::BufWriter::new(File::create(&unfinished)?);
            slices.iter().try_for_each(|slice| file.write_all(slice))?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?;
            fs::rename(&unfinished, self.path(clip, SUFFIX))
        };
        write().inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }

    fn read(&self, clip: ClipId, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut file = File::open(self.path(clip, SUFFIX))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(len.min(BLOCK) as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Drop for Store {
    /// No clip outlives the process.
    fn drop(&mut self) {
        if self.empty().is_ok() {
            // stays where something else lies in it
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

fn lost(clip: ClipId, error: &io::Error, what: &str) -> StoreEvent {
    tracing::warn!(clip = clip.0, %error, "{what}");
    StoreEvent::Lost { clip }
}

/// Carries out orders until their sender is gone. Ends as well when nobody takes the answers. `commands` may be bounded: the desk
/// is told `Lost` for a `Keep` or `Read` that does not fit.
pub async fn run(store: Store, mut commands: mpsc::Receiver<StoreCommand>, events: mpsc::Sender<StoreEvent>) {
    let _ = tokio::task::spawn_blocking(move || {
        while let Some(command) = commands.blocking_recv() {
            if let Some(event) = store.handle(command)
                && events.blocking_send(event).is_err()
            {
                return;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::MemberId;

    #[tokio::test]
    async fn clips_are_kept_read_in_parts_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/clips");
        let (clip, reader) = (ClipId(3), MemberId([1; 16]));
        let (to_store, commands) = mpsc::channel(8);
        let (events, mut told) = mpsc::channel(8);
        let running = tokio::spawn(run(Store::open(path.clone()).unwrap(), commands, events));
        let slices = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        to_store.send(StoreCommand::Keep { clip, slices }).await.unwrap();
        assert_eq!(told.recv().await, Some(StoreEvent::Kept { clip }));
        for (offset, expected) in [(0, "abcd"), (4, "efg"), (7, "")] {
            to_store.send(StoreCommand::Read { clip, offset, len: 4, reader }).await.unwrap();
            let bytes = Bytes::from_static(expected.as_bytes());
            assert_eq!(told.recv().await, Some(StoreEvent::Block { clip, offset, reader, bytes }));
        }
        to_store.send(StoreCommand::Remove { clip }).await.unwrap();
        to_store.send(StoreCommand::Read { clip, offset: 0, len: 4, reader }).await.unwrap();
        assert_eq!(told.recv().await, Some(StoreEvent::Lost { clip }));
        drop(to_store);
        running.await.unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_former_runs_clips_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        ["1.clip", "2.tmp", "notes.txt"].iter().for_each(|name| fs::write(folder.path().join(name), "x").unwrap());
        let store = Store::open(folder.path().to_owned()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
        fs::remove_dir_all(folder.path()).unwrap();
        let kept = store.handle(StoreCommand::Keep { clip: ClipId(1), slices: vec![Bytes::from_static(b"x")] });
        assert_eq!(kept, Some(StoreEvent::Lost { clip: ClipId(1) }));
    }
}
