//! What Home Assistant is shown: the listed rooms with who is in them, and the sources with how they stand.
//!
//! Unlike events this is a state: only what is true now is told, by messages that the broker retains, so it needs no place in the
//! store. `picture` and `retained` are PURE; `memory` keeps on disk which topics the broker has of ours, so that they can be
//! taken back.

#[cfg_attr(not(feature = "mqtt"), allow(dead_code))] // only MQTT has messages that stay
mod memory;
mod picture;
#[cfg_attr(not(feature = "mqtt"), allow(dead_code))] // only MQTT has messages that stay
mod retained;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::room::Report;
use crate::vocab::RoomId;

pub(super) use memory::Memory;
pub(super) use picture::{Census, Picture};
#[cfg(feature = "mqtt")]
pub(super) use retained::{Board, Habits, Messages, OFFLINE, board_key, cameras, changes, retained};

/// How sources stand is asked this often while somebody is told.
const LOOK: Duration = Duration::from_secs(5);

/// The rooms and sources of the configuration: only those are shown. Rooms that come and go with their members would fill Home
/// Assistant with what strangers typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The listed rooms.
    pub rooms: Vec<RoomId>,
    /// The sources.
    pub sources: Vec<ListedSource>,
    /// Where the page is, with a slash at the end; `None` when only this machine can open it.
    pub page: Option<String>,
}

/// A source of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSource {
    /// Its name.
    pub name: String,
    /// The listed rooms it is in.
    pub rooms: Vec<RoomId>,
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSeen {
    /// Its name.
    pub name: String,
    /// Whether it is open: its camera is in use.
    pub open: bool,
    /// Who watches it.
    pub viewers: usize,
    /// What keeps it from being opened.
    pub error: Option<String>,
}

/// Asks how the sources stand.
pub type SourceLook = Arc<dyn Fn() -> BoxFuture<'static, Vec<SourceSeen>> + Send + Sync>;

/// Takes a picture of a source, as a JPEG that is at most so many pixels wide; `None` when there is none now, which is logged there.
pub type PictureTake = Arc<dyn Fn(String, u16) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;

/// Keeps the picture that sinks tell. Cheap to clone.
#[derive(Clone)]
pub(super) struct Home {
    census: Arc<Mutex<Census>>,
    picture: Arc<watch::Sender<Picture>>,
}

impl Home {
    pub fn new(listing: Listing) -> Self {
        Self { census: Arc::default(), picture: Arc::new(watch::Sender::new(Picture::new(listing))) }
    }

    /// Something happened in a room. Never waits.
    pub fn report(&self, report: &Report) {
        let mut census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = census.handle_report(report) else { return };
        // still held: numbers reach the picture in their order
        self.picture.send_if_modified(|picture| picture.count(&count));
    }

    /// Other rooms and sources are listed from now on.
    pub fn list(&self, listing: Listing) {
        let census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        self.picture.send_if_modified(|picture| picture.list(listing, &census));
    }

    /// What is true now, and news of it.
    pub fn watch(&self) -> watch::Receiver<Picture> {
        self.picture.subscribe()
    }

    /// Asks how the sources stand until `stop`.
    pub async fn look(self, look: SourceLook, stop: CancellationToken) {
        let looking = async {
            loop {
                let seen = look().await;
                self.picture.send_if_modified(|picture| picture.see(&seen));
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = looking => {}
            () = stop.cancelled() => {}
        }
    }
}
