//! `[clips]` and `[rpc]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Recordings in flight (clips) of vamp clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClipsConfig {
    /// Largest clip that is kept whole, in bytes. 65536 to 1073741824, default 16777216: 17 minutes at 128 kbit/s. A longer one is
    /// still relayed, but who joins late does not get it, and a mesh room does not store it.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub max_clip_bytes: usize,
    /// Most bytes of running clips in memory, all rooms together. 1048576 to 4294967296, default 67108864. The oldest are let go first.
    #[schemars(range(min = 1_048_576, max = 4_294_967_296_u64))]
    pub max_memory_bytes: usize,
    /// Most bytes of ended clips on disk, all rooms together. 0 to 1099511627776, default 268435456. The oldest are let go first.
    #[schemars(range(min = 0, max = 1_099_511_627_776_u64))]
    pub max_disk_bytes: u64,
    /// How long a clip is kept at most. Default 1 h. It goes with its room in any case.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub max_age: Duration,
    /// Whether mesh rooms store clips and play each, after its end, to members that were absent at its start. Default true.
    pub store_in_mesh: bool,
    /// Where ended clips are kept; what is there at the start is removed. Default: `clips` in the service's cache directory,
    /// `/var/cache/portico`; without a service a folder among the temporary files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

impl Default for ClipsConfig {
    fn default() -> Self {
        Self {
            max_clip_bytes: 16 << 20,
            max_memory_bytes: 64 << 20,
            max_disk_bytes: 256 << 20,
            max_age: Duration::from_secs(3600),
            store_in_mesh: true,
            directory: None,
        }
    }
}

/// Requests over a data channel that local HTTP services answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RpcConfig {
    /// Most requests of one member that wait for an answer at a time. 1 to 256, default 8. More are answered with 429.
    #[schemars(range(min = 1, max = 256))]
    pub max_waiting: usize,
    /// The services that may be reached. Default none: every request is answered with 404.
    pub service: Vec<RpcService>,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self { max_waiting: 8, service: Vec::new() }
    }
}

/// One local HTTP service, reachable by requests whose `url` fits its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpcService {
    /// Which `url`s are meant, segment by segment: `account/id`, `account/*` for any one segment, `account/**` for any number of
    /// them. The first segment is written out. The first service that fits path and method is asked.
    pub path: String,
    /// Where the service is, `http://HOST:PORT` or with a path of its own, to which the request's `url` is added.
    pub target: String,
    /// Methods that may be used. Default `["GET", "POST"]`.
    #[serde(default = "RpcMethod::all")]
    pub methods: Vec<RpcMethod>,
    /// Whether a `url` may bring a query (`?…`) of its own. Default false. The body of a GET becomes a query in any case.
    #[serde(default)]
    pub query: bool,
    /// Largest request in bytes. 1 to 65536, default 65536. Larger ones are answered with 413.
    #[serde(default = "max_message")]
    #[schemars(range(min = 1, max = 65_536))]
    pub max_request: usize,
    /// Largest answer of the service in bytes. 1 to 65536, default 65536. For a larger one the member gets a 500.
    #[serde(default = "max_message")]
    #[schemars(range(min = 1, max = 65_536))]
    pub max_response: usize,
    /// The service must have answered after this time, else the member gets a 504. At most 2 min, default 5 s.
    #[serde(default = "timeout", with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub timeout: Duration,
    /// Requests per second of one member, over time. 1 to 10000, default 10; three times as many at once. More are answered
    /// with 429.
    #[serde(default = "rate")]
    #[schemars(range(min = 1, max = 10_000))]
    pub rate: u32,
}

/// A method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RpcMethod {
    /// Arguments go into the query.
    Get,
    /// Arguments go as a JSON body.
    Post,
}

impl RpcMethod {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    fn all() -> Vec<Self> {
        vec![Self::Get, Self::Post]
    }
}

fn max_message() -> usize {
    65_536
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn rate() -> u32 {
    10
}
