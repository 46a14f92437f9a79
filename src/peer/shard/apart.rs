//! Peers with a UDP port of their own.
//!
//! A far end that is a server has one port for all, as Portico has. Two connections between the same two ports could not be told apart, so
//! where Portico goes to a server it goes from another port each time. Such a peer's datagrams need no look at whose they are, only
//! whether they are the far end's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::inputs::{DTLS_PER_TURN, READS_PER_TURN};
use super::{PeerEvent, PeerSpec, Shard};
use crate::peer::External;
use crate::peer::demux::{Demux, Wire, classify};
use crate::peer::reach::{self, Public, Reach};
use crate::peer::reflexive::Reflexive;
use crate::peer::relay::{Incoming, Relay};
use crate::peer::socket::{Inbox, Port, Sockets};
use crate::room::EndReason;
use crate::vocab::PeerId;

/// A description waits so long for the public address of its port: for the answer to a second request, of a slow line.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// The same for a relay, which takes two answers.
const RELAY_LIMIT: Duration = Duration::from_secs(2);

/// What a shard knows of such a peer besides its connection.
pub(super) struct Apart {
    /// Where the far end is known to be.
    addresses: Demux,
    /// Of its port.
    public: Vec<Public>,
    /// At a TURN server, in case no other way leads to the far end.
    pub(super) relay: Option<Relay>,
    /// Its address, as far as the connection was told.
    pub(super) relayed: Option<SocketAddr>,
    /// When it is looked whether the relay is needed.
    pub(super) settled: Option<Instant>,
    /// The connection has not begun.
    opening: Option<Opening>,
}

/// It is being asked what the port looks like from outside.
struct Opening {
    spec: Box<PeerSpec>,
    reflexive: Reflexive,
    until: Instant,
    /// The same for the relay.
    relay_until: Instant,
}

impl Apart {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let opening = self.opening.as_ref().map(|Opening { reflexive, until, relay_until, .. }| {
            let until = if reflexive.is_answered() { *relay_until } else { *until };
            reflexive.next_timeout().map_or(until, |next| next.min(until))
        });
        let relay = self.relay.as_ref().and_then(Relay::next_timeout);
        [opening, relay, self.settled].into_iter().flatten().min()
    }

    /// Entries of its relay.
    pub(super) fn relayed_entries(&self) -> usize {
        self.relay.as_ref().map_or(0, Relay::entries)
    }

    /// These servers are to be asked what the port looks like.
    pub(super) fn ask(&mut self, now: Instant, servers: &[SocketAddr]) {
        if let Some(opening) = &mut self.opening {
            opening.reflexive.set_servers(now, servers);
        }
    }

    /// Where this peer is told to find the gateway. A port that a router forwards is another one.
    pub(super) fn reach(&self, peer: PeerId, of_all: &Reach, sockets: &Sockets, external: &[External]) -> Reach {
        let hosts: Vec<SocketAddr> = of_all.hosts.iter().filter_map(|host| sockets.own_address(peer, *host)).collect();
        let whole: Vec<External> = external.iter().copied().filter(|external| external.port.is_none()).collect();
        let mut public = reach::configured(&whole, &hosts);
        for seen in &self.public {
            if !public.iter().any(|public| public.address == seen.address) {
                public.push(*seen);
            }
        }
        let relays = self.relay.as_ref().and_then(Relay::relayed).into_iter().collect();
        Reach { hosts: hosts.into(), public: public.into(), relays, ..of_all.clone() }
    }
}

impl Shard {
    /// Opens a peer with a port of its own, as soon as it is known how that looks from outside.
    pub(super) fn open_apart(&mut self, now: Instant, spec: Box<PeerSpec>) {
        let peer = spec.peer;
        if let Err(error) = self.sockets.open(peer) {
            tracing::error!(%peer, %error, "no UDP port for a connection of its own");
            self.common.placement().leave(peer);
            self.tell(PeerEvent::Down { peer, reason: EndReason::Internal });
            return;
        }
        let mut reflexive = Reflexive::default();
        reflexive.set_servers(now, &self.bearings.servers);
        let relay = self.relay_apart(now);
        let opening = Opening { spec, reflexive, until: now + ANSWER_LIMIT, relay_until: now + RELAY_LIMIT };
        let (addresses, public) = (Demux::default(), Vec::new());
        self.apart.insert(peer, Apart { addresses, public, relay, relayed: None, settled: None, opening: Some(opening) });
        self.tend_apart(now);
    }

    /// Asks what is to be asked, and opens those that have waited long enough.
    pub(super) fn tend_apart(&mut self, now: Instant) {
        self.tend_relays_apart(now);
        let mut ready = Vec::new();
        let (awaits_servers, awaits_relays) = (self.bearings.awaits_servers, self.bearings.awaits_relays);
        for (peer, apart) in &mut self.apart {
            let Some(opening) = &mut apart.opening else { continue };
            for (server, request) in opening.reflexive.timeout(now, rand::random).1 {
                let port = self.sockets.own().find(|(of, port)| of == peer && port.leads_to(server));
                if let Some(Err(error)) = port.map(|(_, port)| port.ask(server, &request)) {
                    tracing::debug!(%server, %error, "STUN server not asked");
                }
            }
            let seen = (!awaits_servers && opening.reflexive.is_answered()) || opening.until <= now;
            let relay = apart.relay.as_ref().is_some_and(|relay| awaits_relays || relay.is_asking(now));
            if seen && (!relay || opening.relay_until <= now) {
                apart.public = opening.reflexive.public();
                ready.extend(apart.opening.take().map(|opening| opening.spec));
            }
        }
        for spec in ready {
            let peer = spec.peer;
            let mut identity = self.identity.clone();
            if let Some(apart) = self.apart.get(&peer) {
                identity.reach = apart.reach(peer, &self.identity.reach, &self.sockets, &self.bearings.external);
            }
            self.open(now, *spec, &identity);
        }
    }

    /// Reads the sockets of such peers, up to a limit. Returns whether there may be more.
    pub(super) fn take_apart(&mut self, now: Instant, inbox: &mut Inbox) -> bool {
        let Self { sockets, apart, peers, touched, unknown, .. } = self;
        let mut more = false;
        for (peer, port) in sockets.own() {
            let Some(apart) = apart.get_mut(&peer) else { continue };
            more |= read(port, inbox, |local, from, datagram| {
                let (local, from, datagram) = match apart.relay.as_mut().and_then(|it| it.datagram(now, local, from, datagram)) {
                    None => (local, from, datagram),
                    Some(Incoming::Relayed { local, from, datagram }) => (local, from, datagram),
                    // what comes of it is seen to in this turn
                    Some(Incoming::Own) => return,
                };
                if let Some(opening) = &mut apart.opening {
                    // what comes of it is asked for in this turn
                    opening.reflexive.datagram(now, local, from, datagram);
                    return;
                }
                let Some(slot) = peers.get_mut(&peer) else { return };
                apart.addresses.insert(peer, slot.connection.ufrag());
                let known = apart.addresses.route(from, datagram).is_some();
                // a far end that is lite never checks, it only answers
                if !known && !slot.connection.is_answered_by(datagram) {
                    *unknown += 1;
                    return;
                }
                apart.addresses.learn(peer, from);
                touched.note(peer, slot.connection.datagram(now, local, from, datagram));
            });
        }
        more
    }

    /// A peer's own sockets are closed.
    pub(super) fn part(&mut self, peer: PeerId) {
        if let Some(apart) = self.apart.remove(&peer) {
            self.leave_relay(Some(peer), apart.relay);
            self.sockets.close(peer);
        }
    }
}

fn read(port: &Port, inbox: &mut Inbox, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) -> bool {
    let mut data = 0;
    (0..READS_PER_TURN).all(|_| {
        let full = inbox.read(port, |local, from, datagram| {
            data += usize::from(classify(datagram) == Wire::Dtls);
            each(local, from, datagram);
        });
        full && data < DTLS_PER_TURN
    })
}
