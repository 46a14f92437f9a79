//! Many trains with one call (`sendmmsg`).
//!
//! `quinn-udp` sends one train with a call, and deals with everything that may go wrong with it. Here only what goes right counts: a call that sends
//! less than it was given leaves the rest to that. On loopback it saves an eighth of the time of trains of seven, a fifth of that of single
//! datagrams.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::Port;
use super::trains::Train;

/// Trains sent with a call.
pub(super) const MOST: usize = 64;

/// The source address, in the kernel's form.
enum Source {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Source {
    fn new(local: IpAddr) -> Self {
        match local {
            IpAddr::V4(local) => Self::V4(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            }),
            IpAddr::V6(local) => Self::V6(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 }),
        }
    }
}

/// Sends trains of one shape. Returns how many left, from the first on.
pub(super) fn send(port: &Port, bytes: &[u8], trains: &[Train], to: impl Fn(&Train) -> SocketAddr) -> usize {
    let Some(shape) = trains.first().map(|train| train.shape) else { return 0 };
    let slice = |train: &Train| [IoSlice::new(bytes.get(train.start..train.start + train.bytes).unwrap_or_default())];
    let slices: Vec<[IoSlice<'_>; 1]> = trains.iter().map(slice).collect();
    let addresses: Vec<Option<SockaddrStorage>> = trains.iter().map(|train| Some(port.destination(to(train)).into())).collect();
    let source = port.bound().ip().is_unspecified().then(|| Source::new(shape.local));
    let segment = shape.segment.as_ref().map(ControlMessage::UdpGsoSegments);
    let (source, room) = match (&source, segment.is_some()) {
        (None, false) => (None, None),
        (None, true) => (None, Some(cmsg_space!(u16))),
        (Some(Source::V4(info)), false) => (Some(ControlMessage::Ipv4PacketInfo(info)), Some(cmsg_space!(in_pktinfo))),
        (Some(Source::V4(info)), true) => (Some(ControlMessage::Ipv4PacketInfo(info)), Some(cmsg_space!(in_pktinfo, u16))),
        (Some(Source::V6(info)), false) => (Some(ControlMessage::Ipv6PacketInfo(info)), Some(cmsg_space!(in6_pktinfo))),
        (Some(Source::V6(info)), true) => (Some(ControlMessage::Ipv6PacketInfo(info)), Some(cmsg_space!(in6_pktinfo, u16))),
    };
    let words: Vec<ControlMessage<'_>> = source.into_iter().chain(segment).collect();
    let mut headers = MultiHeaders::preallocate(trains.len(), room);
    let sent = sendmmsg(port.socket.as_raw_fd(), &mut headers, &slices, &addresses, &words, MsgFlags::empty());
    // the first of them meets the same error by itself
    sent.map_or(0, |sent| sent.count())
}
