//! `portico health`, `backup` and `restore` with a real gateway and real files.

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::{Gateway, PATIENCE, TEST_SOURCE};

fn portico(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portico")).args(args).output().expect("portico starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// `portico health` of a gateway with that configuration.
fn health(gateway: &Gateway, more: &[&str]) -> Output {
    let file = gateway.dir().join("portico.toml");
    let file = file.to_str().expect("a plain path");
    portico(&[&["health", "--config", file, "--url", &gateway.base, "--json"], more].concat())
}

const BROKEN: &str = "[[source]]\nname = \"broken\"\ntype = \"file\"\npath = \"/nowhere/film.mp4\"\n";

fn two_sources() -> String {
    format!("{}{BROKEN}", TEST_SOURCE.replace("sources = [\"test\"]", "sources = [\"test\", \"broken\"]"))
}

#[test]
fn health_is_a_picture_that_came() {
    let gateway = Gateway::start(TEST_SOURCE);
    let wait = PATIENCE.as_secs().to_string();
    let well = health(&gateway, &["--wait", &wait]);
    let told = json(&well);
    assert!(well.status.success(), "{told:#}");
    assert_eq!(
        (&told["healthy"], &told["ready"], &told["sources"][0]["outcome"]),
        (&true.into(), &true.into(), &"produced".into())
    );
    assert!(told["sources"][0]["first_picture_ms"].as_u64() > Some(0), "{told:#}");
    // the viewer is gone again
    let viewers = |told: &str| serde_json::from_str::<Value>(told).expect("JSON")[0]["viewers"].clone();
    let end = std::time::Instant::now() + PATIENCE;
    while viewers(&support::read(&format!("{}/api/v1/sources", gateway.base))) != 0 {
        assert!(std::time::Instant::now() < end, "the viewer stays");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_source_without_a_picture_is_not_healthy_unless_it_is_not_asked_for() {
    // kept from being ready by nothing: a gateway with a broken source serves the others
    let gateway = Gateway::start(&two_sources());
    let wait = PATIENCE.as_secs().to_string();
    let one = health(&gateway, &["--source", "test", "--wait", &wait]);
    assert!(one.status.success(), "{}", said(&one));
    let ill = health(&gateway, &["--source", "broken", "--wait", "3"]);
    let told = json(&ill);
    assert_eq!((ill.status.code(), &told["sources"][0]["outcome"]), (Some(69), &"failed".into()), "{told:#}");
    assert!(told["reasons"][0].as_str().is_some_and(|why| why.contains("source broken gives no picture")), "{told:#}");
    let unknown = health(&gateway, &["--source", "none"]);
    assert_eq!(unknown.status.code(), Some(64));
}

#[test]
fn a_system_that_trusts_no_authority_hears_of_its_own_gateway() {
    let gateway = Gateway::start(TEST_SOURCE);
    let wait = PATIENCE.as_secs().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    command.args(["health", "--url", &gateway.base, "--wait", &wait, "--source", "test", "--config"]);
    // as on Debian without ca-certificates
    command.arg(gateway.dir().join("portico.toml")).env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", gateway.dir());
    let well = command.output().expect("portico starts");
    assert!(well.status.success(), "{}", said(&well));
}

#[test]
fn where_no_gateway_is_nothing_is_healthy() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("portico.toml");
    // nobody can listen there
    std::fs::write(&file, "[http]\nlisten = \"127.0.0.1:1\"\n").expect("it is written");
    let ill = portico(&["health", "--wait", "1", "--config", file.to_str().expect("a plain path")]);
    assert_eq!(ill.status.code(), Some(69));
    assert!(said(&ill).contains("no gateway answers"), "{}", said(&ill));
}

/// A machine's folders.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn folders(&self) -> Vec<String> {
        let at = |name: &str| self.at(name).display().to_string();
        ["--config-dir".into(), at("etc"), "--state-dir".into(), at("var")].into()
    }

    fn run(&self, what: &str, file: &Path, more: &[&str]) -> Output {
        let mut args = vec![what.to_owned(), file.display().to_string()];
        args.extend(self.folders());
        args.extend(more.iter().map(|more| (*more).to_owned()));
        portico(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A gateway by these folders, with a certificate of its own.
    fn start(&self) -> Gateway {
        let config = std::fs::read_to_string(self.at("etc/portico.toml")).expect("it is there");
        let state = self.at("var").display().to_string();
        let environment = [("STATE_DIRECTORY", state.clone()), ("PORTICO_TLS__STATE_DIR", state)];
        Gateway::start_in(&config, &[], &environment)
    }
}

#[test]
fn a_machine_is_the_same_after_backup_wipe_and_restore() {
    let machine = Machine::new();
    let file = machine.at("backup.tar.gz");
    std::fs::create_dir_all(machine.at("etc/conf.d")).expect("folders");
    std::fs::create_dir_all(machine.at("var")).expect("folders");
    let config = format!(
        "[tls]\nmode = \"on\"\nstate_dir = \"{var}\"\n[access]\ntoken_secret_file = \"{etc}/token-secret\"\n\
         [events]\nstore_dir = \"{var}/events\"\n[[events.sink]]\nname = \"away\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n\
         secret_file = \"{etc}/token-secret\"\n{TEST_SOURCE}[[room]]\nname = \"attic\"\n",
        var = machine.at("var").display(),
        etc = machine.at("etc").display()
    );
    std::fs::write(machine.at("etc/portico.toml"), config).expect("it is written");
    std::fs::write(machine.at("etc/token-secret"), "sixteen letters and more").expect("it is written");
    let mut gateway = machine.start();
    let fingerprint = fingerprint_of(&mut gateway);
    let token = || {
        let out = portico(&[
            "token",
            "--room",
            "attic",
            "--rights",
            "control",
            "--secret-file",
            &machine.at("etc/token-secret").display().to_string(),
        ]);
        String::from_utf8(out.stdout).expect("text").trim().to_owned()
    };
    let before = token();
    // the sink has no place yet where a join is told; the camera's own counts
    wait_for(&machine.at("var/events"), ".events");
    // places may move meanwhile
    let mut events = tree(&machine.at("var/events"));
    events.retain(|(name, _)| name.ends_with(".events"));

    let done = machine.run("backup", &file, &["--json"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(json(&done)["files"].as_u64() >= Some(4), "{}", said(&done));
    assert_eq!(std::fs::metadata(&file).expect("it is there").mode() & 0o777, 0o600);
    // while it runs nothing is put back
    let refused = machine.run("restore", &file, &[]);
    assert_eq!(refused.status.code(), Some(69));
    assert!(said(&refused).contains("a running gateway uses"), "{}", said(&refused));
    drop(gateway);

    std::fs::remove_dir_all(machine.at("etc")).expect("wiped");
    std::fs::remove_dir_all(machine.at("var")).expect("wiped");
    let dry = machine.run("restore", &file, &["--dry-run"]);
    assert!(dry.status.success() && !machine.at("etc").exists() && !machine.at("var").exists(), "{}", said(&dry));
    let restored = machine.run("restore", &file, &[]);
    assert!(restored.status.success(), "{}", said(&restored));
    for (name, bytes) in &events {
        let now = std::fs::read(machine.at("var/events").join(name)).unwrap_or_default();
        assert!(now.starts_with(bytes), "{name}");
    }

    let mut gateway = machine.start();
    assert_eq!(fingerprint_of(&mut gateway), fingerprint);
    // whoever had a token still gets in, to the rooms of before
    let rooms = rooms_for(&gateway.base, &before);
    assert!(rooms.contains("\"attic\""), "{rooms}");
    assert!(gateway.terminate().0.success());
}

fn fingerprint_of(gateway: &mut Gateway) -> String {
    gateway.wait_log("fingerprint must be");
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let log = gateway.log();
        let found =
            log.lines().skip_while(|line| !line.contains("fingerprint must be")).nth(1).map(|line| line.trim().to_owned());
        match found {
            Some(found) => return found,
            None => assert!(std::time::Instant::now() < end, "{log}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn rooms_for(base: &str, token: &str) -> String {
    // reqwest wants one; a second time does nothing
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("a client");
        let request = client.get(format!("{base}/api/v1/rooms")).bearer_auth(token);
        request.send().await.expect("an answer").text().await.expect("text")
    })
}

/// Waits for a file of that ending with something in it.
fn wait_for(folder: &Path, ending: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    while !tree(folder).iter().any(|(name, bytes)| name.ends_with(ending) && bytes.len() > 100) {
        assert!(std::time::Instant::now() < end, "no {ending} in {}", folder.display());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap_or_default())
    };
    entries.map(read).filter(|(name, _)| name != "lock").collect()
}
