//! Codecs are tried in processes of their own, by the real program: what is found is kept, shown by `portico doctor`, and obeyed.

mod boards;
mod faults;
mod gateway;
mod mixed;
#[path = "../support/picture.rs"]
#[allow(dead_code, reason = "used in part")]
mod picture;
mod quirks;
mod standins;
mod strain;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/whep.rs"]
#[allow(dead_code, reason = "used in part")]
mod whep;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn portico(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    command.env("STATE_DIRECTORY", state).env("PORTICO_CONFIG", state.join("portico.toml")).env_remove("RUST_LOG");
    if !state.join("portico.toml").exists() {
        std::fs::write(state.join("portico.toml"), "").unwrap();
    }
    command
}

/// What `portico doctor` tells with these arguments.
fn doctor(command: &mut Command, arguments: &[&str]) -> Value {
    let output = command.arg("doctor").arg("--json").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The first row of an element in a role.
fn row<'a>(report: &'a Value, role: &str, element: &str) -> &'a Value {
    let mut rows = report["elements"].as_array().unwrap().iter();
    rows.find(|row| row["role"] == role && row["element"] == element).unwrap_or_else(|| panic!("{element} in {report}"))
}

#[test]
fn software_codecs_are_tried_on_request_and_what_was_found_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let before = doctor(&mut portico(state.path()), &["--board", "generic"]);
    assert!(row(&before, "encoder", "x264enc").get("trial").is_none());
    let tried = doctor(&mut portico(state.path()), &["--board", "generic", "--probe"]);
    for (role, element) in [("encoder", "x264enc"), ("encoder", "vp8enc"), ("decoder", "vp8dec"), ("decoder", "jpegdec")] {
        let trial = &row(&tried, role, element)["trial"];
        assert_eq!(trial["verdict"], "works", "{element}: {trial}");
    }
    assert!(row(&tried, "encoder", "opusenc").get("trial").is_none(), "sound is not tried");
    let kept = doctor(&mut portico(state.path()), &["--board", "generic"]);
    assert_eq!(row(&kept, "encoder", "x264enc"), row(&tried, "encoder", "x264enc"));
    // a verdict is of one board's setting
    let other = doctor(&mut portico(state.path()), &["--board", "raspberry-pi-5"]);
    assert!(row(&other, "encoder", "x264enc").get("trial").is_none());
}

#[test]
fn the_process_of_a_trial_is_no_command_for_people() {
    let state = tempfile::tempdir().unwrap();
    let help = portico(state.path()).arg("--help").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("probe-one"));
    let mut child = portico(state.path());
    child.arg("probe-one").stdin(std::process::Stdio::null());
    assert_eq!(child.output().unwrap().status.code(), Some(64));
}
