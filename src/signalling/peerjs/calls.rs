//! A client's connections that do not go to another PeerJS client's own end: those that end at Portico, and those with clients of
//! other dialects. Pure.
//!
//! ```text
//! client ─ OFFER to ─┬─ the room, or (sfu) a member ──────► Links ─► Command::Meet … Description ─► ANSWER
//!                    ├─ (mesh) another dialect's client ──► meet_directly? ─► Command::Tell, else EXPIRE
//!                    └─ anybody else ─────────────────────► the realm
//! ```

mod direct;
mod pairing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::pairs::Repeats;
use super::payload::{self, HANG_UP, Payload, Style, candidate, description, fresh};
use super::wire::{self, Kind};
use crate::room::{Body, BrokerIds, DialectName, Framing, MemberView, Notice, Signal, Topology, Welcome};
use crate::signalling::gateway::{Again, Call, IdForm, LinkEvent, LinkKey, Links, Reach, Roster, Rules, room_member};
use crate::signalling::{Output, sdp};
use crate::vocab::{MediaKind, MemberId, NewChannel, RequestId, Sdp, StreamName};

/// Most connections with clients of other dialects that are remembered; the oldest is forgotten first.
const MAX_DIRECT: usize = 256;
/// Most messages to other dialects' clients whose fate is not known.
const MAX_ASKED: usize = 256;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It was dealt with.
    Here,
    /// To another PeerJS client, or to nobody.
    Realm,
}

/// All such connections of one client.
pub(super) struct Calls {
    /// The client's id.
    me: Arc<str>,
    /// The id by which the room is called.
    room: Box<str>,
    roster: Roster,
    links: Links,
    /// What is known of the client's library.
    library: Option<Library>,
    /// Connections at Portico.
    ends: HashMap<LinkKey, End>,
    /// Calls of other clients that have not taken them yet, oldest first.
    ringing: VecDeque<Ringing>,
    /// Connections with clients of other dialects, oldest first.
    direct: VecDeque<Direct>,
    /// Connections that may not be, whose candidates still come; oldest first, at most [`MAX_DIRECT`].
    refused: VecDeque<(MemberId, Box<str>)>,
    /// OFFERs told to clients of other dialects.
    asked: HashMap<RequestId, Box<str>>,
    /// Whose media the client gets by its call of the room.
    room_gives: Option<MemberId>,
    /// Members in whose name the client was called since their streams came up.
    placed: HashSet<MemberId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Peerjs,
    /// Before 1.5: its `json` connections read texts only.
    OldPeerjs,
    Simple,
}

impl Library {
    /// By what PeerJS says of itself in its address.
    pub(super) fn of_version(version: &str) -> Self {
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(0), _) | (Some(1), Some(..5)) => Self::OldPeerjs,
            _ => Self::Peerjs,
        }
    }
}

/// One connection at Portico.
struct End {
    style: Style,
    /// The id in whose name Portico speaks.
    name: Box<str>,
    /// Portico called.
    placed: bool,
    /// Another client has the other end of this connection.
    pair: Option<Pair>,
}

/// The other end of a connection between two clients. Where that one began, what its offer says is repeated.
enum Pair {
    /// The other client was called for it.
    Called,
    /// The other client opened it.
    Opened(Repeats),
}

/// The client calls another one, which has not taken the call yet: so long its offer waits, as it would without Portico.
struct Ringing {
    key: LinkKey,
    /// Whom it calls.
    name: Box<str>,
    style: Style,
    offer: Sdp,
}

/// One connection with a client of another dialect.
struct Direct {
    with: MemberId,
    /// The PeerJS client's id for it.
    ours: Box<str>,
    /// The offerer's id for it, as signals carry it.
    signalled: Arc<str>,
    style: Style,
    framing: Framing,
}

impl Calls {
    /// As the client is welcomed. `room` is the id by which the room is called.
    pub(super) fn new(me: Arc<str>, room: &str, welcome: &Welcome, library: Option<Library>) -> Self {
        Self {
            me,
            room: room.into(),
            links: Links::new(&welcome.room, Rules { again: Again::Renegotiate, outlasts: false, spares: true }),
            roster: Roster::new(DialectName::Peerjs, welcome),
            library,
            ends: HashMap::new(),
            ringing: VecDeque::new(),
            direct: VecDeque::new(),
            refused: VecDeque::new(),
            asked: HashMap::new(),
            room_gives: None,
            placed: HashSet::new(),
        }
    }

    /// Whether PeerJS clients are connected through Portico, not with each other.
    pub(super) fn ends_all(&self) -> bool {
        self.roster.topology() != Topology::Mesh
    }

    /// A message of the client.
    pub(super) fn handle(&mut self, outputs: &mut VecDeque<Output>, kind: Kind, dst: &str, payload: Option<&RawValue>) -> Way {
        let (who, reach) = if *dst == *self.room {
            (room_member(self.roster.room()), Reach::Portico)
        } else {
            match self.roster.find(dst, IdForm::Hex) {
                Some(shown) if shown.view.is_some() => (shown.member, shown.reach),
                _ => return Way::Realm,
            }
        };
        let part = payload.and_then(|payload| payload::read(kind, payload));
        if let (None, Some(part)) = (self.library, &part) {
            self.library = Some(if part.style == Style::Simple { Library::Simple } else { Library::Peerjs });
        }
        match (kind, part, reach) {
            (Kind::Leave, ..) => self.left(outputs, who),
            (Kind::Offer, Some(Payload { framing: None, .. }), _) => self.send(outputs, Kind::Leave, dst, None),
            (Kind::Offer, Some(part), Reach::Portico) => self.offered(outputs, who, dst, &part),
            (Kind::Answer, Some(part), Reach::Portico) => {
                if let (Some(key), Some(text)) = (LinkKey::named(who, &part.connection), description(part.value)) {
                    self.links.answered(&key, Sdp::answer(text));
                }
            }
            (Kind::Candidate, Some(part), Reach::Portico) => {
                if let (Some(key), Some(candidate)) = (LinkKey::named(who, &part.connection), candidate(part.value)) {
                    self.links.candidate(&key, candidate);
                }
            }
            (Kind::Offer | Kind::Answer | Kind::Candidate, Some(part), Reach::Direct) => {
                self.pass(outputs, kind, who, dst, &part);
            }
            _ => {}
        }
        self.drain(outputs);
        Way::Here
    }

    /// Something the room tells.
    pub(super) fn handle_notice(&mut self, outputs: &mut VecDeque<Output>, notice: &Notice) {
        let _ = self.roster.handle_notice(notice); // clients are shown nobody: they call by ids
        match notice {
            Notice::MemberLeft { member, .. } => {
                self.placed.remove(member);
                self.stop_ringing(outputs, |ringing| ringing.key.who == *member);
                self.direct.retain(|direct| direct.with != *member);
                self.refused.retain(|(with, _)| with != member);
            }
            Notice::StreamDown { member, .. } if !self.has_streams(*member) => {
                self.placed.remove(member);
            }
            Notice::Told { from, body: Body::Signal(signal) } => self.signalled(outputs, from, signal),
            Notice::Done { req } => {
                self.asked.remove(req);
            }
            Notice::Refused { req, .. } => {
                if let Some(dst) = self.asked.remove(req) {
                    self.send(outputs, Kind::Expire, &dst, None);
                }
            }
            _ => {}
        }
        if let Some(event) = self.links.handle_notice(notice) {
            self.handle_link(outputs, event);
        }
        self.place_calls();
        self.drain(outputs);
    }

    /// Everything that is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.ends.len() + self.direct.len() + self.asked.len() + self.refused.len() + self.ringing.len()
    }

    /// Connections at Portico that are remembered.
    #[cfg(test)]
    pub(super) fn ends(&self) -> usize {
        self.ends.len()
    }

    /// How many others it keeps in mind.
    #[cfg(test)]
    pub(super) fn knows(&self) -> usize {
        self.roster.shown().iter().filter(|shown| shown.view.is_some()).count()
    }

    // ---- at Portico ----

    fn offered(&mut self, outputs: &mut VecDeque<Output>, who: MemberId, dst: &str, part: &Payload<'_>) {
        let (Some(key), Some(framing)) = (LinkKey::named(who, &part.connection), part.framing) else { return };
        let framing = self.own(framing);
        let Some(text) = description(part.value) else { return self.send(outputs, Kind::Expire, dst, None) };
        let media = part.style == Style::Peerjs { media: true };
        let again = part.style == Style::Simple && self.links.has(&key);
        if part.style != Style::Simple && self.links.has(&key) {
            self.links.stop(&key); // PeerJS replaces, simple-peerjs negotiates again
        }
        let client = self.roster.view(who).is_some_and(|view| view.dialect == DialectName::Peerjs);
        let kinds = sdp::offered_kinds(&text);
        let offer = Sdp::offer(text);
        if media && client {
            self.forget_ended();
            return self.ring(outputs, Ringing { key, name: dst.into(), style: part.style, offer }, kinds, &part.says);
        }
        let offered = if *dst == *self.room {
            // who calls the room may ask the services behind it
            let ids = BrokerIds { own: dst.into(), far: self.me.as_ref().into() };
            self.links.offered_with_requests(key.clone(), offer, framing, ids)
        } else {
            self.links.offered(key.clone(), offer, !kinds.is_empty(), framing)
        };
        if offered.is_err() {
            self.forget_ended();
            return self.send(outputs, Kind::Expire, dst, None);
        }
        if again {
            return; // what is negotiated again has its other end
        }
        let pair = (client && framing != Framing::None).then(|| self.pair(outputs, &key, dst, framing, kinds, &part.says));
        self.ends.insert(key, End { style: part.style, name: dst.into(), placed: false, pair });
        if media && *dst == *self.room {
            self.place_calls();
        }
    }

    /// The client says that it ended everything with somebody.
    fn left(&mut self, outputs: &mut VecDeque<Output>, who: MemberId) {
        for (key, end) in self.ends.iter().filter(|(key, _)| key.who == who) {
            self.hang_up(outputs, key, end);
        }
        self.hang_up_ringing(outputs, who);
        self.links.stop_all(who);
        self.direct.retain(|direct| direct.with != who);
        self.forget_ended();
    }

    fn forget_ended(&mut self) {
        let links = &self.links;
        self.ends.retain(|key, _| links.has(key));
    }

    fn handle_link(&mut self, outputs: &mut VecDeque<Output>, event: LinkEvent) {
        match event {
            LinkEvent::Answer { key, sdp } => self.describe(outputs, Kind::Answer, &key, &sdp),
            LinkEvent::Offer { key, sdp } => self.describe(outputs, Kind::Offer, &key, &sdp),
            LinkEvent::Refused { key, over: true, .. } => {
                if let Some(end) = self.ends.remove(&key) {
                    self.hang_up(outputs, &key, &end);
                    if !end.placed {
                        self.send(outputs, Kind::Expire, &end.name, None);
                    }
                }
            }
            LinkEvent::Down { key, .. } => {
                if let Some(end) = self.ends.remove(&key) {
                    self.hang_up(outputs, &key, &end);
                }
            }
            LinkEvent::Up { key } => self.taken(outputs, &key),
            LinkEvent::Refused { .. } => {}
        }
    }

    fn describe(&self, outputs: &mut VecDeque<Output>, kind: Kind, key: &LinkKey, sdp: &Sdp) {
        let Some(end) = self.ends.get(key) else { return };
        let value = Signal::description(sdp, Framing::None).value;
        let payload = match &end.pair {
            Some(Pair::Opened(opened)) => {
                let (framing, says) = (opened.framing, opened.says());
                payload::write_saying(kind, end.style, &key.connection, &value, framing, &says)
            }
            _ => payload::write(kind, end.style, &key.connection, &value, Framing::None),
        };
        self.send(outputs, kind, &end.name, Some(&payload));
    }

    /// Calls a client that called the room in the name of each other member whose streams are up.
    fn place_calls(&mut self) {
        let room = room_member(self.roster.room());
        let called = |(key, end): (&LinkKey, &End)| key.who == room && end.style == Style::Peerjs { media: true };
        if !self.ends_all() || !self.ends.iter().any(called) {
            self.room_gives = None;
            return;
        }
        let shown = self.roster.shown();
        let streaming: Vec<&MemberView> =
            shown.iter().filter_map(|shown| shown.view.as_ref()).filter(|view| !view.streams.is_empty()).collect();
        if !self.room_gives.is_some_and(|gives| streaming.iter().any(|view| view.member == gives)) {
            self.room_gives = default_of(&streaming);
        }
        for view in streaming {
            let who = view.member;
            if Some(who) == self.room_gives || !self.placed.insert(who) || self.calls_with(who) {
                continue;
            }
            let name = if view.dialect == DialectName::Peerjs { view.user_id.clone() } else { IdForm::Hex.write(who) };
            let Some(key) = LinkKey::named(who, &fresh("mc_")) else { continue };
            let channels = vec![NewChannel::labelled(HANG_UP)];
            // who has a camera there already is not asked for another
            let expects = match self.links.publishes_with() {
                None => vec![MediaKind::Audio, MediaKind::Video],
                Some(_) => Vec::new(),
            };
            let call = Call { play: true, expects, framing: Framing::None, channels };
            if self.links.call(key.clone(), call).is_ok() {
                self.ends.insert(key, End { style: self.style(true), name: name.into(), placed: true, pair: None });
            }
        }
    }

    fn has_streams(&self, member: MemberId) -> bool {
        self.roster.view(member).is_some_and(|view| !view.streams.is_empty())
    }

    // ---- out ----

    /// A framing as the client's library reads it.
    fn own(&self, framing: Framing) -> Framing {
        if framing == Framing::Json && self.library == Some(Library::OldPeerjs) { Framing::JsonText } else { framing }
    }

    /// The form of what the client has not begun.
    fn style(&self, media: bool) -> Style {
        match self.library {
            Some(Library::Peerjs | Library::OldPeerjs) => Style::Peerjs { media },
            Some(Library::Simple) => Style::Simple,
            None => Style::Either { media },
        }
    }

    /// Says something to the client in the name of `src`.
    fn send(&self, outputs: &mut VecDeque<Output>, kind: Kind, src: &str, payload: Option<&RawValue>) {
        outputs.push_back(Output::Send(wire::write(kind, src, &self.me, payload)));
    }

    fn drain(&mut self, outputs: &mut VecDeque<Output>) {
        while let Some((req, command)) = self.links.poll_command() {
            outputs.push_back(Output::Command(req, command));
        }
    }
}

/// Whose stream a room gives by itself, as the room chooses it (`StreamChoice::Room`).
fn default_of(streaming: &[&MemberView]) -> Option<MemberId> {
    let is_main = |name: &StreamName| name.as_str() == "main";
    let source = streaming.iter().find(|view| view.dialect == DialectName::Source);
    let main = || streaming.iter().find(|view| view.streams.iter().any(|stream| is_main(&stream.name)));
    source.or_else(main).or_else(|| streaming.first()).map(|view| view.member)
}
