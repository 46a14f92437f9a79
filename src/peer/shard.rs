//! Our driver over `rtc` (skeleton).
use super::{PeerCommand, PeerEvent};
use std::net::{IpAddr, SocketAddr};
use tokio::sync::mpsc;

/// What a set of shards needs.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// UDP port; 0 for any.
    pub port: u16,
    /// Candidate addresses; also what the sockets are bound to when all are loopback.
    pub addresses: Vec<IpAddr>,
    /// Threads.
    pub shards: usize,
}

/// Why the shards cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// The port is taken or the address is not ours.
    #[error("cannot bind UDP {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
}

/// The running shards.
#[derive(Debug)]
pub struct Shards {}

impl Shards {
    /// Binds the port and starts the threads. Events come in order per peer.
    pub fn start(_config: ShardConfig, _events: mpsc::UnboundedSender<PeerEvent>) -> Result<Self, ShardsError> {
        unimplemented!("skeleton")
    }
    /// The addresses offered as candidates, with the port really bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        unimplemented!("skeleton")
    }
    /// Hands an order to the shard that owns the peer. Never blocks.
    pub fn send(&self, _command: PeerCommand) {
        unimplemented!("skeleton")
    }
    /// Closes every peer (DTLS close_notify sent) and joins the threads; takes at most 500 ms.
    pub fn stop(self) {
        unimplemented!("skeleton")
    }
}
