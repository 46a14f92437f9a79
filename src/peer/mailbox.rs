//! The way to a shard: what other threads, and the shard itself, ask of it.

use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::PeerCommand;
use super::credit::Flows;
use super::reach::Reach;
use super::relay::Outlet;
use super::ring::Waker;
use super::shards::Collected;
use super::tcp::Stream;
use crate::forward::KeyframeRequest;
use crate::vocab::{LayerId, PeerId};

/// What reaches a shard from other threads and from itself.
pub(super) enum Order {
    Command(PeerCommand),
    Keyframe {
        peer: PeerId,
        layer: LayerId,
    },
    /// There is room for this peer's messages again.
    Resume(PeerId),
    /// To the first shard, of another one's peer: its user fragment.
    Known {
        peer: PeerId,
        ufrag: String,
        shard: usize,
    },
    /// A connection of one of its peers, which came in at the first shard.
    Stream(PeerId, Box<Stream>),
    /// To the first shard: another one's peer is gone.
    Gone(PeerId),
    /// To the first shard: the machine's addresses, with the port.
    Hosts(Vec<SocketAddr>),
    /// Who is asked for public addresses.
    StunServers(Vec<SocketAddr>),
    /// Who is asked for relays.
    TurnServers(Vec<SocketAddr>),
    /// To the first shard, of another one's peer: its datagrams from the relayed address of all find no way to there.
    Bind {
        peer: PeerId,
        to: SocketAddr,
    },
    /// To the others: how datagrams leave from the relayed address of all.
    Outlet(Option<Arc<Outlet>>),
    /// To the others: where the gateway is.
    Reach {
        reach: Reach,
        /// The ways in use may not be good any more.
        doubt: bool,
    },
    /// The figures of all its peers.
    Figures(Arc<Mutex<Collected>>),
    CountEntries(std_mpsc::SyncSender<usize>),
    /// Says that the shard takes orders.
    Ping(oneshot::Sender<()>),
    /// Datagrams to this peer find the kernel's buffer full from now on.
    #[cfg(test)]
    Clog(Option<PeerId>),
    Stop,
}

/// The way to a shard.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    /// Its data channels.
    pub(super) flows: Flows,
    orders: std_mpsc::Sender<Order>,
    waker: Arc<Waker>,
}

impl Mailbox {
    pub(super) fn new(orders: std_mpsc::Sender<Order>, waker: Arc<Waker>) -> Self {
        Self { flows: Flows::default(), orders, waker }
    }

    /// Hands on a command; a message counts as waiting from now on.
    pub(super) fn command(&self, command: PeerCommand) {
        if let PeerCommand::SendMessage { channel, message, .. } = &command {
            self.flows.coming(*channel, message.len());
        }
        self.send(Order::Command(command));
    }

    pub(super) fn send(&self, order: Order) {
        // a shard that has stopped has no peers either
        if self.orders.send(order).is_ok() {
            self.waker.wake();
        }
    }

    /// One that nobody reads.
    #[cfg(test)]
    pub(super) fn detached() -> Self {
        Self {
            flows: Flows::default(),
            orders: std_mpsc::channel().0,
            waker: Arc::new(Waker::new().expect("an event descriptor")),
        }
    }

    /// Has the shard read a peer's messages again.
    pub(super) fn resume_reading(&self, peer: PeerId) {
        self.send(Order::Resume(peer));
    }

    /// Asks a publisher for key frames of one of its layers by way of its shard.
    pub(super) fn keyframe_request(&self, peer: PeerId, layer: LayerId) -> impl KeyframeRequest + use<> {
        PublisherRequest { mailbox: self.clone(), peer, layer }
    }
}

struct PublisherRequest {
    mailbox: Mailbox,
    peer: PeerId,
    layer: LayerId,
}

impl KeyframeRequest for PublisherRequest {
    fn request(&self) {
        self.mailbox.send(Order::Keyframe { peer: self.peer, layer: self.layer });
    }
}
