//! Addresses and names of this machine, and when they change.

mod changes;

pub use changes::Changes;

use std::net::IpAddr;

use crate::vocab::RoomPattern;

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
    addresses_of(&[])
}

/// The same of some interfaces: of those that a pattern names and none with `!` before it; without any pattern, or with such alone, of all others.
pub fn addresses_of(patterns: &[String]) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let wanted = interfaces.into_iter().filter(|interface| is_wanted(&interface.name, patterns));
    ordered(wanted.map(|interface| interface.ip()).collect())
}

fn is_wanted(name: &str, patterns: &[String]) -> bool {
    let fits = |pattern: &str| RoomPattern::fits(pattern, name);
    let (without, with): (Vec<&str>, Vec<&str>) =
        patterns.iter().map(String::as_str).partition(|pattern| pattern.starts_with('!'));
    let named = with.is_empty() || with.into_iter().any(fits);
    named && !without.into_iter().filter_map(|pattern| pattern.strip_prefix('!')).any(fits)
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
    fn interfaces_are_named_by_patterns() {
        let wanted = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            ["eth0", "eth1", "wlan0", "docker0", "br-7f"]
                .into_iter()
                .filter(|name| is_wanted(name, &patterns))
                .collect::<Vec<_>>()
        };
        assert_eq!(wanted(&[]).len(), 5);
        assert_eq!(wanted(&["eth*"]), ["eth0", "eth1"]);
        assert_eq!(wanted(&["!docker*", "!br-*"]), ["eth0", "eth1", "wlan0"]);
        assert_eq!(wanted(&["eth*", "wlan0", "!eth1"]), ["eth0", "wlan0"]);
        assert!(addresses_of(&["lo".into()]).iter().all(|address| is_loopback(*address)));
        assert!(!addresses_of(&["lo".into()]).is_empty());
    }

    #[test]
    fn this_machine_has_a_name_and_loopback() {
        assert!(!host_name().is_empty());
        assert!(certificate_names().contains(&"localhost".to_owned()));
        assert!(machine_addresses().iter().any(|address| is_loopback(*address)));
    }
}
