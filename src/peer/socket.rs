//! The UDP sockets of a shard: batches in, batches out, with the local address of every datagram.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::vocab::PeerId;

use super::demux::{Wire, classify};
use super::shards::ShardsError;
use super::tcp::Streams;

/// Kernel buffers: a key frame of 200 kB to 50 viewers is 10 MB; the kernel's own limit (`net.core.wmem_max`) may be lower.
const KERNEL_BUFFER: usize = 8 << 20;
/// Datagrams (or trains of them) read with one call.
const READS: usize = 8;
/// Datagrams of data channels that are read with one call: each costs ten times as much as one of media, and a train may have 50.
const DATA_PER_READ: usize = 64;
/// Room for a train of datagrams.
const READ_BYTES: usize = 65_536;
/// Bytes that go out with one call at most (the largest UDP payload the kernel cuts).
const TRAIN_BYTES: usize = 65_000;
/// Bytes gathered before they are sent without waiting for the end of the turn.
const BATCH_BYTES: usize = 1 << 20;

/// One bound socket.
pub(super) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    /// For STUN. Far ends choose where checks go, and `quinn-udp` takes a destination that the kernel finds invalid (EINVAL: from
    /// loopback to elsewhere, port 0, a link-local address without its link) for a lack of segmentation offload, and does
    /// without from then on. Media goes only where a check was answered.
    checks: UdpSocketState,
    bound: SocketAddr,
}

impl Port {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // the wildcard serves both families; a loopback socket only its own
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // smaller buffers are what the kernel allows: not an error
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        let checks = UdpSocketState::new((&socket).into())?;
        let bound = socket.local_addr()?;
        Ok(Self { socket, state, checks, bound })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Where it is bound.
    pub(super) fn bound(&self) -> SocketAddr {
        self.bound
    }

    fn serves(&self, local: IpAddr) -> bool {
        self.bound.ip().is_unspecified() || self.bound.ip() == local
    }
}

/// Binds what the candidate addresses need: each address when all are loopback, else one wildcard socket. Returns the
/// sockets and the candidates with the port really bound.
pub(super) fn bind(addresses: &[IpAddr], port: u16) -> Result<(Vec<Port>, Vec<SocketAddr>), ShardsError> {
    let mut wanted: Vec<IpAddr> = Vec::new();
    addresses.iter().map(|address| address.to_canonical()).for_each(|address| {
        if !wanted.contains(&address) {
            wanted.push(address);
        }
    });
    if wanted.is_empty() {
        return Err(ShardsError::NoAddress);
    }
    let attempt = |ip: IpAddr, port: u16| {
        let address = SocketAddr::new(ip, port);
        Port::bind(address).map_err(|source| ShardsError::Bind { address, source })
    };
    let mut ports = Vec::new();
    let mut port = port;
    if wanted.iter().all(IpAddr::is_loopback) {
        for ip in &wanted {
            let bound = attempt(*ip, port)?;
            port = bound.bound.port();
            ports.push(bound);
        }
    } else {
        let bound = match wanted.iter().any(IpAddr::is_ipv6) {
            true => attempt(Ipv6Addr::UNSPECIFIED.into(), port)?,
            false => attempt(Ipv4Addr::UNSPECIFIED.into(), port)?,
        };
        port = bound.bound.port();
        ports.push(bound);
    }
    Ok((ports, wanted.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()))
}

/// Buffers to read into.
pub(super) struct Inbox {
    buffers: Vec<Vec<u8>>,
    metas: Vec<RecvMeta>,
    /// How many the next call may read.
    trains: usize,
}

/// How many trains to read after as many had so many datagrams of data channels.
fn trains_after(trains: usize, data: usize) -> usize {
    (trains * DATA_PER_READ).checked_div(data).unwrap_or(READS).clamp(1, READS)
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffers: vec![vec![0; READ_BYTES]; READS], metas: vec![RecvMeta::default(); READS], trains: READS }
    }

    /// Reads one batch; `each` gets `(local, from, datagram)`. Returns whether there may be more.
    pub(super) fn read(&mut self, port: &Port, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) -> bool {
        let asked = self.trains;
        let buffers = self.buffers.iter_mut().take(asked);
        let mut slices: Vec<IoSliceMut<'_>> = buffers.map(|buffer| IoSliceMut::new(buffer)).collect();
        let count = match port.state.recv((&port.socket).into(), &mut slices, &mut self.metas[..asked]) {
            Ok(count) => count,
            // nothing there, or an ICMP error of an earlier send: the next read tells
            Err(error) => return error.kind() == io::ErrorKind::ConnectionRefused,
        };
        let mut data = 0;
        for (meta, buffer) in self.metas.iter().zip(&self.buffers).take(count) {
            let local_ip = if port.bound.ip().is_unspecified() { meta.dst_ip } else { None };
            let local = SocketAddr::new(local_ip.unwrap_or(port.bound.ip()).to_canonical(), port.bound.port());
            let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                data += usize::from(classify(datagram) == Wire::Dtls);
                each(local, from, datagram);
            }
        }
        self.trains = trains_after(count, data);
        count == asked
    }
}

struct Entry {
    peer: PeerId,
    local: IpAddr,
    to: SocketAddr,
    start: usize,
    len: usize,
}

/// Datagrams of all peers on their way out; sent together at the end of a turn.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Peers that lost datagrams because the kernel's buffer was full.
    pub(super) starved: Vec<PeerId>,
    /// Datagrams lost so.
    pub(super) dropped: u64,
    /// The peer whose datagrams find the kernel's buffer full.
    #[cfg(test)]
    pub(super) clogged: Option<PeerId>,
}

impl Outbox {
    pub(super) fn push(&mut self, peer: PeerId, local: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.entries.push(Entry { peer, local: local.ip(), to, start: self.bytes.len(), len: datagram.len() });
        self.bytes.extend_from_slice(datagram);
    }

    /// Adds a datagram that is written in its place. One that cannot be written is left out; it must leave nothing behind.
    pub(super) fn append<E>(
        &mut self,
        peer: PeerId,
        local: SocketAddr,
        to: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        self.entries.push(Entry { peer, local: local.ip(), to, start, len: self.bytes.len() - start });
        Ok(())
    }

    /// Everything in it: `(local, to, datagram)`.
    #[cfg(test)]
    pub(super) fn take(&mut self) -> Vec<(IpAddr, SocketAddr, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.bytes);
        let datagram = |entry: Entry| (entry.local, entry.to, bytes[entry.start..entry.start + entry.len].to_vec());
        self.entries.drain(..).map(datagram).collect()
    }

    /// Whether it should be flushed before more is added.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// Sends everything. Neighbours of equal size to one address leave as a train that the kernel or the card cuts. What goes to the
    /// far end of a stream leaves by that.
    pub(super) fn flush(&mut self, ports: &[Port], streams: &mut Streams) {
        if !streams.is_empty() {
            self.flush_streams(streams);
        }
        let mut at = 0;
        let mut patience = true;
        while let Some(first) = self.entries.get(at) {
            let Some(port) = ports.iter().find(|port| port.serves(first.local)) else {
                at += 1;
                continue;
            };
            let check = classify(&self.bytes[first.start..]) == Wire::Stun;
            let state = if check { &port.checks } else { &port.state };
            let most = if check { 1 } else { state.max_gso_segments().max(1) };
            let mut count = 1;
            let mut total = first.len;
            while let Some(next) = self.entries.get(at + count)
                && count < most
                && next.to == first.to
                && next.local == first.local
                && next.len <= first.len
                && total + next.len <= TRAIN_BYTES
                // only the last of a train may be shorter
                && self.entries[at + count - 1].len == first.len
            {
                total += next.len;
                count += 1;
            }
            let transmit = Transmit {
                destination: destination(port, first.to),
                ecn: None,
                contents: &self.bytes[first.start..first.start + total],
                segment_size: (count > 1).then_some(first.len),
                src_ip: port.bound.ip().is_unspecified().then_some(first.local),
            };
            match self.attempt(state, port, first.peer, &transmit) {
                Ok(()) => at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && patience && !self.is_clogged(first.peer) => {
                    // one short wait for the whole flush: media that is late by more is better dropped
                    patience = wait_writable(port);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let late = &self.entries[at..at + count];
                    self.dropped += late.len() as u64;
                    let peer = late[0].peer;
                    if !self.starved.contains(&peer) {
                        self.starved.push(peer);
                    }
                    at += count;
                }
                // no segmentation on this path after all: the state now says so, and the same entries go out one by one
                Err(_) if count > 1 && state.max_gso_segments() < most => {}
                Err(error) => {
                    tracing::trace!(%error, "datagram not sent");
                    at += count;
                }
            }
        }
        self.entries.clear();
        self.bytes.clear();
    }
}

impl Outbox {
    /// Takes out what goes by streams.
    fn flush_streams(&mut self, streams: &mut Streams) {
        let Self { entries, bytes, starved, dropped, .. } = self;
        entries.retain(|entry| {
            let Some(stream) = streams.to(entry.peer, entry.to) else { return true };
            let datagram = bytes.get(entry.start..entry.start + entry.len).unwrap_or_default();
            if !stream.push(datagram) {
                *dropped += 1;
                if !starved.contains(&entry.peer) {
                    starved.push(entry.peer);
                }
            }
            false
        });
        streams.flush();
    }

    fn attempt(&self, state: &UdpSocketState, port: &Port, peer: PeerId, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.is_clogged(peer) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => state.try_send((&port.socket).into(), transmit),
        }
    }

    #[cfg(test)]
    fn is_clogged(&self, peer: PeerId) -> bool {
        self.clogged == Some(peer)
    }

    #[cfg(not(test))]
    fn is_clogged(&self, _: PeerId) -> bool {
        false
    }
}

fn destination(port: &Port, to: SocketAddr) -> SocketAddr {
    match (port.bound.is_ipv6(), to.ip()) {
        (true, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}

/// Waits up to 2 ms; false when the socket is still full.
fn wait_writable(port: &Port) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(port.fd(), PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_trains_are_read_at_once_while_they_are_full_of_data() {
        // a browser's datagrams come one by one, a driver's in trains of 54
        for (trains, data, next) in
            [(8, 0, 8), (8, 8, 8), (1, 1, 8), (8, 8 * 54, 1), (1, 54, 1), (1, 8, 8), (4, 60, 4), (8, 9999, 1)]
        {
            assert_eq!(trains_after(trains, data), next, "{data} in {trains}");
        }
    }

    #[test]
    fn a_check_to_an_impossible_address_costs_others_nothing() {
        let (ports, addresses) = bind(&[Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into()], 0).unwrap();
        let offload = ports[0].state.max_gso_segments();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let mut outbox = Outbox::default();
        let check = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        for impossible in ["127.0.0.1:0", "192.0.2.7:9", "[fe80::1]:9", "224.0.0.1:9"] {
            outbox.push(PeerId(1), addresses[0], impossible.parse().unwrap(), &check);
            outbox.push(PeerId(1), addresses[0], impossible.parse().unwrap(), &check);
        }
        outbox.push(PeerId(2), addresses[0], far.local_addr().unwrap(), &check);
        outbox.push(PeerId(2), addresses[0], far.local_addr().unwrap(), &[0x80; 20]);
        outbox.flush(&ports, &mut Streams::default());
        assert_eq!(ports[0].state.max_gso_segments(), offload);
        let mut buffer = [0; 64];
        assert_eq!(far.recv(&mut buffer).unwrap(), check.len());
        assert_eq!(buffer[..check.len()], check);
        far.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..20], [0x80; 20]);
    }
}
