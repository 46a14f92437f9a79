//! Restores a backup.
//!
//! Everything is unpacked beside what is there and compared with the list first; only then are the folders' entries exchanged. So
//! an archive that is damaged, foreign or cut off changes nothing. Entries of the folders that the backup does not have stay.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::users::Names;
use super::{
    About, ArchiveError, CREDENTIALS, FILES, FORMAT, Folders, HEAD, Head, List, MOST_ABOUT, MOST_BYTES, MOST_FILES, failed, hex,
    lock_file,
};

/// What was restored, or would be.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub head: Head,
    /// Where each file goes, and its length.
    pub files: Vec<(PathBuf, u64)>,
    /// Entries that were there and are replaced.
    pub replaced: Vec<PathBuf>,
    /// Entries that were there, are not in the backup, and stay.
    pub kept: Vec<PathBuf>,
    /// Files of the backup for which no folder was named.
    pub left_out: Vec<String>,
}

/// Restores what is in `file`; with `dry` it only says what it would do.
pub fn restore(folders: &Folders, file: &Path, dry: bool) -> Result<Restored, ArchiveError> {
    let _alone = if dry { None } else { alone(&folders.state)? };
    let mut stages: Vec<Stage> = Vec::new();
    for (name, folder) in folders.named() {
        stages.push(Stage::new(name, folder, dry)?);
    }
    let mut unpacker = Unpacker {
        path: file,
        stages,
        list: List::new(),
        users: Names::read(Path::new("/etc/passwd")),
        groups: Names::read(Path::new("/etc/group")),
        own: rustix::process::geteuid().is_root(),
        bytes: 0,
    };
    let head = unpacker.unpack()?;
    let mut restored = Restored { head, files: Vec::new(), replaced: Vec::new(), kept: Vec::new(), left_out: Vec::new() };
    for (name, about) in &unpacker.list {
        let inside = Path::new(name);
        let stage = unpacker.stages.iter().find(|stage| inside.starts_with(stage.name));
        match stage {
            Some(stage) => {
                restored.files.push((stage.folder.join(inside.strip_prefix(stage.name).unwrap_or(inside)), about.bytes));
            }
            None => restored.left_out.push(name.clone()),
        }
    }
    for stage in &unpacker.stages {
        let (replaced, kept) = stage.compare()?;
        restored.replaced.extend(replaced);
        restored.kept.extend(kept);
    }
    if !dry {
        exchange(&mut unpacker.stages)?;
    }
    Ok(restored)
}

/// Nobody may use the state meanwhile. A folder that is made now is used by nobody.
fn alone(state: &Path) -> Result<Option<File>, ArchiveError> {
    let running = || ArchiveError::Running { folder: state.into() };
    if !state.is_dir() {
        return Ok(None);
    }
    let lock = lock_file(state);
    if let Some(lock) = &lock {
        lock.try_lock().map_err(|_| running())?;
    }
    // the store's own, which gateways of before 0.2 have as well
    if let Ok(store) = File::options().write(true).open(state.join("events/lock")) {
        store.try_lock().map_err(|_| running())?;
    }
    Ok(lock)
}

/// A folder that is restored, and what is to be in it.
struct Stage {
    name: &'static str,
    folder: PathBuf,
    /// Where it is unpacked, within the folder, so that an exchange is a renaming. `None` in a dry run.
    inside: Option<PathBuf>,
    /// First parts of the names in it.
    entries: BTreeSet<String>,
    /// Owner and rights of the folder itself; kept as they are where it is there already.
    made: bool,
}

impl Stage {
    fn new(name: &'static str, folder: &Path, dry: bool) -> Result<Self, ArchiveError> {
        let mut stage = Self { name, folder: folder.into(), inside: None, entries: BTreeSet::new(), made: false };
        if dry {
            return Ok(stage);
        }
        if !folder.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed("cannot make", folder))?;
            stage.made = true;
        }
        let inside = folder.join(format!(".restore-{:08x}", rand::random::<u32>()));
        fs::DirBuilder::new().mode(0o700).create(&inside).map_err(failed("cannot make", &inside))?;
        stage.inside = Some(inside);
        Ok(stage)
    }

    /// What is there: in the backup as well, and not.
    fn compare(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ArchiveError> {
        let (mut replaced, mut kept) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((replaced, kept)),
            Err(error) => return Err(failed("cannot read", &self.folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("cannot read", &self.folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.entries.contains(&name) {
                replaced.push(entry.path());
            } else if super::is_part(self.name, &name) && !super::is_passing(&name) {
                kept.push(entry.path());
            }
        }
        replaced.sort();
        kept.sort();
        Ok((replaced, kept))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(inside) = &self.inside {
            // what is left in it: nothing, or what was not restored, or what was replaced
            let _ = fs::remove_dir_all(inside);
        }
        if self.made {
            // one that stayed empty was made for nothing
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Exchanges entries by renaming; puts everything back when one fails.
fn exchange(stages: &mut [Stage]) -> Result<(), ArchiveError> {
    let mut done: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut step = |from: PathBuf, to: PathBuf| match fs::rename(&from, &to) {
        Ok(()) => {
            done.push((from, to));
            Ok(())
        }
        Err(error) => Err(failed("cannot replace", &to)(error)),
    };
    let mut all = || {
        for stage in stages.iter() {
            let Some(inside) = &stage.inside else { continue };
            let before = inside.join("before");
            fs::create_dir(&before).map_err(failed("cannot make", &before))?;
            for name in &stage.entries {
                let there = stage.folder.join(name);
                if there.symlink_metadata().is_ok() {
                    step(there.clone(), before.join(name))?;
                }
                step(inside.join("new").join(name), there)?;
            }
        }
        Ok(())
    };
    let outcome = all();
    if outcome.is_err() {
        for (from, to) in done.iter().rev() {
            let _ = fs::rename(to, from);
        }
    }
    for stage in stages.iter() {
        let _ = File::open(&stage.folder).and_then(|folder| folder.sync_all());
    }
    outcome
}

struct Unpacker<'a> {
    path: &'a Path,
    stages: Vec<Stage>,
    list: List,
    users: Names,
    groups: Names,
    /// Whether owners can be given.
    own: bool,
    bytes: u64,
}

impl Unpacker<'_> {
    fn damaged(&self, why: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.into(), why: why.into() }
    }

    fn unpack(&mut self) -> Result<Head, ArchiveError> {
        let file = File::open(self.path).map_err(failed("cannot read", self.path))?;
        let mut archive = Archive::new(GzDecoder::new(io::BufReader::new(file)));
        let not_whole = |error: io::Error| self.damaged(error.to_string());
        let entries = archive.entries().map_err(not_whole)?;
        let mut head: Option<Head> = None;
        let mut list: Option<List> = None;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.damaged(error.to_string()))?;
            let name = entry.path().ok().and_then(|path| path.to_str().map(str::to_owned));
            let name = name.ok_or_else(|| self.damaged("a name is no text"))?;
            if list.is_some() {
                return Err(self.damaged("it goes on after its end"));
            }
            match (name.as_str(), &head) {
                (HEAD, None) => head = Some(self.accept_head(&mut entry)?),
                (_, None) => return Err(self.damaged("it does not begin as one")),
                (FILES, Some(_)) => list = Some(self.about(&mut entry)?),
                (_, Some(_)) => self.entry(&name, &mut entry)?,
            }
        }
        // the sum of the whole is behind the end of the tar
        let rest = io::copy(&mut archive.into_inner().take(MOST_ABOUT), &mut io::sink());
        if rest.map_err(|error| self.damaged(error.to_string()))? == MOST_ABOUT {
            return Err(self.damaged("it goes on after its end"));
        }
        match (head, list) {
            (Some(head), Some(list)) if list == self.list => Ok(head),
            (Some(_), Some(_)) => Err(self.damaged("its files are not those of its list")),
            _ => Err(self.damaged("it was cut off")),
        }
    }

    fn accept_head(&self, entry: &mut Entry<'_, impl Read>) -> Result<Head, ArchiveError> {
        let head: Head = self.about(entry)?;
        match head.format {
            FORMAT => Ok(head),
            format => Err(ArchiveError::Newer { format, portico: head.portico }),
        }
    }

    fn about<T: DeserializeOwned>(&self, entry: &mut Entry<'_, impl Read>) -> Result<T, ArchiveError> {
        let mut text = Vec::new();
        entry.take(MOST_ABOUT).read_to_end(&mut text).map_err(|error| self.damaged(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| self.damaged(error.to_string()))
    }

    fn entry(&mut self, name: &str, entry: &mut Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let foreign = |why| ArchiveError::Foreign { name: name.into(), why };
        let path = Path::new(name);
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
                _ => return Err(foreign("a path that leaves its folder")),
            }
        }
        let Some((first, inside)) = parts.split_first() else { return Err(foreign("no path")) };
        let kind = entry.header().entry_type();
        if !matches!(kind, EntryType::Regular | EntryType::Directory) {
            return Err(foreign("neither a file nor a folder"));
        }
        let Some(index) = self.stages.iter().position(|stage| stage.name == *first) else {
            return match *first {
                // they were asked for then, and are not now
                "clips" | CREDENTIALS => self.skip(name, kind, entry),
                _ => Err(foreign("in none of the folders")),
            };
        };
        let Some(top) = inside.first() else { return self.top(index, entry) };
        let nested = *first == CREDENTIALS && (inside.len() > 1 || kind == EntryType::Directory);
        if super::is_passing(top) || !super::is_part(first, top) || nested {
            return Err(foreign("what a backup never has"));
        }
        self.stages[index].entries.insert((*top).to_owned());
        let target =
            self.stages[index].inside.as_ref().map(|stage| inside.iter().fold(stage.join("new"), |path, part| path.join(part)));
        match kind {
            EntryType::Directory => {
                if let Some(target) = &target {
                    fs::DirBuilder::new().mode(0o700).create(target).map_err(failed("cannot make", target))?;
                }
            }
            _ => self.file(name, entry, target.as_deref())?,
        }
        match target {
            Some(target) => self.belong(&target, entry),
            None => Ok(()),
        }
    }

    /// The folder itself: where it was not there it gets the owner and rights that it had.
    fn top(&mut self, index: usize, entry: &Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let stage = &self.stages[index];
        let Some(inside) = &stage.inside else { return Ok(()) };
        let new = inside.join("new");
        fs::create_dir(&new).map_err(failed("cannot make", &new))?;
        if stage.made { self.belong(&stage.folder.clone(), entry) } else { Ok(()) }
    }

    fn skip(&mut self, name: &str, kind: EntryType, entry: &mut Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        if kind == EntryType::Regular { self.file(name, entry, None) } else { Ok(()) }
    }

    /// Reads a file for its sum, and writes it where there is a place for it.
    fn file(&mut self, name: &str, entry: &mut Entry<'_, impl Read>, target: Option<&Path>) -> Result<(), ArchiveError> {
        let mut out = match target {
            Some(target) => {
                let new = File::options().write(true).create_new(true).mode(0o600).open(target);
                Some((target, new.map_err(failed("cannot write", target))?))
            }
            None => None,
        };
        let (mut sum, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(self.damaged(error.to_string())),
            };
            sum.update(&buffer[..read]);
            bytes += read as u64;
            self.bytes += read as u64;
            if self.bytes > MOST_BYTES {
                return Err(self.damaged("it is too large"));
            }
            if let Some((target, out)) = &mut out {
                out.write_all(&buffer[..read]).map_err(failed("cannot write", target))?;
            }
        }
        if let Some((target, out)) = out {
            out.sync_all().map_err(failed("cannot write", target))?;
        }
        let about = About { bytes, sha256: hex(&sum.finalize()) };
        if self.list.insert(name.into(), about).is_some() || self.list.len() > MOST_FILES {
            return Err(self.damaged("a file is in it twice, or there are too many"));
        }
        Ok(())
    }

    /// Owner by name, else by number, where we may; never a bit that lets a file run as its owner.
    fn belong(&self, path: &Path, entry: &Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let header = entry.header();
        if self.own {
            let id = |names: &Names, name: Option<&str>, number: io::Result<u64>| {
                let number = number.ok().and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
                names.number(name, number)
            };
            let user = id(&self.users, header.username().ok().flatten(), header.uid());
            let group = id(&self.groups, header.groupname().ok().flatten(), header.gid());
            chown(path, Some(user), Some(group)).map_err(failed("cannot give away", path))?;
        }
        let mode = header.mode().unwrap_or(0o600) & 0o777;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("cannot change", path))
    }
}
