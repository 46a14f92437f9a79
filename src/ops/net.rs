//! Addresses and names of this machine.

use std::net::IpAddr;

/// Whether only this machine can reach such an address: 127.0.0.0/8, ::1, and the former written as IPv6.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether an address holds on one link only (RFC 3927, RFC 4291 §2.5.6): useless without naming the link.
pub fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The machine's addresses that are not link-local: IPv4 before IPv6, loopback last. Empty when the system does not tell.
pub fn machine_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    ordered(interfaces.into_iter().map(|interface| interface.ip()).collect())
}

fn ordered(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.retain(|address| !is_link_local(*address));
    addresses.sort_by_key(|address| (is_loopback(*address), address.is_ipv6(), *address));
    addresses.dedup();
    addresses
}

/// The machine's name, without domain; `localhost` when it has none.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match name.split('.').next() {
        Some(short) if !short.is_empty() => short.to_owned(),
        _ => "localhost".into(),
    }
}

/// Every name and address under which somebody may open the page: what a self-signed certificate is made for.
pub fn certificate_names() -> Vec<String> {
    let host = host_name();
    let names = [format!("{host}.local"), host, "localhost".into()];
    names.into_iter().chain(machine_addresses().iter().map(IpAddr::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_seen_through_mapped_addresses() {
        for text in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(text.parse().unwrap()), "{text}");
        }
        for text in ["0.0.0.0", "::", "192.168.1.7", "::ffff:10.0.0.1"] {
            assert!(!is_loopback(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn addresses_are_ordered_by_use() {
        let given = ["::1", "fe80::1", "127.0.0.1", "fd00::7", "169.254.3.4", "192.168.1.7", "192.168.1.7"];
        let sorted: Vec<String> = ordered(given.map(|a| a.parse().unwrap()).to_vec()).iter().map(IpAddr::to_string).collect();
        assert_eq!(sorted, ["192.168.1.7", "fd00::7", "127.0.0.1", "::1"]);
    }

    #[test]
    fn this_machine_has_a_name_and_loopback() {
        assert!(!host_name().is_empty());
        assert!(certificate_names().contains(&"localhost".to_owned()));
        assert!(machine_addresses().iter().any(|address| is_loopback(*address)));
    }
}
