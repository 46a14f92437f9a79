//! The page over HTTPS from another address than loopback: a browser in a network namespace, joined by a veth pair.

mod support;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::netns::Namespace;
use support::{Gateway, TEST_SOURCE, json_of, tests_dir};

const SECRET: &str = "sixteen characters and more";

/// Runs a scenario in the namespace.
fn node(namespace: &Namespace, script: &str, args: &[&str]) -> Value {
    let mut command = namespace.command("node");
    command.arg(tests_dir().join("clients").join(script)).args(args);
    json_of(command, script)
}

fn secret_file(gateway: &Gateway) -> PathBuf {
    let file = gateway.dir().join("secret");
    std::fs::write(&file, SECRET).expect("the secret is written");
    file
}

/// What `portico token --url` prints.
fn link(gateway: &Gateway, room: &str, rights: &str) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["token", "--room", room, "--rights", rights, "--url", &gateway.base, "--secret-file"])
        .arg(secret_file(gateway))
        .output()
        .expect("portico token runs");
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).expect("a link is text").trim().to_owned()
}

#[test]
fn a_browser_elsewhere_gets_its_camera_over_https() {
    let Some(namespace) = Namespace::new() else { return };
    let listen = format!("{}:0", namespace.host);
    let config = format!("[access]\ntoken_secret = \"{SECRET}\"\n");
    let mut gateway = Gateway::start_with(&config, &["--listen", &listen]);
    assert!(gateway.base.starts_with(&format!("https://{}:", namespace.host)), "{}", gateway.base);
    gateway.wait_log("fingerprint must be");
    let (joins, watches) = (link(&gateway, "yard", "publish,subscribe"), link(&gateway, "yard", "subscribe"));
    assert!(joins.starts_with(&format!("{}/?room=yard#token=", gateway.base)), "{joins}");
    let seen = node(&namespace, "page_https.mjs", &[&gateway.base, "yard", &joins, &watches]);
    assert_eq!(seen["stranger"], "This room needs a token", "{seen:#}");
    assert_eq!(seen["list"], "This gateway needs a token", "{seen:#}");
    assert_eq!(seen["status"], 401, "{seen:#}");
    assert_eq!((&seen["secure"], &seen["devices"]), (&true.into(), &true.into()), "{seen:#}");
    assert!(seen["figures"]["frames"].as_u64() >= Some(60), "{seen:#}");
    assert!(seen["figures"]["audioEnergy"].as_f64() > Some(0.0), "{seen:#}");
    assert!(!seen["addresses"].to_string().contains("token="), "{seen:#}");
}

#[test]
fn a_plain_page_elsewhere_has_no_camera_and_says_why() {
    let Some(namespace) = Namespace::new() else { return };
    let listen = format!("{}:0", namespace.host);
    let config = format!("{TEST_SOURCE}\n[tls]\nmode = \"off\"\n[access]\ntoken_secret = \"{SECRET}\"\n");
    let gateway = Gateway::start_with(&config, &["--listen", &listen]);
    assert!(gateway.base.starts_with("http://"), "{}", gateway.base);
    let joins = link(&gateway, "main", "publish,subscribe");
    let seen = node(&namespace, "page_plain.mjs", &[&joins]);
    assert_eq!((&seen["secure"], &seen["devices"]), (&false.into(), &false.into()), "{seen:#}");
    assert!(seen["told"].as_str().is_some_and(|text| text.contains("Open the https address of this gateway")), "{seen:#}");
    assert!(seen["figures"]["frames"].as_u64() >= Some(30), "it may watch: {seen:#}");
}

#[test]
fn an_address_that_others_reach_is_refused_without_a_word_on_who_may() {
    let Some(namespace) = Namespace::new() else { return };
    let refused = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["run", "--ice-port", "0", "--listen", &format!("{}:0", namespace.host)])
        .output()
        .expect("portico runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("token_secret") && said.contains("anonymous"), "{said}");
}
