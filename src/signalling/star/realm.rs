//! The table of one endpoint: who has joined under which address, and what they are told of each other. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::config::StarConfig;
use super::figures::StarFigures;
use crate::signalling::event::Event;
use crate::signalling::{Realm, RealmMessage, RealmOutput, RealmWord};
use crate::vocab::SessionId;

/// A joined peer is announced to all others this often.
pub(super) const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);
/// Longest address, in bytes.
pub(super) const MAX_ADDRESS: usize = 1024;

const PEER: &str = "ws-peer";
const SIGNAL: &str = "ws-handshake";

/// What a session hands the realm.
#[derive(Debug)]
pub enum StarMessage {
    /// `ss-join` with this address, of a session that has its place in the room.
    Join(String),
    /// `ss-join` with something else, or for which the room had no place.
    JoinFailed,
    /// `ss-leave`.
    Leave,
    /// `ss-handshake`: the object as it came, or something that is none.
    Handshake(Option<String>),
}

/// An event for a session: a JSON array. Shared by all who are told the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StarWord(pub Arc<String>);

/// What of a handshake object counts. Everything else passes unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake<'a> {
    #[serde(default, borrow)]
    src_multiaddr: Option<&'a RawValue>,
    #[serde(default, borrow)]
    dst_multiaddr: Option<&'a RawValue>,
    #[serde(default, borrow)]
    signal: Option<&'a RawValue>,
    #[serde(default, borrow)]
    answer: Option<&'a RawValue>,
}

/// One endpoint's table.
pub struct StarRealm {
    config: StarConfig,
    figures: Arc<StarFigures>,
    /// Addresses in the form they are compared in. As many as may join.
    by_address: HashMap<String, SessionId>,
    /// In order of session, so that the same input gives the same output.
    peers: BTreeMap<SessionId, Peer>,
    /// When who is announced next.
    timers: BTreeSet<(Instant, SessionId)>,
    outputs: VecDeque<RealmOutput>,
    /// How many of the figure's peers are this table's.
    counted: u64,
}

/// A joined peer.
struct Peer {
    /// As it came.
    address: String,
    /// As it is compared.
    key: String,
    announce_at: Instant,
}

impl StarRealm {
    /// An empty table.
    pub fn new(config: StarConfig, figures: Arc<StarFigures>) -> Self {
        Self {
            config,
            figures,
            by_address: HashMap::new(),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            counted: 0,
        }
    }

    fn join(&mut self, now: Instant, from: SessionId, address: String) {
        let key = compared(&address);
        let known = self.peers.contains_key(&from);
        if address.len() > MAX_ADDRESS || (!known && self.peers.len() >= self.config.max_peers) {
            return StarFigures::count(&self.figures.joins_failed);
        }
        StarFigures::count(&self.figures.joins_succeeded);
        // one timer and one address a connection: the same again keeps its rhythm
        let announce_at = match self.take_out(from) {
            Some(peer) if peer.key == key => peer.announce_at,
            _ => now + ANNOUNCE_EVERY,
        };
        if let Some(former) = self.by_address.insert(key.clone(), from)
            && let Some(peer) = self.peers.remove(&former)
        {
            // another connection had the address: that one is nobody's peer any more
            self.timers.remove(&(peer.announce_at, former));
        }
        self.timers.insert((announce_at, from));
        self.peers.insert(from, Peer { address, key, announce_at });
        self.count_peers();
        self.announce(from);
        if self.config.announce_on_join && !known {
            let others: Vec<_> = self.peers.iter().filter(|(id, _)| **id != from).map(|(_, peer)| word(&peer.address)).collect();
            self.outputs.extend(others.into_iter().map(|word| RealmOutput { to: from, word: RealmWord::Star(word) }));
        }
    }

    /// Removes what the session joined with, unless another has taken it over.
    fn take_out(&mut self, session: SessionId) -> Option<Peer> {
        let peer = self.peers.remove(&session)?;
        self.timers.remove(&(peer.announce_at, session));
        if self.by_address.get(&peer.key) == Some(&session) {
            self.by_address.remove(&peer.key);
        }
        Some(peer)
    }

    fn leave(&mut self, session: SessionId) {
        if self.take_out(session).is_some() {
            self.count_peers();
        }
    }

    /// The gauge is of all listeners: what this one adds changes it.
    fn count_peers(&mut self) {
        let (now, before) = (self.peers.len() as u64, self.counted);
        self.counted = now;
        if now >= before {
            self.figures.peers.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.figures.peers.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Tells all others that a peer exists.
    fn announce(&mut self, who: SessionId) {
        let Some(peer) = self.peers.get(&who) else { return };
        let word = word(&peer.address);
        let others = self.peers.keys().filter(|id| **id != who);
        self.outputs.extend(others.map(|to| RealmOutput { to: *to, word: RealmWord::Star(word.clone()) }));
    }

    fn handshake(&mut self, from: SessionId, object: Option<&str>) {
        StarFigures::count(&self.figures.dials);
        let sent = object.and_then(|object| Some((object, serde_json::from_str::<Handshake<'_>>(object).ok()?)));
        let Some((object, handshake)) = sent else { return self.dropped() };
        let (Some(source), Some(target)) = (text(handshake.src_multiaddr), text(handshake.dst_multiaddr)) else {
            return self.dropped();
        };
        if !handshake.signal.is_some_and(|signal| signal.get().starts_with('{')) {
            return self.dropped();
        }
        let answers = handshake.answer.is_some_and(|answer| answer.get() == "true");
        let (source, target) = (compared(&source), compared(&target));
        let spoken_for = if answers { &target } else { &source };
        let own = self.peers.get(&from).is_some_and(|peer| peer.key == *spoken_for);
        if self.config.enforce_source && !own {
            return self.dropped();
        }
        if answers {
            StarFigures::count(&self.figures.dials_succeeded);
        }
        let addressee = self.by_address.get(if answers { &source } else { &target });
        match addressee.copied() {
            Some(to) => self.signal(to, object.to_owned()),
            None if answers => {}
            None => {
                self.dropped();
                if self.by_address.get(&source) == Some(&from) {
                    self.signal(from, with_error(object));
                }
            }
        }
    }

    fn signal(&mut self, to: SessionId, object: String) {
        let event = format!("[\"{SIGNAL}\",{object}]");
        self.outputs.push_back(RealmOutput { to, word: RealmWord::Star(StarWord(Arc::new(event))) });
    }

    fn dropped(&self) {
        StarFigures::count(&self.figures.dials_failed);
    }
}

impl Realm for StarRealm {
    fn handle(&mut self, now: Instant, from: SessionId, message: RealmMessage) {
        let RealmMessage::Star(message) = message else { return };
        if matches!(message, StarMessage::Join(_) | StarMessage::JoinFailed) {
            StarFigures::count(&self.figures.joins);
        }
        match message {
            StarMessage::Join(address) => self.join(now, from, address),
            StarMessage::JoinFailed => StarFigures::count(&self.figures.joins_failed),
            StarMessage::Leave => self.leave(from),
            StarMessage::Handshake(object) => self.handshake(from, object.as_deref()),
        }
    }

    fn handle_gone(&mut self, _now: Instant, session: SessionId) {
        self.leave(session);
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, session)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(peer) = self.peers.get_mut(&session) {
                // from the former time on, so that the rhythm holds; from now on where the process slept
                let next = at + ANNOUNCE_EVERY;
                peer.announce_at = if next > now { next } else { now + ANNOUNCE_EVERY };
                self.timers.insert((peer.announce_at, session));
                self.announce(session);
            }
        }
    }

    fn poll_output(&mut self) -> Option<RealmOutput> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }
}

/// The event that tells of a peer.
fn word(address: &str) -> StarWord {
    StarWord(Arc::new(Event::write(PEER, address)))
}

/// The form in which addresses are compared: without a `/` at the end, and with the present name of the peer's part.
fn compared(address: &str) -> String {
    address.strip_suffix('/').unwrap_or(address).replace("/ipfs/", "/p2p/")
}

/// A JSON string.
fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// The object with one more member.
fn with_error(object: &str) -> String {
    let open = object.trim_end().strip_suffix('}').unwrap_or(object).trim_end();
    let comma = if open.ends_with('{') { "" } else { "," };
    format!("{open}{comma}\"err\":\"peer is not available\"}}")
}
