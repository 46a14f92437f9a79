//! The dialect of the built-in page. `README.md` beside this file is its specification.
//!
//! Pure. It knows the page's labels for its peers and which request waits for which answer; everything about rooms is asked
//! of the room. A connection lost is a place lost: the page joins again with a new connection.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tracing::{debug, info};

use self::wire::{About, Code, Head, Member, Message, Request, Stream, name_of};
use super::{Carrier, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, WallClock, WireError, farewell};
use crate::room::{Command, DialectName, EndReason, Facts, Joining, Notice, Refusal, StreamChoice, Topology};
use crate::vocab::{BearerCheck, Candidate, Grant, PeerId, RequestId, Rights, Sdp};

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Page,
    manners: Manners { offers: Offers::Client, trickle: true, renegotiate: false, peer_per: PeerPer::Stream },
    carrier: Carrier {
        path: "/page",
        max_message: 65_536,
        ping_every: Duration::from_secs(5),
        silence_limit: Duration::from_secs(15),
        write_limit: Duration::from_secs(10),
        join_limit: Duration::from_secs(30),
    },
};

/// Longest name of a visitor, in characters.
const MAX_NAME_CHARS: usize = 64;
/// Longest label of a peer, and longest name of what is said, in characters.
const MAX_LABEL_CHARS: usize = 32;
/// So many malformed messages in a row end the connection: the page makes none, so it is not the page.
const MAX_MALFORMED: u32 = 20;
/// Most labels, and most requests without an answer, of one connection. Far above what the room allows a member; it only keeps
/// a client that asks faster than the hub answers from growing this side.
const MAX_OPEN: usize = 256;
/// A request type longer than this is not repeated in the refusal.
const MAX_ECHO: usize = 32;
/// Longest message of a refusal, in characters: the JSON reader's own may repeat what it read.
const MAX_MESSAGE_CHARS: usize = 200;

/// One entry of `RTCConfiguration.iceServers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// As in `stun:host:3478`.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl IceServer {
    /// A server, with user name and password where it is a relay that wants them.
    pub fn new(url: String, credentials: Option<(String, String)>) -> Self {
        let (username, credential) = credentials.unzip();
        Self { urls: vec![url], username, credential }
    }
}

/// What a session of this dialect is given.
pub struct Deps {
    /// Checks the token of `join`.
    pub access: Arc<dyn BearerCheck>,
    /// What the connection may do without a token.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// Told to the page in `welcome`.
    pub ice_servers: Vec<IceServer>,
    /// The calendar's reading when the session is made.
    pub wall: SystemTime,
}

/// One page visitor's session.
pub struct Page {
    deps: Deps,
    clock: WallClock,
    peers: HashMap<String, OpenPeer>,
    pending: HashMap<RequestId, Pending>,
    /// Malformed messages in a row.
    malformed: u32,
    refusals: u64,
    ended: bool,
    outputs: VecDeque<Output>,
}

/// One of the page's connections.
struct OpenPeer {
    peer: PeerId,
    /// The request that opened it, while it waits for its answer.
    opening: Option<RequestId>,
}

/// A request that was not answered yet.
struct Pending {
    kind: &'static str,
    label: Option<String>,
    /// The page's own name for what it says.
    id: Option<String>,
    /// The peer exists only once the request succeeded.
    opens: bool,
}

impl Pending {
    /// What a refusal says of it.
    fn about(&self) -> About<'_> {
        About { re: Some(self.kind), peer: self.label.as_deref(), id: self.id.as_deref() }
    }
}

impl Page {
    /// A session at its start.
    pub fn new(now: Instant, deps: Deps) -> Self {
        let clock = WallClock::new(now, deps.wall);
        Self {
            deps,
            clock,
            peers: HashMap::new(),
            pending: HashMap::new(),
            malformed: 0,
            refusals: 0,
            ended: false,
            outputs: VecDeque::new(),
        }
    }

    fn send(&mut self, message: &Message<'_>) {
        let text = serde_json::to_string(message).expect("strings, numbers and lists always serialise");
        self.outputs.push_back(Output::Send(text));
    }

    /// Tells a refusal. The first of a session is logged for the operator, the rest for whoever debugs.
    fn refuse(&mut self, about: About<'_>, code: Code, message: impl ToString) {
        let About { re, peer, id } = about;
        let message: String = message.to_string().chars().take(MAX_MESSAGE_CHARS).collect();
        if self.refusals == 0 {
            info!(request = re, code = ?code, reason = %message, "request refused");
        } else {
            debug!(request = re, code = ?code, reason = %message, "request refused");
        }
        self.refusals += 1;
        self.send(&Message::Refused { re, peer, id, code, message });
    }

    fn malformed(&mut self, re: Option<&str>, peer: Option<&str>, message: impl ToString) {
        self.refuse(About { re, peer, id: None }, Code::Named("malformed"), message);
        self.malformed += 1;
        if self.malformed >= MAX_MALFORMED {
            self.end(Output::Close { code: 1008, reason: "too many malformed messages" });
        }
    }

    fn end(&mut self, close: Output) {
        self.ended = true;
        self.outputs.push_back(close);
    }

    /// Asks the room; a refusal is told with the request's type and label.
    fn ask(&mut self, kind: &'static str, label: Option<&str>, opens: bool, command: Command) -> Option<RequestId> {
        self.ask_for(Pending { kind, label: label.map(str::to_owned), id: None, opens }, command)
    }

    fn ask_for(&mut self, pending: Pending, command: Command) -> Option<RequestId> {
        if self.pending.len() >= MAX_OPEN {
            let why = Refusal::TooMany { what: "requests", limit: MAX_OPEN };
            self.refuse(pending.about(), Code::Named(why.code()), why);
            return None;
        }
        let req = RequestId::next();
        self.pending.insert(req, pending);
        self.outputs.push_back(Output::Command(req, command));
        Some(req)
    }

    /// Asks the room for what has no answer even when refused.
    fn order(&mut self, command: Command) {
        self.outputs.push_back(Output::Command(RequestId::next(), command));
    }

    fn request(&mut self, now: Instant, request: Request) {
        match request {
            Request::Join { room, name, token } => self.join(now, room, name, token),
            Request::Publish { peer, stream, sdp } => {
                self.open("publish", peer, |id| Command::Publish { peer: id, stream, offer: Some(Sdp::offer(sdp)) });
            }
            Request::Play { peer, member, stream, sdp } => {
                let of = StreamChoice::Of(member.0, Some(stream));
                self.open("play", peer, |id| Command::Play { peer: id, of, offer: Some(Sdp::offer(sdp)) });
            }
            Request::Candidate { peer, candidate } => {
                let end =
                    || Candidate { candidate: String::new(), sdp_mid: None, sdp_mline_index: None, username_fragment: None };
                if let Some(open) = self.peers.get(&peer) {
                    let peer = open.peer;
                    self.order(Command::Candidate { peer, candidate: candidate.unwrap_or_else(end) });
                }
            }
            Request::Restart { peer, sdp } => match self.peers.get(&peer).map(|open| open.peer) {
                Some(id) => {
                    self.ask("restart", Some(&peer), false, Command::Describe { peer: id, sdp: Sdp::offer(sdp) });
                }
                None => {
                    let why = Refusal::UnknownPeer;
                    let label = Some(peer.as_str()).filter(|label| fits(label));
                    self.refuse(About { re: Some("restart"), peer: label, id: None }, Code::Named(why.code()), why);
                }
            },
            Request::Stop { peer } => {
                if let Some(open) = self.peers.remove(&peer) {
                    if let Some(req) = open.opening {
                        self.pending.remove(&req);
                    }
                    self.order(Command::Stop { peer: open.peer });
                }
            }
            Request::Mute { audio, video } => {
                let facts = Facts { audio_muted: audio, video_muted: video, ..Facts::default() };
                self.ask("mute", None, false, Command::Show { facts });
            }
            Request::Say { text, id } => {
                if text.is_empty() {
                    return self.malformed(Some("say"), None, "there is nothing said");
                }
                if id.as_deref().is_some_and(|id| !fits(id)) {
                    return self.malformed(Some("say"), None, format_args!("an id has 1 to {MAX_LABEL_CHARS} characters"));
                }
                self.ask_for(Pending { kind: "say", label: None, id, opens: false }, Command::Say { to: None, text });
            }
            Request::Leave => {
                self.order(Command::Leave);
                self.send(&Message::Ended { reason: EndReason::Left });
                self.end(farewell(EndReason::Left));
            }
        }
    }

    fn join(&mut self, now: Instant, room: crate::vocab::RoomId, name: String, token: Option<String>) {
        if name.chars().count() > MAX_NAME_CHARS {
            return self.malformed(Some("join"), None, format_args!("a name has at most {MAX_NAME_CHARS} characters"));
        }
        let wall = self.clock.at(now);
        let (grant, known_as) = match token.filter(|token| !token.is_empty()) {
            Some(token) => match self.deps.access.check(wall, &token) {
                Ok(identity) => (identity.grant, identity.user_id),
                Err(_) => return self.unauthorised("the token is wrong or has expired"),
            },
            None => (self.deps.grant.clone(), String::new()),
        };
        if grant.expires.is_some_and(|end| end <= wall) {
            return self.unauthorised("the token has expired");
        }
        if grant.rights == Rights::NONE {
            return self.unauthorised("a token is needed here");
        }
        let joining = Joining {
            room,
            user_id: if name.is_empty() { known_as } else { name.clone() },
            dialect: DialectName::Page,
            remote: self.deps.remote,
            grant,
            visible: true,
            facts: Facts { name: Some(name).filter(|name| !name.is_empty()), ..Facts::default() },
            opens: Topology::Sfu,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.ask("join", None, false, Command::Join(Box::new(joining)));
    }

    fn unauthorised(&mut self, message: &str) {
        self.refuse(About { re: Some("join"), ..About::default() }, Code::Named("unauthorised"), message);
    }

    /// A request that opens a peer under a new label.
    fn open(&mut self, kind: &'static str, label: String, command: impl FnOnce(PeerId) -> Command) {
        if !fits(&label) {
            let message = format_args!("a peer's label has 1 to {MAX_LABEL_CHARS} characters");
            return self.malformed(Some(kind), None, message);
        }
        if self.peers.contains_key(&label) {
            return self.malformed(Some(kind), Some(&label), "a peer with that label is open");
        }
        if self.peers.len() >= MAX_OPEN {
            let why = Refusal::TooMany { what: "peers", limit: MAX_OPEN };
            return self.refuse(About { re: Some(kind), peer: Some(&label), id: None }, Code::Named(why.code()), why);
        }
        let peer = PeerId::next();
        if let Some(req) = self.ask(kind, Some(&label), true, command(peer)) {
            self.peers.insert(label, OpenPeer { peer, opening: Some(req) });
        }
    }

    fn label_of(&self, peer: PeerId) -> Option<String> {
        self.peers.iter().find(|(_, open)| open.peer == peer).map(|(label, _)| label.clone())
    }

    fn refused(&mut self, req: RequestId, why: &Refusal) {
        let Some(pending) = self.pending.remove(&req) else { return };
        if pending.opens
            && let Some(label) = &pending.label
            && self.peers.get(label).is_some_and(|open| open.opening == Some(req))
        {
            self.peers.remove(label);
        }
        self.refuse(pending.about(), Code::Named(why.code()), why);
    }

    fn answered(&mut self, peer: PeerId, sdp: &str) {
        let Some(label) = self.label_of(peer) else { return };
        // a description answers what waits on this peer: the request that opened it, or its restarts
        self.pending.retain(|_, pending| pending.label.as_deref() != Some(&label));
        if let Some(open) = self.peers.get_mut(&label) {
            open.opening = None;
        }
        self.send(&Message::Answer { peer: &label, sdp });
    }

    fn peer_down(&mut self, peer: PeerId, reason: EndReason) {
        let Some(label) = self.label_of(peer) else { return };
        self.peers.remove(&label);
        let mut waiting: Vec<(RequestId, &'static str)> = Vec::new();
        self.pending.retain(|req, pending| {
            let ours = pending.label.as_deref() == Some(&label);
            if ours {
                waiting.push((*req, pending.kind));
            }
            !ours
        });
        waiting.sort_unstable();
        let opened = !waiting.iter().any(|(_, kind)| *kind != "restart");
        for (_, kind) in waiting {
            self.refuse(About { re: Some(kind), peer: Some(&label), id: None }, Code::Reason(reason), reason);
        }
        if opened {
            self.send(&Message::PeerDown { peer: &label, reason });
        }
    }
}

/// Whether a text can be a label.
fn fits(label: &str) -> bool {
    (1..=MAX_LABEL_CHARS).contains(&label.chars().count())
}

impl Dialect for Page {
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if self.ended {
            return Ok(());
        }
        let Frame::Text(text) = frame else {
            self.malformed(None, None, "messages are text");
            return Ok(());
        };
        if !text.trim_ascii_start().starts_with('{') {
            // serde would take an array for a struct as well
            self.malformed(None, None, "a message is one JSON object");
            return Ok(());
        }
        match serde_json::from_str::<Request>(text) {
            Ok(request) => {
                let before = self.malformed;
                self.request(now, request);
                if self.malformed == before {
                    self.malformed = 0;
                }
            }
            Err(error) => {
                let head = serde_json::from_str::<Head>(text).ok().filter(|head| head.kind.len() <= MAX_ECHO);
                self.malformed(head.as_ref().map(|head| head.kind.as_str()), None, error);
            }
        }
        Ok(())
    }

    fn handle_notice(&mut self, _now: Instant, notice: &Notice) {
        if self.ended {
            return;
        }
        match notice {
            Notice::Welcome(welcome) => {
                self.pending.remove(&welcome.req);
                let ice_servers = std::mem::take(&mut self.deps.ice_servers); // lent to the message, given back below
                self.send(&Message::Welcome {
                    member: welcome.member,
                    room: &welcome.room,
                    size: welcome.size,
                    members: welcome.others.iter().map(Member::from).collect(),
                    ice_servers: &ice_servers,
                });
                self.deps.ice_servers = ice_servers;
            }
            Notice::Done { req } => {
                if let Some(Pending { id: Some(id), .. }) = self.pending.remove(req) {
                    self.send(&Message::Sent { id: &id });
                }
            }
            Notice::Refused { req, why } => self.refused(*req, why),
            Notice::MemberJoined { member, size } => self.send(&Message::Joined { member: member.into(), size: *size }),
            Notice::MemberLeft { member, size, reason, .. } => {
                self.send(&Message::Left { member: *member, size: *size, reason: *reason });
            }
            Notice::MemberChanged { member } => self.send(&Message::Changed { member: member.into() }),
            Notice::StreamUp { member, stream } => {
                self.send(&Message::StreamUp { member: *member, stream: Stream::from(stream) });
            }
            Notice::StreamDown { member, stream } => self.send(&Message::StreamDown { member: *member, stream }),
            Notice::Description { peer, sdp } => self.answered(*peer, &sdp.text),
            Notice::PeerUp { peer } => {
                if let Some(label) = self.label_of(*peer) {
                    self.send(&Message::PeerUp { peer: &label });
                }
            }
            Notice::PeerDown { peer, reason } => self.peer_down(*peer, *reason),
            Notice::Ended { reason } => {
                self.send(&Message::Ended { reason: *reason });
                self.end(farewell(*reason));
            }
            Notice::Said { from, text } => self.send(&Message::Said { member: from.member, name: name_of(from), text }),
            // the page never resumes, has no lanes, is told nothing by members but words, and shows its own figures of what flows
            Notice::Resumed(_) | Notice::Told { .. } | Notice::PeerFlowing { .. } | Notice::Lane { .. } => {}
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}
