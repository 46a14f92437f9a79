//! The unit files: without fault, and closed as far as cameras, codecs and sound allow. systemd's own tools judge them; no
//! running systemd is needed.

use std::path::Path;
use std::process::{Command, Output};

/// Most exposure that `systemd-analyze security` may find, in tenths: 2.5 of 10.
const MOST_EXPOSED: &str = "--threshold=25";

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd"))
}

/// The units, in a folder of their own, for the program that was built; and a drop-in, if one is named.
fn installed(drop_in: Option<&str>) -> tempfile::TempDir {
    let target = tempfile::tempdir().expect("a temporary folder");
    let unit = std::fs::read_to_string(folder().join("portico.service")).expect("the unit");
    assert_eq!(unit.matches("/usr/bin/portico").count(), 1);
    let unit = unit.replace("/usr/bin/portico", env!("CARGO_BIN_EXE_portico"));
    std::fs::write(target.path().join("portico.service"), unit).expect("it is written");
    if let Some(name) = drop_in {
        let drop_ins = target.path().join("portico.service.d");
        std::fs::create_dir(&drop_ins).expect("a folder is made");
        std::fs::copy(folder().join("portico.service.d").join(name), drop_ins.join(name)).expect("it is copied");
    }
    target
}

/// Runs `systemd-analyze`; `None`, and says so, where this machine has none.
fn analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).arg(unit).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: systemd-analyze is missing (Debian package systemd); the unit files were not judged");
            None
        }
        Err(error) => panic!("systemd-analyze does not run: {error}"),
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn drop_ins() -> Vec<String> {
    let found = std::fs::read_dir(folder().join("portico.service.d")).expect("examples of drop-ins").flatten();
    found.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn units_and_drop_ins_are_without_fault() {
    let examples = drop_ins();
    assert!(examples.len() >= 2, "{examples:?}");
    for drop_in in std::iter::once(None).chain(examples.iter().map(|name| Some(name.as_str()))) {
        let target = installed(drop_in);
        // an unknown key is only a message, with exit code 0
        let Some(output) = analyze(&["verify", "--man=no"], &target.path().join("portico.service")) else { return };
        assert!(output.status.success() && text(&output).is_empty(), "{drop_in:?}: {}\n{}", output.status, text(&output));
    }
}

#[test]
fn unit_is_exposed_by_no_more_than_it_needs() {
    let target = installed(None);
    let unit = target.path().join("portico.service");
    let Some(output) = analyze(&["security", "--offline=true", "--no-pager", MOST_EXPOSED], &unit) else { return };
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_file_is_in_the_list_and_every_exception_is_explained() {
    let readme = std::fs::read_to_string(folder().join("README.md")).expect("the page");
    for entry in std::fs::read_dir(folder()).expect("the folder").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        assert!(name == "README.md" || readme.contains(&format!("`{name}")), "README.md does not name {name}");
    }
    for name in drop_ins() {
        assert!(readme.contains(&format!("`{name}`")), "README.md does not name {name}");
    }
    let target = installed(None);
    let unit = target.path().join("portico.service");
    let Some(output) = analyze(&["security", "--offline=true", "--no-pager", "--json=short"], &unit) else { return };
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    for open in findings.iter().filter(|finding| finding["exposure"].as_str().is_some()) {
        let field = open["json_field"].as_str().expect("a field");
        let setting = open["name"].as_str().expect("a name").split('=').next().unwrap_or_default();
        let setting = setting.split(['/', '=']).next().unwrap_or_default();
        assert!(readme.contains(&format!("`{setting}=")), "README.md does not explain {field} ({setting})");
    }
}

#[test]
fn socket_of_systemd_is_taken_and_counts_as_what_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("portico.toml");
    let run = |access: &str, interface: &str| {
        let source = "[[source]]\nname = 'test'\ntype = 'test'\ntone = 0\n";
        let text = format!("[http]\nlisten = '127.0.0.1:0'\n[media]\nice_port = 0\n{access}\n{source}");
        std::fs::write(&config, text).expect("the configuration is written");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let listen = format!("{interface}:{port}");
        let program = [env!("CARGO_BIN_EXE_portico"), "run", "--config", config.to_str().expect("UTF-8")];
        let home = format!("HOME={}", folder.path().display());
        let child = Command::new("systemd-socket-activate").args(["-l", &listen, "-E", &home]).args(program).spawn();
        match child {
            Ok(child) => Some((Started(child), format!("127.0.0.1:{port}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: systemd-socket-activate is missing (Debian package systemd)");
                None
            }
            Err(error) => panic!("systemd-socket-activate does not run: {error}"),
        }
    };
    // the first caller starts it, and is answered by it
    let Some((_gateway, address)) = run("", "127.0.0.1") else { return };
    assert!(ask(&address).starts_with("HTTP/1.1 200"), "the caller that waited is served");
    // others could reach this socket: that the configuration names loopback does not make everybody an administrator
    let Some((mut refused, address)) = run("", "0.0.0.0") else { return };
    assert_eq!(ask(&address), "");
    assert_eq!(refused.0.wait().expect("it ends").code(), Some(78));
}

/// A process that ends with the test.
struct Started(std::process::Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks for `/healthz` as soon as somebody listens; the answer, or nothing where the connection ends without one.
fn ask(address: &str) -> String {
    use std::io::{Read, Write};
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut stream = loop {
        match std::net::TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(std::time::Instant::now() < limit, "{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a limit");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is asked");
    let mut answer = String::new();
    // a reset is an end, too
    let _ = stream.read_to_string(&mut answer);
    answer
}
