//! Relays of the gateway's own: two homes whose routers give each far end another port, where nothing else leads from one to the other, and
//! Debian's coturn on the internet between them.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::internet::{HERE, HTTP_PORT, ICE_PORT, Internet, Nat, PUBLIC, SERVERS};
use support::{Gateway, PATIENCE, TEST_SOURCE, read_inside};

const SECRET: &str = "a secret that both know";
/// Of the gateways in the other home.
const THERE_PORT: u16 = 8790;

fn gateway(internet: &Internet, home: &str, listen: &str, ice_port: u16, more: &str) -> Gateway {
    let program = internet.command(home, env!("CARGO_BIN_EXE_portico"));
    let config = format!(
        "{TEST_SOURCE}\n[tls]\nmode = 'off'\n[access]\ntoken_secret = 'sixteen characters and more'\nanonymous = ['publish', 'subscribe', 'control']\n\
         {more}"
    );
    Gateway::start_by(program, &config, &["--listen", listen, "--ice-port", &ice_port.to_string()], &[])
}

/// The one that everybody's bridges go to.
fn here(internet: &Internet, media: &str) -> Gateway {
    gateway(internet, "here", &format!("{HERE}:{HTTP_PORT}"), ICE_PORT, media)
}

/// One in the other home, which publishes its picture here, to a room of that name.
fn there(internet: &Internet, index: u16, room: &str, media: &str) -> Gateway {
    let bridge = format!(
        "[[bridge]]\nname = 'out'\nkind = 'whip'\nroom = 'main'\nstream = 'test'\nurl = 'http://{PUBLIC}:{HTTP_PORT}/whip/{room}/test'\n"
    );
    gateway(internet, "there", &format!("127.0.0.1:{}", THERE_PORT + index), 0, &format!("{media}{bridge}"))
}

fn stun() -> String {
    SERVERS.map(|server| format!("'stun:{server}:3478'")).join(", ")
}

/// With STUN alone.
fn without_relay() -> String {
    format!("[media]\nice_servers = [{}]\n", stun())
}

/// With the TURN server, and this secret.
fn with_relay(folder: &Path, secret: &str, more: &str) -> String {
    let file = folder.join(secret.replace(' ', "-"));
    std::fs::write(&file, secret).expect("it is written");
    let turn = format!("'turn:{}:3478?transport=udp'", SERVERS[0]);
    format!("[media]\nice_servers = [{}, {turn}]\nturn_secret_file = '{}'\n{more}\n", stun(), file.display())
}

fn asked(internet: &Internet, home: &str, address: &str) -> Value {
    read_inside(internet.command(home, "/usr/bin/python3"), address)
}

fn bridge(internet: &Internet, index: u16) -> Value {
    asked(internet, "there", &format!("http://127.0.0.1:{}/api/v1/bridges", THERE_PORT + index))[0].clone()
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Result<T, Value>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < end, "{what} never was: {seen:#}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A figure of the gateway there.
fn figure(internet: &Internet, name: &str) -> f64 {
    let address = format!("http://127.0.0.1:{THERE_PORT}/metrics");
    let script = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=30).read())";
    let page = internet.command("there", "/usr/bin/python3").args(["-c", script, &address]).output().expect("ip runs");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
    line.trim().parse().unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Waits until the bridge has sent something.
fn flows(internet: &Internet, index: u16) -> Value {
    wait("flow", || {
        let bridge = bridge(internet, index);
        if bridge["state"] == "connected" && bridge["packets_sent"].as_u64() >= Some(100) { Ok(bridge) } else { Err(bridge) }
    })
}

/// What the gateway here sees of the one who publishes to it, once that is something.
fn arrives(internet: &Internet) -> Value {
    wait("a picture", || {
        let peers = asked(internet, "here", &format!("http://{HERE}:{HTTP_PORT}/api/v1/peers"));
        let publisher = |peer: &&Value| peer["packets_received"].as_u64() >= Some(100);
        let found = peers.as_array().and_then(|peers| peers.iter().find(publisher).cloned());
        found.ok_or(peers)
    })
}

fn remote(peer: &Value) -> &str {
    peer["remote"].as_str().and_then(|address| address.rsplit_once(':')).map_or("", |(ip, _)| ip)
}

#[test]
fn a_bridge_between_two_hard_routers_goes_by_a_relay_of_its_own() {
    let Some(mut internet) = Internet::new(Nat::Symmetric, Nat::Symmetric) else { return };
    internet.start_relay(SECRET);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _here = here(&internet, &without_relay());
    // beside it one that may not: to see that nothing else leads through
    let _off = there(&internet, 1, "off", &with_relay(folder.path(), SECRET, "relay = 'off'"));
    let mut relayed = there(&internet, 0, "relayed", &with_relay(folder.path(), SECRET, ""));
    flows(&internet, 0);
    let publisher = arrives(&internet);
    assert_eq!(remote(&publisher), SERVERS[0], "{publisher:#}");
    assert_eq!(figure(&internet, "portico_relays"), 1.0);
    relayed.wait_log("TURN server gives the gateway a relay");
    let off = bridge(&internet, 1);
    assert_eq!((off["connections"].as_u64(), off["packets_sent"].as_u64().unwrap_or(0)), (Some(0), 0), "{off:#}");
}

#[test]
fn a_gateway_with_a_relay_for_all_is_found_by_who_has_none() {
    let Some(mut internet) = Internet::new(Nat::Symmetric, Nat::Symmetric) else { return };
    internet.start_relay(SECRET);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut here = here(&internet, &with_relay(folder.path(), SECRET, "relay = 'all'"));
    here.wait_log("TURN server gives the gateway a relay");
    let _there = there(&internet, 0, "relayed", &without_relay());
    flows(&internet, 0);
    let publisher = arrives(&internet);
    assert!(remote(&publisher).starts_with("198.18.0."), "{publisher:#}");
    assert_eq!(publisher["relayed"], true, "{publisher:#}");
}

#[test]
fn a_relayed_bridge_is_back_after_the_server_was_started_anew() {
    let Some(mut internet) = Internet::new(Nat::Symmetric, Nat::Symmetric) else { return };
    internet.start_relay(SECRET);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _here = here(&internet, &without_relay());
    let _there = there(&internet, 0, "relayed", &with_relay(folder.path(), SECRET, ""));
    flows(&internet, 0);
    let before = arrives(&internet);
    internet.restart_relay(SECRET);
    // the router here lets nobody in who was not written to: not the new address either, so that both meet anew
    let after = wait("back", || {
        let now = arrives(&internet);
        if now["peer"] == before["peer"] { Err(now) } else { Ok(now) }
    });
    assert_eq!(remote(&after), SERVERS[0], "{after:#}");
    assert_ne!(after["remote"], before["remote"]);
    let bridge = flows(&internet, 0);
    assert_eq!((&bridge["connections"], figure(&internet, "portico_relays")), (&2.into(), 1.0), "{bridge:#}");
}

#[test]
fn a_relay_that_is_not_needed_is_given_back() {
    let Some(mut internet) = Internet::new(Nat::PortRestricted, Nat::PortRestricted) else { return };
    internet.start_relay(SECRET);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _here = here(&internet, &without_relay());
    let mut there = there(&internet, 0, "direct", &with_relay(folder.path(), SECRET, ""));
    there.wait_log("TURN server gives the gateway a relay");
    flows(&internet, 0);
    let publisher = arrives(&internet);
    assert_eq!((remote(&publisher), &publisher["relayed"]), ("198.18.0.6", &false.into()), "{publisher:#}");
    wait("without a relay", || {
        let relays = figure(&internet, "portico_relays");
        if relays == 0.0 { Ok(()) } else { Err(relays.into()) }
    });
    assert_eq!(bridge(&internet, 0)["connections"], 1, "the connection stays");
}

#[test]
fn a_wrong_secret_is_said_once_and_direct_ways_work() {
    let Some(mut internet) = Internet::new(Nat::PortRestricted, Nat::PortRestricted) else { return };
    internet.start_relay(SECRET);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _here = here(&internet, &without_relay());
    let mut there = there(&internet, 0, "direct", &with_relay(folder.path(), "another secret than theirs", ""));
    flows(&internet, 0);
    let publisher = arrives(&internet);
    assert_eq!(remote(&publisher), "198.18.0.6", "{publisher:#}");
    assert!(figure(&internet, "portico_relays_refused_total{reason=\"credentials\"}") >= 1.0);
    let line = there.wait_log("TURN server gives the gateway no relay");
    assert!(line.contains("media.turn_secret_file"), "{line}");
    assert_eq!(there.log().matches("gives the gateway no relay").count(), 1, "once");
}
