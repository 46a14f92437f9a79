//! `portico schema`: the configuration's schema, an example, the reference of keys.

use std::process::ExitCode;

use super::{exit, print};
use crate::config;

/// What to print.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # a file with every key, each explained, all commented out
  portico schema --example > portico.toml
  # every key, what it takes and what it means
  portico schema --keys | less
  # for an editor that completes and checks TOML
  portico schema > portico.schema.json")]
pub struct Args {
    /// Print an example file with every key instead.
    #[arg(long, conflicts_with = "keys")]
    pub example: bool,
    /// Print the reference of keys as Markdown instead.
    #[arg(long)]
    pub keys: bool,
}

pub(super) fn main(args: &Args) -> ExitCode {
    match (args.example, args.keys) {
        (true, _) => print(&config::example()),
        (_, true) => print(&config::reference()),
        _ => print(&format!("{:#}\n", config::schema())),
    }
    exit::OK
}
