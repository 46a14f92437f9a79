//! Elements from names and descriptions, with errors that name the missing element and its package.

use std::collections::BTreeMap;

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{debug, warn};

use crate::media::SourceError;
use crate::media::board::DecoderCandidate;
use crate::media::element::package_of;

/// What a probe returns to let an event go no further. Not `Drop`: the bindings free the event then, and GStreamer complains that there is
/// none left to free (`gst_mini_object_unref: assertion 'mini_object != NULL'`).
pub const CONSUME_EVENT: gst::PadProbeReturn = gst::PadProbeReturn::Handled;

/// The error for an element that is not registered.
pub(in crate::media) fn missing(element: &str) -> SourceError {
    let package = package_of(element).unwrap_or("(none known; see the board's vendor)");
    SourceError::MissingElement { element: element.into(), package: package.into() }
}

/// One element.
pub(in crate::media) fn element(factory: &str) -> Result<gst::Element, SourceError> {
    gst::ElementFactory::make(factory).build().map_err(|_| missing(factory))
}

/// A whole pipeline from a description.
pub(in crate::media) fn pipeline(description: &str) -> Result<gst::Pipeline, SourceError> {
    debug!(description, "building pipeline");
    let mut context = gst::ParseContext::new();
    let made = gst::parse::launch_full(description, Some(&mut context), gst::ParseFlags::FATAL_ERRORS);
    let element = made.map_err(|error| parse_error(&context, &error))?;
    element.downcast().map_err(|_| SourceError::Failed("the description is no pipeline".into()))
}

/// A bin whose pads `sink` and `src` are those of its elements `entry` and `exit`, where it has them.
pub(in crate::media) fn bin(description: &str) -> Result<gst::Bin, SourceError> {
    debug!(description, "building branch");
    let mut context = gst::ParseContext::new();
    let flags = gst::ParseFlags::FATAL_ERRORS | gst::ParseFlags::PLACE_IN_BIN;
    let made = gst::parse::bin_from_description_full(description, false, Some(&mut context), flags);
    let element = made.map_err(|error| parse_error(&context, &error))?;
    let bin: gst::Bin = element.downcast().map_err(|_| SourceError::Failed("the description is no bin".into()))?;
    for (end, pad) in [("entry", "sink"), ("exit", "src")] {
        // by hand: GStreamer's own ghosting takes the pad of what a `decodebin` will be linked to only later
        let target = bin.by_name(end).and_then(|element| element.static_pad(pad));
        let ghost = target.and_then(|target| match end {
            "entry" => super::broken::entry(&target).ok(),
            _ => gst::GhostPad::with_target(&target).ok(),
        });
        if let Some(ghost) = ghost {
            bin.add_pad(&ghost).map_err(|error| SourceError::Failed(error.to_string()))?;
        }
    }
    Ok(bin)
}

fn parse_error(context: &gst::ParseContext, error: &gst::glib::Error) -> SourceError {
    match context.missing_elements().first() {
        Some(element) => missing(element),
        None => SourceError::Failed(super::fault::redact(error.message())),
    }
}

/// What stands in front of a decoder of JPEG: drivers' decoders take it parsed only (`v4l2jpegdec` of GStreamer 1.22 announces
/// `parsed=true`). Software takes what cameras give as it is, also pictures that a parser would throw away.
pub(in crate::media) fn jpeg_parser(decoder: &DecoderCandidate) -> &'static str {
    let parsed = decoder.hardware && gst::ElementFactory::find("jpegparse").is_some();
    if parsed { "jpegparse ! " } else { "" }
}

/// Sets a property as `gst-launch-1.0` would. One that the element lacks is skipped; returns whether it was set.
pub(in crate::media) fn set(element: &gst::Element, property: &str, value: &str) -> bool {
    let factory = element.factory().map(|it| it.name().to_string()).unwrap_or_default();
    let Some(spec) = element.find_property(property) else {
        debug!(element = factory, property, "element lacks the property");
        return false;
    };
    match gst::glib::Value::deserialize_with_pspec(value, &spec) {
        Ok(value) => {
            element.set_property_from_value(property, &value);
            true
        }
        Err(_) => {
            warn!(element = factory, property, value, "element does not take the value");
            false
        }
    }
}

/// Sets all that apply.
pub(in crate::media) fn set_all(element: &gst::Element, properties: &BTreeMap<String, String>) {
    for (property, value) in properties {
        set(element, property, value);
    }
}

/// Adds the elements to the pipeline and links them in a row.
pub(super) fn add_row(pipeline: &gst::Pipeline, row: &[gst::Element]) -> Result<(), SourceError> {
    pipeline.add_many(row).map_err(|error| SourceError::Failed(error.to_string()))?;
    gst::Element::link_many(row).map_err(|error| SourceError::Failed(error.to_string()))
}
