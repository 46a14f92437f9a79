//! The two UDP sockets of all viewers: RTP leaves by the first, reports by the second (RFC 3550 section 11: an even port and the next).

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Even ports that are tried from that of the listener on.
const TRIES: u16 = 64;

/// Bound, and not in use yet.
#[derive(Debug)]
pub(super) struct Sockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

/// Both, in use.
#[derive(Debug)]
pub(super) struct Udp {
    pub rtp: tokio::net::UdpSocket,
    pub rtcp: tokio::net::UdpSocket,
    ports: (u16, u16),
}

impl Udp {
    /// Must be called within the runtime.
    pub fn new(sockets: Sockets) -> io::Result<Self> {
        let ports = (sockets.rtp.local_addr()?.port(), sockets.rtcp.local_addr()?.port());
        sockets.rtp.set_nonblocking(true)?;
        sockets.rtcp.set_nonblocking(true)?;
        let (rtp, rtcp) = (tokio::net::UdpSocket::from_std(sockets.rtp)?, tokio::net::UdpSocket::from_std(sockets.rtcp)?);
        Ok(Self { rtp, rtcp, ports })
    }

    /// Of RTP and of reports.
    pub fn ports(&self) -> (u16, u16) {
        self.ports
    }
}

/// On the listener's address: its port where it is even, else the next pair that is free.
pub(super) fn bind(listen: SocketAddr) -> io::Result<Sockets> {
    let first = listen.port() + listen.port() % 2;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in (0..TRIES).filter_map(|step| first.checked_add(2 * step)).filter(|port| *port < u16::MAX) {
        let pair = UdpSocket::bind(SocketAddr::new(listen.ip(), port))
            .and_then(|rtp| Ok(Sockets { rtp, rtcp: UdpSocket::bind(SocketAddr::new(listen.ip(), port + 1))? }));
        match pair {
            Ok(pair) => return Ok(pair),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_is_taken_is_passed_over() {
        let first = bind("127.0.0.1:48554".parse().unwrap()).unwrap();
        let port = first.rtcp.local_addr().unwrap().port();
        assert_eq!((first.rtp.local_addr().unwrap().port() + 1, port % 2), (port, 1));
        let second = bind(SocketAddr::new([127, 0, 0, 1].into(), port)).unwrap();
        assert!(second.rtp.local_addr().unwrap().port() > port);
    }
}
