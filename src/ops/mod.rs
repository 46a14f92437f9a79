//! Operations: who may (tokens), TLS files, logging, metrics, systemd.

pub mod access;
pub mod logging;
pub mod metrics;
pub mod tls;
