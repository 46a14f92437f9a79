//! The handle of all shards: starts them, finds each peer's, stops them.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::engine::Identity;
use super::inlet::Inlet;
use super::mailbox::{Mailbox, Order};
use super::placement::Placement;
use super::priority;
use super::protect::Suite;
use super::reach::{self, Reach};
use super::relay::{RelayAccess, RelayFigures, Word};
use super::ring::Waker;
use super::shard::{Bearings, Shard};
use super::socket::{self, Port};
use super::tcp::{self, Streams};
use super::{External, NamedCandidate, PeerCommand, PeerEvent, PeerFigures};
use crate::forward::Stages;
#[cfg(test)]
use crate::vocab::PeerId;

/// What a set of shards needs.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// UDP port; 0 for any.
    pub port: u16,
    /// Whether far ends may also come by TCP, at the same port; where it was not chosen and TCP has it not free, at another.
    pub tcp: bool,
    /// Candidate addresses; also what the sockets are bound to when all are loopback.
    pub addresses: Vec<IpAddr>,
    /// What else there is to say of where it is.
    pub place: Place,
    /// Threads, at least 1. See [`threads`].
    pub shards: usize,
    /// Peers a thread gets before the next one is used, see [`FILL`].
    pub fill: usize,
    /// The SRTP profile taken where the far end knows both; [`Processor`](super::Processor) knows the cheaper one.
    pub prefer: Suite,
    /// Where it is counted how long frames take to the kernel.
    pub stages: Arc<Stages>,
}

/// Where the gateway is, besides its addresses.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Public addresses that lead here.
    pub external: Vec<External>,
    /// ICE lite: only far ends check.
    pub lite: bool,
    /// The addresses may become others, also of the other family: see [`Shards::set_addresses`].
    pub changes: bool,
    /// Where candidates with a name in place of the address go; without it they are left out.
    pub names: Option<mpsc::Sender<NamedCandidate>>,
    /// There are STUN servers to ask: [`Shards::set_stun_servers`] will tell them.
    pub asks: bool,
    /// There are TURN servers to ask for relays: [`Shards::set_turn_servers`] will tell them.
    pub relay: Option<RelayAccess>,
}

/// As [`ShardConfig::fill`]: as many viewers as a board is made for.
pub const FILL: usize = 32;

/// How many media threads a machine with so many cores has when nothing is said: one core is left for codecs and signalling, and four
/// threads forward more than the network of a board carries.
pub fn threads(cores: usize) -> usize {
    cores.saturating_sub(1).clamp(1, 4)
}

/// Why the shards cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// The port is taken or the address is not ours.
    #[error("cannot bind UDP {address} (media.ice_port)")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The port is taken for TCP.
    #[error("cannot listen at TCP port {port} (media.ice_port); media.ice_tcp = false does without")]
    Listen {
        /// What was asked for.
        port: u16,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// There is no address to offer.
    #[error("no address to offer as a candidate")]
    NoAddress,
    /// The certificate could not be made.
    #[error("cannot make a DTLS certificate")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No thread or no event descriptor.
    #[error("cannot start a media thread")]
    Thread(#[source] std::io::Error),
}

/// What the shards of a set share.
pub(super) struct Common {
    pub(super) doors: Vec<Door>,
    placement: Mutex<Placement>,
    relays: Mutex<Word>,
}

/// Where a shard is reached.
pub(super) struct Door {
    pub(super) mailbox: Mailbox,
    pub(super) inlet: Inlet,
}

impl Common {
    pub(super) fn placement(&self) -> MutexGuard<'_, Placement> {
        // no code that can panic runs under the lock
        self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What TURN servers said.
    pub(super) fn relays(&self) -> MutexGuard<'_, Word> {
        // nor under this one
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running shards. Dropping it stops them too, without waiting.
pub struct Shards {
    common: Arc<Common>,
    addresses: Vec<SocketAddr>,
    /// The threads and their last words; taken by [`Self::stop`].
    threads: Mutex<Vec<(std::thread::JoinHandle<()>, std_mpsc::Receiver<()>)>>,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("threads", &self.common.doors.len()).field("addresses", &self.addresses).finish()
    }
}

impl Shards {
    /// Longest time [`Self::stop`] waits for the goodbyes.
    pub(super) const STOP_LIMIT: Duration = Duration::from_millis(500);

    /// Binds the port and starts the threads. Events come in order per peer.
    pub fn start(config: ShardConfig, events: mpsc::UnboundedSender<PeerEvent>) -> Result<Self, ShardsError> {
        let (ports, addresses) = socket::bind(&config.addresses, config.port, config.place.changes)?;
        let (mut streams, mut tcp_port) = (Streams::default(), None);
        if config.tcp {
            let bound: Vec<SocketAddr> = ports.iter().map(Port::bound).collect();
            let listening = tcp::bind(&bound, config.port != 0);
            let (listeners, port) = listening.map_err(|source| ShardsError::Listen { port: config.port, source })?;
            streams = Streams::new(listeners, addresses.first().map_or(0, SocketAddr::port));
            tcp_port = Some(port);
        }
        let ports = Arc::from(ports);
        let Place { external, lite, names, asks, relay, .. } = config.place;
        // who is lite is reached (RFC 8445 §2.5)
        let relay = relay.filter(|_| !lite);
        let public = reach::configured(&external, &addresses).into();
        let reach = Reach { hosts: addresses.as_slice().into(), tcp_port, public, lite, ..Reach::default() };
        let identity = Identity::generate(reach, config.prefer).map_err(|error| ShardsError::Certificate(Box::new(error)))?;
        let count = config.shards.max(1);
        let (mut doors, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let waker = Arc::new(Waker::new().map_err(ShardsError::Thread)?);
            // orders are a few per peer and key-frame requests at most two a second per layer: bounded by who sends them
            let (orders, inbox) = std_mpsc::channel();
            doors.push(Door { mailbox: Mailbox::new(orders, Arc::clone(&waker)), inlet: Inlet::new(Arc::clone(&waker)) });
            ends.push((waker, inbox));
        }
        let common =
            Arc::new(Common { doors, placement: Mutex::new(Placement::new(count, config.fill)), relays: Mutex::default() });
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // from here on those that run are stopped when one does not start
        let this = Self { common: Arc::clone(&common), addresses, threads: Mutex::default() };
        for (index, (waker, orders)) in ends.into_iter().enumerate() {
            // the first has those that come in
            let streams = std::mem::take(&mut streams);
            let (common, ports, identity) = (Arc::clone(&common), Arc::clone(&ports), identity.clone());
            let bearings = Bearings::new(external.clone(), names.clone(), asks, relay.clone());
            let (events, stages) = (events.clone(), Arc::clone(&config.stages));
            let (done, stopped) = std_mpsc::sync_channel(1);
            // made where it runs: what it holds of a viewer cannot move to another thread
            let run = move || {
                priority::raise(cores);
                Shard::new(index, common, ports, streams, identity, bearings, waker, orders, events, stages).run();
                // nobody listens when the handle was dropped
                let _ = done.send(());
            };
            let thread = std::thread::Builder::new().name(format!("media-{index}")).spawn(run).map_err(ShardsError::Thread)?;
            this.lock_threads().push((thread, stopped));
        }
        Ok(this)
    }

    /// The addresses offered as candidates at the start, with the port really bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Hands an order to the shard that owns the peer; one for a peer that is gone goes unsaid. Never blocks.
    pub fn send(&self, command: PeerCommand) {
        let shard = match &command {
            PeerCommand::Open(spec) => {
                let placed = self.common.placement().place(spec.peer, spec.receive.is_some() || spec.data.is_some());
                if placed.is_none() {
                    tracing::error!(peer = %spec.peer, "peer opened twice");
                }
                placed
            }
            PeerCommand::Describe { peer, .. }
            | PeerCommand::AddCandidate { peer, .. }
            | PeerCommand::Feed { peer, .. }
            | PeerCommand::SendLane { peer, .. }
            | PeerCommand::TakeLane { peer, .. }
            | PeerCommand::EndLane { peer, .. }
            | PeerCommand::OpenChannel { peer, .. }
            | PeerCommand::SendMessage { peer, .. }
            | PeerCommand::CloseChannel { peer, .. }
            | PeerCommand::Close { peer }
            | PeerCommand::Figures { peer: Some(peer), .. } => self.common.placement().home(*peer),
            PeerCommand::Figures { peer: None, .. } => None,
        };
        match (shard.and_then(|shard| self.common.doors.get(shard)), command) {
            (Some(door), command) => door.mailbox.command(command),
            (None, PeerCommand::Figures { peer: None, reply }) => self.collect(reply),
            // the asker may have given up
            (None, PeerCommand::Figures { reply, .. }) => drop(reply.send(Vec::new())),
            (None, _) => {}
        }
    }

    /// Offers these addresses of the machine from now on, and finds other ways for peers whose address is gone. STUN servers are asked anew: also
    /// another route may lead out by another router.
    pub fn set_addresses(&self, addresses: &[IpAddr]) {
        let port = self.addresses.first().map_or(0, SocketAddr::port);
        let hosts = socket::distinct(addresses).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        self.tell_first(Order::Hosts(hosts));
    }

    /// Asks these STUN servers for the gateway's public address from now on.
    pub fn set_stun_servers(&self, servers: Vec<SocketAddr>) {
        self.common.doors.iter().for_each(|door| door.mailbox.send(Order::StunServers(servers.clone())));
    }

    /// Asks these TURN servers for relays from now on, where [`Place::relay`] says so.
    pub fn set_turn_servers(&self, servers: Vec<SocketAddr>) {
        self.common.doors.iter().for_each(|door| door.mailbox.send(Order::TurnServers(servers.clone())));
    }

    /// Relays of the gateway's own.
    pub fn relays(&self) -> RelayFigures {
        self.common.relays().figures()
    }

    /// The first shard reads the sockets, and tells the others where the gateway is.
    fn tell_first(&self, order: Order) {
        if let Some(door) = self.common.doors.first() {
            door.mailbox.send(order);
        }
    }

    /// Asks all shards for the figures of all their peers; the last to answer replies.
    fn collect(&self, reply: oneshot::Sender<Vec<PeerFigures>>) {
        let collected =
            Arc::new(Mutex::new(Collected { left: self.common.doors.len(), figures: Vec::new(), reply: Some(reply) }));
        for door in &self.common.doors {
            door.mailbox.send(Order::Figures(Arc::clone(&collected)));
        }
    }

    /// True when every thread has answered, each in its next turn and after the orders before it; false where one is gone.
    pub fn ping(&self) -> impl Future<Output = bool> + Send + use<> {
        let ask = |door: &Door| {
            let (reply, answer) = oneshot::channel();
            door.mailbox.send(Order::Ping(reply));
            answer
        };
        let answers: Vec<_> = self.common.doors.iter().map(ask).collect();
        async move {
            for answer in answers {
                if answer.await.is_err() {
                    return false;
                }
            }
            true
        }
    }

    /// How many entries the maps of peers have; 0 when no peer is left. For tests of leaks.
    pub fn demux_entries(&self) -> usize {
        // the first shard last: the others tell it who is gone before they answer
        let count = |door: &Door| {
            let (reply, answer) = std_mpsc::sync_channel(1);
            door.mailbox.send(Order::CountEntries(reply));
            answer.recv_timeout(Self::STOP_LIMIT).unwrap_or(usize::MAX)
        };
        let entries = self.common.doors.iter().rev().map(count).fold(0, usize::saturating_add);
        entries.saturating_add(self.common.placement().len())
    }

    /// Lets every datagram to a peer find the kernel's buffer full.
    #[cfg(test)]
    pub(super) fn clog(&self, peer: Option<PeerId>) {
        self.common.doors.iter().for_each(|door| door.mailbox.send(Order::Clog(peer)));
    }

    /// Closes every peer (DTLS close_notify sent) and joins the threads; takes at most 500 ms.
    /// Doing it again does nothing.
    pub fn stop(&self) {
        self.tell_stop();
        let end = Instant::now() + Self::STOP_LIMIT;
        for (thread, stopped) in std::mem::take(&mut *self.lock_threads()) {
            let stopped = stopped.recv_timeout(end.saturating_duration_since(Instant::now()));
            if stopped != Err(std_mpsc::RecvTimeoutError::Timeout) && thread.join().is_err() {
                tracing::error!("media thread panicked");
            }
        }
    }

    fn tell_stop(&self) {
        self.common.doors.iter().for_each(|door| door.mailbox.send(Order::Stop));
    }

    fn lock_threads(&self) -> MutexGuard<'_, Vec<(std::thread::JoinHandle<()>, std_mpsc::Receiver<()>)>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.tell_stop();
    }
}

/// Figures of all shards on their way to who asked.
pub(super) struct Collected {
    /// Shards that have not answered.
    left: usize,
    figures: Vec<PeerFigures>,
    reply: Option<oneshot::Sender<Vec<PeerFigures>>>,
}

impl Collected {
    /// Adds those of one shard.
    pub(super) fn add(collected: &Mutex<Self>, figures: Vec<PeerFigures>) {
        let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
        collected.figures.extend(figures);
        collected.left = collected.left.saturating_sub(1);
        if collected.left == 0
            && let Some(reply) = collected.reply.take()
        {
            // the asker may have given up
            let _ = reply.send(std::mem::take(&mut collected.figures));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_core_is_left_for_codecs() {
        assert_eq!([1, 2, 3, 4, 6, 64].map(super::threads), [1, 1, 2, 3, 4, 4]);
    }
}
