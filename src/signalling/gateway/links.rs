//! One session's connections that end at Portico.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ids::room_member;
use crate::room::{BrokerIds, Command, EndReason, Framing, Meeting, Notice, Refusal};
use crate::signalling::sdp;
use crate::vocab::{Candidate, MediaKind, MemberId, NewChannel, PeerId, RequestId, RoomId, Sdp, SdpKind, StreamName};

/// Most connections of one session, beyond what a room allows a member; it only keeps a client that asks faster than the hub
/// answers from growing this side.
const MAX_LINKS: usize = 256;
/// Most connections whose candidates came before their offer.
const MAX_EARLY: usize = 32;
/// Most candidates kept for each of these.
const MAX_EARLY_CANDIDATES: usize = 64;
/// Longest id of a connection, in bytes. PeerJS's have some 14.
const MAX_CONNECTION: usize = 256;
/// Longest candidate kept, in bytes. Real ones have some 150.
const MAX_CANDIDATE: usize = 1024;

/// Which connection of the session: with whom, and the client's own id for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinkKey {
    /// The member it stands for, or the room's own id ([`room_member`]).
    pub who: MemberId,
    /// Which of several with it; empty where a dialect has one a pair.
    pub connection: Arc<str>,
}

impl LinkKey {
    /// The one connection with somebody.
    pub fn one(who: MemberId) -> Self {
        Self { who, connection: "".into() }
    }

    /// One of several connections with somebody; `None` when the client's id for it is longer than 256 bytes.
    pub fn named(who: MemberId, connection: &str) -> Option<Self> {
        (connection.len() <= MAX_CONNECTION).then(|| Self { who, connection: connection.into() })
    }
}

/// What a second offer for a known connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The connection is negotiated again (simple-peerjs).
    Renegotiate,
    /// A new connection takes the place of the old (PeerJS).
    Replace,
}

/// How a dialect's clients use their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a second offer for a known connection means.
    pub again: Again,
    /// See [`Meeting::outlasts`].
    pub outlasts: bool,
    /// Its clients end a connection while others of theirs go on: what the others bring is taken as well, and one of them gives the
    /// stream when the first is gone.
    pub spares: bool,
}

/// A connection that Portico offers.
#[derive(Clone, Debug)]
pub struct Call {
    /// Send the media of whom it stands for.
    pub play: bool,
    /// Kinds that the offer has a section for even while there is nothing to send. Where no other connection publishes, or
    /// others are spare ([`Rules::spares`]), the client's own media of these kinds is taken too.
    pub expects: Vec<MediaKind>,
    /// How messages on its data channels look.
    pub framing: Framing,
    /// Channels that Portico opens; none with [`Framing::OwnChannels`], where it is `chat` in any case.
    pub channels: Vec<NewChannel>,
}

/// What a notice means for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Portico's offer, complete with candidates: to be sent to the client in the name of `key.who`.
    Offer {
        /// Which.
        key: LinkKey,
        /// The offer.
        sdp: Sdp,
    },
    /// Portico's answer, complete with candidates: to be sent to the client in the name of `key.who`.
    Answer {
        /// Which.
        key: LinkKey,
        /// The answer.
        sdp: Sdp,
    },
    /// It is connected.
    Up {
        /// Which.
        key: LinkKey,
    },
    /// What the client asked for is refused.
    Refused {
        /// Which.
        key: LinkKey,
        /// Why.
        why: Refusal,
        /// The connection is over, or never was. Otherwise it goes on as it was.
        over: bool,
    },
    /// It ended.
    Down {
        /// Which.
        key: LinkKey,
        /// Why.
        reason: EndReason,
    },
}

/// The session has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many connections: {MAX_LINKS} are allowed")]
pub struct TooMany;

/// Label of the channel that Portico opens where each side writes to its own (algorea.md §4.4).
const OWN_CHANNEL: &str = "chat";

/// The connections of one session that end at Portico.
///
/// After every call that takes `&mut self`, drain [`poll_command`](Self::poll_command) to `None`. To be made when the session has
/// joined a room, and anew with another room.
///
/// The first connection that brings media, or is offered sections for it, publishes the member's stream `main`; while it lives the
/// others only send, unless they are spare ([`Rules::spares`]).
#[derive(Debug)]
pub struct Links {
    /// The room's own id.
    room: MemberId,
    rules: Rules,
    links: HashMap<LinkKey, Link>,
    keys: HashMap<PeerId, LinkKey>,
    /// The connection that publishes.
    publishing: Option<PeerId>,
    /// Oldest first.
    early: VecDeque<(LinkKey, Vec<Candidate>)>,
    commands: VecDeque<(RequestId, Command)>,
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    /// The request that opened it, or the latest offer on it, until it is answered.
    waiting: Option<RequestId>,
    /// Portico or the far end has been told a description of it.
    described: bool,
}

impl Links {
    /// None yet, in this room.
    pub fn new(room: &RoomId, rules: Rules) -> Self {
        Self {
            room: room_member(room),
            rules,
            links: HashMap::new(),
            keys: HashMap::new(),
            publishing: None,
            early: VecDeque::new(),
            commands: VecDeque::new(),
        }
    }

    /// The next request to the room.
    #[must_use]
    pub fn poll_command(&mut self) -> Option<(RequestId, Command)> {
        self.commands.pop_front()
    }

    /// Whether there is such a connection, or there is about to be.
    pub fn has(&self, key: &LinkKey) -> bool {
        self.links.contains_key(key)
    }

    /// The keys of all connections.
    pub fn keys(&self) -> impl Iterator<Item = &LinkKey> {
        self.links.keys()
    }

    /// The client's offer to somebody who is reached through Portico. `play`: it is to be sent the media of whom it calls. Leads to
    /// [`LinkEvent::Answer`] or [`LinkEvent::Refused`].
    pub fn offered(&mut self, key: LinkKey, offer: Sdp, play: bool, framing: Framing) -> Result<(), TooMany> {
        self.asked(key, offer, play, framing, None)
    }

    /// The same with media, where requests over the connection's channels are answered as well, in the name of `ids.own`.
    pub fn offered_with_requests(&mut self, key: LinkKey, offer: Sdp, framing: Framing, ids: BrokerIds) -> Result<(), TooMany> {
        self.asked(key, offer, true, framing, Some(ids))
    }

    fn asked(
        &mut self,
        key: LinkKey,
        offer: Sdp,
        play: bool,
        framing: Framing,
        broker: Option<BrokerIds>,
    ) -> Result<(), TooMany> {
        match (self.links.get_mut(&key), self.rules.again) {
            (Some(link), Again::Renegotiate) if link.described => {
                let req = RequestId::next();
                link.waiting = Some(req);
                let peer = link.peer;
                self.commands.push_back((req, Command::Describe { peer, sdp: offer }));
                return Ok(());
            }
            (Some(_), _) => self.stop(&key),
            (None, _) => {}
        }
        let brings = !sdp::sent_kinds(&offer.text).is_empty();
        let call = Call { play, expects: Vec::new(), framing, channels: Vec::new() };
        self.open(key, Some(offer), brings, call, broker)
    }

    /// Portico offers in the name of `key.who`. Leads to [`LinkEvent::Offer`]. A connection that is there already stays.
    pub fn call(&mut self, key: LinkKey, call: Call) -> Result<(), TooMany> {
        if self.has(&key) {
            return Ok(());
        }
        let takes = !call.expects.is_empty();
        self.open(key, None, takes, call, None)
    }

    /// With whom the connection is that publishes.
    pub fn publishes_with(&self) -> Option<MemberId> {
        self.publishing.and_then(|peer| self.keys.get(&peer)).map(|key| key.who)
    }

    /// The client's answer to Portico's offer. False when there is no such connection.
    pub fn answered(&mut self, key: &LinkKey, answer: Sdp) -> bool {
        let Some(link) = self.links.get(key) else { return false };
        let peer = link.peer;
        let brings = !sdp::sent_kinds(&answer.text).is_empty();
        if self.publishing == Some(peer) && !brings {
            // it could have brought something, and does not
            self.publishing = None;
        } else if self.rules.spares && brings {
            self.publishing.get_or_insert(peer);
        }
        self.order(Command::Describe { peer, sdp: answer });
        true
    }

    /// The client's candidate. Kept until the offer of its connection is there: 64 each, for 32 connections, the oldest of which
    /// go first.
    pub fn candidate(&mut self, key: &LinkKey, candidate: Candidate) {
        if let Some(link) = self.links.get(key) {
            let peer = link.peer;
            return self.order(Command::Candidate { peer, candidate });
        }
        if candidate.candidate.len() > MAX_CANDIDATE {
            return;
        }
        match self.early.iter_mut().find(|(of, _)| of == key) {
            Some((_, kept)) if kept.len() >= MAX_EARLY_CANDIDATES => {}
            Some((_, kept)) => kept.push(candidate),
            None => {
                if self.early.len() >= MAX_EARLY {
                    self.early.pop_front();
                }
                self.early.push_back((key.clone(), vec![candidate]));
            }
        }
    }

    /// The client ends a connection.
    pub fn stop(&mut self, key: &LinkKey) {
        self.early.retain(|(of, _)| of != key);
        if let Some(peer) = self.forget(key) {
            self.order(Command::Stop { peer });
        }
    }

    /// The client ends all connections with somebody.
    pub fn stop_all(&mut self, who: MemberId) {
        let keys: Vec<LinkKey> = self.links.keys().filter(|key| key.who == who).cloned().collect();
        keys.iter().for_each(|key| self.stop(key));
    }

    /// What a notice means for a connection; `None` when it is about something else.
    pub fn handle_notice(&mut self, notice: &Notice) -> Option<LinkEvent> {
        match notice {
            Notice::Description { peer, sdp } => {
                let key = self.keys.get(peer)?.clone();
                let link = self.links.get_mut(&key)?;
                (link.waiting, link.described) = (None, true);
                let sdp = sdp.clone();
                Some(match sdp.kind {
                    SdpKind::Offer => LinkEvent::Offer { key, sdp },
                    SdpKind::Answer => LinkEvent::Answer { key, sdp },
                })
            }
            Notice::PeerUp { peer } => Some(LinkEvent::Up { key: self.keys.get(peer)?.clone() }),
            Notice::PeerDown { peer, reason } => {
                let key = self.keys.get(peer)?.clone();
                self.forget(&key);
                Some(LinkEvent::Down { key, reason: *reason })
            }
            Notice::Refused { req, why } => {
                let (key, link) = self.links.iter_mut().find(|(_, link)| link.waiting == Some(*req))?;
                link.waiting = None;
                let (key, over) = (key.clone(), !link.described);
                if over {
                    self.forget(&key);
                }
                Some(LinkEvent::Refused { key, why: why.clone(), over })
            }
            _ => None,
        }
    }

    fn open(
        &mut self,
        key: LinkKey,
        offer: Option<Sdp>,
        brings: bool,
        call: Call,
        broker: Option<BrokerIds>,
    ) -> Result<(), TooMany> {
        if self.links.len() >= MAX_LINKS {
            return Err(TooMany);
        }
        let peer = PeerId::next();
        let publish = (brings && (self.rules.spares || self.publishing.is_none())).then(main_stream);
        if brings && self.publishing.is_none() {
            self.publishing = Some(peer);
        }
        let mut channels = call.channels;
        if call.framing == Framing::OwnChannels && channels.is_empty() {
            channels.push(NewChannel::labelled(OWN_CHANNEL));
        }
        let meeting = Meeting {
            peer,
            with: Some(key.who).filter(|who| *who != self.room),
            offer,
            publish,
            play: call.play,
            named: None,
            expects: call.expects,
            outlasts: self.rules.outlasts,
            framing: call.framing,
            channels,
            broker,
            pair: Some(Arc::clone(&key.connection)).filter(|connection| !connection.is_empty()),
        };
        let req = RequestId::next();
        self.commands.push_back((req, Command::Meet(Box::new(meeting))));
        self.links.insert(key.clone(), Link { peer, waiting: Some(req), described: false });
        if let Some(at) = self.early.iter().position(|(of, _)| *of == key) {
            for candidate in self.early.remove(at).map(|(_, kept)| kept).unwrap_or_default() {
                self.order(Command::Candidate { peer, candidate });
            }
        }
        self.keys.insert(peer, key);
        Ok(())
    }

    fn forget(&mut self, key: &LinkKey) -> Option<PeerId> {
        let peer = self.links.remove(key)?.peer;
        self.keys.remove(&peer);
        if self.publishing == Some(peer) {
            self.publishing = None;
        }
        Some(peer)
    }

    /// Asks for what has no answer that matters.
    fn order(&mut self, command: Command) {
        self.commands.push_back((RequestId::next(), command));
    }
}

fn main_stream() -> StreamName {
    StreamName::new("main").expect("a short word is a name")
}
