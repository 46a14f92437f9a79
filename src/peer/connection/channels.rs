//! The data channels of one peer: what waits to leave, what came, and when a channel is over.
//!
//! ```text
//! SendMessage ─► queue (shared bytes, bounded) ─► engine (256 KiB at a time) ─► SCTP
//! SCTP ─► engine ─► arrived (while the budget has room) ─► ChannelMessage with its credit
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rtc::data_channel::{RTCDataChannelId, RTCDataChannelInit, RTCDataChannelMessage};
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::RTCDataChannelEvent;
use rtc::peer_connection::transport::RTCSctpTransportState;

use super::News;
use crate::peer::credit::{Budget, Credit, FlowEntry};
use crate::peer::{DataSpec, PeerEvent, Refusal};
use crate::vocab::{ChannelId, DataMessage, NewChannel, PeerId, Utf8Bytes};

/// Bytes of a channel given to the engine and not acknowledged: what it copies. More than a LAN's bandwidth-delay product.
const ENGINE_WINDOW: usize = 256 << 10;
/// Messages of a channel given to the engine and not known to be acknowledged.
const ENGINE_MESSAGES: usize = 1024;
/// Bytes given to the engine in one turn, by all channels of a peer; at least one message. Turns are a millisecond apart at most while there
/// is more, and media waits for the end of one.
const TURN_BYTES: usize = 64 << 10;
/// Messages waiting in a channel's queue, for the sake of empty ones.
const QUEUED_MESSAGES: usize = 16 * 1024;
/// Bytes of DTLS taken while nothing is read. SCTP closes its window at 1 MiB, but the engine keeps up to 256 messages
/// before that; beyond this bound datagrams are dropped as if the network had lost them.
const UNREAD_BYTES: usize = 2 << 20;
/// Channels a far end may open over the life of a connection, as the engine keeps figures of every one; and how many of
/// them may be refused.
const CHANNELS_EVER: usize = 4096;
const REFUSALS: usize = 64;

/// One channel.
struct Channel {
    id: ChannelId,
    /// The engine's name for it.
    handle: RTCDataChannelId,
    ours: bool,
    open: bool,
    /// Closed by Portico: the engine is told once the queue is empty.
    closing: bool,
    /// Gone in the engine; told when what it received was read.
    ended: bool,
    queue: VecDeque<DataMessage>,
    queued: usize,
    /// Sizes of the messages in the engine, oldest first.
    handed: VecDeque<usize>,
    handed_bytes: usize,
    flow: FlowEntry,
}

impl Channel {
    fn new(flow: FlowEntry, id: ChannelId, handle: RTCDataChannelId, ours: bool) -> Self {
        Self {
            id,
            handle,
            ours,
            open: false,
            closing: false,
            ended: false,
            queue: VecDeque::new(),
            queued: 0,
            handed: VecDeque::new(),
            handed_bytes: 0,
            flow,
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.queued + self.handed_bytes
    }

    fn note_buffered(&mut self) {
        self.flow.buffered.set_waiting(self.waiting_bytes());
    }

    /// Notices what was acknowledged.
    fn settle(&mut self, outstanding: usize) {
        while self.handed_bytes > outstanding
            && let Some(len) = self.handed.pop_front()
        {
            self.handed_bytes -= len;
        }
    }
}

/// All channels of a peer.
pub(super) struct Channels {
    peer: PeerId,
    budget: Arc<Budget>,
    list: Vec<Channel>,
    /// To be opened when SCTP is up.
    waiting: VecDeque<(ChannelId, NewChannel)>,
    /// Messages read and not told yet.
    arrived: Vec<(RTCDataChannelId, DataMessage, Credit)>,
    sctp_up: bool,
    /// The connection is ending: nothing is told any more.
    ending: bool,
    /// Largest message the far end takes.
    max_send: usize,
    /// Bytes of DTLS taken since reading stopped.
    unread: usize,
    ever: usize,
    refused: usize,
}

impl Channels {
    pub(super) fn new(peer: PeerId, spec: DataSpec, budget: Arc<Budget>) -> Self {
        let waiting = spec.open.into_iter().take(DataSpec::MAX_CHANNELS).map(|new| (ChannelId::next(), new)).collect();
        Self {
            peer,
            budget,
            list: Vec::new(),
            waiting,
            arrived: Vec::new(),
            sctp_up: false,
            ending: false,
            max_send: 0,
            unread: 0,
            ever: 0,
            refused: 0,
        }
    }

    /// Follows what the descriptions agreed on.
    pub(super) fn set_max_send(&mut self, max_send: usize) {
        self.max_send = max_send;
    }

    /// Whether there is a channel to be closed in order.
    pub(super) fn any_open(&self) -> bool {
        self.sctp_up && self.list.iter().any(|channel| !channel.ended)
    }

    /// Whether the far end does what no honest one does.
    pub(super) fn abused(&self) -> bool {
        self.refused > REFUSALS || self.ever > CHANNELS_EVER
    }

    /// Whether a DTLS datagram may be given to the engine, which keeps what nobody reads.
    pub(super) fn admits(&mut self, datagram: &[u8]) -> bool {
        const APPLICATION_DATA: u8 = 23;
        if datagram.first() != Some(&APPLICATION_DATA) || self.budget.has_room() {
            self.unread = 0;
            return true;
        }
        self.unread += datagram.len();
        self.unread <= UNREAD_BYTES
    }

    /// Opens a channel, now or when SCTP is up.
    pub(super) fn open(&mut self, engine: &mut RTCPeerConnection, id: ChannelId, new: NewChannel, news: &mut Vec<News>) {
        let full = self.list.len() + self.waiting.len() >= DataSpec::MAX_CHANNELS;
        let long = new.label.len() > NewChannel::MAX_NAME || new.protocol.len() > NewChannel::MAX_NAME;
        if full || long || self.ending {
            tracing::debug!(peer = %self.peer, channel = %id, full, long, "channel not opened");
            self.tell(news, PeerEvent::ChannelClosed { peer: self.peer, channel: id });
        } else if self.sctp_up {
            self.create(engine, id, new, news);
        } else {
            self.waiting.push_back((id, new));
        }
    }

    fn create(&mut self, engine: &mut RTCPeerConnection, id: ChannelId, new: NewChannel, news: &mut Vec<News>) {
        let init = RTCDataChannelInit { ordered: new.ordered, protocol: new.protocol, ..Default::default() };
        match engine.create_data_channel(&new.label, Some(init)).map(|channel| channel.id()) {
            Ok(handle) => self.list.push(Channel::new(self.budget.flows().enter(id), id, handle, true)),
            Err(error) => {
                tracing::debug!(peer = %self.peer, channel = %id, %error, "channel not opened");
                self.tell(news, PeerEvent::ChannelClosed { peer: self.peer, channel: id });
            }
        }
    }

    /// Takes a message to be sent.
    pub(super) fn send(&mut self, id: ChannelId, message: DataMessage, news: &mut Vec<News>) {
        let max = self.max_send;
        let len = message.len();
        let Some(channel) = self.list.iter_mut().find(|channel| channel.id == id) else { return };
        let mut refusal = None;
        if len > max {
            refusal = Some(Refusal::TooLarge { len, max });
        } else if channel.waiting_bytes() + len > DataSpec::OUTBOUND || channel.queue.len() >= QUEUED_MESSAGES {
            refusal = Some(Refusal::Full);
        } else if !channel.closing && !channel.ended {
            channel.queued += len;
            channel.queue.push_back(message);
            channel.note_buffered();
        }
        channel.flow.buffered.arrived(len);
        let Some(refusal) = refusal else { return };
        self.tell(news, PeerEvent::MessageRefused { peer: self.peer, channel: id, refusal });
    }

    /// Closes a channel when its queue is empty.
    pub(super) fn close(&mut self, id: ChannelId, news: &mut Vec<News>) {
        if let Some(channel) = self.list.iter_mut().find(|channel| channel.id == id) {
            channel.closing = true;
        } else if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            self.waiting.remove(at);
            self.tell(news, PeerEvent::ChannelClosed { peer: self.peer, channel: id });
        }
    }

    /// Closes all, and tells nothing any more.
    pub(super) fn close_all(&mut self) {
        self.ending = true;
        self.waiting.clear();
        self.list.iter_mut().for_each(|channel| channel.closing = true);
    }

    /// Gives the engine what it can take.
    pub(super) fn pump(&mut self, now: Instant, engine: &mut RTCPeerConnection, news: &mut Vec<News>) -> Pumped {
        if !self.sctp_up {
            if sctp_state(engine) != Some(RTCSctpTransportState::Connected) {
                return Pumped::default();
            }
            self.sctp_up = true;
            for (id, new) in std::mem::take(&mut self.waiting) {
                self.create(engine, id, new, news);
            }
        }
        let mut pumped = Pumped::default();
        let mut turn = TURN_BYTES;
        let peer = self.peer;
        for channel in &mut self.list {
            let Some(outstanding) = engine.data_channel(channel.handle).map(|channel| channel.outstanding_bytes()) else {
                continue;
            };
            channel.settle(outstanding);
            let mut given = false;
            while channel.open
                && channel.handed_bytes < ENGINE_WINDOW
                && channel.handed.len() < ENGINE_MESSAGES
                && let Some(message) = channel.queue.front()
            {
                if turn == 0 {
                    pumped.more = true;
                    break;
                }
                let Some(mut sink) = engine.data_channel(channel.handle) else { break };
                let sent = match message {
                    DataMessage::Text(text) => sink.send_text(now, text.as_str()),
                    DataMessage::Binary(bytes) => sink.send(now, BytesMut::from(&bytes[..])),
                };
                if let Err(error) = sent {
                    tracing::debug!(%peer, channel = %channel.id, %error, "message not sent");
                }
                let len = message.len();
                channel.queue.pop_front();
                channel.queued -= len;
                channel.handed.push_back(len);
                channel.handed_bytes += len;
                turn = turn.saturating_sub(len.max(1));
                given = true;
            }
            pumped.given |= given;
            channel.note_buffered();
            if channel.flow.buffered.is_drained() && !channel.closing && !self.ending {
                news.push(News::Told(PeerEvent::ChannelDrained { peer, channel: channel.id }));
            }
            // in the engine a close overtakes messages of the same turn: it waits until they were polled out
            if channel.closing && !channel.ended && !given && (channel.queue.is_empty() || !channel.open) {
                if let Some(mut sink) = engine.data_channel(channel.handle)
                    && let Err(error) = sink.close()
                {
                    tracing::debug!(%peer, channel = %channel.id, %error, "channel not closed");
                }
                channel.ended = true;
                pumped.given = true;
            }
        }
        pumped
    }

    /// What happened to a channel in the engine.
    pub(super) fn event(&mut self, engine: &mut RTCPeerConnection, event: RTCDataChannelEvent, news: &mut Vec<News>) {
        match event {
            RTCDataChannelEvent::OnOpen(handle) => self.opened(engine, handle, news),
            RTCDataChannelEvent::OnClose(handle) => {
                if let Some(channel) = self.by_handle(handle) {
                    channel.ended = true;
                }
            }
            // its threshold is 0: everything is acknowledged, empty messages too, which are not counted
            RTCDataChannelEvent::OnBufferedAmountLow(handle) => {
                if let Some(channel) = self.by_handle(handle) {
                    channel.handed.clear();
                    channel.handed_bytes = 0;
                }
            }
            _ => {}
        }
    }

    fn opened(&mut self, engine: &mut RTCPeerConnection, handle: RTCDataChannelId, news: &mut Vec<News>) {
        let Some(mut dc) = engine.data_channel(handle) else { return };
        let (label, protocol, ordered) = (dc.label().to_owned(), dc.protocol().to_owned(), dc.ordered());
        if dc.negotiated() {
            // stands for the section of Portico's offer
            return;
        }
        let full = self.list.len() >= DataSpec::MAX_CHANNELS;
        let peer = self.peer;
        if let Some(channel) = self.by_handle(handle) {
            channel.open = true;
        } else {
            self.ever += 1;
            let long = label.len() > NewChannel::MAX_NAME || protocol.len() > NewChannel::MAX_NAME;
            if full || long || self.ending {
                tracing::debug!(%peer, full, long, "far end's channel closed at once");
                self.refused += usize::from(!self.ending);
                if let Err(error) = dc.close() {
                    tracing::debug!(%peer, %error, "channel not closed");
                }
                return;
            }
            let id = ChannelId::next();
            let mut channel = Channel::new(self.budget.flows().enter(id), id, handle, false);
            channel.open = true;
            self.list.push(channel);
        }
        let Some(channel) = self.by_handle(handle) else { return };
        let (id, ours, buffered) = (channel.id, channel.ours, channel.flow.buffered.clone());
        let max_message = self.max_send;
        self.tell(news, PeerEvent::ChannelOpen { peer, channel: id, label, protocol, ordered, ours, max_message, buffered });
    }

    /// Whether messages may be read from the engine.
    pub(super) fn may_read(&self) -> bool {
        self.budget.has_room()
    }

    /// Takes a message read from the engine.
    pub(super) fn take(&mut self, handle: RTCDataChannelId, message: RTCDataChannelMessage) {
        let bytes = message.data.freeze();
        let credit = self.budget.take(bytes.len());
        let message = match message.is_string {
            true => DataMessage::Text(Utf8Bytes::from_lossy(bytes)),
            false => DataMessage::Binary(bytes),
        };
        self.arrived.push((handle, message, credit));
    }

    /// Tells what came and which channels are over. To be called when every event of the engine was taken.
    pub(super) fn deliver(&mut self, news: &mut Vec<News>) {
        let peer = self.peer;
        for (handle, message, credit) in std::mem::take(&mut self.arrived) {
            // one of a channel that was refused or closed here is of no use to anybody
            if let Some(channel) =
                self.by_handle(handle).filter(|channel| channel.open && !channel.closing).map(|channel| channel.id)
            {
                self.tell(news, PeerEvent::ChannelMessage { peer, channel, message, credit });
            }
        }
        // what a closed channel still holds in the engine is told first
        let read = self.may_read();
        let over: Vec<ChannelId> =
            self.list.iter().filter(|channel| channel.ended && (read || channel.closing)).map(|channel| channel.id).collect();
        for channel in over {
            self.list.retain(|known| known.id != channel);
            self.tell(news, PeerEvent::ChannelClosed { peer, channel });
        }
    }

    /// Whether SCTP was up and is no more.
    pub(super) fn is_cut(&self, engine: &RTCPeerConnection) -> bool {
        self.sctp_up && sctp_state(engine) != Some(RTCSctpTransportState::Connected)
    }

    fn by_handle(&mut self, handle: RTCDataChannelId) -> Option<&mut Channel> {
        self.list.iter_mut().find(|channel| channel.handle == handle)
    }

    fn tell(&self, news: &mut Vec<News>, event: PeerEvent) {
        if !self.ending {
            news.push(News::Told(event));
        }
    }
}

/// What became of [`Channels::pump`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pumped {
    /// The engine was given something.
    pub(super) given: bool,
    /// There is more, for the next turn.
    pub(super) more: bool,
}

fn sctp_state(engine: &RTCPeerConnection) -> Option<RTCSctpTransportState> {
    engine.sctp().map(|sctp| sctp.state())
}
