//! PURE. Whose datagram is it? By address once the address is known, else by the ICE user fragment of a STUN request.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::vocab::PeerId;

/// What a datagram is by its first byte (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Stun,
    Dtls,
    Rtp,
    Other,
}

/// Tells datagrams apart.
pub(super) fn classify(datagram: &[u8]) -> Wire {
    match datagram.first() {
        Some(0..=3) => Wire::Stun,
        Some(20..=63) => Wire::Dtls,
        Some(128..=191) => Wire::Rtp,
        _ => Wire::Other,
    }
}

/// Whether it is a packet of media: RTP, and not the RTCP beside it, whose types are 192 to 223 (RFC 5761 §4).
pub(super) fn is_media(datagram: &[u8]) -> bool {
    classify(datagram) == Wire::Rtp && datagram.get(1).is_some_and(|second| !(192..=223).contains(second))
}

/// The receiver's user fragment in a STUN binding request: what stands before the colon of USERNAME (RFC 8445 §7.2.2).
pub(super) fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
    const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    const USERNAME: u16 = 0x0006;
    if datagram.get(..2)? != BINDING_REQUEST || datagram.get(4..8)? != MAGIC_COOKIE {
        return None;
    }
    let mut rest = datagram.get(20..)?;
    loop {
        let (kind, len) =
            (u16::from_be_bytes([*rest.first()?, *rest.get(1)?]), u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let value = rest.get(4..4 + usize::from(len))?;
        if kind == USERNAME {
            return std::str::from_utf8(value).ok()?.split(':').next().filter(|ufrag| !ufrag.is_empty());
        }
        // attributes are padded to four bytes (RFC 8489 §14)
        rest = rest.get(4 + usize::from(len).next_multiple_of(4)..)?;
    }
}

/// Most addresses one peer may be reached at; a far end has a few interfaces, an attacker who knows a user fragment has many.
const ADDRESSES_PER_PEER: usize = 16;
/// User fragments of a peer: the present one and, from an ICE restart until the far end names the new one, the one before.
const UFRAGS_PER_PEER: usize = 2;

/// The map from datagrams to peers.
#[derive(Debug, Default)]
pub(super) struct Demux {
    by_address: HashMap<SocketAddr, PeerId>,
    by_ufrag: HashMap<String, PeerId>,
    peers: HashMap<PeerId, Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    addresses: Vec<SocketAddr>,
    ufrags: Vec<String>,
}

impl Demux {
    /// Makes a peer known by its local user fragment; repeated with another one at an ICE restart.
    pub(super) fn insert(&mut self, peer: PeerId, ufrag: &str) {
        let keys = self.peers.entry(peer).or_default();
        if keys.ufrags.iter().any(|known| known == ufrag) {
            return;
        }
        if keys.ufrags.len() == UFRAGS_PER_PEER {
            self.by_ufrag.remove(&keys.ufrags.remove(0));
        }
        keys.ufrags.push(ufrag.into());
        self.by_ufrag.insert(ufrag.into(), peer);
    }

    /// Forgets a peer.
    pub(super) fn remove(&mut self, peer: PeerId) {
        let Some(keys) = self.peers.remove(&peer) else { return };
        for address in keys.addresses {
            if self.by_address.get(&address) == Some(&peer) {
                self.by_address.remove(&address);
            }
        }
        for ufrag in keys.ufrags {
            self.by_ufrag.remove(&ufrag);
        }
    }

    /// Whose datagram this is. A request that names a peer's user fragment also teaches its address, and moves an address
    /// from one peer to another: far ends behind one address reuse ports.
    pub(super) fn route(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<PeerId> {
        let known = self.by_address.get(&from).copied();
        let named = match classify(datagram) {
            Wire::Stun => local_ufrag(datagram).and_then(|ufrag| self.named(ufrag)),
            _ => None,
        };
        let Some(peer) = named.filter(|peer| Some(*peer) != known) else { return known };
        self.learn(peer, from);
        Some(peer)
    }

    /// An address is a peer's, and nobody else's.
    pub(super) fn learn(&mut self, peer: PeerId, from: SocketAddr) {
        let known = self.by_address.get(&from).copied();
        if known == Some(peer) {
            return;
        }
        if let Some(old) = known.and_then(|old| self.peers.get_mut(&old)) {
            old.addresses.retain(|address| *address != from);
        }
        if let Some(keys) = self.peers.get_mut(&peer) {
            if keys.addresses.len() == ADDRESSES_PER_PEER {
                self.by_address.remove(&keys.addresses.remove(0));
            }
            keys.addresses.push(from);
            self.by_address.insert(from, peer);
        }
    }

    /// Whether an address is known to be a peer's.
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// The peer of a user fragment. With its newest one named it needs no other any more.
    pub(super) fn named(&mut self, ufrag: &str) -> Option<PeerId> {
        let peer = *self.by_ufrag.get(ufrag)?;
        let ufrags = &mut self.peers.get_mut(&peer)?.ufrags;
        if ufrags.len() > 1 && ufrags.last().is_some_and(|newest| newest == ufrag) {
            for old in ufrags.drain(..ufrags.len() - 1) {
                self.by_ufrag.remove(&old);
            }
        }
        Some(peer)
    }

    /// Whether it knows so many peers, and no more of each than it may.
    pub(super) fn is_of(&self, peers: usize) -> bool {
        self.peers.len() == peers
            && self.by_ufrag.len() <= peers * UFRAGS_PER_PEER
            && self.by_address.len() <= peers * ADDRESSES_PER_PEER
    }

    /// Entries of all maps; 0 when no peer is left.
    pub(super) fn entries(&self) -> usize {
        self.by_address.len() + self.by_ufrag.len() + self.peers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(username: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend([7; 12]);
        // an attribute before it, of a length that needs padding
        bytes.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        bytes.extend([0, 6]);
        bytes.extend((username.len() as u16).to_be_bytes());
        bytes.extend(username.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_local_fragment_stands_before_the_colon() {
        assert_eq!(local_ufrag(&request("ours:theirs")), Some("ours"));
        assert_eq!(local_ufrag(&request(":theirs")), None);
        assert_eq!(local_ufrag(&request("ours:theirs")[..30]), None);
    }

    #[test]
    fn an_address_is_learnt_from_a_request_and_forgotten_with_its_peer() {
        let (mut demux, peer) = (Demux::default(), PeerId(1));
        demux.insert(peer, "abcd");
        assert_eq!(demux.route(address(1), &[22, 1]), None);
        assert_eq!(demux.route(address(1), &request("abcd:x")), Some(peer));
        assert_eq!(demux.route(address(1), &[22, 1]), Some(peer));
        assert_eq!(demux.route(address(2), &request("other:x")), None);
        demux.remove(peer);
        assert_eq!(demux.entries(), 0);
    }

    #[test]
    fn a_restart_keeps_the_old_fragment_until_the_new_one_is_named() {
        let (mut demux, peer) = (Demux::default(), PeerId(1));
        demux.insert(peer, "first");
        demux.insert(peer, "second");
        assert_eq!(demux.route(address(1), &request("first:x")), Some(peer));
        assert_eq!(demux.route(address(2), &request("second:x")), Some(peer));
        assert_eq!(demux.route(address(3), &request("first:x")), None);
        assert_eq!(demux.route(address(1), &[128]), Some(peer), "the old path goes on");
    }

    #[test]
    fn restarts_that_never_come_to_be_leave_one_old_fragment() {
        let (mut demux, peer) = (Demux::default(), PeerId(1));
        for ufrag in ["first", "second", "third"] {
            demux.insert(peer, ufrag);
        }
        assert_eq!(demux.route(address(1), &request("first:x")), None);
        assert_eq!(demux.route(address(1), &request("second:x")), Some(peer));
        demux.remove(peer);
        assert_eq!(demux.entries(), 0);
    }

    #[test]
    fn a_reused_address_moves_to_the_peer_that_is_named() {
        let mut demux = Demux::default();
        demux.insert(PeerId(1), "aaaa");
        demux.insert(PeerId(2), "bbbb");
        demux.route(address(1), &request("aaaa:x"));
        assert_eq!(demux.route(address(1), &request("bbbb:x")), Some(PeerId(2)));
        demux.remove(PeerId(1));
        assert_eq!(demux.route(address(1), &[128]), Some(PeerId(2)));
        demux.remove(PeerId(2));
        assert_eq!(demux.entries(), 0);
    }

    #[test]
    fn one_peer_cannot_fill_the_map() {
        let mut demux = Demux::default();
        demux.insert(PeerId(1), "aaaa");
        for port in 1..2000 {
            demux.route(address(port), &request("aaaa:x"));
        }
        assert!(demux.entries() < 20);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (classify(&bytes), local_ufrag(&bytes));
            let mut near = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0,0,0,0, 0,0,0,0, 0,0,0,0];
            near.extend(&tail);
            let _ = local_ufrag(&near);
        }
    }
}
