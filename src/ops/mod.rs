//! Operations: who may (tokens), TLS files, secrets, logging, metrics, addresses, what is announced at start, what systemd is told.
//!
//! Knows nothing of rooms, peers and media beyond the words of `vocab`.

pub mod access;
pub mod announce;
pub mod archive;
pub mod credential;
mod file_error;
pub mod logging;
pub mod mdns;
pub mod metrics;
pub mod net;
pub mod status;
pub mod tls;
pub mod turn;
pub mod watchdog;
pub mod web;

pub use file_error::FileError;

use std::path::PathBuf;

/// Where what must outlive the process is kept: systemd's state directory, `/var/lib/portico` for root or its owner, else the
/// user's own.
pub fn default_state_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("STATE_DIRECTORY") {
        return folder;
    }
    let system = PathBuf::from("/var/lib/portico");
    let is_ours = |meta: &std::fs::Metadata| std::os::unix::fs::MetadataExt::uid(meta) == rustix::process::geteuid().as_raw();
    if rustix::process::geteuid().is_root() || std::fs::metadata(&system).is_ok_and(|meta| is_ours(&meta)) {
        return system;
    }
    let home_state = set("HOME").map(|home| home.join(".local/state"));
    set("XDG_STATE_HOME").or(home_state).map_or(system, |folder| folder.join("portico"))
}
