//! Table of contents: TLS provider, arguments, and the gateway if it was asked for.

use std::process::ExitCode;

fn main() -> ExitCode {
    // ring is the one provider in the graph (LIBRARIES section 1); this fails only if it is installed already
    let _ = rustls::crypto::ring::default_provider().install_default();
    portico::cli::main(|_job| {
        portico::cli::tell("portico: this build has the tools but not the gateway\n");
        ExitCode::from(portico::cli::exit::UNAVAILABLE)
    })
}
