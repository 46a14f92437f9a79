//! The life of a place: join, lose, resume, leave.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::command::{DialectName, Joining};
use super::effect::{Effect, EndReason, Report};
use super::member::{Member, Seat};
use super::missed::Missed;
use super::notice::{Notice, PeerView, Refusal, Resumed, Welcome};
use super::rooms::{Rooms, Timer, expiry};
use crate::vocab::{MemberId, RequestId, Right, SessionId};

/// Longest grace, whatever config says: a lost member must not stay for ever.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 3600);

impl Rooms {
    /// Makes the session a member, or refuses and leaves no trace. The checks, in order: rights, room, limits.
    pub(super) fn join(&mut self, session: SessionId, req: RequestId, joining: Joining) -> Result<(), Refusal> {
        let replaced = self.replaced_by(&joining);
        self.check_rights(&joining)?;
        self.check_space(&joining, &replaced)?;

        let room = joining.room.clone();
        self.open_room(&room, joining.opens);
        for old in replaced {
            self.remove_member(old, EndReason::Replaced);
        }
        let id = MemberId::random();
        self.sessions.insert(session, Some(id));
        self.seat(Member {
            id,
            room,
            user_id: joining.user_id,
            dialect: joining.dialect,
            visible: joining.visible,
            facts: joining.facts,
            remote: joining.remote,
            seat: Seat::Session(session),
            streams: Vec::new(),
            peers: BTreeSet::new(),
            expires: expiry(self.clock, joining.grant.expires),
            grant: joining.grant,
        });
        let member = self.member(id);
        let welcome = Welcome {
            req,
            member: id,
            room: member.room.clone(),
            topology: self.topology(&member.room),
            size: self.size(&member.room),
            others: self.others(member),
        };
        self.tell(id, Notice::Welcome(Box::new(welcome)));
        self.announce(id);
        Ok(())
    }

    /// WHIP publishes, WHEP and RTSP play; whoever speaks another dialect may do one of both.
    fn check_rights(&self, joining: &Joining) -> Result<(), Refusal> {
        let enough: &[Right] = match joining.dialect {
            DialectName::Whip => &[Right::Publish],
            DialectName::Whep | DialectName::Rtsp => &[Right::Subscribe],
            _ => &[Right::Subscribe, Right::Publish],
        };
        if enough.iter().any(|right| joining.grant.allows(&joining.room, *right)) {
            return Ok(());
        }
        Err(Refusal::Forbidden { room: joining.room.clone(), right: enough[0] })
    }

    /// Whether there is a place, not counting those that the joiner replaces.
    fn check_space(&self, joining: &Joining, replaced: &[MemberId]) -> Result<(), Refusal> {
        let Some(room) = self.rooms.get(&joining.room) else {
            return match (self.config.ad_hoc, self.config.max_rooms) {
                (false, _) => Err(Refusal::UnknownRoom(joining.room.clone())),
                (true, limit) if self.rooms.len() >= limit => Err(Refusal::TooManyRooms { limit }),
                // a room for nobody is possible in config; so is a dialect's limit of none
                _ => self.check_limits(joining, 0, 0),
            };
        };
        // an unlisted room that is open was allowed when it was opened, but config may have changed since
        if !self.config.ad_hoc && !self.listed.contains_key(&joining.room) && !self.has_source(room) {
            return Err(Refusal::UnknownRoom(joining.room.clone()));
        }
        // the mix takes nobody's place
        let counts = |member: &&Member| !replaced.contains(&member.id) && member.dialect != DialectName::Mix;
        let staying = || self.members_of(room).filter(counts);
        let alike = staying().filter(|member| member.visible == joining.visible && member.dialect == joining.dialect).count();
        self.check_limits(joining, staying().count(), alike)
    }

    /// `all` and `alike`: the members that stay, and those of them that the dialect's own limit counts.
    fn check_limits(&self, joining: &Joining, all: usize, alike: usize) -> Result<(), Refusal> {
        let mut room_limit = self.room_limit(&joining.room);
        if joining.dialect == DialectName::Star && !self.listed.contains_key(&joining.room) {
            // its peers cost the room nothing: they neither hear of each other here nor have connections
            room_limit = room_limit.max(joining.dialect_limit.unwrap_or_default());
        }
        let limit = match joining.dialect_limit {
            _ if all >= room_limit => room_limit,
            Some(limit) if alike >= limit => limit,
            _ => return Ok(()),
        };
        Err(Refusal::RoomFull { room: joining.room.clone(), limit })
    }

    /// The lost places that a joiner takes over by joining again. An empty user id is nobody's.
    fn replaced_by(&self, joining: &Joining) -> Vec<MemberId> {
        if !joining.replaces_lost || joining.user_id.is_empty() {
            return Vec::new();
        }
        let room = self.rooms.get(&joining.room).into_iter();
        room.flat_map(|room| self.members_of(room))
            .filter(|m| m.is_lost() && m.dialect == joining.dialect && m.user_id == joining.user_id)
            .map(|m| m.id)
            .collect()
    }

    /// Puts a member into its room, which is open. Nobody is told yet.
    pub(super) fn seat(&mut self, member: Member) {
        self.timers.extend(member.expires.map(|at| (at, member.id, Timer::Expiry)));
        self.rooms.entry(member.room.clone()).or_default().members.push(member.id);
        self.members.insert(member.id, member);
    }

    /// Tells the others and the world that a member has joined.
    pub(super) fn announce(&mut self, id: MemberId) {
        let member = self.member(id);
        let (view, room, visible, remote) = (self.seen(id), member.room.clone(), member.visible, member.remote);
        let size = self.size(&room);
        let (dialect, user_id, facts) = (view.dialect, view.user_id.clone(), view.facts.clone());
        if visible {
            self.tell_others(id, Notice::MemberJoined { member: view, size });
        }
        self.report(Report::MemberJoined { room, member: id, dialect, user_id, size, remote, visible, facts });
    }

    /// The session said goodbye: its place, if any, is left at once.
    pub(super) fn leave(&mut self, session: SessionId, reason: EndReason) {
        match self.sessions.get(&session) {
            Some(&Some(member)) => self.end_place(member, reason),
            Some(None) => self.end_session(session, reason),
            None => {}
        }
    }

    /// The place is left; the session stays, in no room.
    pub(super) fn depart(&mut self, session: SessionId, member: MemberId) {
        if let Some(place) = self.members.get_mut(&member) {
            place.seat = Seat::Nobody; // so that its session is not ended with it
        }
        self.sessions.insert(session, None);
        self.end_place(member, EndReason::Left);
    }

    /// The session's connection is gone. Its member, if its dialect knows how to come back, keeps the place and its peers for
    /// the grace; the session itself is over.
    pub(super) fn lose(&mut self, now: Instant, session: SessionId) {
        let grace = self.config.rejoin_grace.min(LONGEST_GRACE);
        let member = self.sessions.get(&session).copied().flatten().and_then(|id| self.members.get_mut(&id));
        let Some(member) = member.filter(|m| m.dialect.keeps_places() && !grace.is_zero()) else {
            return self.leave(session, EndReason::Lost);
        };
        let until = now + grace;
        member.seat = Seat::Lost { until, missed: Missed::default(), last: session };
        let (id, room) = (member.id, member.room.clone());
        self.timers.insert((until, id, Timer::Grace));
        self.forget_requests(id);
        self.end_session(session, EndReason::Lost);
        self.report(Report::MemberLost { room, member: id });
    }

    /// Binds a place to a session that knows its id: the proof that tribe asks for. Sources and HTTP members have no place that
    /// could be resumed.
    pub(super) fn resume(&mut self, session: SessionId, req: RequestId, key: MemberId) -> Result<(), Refusal> {
        let place = self.members.get_mut(&key).filter(|member| member.dialect.resumes_places());
        let Some(member) = place else { return Err(Refusal::UnknownPlace) };
        let missed = match std::mem::replace(&mut member.seat, Seat::Session(session)) {
            Seat::Session(old) => {
                self.end_session(old, EndReason::Replaced);
                Missed::default()
            }
            Seat::Lost { until, missed, .. } => {
                self.timers.remove(&(until, key, Timer::Grace));
                missed
            }
            Seat::Nobody => Missed::default(),
        };
        self.sessions.insert(session, Some(key));
        self.forget_requests(key);

        let member = self.member(key);
        let room = member.room.clone();
        let peers = member.peers.iter().filter_map(|id| {
            let plays = self.peers.get(id)?.link.plays().map(|(owner, stream)| (owner, stream.clone()));
            Some(PeerView { peer: *id, plays })
        });
        let resumed = Resumed {
            req,
            member: key,
            user_id: member.user_id.clone(),
            room: room.clone(),
            topology: self.topology(&room),
            size: self.size(&room),
            others: self.others(member),
            peers: peers.collect(),
        };
        self.effects.push_back(Effect::Notify(session, Notice::Resumed(Box::new(resumed))));
        self.effects.extend(missed.into_iter().map(|notice| Effect::Notify(session, notice)));
        self.report(Report::MemberResumed { room, member: key });
        Ok(())
    }

    /// Ends a place, and the room if it was the last.
    pub(super) fn end_place(&mut self, id: MemberId, reason: EndReason) {
        let Some(room) = self.members.get(&id).map(|member| member.room.clone()) else { return };
        self.remove_member(id, reason);
        self.close_if_empty(&room);
    }

    /// Takes a member out: its session ends first, so that it hears nothing of its own leaving; then its peers, with them its
    /// streams and whoever played them; then the others are told. The room stays open.
    pub(super) fn remove_member(&mut self, id: MemberId, reason: EndReason) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let expires = member.expires.take();
        match std::mem::replace(&mut member.seat, Seat::Nobody) {
            Seat::Session(session) => self.end_session(session, reason),
            Seat::Lost { until, .. } => {
                self.timers.remove(&(until, id, Timer::Grace));
            }
            Seat::Nobody => {}
        }
        if let Some(at) = expires {
            self.timers.remove(&(at, id, Timer::Expiry));
        }
        self.end_all_peers(id, reason);

        let Some(member) = self.members.get(&id) else { return };
        let (room, dialect, user_id, visible) = (member.room.clone(), member.dialect, member.user_id.clone(), member.visible);
        let size = self.size(&room) - usize::from(visible);
        if visible {
            self.tell_others(id, Notice::MemberLeft { member: id, user_id: user_id.clone(), size, reason });
        }
        self.members.remove(&id);
        if let Some(open) = self.rooms.get_mut(&room) {
            open.members.retain(|member| *member != id);
        }
        self.report(Report::MemberLeft { room, member: id, dialect, user_id, size, reason });
    }
}
