//! `[tls]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Whether the listener speaks TLS. Default `auto`.
    pub mode: TlsMode,
    /// PEM file with the certificate, intermediates after it. Default none: a self-signed one is made. Set together with `key`.
    /// Both files are watched; a renewed certificate is taken over without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with the certificate's private key (PKCS #8, PKCS #1 or SEC1). Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// More names and addresses for the self-signed certificate, besides those of this machine. Default none.
    pub names: Vec<String>,
    /// Where the self-signed certificate and its key are kept. Default: the service's state directory, `/var/lib/portico`, or
    /// the user's own (`~/.local/state/portico`) when that cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { mode: TlsMode::Auto, cert: None, key: None, names: Vec::new(), state_dir: None }
    }
}

/// Whether the listener speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Off on a loopback address unless `cert` is set, on elsewhere: browsers give no camera to a plain page from elsewhere.
    #[default]
    Auto,
    /// Never: something in front of Portico does it.
    Off,
    /// Always.
    On,
}

impl TlsConfig {
    /// Whether a listener on such an address speaks TLS.
    pub fn enabled(&self, listen_is_loopback: bool) -> bool {
        match self.mode {
            TlsMode::On => true,
            TlsMode::Off => false,
            TlsMode::Auto => !listen_is_loopback || self.cert.is_some(),
        }
    }
}
