//! Makes events of the rooms' reports. PURE: time is an argument; events are taken with [`Maker::take`].
//!
//! It keeps who is in which room, because `room.leave` and `room.live` tell more than a report does. Members that others do not
//! see (WHEP players, webrtc-star's peers) are in no event, as they are in no room's size.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::record::{Event, EventName, Join, Leave, Live, Own, Session, WallMs};
use crate::room::{DialectName, Facts, Remark, Report};
use crate::vocab::{Bitrate, MemberId, RoomId};

/// Events that wait for the store. It takes all of them at once, within milliseconds; only a disk that stands still lets them
/// wait. Then the oldest are let go.
pub(super) const MOST_WAITING: usize = 16_384;
/// Their payloads' bytes: 8 MiB.
pub(super) const MOST_WAITING_BYTES: usize = 8 << 20;
/// Largest payload. A `room.live` of a room with about 10000 members; a larger one is let go.
pub(super) const MOST_PAYLOAD: usize = 1 << 20;

/// What is told, and how often.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Whether there is anybody to tell. Who is in which room is kept in mind in any case.
    pub wanted: bool,
    /// How often `room.live` is told.
    pub live_interval: Duration,
    /// Whether the events of clients are told as well.
    pub extended: bool,
    /// The cap on video for members that set none themselves.
    pub video_cap: Bitrate,
}

/// A member as consumers know it.
#[derive(Debug)]
struct Seated {
    member: MemberId,
    /// 32 upper-case hex digits.
    socket_id: String,
    user_id: String,
    dialect: DialectName,
    /// Its place is kept, but nobody is connected.
    lost: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Maker {
    habits: Habits,
    rooms: BTreeMap<RoomId, Vec<Seated>>,
    /// When rooms are told again.
    next_live: Instant,
    waiting: VecDeque<Event>,
    waiting_bytes: usize,
    made: HashMap<EventName, u64>,
    lost: u64,
}

impl Maker {
    /// Without rooms. Those that exist are told at the first timeout, which is due at once.
    pub fn new(now: Instant, habits: Habits) -> Self {
        Self {
            habits,
            rooms: BTreeMap::new(),
            next_live: now,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            made: HashMap::new(),
            lost: 0,
        }
    }

    /// Goes by others from now on. A shorter interval counts at once.
    pub fn set_habits(&mut self, now: Instant, habits: Habits) {
        self.next_live = self.next_live.min(now + habits.live_interval);
        self.habits = habits;
    }

    /// Something happened in a room.
    pub fn handle_report(&mut self, wall: WallMs, report: &Report) {
        match report {
            Report::RoomOpened { room } => drop(self.rooms.entry(room.clone()).or_default()),
            Report::RoomClosed { room } => drop(self.rooms.remove(room)),
            Report::MemberJoined { visible: false, .. } => {}
            Report::MemberJoined { room, member, dialect, user_id, size, remote, facts, .. } => {
                let seated = seated(*member, *dialect, user_id, facts);
                let client = facts.client.as_deref();
                let join = Join {
                    room_id: room.as_str(),
                    room_size: *size,
                    socket_id: &seated.socket_id,
                    user_id: &seated.user_id,
                    platform: facts.platform.as_deref().unwrap_or_default(),
                    device_name: client.map_or("", |client| &client.device),
                    network_type: facts.network.as_deref().unwrap_or_default(),
                    app_version: client.map_or("", |client| &client.app_version),
                    version: client.map_or("", |client| &client.version),
                    // as the original writes an address it does not know
                    ip: remote.map_or_else(|| "0.0.0.0".into(), |ip| ip.to_canonical().to_string()),
                    bitrate: client.and_then(|client| client.video_cap).unwrap_or(self.habits.video_cap).bps(),
                };
                let event = Event::new(EventName::RoomJoin, wall, &join);
                self.rooms.entry(room.clone()).or_default().push(seated);
                self.add(event);
            }
            Report::MemberLeft { room, member, size, .. } => {
                let Some(members) = self.rooms.get_mut(room) else { return };
                // who is not there was not seen
                let Some(index) = members.iter().position(|seated| seated.member == *member) else { return };
                let gone = members.remove(index);
                let leave =
                    Leave { room_id: room.as_str(), room_size: *size, socket_id: &gone.socket_id, user_id: &gone.user_id };
                self.add(Event::new(EventName::RoomLeave, wall, &leave));
            }
            Report::MemberLost { room, member } => self.mark_lost(room, *member, true),
            Report::MemberResumed { room, member } => self.mark_lost(room, *member, false),
            Report::Remark { member, remark, .. } if self.habits.extended => {
                let socket_id = &socket_id(*member);
                let (name, cpu_used, network_type) = match remark {
                    Remark::Froze => (EventName::WebrtcFreeze, None, None),
                    Remark::Cpu { percent } => (EventName::WebrtcCpu, Some(*percent), None),
                    Remark::Network { network } => (EventName::NetworkChange, None, Some(network.as_str())),
                };
                self.add(Event::new(name, wall, &Own { socket_id, cpu_used, network_type }));
            }
            Report::Remark { .. }
            | Report::StreamUp { .. }
            | Report::StreamDown { .. }
            | Report::PeerUp { .. }
            | Report::PeerDown { .. } => {}
        }
    }

    /// Tells every room when it is time. To be called again at [`Self::next_timeout`].
    pub fn handle_timeout(&mut self, now: Instant, wall: WallMs) {
        if now < self.next_live {
            return;
        }
        // a machine that slept tells once, not once for each interval it slept through
        self.next_live = (self.next_live + self.habits.live_interval).max(now + self.habits.live_interval / 2);
        let rooms = std::mem::take(&mut self.rooms);
        for (room, members) in &rooms {
            let sessions = members.iter().map(|seated| Session { socket_id: &seated.socket_id, user_id: &seated.user_id });
            let live = Live { room_id: room.as_str(), room_size: members.len(), sessions: sessions.collect() };
            self.add(Event::new(EventName::RoomLive, wall, &live));
            if self.habits.extended {
                for seated in members.iter().filter(|seated| seated.dialect == DialectName::Tribe && !seated.lost) {
                    let ping = Own { socket_id: &seated.socket_id, cpu_used: None, network_type: None };
                    self.add(Event::new(EventName::WebrtcPing, wall, &ping));
                }
            }
        }
        self.rooms = rooms;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Instant {
        self.next_live
    }

    /// Whether something waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything that waits, oldest first.
    pub fn take(&mut self) -> VecDeque<Event> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Puts events back in front that could not be stored. What does not fit is let go, oldest first.
    pub fn put_back(&mut self, mut events: VecDeque<Event>) {
        events.append(&mut self.waiting);
        self.waiting_bytes = events.iter().map(|event| event.payload.len()).sum();
        self.waiting = events;
        self.shed();
    }

    /// How many events of each name were made.
    pub fn made(&self) -> &HashMap<EventName, u64> {
        &self.made
    }

    /// Events that were let go because they did not reach the store.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn mark_lost(&mut self, room: &RoomId, member: MemberId, lost: bool) {
        let seated = self.rooms.get_mut(room).and_then(|members| members.iter_mut().find(|seated| seated.member == member));
        if let Some(seated) = seated {
            seated.lost = lost;
        }
    }

    fn add(&mut self, event: Event) {
        if !self.habits.wanted {
            return;
        }
        *self.made.entry(event.name).or_default() += 1;
        if event.payload.len() > MOST_PAYLOAD {
            self.lost += 1;
            return;
        }
        self.waiting_bytes += event.payload.len();
        self.waiting.push_back(event);
        self.shed();
    }

    fn shed(&mut self) {
        while self.waiting.len() > MOST_WAITING || self.waiting_bytes > MOST_WAITING_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { return };
            self.waiting_bytes -= oldest.payload.len();
            self.lost += 1;
        }
    }
}

/// Tribe's clients have their own id; of others it is their user id, else their name, else their member id, as tribe's clients
/// are told.
fn seated(member: MemberId, dialect: DialectName, user_id: &str, facts: &Facts) -> Seated {
    let socket_id = socket_id(member);
    let user_id = match (dialect, user_id, &facts.name) {
        (DialectName::Tribe, id, _) => id.to_owned(),
        (_, "", Some(name)) if !name.is_empty() => name.clone(),
        (_, "", _) => socket_id.clone(),
        (_, id, _) => id.to_owned(),
    };
    Seated { member, socket_id, user_id, dialect, lost: false }
}

fn socket_id(member: MemberId) -> String {
    member.to_string().to_uppercase()
}

#[cfg(test)]
mod tests;
