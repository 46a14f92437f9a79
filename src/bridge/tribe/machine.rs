//! PURE. A bridge as a client of a tribe server: it joins a room there as one client, and brings the others of it into the room here.
//!
//! | far side | here |
//! |---|---|
//! | a member that no bridge has brought | a member, with a session of its own |
//! | the offer of its stream | its stream |
//! | a message of it | what it says |
//! | what others say here | a message to each of them, with the speaker's name |
//! | this client's uplink | the stream that the configuration names |

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::held::Held;
use super::member::{Link, MAX_EARLY, Member, Place};
use super::reading::{candidate, of_code, said_by};
use super::uplink::Uplink;
use crate::bridge::far::life::{Life, Step};
use crate::bridge::far::{self, Allowance, Guest, MAX_MEMBERS, MAX_NAME, MAX_NONSENSE, MAX_SDP, OWN, Output, plain, stream_of};
use crate::bridge::retry::Pace;
use crate::bridge::status::{Company, Reason, Standing};
use crate::bridge::whip::verdict::{self, Fault};
use crate::room::{Body, Command, DialectName, EndReason, Facts, LINK, MAX_SAID, Notice, Refusal};
use crate::signalling::sdp;
use crate::signalling::tribe::BRIDGED;
use crate::signalling::tribe::client::{
    self, CandidateFrom, Heard, Joined, MessageFrom, ModeFrom, OrientationFrom, Party, SdpFrom,
};
use crate::signalling::tribe::code::ErrorCode;
use crate::signalling::tribe::wire::{Description, ExchangeSdp, Join, PUBLISHER, RemoteCandidate, SendMessage, Text, Whole};
use crate::signalling::tribe::words;
use crate::vocab::{PeerId, RequestId, RoomId, Sdp, SdpKind, StreamName};

/// A member of whom nothing is told but that it is there is brought after this time.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(2);
/// The room is asked again this often for a member that it did not let in.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Members of the far side that are known of; of those [`MAX_MEMBERS`] are brought.
const MAX_KNOWN: usize = 4 * MAX_MEMBERS;
/// What is to be joined to what.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) remote_room: RoomId,
    pub(super) stream: Option<StreamName>,
    /// Shown to a far side where no token is configured: it names the bridge and proves nothing.
    pub(super) bearer: String,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    plan: Plan,
    life: Life,
    outputs: VecDeque<Output>,
    joining: Option<RequestId>,
    /// What the far side may still send.
    allowance: Allowance,
    nonsense: u32,
    /// Its own id at the far side.
    me: String,
    members: BTreeMap<String, Member>,
    guests: BTreeMap<Guest, String>,
    last_guest: u64,
    uplink: Uplink,
    held: Held,
    left_out: Option<Reason>,
}

impl Machine {
    /// Begins at once. The seed decides the jitter.
    pub(super) fn new(now: Instant, plan: Plan, seed: u64) -> Self {
        let uplink = Uplink::new(plan.stream.clone(), seed.wrapping_add(1));
        let mut machine = Self {
            plan,
            life: Life::new(now, seed),
            outputs: VecDeque::new(),
            joining: None,
            allowance: Allowance::new(now),
            nonsense: 0,
            me: String::new(),
            members: BTreeMap::new(),
            guests: BTreeMap::new(),
            last_guest: OWN.0,
            uplink,
            held: Held::default(),
            left_out: None,
        };
        far::Machine::handle_timeout(&mut machine, now);
        machine
    }

    // ---- the far side ----

    fn heard(&mut self, now: Instant, heard: &Heard<'_>) {
        if self.life.is_greeting() {
            if heard.a == "joinR" {
                self.join_answered(now, heard);
            } else if heard.a == "generalR" {
                self.fail(now, Fault::new("refused", "the far side does not understand the join", Pace::Slow));
            }
            return;
        }
        match heard.a.as_str() {
            "eventOrientationChange" => {
                if let Some(event) = heard.argument() {
                    self.shown(now, event);
                }
            }
            "eventExchangeSdp" => {
                if let Some(event) = heard.argument() {
                    self.described_there(now, event);
                }
            }
            "eventExchangeCandidate" => {
                if let Some(CandidateFrom { from, candidate }) = heard.argument() {
                    self.candidate(&from.socket_id.0, candidate);
                }
            }
            "eventMessage" => {
                if let Some(event) = heard.argument() {
                    self.message(now, event);
                }
            }
            "eventSetRemoteAudioVideoMode" => {
                if let Some(ModeFrom { from, audio, video }) = heard.argument() {
                    let facts = Facts { audio_muted: Some(!audio), video_muted: Some(!video), ..Facts::default() };
                    self.show(&from.socket_id.0, facts);
                }
            }
            "eventLeave" => {
                if let Some(Party { socket_id, .. }) = heard.argument() {
                    self.left(&socket_id.0);
                }
            }
            "exchangeSdpR" => {
                if let (Some(false), Some(Whole(code))) = (heard.s, heard.e)
                    && code != i64::from(ErrorCode::NoAddressee.number())
                {
                    self.uplink.refused_there(now, code, &mut self.outputs);
                }
            }
            // answers, and what is told of the own picture: of no use here
            _ => {}
        }
    }

    fn join_answered(&mut self, now: Instant, heard: &Heard<'_>) {
        if heard.s != Some(true) {
            return self.fail(now, of_code(heard.e.map(|code| code.0)));
        }
        let Some(Joined { socket_id, sessions }) = heard.argument() else {
            return self.fail(now, Fault::new("bad_answer", "the far side's answer to the join says nothing", Pace::Slow));
        };
        self.me = socket_id.0;
        self.left_out = None;
        self.life.opened(now);
        for party in sessions {
            self.met(now, &party);
        }
        self.uplink.begin(now);
        self.uplink.handle_timeout(now, &mut self.outputs);
    }

    /// Somebody is there. `None` for the own ends, and where too many are.
    fn met(&mut self, now: Instant, party: &Party) -> Option<&mut Member> {
        let id = &party.socket_id.0;
        if *id == self.me || *id == PUBLISHER || id.is_empty() || id.chars().count() > MAX_NAME {
            return None;
        }
        if !self.members.contains_key(id) {
            if self.members.len() >= MAX_KNOWN {
                self.too_many();
                return None;
            }
            let user_id = plain(party.user_id.as_ref().map_or("", |user| user.0.as_str()), MAX_NAME);
            self.members.insert(id.clone(), Member::new(user_id, now + UNKNOWN_LIMIT));
        }
        self.members.get_mut(id)
    }

    /// What a member shows of itself, which is also how others hear of it first.
    fn shown(&mut self, now: Instant, event: OrientationFrom) {
        let OrientationFrom { from, orientation, platform, camera } = event;
        let Some(member) = self.met(now, &from) else { return };
        if platform.is_some_and(|platform| platform.0 == BRIDGED || platform.0 == LINK) {
            // brought there by a bridge, perhaps from here
            return self.keep_out(&from.socket_id.0);
        }
        let camera = camera.map(|camera| plain(&camera.0, MAX_NAME));
        let facts = Facts { orientation: orientation.map(|degrees| degrees.0), camera, ..Facts::default() };
        match member.place {
            Place::Unknown { .. } => {
                member.facts.update(facts);
                self.admit(now, &from.socket_id.0);
            }
            _ => self.show(&from.socket_id.0, facts),
        }
    }

    fn show(&mut self, id: &str, facts: Facts) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = member.facts.clone();
        member.facts.update(facts.clone());
        if let Place::In { guest } = member.place
            && before != member.facts
        {
            self.ask(guest, Command::Show { facts });
        }
    }

    /// Brings a member into the room.
    fn admit(&mut self, now: Instant, id: &str) {
        if self.guests.len() >= MAX_MEMBERS {
            if let Some(member) = self.members.get_mut(id) {
                member.place = Place::Refused { until: now + ASK_AGAIN };
            }
            return self.too_many();
        }
        if !self.members.contains_key(id) {
            return;
        }
        if !self.allowance.arrival(now) {
            return self.fail(now, far::flood("members"));
        }
        let Some(member) = self.members.get_mut(id) else { return };
        self.last_guest += 1;
        let (guest, req) = (Guest(self.last_guest), RequestId::next());
        member.place = Place::Entering { guest, req };
        let name = if member.user_id.is_empty() { plain(id, MAX_NAME) } else { member.user_id.clone() };
        let (via, platform) = (Some(self.plan.name.clone()), Some(BRIDGED.into()));
        let facts = Facts { name: Some(name), via, platform, ..member.facts.clone() };
        let joining = far::joining(&self.plan.room, &member.user_id, facts);
        self.outputs.push_back(Output::Enter(guest, req, Box::new(joining)));
        self.guests.insert(guest, id.to_owned());
        self.tell_held(now, id);
    }

    fn too_many(&mut self) {
        let message = format!("more than {MAX_MEMBERS} members are at the far side: the others are left out");
        self.left_out = Some(Reason { code: "too_many_members", message });
    }

    /// Takes a member out of the room, without forgetting it.
    fn take_out(&mut self, id: &str) {
        let Some(member) = self.members.get_mut(id) else { return };
        (member.link, member.offer) = (None, None);
        member.early.clear();
        if let Some(guest) = member.guest() {
            self.guests.remove(&guest);
            self.ask(guest, Command::Leave);
            self.outputs.push_back(Output::Release(guest));
        }
    }

    fn keep_out(&mut self, id: &str) {
        self.take_out(id);
        if let Some(member) = self.members.get_mut(id) {
            member.place = Place::Outside;
        }
    }

    fn left(&mut self, id: &str) {
        self.take_out(id);
        self.members.remove(id);
    }

    /// The far side's word on the uplink, or the offer of a member's stream.
    fn described_there(&mut self, now: Instant, event: SdpFrom) {
        let SdpFrom { from, sdp: Description { kind, sdp } } = event;
        let (id, offers, text) = (from.socket_id.0.clone(), kind.0 == "offer", sdp.0);
        if id == PUBLISHER {
            if !offers && text.len() <= MAX_SDP {
                self.uplink.answered(now, text, &mut self.outputs);
            }
            return;
        }
        if !offers || text.len() > MAX_SDP || !sdp::plausible(&text) {
            return;
        }
        let Some(member) = self.met(now, &from) else { return };
        match member.place {
            Place::In { guest } => self.take_offer(guest, &id, text),
            Place::Outside => {}
            place => {
                member.offer = Some(text);
                if matches!(place, Place::Unknown { .. }) {
                    self.admit(now, &id);
                }
            }
        }
    }

    /// The offer of a stream: the one there is is negotiated again, or another takes its place.
    fn take_offer(&mut self, guest: Guest, id: &str, text: String) {
        let origin = sdp::origin(&text).map(|(user, id)| (user.to_owned(), id.to_owned()));
        let Some(member) = self.members.get_mut(id) else { return };
        let req = RequestId::next();
        if let Some(link) = &mut member.link {
            let peer = link.peer;
            if link.origin.is_some() && link.origin == origin {
                link.waiting = Some(req);
                let command = Command::Describe { peer, sdp: Sdp::offer(text) };
                return self.outputs.push_back(Output::Ask(guest, req, Box::new(command)));
            }
            self.ask(guest, Command::Stop { peer });
        }
        let Some(member) = self.members.get_mut(id) else { return };
        let peer = PeerId::next();
        member.link = Some(Link { peer, origin, waiting: Some(req) });
        let stream = stream_of(&member.user_id);
        let early = std::mem::take(&mut member.early);
        let command = Command::Publish { peer, stream, offer: Some(Sdp::offer(text)) };
        self.outputs.push_back(Output::Ask(guest, req, Box::new(command)));
        for candidate in early {
            self.ask(guest, Command::Candidate { peer, candidate });
        }
    }

    fn candidate(&mut self, id: &str, remote: RemoteCandidate) {
        let Some(candidate) = candidate(remote) else { return };
        if id == PUBLISHER {
            if let Some(peer) = self.uplink.takes_candidates() {
                self.ask(OWN, Command::Candidate { peer, candidate });
            }
            return;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        match (member.guest(), &member.link) {
            (Some(guest), Some(Link { peer, .. })) => {
                let peer = *peer;
                self.ask(guest, Command::Candidate { peer, candidate });
            }
            _ if member.early.len() < MAX_EARLY && member.place != Place::Outside => member.early.push(candidate),
            _ => {}
        }
    }

    fn message(&mut self, now: Instant, event: MessageFrom) {
        let MessageFrom { from, message } = event;
        let Some(text) = message.and_then(|message| words::of(&message)).filter(|text| text.len() <= MAX_SAID) else { return };
        let Some(member) = self.met(now, &from) else { return };
        if let Place::In { guest } = member.place {
            self.ask(guest, Command::Say { to: None, text });
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
            Notice::Refused { req, why } => {
                self.uplink.refused(now, *req, why, &mut self.outputs);
            }
            Notice::Description { peer, sdp } => {
                if let Some(offer) = self.uplink.described(now, *peer, sdp) {
                    self.send_sdp(PUBLISHER, SdpKind::Offer, &offer);
                }
            }
            Notice::PeerUp { peer } => self.uplink.up(now, *peer),
            Notice::PeerDown { peer, reason } => self.uplink.down(now, *peer, *reason, &mut self.outputs),
            Notice::StreamUp { .. } => {
                self.uplink.stream_up(now);
                self.uplink.handle_timeout(now, &mut self.outputs);
            }
            Notice::Said { from, text } if !self.life.is_open() && from.dialect != DialectName::Bridge => {
                self.held.keep(now, said_by(from, text));
            }
            Notice::Ended { reason } => self.shut_out(now, verdict::of_end(*reason)),
            _ => {}
        }
    }

    fn guest_notice(&mut self, now: Instant, guest: Guest, notice: &Notice) {
        let Some(id) = self.guests.get(&guest).cloned() else { return };
        let Some(member) = self.members.get_mut(&id) else { return };
        match notice {
            Notice::Welcome(welcome) => {
                if matches!(member.place, Place::Entering { req, .. } if req == welcome.req) {
                    member.place = Place::In { guest };
                    if let Some(offer) = member.offer.take() {
                        self.take_offer(guest, &id, offer);
                    }
                }
            }
            Notice::Refused { req, why } => {
                if matches!(member.place, Place::Entering { req: asked, .. } if asked == *req) {
                    self.not_let_in(now, &id, why);
                } else if member.link.as_ref().is_some_and(|link| link.waiting == Some(*req)) {
                    // the far side is told nothing of it in this dialect; it sees that nobody answers
                    member.link = None;
                }
            }
            Notice::Description { peer, sdp } => {
                if let Some(link) = member.link.as_mut().filter(|link| link.peer == *peer && sdp.kind == SdpKind::Answer) {
                    link.waiting = None;
                    self.send_sdp(&id, SdpKind::Answer, &sdp.text);
                }
            }
            Notice::PeerDown { peer, .. } if member.link.as_ref().is_some_and(|link| link.peer == *peer) => {
                member.link = None;
            }
            // what a bridge has brought is not sent on
            Notice::Said { from, text } if from.dialect != DialectName::Bridge => {
                let text = said_by(from, text);
                self.send_message(&id, words::message(&text));
            }
            Notice::Told { from, body: Body::Json(json) } if from.dialect != DialectName::Bridge => {
                self.send_message(&id, json.clone());
            }
            Notice::Ended { reason } => self.guest_ended(now, &id, *reason),
            _ => {}
        }
    }

    fn not_let_in(&mut self, now: Instant, id: &str, why: &Refusal) {
        let fault = verdict::of_refusal(why);
        let message = format!("a member of the far side is left out: {}", fault.message);
        self.left_out = Some(Reason { code: fault.code, message });
        self.put_off(now, id);
    }

    /// The room ended a member's place.
    fn guest_ended(&mut self, now: Instant, id: &str, reason: EndReason) {
        match reason {
            // until it leaves the far side and comes again
            EndReason::Evicted => self.keep_out(id),
            _ => self.put_off(now, id),
        }
    }

    fn put_off(&mut self, now: Instant, id: &str) {
        self.take_out(id);
        if let Some(member) = self.members.get_mut(id) {
            member.place = Place::Refused { until: now + ASK_AGAIN };
        }
    }

    fn tell_held(&mut self, now: Instant, id: &str) {
        let texts: Vec<Box<RawValue>> = self.held.told_to(now).iter().map(|text| words::message(text)).collect();
        texts.into_iter().for_each(|text| self.send_message(id, text));
    }

    // ---- ends ----

    /// Trouble with the far side: all that it has brought goes, and it is joined again after a while.
    fn fail(&mut self, now: Instant, fault: Fault) {
        if self.life.fail(now, fault) {
            self.let_go();
        }
    }

    fn shut_out(&mut self, now: Instant, fault: Fault) {
        self.let_go();
        self.joining = None;
        self.outputs.push_back(Output::Release(OWN));
        self.life.shut_out(now, fault);
    }

    fn let_go(&mut self) {
        self.uplink.end(&mut self.outputs);
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.left(&id);
        }
        self.left_out = None;
        self.outputs.push_back(Output::HangUp);
    }

    // ---- out ----

    fn ask(&mut self, guest: Guest, command: Command) {
        self.outputs.push_back(Output::Ask(guest, RequestId::next(), Box::new(command)));
    }

    fn send_sdp(&mut self, to: &str, kind: SdpKind, text: &str) {
        let kind = if kind == SdpKind::Offer { "offer" } else { "answer" };
        let sdp = Description { kind: Text(kind.into()), sdp: Text(text.into()) };
        self.outputs.push_back(Output::Send(client::request("exchangeSdp", &ExchangeSdp { to: Text(to.into()), sdp })));
    }

    fn send_message(&mut self, to: &str, message: Box<RawValue>) {
        let request = SendMessage { to: Text(to.into()), message: Some(message) };
        self.outputs.push_back(Output::Send(client::request("sendMessage", &request)));
    }
}

impl far::Machine for Machine {
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(Member::next_timeout);
        members.chain(self.life.next_timeout()).chain(self.uplink.next_timeout()).min()
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
            Some(Step::Unheard) => {
                self.fail(now, Fault::new("timeout", "the far side does not answer the join", Pace::Usual));
            }
            None => {}
        }
        self.uplink.handle_timeout(now, &mut self.outputs);
        let due = |member: &Member| member.next_timeout().is_some_and(|at| at <= now);
        let due: Vec<String> = self.members.iter().filter(|(_, member)| due(member)).map(|(id, _)| id.clone()).collect();
        due.iter().for_each(|id| self.admit(now, id));
    }

    fn handle_dialled(&mut self, now: Instant, outcome: Result<Option<Zeroizing<String>>, Fault>) {
        match outcome {
            Ok(token) => {
                if !self.life.dialled(now) {
                    return self.outputs.push_back(Output::HangUp);
                }
                (self.allowance, self.nonsense) = (Allowance::new(now), 0);
                let text = |text: &str| Some(Text(text.into()));
                let join = Join {
                    room_id: text(self.plan.remote_room.as_str()),
                    platform: text(BRIDGED),
                    app_version: text(env!("CARGO_PKG_VERSION")),
                    ..Join::default()
                };
                let bearer = token.as_ref().map_or(self.plan.bearer.as_str(), |token| token.as_str());
                self.outputs.push_back(Output::Send(client::request("join", &client::JoinAs { join, bearer })));
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
        match client::read(text) {
            Some(heard) => {
                self.nonsense = 0;
                self.heard(now, &heard);
            }
            None => {
                self.nonsense += 1;
                if self.nonsense >= MAX_NONSENSE {
                    self.fail(now, Fault::new("bad_answer", "what the far side sends is not of this kind", Pace::Slow));
                }
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
            self.put_off(now, &id);
        }
    }

    fn standing(&self) -> Standing {
        self.life.standing(self.uplink.reason().or(self.left_out.as_ref()).cloned())
    }

    fn company(&self) -> Company {
        let links = self.members.values().filter_map(|member| member.link.as_ref().map(|link| link.peer));
        let members = self.members.values().filter(|member| matches!(member.place, Place::In { .. })).count();
        Company { peers: links.chain(self.uplink.peer()).collect(), members }
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

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
