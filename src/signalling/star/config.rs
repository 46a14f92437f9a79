//! `[star]` of the configuration.

use serde::{Deserialize, Serialize};

use crate::vocab::RoomId;

/// The dialect of libp2p's webrtc-star clients, at `/socket.io/` and `/socket.io-next/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StarConfig {
    /// The room that the peers of the main listener are members of. Default `webrtc-star`.
    pub room: RoomId,
    /// Most peers joined at a time, per listener; a further join is ignored and counted as failed. 1 to 100000, default 500.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_peers: usize,
    /// Tell a joiner at once who is there. Default false: it hears of each within 10 s, so that not both sides dial at once.
    pub announce_on_join: bool,
    /// Drop signals in another's name. Default true; real clients always speak for themselves.
    pub enforce_source: bool,
}

impl Default for StarConfig {
    fn default() -> Self {
        Self {
            room: RoomId::new("webrtc-star").expect("a short constant is a name"),
            max_peers: 500,
            announce_on_join: false,
            enforce_source: true,
        }
    }
}
