//! Being found on the local network: another machine, in a network namespace, looks for the gateway by mDNS.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::netns::Namespace;
use support::{Gateway, PATIENCE, json_of, tests_dir};

#[test]
fn another_machine_finds_the_gateway_and_hears_it_go() {
    let Some(namespace) = Namespace::new() else { return };
    let config = "[access]\nanonymous = [\"subscribe\"]\nanonymous_rooms = [\"hall\"]\n[mdns]\nname = \"Hall camera\"\n\
                  [[room]]\nname = \"hall\"\n[[room]]\nname = \"secret\"\n";
    let gateway = Gateway::start_with(config, &["--listen", &format!("{}:0", namespace.host)]);
    let port: u16 = gateway.base.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mark = dir.path().join("found");
    let mut browser = namespace.command(tests_dir().join(".venv/bin/python").to_str().expect("a plain path"));
    browser.arg(tests_dir().join("clients/mdns_browse.py")).arg("Hall camera").arg(&mark);
    let browsing = std::thread::spawn(move || json_of(browser, "mdns_browse.py"));
    let start = Instant::now();
    while !mark.exists() && !browsing.is_finished() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(gateway.terminate().0.success());
    let seen = browsing.join().expect("the browser ends");
    let services = &seen["services"];
    for kind in ["_https._tcp.local.", "_portico._tcp.local."] {
        assert_eq!(services[kind]["port"], port, "{seen:#}");
        assert_eq!(services[kind]["addresses"], json!([namespace.host.to_string()]), "no address of another network: {seen:#}");
        assert!(services[kind]["server"].as_str().is_some_and(|name| name.ends_with(".local.")), "{seen:#}");
    }
    assert_eq!(services["_https._tcp.local."]["properties"], json!({"path": "/"}), "{seen:#}");
    let told = &services["_portico._tcp.local."]["properties"];
    assert_eq!((&told["rooms"], &told["auth"], &told["scheme"]), (&json!("hall"), &json!("none"), &json!("https")), "{seen:#}");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"), "{seen:#}");
}
