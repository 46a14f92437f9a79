//! Portico as one more member of a netflux group, so that text crosses between the group and everybody else in the room.
//!
//! ```text
//!            signalling (a binding)            data channel, at its end in Portico
//! netflux A ─── request, offer, candidates ─► Gateway ◄── user messages, heartbeats ── netflux A
//!                                                │ ▲
//!                      room (as A says it) ◄─ Say┘ └ text of the room
//! ```
//! Pure; one value a group, inside the mount's realm. Towards the clients it is always the *joiner*: it asks each member for a
//! channel by the way of the server, and the member offers. So real clients are never bound to it, it never stands in a joiner's
//! way, and a lone client is the only member as ever. Requests inside the mesh are declined, because the channel comes by the
//! other way at once; until then, and where a direct channel fails, messages are routed.

mod mesh;
pub mod pieces;
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::mesh::Distant;
use self::pieces::Pieces;
use self::wire::{
    Builder, BuilderKind, DataChannel, DataChannelKind, Envelope, Info, Init, InitKind, Negotiation, envelope, read, service,
};
use crate::vocab::{Candidate, SessionId};

/// A member answers a request within this time, or is asked again later.
pub const RESPONSE_LIMIT: Duration = Duration::from_secs(2);
/// From the response to an open channel.
pub const CHANNEL_LIMIT: Duration = Duration::from_secs(14);
/// Neighbours hear from each other so often.
pub const BEAT: Duration = Duration::from_secs(3);
/// The beat at which so many of a neighbour's were missed ends the channel.
const MAX_MISSED: u32 = 3;
/// The antecedent is told all members so often.
const LIST: Duration = Duration::from_secs(20);
/// Waits before another attempt with the same member; the last one for all further.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(3), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];
/// Netflux ids are this or above.
const MIN_ID: u32 = 1 << 31;

/// What is to be done, in order.
#[derive(Debug)]
pub enum Action {
    /// Bind Portico as joiner to this member anew; content goes by this binding from now on.
    Bind(SessionId),
    /// Content for a member, by the binding.
    Content(SessionId, Bytes),
    /// Something for the member's session to do.
    Order(SessionId, Order),
    /// A client of the group said something: its Netflux id, and the words.
    Said(u32, String),
}

/// What a member's session does for the group: it has the peer connection.
#[derive(Debug, PartialEq)]
pub enum Order {
    /// Open a connection that answers this offer.
    Meet(String),
    /// The far end's candidate.
    Candidate(Candidate),
    /// Send a message on the connection's channel.
    Send(Bytes),
    /// Close the connection.
    HangUp,
}

/// What a member's session tells of its connection.
#[derive(Debug)]
pub enum News {
    /// The answer to the offer.
    Answer(String),
    /// A message came on the channel.
    Message(Bytes),
    /// The connection is gone, or never came to be.
    Down,
}

/// Portico in one group.
///
/// Memory: one entry a member; [`mesh`] and [`pieces`] say what they keep.
#[derive(Debug)]
pub struct Gateway {
    /// Its Netflux id.
    id: u32,
    links: BTreeMap<SessionId, Link>,
    /// Clients of the mesh without a channel to Portico, by Netflux id.
    distant: BTreeMap<u32, Distant>,
    pieces: Pieces,
    /// Numbers of texts in pieces.
    next_text: u32,
    beat_at: Instant,
    list_at: Instant,
    actions: VecDeque<Action>,
}

/// The way to one member.
#[derive(Debug)]
struct Link {
    stage: Stage,
    /// Whether its session was told to open a connection, and has not said that it is gone.
    connected: bool,
    failures: usize,
}

/// How far the channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is tried before then.
    Idle { until: Instant },
    /// It was asked.
    Asked { until: Instant },
    /// It agreed; offer, answer and the first message are on their way.
    Opening { until: Instant },
    /// Its Netflux id, and its heartbeats missed.
    Open { id: u32, missed: u32 },
}

impl Gateway {
    /// In a group with nobody yet. `random` is any number.
    pub fn new(now: Instant, random: u32) -> Self {
        Self {
            id: random | MIN_ID,
            links: BTreeMap::new(),
            distant: BTreeMap::new(),
            pieces: Pieces::default(),
            next_text: 1,
            beat_at: now + BEAT,
            list_at: now + LIST,
            actions: VecDeque::new(),
        }
    }

    /// A client has become a member of the group. Saying it again changes nothing.
    pub fn member(&mut self, now: Instant, session: SessionId) {
        if let Entry::Vacant(entry) = self.links.entry(session) {
            entry.insert(Link { stage: Stage::Idle { until: now }, connected: false, failures: 0 });
            self.ask(now, session);
        }
    }

    /// A client's connection to the server is gone, and with it its channel.
    pub fn gone(&mut self, session: SessionId) {
        if let Some(Link { stage: Stage::Open { id, .. }, .. }) = self.links.remove(&session) {
            self.pieces.forget(id);
            self.tell_distant();
        }
    }

    /// Portico leaves the group: every channel is closed.
    pub fn leave(&mut self) {
        for (session, link) in std::mem::take(&mut self.links) {
            if link.connected {
                self.actions.push_back(Action::Order(session, Order::HangUp));
            }
        }
    }

    /// A member sent content by the binding.
    pub fn content(&mut self, now: Instant, session: SessionId, data: &[u8]) {
        let Some(message) = read::<Envelope>(data) else { return };
        match message.service_id {
            service::BUILDER => match read::<Builder>(&message.content).and_then(|it| it.kind) {
                Some(BuilderKind::Response(true)) => self.agreed(now, session),
                // no, or what it tried did not work and it asks Portico to try
                Some(BuilderKind::Response(false) | BuilderKind::Negotiation(_)) => self.fail(now, session),
                Some(BuilderKind::Request(_)) | None => {}
            },
            service::DATA_CHANNEL => {
                let Some(message) = read::<DataChannel>(&message.content) else { return };
                self.step(session, message.kind);
            }
            _ => {}
        }
    }

    /// A member's session has news of its connection.
    pub fn news(&mut self, now: Instant, session: SessionId, news: News) {
        let Some(link) = self.links.get_mut(&session).filter(|link| link.connected) else { return };
        match (news, link.stage) {
            (News::Down, _) => {
                link.connected = false;
                self.fail(now, session);
            }
            (News::Answer(answer), _) => {
                for kind in [Some(DataChannelKind::Answer(answer)), None] {
                    self.send_content(session, service::DATA_CHANNEL, &DataChannel { kind });
                }
            }
            (News::Message(bytes), Stage::Open { id, .. }) => self.received(session, id, &bytes),
            (News::Message(bytes), Stage::Opening { .. }) => self.greeted(session, &bytes),
            (News::Message(_), _) => {}
        }
    }

    /// Somebody of the room said something that this member's client is to hear. `id` is its Netflux id.
    pub fn tell(&mut self, session: SessionId, id: u32, text: &str) {
        self.next_text = self.next_text % 0xffff + 1;
        for message in pieces::cut(text, self.next_text) {
            match self.links.get(&session).map(|link| link.stage) {
                Some(Stage::Open { .. }) => {
                    let message = envelope(self.id, 0, service::USER, &message);
                    self.actions.push_back(Action::Order(session, Order::Send(message)));
                }
                _ => self.send(id, service::USER, &message),
            }
        }
    }

    /// Time passed.
    pub fn timeout(&mut self, now: Instant) {
        let due: Vec<(SessionId, Stage)> = self.links.iter().map(|(session, link)| (*session, link.stage)).collect();
        for (session, stage) in due {
            match stage {
                Stage::Idle { until } if until <= now => self.ask(now, session),
                Stage::Asked { until } | Stage::Opening { until } if until <= now => self.fail(now, session),
                _ => {}
            }
        }
        if self.beat_at <= now {
            self.beat_at = now + BEAT;
            self.beat(now);
        }
        if self.list_at <= now {
            self.list_at = now + LIST;
            self.tell_antecedent();
        }
    }

    /// When [`Self::timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        let open = self.links.values().any(|link| matches!(link.stage, Stage::Open { .. }));
        let stages = self.links.values().filter_map(|link| match link.stage {
            Stage::Idle { until } | Stage::Asked { until } | Stage::Opening { until } => Some(until),
            Stage::Open { .. } => None,
        });
        let beats = open.then(|| self.beat_at.min(self.list_at));
        stages.chain(beats).min()
    }

    /// The next thing to do. Drained after every call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    // ---- opening a channel ----

    fn ask(&mut self, now: Instant, session: SessionId) {
        let Some(link) = self.links.get_mut(&session) else { return };
        link.stage = Stage::Asked { until: now + RESPONSE_LIMIT };
        self.actions.push_back(Action::Bind(session));
        self.send_content(session, service::BUILDER, &Builder { kind: Some(BuilderKind::Request(Bytes::new())) });
    }

    fn agreed(&mut self, now: Instant, session: SessionId) {
        let Some(link) = self.links.get_mut(&session).filter(|link| matches!(link.stage, Stage::Asked { .. })) else { return };
        link.stage = Stage::Opening { until: now + CHANNEL_LIMIT };
        let initiator = Some(Info { dc_supported: true, ..Info::default() });
        let negotiation = Negotiation { initiator, passive: None };
        self.send_content(session, service::BUILDER, &Builder { kind: Some(BuilderKind::Negotiation(negotiation)) });
    }

    /// A step of the member's peer connection.
    fn step(&mut self, session: SessionId, kind: Option<DataChannelKind>) {
        let Some(link) = self.links.get_mut(&session).filter(|link| matches!(link.stage, Stage::Opening { .. })) else { return };
        let order = match kind {
            Some(DataChannelKind::Offer(sdp)) if !link.connected => {
                link.connected = true;
                Order::Meet(sdp)
            }
            Some(DataChannelKind::Candidate(it)) if link.connected => Order::Candidate(Candidate {
                candidate: it.candidate,
                sdp_mid: Some(it.sdp_mid).filter(|mid| !mid.is_empty()),
                sdp_mline_index: u16::try_from(it.sdp_m_line_index).ok(),
                username_fragment: None,
            }),
            _ => return,
        };
        self.actions.push_back(Action::Order(session, order));
    }

    /// The member's first message on the channel: it tells who it is and who is there.
    fn greeted(&mut self, session: SessionId, bytes: &[u8]) {
        let Some(InitKind::Ping(ping)) = read::<Init>(bytes).and_then(|it| it.kind) else { return };
        let older = self.links.iter().find(|(_, link)| matches!(link.stage, Stage::Open { id, .. } if id == ping.sender_id));
        if let Some((&older, _)) = older {
            // the same client by a new connection; the old one is not noticed to be dead yet
            self.hang_up(older);
            self.links.remove(&older);
        }
        let Some(link) = self.links.get_mut(&session) else { return };
        link.stage = Stage::Open { id: ping.sender_id, missed: 0 };
        link.failures = 0;
        let pong = wire::init(InitKind::Pong(self.id));
        self.actions.push_back(Action::Order(session, Order::Send(pong)));
        self.distant.remove(&ping.sender_id);
        self.learn(&ping.members, ping.sender_id);
        self.tell_distant();
    }

    /// The attempt, or the channel, is over. Another follows.
    fn fail(&mut self, now: Instant, session: SessionId) {
        self.hang_up(session);
        let Some(link) = self.links.get_mut(&session) else { return };
        let was = link.stage;
        let wait = RETRIES[link.failures.min(RETRIES.len() - 1)];
        link.failures += 1;
        link.stage = Stage::Idle { until: now + wait };
        if let Stage::Open { id, .. } = was {
            self.pieces.forget(id);
            self.tell_distant();
        }
    }

    fn hang_up(&mut self, session: SessionId) {
        let Some(link) = self.links.get_mut(&session) else { return };
        if std::mem::replace(&mut link.connected, false) {
            self.actions.push_back(Action::Order(session, Order::HangUp));
        }
    }

    fn send_content(&mut self, session: SessionId, service: u32, message: &impl prost::Message) {
        self.actions.push_back(Action::Content(session, envelope(self.id, 0, service, message)));
    }
}
