//! What types cannot say: names that must fit each other, files that must be readable, addresses that must be guarded.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::problem::Problem;
use super::tree::{Node, Step, path_text};
use super::{Config, MERGED_BY_NAME};
use crate::channel::rpc::{check_path, check_target};
use crate::media::config::SourceKind;
use crate::ops::access::{Secret, SecretError, check_exposure, find_secret};
use crate::ops::mdns::MAX_NAME;
use crate::ops::tls::TlsMode;
use crate::peer::RelayUse;
use crate::room::{RoomConfig, Topology};
use crate::signalling::peerjs::{PeerjsConfig, PeerjsMountError};
use crate::vocab::{MediaKind, MixConfig, Right};

/// Names of all sources and rooms that are written, those that could not be read included.
pub(super) fn written_names(tree: &Node, list: &str) -> BTreeSet<String> {
    debug_assert!(MERGED_BY_NAME.contains(&list));
    let entries = match tree.at(&[Step::Key(list.into())]).map(|node| &node.value) {
        Some(super::tree::Value::List(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter_map(|entry| entry.at(&[Step::Key("name".into())])?.text().map(str::to_owned)).collect()
}

/// Checks everything. `tree` is what `config` was read from, and tells places.
pub(super) fn validate(config: &Config, tree: &Node, sources_written: &BTreeSet<String>) -> Vec<Problem> {
    let mut found = Findings { tree, problems: Vec::new() };
    access(config, &mut found);
    tls(config, &mut found);
    mdns(config, &mut found);
    http(config, &mut found);
    listeners(config, &mut found);
    rtsp(config, &mut found);
    media(config, &mut found);
    sources(config, &mut found);
    rooms(config, sources_written, &mut found);
    recording(config, &mut found);
    peerjs(config, &mut found);
    rpc(config, &mut found);
    events(config, &mut found);
    bridges(config, &mut found);
    if let Err(why) = crate::ops::logging::check_filter(&config.log.filter) {
        let help = "allowed: `level` or `module=level`, comma-separated; levels: error, warn, info, debug, trace, off";
        found.error(&keys(&["log", "filter"]), format!("\"{}\" is not a log filter: {why}", config.log.filter), help);
    }
    found.problems
}

struct Findings<'a> {
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn error(&mut self, path: &[Step], message: impl Into<String>, help: impl Into<String>) {
        self.add(path, message.into(), help.into(), false);
    }

    fn warning(&mut self, path: &[Step], message: impl Into<String>, help: impl Into<String>) {
        self.add(path, message.into(), help.into(), true);
    }

    fn add(&mut self, path: &[Step], message: String, help: String, warning: bool) {
        let place = self.tree.place_of(path);
        self.problems.push(Problem { key: path_text(path), message, help: Some(help), place, warning });
    }
}

fn keys(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| Step::Key((*name).into())).collect()
}

fn item(list: &str, index: usize, key: &str) -> Vec<Step> {
    vec![Step::Key(list.into()), Step::Item(index), Step::Key(key.into())]
}

fn access(config: &Config, found: &mut Findings<'_>) {
    let access = &config.access;
    if let Some(secret) = &access.token_secret {
        let chars = secret.expose().chars().count();
        if chars < Secret::MIN_CHARS {
            let message = format!("the secret has {chars} characters, at least {} are needed", Secret::MIN_CHARS);
            found.error(&keys(&["access", "token_secret"]), message, "make one with `openssl rand -base64 32`");
        }
        if access.token_secret_file.is_some() {
            let message = "the secret is given twice, here and as `token_secret`";
            found.error(&keys(&["access", "token_secret_file"]), message, "keep one of `token_secret` and `token_secret_file`");
        }
    } else if let Err(error @ SecretError::NoCredential(_)) = access.secret() {
        // there only while the service runs: that it is missing now says nothing
        let help = "give it to the service: /etc/credstore/NAME and LoadCredential=NAME:NAME, or write a path";
        found.warning(&keys(&["access", "token_secret_file"]), error.to_string(), help);
    } else if let Err(error) = access.secret() {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let help =
            "make one: `install -m 600 /dev/null FILE && openssl rand -base64 32 > FILE`, readable by the user portico runs as";
        found.error(&keys(&["access", "token_secret_file"]), format!("{error}{cause}"), help);
    }
    if !access.anonymous_rooms.is_empty() && access.anonymous.is_empty() {
        let help = "set `anonymous = [\"subscribe\"]` as well, or remove `anonymous_rooms`";
        found.warning(&keys(&["access", "anonymous_rooms"]), "rooms are listed, but no anonymous rights", help);
    }
    if let Some(file) = &access.token_secret_file
        && std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0)
    {
        let message = format!("{} can be read by every user of this machine", file.display());
        found.warning(&keys(&["access", "token_secret_file"]), message, format!("chmod o= {}", file.display()));
    }
    if !access.join_link.is_zero() && !access.has_secret() {
        let help = "set `token_secret_file` as well, or remove `join_link`";
        found.warning(&keys(&["access", "join_link"]), "there is no secret to sign a join link with", help);
    }
    let strong = access.anonymous.iter().position(|right| matches!(right, Right::Control | Right::Bridge));
    if let Some(index) = strong.filter(|_| !config.is_local()) {
        let path = [keys(&["access", "anonymous"]), vec![Step::Item(index)]].concat();
        let help = "grant `publish` and `subscribe` to everyone at most, the rest by token";
        found.warning(&path, "everyone who can reach this address may change what runs", help);
    }
    exposure(config, config.http.listen, &keys(&["http", "listen"]), found);
}

/// An address that others reach needs somebody to say who may do what.
fn exposure(config: &Config, listen: SocketAddr, path: &[Step], found: &mut Findings<'_>) {
    if let Err(exposed) = check_exposure(&config.access, listen) {
        let message = format!("{} can be reached by others, and nothing says who may do what", exposed.listen);
        let help = "set [access] token_secret_file (and make tokens with `portico token`), or grant rights to everyone by name with \
                    [access] anonymous = [\"subscribe\"], or listen on 127.0.0.1";
        found.error(path, message, help);
    }
}

/// Its address is of its own, and guarded where others reach it.
fn rtsp(config: &Config, found: &mut Findings<'_>) {
    let Some(address) = config.rtsp.listen else { return };
    let path = keys(&["rtsp", "listen"]);
    let all = config.addresses();
    let others = &all[..all.len() - 1];
    if let Some(other) = others.iter().find(|other| meet(**other, address)) {
        found.error(&path, format!("{address} is taken by another listener, on {other}"), "8554 is the port that players expect");
    }
    if address.ip() != config.http.listen.ip() {
        exposure(config, address, &path, found);
    }
}

/// Whether one of two listeners would find its port taken.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let alike = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    alike && one.port() == other.port() && one.port() != 0
}

fn listeners(config: &Config, found: &mut Findings<'_>) {
    let addresses = config.addresses();
    for (index, listener) in config.listener.iter().enumerate() {
        let address = addresses[index + 1];
        let path = item("listener", index, if listener.listen.is_some() { "listen" } else { "dialect" });
        if let Some(before) = addresses[..=index].iter().position(|other| meet(*other, address)) {
            let who = if before == 0 { "http.listen".into() } else { format!("listener[{}]", before - 1) };
            let message = format!("{address} is taken by {who}");
            found.error(&path, message, "give each listener an address or a port of its own with `listen`");
        }
        if address.ip() != config.http.listen.ip() {
            exposure(config, address, &path, found);
        }
        for (key, value) in [("path", &listener.path), ("key", &listener.key)] {
            if value.is_some() && !listener.dialect.has_keys() {
                let message = format!("a listener of dialect \"{}\" has no {key}", listener.dialect.as_str());
                found.error(&item("listener", index, key), message, format!("`{key}` belongs to \"peerjs\" and \"liberdus\""));
            }
        }
        if listener.path.as_deref().is_some_and(|path| !path.starts_with('/') || path.contains(['?', '#', '{', '}', ' '])) {
            let help = "allowed: a path such as `/` or `/peers`";
            found.error(&item("listener", index, "path"), "not a path", help);
        } else if let Some(mount) = listener.peerjs_mount() {
            let alone = PeerjsConfig { mount: vec![mount], ..PeerjsConfig::default() };
            if let Err((_, why)) = alone.check() {
                let key = if matches!(why, PeerjsMountError::Path(_)) { "path" } else { "key" };
                found.error(&item("listener", index, key), why.to_string(), "letters, digits, `-`, `_` and `.` are good");
            }
        }
    }
}

fn mdns(config: &Config, found: &mut Findings<'_>) {
    let name = &config.mdns.name;
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let help = "what the network is told is a name of at most 63 bytes, as in \"Hall camera\"";
        found.error(&keys(&["mdns", "name"]), "not a name for the network", help);
    }
}

fn tls(config: &Config, found: &mut Findings<'_>) {
    let tls = &config.tls;
    match (&tls.cert, &tls.key) {
        (Some(_), None) => found.error(&keys(&["tls", "cert"]), "a certificate without its key", "set `key` as well"),
        (None, Some(_)) => found.error(&keys(&["tls", "key"]), "a key without its certificate", "set `cert` as well"),
        (Some(cert), Some(key)) if tls.mode != TlsMode::Off => {
            if let Err(error) = crate::ops::tls::check_files(cert, key) {
                let key = if error.is_about_key() { "key" } else { "cert" };
                let help = "allowed: PEM files that the user portico runs as may read";
                found.error(&keys(&["tls", key]), error.chain(), help);
            }
        }
        _ => {}
    }
    if tls.mode == TlsMode::Off && !config.is_local() {
        let help = "leave `mode` on \"auto\" unless something in front of Portico speaks https";
        found.warning(&keys(&["tls", "mode"]), "browsers give no camera and no microphone to a page without https", help);
    }
}

fn recording(config: &Config, found: &mut Findings<'_>) {
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&config.recording.segment) {
        found.error(&keys(&["recording", "segment"]), "outside of what works", "allowed: 1 s to 24 h");
    }
    let mut listed = BTreeSet::new();
    for (index, record) in config.record.iter().enumerate() {
        let room = item("record", index, "room");
        let of = record.of();
        if of.folders().is_none() {
            found.error(&room, "too long for the name of a folder", "the names of the room and the stream become folders");
        }
        let known = config.room.iter().find(|listed| listed.name == record.room);
        if record.stream.is_none() && known.is_none_or(|room| room.topology != Topology::Mcu) {
            let message = format!("the room \"{}\" is not mixed, so there is no mix to record", record.room);
            found.error(&room, message, "set `stream`, or topology = \"mcu\" in a [[room]] of that name");
        }
        if !listed.insert(of) {
            found.warning(&room, "this is listed above already", "list it once");
        }
    }
}

fn peerjs(config: &Config, found: &mut Findings<'_>) {
    for (key, value, most) in
        [("alive_timeout", config.peerjs.alive_timeout, 3600), ("expire_timeout", config.peerjs.expire_timeout, 60)]
    {
        if !(1..=most).contains(&value.as_secs()) {
            found.error(&keys(&["peerjs", key]), "outside of what works", format!("allowed: 1 s to {most} s"));
        }
    }
    if let Err((index, why)) = config.peerjs.check() {
        let (key, help) = match why {
            PeerjsMountError::Path(_) => ("path", "allowed: `/`, `/name` or `/a/b`, of letters, digits, `-`, `_` and `.`"),
            PeerjsMountError::Key(_) | PeerjsMountError::Twice(..) => ("key", "choose another `key`"),
            PeerjsMountError::Room(_) => ("room", "give one of the two a `room` of its own"),
        };
        let path = [keys(&["peerjs"]), item("mount", index, key)].concat();
        found.error(&path, why.to_string(), help);
    }
}

fn rpc(config: &Config, found: &mut Findings<'_>) {
    for (index, service) in config.rpc.service.iter().enumerate() {
        let at = |key| [keys(&["rpc"]), item("service", index, key)].concat();
        if let Err(why) = check_path(&service.path) {
            found.error(
                &at("path"),
                format!("\"{}\" is not a path: {why}", service.path),
                "allowed: account/id, account/*, account/**",
            );
        }
        if let Err(why) = check_target(&service.target) {
            let help = "allowed: http://127.0.0.1:9001, http://[::1]:9001, http://nas.lan/api";
            found.error(&at("target"), format!("\"{}\" is not a target: {why}", service.target), help);
        }
    }
}

fn events(config: &Config, found: &mut Findings<'_>) {
    for fault in crate::event::check::check(&config.events) {
        let mut path = keys(&["events"]);
        match fault.sink {
            Some(index) => path.extend(item("sink", index, fault.key)),
            None => path.extend(keys(&[fault.key])),
        }
        found.add(&path, fault.message, fault.help.into(), fault.warning);
    }
}

fn bridges(config: &Config, found: &mut Findings<'_>) {
    for fault in crate::bridge::config::check(&config.bridge) {
        found.add(&item("bridge", fault.index, fault.key), fault.message, fault.help.into(), fault.warning);
    }
}

fn http(config: &Config, found: &mut Findings<'_>) {
    for (index, origin) in config.http.allowed_origins.iter().enumerate() {
        let authority = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
        let good = origin == "*" || authority.is_some_and(|a| !a.is_empty() && !a.contains(['/', '?', '#', '@', ' ', '*']));
        if !good {
            let path = [keys(&["http", "allowed_origins"]), vec![Step::Item(index)]].concat();
            let help = "allowed: `https://host`, `https://host:port`, without path or slash at the end, or `*`";
            found.error(&path, format!("\"{origin}\" is not an origin"), help);
        }
    }
}

fn media(config: &Config, found: &mut Findings<'_>) {
    for (index, server) in config.media.ice_servers.iter().enumerate() {
        let known =
            ["stun:", "stuns:", "turn:", "turns:"].iter().any(|s| server.strip_prefix(s).is_some_and(|rest| !rest.is_empty()));
        if !known {
            let path = [keys(&["media", "ice_servers"]), vec![Step::Item(index)]].concat();
            found.error(
                &path,
                format!("\"{server}\" is not an ICE server"),
                "allowed: stun:HOST:PORT, turn:HOST:PORT, turns:HOST:PORT",
            );
        }
    }
    if !config.media.ice_interfaces.is_empty() && !config.media.ice_addresses.is_empty() {
        let help = "leave one of them out: `ice_addresses` are offered as they are, those of `ice_interfaces` are followed as they change";
        found.warning(&keys(&["media", "ice_interfaces"]), "`ice_addresses` says already what is offered", help);
    }
    if let Some(index) = config.media.ice_interfaces.iter().position(|pattern| pattern.trim_start_matches('!').trim().is_empty())
    {
        let path = [keys(&["media", "ice_interfaces"]), vec![Step::Item(index)]].concat();
        found.error(&path, "a name is missing", "as in \"eth0\", \"wlan*\" or \"!docker*\"");
    }
    let relays = config.media.ice_servers.iter().any(|server| server.starts_with("turn"));
    match config.media.turn_secret_file.as_deref().map(find_secret) {
        Some(Err(error @ SecretError::NoCredential(_))) => {
            // there only while the service runs: that it is missing now says nothing
            let help = "give it to the service: /etc/credstore/NAME and LoadCredential=NAME:NAME, or write a path";
            found.warning(&keys(&["media", "turn_secret_file"]), error.to_string(), help);
        }
        Some(Err(error)) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let help = "write into it what `static-auth-secret` of the TURN server says";
            found.error(&keys(&["media", "turn_secret_file"]), format!("{error}{cause}"), help);
        }
        Some(Ok(_)) if !relays => {
            let help = "name the relay in `ice_servers`, as in turn:HOST:3478";
            found.warning(&keys(&["media", "turn_secret_file"]), "no TURN server is named", help);
        }
        None if relays => {
            let help = "most refuse clients without: write the secret that it shares with the gateway into `turn_secret_file`";
            found.warning(&keys(&["media", "ice_servers"]), "clients get no credentials for the TURN server", help);
        }
        _ => {}
    }
    let by_udp = |server: &String| server.starts_with("turn:") && !server.contains("transport=tcp");
    let why_none = match config.media.relay {
        RelayUse::All if config.media.ice_lite => Some("none is needed with `ice_lite`: far ends reach the gateway"),
        RelayUse::All if config.media.turn_secret_file.is_none() => {
            Some("a TURN server gives one for its secret: `turn_secret_file`")
        }
        RelayUse::All if !config.media.ice_servers.iter().any(by_udp) => {
            Some("`ice_servers` names no TURN server that UDP leads to")
        }
        _ => None,
    };
    if let Some(why) = why_none {
        found.warning(&keys(&["media", "relay"]), "the gateway gets no relay", why);
    }
    if !(Duration::from_secs(60)..=Duration::from_secs(7 * 86_400)).contains(&config.media.turn_lifetime) {
        let message = "it must be from 1 min to 7 days";
        found.error(&keys(&["media", "turn_lifetime"]), message, "12h is what most need: longer than a visit");
    }
    let audio = config.media.publish_codecs.iter().position(|codec| codec.kind() != MediaKind::Video);
    if let Some(index) = audio {
        let path = [keys(&["media", "publish_codecs"]), vec![Step::Item(index)]].concat();
        found.error(&path, "this list is of video codecs", "Opus is always accepted and need not be listed");
    }
}

fn sources(config: &Config, found: &mut Findings<'_>) {
    let mut names = BTreeSet::new();
    for (index, source) in config.source.iter().enumerate() {
        if !names.insert(source.name.clone()) {
            let message = format!("a source named \"{}\" is already listed above", source.name);
            found.error(&item("source", index, "name"), message, "give each source a name of its own");
        }
        if source.name.as_str().starts_with(RoomConfig::MIX_PREFIX) {
            let message = format!("names that begin with \"{}\" are those of mixed rooms", RoomConfig::MIX_PREFIX);
            found.error(&item("source", index, "name"), message, "give the source another name");
        }
        match &source.kind {
            SourceKind::V4l2(camera) => {
                if let Some((message, help)) = device_fault(&camera.device) {
                    found.error(&item("source", index, "device"), message, help);
                }
            }
            SourceKind::File(file) if !file.path.exists() => {
                let message = format!("there is no file {}", file.path.display());
                found.warning(&item("source", index, "path"), message, "the source starts once the file is there");
            }
            _ => {}
        }
    }
}

/// A camera must be named by something that stays the same over a boot.
fn device_fault(device: &str) -> Option<(String, &'static str)> {
    const ALLOWED: &str = "allowed: a link below /dev/v4l/by-id or /dev/v4l/by-path, name:TEXT, serial:TEXT, or any; \
                           `portico devices` lists them";
    let numbered = device.strip_prefix("/dev/video").unwrap_or(device);
    if !numbered.is_empty() && numbered.bytes().all(|b| b.is_ascii_digit()) {
        return Some((format!("\"{device}\" names a camera by its number, which changes from boot to boot"), ALLOWED));
    }
    let named = ["name:", "serial:"].iter().any(|p| device.strip_prefix(p).is_some_and(|text| !text.trim().is_empty()));
    let good = device == "any" || named || (device.starts_with("/dev/") && device.len() > "/dev/".len());
    (!good).then(|| (format!("\"{device}\" is not a way to name a camera"), ALLOWED))
}

fn rooms(config: &Config, sources_written: &BTreeSet<String>, found: &mut Findings<'_>) {
    let mut names = BTreeSet::new();
    for (index, room) in config.room.iter().enumerate() {
        if !names.insert(room.name.clone()) {
            let message = format!("a room named \"{}\" is already listed above", room.name);
            found.error(&item("room", index, "name"), message, "give each room a name of its own");
        }
        if room.topology == Topology::Mcu && room.mix_source().is_none() {
            let most = RoomConfig::MAX_MIXED_CHARS;
            let message = format!("the name of a mixed room has at most {most} characters");
            found.error(&item("room", index, "name"), message, "give it a shorter name");
        }
        if room.topology != Topology::Mcu && room.mix != MixConfig::default() {
            let help = "set topology = \"mcu\", or leave `mix` out";
            found.warning(&item("room", index, "mix"), "this room is not mixed", help);
        }
        let mut listed = BTreeSet::new();
        for (at, source) in room.sources.iter().enumerate() {
            let path = [item("room", index, "sources"), vec![Step::Item(at)]].concat();
            if !listed.insert(source) {
                found.warning(&path, format!("the source \"{source}\" is already in this room"), "list it once");
            }
            if !sources_written.contains(source.as_str()) {
                let all: Vec<&str> = sources_written.iter().map(String::as_str).collect();
                let help = match all.as_slice() {
                    [] => "no [[source]] is configured".into(),
                    all => format!("configured sources: {}", all.join(", ")),
                };
                found.error(&path, format!("there is no source \"{source}\""), help);
            }
        }
    }
    if config.room.len() > config.rooms.max_rooms {
        let message = format!("{} rooms are listed, more than max_rooms = {}", config.room.len(), config.rooms.max_rooms);
        found.error(&keys(&["rooms", "max_rooms"]), message, "raise max_rooms or list fewer rooms");
    }
    if config.room.is_empty() {
        return;
    }
    for (index, source) in config.source.iter().enumerate() {
        if !config.room.iter().any(|room| room.sources.contains(&source.name)) {
            let message = format!("the source \"{}\" is in no room, so nobody can see it", source.name);
            found.warning(&item("source", index, "name"), message, "add it to the `sources` of a [[room]]");
        }
    }
}
