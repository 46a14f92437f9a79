//! Table of contents: TLS provider, arguments, and the gateway if it was asked for.

use std::process::ExitCode;

fn main() -> ExitCode {
    // ring is the one provider in the graph (LIBRARIES section 1); this fails only if it is installed already
    let _ = rustls::crypto::ring::default_provider().install_default();
    portico::cli::main(portico::app::run)
}
