//! Addresses of names that browsers made up for their machines.

use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{HostnameResolutionEvent, ServiceDaemon};

/// A browser on this network answers within some milliseconds; the question is repeated after 1 s.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks the local network.
pub struct Resolver {
    daemon: ServiceDaemon,
}

impl Resolver {
    /// Starts a thread, which waits.
    pub fn start() -> Result<Self, mdns_sd::Error> {
        Ok(Self { daemon: ServiceDaemon::new()? })
    }

    /// The addresses of a name, as in `1f2e….local`; none when nobody answers within 3 s.
    pub async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let name = format!("{name}.");
        let limit = u64::try_from(LIMIT.as_millis()).unwrap_or(u64::MAX);
        let Ok(events) = self.daemon.resolve_hostname(&name, Some(limit)) else { return Vec::new() };
        let mut found = Vec::new();
        while let Ok(event) = events.recv_async().await {
            match event {
                HostnameResolutionEvent::AddressesFound(_, addresses) => {
                    found = addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
                    break;
                }
                HostnameResolutionEvent::SearchTimeout(_) | HostnameResolutionEvent::SearchStopped(_) => break,
                _ => {}
            }
        }
        // it ends by itself at the limit as well
        let _ = self.daemon.stop_resolve_hostname(&name);
        found
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // nothing is waited for
        let _ = self.daemon.shutdown();
    }
}
