//! Makes a backup.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::users::Names;
use super::{About, ArchiveError, CREDENTIALS, FILES, FORMAT, Folders, HEAD, Head, List, failed, hex, is_part, is_passing};

/// What went in.
#[derive(Clone, Debug, Default)]
pub struct BackedUp {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is no file or folder, and is left out: links above all.
    pub left_out: Vec<PathBuf>,
}

/// Writes the backup to `file`, readable by its owner only: whole, or not at all. The gateway may run.
pub fn backup(folders: &Folders, head: &Head, file: &Path) -> Result<BackedUp, ArchiveError> {
    if !folders.config.is_dir() && !folders.state.is_dir() {
        return Err(ArchiveError::Nothing { config: folders.config.clone(), state: folders.state.clone() });
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = file.with_file_name(format!(".{name}.{:08x}.tmp", rand::random::<u32>()));
    let written = write(folders, head, &beside, file).and_then(|done| {
        fs::rename(&beside, file).map_err(failed("cannot write", file))?;
        Ok(done)
    });
    if written.is_err() {
        // what was begun is of no use
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write(folders: &Folders, head: &Head, beside: &Path, file: &Path) -> Result<BackedUp, ArchiveError> {
    let io = || failed("cannot write", file);
    let out = File::options().write(true).create_new(true).mode(0o600).open(beside).map_err(io())?;
    let mut packer = Packer {
        out: Builder::new(GzEncoder::new(BufWriter::new(out), Compression::default())),
        users: Names::read(Path::new("/etc/passwd")),
        groups: Names::read(Path::new("/etc/group")),
        list: List::new(),
        done: BackedUp::default(),
        target: file.to_owned(),
    };
    packer.about(HEAD, &Head { format: FORMAT, ..head.clone() })?;
    for (name, folder) in folders.named() {
        if folder.is_dir() {
            packer.folder(Path::new(name), folder)?;
        }
    }
    let list = std::mem::take(&mut packer.list);
    packer.about(FILES, &list)?;
    let out = packer.out.into_inner().and_then(GzEncoder::finish).map_err(io())?;
    let out = out.into_inner().map_err(|error| io()(error.into_error()))?;
    out.sync_all().map_err(io())?;
    Ok(packer.done)
}

struct Packer {
    out: Builder<GzEncoder<BufWriter<File>>>,
    users: Names,
    groups: Names,
    list: List,
    done: BackedUp,
    target: PathBuf,
}

impl Packer {
    fn about(&mut self, name: &str, what: &impl serde::Serialize) -> Result<(), ArchiveError> {
        let text = serde_json::to_vec_pretty(what).expect("texts and numbers always serialise");
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        self.out.append_data(&mut header, name, text.as_slice()).map_err(failed("cannot write", &self.target))
    }

    fn folder(&mut self, inside: &Path, folder: &Path) -> Result<(), ArchiveError> {
        let meta = fs::metadata(folder).map_err(failed("cannot read", folder))?;
        let mut header = self.header(&meta, EntryType::Directory);
        self.out.append_data(&mut header, inside, io::empty()).map_err(failed("cannot write", &self.target))?;
        let entries = fs::read_dir(folder).map_err(failed("cannot read", folder))?;
        let mut entries: Vec<fs::DirEntry> = entries.collect::<Result<_, _>>().map_err(failed("cannot read", folder))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name();
            let ours = name.to_str().is_none_or(|name| inside.to_str().is_none_or(|folder| is_part(folder, name)));
            // the backup itself may be written into one of the folders
            if !ours || is_passing(&name.to_string_lossy()) || path == self.target {
                continue;
            }
            let kind = entry.file_type().map_err(failed("cannot read", &path))?;
            // systemd knows no folder as a credential
            if name.to_str().is_none() || kind.is_dir() && inside == Path::new(CREDENTIALS) {
                self.done.left_out.push(path);
            } else if kind.is_dir() {
                self.folder(&inside.join(entry.file_name()), &path)?;
            } else if kind.is_file() {
                self.file(&inside.join(entry.file_name()), &path)?;
            } else {
                self.done.left_out.push(path);
            }
        }
        Ok(())
    }

    /// As it is now: one that grows meanwhile, as the store's newest does, is taken as far as it was.
    fn file(&mut self, inside: &Path, path: &Path) -> Result<(), ArchiveError> {
        let open = File::options().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path);
        let file = match open {
            Ok(file) => file,
            // a file of old events that went meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("cannot read", path)(error)),
        };
        let meta = file.metadata().map_err(failed("cannot read", path))?;
        let mut header = self.header(&meta, EntryType::Regular);
        header.set_size(meta.len());
        let mut reader = Hashed { inner: file.take(meta.len()), sum: Sha256::new() };
        self.out.append_data(&mut header, inside, &mut reader).map_err(failed("cannot write", &self.target))?;
        if reader.inner.limit() > 0 {
            let shorter = io::Error::other("it became shorter while it was read; try again");
            return Err(failed("cannot read", path)(shorter));
        }
        let about = About { bytes: meta.len(), sha256: hex(&reader.sum.finalize()) };
        self.list.insert(inside.to_string_lossy().into_owned(), about);
        self.done.files += 1;
        self.done.bytes += meta.len();
        Ok(())
    }

    fn header(&self, meta: &fs::Metadata, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(meta.mode() & 0o777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or_default());
        header.set_size(0);
        // names that do not fit are left to the numbers
        let _ = self.users.name(meta.uid()).map(|name| header.set_username(name));
        let _ = self.groups.name(meta.gid()).map(|name| header.set_groupname(name));
        header
    }
}

struct Hashed<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.update(&buffer[..read]);
        Ok(read)
    }
}
