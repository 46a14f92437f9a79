//! The state of all rooms, its entry points, and who is told what.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Instant, SystemTime};

use super::command::{Body, Command, DialectName, Facts};
use super::config::{RoomConfig, RoomsConfig, Topology};
use super::effect::{Effect, EndReason, Report};
use super::member::{Link, Member, Peer, Seat};
use super::notice::{MemberView, Notice, Refusal};
use super::signal::Step;
use super::sources::Source;
use super::view::{Counts, RoomMember, RoomView, SeatView};
use crate::vocab::{MemberId, NumberMap, PeerId, RequestId, Right, RoomId, SessionId, SourceName};

/// All rooms of this gateway and everybody in them.
///
/// After every call that takes `&mut self` (but `poll_effect`), drain [`poll_effect`](Self::poll_effect) to `None`, then ask
/// [`next_timeout`](Self::next_timeout) again. Time never goes backwards from call to call; deadlines that have passed by `now`
/// are dealt with before anything else, so that a late `handle_timeout` decides nothing differently.
///
/// A session is known from [`open_session`](Self::open_session) to its one [`Effect::EndSession`]; what an unknown session asks
/// is ignored. A peer is known from its [`Effect::OpenPeer`] to its [`Effect::ClosePeer`] or `PeerUpdate::Down`, whichever comes
/// first; news of an unknown peer is ignored.
#[derive(Debug)]
pub struct Rooms {
    pub(super) config: RoomsConfig,
    pub(super) listed: BTreeMap<RoomId, RoomConfig>,
    pub(super) rooms: BTreeMap<RoomId, Room>,
    /// Opened sessions and the place each has.
    pub(super) sessions: NumberMap<SessionId, Option<MemberId>>,
    pub(super) members: HashMap<MemberId, Member>,
    pub(super) peers: NumberMap<PeerId, Peer>,
    pub(super) sources: BTreeMap<SourceName, Source>,
    pub(super) timers: BTreeSet<(Instant, MemberId, Timer)>,
    /// Drained by the caller after every call, so that it holds at most what one call causes.
    pub(super) effects: VecDeque<Effect>,
    /// The same moment on both clocks.
    pub(super) clock: Option<(Instant, SystemTime)>,
    pub(super) stopped: bool,
}

/// A room that is open now.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// What it was opened with; config's word for a listed room goes before.
    pub topology: Topology,
    /// In order of joining.
    pub members: Vec<MemberId>,
}

/// What a member waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The end of a lost member's grace.
    Grace,
    /// The end of its grant.
    Expiry,
}

impl Rooms {
    /// The listed rooms, empty. They are open from now on and reported so.
    pub fn new(config: RoomsConfig, rooms: Vec<RoomConfig>) -> Self {
        let mut this = Self {
            config: config.clone(),
            listed: BTreeMap::new(),
            rooms: BTreeMap::new(),
            sessions: NumberMap::default(),
            members: HashMap::new(),
            peers: NumberMap::default(),
            sources: BTreeMap::new(),
            timers: BTreeSet::new(),
            effects: VecDeque::new(),
            clock: None,
            stopped: false,
        };
        this.list(config, rooms);
        this
    }

    /// Takes over a new configuration. Limits, topology and grace hold for what is asked from now on; members, streams and
    /// peers stay as they are. A room that is no longer listed ends with its last member, one that is newly listed is opened.
    pub fn configure(&mut self, now: Instant, config: RoomsConfig, rooms: Vec<RoomConfig>) {
        self.handle_timeout(now);
        if !self.stopped {
            self.list(config, rooms);
        }
    }

    /// Tells the time of day, so that members whose grant has an end are ended then ([`EndReason::Expired`]). To be told at start
    /// and whenever the two clocks may have come apart (hourly is enough, and after the system time was set). Until it is
    /// told, no grant ends a place.
    pub fn set_wall_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = Some((now, wall));
        self.timers.retain(|(_, _, timer)| *timer != Timer::Expiry);
        for member in self.members.values_mut() {
            member.expires = expiry(self.clock, member.grant.expires);
            self.timers.extend(member.expires.map(|at| (at, member.id, Timer::Expiry)));
        }
        self.handle_timeout(now);
    }

    /// Makes a session known. Opening it twice changes nothing. After [`stop`](Self::stop) it is told that it ended.
    pub fn open_session(&mut self, now: Instant, session: SessionId) {
        self.handle_timeout(now);
        self.sessions.entry(session).or_default();
        if self.stopped {
            self.end_session(session, EndReason::Stopping);
        }
    }

    /// A session's request. What it causes, refusals included, comes out of [`poll_effect`](Self::poll_effect).
    pub fn handle(&mut self, now: Instant, from: SessionId, req: RequestId, cmd: Command) {
        self.handle_timeout(now);
        let Some(&place) = self.sessions.get(&from) else { return };
        let outcome = match (cmd, place) {
            (Command::Join(joining), None) => self.join(from, req, *joining),
            (Command::Resume { key }, None) => self.resume(from, req, key),
            (Command::Join(_) | Command::Resume { .. }, Some(member)) => Err(Refusal::AlreadyJoined(self.room_of(member))),
            (Command::Leave, _) => {
                self.leave(from, EndReason::Left);
                Ok(())
            }
            (Command::Lost, _) => {
                self.lose(now, from);
                Ok(())
            }
            (cmd, Some(member)) => self.handle_member(from, member, req, cmd),
            (_, None) => Err(Refusal::NotJoined),
        };
        if let Err(why) = outcome {
            self.effects.push_back(Effect::Notify(from, Notice::Refused { req, why }));
        }
    }

    /// Ends a member's place on an operator's word. False when the room has no such member, or when it is a source: sources
    /// come and go with the configuration.
    pub fn evict(&mut self, now: Instant, room: &RoomId, member: MemberId) -> bool {
        self.handle_timeout(now);
        let found = self.members.get(&member).is_some_and(|m| m.room == *room && !matches!(m.seat, Seat::Nobody));
        if found {
            self.end_place(member, EndReason::Evicted);
        }
        found
    }

    /// Ends everything: each session is told `Ended` and ended, each peer closed, each room closed. What comes later is refused
    /// or ignored.
    pub fn stop(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.stopped = true;
        // sessions first, so that none is told of the others' end
        let mut sessions: Vec<_> = self.sessions.keys().copied().collect();
        sessions.sort_unstable();
        for session in sessions {
            if let Some(Some(member)) = self.sessions.get(&session)
                && let Some(member) = self.members.get_mut(member)
            {
                member.seat = Seat::Nobody;
            }
            self.end_session(session, EndReason::Stopping);
        }
        self.listed.clear();
        self.sources.clear();
        while let Some((room, open)) = self.rooms.first_key_value() {
            match open.members.first() {
                Some(&member) => self.end_place(member, EndReason::Stopping),
                None => {
                    let room = room.clone();
                    self.close_if_empty(&room);
                }
            }
        }
    }

    /// Deals with every deadline up to `now`: lost members whose grace is over, grants that ended.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, member, timer)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.end_place(
                member,
                match timer {
                    Timer::Grace => EndReason::Lost,
                    Timer::Expiry => EndReason::Expired,
                },
            );
        }
    }

    /// The next thing to do, in the order it must be done.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` when nothing is waited for.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, ..)| *at)
    }

    /// All open rooms by name, with all members.
    pub fn rooms(&self) -> Vec<RoomView> {
        self.rooms
            .iter()
            .map(|(name, room)| RoomView {
                room: name.clone(),
                topology: self.topology(name),
                max_members: self.room_limit(name),
                members: self
                    .members_of(room)
                    .map(|member| RoomMember {
                        view: member.view(),
                        visible: member.visible,
                        lost: member.is_lost(),
                        peers: member.peers.iter().copied().collect(),
                    })
                    .collect(),
            })
            .collect()
    }

    /// Whose a living peer is. The session of a lost member is the one it had last.
    pub fn owner_of(&self, peer: PeerId) -> Option<(RoomId, MemberId, SessionId)> {
        let member = self.members.get(&self.peers.get(&peer)?.member)?;
        match member.seat {
            Seat::Session(session) | Seat::Lost { last: session, .. } => Some((member.room.clone(), member.id, session)),
            Seat::Nobody => None,
        }
    }

    /// What a member may do.
    pub fn seat_of(&self, member: MemberId) -> Option<SeatView> {
        let member = self.members.get(&member)?;
        Some(SeatView {
            room: member.room.clone(),
            topology: self.topology(&member.room),
            dialect: member.dialect,
            bridged: member.dialect == DialectName::Bridge && !member.is_link(),
            speaks: member.visible && member.may(Right::Publish),
            hears: member.hears_of_others(),
        })
    }

    /// How many there are of everything.
    pub fn count(&self) -> Counts {
        let mut counts =
            Counts { rooms: self.rooms.len(), peers: self.peers.len(), sessions: self.sessions.len(), ..Counts::default() };
        for member in self.members.values() {
            *counts.members.entry(member.dialect).or_default() += 1;
            counts.streams += member.streams.iter().filter(|stream| stream.up).count();
        }
        counts
    }

    /// What only a member may ask.
    fn handle_member(&mut self, session: SessionId, member: MemberId, req: RequestId, cmd: Command) -> Result<(), Refusal> {
        match cmd {
            Command::Publish { peer, stream, offer } => self.publish(session, member, req, peer, stream, offer, None),
            Command::Play { peer, of, offer } => self.play(session, member, req, peer, of, offer, None),
            Command::Trunk { peer, offer } => self.open_trunk(session, member, req, peer, offer),
            Command::SendLane { peer, trunk, of } => self.send_lane(session, member, req, peer, trunk, of),
            Command::TakeLane { peer, trunk, stream, tracks } => {
                self.take_lane(session, member, req, stream, peer, trunk, tracks)
            }
            Command::Meet(meeting) => self.meet(session, member, req, *meeting),
            Command::Describe { peer, sdp } => self.describe(member, req, peer, sdp),
            Command::Candidate { peer, candidate } => {
                self.own_peer(member, peer)?;
                self.effects.push_back(Effect::AddCandidate { peer, candidate });
                Ok(())
            }
            Command::Stop { peer } => {
                self.own_peer(member, peer)?;
                self.stop_peer(peer);
                Ok(())
            }
            Command::Depart => {
                self.depart(session, member);
                self.effects.push_back(Effect::Notify(session, Notice::Done { req }));
                Ok(())
            }
            Command::Tell { to, body } => self.tell_one(session, member, req, to, body),
            Command::Transmit { peer, message } => {
                self.own_peer(member, peer)?;
                self.effects.push_back(Effect::Transmit { peer, message });
                Ok(())
            }
            Command::Say { to, text } => self.say(session, member, req, to, text),
            Command::Show { facts } => {
                self.show(member, facts);
                self.effects.push_back(Effect::Notify(session, Notice::Done { req }));
                Ok(())
            }
            Command::Remark { remark } => {
                let room = self.member(member).room.clone();
                self.report(Report::Remark { room, member, remark });
                Ok(())
            }
            // dealt with before; a place does not change the answer
            Command::Join(_) | Command::Resume { .. } | Command::Leave | Command::Lost => Ok(()),
        }
    }

    /// Carries a message to one other visible member. Text needs `Right::Publish`; descriptions and candidates of a direct
    /// connection are for every member, because a viewer must answer. A lost addressee hears it when it is back. A source
    /// takes everything and hears nothing. A member that is not seen itself sees nobody to tell something to.
    fn tell_one(&mut self, session: SessionId, from: MemberId, req: RequestId, to: MemberId, body: Body) -> Result<(), Refusal> {
        let sender = self.member(from);
        if matches!(body, Body::Json(_)) && !sender.may(Right::Publish) {
            return Err(Refusal::Forbidden { room: sender.room.clone(), right: Right::Publish });
        }
        let addressee = self.members.get(&to).filter(|m| m.id != from && m.visible && m.room == sender.room);
        if !sender.visible || addressee.is_none() {
            return Err(Refusal::UnknownMember);
        }
        if let Some(addressee) = addressee
            && matches!(&body, Body::Signal(signal) if signal.step == Step::Offer)
        {
            self.may_offer(sender, addressee)?;
        }
        let from = self.seen(from);
        self.tell(to, Notice::Told { from, body });
        self.effects.push_back(Effect::Notify(session, Notice::Done { req }));
        Ok(())
    }

    /// A direct connection, in a `mesh` room. A member that one of the two plays by Portico has its connection with the other already,
    /// and clients that play so (tribe's) know one for each member.
    fn may_offer(&self, from: &Member, to: &Member) -> Result<(), Refusal> {
        let topology = self.topology(&from.room);
        let plays = |viewer: &Member, owner: &Member| {
            let links = viewer.peers.iter().filter_map(|peer| self.peers.get(peer)).map(|peer| &peer.link);
            links.into_iter().any(|link| matches!(link, Link::Play(of, _) if *of == owner.id))
        };
        if topology == Topology::Mesh && (plays(from, to) || plays(to, from)) {
            return Err(Refusal::Topology { room: from.room.clone(), topology: topology.as_str() });
        }
        Ok(())
    }

    fn show(&mut self, member: MemberId, facts: Facts) {
        let Some(shown) = self.members.get_mut(&member) else { return };
        shown.facts.update(facts);
        let (room, visible) = (shown.room.clone(), shown.visible);
        let view = self.seen(member);
        if visible {
            self.tell_others(member, Notice::MemberChanged { member: view });
        }
        self.remix(&room);
    }

    // ---- who is told ----

    /// Tells a member something: its session, or later, when it is lost.
    pub(super) fn tell(&mut self, member: MemberId, notice: Notice) {
        match self.members.get_mut(&member).map(|member| &mut member.seat) {
            Some(Seat::Session(session)) => self.effects.push_back(Effect::Notify(*session, notice)),
            Some(Seat::Lost { missed, .. }) => missed.push(notice),
            Some(Seat::Nobody) | None => {}
        }
    }

    /// Tells everybody else in the member's room who hears of others.
    pub(super) fn tell_others(&mut self, member: MemberId, notice: Notice) {
        let Some(about) = self.members.get(&member) else { return };
        let Some(room) = self.rooms.get(&about.room) else { return };
        let mesh = self.topology(&about.room) == Topology::Mesh;
        let hears = |m: &&Member| m.id != member && m.hears_of_others() && !(mesh && m.finds_by_itself(about));
        let hearers: Vec<_> = self.members_of(room).filter(hears).map(|m| m.id).collect();
        for hearer in hearers {
            self.tell(hearer, notice.clone());
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        self.effects.push_back(Effect::Report(report));
    }

    /// Ends a session: the last that is heard of it. It is told unless it went by itself.
    pub(super) fn end_session(&mut self, session: SessionId, reason: EndReason) {
        if self.sessions.remove(&session).is_some() {
            if !matches!(reason, EndReason::Left | EndReason::Lost) {
                self.effects.push_back(Effect::Notify(session, Notice::Ended { reason }));
            }
            self.effects.push_back(Effect::EndSession(session, reason));
        }
    }

    // ---- rooms ----

    fn list(&mut self, config: RoomsConfig, rooms: Vec<RoomConfig>) {
        self.config = config;
        self.listed = rooms.into_iter().map(|room| (room.name.clone(), room)).collect();
        for name in self.listed.keys().cloned().collect::<Vec<_>>() {
            self.open_room(&name, Topology::default());
        }
        self.seat_mixes();
        for name in self.rooms.keys().cloned().collect::<Vec<_>>() {
            self.close_if_empty(&name);
        }
    }

    pub(super) fn open_room(&mut self, name: &RoomId, topology: Topology) {
        if !self.rooms.contains_key(name) {
            self.rooms.insert(name.clone(), Room { topology, members: Vec::new() });
            self.report(Report::RoomOpened { room: name.clone() });
        }
    }

    /// Closes a room that nobody is in and config does not list.
    pub(super) fn close_if_empty(&mut self, name: &RoomId) {
        if !self.listed.contains_key(name) && self.rooms.get(name).is_some_and(|room| room.members.is_empty()) {
            self.rooms.remove(name);
            self.report(Report::RoomClosed { room: name.clone() });
        }
    }

    pub(super) fn topology(&self, room: &RoomId) -> Topology {
        let listed = self.listed.get(room).map(|listed| listed.topology);
        listed.or_else(|| self.rooms.get(room).map(|open| open.topology)).unwrap_or_default()
    }

    pub(super) fn room_limit(&self, room: &RoomId) -> usize {
        self.listed.get(room).and_then(|listed| listed.max_members).unwrap_or(self.config.max_members)
    }

    pub(super) fn members_of<'a>(&'a self, room: &'a Room) -> impl Iterator<Item = &'a Member> {
        room.members.iter().filter_map(|id| self.members.get(id))
    }

    /// Visible members of a room now, the lost included.
    pub(super) fn size(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, |room| self.members_of(room).filter(|m| m.visible).count())
    }

    /// What a member is shown of the room when it comes or is back.
    pub(super) fn others(&self, member: &Member) -> Vec<MemberView> {
        if !member.hears_of_others() {
            return Vec::new();
        }
        let room = self.rooms.get(&member.room).into_iter();
        let mesh = self.topology(&member.room) == Topology::Mesh;
        let seen = |m: &&Member| m.visible && m.id != member.id && !(mesh && member.finds_by_itself(m));
        room.flat_map(|room| self.members_of(room)).filter(seen).map(|m| m.seen(self.shows_streams_to(m, member))).collect()
    }

    /// What the others see of a member.
    pub(super) fn seen(&self, id: MemberId) -> MemberView {
        let member = self.member(id);
        member.seen(self.shows_streams(member))
    }

    pub(super) fn member(&self, id: MemberId) -> &Member {
        self.members.get(&id).expect("a session's place exists: both are removed together")
    }

    fn room_of(&self, member: MemberId) -> RoomId {
        self.member(member).room.clone()
    }
}

/// When a grant ends on the process's clock; `None` when it never does, or not in any time that counts.
pub(super) fn expiry(clock: Option<(Instant, SystemTime)>, expires: Option<SystemTime>) -> Option<Instant> {
    let (now, wall) = clock?;
    now.checked_add(expires?.duration_since(wall).unwrap_or_default())
}
