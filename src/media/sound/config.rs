//! `[speaker]` of the configuration.

use serde::{Deserialize, Serialize};

use crate::vocab::RoomId;

/// The board's loudspeaker. Off unless `device` is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpeakerConfig {
    /// The ALSA device to play on (see `portico devices`), for example `plughw:CARD=Headphones,DEV=0`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The room whose members are heard. Default `main`.
    pub room: RoomId,
    /// In percent of what comes in. 0 to 200, default 100.
    #[schemars(range(min = 0, max = 200))]
    pub volume: u32,
    /// Whether what is played is taken out of what microphones (`audio_device` of sources) hear. Default true.
    pub echo_cancellation: bool,
}

impl Default for SpeakerConfig {
    fn default() -> Self {
        Self {
            device: None,
            room: RoomId::new("main").expect("a short constant is a name"),
            volume: 100,
            echo_cancellation: true,
        }
    }
}

impl SpeakerConfig {
    /// The device and the room, where there is a device.
    pub fn on(&self) -> Option<(&str, &RoomId)> {
        self.device.as_deref().filter(|device| !device.is_empty()).map(|device| (device, &self.room))
    }

    /// Whether microphones need a canceller.
    pub fn cancels_echo(&self) -> bool {
        self.echo_cancellation && self.on().is_some()
    }
}
