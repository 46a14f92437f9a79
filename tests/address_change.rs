//! The board gets another address while it is watched and published to: connections go on, without a word over signalling.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::netns::{SKIP, ip};
use support::{Gateway, PATIENCE, TEST_SOURCE, json_of, tests_dir};

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
        if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
            eprintln!("skipped: {SKIP}=1");
            return None;
        }
        let id = std::process::id();
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

#[test]
fn a_board_that_gets_another_address_goes_on_within_two_seconds() {
    let Some(link) = Link::new() else { return };
    let config = format!(
        "{TEST_SOURCE}\n[tls]\nmode = 'off'\n[access]\ntoken_secret = 'sixteen characters and more'\nanonymous = ['publish', 'subscribe']\n"
    );
    let program = link.command(&link.board, env!("CARGO_BIN_EXE_portico"));
    let mut gateway = Gateway::start_by(program, &config, &["--listen", LISTEN], &[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (live, back) = (folder.path().join("live"), folder.path().join("live.back"));
    let mut client = link.command(&link.home, "node");
    client.arg(tests_dir().join("clients/address_change.mjs")).args(["http://10.7.0.2:8780", "main", "test"]).arg(&live);
    let seen = std::thread::scope(|scope| {
        let client = scope.spawn(|| json_of(client, "address_change.mjs"));
        let start = Instant::now();
        while !live.exists() {
            assert!(!client.is_finished() && start.elapsed() < PATIENCE, "nothing ever played");
            std::thread::sleep(Duration::from_millis(50));
        }
        ip(&["-n", &link.board, "addr", "del", FIRST, "dev", "eth0"]);
        ip(&["-n", &link.board, "addr", "add", SECOND, "dev", "eth0"]);
        std::fs::write(&back, "").expect("the file is made");
        client.join().expect("the browser sees it through")
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
