//! One trial in a process of its own: started, awaited with a deadline, killed if need be.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::observed::{Ending, Observed};
use super::{Trial, run};

/// Longest time a candidate gets. A software encoder needs a second of it on a slow board, loading GStreamer's registry some more.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// The subcommand that [`main`] answers to.
pub const SUBCOMMAND: &str = "probe-one";
/// Largest trial that is read, and largest answer, bytes.
const LARGEST: u64 = 64 * 1024;
/// How often a running child is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Signals that end a process from outside: SIGHUP, SIGINT, SIGTERM.
const FROM_OUTSIDE: [i32; 3] = [1, 2, 15];

/// How trials are started.
#[derive(Clone, Debug)]
pub struct Runner {
    /// A program that answers as [`main`] does.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Longest time for one trial.
    pub deadline: Duration,
}

impl Runner {
    /// This very program, also when its file has been replaced meanwhile.
    pub fn this_program() -> Self {
        Self::of(Path::new("/proc/self/exe"))
    }

    /// Another copy of this program.
    pub fn of(program: &Path) -> Self {
        Self { program: program.into(), arguments: vec![SUBCOMMAND.into()], deadline: DEADLINE }
    }

    /// Runs one trial. Blocks for the deadline at the longest, and a moment more. `stop` ends it early: asked every 20 ms.
    pub fn run(&self, trial: &Trial, stop: &dyn Fn() -> bool) -> Ending {
        let text = match serde_json::to_vec(trial) {
            Ok(text) => text,
            Err(error) => return Ending::Interrupted(error.to_string()),
        };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // what is told to this process alone
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].iter().for_each(
            |name| {
                command.env_remove(name);
            },
        );
        // a Ctrl-C is for the parent
        let mut child = match command.process_group(0).spawn() {
            Ok(child) => child,
            Err(error) => return Ending::Interrupted(format!("no process for it: {error}")),
        };
        if let Some(mut stdin) = child.stdin.take() {
            // one that died has no ear; how it died is seen below
            let _ = stdin.write_all(&text);
        }
        let (tell, told) = mpsc::sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            // ends with the child; one that cannot be killed keeps this thread, as it keeps its process
            std::thread::spawn(move || {
                let mut answer = Vec::new();
                let _ = stdout.take(LARGEST).read_to_end(&mut answer);
                let _ = tell.send(answer);
            });
        }
        let begun = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => {
                    // a grandchild may hold the pipe open; its words are not waited for
                    let answer = told.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                    return match (parse(&answer), status.signal(), status.code()) {
                        (_, Some(signal), _) if FROM_OUTSIDE.contains(&signal) => Ending::Interrupted("it was stopped".into()),
                        (_, Some(signal), _) => Ending::Crashed(signal),
                        (Some(observed), None, _) => Ending::Told(Box::new(observed)),
                        (None, None, Some(0) | None) => Ending::Mute(None),
                        (None, None, code) => Ending::Mute(code),
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    end(child);
                    return Ending::Interrupted(error.to_string());
                }
            }
            if stop() {
                end(child);
                return Ending::Interrupted("the codecs were needed".into());
            }
            if begun.elapsed() >= self.deadline {
                end(child);
                return Ending::Hung(self.deadline.as_secs());
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Kills the child and waits for its end, 1 s at the longest: one that is stuck in a driver cannot be ended by anybody.
fn end(mut child: Child) {
    let _ = child.kill();
    for _ in 0..50 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// The last line that is an answer: plugins may print, too.
fn parse(answer: &[u8]) -> Option<Observed> {
    let text = String::from_utf8_lossy(answer);
    text.lines().rev().find_map(|line| serde_json::from_str::<Observed>(line).ok()).map(Observed::bounded)
}

/// What the child process does: reads a trial from stdin, runs it, prints what it saw. Returns the exit code.
pub fn main() -> u8 {
    // ends with its parent, and leaves no image of its memory behind
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let mut text = Vec::new();
    if std::io::stdin().lock().take(LARGEST).read_to_end(&mut text).is_err() {
        return 1;
    }
    let trial: Trial = match serde_json::from_slice(&text) {
        Ok(trial) => trial,
        Err(error) => {
            eprintln!("portico {SUBCOMMAND}: stdin is no trial: {error}");
            return 64;
        }
    };
    let observed = run(&trial).bounded();
    match serde_json::to_string(&observed).map(|line| writeln!(std::io::stdout().lock(), "\n{line}")) {
        Ok(Ok(())) => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::board::{Board, Candidate};

    #[test]
    fn the_answer_is_found_among_noise_and_bounded() {
        let long = "x".repeat(1000);
        let noise = format!("hello\n{{\"stage\":\"ended\",\"left\":3,\"error\":\"{long}\"}}\nbye\n");
        let observed = parse(noise.as_bytes()).unwrap();
        assert_eq!((observed.left, observed.error.unwrap().len()), (3, Observed::LONGEST));
        assert_eq!(parse(b"\xff\xfe not json"), None);
        assert_eq!(parse(br#"{"stage":"ended","unknown":1}"#), None);
    }

    #[test]
    fn other_programs_are_judged_by_how_they_end() {
        let board = Board::generic();
        let trial = Trial::of(Candidate::Encoder(&board.encoders[0]), &board).unwrap();
        let ending = |script: &str, seconds: u64, stop: bool| {
            let arguments = vec!["-c".into(), script.into()];
            let runner = Runner { program: "/bin/sh".into(), arguments, deadline: Duration::from_secs(seconds) };
            runner.run(&trial, &|| stop)
        };
        assert_eq!(ending("exec sleep 600", 1, false), Ending::Hung(1));
        assert!(matches!(ending("exec sleep 600", 60, true), Ending::Interrupted(_)));
        assert_eq!(ending("kill -SEGV $$", 60, false), Ending::Crashed(11));
        assert!(matches!(ending("kill -TERM $$", 60, false), Ending::Interrupted(_)));
        assert_eq!(ending("exit 3", 60, false), Ending::Mute(Some(3)));
        assert_eq!(ending("cat >/dev/null", 60, false), Ending::Mute(None));
        assert!(matches!(ending("cat >/dev/null; echo '{\"stage\":\"ended\"}'", 60, false), Ending::Told(_)));
        let gone = Runner::of(Path::new("/nonexistent"));
        assert!(matches!(gone.run(&trial, &|| false), Ending::Interrupted(_)));
    }
}
