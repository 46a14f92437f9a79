//! `portico run`: reads the configuration, sets logging up, and hands over to the gateway.

use std::net::SocketAddr;
use std::process::ExitCode;

use tracing::{error, warn};

use super::{ConfigArgs, exit, tell};
use crate::config::{Flags, Inputs, Loaded};
use crate::ops::logging::{self, LogConfig, LogHandle};

/// Runs the gateway until it is told to stop.
#[derive(clap::Args, Debug, Clone, Default)]
#[command(after_help = "Examples:
  # the first camera, or a test picture, on this machine
  portico run
  # another port
  portico run --listen 127.0.0.1:9000
  # a configuration of your own; this is how to start one
  portico schema --example > portico.toml; portico run --config portico.toml
  # everyone who can reach this machine may watch and join, by https
  PORTICO_ACCESS__ANONYMOUS=publish,subscribe portico run --listen 0.0.0.0:8780

Stop it with Ctrl-C or SIGTERM: every session is ended cleanly first.")]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Flags that set keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Print a QR code of the page's address even when the output is not a terminal.
    #[arg(long)]
    pub qr: bool,
}

/// Flags that set keys of the configuration and win over everything else.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct KeyArgs {
    /// Address and port of the page, the API and all signalling (key http.listen). Default: 127.0.0.1:8780.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// UDP port of all media (key media.ice_port). Default: 8781; 0 lets the system choose.
    #[arg(long, value_name = "PORT")]
    pub ice_port: Option<u16>,
    /// What is logged (key log.filter), as in `info,portico::room=debug`.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl Args {
    /// What is read for these arguments, at start and again at a reload.
    pub fn inputs(&self) -> Inputs {
        Inputs::of_process(self.config.config.clone(), self.keys.flags())
    }
}

impl KeyArgs {
    /// As a layer of the configuration.
    pub fn flags(&self) -> Flags {
        Flags { listen: self.listen, ice_port: self.ice_port, log: self.log.clone() }
    }
}

/// What the gateway is started with.
#[derive(Debug)]
pub struct Job {
    /// The configuration.
    pub loaded: Loaded,
    /// The arguments, for reading it again ([`Args::inputs`]).
    pub args: Args,
    /// Changes the log filter.
    pub log: LogHandle,
}

/// Reads the configuration: files, environment, then the flags. What is wrong is told on stderr; then the exit code is the error.
pub fn load(args: &Args) -> Result<Loaded, ExitCode> {
    args.config.load(args.keys.flags())
}

pub(super) fn main(args: Args, start: impl FnOnce(Job) -> ExitCode) -> ExitCode {
    let loaded = match load(&args) {
        Ok(loaded) => loaded,
        Err(code) => {
            // told on stderr; the journal gets an event that can be looked for
            if logging::to_journal() && logging::init(&LogConfig::default()).is_ok() {
                error!("the configuration is refused");
            }
            return code;
        }
    };
    let log = match logging::init(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => {
            tell(&format!("portico: {error}\n"));
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    for problem in &loaded.warnings {
        let place = problem.place.as_ref().map(ToString::to_string);
        warn!(key = problem.key, place, problem = problem.message, help = problem.help, "configuration is suspicious");
    }
    start(Job { loaded, args, log })
}
