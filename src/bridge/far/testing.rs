//! A room and a far side that do as they are told, for the tests of machines in simulated time. They check what holds for every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{Guest, MAX_MEMBERS, Machine, OWN, Output};
use crate::bridge::retry::Pace;
use crate::bridge::status::StateWord;
use crate::bridge::whip::verdict::Fault;
use crate::room::{Command, DialectName, EndReason, Facts, Joining, MemberView, Notice, Refusal, StreamView, Topology, Welcome};
use crate::vocab::{MemberId, PeerId, RequestId, Sdp, SdpKind, StreamName};

pub(in crate::bridge) const SECOND: Duration = Duration::from_secs(1);

/// One session.
pub(in crate::bridge) struct Seat {
    pub(in crate::bridge) joining: Box<Joining>,
    /// The join's number, until it is answered.
    req: Option<RequestId>,
    inside: bool,
}

/// One connection.
pub(in crate::bridge) struct Wire {
    guest: Guest,
    req: RequestId,
    /// Portico offers.
    offers: bool,
    described: bool,
    up: bool,
}

pub(in crate::bridge) struct World<M> {
    pub(in crate::bridge) machine: M,
    pub(in crate::bridge) now: Instant,
    pub(in crate::bridge) seats: BTreeMap<Guest, Seat>,
    pub(in crate::bridge) wires: BTreeMap<PeerId, Wire>,
    dialling: bool,
    pub(in crate::bridge) linked: bool,
    pub(in crate::bridge) dials: Vec<Instant>,
    /// Sent to the far side and not looked at yet.
    pub(in crate::bridge) sent: Vec<String>,
    /// Said in the room.
    pub(in crate::bridge) said: Vec<(Guest, String)>,
    /// Everything else that was asked.
    pub(in crate::bridge) asked: Vec<(Guest, Command)>,
}

pub(in crate::bridge) fn lost() -> Fault {
    Fault::new("lost", "the connection was lost", Pace::Usual)
}

pub(in crate::bridge) fn somebody(name: &str, dialect: DialectName) -> MemberView {
    let facts = Facts { name: Some(name.into()), ..Facts::default() };
    MemberView { member: MemberId::random(), user_id: name.into(), dialect, facts, streams: Vec::new() }
}

impl<M: Machine> World<M> {
    pub(in crate::bridge) fn new(make: impl FnOnce(Instant) -> M) -> Self {
        let now = Instant::now();
        let mut world = Self {
            machine: make(now),
            now,
            seats: BTreeMap::new(),
            wires: BTreeMap::new(),
            dialling: false,
            linked: false,
            dials: Vec::new(),
            sent: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
        };
        world.drain();
        world
    }

    pub(in crate::bridge) fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Enter(guest, req, joining) => {
                    assert_eq!(joining.dialect, DialectName::Bridge);
                    assert!(guest == OWN || self.seats.contains_key(&OWN), "members before the bridge");
                    let before = self.seats.insert(guest, Seat { joining, req: Some(req), inside: false });
                    assert!(before.is_none(), "{guest:?} enters twice");
                    assert!(self.seats.len() <= MAX_MEMBERS + 1);
                }
                Output::Ask(guest, req, command) => self.command(guest, req, *command),
                Output::Release(guest) => {
                    self.seats.remove(&guest);
                    self.wires.retain(|_, wire| wire.guest != guest);
                }
                Output::Dial => {
                    assert!(!self.dialling && !self.linked, "one websocket at a time");
                    assert!(self.seats.get(&OWN).is_some_and(|seat| seat.inside), "the far side is joined from inside");
                    if let Some(last) = self.dials.last() {
                        assert!(self.now - *last >= SECOND / 2, "the far side is hammered");
                    }
                    self.dials.push(self.now);
                    self.dialling = true;
                }
                Output::Send(text) => {
                    assert!(self.linked, "nobody hears {text}");
                    self.sent.push(text);
                }
                Output::HangUp => (self.dialling, self.linked) = (false, false),
            }
        }
        let company = self.machine.company();
        assert!(company.peers.iter().eq(self.wires.keys()), "connections that there are not, or that nobody has");
        assert!(company.members <= MAX_MEMBERS);
    }

    fn command(&mut self, guest: Guest, req: RequestId, command: Command) {
        let mut open = |peer: PeerId, of, offers| {
            assert!(self.seats.get(&guest).is_some_and(|seat| seat.inside), "{of} from outside");
            let before = self.wires.insert(peer, Wire { guest, req, offers, described: false, up: false });
            assert!(before.is_none());
        };
        match command {
            Command::Publish { peer, offer, .. } => open(peer, "publish", offer.is_none()),
            Command::Play { peer, offer, .. } => open(peer, "play", offer.is_none()),
            Command::Meet(meeting) => {
                open(meeting.peer, if meeting.channels.is_empty() { "met" } else { "meet" }, meeting.offer.is_none());
            }
            Command::Describe { peer, .. } => {
                if let Some(wire) = self.wires.get_mut(&peer) {
                    assert_eq!(wire.guest, guest);
                    wire.req = req;
                }
            }
            Command::Stop { peer } => drop(self.wires.remove(&peer)),
            Command::Leave => {
                self.seats.remove(&guest);
                self.wires.retain(|_, wire| wire.guest != guest);
            }
            Command::Say { text, .. } => self.said.push((guest, text)),
            other => self.asked.push((guest, other)),
        }
    }

    pub(in crate::bridge) fn notice(&mut self, guest: Guest, notice: &Notice) {
        self.machine.handle_notice(self.now, guest, notice);
        self.drain();
    }

    pub(in crate::bridge) fn welcome(&mut self, guest: Guest) {
        let Some(seat) = self.seats.get_mut(&guest) else { return };
        let Some(req) = seat.req.take() else { return };
        seat.inside = true;
        let room = seat.joining.room.clone();
        let welcome = Welcome { req, member: MemberId::random(), room, topology: Topology::Sfu, size: 1, others: Vec::new() };
        self.notice(guest, &Notice::Welcome(Box::new(welcome)));
    }

    pub(in crate::bridge) fn welcome_all(&mut self) {
        for guest in self.seats.keys().copied().collect::<Vec<_>>() {
            self.welcome(guest);
        }
    }

    pub(in crate::bridge) fn shut_out(&mut self, guest: Guest) {
        let Some(req) = self.seats.get_mut(&guest).and_then(|seat| seat.req.take()) else { return };
        let limit = 4;
        let why = Refusal::TooManyRooms { limit };
        self.notice(guest, &Notice::Refused { req, why });
    }

    pub(in crate::bridge) fn ended(&mut self, guest: Guest, reason: EndReason) {
        if self.seats.get(&guest).is_some_and(|seat| seat.inside) {
            self.wires.retain(|_, wire| wire.guest != guest);
            self.seats.remove(&guest);
            // the place is gone for the room; the machine hears of it in a moment, and may speak to it until then
            self.machine.handle_notice(self.now, guest, &Notice::Ended { reason });
            self.drain();
        }
    }

    pub(in crate::bridge) fn gone(&mut self, guest: Guest) {
        if self.seats.remove(&guest).is_some() {
            self.wires.retain(|_, wire| wire.guest != guest);
            self.machine.handle_gone(self.now, guest);
            self.drain();
        }
    }

    pub(in crate::bridge) fn dialled(&mut self, outcome: Result<Option<&str>, Fault>) {
        if std::mem::take(&mut self.dialling) {
            self.linked = outcome.is_ok();
            let outcome = outcome.map(|token| token.map(|token| Zeroizing::new(token.to_owned())));
            self.machine.handle_dialled(self.now, outcome);
            self.drain();
        }
    }

    pub(in crate::bridge) fn hear(&mut self, text: &str) {
        if self.linked {
            self.machine.handle_text(self.now, text);
            self.drain();
        }
    }

    pub(in crate::bridge) fn close(&mut self, fault: Fault) {
        if std::mem::take(&mut self.linked) {
            self.machine.handle_closed(self.now, fault);
            self.drain();
        }
    }

    /// Portico's description of every connection that has none yet.
    pub(in crate::bridge) fn describe_all(&mut self) {
        let open: Vec<(PeerId, Guest, bool)> =
            self.wires.iter().filter(|(_, wire)| !wire.described).map(|(peer, wire)| (*peer, wire.guest, wire.offers)).collect();
        for (peer, guest, offers) in open {
            if let Some(wire) = self.wires.get_mut(&peer) {
                wire.described = true;
                let kind = if offers { SdpKind::Offer } else { SdpKind::Answer };
                self.notice(guest, &Notice::Description { peer, sdp: Sdp { kind, text: OFFER.into() } });
            }
        }
    }

    pub(in crate::bridge) fn up_all(&mut self) {
        let open: Vec<(PeerId, Guest)> =
            self.wires.iter().filter(|(_, wire)| wire.described && !wire.up).map(|(peer, wire)| (*peer, wire.guest)).collect();
        for (peer, guest) in open {
            if let Some(wire) = self.wires.get_mut(&peer) {
                wire.up = true;
                self.notice(guest, &Notice::PeerUp { peer });
            }
        }
    }

    /// The end of the connection with that place in the list; before its first description it is a refusal.
    pub(in crate::bridge) fn down(&mut self, at: usize, reason: EndReason) {
        let Some(peer) = self.wires.keys().nth(at % self.wires.len().max(1)).copied() else { return };
        let Some(wire) = self.wires.remove(&peer) else { return };
        let notice = match wire.described {
            true => Notice::PeerDown { peer, reason },
            false => Notice::Refused { req: wire.req, why: Refusal::UnknownStream },
        };
        self.notice(wire.guest, &notice);
    }

    pub(in crate::bridge) fn stream_up(&mut self) {
        let stream = StreamView { name: StreamName::new("cam").unwrap(), tracks: Vec::new(), kinds: Vec::new() };
        if self.seats.get(&OWN).is_some_and(|seat| seat.inside) {
            self.notice(OWN, &Notice::StreamUp { member: MemberId::random(), stream });
        }
    }

    /// Somebody says something to all.
    pub(in crate::bridge) fn say(&mut self, from: &MemberView, text: &str) {
        let inside: Vec<Guest> = self.seats.iter().filter(|(_, seat)| seat.inside).map(|(guest, _)| *guest).collect();
        for guest in inside {
            self.notice(guest, &Notice::Said { from: from.clone(), text: text.into() });
        }
    }

    pub(in crate::bridge) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.machine.next_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.machine.handle_timeout(self.now);
            self.drain();
            turns += 1;
            assert!(turns < 100_000, "a timeout that never passes");
        }
        self.now = end;
    }

    pub(in crate::bridge) fn code(&self) -> Option<&'static str> {
        self.machine.standing().reason.map(|reason| reason.code)
    }

    pub(in crate::bridge) fn state(&self) -> StateWord {
        self.machine.standing().state
    }

    pub(in crate::bridge) fn names(&self) -> BTreeSet<String> {
        let others = self.seats.iter().filter(|(guest, _)| **guest != OWN);
        others.map(|(_, seat)| seat.joining.facts.name.clone().unwrap_or_default()).collect()
    }

    /// What was sent since it was looked at last.
    pub(in crate::bridge) fn take_sent(&mut self) -> Vec<serde_json::Value> {
        self.sent.drain(..).map(|text| serde_json::from_str(&text).expect("JSON")).collect()
    }

    /// Stops it, and sees that nothing is left.
    pub(in crate::bridge) fn stop(&mut self) {
        self.machine.stop();
        self.drain();
        assert!(self.machine.is_over() && self.seats.is_empty() && self.wires.is_empty());
        assert!(!self.linked && !self.dialling && self.machine.next_timeout().is_none());
        assert_eq!(self.machine.standing().attempts as usize, self.dials.len());
    }
}

/// A description that can be one.
pub(in crate::bridge) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nm=audio 9 X 111\r\na=sendrecv\r\n";

/// What a room and a carrier can do to a machine of any kind.
#[derive(Clone, Debug)]
pub(in crate::bridge) enum Step {
    Welcome,
    ShutOut(u8),
    Ended(u8, bool),
    Gone(u8),
    Dialled,
    Unreachable,
    Closed,
    Describe,
    Up,
    Down(u8, u8),
    StreamUp,
    Said,
    Pass(u16),
    /// A frame of the far side: what and who.
    Hear(u8, u8),
}

pub(in crate::bridge) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Welcome),
        1 => any::<u8>().prop_map(Step::ShutOut),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(who, evicted)| Step::Ended(who, evicted)),
        1 => any::<u8>().prop_map(Step::Gone),
        4 => Just(Step::Dialled),
        1 => Just(Step::Unreachable),
        1 => Just(Step::Closed),
        3 => Just(Step::Describe),
        2 => Just(Step::Up),
        2 => any::<(u8, u8)>().prop_map(|(which, why)| Step::Down(which, why)),
        1 => Just(Step::StreamUp),
        1 => Just(Step::Said),
        3 => any::<u16>().prop_map(Step::Pass),
        12 => (any::<u8>(), 0u8..6).prop_map(|(what, who)| Step::Hear(what, who)),
    ];
    proptest::collection::vec(step, 0..150)
}

impl<M: Machine> World<M> {
    pub(in crate::bridge) fn step(&mut self, step: Step, frame: impl Fn(u8, u8) -> String) {
        let nth = |seats: &BTreeMap<Guest, Seat>, which: u8| seats.keys().nth(usize::from(which) % seats.len().max(1)).copied();
        match step {
            Step::Welcome => self.welcome_all(),
            Step::ShutOut(which) => {
                if let Some(guest) = nth(&self.seats, which) {
                    self.shut_out(guest);
                }
            }
            Step::Ended(which, evicted) => {
                if let Some(guest) = nth(&self.seats, which) {
                    self.ended(guest, if evicted { EndReason::Evicted } else { EndReason::Internal });
                }
            }
            Step::Gone(which) => {
                if let Some(guest) = nth(&self.seats, which) {
                    self.gone(guest);
                }
            }
            Step::Dialled => self.dialled(Ok(None)),
            Step::Unreachable => self.dialled(Err(lost())),
            Step::Closed => self.close(lost()),
            Step::Describe => self.describe_all(),
            Step::Up => self.up_all(),
            Step::Down(which, why) => {
                let reasons = [EndReason::Lost, EndReason::Left, EndReason::StreamEnded, EndReason::NeverConnected];
                self.down(usize::from(which), reasons[usize::from(why) % reasons.len()]);
            }
            Step::StreamUp => self.stream_up(),
            Step::Said => self.say(&somebody("ann", DialectName::Page), "good day"),
            Step::Pass(millis) => self.pass(Duration::from_millis(millis.into())),
            Step::Hear(what, who) => self.hear(&frame(what, who)),
        }
    }
}
