//! The dialect of AlgoreaForum's RTC workflow: offers, answers and candidates are forwarded as they come.
//!
//! Pure. It knows whom the client may address and what it may not send yet; who is really there is asked of the room.
//!
//! ```text
//!                 ┌─ direct ──► held candidates ─► Command::Tell ─► room ─► Notice::Told ─┐
//! frame ─► read ──┤                                                                       ├─► names of the variant ─► frame
//!                 └─ Portico ─► Links ─► Command::Meet ─► room ─► Notice::Description ────┘
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
use self::wire::{Ask, Fault};
use super::gateway::{Again, Call, Change, LinkEvent, LinkKey, Links, Reach, Roster, Rules, meet_directly};
use super::{Carrier, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, WireError, farewell};
use crate::room::{
    Body, Command, DialectName, Facts, Framing, Joining, MemberView, Notice, Refusal, Signal, Step, Topology, Welcome,
};
use crate::vocab::{Grant, MemberId, RequestId, RoomId, Sdp};

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

/// A newcomer's second offer is for a new connection: clients do not negotiate again.
const RULES: Rules = Rules { again: Again::Replace, outlasts: false, spares: false };
/// What is off comes this late.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Most frames, and most bytes of them, that wait for the list of peers. A client cannot address anybody before it has the list.
const MOST_EARLY: (usize, usize) = (64, 256 * 1024);

/// This dialect's row with the times of its configuration.
pub fn entry(config: &AlgoreaConfig) -> Entry {
    let time = |time: Duration| if time.is_zero() { NEVER } else { time.min(NEVER) };
    let carrier = Carrier { ping_every: time(config.ping_every), silence_limit: time(config.idle_limit), ..ENTRY.carrier };
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
    /// Its place, once it is in the room.
    place: Option<Box<Place>>,
    /// To whose clients it has sent an offer or answer.
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

/// A client in its room.
struct Place {
    own: MemberId,
    roster: Roster,
    links: Links,
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
            place: None,
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

    fn own(&self) -> MemberId {
        self.place.as_ref().expect("errors come after the list").own
    }

    fn error(&mut self, fault: Fault, action: Option<&str>, to: Option<&str>) {
        debug!(code = fault.code(), action, "frame refused");
        let request_id = uuid::Uuid::new_v4().to_string();
        self.outputs.push_back(Output::Send(wire::error(self.own(), &request_id, fault, action, to)));
    }

    /// A frame before the list: kept until the list is out, which is always the first frame to the client.
    fn wait(&mut self, frame: &str) {
        if self.early.len() >= MOST_EARLY.0 || self.early_bytes + frame.len() > MOST_EARLY.1 {
            return self.end(Output::Close { code: 1008, reason: "too many messages before the list of peers" });
        }
        self.early_bytes += frame.len();
        self.early.push_back(frame.to_owned());
    }

    fn frame(&mut self, frame: &str) {
        let Ok(request) = wire::read(frame) else {
            return self.error(Fault::BadJson, None, None);
        };
        if request.is_branch && self.learns {
            self.variant = Variant::Branch;
        }
        let (action, to) = (request.action.as_deref(), request.to.as_deref());
        match request.ask {
            Ask::Heartbeat => {}
            Ask::Unknown => self.error(Fault::UnknownAction, action, None),
            Ask::Forward(step, value) => match (value, to) {
                (Some(value), Some(to)) => {
                    if let Err(fault) = self.forward(step, value, to) {
                        self.error(fault, action, Some(to));
                    }
                }
                // the branch's server says nothing
                _ if self.variant == Variant::Branch => {}
                _ => self.error(Fault::BadPayload, action, to),
            },
        }
    }

    fn forward(&mut self, step: Step, value: &RawValue, to: &str) -> Result<(), Fault> {
        let reached = wire::read_id(to).zip(self.place.as_ref()).and_then(|(member, place)| {
            let dialect = place.roster.view(member).map(|view| view.dialect);
            Some((member, place.roster.reach(member)?, dialect))
        });
        match reached {
            Some((member, Reach::Direct, Some(dialect))) => {
                if step == Step::Offer {
                    meet_directly((DialectName::Algorea, Framing::OwnChannels), dialect).map_err(Fault::CannotMeet)?;
                }
                self.forward_to_client(step, value, member);
                Ok(())
            }
            Some((member, ..)) => self.forward_to_portico(step, value, member),
            // an end of candidates for somebody who is gone is no news to anybody
            None if step == Step::Candidate && wire::is_null(value) => Ok(()),
            None => Err(Fault::PeerNotConnected),
        }
    }

    fn forward_to_client(&mut self, step: Step, value: &RawValue, to: MemberId) {
        if step == Step::Candidate && !self.described.contains(&to) {
            if !self.held.push(to, value) {
                debug!(%to, "early candidate dropped: too many");
            }
            return;
        }
        self.tell(step, value.to_owned(), to);
        if step != Step::Candidate && self.described.insert(to) {
            for candidate in self.held.take(to) {
                self.tell(Step::Candidate, candidate, to);
            }
        }
    }

    /// Somebody for whom Portico stands: here values are read.
    fn forward_to_portico(&mut self, step: Step, value: &RawValue, to: MemberId) -> Result<(), Fault> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let (signal, key) = (signal(step, value.to_owned()), LinkKey::one(to));
        match step {
            Step::Offer => {
                let offer = signal.as_description().ok_or(Fault::BadPayload)?;
                place.links.offered(key, offer, true, Framing::OwnChannels).map_err(|_| Fault::NotForwarded)?;
            }
            Step::Answer => {
                let answer = signal.as_description().ok_or(Fault::BadPayload)?;
                if !place.links.answered(&key, answer) {
                    return Err(Fault::PeerNotConnected);
                }
            }
            // one that cannot be read is none
            Step::Candidate | Step::Other => {
                if let Some(candidate) = signal.as_candidate() {
                    place.links.candidate(&key, candidate);
                }
            }
        }
        self.settle_links();
        Ok(())
    }

    /// Asks the room for what the links want.
    fn settle_links(&mut self) {
        let Some(place) = &mut self.place else { return };
        while let Some((req, command)) = place.links.poll_command() {
            self.outputs.push_back(Output::Command(req, command));
        }
    }

    /// Sends a step into the room. It goes there as it came, `null` candidates too: to some dialects they mean something.
    fn tell(&mut self, step: Step, value: Box<RawValue>, to: MemberId) {
        let action = match step {
            Step::Offer => "forward-offer",
            Step::Answer => "forward-answer",
            Step::Candidate | Step::Other => "forward-icecandidate",
        };
        let signal = signal(step, value);
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
        let roster = Roster::new(DialectName::Algorea, welcome);
        let shown = roster.shown();
        self.outputs.push_back(Output::Send(wire::peers(self.variant, shown.iter().map(|shown| shown.member))));
        self.place = Some(Box::new(Place { own: welcome.member, roster, links: Links::new(&welcome.room, RULES) }));
        for frame in std::mem::take(&mut self.early) {
            self.frame(&frame);
        }
    }

    fn refused(&mut self, req: RequestId, why: &Refusal) {
        if self.place.is_none() {
            let code = match why {
                Refusal::RoomFull { .. } | Refusal::TooManyRooms { .. } => 1013,
                Refusal::Stopping => 1001,
                Refusal::Internal => 1011,
                _ => 1008,
            };
            debug!(code = why.code(), "join refused");
            return self.end(Output::Close { code, reason: "the room cannot be joined" });
        }
        let Some(Pending { action, to, .. }) = self.answered(req) else { return };
        self.error(fault_of(why), Some(action), Some(&wire::write_id(to)));
    }

    /// What became of a connection that ends at Portico. That it is up or down the client sees by itself.
    fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Offer { key, sdp } | LinkEvent::Answer { key, sdp } => self.describe(key.who, &sdp),
            LinkEvent::Refused { key, why, .. } => {
                self.error(fault_of(&why), Some("forward-offer"), Some(&wire::write_id(key.who)));
            }
            LinkEvent::Up { .. } | LinkEvent::Down { .. } => {}
        }
    }

    fn describe(&mut self, who: MemberId, sdp: &Sdp) {
        let signal = Signal::description(sdp, Framing::OwnChannels);
        self.outputs.extend(wire::forwarded(self.variant, signal.step, &signal.value, who).map(Output::Send));
    }

    fn changed(&mut self, change: Change) {
        match change {
            // to those who are there a newcomer sends an offer, and Portico does it for those it stands for
            Change::Came(shown) if shown.reach == Reach::Portico => {
                let call = Call { play: true, expects: Vec::new(), framing: Framing::OwnChannels, channels: Vec::new() };
                if let Some(place) = &mut self.place
                    && place.links.call(LinkKey::one(shown.member), call).is_err()
                {
                    debug!(member = %shown.member, "no connection offered: too many");
                }
            }
            Change::Came(_) => {}
            Change::Gone(member) => self.left(member),
        }
        self.settle_links();
    }

    fn left(&mut self, member: MemberId) {
        self.described.remove(&member);
        self.held.take(member);
        if let Some(place) = &mut self.place {
            place.links.stop_all(member);
        }
        if self.announce_leave && self.variant == Variant::Document {
            self.outputs.push_back(Output::Send(wire::peer_disconnected(member)));
        }
    }

    fn told(&mut self, from: &MemberView, signal: &Signal) {
        let reach = self.place.as_ref().and_then(|place| place.roster.reach(from.member));
        if reach == Some(Reach::Portico) {
            return; // what its client says is for others
        }
        let meets = || meet_directly((from.dialect, signal.framing), DialectName::Algorea).is_ok();
        // clients build a candidate of whatever they get, and a candidate of nothing throws
        if (signal.step == Step::Candidate && says_nothing(signal)) || (signal.step == Step::Offer && !meets()) {
            return;
        }
        self.outputs.extend(wire::forwarded(self.variant, signal.step, &signal.value, from.member).map(Output::Send));
    }
}

/// A step of this dialect: the value says it all.
fn signal(step: Step, value: Box<RawValue>) -> Signal {
    Signal { step, value, connection: "".into(), framing: Framing::OwnChannels, original: None }
}

fn fault_of(why: &Refusal) -> Fault {
    match why {
        Refusal::UnknownMember => Fault::PeerNotConnected,
        Refusal::BadDescription => Fault::BadPayload,
        _ => Fault::NotForwarded,
    }
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
        match self.place {
            Some(_) => self.frame(text),
            None => self.wait(text),
        }
        Ok(())
    }

    fn handle_notice(&mut self, _now: Instant, notice: &Notice) {
        if self.ended {
            return;
        }
        if let Some(place) = &mut self.place {
            let (event, changes) = (place.links.handle_notice(notice), place.roster.handle_notice(notice));
            if let Some(event) = event {
                return self.link_event(event);
            }
            changes.into_iter().for_each(|change| self.changed(change));
        }
        match notice {
            Notice::Welcome(welcome) => self.welcome(welcome),
            Notice::Done { req } => drop(self.answered(*req)),
            Notice::Refused { req, why } => self.refused(*req, why),
            Notice::Told { from, body: Body::Signal(signal) } => self.told(from, signal),
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
