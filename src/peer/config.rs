//! `[media]` of the configuration: how packets reach members.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Processor, Suite};
use crate::vocab::Codec;

/// The media plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// The one UDP port of all peers. Default 8781; 0 lets the system choose.
    pub ice_port: u16,
    /// Addresses to offer as candidates. Default empty: loopback when `http.listen` is loopback and no `[[bridge]]` leads to another
    /// machine, else every address of the machine that is not link-local, loopback last.
    pub ice_addresses: Vec<IpAddr>,
    /// Whether clients may also connect by TCP, at the port of `ice_port`: for networks that let no UDP through. They try UDP first.
    /// Default true.
    pub ice_tcp: bool,
    /// STUN and TURN servers told to clients (WHIP and WHEP `Link`, page), as in `stun:host:3478`. Default none.
    pub ice_servers: Vec<String>,
    /// A file with the secret that the TURN servers share with the gateway (coturn's `static-auth-secret`): clients then get a name and a password of
    /// their own that end. A name without `/` is that of a systemd credential. Default none: TURN servers are told without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_secret_file: Option<PathBuf>,
    /// How long a client may use a TURN server. 1 min to 7 days; default 12 h. After it the client's way by the relay ends.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub turn_lifetime: Duration,
    /// Threads that carry packets. 0 to 64; 0: one per core but one, 4 at most. Default 0. One carries some 30 viewers before the next is
    /// used.
    #[schemars(range(max = 64))]
    pub shards: usize,
    /// The SRTP profile taken where a client knows both; one that knows only the other still gets that. Default `auto`.
    pub srtp: SrtpPreference,
    /// Video codecs accepted from publishers, best first. Default H264, VP8, VP9, AV1.
    pub publish_codecs: Vec<Codec>,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            ice_port: 8781,
            ice_addresses: Vec::new(),
            ice_tcp: true,
            ice_servers: Vec::new(),
            turn_secret_file: None,
            turn_lifetime: Duration::from_secs(12 * 3600),
            shards: 0,
            srtp: SrtpPreference::Auto,
            publish_codecs: vec![Codec::H264, Codec::VP8, Codec::VP9, Codec::AV1],
        }
    }
}

/// Which SRTP profile is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SrtpPreference {
    /// The one that costs less on this processor: `portico doctor` shows it, `portico bench crypto` measures both.
    #[default]
    Auto,
    /// AEAD_AES_128_GCM.
    Gcm,
    /// AES_CM_128_HMAC_SHA1_80.
    AesCm,
}

impl SrtpPreference {
    /// What it means on a processor.
    pub fn suite(self, processor: &Processor) -> Suite {
        match self {
            Self::Auto => processor.preference().suite,
            Self::Gcm => Suite::Gcm,
            Self::AesCm => Suite::Cm,
        }
    }
}
