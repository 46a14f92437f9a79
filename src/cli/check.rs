//! `portico check`: is the configuration right?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::run::KeyArgs;
use super::{ConfigArgs, colour, exit, print, tell};
use crate::config::{self, Inputs, Problem, report};
use crate::media::board::{Board, BoardError};
use crate::media::element;

/// Which configuration to check, and how to tell.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # what the service would read
  portico check
  # a file before it is installed
  portico check ./portico.toml
  # a file for a board of your own
  portico check --board ./anvil.toml
  # for scripts
  portico check --json | jq .problems

Exit codes: 0 right (warnings may have been printed), 78 wrong.")]
pub struct Args {
    /// The configuration file; the same as --config FILE.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// Check this board file instead: its keys and its caps
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "config"])]
    pub board: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Flags that set keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) fn main(args: &Args) -> ExitCode {
    if let Some(file) = &args.board {
        return board(file, args.json);
    }
    let file = args.file.clone().or_else(|| args.config.config.clone());
    let outcome = config::load(&Inputs::of_process(file, args.keys.flags()));
    let code = if outcome.is_ok() { exit::OK } else { ExitCode::from(exit::CONFIG) };
    if args.json {
        let (problems, files, config) = match &outcome {
            Ok(loaded) => (&loaded.warnings, json!(loaded.files), json!(loaded.config)),
            Err(errors) => (&errors.problems, Value::Null, Value::Null),
        };
        let problems: Vec<Value> = problems.iter().map(as_json).collect();
        let told = json!({"ok": outcome.is_ok(), "problems": problems, "files": files, "config": config});
        // the configuration may hold passwords in addresses of cameras
        print(&config::mask_secrets(&format!("{told:#}\n")));
        return code;
    }
    match outcome {
        Ok(loaded) => {
            tell(&report(&loaded.warnings, colour(&std::io::stderr())));
            print(&format!("OK\n{}\n", loaded.summary()));
        }
        Err(errors) => tell(&errors.report(colour(&std::io::stderr()))),
    }
    code
}

/// Checks a board file.
fn board(file: &Path, as_json: bool) -> ExitCode {
    if element::gstreamer_version().is_none() {
        tell("portico check: GStreamer cannot start\n");
        return ExitCode::from(exit::UNAVAILABLE);
    }
    let checked = Board::check(file);
    let code = if checked.is_ok() { exit::OK } else { ExitCode::from(exit::CONFIG) };
    if as_json {
        let told = match &checked {
            Ok(board) => json!({"ok": true, "problems": [], "board": board}),
            Err(error) => json!({"ok": false, "problems": [board_problem(error)], "board": null}),
        };
        print(&format!("{told:#}\n"));
        return code;
    }
    match checked {
        Ok(board) => {
            let (encoders, decoders, compositors) = (board.encoders.len(), board.decoders.len(), board.compositors.len());
            let Board { name, description, .. } = board;
            print(&format!(
                "OK\nboard {name}: {description}; encoders {encoders}, decoders {decoders}, compositors {compositors}\n"
            ));
        }
        Err(error @ BoardError::Read { .. }) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            tell(&format!("portico check: {error}{cause}\n"));
        }
        Err(error) => tell(&format!("{error}\n")),
    }
    code
}

fn board_problem(error: &BoardError) -> Value {
    let (message, place) = match error {
        BoardError::Parse { file, line, column, message } => {
            (message.clone(), json!({"file": file, "line": line, "column": column}))
        }
        other => (other.to_string(), Value::Null),
    };
    json!({"severity": "error", "key": null, "message": message, "help": null, "place": place})
}

fn as_json(problem: &Problem) -> Value {
    let place = problem.place.as_ref().map(|place| {
        let (line, column) = place.source.position(place.span.start);
        match place.source.is_file {
            true => json!({"file": place.source.name, "line": line, "column": column}),
            false => json!({"source": place.source.name}),
        }
    });
    json!({
        "severity": if problem.warning { "warning" } else { "error" },
        "key": problem.key,
        "message": problem.message,
        "help": problem.help,
        "place": place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_file_is_right_or_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("anvil.toml");
        let code = |text: &str, as_json| {
            std::fs::write(&file, text).unwrap();
            format!("{:?}", board(&file, as_json))
        };
        let (right, wrong) = (format!("{:?}", exit::OK), format!("{:?}", ExitCode::from(exit::CONFIG)));
        for as_json in [false, true] {
            assert_eq!(code("description = \"Anvil\"\npci = [\"8086:*\"]", as_json), right);
            assert_eq!(code("description = 3", as_json), wrong);
        }
        assert_eq!(format!("{:?}", board(&dir.path().join("absent.toml"), false)), wrong);
        std::fs::write(&file, "description = \"x\"\nspeed = 3\n").unwrap();
        let problem = board_problem(&Board::check(&file).unwrap_err());
        assert_eq!((&problem["place"]["line"], &problem["severity"]), (&2.into(), &"error".into()));
        assert!(problem["message"].as_str().unwrap().contains("unknown field `speed`"));
    }
}
