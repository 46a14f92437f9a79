//! Ways between a board and a browser on one link: they go on when the board gets another address while it is watched and published to, change when the
//! browser finds a better pair, and are found where the browser hides its address.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::netns::{SKIP, ip};
use support::{Gateway, PATIENCE, TEST_SOURCE, json_of, read_inside, tests_dir};

/// Addresses of the board, one after the other.
const FIRST: &str = "10.7.0.2/24";
const SECOND: &str = "10.7.0.3/24";
const LISTEN: &str = "0.0.0.0:8780";

/// A board and a home on one link; gone when dropped.
struct Link {
    board: String,
    home: String,
}

impl Link {
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
            eprintln!("skipped: {SKIP}=1");
            return None;
        }
        let id = format!("{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let this = Self { board: format!("portico-board-{id}"), home: format!("portico-home-{id}") };
        for name in [&this.board, &this.home] {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        ip(&["-n", &this.board, "link", "add", "name", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &this.home]);
        for (name, address) in [(&this.board, FIRST), (&this.home, "10.7.0.9/24")] {
            ip(&["-n", name, "link", "set", "dev", "eth0", "addrgenmode", "none"]);
            ip(&["-n", name, "addr", "add", address, "dev", "eth0"]);
            ip(&["-n", name, "link", "set", "dev", "eth0", "up"]);
        }
        // a browser without the right to its machine's addresses asks by which of them it would go out
        ip(&["-n", &this.home, "route", "add", "default", "via", "10.7.0.1"]);
        Some(this)
    }

    fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, program]);
        command
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for name in [&self.board, &self.home] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// A gateway on the board.
fn gateway(link: &Link, more: &str) -> Gateway {
    let config = format!(
        "{TEST_SOURCE}\n[tls]\nmode = 'off'\n[access]\ntoken_secret = 'sixteen characters and more'\nanonymous = ['publish', 'subscribe', 'control']\n{more}"
    );
    let program = link.command(&link.board, env!("CARGO_BIN_EXE_portico"));
    Gateway::start_by(program, &config, &["--listen", LISTEN], &[("PORTICO_LOG__FILTER", "debug".into())])
}

/// Runs a script at home, and `change` once it says that all is as it should be.
fn at_home(link: &Link, script: &str, change: impl FnOnce()) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let live = folder.path().join("live");
    let mut client = link.command(&link.home, "node");
    client.arg(tests_dir().join("clients").join(script)).args(["http://10.7.0.2:8780", "main", "test"]).arg(&live);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| json_of(client, script));
        let start = Instant::now();
        while !Path::new(&live).exists() {
            assert!(!client.is_finished() && start.elapsed() < PATIENCE, "nothing ever played");
            std::thread::sleep(Duration::from_millis(50));
        }
        change();
        std::fs::write(folder.path().join("live.back"), "").expect("the file is made");
        client.join().expect("the browser sees it through")
    })
}

fn nft(link: &Link, name: &str, rules: &str) {
    let done = link.command(name, "nft").arg(rules).output().expect("ip runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_board_that_gets_another_address_goes_on_within_two_seconds() {
    let Some(link) = Link::new() else { return };
    let mut gateway = gateway(&link, "");
    let seen = at_home(&link, "address_change.mjs", || {
        ip(&["-n", &link.board, "addr", "del", FIRST, "dev", "eth0"]);
        ip(&["-n", &link.board, "addr", "add", SECOND, "dev", "eth0"]);
    });
    gateway.wait_log("goes on by another address");
    for name in ["camera", "back"] {
        // what the product promises
        let gap = seen["gaps"][name].as_f64().expect("a number");
        assert!(gap <= 2000.0, "{name} stood still for {gap} ms: {seen:#}");
        assert_eq!(seen["after"][name]["state"], "connected", "{seen:#}");
    }
    eprintln!("without a picture: {} ms before, {} ms over the change", seen["before"], seen["gaps"]);
    assert!(!gateway.log().contains("peer down"), "nobody was lost");
}

#[test]
fn a_bridge_goes_on_by_another_address_of_its_board() {
    let Some(link) = Link::new() else { return };
    let program = link.command(&link.home, env!("CARGO_BIN_EXE_portico"));
    let open = "[tls]\nmode = 'off'\n[access]\ntoken_secret = 'sixteen characters and more'\nanonymous = ['publish', 'subscribe', 'control']\n";
    let _far = Gateway::start_by(program, open, &["--listen", LISTEN], &[]);
    let bridge =
        "[[bridge]]\nname = 'out'\nkind = 'whip'\nroom = 'main'\nstream = 'test'\nurl = 'http://10.7.0.9:8780/whip/yard/test'\n";
    let mut near = gateway(&link, bridge);
    let standing = || {
        let own = read_inside(link.command(&link.board, "/usr/bin/python3"), "http://127.0.0.1:8780/api/v1/bridges/out");
        // how much came over is told at the other end
        let there = read_inside(link.command(&link.home, "/usr/bin/python3"), "http://127.0.0.1:8780/api/v1/peers");
        let received: u64 = there.as_array().into_iter().flatten().filter_map(|peer| peer["packets_received"].as_u64()).sum();
        (own, received)
    };
    let wait = |what: &str, least: u64| {
        let end = Instant::now() + PATIENCE;
        loop {
            let (own, received) = standing();
            if own["state"] == "connected" && received >= least {
                return (own, received);
            }
            assert!(Instant::now() < end, "{what}: {received} of {least}: {own:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let (before, received) = wait("flow", 200);
    ip(&["-n", &link.board, "addr", "del", FIRST, "dev", "eth0"]);
    ip(&["-n", &link.board, "addr", "add", SECOND, "dev", "eth0"]);
    near.wait_log("goes on by another address");
    let (after, _) = wait("flow by the other address", received + 500);
    for count in ["attempts", "connections"] {
        assert_eq!(before[count], after[count], "the same connection: {after:#}");
    }
}

#[test]
fn a_browser_that_finds_udp_to_work_after_tcp_gets_its_picture_by_udp() {
    let Some(link) = Link::new() else { return };
    let _gateway = gateway(&link, "");
    nft(&link, &link.home, "table ip shut {\nchain in {\ntype filter hook input priority 0\nmeta l4proto udp drop\n}\n}");
    let seen = at_home(&link, "better_pair.mjs", || nft(&link, &link.home, "delete table ip shut"));
    assert_eq!((&seen["before"], &seen["after"]), (&"tcp".into(), &"udp".into()), "{seen:#}");
    // two seconds of it are some 100 kB; checks alone are not a tenth of that
    assert!(seen["bytes"].as_u64() > Some(30_000), "{seen:#}");
    assert_eq!(seen["figures"]["state"], "connected", "{seen:#}");
}

#[test]
fn a_browser_that_hides_its_address_is_written_to_by_its_name() {
    let Some(link) = Link::new() else { return };
    let mut gateway = gateway(&link, "[media]\nice_tcp = false\n");
    // a firewall that lets nothing in but what was asked for: the board must write first
    let rules = [
        "type filter hook input priority 0",
        "iifname lo accept",
        "ct state established,related accept",
        "tcp dport 8780 accept",
        "udp dport 5353 accept",
        "drop",
    ];
    nft(&link, &link.board, &format!("table ip shut {{\nchain in {{\n{}\n}}\n}}", rules.join("\n")));
    let mut client = link.command(&link.home, "node");
    client.arg(tests_dir().join("clients/whep_play.mjs")).args(["http://10.7.0.2:8780", "/whep/main/test"]);
    let seen = json_of(client, "whep_play.mjs");
    assert!(seen["figures"]["framesDecoded"].as_u64() > Some(100), "{seen:#}");
    let line = gateway.wait_log("name of a browser looked up");
    assert!(line.contains(".local") && line.contains("10.7.0.9"), "{line}");
}
