//! Two homes and the internet between them, as network namespaces: each home has a router that translates addresses. Needs root.
//!
//! ```text
//! here 192.168.1.2 ── 192.168.1.1 router 198.18.0.2 ── 198.18.0.1 internet 198.18.0.5 ── 198.18.0.6 router 192.168.2.1 ── 192.168.2.2 there
//! ```

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::netns::{SKIP, ip};
use super::relay;

/// How a router treats what comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// One public port for each port inside, and from outside anybody may use it: a port that is forwarded.
    FullCone,
    /// One public port for each port inside, for those alone who were written to.
    PortRestricted,
    /// Another public port for each far end.
    Symmetric,
}

/// Public addresses: the home here, and the two of the internet's server.
pub const PUBLIC: &str = "198.18.0.2";
pub const SERVERS: [&str; 2] = ["198.18.0.1", "198.18.0.5"];
/// Inside the homes.
pub const HERE: &str = "192.168.1.2";
const THERE: &str = "192.168.2.2";
/// The gateway's ports, which the router here knows.
pub const HTTP_PORT: u16 = 8780;
pub const ICE_PORT: u16 = 8781;

/// All of it; gone when dropped.
pub struct Internet {
    prefix: String,
    relay: Option<(Child, tempfile::TempDir)>,
}

impl Internet {
    /// Makes it. `None`, with a line that says so, when the environment says to skip.
    pub fn new(here: Nat, there: Nat) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
            eprintln!("skipped: {SKIP}=1");
            return None;
        }
        let prefix = format!("portico-{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let this = Self { prefix, relay: None };
        for name in ["net", "ra", "rb", "here", "there"] {
            let name = this.name(name);
            ip(&["netns", "add", &name]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        this.link(("net", "homea", &format!("{}/30", SERVERS[0])), ("ra", "wan", &format!("{PUBLIC}/30")));
        this.link(("net", "homeb", &format!("{}/30", SERVERS[1])), ("rb", "wan", "198.18.0.6/30"));
        this.link(("ra", "lan", "192.168.1.1/24"), ("here", "eth0", &format!("{HERE}/24")));
        this.link(("rb", "lan", "192.168.2.1/24"), ("there", "eth0", &format!("{THERE}/24")));
        for (name, gateway) in [("ra", SERVERS[0]), ("rb", SERVERS[1]), ("here", "192.168.1.1"), ("there", "192.168.2.1")] {
            ip(&["-n", &this.name(name), "route", "add", "default", "via", gateway]);
        }
        // what is for nobody vanishes, as out there: coturn ends a relay whose socket says that there is no way
        let net = this.name("net");
        ip(&["-n", &net, "link", "add", "name", "void", "type", "veth", "peer", "name", "nobody"]);
        ip(&["-n", &net, "link", "set", "dev", "void", "arp", "off", "up"]);
        ip(&["-n", &net, "link", "set", "dev", "nobody", "up"]);
        ip(&["-n", &net, "route", "add", "default", "dev", "void"]);
        for name in ["net", "ra", "rb"] {
            this.run(name, "sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        }
        this.translate("ra", here, &format!("iifname wan tcp dport {HTTP_PORT} dnat to {HERE}"), HERE);
        this.translate("rb", there, "", THERE);
        Some(this)
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn link(&self, one: (&str, &str, &str), other: (&str, &str, &str)) {
        let (left, right) = (self.name(one.0), self.name(other.0));
        ip(&["-n", &left, "link", "add", "name", one.1, "type", "veth", "peer", "name", other.1, "netns", &right]);
        for (name, device, address) in [(&left, one.1, one.2), (&right, other.1, other.2)] {
            // no link-local IPv6: it would come a second or two later, and Chromium drops what it is loading when an address comes
            ip(&["-n", name, "link", "set", "dev", device, "addrgenmode", "none"]);
            ip(&["-n", name, "addr", "add", address, "dev", device]);
            ip(&["-n", name, "link", "set", "dev", device, "up"]);
        }
    }

    fn translate(&self, router: &str, nat: Nat, forwarded: &str, inside: &str) {
        let random = if nat == Nat::Symmetric { "fully-random" } else { "" };
        let open =
            if nat == Nat::FullCone { format!("iifname wan udp dport 1024-65535 dnat to {inside}") } else { String::new() };
        // without the filter a packet that comes first would take the port that the way out needs
        let rules = format!(
            "table ip nat {{
                chain out {{ type nat hook postrouting priority 100; oifname wan masquerade {random}; }}
                chain in {{ type nat hook prerouting priority -100;
                    {forwarded}
                    {open}
                }}
            }}
            table ip filter {{
                chain own {{ type filter hook input priority 0; policy drop; iifname lan accept; ct state established,related accept; }}
            }}"
        );
        self.run(router, "nft", &[&rules]);
    }

    fn run(&self, name: &str, program: &str, args: &[&str]) {
        let done = self.command(name, program).args(args).output().expect("ip runs");
        assert!(done.status.success(), "{program} in {name}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A command that runs in one of its places: `here`, `there`, `net`.
    pub fn command(&self, place: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(place), program]);
        command
    }

    /// A STUN and TURN server on the internet: Debian's coturn, with this secret.
    pub fn start_relay(&mut self, secret: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = self.command("net", "turnserver");
        for server in SERVERS {
            command.args(["--listening-ip", server]);
        }
        command.args(["--relay-ip", SERVERS[0]]);
        let process = relay::start(command, secret, folder.path());
        self.relay = Some((process, folder));
        let end = Instant::now() + PATIENCE;
        while !self.listens("net", 3478) {
            assert!(Instant::now() < end, "turnserver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends that server and starts it anew, with nothing of what it knew.
    pub fn restart_relay(&mut self, secret: &str) {
        self.end_relay();
        self.start_relay(secret);
    }

    fn end_relay(&mut self) {
        if let Some((mut relay, _)) = self.relay.take() {
            // it may have ended by itself
            let _ = relay.kill();
            let _ = relay.wait();
        }
    }

    /// Cuts the homes off from each other, or joins them again.
    pub fn cut(&self, cut: bool) {
        let rules = match cut {
            true => "table ip cut {\nchain through {\ntype filter hook forward priority 0; policy drop\n}\n}",
            false => "delete table ip cut",
        };
        self.run("net", "nft", &[rules]);
    }

    fn listens(&self, place: &str, port: u16) -> bool {
        let shown = self.command(place, "ss").args(["-Hlnu", &format!("sport = :{port}")]).output().expect("ss runs");
        !shown.stdout.is_empty()
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.end_relay();
        for name in ["net", "ra", "rb", "here", "there"] {
            // their pairs of interfaces go with them
            let _ = Command::new("ip").args(["netns", "del", &self.name(name)]).output();
        }
    }
}
