//! Rooms as an operator sees them.

use std::collections::BTreeMap;

use super::command::DialectName;
use super::config::Topology;
use super::notice::MemberView;
use crate::vocab::{PeerId, RoomId};

/// A room as the API shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RoomView {
    /// Its name.
    pub room: RoomId,
    /// Who talks to whom.
    pub topology: Topology,
    /// Its limit.
    pub max_members: usize,
    /// All members, the unseen included, in order of joining.
    pub members: Vec<RoomMember>,
}

/// A member as the API shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RoomMember {
    /// What other members see.
    #[serde(flatten)]
    pub view: MemberView,
    /// Whether other members see it.
    pub visible: bool,
    /// Whether its connection is lost and its place kept.
    pub lost: bool,
    /// Its living peers.
    pub peers: Vec<PeerId>,
}

/// What a member may do, for those who carry its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatView {
    /// Its room.
    pub room: RoomId,
    /// Who talks to whom there.
    pub topology: Topology,
    /// What it speaks.
    pub dialect: DialectName,
    /// A bridge has brought it, or it is one that hears nothing of what others have brought.
    pub bridged: bool,
    /// Whether it may say something.
    pub speaks: bool,
    /// Whether it may hear what others say.
    pub hears: bool,
}

/// How many there are of everything now, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rooms, the listed ones included even when empty.
    pub rooms: usize,
    /// Members by what they speak, the lost and the unseen included. A dialect without members is missing.
    pub members: BTreeMap<DialectName, usize>,
    /// Streams that are up.
    pub streams: usize,
    /// Peers that were opened and have not ended.
    pub peers: usize,
    /// Sessions that were opened and have not ended, with or without a place.
    pub sessions: usize,
}
