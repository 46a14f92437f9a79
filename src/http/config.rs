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
    pub limits: HttpLimits,
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
            limits: HttpLimits::default(),
        }
    }
}

/// Limits of the HTTP side. Those counted per address do not count loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Most open TCP connections of one address. 1 to 65536, default 64. A home behind one address stays far below.
    #[schemars(range(min = 1, max = 65536))]
    pub connections_per_address: usize,
    /// Most signalling sessions (websockets, WHIP, WHEP) at a time. 1 to 100000, default 12000.
    #[schemars(range(min = 1, max = 100_000))]
    pub sessions: usize,
    /// Largest request body in bytes, session descriptions excepted. 1024 to 16777216, default 262144.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub body_bytes: usize,
    /// Largest session description in bytes. 4096 to 1048576, default 65536. A browser's offer has 5000 to 20000.
    #[schemars(range(min = 4096, max = 1_048_576))]
    pub sdp_bytes: usize,
    /// A connection must have finished TLS and sent a complete request head by then. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub handshake_time: Duration,
    /// Requests per second of one address, over time. 1 to 100000, default 50. Bursts of four times as many are taken.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_per_address: 64,
            sessions: 12_000,
            body_bytes: 256 << 10,
            sdp_bytes: 64 << 10,
            handshake_time: Duration::from_secs(10),
            requests_per_second: 50,
        }
    }
}
