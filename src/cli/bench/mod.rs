//! `portico bench`: what this machine does with Portico, measured.
//!
//! The gateway runs as a process of its own; publishers, viewers and the bare sender run here, on [`crate::peer::load`].

mod channel;
mod count;
mod crypto;
mod encode;
mod forward;
mod gateway;
mod janus;
mod launch;
mod mix;
mod report;
mod soak;
mod stage;

use std::process::ExitCode;

use super::{exit, tell};
use crate::peer::load::LoadError;
use gateway::GatewayError;

/// Measures what forwarding costs on this machine.
#[derive(clap::Args, Debug, Clone)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true, after_help = forward::HELP)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    forward: forward::Args,
}

#[derive(clap::Subcommand, Debug, Clone)]
enum What {
    /// The same as without a name
    #[command(after_help = "The columns are explained by `portico bench --help`.")]
    Forward(forward::Args),
    /// Has viewers come and go over a bad line for half an hour: nothing may grow, no picture may stand still
    Soak(soak::Args),
    /// Measures what SRTP costs on this board with each profile, and tells which one is preferred
    Crypto(crypto::Args),
    /// Measures what one data channel carries, and what that does to a picture beside it
    Channel(channel::Args),
    /// Measures what a mix costs, beside the same pipeline without Portico
    Mix(mix::Args),
    /// Measures what encoding for viewers costs, beside an encoder for each of them
    Encode(encode::Args),
    /// Forwards without a network, for tools/count-instructions
    #[command(hide = true)]
    Count(count::Args),
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{what}: {source}")]
    Http { what: &'static str, source: reqwest::Error },
    #[error("{what} was answered with {status}: {body}")]
    Refused { what: &'static str, status: reqwest::StatusCode, body: String },
    #[error(transparent)]
    Mix(#[from] crate::media::mix::rehearsal::RehearsalError),
    #[error(transparent)]
    Media(#[from] crate::media::SourceError),
    #[error("{0}")]
    Nothing(&'static str),
    #[error("the gateway ended, or its figures cannot be read: {0}")]
    Figures(#[from] std::io::Error),
}

pub(super) fn main(args: &Args) -> ExitCode {
    match &args.what {
        None => forward::main(&args.forward),
        Some(What::Forward(args)) => forward::main(args),
        Some(What::Soak(args)) => soak::main(args),
        Some(What::Crypto(args)) => crypto::main(args),
        Some(What::Channel(args)) => channel::main(args),
        Some(What::Mix(args)) => mix::main(args),
        Some(What::Encode(args)) => encode::main(args),
        Some(What::Count(args)) => count::main(args),
    }
}

/// Runs what is measured on this thread alone.
fn with_runtime<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn failed(error: &BenchError) -> ExitCode {
    tell(&format!("portico bench: {error}\n"));
    ExitCode::from(exit::UNAVAILABLE)
}
