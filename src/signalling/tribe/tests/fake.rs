//! A room small enough to be read at once: what these tests need of `room::Rooms`, with its method names.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::room::{
    Command, Effect, EndReason, Facts, Feed, Joining, MemberView, Notice, OpenPeer, PeerUpdate, PeerView, Purpose, Refusal,
    Report, Resumed, StreamChoice, StreamView, TrackView, Welcome,
};
use crate::vocab::{MediaKind, MemberId, PeerId, RequestId, SessionId, StreamName};

const GRACE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Rooms {
    places: HashMap<SessionId, MemberId>,
    members: Vec<Member>,
    peers: BTreeMap<PeerId, Peer>,
    effects: VecDeque<Effect>,
}

struct Member {
    view: MemberView,
    room: crate::vocab::RoomId,
    seat: Seat,
}

enum Seat {
    Here(SessionId),
    Lost(Instant, Vec<Notice>),
}

struct Peer {
    member: MemberId,
    opening: Option<RequestId>,
    describing: Option<RequestId>,
    up: bool,
    purpose: Purpose,
    tracks: Vec<TrackView>,
}

impl Rooms {
    pub fn open_session(&mut self, _: Instant, _: SessionId) {}

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let over = |member: &Member| matches!(member.seat, Seat::Lost(until, _) if until <= now);
        while let Some(gone) = self.members.iter().find(|member| over(member)).map(|member| member.view.member) {
            self.remove(gone, EndReason::Lost);
        }
    }

    pub fn handle(&mut self, now: Instant, from: SessionId, req: RequestId, command: Command) {
        self.handle_timeout(now);
        let member = self.places.get(&from).copied();
        let outcome = match (command, member) {
            (Command::Join(joining), None) => self.join(from, req, *joining),
            (Command::Resume { key }, None) => self.resume(from, req, key),
            (Command::Leave, Some(member)) => {
                self.places.remove(&from);
                self.remove(member, EndReason::Left);
                Ok(())
            }
            (Command::Lost, Some(member)) => {
                self.places.remove(&from);
                self.at(member).seat = Seat::Lost(now + GRACE, Vec::new());
                self.forget(member);
                Ok(())
            }
            (Command::Leave | Command::Lost, None) => Ok(()),
            (command, Some(member)) => self.ask(from, member, req, command),
            (_, None) => Err(Refusal::NotJoined),
        };
        if let Err(why) = outcome {
            self.effects.push_back(Effect::Notify(from, Notice::Refused { req, why }));
        }
    }

    fn join(&mut self, from: SessionId, req: RequestId, joining: Joining) -> Result<(), Refusal> {
        let again = |m: &Member| matches!(m.seat, Seat::Lost(..)) && m.view.user_id == joining.user_id && m.room == joining.room;
        let replaced = self.members.iter().find(|m| joining.replaces_lost && again(m)).map(|m| m.view.member);
        let here = self.members.iter().filter(|m| m.room == joining.room && Some(m.view.member) != replaced).count();
        if joining.dialect_limit.is_some_and(|limit| here >= limit) {
            return Err(Refusal::RoomFull { room: joining.room, limit: here });
        }
        if let Some(replaced) = replaced {
            self.remove(replaced, EndReason::Replaced);
        }
        let view = MemberView {
            member: MemberId::random(),
            user_id: joining.user_id,
            dialect: joining.dialect,
            facts: joining.facts,
            streams: Vec::new(),
        };
        let others: Vec<_> = self.members.iter().filter(|m| m.room == joining.room).map(|m| m.view.clone()).collect();
        let (member, room, size) = (view.member, joining.room, others.len() + 1);
        self.places.insert(from, member);
        self.members.push(Member { view: view.clone(), room: room.clone(), seat: Seat::Here(from) });
        self.tell(member, Notice::Welcome(Box::new(Welcome { req, member, room, size, others })));
        self.tell_others(member, &Notice::MemberJoined { member: view, size });
        Ok(())
    }

    fn resume(&mut self, from: SessionId, req: RequestId, key: MemberId) -> Result<(), Refusal> {
        let found = self.members.iter_mut().find(|m| m.view.member == key).ok_or(Refusal::UnknownPlace)?;
        let missed = match std::mem::replace(&mut found.seat, Seat::Here(from)) {
            Seat::Here(old) => {
                self.places.remove(&old);
                self.effects.push_back(Effect::Notify(old, Notice::Ended { reason: EndReason::Replaced }));
                Vec::new()
            }
            Seat::Lost(_, missed) => missed,
        };
        let (room, user_id) = (found.room.clone(), found.view.user_id.clone());
        self.places.insert(from, key);
        self.forget(key);
        let here = || self.members.iter().filter(|m| m.room == room);
        let others = here().filter(|m| m.view.member != key).map(|m| m.view.clone()).collect();
        let peers = self.peers.iter().filter(|(_, peer)| peer.member == key);
        let peers = peers.map(|(id, peer)| PeerView { peer: *id, plays: played(&peer.purpose) }).collect();
        let resumed = Resumed { req, member: key, user_id, size: here().count(), room: room.clone(), others, peers };
        self.tell(key, Notice::Resumed(Box::new(resumed)));
        for notice in missed {
            self.tell(key, notice);
        }
        Ok(())
    }

    fn ask(&mut self, from: SessionId, member: MemberId, req: RequestId, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Publish { peer, stream, offer } => {
                self.open(from, member, req, peer, Some(offer), Purpose::Ingest { stream })
            }
            Command::Play { peer, of, offer } => {
                let StreamChoice::Of(owner, Some(stream)) = of.clone() else { return Err(Refusal::UnknownStream) };
                let up = |m: &Member| m.view.member == owner && m.view.streams.iter().any(|known| known.name == stream);
                if !self.members.iter().any(up) {
                    return Err(Refusal::UnknownStream);
                }
                self.open(from, member, req, peer, offer, Purpose::Play { of, owner, stream, feed: Feed::Published(Vec::new()) })
            }
            Command::Describe { peer, sdp } => {
                self.own(member, peer)?.describing = Some(req);
                self.effects.push_back(Effect::DescribePeer { peer, sdp });
                Ok(())
            }
            Command::Candidate { peer, candidate } => {
                self.own(member, peer)?;
                self.effects.push_back(Effect::AddCandidate { peer, candidate });
                Ok(())
            }
            Command::Stop { peer } => {
                self.own(member, peer)?;
                self.effects.push_back(Effect::ClosePeer { peer, reason: EndReason::Left });
                self.end_peer(peer, None);
                Ok(())
            }
            Command::Tell { to, body } => {
                let mine = self.at(member).room.clone();
                let known = self.members.iter().any(|m| m.view.member == to && m.room == mine && to != member);
                if !known {
                    return Err(Refusal::UnknownMember);
                }
                let from_view = self.at(member).view.clone();
                self.tell(to, Notice::Told { from: from_view, body });
                self.effects.push_back(Effect::Notify(from, Notice::Done { req }));
                Ok(())
            }
            Command::Show { facts } => {
                let view = {
                    let view = &mut self.at(member).view;
                    Facts::update(&mut view.facts, facts);
                    view.clone()
                };
                self.tell_others(member, &Notice::MemberChanged { member: view });
                self.effects.push_back(Effect::Notify(from, Notice::Done { req }));
                Ok(())
            }
            Command::Remark { remark } => {
                let room = self.at(member).room.clone();
                self.effects.push_back(Effect::Report(Report::Remark { room, member, remark }));
                Ok(())
            }
            Command::Join(_) | Command::Resume { .. } | Command::Leave | Command::Lost => Ok(()),
        }
    }

    fn open(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        id: PeerId,
        offer: Option<crate::vocab::Sdp>,
        purpose: Purpose,
    ) -> Result<(), Refusal> {
        let (room, dialect) = (self.at(member).room.clone(), self.at(member).view.dialect);
        let peer = Peer { member, opening: Some(req), describing: None, up: false, purpose: purpose.clone(), tracks: Vec::new() };
        self.peers.insert(id, peer);
        let open = OpenPeer { peer: id, session, member, room, dialect, offer, purpose };
        self.effects.push_back(Effect::OpenPeer(Box::new(open)));
        Ok(())
    }

    pub fn handle_peer(&mut self, _: Instant, update: PeerUpdate) {
        match update {
            PeerUpdate::Described { peer: id, sdp } => {
                let Some(peer) = self.peers.get_mut(&id) else { return };
                (peer.opening, peer.describing) = (None, None);
                let member = peer.member;
                self.tell(member, Notice::Description { peer: id, sdp });
            }
            PeerUpdate::Tracks { peer, tracks } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.tracks = tracks;
                }
            }
            PeerUpdate::Up { peer: id } => {
                let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.up) else { return };
                peer.up = true;
                let member = peer.member;
                let stream = match &peer.purpose {
                    Purpose::Ingest { stream } => {
                        let kinds: Vec<MediaKind> = peer.tracks.iter().map(|track| track.kind).collect();
                        Some(StreamView { name: stream.clone(), tracks: peer.tracks.clone(), kinds })
                    }
                    Purpose::Play { .. } => None,
                };
                self.tell(member, Notice::PeerUp { peer: id });
                if let Some(stream) = stream {
                    self.at(member).view.streams.push(stream.clone());
                    self.tell_others(member, &Notice::StreamUp { member, stream });
                }
            }
            PeerUpdate::Flowing { peer, kind } => {
                if let Some(member) = self.peers.get(&peer).map(|peer| peer.member) {
                    self.tell(member, Notice::PeerFlowing { peer, kind });
                }
            }
            PeerUpdate::Down { peer, reason } => self.end_peer(peer, Some(reason)),
        }
    }

    fn end_peer(&mut self, id: PeerId, tell: Option<EndReason>) {
        let Some(peer) = self.peers.remove(&id) else { return };
        if let Purpose::Ingest { stream } = &peer.purpose {
            self.take_down(peer.member, stream);
        }
        if let Some(reason) = tell {
            let notice = match peer.opening {
                Some(req) => Notice::Refused { req, why: refusal(reason) },
                None => Notice::PeerDown { peer: id, reason },
            };
            self.tell(peer.member, notice);
        }
    }

    fn take_down(&mut self, owner: MemberId, stream: &StreamName) {
        let view = &mut self.at(owner).view;
        let before = view.streams.len();
        view.streams.retain(|known| known.name != *stream);
        if view.streams.len() < before {
            let plays =
                |peer: &Peer| matches!(&peer.purpose, Purpose::Play { owner: o, stream: s, .. } if *o == owner && s == stream);
            for viewer in self.peers.iter().filter(|(_, peer)| plays(peer)).map(|(id, _)| *id).collect::<Vec<_>>() {
                self.effects.push_back(Effect::ClosePeer { peer: viewer, reason: EndReason::StreamEnded });
                self.end_peer(viewer, Some(EndReason::StreamEnded));
            }
            self.tell_others(owner, &Notice::StreamDown { member: owner, stream: stream.clone() });
        }
    }

    fn remove(&mut self, id: MemberId, reason: EndReason) {
        for peer in self.peers.iter().filter(|(_, peer)| peer.member == id).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_peer(peer, None);
        }
        let room = self.at(id).room.clone();
        let size = self.members.iter().filter(|m| m.room == room).count() - 1;
        let user_id = self.at(id).view.user_id.clone();
        self.tell_others(id, &Notice::MemberLeft { member: id, user_id, size, reason });
        self.members.retain(|m| m.view.member != id);
    }

    fn forget(&mut self, member: MemberId) {
        for peer in self.peers.values_mut().filter(|peer| peer.member == member) {
            (peer.opening, peer.describing) = (None, None);
        }
    }

    fn own(&mut self, member: MemberId, peer: PeerId) -> Result<&mut Peer, Refusal> {
        self.peers.get_mut(&peer).filter(|peer| peer.member == member).ok_or(Refusal::UnknownPeer)
    }

    fn at(&mut self, id: MemberId) -> &mut Member {
        self.members.iter_mut().find(|m| m.view.member == id).expect("the member exists")
    }

    fn tell(&mut self, to: MemberId, notice: Notice) {
        match &mut self.at(to).seat {
            Seat::Here(session) => {
                let session = *session;
                self.effects.push_back(Effect::Notify(session, notice));
            }
            Seat::Lost(_, missed) => missed.push(notice),
        }
    }

    fn tell_others(&mut self, from: MemberId, notice: &Notice) {
        let room = self.at(from).room.clone();
        let others = self.members.iter().filter(|m| m.room == room && m.view.member != from).map(|m| m.view.member);
        for other in others.collect::<Vec<_>>() {
            self.tell(other, notice.clone());
        }
    }
}

fn played(purpose: &Purpose) -> Option<(MemberId, StreamName)> {
    match purpose {
        Purpose::Play { owner, stream, .. } => Some((*owner, stream.clone())),
        Purpose::Ingest { .. } => None,
    }
}

fn refusal(reason: EndReason) -> Refusal {
    match reason {
        EndReason::BadDescription => Refusal::BadDescription,
        EndReason::NoCommonCodec => Refusal::NoCommonCodec,
        EndReason::SourceFailed => Refusal::SourceFailed,
        EndReason::StreamEnded => Refusal::UnknownStream,
        _ => Refusal::Internal,
    }
}
