//! What reaches a shard from far ends: by UDP, from the shard that reads it, and by TCP.

use std::time::Instant;

use super::Shard;
use crate::peer::demux::{Wire, classify};
use crate::peer::inlet::Handed;
use crate::peer::mailbox::Order;
use crate::peer::relay::Incoming;
use crate::peer::socket::Inbox;

/// Datagram batches read in one turn, so that a flood does not starve timers and rings: 8 trains each.
pub(super) const READS_PER_TURN: usize = 16;
/// Datagrams of data channels after which a turn reads no further batch: they cost about 10 µs each, on a small board several times as
/// much, and media waits. A batch has about as many at most.
pub(super) const DTLS_PER_TURN: usize = 64;

impl Shard {
    /// Reads what the sockets have, up to a limit. Returns whether there may be more.
    pub(super) fn take_datagrams(&mut self, now: Instant, inbox: &mut Inbox) -> bool {
        if self.index != 0 {
            return false;
        }
        let mut more = false;
        let mut outside = None;
        let Self { sockets, peers, demux, elsewhere, handed, touched, unknown, bearings, .. } = self;
        for port in sockets.shared() {
            let mut data = 0;
            more |= (0..READS_PER_TURN).all(|_| {
                let full = inbox.read(port, |local, from, datagram| {
                    let relayed = bearings.relay.as_mut().and_then(|relay| relay.datagram(now, local, from, datagram));
                    let (local, from, datagram) = match relayed {
                        None => (local, from, datagram),
                        Some(Incoming::Relayed { local, from, datagram }) => (local, from, datagram),
                        // what comes of it is seen to in this turn
                        Some(Incoming::Own) => return,
                    };
                    data += usize::from(classify(datagram) == Wire::Dtls);
                    let Some(peer) = demux.route(from, datagram) else {
                        match bearings.datagram(now, local, from, datagram) {
                            Some(change) => outside = Some(change),
                            None => *unknown += 1,
                        }
                        return;
                    };
                    if let Some(slot) = peers.get_mut(&peer) {
                        touched.note(peer, slot.connection.datagram(now, local, from, datagram));
                    } else if let Some(shard) = elsewhere.get(&peer) {
                        handed[*shard].push(Handed { peer, local, from, datagram: datagram.into() });
                    }
                });
                // what is left makes the next sleep a short one
                full && data < DTLS_PER_TURN
            });
        }
        for (door, handed) in self.common.doors.iter().zip(handed) {
            *unknown += door.inlet.hand_over(handed) as u64;
        }
        if let Some(change) = outside {
            self.follow(now, change);
        }
        more
    }

    /// Takes what came by TCP. Returns whether there may be more.
    pub(super) fn take_streams(&mut self, now: Instant) -> bool {
        let late = self.streams.next_timeout().is_some_and(|due| due <= now);
        if !std::mem::take(&mut self.streams_stir) && !late {
            return false;
        }
        let Self { streams, streams_stir, demux, elsewhere, peers, touched, common, .. } = self;
        streams.welcome(now, |ufrag, stream| {
            // an address that is somebody's by UDP would be mistaken for that
            let peer = demux.named(ufrag).filter(|_| stream.as_ref().is_some_and(|stream| !demux.knows(stream.from)))?;
            if peers.contains_key(&peer) {
                return Some(peer);
            }
            if let (Some(shard), Some(stream)) = (elsewhere.get(&peer), stream.take()) {
                common.doors[*shard].mailbox.send(Order::Stream(peer, Box::new(stream)));
            }
            None
        });
        *streams_stir = streams.read(|peer, local, from, datagram| {
            if let Some(slot) = peers.get_mut(&peer) {
                touched.note(peer, slot.connection.datagram(now, local, from, datagram));
            }
        });
        *streams_stir
    }

    /// Takes what the first shard read for this one.
    pub(super) fn take_handed(&mut self, now: Instant) {
        if self.index == 0 {
            return;
        }
        for handed in self.common.doors[self.index].inlet.take() {
            if let Some(slot) = self.peers.get_mut(&handed.peer) {
                let then = slot.connection.datagram(now, handed.local, handed.from, &handed.datagram);
                self.touched.note(handed.peer, then);
            }
        }
    }
}
