//! `portico probe-one`: the process in which one codec is tried. Hidden: the gateway and `portico doctor` start it.

use std::process::ExitCode;

use crate::media::probe::child;

pub(super) fn main() -> ExitCode {
    ExitCode::from(child::main())
}
