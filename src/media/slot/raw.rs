//! Those who take a source's pictures and sound as they are: the mixes of this gateway.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::info;

use super::Slot;
use crate::media::SourceError;
use crate::media::pipeline::{Order, RawDemand};
use crate::media::plan::StreamOffer;
use crate::vocab::{MediaKind, PeerId};

/// What is raw of a source, or `None`: it is encoded already, and is to be demanded as anybody does.
pub(in crate::media) type RawReply = oneshot::Sender<Result<Option<Vec<MediaKind>>, SourceError>>;

/// One of them.
pub(super) struct RawViewer {
    demand: Arc<RawDemand>,
    /// Until it was answered.
    reply: Option<RawReply>,
}

impl Slot {
    /// Somebody wants what is raw of it.
    pub fn demand_raw(&mut self, now: Instant, demand: Arc<RawDemand>, reply: RawReply) {
        let viewer = demand.viewer;
        self.raws.insert(viewer, RawViewer { demand, reply: Some(reply) });
        self.demand.arrive(now, viewer);
        self.act(now);
    }

    /// The source is open. `false` where the viewer is not one of these.
    pub(super) fn plan_raw(&mut self, now: Instant, viewer: PeerId) -> bool {
        let Some(raw) = self.raws.get_mut(&viewer) else { return false };
        let Some(offer) = &self.offer else { return true };
        let Some(reply) = raw.reply.take() else { return true };
        let mut kinds = Vec::new();
        let mut coded = false;
        for kind in [MediaKind::Video, MediaKind::Audio] {
            match offer.of(kind) {
                Some(StreamOffer::Coded { .. }) => coded = true,
                Some(StreamOffer::Picture { .. } | StreamOffer::Sound) => kinds.push(kind),
                None => {}
            }
        }
        if coded {
            // nobody listening is nobody to tell
            let _ = reply.send(Ok(None));
            self.raws.remove(&viewer);
            self.demand.refused(now, viewer);
            return true;
        }
        info!(source = %self.config.name, viewer = viewer.0, "taken as it is: nothing is encoded for it");
        let order = Order::AddRaw(Arc::clone(&raw.demand));
        self.order(order);
        match reply.send(Ok(Some(kinds))) {
            Ok(()) => self.demand.granted(viewer, []),
            // it left without saying so
            Err(_) => self.release(now, viewer),
        }
        true
    }

    /// The source cannot be opened. `false` where the viewer is not one of these.
    pub(super) fn reject_raw(&mut self, viewer: PeerId, error: &SourceError) -> bool {
        let Some(raw) = self.raws.remove(&viewer) else { return false };
        if let Some(reply) = raw.reply {
            // nobody listening is nobody to tell
            let _ = reply.send(Err(error.clone()));
        }
        true
    }

    /// A new pipeline runs.
    pub(super) fn restore_raws(&self) {
        for raw in self.raws.values().filter(|raw| raw.reply.is_none()) {
            self.order(Order::AddRaw(Arc::clone(&raw.demand)));
        }
    }

    /// It takes nothing any more.
    pub(super) fn release_raw(&mut self, viewer: PeerId) {
        if self.raws.remove(&viewer).is_some() {
            self.order(Order::RemoveRaw(viewer));
        }
    }
}
