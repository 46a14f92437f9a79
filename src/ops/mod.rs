//! Operations: who may (tokens), TLS files, logging, metrics, addresses, what is announced at start.
//!
//! Knows nothing of rooms, peers and media beyond the words of `vocab`.

pub mod access;
pub mod announce;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod tls;
