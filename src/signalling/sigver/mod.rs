//! The dialect of netflux clients (MUTE): rendez-vous of a group's members by opaque bytes. `README.md` beside this file says who
//! speaks it and where it differs from the original.
//!
//! ```text
//! frame ─► wire ─► Sigver (one a connection) ─► Groups (one a mount: members, bindings) ─► Sigver ─► frame
//!                     └► room: a member from its first `connect`, in state joining or joined
//! ```
//! Pure. The session owns the heartbeat and the place in the room; the groups own everything between connections.

pub mod address;
pub mod flow;
pub mod member;
pub mod realm;
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

pub use self::address::{Address, BadKey};
pub use self::realm::Groups;

use self::member::{News, Order};
use self::realm::{Said, Word};
use self::wire::{GroupData, Kind};
use super::{
    Carrier, ChannelNews, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, RealmMessage, RealmWord, WallClock, WireError,
    close_of,
};
use crate::room::{
    Command, DialectName, Facts, Framing, GroupState, Joining, Meeting, MemberState, Notice, Refusal, SignallingState, Topology,
};
use crate::vocab::{DataMessage, Grant, MemberId, PeerId, RequestId, Rights, Sdp, SdpKind};

/// This dialect's row. Its heartbeat, not the driver's pings, tells who is alive: those limits are out of its way.
pub const ENTRY: Entry = Entry {
    name: DialectName::Sigver,
    manners: Manners { offers: Offers::Present, trickle: true, renegotiate: false, peer_per: PeerPer::Member },
    carrier: Carrier {
        path: "/sigver",
        max_message: 256 * 1024,
        ping_every: Duration::from_secs(3600),
        silence_limit: Duration::from_secs(3600),
        write_limit: Duration::from_secs(10),
        // a client may keep its connection without ever asking; its heartbeat is all it owes
        join_limit: Duration::from_secs(365 * 24 * 3600),
    },
};

/// Server and client each send one so often, and count the other's.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// The tick at which so many were missed closes the connection.
pub const MAX_MISSED: u32 = 3;
/// Messages, and bytes of content, that wait for the room's answer to the join. The client has no partner by then, so that more
/// than its `connect` is not to be expected.
const MAX_HELD: usize = 32;
const MAX_HELD_BYTES: usize = 64 * 1024;

/// Close codes of this dialect.
mod code {
    pub const KEY: u16 = 4741;
    pub const HEARTBEAT: u16 = 4742;
    pub const MESSAGE: u16 = 4743;
    pub const POLICY: u16 = 1008;
}

/// What a session of this dialect is given.
pub struct Deps {
    /// Where it belongs.
    pub address: Result<Address, BadKey>,
    /// What it may do; [`Grant::nothing`] when a token is needed and it has none.
    pub grant: Grant,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// The calendar's reading when the session is made.
    pub wall: SystemTime,
}

/// One client's session.
pub struct Sigver {
    place: Place,
    /// The next heartbeat.
    beat_at: Instant,
    /// Ticks since the client was last heard.
    missed: u32,
    /// What the room was last told of the state.
    shown: MemberState,
    company: Company,
    /// The connection between the client and Portico, as a member of the group.
    meeting: Option<Meets>,
    ended: bool,
    outputs: VecDeque<Output>,
}

/// Where the session is on its way into the room.
enum Place {
    /// It did not ask for anything yet.
    Outside(Box<Entering>),
    /// The room was asked. What the client says meanwhile is kept, in order.
    Asked { join: RequestId, address: Address, held: Vec<Said>, bytes: usize },
    /// A member of the room, known to the groups.
    Inside,
}

struct Entering {
    address: Address,
    grant: Grant,
    remote: Option<IpAddr>,
}

/// Who else is in the room.
#[derive(Default)]
struct Company {
    /// Members whose words are for the group, and the group's for them.
    others: HashSet<MemberId>,
    /// The room's topology makes Portico a member in any case.
    always: bool,
    /// What the groups were told.
    told: bool,
}

/// A connection that ends at Portico.
struct Meets {
    peer: PeerId,
    /// The request that opened it.
    req: RequestId,
}

impl Sigver {
    /// A session at its start. What is wrong with its URL is told once it is up, by a close frame.
    pub fn new(now: Instant, deps: Deps) -> Self {
        let state = MemberState { group: GroupState::Joining, signalling: SignallingState::Checking };
        let wall = WallClock::new(now, deps.wall).at(now);
        let denied = deps.grant.rights == Rights::NONE || deps.grant.expires.is_some_and(|end| end <= wall);
        let (place, fault) = match deps.address {
            Err(bad) => (Place::Inside, Some((code::KEY, bad.reason()))),
            Ok(_) if denied => (Place::Inside, Some((code::POLICY, "a token is needed here, as ?token="))),
            Ok(address) => {
                let entering = Entering { address, grant: deps.grant, remote: deps.remote };
                (Place::Outside(Box::new(entering)), None)
            }
        };
        let mut this = Self {
            place,
            beat_at: now + HEARTBEAT,
            missed: 0,
            shown: state,
            company: Company::default(),
            meeting: None,
            ended: false,
            outputs: VecDeque::new(),
        };
        if let Some((code, reason)) = fault {
            this.close(code, reason);
        }
        this
    }

    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        self.ended = true;
        self.push(Output::Close { code, reason });
    }

    fn tell_groups(&mut self, said: Said) {
        self.push(Output::Realm(RealmMessage::Sigver(said)));
    }

    /// The client asks whether it is a member. The first time, it becomes one of the room.
    fn connect(&mut self, seen: GroupData) {
        let Place::Outside(entering) = &mut self.place else { return self.say(Said::Connect(seen)) };
        let join = RequestId::next();
        let address = entering.address.clone();
        let joining = Joining {
            room: address.room(),
            user_id: seen.id.to_string(),
            dialect: DialectName::Sigver,
            remote: entering.remote,
            grant: std::mem::replace(&mut entering.grant, Grant::nothing()),
            visible: true,
            facts: Facts { state: Some(self.shown), ..Facts::default() },
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.place = Place::Asked { join, address, held: vec![Said::Connect(seen)], bytes: 0 };
        self.push(Output::Command(join, Command::Join(Box::new(joining))));
    }

    /// Hands the groups what the client said, now or when the room has answered.
    fn say(&mut self, said: Said) {
        match &mut self.place {
            // content of one that never asked has nowhere to go
            Place::Outside(_) => {}
            Place::Asked { held, bytes, .. } => {
                *bytes += if let Said::Content { data, .. } = &said { data.len() } else { 0 };
                if held.len() >= MAX_HELD || *bytes > MAX_HELD_BYTES {
                    return self.close(code::POLICY, "too many messages");
                }
                held.push(said);
            }
            Place::Inside => self.tell_groups(said),
        }
    }

    fn entered(&mut self) {
        let Place::Asked { address, held, .. } = std::mem::replace(&mut self.place, Place::Inside) else { return };
        self.tell_groups(Said::Enter { key: address.group(), favored: address.favored });
        for said in held {
            self.tell_groups(said);
        }
    }

    /// Shows the room how far the client is.
    fn show(&mut self, state: MemberState) {
        if self.shown != state {
            self.shown = state;
            let facts = Facts { state: Some(state), ..Facts::default() };
            self.push(Output::Command(RequestId::next(), Command::Show { facts }));
        }
    }

    /// Tells the groups whether the room holds others than netflux clients.
    fn show_company(&mut self) {
        let there = self.company.always || !self.company.others.is_empty();
        if std::mem::replace(&mut self.company.told, there) != there {
            self.tell_groups(Said::Company(there));
        }
    }

    /// The session has the connection between its client and Portico, the member of the group.
    fn do_for_portico(&mut self, order: Order) {
        let command = match (order, &self.meeting) {
            (Order::Meet(offer), None) => {
                let (peer, req) = (PeerId::next(), RequestId::next());
                self.meeting = Some(Meets { peer, req });
                let meeting = Meeting {
                    peer,
                    with: None,
                    offer: Some(Sdp::offer(offer)),
                    publish: None,
                    play: false,
                    named: None,
                    expects: Vec::new(),
                    outlasts: false,
                    framing: Framing::Own,
                    channels: Vec::new(),
                    broker: None,
                    pair: None,
                };
                return self.push(Output::Command(req, Command::Meet(Box::new(meeting))));
            }
            (Order::Candidate(candidate), Some(meeting)) => Command::Candidate { peer: meeting.peer, candidate },
            (Order::Send(bytes), Some(meeting)) => Command::Transmit { peer: meeting.peer, message: DataMessage::Binary(bytes) },
            (Order::HangUp, Some(meeting)) => {
                let peer = meeting.peer;
                self.meeting = None;
                Command::Stop { peer }
            }
            (Order::Meet(_) | Order::Candidate(_) | Order::Send(_) | Order::HangUp, _) => return,
        };
        self.push(Output::Command(RequestId::next(), command));
    }

    fn meets(&self, peer: PeerId) -> bool {
        self.meeting.as_ref().is_some_and(|meeting| meeting.peer == peer)
    }

    fn meeting_over(&mut self) {
        self.meeting = None;
        self.tell_groups(Said::News(News::Down));
    }

    fn tick(&mut self, now: Instant) {
        self.beat_at += HEARTBEAT;
        if self.beat_at <= now {
            // writing took longer than a period: what the client sent meanwhile is still to be read
            self.beat_at = now + HEARTBEAT;
        }
        self.missed += 1;
        if self.missed >= MAX_MISSED {
            return self.close(code::HEARTBEAT, "too many missed heartbeats");
        }
        self.push(Output::SendBinary(Bytes::from_static(&[0x08, 0x01])));
    }
}

impl Dialect for Sigver {
    fn handle_frame(&mut self, _now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        if self.ended {
            return Ok(());
        }
        let Frame::Binary(bytes) = frame else {
            self.close(code::MESSAGE, "Wrong data type");
            return Ok(());
        };
        let kind = match wire::decode(bytes) {
            Ok(kind) => kind,
            Err(malformed) => {
                self.close(code::MESSAGE, malformed.reason());
                return Ok(());
            }
        };
        self.missed = 0;
        match kind {
            Kind::Heartbeat(_) | Kind::Connected(_) => {}
            Kind::Connect(seen) => self.connect(seen),
            Kind::Content(content) => self.say(Said::Content {
                recipient: content.recipient_id.unwrap_or_default(),
                last: content.last_data.unwrap_or_default(),
                data: content.data.unwrap_or_default(),
            }),
        }
        Ok(())
    }

    fn handle_notice(&mut self, _now: Instant, notice: &Notice) {
        if self.ended {
            return;
        }
        match notice {
            Notice::Welcome(welcome) => {
                self.entered();
                let others = welcome.others.iter().filter(|other| speaks_to_groups(other.dialect));
                self.company.others = others.map(|other| other.member).collect();
                self.company.always = welcome.topology != Topology::Mesh;
                self.show_company();
            }
            Notice::MemberJoined { member, .. } if speaks_to_groups(member.dialect) => {
                self.company.others.insert(member.member);
                self.show_company();
            }
            Notice::MemberLeft { member, .. } => {
                self.company.others.remove(member);
                self.show_company();
            }
            // netflux clients hear each other without the room
            Notice::Said { from, text } if from.dialect != DialectName::Sigver => {
                if matches!(self.place, Place::Inside) {
                    self.tell_groups(Said::Text(text.clone()));
                }
            }
            Notice::Description { peer, sdp } if self.meets(*peer) && sdp.kind == SdpKind::Answer => {
                self.tell_groups(Said::News(News::Answer(sdp.text.clone())));
            }
            Notice::PeerDown { peer, .. } if self.meets(*peer) => self.meeting_over(),
            Notice::Refused { req, .. } if self.meeting.as_ref().is_some_and(|meeting| meeting.req == *req) => {
                self.meeting_over()
            }
            Notice::Refused { req, why } => {
                if matches!(self.place, Place::Asked { join, .. } if join == *req) {
                    self.close(code::POLICY, refusal(why));
                }
            }
            Notice::Ended { reason } => {
                let (code, reason) = close_of(*reason);
                self.close(code, reason);
            }
            _ => {}
        }
    }

    fn handle_realm(&mut self, _now: Instant, word: RealmWord) {
        #[allow(irrefutable_let_patterns)] // as long as no other dialect keeps a realm
        let RealmWord::Sigver(word) = word else { return };
        if self.ended {
            return;
        }
        match word {
            Word::Connected(member) => {
                self.push(Output::SendBinary(wire::encode(Kind::Connected(member))));
                let group = if member { GroupState::Joined } else { GroupState::Joining };
                self.show(MemberState { group, signalling: SignallingState::Checked });
            }
            Word::Content(it) => {
                let frame = wire::content(it.sender, it.recipient, it.data.as_deref());
                self.push(Output::SendBinary(it.share.held_by(frame)));
            }
            Word::Close(verdict) => {
                let (code, reason) = verdict.close();
                self.close(code, reason);
            }
            Word::Order(errand) => self.do_for_portico(errand.order),
            Word::Said(text) => {
                let say = Command::Say { to: None, text: text.into() };
                self.push(Output::Command(RequestId::next(), say));
            }
        }
    }

    fn handle_channel(&mut self, _now: Instant, peer: PeerId, news: ChannelNews) {
        if self.ended || self.meeting.as_ref().is_none_or(|meeting| meeting.peer != peer) {
            return;
        }
        match news {
            ChannelNews::Open { .. } | ChannelNews::Message(DataMessage::Text(_)) => {}
            ChannelNews::Message(DataMessage::Binary(bytes)) => self.tell_groups(Said::News(News::Message(bytes))),
            ChannelNews::Closed => {
                self.push(Output::Command(RequestId::next(), Command::Stop { peer }));
                self.meeting_over();
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.ended && self.beat_at <= now {
            self.tick(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        (!self.ended).then_some(self.beat_at)
    }
}

/// Whether clients of a dialect exchange text with others.
fn speaks_to_groups(dialect: DialectName) -> bool {
    use DialectName::{Algorea, Bridge, Page, Peerjs, Rtsp, Sigver, SocketIo, Source, Star, Tribe, Vamp, Whep, Whip};
    match dialect {
        Algorea | Page | Peerjs | Tribe | Vamp => true,
        Bridge | DialectName::Mix | Rtsp | Sigver | SocketIo | Source | Star | Whep | Whip => false,
    }
}

/// Why the room does not let somebody in, for a close frame.
fn refusal(why: &Refusal) -> &'static str {
    match why {
        Refusal::RoomFull { .. } => "the room is full",
        Refusal::TooManyRooms { .. } => "there are too many rooms",
        Refusal::UnknownRoom(_) => "there is no such room",
        Refusal::Forbidden { .. } => "not allowed in this room",
        Refusal::Topology { .. } => "the room does not carry this",
        Refusal::Stopping => "the gateway is stopping",
        _ => "the room does not let this client in",
    }
}
