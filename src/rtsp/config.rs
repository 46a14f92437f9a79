//! `[rtsp]` of the configuration.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Streams for players, recorders and home automation by RTSP, at `rtsp://HOST:8554/ROOM/STREAM`. Neither tokens nor pictures are
/// encrypted: for networks that are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RtspConfig {
    /// Address and TCP port; 8554 is what players expect. Default: none, nothing is served by RTSP. Players that take RTP by UDP are sent
    /// it from the UDP port of this number, or the next even one that is free, and reports from the one after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Most viewers at a time. 1 to 1024, default 32. Further ones are refused.
    #[schemars(range(min = 1, max = 1024))]
    pub max_sessions: u16,
}

impl Default for RtspConfig {
    fn default() -> Self {
        Self { listen: None, max_sessions: 32 }
    }
}
