//! Two tribe clients, written only from the document, meet in a room: each publishes and plays the other.

mod support;

use support::{Gateway, node};

#[test]
fn two_tribe_clients_see_and_hear_each_other() {
    let gateway = Gateway::start("");
    let seen = node("tribe.mjs", &[&gateway.base, "r1"]);
    assert_eq!(seen["early"]["e"], 1297, "{seen:#}");
    assert_eq!(seen["garbage"]["e"], 1282, "{seen:#}");
    assert_eq!(seen["joinA"]["d"]["sessions"], serde_json::json!([]), "{seen:#}");
    assert_eq!(seen["joinB"]["d"]["roomSize"], 2, "{seen:#}");
    assert_eq!(seen["joinB"]["d"]["sessions"][0]["socketId"], seen["joinA"]["d"]["socketId"], "{seen:#}");
    for side in ["seenByA", "seenByB"] {
        assert!(seen[side]["framesDecoded"].as_u64() >= Some(30), "{seen:#}");
        assert_eq!(seen[side]["downlinks"], 1, "one downlink per viewer and source: {seen:#}");
    }
    assert_eq!(seen["message"]["s"], true, "{seen:#}");
    assert_eq!(seen["told"]["d"]["message"]["isVideoEnabled"], false, "{seen:#}");
    assert_eq!(seen["turned"]["d"]["orientation"], 0, "{seen:#}");
    assert_eq!(seen["left"]["d"]["socketId"], seen["joinB"]["d"]["socketId"], "{seen:#}");
    assert_eq!(seen["left"]["d"]["roomSize"], 1, "{seen:#}");
    let order: Vec<&str> = seen["order"].as_array().unwrap().iter().filter_map(|a| a.as_str()).collect();
    let at = |name| order.iter().position(|a| *a == name).unwrap_or_else(|| panic!("no {name} in {order:?}"));
    assert!(at("eventExchangeSdp") < at("exchangeSdpR"), "the answer comes before the acknowledgement: {order:?}");
}
