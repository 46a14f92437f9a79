//! `[algorea]` of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The dialect of AlgoreaForum clients, at `/algorea`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlgoreaConfig {
    /// Which names the server writes to a client that says nothing in its address (`?variant=`). Default `document`.
    pub variant: Variant,
    /// A client that is not heard for so long, answers to pings included, is closed with 1001; 0 s never does. Default 10 min.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub idle_limit: Duration,
    /// How often a client is pinged; 0 s never does. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub ping_every: Duration,
    /// Tell clients of the variant `document` when another one leaves: `{"type":"peer-disconnected"}`. Default false.
    pub announce_leave: bool,
}

impl Default for AlgoreaConfig {
    fn default() -> Self {
        Self {
            variant: Variant::Document,
            idle_limit: Duration::from_secs(600),
            ping_every: Duration::from_secs(30),
            announce_leave: false,
        }
    }
}

/// The names of messages to a client. Both variants' names are understood from every client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Those of the document "RTC workflow".
    #[default]
    Document,
    /// Those of the branch `rtc`.
    Branch,
}

impl Variant {
    /// As in `?variant=`; `None` for anything else.
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "document" => Some(Self::Document),
            "branch" => Some(Self::Branch),
            _ => None,
        }
    }
}
