//! The desk in simulated time, with a simulated wire, disk and HTTP.

mod clips;
mod random;
mod requests;
mod stored;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::vocab::{ChannelId, DataMessage, MemberId, PeerId, RoomId};

/// What waits in a simulated channel.
#[derive(Debug, Default)]
struct Waiting(AtomicUsize);

impl Gauge for Waiting {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection's far end.
struct Far {
    channel: ChannelId,
    waiting: Arc<Waiting>,
    heard: Vec<DataMessage>,
    /// Channels hold what they get until they are drained.
    stalled: bool,
}

struct World {
    now: Instant,
    desk: Desk,
    far: BTreeMap<PeerId, Far>,
    hung_up: Vec<PeerId>,
    told: Vec<(MemberId, MemberId, String)>,
    calls: Vec<Call>,
    cancelled: Vec<CallId>,
    disk: BTreeMap<ClipId, Vec<u8>>,
    disk_works: bool,
    dropped: Vec<DropReason>,
    left: BTreeSet<MemberId>,
    owners: BTreeMap<PeerId, MemberId>,
    max_message: usize,
}

const A: MemberId = MemberId([1; 16]);
const B: MemberId = MemberId([2; 16]);
const C: MemberId = MemberId([3; 16]);
const HEADER: &str = r#"{"userId":"u1","startTime":12.5}"#;

fn room() -> RoomId {
    RoomId::new("r").unwrap()
}

fn seat() -> Seat {
    Seat { room: room(), clips: ClipUse::Relay, hears_text: false, may_send: true, may_read: true, direct: false, bridged: false }
}

fn connection(owner: MemberId, stands: Stands, framing: Framing) -> Connection {
    Connection { owner, stands, framing, pair: None, may_send: true, may_read: true, rpc: None }
}

fn text(text: &str) -> DataMessage {
    DataMessage::text(text)
}

fn binary(bytes: impl Into<Vec<u8>>) -> DataMessage {
    DataMessage::Binary(bytes.into().into())
}

impl World {
    fn new() -> Self {
        Self::with(ClipsConfig::default(), RpcConfig::default())
    }

    fn with(clips: ClipsConfig, rpc: RpcConfig) -> Self {
        Self {
            now: Instant::now(),
            desk: Desk::new(clips, rpc),
            far: BTreeMap::new(),
            hung_up: Vec::new(),
            told: Vec::new(),
            calls: Vec::new(),
            cancelled: Vec::new(),
            disk: BTreeMap::new(),
            disk_works: true,
            dropped: Vec::new(),
            left: BTreeSet::new(),
            owners: BTreeMap::new(),
            max_message: 0,
        }
    }

    fn join(&mut self, member: MemberId, seat: Seat) {
        self.left.remove(&member);
        self.desk.join(self.now, member, seat);
        self.settle();
    }

    fn leave(&mut self, member: MemberId) {
        self.left.insert(member);
        self.far.retain(|peer, _| self.owners[peer] != member);
        self.desk.leave(self.now, member);
        self.settle();
    }

    /// Opens a connection whose channel is up.
    fn open(&mut self, owner: MemberId, stands: Stands, framing: Framing) -> PeerId {
        self.open_as(connection(owner, stands, framing))
    }

    fn open_as(&mut self, connection: Connection) -> PeerId {
        let peer = self.open_without_channel(connection);
        self.channel_up(peer);
        peer
    }

    fn open_without_channel(&mut self, connection: Connection) -> PeerId {
        let peer = PeerId::next();
        self.owners.insert(peer, connection.owner);
        self.desk.open(peer, connection).unwrap();
        self.settle();
        peer
    }

    fn channel_up(&mut self, peer: PeerId) {
        let channel = ChannelId::next();
        let waiting = Arc::<Waiting>::default();
        self.far.insert(peer, Far { channel, waiting: waiting.clone(), heard: Vec::new(), stalled: false });
        self.event(peer, ChannelEvent::Opened { channel, ours: true, max_message: self.max_message, gauge: waiting });
    }

    fn event(&mut self, peer: PeerId, event: ChannelEvent) {
        self.desk.handle_channel(self.now, peer, event);
        self.settle();
    }

    /// The far end sends.
    fn send(&mut self, peer: PeerId, message: DataMessage) {
        let channel = self.far[&peer].channel;
        self.event(peer, ChannelEvent::Message { channel, message });
    }

    fn close(&mut self, peer: PeerId) {
        self.far.remove(&peer);
        self.desk.close(self.now, peer);
        self.settle();
    }

    /// Lets time pass, in the steps that the desk asks for.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.desk.next_timeout().filter(|at| *at <= end) {
            // a desk that asks for the same instant for ever would hang here
            self.now = self.now.max(at);
            self.desk.handle_timeout(self.now);
            self.settle();
            assert!(self.desk.next_timeout().is_none_or(|next| next > self.now), "a timeout that does not go away");
        }
        self.now = end;
    }

    fn drain(&mut self, peer: PeerId) {
        let Some(far) = self.far.get_mut(&peer) else { return };
        far.waiting.0.store(0, Ordering::Relaxed);
        let channel = far.channel;
        self.event(peer, ChannelEvent::Drained { channel });
    }

    fn settle(&mut self) {
        while let Some(output) = self.desk.poll_output() {
            match output {
                Output::Send { peer, channel, message } => {
                    assert!(!self.left.contains(&self.owners[&peer]), "nothing to a member that left");
                    let far = self.far.get_mut(&peer).expect("nothing is sent on a closed connection");
                    assert_eq!(channel, far.channel);
                    if far.stalled {
                        far.waiting.0.fetch_add(message.len(), Ordering::Relaxed);
                    }
                    far.heard.push(message);
                }
                Output::HangUp { peer } => self.hung_up.push(peer),
                Output::Tell { to, from, text } => self.told.push((to, from, text.as_str().into())),
                Output::Call(call) => self.calls.push(call),
                Output::Cancel(call) => self.cancelled.push(call),
                Output::Store(command) => self.store(command),
                Output::Dropped { why, .. } => self.dropped.push(why),
            }
        }
        let (queued, taped, _) = self.desk.held();
        assert!(queued <= Desk::MAX_QUEUED && taped <= self.desk.max_memory(), "{queued} {taped}");
        self.desk.check_accounts();
    }

    fn store(&mut self, command: StoreCommand) {
        let event = match command {
            StoreCommand::Keep { clip, .. } if !self.disk_works => StoreEvent::Lost { clip },
            StoreCommand::Keep { clip, slices } => {
                self.disk.insert(clip, slices.concat());
                StoreEvent::Kept { clip }
            }
            StoreCommand::Remove { clip } => {
                self.disk.remove(&clip);
                return;
            }
            StoreCommand::Read { clip, offset, len, reader } => match self.disk.get(&clip) {
                None => StoreEvent::Lost { clip },
                Some(bytes) => {
                    let from = bytes.len().min(offset as usize);
                    let bytes = Bytes::copy_from_slice(&bytes[from..bytes.len().min(from + len)]);
                    StoreEvent::Block { clip, offset, reader, bytes }
                }
            },
        };
        self.desk.handle_store(self.now, event);
    }

    fn heard(&mut self, peer: PeerId) -> Vec<DataMessage> {
        std::mem::take(&mut self.far.get_mut(&peer).expect("the connection is open").heard)
    }

    fn heard_texts(&mut self, peer: PeerId) -> Vec<String> {
        self.heard(peer).iter().map(shown).collect()
    }

    fn told(&mut self) -> Vec<(MemberId, MemberId, String)> {
        std::mem::take(&mut self.told)
    }
}

/// A message as text: a binary one in brackets.
fn shown(message: &DataMessage) -> String {
    match message {
        DataMessage::Text(text) => text.as_str().to_owned(),
        DataMessage::Binary(bytes) => format!("[{}]", String::from_utf8_lossy(bytes)),
    }
}
