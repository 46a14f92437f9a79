//! `portico completions`: what a shell needs to complete commands and options.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::aot::{Generator, Shell};

use super::{Cli, exit, print};

/// For which shell.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples (the Debian package has done this for everybody):
  portico completions bash > ~/.local/share/bash-completion/completions/portico
  portico completions fish > ~/.config/fish/completions/portico.fish
  # a folder of zsh's fpath
  portico completions zsh | sudo tee /usr/local/share/zsh/site-functions/_portico > /dev/null")]
pub struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Kind,
}

/// The shells there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

pub(super) fn main(args: &Args) -> ExitCode {
    print(&script(args.shell));
    exit::OK
}

fn script(shell: Kind) -> String {
    let shell = match shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut command = Cli::command();
    command.set_bin_name("portico");
    command.build();
    let mut text = Vec::new();
    shell.generate(&command, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
