//! Raw pictures and sound of a source for somebody in this program, beside its branches: no encoder runs for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{info, warn};

use super::branch::Hung;
use super::capture::tee_name;
use super::make;
use super::{Order, Session, fault};
use crate::media::SourceError;
use crate::vocab::{MediaKind, PeerId};

/// What hangs on the tee of one kind.
pub(in crate::media) struct RawTap {
    pub kind: MediaKind,
    /// Made for each pipeline anew. Its pad `sink` takes what the source gives.
    pub build: Box<dyn Fn() -> Result<gst::Bin, SourceError> + Send + Sync>,
}

/// Somebody who takes a source's pictures and sound as they are.
pub(in crate::media) struct RawDemand {
    /// In whose name.
    pub viewer: PeerId,
    pub taps: Vec<RawTap>,
    /// It does not work: whoever wants the source must take what is encoded.
    broken: AtomicBool,
}

impl RawDemand {
    pub fn new(viewer: PeerId, taps: Vec<RawTap>) -> Self {
        Self { viewer, taps, broken: AtomicBool::new(false) }
    }

    /// It failed, at its start or later.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn give_up(&self, error: &SourceError) {
        warn!(%error, "raw pictures cannot be taken; they are encoded for it");
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// One that runs.
pub(super) struct Raw {
    demand: Arc<RawDemand>,
    hung: Vec<Hung>,
}

impl Session {
    /// Hangs what somebody takes on the tees.
    pub(super) fn add_raw(&mut self, demand: Arc<RawDemand>, inbox: &mpsc::Receiver<Order>) {
        let mut raw = Raw { demand: Arc::clone(&demand), hung: Vec::new() };
        for tap in &demand.taps {
            let Some(tee) = self.pipeline.by_name(tee_name(tap.kind)) else { continue };
            let built = (tap.build)().inspect(decide_nothing);
            match built.and_then(|bin| self.hang(&tee, bin, inbox)) {
                Ok(hung) => raw.hung.push(hung),
                Err(error) => {
                    demand.give_up(&error);
                    raw.hung.into_iter().for_each(|hung| self.take_down(hung));
                    return;
                }
            }
        }
        info!(viewer = demand.viewer.0, "taken as it is");
        self.raws.push(raw);
    }

    /// Takes it away; one that is not there is ignored.
    pub(super) fn remove_raw(&mut self, viewer: PeerId) {
        let (gone, kept) = std::mem::take(&mut self.raws).into_iter().partition(|raw| raw.demand.viewer == viewer);
        self.raws = kept;
        self.end_raws(gone);
    }

    /// Deals with an error of something that is taken raw: the rest of the source goes on.
    pub(super) fn contain_raw(&mut self, error: &gst::message::Error) -> bool {
        let owns = |raw: &Raw| raw.hung.iter().any(|hung| hung.owns(error));
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.raws).into_iter().partition(owns);
        self.raws = kept;
        let error = fault::source_error(&self.start.source, error);
        gone.iter().for_each(|raw| raw.demand.give_up(&error));
        let contained = !gone.is_empty();
        self.end_raws(gone);
        contained
    }

    fn end_raws(&self, raws: Vec<Raw>) {
        raws.into_iter().flat_map(|raw| raw.hung).for_each(|hung| self.take_down(hung));
    }
}

/// Whoever takes what a source gives takes it as it is: what it could take has no part in what a camera is set to. Where it can do nothing
/// with that it fails by itself.
fn decide_nothing(bin: &gst::Bin) {
    let Some(pad) = bin.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| match info.query_mut().map(|query| query.view_mut()) {
        Some(gst::QueryViewMut::Caps(query)) => {
            let all = query.filter_owned().unwrap_or_else(gst::Caps::new_any);
            query.set_result(&all);
            gst::PadProbeReturn::Handled
        }
        Some(gst::QueryViewMut::AcceptCaps(query)) => {
            query.set_result(true);
            gst::PadProbeReturn::Handled
        }
        _ => gst::PadProbeReturn::Ok,
    });
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, |_, info| match info.event().map(|event| event.type_()) {
        Some(gst::EventType::Reconfigure) => make::CONSUME_EVENT,
        _ => gst::PadProbeReturn::Ok,
    });
}
