//! Sources with the real GStreamer. What needs no GStreamer is tested beside its code.

mod files;
mod layers;
mod live;
mod records;
mod reload;
mod repair;
mod rtsp;
mod snapshots;

pub(super) mod support;
