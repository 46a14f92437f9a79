//! PURE. What a far side has brought into the room here: its members, each with a session of its own, and their streams.

use std::collections::{BTreeMap, VecDeque};

use super::wire::Person;
use crate::bridge::far::{self, Guest, MAX_MEMBERS, MAX_NAME, OWN, Output, plain};
use crate::room::{Command, Facts};
use crate::vocab::{LaneTrack, MAX_LANES, MemberId, PeerId, RequestId, RoomId, StreamName};

/// Words of a member that the room has not let in yet; more are dropped.
const MAX_EARLY: usize = 64;
/// Lanes that a far side may have announced; of those [`MAX_LANES`] are taken.
const MAX_KNOWN: usize = 2 * MAX_LANES;

#[derive(Debug)]
pub(super) struct Theirs {
    room: RoomId,
    /// The bridge's name.
    via: String,
    people: BTreeMap<String, Ghost>,
    guests: BTreeMap<Guest, String>,
    lanes: BTreeMap<u64, Lane>,
    last: u64,
}

/// A member of the far side.
#[derive(Debug)]
struct Ghost {
    guest: Guest,
    /// The request to enter that has no answer.
    entering: Option<RequestId>,
    /// Who it is here, once it is in.
    member: Option<MemberId>,
    person: Person,
    /// What it says before it is in.
    early: Vec<Command>,
}

#[derive(Debug)]
struct Lane {
    id: String,
    stream: StreamName,
    tracks: Vec<LaneTrack>,
    taken: Option<(PeerId, RequestId)>,
}

impl Theirs {
    pub(super) fn new(room: RoomId, via: String) -> Self {
        Self { room, via, people: BTreeMap::new(), guests: BTreeMap::new(), lanes: BTreeMap::new(), last: OWN.0 }
    }

    /// A member came, or changed. False: there are as many as may be.
    pub(super) fn person(&mut self, person: Person, out: &mut VecDeque<Output>) -> bool {
        let facts = Facts { via: Some(self.via.clone()), ..facts_of(&person) };
        if let Some(ghost) = self.people.get_mut(&person.id) {
            if ghost.person != person {
                ghost.person = person;
                ask(out, ghost.guest, Command::Show { facts });
            }
            return true;
        }
        if self.people.len() >= MAX_MEMBERS {
            return false;
        }
        self.last += 1;
        let (guest, req) = (Guest(self.last), RequestId::next());
        let joining = far::joining(&self.room, &plain(&person.user, MAX_NAME), facts);
        self.guests.insert(guest, person.id.clone());
        self.people.insert(person.id.clone(), Ghost { guest, entering: Some(req), member: None, person, early: Vec::new() });
        out.push_back(Output::Enter(guest, req, Box::new(joining)));
        true
    }

    /// A member left there.
    pub(super) fn gone(&mut self, id: &str, out: &mut VecDeque<Output>) {
        let Some(ghost) = self.people.remove(id) else { return };
        self.guests.remove(&ghost.guest);
        self.lanes.retain(|_, lane| lane.id != id);
        ask(out, ghost.guest, Command::Leave);
        out.push_back(Output::Release(ghost.guest));
    }

    /// All leave.
    pub(super) fn all_gone(&mut self, out: &mut VecDeque<Output>) {
        for id in self.people.keys().cloned().collect::<Vec<_>>() {
            self.gone(&id, out);
        }
    }

    /// A stream crosses. False: there are as many as may be, or it cannot be one.
    pub(super) fn lane(&mut self, number: u64, id: String, stream: StreamName, tracks: Vec<LaneTrack>) -> bool {
        if self.lanes.len() >= MAX_KNOWN || self.lanes.contains_key(&number) || !self.people.contains_key(&id) {
            return false;
        }
        self.lanes.insert(number, Lane { id, stream, tracks, taken: None });
        true
    }

    /// A stream crosses no more.
    pub(super) fn lane_end(&mut self, number: u64, out: &mut VecDeque<Output>) {
        let Some(lane) = self.lanes.remove(&number) else { return };
        if let (Some((peer, _)), Some(ghost)) = (lane.taken, self.people.get(&lane.id)) {
            ask(out, ghost.guest, Command::Stop { peer });
        }
    }

    /// Takes every stream whose member is in the room.
    pub(super) fn take_lanes(&mut self, trunk: PeerId, out: &mut VecDeque<Output>) {
        for lane in self.lanes.values_mut().filter(|lane| lane.taken.is_none()) {
            let Some(ghost) = self.people.get(&lane.id).filter(|ghost| ghost.member.is_some()) else { continue };
            let (peer, req) = (PeerId::next(), RequestId::next());
            lane.taken = Some((peer, req));
            let (stream, tracks) = (lane.stream.clone(), lane.tracks.clone());
            out.push_back(Output::Ask(ghost.guest, req, Box::new(Command::TakeLane { peer, trunk, stream, tracks })));
        }
    }

    /// The room let a member in.
    pub(super) fn welcomed(&mut self, guest: Guest, req: RequestId, member: MemberId, out: &mut VecDeque<Output>) {
        let Some(ghost) = self.ghost_mut(guest).filter(|ghost| ghost.entering == Some(req)) else { return };
        (ghost.entering, ghost.member) = (None, Some(member));
        std::mem::take(&mut ghost.early).into_iter().for_each(|command| ask(out, guest, command));
    }

    /// The room refused something. True: a member or its stream is left out because of it.
    pub(super) fn refused(&mut self, guest: Guest, req: RequestId, out: &mut VecDeque<Output>) -> bool {
        let Some(id) = self.guests.get(&guest).cloned() else { return false };
        if self.people.get(&id).is_some_and(|ghost| ghost.entering == Some(req)) {
            self.gone(&id, out);
            return true;
        }
        let asked = |lane: &Lane| lane.taken.is_some_and(|(_, asked)| asked == req);
        let before = self.lanes.len();
        self.lanes.retain(|_, lane| !asked(lane));
        self.lanes.len() != before
    }

    /// The room ended a member's place, or its session.
    pub(super) fn ended(&mut self, guest: Guest, out: &mut VecDeque<Output>) {
        if let Some(id) = self.guests.get(&guest).cloned() {
            self.gone(&id, out);
        }
    }

    /// A member says something, as soon as it is in the room.
    pub(super) fn speak(&mut self, id: &str, command: Command, out: &mut VecDeque<Output>) {
        let Some(ghost) = self.people.get_mut(id) else { return };
        if ghost.member.is_some() {
            ask(out, ghost.guest, command);
        } else if ghost.early.len() < MAX_EARLY {
            ghost.early.push(command);
        }
    }

    /// Whose a session is, at the far side.
    pub(super) fn id_of(&self, guest: Guest) -> Option<&str> {
        self.guests.get(&guest).map(String::as_str)
    }

    /// Whether one of them does not know yet whether it is in.
    pub(super) fn is_entering(&self) -> bool {
        self.people.values().any(|ghost| ghost.entering.is_some())
    }

    /// Whether a member of the room here is one of these.
    pub(super) fn is_one(&self, member: MemberId) -> bool {
        self.people.values().any(|ghost| ghost.member == Some(member))
    }

    /// Whether a member is known.
    pub(super) fn has(&self, id: &str) -> bool {
        self.people.contains_key(id)
    }

    /// How many are in the room.
    pub(super) fn count(&self) -> usize {
        self.people.values().filter(|ghost| ghost.member.is_some()).count()
    }

    fn ghost_mut(&mut self, guest: Guest) -> Option<&mut Ghost> {
        self.people.get_mut(self.guests.get(&guest)?)
    }
}

fn ask(out: &mut VecDeque<Output>, guest: Guest, command: Command) {
    out.push_back(Output::Ask(guest, RequestId::next(), Box::new(command)));
}

fn facts_of(person: &Person) -> Facts {
    let name = person.name.as_deref().map(|name| plain(name, MAX_NAME)).filter(|name| !name.is_empty());
    Facts { name, audio_muted: person.audio_muted, video_muted: person.video_muted, ..Facts::default() }
}
