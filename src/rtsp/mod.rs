//! RTSP served (RFC 2326): streams of rooms for players, recorders and home automation.
//!
//! To the room a viewer is a hidden member that plays, to the hub a peer, to a layer one more sink: what is encoded or forwarded for
//! others leaves here as RTP as well, packetised once. Nothing is encoded for it that no other viewer would have got.
//!
//! ```text
//! TCP ─► wire ─► session (decides) ─► connection ─┬─ viewing ─► hub: join, play ─► plane: what is sent
//!                                                 └─ Layer ─► inbox ─► sender (RTP, reports) ─► TCP or UDP
//! ```
//!
//! `wire`, `target`, `transport`, `session`, `describe`, `parameters` and `sender` are PURE. One thread serves all connections: a slow
//! client is cut to key frames or let go, never waited for.

mod config;
#[cfg(feature = "rtsp")]
mod server;

pub use config::RtspConfig;
#[cfg(feature = "rtsp")]
pub use server::{Parts, Plane, fuzz, serve};
