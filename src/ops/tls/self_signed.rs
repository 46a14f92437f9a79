//! The certificate an appliance makes for itself, so that browsers on the LAN may give it their camera.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tracing::info;

use super::{Files, TlsError};

/// The certificate's file in the state directory.
pub(super) const CERT: &str = "tls-cert.pem";
/// How long it is valid. Apple's systems refuse server certificates that are valid for longer.
const VALID: Duration = Duration::from_secs(825 * 24 * 3600);
/// It is made anew at a start when it ends within this time.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// It is valid from this long before it is made: clocks of boards and phones differ.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);

/// The files of the self-signed certificate; made if missing, unusable or about to end.
pub(super) fn ensure(state_dir: Option<&Path>, names: &[String], now: SystemTime) -> Result<Files, TlsError> {
    let folder = match state_dir {
        Some(folder) => folder.to_path_buf(),
        None => crate::ops::default_state_dir(),
    };
    let files = Files { cert: folder.join(CERT), key: folder.join("tls-key.pem") };
    if files.load().is_ok() && ends(&files.cert).is_some_and(|end| end > now + RENEW_BEFORE) {
        return Ok(files);
    }
    let (cert, key) = make(names, now)?;
    let stored = fs::create_dir_all(&folder)
        .and_then(|()| write_whole(&files.key, key.as_bytes(), 0o600))
        .and_then(|()| write_whole(&files.cert, cert.as_bytes(), 0o644));
    stored.map_err(|source| TlsError::Store { path: folder.clone(), source })?;
    info!(cert = %files.cert.display(), "self-signed certificate made");
    Ok(files)
}

/// Certificate and key, both PEM.
fn make(names: &[String], now: SystemTime) -> Result<(String, String), TlsError> {
    // a host name that no certificate can hold is no reason to have none
    let mut good: Vec<String> = names.iter().filter(|name| is_name(name)).cloned().collect();
    good.sort();
    good.dedup();
    let common_name =
        good.iter().find(|name| name.parse::<std::net::IpAddr>().is_err()).cloned().unwrap_or_else(|| "portico".into());
    let mut params = CertificateParams::new(good)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, "Portico, self-signed");
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + VALID - BACKDATE).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// A DNS name (`*.` before it allowed) or an IP address.
fn is_name(name: &str) -> bool {
    ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}

/// When the certificate in a file ends.
fn ends(cert: &Path) -> Option<SystemTime> {
    let der = CertificateDer::from_pem_file(cert).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Writes beside and renames, so that nobody ever reads half a file.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
