//! Datagrams of all peers on their way out.

use std::io;
use std::net::SocketAddr;

use quinn_udp::{Transmit, UdpSocketState};

use super::batch;
use super::trains::{Piece, Planner, Train};
use super::{Port, Sockets};
use crate::peer::demux::{Wire, classify};
use crate::peer::relay::{Outlet, Passage};
use crate::peer::tcp::Streams;
use crate::vocab::PeerId;

/// Bytes gathered before they are sent without waiting for the end of the turn.
const BATCH_BYTES: usize = 1 << 20;
/// Far ends that a relay has no way to yet, told in one turn.
const UNBOUND: usize = 64;

struct Entry {
    peer: PeerId,
    local: SocketAddr,
    to: SocketAddr,
    start: usize,
    len: usize,
}

/// Datagrams of all peers on their way out; sent together at the end of a turn.
#[derive(Default)]
pub(in crate::peer) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    pieces: Vec<Piece>,
    planner: Planner,
    late: Late,
    unbound: Vec<(PeerId, SocketAddr)>,
    /// The peer whose datagrams find the kernel's buffer full.
    #[cfg(test)]
    pub(in crate::peer) clogged: Option<PeerId>,
}

/// What found the kernel's buffer full.
#[derive(Default)]
struct Late {
    starved: Vec<PeerId>,
    dropped: u64,
}

impl Late {
    fn note(&mut self, peer: PeerId, datagrams: usize) {
        self.dropped += datagrams as u64;
        if !self.starved.contains(&peer) {
            self.starved.push(peer);
        }
    }
}

impl Outbox {
    pub(in crate::peer) fn push(&mut self, peer: PeerId, local: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.entries.push(Entry { peer, local, to, start: self.bytes.len(), len: datagram.len() });
        self.bytes.extend_from_slice(datagram);
    }

    /// Adds a datagram that is written in its place. One that cannot be written is left out; it must leave nothing behind.
    pub(in crate::peer) fn append<E>(
        &mut self,
        peer: PeerId,
        local: SocketAddr,
        to: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        self.entries.push(Entry { peer, local, to, start, len: self.bytes.len() - start });
        Ok(())
    }

    /// Everything in it: `(local, to, datagram)`.
    #[cfg(test)]
    pub(in crate::peer) fn take(&mut self) -> Vec<(std::net::IpAddr, SocketAddr, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.bytes);
        let datagram = |entry: Entry| (entry.local.ip(), entry.to, bytes[entry.start..entry.start + entry.len].to_vec());
        self.entries.drain(..).map(datagram).collect()
    }

    /// Whether it should be flushed before more is added.
    pub(in crate::peer) fn is_large(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// Peers that lost datagrams since the last call, because the kernel's buffer was full.
    pub(in crate::peer) fn take_starved(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.late.starved)
    }

    /// Peers that had something for an address to which their relay has no channel, since the last call.
    pub(in crate::peer) fn take_unbound(&mut self) -> Vec<(PeerId, SocketAddr)> {
        std::mem::take(&mut self.unbound)
    }

    /// Sends everything: by trains that the kernel or the card cuts, and as many of one shape with a call as there are. What goes to the
    /// far end of a stream leaves by that.
    pub(in crate::peer) fn flush(&mut self, sockets: &Sockets, streams: &mut Streams) {
        if !streams.is_empty() {
            self.flush_streams(streams);
        }
        if sockets.have_outlets() {
            self.flush_relayed(sockets);
        }
        let clogged = self.clogged_peer();
        let Self { bytes, entries, pieces, planner, late, .. } = self;
        pieces.clear();
        pieces.extend(entries.iter().filter_map(|entry| {
            let (port, state) = sockets.find(|port| port.serves(entry.local)).map(|(at, port)| (at, &port.state))?;
            let check = is_check(bytes, entry.start);
            let most = if check { 1 } else { state.max_gso_segments().max(1) };
            Some(Piece {
                peer: entry.peer,
                port,
                local: entry.local.ip(),
                to: entry.to,
                start: entry.start,
                len: entry.len,
                most,
            })
        }));
        let alone = |piece: &Piece| is_check(bytes, piece.start) || Some(piece.peer) == clogged;
        let trains = planner.plan(pieces, alone);
        let mut patience = true;
        let mut at = 0;
        while let Some(first) = trains.get(at) {
            let Some(port) = sockets.get(first.shape.port) else { break };
            let group = trains[at..].iter().take(batch::MOST).take_while(|train| first.shape.joins(&train.shape)).count();
            let sent = match group {
                0 | 1 => 0,
                _ => batch::send(port, bytes, &trains[at..at + group], |train| pieces[train.first].to),
            };
            at += sent;
            // what a call cannot send goes by itself, where its error is dealt with
            if sent < group.max(1) {
                send(port, bytes, pieces, &trains[at], clogged, &mut patience, late);
                at += 1;
            }
        }
        entries.clear();
        bytes.clear();
    }

    /// Takes out what goes by streams.
    fn flush_streams(&mut self, streams: &mut Streams) {
        let Self { entries, bytes, late, .. } = self;
        entries.retain(|entry| {
            let Some(stream) = streams.to(entry.peer, entry.to) else { return true };
            let datagram = bytes.get(entry.start..entry.start + entry.len).unwrap_or_default();
            if !stream.push(datagram) {
                late.note(entry.peer, 1);
            }
            false
        });
        streams.flush();
    }

    /// Makes what leaves from a relayed address content of datagrams to the server. What it would not let through is left out.
    fn flush_relayed(&mut self, sockets: &Sockets) {
        let Self { entries, bytes, unbound, .. } = self;
        entries.retain_mut(|entry| {
            let Some(outlet) = sockets.outlet(entry.peer, entry.local) else { return true };
            let passage = outlet.passage(entry.to);
            if !matches!(passage, Passage::Channel(_)) && unbound.len() < UNBOUND && !unbound.contains(&(entry.peer, entry.to)) {
                unbound.push((entry.peer, entry.to));
            }
            let start = bytes.len();
            let carried = Outlet::wrap(bytes, passage, entry.to, entry.start..entry.start + entry.len, rand::random);
            (entry.local, entry.to, entry.start, entry.len) = (outlet.base, outlet.server, start, bytes.len() - start);
            carried
        });
    }

    #[cfg(test)]
    fn clogged_peer(&self) -> Option<PeerId> {
        self.clogged
    }

    #[cfg(not(test))]
    fn clogged_peer(&self) -> Option<PeerId> {
        None
    }
}

fn is_check(bytes: &[u8], start: usize) -> bool {
    classify(bytes.get(start..).unwrap_or_default()) == Wire::Stun
}

/// Sends one train: whole, or datagram by datagram where the path turns out to do without segmentation. `patience` is for one short wait in a whole
/// flush: media that is late by more is better dropped.
fn send(
    port: &Port,
    bytes: &[u8],
    pieces: &[Piece],
    train: &Train,
    clogged: Option<PeerId>,
    patience: &mut bool,
    late: &mut Late,
) {
    let its = &pieces[train.first..train.first + train.count];
    let state = if is_check(bytes, train.start) { &port.checks } else { &port.state };
    if train.count > 1 && train.count <= state.max_gso_segments() {
        match attempt(state, port, bytes, its, clogged, patience) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return late.note(its[0].peer, its.len()),
            // no segmentation on this path after all: the state now says so
            Err(_) if state.max_gso_segments() < train.count => {}
            Err(error) => return tracing::trace!(%error, "train not sent"),
        }
    }
    for piece in its {
        match attempt(state, port, bytes, std::slice::from_ref(piece), clogged, patience) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => late.note(piece.peer, 1),
            Err(error) => tracing::trace!(%error, "datagram not sent"),
        }
    }
}

fn attempt(
    state: &UdpSocketState,
    port: &Port,
    bytes: &[u8],
    its: &[Piece],
    clogged: Option<PeerId>,
    patience: &mut bool,
) -> io::Result<()> {
    let (Some(first), len) = (its.first(), its.iter().map(|piece| piece.len).sum::<usize>()) else { return Ok(()) };
    if Some(first.peer) == clogged {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let transmit = Transmit {
        destination: port.destination(first.to),
        ecn: None,
        contents: bytes.get(first.start..first.start + len).unwrap_or_default(),
        segment_size: (its.len() > 1).then_some(first.len),
        src_ip: port.bound.ip().is_unspecified().then_some(first.local),
    };
    loop {
        match state.try_send((&port.socket).into(), &transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && *patience => *patience = port.wait_writable(),
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::peer::socket::bind;

    fn far(address: &str) -> UdpSocket {
        let far = UdpSocket::bind(address).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        far
    }

    /// Frames of several sizes to many viewers arrive whole, in order, and from the address that was asked for.
    fn all_arrive(sockets: &Sockets, addresses: &[SocketAddr]) {
        let viewers: Vec<UdpSocket> =
            addresses.iter().cycle().take(70).map(|own| far(&SocketAddr::new(own.ip(), 0).to_string())).collect();
        let mut outbox = Outbox::default();
        let mut expected: HashMap<usize, Vec<Vec<u8>>> = HashMap::new();
        for frame in [&[1200usize, 1200, 1200, 300][..], &[90], &[1133, 1133, 1132, 1132], &[700]] {
            for (number, viewer) in viewers.iter().enumerate() {
                let own = addresses[number % addresses.len()];
                // numbered far ends have packets eight bytes longer
                let more = if number % 3 == 0 { 8 } else { 0 };
                for len in frame {
                    let mut datagram = vec![0x80; len + more];
                    datagram[1..4].copy_from_slice(&[number as u8, *len as u8, expected.entry(number).or_default().len() as u8]);
                    outbox.push(PeerId(number as u64), own, viewer.local_addr().unwrap(), &datagram);
                    expected.entry(number).or_default().push(datagram);
                }
            }
        }
        outbox.flush(sockets, &mut Streams::default());
        assert!(outbox.take_starved().is_empty());
        for (number, viewer) in viewers.iter().enumerate() {
            let mut buffer = [0; 2000];
            for datagram in &expected[&number] {
                let (len, from) = viewer.recv_from(&mut buffer).unwrap();
                assert_eq!((buffer[..len] == datagram[..], from), (true, addresses[number % addresses.len()]));
            }
        }
    }

    #[test]
    fn many_viewers_get_every_datagram_in_order_by_sockets_of_their_own() {
        let (ports, addresses) = bind(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], 0, false).unwrap();
        all_arrive(&Sockets::new(ports.into()), &addresses);
    }

    #[test]
    fn many_viewers_get_every_datagram_in_order_by_the_wildcard() {
        // one that is no loopback address makes it one socket for all
        for others in [&[][..], &[IpAddr::from(Ipv6Addr::LOCALHOST)]] {
            let local = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 9]), IpAddr::from([192, 0, 2, 1])];
            let (ports, mut addresses) = bind(&[&local[..], others].concat(), 0, false).unwrap();
            assert!(ports.len() == 1 && ports[0].bound().ip().is_unspecified());
            addresses.retain(|address| address.ip().is_loopback());
            all_arrive(&Sockets::new(ports.into()), &addresses);
        }
    }

    #[test]
    fn one_that_cannot_be_reached_costs_the_others_nothing() {
        let (ports, addresses) = bind(&[Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into()], 0, false).unwrap();
        let sockets = Sockets::new(ports.into());
        let viewers: Vec<UdpSocket> = (0..10).map(|_| far("127.0.0.1:0")).collect();
        let mut outbox = Outbox::default();
        for (number, viewer) in viewers.iter().enumerate() {
            for sequence in 0..3 {
                let to = if number == 4 { "224.0.0.1:9".parse().unwrap() } else { viewer.local_addr().unwrap() };
                outbox.push(PeerId(number as u64), addresses[0], to, &[0x80, sequence, 0, 0]);
            }
        }
        outbox.flush(&sockets, &mut Streams::default());
        for (_, viewer) in viewers.iter().enumerate().filter(|(number, _)| *number != 4) {
            let mut buffer = [0; 64];
            for sequence in 0..3 {
                assert_eq!((viewer.recv(&mut buffer).unwrap(), buffer[1]), (4, sequence));
            }
        }
    }

    #[test]
    fn a_check_to_an_impossible_address_costs_others_nothing() {
        let (ports, addresses) = bind(&[Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into()], 0, false).unwrap();
        let offload = ports[0].state.max_gso_segments();
        let sockets = Sockets::new(ports.into());
        let far = far("127.0.0.1:0");
        let mut outbox = Outbox::default();
        let check = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        for impossible in ["127.0.0.1:0", "192.0.2.7:9", "[fe80::1]:9", "224.0.0.1:9"] {
            outbox.push(PeerId(1), addresses[0], impossible.parse().unwrap(), &check);
            outbox.push(PeerId(1), addresses[0], impossible.parse().unwrap(), &check);
        }
        outbox.push(PeerId(2), addresses[0], far.local_addr().unwrap(), &check);
        outbox.push(PeerId(2), addresses[0], far.local_addr().unwrap(), &[0x80; 20]);
        outbox.flush(&sockets, &mut Streams::default());
        assert_eq!(sockets.shared()[0].state.max_gso_segments(), offload);
        let mut buffer = [0; 64];
        assert_eq!(far.recv(&mut buffer).unwrap(), check.len());
        assert_eq!(buffer[..check.len()], check);
        far.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..20], [0x80; 20]);
    }
}
