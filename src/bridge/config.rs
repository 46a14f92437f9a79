//! `[[bridge]]` of the configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ops::credential;
use crate::vocab::{BridgeName, RoomId, StreamName};

/// One bridge: a room of this gateway joined to a remote place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    /// The bridge's name, unique on this gateway; the others in the room see it. 1 to 64 characters.
    pub name: BridgeName,
    /// What is done: `whip` pushes to a WHIP endpoint, `whep` pulls from a WHEP endpoint, `tribe` joins a room of a tribe server, `peerjs`
    /// is a peer at a PeerJS server, `portico` makes the room one with a room of another Portico.
    pub kind: BridgeKind,
    /// The room of this gateway.
    pub room: RoomId,
    /// `whip`: the stream that is pushed. Default: the mix in an `mcu` room, else `main`, else the first source, else the first publisher.
    /// `whep`: the name of the stream in the room. Default `main`.
    /// `tribe`, `peerjs`: the stream of the room that the far side gets, never one that a bridge has brought. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
    /// The endpoint, `https://HOST/PATH` or `http://…`. Of `tribe` the path of its websocket (`/api`), of `peerjs` the server's `path`, of
    /// `portico` the gateway's address.
    pub url: String,
    /// `tribe`, `portico`: the room at the far side. Default: the same name as here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_room: Option<RoomId>,
    /// `peerjs`: the id by which others call this room, 1 to 256 characters. Default: the bridge's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `peerjs`: the server's key. Default `peerjs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `peerjs`: ids that are called, and again when they are gone; 16 at most. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub call: Vec<String>,
    /// A file with the token that the far side wants: a bearer token, of `peerjs` the `token` of PeerJS. Read again at each attempt. A
    /// name without `/` is that of a systemd credential. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that the endpoint's must come from. Default: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether it runs. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// What is at the other side, and which way media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BridgeKind {
    /// A stream of the room, or its mix, to a WHIP endpoint.
    Whip,
    /// The stream of a WHEP endpoint into the room.
    Whep,
    /// The members of a tribe server's room into the room, and a stream of the room there.
    Tribe,
    /// Peers of a PeerJS server into the room, and a stream of the room to them.
    Peerjs,
    /// The room and one of another Portico are one: members, streams and words of each side are in the other.
    Portico,
}

impl BridgeKind {
    /// All.
    pub const ALL: [Self; 5] = [Self::Whip, Self::Whep, Self::Tribe, Self::Peerjs, Self::Portico];

    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
            Self::Tribe => "tribe",
            Self::Peerjs => "peerjs",
            Self::Portico => "portico",
        }
    }
}

impl BridgeConfig {
    /// Whether its endpoint is on another machine.
    pub fn reaches_out(&self) -> bool {
        self.enabled && endpoint(&self.url).is_ok_and(|url| !is_near(&url))
    }
}

fn yes() -> bool {
    true
}

impl BridgeConfig {
    /// One with nothing but what every bridge has.
    pub(super) fn plain(name: BridgeName, kind: BridgeKind, room: RoomId, url: String) -> Self {
        Self {
            name,
            kind,
            room,
            stream: None,
            url,
            remote_room: None,
            id: None,
            key: None,
            call: Vec::new(),
            token_file: None,
            ca: None,
            enabled: true,
        }
    }
}

/// Most ids that a bridge calls.
pub const MOST_CALLED: usize = 16;
/// Longest id or key of a PeerJS server, in characters.
pub const MAX_ID: usize = 256;

/// Something wrong with a key that some kinds have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// It means nothing for this kind.
    pub foreign: bool,
}

/// What is wrong with the keys that some kinds have.
pub fn misfit(bridge: &BridgeConfig) -> Option<Misfit> {
    let (tribe, peerjs) = (bridge.kind == BridgeKind::Tribe, bridge.kind == BridgeKind::Peerjs);
    let portico = bridge.kind == BridgeKind::Portico;
    let good = |text: &String| !text.is_empty() && text.chars().count() <= MAX_ID && !text.chars().any(char::is_control);
    let bad = [
        ("id", bridge.id.as_ref().is_some_and(|id| !good(id))),
        ("key", bridge.key.as_ref().is_some_and(|key| !good(key))),
        ("call", !bridge.call.iter().all(good)),
    ];
    if let Some((key, _)) = bad.into_iter().find(|(_, bad)| *bad) {
        let message = format!("not a text of 1 to {MAX_ID} characters without control characters");
        return Some(Misfit { key, message, foreign: false });
    }
    if bridge.call.len() > MOST_CALLED {
        let message = format!("{} ids are called, at most {MOST_CALLED} are allowed", bridge.call.len());
        return Some(Misfit { key: "call", message, foreign: false });
    }
    let foreign = [
        ("remote_room", bridge.remote_room.is_some() && !tribe && !portico),
        ("stream", bridge.stream.is_some() && portico),
        ("id", bridge.id.is_some() && !peerjs),
        ("key", bridge.key.is_some() && !peerjs),
        ("call", !bridge.call.is_empty() && !peerjs),
    ];
    let (key, _) = foreign.into_iter().find(|(_, foreign)| *foreign)?;
    let message = format!("means nothing for a bridge of the kind {}", bridge.kind.as_str());
    Some(Misfit { key, message, foreign: true })
}

/// Most bridges of a gateway, those of the API included.
pub const MOST: usize = 64;

/// Something wrong with a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which of the list.
    pub index: usize,
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
    /// Whether it may stay.
    pub warning: bool,
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or no address at all.
    #[error("not an address that begins with https:// or http://")]
    Form,
    /// Nothing where the host should be.
    #[error("names no host")]
    Host,
    /// A user or password in it.
    #[error("holds a user or password: tokens are for `token_file`")]
    Login,
}

/// Reads the address of an endpoint.
pub fn endpoint(text: &str) -> Result<reqwest::Url, UrlError> {
    let url = reqwest::Url::parse(text).map_err(|_| UrlError::Form)?;
    if !["http", "https"].contains(&url.scheme()) || !text.contains("://") {
        return Err(UrlError::Form);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Login);
    }
    match url.host_str() {
        None | Some("") => Err(UrlError::Host),
        Some(_) => Ok(url),
    }
}

/// Whether an address is on this machine.
fn is_near(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a token on the way to this address can be read by others.
fn is_open(url: &reqwest::Url) -> bool {
    url.scheme() == "http" && !is_near(url)
}

/// Everything that is wrong beyond the types of the values. Looks at files.
pub fn check(bridges: &[BridgeConfig]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, bridge) in bridges.iter().enumerate() {
        let mut fault = |key, message: String, help, warning| faults.push(Fault { index, key, message, help, warning });
        if !names.insert(&bridge.name) {
            let message = format!("a bridge named \"{}\" is already listed above", bridge.name);
            fault("name", message, "give each bridge a name of its own", false);
        }
        if let Some(Misfit { key, message, foreign }) = misfit(bridge) {
            fault(key, message, "see the reference for what each kind has", foreign);
        }
        match endpoint(&bridge.url) {
            Err(why) => fault("url", format!("the address {why}"), "allowed: https://HOST/PATH, http://HOST:PORT/PATH", false),
            Ok(url) if bridge.token_file.is_some() && is_open(&url) => {
                fault("url", "the token is readable by everybody on the way".into(), "use https://", true);
            }
            Ok(_) => {}
        }
        if let Some(file) = &bridge.token_file {
            match credential::locate(file) {
                // there only while the service runs: that it is missing now says nothing
                Err(error) => {
                    let help = "give it to the service: /etc/credstore/NAME and LoadCredential=NAME:NAME, or write a path";
                    fault("token_file", error.to_string(), help, true);
                }
                Ok(path) => {
                    if let Err(error) = std::fs::File::open(&path) {
                        let message = format!("{} cannot be read: {error}", path.display());
                        fault("token_file", message, "write the token into it, readable by the user portico runs as", false);
                    }
                }
            }
        }
        if let Some(ca) = &bridge.ca
            && let Err(error) = std::fs::File::open(ca)
        {
            let message = format!("{} cannot be read: {error}", ca.display());
            fault("ca", message, "name a file with certificates in PEM form", false);
        }
    }
    if bridges.len() > MOST {
        let message = format!("{} bridges are listed, at most {MOST} are allowed", bridges.len());
        faults.push(Fault { index: MOST, key: "name", message, help: "list fewer", warning: false });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str, url: &str) -> BridgeConfig {
        BridgeConfig {
            name: BridgeName::new(name).unwrap(),
            kind: BridgeKind::Whip,
            room: RoomId::new("main").unwrap(),
            stream: None,
            url: url.into(),
            remote_room: None,
            id: None,
            key: None,
            call: Vec::new(),
            token_file: None,
            ca: None,
            enabled: true,
        }
    }

    #[test]
    fn endpoints_are_http_and_hold_no_login() {
        assert!(endpoint("https://media.example/whip/a?key=b").is_ok());
        assert!(endpoint("http://[::1]:8780/whep/main").is_ok());
        assert_eq!(endpoint("ftp://media.example/"), Err(UrlError::Form));
        assert_eq!(endpoint("media.example/whip"), Err(UrlError::Form));
        assert_eq!(endpoint("https://me:hush@media.example/"), Err(UrlError::Login));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        let twice = [bridge("a", "https://h/"), bridge("a", "h")];
        let faults = check(&twice);
        assert_eq!(faults.iter().map(|fault| (fault.index, fault.key)).collect::<Vec<_>>(), [(1, "name"), (1, "url")]);
        let mut open = bridge("a", "http://media.example/whip");
        open.token_file = Some("/etc/hostname".into());
        assert!(check(&[open.clone()]).iter().all(|fault| fault.key == "url" && fault.warning));
        open.url = "http://127.0.0.1:9/whip".into();
        assert_eq!(check(&[open.clone()]), []);
        open.token_file = Some("/nowhere/token".into());
        assert!(check(&[open]).iter().any(|fault| fault.key == "token_file" && !fault.warning));
    }

    #[test]
    fn each_kind_has_its_own_keys() {
        let with = |kind, change: fn(&mut BridgeConfig)| {
            let mut bridge = bridge("a", "https://h/");
            bridge.kind = kind;
            change(&mut bridge);
            misfit(&bridge).map(|misfit| (misfit.key, misfit.foreign))
        };
        let room = |bridge: &mut BridgeConfig| bridge.remote_room = RoomId::new("b").ok();
        let call = |bridge: &mut BridgeConfig| bridge.call = vec!["b".into()];
        assert_eq!((with(BridgeKind::Tribe, room), with(BridgeKind::Whip, room)), (None, Some(("remote_room", true))));
        assert_eq!((with(BridgeKind::Peerjs, call), with(BridgeKind::Tribe, call)), (None, Some(("call", true))));
        assert_eq!(with(BridgeKind::Peerjs, |bridge| bridge.id = Some(String::new())), Some(("id", false)));
        assert_eq!(with(BridgeKind::Peerjs, |bridge| bridge.key = Some("a\n".into())), Some(("key", false)));
        assert_eq!(with(BridgeKind::Peerjs, |bridge| bridge.call = vec!["b".into(); 17]), Some(("call", false)));
    }
}
