//! `portico bench count`: forwarding without a network. Not shown in the help: it prints nothing a user could use, but
//! `tools/count-instructions` runs it under callgrind.

use std::process::ExitCode;

use super::{BenchError, exit, failed};
use crate::cli;
use crate::peer::load::rehearse;

/// How much.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "count")]
pub(super) struct Args {
    /// Who gets every frame
    #[arg(long, value_name = "N", default_value_t = 10)]
    viewers: usize,
    /// Frames made before
    #[arg(long, value_name = "N", default_value_t = 240)]
    made: usize,
    /// Frames of these that are forwarded
    #[arg(long, value_name = "N", default_value_t = 240)]
    played: usize,
}

pub(super) fn main(args: &Args) -> ExitCode {
    match rehearse(args.viewers, args.made, args.played) {
        Ok(packets) => {
            cli::print(&format!("{packets} packets\n"));
            exit::OK
        }
        Err(error) => failed(&BenchError::from(error)),
    }
}
