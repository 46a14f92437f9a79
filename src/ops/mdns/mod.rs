//! Being found on the local network: DNS-SD services by multicast DNS (RFC 6762, RFC 6763).
//!
//! `_http._tcp` or `_https._tcp` leads browsers to the page, `_portico._tcp` programs to the gateway, `_rtsp._tcp` players to its
//! streams. What is told is decided by
//! [`services`]; [`Announcer`] (feature `mdns`) tells it.

pub mod config;

#[cfg(feature = "mdns")]
mod announcer;
#[cfg(feature = "mdns")]
mod resolver;

#[cfg(feature = "mdns")]
pub use announcer::Announcer;
#[cfg(feature = "mdns")]
pub use resolver::Resolver;

use std::net::SocketAddr;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Longest text of one property: a byte gives its length (RFC 6763 §6.1), and `rooms=` is in it.
const MAX_ROOMS: usize = 240;
/// Longest name of a service (RFC 6763 §7.2: a DNS label).
pub const MAX_NAME: usize = 63;

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where the page is; not loopback.
    pub listen: SocketAddr,
    /// The port of RTSP, where it is served by the same interfaces.
    pub rtsp: Option<u16>,
    /// Whether it is `https`.
    pub tls: bool,
    /// The name that people see.
    pub name: String,
    /// The machine's name, without `.local`.
    pub host: String,
    /// Who this gateway is, whatever it is called. See [`gateway_id`].
    pub id: Option<String>,
    /// Rooms that anybody may watch, in the order of the configuration.
    pub rooms: Vec<String>,
    /// Whether something can be done without a token.
    pub open: bool,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its type, as in `_http._tcp.local.`.
    pub kind: &'static str,
    /// Its TXT record.
    pub properties: Vec<(&'static str, String)>,
    /// Where it is.
    pub port: u16,
}

/// The services of a gateway.
pub fn services(told: &Told) -> Vec<Service> {
    let page = if told.tls { "_https._tcp.local." } else { "_http._tcp.local." };
    let mut properties = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("scheme", if told.tls { "https" } else { "http" }.to_owned()),
        ("whep", "/whep/ROOM".to_owned()),
        ("whip", "/whip/ROOM/STREAM".to_owned()),
        ("auth", if told.open { "none" } else { "token" }.to_owned()),
    ];
    properties.extend(told.id.clone().map(|id| ("id", id)));
    if !told.rooms.is_empty() {
        properties.push(("rooms", list(&told.rooms)));
    }
    let port = told.listen.port();
    let mut services = vec![
        Service { kind: page, properties: vec![("path", "/".to_owned())], port },
        Service { kind: "_portico._tcp.local.", properties, port },
    ];
    // the room that is most likely wanted; players take the path from here
    let path = format!("/{}", told.rooms.first().map_or("main", String::as_str));
    services.extend(told.rtsp.map(|port| Service { kind: "_rtsp._tcp.local.", properties: vec![("path", path)], port }));
    services
}

/// As many as fit, with commas between.
fn list(rooms: &[String]) -> String {
    let mut text = String::new();
    for room in rooms {
        if text.len() + room.len() + 1 > MAX_ROOMS {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(room);
    }
    text
}

/// An id of this machine for Portico alone: the machine's own id (machine-id(5)) is confidential and does not leave it. `None` where there
/// is none.
pub fn gateway_id(machine_id: &str) -> Option<String> {
    let machine_id = machine_id.trim();
    if machine_id.len() != 32 || !machine_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(machine_id.as_bytes()).ok()?;
    mac.update(b"portico gateway id");
    Some(mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// [`gateway_id`] of this machine.
pub fn own_id() -> Option<String> {
    std::fs::read_to_string("/etc/machine-id").ok().as_deref().and_then(gateway_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told {
            listen: "192.168.1.7:8780".parse().unwrap(),
            rtsp: None,
            tls: true,
            name: "Hall".into(),
            host: "board".into(),
            id: Some("ab".into()),
            rooms: vec!["main".into(), "yard".into()],
            open: true,
        }
    }

    #[test]
    fn browsers_and_programs_are_told() {
        let services = services(&told());
        let [page, gateway] = &services[..] else { panic!("{services:?}") };
        assert_eq!((page.kind, &page.properties[..], page.port), ("_https._tcp.local.", &[("path", "/".to_owned())][..], 8780));
        let property = |name: &str| gateway.properties.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert_eq!(gateway.kind, "_portico._tcp.local.");
        assert_eq!((property("rooms"), property("auth"), property("id")), (Some("main,yard"), Some("none"), Some("ab")));
        assert_eq!((property("version"), property("scheme")), (Some(env!("CARGO_PKG_VERSION")), Some("https")));
    }

    #[test]
    fn nothing_is_told_of_what_needs_a_token() {
        let services = services(&Told { tls: false, rooms: Vec::new(), open: false, id: None, ..told() });
        let [page, gateway] = &services[..] else { panic!("{services:?}") };
        assert_eq!(page.kind, "_http._tcp.local.");
        assert!(gateway.properties.contains(&("auth", "token".to_owned())));
        assert!(!gateway.properties.iter().any(|(key, _)| matches!(*key, "rooms" | "id")));
    }

    #[test]
    fn players_are_told_where_rtsp_is_served() {
        let rtsp = |rooms: &[&str]| {
            let rooms = rooms.iter().map(|&room| room.into()).collect();
            services(&Told { rtsp: Some(8554), rooms, ..told() }).pop().unwrap()
        };
        let path = |path: &str| vec![("path", path.to_owned())];
        assert_eq!(rtsp(&["yard"]), Service { kind: "_rtsp._tcp.local.", properties: path("/yard"), port: 8554 });
        assert_eq!(rtsp(&[]).properties, path("/main"));
    }

    #[test]
    fn a_property_is_never_too_long() {
        let rooms = (0..200).map(|n| format!("room-{n}")).collect();
        for service in services(&Told { rooms, ..told() }) {
            assert!(service.kind.split('.').next().unwrap().len() <= 16, "a service's name has at most 15 characters");
            for (key, value) in service.properties {
                assert!(key.len() + 1 + value.len() <= 255 && !value.ends_with(','), "{key}={value}");
            }
        }
    }

    #[test]
    fn the_machines_own_id_does_not_leave_it() {
        let machine = "0123456789abcdef0123456789abcdef";
        let id = gateway_id(&format!("{machine}\n")).unwrap();
        assert!(id.len() == 32 && id != machine);
        assert_eq!(gateway_id(machine), Some(id));
        assert_eq!(gateway_id("uninitialized"), None);
        assert_eq!(gateway_id(""), None);
    }
}
