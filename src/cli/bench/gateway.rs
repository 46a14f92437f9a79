//! The gateway under test: a process of its own, so that nothing of the measuring is in its figures.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for its address.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A room with a source that nobody watches, beside the room that the load meets in; that may be larger than the
/// defaults allow.
const CONFIG: &str = "[http.limits]\nmax_http_sessions = 1024\n\n[rooms]\nmax_members = 1024\n\n[[room]]\nname = \"idle\"\nsources = [\"test\"]\n\n[[source]]\nname = \"test\"\ntype = \"test\"\n";

/// A running gateway; stopped when dropped.
pub(super) struct Gateway {
    child: Child,
    folder: PathBuf,
    /// `http://127.0.0.1:PORT`.
    pub(super) base: String,
    /// From exec to the printed address.
    pub(super) started_in: Duration,
}

/// Why there is no gateway to measure.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    #[error("cannot start the gateway: {0}")]
    Start(#[from] io::Error),
    #[error("the gateway printed no address; it said:\n{0}")]
    Silent(String),
}

impl Gateway {
    /// Starts `portico run` on free ports of loopback, with a source that nobody watches.
    pub(super) fn start() -> Result<Self, GatewayError> {
        Self::start_with(CONFIG)
    }

    /// Starts `portico run` on free ports of loopback, with a configuration of the benchmark's own.
    pub(super) fn start_with(config: &str) -> Result<Self, GatewayError> {
        let folder = std::env::temp_dir().join(format!("portico-bench-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder)?;
        let file = folder.join("portico.toml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--config").arg(&file).args(["--listen", "127.0.0.1:0", "--ice-port", "0", "--log", "warn"]);
        // the figures are of the defaults, whatever this machine is set to
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTICO_")) {
            command.env_remove(name);
        }
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (tell, told) = mpsc::channel();
        read_lines(child.stdout.take(), tell.clone(), |line| {
            line.split_whitespace().find(|word| word.starts_with("http://")).map(|url| url.trim_end_matches('/').to_owned())
        });
        read_lines(child.stderr.take(), tell, |_| None);
        let mut gateway = Self { child, folder, base: String::new(), started_in: Duration::ZERO };
        let mut said = Vec::new();
        while let Ok(line) = told.recv_timeout(START_LIMIT.saturating_sub(began.elapsed())) {
            match line {
                Said::Address(url, at) => {
                    gateway.started_in = at.duration_since(began);
                    gateway.base = url;
                    return Ok(gateway);
                }
                Said::Line(line) => said.push(line),
            }
        }
        Err(GatewayError::Silent(said.join("\n")))
    }

    /// What the kernel says of it now.
    pub(super) fn sample(&self) -> io::Result<Sample> {
        Sample::of(self.child.id())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // the process may have ended already
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

enum Said {
    Address(String, Instant),
    Line(String),
}

/// Reads to the end, so that the gateway never waits for a full pipe.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    tell: mpsc::Sender<Said>,
    address: impl Fn(&str) -> Option<String> + Send + 'static,
) {
    let Some(pipe) = pipe else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let said = address(&line).map_or(Said::Line(line), |url| Said::Address(url, Instant::now()));
            // nobody listens after the start
            let _ = tell.send(said);
        }
    });
}

/// A process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Time on a processor of all its living threads.
    pub(super) busy: Duration,
    /// That of the media thread.
    pub(super) media: Duration,
    /// Times a thread went to sleep of its own will and was woken.
    pub(super) wakeups: u64,
    /// Resident bytes.
    pub(super) rss: u64,
    /// Resident bytes that belong to no file: what a second process of the kind would cost.
    pub(super) anonymous: u64,
    /// Open files and sockets.
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

impl Sample {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mut sample = Self {
            at: Instant::now(),
            busy: Duration::ZERO,
            media: Duration::ZERO,
            wakeups: 0,
            rss: field(&status, "VmRSS") * 1024,
            anonymous: field(&status, "RssAnon") * 1024,
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: field(&status, "Threads"),
        };
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let read = |name: &str| std::fs::read_to_string(task.join(name));
            // a thread may end between the listing and the reading
            let (Ok(times), Ok(status), Ok(name)) = (read("schedstat"), read("status"), read("comm")) else { continue };
            let busy =
                times.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos);
            sample.busy += busy;
            if name.starts_with("media-") {
                sample.media += busy;
            }
            sample.wakeups += field(&status, "voluntary_ctxt_switches");
        }
        Ok(sample)
    }
}

/// The number of a line `name:\t123 …`.
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_figures() {
        let sample = Sample::of(std::process::id()).unwrap();
        assert!(sample.busy > Duration::ZERO && sample.rss > 1 << 20 && sample.anonymous <= sample.rss);
        assert!(sample.descriptors >= 3 && sample.threads >= 1);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmRSS:\t    1234 kB\nnonvoluntary_ctxt_switches:\t5\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "VmRSS"), 1234);
        assert_eq!(field(status, "voluntary_ctxt_switches"), 7);
        assert_eq!(field(status, "VmHWM"), 0);
    }
}
