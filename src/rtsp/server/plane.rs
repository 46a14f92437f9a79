//! Viewers by RTSP as the hub knows them: peers, opened and closed by its orders, beside those of `peer`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::sender::Sent;
use crate::peer::{PeerCommand, PeerEvent, PeerFigures, SendTrack};
use crate::vocab::PeerId;

/// What the hub says of a viewer.
#[derive(Debug)]
pub enum Order {
    /// It is sent this.
    Open(Vec<SendTrack>),
    /// It has ended.
    Close,
}

/// All viewers.
pub struct Plane {
    viewers: Mutex<HashMap<PeerId, Viewer>>,
    news: mpsc::UnboundedSender<PeerEvent>,
}

struct Viewer {
    // unbounded: at most one order of each kind
    orders: mpsc::UnboundedSender<Order>,
    counts: Arc<Counts>,
}

/// What one viewer was sent.
#[derive(Debug)]
pub struct Counts {
    remote: SocketAddr,
    playing: AtomicBool,
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// As it stands.
    pub fn set(&self, playing: bool, sent: Sent) {
        self.playing.store(playing, Ordering::Relaxed);
        self.packets.store(sent.packets, Ordering::Relaxed);
        self.bytes.store(sent.bytes, Ordering::Relaxed);
        self.dropped.store(sent.dropped, Ordering::Relaxed);
    }
}

impl Plane {
    /// No viewers. `news` is where peers tell the hub what they do.
    pub fn new(news: mpsc::UnboundedSender<PeerEvent>) -> Arc<Self> {
        Arc::new(Self { viewers: Mutex::default(), news })
    }

    /// Carries out an order of the hub that is for a viewer here; gives back any other.
    pub fn carry_out(&self, command: PeerCommand) -> Option<PeerCommand> {
        let peer = match &command {
            PeerCommand::Open(spec) => spec.peer,
            PeerCommand::Close { peer } => *peer,
            PeerCommand::Describe { peer, .. } | PeerCommand::AddCandidate { peer, .. } | PeerCommand::Feed { peer, .. } => *peer,
            _ => return Some(command),
        };
        let orders = match self.lock().get(&peer) {
            Some(viewer) => viewer.orders.clone(),
            None => return Some(command),
        };
        // a connection that is gone says so itself
        let _ = match command {
            PeerCommand::Open(spec) => orders.send(Order::Open(spec.send)),
            PeerCommand::Close { .. } => orders.send(Order::Close),
            // there is nothing to negotiate
            _ => Ok(()),
        };
        None
    }

    /// A new viewer, until the entry is dropped.
    pub fn enter(self: &Arc<Self>, peer: PeerId, remote: SocketAddr) -> (Entry, mpsc::UnboundedReceiver<Order>) {
        let (orders, received) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts {
            remote,
            playing: AtomicBool::new(false),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        self.lock().insert(peer, Viewer { orders, counts: Arc::clone(&counts) });
        (Entry { plane: Arc::clone(self), peer, counts }, received)
    }

    /// The figures of all viewers.
    pub fn figures(&self) -> Vec<PeerFigures> {
        let one = |(peer, viewer): (&PeerId, &Viewer)| {
            let counts = &viewer.counts;
            PeerFigures {
                peer: peer.0,
                connected: counts.playing.load(Ordering::Relaxed),
                remote: Some(counts.remote),
                packets_sent: counts.packets.load(Ordering::Relaxed),
                bytes_sent: counts.bytes.load(Ordering::Relaxed),
                frames_dropped: counts.dropped.load(Ordering::Relaxed),
                ..PeerFigures::default()
            }
        };
        self.lock().iter().map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Viewer>> {
        // no code that can panic runs under the lock
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer's place in the list.
pub struct Entry {
    plane: Arc<Plane>,
    /// Its number.
    pub peer: PeerId,
    /// What it was sent.
    pub counts: Arc<Counts>,
}

impl Entry {
    /// Tells the hub. A hub that is gone need not know.
    pub fn tell(&self, event: PeerEvent) {
        let _ = self.plane.news.send(event);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.plane.lock().remove(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Sdp;

    #[test]
    fn orders_for_other_peers_pass_and_those_for_viewers_do_not() {
        let (news, _told) = mpsc::unbounded_channel();
        let plane = Plane::new(news);
        let (ours, other) = (PeerId::next(), PeerId::next());
        let (entry, mut orders) = plane.enter(ours, "192.0.2.1:1".parse().unwrap());
        assert!(plane.carry_out(PeerCommand::Close { peer: other }).is_some());
        assert!(plane.carry_out(PeerCommand::Describe { peer: ours, sdp: Sdp::offer("") }).is_none());
        assert!(orders.try_recv().is_err());
        assert!(plane.carry_out(PeerCommand::Close { peer: ours }).is_none());
        assert!(matches!(orders.try_recv(), Ok(Order::Close)));
        entry.counts.set(true, Sent { packets: 3, bytes: 4, dropped: 5 });
        let figures = plane.figures();
        assert!(matches!(&figures[..], [one] if one.connected && one.packets_sent == 3 && one.frames_dropped == 5));
        drop(entry);
        assert!(plane.figures().is_empty() && plane.carry_out(PeerCommand::Close { peer: ours }).is_some());
    }
}
