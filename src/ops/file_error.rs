//! What the system says of a file or folder.

use std::io;
use std::path::{Path, PathBuf};

/// Something could not be done with a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried, as in `cannot read`.
    pub what: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn by<E: From<Self>>(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> E {
        let path = path.to_owned();
        move |source| Self { what, path, source }.into()
    }
}
