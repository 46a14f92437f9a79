//! `portico schema`: the configuration's schema, an example, the reference of keys.

use std::process::ExitCode;

use super::{exit, print};
use crate::config;

/// Prints the configuration's JSON schema (for editors and other programs), an example, or the reference of keys.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  portico schema --example > portico.toml     a file with every key, each explained, all commented out
  portico schema > portico.schema.json        for an editor that completes and checks TOML (taplo, Even Better TOML)
  portico schema --keys | less                every key, what it takes and what it means")]
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
