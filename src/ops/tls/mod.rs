//! Certificates: from files, watched and reloaded, or self-signed at first start.
//!
//! [`server_config`] makes what the listener needs; [`Tls::watch`] keeps it fresh. A pair of files that cannot be used never
//! replaces one that could.

mod config;
mod self_signed;

pub use config::{TlsConfig, TlsMode};

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read.
    #[error("the certificate {} cannot be read", path.display())]
    CertUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{} holds no PEM certificate", path.display())]
    NoCert {
        /// The file.
        path: PathBuf,
    },
    /// The key file cannot be read.
    #[error("the private key {} cannot be read", path.display())]
    KeyUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file holds no key, or one of a kind that is not known.
    #[error("{} holds no usable PEM private key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together.
    #[error("the private key {} does not belong to the certificate {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Only one of the two files is configured.
    #[error("tls.cert and tls.key must be set together")]
    Half,
    /// A self-signed certificate cannot be made.
    #[error("a self-signed certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// It cannot be kept.
    #[error("the self-signed certificate cannot be kept in {}: set tls.state_dir", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The TLS engine refuses.
    #[error("the TLS engine refuses")]
    Engine(#[from] rustls::Error),
    /// The files cannot be watched.
    #[error("{} cannot be watched for changes", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: notify::Error,
    },
}

impl TlsError {
    /// Whether the key file is at fault rather than the certificate.
    pub fn is_about_key(&self) -> bool {
        matches!(self, Self::KeyUnreadable { .. } | Self::NoKey { .. } | Self::Mismatch { .. })
    }

    /// The message with its cause.
    pub fn chain(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// SHA-256 of a certificate, to be compared with what a browser shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    fn of(cert: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(cert).into())
    }
}

impl fmt::Display for Fingerprint {
    /// `AB:CD:…`, as browsers and `openssl x509 -fingerprint -sha256` write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// What the listener speaks TLS with.
pub struct Tls {
    /// For the acceptor. A reloaded certificate is used by connections made from then on.
    pub config: Arc<ServerConfig>,
    /// Whether the certificate was made here, so that people have to compare the fingerprint.
    pub self_signed: bool,
    store: Arc<Store>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint().to_string()).finish_non_exhaustive()
    }
}

/// Reads the configured certificate, or reads or makes the self-signed one for these names and addresses (and `tls.names`).
pub fn server_config(config: &TlsConfig, names: &[String], now: SystemTime) -> Result<Tls, TlsError> {
    let (files, self_signed) = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => (Files { cert: cert.clone(), key: key.clone() }, false),
        (None, None) => {
            let names: Vec<String> = names.iter().chain(&config.names).cloned().collect();
            (self_signed::ensure(config.state_dir.as_deref(), &names, now)?, true)
        }
        _ => return Err(TlsError::Half),
    };
    let store = Arc::new(Store { current: RwLock::new(Arc::new(files.load()?)), files });
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&store) as _);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), self_signed, store })
}

/// Whether these two files can be used together.
pub fn check_files(cert: &Path, key: &Path) -> Result<(), TlsError> {
    Files { cert: cert.into(), key: key.into() }.load().map(|_| ())
}

/// The fingerprint of the certificate that the gateway made for itself, where it did and this process may read it. Makes nothing.
pub fn made_fingerprint(config: &TlsConfig) -> Option<Fingerprint> {
    if config.cert.is_some() {
        return None;
    }
    let folder = config.state_dir.clone().unwrap_or_else(crate::ops::default_state_dir);
    CertificateDer::from_pem_file(folder.join(self_signed::CERT)).ok().map(|cert| Fingerprint::of(&cert))
}

impl Tls {
    /// Of the certificate in use now.
    pub fn fingerprint(&self) -> Fingerprint {
        self.store.current().cert.first().map_or(Fingerprint([0; 32]), Fingerprint::of)
    }

    /// Reads the files again. Returns whether another certificate is in use now; on an error the old one stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.store.reload()
    }

    /// Reloads whenever the files change, for as long as the returned value lives.
    pub fn watch(&self) -> Result<CertificateWatch, TlsError> {
        self.watch_then(|| {})
    }

    /// As [`Self::watch`], and calls `then` on the watcher's thread after each reload or attempt at one.
    fn watch_then(&self, then: impl Fn() + Send + 'static) -> Result<CertificateWatch, TlsError> {
        let store = Arc::clone(&self.store);
        let folder_of = |file: &Path| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        // folders, not files: renewal tools rename new files or links into place
        let mut folders = vec![folder_of(&self.store.files.cert), folder_of(&self.store.files.key)];
        folders.dedup();
        let on_event = move |event: notify::Result<notify::Event>| {
            // what is merely read (by ourselves, too) did not change
            let changed = |event: &notify::Event| !matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
            if event.as_ref().is_ok_and(changed) {
                store.reload_and_tell();
                then();
            }
        };
        let error = |path: &Path, source| TlsError::Watch { path: path.into(), source };
        let mut watcher = notify::recommended_watcher(on_event).map_err(|source| error(&folders[0], source))?;
        for folder in &folders {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|source| error(folder, source))?;
        }
        Ok(CertificateWatch { _watcher: watcher })
    }
}

/// Keeps certificates fresh until dropped.
pub struct CertificateWatch {
    _watcher: notify::RecommendedWatcher,
}

/// The files, and what was last read from them.
#[derive(Debug)]
struct Store {
    files: Files,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Store {
    fn current(&self) -> Arc<CertifiedKey> {
        // the lock is held for a clone or a swap of one pointer, which cannot panic
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<bool, TlsError> {
        let fresh = self.files.load()?;
        if fresh.cert == self.current().cert {
            return Ok(false);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(true)
    }

    fn reload_and_tell(&self) {
        match self.reload() {
            Ok(true) => {
                let fingerprint = self.current().cert.first().map(|cert| Fingerprint::of(cert).to_string());
                info!(cert = %self.files.cert.display(), fingerprint, "certificate reloaded");
            }
            Ok(false) => {}
            // between the renewal of the one file and of the other this is normal
            Err(error) => warn!(error = error.chain(), "changed certificate cannot be used yet, the old one stays"),
        }
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// A certificate and its key.
#[derive(Clone, Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn load(&self) -> Result<CertifiedKey, TlsError> {
        let Self { cert, key } = self;
        let pem = std::fs::read(cert).map_err(|source| TlsError::CertUnreadable { path: cert.clone(), source })?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::NoCert { path: cert.clone() })?;
        if chain.is_empty() {
            return Err(TlsError::NoCert { path: cert.clone() });
        }
        let pem = std::fs::read(key).map_err(|source| TlsError::KeyUnreadable { path: key.clone(), source })?;
        let no_key = || TlsError::NoKey { path: key.clone() };
        let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| no_key())?;
        let signer = ring::sign::any_supported_type(&private).map_err(|_| no_key())?;
        let pair = CertifiedKey::new(chain, signer);
        match pair.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
            Err(rustls::Error::InvalidCertificate(_)) => Err(TlsError::NoCert { path: cert.clone() }),
            Err(_) => Err(TlsError::Mismatch { cert: cert.clone(), key: key.clone() }),
        }
    }
}

#[cfg(test)]
mod tests;
