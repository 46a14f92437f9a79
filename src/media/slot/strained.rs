//! How much less a source does because the board is hot or its encoder slow: looked at, decided by [`crate::media::strain`],
//! carried out here.

use std::collections::BTreeMap;
use std::time::Instant;

use tracing::{info, warn};

use super::{Fed, Slot};
use crate::media::pipeline::{BranchId, Order, Shape};
use crate::media::plan::Path;
use crate::media::strain::pace::{LOOK, Pace};
use crate::media::strain::{Ladder, Pressure, Strain, StrainConfig};

/// What is known of the encoders' pace, and what follows.
pub(super) struct Strained {
    enabled: bool,
    /// Of the whole board.
    heat: Strain,
    /// Of this source's encoders.
    slow: Strain,
    ladder: Ladder,
    paces: BTreeMap<BranchId, Pace>,
    looked: Instant,
}

impl Strained {
    pub fn new(config: &StrainConfig, now: Instant) -> Self {
        let (heat, slow, paces) = (Strain::default(), Strain::default(), BTreeMap::new());
        Self { enabled: config.enabled, heat, slow, ladder: Ladder::new(config), paces, looked: now }
    }

    /// The encoders are gone, and what they were like with them.
    pub fn forget(&mut self, config: &StrainConfig) {
        (self.slow, self.ladder) = (Strain::default(), Ladder::new(config));
        self.paces.clear();
    }
}

impl Slot {
    /// How much less is done than could be, and why. Whoever plans layers makes at most [`Degree::most_layers`] of them.
    ///
    /// [`Degree::most_layers`]: crate::media::strain::Degree::most_layers
    pub(super) fn strain(&self) -> &Strain {
        self.strained.heat.worse(&self.strained.slow)
    }

    /// What encoders make of the picture at this degree.
    pub(super) fn shape(&self) -> Shape {
        let degree = self.strain().degree;
        Shape { rate: degree.rate_divisor(), size: degree.size_divisor() }
    }

    /// The board is so warm.
    pub fn set_heat(&mut self, heat: &Strain) {
        let before = self.shape();
        self.strained.heat = heat.clone();
        self.reshape(before);
    }

    /// When [`Self::look_at_encoders`] is due.
    pub(super) fn look_due(&self) -> Option<Instant> {
        self.encoders().next().map(|_| self.strained.looked + LOOK)
    }

    /// Whether the encoders keep up.
    pub(super) fn look_at_encoders(&mut self, now: Instant) {
        if self.look_due().is_none_or(|due| due > now) {
            return;
        }
        self.strained.looked = now;
        let (mut worst, mut stopped) = (Pressure::Relieved, None);
        let mut paces = std::mem::take(&mut self.strained.paces);
        let mut kept = BTreeMap::new();
        for (fed, layer) in self.encoders() {
            let (id, feed) = (BranchId { codec: fed.choice.codec, layer }, &fed.filled[layer].feed);
            let element = fed.choice.encoder.as_deref().unwrap_or_default();
            let mut pace = paces.remove(&id).unwrap_or_default();
            pace.look(now, feed.passed().count());
            match (pace.judge(element), &worst) {
                (over @ Pressure::Over(_), Pressure::Steady | Pressure::Relieved) => worst = over,
                (Pressure::Steady, Pressure::Relieved) => worst = Pressure::Steady,
                _ => {}
            }
            // software that gets no time is slow, not broken
            if fed.choice.path != Path::Software && pace.has_stopped() {
                stopped = Some((id, element.to_owned()));
            } else {
                kept.insert(id, pace);
            }
        }
        self.strained.paces = kept;
        if let Some((id, element)) = stopped {
            return self.give_up(now, id, element);
        }
        if !self.strained.enabled {
            return;
        }
        let before = self.shape();
        let Some(step) = self.strained.ladder.feel(now, &worst) else { return };
        let source = &self.config.name;
        let (from, to, reason) = (step.from.as_str(), step.to.as_str(), step.reason.as_str());
        if step.to > step.from {
            warn!(%source, from, to, reason, "source does with less");
        } else {
            info!(%source, from, to, reason, "source does with more again");
        }
        let reason = match step.to {
            crate::media::strain::Degree::Full => String::new(),
            _ if step.to > step.from => step.reason,
            // what led here
            _ => std::mem::take(&mut self.strained.slow.reason),
        };
        self.strained.slow = Strain { degree: step.to, reason };
        self.reshape(before);
    }

    fn reshape(&mut self, before: Shape) {
        if self.strain().degree.most_layers() == 1 {
            let smaller = |(fed, layer): (&Fed, usize)| (layer > 0).then_some(BranchId { codec: fed.choice.codec, layer });
            let smaller: Vec<BranchId> = self.encoders().filter_map(smaller).collect();
            smaller.into_iter().for_each(|id| self.stop_layer(id));
        }
        let shape = self.shape();
        if shape != before {
            self.order(Order::Shape(shape));
        }
    }
}
