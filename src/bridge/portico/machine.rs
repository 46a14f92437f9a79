//! PURE, but for the [`Graph`] that the links of a gateway share. One link to another Portico, from either end: who dials and who answers
//! differ in how they begin, and then do the same.
//!
//! ```text
//! who dials                          who answers
//! hello: who, which room, behind ─►  is it a ring, a second link?
//!        is it?                  ◄─  welcome, or refuse
//! offer of the trunk             ─►
//!                                ◄─  answer
//! members, lanes, words         ◄─►  members, lanes, words
//! ```
//!
//! | far side | here |
//! |---|---|
//! | a member, whoever brought it there | a member, with a session of its own |
//! | a lane of its | its stream |
//! | what it says | what it says |

mod begin;

pub(super) use self::begin::of_refused;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use zeroize::Zeroizing;

use super::Links;
use super::graph::{LinkId, Node};
use super::ours::Ours;
use super::theirs::Theirs;
use super::wire::{self, Hello, Message, VERSION};
use crate::bridge::far::held::Held;
use crate::bridge::far::life::{Life, Step};
use crate::bridge::far::{self, Allowance, Guest, MAX_NONSENSE, MAX_SDP, OWN, Output, plain};
use crate::bridge::retry::Pace;
use crate::bridge::status::{Company, Reason, Standing};
use crate::bridge::whip::verdict::{self, Fault};
use crate::room::{Body, Command, DialectName, MAX_SAID, MemberView, Notice, Refusal, StreamView};
use crate::vocab::{MemberId, PeerId, RequestId, RoomId, Sdp, StreamName};

/// The other links are looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// A trunk that is not connected in this time is given up.
const TRUNK_LIMIT: Duration = Duration::from_secs(30);

/// Whether what a far side shows of itself is enough; in words why not.
pub(super) type Judge = Arc<dyn Fn(Option<&str>) -> Result<(), String> + Send + Sync>;

/// What is to be joined to what.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) role: Role,
    pub(super) links: Arc<Links>,
}

/// Which end of the link this is.
pub(super) enum Role {
    /// Dials, and again when it was lost.
    Dial {
        /// The room there.
        remote_room: RoomId,
        /// Judges who answers.
        judge: Judge,
    },
    /// Answers once.
    Answer {
        hello: Hello,
        /// What it shows of itself.
        token: Option<Zeroizing<String>>,
        /// Until when who dials may be here.
        expires: Option<SystemTime>,
    },
}

#[derive(Debug)]
struct Trunk {
    peer: PeerId,
    /// The request that has no answer.
    req: RequestId,
    up: bool,
    until: Instant,
}

/// See the module.
pub(super) struct Machine {
    plan: Plan,
    node: Node,
    id: LinkId,
    life: Life,
    outputs: VecDeque<Output>,
    joining: Option<RequestId>,
    allowance: Allowance,
    nonsense: u32,
    /// The other end is a link of this gateway's.
    admitted: bool,
    trunk: Option<Trunk>,
    ours: Ours,
    theirs: Theirs,
    /// Members that may be of theirs.
    unsure: Vec<MemberView>,
    held: Held<MemberId>,
    /// The graph as it was looked at last, and when to look again.
    seen: u64,
    look: Option<Instant>,
    left_out: Option<Reason>,
}

impl Machine {
    /// Begins at once. The seed decides the jitter.
    pub(super) fn new(now: Instant, plan: Plan, seed: u64) -> Self {
        let (node, id) = (plan.links.node(&plan.room), plan.links.next());
        let mut machine = Self {
            node,
            id,
            life: Life::new(now, seed),
            outputs: VecDeque::new(),
            joining: None,
            allowance: Allowance::new(now),
            nonsense: 0,
            admitted: false,
            trunk: None,
            ours: Ours::default(),
            theirs: Theirs::new(plan.room.clone(), plan.name.clone()),
            unsure: Vec::new(),
            held: Held::default(),
            seen: 0,
            look: None,
            left_out: None,
            plan,
        };
        far::Machine::handle_timeout(&mut machine, now);
        machine
    }

    // ---- the far side ----

    fn heard(&mut self, now: Instant, message: Message) {
        match message {
            Message::Welcome { version, node, reach, token } if self.life.is_greeting() => {
                self.welcomed_there(now, version, node, &reach, token.as_deref());
            }
            Message::Refuse { code, message } => self.refused_there(now, &code, &message),
            _ if !self.life.is_open() => self.note_nonsense(now),
            Message::Offer { sdp } if self.answers() && self.trunk.is_none() && sdp.len() <= MAX_SDP => {
                let (peer, req) = (PeerId::next(), RequestId::next());
                self.trunk = Some(Trunk { peer, req, up: false, until: now + TRUNK_LIMIT });
                let command = Command::Trunk { peer, offer: Some(Sdp::offer(sdp)) };
                self.outputs.push_back(Output::Ask(OWN, req, Box::new(command)));
            }
            Message::Answer { sdp } if !self.answers() && sdp.len() <= MAX_SDP => {
                if let Some(trunk) = &mut self.trunk {
                    trunk.req = RequestId::next();
                    let command = Command::Describe { peer: trunk.peer, sdp: Sdp::answer(sdp) };
                    self.outputs.push_back(Output::Ask(OWN, trunk.req, Box::new(command)));
                }
            }
            Message::Reach { nodes } => match wire::nodes(&nodes) {
                Some(reach) => {
                    let updated = self.plan.links.lock().update(&self.plan.room, &self.node, self.id, reach);
                    if let Err(why) = updated {
                        self.refuse(now, of_refused(&why));
                    }
                }
                None => self.note_nonsense(now),
            },
            Message::Member(person) if (1..=64).contains(&person.id.len()) => {
                if !self.theirs.has(&person.id) && !self.allowance.arrival(now) {
                    return self.refuse(now, far::flood("members"));
                }
                if !self.theirs.person(person, &mut self.outputs) {
                    self.leave_out("too_many_members", "the far side has more members than are brought");
                }
            }
            Message::Gone { id } => {
                self.theirs.gone(&id, &mut self.outputs);
                self.be_sure(now);
            }
            Message::Lane { lane, member, stream, tracks } => {
                // of a codec that is not known here the sound is left at least
                let tracks: Vec<_> = tracks.iter().filter_map(|track| track.read()).collect();
                let taken = StreamName::new(&stream).is_ok_and(|stream| self.theirs.lane(lane, member, stream, tracks));
                match taken {
                    true => self.take_lanes(),
                    false => self.leave_out("too_many", "a stream of the far side cannot be taken"),
                }
            }
            Message::LaneEnd { lane } => self.theirs.lane_end(lane, &mut self.outputs),
            Message::Said { from, to, text } if text.len() <= MAX_SAID => {
                let to = to.map(|to| to.parse::<MemberId>());
                if let None | Some(Ok(_)) = &to {
                    let said = Command::Say { to: to.and_then(Result::ok), text };
                    self.theirs.speak(&from, said, &mut self.outputs);
                }
            }
            Message::Told { from, to, body } => {
                if let Ok(to) = to.parse::<MemberId>() {
                    self.theirs.speak(&from, Command::Tell { to, body: Body::Json(body) }, &mut self.outputs);
                }
            }
            _ => self.note_nonsense(now),
        }
    }

    fn refused_there(&mut self, now: Instant, code: &str, message: &str) {
        let message = plain(message, 200);
        let (code, pace) = match code {
            "duplicate" => ("duplicate", Pace::Slow),
            "loop" => ("loop", Pace::Usual),
            "version" => ("version", Pace::Slow),
            "forbidden" => ("forbidden", Pace::Slow),
            "unauthorised" => ("unauthorised", Pace::Slow),
            "room_full" => ("room_full", Pace::Usual),
            _ => ("refused", Pace::Usual),
        };
        self.fail(now, Fault::new(code, format!("the far side refuses: {message}"), pace));
    }

    fn note_nonsense(&mut self, now: Instant) {
        self.nonsense += 1;
        if self.nonsense >= MAX_NONSENSE {
            self.refuse(now, Fault::new("bad_answer", "what the far side sends is not of this kind", Pace::Slow));
        }
    }

    fn leave_out(&mut self, code: &'static str, message: &str) {
        self.left_out = Some(Reason { code, message: message.into() });
    }

    // ---- the room ----

    fn own_notice(&mut self, now: Instant, notice: &Notice) {
        match notice {
            Notice::Welcome(welcome) if self.joining == Some(welcome.req) => {
                self.joining = None;
                for view in &welcome.others {
                    self.ours.put(view);
                }
                self.life.welcomed();
                far::Machine::handle_timeout(self, now);
            }
            Notice::Refused { req, why } if self.joining == Some(*req) => self.shut_out(now, verdict::of_refusal(why)),
            Notice::Refused { req, why } if self.trunk.as_ref().is_some_and(|trunk| trunk.req == *req) => {
                self.refuse(now, verdict::of_refusal(why));
            }
            Notice::Refused { req, why } => self.lane_refused(*req, why),
            Notice::MemberJoined { member, .. } | Notice::MemberChanged { member } => self.member(member),
            Notice::MemberLeft { member, .. } => {
                self.unsure.retain(|view| view.member != *member);
                let told = self.ours.gone(*member);
                self.say(told);
            }
            Notice::StreamUp { member, stream } => {
                self.stream_up(*member, stream);
                self.ask_lanes(now);
            }
            Notice::StreamDown { member, stream } => self.ours.stream_down(*member, stream),
            Notice::Description { peer, sdp } if self.is_trunk(*peer) => {
                let sdp = sdp.text.clone();
                let message = if self.answers() { Message::Answer { sdp } } else { Message::Offer { sdp } };
                self.send(&message);
            }
            Notice::PeerUp { peer } if self.is_trunk(*peer) => {
                if let Some(trunk) = &mut self.trunk {
                    trunk.up = true;
                }
                self.ask_lanes(now);
                self.take_lanes();
            }
            Notice::Lane { peer, tracks } => {
                let told = self.ours.lane(*peer, tracks);
                self.say(told);
            }
            Notice::PeerDown { peer, reason } if self.is_trunk(*peer) => {
                self.trunk = None;
                self.refuse(now, verdict::of_end(*reason));
            }
            Notice::PeerDown { peer, .. } => {
                let told = self.ours.down(*peer);
                self.say(told);
            }
            Notice::Said { from, text } if !self.theirs.is_one(from.member) => match self.life.is_open() {
                true => self.send(&Message::Said { from: from.member.to_string(), to: None, text: text.clone() }),
                false => self.held.put(now, from.member, text.clone()),
            },
            Notice::Ended { reason } => self.shut_out(now, verdict::of_end(*reason)),
            _ => {}
        }
    }

    fn guest_notice(&mut self, now: Instant, guest: Guest, notice: &Notice) {
        match notice {
            Notice::Welcome(welcome) => {
                self.theirs.welcomed(guest, welcome.req, welcome.member, &mut self.outputs);
                self.be_sure(now);
                self.take_lanes();
            }
            Notice::Refused { req, why } => {
                if self.theirs.refused(guest, *req, &mut self.outputs) {
                    self.leave_out(why.code(), &format!("a member or stream of the far side is left out: {why}"));
                }
                self.be_sure(now);
            }
            // words to one of theirs alone; what is said to all the link hears itself
            Notice::Told { from, body: Body::Json(body) } => {
                if let Some(to) = self.theirs.id_of(guest).map(str::to_owned) {
                    self.send(&Message::Told { from: from.member.to_string(), to, body: body.clone() });
                }
            }
            Notice::Ended { .. } => {
                self.theirs.ended(guest, &mut self.outputs);
                self.be_sure(now);
            }
            _ => {}
        }
    }

    fn lane_refused(&mut self, req: RequestId, why: &Refusal) {
        if self.ours.refused(req) {
            self.leave_out("stream_left_out", &format!("a stream does not cross: {why}"));
        }
    }

    /// Somebody came or has changed. It may be one of theirs whose own session has not heard yet that it is in: that is waited for, else it
    /// would be sent back to where it is from.
    fn member(&mut self, view: &MemberView) {
        if view.dialect == DialectName::Bridge && self.theirs.is_entering() && !self.ours.has(view.member) {
            self.unsure.retain(|known| known.member != view.member);
            self.unsure.push(view.clone());
        } else if !self.theirs.is_one(view.member) {
            let told = self.ours.put(view);
            self.say(told);
        }
    }

    fn stream_up(&mut self, member: MemberId, stream: &StreamView) {
        match self.unsure.iter_mut().find(|view| view.member == member) {
            Some(view) => view.streams.push(stream.clone()),
            None => self.ours.stream_up(member, &stream.name),
        }
    }

    /// One of theirs has heard whether it is in.
    fn be_sure(&mut self, now: Instant) {
        if !self.theirs.is_entering() {
            for view in std::mem::take(&mut self.unsure) {
                self.member(&view);
            }
            self.ask_lanes(now);
        }
    }

    fn ask_lanes(&mut self, now: Instant) {
        if let Some(trunk) = self.trunk.as_ref().filter(|trunk| trunk.up) {
            self.ours.ask_lanes(now, trunk.peer, &mut self.outputs);
        }
    }

    fn take_lanes(&mut self) {
        if let Some(trunk) = self.trunk.as_ref().filter(|trunk| trunk.up) {
            self.theirs.take_lanes(trunk.peer, &mut self.outputs);
        }
    }

    fn is_trunk(&self, peer: PeerId) -> bool {
        self.trunk.as_ref().is_some_and(|trunk| trunk.peer == peer)
    }

    fn answers(&self) -> bool {
        matches!(self.plan.role, Role::Answer { .. })
    }

    // ---- ends ----

    /// Trouble that the far side is told of.
    fn refuse(&mut self, now: Instant, fault: Fault) {
        self.send(&Message::Refuse { code: fault.code.into(), message: fault.message.clone() });
        self.fail(now, fault);
    }

    /// Trouble with the far side: all that it has brought goes. Who dials comes again after a while, who answers is done.
    fn fail(&mut self, now: Instant, fault: Fault) {
        if self.answers() {
            tracing::info!(
                bridge = self.plan.name,
                code = fault.code,
                reason = fault.message,
                "bridge from another gateway ends"
            );
            return far::Machine::stop(self);
        }
        if self.life.fail(now, fault) {
            self.let_go();
        }
    }

    fn shut_out(&mut self, now: Instant, fault: Fault) {
        if self.answers() {
            self.joining = None;
            return self.refuse(now, fault);
        }
        self.let_go();
        self.ours = Ours::default();
        self.joining = None;
        self.outputs.push_back(Output::Release(OWN));
        self.life.shut_out(now, fault);
    }

    fn let_go(&mut self) {
        if std::mem::take(&mut self.admitted) {
            self.plan.links.lock().remove(&self.plan.room, self.id);
            // what comes late of this one is not the next one's
            self.id = self.plan.links.next();
        }
        self.theirs.all_gone(&mut self.outputs);
        // those of theirs among them leave in a moment
        for view in std::mem::take(&mut self.unsure) {
            self.ours.put(&view);
        }
        if let Some(trunk) = self.trunk.take() {
            self.ask(OWN, Command::Stop { peer: trunk.peer });
        }
        self.ours.forget_lanes();
        (self.look, self.left_out) = (None, None);
        self.outputs.push_back(Output::HangUp);
    }

    // ---- out ----

    fn ask(&mut self, guest: Guest, command: Command) {
        self.outputs.push_back(Output::Ask(guest, RequestId::next(), Box::new(command)));
    }

    fn send(&mut self, message: &Message) {
        self.outputs.push_back(Output::Send(message.text()));
    }

    /// News for a far side that is there; one that is not hears of everything when it comes.
    fn say(&mut self, message: Option<Message>) {
        if let Some(message) = message.filter(|_| self.life.is_open()) {
            self.send(&message);
        }
    }
}

impl far::Machine for Machine {
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let trunk = self.trunk.as_ref();
        let limit = trunk.filter(|trunk| !trunk.up).map(|trunk| trunk.until);
        let lanes = trunk.filter(|trunk| trunk.up).and_then(|_| self.ours.next_timeout());
        [self.life.next_timeout(), self.look, limit, lanes].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.life.handle_timeout(now) {
            Some(Step::Enter) => self.enter(),
            Some(Step::Dial) if self.answers() => self.answer_hello(now),
            Some(Step::Dial) => self.outputs.push_back(Output::Dial),
            Some(Step::Unheard) => self.fail(now, Fault::new("timeout", "the far side does not answer", Pace::Usual)),
            None => {}
        }
        if self.look.is_some_and(|at| at <= now) {
            self.look(now);
        }
        if self.trunk.as_ref().is_some_and(|trunk| !trunk.up && trunk.until <= now) {
            self.refuse(now, Fault::new("never_connected", "no connection for media within the time allowed", Pace::Usual));
        }
        self.ask_lanes(now);
    }

    fn handle_dialled(&mut self, now: Instant, outcome: Result<Option<Zeroizing<String>>, Fault>) {
        let Role::Dial { remote_room, .. } = &self.plan.role else { return };
        let room = remote_room.to_string();
        match outcome {
            Ok(_) => {
                if !self.life.dialled(now) {
                    return self.outputs.push_back(Output::HangUp);
                }
                (self.allowance, self.nonsense) = (Allowance::new(now), 0);
                let (node, name, reach) = (self.node.clone(), self.plan.name.clone(), self.behind());
                let next_to = self.plan.links.lock().next_to(&self.plan.room).into_iter().collect();
                self.send(&Message::Hello(Hello { version: VERSION, node, name, room, reach, next_to }));
            }
            Err(fault) => self.fail(now, fault),
        }
    }

    fn handle_text(&mut self, now: Instant, text: &str) {
        if !self.life.is_open() && !self.life.is_greeting() {
            return;
        }
        if !self.allowance.message(now) {
            return self.refuse(now, far::flood("messages"));
        }
        match serde_json::from_str(text) {
            Ok(message) => self.heard(now, message),
            Err(_) => self.note_nonsense(now),
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
        } else {
            self.theirs.ended(guest, &mut self.outputs);
            self.be_sure(now);
        }
    }

    fn standing(&self) -> Standing {
        let mut standing = self.life.standing(self.left_out.clone());
        standing.peer = self.trunk.as_ref().map(|trunk| trunk.peer);
        standing
    }

    fn company(&self) -> Company {
        Company { peers: Default::default(), members: self.theirs.count() }
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

impl Drop for Machine {
    fn drop(&mut self) {
        if self.admitted {
            self.plan.links.lock().remove(&self.plan.room, self.id);
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
