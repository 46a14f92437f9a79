//! Passwords and secrets of sinks: from files, or from systemd's credentials. Never logged.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::ops::access::Secret;
use crate::ops::credential::{self, NoCredential};

/// Why there is no usable secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds nothing.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A credential is named, and systemd gave none.
    #[error(transparent)]
    NoCredentials(#[from] NoCredential),
}

/// Reads a secret; white space around it is ignored.
pub fn read(file: &Path) -> Result<Secret, CredentialError> {
    let path = credential::locate(file)?;
    let text = std::fs::read_to_string(&path).map_err(|source| CredentialError::Unreadable { path: path.clone(), source })?;
    let text = Zeroizing::new(text);
    match text.trim() {
        "" => Err(CredentialError::Empty { path }),
        secret => Ok(Secret::new(secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_without_the_space_around_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " hush \n").unwrap();
        assert_eq!(read(&path).unwrap().expose(), "hush");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read(&path), Err(CredentialError::Empty { .. })));
        assert!(matches!(read(&folder.path().join("none")), Err(CredentialError::Unreadable { .. })));
    }
}
