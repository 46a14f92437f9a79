//! A connection that is ready to send and has no far end: for counting what sending alone takes.

use std::net::SocketAddr;

use super::Connection;
use crate::peer::protect::Protector;

impl Connection {
    /// Has it send as if ICE and DTLS had come up so: protected by this, between these addresses, its own first.
    pub(in crate::peer) fn rehearse(&mut self, protector: Protector, way: (SocketAddr, SocketAddr)) {
        (self.protector, self.way) = (Some(protector), Some(way));
    }
}
