//! Follows where the gateway is: addresses of the machine as they change, and STUN servers, whose names become addresses here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::bridge::BridgeConfig;
use crate::config::Config;
use crate::ops::net::{self, Changes};
use crate::peer::{RelayUse, Shards};

/// Between questions for the addresses of STUN servers, where all names were found and where one was not.
const ASK: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(30));
/// Between looks at the addresses where the kernel does not tell of changes.
const LOOK: Duration = Duration::from_secs(5);
const STUN_PORT: u16 = 3478;

/// What the configuration says of where the gateway is.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    /// Candidates as configured; empty: those of the machine.
    fixed: Vec<IpAddr>,
    interfaces: Vec<String>,
    /// Hosts and ports of STUN servers.
    stun: Vec<Server>,
    /// The same of TURN servers.
    turn: Vec<Server>,
}

/// Host and port.
type Server = (String, u16);

impl Whereabouts {
    pub(super) fn new(config: &Config) -> Self {
        let media = &config.media;
        // a bridge to another machine meets it at an address that the other can reach
        let stays_here = config.is_local() && !config.bridge.iter().any(BridgeConfig::reaches_out);
        let local = stays_here && media.ice_addresses.is_empty();
        let fixed = if local { vec![[127, 0, 0, 1].into()] } else { media.ice_addresses.clone() };
        // who is reached from this machine alone has no public address
        let stun = media.ice_servers.iter().filter(|_| !stays_here).filter_map(|url| stun_server(url)).collect();
        let relays = media.relay != RelayUse::Off && media.turn_secret_file.is_some() && !stays_here;
        let turn = media.ice_servers.iter().filter(|_| relays).filter_map(|url| turn_server(url)).collect();
        Self { fixed, interfaces: media.ice_interfaces.clone(), stun, turn }
    }

    /// Whether the addresses may become others.
    pub(super) fn changes(&self) -> bool {
        self.fixed.is_empty()
    }

    /// Whether there are STUN servers to ask.
    pub(super) fn asks(&self) -> bool {
        !self.stun.is_empty()
    }

    /// Whether there are TURN servers to ask for relays.
    pub(super) fn relays(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Candidates: what the configuration says; else loopback when only this machine can reach the gateway and no listed bridge leads to
    /// another, else all of the machine.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        if !self.changes() {
            return self.fixed.clone();
        }
        let mut found = net::addresses_of(&self.interfaces);
        if !found.iter().any(|address| net::is_loopback(*address)) {
            // before the network is up there is nothing else
            found.push([127, 0, 0, 1].into());
        }
        found
    }

    /// Tells the shards, until it is stopped.
    pub(super) async fn follow(self, shards: Arc<Shards>, stop: CancellationToken) {
        let moved = Notify::new();
        // names may take long to find, which must not hold up the other
        let both = futures_util::future::join(self.follow_addresses(&shards, &moved), self.follow_servers(&shards, &moved));
        stop.run_until_cancelled(both).await;
    }

    async fn follow_addresses(&self, shards: &Shards, moved: &Notify) {
        if !self.changes() {
            return;
        }
        let mut changes =
            Changes::new().inspect_err(|error| debug!(%error, "changes of addresses are not told: they are looked up")).ok();
        let mut known = self.addresses();
        // between the first look and the first word of the kernel they may have changed
        shards.set_addresses(&known);
        loop {
            let told = match &mut changes {
                Some(changes) => changes.next().await.is_ok(),
                None => false,
            };
            if !told {
                tokio::time::sleep(LOOK).await;
            }
            let now = self.addresses();
            if now != known {
                info!(addresses = ?now, "addresses changed");
            }
            if now != known || told {
                shards.set_addresses(&now);
                known = now;
                // another network may have other name servers
                moved.notify_one();
            }
        }
    }

    async fn follow_servers(&self, shards: &Shards, moved: &Notify) {
        if self.stun.is_empty() && self.turn.is_empty() {
            return;
        }
        let (mut stun, mut turn): (Vec<SocketAddr>, Vec<SocketAddr>) = Default::default();
        loop {
            let pause = tokio::select! {
                found = async { (resolve(&self.stun).await, resolve(&self.turn).await) } => {
                    let ((stuns, all_stuns), (turns, all_turns)) = found;
                    // where a name is not found now, what was known holds
                    if stuns != stun && (all_stuns || !stuns.is_empty()) {
                        debug!(servers = ?stuns, "STUN servers");
                        shards.set_stun_servers(stuns.clone());
                        stun = stuns;
                    }
                    if turns != turn && (all_turns || !turns.is_empty()) {
                        debug!(servers = ?turns, "TURN servers");
                        shards.set_turn_servers(turns.clone());
                        turn = turns;
                    }
                    if all_stuns && all_turns { ASK.0 } else { ASK.1 }
                }
                // asked of a network that is gone
                () = moved.notified() => continue,
            };
            // it is as well to be asked early
            let _ = tokio::time::timeout(pause, moved.notified()).await;
        }
    }
}

/// Host and port of `stun:HOST[:PORT]`; `None` of other servers.
fn stun_server(url: &str) -> Option<Server> {
    host_and_port(url.strip_prefix("stun:")?.split('?').next()?)
}

/// The same of `turn:HOST[:PORT]`, where it is reached by UDP.
fn turn_server(url: &str) -> Option<Server> {
    let (server, query) = url.strip_prefix("turn:").map(|rest| rest.split_once('?').unwrap_or((rest, "")))?;
    let other = query.split('&').any(|word| word.strip_prefix("transport=").is_some_and(|by| !by.eq_ignore_ascii_case("udp")));
    host_and_port(server).filter(|_| !other)
}

fn host_and_port(server: &str) -> Option<Server> {
    let bracketed = server.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(STUN_PORT), str::parse).ok()?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Their addresses, and whether all were found.
async fn resolve(servers: &[Server]) -> (Vec<SocketAddr>, bool) {
    let (mut found, mut all) = (Vec::new(), true);
    for (host, port) in servers {
        match tokio::net::lookup_host((host.as_str(), *port)).await {
            Ok(addresses) => {
                let addresses: Vec<SocketAddr> = addresses.collect();
                // one of each family: more would say the same
                let one = |family: fn(&SocketAddr) -> bool| addresses.iter().copied().find(family);
                found.extend(one(SocketAddr::is_ipv4).into_iter().chain(one(SocketAddr::is_ipv6)));
            }
            Err(error) => {
                debug!(%host, %error, "STUN or TURN server not found");
                all = false;
            }
        }
    }
    (found, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_servers_are_told_from_others() {
        let found = |url: &str| stun_server(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(found("stun:stun.example.net").as_deref(), Some("stun.example.net 3478"));
        assert_eq!(found("stun:198.51.100.1:19302").as_deref(), Some("198.51.100.1 19302"));
        assert_eq!(found("stun:[2001:db8::1]:3479").as_deref(), Some("2001:db8::1 3479"));
        assert_eq!(found("stun:[2001:db8::1]").as_deref(), Some("2001:db8::1 3478"));
        for other in ["turn:turn.example.net:3478", "stun:", "stun:host:port", "stuns:host"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn turn_servers_are_taken_where_udp_leads_to_them() {
        let found = |url: &str| turn_server(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(found("turn:turn.example.net").as_deref(), Some("turn.example.net 3478"));
        assert_eq!(found("turn:198.51.100.1:80?transport=udp").as_deref(), Some("198.51.100.1 80"));
        assert_eq!(found("turn:[2001:db8::1]:3479").as_deref(), Some("2001:db8::1 3479"));
        for other in ["turn:host?transport=tcp", "turns:host", "stun:host", "turn:?transport=udp"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn relays_are_asked_for_where_there_is_a_secret_and_nobody_said_no() {
        let mut config = Config::default();
        config.http.listen = "0.0.0.0:8780".parse().unwrap();
        config.media.ice_servers = vec!["stun:stun.example.net".into(), "turn:turn.example.net".into()];
        assert!(!Whereabouts::new(&config).relays());
        config.media.turn_secret_file = Some("/etc/portico/turn-secret".into());
        assert!(Whereabouts::new(&config).relays());
        config.media.relay = RelayUse::Off;
        assert!(!Whereabouts::new(&config).relays());
    }

    #[test]
    fn a_gateway_of_this_machine_alone_asks_nobody() {
        let mut config = Config::default();
        config.media.ice_servers = vec!["stun:stun.example.net".into(), "turn:turn.example.net".into()];
        config.http.listen = "127.0.0.1:8780".parse().unwrap();
        let local = Whereabouts::new(&config);
        assert!(local.stun.is_empty() && !local.changes());
        assert_eq!(local.addresses(), [IpAddr::from([127, 0, 0, 1])]);
        config.http.listen = "0.0.0.0:8780".parse().unwrap();
        let open = Whereabouts::new(&config);
        assert_eq!((open.stun.len(), open.changes()), (1, true));
        config.media.ice_addresses = vec![[10, 0, 0, 2].into()];
        assert!(!Whereabouts::new(&config).changes());
    }
}
