//! `[vamp]` of the configuration.

use serde::{Deserialize, Serialize};

/// The dialect of Vamp clients, at `/socket.io/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VampConfig {
    /// Most Vamp clients in one vamp, whatever the room itself allows; one more is told `room full`. 1 to 100000, default 16.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_members: usize,
    /// Send the list of members as `allUsers` too, as Vamp's document has it. Default false: its client reads `all users`.
    pub also_all_users: bool,
}

impl Default for VampConfig {
    fn default() -> Self {
        Self { max_members: 16, also_all_users: false }
    }
}
