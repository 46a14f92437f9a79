//! Router, API handlers, error body, page (skeleton).

pub mod config;
