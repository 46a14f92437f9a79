//! The benchmark of signalling with a handful of sessions, so that it cannot rot: every message of every dialect arrives. How long
//! anything takes is not looked at.

#[allow(dead_code)] // not all figures are looked at
#[path = "../benches/signalling/load.rs"]
mod load;
#[allow(dead_code)] // the benchmark starts the original servers as well
#[path = "../benches/signalling/server.rs"]
mod server;
#[allow(dead_code)] // its command line names the dialects
#[path = "../benches/signalling/speak.rs"]
mod speak;

use std::time::Duration;

use load::Load;
use server::Server;
use speak::Speech;

/// Sessions that only stay, and two pairs that talk for a second.
fn everything_arrives(speech: Speech) {
    let load = Load { idle: 5, active: 4, time: Duration::from_secs(1), rate: 10, burst: 2, settle: Duration::from_millis(200) };
    let mut server = Server::portico(env!("CARGO_BIN_EXE_portico")).expect("the gateway starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(load::run(&mut server, speech, load)).expect("the load runs");
    assert!(figures.sent > 0, "{speech:?}: {figures:?}");
    assert_eq!(figures.messages, figures.sent, "{speech:?}: {figures:?}");
    assert!(figures.bytes_per_session.is_finite() && figures.cpu_ms_per_1000.is_finite(), "{speech:?}: {figures:?}");
}

#[test]
fn peerjs() {
    everything_arrives(Speech::Peerjs);
}

#[test]
fn vamp() {
    everything_arrives(Speech::Vamp);
}

#[test]
fn webrtc_star() {
    everything_arrives(Speech::Star);
}

#[test]
fn sigver() {
    everything_arrives(Speech::Sigver);
}

#[test]
fn algorea() {
    everything_arrives(Speech::Algorea);
}
