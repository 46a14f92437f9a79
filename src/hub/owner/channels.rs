//! The data channels that end at Portico: what the peers and rooms say goes to the desk, and what the desk decides is carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tracing::{debug, error, info};

use super::{OUTBOX, Owner, StorePort};
use crate::channel::{
    CallError, CallId, ChannelEvent, ClipUse, Connection, Gauge, Output, Reply, RpcSeat, Seat, Stands, StoreCommand, StoreEvent,
};
use crate::hub::{ChannelTold, Told};
use crate::peer::{self, Buffered, PeerCommand, PeerEvent};
use crate::room::{EndReason, Meet, PeerUpdate, Report, Topology};
use crate::signalling::ChannelNews;
use crate::vocab::{MemberId, PeerId};

/// Messages that did not reach somebody are logged together, this often at most.
const DROPPED_EVERY: Duration = Duration::from_secs(1);

/// Messages that did not reach somebody since the last line about it.
#[derive(Default)]
pub(super) struct Dropped {
    count: u64,
    logged: Option<Instant>,
}

impl Gauge for Buffered {
    fn bytes(&self) -> usize {
        Buffered::bytes(self)
    }
}

/// The desk's words for a connection that stands for somebody.
pub(super) fn connection(owner: MemberId, meet: &Meet) -> Connection {
    Connection {
        owner,
        stands: meet.with.map_or(Stands::Room, Stands::Member),
        framing: meet.framing,
        may_send: meet.speaks,
        may_read: meet.hears,
        pair: meet.pair.clone(),
        rpc: meet.broker.clone().map(|ids| RpcSeat { own_id: ids.own, far_id: ids.far }),
    }
}

/// The store's next word; never without a store.
pub(super) async fn store_event(store: &mut Option<StorePort>) -> Option<StoreEvent> {
    match store {
        Some(store) => store.events.recv().await,
        None => std::future::pending().await,
    }
}

impl Owner {
    /// The desk hears who comes and goes.
    pub(super) fn seat(&mut self, report: &Report) {
        match report {
            Report::MemberJoined { member, .. } => self.seat_member(*member),
            Report::MemberLeft { member, .. } => self.desk.leave(Instant::now(), *member),
            _ => {}
        }
    }

    /// Topologies may have changed.
    pub(super) fn seat_all(&mut self) {
        let members = self.rooms.rooms().into_iter().flat_map(|room| room.members);
        for member in members.map(|member| member.view.member).collect::<Vec<_>>() {
            self.seat_member(member);
        }
    }

    fn seat_member(&mut self, member: MemberId) {
        // who left since is told of next
        let Some(seat) = self.rooms.seat_of(member) else { return };
        let mesh = seat.topology == Topology::Mesh;
        let seat = Seat {
            room: seat.room,
            clips: if mesh { ClipUse::Store } else { ClipUse::Relay },
            hears_text: seat.dialect.hears_words(),
            may_send: seat.speaks,
            may_read: seat.hears,
            // who hears by signalling hears there what is said to the room, connected directly or not
            direct: mesh && seat.dialect.meets_directly() && !seat.dialect.hears_words(),
            bridged: seat.bridged,
        };
        self.desk.join(Instant::now(), member, seat);
    }

    pub(super) fn handle_channel(&mut self, now: Instant, event: PeerEvent) {
        // held until the desk has dealt with the message
        let mut held = None;
        let (peer, event) = match event {
            PeerEvent::ChannelOpen { peer, channel, ours, max_message, buffered, .. } => {
                (peer, ChannelEvent::Opened { channel, ours, max_message, gauge: Arc::new(buffered) })
            }
            PeerEvent::ChannelMessage { peer, channel, message, credit } => {
                held = Some(credit);
                (peer, ChannelEvent::Message { channel, message })
            }
            PeerEvent::ChannelDrained { peer, channel } => (peer, ChannelEvent::Drained { channel }),
            PeerEvent::MessageRefused { peer, channel, refusal } => {
                let max_message = match refusal {
                    peer::Refusal::TooLarge { max, .. } => Some(max),
                    peer::Refusal::Full => None,
                };
                (peer, ChannelEvent::Refused { channel, max_message })
            }
            PeerEvent::ChannelClosed { peer, channel } => (peer, ChannelEvent::Closed { channel }),
            _ => return,
        };
        self.desk.handle_channel(now, peer, event);
        drop(held);
    }

    /// Whether the channels of a peer are for its member's session to read.
    pub(super) fn reads_itself(&self, peer: PeerId) -> bool {
        self.open.get(&peer).is_some_and(|state| state.own_channel.is_some())
    }

    /// Something about a channel that a session reads itself. There is one a peer: further ones are closed.
    pub(super) fn own_channel(&mut self, event: PeerEvent) {
        let (peer, channel, news, credit) = match event {
            PeerEvent::ChannelOpen { peer, channel, label, .. } => (peer, channel, ChannelNews::Open { label }, None),
            PeerEvent::ChannelMessage { peer, channel, message, credit } => {
                (peer, channel, ChannelNews::Message(message), Some(credit))
            }
            PeerEvent::ChannelClosed { peer, channel, .. } => (peer, channel, ChannelNews::Closed, None),
            // a message that does not fit into a full channel is lost, as the session was told
            _ => return,
        };
        let Some(own) = self.open.get_mut(&peer).and_then(|state| state.own_channel.as_mut()) else { return };
        match (*own, &news) {
            (None, ChannelNews::Open { .. }) => *own = Some(channel),
            (Some(known), _) if known == channel => {}
            (_, ChannelNews::Open { .. }) => return (self.peers)(PeerCommand::CloseChannel { peer, channel }),
            _ => return,
        }
        if let Some((_, _, session)) = self.rooms.owner_of(peer) {
            // a flood of the far end's must not end the session: what it cannot take in time is left out
            let room = self.sessions.get(&session).map_or(0, |line| line.outbox.capacity());
            if matches!(news, ChannelNews::Message(_)) && room < OUTBOX / 4 {
                return;
            }
            self.pass(session, Told::Channel(Box::new(ChannelTold { peer, news, credit })));
        }
    }

    pub(super) fn handle_answered(&mut self, answered: Result<(CallId, Result<Reply, CallError>), JoinError>) {
        match answered {
            Ok((call, reply)) => {
                self.under_way.remove(&call);
                self.desk.handle_reply(Instant::now(), call, reply);
            }
            Err(error) if error.is_cancelled() => {}
            // the desk ends the call by its time
            Err(error) => {
                self.under_way.retain(|_, task| !task.is_finished());
                error!(%error, "a call to a service panicked");
            }
        }
    }

    /// Carries out what the desk has decided; false when that was nothing.
    pub(super) fn carry_out_desk(&mut self) -> bool {
        let mut did = false;
        while let Some(output) = self.desk.poll_output() {
            did = true;
            match output {
                Output::Send { peer, channel, message } => (self.peers)(PeerCommand::SendMessage { peer, channel, message }),
                Output::HangUp { peer } => self.far_end_hung_up(peer),
                Output::Tell { to, from, text } => self.rooms.told(Instant::now(), from, to, text.as_str().to_owned()),
                Output::Call(call) => match &self.caller {
                    Some(caller) => {
                        let (caller, id) = (caller.clone(), call.id);
                        let task = self.calls.spawn(async move { caller.run(call).await });
                        self.under_way.insert(id, task);
                    }
                    None => self.desk.handle_reply(Instant::now(), call.id, Err(CallError::Unreachable)),
                },
                Output::Cancel(call) => {
                    if let Some(task) = self.under_way.remove(&call) {
                        task.abort();
                    }
                }
                Output::Store(order) => self.order_store(order),
                Output::Dropped { from, to, why } => {
                    debug!(%from, %to, %why, "message not delivered");
                    self.count_dropped();
                }
            }
        }
        did
    }

    /// The far end has said over its channel that it closes.
    fn far_end_hung_up(&mut self, peer: PeerId) {
        if !self.open.contains_key(&peer) {
            return;
        }
        self.forget(peer);
        (self.peers)(PeerCommand::Close { peer });
        self.rooms.handle_peer(Instant::now(), PeerUpdate::Down { peer, reason: EndReason::Left });
    }

    /// The store is slow, gone or not there: what is to be kept or read is lost.
    fn order_store(&mut self, order: StoreCommand) {
        let sent = match &self.store {
            Some(store) => store.orders.try_send(order),
            None => Err(mpsc::error::TrySendError::Closed(order)),
        };
        if let Err(mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order)) = sent {
            let clip = match order {
                StoreCommand::Keep { clip, .. } | StoreCommand::Read { clip, .. } => clip,
                // its file goes with the store
                StoreCommand::Remove { .. } => return,
            };
            self.desk.handle_store(Instant::now(), StoreEvent::Lost { clip });
        }
    }

    fn count_dropped(&mut self) {
        self.dropped.count += 1;
        let now = Instant::now();
        if self.dropped.logged.is_none_or(|at| now >= at + DROPPED_EVERY) {
            info!(messages = self.dropped.count, "messages not delivered");
            self.dropped = Dropped { count: 0, logged: Some(now) };
        }
    }
}
