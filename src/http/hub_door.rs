//! What HTTP needs of the hub, so that handlers can be tested without one.

use async_trait::async_trait;

use crate::hub::{Hub, HubGone, HubSession, Reports, RoomView};
use crate::vocab::{MemberId, RoomId};

/// The hub as HTTP sees it.
#[async_trait]
pub trait HubDoor: Send + Sync {
    /// A new session.
    async fn open_session(&self) -> Result<HubSession, HubGone>;
    /// What happens from now on.
    fn reports(&self) -> Reports;
    /// All rooms now.
    async fn rooms(&self) -> Result<Vec<RoomView>, HubGone>;
    /// Ends a member's place; false when there is none.
    async fn evict(&self, room: RoomId, member: MemberId) -> Result<bool, HubGone>;
}

#[async_trait]
impl HubDoor for Hub {
    async fn open_session(&self) -> Result<HubSession, HubGone> {
        Hub::open_session(self).await
    }
    fn reports(&self) -> Reports {
        Hub::reports(self)
    }
    async fn rooms(&self) -> Result<Vec<RoomView>, HubGone> {
        Hub::rooms(self).await
    }
    async fn evict(&self, room: RoomId, member: MemberId) -> Result<bool, HubGone> {
        Hub::evict(self, room, member).await
    }
}
