//! Our driver over the engine: one thread, its sockets, many peers, a timer.
//!
//! ```text
//! hub ─► orders ─┐                       ┌─► events ─► hub
//! layers ─► rings ┼─► wake ─► turn: orders, datagrams, rings, timers ─► one batch out
//! sockets ────────┘                       └─► layers of publishers
//! ```
//!
//! The thread sleeps in `poll` until a socket is readable, the event is raised or a timer is due. Nothing in a turn blocks;
//! a full kernel buffer costs at most 2 ms, then datagrams are dropped and their viewers skip to the next key frame.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use super::connection::{Connection, Described, News};
use super::demux::{Demux, Wire, classify};
use super::engine::Identity;
use super::mailbox::{Mailbox, Order};
use super::ring::{Ring, Waker};
use super::socket::{self, Inbox, Outbox, Port};
use super::{PeerCommand, PeerEvent};
use crate::forward::{Layer, SinkId, Stages};
use crate::vocab::{MediaKind, PeerId};

/// What a set of shards needs.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// UDP port; 0 for any.
    pub port: u16,
    /// Candidate addresses; also what the sockets are bound to when all are loopback.
    pub addresses: Vec<IpAddr>,
    /// Threads. This driver runs one, whatever is asked for: a thread forwards more than a board's uplink carries.
    pub shards: usize,
    /// Where it is counted how long frames take to the kernel.
    pub stages: Arc<Stages>,
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

/// The running shards. Dropping it stops them too, without waiting.
#[derive(Debug)]
pub struct Shards {
    mailbox: Mailbox,
    addresses: Vec<SocketAddr>,
    /// The thread and its last word; taken by [`Self::stop`].
    thread: std::sync::Mutex<Option<(std::thread::JoinHandle<()>, std_mpsc::Receiver<()>)>>,
}

impl Shards {
    /// Longest time [`Self::stop`] waits for the goodbyes.
    const STOP_LIMIT: Duration = Duration::from_millis(500);

    /// Binds the port and starts the threads. Events come in order per peer.
    pub fn start(config: ShardConfig, events: mpsc::UnboundedSender<PeerEvent>) -> Result<Self, ShardsError> {
        if config.shards > 1 {
            tracing::info!(asked = config.shards, "one media thread serves all peers");
        }
        let (ports, addresses) = socket::bind(&config.addresses, config.port)?;
        let identity = Identity::generate(&addresses).map_err(|error| ShardsError::Certificate(Box::new(error)))?;
        let waker = Arc::new(Waker::new().map_err(ShardsError::Thread)?);
        // orders are a few per peer and key-frame requests at most two a second per layer: bounded by who sends them
        let (orders, inbox) = std_mpsc::channel();
        let mailbox = Mailbox::new(orders, Arc::clone(&waker));
        let shard = Shard {
            ports,
            identity,
            mailbox: mailbox.clone(),
            waker,
            orders: inbox,
            events,
            peers: HashMap::new(),
            timers: BTreeSet::new(),
            demux: Demux::default(),
            rings: HashMap::new(),
            touched: Vec::new(),
            out: Outbox::default(),
            unknown: 0,
            stages: config.stages,
            leaving: Vec::new(),
        };
        let (done, stopped) = std_mpsc::sync_channel(1);
        let run = move || {
            shard.run();
            // nobody listens when the handle was dropped
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("media-0".into()).spawn(run).map_err(ShardsError::Thread)?;
        Ok(Self { mailbox, addresses, thread: std::sync::Mutex::new(Some((thread, stopped))) })
    }

    /// The addresses offered as candidates, with the port really bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Hands an order to the shard that owns the peer. Never blocks.
    pub fn send(&self, command: PeerCommand) {
        self.mailbox.command(command);
    }

    /// Answered in the next turn of the thread, after the orders before it; dropped where the thread is gone.
    pub fn ping(&self) -> tokio::sync::oneshot::Receiver<()> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.mailbox.send(Order::Ping(reply));
        answer
    }

    /// How many entries the maps from datagrams to peers have; 0 when no peer is left. For tests of leaks.
    pub fn demux_entries(&self) -> usize {
        let (reply, answer) = std_mpsc::sync_channel(1);
        self.mailbox.send(Order::CountEntries(reply));
        answer.recv_timeout(Self::STOP_LIMIT).unwrap_or(usize::MAX)
    }

    /// Lets every datagram to a peer find the kernel's buffer full.
    #[cfg(test)]
    pub(super) fn clog(&self, peer: Option<PeerId>) {
        self.mailbox.send(Order::Clog(peer));
    }

    /// Closes every peer (DTLS close_notify sent) and joins the threads; takes at most 500 ms.
    /// Doing it again does nothing.
    pub fn stop(&self) {
        self.mailbox.send(Order::Stop);
        let taken = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some((thread, stopped)) = taken else { return };
        let stopped = stopped.recv_timeout(Self::STOP_LIMIT);
        if stopped != Err(std_mpsc::RecvTimeoutError::Timeout) && thread.join().is_err() {
            tracing::error!("media thread panicked");
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.mailbox.send(Order::Stop);
    }
}

/// A peer and the timer it waits for.
struct Slot {
    connection: Connection,
    due: Instant,
}

/// A layer with viewers on this shard.
struct Attached {
    layer: Arc<Layer>,
    ring: Arc<Ring>,
    viewers: Vec<(PeerId, usize)>,
}

/// Layers are told apart by where they are: an id may come again with another layer.
type LayerKey = usize;

fn key_of(layer: &Arc<Layer>) -> LayerKey {
    Arc::as_ptr(layer).addr()
}

struct Shard {
    ports: Vec<Port>,
    identity: Identity,
    mailbox: Mailbox,
    waker: Arc<Waker>,
    orders: std_mpsc::Receiver<Order>,
    events: mpsc::UnboundedSender<PeerEvent>,
    peers: HashMap<PeerId, Slot>,
    timers: BTreeSet<(Instant, PeerId)>,
    demux: Demux,
    rings: HashMap<LayerKey, Attached>,
    /// Peers whose engines have something to give.
    touched: Vec<PeerId>,
    out: Outbox,
    /// Datagrams of nobody, for a log line a second at most.
    unknown: u64,
    stages: Arc<Stages>,
    /// When the frames of video that leave in this turn came.
    leaving: Vec<Instant>,
}

/// Datagram batches read in one turn, so that a flood does not starve timers and rings: 8 trains each.
const READS_PER_TURN: usize = 16;
/// Datagrams of data channels after which a turn reads no further batch: they cost about 10 µs each, and media waits.
const DTLS_PER_TURN: usize = 128;
/// Longest time the data channels of a peer take to close before its connection does.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// The same when the shard stops; within [`Shards::STOP_LIMIT`].
const STOP_CLOSE_LIMIT: Duration = Duration::from_millis(350);
/// This shard among a layer's sinks.
const SINK: SinkId = SinkId(0);

impl Shard {
    fn run(mut self) {
        let mut inbox = Inbox::new();
        let mut said = Instant::now();
        let mut stopping = false;
        loop {
            self.waker.begin_turn();
            let now = Instant::now();
            stopping |= !self.take_orders(now);
            if stopping {
                let peers: Vec<PeerId> = self.peers.keys().copied().collect();
                peers.into_iter().for_each(|peer| self.close(now, peer, STOP_CLOSE_LIMIT));
            }
            let more = self.take_datagrams(now, &mut inbox);
            self.settle(now);
            // what publishers wrote in this turn leaves in this turn
            self.take_frames(now);
            self.run_timers(now);
            self.settle(now);
            self.flush(now);
            if self.unknown > 0 && now.duration_since(said) >= Duration::from_secs(1) {
                tracing::debug!(datagrams = std::mem::take(&mut self.unknown), "datagrams of unknown peers dropped");
                said = now;
            }
            if stopping && self.peers.is_empty() {
                break;
            }
            if !more {
                self.sleep();
            }
        }
    }

    /// Waits for a datagram, a wake-up or the next timer.
    fn sleep(&mut self) {
        let limit = match self.waker.fall_asleep() {
            true => self.timers.first().map(|(due, _)| due.saturating_duration_since(Instant::now())),
            false => Some(Duration::ZERO),
        };
        let limit = limit.map(|limit| Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) });
        let mut fds: Vec<PollFd<'_>> = self.ports.iter().map(|port| PollFd::from_borrowed_fd(port.fd(), PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(self.waker.fd(), PollFlags::IN));
        // an interrupted wait is a short one
        let _ = poll(&mut fds, limit.as_ref());
        self.waker.get_up();
    }

    /// Carries out waiting orders; false to stop.
    fn take_orders(&mut self, now: Instant) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Command(command)) => self.command(now, command),
                Ok(Order::Keyframe { peer, track }) => {
                    if let Some(slot) = self.peers.get_mut(&peer) {
                        slot.connection.request_key(now, track);
                        self.touched.push(peer);
                    }
                }
                Ok(Order::Resume(peer)) => self.touched.push(peer),
                Ok(Order::CountEntries(reply)) => {
                    let entries = self.demux.entries() + self.timers.len() + self.rings.len() + self.peers.len();
                    // the asker may have given up
                    let _ = reply.try_send(entries);
                }
                // the asker may have given up
                Ok(Order::Ping(reply)) => drop(reply.send(())),
                #[cfg(test)]
                Ok(Order::Clog(peer)) => self.out.clogged = peer,
                Ok(Order::Stop) | Err(std_mpsc::TryRecvError::Disconnected) => return false,
                Err(std_mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    fn command(&mut self, now: Instant, command: PeerCommand) {
        match command {
            PeerCommand::Open(spec) => {
                let peer = spec.peer;
                if self.peers.contains_key(&peer) {
                    tracing::error!(%peer, "peer opened twice");
                    return;
                }
                match Connection::open(now, *spec, &self.identity, &self.mailbox) {
                    Ok((connection, sdp, tracks)) => {
                        self.demux.insert(peer, connection.ufrag());
                        let due = connection.next_timeout();
                        self.timers.insert((due, peer));
                        self.peers.insert(peer, Slot { connection, due });
                        self.touched.push(peer);
                        if !tracks.is_empty() {
                            self.tell(PeerEvent::Tracks { peer, tracks });
                        }
                        self.tell(PeerEvent::Description { peer, sdp });
                    }
                    Err(reason) => self.tell(PeerEvent::Down { peer, reason }),
                }
            }
            PeerCommand::Describe { peer, sdp } => {
                let mailbox = self.mailbox.clone();
                let Some(slot) = self.living(peer) else { return };
                let described = slot.connection.describe(now, &sdp, &mailbox);
                let ufrag = slot.connection.ufrag().to_owned();
                self.demux.insert(peer, &ufrag);
                self.touched.push(peer);
                match described {
                    Described::Taken(tracks) => {
                        if !tracks.is_empty() {
                            self.tell(PeerEvent::Tracks { peer, tracks });
                        }
                    }
                    Described::Answer { sdp, tracks } => {
                        if let Some(tracks) = tracks {
                            self.tell(PeerEvent::Tracks { peer, tracks });
                        }
                        self.tell(PeerEvent::Description { peer, sdp });
                        self.attach(now, peer);
                    }
                    Described::Rejected(reason) => self.tell(PeerEvent::Rejected { peer, reason }),
                    Described::Down(reason) => {
                        self.remove(peer);
                        self.tell(PeerEvent::Down { peer, reason });
                    }
                }
            }
            PeerCommand::AddCandidate { peer, candidate } => {
                if let Some(slot) = self.living(peer) {
                    slot.connection.add_candidate(&candidate);
                    self.touched.push(peer);
                }
            }
            PeerCommand::Feed { peer, send } => {
                if let Some(slot) = self.peers.get_mut(&peer) {
                    slot.connection.feed_tracks(send);
                    self.attach(now, peer);
                }
            }
            PeerCommand::OpenChannel { peer, channel, new } => {
                self.act(peer, |connection, news| connection.open_channel(channel, new, news));
            }
            PeerCommand::SendMessage { peer, channel, message } => {
                self.act(peer, |connection, news| connection.send_message(channel, message, news));
            }
            PeerCommand::CloseChannel { peer, channel } => {
                self.act(peer, |connection, news| connection.close_channel(channel, news));
            }
            PeerCommand::Close { peer } => self.close(now, peer, CLOSE_LIMIT),
            PeerCommand::Figures { peer, reply } => {
                let living = |slot: &&mut Slot| !slot.connection.is_closing();
                let figures = match peer {
                    Some(peer) => self.living(peer).map(|slot| slot.connection.figures()).into_iter().collect(),
                    None => self.peers.values_mut().filter(living).map(|slot| slot.connection.figures()).collect(),
                };
                // the asker may have given up
                let _ = reply.send(figures);
            }
        }
    }

    /// Reads what the sockets have, up to a limit. Returns whether there may be more.
    fn take_datagrams(&mut self, now: Instant, inbox: &mut Inbox) -> bool {
        let mut more = false;
        let Self { ports, peers, demux, touched, unknown, .. } = self;
        for port in ports {
            let mut data = 0;
            more |= (0..READS_PER_TURN).all(|_| {
                let full = inbox.read(port, |local, from, datagram| {
                    data += usize::from(classify(datagram) == Wire::Dtls);
                    let Some(peer) = demux.route(from, datagram) else {
                        *unknown += 1;
                        return;
                    };
                    if let Some(slot) = peers.get_mut(&peer) {
                        slot.connection.datagram(now, local, from, datagram);
                        if touched.last() != Some(&peer) {
                            touched.push(peer);
                        }
                    }
                });
                // what is left makes the next sleep a short one
                full && data < DTLS_PER_TURN
            });
        }
        more
    }

    /// Gives the frames of every layer to its viewers.
    fn take_frames(&mut self, now: Instant) {
        let Self { rings, peers, touched, leaving, out, ports, .. } = self;
        for attached in rings.values() {
            let taken = attached.ring.take();
            if !attached.viewers.is_empty() && attached.layer.format().codec.kind() == MediaKind::Video {
                leaving.extend(taken.frames.iter().map(|frame| frame.arrived));
            }
            for (peer, index) in &attached.viewers {
                let Some(slot) = peers.get_mut(peer) else { continue };
                if taken.frames.is_empty() && !taken.overrun {
                    continue;
                }
                let mut begins = false;
                for frame in &taken.frames {
                    begins |= slot.connection.send_frame(now, *index, frame, out);
                }
                if taken.overrun {
                    slot.connection.skip_to_key(now, *index);
                }
                // the engine has nothing to do with it, but the first packet is news, and sets a timer
                if begins || taken.overrun || slot.connection.next_timeout() < slot.due {
                    touched.push(*peer);
                }
                if out.is_large() {
                    out.flush(ports);
                }
            }
        }
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some((due, peer)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, peer));
            if let Some(slot) = self.peers.get_mut(&peer) {
                slot.connection.timeout(now);
                self.touched.push(peer);
            }
        }
    }

    /// Takes everything out of the engines that were touched and acts on what happened.
    fn settle(&mut self, now: Instant) {
        let mut news = Vec::new();
        while !self.touched.is_empty() {
            let mut touched = std::mem::take(&mut self.touched);
            touched.sort_unstable();
            touched.dedup();
            for peer in touched {
                let Some(slot) = self.peers.get_mut(&peer) else { continue };
                slot.connection.drain(now, &mut self.out, &mut news);
                let due = slot.connection.next_timeout();
                if due != slot.due || !self.timers.contains(&(due, peer)) {
                    self.timers.remove(&(slot.due, peer));
                    self.timers.insert((due, peer));
                    slot.due = due;
                }
                if self.out.is_large() {
                    self.out.flush(&self.ports);
                }
                let closing = slot.connection.is_closing();
                for news in news.drain(..) {
                    match news {
                        News::Down(_) if closing => self.remove(peer),
                        _ if closing => {}
                        News::Told(event) => self.tell(event),
                        News::Up => self.tell(PeerEvent::Up { peer }),
                        News::Ready => self.attach(now, peer),
                        News::Flowing(kind) => self.tell(PeerEvent::Flowing { peer, kind }),
                        News::Down(reason) => {
                            self.remove(peer);
                            self.tell(PeerEvent::Down { peer, reason });
                        }
                    }
                }
            }
        }
    }

    fn flush(&mut self, now: Instant) {
        self.out.flush(&self.ports);
        if !self.leaving.is_empty() {
            let left = Instant::now();
            self.leaving.drain(..).for_each(|came| self.stages.send.note(left.saturating_duration_since(came)));
        }
        for peer in std::mem::take(&mut self.out.starved) {
            if let Some(slot) = self.peers.get_mut(&peer) {
                slot.connection.tracks_sent().for_each(|index| slot.connection.skip_to_key(now, index));
            }
        }
    }

    /// Attaches a peer that is ready to the layers it plays, and sends it what joiners get first.
    fn attach(&mut self, now: Instant, peer: PeerId) {
        let Some(slot) = self.peers.get_mut(&peer).filter(|slot| slot.connection.is_ready()) else { return };
        let wanted: Vec<(usize, Arc<Layer>)> =
            slot.connection.layers().map(|(index, layer)| (index, Arc::clone(layer))).collect();
        // a track the far end does not take any more
        self.detach(peer, |layer, index| wanted.iter().any(|(of, its)| *of == index && key_of(its) == layer));
        let Some(slot) = self.peers.get_mut(&peer) else { return };
        let mut missed = Vec::new();
        for (index, layer) in wanted {
            let attached = self.rings.entry(key_of(&layer)).or_insert_with(|| {
                let ring = Arc::new(Ring::new(Arc::clone(&self.waker)));
                layer.attach(SINK, ring.clone());
                Attached { layer: Arc::clone(&layer), ring, viewers: Vec::new() }
            });
            if attached.viewers.contains(&(peer, index)) {
                continue;
            }
            // frames in the ring are for those who are there already; the newcomer has them from the cache
            let taken = attached.ring.take();
            for (viewer, its) in &attached.viewers {
                missed.push((*viewer, *its, taken.frames.clone(), taken.overrun));
            }
            attached.viewers.push((peer, index));
            slot.connection.start_layer(now, index, &mut self.out);
            self.touched.push(peer);
        }
        for (viewer, index, frames, overrun) in missed {
            if let Some(slot) = self.peers.get_mut(&viewer) {
                for frame in &frames {
                    slot.connection.send_frame(now, index, frame, &mut self.out);
                }
                if overrun {
                    slot.connection.skip_to_key(now, index);
                }
                self.touched.push(viewer);
            }
        }
    }

    /// A peer that is not being closed.
    fn living(&mut self, peer: PeerId) -> Option<&mut Slot> {
        self.peers.get_mut(&peer).filter(|slot| !slot.connection.is_closing())
    }

    /// Does something to a peer's channels, and tells what comes of it at once.
    fn act(&mut self, peer: PeerId, act: impl FnOnce(&mut Connection, &mut Vec<News>)) {
        let Some(slot) = self.living(peer) else { return };
        let mut news = Vec::new();
        act(&mut slot.connection, &mut news);
        if self.touched.last() != Some(&peer) {
            self.touched.push(peer);
        }
        for news in news {
            if let News::Told(event) = news {
                self.tell(event);
            }
        }
    }

    /// Ends a peer by Portico's will: its data channels first, which takes up to `limit`.
    fn close(&mut self, now: Instant, peer: PeerId, limit: Duration) {
        let Some(slot) = self.living(peer) else { return };
        if slot.connection.begin_close(now, limit) {
            self.detach(peer, |_, _| false);
            self.touched.push(peer);
        } else {
            self.remove(peer);
        }
    }

    /// Ends a peer with a goodbye and forgets everything about it.
    fn remove(&mut self, peer: PeerId) {
        let Some(mut slot) = self.peers.remove(&peer) else { return };
        slot.connection.close(&mut self.out);
        self.timers.remove(&(slot.due, peer));
        self.demux.remove(peer);
        self.detach(peer, |_, _| false);
        debug_assert!(self.timers.len() <= self.peers.len(), "a timer outlived its peer");
        debug_assert!(self.demux.is_of(self.peers.len()), "an address outlived its peer");
    }

    /// Takes a peer's tracks off their layers, but for those to keep. A layer without viewers forgets this shard.
    fn detach(&mut self, peer: PeerId, keep: impl Fn(LayerKey, usize) -> bool) {
        self.rings.retain(|layer, attached| {
            attached.viewers.retain(|(viewer, index)| *viewer != peer || keep(*layer, *index));
            if attached.viewers.is_empty() {
                attached.layer.detach(SINK);
                attached.ring.close();
            }
            !attached.viewers.is_empty()
        });
    }

    fn tell(&self, event: PeerEvent) {
        // the hub is gone only when the process ends
        let _ = self.events.send(event);
    }
}
