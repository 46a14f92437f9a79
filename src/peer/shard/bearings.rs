//! Where the gateway is: the first shard learns it, and tells the others.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::mpsc;

use super::Shard;
use crate::peer::mailbox::Order;
use crate::peer::reach::{self, Reach};
use crate::peer::reflexive::{Change, Reflexive};
use crate::peer::relay::{Relay, RelayAccess};
use crate::peer::{External, NamedCandidate};
use crate::vocab::PeerId;

/// What the first shard knows of where the gateway is.
#[derive(Debug, Default)]
pub(in crate::peer) struct Bearings {
    pub(super) external: Vec<External>,
    reflexive: Reflexive,
    /// Said once: far ends need a relay.
    warned: bool,
    /// Of every shard: whom peers with ports of their own ask.
    pub(super) servers: Vec<SocketAddr>,
    /// They are not known yet.
    pub(super) awaits_servers: bool,
    /// Of every shard: how relays are got, and from whom.
    pub(super) access: Option<RelayAccess>,
    pub(super) relay_servers: Vec<SocketAddr>,
    /// They are not known yet.
    pub(super) awaits_relays: bool,
    /// The relay of all who have no port of their own.
    pub(super) relay: Option<Relay>,
    /// Of every shard: who looks up names.
    names: Option<mpsc::Sender<NamedCandidate>>,
}

impl Bearings {
    pub(in crate::peer) fn new(
        external: Vec<External>,
        names: Option<mpsc::Sender<NamedCandidate>>,
        asks: bool,
        access: Option<RelayAccess>,
    ) -> Self {
        Self { external, names, awaits_servers: asks, awaits_relays: access.is_some(), access, ..Self::default() }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let relay = self.relay.as_ref().and_then(Relay::next_timeout);
        self.reflexive.next_timeout().into_iter().chain(relay).min()
    }

    /// Takes a datagram of no peer; `None` when it is not for this either.
    pub(super) fn datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Option<Change> {
        self.reflexive.datagram(now, local, from, datagram)
    }

    fn reach(&self, before: &Reach, hosts: Option<Vec<SocketAddr>>) -> Reach {
        let hosts = hosts.map_or_else(|| before.hosts.clone(), Into::into);
        let mut public = reach::configured(&self.external, &hosts);
        for seen in self.reflexive.public() {
            if !public.iter().any(|public| public.address == seen.address) {
                public.push(seen);
            }
        }
        let relays = self.relay.as_ref().and_then(Relay::relayed).into_iter().collect();
        Reach { hosts, public: public.into(), relays, ..before.clone() }
    }
}

impl Shard {
    /// The machine has other addresses, or other routes.
    pub(super) fn move_to(&mut self, now: Instant, hosts: Vec<SocketAddr>) {
        self.bearings.reflexive.ask_again(now);
        self.doubt_relays(now, &hosts);
        let reach = self.bearings.reach(&self.identity.reach, Some(hosts));
        self.spread(now, &reach, true);
    }

    pub(super) fn ask_servers(&mut self, now: Instant, servers: Vec<SocketAddr>) {
        let usable: Vec<SocketAddr> =
            servers.into_iter().filter(|server| self.sockets.shared().iter().any(|port| port.leads_to(*server))).collect();
        self.bearings.servers.clone_from(&usable);
        self.bearings.awaits_servers = false;
        self.apart.values_mut().for_each(|apart| apart.ask(now, &usable));
        if self.index != 0 {
            return;
        }
        let change = self.bearings.reflexive.set_servers(now, &usable);
        self.follow(now, change);
    }

    /// Sends the requests to STUN servers that are due.
    pub(super) fn ask_outside(&mut self, now: Instant) {
        self.tend_relay_of_all(now);
        if self.bearings.reflexive.next_timeout().is_none_or(|due| due > now) {
            return;
        }
        let (change, requests) = self.bearings.reflexive.timeout(now, rand::random);
        for (server, request) in requests {
            let port = self.sockets.shared().iter().find(|port| port.leads_to(server));
            // without a route to it nothing leaves, and it is asked again
            if let Some(Err(error)) = port.map(|port| port.ask(server, &request)) {
                tracing::debug!(%server, %error, "STUN server not asked");
            }
        }
        self.follow(now, change);
    }

    /// Has the names looked up that stand in a peer's candidates for addresses.
    pub(super) fn look_up_names(&mut self, peer: PeerId) {
        let Some(slot) = self.peers.get_mut(&peer) else { return };
        for candidate in slot.connection.take_names() {
            // one too many is left out: the far end's own checks come without it
            let _ = self.bearings.names.as_ref().map(|names| names.try_send(NamedCandidate { peer, candidate }));
        }
    }

    pub(super) fn follow(&mut self, now: Instant, change: Change) {
        if change == Change::None {
            return;
        }
        if self.bearings.reflexive.is_symmetric() && !std::mem::replace(&mut self.bearings.warned, true) {
            tracing::warn!(
                "the router gives every far end another port: from outside the gateway is reached by a relay alone (media.ice_servers, \
                 turn:), or by a port that the router forwards (media.ice_external_addresses)"
            );
        }
        self.tell_where(now);
    }

    /// Something of where the gateway is has changed, besides the machine's addresses.
    pub(super) fn tell_where(&mut self, now: Instant) {
        let reach = self.bearings.reach(&self.identity.reach, None);
        self.spread(now, &reach, false);
    }

    fn spread(&mut self, now: Instant, reach: &Reach, doubt: bool) {
        for door in self.common.doors.iter().skip(1) {
            door.mailbox.send(Order::Reach { reach: reach.clone(), doubt });
        }
        self.is_at(now, reach, doubt);
    }

    /// Far ends are told this from now on. Peers whose own address is gone look for another way; with `doubt` all do.
    pub(super) fn is_at(&mut self, now: Instant, reach: &Reach, doubt: bool) {
        if doubt && self.index != 0 {
            self.doubt_relays(now, &reach.hosts);
        }
        self.identity.reach = reach.clone();
        let Self { peers, apart, sockets, bearings, touched, .. } = self;
        for (peer, slot) in peers {
            match apart.get(peer) {
                Some(apart) => slot.connection.relocate(now, &apart.reach(*peer, reach, sockets, &bearings.external), doubt),
                None => slot.connection.relocate(now, reach, doubt),
            }
            touched.push(*peer);
        }
    }
}
