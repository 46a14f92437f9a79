//! Relays at TURN servers: one for all peers of the port of all, where the configuration wants that, and one for each peer that has a port
//! of its own until another way is found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Shard;
use super::apart::Apart;
use crate::peer::mailbox::Order;
use crate::peer::relay::{Outlet, Relay};
use crate::peer::shards::Common;
use crate::peer::socket::Sockets;
use crate::vocab::PeerId;

/// A connection may go over to a better way so long after it was made. Then a relay that nothing goes by is given back.
const SETTLING: Duration = Duration::from_secs(5);

/// What changed of a relay.
struct Tended {
    /// How datagrams leave from there, where that is another way.
    outlet: Option<Option<Arc<Outlet>>>,
    /// It has another address, or none any more.
    moved: bool,
}

/// Sends the requests that are due. `relayed` is its address, as far as others were told.
fn tend(
    now: Instant,
    relay: &mut Relay,
    relayed: Option<SocketAddr>,
    of: Option<PeerId>,
    sockets: &Sockets,
    common: &Common,
) -> Option<Tended> {
    relay.next_timeout().filter(|due| *due <= now)?;
    for request in relay.timeout(now, SystemTime::now(), rand::random) {
        send(relay, of, sockets, &request);
    }
    if let Some(verdict) = relay.take_verdict() {
        common.relays().note(verdict);
    }
    let outlet = relay.take_outlet().map(|outlet| outlet.map(Arc::new));
    let moved = relayed != relay.relayed();
    if moved {
        common.relays().count(relayed.is_some(), relay.relayed().is_some());
    }
    Some(Tended { outlet, moved })
}

fn send(relay: &Relay, of: Option<PeerId>, sockets: &Sockets, request: &[u8]) {
    let Some(server) = relay.server() else { return };
    let port = match of {
        Some(of) => sockets.own().find(|(peer, port)| *peer == of && port.leads_to(server)).map(|(_, port)| port),
        None => sockets.shared().iter().find(|port| port.leads_to(server)),
    };
    // without a route to it nothing leaves, and it is asked again
    if let Some(Err(error)) = port.map(|port| port.ask(server, request)) {
        tracing::debug!(%server, %error, "TURN server not asked");
    }
}

impl Shard {
    pub(super) fn ask_for_relays(&mut self, now: Instant, servers: Vec<SocketAddr>) {
        let leads = |server: &SocketAddr| self.sockets.shared().iter().any(|port| port.leads_to(*server));
        let usable: Vec<SocketAddr> = servers.into_iter().filter(leads).collect();
        self.bearings.awaits_relays = false;
        self.apart.values_mut().filter_map(|apart| apart.relay.as_mut()).for_each(|relay| relay.set_servers(now, &usable));
        if self.index == 0
            && let Some(access) = self.bearings.access.as_ref().filter(|access| access.for_all)
        {
            let relay = self.bearings.relay.get_or_insert_with(|| Relay::new(now, access.mint.clone()));
            relay.want(now, true);
            relay.set_servers(now, &usable);
        }
        self.bearings.relay_servers = usable;
    }

    /// One for a peer with a port of its own.
    pub(super) fn relay_apart(&self, now: Instant) -> Option<Relay> {
        let mut relay = Relay::new(now, self.bearings.access.as_ref()?.mint.clone());
        relay.set_servers(now, &self.bearings.relay_servers);
        relay.want(now, true);
        Some(relay)
    }

    pub(super) fn tend_relay_of_all(&mut self, now: Instant) {
        let relayed = self.identity.reach.relays.first().copied();
        let Some(relay) = &mut self.bearings.relay else { return };
        let Some(Tended { outlet, moved }) = tend(now, relay, relayed, None, &self.sockets, &self.common) else { return };
        if let Some(outlet) = outlet {
            for door in self.common.doors.iter().skip(1) {
                door.mailbox.send(Order::Outlet(outlet.clone()));
            }
            self.sockets.set_outlet(None, outlet);
        }
        if moved {
            self.tell_where(now);
        }
    }

    pub(super) fn tend_relays_apart(&mut self, now: Instant) {
        let Self { apart, peers, sockets, common, identity, bearings, touched, .. } = self;
        for (peer, apart) in apart {
            let slot = peers.get_mut(peer);
            if apart.settled.is_some_and(|settled| settled <= now) {
                apart.settled = None;
                let way = slot.as_ref().and_then(|slot| slot.connection.goes_from());
                let direct = way.is_some_and(|way| sockets.own_address(*peer, way) == Some(way));
                if let Some(relay) = apart.relay.as_mut().filter(|_| direct) {
                    relay.want(now, false);
                }
            }
            let Some(relay) = &mut apart.relay else { continue };
            let tended = tend(now, relay, apart.relayed, Some(*peer), sockets, common);
            let Some(Tended { outlet, moved }) = tended else { continue };
            if let Some(outlet) = outlet {
                sockets.set_outlet(Some(*peer), outlet);
            }
            if moved {
                apart.relayed = relay.relayed();
                if let Some(slot) = slot {
                    let reach = apart.reach(*peer, &identity.reach, sockets, &bearings.external);
                    slot.connection.relocate(now, &reach, false);
                    touched.push(*peer);
                }
            }
        }
    }

    /// A peer is connected.
    pub(super) fn settle_relay(&mut self, now: Instant, peer: PeerId) {
        if let Some(apart) = self.apart.get_mut(&peer) {
            apart.settled = Some(now + SETTLING);
        }
    }

    /// The machine's addresses or routes changed: ways that were good may be so no more.
    pub(super) fn doubt_relays(&mut self, now: Instant, hosts: &[SocketAddr]) {
        let known = Arc::clone(&self.identity.reach.hosts);
        let has = |hosts: &[SocketAddr], ip| hosts.iter().any(|host| host.ip() == ip);
        // one that was never offered, as where interfaces are chosen, is as good as it was
        let is_gone = |ip| has(&known, ip) && !has(hosts, ip);
        for Apart { relay, settled, .. } in self.apart.values_mut() {
            if let Some(relay) = relay {
                relay.want(now, true);
                relay.moved(now, is_gone);
                *settled = Some(now + SETTLING);
            }
        }
        if let Some(relay) = &mut self.bearings.relay {
            relay.moved(now, is_gone);
        }
    }

    /// A peer's datagrams leave from a relayed address to one that no channel leads to.
    pub(super) fn bind(&mut self, now: Instant, peer: PeerId, to: SocketAddr) {
        if let Some(apart) = self.apart.get_mut(&peer) {
            if let Some(relay) = &mut apart.relay {
                relay.bind(now, peer, to);
            }
        } else if self.index != 0 {
            self.common.doors[0].mailbox.send(Order::Bind { peer, to });
        } else if let Some(relay) = &mut self.bearings.relay {
            relay.bind(now, peer, to);
        }
    }

    /// The server need not keep it.
    pub(super) fn leave_relay(&mut self, of: Option<PeerId>, relay: Option<Relay>) {
        let Some(relay) = relay else { return };
        self.common.relays().count(relay.relayed().is_some(), false);
        if let Some(goodbye) = relay.goodbye(rand::random()) {
            send(&relay, of, &self.sockets, &goodbye);
        }
    }

    /// The same at the end.
    pub(super) fn leave_relays(&mut self) {
        let relay = self.bearings.relay.take();
        self.leave_relay(None, relay);
    }
}
