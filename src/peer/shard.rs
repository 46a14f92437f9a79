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

mod apart;
mod bearings;
mod commands;
mod inputs;
mod relays;
mod touched;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use super::connection::{Connection, News, Then};
use super::demux::Demux;
use super::engine::Identity;
use super::gather::PAUSE;
use super::inlet::Handed;
use super::mailbox::{Mailbox, Order};
use super::ring::{Ring, Waker};
use super::shards::{Collected, Common};
use super::socket::{Inbox, Outbox, Port, Sockets};
use super::tcp::Streams;
use super::timers;
use super::{PeerEvent, PeerSpec};
use crate::forward::{Layer, SinkId, Stages};
use crate::vocab::{MediaKind, PeerId};
use apart::Apart;
pub(super) use bearings::Bearings;
use touched::Touched;

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

/// One thread and what is its own.
pub(super) struct Shard {
    /// Its number; the first reads the sockets.
    index: usize,
    common: Arc<Common>,
    sockets: Sockets,
    /// Peers that have sockets of their own.
    apart: HashMap<PeerId, Apart>,
    streams: Streams,
    /// One of them has something to read, or room.
    streams_stir: bool,
    identity: Identity,
    /// Of the first shard: where the gateway is.
    bearings: Bearings,
    waker: Arc<Waker>,
    orders: std_mpsc::Receiver<Order>,
    events: mpsc::UnboundedSender<PeerEvent>,
    peers: HashMap<PeerId, Slot>,
    timers: BTreeSet<(Instant, PeerId)>,
    /// When it began.
    epoch: Instant,
    demux: Demux,
    /// Of the first shard: peers of others, and where they are.
    elsewhere: HashMap<PeerId, usize>,
    /// Datagrams for them that were read in this turn, by shard.
    handed: Vec<Vec<Handed>>,
    rings: HashMap<LayerKey, Attached>,
    /// Peers of whom a part of a frame waits for the rest.
    gathering: Vec<PeerId>,
    touched: Touched,
    out: Outbox,
    /// Datagrams of nobody, for a log line a second at most.
    unknown: u64,
    stages: Arc<Stages>,
    /// When the frames of video that leave in this turn came.
    leaving: Vec<Instant>,
}

/// Longest time the data channels of a peer take to close before its connection does.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// The same when the shard stops; within [`Shards::STOP_LIMIT`].
const STOP_CLOSE_LIMIT: Duration = Duration::from_millis(350);

impl Shard {
    #[expect(clippy::too_many_arguments, reason = "called once, by who starts the threads")]
    pub(super) fn new(
        index: usize,
        common: Arc<Common>,
        ports: Arc<[Port]>,
        streams: Streams,
        identity: Identity,
        bearings: Bearings,
        waker: Arc<Waker>,
        orders: std_mpsc::Receiver<Order>,
        events: mpsc::UnboundedSender<PeerEvent>,
        stages: Arc<Stages>,
    ) -> Self {
        let handed = std::iter::repeat_with(Vec::new).take(common.doors.len()).collect();
        Self {
            index,
            common,
            sockets: Sockets::new(ports),
            apart: HashMap::new(),
            streams,
            streams_stir: false,
            identity,
            bearings,
            waker,
            orders,
            events,
            peers: HashMap::new(),
            timers: BTreeSet::new(),
            epoch: Instant::now(),
            demux: Demux::default(),
            elsewhere: HashMap::new(),
            handed,
            rings: HashMap::new(),
            gathering: Vec::new(),
            touched: Touched::default(),
            out: Outbox::default(),
            unknown: 0,
            stages,
            leaving: Vec::new(),
        }
    }

    /// This shard among a layer's sinks.
    fn sink(&self) -> SinkId {
        SinkId(self.index)
    }

    fn mailbox(&self) -> &Mailbox {
        &self.common.doors[self.index].mailbox
    }

    /// Makes a peer's user fragment known where the sockets are read.
    fn know(&mut self, peer: PeerId, ufrag: &str) {
        match self.index {
            0 => self.demux.insert(peer, ufrag),
            shard => self.common.doors[0].mailbox.send(Order::Known { peer, ufrag: ufrag.to_owned(), shard }),
        }
    }

    /// A peer is gone.
    fn forget(&mut self, peer: PeerId) {
        self.part(peer);
        self.common.placement().leave(peer);
        self.streams.forget(peer);
        match self.index {
            0 => self.demux.remove(peer),
            _ => self.common.doors[0].mailbox.send(Order::Gone(peer)),
        }
    }

    pub(super) fn run(mut self) {
        let mut inbox = Inbox::new();
        let mut said = Instant::now();
        let mut stopping = false;
        loop {
            let now = Instant::now();
            self.gathering.drain(..).for_each(|peer| self.touched.note(peer, Then::PassOn));
            stopping |= !self.take_orders(now);
            let more = self.take_datagrams(now, &mut inbox);
            let more = self.take_apart(now, &mut inbox) || more;
            self.take_handed(now);
            let more = self.take_streams(now) || more;
            self.settle(now);
            // only now: what publishers wrote in this turn leaves in this turn, and is no reason for another
            self.waker.begin_turn();
            stopping |= !self.take_orders(now);
            self.take_handed(now);
            if stopping {
                let peers: Vec<PeerId> = self.peers.keys().copied().collect();
                peers.into_iter().for_each(|peer| self.close(now, peer, STOP_CLOSE_LIMIT));
            }
            self.take_frames(now);
            self.run_timers(now);
            self.ask_outside(now);
            self.tend_apart(now);
            self.settle(now);
            self.flush(now);
            if self.unknown > 0 && now.duration_since(said) >= Duration::from_secs(1) {
                tracing::debug!(
                    datagrams = std::mem::take(&mut self.unknown),
                    "datagrams dropped: of unknown peers, or beyond what a thread can take"
                );
                said = now;
            }
            if stopping && self.peers.is_empty() {
                self.leave_relays();
                break;
            }
            if !more {
                self.sleep();
            }
        }
    }

    /// Waits for a datagram, a wake-up or the next timer; while a frame is arriving for a moment, whatever datagrams come.
    fn sleep(&mut self) {
        let limit = match self.waker.fall_asleep() {
            true if !self.gathering.is_empty() => Some(PAUSE),
            true => {
                let due = self.timers.first().map(|(due, _)| *due);
                let due = due.into_iter().chain(self.streams.next_timeout()).chain(self.bearings.next_timeout());
                let due = due.chain(self.apart.values().filter_map(Apart::next_timeout)).min();
                due.map(|due| due.saturating_duration_since(Instant::now()))
            }
            false => Some(Duration::ZERO),
        };
        let limit = limit.map(|limit| Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) });
        let mut fds = vec![PollFd::from_borrowed_fd(self.waker.fd(), PollFlags::IN)];
        if self.index == 0 && self.gathering.is_empty() {
            fds.extend(self.sockets.shared().iter().map(|port| PollFd::from_borrowed_fd(port.fd(), PollFlags::IN)));
        }
        if self.gathering.is_empty() {
            fds.extend(self.sockets.own().map(|(_, port)| PollFd::from_borrowed_fd(port.fd(), PollFlags::IN)));
        }
        let others = fds.len();
        if self.gathering.is_empty() {
            let interest = |full| if full { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.extend(self.streams.fds().map(|(fd, full)| PollFd::from_borrowed_fd(fd, interest(full))));
        }
        // an interrupted wait is a short one
        let _ = poll(&mut fds, limit.as_ref());
        let stirs = fds.iter().skip(others).any(|fd| !fd.revents().is_empty());
        drop(fds);
        self.streams_stir |= stirs;
        self.waker.get_up();
    }

    /// Carries out waiting orders; false to stop.
    fn take_orders(&mut self, now: Instant) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Command(command)) => self.command(now, command),
                Ok(Order::Keyframe { peer, layer }) => {
                    if let Some(slot) = self.peers.get_mut(&peer) {
                        slot.connection.request_key(now, layer);
                        self.touched.push(peer);
                    }
                }
                Ok(Order::Resume(peer)) => self.touched.push(peer),
                Ok(Order::Known { peer, ufrag, shard }) => {
                    self.demux.insert(peer, &ufrag);
                    self.elsewhere.insert(peer, shard);
                }
                Ok(Order::Stream(peer, stream)) => {
                    if self.peers.contains_key(&peer) {
                        self.streams.insert(peer, *stream);
                        self.streams_stir = true;
                    }
                }
                Ok(Order::Gone(peer)) => {
                    self.demux.remove(peer);
                    self.elsewhere.remove(&peer);
                }
                Ok(Order::Hosts(hosts)) => self.move_to(now, hosts),
                Ok(Order::StunServers(servers)) => self.ask_servers(now, servers),
                Ok(Order::TurnServers(servers)) => self.ask_for_relays(now, servers),
                Ok(Order::Bind { peer, to }) => self.bind(now, peer, to),
                Ok(Order::Outlet(outlet)) => self.sockets.set_outlet(None, outlet),
                Ok(Order::Reach { reach, doubt }) => self.is_at(now, &reach, doubt),
                Ok(Order::Figures(collected)) => {
                    let living = |slot: &&mut Slot| !slot.connection.is_closing();
                    let figures = self.peers.values_mut().filter(living).map(|slot| slot.connection.figures()).collect();
                    Collected::add(&collected, figures);
                }
                Ok(Order::CountEntries(reply)) => {
                    let maps =
                        self.demux.entries() + self.elsewhere.len() + self.timers.len() + self.rings.len() + self.streams.len();
                    let entries = maps + self.peers.len() + self.apart.len() + self.sockets.own().count();
                    let entries = entries + self.apart.values().map(Apart::relayed_entries).sum::<usize>();
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

    /// Gives the frames of every layer to its viewers.
    fn take_frames(&mut self, now: Instant) {
        let Self { rings, peers, touched, leaving, out, sockets, streams, epoch, .. } = self;
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
                let due = timers::due(*epoch, slot.connection.next_timeout(), slot.connection.slack());
                if begins || taken.overrun || due < slot.due {
                    touched.push(*peer);
                }
                if out.is_large() {
                    out.flush(sockets, streams);
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

    /// Hands on media that came, takes everything out of the engines that were touched, and acts on what happened.
    fn settle(&mut self, now: Instant) {
        let mut news = Vec::new();
        for peer in self.touched.take_arrived() {
            let Some(slot) = self.peers.get_mut(&peer) else { continue };
            if slot.connection.pass_on(now, &mut news) {
                self.touched.push(peer);
            }
            self.settle_peer(now, peer, &mut news);
        }
        loop {
            let touched = self.touched.take_stirred();
            if touched.is_empty() {
                break;
            }
            for peer in touched {
                let Some(slot) = self.peers.get_mut(&peer) else { continue };
                slot.connection.drain(now, &mut self.out, &mut news);
                if self.out.is_large() {
                    self.out.flush(&self.sockets, &mut self.streams);
                }
                self.settle_peer(now, peer, &mut news);
            }
        }
    }

    /// Sets a peer's timer anew, and acts on what happened to it.
    fn settle_peer(&mut self, now: Instant, peer: PeerId, news: &mut Vec<News>) {
        let Some(slot) = self.peers.get_mut(&peer) else { return };
        if slot.connection.gathers() {
            self.gathering.push(peer);
        }
        let due = timers::due(self.epoch, slot.connection.next_timeout(), slot.connection.slack());
        if due != slot.due || !self.timers.contains(&(due, peer)) {
            self.timers.remove(&(slot.due, peer));
            self.timers.insert((due, peer));
            slot.due = due;
        }
        let closing = slot.connection.is_closing();
        for news in news.drain(..) {
            match news {
                News::Down(_) if closing => self.remove(peer),
                _ if closing => {}
                News::Told(event) => self.tell(event),
                News::Up => {
                    self.settle_relay(now, peer);
                    self.tell(PeerEvent::Up { peer });
                }
                News::Ready => self.attach(now, peer),
                News::Flowing(kind) => self.tell(PeerEvent::Flowing { peer, kind }),
                News::Down(reason) => {
                    self.remove(peer);
                    self.tell(PeerEvent::Down { peer, reason });
                }
            }
        }
    }

    fn flush(&mut self, now: Instant) {
        self.out.flush(&self.sockets, &mut self.streams);
        if !self.leaving.is_empty() {
            let left = Instant::now();
            self.leaving.drain(..).for_each(|came| self.stages.send.note(left.saturating_duration_since(came)));
        }
        for peer in self.out.take_starved() {
            if let Some(slot) = self.peers.get_mut(&peer) {
                slot.connection.tracks_sent().for_each(|index| slot.connection.skip_to_key(now, index));
            }
        }
        for (peer, to) in self.out.take_unbound() {
            self.bind(now, peer, to);
        }
    }

    /// Attaches a peer that is ready to the layers it plays, and sends it what joiners get first.
    fn attach(&mut self, now: Instant, peer: PeerId) {
        let Some(slot) = self.peers.get_mut(&peer).filter(|slot| slot.connection.is_ready()) else { return };
        let wanted: Vec<(usize, Arc<Layer>)> =
            slot.connection.layers().map(|(index, layer)| (index, Arc::clone(layer))).collect();
        // a track the far end does not take any more
        self.detach(peer, |layer, index| wanted.iter().any(|(of, its)| *of == index && key_of(its) == layer));
        let sink = self.sink();
        let Some(slot) = self.peers.get_mut(&peer) else { return };
        let mut missed = Vec::new();
        for (index, layer) in wanted {
            let attached = self.rings.entry(key_of(&layer)).or_insert_with(|| {
                let ring = Arc::new(Ring::new(Arc::clone(&self.waker)));
                layer.attach(sink, ring.clone());
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
            slot.connection.start_layer(now, index, &layer, &mut self.out);
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
        self.touched.push(peer);
        for news in news {
            if let News::Told(event) = news {
                self.tell(event);
            }
        }
    }

    /// Ends a peer by Portico's will: its data channels first, which takes up to `limit`.
    fn close(&mut self, now: Instant, peer: PeerId, limit: Duration) {
        if !self.peers.contains_key(&peer) && self.apart.contains_key(&peer) {
            // it had not begun
            self.common.placement().leave(peer);
            self.part(peer);
        }
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
        if !self.streams.is_empty() || self.apart.contains_key(&peer) {
            // the goodbye leaves by the peer's stream or socket, which is forgotten with it
            self.out.flush(&self.sockets, &mut self.streams);
        }
        self.timers.remove(&(slot.due, peer));
        self.forget(peer);
        self.detach(peer, |_, _| false);
        debug_assert!(self.timers.len() <= self.peers.len(), "a timer outlived its peer");
        let known = if self.index == 0 { self.peers.len() + self.elsewhere.len() } else { 0 };
        debug_assert!(self.demux.is_of(known), "an address outlived its peer");
    }

    /// Takes a peer's tracks off their layers, but for those to keep. A layer without viewers forgets this shard.
    fn detach(&mut self, peer: PeerId, keep: impl Fn(LayerKey, usize) -> bool) {
        let sink = self.sink();
        self.rings.retain(|layer, attached| {
            attached.viewers.retain(|(viewer, index)| *viewer != peer || keep(*layer, *index));
            if attached.viewers.is_empty() {
                attached.layer.detach(sink);
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
