//! PURE. A bridge as a peer of a PeerJS server: the room can be called there by an id, and calls others itself where it is told to.
//!
//! | far side | here |
//! |---|---|
//! | a peer that calls, or is called | a member, with a session of its own |
//! | what it sends on a media connection | its stream |
//! | what it is sent there | the stream that the configuration names |
//! | what it says on a data connection | what it says, and it hears there what the room says |
//!
//! Connections go past the server: they live on when that is away.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::calls::Callee;
use super::remote::{Link, MAX_EARLY, MAX_LINKS, MAX_PENDING, Offer, Remote};
use crate::bridge::far::life::{Life, Step};
use crate::bridge::far::{
    self, Allowance, Guest, MAX_CANDIDATE, MAX_MEMBERS, MAX_NAME, MAX_NONSENSE, MAX_SDP, OWN, Output, plain, stream_of,
};
use crate::bridge::retry::{Backoff, Pace};
use crate::bridge::status::{Company, Reason, Standing};
use crate::bridge::whip::verdict::{self, Fault};
use crate::room::{Command, Facts, Framing, Meeting, Notice, Signal};
use crate::signalling::peerjs::payload::{self, Payload, Style};
use crate::signalling::peerjs::wire::{self, Heard, Kind, says};
use crate::signalling::sdp;
use crate::signalling::tribe::BRIDGED;
use crate::vocab::{Candidate, PeerId, RequestId, RoomId, Sdp, SdpKind, StreamName};

/// A server hears that often that the bridge lives, as PeerJS does it.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// A server that remembers the id with its token says nothing when it is back (`peer` 1.0.2, pull request 462): after this time it
/// counts as having said yes.
const SILENT_YES: Duration = Duration::from_secs(5);
/// A connection that lasted so long was good.
const STABLE: Duration = Duration::from_secs(10);
/// Messages to others that wait while the server is away, and their bytes; the oldest are dropped first.
const MAX_QUEUED: usize = 64;
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Longest id of a connection, in bytes. PeerJS's have some 14.
const MAX_CONNECTION: usize = 256;

/// What is to be joined to what.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) stream: Option<StreamName>,
    /// By which it is called.
    pub(super) id: String,
    /// Whom it calls.
    pub(super) call: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) plan: Plan,
    pub(super) life: Life,
    outputs: VecDeque<Output>,
    joining: Option<RequestId>,
    allowance: Allowance,
    nonsense: u32,
    /// The server had taken it before.
    known: bool,
    /// When its silence counts as a yes.
    silent_yes: Option<Instant>,
    beat_at: Option<Instant>,
    pub(super) remotes: BTreeMap<String, Remote>,
    guests: BTreeMap<Guest, String>,
    last_guest: u64,
    pub(super) callees: Vec<Callee>,
    queued: VecDeque<String>,
    left_out: Option<Reason>,
}

impl Machine {
    /// Begins at once. The seed decides the jitter.
    pub(super) fn new(now: Instant, plan: Plan, seed: u64) -> Self {
        let ids = plan.call.iter().filter(|id| **id != plan.id).enumerate();
        let callee = |(index, id): (usize, &String)| Callee {
            id: id.clone(),
            at: now,
            backoff: Backoff::new(seed.wrapping_add(1 + index as u64)),
            absent: false,
            knocked: false,
        };
        let callees = ids.map(callee).collect();
        let mut machine = Self {
            plan,
            life: Life::new(now, seed),
            outputs: VecDeque::new(),
            joining: None,
            allowance: Allowance::new(now),
            nonsense: 0,
            known: false,
            silent_yes: None,
            beat_at: None,
            remotes: BTreeMap::new(),
            guests: BTreeMap::new(),
            last_guest: OWN.0,
            callees,
            queued: VecDeque::new(),
            left_out: None,
        };
        far::Machine::handle_timeout(&mut machine, now);
        machine
    }

    // ---- the server ----

    fn opened(&mut self, now: Instant) {
        self.life.opened(now);
        (self.known, self.silent_yes, self.beat_at) = (true, None, Some(now + BEAT_EVERY));
        self.outputs.extend(self.queued.drain(..).map(Output::Send));
        self.place_calls(now);
    }

    fn heard(&mut self, now: Instant, heard: Heard<'_>) {
        match heard {
            Heard::Open if self.life.is_greeting() => self.opened(now),
            Heard::Taken => {
                let message = format!("somebody else has the id \"{}\" at the far side", plain(&self.plan.id, MAX_NAME));
                self.fail(now, Fault::new("id_taken", message, Pace::Usual));
            }
            Heard::Refused(words) => self.fail(now, of_words(&words)),
            Heard::Message { kind, src, payload } => {
                if self.life.is_greeting() && self.known {
                    self.opened(now);
                }
                if self.life.is_open() && src.chars().count() <= MAX_NAME && src != self.plan.id {
                    self.message(now, kind, &src, payload);
                }
            }
            Heard::Open | Heard::Unknown => {}
        }
    }

    fn message(&mut self, now: Instant, kind: Kind, src: &str, value: Option<&RawValue>) {
        let part = value.and_then(|value| payload::read(kind, value)).filter(|part| part.connection.len() <= MAX_CONNECTION);
        match (kind, part) {
            (Kind::Offer, Some(part)) => self.offered(now, src, &part),
            (Kind::Answer, Some(part)) => self.answered(src, &part),
            (Kind::Candidate, Some(part)) => self.candidate(src, &part),
            (Kind::Leave, _) => self.end_links(now, src, |_| true),
            (Kind::Expire, _) => {
                self.expired(now, src);
                // what was not delivered; connections that are there go on
                self.end_links(now, src, |link| link.placed && link.up.is_none());
            }
            _ => {}
        }
    }

    fn offered(&mut self, now: Instant, src: &str, part: &Payload<'_>) {
        let Some(framing) = part.framing else { return self.send(Kind::Leave, src, None) };
        let text = payload::description(part.value).filter(|text| text.len() <= MAX_SDP && sdp::plausible(text));
        let Some(text) = text else { return self.send(Kind::Expire, src, None) };
        let offer = Offer { connection: part.connection.clone(), style: part.style, framing, text };
        if !self.remotes.contains_key(src) && !self.bring(now, src) {
            return self.send(Kind::Leave, src, None);
        }
        let Some(remote) = self.remotes.get_mut(src) else { return };
        if remote.entering.is_none() {
            self.take_offer(src, offer);
        } else if remote.pending.len() < MAX_PENDING {
            remote.pending.push(offer);
        } else {
            self.send(Kind::Expire, src, None);
        }
    }

    /// Has a peer enter the room.
    pub(super) fn bring(&mut self, now: Instant, id: &str) -> bool {
        if self.remotes.len() >= MAX_MEMBERS {
            let message = format!("more than {MAX_MEMBERS} peers have called: the others are left out");
            self.left_out = Some(Reason { code: "too_many_members", message });
            return false;
        }
        if !self.allowance.arrival(now) {
            self.fail(now, far::flood("peers"));
            return false;
        }
        self.last_guest += 1;
        let (guest, req) = (Guest(self.last_guest), RequestId::next());
        let name = plain(id, MAX_NAME);
        let (via, platform) = (Some(self.plan.name.clone()), Some(BRIDGED.into()));
        let facts = Facts { name: Some(name.clone()), via, platform, ..Facts::default() };
        self.outputs.push_back(Output::Enter(guest, req, Box::new(far::joining(&self.plan.room, &name, facts))));
        self.guests.insert(guest, id.to_owned());
        self.remotes.insert(id.to_owned(), Remote::new(guest, req));
        true
    }

    /// The offer of a connection: a new one, or (simple-peerjs) one that is negotiated again.
    fn take_offer(&mut self, src: &str, offer: Offer) {
        let Offer { connection, style, framing, text } = offer;
        let Some(remote) = self.remotes.get_mut(src) else { return };
        let guest = remote.guest;
        if let Some(link) = remote.links.get_mut(&connection) {
            let peer = link.peer;
            if style == Style::Simple {
                let req = RequestId::next();
                link.waiting = Some(req);
                let command = Command::Describe { peer, sdp: Sdp::offer(text) };
                return self.outputs.push_back(Output::Ask(guest, req, Box::new(command)));
            }
            remote.links.remove(&connection);
            self.ask(guest, Command::Stop { peer });
        }
        let Some(remote) = self.remotes.get_mut(src) else { return };
        if remote.links.len() >= MAX_LINKS {
            return self.send(Kind::Expire, src, None);
        }
        let media = !sdp::offered_kinds(&text).is_empty();
        let publish = (!sdp::sent_kinds(&text).is_empty()).then(|| stream_of(src));
        let meeting = Meeting {
            offer: Some(Sdp::offer(text)),
            publish,
            play: media && self.plan.stream.is_some(),
            ..self.meeting(framing)
        };
        self.open(src, connection, style, meeting, false);
    }

    pub(super) fn meeting(&self, framing: Framing) -> Meeting {
        Meeting {
            peer: PeerId::next(),
            with: None,
            offer: None,
            publish: None,
            play: false,
            named: self.plan.stream.clone(),
            expects: Vec::new(),
            outlasts: false,
            framing,
            channels: Vec::new(),
            // services behind the room are not for whoever can call it
            broker: None,
            pair: None,
        }
    }

    pub(super) fn open(&mut self, id: &str, connection: String, style: Style, meeting: Meeting, placed: bool) {
        let Some(remote) = self.remotes.get_mut(id) else { return };
        let (req, peer, framing, guest) = (RequestId::next(), meeting.peer, meeting.framing, remote.guest);
        let early = remote.take_early(&connection);
        remote.links.insert(connection, Link { peer, style, framing, placed, waiting: Some(req), up: None });
        self.outputs.push_back(Output::Ask(guest, req, Box::new(Command::Meet(Box::new(meeting)))));
        early.into_iter().for_each(|candidate| self.ask(guest, Command::Candidate { peer, candidate }));
    }

    fn answered(&mut self, src: &str, part: &Payload<'_>) {
        let Some(text) = payload::description(part.value).filter(|text| text.len() <= MAX_SDP) else { return };
        let Some(remote) = self.remotes.get_mut(src) else { return };
        let guest = remote.guest;
        if let Some(link) = remote.links.get_mut(&part.connection).filter(|link| link.placed && link.waiting.is_none()) {
            let (peer, req) = (link.peer, RequestId::next());
            link.waiting = Some(req);
            let command = Command::Describe { peer, sdp: Sdp::answer(text) };
            self.outputs.push_back(Output::Ask(guest, req, Box::new(command)));
        }
    }

    fn candidate(&mut self, src: &str, part: &Payload<'_>) {
        let candidate =
            payload::candidate(part.value).filter(|it| !it.candidate.is_empty() && it.candidate.len() <= MAX_CANDIDATE);
        let (Some(candidate), Some(remote)) = (candidate, self.remotes.get_mut(src)) else { return };
        let candidate = Candidate { username_fragment: None, ..candidate };
        if candidate.sdp_mid.as_ref().is_some_and(|mid| mid.len() > MAX_NAME) {
            return;
        }
        if let Some(link) = remote.links.get(&part.connection) {
            let (guest, peer) = (remote.guest, link.peer);
            self.ask(guest, Command::Candidate { peer, candidate });
        } else if remote.early.len() < MAX_EARLY {
            remote.early.push((part.connection.clone(), candidate));
        }
    }

    // ---- the room ----

    fn own_notice(&mut self, now: Instant, notice: &Notice) {
        match notice {
            Notice::Welcome(welcome) if self.joining == Some(welcome.req) => {
                self.joining = None;
                self.life.welcomed();
                far::Machine::handle_timeout(self, now);
            }
            Notice::Refused { req, why } if self.joining == Some(*req) => self.shut_out(now, verdict::of_refusal(why)),
            Notice::Ended { reason } => self.shut_out(now, verdict::of_end(*reason)),
            _ => {}
        }
    }

    fn guest_notice(&mut self, now: Instant, guest: Guest, notice: &Notice) {
        let Some(id) = self.guests.get(&guest).cloned() else { return };
        let Some(remote) = self.remotes.get_mut(&id) else { return };
        match notice {
            Notice::Welcome(welcome) if remote.entering == Some(welcome.req) => {
                remote.entering = None;
                for offer in std::mem::take(&mut remote.pending) {
                    self.take_offer(&id, offer);
                }
                self.place_calls(now);
                self.release_idle(&id);
            }
            Notice::Refused { req, why } if remote.entering == Some(*req) => {
                let fault = verdict::of_refusal(why);
                let message = format!("a peer of the far side is left out: {}", fault.message);
                self.left_out = Some(Reason { code: fault.code, message });
                self.send(Kind::Leave, &id, None);
                self.forget(now, &id);
            }
            Notice::Refused { req, .. } => {
                let refused = remote.links.iter().find(|(_, link)| link.waiting == Some(*req));
                if let Some((connection, link)) = refused.map(|(connection, link)| (connection.clone(), link)) {
                    let (peer, called) = (link.peer, !link.placed && link.up.is_none());
                    self.ask(guest, Command::Stop { peer });
                    if called {
                        self.send(Kind::Expire, &id, None);
                    }
                    self.link_gone(now, &id, &connection);
                }
            }
            Notice::Description { peer, sdp } => self.described(&id, *peer, sdp),
            Notice::PeerUp { peer } => {
                if let Some(link) = remote.links.values_mut().find(|link| link.peer == *peer) {
                    (link.up, link.waiting) = (Some(now), None);
                    if link.placed
                        && let Some(callee) = self.callees.iter_mut().find(|callee| callee.id == id)
                    {
                        callee.absent = false;
                    }
                }
            }
            Notice::PeerDown { peer, .. } => {
                if let Some(connection) = remote.link_of(*peer).map(str::to_owned) {
                    self.link_gone(now, &id, &connection);
                }
            }
            Notice::Ended { .. } => self.forget(now, &id),
            _ => {}
        }
    }

    /// Portico's description of a connection.
    fn described(&mut self, id: &str, peer: PeerId, sdp: &Sdp) {
        let Some(remote) = self.remotes.get_mut(id) else { return };
        let Some((connection, link)) = remote.links.iter_mut().find(|(_, link)| link.peer == peer) else { return };
        link.waiting = None;
        let kind = if sdp.kind == SdpKind::Offer { Kind::Offer } else { Kind::Answer };
        let value = Signal::description(sdp, Framing::None).value;
        let payload = payload::write(kind, link.style, connection, &value, link.framing);
        self.send(kind, id, Some(&payload));
    }

    /// A connection is gone.
    fn link_gone(&mut self, now: Instant, id: &str, connection: &str) {
        let Some(link) = self.remotes.get_mut(id).and_then(|remote| remote.links.remove(connection)) else { return };
        if link.placed {
            if link.up.is_some_and(|up| now.saturating_duration_since(up) >= STABLE)
                && let Some(callee) = self.callees.iter_mut().find(|callee| callee.id == id)
            {
                callee.backoff.succeeded();
            }
            self.put_off(now, id);
        }
        self.release_idle(id);
    }

    /// Ends connections of a peer.
    fn end_links(&mut self, now: Instant, id: &str, which: impl Fn(&Link) -> bool) {
        let Some(remote) = self.remotes.get_mut(id) else { return };
        remote.pending.clear();
        let guest = remote.guest;
        let ended: Vec<(String, PeerId)> = remote
            .links
            .iter()
            .filter(|(_, link)| which(link))
            .map(|(connection, link)| (connection.clone(), link.peer))
            .collect();
        for (connection, peer) in ended {
            self.ask(guest, Command::Stop { peer });
            self.link_gone(now, id, &connection);
        }
        self.release_idle(id);
    }

    /// Who has no connection any more leaves the room.
    fn release_idle(&mut self, id: &str) {
        // one that is to be called has none until it is in
        if self.remotes.get(id).is_some_and(|remote| remote.is_idle() && remote.entering.is_none()) {
            self.release(id);
        }
    }

    fn release(&mut self, id: &str) {
        let Some(remote) = self.remotes.remove(id) else { return };
        self.guests.remove(&remote.guest);
        self.ask(remote.guest, Command::Leave);
        self.outputs.push_back(Output::Release(remote.guest));
    }

    /// The room has no place for a peer any more.
    fn forget(&mut self, now: Instant, id: &str) {
        self.release(id);
        self.put_off(now, id);
    }

    // ---- ends ----

    /// Trouble with the server. Connections with peers go past it, and stay.
    fn fail(&mut self, now: Instant, fault: Fault) {
        if self.life.fail(now, fault) {
            (self.silent_yes, self.beat_at) = (None, None);
            self.callees.iter_mut().for_each(|callee| callee.knocked = false);
            self.outputs.push_back(Output::HangUp);
        }
    }

    fn shut_out(&mut self, now: Instant, fault: Fault) {
        self.let_go();
        self.joining = None;
        self.outputs.push_back(Output::Release(OWN));
        self.life.shut_out(now, fault);
    }

    fn let_go(&mut self) {
        for id in self.remotes.keys().cloned().collect::<Vec<_>>() {
            self.release(&id);
        }
        self.queued.clear();
        self.left_out = None;
        (self.silent_yes, self.beat_at) = (None, None);
        self.outputs.push_back(Output::HangUp);
    }

    // ---- out ----

    fn ask(&mut self, guest: Guest, command: Command) {
        self.outputs.push_back(Output::Ask(guest, RequestId::next(), Box::new(command)));
    }

    /// To a peer, by the server; once that is back.
    pub(super) fn send(&mut self, kind: Kind, to: &str, payload: Option<&RawValue>) {
        let text = wire::write(kind, &self.plan.id, to, payload);
        if self.life.is_open() {
            return self.outputs.push_back(Output::Send(text));
        }
        self.queued.push_back(text);
        while self.queued.len() > MAX_QUEUED || self.queued.iter().map(String::len).sum::<usize>() > MAX_QUEUED_BYTES {
            self.queued.pop_front();
        }
    }
}

impl far::Machine for Machine {
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let missing = |callee: &&Callee| match self.remotes.get(&callee.id) {
            Some(remote) => remote.entering.is_none() && !(remote.is_placed(true) && remote.is_placed(false)),
            None => true,
        };
        let calls = self.callees.iter().filter(|_| self.life.is_open()).filter(missing).map(|callee| callee.at);
        calls.chain(self.life.next_timeout()).chain(self.silent_yes).chain(self.beat_at).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.life.handle_timeout(now) {
            Some(Step::Enter) => {
                let req = RequestId::next();
                self.joining = Some(req);
                let facts = Facts { name: Some(self.plan.name.clone()), platform: Some(BRIDGED.into()), ..Facts::default() };
                let joining = far::joining(&self.plan.room, &self.plan.name, facts);
                self.outputs.push_back(Output::Enter(OWN, req, Box::new(joining)));
            }
            Some(Step::Dial) => self.outputs.push_back(Output::Dial),
            Some(Step::Unheard) => self.fail(now, Fault::new("timeout", "the far side does not say OPEN", Pace::Usual)),
            None => {}
        }
        if self.silent_yes.is_some_and(|at| at <= now) && self.life.is_greeting() {
            self.opened(now);
        }
        if let Some(at) = self.beat_at.filter(|at| *at <= now) {
            self.outputs.push_back(Output::Send(wire::HEARTBEAT.into()));
            self.beat_at = Some((at + BEAT_EVERY).max(now));
        }
        self.place_calls(now);
    }

    fn handle_dialled(&mut self, now: Instant, outcome: Result<Option<Zeroizing<String>>, Fault>) {
        match outcome {
            Ok(_) => {
                if !self.life.dialled(now) {
                    return self.outputs.push_back(Output::HangUp);
                }
                (self.allowance, self.nonsense) = (Allowance::new(now), 0);
                self.silent_yes = self.known.then(|| now + SILENT_YES);
            }
            Err(fault) => self.fail(now, fault),
        }
    }

    fn handle_text(&mut self, now: Instant, text: &str) {
        if !self.life.is_open() && !self.life.is_greeting() {
            return;
        }
        if !self.allowance.message(now) {
            return self.fail(now, far::flood("messages"));
        }
        match wire::hear(text) {
            Ok(Heard::Unknown) | Err(_) => {
                self.nonsense += 1;
                if self.nonsense >= MAX_NONSENSE {
                    self.fail(now, Fault::new("bad_answer", "what the far side sends is not of this kind", Pace::Slow));
                }
            }
            Ok(heard) => {
                self.nonsense = 0;
                self.heard(now, heard);
            }
        }
    }

    fn handle_closed(&mut self, now: Instant, fault: Fault) {
        self.fail(now, fault);
    }

    fn handle_notice(&mut self, now: Instant, guest: Guest, notice: &Notice) {
        if guest == OWN {
            self.own_notice(now, notice);
        } else {
            self.guest_notice(now, guest, notice);
        }
    }

    fn handle_gone(&mut self, now: Instant, guest: Guest) {
        if guest == OWN {
            self.shut_out(now, Fault::new("internal", "the room ended the session", Pace::Usual));
        } else if let Some(id) = self.guests.get(&guest).cloned() {
            self.forget(now, &id);
        }
    }

    fn standing(&self) -> Standing {
        let absent = self.callees.iter().find(|callee| callee.absent).map(|callee| Reason {
            code: "peer_absent",
            message: format!("\"{}\" is not at the far side", plain(&callee.id, MAX_NAME)),
        });
        self.life.standing(absent.or_else(|| self.left_out.clone()))
    }

    fn company(&self) -> Company {
        let peers = self.remotes.values().flat_map(|remote| remote.links.values().map(|link| link.peer)).collect();
        let members = self.remotes.values().filter(|remote| remote.entering.is_none()).count();
        Company { peers, members }
    }

    fn stop(&mut self) {
        let inside = self.life.is_inside();
        self.let_go();
        if inside {
            self.ask(OWN, Command::Leave);
        }
        self.life.stop();
    }

    fn is_over(&self) -> bool {
        self.life.is_over()
    }
}

/// Why the server refuses, by the words that clients know.
fn of_words(words: &str) -> Fault {
    if words == says::KEY {
        Fault::new("wrong_key", "the far side has another key", Pace::Slow)
    } else if words == says::LIMIT {
        Fault::new("busy", "the far side has as many clients as it may", Pace::Usual)
    } else {
        Fault::new("refused", format!("the far side refuses: {}", plain(words, MAX_NAME)), Pace::Slow)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
