//! `[http.limits]` of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Sizes, rates and counts of the HTTP side. What is counted per address does not count loopback; an IPv6 address counts as its /64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most connections at a time, all addresses together. Default 1024.
    pub max_connections: usize,
    /// Most connections at a time from one address, websockets included. Default 64.
    pub max_connections_per_address: usize,
    /// Requests per second from one address, over time. 1 to 100000, default 50.
    pub requests_per_second: u32,
    /// Requests an address may send at once before the rate applies. 1 to 100000, default 200.
    pub request_burst: u32,
    /// Most WHIP and WHEP sessions at a time. Default 256.
    pub max_http_sessions: usize,
    /// Most open event streams (`/api/v1/events`). Default 64.
    pub max_event_streams: usize,
    /// A connection must complete its TLS handshake in this time, and send each request's head in this time (idle connections
    /// included). Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub handshake_time: Duration,
    /// A request must be answered in this time; a WHEP player waits for a camera to open meanwhile. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub request_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_address: 64,
            requests_per_second: 50,
            request_burst: 200,
            max_http_sessions: 256,
            max_event_streams: 64,
            handshake_time: Duration::from_secs(10),
            request_time: Duration::from_secs(30),
        }
    }
}
