//! Harness of the integration tests: a real gateway process, and the scripts that drive real clients against it.
#![allow(dead_code)] // each test file uses a part of it

pub mod film;
pub mod internet;
pub mod jpeg;
pub mod netns;
pub mod relay;
pub mod transcript;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything that a healthy machine does within seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    /// `http://127.0.0.1:PORT`, no slash at the end.
    pub base: String,
    log: mpsc::Receiver<String>,
    seen: Vec<String>,
    dir: tempfile::TempDir,
    /// Its end tells the thread that kills a gateway of a test that never ends.
    _alive: mpsc::Sender<()>,
}

/// Longest life of a gateway in a test. It is killed then, so that whatever waits for it without a limit comes to an end.
const GATEWAY_LIMIT: Duration = Duration::from_secs(1200);

impl Gateway {
    /// Starts `portico run` on free ports of loopback with this configuration.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with more arguments.
    pub fn start_with(config: &str, args: &[&str]) -> Self {
        Self::start_in(config, args, &[])
    }

    /// The same with more environment.
    pub fn start_in(config: &str, args: &[&str], environment: &[(&str, String)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_portico")), config, args, environment)
    }

    /// The same by a command that runs the program somewhere, as in a network namespace; its arguments are added.
    pub fn start_by(mut command: Command, config: &str, args: &[&str], environment: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("portico.toml");
        std::fs::write(&file, config).expect("the configuration is written");
        command.arg("run").arg("--config").arg(&file).env("PORTICO_TLS__STATE_DIR", dir.path());
        // how busy or hot the machine of the tests is must not show; tests of that set it in `environment`
        command.env("PORTICO_STRAIN__ENABLED", "false");
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !args.contains(&"--ice-port") {
            command.args(["--ice-port", "0"]);
        }
        command.args(args).envs(environment.iter().map(|(key, value)| (key, value)));
        Self::start_command(command, dir)
    }

    /// One that somebody else has put together, for instance a program of another kind of processor.
    pub fn start_command(mut command: Command, dir: tempfile::TempDir) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the gateway starts");
        let (tell, log) = mpsc::channel();
        let (tell_base, base) = mpsc::channel();
        let stderr = child.stderr.take().expect("stderr is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let tell_out = tell.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(at) = line.find("http").filter(|_| line.contains("://")) {
                    let _ =
                        tell_base.send(line[at..].split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned());
                }
                let _ = tell_out.send(line);
            }
        });
        let Ok(base) = base.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let lines: Vec<String> = log.try_iter().collect();
            panic!("the gateway printed no address:\n{}", lines.join("\n"));
        };
        let (_alive, ended) = mpsc::channel();
        let pid = child.id().to_string();
        std::thread::spawn(move || {
            if ended.recv_timeout(GATEWAY_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("a gateway was still in use after {GATEWAY_LIMIT:?}: it is killed");
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        Self { child, base, log, seen: Vec::new(), dir, _alive }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A folder that lives as long as the gateway.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for a log line that contains the text.
    pub fn wait_log(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("no log line with {text:?} in:\n{}", self.seen.join("\n"));
    }

    /// Everything logged so far.
    pub fn log(&mut self) -> String {
        self.seen.extend(self.log.try_iter());
        self.seen.join("\n")
    }

    /// Waits for it to end by itself.
    pub fn wait_end(&mut self) -> std::process::ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the gateway is a child") {
                return status;
            }
            assert!(Instant::now() < until, "the gateway does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM; returns how it ended and how long that took.
    pub fn terminate(mut self) -> (std::process::ExitStatus, Duration) {
        let start = Instant::now();
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
        (self.child.wait().expect("the gateway ends"), start.elapsed())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- gateway's log\n{}\n---", self.log());
        }
    }
}

/// The tests' folder.
pub fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Runs a Node script of `tests/clients` and reads the JSON object on its last line; panics with what it said if it failed.
pub fn node(script: &str, args: &[&str]) -> Value {
    let mut command = Command::new("node");
    command.arg(tests_dir().join("clients").join(script)).args(args);
    json_of(command, script)
}

/// How a gateway comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By SIGTERM: it says goodbye.
    Stopped,
    /// By SIGKILL.
    Killed,
}

/// Runs a script while its gateway goes and comes back on the same port. The script gets one more argument, a file that it makes
/// when all is as it should be; once the gateway is back there is one of the same name and `.back`.
pub fn node_through_restart(gateway: Gateway, config: &str, end: End, script: &str, args: &[&str]) -> Value {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (live, back) = (dir.path().join("live"), dir.path().join("live.back"));
    let listen = gateway.base.trim_start_matches("http://").to_owned();
    let mut args = args.to_vec();
    args.push(live.to_str().expect("a plain path"));
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| node(script, &args));
        let start = Instant::now();
        while !live.exists() {
            assert!(!clients.is_finished() && start.elapsed() < PATIENCE, "the clients of {script} never were live");
            std::thread::sleep(Duration::from_millis(50));
        }
        match end {
            End::Stopped => assert!(gateway.terminate().0.success(), "a clean end"),
            End::Killed => drop(gateway),
        }
        let _again = Gateway::start_with(config, &["--listen", &listen]);
        std::fs::write(&back, "").expect("the file is made");
        clients.join().expect("the clients came back")
    })
}

/// The same for a Python script with aiortc.
pub fn aiortc(script: &str, args: &[&str]) -> Value {
    let mut command = Command::new(tests_dir().join(".venv/bin/python"));
    command.arg(tests_dir().join("clients").join(script)).args(args);
    json_of(command, script)
}

/// The same for a Python script with GStreamer.
pub fn system_python(script: &str, args: &[&str]) -> Value {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(tests_dir().join("clients").join(script)).args(args);
    json_of(command, script)
}

/// Longest time that a script may take; one that takes longer is ended, and its test fails instead of never ending. Scripts with a
/// browser say what they hang on a little earlier.
const SCRIPT_LIMIT: Duration = Duration::from_secs(630);

/// Runs a scenario and reads the JSON object on its last line.
pub fn json_of(command: Command, what: &str) -> Value {
    json_within(command, what, SCRIPT_LIMIT)
}

/// The same for a script that takes a time of its own.
pub fn json_within(mut command: Command, what: &str, limit: Duration) -> Value {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{what} does not start: {e} (run make test)"));
    let errors = read_aside(child.stderr.take().expect("stderr is piped"));
    let out = read_aside(child.stdout.take().expect("stdout is piped"));
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait().expect("the script is a child") {
            Some(status) => break Some(status),
            None if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = |read: mpsc::Receiver<String>| read.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
    let (out, errors) = (text(out), text(errors));
    let Some(status) = status else { panic!("{what} was not done after {limit:?}:\n{out}\n{errors}") };
    let last = out.lines().last().unwrap_or_default();
    let value: Value =
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{what} printed no JSON ({e}, {status}):\n{out}\n{errors}"));
    assert!(status.success() && value["ok"] != Value::Bool(false), "{what} failed: {value:#}\n{errors}");
    value
}

/// Reads everything on a thread of its own: a grandchild may hold the pipe open for longer than the child lives.
fn read_aside(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = from.read_to_string(&mut text);
        let _ = tell.send(text);
    });
    read
}

/// A JSON document of a gateway in a network namespace, asked for from inside by a command that runs a program there.
pub fn read_inside(mut inside: Command, address: &str) -> Value {
    let script = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=30).read())";
    let done = inside.args(["-c", script, address]).output().expect("ip runs");
    let text = String::from_utf8_lossy(&done.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{address}: {e}: {text}{}", String::from_utf8_lossy(&done.stderr)))
}

/// Pages of any origin may connect, as those of PeerJS applications do.
pub const ANY_ORIGIN: &str = "[http]\nallowed_origins = [\"*\"]\n";

/// What an address answers, where nothing else is asynchronous.
pub fn read(address: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { http().get(address).send().await.expect("an answer").text().await.expect("text") })
}

/// Status and body of what an address answers.
pub fn fetch(address: &str) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let answer = http().get(address).send().await.expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
    })
}

/// A client for plain HTTP.
pub fn http() -> reqwest::Client {
    // reqwest wants one even for plain HTTP; a second call finds it there
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).build().expect("an HTTP client")
}

/// A configuration with one small test source in room `main`.
pub const TEST_SOURCE: &str = r#"
[[room]]
name = "main"
sources = ["test"]

[[source]]
name = "test"
type = "test"
width = 640
height = 360
framerate = 30
"#;
