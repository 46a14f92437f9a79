//! Sources with the real GStreamer. What needs no GStreamer is tested beside its code.

mod files;
mod live;
mod reload;
mod rtsp;
mod snapshots;

mod support;
