//! `[peerjs]` of the configuration.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocab::RoomId;

/// The dialect of PeerJS and simple-peerjs clients: a PeerJS broker whose members meet everyone else in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeerjsConfig {
    /// Where brokers are and which room each serves. Default: one at `/peerjs` with the key `peerjs`, whose room is `peerjs`.
    pub mount: Vec<PeerjsMount>,
    /// Most clients registered at one mount. 1 to 1000000, default 5000; the room's `max_members` (default 256) counts as well.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent_limit: usize,
    /// A client that sends no `HEARTBEAT` for this long is closed and its id is free. 1 s to 1 h, default 90 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub alive_timeout: Duration,
    /// How long messages wait for a peer that is not there; then their senders get `EXPIRE`. 1 s to 1 min, default 5 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub expire_timeout: Duration,
}

impl Default for PeerjsConfig {
    fn default() -> Self {
        Self {
            mount: vec![PeerjsMount::default()],
            concurrent_limit: 5000,
            alive_timeout: Duration::from_secs(90),
            expire_timeout: Duration::from_secs(5),
        }
    }
}

/// One broker: a path and a key, with ids and a room of its own. Several may share a path and differ by the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeerjsMount {
    /// Which values hold for what is not set here. Default `peerjs`.
    pub profile: PeerjsProfile,
    /// Where it is: HTTP is served below, the websocket at `PATH/peerjs`. Default by the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The key that clients must name. Letters, digits, `-`, `_` and `.`. Default by the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The room its clients are in; its name is also the peer id by which Portico itself is called. Default: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// Whether clients may list each other's ids (`GET PATH/KEY/peers`). Default false.
    pub allow_discovery: bool,
    /// Whether `GET PATH/nodes` gives the list of nodes that Liberdus clients look a node's peer id up in. Default false.
    pub nodes: bool,
    /// The entries of that list. Default none; an entry without `peer_id` is this gateway's own and gets the room's name.
    pub node: Vec<PeerjsNode>,
}

/// The values that a kind of client expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerjsProfile {
    /// Path `/peerjs`, key `peerjs`.
    #[default]
    Peerjs,
    /// Path `/liberdus-peer`, key `liberdus`. Its clients expect TLS at port 6000: add a `[[listener]]`.
    Liberdus,
}

/// One node of the Liberdus node list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerjsNode {
    /// The node's address as others reach it.
    pub external_ip: IpAddr,
    /// Its port. 1 to 65535.
    #[schemars(range(min = 1))]
    pub external_port: u16,
    /// Its public key, as Liberdus writes it.
    pub public_key: String,
    /// The PeerJS id it is called by. Default: the room's name, for this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
}

/// Why a mount cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerjsMountError {
    /// The path is not one.
    #[error("\"{0}\" is no path for a broker: write it as /name, without a slash at the end")]
    Path(String),
    /// The key cannot stand in an address.
    #[error("\"{0}\" is no key: letters, digits, - _ and . only, and not `nodes`")]
    Key(String),
    /// Two brokers would be the same.
    #[error("another mount has path {0} and key {1} already")]
    Twice(String, String),
    /// Two brokers in one room would have two peers of the same id.
    #[error("another mount has room {0} already")]
    Room(RoomId),
}

impl PeerjsMount {
    /// The path that holds. `/` or `/a/b`.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(match self.profile {
            PeerjsProfile::Peerjs => "/peerjs",
            PeerjsProfile::Liberdus => "/liberdus-peer",
        })
    }

    /// The key that holds.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(match self.profile {
            PeerjsProfile::Peerjs => "peerjs",
            PeerjsProfile::Liberdus => "liberdus",
        })
    }

    /// The room that holds; `None` when the key cannot be a room's name, which [`PeerjsConfig::check`] finds.
    pub fn room(&self) -> Option<RoomId> {
        self.room.clone().or_else(|| RoomId::new(self.key()).ok())
    }
}

impl PeerjsConfig {
    /// Whether the mounts can live beside each other; the number is that of the mount which cannot.
    pub fn check(&self) -> Result<(), (usize, PeerjsMountError)> {
        for (index, mount) in self.mount.iter().enumerate() {
            let (path, key) = (mount.path(), mount.key());
            let segment = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            let dots = |text: &str| text.bytes().all(|b| b == b'.');
            let path_good = path == "/"
                || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| segment(part) && !dots(part)));
            let before = &self.mount[..index];
            let fault = if !path_good {
                PeerjsMountError::Path(path.into())
            } else if !segment(key) || dots(key) || key == "nodes" || mount.room().is_none() {
                PeerjsMountError::Key(key.into())
            } else if before.iter().any(|other| (other.path(), other.key()) == (path, key)) {
                PeerjsMountError::Twice(path.into(), key.into())
            } else if let Some(room) = mount.room().filter(|room| before.iter().any(|other| other.room().as_ref() == Some(room)))
            {
                PeerjsMountError::Room(room)
            } else {
                continue;
            };
            return Err((index, fault));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &[(&str, &str)]) -> Option<usize> {
        let mount = |(path, key): &(&str, &str)| PeerjsMount {
            path: Some((*path).into()),
            key: Some((*key).into()),
            ..PeerjsMount::default()
        };
        let config = PeerjsConfig { mount: mounts.iter().map(mount).collect(), ..PeerjsConfig::default() };
        config.check().err().map(|(index, _)| index)
    }

    #[test]
    fn mounts_must_differ_and_fit_in_an_address() {
        assert_eq!(check(&[("/peerjs", "a"), ("/peerjs", "b"), ("/x/y", "c"), ("/", "d")]), None);
        assert_eq!(check(&[("/peerjs", "a"), ("/peerjs", "a")]), Some(1));
        assert_eq!(check(&[("/peerjs", "a"), ("/other", "a")]), Some(1), "both rooms would be called a");
        for path in ["", "x", "/x/", "//", "/a b", "/{x}", "/..", "/a/../b", "/%41"] {
            assert_eq!(check(&[(path, "k")]), Some(0), "{path}");
        }
        for key in ["", "a/b", "a b", "{k}", "nodes", ".."] {
            assert_eq!(check(&[("/p", key)]), Some(0), "{key}");
        }
    }

    #[test]
    fn the_profile_gives_what_is_not_said() {
        let liberdus = PeerjsMount { profile: PeerjsProfile::Liberdus, ..PeerjsMount::default() };
        assert_eq!((liberdus.path(), liberdus.key()), ("/liberdus-peer", "liberdus"));
        assert_eq!(liberdus.room(), RoomId::new("liberdus").ok());
        let own = PeerjsMount { path: Some("/".into()), ..PeerjsMount::default() };
        assert_eq!((own.path(), own.key()), ("/", "peerjs"));
    }
}
