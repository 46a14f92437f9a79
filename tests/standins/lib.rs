//! Stand-ins for the codec elements of boards that nobody has here: a GStreamer plugin for tests.
//!
//! Each element has the name, the caps with memory feature, the properties with their units and defaults, and the habits of the
//! real one as `boards.md` and the board files tell them. What comes out is tiny and valid H.264 of the asked bit rate, or grey
//! pictures; nothing of the input is looked at. `PORTICO_STANDIN_QUIRKS="v4l2h264enc=ignore-bitrate+late-key;vpuenc_h264=hang"`
//! gives elements faults (see [`quirk`]).
//!
//! `cargo test` builds it as an example; a program finds it by `GST_PLUGIN_PATH`. Nothing of it is part of Portico.

// macros of GStreamer's bindings, which make a plugin and its classes
#![allow(unsafe_code)]
#![allow(missing_docs, reason = "a plugin has no users of its items")]

mod compose;
mod convert;
mod decoder;
mod encoder;
mod quirk;
#[path = "../../src/media/probe/sample.rs"]
#[allow(dead_code)]
mod sample;
mod source;
mod spec;
mod table;

use gstreamer as gst;
use gstreamer::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    compose::register(plugin)?;
    convert::register(plugin)?;
    encoder::register(plugin)?;
    decoder::register(plugin)?;
    source::register(plugin)
}

gst::plugin_define!(
    standins,
    "Stand-ins for the codec elements of boards, for Portico's tests",
    plugin_init,
    env!("CARGO_PKG_VERSION"),
    "MIT/X11",
    "portico",
    "portico tests",
    "https://github.com/portico-rtc/portico"
);
