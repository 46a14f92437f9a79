//! Through routers that translate addresses: a gateway at home, a Chromium in another home, and Debian's coturn on the internet between them.

mod support;

use serde_json::Value;
use support::internet::{HERE, HTTP_PORT, ICE_PORT, Internet, Nat, PUBLIC, SERVERS};
use support::{Gateway, TEST_SOURCE, json_of, tests_dir};

const SECRET: &str = "a secret that both know";

/// What the browser there saw, and the gateway here.
fn meet(internet: &Internet, media: &str) -> (Value, Gateway) {
    let program = internet.command("here", env!("CARGO_BIN_EXE_portico"));
    let config = format!(
        "{TEST_SOURCE}\n[tls]\nmode = 'off'\n[access]\ntoken_secret = 'sixteen characters and more'\nanonymous = ['publish', 'subscribe']\n{media}"
    );
    let (listen, ice_port) = (format!("{HERE}:{HTTP_PORT}"), ICE_PORT.to_string());
    let gateway = Gateway::start_by(program, &config, &["--listen", &listen, "--ice-port", &ice_port], &[]);
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
