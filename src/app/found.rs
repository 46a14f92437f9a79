//! Being found on the local network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use crate::config::Config;
use crate::ops::access::Access;
use crate::ops::mdns::{self, Told};
use crate::ops::net;
use crate::room::RoomConfig;
use crate::vocab::{Grant, Right, Rights};

/// What is told of the gateway for as long as it runs.
pub(super) struct Found {
    #[cfg(feature = "mdns")]
    announcer: Option<mdns::Announcer>,
}

impl Found {
    /// Tells the network where the gateway is, unless that is switched off or nobody else can reach it. What goes wrong is logged.
    pub(super) fn start(
        config: &Config,
        (listen, rtsp): (SocketAddr, Option<SocketAddr>),
        access: &Access,
        rooms: &[RoomConfig],
        tls: bool,
    ) -> Self {
        if !config.mdns.enabled || net::is_loopback(listen.ip()) {
            return Self::nothing();
        }
        let host = net::host_name();
        let told = Told {
            listen,
            rtsp: rtsp.filter(|rtsp| rtsp.ip() == listen.ip() || rtsp.ip().is_unspecified()).map(|rtsp| rtsp.port()),
            tls,
            name: if config.mdns.name.is_empty() { host.clone() } else { config.mdns.name.clone() },
            host,
            id: mdns::own_id(),
            rooms: open_rooms(access, rooms),
            open: anonymous(access).is_some_and(|grant| grant.rights != Rights::NONE),
        };
        Self::tell(told)
    }

    #[cfg(feature = "mdns")]
    fn tell(told: Told) -> Self {
        let name = told.name.clone();
        let announcer = match mdns::Announcer::start(told) {
            Ok(announcer) => {
                tracing::info!(name, "the local network is told");
                Some(announcer)
            }
            Err(error) => {
                tracing::warn!(%error, "the local network cannot be told where the gateway is");
                None
            }
        };
        Self { announcer }
    }

    #[cfg(not(feature = "mdns"))]
    fn tell(_told: Told) -> Self {
        Self {}
    }

    fn nothing() -> Self {
        Self {
            #[cfg(feature = "mdns")]
            announcer: None,
        }
    }

    /// After a reload.
    #[cfg_attr(not(feature = "mdns"), expect(clippy::unused_self, unused_variables, reason = "nothing is told"))]
    pub(super) fn set_rooms(&mut self, access: &Access, rooms: &[RoomConfig]) {
        #[cfg(feature = "mdns")]
        if let Some(announcer) = &mut self.announcer
            && let Err(error) = announcer.set_rooms(open_rooms(access, rooms))
        {
            tracing::warn!(%error, "the local network is not told of the new rooms");
        }
    }

    /// Says goodbye. Blocks for 0.3 s at most.
    pub(super) fn stop(self) {
        #[cfg(feature = "mdns")]
        if let Some(announcer) = self.announcer {
            announcer.stop();
        }
    }
}

/// What somebody from elsewhere may do without a token.
fn anonymous(access: &Access) -> Option<Grant> {
    // any address that is not this machine's own
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    access.grant(elsewhere, None, SystemTime::now()).ok()
}

/// The rooms that anybody may watch.
fn open_rooms(access: &Access, rooms: &[RoomConfig]) -> Vec<String> {
    let Some(grant) = anonymous(access) else { return Vec::new() };
    let open = rooms.iter().filter(|room| grant.allows(&room.name, Right::Subscribe));
    open.map(|room| room.name.as_str().to_owned()).collect()
}
