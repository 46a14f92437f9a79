//! `portico check`: is the configuration right?

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::run::KeyArgs;
use super::{ConfigArgs, colour, exit, print, tell};
use crate::config::{self, Inputs, Problem, report};

/// Which configuration to check, and how to tell.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # what the service would read
  portico check
  # a file before it is installed
  portico check ./portico.toml
  # for scripts
  portico check --json | jq .problems

Exit codes: 0 right (warnings may have been printed), 78 wrong.")]
pub struct Args {
    /// The configuration file; the same as --config FILE.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
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
