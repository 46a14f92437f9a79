//! `[recording]` and `[[record]]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shelf::Of;
use crate::vocab::{RoomId, StreamName};

/// Where recordings are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingConfig {
    /// Where they are kept. Default: `recordings` in the service's state directory, `/var/lib/portico`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// A new file is begun after this time, at the next key frame. 1 s to 24 h, default 10 min. Earlier where a file reaches an
    /// eighth of `max_size`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub segment: Duration,
    /// Most bytes of all recordings together. 1048576 to 1099511627776, default 4294967296. The oldest files are removed first.
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_u64))]
    pub max_size: u64,
    /// How long a finished file is kept at most. Default 0: until `max_size` or `min_free` want its room.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub max_age: Duration,
    /// Bytes of the disk that recordings leave free for everything else. 0 to 1099511627776, default 268435456. The oldest files are
    /// removed for it; where none is left, recording stops until there is room.
    #[schemars(range(min = 0, max = 1_099_511_627_776_u64))]
    pub min_free: u64,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            directory: None,
            segment: Duration::from_secs(600),
            max_size: 4 << 30,
            max_age: Duration::ZERO,
            min_free: 256 << 20,
        }
    }
}

/// What is recorded from the start, whenever it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordConfig {
    /// The room.
    pub room: RoomId,
    /// The stream, by its name; the first of that name in the room is meant. Default: the room's mix, of a room with the topology
    /// `mcu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
}

impl RecordConfig {
    /// What it names.
    pub fn of(&self) -> Of {
        Of { room: self.room.clone(), stream: self.stream.clone() }
    }
}
