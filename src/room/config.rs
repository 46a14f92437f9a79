//! `[rooms]` and `[[room]]` of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocab::{MixConfig, RoomId, SourceName};

/// Who talks to whom in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Members connect to each other; Portico carries the signalling.
    Mesh,
    /// Members connect to Portico only; packets are forwarded.
    #[default]
    Sfu,
    /// Members connect to Portico only and are sent one picture and one sound of all.
    Mcu,
}

impl Topology {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Sfu => "sfu",
            Self::Mcu => "mcu",
        }
    }
}

/// Limits and habits of all rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoomsConfig {
    /// Whether a room that is not listed comes into being with its first member. Default true.
    pub ad_hoc: bool,
    /// Most rooms at a time, listed ones included. 1 to 10000, default 64.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_rooms: usize,
    /// Most members of a room, unless the room says otherwise. 1 to 100000, default 256; tribe clients count to 8 among themselves
    /// as well.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_members: usize,
    /// Most streams a member may publish. 1 to 64, default 8.
    #[schemars(range(min = 1, max = 64))]
    pub max_streams_per_member: usize,
    /// Most peer connections a member may have. 1 to 1024, default 64.
    #[schemars(range(min = 1, max = 1024))]
    pub max_peers_per_member: usize,
    /// How long a member whose connection was lost keeps its place. Default 30 s; 0 removes it at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub rejoin_grace: Duration,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            ad_hoc: true,
            max_rooms: 64,
            max_members: 256,
            max_streams_per_member: 8,
            max_peers_per_member: 64,
            rejoin_grace: Duration::from_secs(30),
        }
    }
}

/// One listed room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomConfig {
    /// The room's name. 1 to 256 characters.
    pub name: RoomId,
    /// Who talks to whom: `sfu`, `mcu` or `mesh`. Default `sfu`.
    #[serde(default)]
    pub topology: Topology,
    /// Most members. 1 to 100000, default: `max_members` of `[rooms]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_members: Option<usize>,
    /// The sources that are in the room, by name. Default none.
    #[serde(default)]
    pub sources: Vec<SourceName>,
    /// The one picture of a room with the topology `mcu`.
    #[serde(default)]
    pub mix: MixConfig,
}

impl RoomConfig {
    /// What the names of mixes begin with, among the sources.
    pub const MIX_PREFIX: &str = "mix:";
    /// Longest name of a room with the topology `mcu`, in characters.
    pub const MAX_MIXED_CHARS: usize = SourceName::MAX_CHARS - Self::MIX_PREFIX.len();

    /// The source that its mix is, where it is mixed. `None` also where its name is too long for one.
    pub fn mix_source(&self) -> Option<SourceName> {
        let mixed = self.topology == Topology::Mcu;
        mixed.then(|| Self::mix_source_of(&self.name)).flatten()
    }

    /// The source that the mix of a room of that name is, if it is mixed. `None` where the name is too long for one.
    pub fn mix_source_of(room: &RoomId) -> Option<SourceName> {
        SourceName::new(&format!("{}{room}", Self::MIX_PREFIX)).ok()
    }
}
