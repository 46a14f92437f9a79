//! What signalling costs: memory per idle session, CPU per message, time a message takes; Portico beside the original servers.
//!
//! `make bench-signalling`, or `cargo bench --bench signalling -- --help`. It prints a table and asserts nothing; figures and how
//! to read them stand in docs/design/performance.md. `tests/bench_signalling.rs` runs the same with a handful of sessions.

mod floor;
mod load;
mod server;
mod speak;

use std::process::ExitCode;
use std::time::Duration;

use load::{Figures, Load};
use server::Server;
use speak::Speech;

const HELP: &str = "\
Signalling under load, Portico beside the original Node servers.

  --dialect NAME   peerjs, vamp, webrtc-star, sigver, algorea; may be repeated (default: all)
  --idle N         sessions that only stay (default 5000)
  --active N       sessions that talk in pairs (default 500; webrtc-star 100, since each hears of every other)
  --seconds N      how long the pairs talk (default 20)
  --rate N         messages per second of each talking session (default 10)
  --portico PATH   the binary (default target/release/portico)
  --only portico|original
";

fn main() -> ExitCode {
    let mut load = Load { idle: 5000, active: 500, time: Duration::from_secs(20), rate: 10, settle: Duration::from_secs(5) };
    let (mut dialects, mut only, mut portico) = (Vec::new(), None, "target/release/portico".to_owned());
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let Some(value) = arguments.next() else {
            print!("{HELP}");
            return ExitCode::from(64);
        };
        let number = || value.parse::<usize>().ok();
        if argument == "--floor"
            && let Ok(address) = value.parse()
        {
            return floor::run(address);
        }
        let taken = match argument.as_str() {
            "--dialect" => Speech::named(&value).map(|speech| dialects.push(speech)),
            "--idle" => number().map(|n| load.idle = n),
            "--active" => number().map(|n| load.active = n),
            "--seconds" => number().map(|n| load.time = Duration::from_secs(n as u64)),
            "--rate" => number().map(|n| load.rate = n.max(1)),
            "--portico" => {
                portico.clone_from(&value);
                Some(())
            }
            "--only" => {
                only = Some(value.clone());
                Some(())
            }
            _ => None,
        };
        if taken.is_none() {
            eprintln!("signalling: {argument} {value}: not understood\n\n{HELP}");
            return ExitCode::from(64);
        }
    }
    if dialects.is_empty() {
        dialects = Speech::ALL.to_vec();
    }
    raise_file_limit();
    print_machine();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!(
        "{:<12} {:<9} {:>6} {:>12} {:>12} {:>9} {:>9} {:>16} {:>8} {:>8}",
        "dialect", "server", "idle", "B/session", "idle CPU %", "sent", "arrived", "ms CPU/1000 msg", "p50 ms", "p99 ms"
    );
    let bare = row(&runtime, Speech::Floor, load, Some(Server::floor()));
    for speech in dialects {
        let load = Load { active: if speech == Speech::Star { load.active.min(100) } else { load.active }, ..load };
        let ours = row(&runtime, speech, load, (only.as_deref() != Some("original")).then(|| Server::portico(&portico)));
        let theirs =
            row(&runtime, speech, load, (only.as_deref() != Some("portico")).then(|| Server::original(speech)).flatten());
        if let (Some(ours), Some(bare)) = (&ours, &bare) {
            let share = ours.cpu_ms_per_1000 / bare.cpu_ms_per_1000;
            println!("{:<12} {:<9} {share:>69.3}× (Portico's cost in those of the bare relay)", speech.name(), "floor");
        }
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            println!(
                "{:<12} {:<9} {:>18.3}× {:>49.3}× (Portico's share of the original's)",
                speech.name(),
                "ratio",
                ours.bytes_per_session / theirs.bytes_per_session,
                ours.cpu_ms_per_1000 / theirs.cpu_ms_per_1000
            );
        }
    }
    ExitCode::SUCCESS
}

fn row(runtime: &tokio::runtime::Runtime, speech: Speech, load: Load, server: Option<Result<Server, String>>) -> Option<Figures> {
    let mut server = match server? {
        Ok(server) => server,
        Err(why) => {
            println!("{:<12} {why}", speech.name());
            return None;
        }
    };
    match runtime.block_on(load::run(&mut server, speech, load)) {
        Ok(figures) => {
            print_row(speech, &server, load, &figures);
            Some(figures)
        }
        Err(why) => {
            println!("{:<12} {:<9} failed: {why}", speech.name(), server.name);
            None
        }
    }
}

fn print_row(speech: Speech, server: &Server, load: Load, figures: &Figures) {
    println!(
        "{:<12} {:<9} {:>6} {:>12.0} {:>12.2} {:>9} {:>9} {:>16.2} {:>8.2} {:>8.2}",
        speech.name(),
        server.name,
        load.idle,
        figures.bytes_per_session,
        figures.idle_cpu_percent,
        figures.sent,
        figures.messages,
        figures.cpu_ms_per_1000,
        figures.p50_ms,
        figures.p99_ms
    );
}

/// Figures of a busy machine are worth nothing but their ratios.
fn print_machine() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, load {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
}

/// Each session is an open file on either side; the servers inherit the limit.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).is_err() {
        eprintln!("signalling: the limit of open files stays as it is");
    }
}
