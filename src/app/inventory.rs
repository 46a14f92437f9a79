//! Sources, plans, peers and metrics, asked of their owners when somebody looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::bridges::LatestTotals;
use super::desk_metrics::LatestFigures;
use super::rtsp::Players;
use crate::bridge::Bridges;
use crate::event::{EventFigures, Events};
use crate::http::{Inventory, PlanOutcome, PlanRow};
use crate::hub::{Hub, PeerOwner};
use crate::media::strain::Degree;
use crate::media::{Media, MediaCommand, SourceFigures};
use crate::ops::metrics::{Direction, Metrics, SinkTotals, raise_to};
use crate::peer::{PeerCommand, PeerFigures, Shards};
use crate::vocab::{MixLayout, SourceName};

/// An owner that does not answer in this time has nothing to show.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the owners. Cheap to clone.
#[derive(Clone)]
pub(super) struct Stock {
    hub: Hub,
    shards: Arc<Shards>,
    players: Players,
    media: Arc<Media>,
    events: Events,
    metrics: Arc<Metrics>,
    totals: Arc<Mutex<Totals>>,
    desk: LatestFigures,
    bridges: (Bridges, LatestTotals),
}

impl Stock {
    pub(super) fn new(
        hub: Hub,
        (shards, players): (Arc<Shards>, Players),
        media: Arc<Media>,
        events: Events,
        metrics: Arc<Metrics>,
        desk: LatestFigures,
        bridges: (Bridges, LatestTotals),
    ) -> Self {
        Self { hub, shards, players, media, events, metrics, totals: Arc::default(), desk, bridges }
    }

    async fn figures(&self) -> Vec<PeerFigures> {
        let (reply, answer) = oneshot::channel();
        self.shards.send(PeerCommand::Figures { peer: None, reply });
        let mut figures = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default();
        figures.extend(self.players.figures());
        figures
    }

    /// The metrics page: figures are collected when it is asked for, so that nothing runs while nobody looks.
    pub(super) fn exporter(&self) -> Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync> {
        let stock = self.clone();
        Arc::new(move || {
            let stock = stock.clone();
            Box::pin(async move { stock.export().await })
        })
    }

    fn show_events(&self, figures: &EventFigures) {
        let shown = &self.metrics.events;
        shown.store_bytes.set(i64::try_from(figures.store_bytes).unwrap_or(i64::MAX));
        raise_to(&shown.lost, figures.lost);
        figures.made.iter().for_each(|made| shown.set_made(made.name.as_str(), made.count));
        let mut totals = std::collections::BTreeMap::<_, SinkTotals>::new();
        for sink in &figures.sinks {
            let sum = totals.entry(sink.kind).or_default();
            sum.connected += usize::from(sink.connected);
            sum.away += usize::from(!sink.connected);
            sum.backlog += sink.backlog;
            sum.oldest_age_s = sum.oldest_age_s.max(sink.oldest_age.map_or(0, |age| age.as_secs()));
            sum.confirmed += sink.confirmed;
            sum.unrouted += sink.unrouted;
            sum.refused += sink.refused;
            sum.dropped += sink.dropped;
        }
        shown.set_sinks(&totals);
    }

    async fn export(&self) -> String {
        let (bridges, latest) = &self.bridges;
        let (sources, peers, counts, desk, events, bridged) = tokio::join!(
            self.sources(),
            self.figures(),
            self.hub.counts(),
            self.hub.channel_figures(),
            self.events(),
            bridges.totals()
        );
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = bridged;
        if let Ok(desk) = desk {
            *self.desk.lock().unwrap_or_else(PoisonError::into_inner) = desk;
        }
        self.show_events(&events);
        if let Ok(counts) = counts {
            self.metrics.rooms.set(counts.rooms as i64);
            self.metrics.streams.set(counts.streams as i64);
            self.metrics.peers.set(counts.peers as i64);
            self.metrics.set_members(counts.members.iter().map(|(dialect, count)| (dialect.as_str(), *count)));
        }
        self.metrics.encoders.set(sources.iter().map(|source| source.encoders as i64).sum());
        let states = ["idle", "opening", "running", "lingering", "failed"];
        self.metrics.set_sources(states.map(|state| (state, sources.iter().filter(|source| source.state == state).count())));
        let degrees = Degree::ALL.into_iter().filter(|degree| *degree > Degree::Full);
        let strained = |degree| sources.iter().filter(|source| source.strain.degree == degree).count();
        self.metrics.set_strained(degrees.map(|degree| (degree.as_str(), strained(degree))));
        let totals = {
            let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.take_in(&peers);
            totals.sum()
        };
        let (sent, received) = (self.metrics.traffic(Direction::Sent), self.metrics.traffic(Direction::Received));
        raise_to(&sent.packets, totals.packets_sent);
        raise_to(&sent.bytes, totals.bytes_sent);
        raise_to(&received.packets, totals.packets_received);
        raise_to(&received.bytes, totals.bytes_received);
        raise_to(&self.metrics.key_frame_requests, totals.key_requests);
        raise_to(&self.metrics.frames_dropped, totals.frames_dropped);
        self.metrics.encode()
    }
}

/// What peers have counted, those that are gone included (as they were last seen).
#[derive(Default)]
struct Totals {
    living: std::collections::HashMap<u64, PeerFigures>,
    gone: PeerFigures,
}

impl Totals {
    fn take_in(&mut self, now: &[PeerFigures]) {
        let mut before = std::mem::take(&mut self.living);
        for figures in now {
            before.remove(&figures.peer);
            self.living.insert(figures.peer, figures.clone());
        }
        before.values().for_each(|last| add(&mut self.gone, last));
    }

    fn sum(&self) -> PeerFigures {
        let mut sum = self.gone.clone();
        self.living.values().for_each(|figures| add(&mut sum, figures));
        sum
    }
}

fn add(sum: &mut PeerFigures, one: &PeerFigures) {
    sum.packets_sent += one.packets_sent;
    sum.bytes_sent += one.bytes_sent;
    sum.packets_received += one.packets_received;
    sum.bytes_received += one.bytes_received;
    sum.key_requests += one.key_requests;
    sum.frames_dropped += one.frames_dropped;
}

#[async_trait]
impl Inventory for Stock {
    async fn sources(&self) -> Vec<SourceFigures> {
        let (reply, answer) = oneshot::channel();
        self.media.send(MediaCommand::Figures { reply });
        tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    async fn mix_layout(&self, source: SourceName, layout: Option<MixLayout>) -> Option<MixLayout> {
        let (reply, answer) = oneshot::channel();
        self.media.send(MediaCommand::MixLayout { source, layout, reply });
        tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).flatten()
    }

    async fn events(&self) -> EventFigures {
        self.events.figures().await
    }

    /// The paths in use now. What an idle source would do is known only by opening it; `portico plan` does that.
    async fn plan(&self) -> Vec<PlanRow> {
        let row = |source: &SourceFigures, choice: &crate::media::plan::Choice| PlanRow {
            source: source.source.clone(),
            want: choice.codec.to_string(),
            outcome: PlanOutcome::Chosen(choice.clone()),
        };
        self.sources().await.iter().flat_map(|source| source.paths.iter().map(|choice| row(source, choice))).collect()
    }

    async fn peers(&self) -> Vec<(PeerOwner, PeerFigures)> {
        let (figures, owners) = tokio::join!(self.figures(), self.hub.peer_owners());
        let mut figures: std::collections::HashMap<u64, PeerFigures> = figures.into_iter().map(|it| (it.peer, it)).collect();
        let owners = owners.unwrap_or_default();
        owners.into_iter().filter_map(|owner| figures.remove(&owner.peer.0).map(|it| (owner, it))).collect()
    }
}
