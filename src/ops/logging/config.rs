//! `[log]` of the configuration.

use serde::{Deserialize, Serialize};

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is logged, as `level` or `module=level`, comma-separated: `info,portico::room=debug`. Levels: `error`, `warn`, `info`,
    /// `debug`, `trace`, `off`. The WebRTC engine's own modules are quieter unless named. Default `info`.
    pub filter: String,
    /// How lines look. Default `auto`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal with fields when started by systemd, else `text`.
    #[default]
    Auto,
    /// One line of text per event on stderr.
    Text,
    /// One JSON object per event on stderr.
    Json,
}
