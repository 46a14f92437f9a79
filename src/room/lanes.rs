//! Trunks: connections that carry many streams, each by a lane of its own. A lane is a peer like any other, but for how its media travels: it
//! publishes or plays one stream, and it ends with its trunk.

use super::command::StreamChoice;
use super::effect::{EndReason, Purpose, Via};
use super::member::Link;
use super::notice::{Notice, Refusal};
use super::peers::{Ending, NewPeer};
use super::rooms::Rooms;
use crate::vocab::{LaneTrack, MemberId, PeerId, RequestId, Sdp, SessionId, StreamName};

impl Rooms {
    pub(super) fn open_trunk(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        peer: PeerId,
        offer: Option<Sdp>,
    ) -> Result<(), Refusal> {
        self.open_peer(session, member, req, NewPeer { peer, offer, purpose: Purpose::Trunk, link: Link::Trunk, via: None })
    }

    pub(super) fn send_lane(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        peer: PeerId,
        trunk: PeerId,
        of: StreamChoice,
    ) -> Result<(), Refusal> {
        self.own_peer(member, trunk)?;
        let via = self.via(member, trunk, Vec::new())?;
        self.play(session, member, req, peer, of, None, Some(via))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    pub(super) fn take_lane(
        &mut self,
        session: SessionId,
        member: MemberId,
        req: RequestId,
        stream: StreamName,
        peer: PeerId,
        trunk: PeerId,
        tracks: Vec<LaneTrack>,
    ) -> Result<(), Refusal> {
        let via = self.via(member, trunk, tracks)?;
        self.publish(session, member, req, peer, stream, None, Some(via))
    }

    /// The trunk, if it is one, is up, and is in the member's room.
    fn via(&self, member: MemberId, trunk: PeerId, tracks: Vec<LaneTrack>) -> Result<Via, Refusal> {
        let carries = self.peers.get(&trunk).filter(|peer| peer.link == Link::Trunk && peer.up);
        let owner = carries.and_then(|peer| self.members.get(&peer.member)).ok_or(Refusal::UnknownPeer)?;
        match owner.room == self.member(member).room {
            true => Ok(Via { trunk, tracks }),
            false => Err(Refusal::UnknownPeer),
        }
    }

    /// A lane carries from now on.
    pub(super) fn lane_open(&mut self, id: PeerId, tracks: Vec<LaneTrack>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.opening = None;
        let member = peer.member;
        self.tell(member, Notice::Lane { peer: id, tracks });
        self.connected(id);
    }

    /// A trunk has ended: so have its lanes, which are told to all but who has ended the trunk itself.
    pub(super) fn end_lanes_of(&mut self, trunk: PeerId, owner: MemberId, reason: EndReason, told: bool) {
        let mut lanes: Vec<PeerId> = self.peers.iter().filter(|(_, peer)| peer.via == Some(trunk)).map(|(id, _)| *id).collect();
        lanes.sort_unstable();
        for lane in lanes {
            let tell = told || self.peers.get(&lane).is_some_and(|peer| peer.member != owner);
            self.end_peer(lane, reason, Ending { close: true, tell });
        }
    }
}
