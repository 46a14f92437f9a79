//! The dialect of AlgoreaForum's RTC workflow: offers, answers and candidates are forwarded as they come.
//!
//! Pure. It knows whom the client was told of and what it may not send yet; who is really there is asked of the room.
//!
//! ```text
//! frame ─► read ─► held candidates ─► Command::Tell ─► room ─► Notice::Told ─► names of the receiver's variant ─► frame
//! ```

mod config;
mod held;
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tracing::debug;

pub use self::config::{AlgoreaConfig, Variant};
use self::held::Held;
use self::wire::{Ask, Fault, Request};
use super::{Carrier, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, WireError, farewell};
use crate::room::{
    Body, Command, DialectName, Facts, Framing, Joining, MemberView, Notice, Refusal, Signal, Step, Topology, Welcome,
};
use crate::vocab::{Grant, MemberId, RequestId, RoomId};

/// The room of clients that name none.
pub const DEFAULT_ROOM: &str = "algorea";

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Algorea,
    manners: Manners { offers: Offers::Newcomer, trickle: true, renegotiate: false, peer_per: PeerPer::Member },
    carrier: Carrier {
        path: "/algorea",
        max_message: 128 * 1024,
        ping_every: Duration::from_secs(30),
        silence_limit: Duration::from_secs(600),
        write_limit: Duration::from_secs(10),
        join_limit: Duration::from_secs(30),
    },
};

/// Pings that are off come this late.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Most frames, and most bytes of them, that wait for the list of peers. A client cannot address anybody before it has the list.
const MOST_EARLY: (usize, usize) = (64, 256 * 1024);

/// This dialect's row with the times of its configuration.
pub fn entry(config: &AlgoreaConfig) -> Entry {
    let ping_every = if config.ping_every.is_zero() { NEVER } else { config.ping_every };
    let carrier = Carrier { ping_every: ping_every.min(NEVER), silence_limit: config.idle_limit.min(NEVER), ..ENTRY.carrier };
    Entry { carrier, ..ENTRY }
}

/// What a session of this dialect is given.
pub struct Deps {
    /// The room it joins.
    pub room: RoomId,
    /// What it may do.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// The variant its address names.
    pub variant: Option<Variant>,
    /// The mount's habits.
    pub config: AlgoreaConfig,
}

/// One client's session.
pub struct Algorea {
    variant: Variant,
    /// The variant was not named: what the client writes may still tell.
    learns: bool,
    announce_leave: bool,
    /// Its own id, once it is in the room.
    own: Option<MemberId>,
    /// The others it may address, in order of arrival.
    others: Vec<MemberId>,
    /// To whom it has sent an offer or answer.
    described: HashSet<MemberId>,
    held: Held,
    /// Frames that came before the list was sent.
    early: VecDeque<String>,
    early_bytes: usize,
    /// What the room has not answered yet, in order. As many as the hub's queue takes from one session.
    pending: VecDeque<Pending>,
    ended: bool,
    outputs: VecDeque<Output>,
}

/// A message on its way into the room.
struct Pending {
    req: RequestId,
    action: &'static str,
    to: MemberId,
}

impl Algorea {
    /// A session at its start; it joins at once.
    pub fn new(deps: Deps) -> Self {
        let joining = Joining {
            room: deps.room,
            user_id: deps.grant.subject.clone(),
            dialect: DialectName::Algorea,
            remote: deps.remote,
            grant: deps.grant,
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        Self {
            variant: deps.variant.unwrap_or(deps.config.variant),
            learns: deps.variant.is_none(),
            announce_leave: deps.config.announce_leave,
            own: None,
            others: Vec::new(),
            described: HashSet::new(),
            held: Held::default(),
            early: VecDeque::new(),
            early_bytes: 0,
            pending: VecDeque::new(),
            ended: false,
            outputs: VecDeque::from([Output::Command(RequestId::next(), Command::Join(Box::new(joining)))]),
        }
    }

    fn end(&mut self, close: Output) {
        self.ended = true;
        self.outputs.push_back(close);
    }

    fn error(&mut self, own: MemberId, fault: Fault, action: Option<&str>, to: Option<&str>) {
        debug!(code = fault.code(), action, "frame refused");
        let request_id = uuid::Uuid::new_v4().to_string();
        self.outputs.push_back(Output::Send(wire::error(own, &request_id, fault, action, to)));
    }

    /// A frame before the list: kept until the list is out, which is always the first frame to the client.
    fn wait(&mut self, frame: &str) {
        if self.early.len() >= MOST_EARLY.0 || self.early_bytes + frame.len() > MOST_EARLY.1 {
            return self.end(Output::Close { code: 1008, reason: "too many messages before the list of peers" });
        }
        self.early_bytes += frame.len();
        self.early.push_back(frame.to_owned());
    }

    fn frame(&mut self, own: MemberId, frame: &str) {
        let Ok(request) = wire::read(frame) else {
            return self.error(own, Fault::BadJson, None, None);
        };
        if request.is_branch && self.learns {
            self.variant = Variant::Branch;
        }
        let (action, to) = (request.action.as_deref(), request.to.as_deref());
        match request.ask {
            Ask::Heartbeat => {}
            Ask::Unknown => self.error(own, Fault::UnknownAction, action, None),
            Ask::Forward(step, value) => match (value, to) {
                (Some(value), Some(to)) => self.forward(own, step, value, to, &request),
                // the branch's server says nothing
                _ if self.variant == Variant::Branch => {}
                _ => self.error(own, Fault::BadPayload, action, to),
            },
        }
    }

    fn forward(&mut self, own: MemberId, step: Step, value: &RawValue, to: &str, request: &Request<'_>) {
        let Some(member) = wire::read_id(to).filter(|member| self.others.contains(member)) else {
            // an end of candidates for somebody who is gone is no news to anybody
            if step == Step::Candidate && wire::is_null(value) {
                return;
            }
            return self.error(own, Fault::PeerNotConnected, request.action.as_deref(), Some(to));
        };
        if step == Step::Candidate && !self.described.contains(&member) {
            if !self.held.push(member, value) {
                debug!(to, "early candidate dropped: too many");
            }
            return;
        }
        self.tell(step, value.to_owned(), member);
        if step != Step::Candidate && self.described.insert(member) {
            for candidate in self.held.take(member) {
                self.tell(Step::Candidate, candidate, member);
            }
        }
    }

    /// Sends a step into the room. It goes there as it came, `null` candidates too: to some dialects they mean something.
    fn tell(&mut self, step: Step, value: Box<RawValue>, to: MemberId) {
        let action = match step {
            Step::Offer => "forward-offer",
            Step::Answer => "forward-answer",
            Step::Candidate | Step::Other => "forward-icecandidate",
        };
        let signal = Signal { step, value, connection: "".into(), framing: Framing::OwnChannels, original: None };
        let req = RequestId::next();
        self.pending.push_back(Pending { req, action, to });
        self.outputs.push_back(Output::Command(req, Command::Tell { to, body: Body::Signal(Box::new(signal)) }));
    }

    /// The message that the room answers. It answers in order; what was passed over was not answered and never will be.
    fn answered(&mut self, req: RequestId) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.req == req)?;
        self.pending.drain(..=at).next_back()
    }

    fn welcome(&mut self, welcome: &Welcome) {
        self.own = Some(welcome.member);
        self.others = welcome.others.iter().filter(|view| is_shown(view)).map(|view| view.member).collect();
        self.outputs.push_back(Output::Send(wire::peers(self.variant, self.others.iter().copied())));
        for frame in std::mem::take(&mut self.early) {
            self.frame(welcome.member, &frame);
        }
    }

    fn refused(&mut self, req: RequestId, why: &Refusal) {
        let Some(own) = self.own else {
            let code = match why {
                Refusal::RoomFull { .. } | Refusal::TooManyRooms { .. } => 1013,
                Refusal::Stopping => 1001,
                Refusal::Internal => 1011,
                _ => 1008,
            };
            debug!(code = why.code(), "join refused");
            return self.end(Output::Close { code, reason: "the room cannot be joined" });
        };
        let Some(Pending { action, to, .. }) = self.answered(req) else { return };
        let fault = match why {
            Refusal::UnknownMember => Fault::PeerNotConnected,
            _ => Fault::NotForwarded,
        };
        self.error(own, fault, Some(action), Some(&wire::write_id(to)));
    }

    fn left(&mut self, member: MemberId) {
        let Some(at) = self.others.iter().position(|other| *other == member) else { return };
        self.others.remove(at);
        self.described.remove(&member);
        self.held.take(member);
        if self.announce_leave && self.variant == Variant::Document {
            self.outputs.push_back(Output::Send(wire::peer_disconnected(member)));
        }
    }

    fn told(&mut self, from: MemberId, signal: &Signal) {
        // clients build a candidate of whatever they get, and a candidate of nothing throws
        if signal.step == Step::Candidate && says_nothing(signal) {
            return;
        }
        self.outputs.extend(wire::forwarded(self.variant, signal.step, &signal.value, from).map(Output::Send));
    }
}

/// Whether the client hears of such a member.
fn is_shown(view: &MemberView) -> bool {
    matches!(view.dialect, DialectName::Algorea | DialectName::Tribe)
}

/// Whether a browser would refuse to make a candidate of it: `null`, or an end of candidates of no media section.
fn says_nothing(signal: &Signal) -> bool {
    wire::is_null(&signal.value)
        || signal.as_candidate().is_some_and(|candidate| {
            candidate.candidate.is_empty() && candidate.sdp_mid.is_none() && candidate.sdp_mline_index.is_none()
        })
}

impl Dialect for Algorea {
    fn handle_frame(&mut self, _now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if self.ended {
            return Ok(());
        }
        let text = match frame {
            Frame::Text(text) => text,
            // what is no UTF-8 is no JSON, and neither is nothing
            Frame::Binary(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        };
        match self.own {
            Some(own) => self.frame(own, text),
            None => self.wait(text),
        }
        Ok(())
    }

    fn handle_notice(&mut self, _now: Instant, notice: &Notice) {
        if self.ended {
            return;
        }
        match notice {
            Notice::Welcome(welcome) => self.welcome(welcome),
            Notice::Done { req } => drop(self.answered(*req)),
            Notice::Refused { req, why } => self.refused(*req, why),
            Notice::MemberJoined { member, .. } if is_shown(member) => self.others.push(member.member),
            Notice::MemberLeft { member, .. } => self.left(*member),
            Notice::Told { from, body: Body::Signal(signal) } => self.told(from.member, signal),
            Notice::Ended { reason } => self.end(farewell(*reason)),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// What the original's gateway says to a client it has not heard of for ten minutes.
    fn silence_code(&self) -> u16 {
        1001
    }
}
