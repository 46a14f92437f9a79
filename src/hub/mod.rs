//! The async owner of rooms and realms. Control only: no frame, no RTP.
//!
//! One task owns [`Rooms`](crate::room::Rooms). Sessions send [`Command`]s and get [`Notice`]s; effects become
//! [`PeerCommand`](crate::peer::PeerCommand)s and [`MediaCommand`](crate::media::MediaCommand)s; their events come back.

mod owner;
#[cfg(test)]
mod tests;

pub use owner::{ChannelParts, Hub, HubParts, StorePort, Witness};

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};

pub use crate::room::{RoomMember, RoomView};

use crate::forward::Layer;
use crate::peer::Credit;
use crate::room::{Command, Notice, Refusal, Report};
use crate::signalling::{ChannelNews, RealmId, RealmMessage, RealmWord};
use crate::vocab::{MemberId, PeerId, RequestId, RoomId, SessionId, Share, SourceName, StreamName};

/// A session's end of the hub. Dropping it without `Leave` or `Lost` counts as `Lost`.
pub struct HubSession {
    /// The session.
    pub id: SessionId,
    pub(crate) to_hub: mpsc::Sender<ToHub>,
    /// What the session is told. Bounded: a session that does not read for 1024 words, or 1 MiB of long ones, is ended.
    pub told: mpsc::Receiver<Told>,
}

/// What a session is told. Small, because the queue's memory is counted per session.
#[derive(Debug)]
pub enum Told {
    /// By the room.
    Notice(Box<Notice>),
    /// By the room, at length. The share is to be dropped when it was dealt with.
    Long(Box<(Notice, Share)>),
    /// By the realm of its mount.
    Realm(RealmWord),
    /// By the far end of a data channel that the session reads itself.
    Channel(Box<ChannelTold>),
}

/// Something about a data channel.
#[derive(Debug)]
pub struct ChannelTold {
    /// The connection.
    pub peer: PeerId,
    /// What.
    pub news: ChannelNews,
    /// Makes room for more of the far end's messages; dropped when this one was dealt with.
    pub credit: Option<Credit>,
}

impl HubSession {
    /// Asks the room. Waits when the hub is busy; fails only when it is gone.
    pub async fn send(&self, req: RequestId, command: Command) -> Result<(), HubGone> {
        self.pass(ToHub::Command(self.id, req, command)).await
    }

    /// Hands the realm of the session's mount a message. Waits and fails as [`Self::send`].
    pub async fn send_realm(&self, message: RealmMessage) -> Result<(), HubGone> {
        self.pass(ToHub::Realm(self.id, message)).await
    }

    /// There is nearly always room: waiting for it is set up only when there is none.
    async fn pass(&self, asked: ToHub) -> Result<(), HubGone> {
        match self.to_hub.try_send(asked) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(asked)) => self.to_hub.send(asked).await.map_err(|_| HubGone),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(HubGone),
        }
    }

    /// The next notice. For sessions without a realm; another's word is passed over.
    pub async fn notice(&mut self) -> Option<Notice> {
        loop {
            match self.told.recv().await? {
                Told::Notice(notice) => return Some(*notice),
                Told::Long(long) => return Some(long.0),
                Told::Realm(_) | Told::Channel(_) => {}
            }
        }
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
    /// A new session, and the realm of its mount.
    Open(SessionId, mpsc::Sender<Told>, Option<RealmId>),
    /// A session's message to its realm.
    Realm(SessionId, RealmMessage),
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
    Evict {
        room: RoomId,
        member: MemberId,
        reply: tokio::sync::oneshot::Sender<bool>,
    },
    Shown {
        room: RoomId,
        of: Option<MemberId>,
        stream: StreamName,
        reply: tokio::sync::oneshot::Sender<Result<Shown, Refusal>>,
    },
    PeerOwners(tokio::sync::oneshot::Sender<Vec<PeerOwner>>),
    Counts(tokio::sync::oneshot::Sender<crate::room::Counts>),
    Configure {
        config: crate::room::RoomsConfig,
        rooms: Vec<crate::room::RoomConfig>,
        reply: tokio::sync::oneshot::Sender<()>,
    },
    Sources {
        updates: Vec<crate::room::SourceUpdate>,
        reply: tokio::sync::oneshot::Sender<()>,
    },
    RealmNames(RealmId, tokio::sync::oneshot::Sender<Vec<String>>),
    Channels {
        clips: crate::channel::ClipsConfig,
        rpc: crate::channel::RpcConfig,
        caller: Option<crate::channel::call::Caller>,
        reply: tokio::sync::oneshot::Sender<()>,
    },
    ChannelFigures(tokio::sync::oneshot::Sender<crate::channel::Figures>),
    Stop(tokio::sync::oneshot::Sender<()>),
}

/// Where the media of a stream comes from, for one who wants to look at it without being in the room.
#[derive(Clone)]
pub enum Shown {
    /// A source of this gateway.
    Source(SourceName),
    /// A publisher's tracks.
    Published(Vec<Arc<Layer>>),
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
