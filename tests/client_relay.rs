//! Chromium publishes and plays by a relay alone: Debian's coturn, with credentials that the gateway makes.

mod support;

use std::net::UdpSocket;
use std::process::{Child, Command};
use std::time::Instant;

use support::{Gateway, PATIENCE, node, relay};

const SECRET: &str = "a secret that both know";

/// A relay of one's own on loopback; ends with it.
struct Relay {
    port: u16,
    process: Child,
    folder: tempfile::TempDir,
}

impl Relay {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).expect("it is written");
        let mut command = Command::new("turnserver");
        command.args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", &port.to_string()]);
        command.arg("--allow-loopback-peers");
        let mut process = relay::start(command, SECRET, folder.path());
        wait_for(port, &mut process);
        Self { port, process, folder }
    }

    fn config(&self) -> String {
        let Self { port, folder, .. } = self;
        format!(
            "[media]\nice_servers = ['stun:127.0.0.1:{port}', 'turn:127.0.0.1:{port}?transport=udp']\nturn_secret_file = '{}'\n",
            folder.path().join("secret").display()
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a binding request is answered.
fn wait_for(port: u16, process: &mut Child) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("it is set");
    let request = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let end = Instant::now() + PATIENCE;
    loop {
        // a port where nobody listens yet refuses
        let _ = socket.send_to(&request, ("127.0.0.1", port));
        if socket.recv(&mut [0; 500]).is_ok() {
            return;
        }
        let gone = process.try_wait().expect("a child");
        assert!(gone.is_none() && Instant::now() < end, "turnserver does not answer: {gone:?}");
    }
}

#[test]
fn where_only_a_relay_leads_out_credentials_of_the_gateway_open_it() {
    let relay = Relay::start();
    let gateway = Gateway::start(&relay.config());
    let seen = node("relay.mjs", &[&gateway.base, "yard"]);
    let servers = seen["iceServers"].as_array().expect("a list");
    assert_eq!(servers.len(), 2, "{seen:#}");
    assert!(servers[0]["username"].is_null(), "a STUN server wants no name: {seen:#}");
    let until = servers[1]["username"]
        .as_str()
        .and_then(|name| name.strip_suffix(":portico"))
        .and_then(|until| until.parse::<u64>().ok());
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert!(until.is_some_and(|until| until > now + 11 * 3600 && until <= now + 12 * 3600 + 60), "{seen:#}");
    assert_eq!(seen["kinds"], serde_json::json!(["relay", "relay"]), "{seen:#}");
    assert!(seen["figures"]["framesDecoded"].as_u64() >= Some(60), "{seen:#}");
    assert_eq!(seen["refused"], serde_json::json!([]), "a guessed password opens nothing: {seen:#}");
}
