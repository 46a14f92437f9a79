//! `[[listener]]` and `[room_prefix]` of the configuration: where else dialects are served, and what rooms their clients get.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::peerjs::{PeerjsMount, PeerjsProfile};
use crate::room::DialectName;
use crate::vocab::RoomPrefix;

/// A port of its own for one dialect, where its clients expect it. TLS, access rules and limits are those of the main listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// What is spoken on it.
    pub dialect: ListenerDialect,
    /// Address and port to listen on. Default: the address of `http.listen` with the port that the dialect's clients expect:
    /// `algorea` 3001, `peerjs` 9000, `liberdus` 6000, `webrtc-star` 13579, `sigver` 8010.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    pub listen: Option<SocketAddr>,
    /// The path below which `peerjs` and `liberdus` clients are served. Default: `/` and `/liberdus-peer`, which these clients use
    /// at these ports. The others serve the paths that their clients use, whatever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The key that `peerjs` and `liberdus` clients must bring. Default: `peerjs` and `liberdus`. The key of a `[[peerjs.mount]]`
    /// leads to that; another one is a broker of its own, whose room is called as the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Put before the names of the rooms that clients of this listener ask for. Default: what `[room_prefix]` says of the dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_prefix: Option<RoomPrefix>,
}

/// What a listener of its own can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerDialect {
    /// AlgoreaForum's RTC workflow, at any path.
    Algorea,
    /// PeerJS.
    Peerjs,
    /// PeerJS as Liberdus's nodes use it.
    Liberdus,
    /// libp2p webrtc-star.
    WebrtcStar,
    /// MUTE's sigver; every path is a key.
    Sigver,
}

impl ListenerDialect {
    /// The port that its clients expect.
    pub fn port(self) -> u16 {
        match self {
            Self::Algorea => 3001,
            Self::Peerjs => 9000,
            Self::Liberdus => 6000,
            Self::WebrtcStar => 13579,
            Self::Sigver => 8010,
        }
    }

    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Algorea => "algorea",
            Self::Peerjs => "peerjs",
            Self::Liberdus => "liberdus",
            Self::WebrtcStar => "webrtc-star",
            Self::Sigver => "sigver",
        }
    }

    /// Whether its clients are told apart by path and key.
    pub fn has_keys(self) -> bool {
        matches!(self, Self::Peerjs | Self::Liberdus)
    }
}

impl ListenerConfig {
    /// Where it listens, given the main listener's address.
    pub fn address(&self, main: IpAddr) -> SocketAddr {
        self.listen.unwrap_or_else(|| SocketAddr::new(main, self.dialect.port()))
    }

    /// The PeerJS broker that it is; `None` for other dialects.
    pub fn peerjs_mount(&self) -> Option<PeerjsMount> {
        let (profile, path) = match self.dialect {
            ListenerDialect::Peerjs => (PeerjsProfile::Peerjs, Some("/".into())),
            ListenerDialect::Liberdus => (PeerjsProfile::Liberdus, None),
            ListenerDialect::Algorea | ListenerDialect::WebrtcStar | ListenerDialect::Sigver => return None,
        };
        Some(PeerjsMount { profile, path: self.path.clone().or(path), key: self.key.clone(), ..PeerjsMount::default() })
    }
}

/// What is put before the names of rooms, by dialect: `forum-` makes of a client's room `a` the room `forum-a` of everybody else.
/// Equal names are the same room whatever the dialect; this keeps a dialect's rooms apart. Clients see the names they use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoomPrefixes {
    /// Of tribe clients. Default none.
    pub tribe: RoomPrefix,
    /// Of AlgoreaForum clients. Default none.
    pub algorea: RoomPrefix,
    /// Of PeerJS clients. Default none.
    pub peerjs: RoomPrefix,
    /// Of Vamp clients. Default none.
    pub vamp: RoomPrefix,
    /// Of sigver clients. Default none.
    pub sigver: RoomPrefix,
    /// Of webrtc-star clients. Default none.
    pub webrtc_star: RoomPrefix,
}

impl RoomPrefixes {
    /// The prefix of a dialect's rooms.
    pub fn of(&self, dialect: DialectName) -> &RoomPrefix {
        match dialect {
            DialectName::Tribe => &self.tribe,
            DialectName::Algorea => &self.algorea,
            DialectName::Peerjs => &self.peerjs,
            DialectName::Vamp => &self.vamp,
            DialectName::Sigver => &self.sigver,
            DialectName::Star => &self.webrtc_star,
            DialectName::Page
            | DialectName::SocketIo
            | DialectName::Whip
            | DialectName::Whep
            | DialectName::Rtsp
            | DialectName::Bridge
            | DialectName::Source
            | DialectName::Mix => RoomPrefix::none(),
        }
    }
}
