//! The hub's task (skeleton).
use super::{HubGone, HubSession, Reports, RoomView};
use crate::vocab::{MemberId, RoomId};

/// What the hub drives.
pub struct HubParts {}

/// A handle to the hub; cheap to clone.
#[derive(Clone)]
pub struct Hub {}

impl Hub {
    /// A new session.
    pub async fn open_session(&self) -> Result<HubSession, HubGone> {
        unimplemented!("skeleton")
    }
    /// What happens from now on.
    pub fn reports(&self) -> Reports {
        unimplemented!("skeleton")
    }
    /// All rooms now.
    pub async fn rooms(&self) -> Result<Vec<RoomView>, HubGone> {
        unimplemented!("skeleton")
    }
    /// Ends a member's place; false when there is none.
    pub async fn evict(&self, _room: RoomId, _member: MemberId) -> Result<bool, HubGone> {
        unimplemented!("skeleton")
    }
}
