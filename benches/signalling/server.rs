//! A server under test: started, asked what it costs, stopped.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::speak::Speech;

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server; killed when dropped.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
    _config: Option<tempfile::NamedTempFile>,
}

impl Server {
    /// Portico with its limits raised to what the load needs.
    pub fn portico(binary: &str) -> Result<Self, String> {
        let address = free_address();
        let mut config = tempfile::Builder::new().suffix(".toml").tempfile().map_err(|error| error.to_string())?;
        // everything else as it is by default, the log included; loopback has no limits of connections
        let text = "[rooms]\nmax_rooms = 10000\nmax_members = 100000\n[media]\nice_addresses = [\"127.0.0.1\"]\n\
                    [clips]\nstore_in_mesh = false\n[peerjs]\nconcurrent_limit = 100000\n[star]\nmax_peers = 100000\n";
        config.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
        let mut command = Command::new(binary);
        command.args(["run", "--ice-port", "0", "--listen", &address.to_string(), "--config"]).arg(config.path());
        Self::start("portico", command, address, Some(config))
    }

    /// This program as the barest relay.
    pub fn floor() -> Result<Self, String> {
        let address = free_address();
        let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
        command.args(["--floor", &address.to_string()]);
        Self::start("floor", command, address, None)
    }

    /// The original server of a dialect, from `tests/reference/node_modules`; `None` for a dialect that has none.
    pub fn original(speech: Speech) -> Option<Result<Self, String>> {
        let address = free_address();
        let script = speech.original()?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
        if !folder.join("node_modules").exists() {
            return Some(Err("the original servers are not installed: tools/ensure-reference-servers".into()));
        }
        let mut command = Command::new("node");
        command.arg(folder.join(script)).arg(address.port().to_string()).current_dir(&folder);
        Some(Self::start("original", command, address, None))
    }

    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        config: Option<tempfile::NamedTempFile>,
    ) -> Result<Self, String> {
        let shown = format!("{command:?}");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| format!("{shown}: {error}"))?;
        let mut this = Self { name, address, child, _config: config };
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = this.child.try_wait() {
                return Err(format!("{shown} ended: {status}"));
            }
            if Instant::now() > until {
                return Err(format!("{shown} does not listen on {address}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // what is loaded late is loaded now
        std::thread::sleep(Duration::from_secs(1));
        Ok(this)
    }

    /// Resident bytes.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or_default() * 1024.0
    }

    /// Processor time used so far by all of its threads that live, in milliseconds. `/proc/PID/stat` counts in steps of 10 ms.
    pub fn cpu_ms(&self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let used = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        threads.filter_map(|thread| used(thread.path())).sum::<f64>() / 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
    listener.local_addr().expect("an address")
}
