//! The configuration: one struct composed of those that live beside the code they configure.
//!
//! Later layers win: built-in values, the file, `conf.d/*.toml` beside it, `PORTICO_SECTION__KEY`, flags. Reading reports every
//! problem, not only the first:
//!
//! ```text
//! texts ─► tree (values with places) ─► check against the schema ─► merge ─► serde ─► validate ─► Config, warnings
//! ```

mod check;
mod describe;
mod load;
mod problem;
mod shape;
mod tree;
mod validate;

pub use describe::{example, reference};
pub use load::{DEFAULT_FILE, Flags, Inputs, Loaded, load, parse};
pub use problem::{ConfigErrors, Place, Problem, Source, mask_secrets, report};
pub use shape::{Key, Kind, Shape, TextForm, Word, schema};

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::bridge::BridgeConfig;
use crate::channel::{ClipsConfig, RpcConfig};
use crate::event::EventsConfig;
use crate::http::config::HttpConfig;
use crate::media::SpeakerConfig;
use crate::media::config::{PictureConfig, SourceConfig, SourceKind, SourcesConfig, TestConfig, V4l2Config};
use crate::media::record::{RecordConfig, RecordingConfig};
use crate::media::strain::StrainConfig;
use crate::ops::access::AccessConfig;
use crate::ops::logging::LogConfig;
use crate::ops::mdns::config::MdnsConfig;
use crate::ops::tls::TlsConfig;
use crate::peer::MediaConfig;
use crate::room::{RoomConfig, RoomsConfig};
use crate::rtsp::RtspConfig;
use crate::signalling::algorea::AlgoreaConfig;
use crate::signalling::listener::{ListenerConfig, RoomPrefixes};
use crate::signalling::peerjs::PeerjsConfig;
use crate::signalling::star::StarConfig;
use crate::signalling::tribe::TribeConfig;
use crate::signalling::vamp::VampConfig;
use crate::vocab::{RoomId, SourceName};

/// Everything that can be set. Every key has a default; an empty file runs the main job on this machine alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The listener of the page, the API and every dialect.
    pub http: HttpConfig,
    /// The media plane.
    pub media: MediaConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// Certificates.
    pub tls: TlsConfig,
    /// Whether and how the local network is told of the gateway.
    pub mdns: MdnsConfig,
    /// Limits and habits of all rooms.
    pub rooms: RoomsConfig,
    /// Habits of all sources.
    pub sources: SourcesConfig,
    /// What sources do when the board is hot or an encoder too slow.
    pub strain: StrainConfig,
    /// The board's loudspeaker, on which a room is heard.
    pub speaker: SpeakerConfig,
    /// Where recordings are kept, and how much of them.
    pub recording: RecordingConfig,
    /// Streams for players and recorders by RTSP.
    pub rtsp: RtspConfig,
    /// The dialect of live-webrtcsignaling clients.
    pub tribe: TribeConfig,
    /// The dialect of AlgoreaForum clients.
    pub algorea: AlgoreaConfig,
    /// The dialect of Vamp clients.
    pub vamp: VampConfig,
    /// The dialect of libp2p's webrtc-star clients.
    pub star: StarConfig,
    /// What is put before the names of rooms, by dialect.
    pub room_prefix: RoomPrefixes,
    /// The dialect of PeerJS and simple-peerjs clients.
    pub peerjs: PeerjsConfig,
    /// Recordings in flight (clips) of vamp clients.
    pub clips: ClipsConfig,
    /// Requests over a data channel that local HTTP services answer.
    pub rpc: RpcConfig,
    /// Events for a broker: who joins and leaves which room.
    pub events: EventsConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// Rooms with settings of their own. Default: one room `main`, when no `[[source]]` is listed either.
    pub room: Vec<RoomConfig>,
    /// Cameras, files and streams. Default: one source in the room `main`, when no `[[room]]` is listed either: the first camera,
    /// or the test picture where there is none.
    pub source: Vec<SourceConfig>,
    /// What is recorded from the start, whenever it is there. Default none.
    pub record: Vec<RecordConfig>,
    /// More ports, each for one dialect, where its clients expect it. Default none.
    pub listener: Vec<ListenerConfig>,
    /// Rooms joined to remote places: WHIP and WHEP endpoints, tribe and PeerJS servers. Default none.
    pub bridge: Vec<BridgeConfig>,
}

/// Lists whose entries have names: a later layer replaces the entry of the same name and appends others.
const MERGED_BY_NAME: [&str; 3] = ["room", "source", "bridge"];

/// The rooms and sources that really run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The listed rooms.
    pub rooms: Vec<RoomConfig>,
    /// The sources.
    pub sources: Vec<SourceConfig>,
}

impl Effective {
    /// Everything that the media plane opens: the sources, and the mixes of the rooms that are mixed.
    pub fn all_sources(&self) -> Vec<SourceConfig> {
        let mix = |room: &RoomConfig| {
            let kind = SourceKind::Mix(room.mix.clone());
            Some(SourceConfig { name: room.mix_source()?, kind, bitrate: room.mix.bitrate, audio_device: None })
        };
        self.sources.iter().cloned().chain(self.rooms.iter().filter_map(mix)).collect()
    }
}

impl Config {
    /// Every address that is listened on: the main listener's, then the others in order, then RTSP's where it is served.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let main = self.http.listen;
        let listeners = self.listener.iter().map(|listener| listener.address(main.ip()));
        std::iter::once(main).chain(listeners).chain(self.rtsp.listen).collect()
    }

    /// Whether only this machine can reach the gateway.
    pub fn is_local(&self) -> bool {
        self.addresses().iter().all(|address| crate::ops::net::is_loopback(address.ip()))
    }

    /// Name of the room that an empty configuration has.
    pub const MAIN_ROOM: &str = "main";
    /// Name of the automatic source when it is a camera.
    pub const AUTO_CAMERA: &str = "camera";
    /// Name of the automatic source when it is the test picture.
    pub const AUTO_TEST: &str = "test";

    /// The rooms and sources that run, given whether any camera is there. Listed ones are taken as they are; when neither a room
    /// nor a source is listed, a room `main` holds the first camera or, without one, the test picture. Listed sources without any
    /// listed room are all in the room `main`.
    pub fn effective(&self, cameras_present: bool) -> Effective {
        let rooms_of = |sources: &[SourceConfig]| {
            vec![RoomConfig {
                name: RoomId::new(Self::MAIN_ROOM).expect("a short constant is a name"),
                topology: Default::default(),
                max_members: None,
                sources: sources.iter().map(|source| source.name.clone()).collect(),
                mix: Default::default(),
            }]
        };
        match (self.room.is_empty(), self.source.is_empty()) {
            (true, true) => {
                let sources = vec![auto_source(cameras_present)];
                Effective { rooms: rooms_of(&sources), sources }
            }
            (true, false) => Effective { rooms: rooms_of(&self.source), sources: self.source.clone() },
            (false, _) => Effective { rooms: self.room.clone(), sources: self.source.clone() },
        }
    }

    /// The sources that run; see [`Self::effective`].
    pub fn effective_sources(&self, cameras_present: bool) -> Vec<SourceConfig> {
        self.effective(cameras_present).sources
    }

    /// The listed rooms that run; see [`Self::effective`].
    pub fn effective_rooms(&self, cameras_present: bool) -> Vec<RoomConfig> {
        self.effective(cameras_present).rooms
    }
}

fn auto_source(cameras_present: bool) -> SourceConfig {
    let (name, kind) = if cameras_present {
        let camera = V4l2Config { device: "any".into(), picture: PictureConfig::default(), format: Default::default() };
        (Config::AUTO_CAMERA, SourceKind::V4l2(camera))
    } else {
        (Config::AUTO_TEST, SourceKind::Test(TestConfig::default()))
    };
    SourceConfig {
        name: SourceName::new(name).expect("a short constant is a name"),
        kind,
        bitrate: crate::media::config::default_bitrate(),
        audio_device: None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
