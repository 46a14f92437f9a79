use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Duration;

use x509_parser::extensions::GeneralName;

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn in_folder(folder: &Path) -> TlsConfig {
    TlsConfig { state_dir: Some(folder.into()), names: vec!["door.example".into()], ..Default::default() }
}

fn names() -> Vec<String> {
    ["board", "192.168.1.7", "fd00::7", "localhost", "not a name \u{1}"].map(String::from).to_vec()
}

#[test]
fn a_self_signed_certificate_has_the_names_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = server_config(&in_folder(dir.path()), &names(), now()).unwrap();
    assert!(first.self_signed);
    let der = first.store.current().cert[0].clone();
    let (_, cert) = x509_parser::parse_x509_certificate(&der).unwrap();
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    for name in &cert.subject_alternative_name().unwrap().unwrap().value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push(*name),
            GeneralName::IPAddress(bytes) => addresses.push(bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }
    names.sort();
    assert_eq!(names, ["board", "door.example", "localhost"]);
    assert!(addresses.contains(&vec![192, 168, 1, 7]) && addresses.iter().any(|a| a.len() == 16));
    let mode = std::fs::metadata(dir.path().join("tls-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = server_config(&in_folder(dir.path()), &[], now() + Duration::from_secs(3600)).unwrap();
    assert_eq!(again.fingerprint(), first.fingerprint());
    let years_later = server_config(&in_folder(dir.path()), &[], now() + Duration::from_secs(820 * 24 * 3600)).unwrap();
    assert_ne!(years_later.fingerprint(), first.fingerprint());
}

/// Makes a handshake in memory, trusting what the folder's certificate file holds.
fn handshake(tls: &Tls, trusted: &Path, name: &str) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name.to_owned().try_into().unwrap())?;
    let mut server = rustls::ServerConnection::new(Arc::clone(&tls.config))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_client_that_trusts_the_certificate_can_speak_to_its_names() {
    let dir = tempfile::tempdir().unwrap();
    // the client looks at the real clock
    let tls = server_config(&in_folder(dir.path()), &names(), SystemTime::now()).unwrap();
    let cert = dir.path().join("tls-cert.pem");
    for name in ["board", "192.168.1.7", "fd00::7"] {
        handshake(&tls, &cert, name).unwrap();
    }
    assert!(handshake(&tls, &cert, "elsewhere").is_err());
}

#[test]
fn a_fingerprint_is_written_as_browsers_do() {
    let text = Fingerprint([0xab; 32]).to_string();
    assert_eq!(text.len(), 95);
    assert!(text.starts_with("AB:AB:"));
}

/// Two pairs in one folder: the first as `cert.pem` and `key.pem`, the second as PEM texts.
fn two_pairs(dir: &Path) -> (TlsConfig, (String, String)) {
    let pem = |name: &str| {
        let folder = dir.join(name);
        server_config(&in_folder(&folder), &[], now()).unwrap();
        let read = |file| std::fs::read_to_string(folder.join(file)).unwrap();
        (read("tls-cert.pem"), read("tls-key.pem"))
    };
    let live = dir.join("live");
    std::fs::create_dir(&live).unwrap();
    let (cert, key) = pem("a");
    std::fs::write(live.join("cert.pem"), cert).unwrap();
    std::fs::write(live.join("key.pem"), key).unwrap();
    let config = TlsConfig { cert: Some(live.join("cert.pem")), key: Some(live.join("key.pem")), ..Default::default() };
    (config, pem("b"))
}

#[test]
fn a_pair_that_does_not_match_never_replaces_one_that_does() {
    let dir = tempfile::tempdir().unwrap();
    let (config, (cert, key)) = two_pairs(dir.path());
    let tls = server_config(&config, &[], now()).unwrap();
    let before = tls.fingerprint();
    std::fs::write(config.cert.as_ref().unwrap(), cert).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Mismatch { .. })));
    assert_eq!(tls.fingerprint(), before);
    std::fs::write(config.key.as_ref().unwrap(), key).unwrap();
    assert!(tls.reload().unwrap());
    assert_ne!(tls.fingerprint(), before);
    assert!(!tls.reload().unwrap());
}

#[test]
fn a_changed_certificate_is_taken_over_while_watched() {
    let dir = tempfile::tempdir().unwrap();
    let (config, (cert, key)) = two_pairs(dir.path());
    let tls = server_config(&config, &[], now()).unwrap();
    let before = tls.fingerprint();
    let (told, reloads) = mpsc::channel();
    let _watch = tls.watch_then(move || told.send(()).unwrap_or_default()).unwrap();
    std::fs::write(config.key.as_ref().unwrap(), key).unwrap();
    std::fs::write(config.cert.as_ref().unwrap(), cert).unwrap();
    while tls.fingerprint() == before {
        reloads.recv_timeout(Duration::from_secs(10)).expect("the watcher sees the change");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = two_pairs(dir.path());
    let (cert, key) = (config.cert.unwrap(), config.key.unwrap());
    let none = dir.path().join("none");
    assert!(matches!(check_files(&none, &key), Err(TlsError::CertUnreadable { .. })));
    assert!(matches!(check_files(&key, &key), Err(TlsError::NoCert { .. })));
    assert!(matches!(check_files(&cert, &none), Err(TlsError::KeyUnreadable { .. })));
    assert!(matches!(check_files(&cert, &cert), Err(TlsError::NoKey { .. })));
    let half = TlsConfig { cert: Some(cert), ..Default::default() };
    assert!(matches!(server_config(&half, &[], now()), Err(TlsError::Half)));
}

#[test]
fn auto_is_on_where_others_can_reach() {
    let auto = TlsConfig::default();
    assert!(auto.enabled(false) && !auto.enabled(true));
    let with_cert = TlsConfig { cert: Some("c".into()), ..Default::default() };
    assert!(with_cert.enabled(true));
    assert!(!TlsConfig { mode: TlsMode::Off, ..with_cert }.enabled(false));
}
