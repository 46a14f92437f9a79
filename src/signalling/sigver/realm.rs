//! The groups of a mount: who is a member, who is bound to whom, and what is passed on between them.
//!
//! ```text
//! connect ─► rows 1 to 6 ─► member of the group   (connected true)
//!                        └► bound to a member     (connected false)
//! content ─► binding ─► the other end, or Portico as a member (`company`)
//! ```
//! Pure. It knows no room and no frame: a session tells it what its client said, and is told what to say.

mod company;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use self::company::Company;
use super::flow::{BURST, Rate};
use super::member::{News, Order};
use super::wire::GroupData;
use crate::signalling::{Realm, RealmMessage, RealmOutput, RealmWord};
use crate::vocab::{Backlog, NumberMap, SessionId, Share};

/// Most ids a joiner remembers of members it was bound to; beyond it starts over, as it does when it tried all.
const MAX_TRIED: usize = 4096;
/// Signalling ids are below this and not 0.
const ID_LIMIT: u32 = 1 << 31;

/// What a session tells the groups.
#[derive(Debug)]
pub enum Said {
    /// Its first word: where it belongs.
    Enter {
        /// The group's key, as in the path.
        key: Arc<str>,
        /// Preferred as partner of joiners.
        favored: bool,
    },
    /// Its client asked whether it is, or may become, a member.
    Connect(GroupData),
    /// Its client sent content.
    Content {
        /// The signalling id of the joiner meant; counts when the client is partner of a joiner.
        recipient: u32,
        /// Nothing more comes in this direction.
        last: bool,
        /// Opaque.
        data: Bytes,
    },
    /// Whether its room holds somebody for whom Portico is to join the group.
    Company(bool),
    /// News of its client's connection with Portico.
    News(News),
    /// Somebody else in the room said this; its client is to hear it.
    Text(String),
}

/// What the groups tell a session.
#[derive(Debug)]
pub enum Word {
    /// The answer to `connect`.
    Connected(bool),
    /// Content for its client. Boxed, because a word's size counts in every session's queue.
    Content(Box<Delivery>),
    /// Its connection is to be closed.
    Close(Verdict),
    /// Something to do for Portico, which is a member of the group.
    Order(Box<Errand>),
    /// Its client said this to the group: the room is to hear it.
    Said(Box<str>),
}

/// Something to do for Portico, and its part of what waits for the session; dropped when it was done.
#[derive(Debug)]
pub struct Errand {
    /// What.
    pub order: Order,
    /// Its part of the backlog.
    pub share: Share,
}

/// Content for a client.
#[derive(Debug)]
pub struct Delivery {
    /// `senderId`.
    pub sender: u32,
    /// `recipientId`.
    pub recipient: u32,
    /// `None` says that the partner has gone.
    pub data: Option<Bytes>,
    /// Its part of what waits for the client; dropped when it was written out.
    pub share: Share,
}

/// Why a connection is closed by the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The only member did not take a joiner in, who replaces it.
    Blocking,
    /// It does not read what it is sent.
    Slow,
    /// It sends more than a binding carries.
    Flooding,
}

impl Verdict {
    /// Close code and reason.
    pub fn close(self) -> (u16, &'static str) {
        match self {
            Self::Blocking => (4744, "replaced: it kept a peer from joining the group"),
            Self::Slow => (4745, "the client does not read what it is sent"),
            Self::Flooding => (4745, "more content than a partner is sent"),
        }
    }
}

/// The groups of a mount and all its connections.
///
/// Memory: one entry a connection and one a binding, of which a connection has at most one as joiner; content is not kept here,
/// and what waits for a client is bounded by [`Backlog`].
pub struct Groups {
    /// Members in order of joining; a group without members is not there.
    groups: HashMap<Arc<str>, Vec<SessionId>>,
    connections: NumberMap<SessionId, Connection>,
    /// By signalling id, which is a random number of our own.
    bindings: NumberMap<u32, Binding>,
    company: Company,
    /// Random numbers for signalling ids.
    random: Box<dyn FnMut() -> u32 + Send>,
    out: VecDeque<RealmOutput>,
}

/// One connection.
struct Connection {
    key: Arc<str>,
    favored: bool,
    /// Its Netflux id while it is a member.
    member: Option<u32>,
    /// The Netflux id it named last.
    id: u32,
    /// Its room holds others than netflux clients.
    company: bool,
    /// Its binding with Portico.
    portico: Option<u32>,
    /// Netflux ids of members it was bound to since it asked first.
    tried: BTreeSet<u32>,
    /// Its binding as joiner.
    joins: Option<u32>,
    /// Its bindings as partner of others.
    serves: BTreeSet<u32>,
    backlog: Backlog,
    /// What it is to do for Portico.
    errands: Backlog,
    /// It is being closed: what it still says does not count.
    closing: bool,
}

/// A joiner and the member it was given as partner.
struct Binding {
    /// `None`: Portico.
    joiner: Option<SessionId>,
    member: SessionId,
    to_member: Way,
    to_joiner: Way,
}

/// One direction of a binding.
struct Way {
    open: bool,
    rate: Rate,
}

impl Way {
    fn new(now: Instant) -> Self {
        Self { open: true, rate: Rate::new(now) }
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::new(Box::new(rand::random))
    }
}

impl Groups {
    /// Without any connection. `random` gives the numbers of bindings.
    pub fn new(random: Box<dyn FnMut() -> u32 + Send>) -> Self {
        Self {
            groups: HashMap::new(),
            connections: NumberMap::default(),
            bindings: NumberMap::default(),
            company: Company::default(),
            random,
            out: VecDeque::new(),
        }
    }

    fn tell(&mut self, to: SessionId, word: Word) {
        self.out.push_back(RealmOutput { to, word: RealmWord::Sigver(word) });
    }

    fn close(&mut self, session: SessionId, verdict: Verdict) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        if !std::mem::replace(&mut connection.closing, true) {
            self.leave_group(session);
            self.tell(session, Word::Close(verdict));
        }
    }

    // ---- membership ----

    /// Rows 1 to 6 of the page, section 4; the first that fits decides.
    fn connect(&mut self, now: Instant, asker: SessionId, seen: &GroupData) {
        let Some(connection) = self.connections.get(&asker) else { return };
        let (key, is_member) = (connection.key.clone(), connection.member.is_some());
        let ids: HashSet<u32> = seen.members.iter().copied().collect();
        let sees = |member: &SessionId| self.connections[member].member.is_some_and(|id| ids.contains(&id));
        let group = self.groups.get(&key).map(Vec::as_slice).unwrap_or_default();
        let answer = match group {
            [] => true,
            [_] if is_member => true,
            [only] if sees(only) => true,
            [only] if self.connections[only].member.is_some_and(|id| connection.tried.contains(&id)) => {
                let only = *only;
                self.enter_group(asker, seen.id);
                self.tell(asker, Word::Connected(true));
                self.with_portico(now, &key, |portico| portico.member(now, asker));
                return self.close(only, Verdict::Blocking);
            }
            members => members.iter().any(sees),
        };
        if answer {
            self.enter_group(asker, seen.id);
        } else {
            self.leave_group(asker);
            self.bind(now, asker);
        }
        self.tell(asker, Word::Connected(answer));
        if answer {
            self.with_portico(now, &key, |portico| portico.member(now, asker));
        }
    }

    /// Makes the session a member, or renews its id.
    fn enter_group(&mut self, session: SessionId, id: u32) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        connection.tried.clear();
        connection.id = id;
        if connection.member.replace(id).is_none() {
            self.groups.entry(connection.key.clone()).or_default().push(session);
        }
    }

    fn leave_group(&mut self, session: SessionId) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        if connection.member.take().is_none() {
            return;
        }
        if let Some(group) = self.groups.get_mut(&connection.key) {
            group.retain(|member| *member != session);
            if group.is_empty() {
                self.groups.remove(&connection.key);
            }
        }
    }

    // ---- bindings ----

    /// Binds a joiner to a member of its group it was not bound to yet. Its binding before is dropped without a word.
    fn bind(&mut self, now: Instant, joiner: SessionId) {
        let Some((partner, id)) = self.select(joiner) else { return };
        if let Some(before) = self.connections.get(&joiner).and_then(|joiner| joiner.joins) {
            self.unbind(before);
        }
        let number = self.fresh_number();
        let binding = Binding { joiner: Some(joiner), member: partner, to_member: Way::new(now), to_joiner: Way::new(now) };
        self.bindings.insert(number, binding);
        if let Some(joiner) = self.connections.get_mut(&joiner) {
            joiner.joins = Some(number);
            if joiner.tried.len() >= MAX_TRIED {
                joiner.tried.clear();
            }
            joiner.tried.insert(id);
        }
        if let Some(partner) = self.connections.get_mut(&partner) {
            partner.serves.insert(number);
        }
    }

    /// The first favored member that was not tried, else the first that was not; when all were tried, the same from the start.
    fn select(&mut self, joiner: SessionId) -> Option<(SessionId, u32)> {
        let asker = self.connections.get(&joiner)?;
        let group = self.groups.get(&asker.key)?;
        let candidate = |tried: &BTreeSet<u32>| {
            let members = group.iter().filter_map(|session| Some((*session, self.connections.get(session)?)));
            let mut found = None;
            for (session, member) in members {
                match member.member {
                    Some(id) if !tried.contains(&id) && member.favored => return Some((session, id)),
                    Some(id) if !tried.contains(&id) => found = found.or(Some((session, id))),
                    _ => {}
                }
            }
            found
        };
        if let Some(found) = candidate(&asker.tried) {
            return Some(found);
        }
        let found = candidate(&BTreeSet::new());
        self.connections.get_mut(&joiner)?.tried.clear();
        found
    }

    /// A number that no binding has.
    fn fresh_number(&mut self) -> u32 {
        loop {
            let number = (self.random)() % ID_LIMIT;
            if number != 0 && !self.bindings.contains_key(&number) {
                return number;
            }
        }
    }

    /// Removes a binding on both sides. Nobody is told.
    fn unbind(&mut self, number: u32) -> Option<Binding> {
        let binding = self.bindings.remove(&number)?;
        if let Some(joiner) = binding.joiner.and_then(|joiner| self.connections.get_mut(&joiner)) {
            joiner.joins.take_if(|joins| *joins == number);
        }
        if let Some(member) = self.connections.get_mut(&binding.member) {
            member.serves.remove(&number);
            member.portico.take_if(|portico| *portico == number);
        }
        Some(binding)
    }

    // ---- content ----

    /// Passes content on. A recipient that is a joiner of the sender's goes before the sender's own partner.
    fn pass(&mut self, now: Instant, from: SessionId, recipient: u32, last: bool, data: Bytes) {
        let Some(sender) = self.connections.get(&from) else { return };
        let (number, to_joiner) = match sender.joins {
            _ if sender.serves.contains(&recipient) => (recipient, true),
            Some(number) => (number, false),
            None => return,
        };
        let Some(binding) = self.bindings.get_mut(&number) else { return };
        let (way, to) = match to_joiner {
            true => (&mut binding.to_joiner, binding.joiner),
            false => (&mut binding.to_member, Some(binding.member)),
        };
        if !way.open {
            return;
        }
        way.open = !last;
        if !way.rate.take(now, data.len()) {
            return self.close(from, Verdict::Flooding);
        }
        let Some(to) = to else {
            let Some(key) = self.connections.get(&from).map(|sender| sender.key.clone()) else { return };
            return self.with_portico(now, &key, |portico| portico.content(now, from, &data));
        };
        self.deliver(to, number, to_joiner, Some(data));
    }

    fn deliver(&mut self, to: SessionId, number: u32, to_joiner: bool, data: Option<Bytes>) {
        let Some(reader) = self.connections.get(&to).filter(|reader| !reader.closing) else { return };
        let Some(share) = reader.backlog.take(data.as_ref().map_or(0, Bytes::len), BURST) else {
            return self.close(to, Verdict::Slow);
        };
        let (sender, recipient) = if to_joiner { (0, number) } else { (number, 0) };
        self.tell(to, Word::Content(Box::new(Delivery { sender, recipient, data, share })));
    }
}

impl Realm for Groups {
    fn handle(&mut self, now: Instant, from: SessionId, message: RealmMessage) {
        #[allow(irrefutable_let_patterns)] // as long as no other dialect keeps a realm
        let RealmMessage::Sigver(said) = message else { return };
        if self.connections.get(&from).is_some_and(|connection| connection.closing) {
            return;
        }
        match said {
            Said::Enter { key, favored } => {
                // one value of the key for all, so that a connection costs no copy of it
                let key = self.groups.get_key_value(&key).map_or(key, |(known, _)| known.clone());
                let connection = Connection {
                    key,
                    favored,
                    member: None,
                    id: 0,
                    company: false,
                    portico: None,
                    tried: BTreeSet::new(),
                    joins: None,
                    serves: BTreeSet::new(),
                    backlog: Backlog::default(),
                    errands: Backlog::default(),
                    closing: false,
                };
                self.connections.entry(from).or_insert(connection);
            }
            Said::Connect(seen) => self.connect(now, from, &seen),
            Said::Content { recipient, last, data } => self.pass(now, from, recipient, last, data),
            Said::Company(there) => self.set_company(now, from, there),
            Said::News(news) => {
                if let Some(key) = self.connections.get(&from).map(|connection| connection.key.clone()) {
                    self.with_portico(now, &key, |portico| portico.news(now, from, news));
                }
            }
            Said::Text(text) => {
                if let Some((key, id)) = self.connections.get(&from).map(|connection| (connection.key.clone(), connection.id)) {
                    self.with_portico(now, &key, |portico| portico.tell(from, id, &text));
                }
            }
        }
    }

    fn handle_gone(&mut self, now: Instant, session: SessionId) {
        self.leave_group(session);
        let Some(gone) = self.connections.get(&session) else { return };
        for number in gone.joins.into_iter().chain(gone.serves.clone()) {
            let Some(binding) = self.unbind(number) else { continue };
            if binding.joiner == Some(session) && binding.to_member.open {
                self.deliver(binding.member, number, false, None);
            } else if let Some(joiner) = binding.joiner.filter(|_| binding.member == session && binding.to_joiner.open) {
                self.deliver(joiner, number, true, None);
            }
        }
        self.set_company(now, session, false);
        if let Some(gone) = self.connections.remove(&session) {
            self.with_portico(now, &gone.key, |portico| portico.gone(session));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.company_timeout(now);
    }

    fn poll_output(&mut self) -> Option<RealmOutput> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.company.next_timeout()
    }
}

#[cfg(test)]
mod tests;
