//! Entry points for fuzzing: one per decoder of bytes from outside. Each takes any bytes and must neither panic nor keep more
//! than its bounds. `fuzz/` runs them under libFuzzer (`make fuzz`); `tests/fuzz_corpus.rs` replays what it found.
//!
//! Not an interface of the gateway: nothing else uses it.

mod channel;
mod world;

pub use world::{Step, What};

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::peer::negotiate;
use crate::signalling::{algorea, page, peerjs, sigver, socketio, star, tribe, vamp, whip};
use crate::vocab::{BearerCheck, BearerError, Grant, Identity, RoomId, RoomPrefix};
use world::World;

/// One decoder.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: the folder of its corpus.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All decoders.
pub const TARGETS: &[Target] = &[
    Target { name: "sdp", run: sdp },
    Target { name: "datagram", run: crate::peer::fuzz_datagram },
    Target { name: "whip", run: whip },
    Target { name: "tribe", run: tribe },
    Target { name: "page", run: page },
    Target { name: "algorea", run: algorea },
    Target { name: "sigver", run: sigver },
    Target { name: "peerjs", run: peerjs },
    Target { name: "socketio", run: socketio },
    Target { name: "bridge", run: crate::bridge::fuzz_portico },
    #[cfg(feature = "rtsp")]
    Target { name: "rtsp", run: crate::rtsp::fuzz },
    Target { name: "value", run: channel::value },
    Target { name: "netflux", run: channel::netflux },
    #[cfg(feature = "socketio")]
    Target { name: "engineio", run: engineio },
];

/// A session description: read, answered, and read again as WHIP does before it is used.
fn sdp(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = negotiate::summarise(text);
    negotiate::fuzz_description(text);
    for role in [whip::Role::Ingest, whip::Role::Egress] {
        let _ = whip::check(role, text);
    }
    let _ = whip::cut(text);
}

/// A trickle fragment, and what a restart makes of an offer with it. The two are split at the first zero byte.
fn whip(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (fragment, offer) = text.split_once('\0').unwrap_or((text, ""));
    if let Ok(fragment) = whip::Fragment::parse(fragment) {
        let _ = whip::restart(offer, &fragment);
    }
}

/// Tribe clients in one room.
fn tribe(bytes: &[u8]) {
    // what a bridge reads as a client
    if let Some(heard) = std::str::from_utf8(bytes).ok().and_then(tribe::client::read) {
        let _ = (heard.argument::<tribe::client::Joined>(), heard.argument::<tribe::client::SdpFrom>());
        let _ = (heard.argument::<tribe::client::CandidateFrom>(), heard.argument::<tribe::client::OrientationFrom>());
    }
    World::new(
        None,
        |id| id.to_string().to_uppercase(),
        |now| {
            let config = tribe::TribeConfig::default();
            Box::new(tribe::Tribe::new(now, tribe::Deps { bearer: Arc::new(Anyone), remote: None, config, wall: epoch() }))
        },
    )
    .run(bytes);
}

/// Page visitors in one room.
fn page(bytes: &[u8]) {
    World::new(
        None,
        |id| id.to_string(),
        |now| {
            let (access, grant) = (Arc::new(Anyone), Grant::all("fuzz"));
            Box::new(page::Page::new(now, page::Deps { access, grant, remote: None, ice_servers: Vec::new(), wall: epoch() }))
        },
    )
    .run(bytes);
}

/// AlgoreaForum clients in one room: each of the variant that it writes like.
fn algorea(bytes: &[u8]) {
    let _ = algorea::wire::read_bytes(bytes);
    World::new(None, algorea::wire::write_id, |_| {
        Box::new(algorea::Algorea::new(algorea::Deps {
            room: RoomId::new(algorea::DEFAULT_ROOM).expect("a short constant is a name"),
            grant: Grant::all("fuzz"),
            remote: None,
            variant: None,
            config: algorea::AlgoreaConfig { announce_leave: true, ..algorea::AlgoreaConfig::default() },
        }))
    })
    .run(bytes);
}

/// netflux clients of one group.
fn sigver(bytes: &[u8]) {
    let mut number = 0;
    let numbers = move || {
        number += 1;
        number
    };
    World::new(
        Some(Box::new(sigver::Groups::new(Box::new(numbers)))),
        |id| id.to_string(),
        |now| {
            let deps = sigver::Deps {
                address: sigver::Address::read("doc1", None),
                grant: Grant::all("fuzz"),
                remote: None,
                wall: epoch(),
            };
            Box::new(sigver::Sigver::new(now, deps))
        },
    )
    .run(bytes);
}

/// Clients on one Socket.IO endpoint, Vamp's and webrtc-star's, by their events. Their ids are `s0`, `s1` and so on.
fn socketio(bytes: &[u8]) {
    let opened = std::cell::Cell::new(0);
    let realm = star::StarRealm::new(star::StarConfig::default(), star::StarFigures::shared());
    World::new(
        Some(Box::new(realm)),
        |id| id.to_string(),
        |now| {
            let socket_id = format!("s{}", opened.replace(opened.get() + 1));
            let deps = socketio::Deps {
                access: Arc::new(Anyone),
                grant: Grant::all("fuzz"),
                remote: None,
                socket_id,
                vamp: vamp::VampConfig::default(),
                stores_clips: false,
                vamp_prefix: RoomPrefix::none().clone(),
                star: star::StarConfig::default(),
                star_room: star::StarConfig::default().room,
                star_prefix: RoomPrefix::none().clone(),
                wall: epoch(),
            };
            Box::new(socketio::Front::new(now, deps))
        },
    )
    .run(bytes);
}

/// The payload of a post, with the Socket.IO packets in it. The first byte says which protocol, and whether it came as bytes.
#[cfg(feature = "socketio")]
fn engineio(bytes: &[u8]) {
    use crate::signalling::transport::socketio::{Version, read_payload};
    let Some((kind, body)) = bytes.split_first() else { return };
    let version = if kind & 1 == 0 { Version::V3 } else { Version::V4 };
    let packets = read_payload(version, kind & 2 != 0, bytes::Bytes::copy_from_slice(body));
    assert!(packets <= body.len(), "a packet takes at least a byte");
}

/// PeerJS clients `p0` to `p3` of one broker, whose room is called `room`. One that comes back takes over the place of the next.
fn peerjs(bytes: &[u8]) {
    // what a bridge reads as a client
    if let Ok(Ok(peerjs::wire::Heard::Message { kind, payload: Some(payload), .. })) =
        std::str::from_utf8(bytes).map(peerjs::wire::hear)
    {
        let _ = peerjs::payload::read(kind, payload)
            .map(|part| (peerjs::payload::description(part.value), peerjs::payload::candidate(part.value)));
    }
    let clients = std::cell::Cell::new(0);
    let realm = peerjs::RealmConfig { reserved: "room".into(), limit: 100, expire: Duration::from_secs(5) };
    World::new(
        Some(Box::new(peerjs::PeerjsRealm::new(realm, peerjs::PeerjsFigures::shared()))),
        |id| id.to_string(),
        |now| {
            let client = clients.replace(clients.get() + 1) % 4;
            let who = peerjs::Introduction { id: format!("p{client}"), token: "t".into(), key: "k".into(), version: None };
            let deps = peerjs::Deps {
                room: RoomId::new("room").ok(),
                who,
                grant: Grant::all("fuzz"),
                remote: None,
                alive_timeout: Duration::from_secs(90),
            };
            Box::new(peerjs::Peerjs::new(now, deps))
        },
    )
    .run(bytes);
}

/// Takes every bearer at its word.
struct Anyone;

impl BearerCheck for Anyone {
    fn check(&self, _: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        let user_id: String = bearer.chars().take(16).collect();
        Ok(Identity { user_id, grant: Grant::all("fuzz") })
    }
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A fixed moment would do, but `Instant` has none.
fn start() -> Instant {
    Instant::now()
}
