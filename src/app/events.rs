//! What events are told of the rest of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Effective};
use crate::event::{Events, EventsConfig, ListedSource, Listing, SourceSeen, Surroundings};
use crate::media::snapshot::{Snapshots, Subject};
use crate::media::{Media, MediaCommand, SourceFigures, device};
use crate::ops::{announce, net};
use crate::vocab::SourceName;

/// An owner that does not answer in this time has nothing to show.
const PATIENCE: Duration = Duration::from_secs(1);

/// Events, and what they are told at a reload.
pub(super) struct ToldEvents {
    pub events: Events,
    page: Option<String>,
}

impl ToldEvents {
    pub fn start(
        config: &Config,
        effective: &Effective,
        listen: SocketAddr,
        (media, snapshots): (&Arc<Media>, &Snapshots),
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (local, tls) = (config.is_local(), config.tls.enabled(config.is_local()));
        // an address of this machine alone is of no use to others
        let page = (!local).then(|| announce::urls(listen, tls, &net::machine_addresses()).into_iter().next()).flatten();
        let media = Arc::clone(media);
        let look = move || {
            let media = Arc::clone(&media);
            Box::pin(async move {
                let (reply, answer) = oneshot::channel();
                media.send(MediaCommand::Figures { reply });
                let figures = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default();
                figures.into_iter().map(seen).collect()
            }) as _
        };
        let snapshots = snapshots.clone();
        let take = move |source: String, width| {
            let snapshots = snapshots.clone();
            Box::pin(async move {
                let source = SourceName::new(&source).ok()?;
                // why there is none is in the log
                let picture = snapshots.take(Subject::Source(source), Some(width)).await.ok()?;
                Some(picture.jpeg.clone())
            }) as _
        };
        let listing = listing(effective, page.clone());
        let (video_cap, look, take) = (config.tribe.max_video_bitrate, Arc::new(look), Arc::new(take));
        let around = Surroundings { video_cap, listing, look, take };
        Self { events: Events::start(&config.events, around, tasks, stop), page }
    }

    /// Applies what can be; what holds from now on.
    pub async fn reload(&self, new: &Config, old: &EventsConfig) -> EventsConfig {
        let listing = listing(&new.effective(!device::cameras().is_empty()), self.page.clone());
        let moved = self.events.configure(&new.events, new.tribe.max_video_bitrate, listing).await;
        let store_dir = if moved { &old.store_dir } else { &new.events.store_dir };
        EventsConfig { store_dir: store_dir.clone(), ..new.events.clone() }
    }
}

fn listing(effective: &Effective, page: Option<String>) -> Listing {
    let source = |source: &crate::media::SourceConfig| {
        let rooms = effective.rooms.iter().filter(|room| room.sources.contains(&source.name));
        ListedSource { name: source.name.to_string(), rooms: rooms.map(|room| room.name.clone()).collect() }
    };
    let rooms = effective.rooms.iter().map(|room| room.name.clone()).collect();
    Listing { rooms, sources: effective.sources.iter().map(source).collect(), page }
}

fn seen(figures: SourceFigures) -> SourceSeen {
    let open = matches!(figures.state, "opening" | "running" | "lingering");
    SourceSeen { name: figures.source, open, viewers: figures.viewers, error: figures.error }
}
