//! Tells it, by the crate `mdns-sd`: one thread, port 5353 shared with whoever else has it (Avahi).

use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

use super::{Service, Told, services};

/// For so long a goodbye is waited for at the end.
const GOODBYE: Duration = Duration::from_millis(300);

/// Tells the network of the gateway for as long as it lives.
pub struct Announcer {
    daemon: ServiceDaemon,
    told: Told,
}

impl Announcer {
    /// Begins to tell. Only on interfaces by which the gateway can be reached.
    pub fn start(told: Told) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let address = told.listen.ip();
        if address.is_unspecified() {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
            if address.is_ipv4() {
                daemon.disable_interface(IfKind::IPv6)?;
            }
        } else {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::Addr(address))?;
        }
        let announcer = Self { daemon, told };
        announcer.register()?;
        Ok(announcer)
    }

    /// The same with other rooms.
    pub fn set_rooms(&mut self, rooms: Vec<String>) -> Result<(), mdns_sd::Error> {
        if self.told.rooms == rooms {
            return Ok(());
        }
        self.told.rooms = rooms;
        self.register()
    }

    fn register(&self) -> Result<(), mdns_sd::Error> {
        services(&self.told).iter().try_for_each(|service| self.daemon.register(self.info(service)?))
    }

    fn info(&self, service: &Service) -> Result<ServiceInfo, mdns_sd::Error> {
        let Told { name, host, listen, .. } = &self.told;
        let host = format!("{host}.local.");
        let properties = service.properties.as_slice();
        let address = listen.ip();
        if address.is_unspecified() {
            let none: &[IpAddr] = &[];
            Ok(ServiceInfo::new(service.kind, name, &host, none, service.port, properties)?.enable_addr_auto())
        } else {
            ServiceInfo::new(service.kind, name, &host, address, service.port, properties)
        }
    }

    /// Says goodbye, so that nobody is shown what is gone. Blocks for 0.3 s at most.
    pub fn stop(self) {
        if let Ok(stopped) = self.daemon.shutdown() {
            let _ = stopped.recv_timeout(GOODBYE);
        }
    }
}
