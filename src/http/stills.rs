//! Pictures of streams, as the API asks for them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::hub::HubGone;
use crate::media::snapshot::{Picture, SnapshotError};
use crate::room::Refusal;
use crate::vocab::{MemberId, RoomId, StreamName};

/// Which picture is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// The room.
    pub room: RoomId,
    /// Whose stream; `None`: whoever has one of that name.
    pub member: Option<MemberId>,
    /// The stream.
    pub stream: StreamName,
    /// Most pixels in width; `None`: as the stream is.
    pub width: Option<u16>,
}

/// Why there is none.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoStill {
    /// The gateway stops.
    #[error(transparent)]
    Hub(#[from] HubGone),
    /// There is no such room or stream.
    #[error("{0}")]
    Refused(Refusal),
    /// It cannot be made now.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Takes pictures.
#[async_trait]
pub trait Stills: Send + Sync {
    /// The picture as it is now. Rights were checked.
    async fn take(&self, wish: Still) -> Result<Arc<Picture>, NoStill>;
}
