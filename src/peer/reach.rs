//! PURE. Where far ends are told to find the gateway: its own addresses, and public ones that lead to them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::External;

/// Type preferences (RFC 8445 §5.1.2.1); libwebrtc's for TCP from host to host.
const SERVER_REFLEXIVE: u32 = 100;
const HOST_TCP: u32 = 90;
/// Below those of host candidates.
const PUBLIC_TCP: u32 = 80;
/// Of the passive side of a TCP candidate (RFC 6544 §4.2).
const PASSIVE: u32 = 4;

/// What descriptions say of where the gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Host candidates: the gateway's addresses, with its UDP port.
    pub(super) hosts: Arc<[SocketAddr]>,
    /// Where far ends may connect by TCP, at the same addresses.
    pub(super) tcp_port: Option<u16>,
    /// Addresses of routers that lead to a host candidate.
    pub(super) public: Arc<[Public]>,
    /// Addresses at TURN servers that lead here.
    pub(super) relays: Arc<[SocketAddr]>,
    /// Only far ends check (RFC 8445 §2.5).
    pub(super) lite: bool,
}

/// A public address that leads to one of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Public {
    pub(super) address: SocketAddr,
    /// The host candidate behind it.
    pub(super) base: SocketAddr,
    /// TCP is led there too: so the configuration says; what a STUN server sees holds for UDP alone.
    pub(super) tcp: bool,
}

impl Reach {
    /// A description with what the engine knows nothing of: public addresses, and with `tcp` passive TCP candidates (RFC 6544 §4.5), which
    /// stand last: by TCP one lost packet holds up all after it.
    pub(super) fn complete(&self, text: &str, tcp: bool) -> String {
        let mut out = String::with_capacity(text.len() + 512);
        let mut line = |line: &str| {
            out.push_str(line);
            out.push_str("\r\n");
        };
        let mut session = true;
        for given in text.lines() {
            session &= !given.starts_with("m=");
            match given {
                "a=end-of-candidates" => self.candidates(tcp).iter().for_each(|candidate| line(candidate)),
                "a=ice-options:trickle" if session && self.lite => line("a=ice-lite"),
                // the engine may know addresses that the machine has lost since
                _ if self.is_gone(given) => continue,
                _ => {}
            }
            line(given);
        }
        out
    }

    /// What datagrams may leave from.
    pub(super) fn ways(&self) -> impl Iterator<Item = &SocketAddr> {
        self.hosts.iter().chain(self.relays.iter())
    }

    fn is_gone(&self, line: &str) -> bool {
        let Some(candidate) = line.strip_prefix("a=candidate:") else { return false };
        let address = candidate.split(' ').nth(4).and_then(|address| address.parse::<IpAddr>().ok());
        address.is_some_and(|address| !self.ways().any(|way| way.ip() == address))
    }

    fn candidates(&self, tcp: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, Public { address, base, .. }) in (0u32..).zip(self.public.iter()) {
            let priority = SERVER_REFLEXIVE << 24 | (65_535 - index.min(65_535)) << 8 | 255;
            let (ip, port) = (address.ip(), address.port());
            lines.push(format!("a=candidate:srflx{index} 1 udp {priority} {ip} {port} typ srflx {}", related(base, base.port())));
        }
        let Some(tcp_port) = self.tcp_port.filter(|_| tcp) else { return lines };
        let priority = |kind: u32, index: u32| kind << 24 | (PASSIVE << 13 | (8191 - index.min(8191))) << 8 | 255;
        for (index, host) in (0u32..).zip(self.hosts.iter()) {
            // RTP and RTCP are one component
            let (priority, ip) = (priority(HOST_TCP, index), host.ip());
            lines.push(format!("a=candidate:tcp{index} 1 tcp {priority} {ip} {tcp_port} typ host tcptype passive"));
        }
        for (index, Public { address, base, .. }) in (0u32..).zip(self.public.iter().filter(|public| public.tcp)) {
            let (priority, ip) = (priority(PUBLIC_TCP, index), address.ip());
            // where UDP and TCP have the same port here, the router's rule is taken to be for both
            let port = if tcp_port == base.port() { address.port() } else { tcp_port };
            let related = related(base, tcp_port);
            lines.push(format!("a=candidate:ptcp{index} 1 tcp {priority} {ip} {port} typ srflx {related} tcptype passive"));
        }
        lines
    }
}

fn related(base: &SocketAddr, port: u16) -> String {
    format!("raddr {} rport {port}", base.ip())
}

/// The public addresses that the configuration names, each before the first host candidate of its family that others reach.
pub(super) fn configured(external: &[External], hosts: &[SocketAddr]) -> Vec<Public> {
    let base = |ip: IpAddr| {
        let same = |host: &&SocketAddr| host.is_ipv4() == ip.is_ipv4();
        hosts.iter().filter(same).find(|host| !host.ip().is_loopback()).or_else(|| hosts.iter().find(same))
    };
    let public = |external: &External| {
        let base = *base(external.ip)?;
        let address = SocketAddr::new(external.ip, external.port.unwrap_or(base.port()));
        (!hosts.contains(&address)).then_some(Public { address, base, tcp: true })
    };
    external.iter().filter_map(public).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "v=0\r\na=ice-options:trickle\r\nm=audio 9\r\na=ice-options:trickle\r\na=end-of-candidates\r\n";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn lines(reach: &Reach, tcp: bool) -> Vec<String> {
        let text = reach.complete(TEXT, tcp);
        assert!(text.ends_with("\r\n") && !text.contains("\r\n\r\n"), "{text:?}");
        text.lines().filter(|line| line.starts_with("a=candidate") || *line == "a=ice-lite").map(str::to_owned).collect()
    }

    #[test]
    fn without_anything_more_a_description_is_what_it_was() {
        assert_eq!(Reach { hosts: [at("10.0.0.2:8781")].into(), ..Reach::default() }.complete(TEXT, true), TEXT);
    }

    #[test]
    fn public_addresses_stand_before_tcp_and_below_hosts() {
        let hosts = [at("10.0.0.2:8781"), at("[fd00::2]:8781")];
        let named = ["203.0.113.7", "203.0.113.7:40000", "[2001:db8::1]:9"].map(|text| text.parse().unwrap());
        let reach = Reach {
            hosts: hosts.into(),
            tcp_port: Some(8781),
            public: configured(&named, &hosts).into(),
            lite: true,
            ..Reach::default()
        };
        insta::assert_snapshot!(lines(&reach, true).join("\n"), @r"
        a=ice-lite
        a=candidate:srflx0 1 udp 1694498815 203.0.113.7 8781 typ srflx raddr 10.0.0.2 rport 8781
        a=candidate:srflx1 1 udp 1694498559 203.0.113.7 40000 typ srflx raddr 10.0.0.2 rport 8781
        a=candidate:srflx2 1 udp 1694498303 2001:db8::1 9 typ srflx raddr fd00::2 rport 8781
        a=candidate:tcp0 1 tcp 1520435199 10.0.0.2 8781 typ host tcptype passive
        a=candidate:tcp1 1 tcp 1520434943 fd00::2 8781 typ host tcptype passive
        a=candidate:ptcp0 1 tcp 1352663039 203.0.113.7 8781 typ srflx raddr 10.0.0.2 rport 8781 tcptype passive
        a=candidate:ptcp1 1 tcp 1352662783 203.0.113.7 40000 typ srflx raddr 10.0.0.2 rport 8781 tcptype passive
        a=candidate:ptcp2 1 tcp 1352662527 2001:db8::1 9 typ srflx raddr fd00::2 rport 8781 tcptype passive
        ");
        assert_eq!(lines(&reach, false).len(), 4, "an offer has no TCP");
        // a host candidate of UDP has type preference 126 (RFC 8445 §5.1.2.2)
        let highest = lines(&reach, true).iter().filter_map(|line| line.split(' ').nth(3)?.parse::<u32>().ok()).max();
        assert!(highest < Some(126 << 24), "{highest:?}");
    }

    #[test]
    fn an_address_without_one_of_its_family_behind_it_is_left_out() {
        let named = ["2001:db8::1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        assert_eq!(configured(&named, &[at("10.0.0.2:8781")]), [], "the second is a host candidate already");
        let behind = configured(&named[..1], &[at("[::1]:5"), at("[fd00::2]:5")]);
        assert_eq!(behind, [Public { address: at("[2001:db8::1]:5"), base: at("[fd00::2]:5"), tcp: true }]);
    }
}
