//! A codec that fails while it runs: what it filled is taken away, and the rest of the source goes on.
//!
//! An error would otherwise travel up to the camera and end everything. So a branch's entry takes whatever its codec returns for
//! good ([`entry`]), and an error message is looked at for whose it is ([`Session::contain`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{debug, warn};

use super::{News, Session, fault};

/// Longest wait for elements to stop. A driver does in milliseconds; one that hangs is left behind with its thread.
const END_LIMIT: Duration = Duration::from_secs(1);

impl Session {
    /// Deals with the error of a codec, as long as only that codec is concerned. `false`: the pipeline has failed.
    pub(super) fn contain(&mut self, message: &gst::Message) -> bool {
        let gst::MessageView::Error(error) = message.view() else { return false };
        if error.src().is_some_and(|source| !source.has_as_ancestor(&self.pipeline)) {
            // of something that was taken away for an earlier error
            return true;
        }
        let text = fault::redact(error.error().message());
        if self.mix.as_ref().is_some_and(|mix| mix.takes(&self.pipeline, error, &text)) {
            return true;
        }
        if self.contain_raw(error) {
            return true;
        }
        let encoder = self.branches.iter().find(|(_, branch)| branch.owns(error));
        let (element, branches) = match encoder {
            Some((id, branch)) => (branch.encoder_name(), vec![*id]),
            None => match self.decoders.iter().find(|(_, decoder)| decoder.owns(error)) {
                Some((kind, decoder)) => {
                    let fed = self.branches.iter().filter(|(_, branch)| branch.kind == *kind && branch.decoded);
                    (decoder.name(), fed.map(|(id, _)| *id).collect())
                }
                None => (None, Vec::new()),
            },
        };
        let Some(element) = element else { return false };
        let error = fault::source_error(&self.start.source, error);
        for id in &branches {
            if let Some(branch) = self.branches.remove(id) {
                self.take_down(branch.hung);
                self.drop_unused_decoder(branch.kind);
            }
        }
        (self.start.marks.news)(News::Broke { element, branches, error });
        true
    }

    /// The codec that an error comes from, if it is one.
    pub(super) fn culprit(&self, error: &gst::message::Error) -> Option<String> {
        let encoder = self.branches.values().find(|branch| branch.owns(error)).and_then(super::branch::Branch::encoder_name);
        let decoder = || self.decoders.values().find(|decoder| decoder.owns(error)).and_then(super::branch::Decoder::name);
        // a camera's own, in front of everything
        let jpeg = || {
            let element = self.pipeline.by_name("jpeg").filter(|jpeg| error.src().is_some_and(|it| it.has_as_ancestor(jpeg)))?;
            element.factory().map(|factory| factory.name().to_string())
        };
        encoder.or_else(decoder).or_else(jpeg)
    }
}

/// A branch's first pad: whatever becomes of the branch, what stands before it goes on. The first failure that no element has told
/// of itself is told in the branch's name.
pub(super) fn entry(target: &gst::Pad) -> Result<gst::GhostPad, gst::glib::BoolError> {
    let told = AtomicBool::new(false);
    let ghost = gst::GhostPad::builder_with_target(target)?.name("sink").chain_function(move |pad, parent, buffer| {
        match gst::ProxyPad::chain_default(pad, parent, buffer) {
            Err(failure) if !matches!(failure, gst::FlowError::Flushing | gst::FlowError::Eos) => {
                let bin = parent.and_then(|parent| parent.downcast_ref::<gst::Element>());
                if let Some(bin) = bin.filter(|_| !told.swap(true, Ordering::Relaxed)) {
                    gst::element_error!(bin, gst::StreamError::Failed, ("data flow stopped: {}", failure));
                }
            }
            _ => {}
        }
        Ok(gst::FlowSuccess::Ok)
    });
    Ok(ghost.build())
}

/// Stops elements that are no part of the pipeline any more, without waiting for ever.
pub(in crate::media) fn end(bin: gst::Bin) {
    let (done, ended) = mpsc::sync_channel(1);
    let work = move || {
        if bin.set_state(gst::State::Null).is_err() {
            debug!("branch did not stop cleanly");
        }
        let _ = done.try_send(());
    };
    match std::thread::Builder::new().name("branch-end".into()).spawn(work) {
        Ok(_) if ended.recv_timeout(END_LIMIT).is_err() => warn!("a codec does not stop: it is left behind"),
        Ok(_) => {}
        Err(error) => warn!(%error, "no thread to stop a branch on"),
    }
}
