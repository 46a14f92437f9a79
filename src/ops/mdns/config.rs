//! `[mdns]` of the configuration.

use serde::{Deserialize, Serialize};

/// Whether and how the gateway tells the local network that it is there (mDNS, DNS-SD), and looks up the names that browsers write in place of
/// their addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MdnsConfig {
    /// Whether it is told. Default true. A gateway that only its own machine can reach is not told of in any case.
    pub enabled: bool,
    /// The name that people see, at most 63 bytes. Default empty: the machine's name. Another gateway of the same name makes this
    /// one `NAME (2)`.
    #[schemars(length(max = 63))]
    pub name: String,
}

impl Default for MdnsConfig {
    fn default() -> Self {
        Self { enabled: true, name: String::new() }
    }
}
