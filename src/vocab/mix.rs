//! How a mixed room looks.

use serde::{Deserialize, Serialize};

use super::Bitrate;

/// Who is where in the one picture of a mixed room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MixLayout {
    /// All of one size, in rows.
    #[default]
    Grid,
    /// Who speaks large, the others in a row below.
    Speaker,
    /// Who speaks fills the picture, the others small in front of it.
    Pip,
}

impl MixLayout {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Speaker => "speaker",
            Self::Pip => "pip",
        }
    }
}

/// The one picture of a mixed room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixConfig {
    /// Who is where: `grid`, `speaker` or `pip`, until the API or the page says something else. Default `grid`.
    pub layout: MixLayout,
    /// Pixels; an odd number is rounded down. 160 to 3840, default 1280.
    #[schemars(range(min = 160, max = 3840))]
    pub width: u32,
    /// Pixels; an odd number is rounded down. 90 to 2160, default 720.
    #[schemars(range(min = 90, max = 2160))]
    pub height: u32,
    /// Frames per second. 1 to 60, default 25.
    #[schemars(range(min = 1, max = 60))]
    pub framerate: u32,
    /// Bit rate of the encoder in bit/s. 100000 to 50000000, default 2000000.
    #[schemars(extend("minimum" = 100_000, "maximum" = 50_000_000))]
    pub bitrate: Bitrate,
    /// Whether names are written into the pictures. Default true.
    pub names: bool,
}

impl Default for MixConfig {
    fn default() -> Self {
        Self {
            layout: MixLayout::default(),
            width: 1280,
            height: 720,
            framerate: 25,
            bitrate: Bitrate::from_bps(2_000_000),
            names: true,
        }
    }
}
