//! PURE. What of the room here crosses a link: its members, and a lane for each of their streams.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::wire::{Message, Person, Track};
use crate::bridge::far::{OWN, Output};
use crate::room::{Command, DialectName, LINK, MemberView, StreamChoice};
use crate::vocab::{LaneTrack, MemberId, PeerId, RequestId, StreamName};

/// A stream that could not be sent is tried again after this time.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Ours {
    members: BTreeMap<MemberId, Here>,
    lanes: BTreeMap<PeerId, Out>,
}

#[derive(Debug)]
struct Here {
    person: Person,
    /// And when a lane for it may be asked for again; `None` at once.
    streams: BTreeMap<StreamName, Option<Instant>>,
}

#[derive(Debug)]
struct Out {
    req: RequestId,
    member: MemberId,
    stream: StreamName,
    /// The far side knows of it.
    told: bool,
}

impl Ours {
    /// A member came or changed. `None` where it is not sent on, or nothing that is sent on has changed.
    pub(super) fn put(&mut self, view: &MemberView) -> Option<Message> {
        let link = view.dialect == DialectName::Bridge && view.facts.platform.as_deref() == Some(LINK);
        if link || view.dialect == DialectName::Mix {
            // a mix has in it what comes from the far side
            return None;
        }
        let person = Person::of(view.member.to_string(), &view.user_id, &view.facts);
        let known = self.members.get(&view.member).is_some_and(|here| here.person == person);
        let here = self.members.entry(view.member).or_insert_with(|| Here { person: person.clone(), streams: BTreeMap::new() });
        here.person.clone_from(&person);
        for stream in &view.streams {
            here.streams.entry(stream.name.clone()).or_insert(None);
        }
        (!known).then_some(Message::Member(person))
    }

    /// A member left.
    pub(super) fn gone(&mut self, member: MemberId) -> Option<Message> {
        self.members.remove(&member)?;
        // the far side takes the lanes for ended with it; ours are told to end by the room
        self.lanes.values_mut().filter(|lane| lane.member == member).for_each(|lane| lane.told = false);
        Some(Message::Gone { id: member.to_string() })
    }

    pub(super) fn stream_up(&mut self, member: MemberId, stream: &StreamName) {
        if let Some(here) = self.members.get_mut(&member) {
            here.streams.insert(stream.clone(), None);
        }
    }

    pub(super) fn stream_down(&mut self, member: MemberId, stream: &StreamName) {
        if let Some(here) = self.members.get_mut(&member) {
            here.streams.remove(stream);
        }
    }

    /// All members, for a far side that knows of none.
    pub(super) fn everybody(&self) -> Vec<Message> {
        self.members.values().map(|here| Message::Member(here.person.clone())).collect()
    }

    /// Asks for a lane for every stream that has none.
    pub(super) fn ask_lanes(&mut self, now: Instant, trunk: PeerId, out: &mut VecDeque<Output>) {
        let Self { members, lanes } = self;
        for (member, here) in members {
            for (stream, at) in &mut here.streams {
                let has = lanes.values().any(|lane| lane.member == *member && lane.stream == *stream);
                if has || at.is_some_and(|at| at > now) {
                    continue;
                }
                // a try that fails is told, and until then nobody asks again
                *at = Some(now + AGAIN);
                let (peer, req) = (PeerId::next(), RequestId::next());
                lanes.insert(peer, Out { req, member: *member, stream: stream.clone(), told: false });
                let of = StreamChoice::Of(*member, Some(stream.clone()));
                out.push_back(Output::Ask(OWN, req, Box::new(Command::SendLane { peer, trunk, of })));
            }
        }
    }

    /// When [`Self::ask_lanes`] has something to ask for.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let wanting =
            self.members.iter().flat_map(|(member, here)| here.streams.iter().map(move |(stream, at)| (member, stream, at)));
        let has = |member: &MemberId, stream: &StreamName| {
            self.lanes.values().any(|lane| lane.member == *member && lane.stream == *stream)
        };
        wanting.filter(|(member, stream, _)| !has(member, stream)).filter_map(|(.., at)| *at).min()
    }

    /// A lane is there.
    pub(super) fn lane(&mut self, peer: PeerId, tracks: &[LaneTrack]) -> Option<Message> {
        let lane = self.lanes.get_mut(&peer)?;
        let member = self.members.get(&lane.member)?;
        lane.told = true;
        Some(Message::Lane {
            lane: peer.0,
            member: member.person.id.clone(),
            stream: lane.stream.to_string(),
            tracks: tracks.iter().map(Track::of).collect(),
        })
    }

    /// There is none. False: the request was another.
    pub(super) fn refused(&mut self, req: RequestId) -> bool {
        let before = self.lanes.len();
        self.lanes.retain(|_, lane| lane.req != req || lane.told);
        self.lanes.len() != before
    }

    /// A lane has ended.
    pub(super) fn down(&mut self, peer: PeerId) -> Option<Message> {
        self.lanes.remove(&peer).filter(|lane| lane.told).map(|_| Message::LaneEnd { lane: peer.0 })
    }

    /// The far side is gone, and its lanes with it.
    pub(super) fn forget_lanes(&mut self) {
        self.lanes.clear();
        self.members.values_mut().flat_map(|here| here.streams.values_mut()).for_each(|at| *at = None);
    }

    /// Members that cross.
    pub(super) fn has(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }
}
