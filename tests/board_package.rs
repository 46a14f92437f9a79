//! The Debian package in the test VM, from the installation to the purge: `make test-board` builds two of this tree, the second
//! with a higher version, and boots.

#[path = "board/mdns.rs"]
mod mdns;
mod support;
#[path = "board/vivid.rs"]
mod vivid;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use support::PATIENCE;
use support::netns::Namespace;
use vivid::Unplugged;

/// The folder with the two packages.
const PACKAGES: &str = "PORTICO_TEST_PACKAGES";

const CONFIG: &str = "/etc/portico/portico.toml";
const SECRET: &str = "/etc/portico/token-secret";
const CERTIFICATE: &str = "/var/lib/portico/tls-cert.pem";
const CREDENTIAL: &str = "/etc/credstore/portico.webhook";
/// Seconds for what an emulated processor does in a few.
const WAIT: &str = "100";
/// The camera in small pictures.
const MORE: &str = "[[room]]\nname = \"yard\"\nsources = [\"door\"]\n[[source]]\nname = \"door\"\ntype = \"v4l2\"\ndevice = \"any\"\n\
                    width = 320\nheight = 180\nframerate = 10\n";

/// Where a system writes of its own accord, or about the package rather than for it.
const NOT_OURS: [&str; 10] = [
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/tmp/systemd-private-",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
    "/var/log/dpkg.log",
    "/var/log/journal/",
];

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command.output().unwrap_or_else(|error| panic!("{program} does not run: {error}"))
}

/// What a program prints that must succeed.
fn told(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn journal() -> String {
    told("journalctl", &["-u", "portico", "-o", "cat", "--no-pager", "--all"])
}

/// Everything on the root file system.
fn files() -> BTreeSet<String> {
    let all = told("find", &["/", "-xdev"]);
    all.lines().filter(|path| !NOT_OURS.iter().any(|ours| path.starts_with(ours))).map(str::to_owned).collect()
}

/// Does something as the other machine: the sockets of that thread are the namespace's.
fn there<T: Send + 'static>(namespace: &Namespace, visit: impl FnOnce() -> T + Send + 'static) -> T {
    let place = File::open(format!("/run/netns/{}", namespace.name)).expect("the namespace has a name");
    let visit = move || {
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a namespace");
        visit()
    };
    std::thread::spawn(visit).join().expect("no panic in the thread")
}

/// Asks the gateway from the namespace, trusting its certificate and no other.
fn ask(namespace: &Namespace, path: &str, token: Option<&str>) -> Result<(u16, String), String> {
    let url = format!("https://{}:8780{path}", namespace.host);
    let certificate = fs::read(CERTIFICATE).map_err(|error| format!("{CERTIFICATE}: {error}"))?;
    let token = token.map(str::to_owned);
    there(namespace, move || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = reqwest::Certificate::from_pem(&certificate).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder().timeout(PATIENCE).tls_certs_only([certificate]).build().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut request = client.get(url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
            let status = answer.status().as_u16();
            Ok((status, answer.text().await.map_err(|error| error.to_string())?))
        })
    })
}

fn wait_ready(namespace: &Namespace) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let answer = ask(namespace, "/readyz", None);
        if matches!(answer, Ok((200, _))) {
            return;
        }
        assert!(Instant::now() < limit, "not ready in time: {answer:?}\n{}", journal());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// The rooms that a token shows.
fn rooms(namespace: &Namespace, token: &str) -> Vec<String> {
    let (status, body) = ask(namespace, "/api/v1/rooms", Some(token)).expect("an answer");
    assert_eq!(status, 200, "{body}");
    let rooms: Value = serde_json::from_str(&body).expect("JSON");
    let name = |room: &Value| room["room"].as_str().unwrap_or_else(|| panic!("{rooms:#}")).to_owned();
    rooms.as_array().expect("a list").iter().map(name).collect()
}

/// The token of the first link to this gateway.
fn token(text: &str, namespace: &Namespace) -> String {
    let start = format!("https://{}:8780/#token=", namespace.host);
    let link = text.lines().find_map(|line| line.strip_prefix(&start));
    link.unwrap_or_else(|| panic!("no {start} in:\n{text}")).to_owned()
}

/// The package, taken away when the test ends early, so that those after it find what they expect.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", String::from_utf8_lossy(&run("journalctl", &["-u", "portico", "-n", "60", "--no-pager"]).stdout));
            let _ = run("systemctl", &["stop", "portico.socket", "portico.service"]);
            let _ = run("systemctl", &["reset-failed", "portico.service"]);
            let _ = run("dpkg", &["--purge", "--force-all", "portico"]);
            let _ = fs::remove_file(CREDENTIAL);
        }
    }
}

/// `portico health --json`: its exit code and what it told.
fn health(more: &[&str]) -> (Option<i32>, Value) {
    let output = run("portico", &[&["health", "--json"], more].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}\n{}", journal()));
    (output.status.code(), told)
}

fn is_produced(source: &str, (code, told): &(Option<i32>, Value)) {
    let played = &told["sources"][0];
    let expected = (Some(0), Value::from(true), Value::from(source), Value::from("produced"));
    let found = (*code, told["healthy"].clone(), played["source"].clone(), played["outcome"].clone());
    assert_eq!(found, expected, "{told:#}\n{}", journal());
}

fn main_pid() -> String {
    told("systemctl", &["show", "-P", "MainPID", "portico"])
}

#[test]
#[ignore = "installs and purges the package in the test VM: make test-board"]
fn package_from_installation_to_purge() {
    let folder = PathBuf::from(std::env::var_os(PACKAGES).expect("make test-board names the packages"));
    let package = |version: &str| folder.join(format!("portico_{version}_amd64.deb")).display().to_string();
    let (first, second) = (env!("CARGO_PKG_VERSION").to_owned(), concat!(env!("CARGO_PKG_VERSION"), "+next").to_owned());
    let network = Namespace::new().expect("the VM has namespaces");
    let before = files();
    let _guard = Guard;

    // installed, started, closed to strangers
    let said = told("dpkg", &["-i", &package(&first)]);
    assert!(said.contains("sudo portico token --join"), "{said}");
    assert_eq!(told("systemctl", &["is-enabled", "portico"]), "enabled\n");
    assert_eq!(run("systemctl", &["is-active", "portico"]).stdout, b"active\n", "{}", journal());
    wait_ready(&network);
    assert_eq!(told("stat", &["-c", "%a %U:%G", SECRET]), "640 root:portico\n");
    assert_eq!(told("stat", &["-c", "%U", &format!("/proc/{}", main_pid().trim())]), "portico\n");
    let check = run("portico", &["check"]);
    assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");
    let (status, page) = ask(&network, "/", None).expect("the page");
    assert!(status == 200 && page.contains("<title>Portico"), "{status} {page}");
    assert_eq!(ask(&network, "/api/v1/rooms", None).expect("an answer").0, 401);

    // it shows the camera, and the network knows where
    is_produced("camera", &health(&["--wait", WAIT]));
    let own = Ipv4Addr::from(u32::from(network.host) + 1);
    // where it sends what has no other way: the group
    told("ip", &["-n", &network.name, "route", "add", "default", "via", &network.host.to_string()]);
    let found = there(&network, move || mdns::browse(own, "_portico._tcp.local"));
    assert_eq!((found.port, &found.addresses), (8780, &vec![network.host]), "{found:?}");
    assert!(found.instance.ends_with("._portico._tcp.local"), "{found:?}");

    // the two ways to a join link: the journal, and the command
    let invited = journal();
    let (by_journal, joined) = (token(&invited, &network), told("portico", &["token", "--join"]));
    assert!(invited.lines().any(|line| line.len() > 100 && line.chars().all(|c| "█▀▄ ".contains(c))), "no QR code:\n{invited}");
    let by_command = token(&joined, &network);
    let fingerprint = told("portico", &["token", "--join"]).lines().last().unwrap_or_default().trim().to_owned();
    assert!(fingerprint.len() == 95 && invited.contains(&fingerprint), "{fingerprint} in:\n{invited}");
    for token in [&by_journal, &by_command] {
        assert_eq!(rooms(&network, token), ["main"]);
    }

    // an upgrade keeps what was changed, the secret and the state
    let mut changed = fs::read_to_string(CONFIG).expect("the configuration");
    changed.push_str("[[room]]\nname = \"workshop\"\n");
    fs::write(CONFIG, &changed).expect("the configuration is changed");
    fs::create_dir_all("/etc/portico/conf.d").expect("a folder");
    fs::write("/etc/portico/conf.d/more.toml", MORE).expect("more configuration");
    let kept = || [CONFIG, SECRET, CERTIFICATE, "/etc/portico/conf.d/more.toml"].map(|path| fs::read(path).unwrap_or_default());
    let (old, pid) = (kept(), main_pid());
    told("dpkg", &["-i", &package(&second)]);
    assert_eq!(told("dpkg-query", &["-W", "-f", "${Version}", "portico"]), second);
    assert_ne!(main_pid(), pid, "the new program runs");
    wait_ready(&network);
    assert!(kept() == old, "configuration, secret and certificate stay");
    let sorted_rooms = || {
        let mut listed = rooms(&network, &by_command);
        listed.sort();
        listed
    };
    assert_eq!(sorted_rooms(), ["workshop", "yard"], "the changed configuration is in force, and a link from before opens it");

    // media is looked at, not taken on trust
    is_produced("door", &health(&["--wait", WAIT]));
    let unplugged = Unplugged::new();
    let (code, ill) = health(&["--wait", "3"]);
    assert_eq!((code, &ill["ready"], &ill["sources"][0]["outcome"]), (Some(69), &true.into(), &"failed".into()), "{ill:#}");
    let why = ill["reasons"][0].as_str().unwrap_or_default();
    assert!(why.starts_with("source door gives no picture: "), "{ill:#}");
    drop(unplugged);
    is_produced("door", &health(&["--wait", WAIT]));

    // a backup brings all of it to a machine that has nothing
    fs::write(CREDENTIAL, "of a webhook").expect("a credential");
    let rights = || told("stat", &["-c", "%n %a %U:%G", CONFIG, SECRET, CERTIFICATE, CREDENTIAL, "/var/lib/portico"]);
    let (owners, backup) = (rights(), "/root/portico-backup.tar.gz");
    told("portico", &["backup", backup]);
    let refused = run("portico", &["restore", backup]);
    assert_eq!(refused.status.code(), Some(69), "a running gateway is not restored under: {refused:?}");
    told("systemctl", &["stop", "portico"]);
    for folder in ["/etc/portico", "/var/lib/portico"] {
        fs::remove_dir_all(folder).expect("it is wiped");
    }
    fs::remove_file(CREDENTIAL).expect("it is wiped");
    told("portico", &["restore", backup]);
    assert!(kept() == old && fs::read(CREDENTIAL).is_ok_and(|text| text == b"of a webhook"));
    assert_eq!(rights(), owners);
    told("systemctl", &["start", "portico"]);
    wait_ready(&network);
    assert_eq!(sorted_rooms(), ["workshop", "yard"], "a link from before opens it");
    for trace in [backup, CREDENTIAL] {
        fs::remove_file(trace).expect("it is there");
    }

    // who disabled it has it disabled after the next upgrade, too
    told("systemctl", &["disable", "portico"]);
    told("dpkg", &["-i", &package(&second)]);
    assert_eq!(run("systemctl", &["is-enabled", "portico"]).stdout, b"disabled\n");

    // removed: what was made stays; purged: nothing does
    told("dpkg", &["-r", "portico"]);
    assert!(!Path::new("/usr/bin/portico").exists() && !Path::new("/run/portico").exists());
    assert!(kept() == old);
    told("dpkg", &["-P", "portico"]);
    let left: Vec<String> = files().difference(&before).cloned().collect();
    assert_eq!(left, Vec::<String>::new(), "left behind");
    assert!(!run("dpkg-query", &["-W", "portico"]).status.success());
    assert!(!String::from_utf8_lossy(&run("systemctl", &["list-unit-files"]).stdout).contains("portico"));
    // the user stays: Debian's packages leave theirs
    told("id", &["portico"]);
}
