//! What one mount keeps across its connections: who has which id, and what waits for whom. Pure.
//!
//! ```text
//! session ─ Register ─► id free? ─► Registered ─► (session joins the room) ─ Ready ─► what waited
//! session ─ Pass ─► addressee ready? ─ yes ─► Frame
//!                                    └ no ──► queue ─ registers in time ─► Frame
//!                                                   └ expire_timeout ───► EXPIRE to each sender, once
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::figures::PeerjsFigures;
use super::wire::{self, Kind};
use crate::signalling::{Realm, RealmMessage, RealmOutput, RealmWord};
use crate::vocab::{NumberMap, SessionId};

/// Messages that wait for one absent peer. The newest beyond that expires at once.
const QUEUE_MESSAGES: usize = 256;
/// Their bytes.
const QUEUE_BYTES: usize = 1 << 20;
/// Absent peers that messages wait for.
const QUEUES: usize = 10_000;
/// Messages of one sender that wait, for whomever: one client cannot use up what all share.
const SENDER_MESSAGES: usize = 1024;
/// Their bytes.
const SENDER_BYTES: usize = 4 << 20;
/// Bytes that wait in the whole realm.
const WAITING_BYTES: usize = 32 << 20;
/// Bytes on their way to one session. A client that is this far behind does not read and is closed, its id free.
const BACKLOG_BYTES: usize = 4 << 20;

/// What a session asks its realm.
#[derive(Debug)]
pub enum Ask {
    /// To be known by an id. Answered by `Registered`, `Taken` or `Full`.
    Register {
        /// The id; 1 to 256 characters.
        id: Arc<str>,
        /// The client's secret: who has it may take the id over.
        token: Box<str>,
    },
    /// The client heard `OPEN`: it may be written to from now on.
    Ready,
    /// To hand a message on.
    Pass(Box<Passing>),
    /// To hand a text on to the session of another client, if that is there.
    Tell {
        /// The client.
        dst: Arc<str>,
        /// The text.
        text: String,
    },
    /// To be forgotten; the connection stays.
    Unregister,
}

/// A message on its way from one client to another.
#[derive(Debug)]
pub struct Passing {
    /// What it is.
    pub kind: Kind,
    /// To whom.
    pub dst: Box<str>,
    /// The frame as the addressee gets it.
    pub frame: String,
    /// Where connections end at Portico: the addressee does not get it, but once it is there its sender gets it back.
    pub returns: bool,
}

/// What a realm tells a session.
#[derive(Debug)]
pub enum Word {
    /// It has the id.
    Registered,
    /// Another client has the id.
    Taken,
    /// There are as many clients as may be.
    Full,
    /// The same client came back on another connection; this one ends.
    Replaced,
    /// The client does not read what is sent to it; the connection ends.
    Stuck,
    /// Something to write to the client as it is.
    Frame(Box<Parcel>),
    /// Another session's text for this one.
    Told(Box<Parcel>),
    /// The session's own message, whose addressee is there now.
    Returned(Box<Parcel>),
}

/// A frame, counted as long as it waits for its session.
#[derive(Debug)]
pub struct Parcel {
    frame: String,
    /// Bytes on the way to the same session.
    backlog: Arc<AtomicUsize>,
}

impl Parcel {
    /// The frame; it is not on its way any more.
    pub fn open(mut self) -> String {
        self.backlog.fetch_sub(self.frame.len(), Ordering::Relaxed);
        std::mem::take(&mut self.frame)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.backlog.fetch_sub(self.frame.len(), Ordering::Relaxed);
    }
}

/// What the realm is to keep to.
#[derive(Clone, Debug)]
pub struct RealmConfig {
    /// The id by which Portico itself is called; nobody else gets it.
    pub reserved: Box<str>,
    /// Most registered clients.
    pub limit: usize,
    /// How long messages wait.
    pub expire: Duration,
}

/// One mount's ids and queues.
pub struct PeerjsRealm {
    config: RealmConfig,
    figures: Arc<PeerjsFigures>,
    seats: NumberMap<SessionId, Seat>,
    /// Who is registered. At most `config.limit`.
    ids: HashMap<Arc<str>, SessionId>,
    queues: HashMap<Arc<str>, Queue>,
    /// Ends of queues in order; those of queues that were emptied meanwhile are passed over.
    ends: VecDeque<(Instant, Arc<str>, u64)>,
    queue_number: u64,
    waiting_bytes: usize,
    outputs: VecDeque<RealmOutput>,
}

/// A session that asked to be registered.
struct Seat {
    id: Arc<str>,
    token: Box<str>,
    ready: bool,
    backlog: Arc<AtomicUsize>,
    /// What waits of its messages: number and bytes.
    waiting: (usize, usize),
}

/// What waits for one absent peer.
struct Queue {
    number: u64,
    bytes: usize,
    messages: Vec<Waiting>,
}

struct Waiting {
    from: SessionId,
    src: Arc<str>,
    frame: String,
    returns: bool,
}

impl PeerjsRealm {
    /// A realm without anybody.
    pub fn new(config: RealmConfig, figures: Arc<PeerjsFigures>) -> Self {
        Self {
            config,
            figures,
            seats: NumberMap::default(),
            ids: HashMap::new(),
            queues: HashMap::new(),
            ends: VecDeque::new(),
            queue_number: 0,
            waiting_bytes: 0,
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, to: SessionId, word: Word) {
        self.outputs.push_back(RealmOutput { to, word: RealmWord::Peerjs(word) });
    }

    fn register(&mut self, session: SessionId, id: Arc<str>, token: Box<str>) {
        if self.seats.contains_key(&session) {
            return; // a session asks once
        }
        let before = self.ids.get(&id).copied();
        let same = before.is_some_and(|before| self.seats.get(&before).is_some_and(|seat| seat.token == token));
        if *id == *self.config.reserved || (before.is_some() && !same) {
            return self.tell(session, Word::Taken);
        }
        match before {
            Some(before) => self.tell(before, Word::Replaced),
            None if self.ids.len() >= self.config.limit => return self.tell(session, Word::Full),
            None => {}
        }
        self.ids.insert(Arc::clone(&id), session);
        self.seats.insert(session, Seat { id, token, ready: false, backlog: Arc::default(), waiting: (0, 0) });
        self.tell(session, Word::Registered);
    }

    fn ready(&mut self, session: SessionId) {
        if !self.is_registered(session) {
            return;
        }
        let Some(seat) = self.seats.get_mut(&session) else { return };
        seat.ready = true;
        let id = Arc::clone(&seat.id);
        let Some(queue) = self.queues.remove(&id) else { return };
        self.released(&queue);
        for Waiting { from, frame, returns, .. } in queue.messages {
            let (to, word): (_, fn(Box<Parcel>) -> Word) = if returns { (from, Word::Returned) } else { (session, Word::Frame) };
            self.hand(to, frame, word);
        }
    }

    /// Whether the session still has its id: it may have been taken over, or given back.
    fn is_registered(&self, session: SessionId) -> bool {
        self.seats.get(&session).is_some_and(|seat| self.ids.get(&seat.id) == Some(&session))
    }

    fn unregister(&mut self, session: SessionId) {
        if self.is_registered(session)
            && let Some(seat) = self.seats.get(&session)
        {
            self.ids.remove(&seat.id);
        }
    }

    fn pass(&mut self, now: Instant, from: SessionId, passing: Passing) {
        let Passing { kind, dst, frame, returns } = passing;
        // who is not registered (any more) has no id to speak by
        let Some(src) = self.seats.get(&from).filter(|seat| seat.ready).map(|seat| Arc::clone(&seat.id)) else { return };
        if !self.is_registered(from) {
            return;
        }
        let addressee = self.ids.get(&*dst).copied();
        match addressee.filter(|to| self.seats.get(to).is_some_and(|seat| seat.ready)) {
            Some(_) if returns => {
                self.hand(from, frame, Word::Returned);
            }
            Some(to) => {
                if !self.deliver(to, frame) {
                    self.deliver(from, wire::write(Kind::Leave, &dst, &src, None));
                }
            }
            None if !kind.waits() => {}
            None => {
                let waiting = Waiting { from, src: Arc::clone(&src), frame, returns };
                if self.queue(now, &dst, waiting) {
                    self.figures.queued();
                } else {
                    self.figures.expired();
                    self.deliver(from, wire::write(Kind::Expire, &dst, &src, None));
                }
            }
        }
    }

    /// Writes to a session; false when it does not read any more, which ends it.
    fn deliver(&mut self, to: SessionId, frame: String) -> bool {
        self.hand(to, frame, Word::Frame)
    }

    fn hand(&mut self, to: SessionId, frame: String, word: fn(Box<Parcel>) -> Word) -> bool {
        let Some(seat) = self.seats.get(&to) else { return false };
        let backlog = Arc::clone(&seat.backlog);
        if backlog.fetch_add(frame.len(), Ordering::Relaxed) + frame.len() > BACKLOG_BYTES {
            backlog.fetch_sub(frame.len(), Ordering::Relaxed);
            if self.is_registered(to) {
                self.unregister(to);
                self.tell(to, Word::Stuck);
            }
            return false;
        }
        self.tell(to, word(Box::new(Parcel { frame, backlog })));
        true
    }

    /// Keeps a message for a peer that is not there; false when there is no room for it.
    fn queue(&mut self, now: Instant, dst: &str, waiting: Waiting) -> bool {
        let Some(sender) = self.seats.get_mut(&waiting.from) else { return true };
        let len = waiting.frame.len();
        let (messages, bytes) = self.queues.get(dst).map_or((0, 0), |queue| (queue.messages.len(), queue.bytes));
        let fits = messages < QUEUE_MESSAGES
            && bytes + len <= QUEUE_BYTES
            && (messages > 0 || self.queues.len() < QUEUES)
            && sender.waiting.0 < SENDER_MESSAGES
            && sender.waiting.1 + len <= SENDER_BYTES
            && self.waiting_bytes + len <= WAITING_BYTES;
        if !fits {
            return false;
        }
        sender.waiting.0 += 1;
        sender.waiting.1 += len;
        self.waiting_bytes += len;
        if messages == 0 {
            self.queue_number += 1;
            let (id, number): (Arc<str>, u64) = (dst.into(), self.queue_number);
            self.ends.push_back((now + self.config.expire, Arc::clone(&id), number));
            self.queues.insert(id, Queue { number, bytes: 0, messages: Vec::new() });
        }
        if let Some(queue) = self.queues.get_mut(dst) {
            queue.bytes += len;
            queue.messages.push(waiting);
        }
        true
    }

    /// Counts off what does not wait any more.
    fn released(&mut self, queue: &Queue) {
        self.waiting_bytes -= queue.bytes;
        for waiting in &queue.messages {
            if let Some(sender) = self.seats.get_mut(&waiting.from) {
                sender.waiting.0 -= 1;
                sender.waiting.1 -= waiting.frame.len();
            }
        }
    }

    /// The end of a queue is left over when the queue was emptied before.
    fn is_stale(&self, id: &str, number: u64) -> bool {
        self.queues.get(id).is_none_or(|queue| queue.number != number)
    }

    fn expire(&mut self, dst: &str) {
        let Some(queue) = self.queues.remove(dst) else { return };
        self.released(&queue);
        let mut told = HashSet::new();
        for waiting in queue.messages {
            if told.insert(Arc::clone(&waiting.src))
                && let Some(to) = self.ids.get(&waiting.src).copied()
            {
                self.figures.expired();
                self.deliver(to, wire::write(Kind::Expire, dst, &waiting.src, None));
            }
        }
    }
}

impl Realm for PeerjsRealm {
    fn handle(&mut self, now: Instant, from: SessionId, message: RealmMessage) {
        #[allow(irrefutable_let_patterns)] // other dialects have messages of their own
        let RealmMessage::Peerjs(ask) = message else { return };
        match ask {
            Ask::Register { id, token } => self.register(from, id, token),
            Ask::Ready => self.ready(from),
            Ask::Pass(passing) => self.pass(now, from, *passing),
            Ask::Tell { dst, text } => {
                if let Some(to) = self.ids.get(&dst).copied().filter(|_| self.is_registered(from)) {
                    self.hand(to, text, Word::Told);
                }
            }
            Ask::Unregister => self.unregister(from),
        }
    }

    fn handle_gone(&mut self, _now: Instant, session: SessionId) {
        self.unregister(session);
        self.seats.remove(&session);
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((end, id, number)) = self.ends.front() {
            let stale = self.is_stale(id, *number);
            if !stale && *end > now {
                return;
            }
            let id = Arc::clone(id);
            self.ends.pop_front();
            if !stale {
                self.expire(&id);
            }
        }
    }

    fn poll_output(&mut self) -> Option<RealmOutput> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.ends.front().map(|(end, ..)| *end)
    }

    fn names(&self) -> Vec<String> {
        let ready = |session: &SessionId| self.seats.get(session).is_some_and(|seat| seat.ready);
        self.ids.iter().filter(|(_, session)| ready(session)).map(|(id, _)| id.to_string()).collect()
    }
}
