//! A network namespace with a veth pair to it: another machine, as far as addresses go. Needs root.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Skips, aloud, what needs a namespace.
pub const SKIP: &str = "PORTICO_TEST_NO_NETNS";

/// A namespace; removed, with its veth pair, when dropped.
pub struct Namespace {
    /// Its name, for `ip netns exec`.
    pub name: String,
    /// This side's address.
    pub host: Ipv4Addr,
    veth: String,
}

impl Namespace {
    /// Makes one. `None`, with a line that says so, when the environment says to skip; panics with a sentence when it cannot.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
            eprintln!("skipped: {SKIP}=1");
            return None;
        }
        // process ids have at most 22 bits; names of interfaces at most 15 characters
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let veth = format!("pt{pid}x{count}");
        // a subnet of four addresses out of 198.18.0.0/15, which is for tests (RFC 2544)
        let subnet = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (pid.wrapping_mul(4).wrapping_add(count) % (1 << 15)) * 4;
        let (host, guest) = (Ipv4Addr::from(subnet + 1), Ipv4Addr::from(subnet + 2));
        let inner = format!("{veth}n");
        let namespace = Self { name: format!("portico-{veth}"), host, veth };
        let name = namespace.name.as_str();
        ip(&["netns", "add", name]);
        ip(&["link", "add", &namespace.veth, "type", "veth", "peer", "name", &inner, "netns", name]);
        // no link-local IPv6: it would come a second or two later, and Chromium drops what it is loading when an address comes
        ip(&["link", "set", "dev", &namespace.veth, "addrgenmode", "none"]);
        ip(&["-n", name, "link", "set", "dev", &inner, "addrgenmode", "none"]);
        ip(&["addr", "add", &format!("{host}/30"), "dev", &namespace.veth]);
        ip(&["-n", name, "addr", "add", &format!("{guest}/30"), "dev", &inner]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&["-n", name, "link", "set", &inner, "up"]);
        ip(&["link", "set", &namespace.veth, "up"]);
        namespace.wait_carrier(&inner);
        Some(namespace)
    }

    /// Waits until the far end is in service, so that nothing changes under a browser that starts now.
    fn wait_carrier(&self, inner: &str) {
        for _ in 0..100 {
            let shown =
                Command::new("ip").args(["-n", &self.name, "-o", "link", "show", "dev", inner]).output().expect("ip runs");
            if String::from_utf8_lossy(&shown.stdout).contains("state UP") {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{inner} did not come up within 5 s");
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // the far end of the pair goes with this one
        let _ = Command::new("ip").args(["link", "del", &self.veth]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

pub fn ip(args: &[&str]) {
    let advice = format!("a network namespace is needed: run as root on a kernel that permits it, or set {SKIP}=1 to skip this");
    let done = Command::new("ip").args(args).output().unwrap_or_else(|e| panic!("{advice} (ip: {e}; Debian package iproute2)"));
    assert!(done.status.success(), "{advice} (ip {}: {})", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
}
