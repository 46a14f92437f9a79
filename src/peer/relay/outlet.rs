//! PURE. How a datagram leaves from a relayed address: as content of one to the server.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::{channels, wire};

/// A relay as those see it who send. It holds until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::peer) struct Outlet {
    /// The relayed address.
    pub(in crate::peer) relayed: SocketAddr,
    /// The gateway's own, which the server knows.
    pub(in crate::peer) base: SocketAddr,
    pub(in crate::peer) server: SocketAddr,
    channels: HashMap<SocketAddr, u16>,
    permitted: Vec<IpAddr>,
}

/// Which way an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peer) enum Passage {
    Channel(u16),
    /// The server lets it through, in a longer form, until there is a channel.
    Permitted,
    None,
}

impl Outlet {
    pub(super) fn new(relayed: SocketAddr, base: SocketAddr, server: SocketAddr, channels: HashMap<SocketAddr, u16>) -> Self {
        let permitted = channels::permitted(&channels);
        Self { relayed, base, server, channels, permitted }
    }

    pub(in crate::peer) fn passage(&self, to: SocketAddr) -> Passage {
        match self.channels.get(&to) {
            Some(channel) => Passage::Channel(*channel),
            None if self.permitted.binary_search(&to.ip()).is_ok() => Passage::Permitted,
            None => Passage::None,
        }
    }

    /// Adds the datagram that carries the one at `content`, to its end. Returns whether it can be.
    pub(in crate::peer) fn wrap(
        bytes: &mut Vec<u8>,
        passage: Passage,
        to: SocketAddr,
        content: std::ops::Range<usize>,
        id: impl FnOnce() -> [u8; 12],
    ) -> bool {
        let len = content.len();
        let padding = match passage {
            Passage::Channel(channel) => {
                let Some(header) = wire::channel_header(channel, len) else { return false };
                bytes.extend(header);
                0
            }
            Passage::Permitted => {
                let Some((header, padding)) = wire::indication_header(to, len, id()) else { return false };
                bytes.extend(header);
                padding
            }
            Passage::None => return false,
        };
        bytes.extend_from_within(content);
        bytes.resize(bytes.len() + padding, 0);
        true
    }
}
