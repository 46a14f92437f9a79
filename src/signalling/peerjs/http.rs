//! The broker's HTTP side: which path asks for what, and the bodies. Pure; the thin handlers are in `app::mounts`.

use std::net::IpAddr;

use serde::Serialize;

use super::config::PeerjsNode;
use super::wire::json;

/// What a path below a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// The mount itself.
    Info,
    /// A fresh id, whatever the key.
    Id,
    /// The list of ids, for who knows the key.
    Peers {
        /// What the client says it is.
        key: &'a str,
    },
    /// The Liberdus node list.
    Nodes,
    /// The websocket.
    Socket,
    /// Nothing.
    Nowhere,
}

/// Reads the path below the mount: `` or `/` is the mount itself.
pub fn endpoint(below: &str) -> Endpoint<'_> {
    let below = below.strip_prefix('/').unwrap_or(below);
    match below.split_once('/') {
        None => match below {
            "" => Endpoint::Info,
            "peerjs" => Endpoint::Socket,
            "nodes" => Endpoint::Nodes,
            _ => Endpoint::Nowhere,
        },
        Some(("", _)) => Endpoint::Nowhere,
        Some((key, what)) => match what.strip_suffix('/').unwrap_or(what) {
            "id" => Endpoint::Id,
            "peers" => Endpoint::Peers { key },
            _ => Endpoint::Nowhere,
        },
    }
}

/// What [`Endpoint::Info`] answers with. Clients never read it.
pub fn info() -> String {
    #[derive(Serialize)]
    struct Info {
        name: &'static str,
        description: &'static str,
        website: &'static str,
    }
    let description = "A PeerJS broker whose peers meet everyone else in a room";
    json(&Info { name: "Portico", description, website: env!("CARGO_PKG_REPOSITORY") })
}

/// What [`Endpoint::Nodes`] answers with. `own` is the id of nodes that name none.
pub fn nodes(nodes: &[PeerjsNode], own: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Info<'a> {
        external_ip: IpAddr,
        external_port: u16,
        public_key: &'a str,
        peer_id: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Node<'a> {
        node_info: Info<'a>,
    }
    let list = nodes.iter().map(|node| Node {
        node_info: Info {
            external_ip: node.external_ip,
            external_port: node.external_port,
            public_key: &node.public_key,
            peer_id: node.peer_id.as_deref().unwrap_or(own),
        },
    });
    json(&list.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        for (below, expected) in [
            ("", Endpoint::Info),
            ("/", Endpoint::Info),
            ("/peerjs", Endpoint::Socket),
            ("/nodes", Endpoint::Nodes),
            ("/peerjs/id", Endpoint::Id),
            ("/anything/id", Endpoint::Id),
            ("/k/peers", Endpoint::Peers { key: "k" }),
            ("/k/id/x", Endpoint::Nowhere),
            ("/k", Endpoint::Nowhere),
            ("//id", Endpoint::Nowhere),
            ("/k/1/t/offer", Endpoint::Nowhere),
        ] {
            assert_eq!(endpoint(below), expected, "{below}");
        }
    }

    #[test]
    fn the_node_list_has_the_archivers_form() {
        let own =
            PeerjsNode { external_ip: "192.0.2.1".parse().unwrap(), external_port: 6000, public_key: "k1".into(), peer_id: None };
        let other = PeerjsNode { public_key: "k2".into(), peer_id: Some("n2".into()), ..own.clone() };
        let one = |key: &str, id: &str| {
            format!(r#"{{"nodeInfo":{{"externalIp":"192.0.2.1","externalPort":6000,"publicKey":"{key}","peerId":"{id}"}}}}"#)
        };
        assert_eq!(nodes(&[own, other], "n1"), format!("[{},{}]", one("k1", "n1"), one("k2", "n2")));
        assert_eq!(nodes(&[], "n1"), "[]");
    }
}
