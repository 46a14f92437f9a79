//! The async owner of rooms and realms. Control only: no frame, no RTP.
//!
//! One task owns [`Rooms`](crate::room::Rooms). Sessions send [`Command`]s and get [`Notice`]s; effects become
//! [`PeerCommand`](crate::peer::PeerCommand)s and [`MediaCommand`](crate::media::MediaCommand)s; their events come back.

mod owner;
#[cfg(test)]
mod tests;

pub use owner::{Hub, HubParts};

use tokio::sync::{broadcast, mpsc};

pub use crate::room::{RoomMember, RoomView};

use crate::room::{Command, Notice, Report};
use crate::vocab::{MemberId, PeerId, RequestId, RoomId, SessionId};

/// A session's end of the hub. Dropping it without `Leave` or `Lost` counts as `Lost`.
pub struct HubSession {
    /// The session.
    pub id: SessionId,
    pub(crate) to_hub: mpsc::Sender<ToHub>,
    /// What the session is told. Bounded: a session that does not read for 1024 notices is ended.
    pub notices: mpsc::Receiver<Notice>,
}

impl HubSession {
    /// Asks the room. Waits when the hub is busy; fails only when it is gone.
    pub async fn send(&self, req: RequestId, command: Command) -> Result<(), HubGone> {
        self.to_hub.send(ToHub::Command(self.id, req, command)).await.map_err(|_| HubGone)
    }
}

impl Drop for HubSession {
    fn drop(&mut self) {
        let (to_hub, id) = (self.to_hub.clone(), self.id);
        // a full queue means a busy hub: the goodbye waits in a task of its own rather than being lost
        if let Err(mpsc::error::TrySendError::Full(goodbye)) = to_hub.try_send(ToHub::Dropped(id))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { to_hub.send(goodbye).await });
        }
    }
}

/// The hub has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is stopping")]
pub struct HubGone;

/// What reaches the hub from sessions and the API.
pub(crate) enum ToHub {
    /// A new session.
    Open(SessionId, mpsc::Sender<Notice>),
    /// A session's request.
    Command(SessionId, RequestId, Command),
    /// The session's handle was dropped.
    Dropped(SessionId),
    /// A question of the API.
    Ask(Question),
}

/// Questions and orders of the API.
#[allow(missing_docs)] // each is answered by its reply channel
pub(crate) enum Question {
    Rooms(tokio::sync::oneshot::Sender<Vec<RoomView>>),
    Evict { room: RoomId, member: MemberId, reply: tokio::sync::oneshot::Sender<bool> },
    PeerOwners(tokio::sync::oneshot::Sender<Vec<PeerOwner>>),
    Counts(tokio::sync::oneshot::Sender<crate::room::Counts>),
    Configure { config: crate::room::RoomsConfig, rooms: Vec<crate::room::RoomConfig>, reply: tokio::sync::oneshot::Sender<()> },
    Stop(tokio::sync::oneshot::Sender<()>),
}

/// Whose a peer is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PeerOwner {
    /// The peer.
    pub peer: PeerId,
    /// Its room.
    pub room: RoomId,
    /// Its member.
    pub member: MemberId,
}

/// Subscribes to what happens; a reader that falls behind loses the oldest (and is told how many).
pub type Reports = broadcast::Receiver<Report>;
