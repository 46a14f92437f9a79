//! `[http]` of the configuration: where Portico listens, whom it believes, how much it takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The listener of the page, the API and every dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port to listen on. Default `127.0.0.1:8780`: this machine only. `0.0.0.0:8780` or `[::]:8780` for everyone
    /// who can reach it, which needs `access.token_secret` or `access.anonymous`.
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub listen: SocketAddr,
    /// Origins (`https://host:port`) whose pages may use the API and the websockets besides Portico's own. `*` allows all.
    /// Default none. Requests without an `Origin` header (players, encoders, scripts) are not affected.
    pub allowed_origins: Vec<String>,
    /// Addresses of reverse proxies whose `X-Forwarded-For` and `X-Real-Ip` are believed. Default none.
    pub trusted_proxies: Vec<IpAddr>,
    /// How much one client, and all together, may use.
    pub limits: Limits,
}

impl HttpConfig {
    /// The port of the page, the API and every dialect (LIBRARIES section 4).
    pub const PORT: u16 = 8780;
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, Self::PORT)),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Sizes, rates and counts of the HTTP side. What is counted per address does not count loopback; an IPv6 address counts as its /64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most connections at a time, all addresses but loopback together. 1 to 1000000, default 12000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// Most connections at a time from one address, websockets included. 1 to 1000000, default 64. A home behind one
    /// address stays far below.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_address: usize,
    /// Requests per second from one address, over time. 1 to 100000, default 50.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: u32,
    /// Requests an address may send at once before the rate applies. 1 to 100000, default 200.
    #[schemars(range(min = 1, max = 100_000))]
    pub request_burst: u32,
    /// Most WHIP and WHEP sessions at a time. 1 to 100000, default 256.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_http_sessions: usize,
    /// Most open event streams (`/api/v1/events`). 1 to 100000, default 64.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_event_streams: usize,
    /// A connection must complete its TLS handshake in this time, and send each request's head in this time (idle connections
    /// included). Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub handshake_time: Duration,
    /// A request must be answered in this time; a WHEP player waits for a camera to open meanwhile. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub request_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 12_000,
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
