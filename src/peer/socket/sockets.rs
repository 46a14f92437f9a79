//! The UDP sockets that a shard sends by: those of all peers, and those of peers that have their own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Port;
use crate::peer::relay::Outlet;
use crate::vocab::PeerId;

/// Shared sockets first, in all shards the same.
#[derive(Default)]
pub(in crate::peer) struct Sockets {
    shared: Arc<[Port]>,
    own: Vec<(PeerId, Port)>,
    /// Relayed addresses: that of all peers, and those of peers that have their own.
    outlets: Vec<(Option<PeerId>, Arc<Outlet>)>,
}

impl Sockets {
    pub(in crate::peer) fn new(shared: Arc<[Port]>) -> Self {
        Self { shared, own: Vec::new(), outlets: Vec::new() }
    }

    /// Those of all peers.
    pub(in crate::peer) fn shared(&self) -> &[Port] {
        &self.shared
    }

    /// Those of peers that have their own.
    pub(in crate::peer) fn own(&self) -> impl Iterator<Item = (PeerId, &Port)> {
        self.own.iter().map(|(peer, port)| (*peer, port))
    }

    /// Gives a peer ports of its own, bound as the shared ones are.
    pub(in crate::peer) fn open(&mut self, peer: PeerId) -> io::Result<()> {
        let bind = |port: &Port| Ok((peer, Port::bind(SocketAddr::new(port.bound.ip(), 0))?));
        let ports: io::Result<Vec<_>> = self.shared.iter().map(bind).collect();
        self.own.extend(ports?);
        Ok(())
    }

    pub(in crate::peer) fn close(&mut self, peer: PeerId) {
        self.own.retain(|(of, _)| *of != peer);
        self.set_outlet(Some(peer), None);
    }

    /// How datagrams leave from a peer's relayed address from now on, or from that of all.
    pub(in crate::peer) fn set_outlet(&mut self, of: Option<PeerId>, outlet: Option<Arc<Outlet>>) {
        self.outlets.retain(|(its, _)| *its != of);
        self.outlets.extend(outlet.map(|outlet| (of, outlet)));
    }

    /// Whether datagrams may have to go by a relay.
    pub(super) fn have_outlets(&self) -> bool {
        !self.outlets.is_empty()
    }

    /// The relay that an address is of.
    pub(super) fn outlet(&self, peer: PeerId, local: SocketAddr) -> Option<&Outlet> {
        let its = |(of, outlet): &&(Option<PeerId>, Arc<Outlet>)| outlet.relayed == local && of.is_none_or(|of| of == peer);
        self.outlets.iter().find(its).map(|(_, outlet)| &**outlet)
    }

    /// A peer's own address at an address of the machine.
    pub(in crate::peer) fn own_address(&self, peer: PeerId, host: SocketAddr) -> Option<SocketAddr> {
        let port = self.own().find(|(of, port)| *of == peer && port.has(host.ip()))?.1;
        Some(SocketAddr::new(host.ip(), port.bound.port()))
    }

    /// One by its number, which holds until the next [`Self::close`].
    pub(super) fn get(&self, at: usize) -> Option<&Port> {
        let own = || self.own.get(at.checked_sub(self.shared.len())?).map(|(_, port)| port);
        self.shared.get(at).or_else(own)
    }

    /// The first that fits, with its number.
    pub(super) fn find(&self, fits: impl Fn(&Port) -> bool) -> Option<(usize, &Port)> {
        self.shared.iter().chain(self.own.iter().map(|(_, port)| port)).enumerate().find(|(_, port)| fits(port))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::peer::socket;

    #[test]
    fn a_peer_has_a_port_of_its_own_until_it_is_closed() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (ports, addresses) = socket::bind(&[loopback], 0, false).unwrap();
        let mut sockets = Sockets::new(ports.into());
        let [one, other] = std::array::from_fn(|_| PeerId::next());
        sockets.open(one).unwrap();
        sockets.open(other).unwrap();
        let own = [one, other].map(|peer| sockets.own_address(peer, addresses[0]).unwrap());
        assert!(own[0] != own[1] && !own.contains(&addresses[0]) && own.iter().all(|own| own.ip() == loopback));
        let find = |sockets: &Sockets, local: SocketAddr| sockets.find(|port| port.serves(local)).map(|(at, _)| at);
        assert_eq!([addresses[0], own[0], own[1]].map(|local| find(&sockets, local)), [Some(0), Some(1), Some(2)]);
        assert_eq!(sockets.get(2).map(|port| port.bound), Some(own[1]));
        assert_eq!(sockets.own_address(one, "[::1]:1".parse().unwrap()), None);
        sockets.close(one);
        assert_eq!([own[0], own[1]].map(|local| find(&sockets, local)), [None, Some(1)]);
        assert!(sockets.get(2).is_none() && sockets.own_address(one, addresses[0]).is_none());
    }
}
