//! Clients of AlgoreaForum's workflow in Chromium, of both variants, written from the document: they connect to each other and
//! exchange text.

mod support;

use serde_json::{Value, json};
use support::{End, Gateway, node, node_through_restart};

/// Their pages are elsewhere, as the forum's were.
const ANY_PAGE: &str = "[http]\nallowed_origins = [\"*\"]\n";

fn check(seen: &Value) {
    let names = |variant: &str| match variant {
        "document" => ["connected-peers", "icecandidate"],
        _ => ["peers", "ice-candidate"],
    };
    let pairs = seen["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 4, "{seen:#}");
    for pair in pairs {
        let (present, newcomer) = pair["room"].as_str().and_then(|room| room.split_once('-')).expect("two variants");
        assert_eq!(pair["lists"], json!([0, 1]), "{pair:#}");
        assert_eq!(pair["toNobody"], "Internal server error", "{pair:#}");
        // the receiver's variant decides, whoever it talks to
        let [list, candidate] = names(present);
        let heard = pair["present"].as_array().expect("types");
        assert!(heard.contains(&list.into()) && heard.contains(&"offer".into()), "{pair:#}");
        assert!(heard.iter().all(|kind| [list, candidate, "offer"].contains(&kind.as_str().unwrap())), "{pair:#}");
        let [list, candidate] = names(newcomer);
        let heard = pair["newcomer"].as_array().expect("types");
        assert!(heard.iter().all(|kind| [list, candidate, "answer"].contains(&kind.as_str().unwrap())), "{pair:#}");
    }
}

#[test]
fn clients_of_both_variants_connect_and_exchange_text() {
    let gateway = Gateway::start(ANY_PAGE);
    check(&node("algorea.mjs", &[&format!("{}/algorea", gateway.base.replace("http", "ws"))]));
}

#[test]
fn they_do_so_on_a_port_of_their_own_at_any_path() {
    let mut gateway = Gateway::start(&format!(
        "{ANY_PAGE}[[listener]]\ndialect = \"algorea\"\nlisten = \"127.0.0.1:0\"\nroom_prefix = \"forum-\"\n"
    ));
    let line = gateway.wait_log("listening for one dialect");
    let at = line.find("127.0.0.1:").expect("the log names the address");
    let address: String = line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    check(&node("algorea.mjs", &[&format!("ws://{address}/dev")]));
}

#[test]
fn a_restart_leaves_their_channels_alone_and_lets_new_ones_meet() {
    for (end, code) in [(End::Stopped, 1001), (End::Killed, 1006)] {
        let gateway = Gateway::start(ANY_PAGE);
        let url = format!("{}/algorea", gateway.base.replace("http", "ws"));
        let seen = node_through_restart(gateway, ANY_PAGE, end, "algorea_restart.mjs", &[&url]);
        assert_eq!((&seen["closed"], &seen["errors"]), (&json!([code, code]), &json!([])), "{seen:#}");
        assert_eq!(seen["lists"], json!([0, 1]), "{seen:#}");
    }
}

#[test]
#[ignore = "needs PORTICO_ALGOREA_RTC=FILE: public/rtc.js of France-ioi/AlgoreaForum, branch rtc, which is not kept here"]
fn the_branchs_own_page_script_meets_itself() {
    let file = std::env::var("PORTICO_ALGOREA_RTC").expect("PORTICO_ALGOREA_RTC names the file");
    let gateway = Gateway::start(ANY_PAGE);
    let url = format!("{}/algorea?variant=branch", gateway.base.replace("http", "ws"));
    let seen = node("algorea_branch.mjs", &[&url, &file]);
    // three lines each: what was said, and what the two others said
    assert_eq!(seen["heard"], json!([3, 3, 3]), "{seen:#}");
}
