//! Through routers that translate addresses: a gateway at home, a Chromium in another home, and Debian's coturn on the internet between them.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::internet::{HERE, HTTP_PORT, ICE_PORT, Internet, Nat, PUBLIC, SERVERS};
use support::{Gateway, PATIENCE, TEST_SOURCE, json_of, read_inside, tests_dir};

const SECRET: &str = "a secret that both know";

/// A gateway in one of the homes.
fn gateway(internet: &Internet, home: &str, listen: &str, more: &str) -> Gateway {
    let program = internet.command(home, env!("CARGO_BIN_EXE_portico"));
    let config = format!(
        "{TEST_SOURCE}\n[tls]\nmode = 'off'\n[access]\ntoken_secret = 'sixteen characters and more'\nanonymous = ['publish', 'subscribe', 'control']\n{more}"
    );
    Gateway::start_by(program, &config, &["--listen", listen, "--ice-port", &ICE_PORT.to_string()], &[])
}

/// What the browser there saw, and the gateway here.
fn meet(internet: &Internet, media: &str) -> (Value, Gateway) {
    let gateway = gateway(internet, "here", &format!("{HERE}:{HTTP_PORT}"), media);
    let mut client = internet.command("there", "node");
    client.arg(tests_dir().join("clients/nat.mjs")).args([&format!("http://{PUBLIC}:{HTTP_PORT}"), "main", "test"]);
    (json_of(client, "nat.mjs"), gateway)
}

fn assert_played_and_published(seen: &Value) {
    assert!(seen["played"]["framesDecoded"].as_u64() >= Some(30), "{seen:#}");
    assert!(seen["sent"]["framesEncoded"].as_u64() >= Some(30), "{seen:#}");
    assert_eq!(seen["sent"]["state"], "connected", "{seen:#}");
}

/// Own and remote candidate of a way.
fn way<'a>(seen: &'a Value, name: &str) -> (&'a str, &'a str) {
    let text = |index: usize| seen["ways"][name][index].as_str().unwrap_or_default();
    (text(0), text(1))
}

#[test]
fn a_forwarded_port_is_found_by_the_address_that_the_configuration_names() {
    let Some(internet) = Internet::new(Nat::FullCone, Nat::PortRestricted) else { return };
    let (seen, mut gateway) = meet(&internet, &format!("[media]\nice_external_addresses = ['{PUBLIC}']\nice_lite = true\n"));
    assert_played_and_published(&seen);
    assert_eq!(seen["servers"], serde_json::json!([]), "nobody else was asked: {seen:#}");
    for name in ["play", "publish"] {
        assert_eq!(way(&seen, name).1, PUBLIC, "{seen:#}");
    }
    assert!(!gateway.log().contains("STUN"), "a home without servers is silent");
}

#[test]
fn two_homes_meet_with_a_stun_server_alone() {
    let Some(mut internet) = Internet::new(Nat::PortRestricted, Nat::PortRestricted) else { return };
    internet.start_relay(SECRET);
    let servers = SERVERS.map(|server| format!("'stun:{server}:3478'")).join(", ");
    let (seen, mut gateway) = meet(&internet, &format!("[media]\nice_servers = [{servers}]\n"));
    assert_played_and_published(&seen);
    let found = gateway.wait_log("public address found");
    assert!(found.contains(&format!("{PUBLIC}:{ICE_PORT}")) && found.contains(HERE), "{found}");
    for name in ["play", "publish"] {
        let (own, remote) = way(&seen, name);
        assert!(own != "relay" && remote == PUBLIC, "{seen:#}");
    }
    assert!(!gateway.log().contains("by a relay alone"), "this router keeps its ports");
}

#[test]
fn where_a_router_gives_each_far_end_another_port_a_relay_leads_through() {
    let Some(mut internet) = Internet::new(Nat::Symmetric, Nat::PortRestricted) else { return };
    internet.start_relay(SECRET);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("it is written");
    let stun = SERVERS.map(|server| format!("'stun:{server}:3478'")).join(", ");
    let turn = format!("'turn:{}:3478?transport=udp'", SERVERS[0]);
    let (seen, mut gateway) =
        meet(&internet, &format!("[media]\nice_servers = [{stun}, {turn}]\nturn_secret_file = '{}'\n", secret.display()));
    assert_played_and_published(&seen);
    for name in ["play", "publish"] {
        assert_eq!(way(&seen, name).0, "relay", "{seen:#}");
    }
    gateway.wait_log("by a relay alone");
}

/// The bridges of the gateway there, as soon as they are so.
fn bridges_when(internet: &Internet, what: &str, good: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let address = format!("http://127.0.0.1:{HTTP_PORT}/api/v1/bridges");
        let bridges = read_inside(internet.command("there", "/usr/bin/python3"), &address);
        let bridges = bridges.as_array().cloned().unwrap_or_default();
        if good(&bridges) {
            return bridges;
        }
        assert!(Instant::now() < end, "{what} never was: {bridges:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn gateways_in_two_homes_are_joined_by_bridges_which_come_back_after_a_cut() {
    let Some(mut internet) = Internet::new(Nat::PortRestricted, Nat::PortRestricted) else { return };
    internet.start_relay(SECRET);
    let servers = SERVERS.map(|server| format!("'stun:{server}:3478'")).join(", ");
    let media = format!("[media]\nice_servers = [{servers}]\n");
    let _here = gateway(&internet, "here", &format!("{HERE}:{HTTP_PORT}"), &media);
    let bridge = |name: &str, kind: &str, room: &str, path: &str| {
        format!(
            "[[bridge]]\nname = '{name}'\nkind = '{kind}'\nroom = '{room}'\nstream = 'test'\nurl = 'http://{PUBLIC}:{HTTP_PORT}{path}'\n"
        )
    };
    // both ways at once, and each by a port of its own that the router there maps
    let bridges = bridge("out", "whip", "main", "/whip/from-there/test") + &bridge("in", "whep", "from-here", "/whep/main");
    let mut there = gateway(&internet, "there", &format!("127.0.0.1:{HTTP_PORT}"), &(media + &bridges));
    let flows = |bridge: &Value, least: u64| {
        let packets = bridge["packets_sent"].as_u64().max(bridge["packets_received"].as_u64());
        bridge["state"] == "connected" && packets >= Some(least)
    };
    let all_flow = |bridges: &[Value], least: u64| bridges.len() == 2 && bridges.iter().all(|bridge| flows(bridge, least));
    bridges_when(&internet, "flow", |bridges| all_flow(bridges, 100));
    internet.cut(true);
    bridges_when(&internet, "the loss noticed", |bridges| bridges.iter().all(|bridge| bridge["state"] != "connected"));
    internet.cut(false);
    let before = bridges_when(&internet, "back", |bridges| bridges.iter().all(|bridge| bridge["state"] == "connected"));
    let passed = |bridge: &Value| bridge["packets_sent"].as_u64().max(bridge["packets_received"].as_u64()).unwrap_or_default();
    let most = before.iter().map(passed).max().unwrap_or_default();
    let after = bridges_when(&internet, "flow again", |bridges| all_flow(bridges, most + 100));
    assert!(after.iter().all(|bridge| bridge["connections"].as_u64() >= Some(2)), "{after:#?}");
    assert!(!there.log().contains("panicked"));
}
