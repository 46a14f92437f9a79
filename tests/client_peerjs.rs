//! The genuine PeerJS and simple-peerjs against Portico as their broker, and a PeerJS broker's duties message by message.

mod support;

use serde_json::{Value, json};
use support::{Gateway, node};

/// Pages of another origin, as those of PeerJS applications are.
const ANY_ORIGIN: &str = "[http]\nallowed_origins = [\"*\"]\n";

fn broker(more: &str) -> Gateway {
    Gateway::start(&format!("{ANY_ORIGIN}{more}"))
}

fn run(script: &str, gateway: &Gateway, more: &[&str]) -> Value {
    let mut args = vec![gateway.base.as_str(), "/peerjs", "peerjs"];
    args.extend(more);
    node(script, &args)
}

#[test]
fn peerjs_gets_ids_keeps_them_and_hears_who_is_not_there() {
    let seen = run("peerjs_broker.mjs", &broker(""), &["refused"]);
    assert_eq!(seen["taken"]["error"], "unavailable-id", "{seen:#}");
    assert_eq!(seen["absent"]["error"], "peer-unavailable", "{seen:#}");
}

#[test]
fn peerjs_lists_peers_where_that_is_allowed() {
    let seen = run("peerjs_broker.mjs", &broker("[[peerjs.mount]]\nallow_discovery = true\n"), &["allowed"]);
    assert!(seen["list"]["list"].as_array().is_some_and(|list| list.len() >= 3), "{seen:#}");
}

#[test]
fn peerjs_peers_exchange_every_serialization() {
    let seen = run("peerjs_data.mjs", &broker(""), &[]);
    let forms = seen["forms"].as_array().unwrap();
    assert_eq!(forms.len(), 6, "{seen:#}");
    for form in forms {
        let reliable = form["label"].as_str().unwrap().ends_with("true");
        assert_eq!(form["ordered"], reliable, "{form:#}");
    }
}

#[test]
fn peerjs_peers_call_each_other() {
    let seen = run("peerjs_media.mjs", &broker(""), &[]);
    for side in ["a", "b"] {
        assert!(seen[side]["framesDecoded"].as_u64() > Some(30), "{seen:#}");
    }
}

#[test]
fn simple_peerjs_peers_connect_with_a_heartbeat_each_millisecond() {
    let seen = run("simple_peerjs.mjs", &broker(""), &[]);
    assert_eq!(seen["absent"], "peer-unavailable", "{seen:#}");
}

#[test]
fn the_liberdus_profile_is_a_broker_of_its_own() {
    let gateway = broker("[[peerjs.mount]]\n[[peerjs.mount]]\nprofile = \"liberdus\"\n");
    node("simple_peerjs.mjs", &[&gateway.base, "/liberdus-peer", "liberdus"]);
}

#[test]
fn a_brokers_duties_are_kept_message_by_message() {
    let seen = run("suite_peerjs.mjs", &broker(""), &["refused"]);
    assert_eq!(seen["failed"], json!(null), "{seen:#}");
    run("suite_peerjs.mjs", &broker("[[peerjs.mount]]\nallow_discovery = true\n"), &["allowed"]);
}
