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
}

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
        Self { child, base, log, seen: Vec::new(), dir }
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

/// Runs a scenario and reads the JSON object on its last line.
pub fn json_of(mut command: Command, what: &str) -> Value {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{what} does not start: {e} (run make test)"));
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut out = String::new();
    let _ = child.stdout.take().expect("stdout is piped").read_to_string(&mut out);
    let status = child.wait().expect("the script ends");
    let errors = errors.join().unwrap_or_default();
    let last = out.lines().last().unwrap_or_default();
    let value: Value =
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{what} printed no JSON ({e}, {status}):\n{out}\n{errors}"));
    assert!(status.success() && value["ok"] != Value::Bool(false), "{what} failed: {value:#}\n{errors}");
    value
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
