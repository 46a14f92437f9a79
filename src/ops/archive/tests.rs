use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::*;

fn head() -> Head {
    Head { format: FORMAT, portico: "0.1.0".into(), made: "2026-11-21T12:00:00Z".into(), host: "door".into() }
}

/// Two folders with something in them.
fn machine(at: &Path) -> Folders {
    let folders = Folders { config: at.join("etc/portico"), state: at.join("var/portico"), credentials: None, clips: None };
    fs::create_dir_all(folders.config.join("conf.d")).unwrap();
    fs::create_dir_all(folders.state.join("events")).unwrap();
    fs::write(folders.config.join("portico.toml"), "[rooms]\n").unwrap();
    fs::write(folders.config.join("conf.d/a.toml"), "").unwrap();
    fs::write(folders.config.join("token-secret"), "at least sixteen").unwrap();
    fs::set_permissions(folders.config.join("token-secret"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(folders.state.join("cert.pem"), vec![7; 100_000]).unwrap();
    fs::write(folders.state.join("events/lock"), "").unwrap();
    fs::write(folders.state.join("events/00.events"), "e").unwrap();
    folders
}

fn read(path: PathBuf) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

/// Names, rights and contents below a folder.
fn tree(folder: &Path) -> Vec<(PathBuf, u32, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let mode = entry.metadata().unwrap().mode();
            found.push((path.strip_prefix(folder).unwrap().to_owned(), mode, fs::read(&path).ok()));
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.retain(|(path, ..)| !path.to_string_lossy().ends_with(RUNNING));
    found.sort();
    found
}

#[test]
fn what_was_backed_up_is_there_again_with_its_rights() {
    let at = tempfile::tempdir().unwrap();
    let folders = machine(at.path());
    symlink("/etc/hostname", folders.config.join("link")).unwrap();
    let file = at.path().join("b.tar.gz");
    fs::write(&file, "an older one").unwrap();
    let done = backup(&folders, &head(), &file).unwrap();
    assert_eq!((done.files, done.left_out.clone()), (5, vec![folders.config.join("link")]));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    fs::remove_file(folders.config.join("link")).unwrap();
    fs::remove_file(folders.state.join("events/lock")).unwrap();
    let before = (tree(&folders.config), tree(&folders.state));
    // another machine
    fs::remove_dir_all(&folders.config).unwrap();
    fs::remove_dir_all(&folders.state).unwrap();
    let restored = restore(&folders, &file, false).unwrap();
    assert_eq!((restored.head, restored.files.len()), (head(), 5));
    assert_eq!((tree(&folders.config), tree(&folders.state)), before);
}

#[test]
fn credentials_of_ours_come_back_and_those_of_others_are_not_touched() {
    let at = tempfile::tempdir().unwrap();
    let store = at.path().join("etc/credstore");
    let folders = Folders { credentials: Some(store.clone()), ..machine(at.path()) };
    let file = at.path().join("b.tar.gz");
    // a machine without any
    backup(&folders, &head(), &file).unwrap();
    restore(&folders, &file, false).unwrap();
    assert!(!store.exists());

    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    for (name, text) in [("portico.amqp", "ours"), ("postgres", "theirs"), ("porticocoa", "theirs, too")] {
        fs::write(store.join(name), text).unwrap();
        fs::set_permissions(store.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let before = tree(&store);
    let done = backup(&folders, &head(), &file).unwrap();
    assert_eq!(done.files, 6);
    fs::write(store.join("portico.amqp"), "changed").unwrap();
    let told = restore(&folders, &file, false).unwrap();
    assert_eq!((tree(&store), told.left_out.len()), (before, 0));
    assert!(told.replaced.contains(&store.join("portico.amqp")) && !told.kept.contains(&store.join("postgres")), "{told:?}");

    fs::remove_dir_all(&store).unwrap();
    let told = restore(&Folders { credentials: None, ..folders.clone() }, &file, false).unwrap();
    assert_eq!(told.left_out, ["credentials/portico.amqp"]);
    assert!(!store.exists());
    restore(&folders, &file, false).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&store), mode(&store.join("portico.amqp"))), (0o700, 0o600));
    assert_eq!(tree(&store).len(), 1);
}

#[test]
fn a_restore_replaces_what_is_in_the_backup_and_keeps_the_rest() {
    let at = tempfile::tempdir().unwrap();
    let folders = machine(at.path());
    let file = at.path().join("b.tar.gz");
    backup(&folders, &head(), &file).unwrap();
    fs::write(folders.config.join("portico.toml"), "changed").unwrap();
    fs::write(folders.config.join("conf.d/later.toml"), "").unwrap();
    fs::write(folders.config.join("mine.txt"), "mine").unwrap();
    let changed = tree(&folders.config);
    let told = restore(&folders, &file, true).unwrap();
    assert_eq!(tree(&folders.config), changed, "a dry run changes nothing");
    assert_eq!(told.kept, [folders.config.join("mine.txt")]);
    assert!(told.replaced.contains(&folders.config.join("conf.d")), "{told:?}");
    restore(&folders, &file, false).unwrap();
    assert_eq!(read(folders.config.join("portico.toml")).unwrap(), b"[rooms]\n");
    assert_eq!(read(folders.config.join("mine.txt")).unwrap(), b"mine");
    assert_eq!(read(folders.config.join("conf.d/later.toml")), None);
    assert!(tree(&folders.state).iter().all(|(path, ..)| !path.to_string_lossy().contains(".restore-")));
}

#[test]
fn a_backup_that_is_cut_off_or_changed_restores_nothing() {
    let at = tempfile::tempdir().unwrap();
    let folders = machine(at.path());
    let file = at.path().join("b.tar.gz");
    backup(&folders, &head(), &file).unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(folders.config.join("portico.toml"), "changed").unwrap();
    let now = (tree(&folders.config), tree(&folders.state));
    let mut tried = Vec::new();
    for cut in [0, 1, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        tried.push(whole[..cut].to_vec());
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    tried.push(flipped);
    tried.push(b"no archive at all".to_vec());
    for bytes in tried {
        fs::write(&file, &bytes).unwrap();
        let refused = restore(&folders, &file, false);
        assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "{} bytes: {refused:?}", bytes.len());
        assert_eq!((tree(&folders.config), tree(&folders.state)), now);
    }
}

/// An archive by hand: entries of a name, a type and a text or target.
fn forged(file: &Path, format: u32, entries: &[(&str, EntryType, &str)]) {
    let mut out = Builder::new(GzEncoder::new(File::create(file).unwrap(), Compression::fast()));
    let add = |out: &mut Builder<_>, name: &str, kind: EntryType, text: &str| {
        let mut header = Header::new_gnu();
        header.set_mode(0o4777);
        header.set_entry_type(kind);
        let field = &mut header.as_old_mut().name;
        // as it is: the library would refuse to write some of them
        field[..name.len()].copy_from_slice(name.as_bytes());
        let data = if matches!(kind, EntryType::Symlink | EntryType::Link) { "" } else { text };
        if data.is_empty() && !text.is_empty() {
            header.set_link_name(text).unwrap();
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        out.append(&header, data.as_bytes()).unwrap();
    };
    let about = serde_json::to_string(&Head { format, ..head() }).unwrap();
    add(&mut out, HEAD, EntryType::Regular, &about);
    let mut list = List::new();
    for (name, kind, text) in entries {
        add(&mut out, name, *kind, text);
        if *kind == EntryType::Regular {
            let sha256 = hex(&<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()));
            list.insert((*name).into(), About { bytes: text.len() as u64, sha256 });
        }
    }
    add(&mut out, FILES, EntryType::Regular, &serde_json::to_string(&list).unwrap());
    out.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[test]
fn nothing_leaves_its_folder() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let at = tempfile::tempdir().unwrap();
    let folders = Folders { credentials: Some(at.path().join("etc/credstore")), ..machine(at.path()) };
    let file = at.path().join("b.tar.gz");
    let now = tree(at.path());
    let config = ("config", Directory, "");
    let cases: &[&[(&str, EntryType, &str)]] = &[
        &[config, ("config/../../x", Regular, "x")],
        &[config, ("config/a/../../../x", Regular, "x")],
        &[config, ("/tmp/portico-x", Regular, "x")],
        &[config, ("./config/../x", Regular, "x")],
        &[config, ("etc/x", Regular, "x")],
        &[config, ("config/out", Symlink, "/tmp"), ("config/out/x", Regular, "x")],
        &[config, ("config/hard", Link, "/etc/passwd")],
        &[config, ("config/pipe", EntryType::Fifo, "")],
        &[config, ("config/.restore-1", Regular, "x")],
        &[config, ("config/.running", Regular, "x")],
        // of the credentials ours only
        &[("credentials", Directory, ""), ("credentials/postgres", Regular, "x")],
        &[("credentials", Directory, ""), ("credentials/portico.d", Directory, "")],
        &[("credentials", Directory, ""), ("credentials/portico.d/x", Regular, "x")],
    ];
    for case in cases {
        forged(&file, FORMAT, case);
        let refused = restore(&folders, &file, false);
        assert!(matches!(refused, Err(ArchiveError::Foreign { .. })), "{case:?}: {refused:?}");
        fs::remove_file(&file).unwrap();
        let same = |found: &(PathBuf, u32, Option<Vec<u8>>)| !found.0.ends_with(RUNNING);
        assert!(tree(at.path()).into_iter().filter(same).eq(now.clone()), "{case:?}");
    }
    // what is good is taken, without the bit that lets it run as its owner; a link that is in the way is replaced, not followed
    let outside = at.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, folders.config.join("more")).unwrap();
    forged(&file, FORMAT, &[config, ("config/more", Directory, ""), ("config/more/x", Regular, "x")]);
    restore(&folders, &file, false).unwrap();
    assert_eq!(fs::metadata(folders.config.join("more/x")).unwrap().mode() & 0o7777, 0o777);
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
}

#[test]
fn a_later_format_is_not_guessed_at() {
    let at = tempfile::tempdir().unwrap();
    let folders = machine(at.path());
    let file = at.path().join("b.tar.gz");
    forged(&file, FORMAT + 1, &[]);
    assert!(matches!(restore(&folders, &file, true), Err(ArchiveError::Newer { format: 2, .. })));
}

#[test]
fn state_that_is_in_use_is_not_restored_over() {
    let at = tempfile::tempdir().unwrap();
    let folders = machine(at.path());
    let file = at.path().join("b.tar.gz");
    backup(&folders, &head(), &file).unwrap();
    let (one, two) = (hold(&folders.state).unwrap().unwrap(), hold(&folders.state).unwrap());
    assert!(two.is_some(), "two gateways may have one folder");
    assert!(matches!(restore(&folders, &file, false), Err(ArchiveError::Running { .. })));
    drop((one, two));
    // a store of events that somebody uses
    let store = File::options().write(true).open(folders.state.join("events/lock")).unwrap();
    store.lock().unwrap();
    assert!(matches!(restore(&folders, &file, false), Err(ArchiveError::Running { .. })));
    drop(store);
    restore(&folders, &file, false).unwrap();
}
