//! `[media]` of the configuration: how packets reach members.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Processor, Suite};
use crate::vocab::Codec;

/// The media plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// The one UDP port of all peers; bridges alone go out by ports of their own. Default 8781; 0 lets the system choose.
    pub ice_port: u16,
    /// Addresses to offer as candidates. Default empty: loopback when `http.listen` is loopback and no `[[bridge]]` leads to another
    /// machine, else every address of the machine that is not link-local, loopback last, followed as they change.
    pub ice_addresses: Vec<IpAddr>,
    /// Network interfaces whose addresses are offered, where `ice_addresses` names none: names in which `*` stands for any text; `!` before one
    /// leaves it out. Default empty: all.
    pub ice_interfaces: Vec<String>,
    /// Public addresses that lead here (NAT 1:1, a port forwarded by a router), as in `203.0.113.7` or `203.0.113.7:40000` where the port outside is
    /// another one. Offered besides the machine's own. Default none.
    pub ice_external_addresses: Vec<External>,
    /// ICE lite: far ends alone check the ways, which is enough, and a little less work, where the gateway has a public address. Default false.
    pub ice_lite: bool,
    /// Whether clients may also connect by TCP, at the port of `ice_port`: for networks that let no UDP through. They try UDP first.
    /// Default true.
    pub ice_tcp: bool,
    /// STUN and TURN servers told to clients (WHIP and WHEP `Link`, page), as in `stun:host:3478`. The gateway asks the STUN servers for its own
    /// public address, and offers that too. Default none: nobody outside is asked.
    pub ice_servers: Vec<String>,
    /// A file with the secret that the TURN servers share with the gateway (coturn's `static-auth-secret`): clients then get a name and a password of
    /// their own that end. A name without `/` is that of a systemd credential. Default none: TURN servers are told without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_secret_file: Option<PathBuf>,
    /// How long a client may use a TURN server. 1 min to 7 days; default 12 h. After it the client's way by the relay ends.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub turn_lifetime: Duration,
    /// Who is offered a relay of the gateway's own, at the TURN servers of `ice_servers` and with the secret of `turn_secret_file`: `off`,
    /// `bridges`, or `all`. A relay is for connections whose far end no other way leads to; most members' clients bring their own. Default
    /// `bridges`: one while a bridge looks for its way, given back when another way was found.
    pub relay: RelayUse,
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
            ice_interfaces: Vec::new(),
            ice_external_addresses: Vec::new(),
            ice_lite: false,
            ice_tcp: true,
            ice_servers: Vec::new(),
            turn_secret_file: None,
            turn_lifetime: Duration::from_secs(12 * 3600),
            relay: RelayUse::Bridges,
            shards: 0,
            srtp: SrtpPreference::Auto,
            publish_codecs: vec![Codec::H264, Codec::VP8, Codec::VP9, Codec::AV1],
        }
    }
}

/// Who is offered a relay of the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RelayUse {
    /// Nobody.
    Off,
    /// Bridges, each by one of its own.
    #[default]
    Bridges,
    /// Members too, all by one that is kept as long as the gateway runs.
    All,
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

/// A public address that leads to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External {
    /// The address.
    pub ip: IpAddr,
    /// The port there; that of `ice_port` where it is not said.
    pub port: Option<u16>,
}

impl FromStr for External {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = text.parse().map(|ip| Self { ip, port: None });
        let found = whole.or_else(|_| text.parse::<SocketAddr>().map(|it| Self { ip: it.ip(), port: Some(it.port()) }));
        let usable = found.ok().filter(|it| !it.ip.is_unspecified() && !it.ip.is_multicast() && it.port != Some(0));
        usable.ok_or_else(|| {
            format!(
                "\"{text}\" is not an address, or an address with a port: 203.0.113.7, 203.0.113.7:40000, [2001:db8::7]:40000"
            )
        })
    }
}

impl fmt::Display for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for External {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for External {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for External {
    fn schema_name() -> Cow<'static, str> {
        "External".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "examples": ["203.0.113.7", "203.0.113.7:40000"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_address_may_have_a_port() {
        for text in ["203.0.113.7", "203.0.113.7:40000", "2001:db8::7", "[2001:db8::7]:40000"] {
            assert_eq!(text.parse::<External>().unwrap().to_string(), text);
        }
        for text in ["", "example.net", "203.0.113.7:0", "0.0.0.0", "203.0.113.7:70000", "224.0.0.1", "2001:db8::7:x"] {
            assert!(text.parse::<External>().is_err(), "{text}");
        }
    }
}
