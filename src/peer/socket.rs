//! The UDP sockets of a shard: batches in, batches out, with the local address of every datagram.

mod batch;
mod outbox;
mod sockets;
mod trains;

pub(super) use outbox::Outbox;
pub(super) use sockets::Sockets;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::demux::{Wire, classify};
use super::shards::ShardsError;

/// Kernel buffers: a key frame of 200 kB to 50 viewers is 10 MB; the kernel's own limit (`net.core.wmem_max`) may be lower.
const KERNEL_BUFFER: usize = 8 << 20;
/// Datagrams (or trains of them) read with one call.
const READS: usize = 8;
/// Datagrams of data channels that are read with one call: each costs ten times as much as one of media, and a train may have 50.
const DATA_PER_READ: usize = 64;
/// Room for a train of datagrams.
const READ_BYTES: usize = 65_536;

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

    fn serves(&self, local: SocketAddr) -> bool {
        self.bound.port() == local.port() && self.has(local.ip())
    }

    /// Whether datagrams to this address of the machine come here.
    fn has(&self, local: IpAddr) -> bool {
        match self.bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => local.is_ipv4(),
            ip => ip.is_unspecified() || ip == local,
        }
    }

    /// An address as the socket's family has it.
    fn destination(&self, to: SocketAddr) -> SocketAddr {
        match (self.bound.is_ipv6(), to.ip()) {
            (true, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }

    /// Whether it can send there.
    pub(super) fn leads_to(&self, to: SocketAddr) -> bool {
        match self.bound.ip() {
            IpAddr::V4(_) => to.is_ipv4(),
            IpAddr::V6(ip) => to.is_ipv6() || ip.is_unspecified(),
        }
    }

    /// Sends a datagram that is of no peer, from the address that the kernel's routes choose.
    pub(super) fn ask(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let transmit =
            Transmit { destination: self.destination(to), ecn: None, contents: datagram, segment_size: None, src_ip: None };
        self.checks.try_send((&self.socket).into(), &transmit)
    }

    /// Waits up to 2 ms; false when the socket is still full.
    fn wait_writable(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).is_ok_and(|ready| ready > 0)
    }
}

/// Each address once, those of IPv4 as such.
pub(super) fn distinct(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut distinct: Vec<IpAddr> = Vec::new();
    for address in addresses.iter().map(|address| address.to_canonical()) {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

/// Binds what the candidate addresses need: each address when all are loopback, else one wildcard socket. Returns the
/// sockets and the candidates with the port really bound.
///
/// Where they may change (`changes`) the wildcard socket serves both families, if the kernel has both.
pub(super) fn bind(addresses: &[IpAddr], port: u16, changes: bool) -> Result<(Vec<Port>, Vec<SocketAddr>), ShardsError> {
    let wanted = distinct(addresses);
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
        let both = || attempt(Ipv6Addr::UNSPECIFIED.into(), port);
        let old = || attempt(Ipv4Addr::UNSPECIFIED.into(), port);
        let bound = match wanted.iter().any(IpAddr::is_ipv6) {
            true => both()?,
            // a kernel without IPv6 has no such sockets, and a port that is taken is so for both
            false if changes => both().or_else(|_| old())?,
            false => old()?,
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
}
