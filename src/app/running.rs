//! A gateway that runs: signals, and another configuration for it.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::events::ToldEvents;
use super::found::Found;
use super::reload::SourceSteps;
use super::{channels, systemd};
use crate::bridge::Bridges;
use crate::cli::{self, run::Job};
use crate::config::{Config, Effective};
use crate::hub::{Hub, HubGone};
use crate::media::record::{Recorder, RecordingConfig};
use crate::media::{Media, MediaSourceConfig, SourcesConfig, device};
use crate::ops::access::Access;

/// Waits for the signal to stop. SIGHUP reads the configuration again and applies what can be applied to a running gateway.
pub(super) async fn wait(signals: &mut Signals, job: &Job, running: &mut Running) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => {
                systemd::tell_reloading();
                reload(job, running).await;
                systemd::tell(sd_notify::NotifyState::Ready);
            }
        }
    }
}

/// What a running gateway takes over of another configuration.
pub(super) struct Running {
    pub(super) hub: Hub,
    pub(super) media: Arc<Media>,
    /// Has the sources looked at.
    pub(super) look_again: Arc<Notify>,
    pub(super) access: Arc<Access>,
    pub(super) found: Found,
    pub(super) events: ToldEvents,
    pub(super) recorder: Recorder,
    pub(super) bridges: Bridges,
    /// What runs now.
    pub(super) effective: Effective,
}

impl Running {
    /// Rooms and sources. What is as before is not touched.
    async fn take_over(&mut self, config: &Config) -> Result<(), HubGone> {
        let effective = config.effective(!device::cameras().is_empty());
        let steps = SourceSteps::between(&self.effective, &effective);
        self.found.set_rooms(&self.access, &effective.rooms);
        self.hub.configure(config.rooms.clone(), effective.rooms.clone()).await?;
        self.hub.update_sources(steps.before).await?;
        let sources = effective.all_sources();
        self.media.configure(MediaSourceConfig { habits: config.sources.clone(), sources, ..Default::default() });
        self.hub.update_sources(steps.after).await?;
        let (added, changed, removed) = (steps.added, steps.changed, steps.removed);
        if added + changed + removed > 0 {
            info!(added, changed, removed, "sources changed");
            self.look_again.notify_one();
        }
        self.effective = effective;
        Ok(())
    }
}

/// Rooms, sources, limits and the log filter change at once; anything else is named and waits for a restart.
async fn reload(job: &Job, running: &mut Running) {
    let Ok(loaded) = cli::run::load(&job.args) else {
        warn!("the configuration is refused; the running one stays");
        return;
    };
    let (old, new) = (&job.loaded.config, loaded.config);
    if let Err(error) = job.log.set_filter(&new.log.filter) {
        warn!(%error, "log filter not changed");
    }
    if running.take_over(&new).await.is_err() {
        return;
    }
    if running.hub.configure_channels(new.clips.clone(), new.rpc.clone(), channels::caller(&new.rpc)).await.is_err() {
        return;
    }
    running.bridges.configure(&new.bridge);
    let applied_events = running.events.reload(&new, &old.events).await;
    running.recorder.configure(&new.recording, &new.record);
    // where clips are kept, and whether, is decided at the start
    let clips = crate::channel::ClipsConfig {
        directory: old.clips.directory.clone(),
        store_in_mesh: old.clips.store_in_mesh,
        ..new.clips.clone()
    };
    let applied = Config {
        rooms: new.rooms.clone(),
        room: new.room.clone(),
        sources: SourcesConfig {
            board_dir: old.sources.board_dir.clone(),
            board: old.sources.board.clone(),
            ..new.sources.clone()
        },
        source: new.source.clone(),
        log: new.log.clone(),
        // where recordings are kept is decided at the start
        recording: RecordingConfig { directory: old.recording.directory.clone(), ..new.recording.clone() },
        record: new.record.clone(),
        clips,
        rpc: new.rpc.clone(),
        events: applied_events,
        bridge: new.bridge.clone(),
        ..old.clone()
    };
    if applied == new {
        info!("configuration applied");
    } else {
        warn!("rooms, sources, recordings, log filter, clips, rpc, events and bridges applied; other changes need a restart");
    }
}

pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
