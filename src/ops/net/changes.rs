//! The kernel says when an address, a route or a link of the machine changes (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::unix;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout_at};

/// What comes with one change (an interface that comes up brings a dozen messages) is waited for so long after each message, and in all.
const QUIET: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(300);

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Kinds of messages (linux/rtnetlink.h).
const LINK: std::ops::RangeInclusive<u16> = 16..=17;

/// Tells of changes.
#[derive(Debug)]
pub struct Changes {
    /// A netlink socket is one of datagrams; of the types that the runtime waits for without unsafe code this one takes any such.
    socket: UnixDatagram,
    links: Links,
    /// What came and was not passed on yet.
    told: Told,
}

/// Interfaces, their addresses, and whether they are up.
type Links = Vec<(String, IpAddr, bool)>;

fn links() -> Links {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let link = |it: if_addrs::Interface| (it.name.clone(), it.ip(), it.oper_status == if_addrs::IfOperStatus::Up);
    interfaces.into_iter().map(link).collect()
}

/// What a batch of messages tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Nothing.
    Nothing,
    /// Of links alone: also statistics of a radio come so.
    Links,
    /// Of addresses or routes; or too much at once.
    More,
}

impl Changes {
    /// Listens from now on. Must be called in a runtime.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // protocol 0 is NETLINK_ROUTE
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let socket = UnixDatagram::from_std(unix::net::UnixDatagram::from(socket))?;
        Ok(Self { socket, links: links(), told: Told::Nothing })
    }

    /// Returns when an address, a route or the state of a link changed, and all that belongs to it came. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<()> {
        loop {
            // kept in `self` from one await to the next, so that nothing is lost with a call that is given up
            if self.told == Told::Nothing {
                self.told = self.told().await?;
            }
            let end = Instant::now() + LONGEST;
            while let Ok(more) = timeout_at((Instant::now() + QUIET).min(end), self.told()).await {
                self.told = self.told.max(more?);
            }
            let (now, told) = (links(), std::mem::replace(&mut self.told, Told::Nothing));
            if std::mem::replace(&mut self.links, now) != self.links || told == Told::More {
                return Ok(());
            }
        }
    }

    async fn told(&self) -> io::Result<Told> {
        let mut buffer = [0; 16 << 10];
        match self.socket.recv(&mut buffer).await {
            Ok(length) => Ok(told(buffer.get(..length).unwrap_or_default())),
            // the kernel had more to tell than fits
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => Ok(Told::More),
            Err(error) => Err(error),
        }
    }
}

/// What messages tell, each with its length and kind in front (netlink(7)).
fn told(mut messages: &[u8]) -> Told {
    let mut told = Told::Nothing;
    while let Some((header, _)) = messages.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        match LINK.contains(&kind) {
            true if told == Told::Nothing => told = Told::Links,
            true => {}
            false => told = Told::More,
        }
        let Some(rest) = messages.get(length.max(16).next_multiple_of(4)..) else { break };
        messages = rest;
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.next_multiple_of(4)];
        bytes[..4].copy_from_slice(&(length as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }

    #[test]
    fn links_are_told_from_addresses_and_routes() {
        assert_eq!(told(&[]), Told::Nothing);
        assert_eq!(told(&[message(16, 40), message(17, 33)].concat()), Told::Links);
        for kind in [20, 21, 24, 25] {
            assert_eq!(told(&[message(16, 33), message(kind, 28)].concat()), Told::More, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hold_it_up(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = told(&bytes);
        }
    }

    #[tokio::test]
    async fn the_kernel_lets_it_listen() {
        assert!(Changes::new().is_ok());
    }
}
