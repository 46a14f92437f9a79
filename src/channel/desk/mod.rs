//! The desk: who is there, and what is to be done with what comes. See the parent module for the picture.

mod calls;
mod clips;
mod deliver;
mod line;

pub use line::Gauge;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use line::{Channel, Line, Next};

use super::clip::ClipUse;
use super::clip::shelf::{ClipId, Replay, Shelf, StoreCommand};
use super::clip::tape::Tape;
use super::config::{ClipsConfig, RpcConfig};
use super::figures::Figures;
use super::framing::Framing;
use super::rpc::{Call, CallId, RpcSeat, Table};
use crate::vocab::{ChannelId, DataMessage, MemberId, PeerId, RoomId, Utf8Bytes};

/// What a member may do, and how it is reached. Saying it again changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its room.
    pub room: RoomId,
    /// What the room does with clips; the last one said counts for the room.
    pub clips: ClipUse,
    /// Whether it hears text by signalling when no connection of its own brings it.
    pub hears_text: bool,
    /// Whether what it sends is handed on.
    pub may_send: bool,
    /// Whether anything is handed on to it.
    pub may_read: bool,
    /// Whether it is connected directly to the other members of whom this is true (`mesh` rooms): what such a member says to the
    /// room is not handed on to the others of them, who have it already.
    pub direct: bool,
    /// A bridge brought it. What such a member says to the room is not handed on to others of whom this is true: a bridge does not
    /// send on what one brought, or words would go round where rooms are joined in a ring.
    pub bridged: bool,
}

/// For whom Portico stands on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stands {
    /// For the room: what comes goes to all others, and what they say comes by it.
    #[default]
    Room,
    /// For another member: what comes goes to it only, and what it says comes by it.
    Member(MemberId),
    /// For Portico itself: nothing is handed on; requests are answered, clips are stored and played.
    Gateway,
}

/// A connection that ends at Portico.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whose client is at the far end.
    pub owner: MemberId,
    /// For whom Portico stands.
    pub stands: Stands,
    /// How its channels are used.
    pub framing: Framing,
    /// Which of several of the same two members: what comes by one leaves by the other member's of the same name, where there
    /// is one.
    pub pair: Option<Arc<str>>,
    /// Whether what comes by it is handed on, as far as the member may send.
    pub may_send: bool,
    /// Whether anything is handed on by it, as far as the member may read.
    pub may_read: bool,
    /// Who both ends are to the broker, where requests are answered.
    pub rpc: Option<RpcSeat>,
}

/// What happens on a connection's channels.
#[derive(Clone, Debug)]
pub enum ChannelEvent {
    /// A channel is open.
    Opened {
        /// Its id.
        channel: ChannelId,
        /// Portico opened it: where each side writes to a channel of its own, this is what is written to.
        ours: bool,
        /// Largest message the far end takes, in bytes; 0 where that is not known yet.
        max_message: usize,
        /// How much waits in it.
        gauge: Arc<dyn Gauge>,
    },
    /// A message came.
    Message {
        /// By which channel.
        channel: ChannelId,
        /// The message.
        message: DataMessage,
    },
    /// A full channel has room again.
    Drained {
        /// Which.
        channel: ChannelId,
    },
    /// A message that was to be sent was not, and is lost.
    Refused {
        /// By which channel.
        channel: ChannelId,
        /// The most the far end takes, where that was the reason.
        max_message: Option<usize>,
    },
    /// A channel is gone.
    Closed {
        /// Which.
        channel: ChannelId,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message by a channel.
    Send {
        /// The connection.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The message.
        message: DataMessage,
    },
    /// The far end has said that it closes: close the connection.
    HangUp {
        /// The connection.
        peer: PeerId,
    },
    /// Tell a member by signalling.
    Tell {
        /// Whom.
        to: MemberId,
        /// Who said it.
        from: MemberId,
        /// What.
        text: Utf8Bytes,
    },
    /// Ask a service; the answer goes to [`Desk::handle_reply`].
    Call(Call),
    /// Nobody waits for this answer any more: let the service be.
    Cancel(CallId),
    /// Ask the store; the answer goes to [`Desk::handle_store`].
    Store(StoreCommand),
    /// A message did not reach one receiver. For the log, at most once a second.
    Dropped {
        /// Who sent it.
        from: MemberId,
        /// Who did not get it.
        to: MemberId,
        /// Why.
        why: DropReason,
    },
}

/// Why a message did not reach a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// It is larger than the receiver takes.
    #[error("the message has {len} bytes, the receiver takes {max}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The most the receiver takes.
        max: usize,
    },
    /// Too much waits already.
    #[error("the receiver is too slow")]
    QueueFull,
    /// Bytes to a receiver of text.
    #[error("the receiver takes text only")]
    NoPlace,
    /// It has neither a connection for it nor hears text by signalling.
    #[error("the receiver has no way to hear it")]
    NoRoute,
}

/// Why a connection cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its owner has not joined.
    #[error("member {0} is in no room")]
    NoMember(MemberId),
    /// It is open already.
    #[error("connection {0} is open already")]
    Known(PeerId),
}

/// A member as the desk keeps it.
#[derive(Debug)]
struct Member {
    seat: Seat,
    /// The desk's count when it joined.
    joined: u64,
    lines: BTreeSet<PeerId>,
    tape: Tape,
    /// Whether it has ever recorded: its binary frames are slices from then on.
    records: bool,
    replay: Option<Replay>,
    /// The first stored clip that has not been considered for it.
    replay_from: ClipId,
    /// Services it has used, and until when its use counts against the rate.
    rates: BTreeMap<usize, Instant>,
}

#[derive(Debug, Default)]
struct Room {
    members: BTreeSet<MemberId>,
    clips: ClipUse,
}

/// See the module. After every call but `poll_output`, drain `poll_output` and look at `next_timeout`.
#[derive(Debug)]
pub struct Desk {
    clips: ClipsConfig,
    rpc: RpcConfig,
    table: Table,
    members: BTreeMap<MemberId, Member>,
    rooms: BTreeMap<RoomId, Room>,
    lines: BTreeMap<PeerId, Line>,
    /// The connections that stand for a member, by that member, whether it is there or not.
    standing_for: BTreeMap<MemberId, BTreeSet<PeerId>>,
    calls: BTreeMap<CallId, calls::Waiting>,
    shelf: Shelf,
    outputs: VecDeque<Output>,
    figures: Figures,
    /// Messages that wait and unfinished ones, in bytes.
    queued: usize,
    /// All tapes, in bytes.
    taped: usize,
    /// Counts joins and clips, to tell which was first.
    order: u64,
    next_call: u64,
    wake: Option<Instant>,
}

impl Desk {
    /// Most bytes of messages that wait and of unfinished ones, all connections together.
    pub const MAX_QUEUED: usize = 64 << 20;
    /// The same for one connection: a message of the largest size that can be put together, and some more.
    pub const MAX_QUEUED_EACH: usize = 17 << 20;
    /// Most requests that wait for a service, all members together.
    pub const MAX_CALLS: usize = 256;
    /// Most channels of a connection.
    pub const MAX_CHANNELS: usize = 64;
    /// Longest text that is said by signalling, or told by it at once, in bytes. A longer one of a data channel is told in parts.
    pub const MAX_TEXT: usize = 16 << 10;
    /// Longest text that is told in parts, in bytes.
    pub const MAX_LONG_TEXT: usize = 128 << 10;
    /// Largest message until the shard refuses one with another limit: what it sends at most (`DataSpec::MAX_MESSAGE`).
    const DEFAULT_MESSAGE: usize = 262_144;

    /// An empty desk.
    pub fn new(clips: ClipsConfig, rpc: RpcConfig) -> Self {
        Self {
            table: Table::new(&rpc),
            clips,
            rpc,
            members: BTreeMap::new(),
            rooms: BTreeMap::new(),
            lines: BTreeMap::new(),
            standing_for: BTreeMap::new(),
            calls: BTreeMap::new(),
            shelf: Shelf::default(),
            outputs: VecDeque::new(),
            figures: Figures::default(),
            queued: 0,
            taped: 0,
            order: 0,
            next_call: 0,
            wake: None,
        }
    }

    /// New settings; what is under way goes on as it began.
    pub fn configure(&mut self, clips: ClipsConfig, rpc: RpcConfig) {
        self.table = Table::new(&rpc);
        self.members.values_mut().for_each(|member| member.rates.clear());
        (self.clips, self.rpc) = (clips, rpc);
    }

    /// A member joins, or its seat changes. A change of room is a leave and a join.
    pub fn join(&mut self, now: Instant, member: MemberId, seat: Seat) {
        if self.members.get(&member).is_some_and(|known| known.seat.room != seat.room) {
            self.leave(now, member);
        }
        let room = self.rooms.entry(seat.room.clone()).or_default();
        room.clips = seat.clips;
        room.members.insert(member);
        if let Some(known) = self.members.get_mut(&member) {
            known.seat = seat;
            if !known.seat.may_read {
                self.stop_listening(member);
            }
            return;
        }
        let joined = self.count();
        let new = Member {
            seat,
            joined,
            lines: BTreeSet::new(),
            tape: Tape::default(),
            records: false,
            replay: None,
            replay_from: ClipId(0),
            rates: BTreeMap::new(),
        };
        self.members.insert(member, new);
    }

    /// A member leaves: its clips end, its connections are forgotten, nothing of it is sent any more.
    pub fn leave(&mut self, now: Instant, member: MemberId) {
        if !self.members.contains_key(&member) {
            return;
        }
        self.end_clips(now, member);
        let lines = self.stop_listening(member);
        // nobody hears more of it, not even what was recorded and not sent yet
        for peer in self.standing_for.get(&member).into_iter().flatten() {
            if let Some(line) = self.lines.get_mut(peer) {
                line.feed = None;
            }
        }
        lines.into_iter().for_each(|peer| self.close(now, peer));
        let Some(gone) = self.members.remove(&member) else { return };
        self.taped -= gone.tape.bytes();
        if let Some(room) = self.rooms.get_mut(&gone.seat.room) {
            room.members.remove(&member);
            if room.members.is_empty() {
                self.rooms.remove(&gone.seat.room);
                let commands = self.shelf.clear(&gone.seat.room);
                self.outputs.extend(commands.into_iter().map(Output::Store));
            }
        }
    }

    /// The member hears no clips any more; gives its connections.
    fn stop_listening(&mut self, member: MemberId) -> Vec<PeerId> {
        let Some(known) = self.members.get_mut(&member) else { return Vec::new() };
        known.seat.may_read = false;
        known.replay = None;
        let lines: Vec<PeerId> = known.lines.iter().copied().collect();
        for peer in &lines {
            if let Some(line) = self.lines.get_mut(peer) {
                line.feed = None;
            }
        }
        lines
    }

    /// A connection is there, before any of its channels. Those that Portico opens come with the connection; nothing is written
    /// to one of [`Framing::OwnChannels`] before such a channel is up.
    pub fn open(&mut self, peer: PeerId, connection: Connection) -> Result<(), OpenError> {
        let owner = self.members.get_mut(&connection.owner).ok_or(OpenError::NoMember(connection.owner))?;
        if self.lines.contains_key(&peer) {
            return Err(OpenError::Known(peer));
        }
        owner.lines.insert(peer);
        owner.tape.attach(peer);
        if let Stands::Member(other) = connection.stands {
            self.standing_for.entry(other).or_default().insert(peer);
        }
        self.lines.insert(peer, Line::new(connection));
        Ok(())
    }

    /// A connection is gone, with all its channels and what waited to leave by it.
    pub fn close(&mut self, now: Instant, peer: PeerId) {
        let Some(line) = self.lines.remove(&peer) else { return };
        self.queued -= line.bytes();
        self.cancel_calls(peer);
        if let Stands::Member(other) = line.is.stands
            && let Some(standing) = self.standing_for.get_mut(&other)
        {
            standing.remove(&peer);
            if standing.is_empty() {
                self.standing_for.remove(&other);
            }
        }
        let owner = line.is.owner;
        if let Some(member) = self.members.get_mut(&owner) {
            member.lines.remove(&peer);
            member.tape.detach(peer);
        }
        self.settle_tape(now, owner);
        self.replay_stops(now, owner, peer);
        if let Some(feed) = line.feed {
            // what the closed connection had begun is not begun again on another
            self.assign_feeds(now, feed.sender, Some(owner));
        }
    }

    /// Something happened on a connection's channels. What comes of a connection that is not open is ignored.
    pub fn handle_channel(&mut self, now: Instant, peer: PeerId, event: ChannelEvent) {
        let Some(line) = self.lines.get_mut(&peer) else { return };
        match event {
            ChannelEvent::Opened { channel, ours, max_message, gauge } => {
                if line.channels.len() < Self::MAX_CHANNELS {
                    let max_message = if max_message == 0 { Self::DEFAULT_MESSAGE } else { max_message };
                    line.channels.insert(channel, Channel { ours, max_message, gauge });
                    self.channel_opened(now, peer);
                }
            }
            ChannelEvent::Message { channel, message } => {
                if line.channels.contains_key(&channel) {
                    self.handle_message(now, peer, message);
                }
            }
            ChannelEvent::Drained { channel } => {
                if line.writes_on().is_some_and(|(writes_on, _)| writes_on == channel) {
                    line.drained();
                }
                self.pump(now, peer);
            }
            ChannelEvent::Refused { channel, max_message } => {
                if let (Some(max), Some(channel)) = (max_message, line.channels.get_mut(&channel)) {
                    channel.max_message = max.max(1);
                }
                self.handle_refused(now, peer, max_message.is_some());
            }
            ChannelEvent::Closed { channel } => drop(line.channels.remove(&channel)),
        }
    }

    /// Time has come; see [`Self::next_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        self.wake = None;
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            if let Some(known) = self.members.get_mut(&member)
                && known.tape.next_timeout().is_some_and(|at| at <= now)
            {
                known.tape.end_silent(now);
                self.settle_tape(now, member);
            }
        }
        let commands = self.shelf.expire(now, self.clips.max_age);
        self.outputs.extend(commands.into_iter().map(Output::Store));
        self.time_out_calls(now);
        let peers: Vec<PeerId> = self.lines.keys().copied().collect();
        for peer in peers {
            if let Some(line) = self.lines.get_mut(&peer) {
                let before = line.bytes();
                self.figures.malformed += line.chunks.expire(now) as u64;
                self.queued = self.queued + line.bytes() - before;
            }
            self.pump(now, peer);
        }
        let next = [
            self.wake,
            self.members.values().filter_map(|member| member.tape.next_timeout()).min(),
            self.lines.values().filter_map(|line| line.chunks.next_timeout()).min(),
            self.calls.values().map(|call| call.deadline).min(),
            self.shelf.next_timeout(self.clips.max_age),
        ];
        self.wake = next.into_iter().flatten().min();
    }

    /// When [`Self::handle_timeout`] is to be called at the latest; may be early.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// What is to be done next, in this order.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counts since the start.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Bytes held: messages that wait and unfinished ones; running clips; clips on disk.
    pub fn held(&self) -> (usize, usize, u64) {
        (self.queued, self.taped, self.shelf.bytes())
    }

    fn count(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Hands over what waits for a connection, as far as its channel takes it: messages, then clips.
    fn pump(&mut self, now: Instant, peer: PeerId) {
        loop {
            let Some(line) = self.lines.get_mut(&peer) else { return };
            let before = line.bytes();
            let next = line.next(now);
            self.queued = self.queued + line.bytes() - before;
            match next {
                Some(Next::Send(channel, message)) => self.outputs.push_back(Output::Send { peer, channel, message }),
                Some(Next::TooLarge { from, len, max }) => {
                    let to = line.is.owner;
                    self.figures.too_large += 1;
                    self.outputs.push_back(Output::Dropped { from, to, why: DropReason::TooLarge { len, max } });
                }
                Some(Next::Nothing) => break,
                None => {
                    if line.writes_on().is_some() {
                        let at = line.retry_at(now);
                        self.wake_at(at);
                    }
                    return;
                }
            }
        }
        self.pump_clips(now, peer);
    }
}

#[cfg(test)]
impl Desk {
    /// The sums that are kept are those of the parts, and nothing points to what is gone.
    pub(super) fn check_accounts(&self) {
        assert_eq!(self.queued, self.lines.values().map(Line::bytes).sum::<usize>());
        assert_eq!(self.taped, self.members.values().map(|member| member.tape.bytes()).sum::<usize>());
        for (id, member) in &self.members {
            assert!(self.rooms[&member.seat.room].members.contains(id));
            assert!(member.lines.iter().all(|peer| self.lines[peer].is.owner == *id));
        }
        assert!(self.lines.iter().all(|(peer, line)| self.members[&line.is.owner].lines.contains(peer)));
        assert!(self.standing_for.values().flatten().all(|peer| self.lines.contains_key(peer)));
        assert!(self.calls.values().all(|call| self.lines.contains_key(&call.peer)));
        assert!(self.rooms.values().all(|room| !room.members.is_empty()));
    }

    pub(super) fn check_open(&self, peer: PeerId) -> bool {
        self.lines.contains_key(&peer)
    }

    pub(super) fn max_memory(&self) -> usize {
        self.clips.max_memory_bytes
    }
}
