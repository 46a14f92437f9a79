//! The command line: one file per subcommand. Parses, prints, and sets the exit code; the work is done elsewhere.

pub mod backup;
pub mod bench;
pub mod check;
pub mod completions;
pub mod devices;
pub mod doctor;
pub mod health;
pub mod man;
pub mod plan;
mod print;
mod probe_one;
pub mod run;
pub mod schema;
pub mod token;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Flags, Inputs, Loaded};

/// Exit codes, after sysexits.h.
pub mod exit {
    use std::process::ExitCode;

    /// All went well.
    pub const OK: ExitCode = ExitCode::SUCCESS;
    /// The command line is wrong (EX_USAGE).
    pub const USAGE: u8 = 64;
    /// Something needed is missing or taken: a port, a device, an element (EX_UNAVAILABLE).
    pub const UNAVAILABLE: u8 = 69;
    /// The configuration is wrong (EX_CONFIG).
    pub const CONFIG: u8 = 78;
}

/// The room appliance: rooms, cameras and hardware codecs behind one WebRTC gateway.
///
/// `portico run` alone, without any configuration, shows the first camera (or a test picture) at http://127.0.0.1:8780/.
#[derive(Parser, Debug)]
#[command(
    name = "portico",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 well, 64 wrong usage, 69 something needed is missing or taken, 78 wrong configuration.\n\
                  `portico help COMMAND` shows examples."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the gateway until it is told to stop (Ctrl-C, SIGTERM).
    ///
    /// Without any configuration it shows the first camera, or a test picture where there is none, to this machine alone. The
    /// address to open in a browser is printed first.
    Run(run::Args),
    /// Says whether the configuration is right, and if not, all that is wrong.
    ///
    /// Reads what `portico run` would read: the file, conf.d beside it, the environment, the flags. Tells every problem with file,
    /// line, key and what is allowed. Nothing is started or changed.
    Check(check::Args),
    /// Lists cameras with formats, sizes and rates, sound devices, encoders and decoders.
    Devices(devices::Args),
    /// Says what this machine can do, what is missing, and which package has it.
    Doctor(doctor::Args),
    /// Shows for each source and demand the chosen path, and why.
    Plan(plan::Args),
    /// Signs a token that lets its holder into rooms.
    ///
    /// The token is a JWT signed with the secret that the configuration (access.token_secret_file) or --secret-file names. It is
    /// shown to Portico as `Authorization: Bearer TOKEN` (WHIP, WHEP, API), in the page's address, or as the bearer of a tribe
    /// client.
    Token(token::Args),
    /// Prints the configuration's JSON schema, an example, or the reference of keys.
    Schema(schema::Args),
    /// Says whether the running gateway is ready and really gives pictures: for updaters and scripts.
    Health(health::Args),
    /// Writes configuration, secrets and state to one file.
    Backup(backup::Args),
    /// Puts back what `portico backup` wrote.
    Restore(backup::RestoreArgs),
    /// Measures what forwarding costs on this machine: CPU per packet, latency, memory, time to the first frame.
    Bench(bench::Args),
    /// Prints what a shell needs to complete commands and options.
    Completions(completions::Args),
    /// Writes the manual pages into a folder.
    Man(man::Args),
    /// Tries one codec, told on stdin; answers on stdout.
    #[command(hide = true)]
    ProbeOne,
}

/// Where the configuration comes from: for every subcommand that reads it.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct ConfigArgs {
    /// The configuration file. Default: /etc/portico/portico.toml, if it is there. `conf.d/*.toml` beside it is read, too.
    #[arg(long, value_name = "FILE", env = "PORTICO_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads the configuration. What is wrong is told on stderr; then the exit code is the error.
    pub fn load(&self, flags: Flags) -> Result<Loaded, ExitCode> {
        config::load(&Inputs::of_process(self.config.clone(), flags)).map_err(|errors| {
            tell(&errors.report(colour(&std::io::stderr())));
            ExitCode::from(exit::CONFIG)
        })
    }
}

/// Parses the process's arguments and does what they say. `start` runs the gateway.
pub fn main(start: impl FnOnce(run::Job) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // a closed stdout or stderr leaves nobody to tell
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { exit::OK };
        }
    };
    match cli.command {
        Command::Run(args) => run::main(args, start),
        Command::Check(args) => check::main(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Plan(args) => plan::main(&args),
        Command::Token(args) => token::main(&args),
        Command::Schema(args) => schema::main(&args),
        Command::Health(args) => health::main(&args),
        Command::Backup(args) => backup::main(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Completions(args) => completions::main(&args),
        Command::Man(args) => man::main(&args),
        Command::ProbeOne => probe_one::main(),
    }
}

/// Prints to stdout. A reader that went away (`| head`) is no error.
pub fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints to stderr.
pub fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether to colour what goes there: a terminal, and `NO_COLOR` is not set (no-color.org).
pub fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// `docs/ref/cli.md`: every help text.
    fn reference() -> String {
        let mut command = super::Cli::command().term_width(100);
        command.build();
        let mut text =
            String::from("# Command line\n\nThis page is generated from the program's help texts; a test compares the two.\n");
        let mut page = |title: &str, help: String| {
            let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
            text.push_str(&format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
        };
        page("portico", command.render_long_help().to_string());
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
            let title = format!("portico {}", sub.get_name());
            page(&title, sub.render_long_help().to_string());
            for part in sub.get_subcommands_mut().filter(|part| part.get_name() != "help" && !part.is_hide_set()) {
                page(&format!("{title} {}", part.get_name()), part.render_long_help().to_string());
            }
        }
        text
    }

    #[test]
    fn the_help_texts_are_those_checked_in() {
        crate::config::tests::compare_with_checked_in("docs/ref/cli.md", &reference());
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
