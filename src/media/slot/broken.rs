//! Codecs that fail while in use: the next in line takes their place, and viewers keep their layers.

use std::time::Instant;

use tracing::warn;

use super::{Slot, Waiting};
use crate::media::SourceError;
use crate::media::pipeline::{BranchId, Order};
use crate::vocab::{Codec, PeerId};

impl Slot {
    /// A branch does not start.
    pub(super) fn branch_failed(&mut self, now: Instant, id: BranchId, error: SourceError) {
        warn!(source = %self.config.name, branch = %id, %error, "branch does not start");
        self.without(id);
        let Some(fed) = self.fed.get(&id.codec).filter(|_| id.layer == 0) else { return };
        match fed.choice.encoder.clone() {
            Some(element) => self.pass_over(now, element, id.codec),
            None => self.fail(now, error),
        }
    }

    /// A codec failed while it ran; what it filled is gone.
    pub(super) fn codec_broke(&mut self, now: Instant, element: String, branches: &[BranchId], error: &SourceError) {
        let (source, viewers) = (&self.config.name, self.demand.viewers());
        warn!(%source, element, %error, viewers, "codec failed; another takes its place");
        branches.iter().for_each(|id| self.without(*id));
        // where only a smaller layer is concerned, the others have their picture without it
        for id in branches.iter().filter(|id| id.layer == 0) {
            self.pass_over(now, element.clone(), id.codec);
        }
    }

    /// An encoder gives nothing any more, and does not say why.
    pub(super) fn give_up(&mut self, now: Instant, id: BranchId, element: String) {
        self.order(Order::Remove(id));
        let error = SourceError::Failed(format!("encoder {element} gives nothing"));
        self.codec_broke(now, element, &[id], &error);
    }

    /// A branch is gone. A smaller layer does not come back until the source is opened anew.
    fn without(&mut self, id: BranchId) {
        self.release_claim(id);
        let Some(fed) = self.fed.get_mut(&id.codec) else { return };
        fed.layering.ended(id.layer);
        if let Some(filled) = fed.filled.get_mut(id.layer) {
            (filled.up, filled.seen) = (false, None);
        }
        if id.layer > 0 {
            fed.most = fed.most.min(id.layer);
        }
    }

    /// Uses the element no more, and fills the codec's layers in another way.
    fn pass_over(&mut self, now: Instant, element: String, codec: Codec) {
        self.broken.insert(element);
        let smaller = self.fed.get(&codec).map_or(0, |fed| fed.filled.len());
        (1..smaller).for_each(|layer| self.stop_layer(BranchId { codec, layer }));
        if self.demand.uses(codec) {
            self.refeed(now, codec);
        } else {
            self.fed.remove(&codec);
        }
        let concerned = |waiting: &Waiting| waiting.choices.iter().any(|choice| choice.codec == codec);
        let again: Vec<PeerId> = self.waiting.iter().filter(|(_, it)| concerned(it)).map(|(viewer, _)| *viewer).collect();
        for viewer in again {
            self.plan(now, viewer);
        }
    }
}
