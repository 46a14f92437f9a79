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

/// A tribe client hears text by signalling only: with one in a mesh Portico is one more peer, even if it has nothing else to give.
#[test]
fn text_crosses_between_a_tribe_client_and_its_only_companion_in_a_mesh() {
    let config = "[http]\nallowed_origins = [\"*\"]\n[[room]]\nname = \"pair\"\ntopology = \"mesh\"\n";
    for (other, order) in [("vamp", "forward"), ("algorea", "reverse")] {
        let gateway = Gateway::start(config);
        let texts = |of: &str| serde_json::json!({ "texts": [of] });
        let wanted = serde_json::json!({ "tribe": texts(other), other: texts("tribe") }).to_string();
        let seen = node("matrix.mjs", &[&gateway.base, "pair", order, &wanted, &format!("--only=tribe,{other}")]);
        for (to, from) in [("tribe", other), (other, "tribe")] {
            let heard = &seen["seen"][to];
            assert_eq!((&heard["texts"], &heard["twice"]), (&serde_json::json!([from]), &serde_json::json!([])), "{seen:#}");
        }
    }
}
