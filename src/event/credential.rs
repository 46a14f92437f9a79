//! Passwords and secrets of sinks: from files, or from systemd's credentials. Never logged.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::ops::access::Secret;

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
    #[error("{name} is no path, and systemd gives this process no credentials (LoadCredential=)")]
    NoCredentials {
        /// Its name.
        name: String,
    },
}

/// Where a file of the configuration is: a name without `/` is that of a systemd credential.
pub fn locate(file: &Path) -> Result<PathBuf, CredentialError> {
    locate_in(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from), file)
}

fn locate_in(credentials: Option<PathBuf>, file: &Path) -> Result<PathBuf, CredentialError> {
    if file.components().count() != 1 || file.is_absolute() {
        return Ok(file.to_owned());
    }
    match credentials {
        Some(folder) => Ok(folder.join(file)),
        None => Err(CredentialError::NoCredentials { name: file.display().to_string() }),
    }
}

/// Reads a secret; white space around it is ignored.
pub fn read(file: &Path) -> Result<Secret, CredentialError> {
    let path = locate(file)?;
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
    fn names_are_credentials_and_paths_are_paths() {
        let folder = || Some(PathBuf::from("/run/credentials/portico"));
        assert_eq!(locate_in(folder(), Path::new("broker")).unwrap(), Path::new("/run/credentials/portico/broker"));
        assert_eq!(locate_in(folder(), Path::new("/etc/x")).unwrap(), Path::new("/etc/x"));
        assert_eq!(locate_in(None, Path::new("./x")).unwrap(), Path::new("./x"));
        assert!(matches!(locate_in(None, Path::new("broker")), Err(CredentialError::NoCredentials { .. })));
    }

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
