//! Files of the configuration that may be systemd's credentials: secrets that root alone can read, handed to the service.

use std::path::{Path, PathBuf};

/// Where systemd (252 and later) takes a credential from that the unit names and gives no path for (`systemd.exec(5)`).
const STORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

/// A credential is named that nobody gives.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is no path, and systemd gives this process no credential of that name (LoadCredential=)")]
pub struct NoCredential {
    /// Its name.
    pub name: String,
}

/// Where a file of the configuration is: a name without `/` is that of a systemd credential. A process that systemd did not give
/// credentials to (`portico token`, by hand) finds it where systemd would, if it may read there.
pub fn locate(file: &Path) -> Result<PathBuf, NoCredential> {
    locate_in(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref().map(Path::new), &STORES.map(Path::new), file)
}

fn locate_in(given: Option<&Path>, stores: &[&Path], file: &Path) -> Result<PathBuf, NoCredential> {
    if file.components().count() != 1 || file.is_absolute() {
        return Ok(file.to_owned());
    }
    // in 252 a credential that is absent is no error of the unit: it is one here
    let found = match given {
        Some(folder) => Some(folder.join(file)).filter(|path| path.exists()),
        None => stores.iter().map(|folder| folder.join(file)).find(|path| path.exists()),
    };
    found.ok_or_else(|| NoCredential { name: file.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_credentials_and_paths_are_paths() {
        let (given, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&given, &store] {
            std::fs::write(folder.path().join("broker"), "hush").unwrap();
        }
        let at = |given: Option<&Path>, file: &str| locate_in(given, &["/nowhere".as_ref(), store.path()], Path::new(file));
        assert_eq!(at(Some(given.path()), "broker").unwrap(), given.path().join("broker"));
        assert_eq!(at(None, "broker").unwrap(), store.path().join("broker"));
        assert_eq!(at(Some(given.path()), "/etc/x").unwrap(), Path::new("/etc/x"));
        assert_eq!(at(None, "./x").unwrap(), Path::new("./x"));
        for given in [Some(given.path()), None] {
            assert_eq!(at(given, "other"), Err(NoCredential { name: "other".into() }));
        }
    }
}
