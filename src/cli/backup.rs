//! `portico backup` and `portico restore`: configuration, secrets and state in one file, and back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::{exit, print, tell};
use crate::config::{self, Inputs};
use crate::ops::archive::{self, ArchiveError, CREDENTIAL, FORMAT, Folders, Head};
use crate::ops::{default_state_dir, net};

/// The store of credentials that is the administrator's, and lasts.
const STORE: &str = "/etc/credstore";

/// The folders, for both commands.
#[derive(clap::Args, Debug)]
pub struct FolderArgs {
    /// The folder of the configuration, with everything in it: portico.toml, conf.d, boards, secrets, certificates.
    #[arg(long, value_name = "DIR", default_value = "/etc/portico")]
    pub config_dir: PathBuf,
    /// The folder of the state: the self-signed certificate, events that wait. Default: where the gateway of this user keeps it,
    /// /var/lib/portico for the service.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where systemd's credentials are; those named portico.* are backed up. Default: /etc/credstore, where the configuration is
    /// in /etc/portico; else none.
    #[arg(long, value_name = "DIR")]
    pub credentials_dir: Option<PathBuf>,
    /// A folder of clips, which are left out otherwise.
    #[arg(long, value_name = "DIR")]
    pub clips_dir: Option<PathBuf>,
}

impl FolderArgs {
    fn folders(&self) -> Folders {
        let state = self.state_dir.clone().unwrap_or_else(default_state_dir);
        let whole = self.config_dir == Path::new("/etc/portico");
        let credentials = self.credentials_dir.clone().or_else(|| whole.then(|| STORE.into()));
        Folders { config: self.config_dir.clone(), state, credentials, clips: self.clips_dir.clone() }
    }
}

/// What goes where.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # configuration, secrets, credentials, certificate and waiting events; the gateway may run
  sudo portico backup /root/portico-backup.tar.gz
  # where the folders are others
  portico backup b.tar.gz --config-dir ~/portico --state-dir ~/.local/state/portico

The file holds secrets: it is made for its owner alone (mode 0600). It is whole or not there. Links are left out and named, and so are
files that the configuration names elsewhere.")]
pub struct Args {
    /// The file to make: a gzipped tar. One that is there is replaced.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which folders.
    #[command(flatten)]
    pub folders: FolderArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What comes from where.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # what would be done
  portico restore /root/portico-backup.tar.gz --dry-run
  # as root, so that files get their owners again
  sudo systemctl stop portico
  sudo portico restore /root/portico-backup.tar.gz
  sudo systemctl start portico

The backup is checked to its end before anything is changed. What is in it replaces what is there; what is not in it stays. Owners are
found by name. It is refused while a gateway uses the state.")]
pub struct RestoreArgs {
    /// What `portico backup` made.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which folders.
    #[command(flatten)]
    pub folders: FolderArgs,
    /// Check the backup and say what would be done; change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) fn main(args: &Args) -> ExitCode {
    let folders = args.folders.folders();
    let head = Head {
        format: FORMAT,
        portico: env!("CARGO_PKG_VERSION").into(),
        made: jiff::Timestamp::now().to_string(),
        host: net::host_name(),
    };
    let done = match archive::backup(&folders, &head, &args.file) {
        Ok(done) => done,
        Err(error) => return failed(&error),
    };
    let elsewhere = elsewhere(&folders);
    for path in &done.left_out {
        tell(&format!("portico: left out: {} is no file\n", path.display()));
    }
    for (key, path) in &elsewhere {
        tell(&format!("portico: left out: {} ({key}) is in none of the folders\n", path.display()));
    }
    if args.json {
        let elsewhere: Vec<_> = elsewhere.iter().map(|(key, path)| json!({"key": key, "path": path})).collect();
        let told = json!({
            "file": args.file, "files": done.files, "bytes": done.bytes, "left_out": done.left_out, "elsewhere": elsewhere, "about": head,
        });
        print(&format!("{told:#}\n"));
    } else {
        print(&format!("{}: {} files, {} bytes\n", args.file.display(), done.files, done.bytes));
    }
    exit::OK
}

pub(super) fn restore(args: &RestoreArgs) -> ExitCode {
    let folders = args.folders.folders();
    let done = match archive::restore(&folders, &args.file, args.dry_run) {
        Ok(done) => done,
        Err(error) => return failed(&error),
    };
    for (part, option) in [("credentials", "--credentials-dir"), ("clips", "--clips-dir")] {
        let count = done.left_out.iter().filter(|name| name.starts_with(part)).count();
        if count > 0 {
            tell(&format!("portico: left out: {count} files of {part}; {option} says where they go\n"));
        }
    }
    if args.json {
        let files: Vec<_> = done.files.iter().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
        let (about, replaced, kept, left_out) = (&done.head, &done.replaced, &done.kept, &done.left_out);
        let told = json!({
            "dry_run": args.dry_run, "about": about, "files": files, "replaced": replaced, "kept": kept, "left_out": left_out,
        });
        print(&format!("{told:#}\n"));
        return exit::OK;
    }
    let Head { portico, made, host, .. } = &done.head;
    let mut text = format!("backup of {host}, {made}, Portico {portico}\n");
    let would = if args.dry_run { "would be " } else { "" };
    done.replaced.iter().for_each(|path| text.push_str(&format!("  {would}replaced  {}\n", path.display())));
    done.kept.iter().for_each(|path| text.push_str(&format!("  {would}kept      {}\n", path.display())));
    text.push_str(&format!("{} files {would}restored\n", done.files.len()));
    print(&text);
    exit::OK
}

fn failed(error: &ArchiveError) -> ExitCode {
    let help = match error {
        ArchiveError::Running { .. } => "  help: stop it first: systemctl stop portico\n",
        ArchiveError::Newer { .. } => "  help: install that version first\n",
        _ => "",
    };
    tell(&format!("portico: {error}\n{help}"));
    ExitCode::from(exit::UNAVAILABLE)
}

/// Files and credentials that the configuration names and that are in none of the folders. A configuration with errors names none: it is backed up as it
/// is.
fn elsewhere(folders: &Folders) -> Vec<(String, PathBuf)> {
    let file = folders.config.join("portico.toml");
    let Some(loaded) = file.is_file().then(|| config::load(&Inputs::of_process(Some(file), Default::default())).ok()).flatten()
    else {
        return Vec::new();
    };
    let value = serde_json::to_value(&loaded.config).unwrap_or_default();
    let mut named = Vec::new();
    paths(&mut named, "", &value);
    let store = folders.credentials.as_deref();
    for (_, path) in &mut named {
        // a name without `/` is a credential of systemd
        if path.components().count() == 1 && path.is_relative() {
            *path = store.unwrap_or(Path::new(STORE)).join(&path);
        }
    }
    let ours = |path: &Path| {
        let named_so = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(CREDENTIAL.as_bytes()));
        named_so && store.is_some() && path.parent() == store
    };
    let inside = |path: &Path| path.starts_with(&folders.config) || path.starts_with(&folders.state) || ours(path);
    named.retain(|(_, path)| path.is_absolute() && !inside(path));
    named
}

/// Keys whose values are files of ours.
const FILE_KEYS: [&str; 8] = ["token_secret_file", "password_file", "secret_file", "ca", "cert", "key", "state_dir", "store_dir"];

fn paths(found: &mut Vec<(String, PathBuf)>, at: &str, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(keys) => {
            for (key, value) in keys {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match value.as_str().filter(|_| FILE_KEYS.contains(&key.as_str())) {
                    Some(path) => found.push((at, path.into())),
                    None => paths(found, &at, value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| paths(found, at, item)),
        _ => {}
    }
}
