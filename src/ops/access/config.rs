//! `[access]` of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::ops::credential::{self, NoCredential};
use crate::vocab::{Right, RoomPattern};

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// The secret that signs and checks tokens (JWT, HMAC): at least 16 characters; `openssl rand -base64 32` makes a good one.
    /// Default none. Better kept in `token_secret_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub token_secret: Option<Secret>,
    /// A file with that secret; white space around it is ignored. A name without `/`, as in `portico.token-secret`, is that of a
    /// systemd credential (`LoadCredential=`). Default none. Not together with `token_secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_file: Option<PathBuf>,
    /// How long a join link holds that is printed at start, with a QR code: whoever has it may publish and subscribe in every room.
    /// Started by systemd, it stands in the journal, for those who may read that. Needs a token secret. Default 0 s: none is
    /// printed, and `portico token --join` makes one when it is wanted.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub join_link: Duration,
    /// Rights of those who bring no token: `publish`, `subscribe`, `control`, `bridge`. Default none, except on a loopback address
    /// without a token secret, where everyone may do everything.
    pub anonymous: Vec<Right>,
    /// The rooms in which `anonymous` holds, `*` standing for any characters. Default: all.
    pub anonymous_rooms: Vec<RoomPattern>,
}

/// A text that is shown to nobody: `Debug` and `Serialize` write dots, memory is wiped after use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Fewest characters of a token secret. An HMAC key that can be guessed offline signs for anyone.
    pub const MIN_CHARS: usize = 16;

    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl AccessConfig {
    /// Whether a token secret is named at all, readable or not.
    pub fn has_secret(&self) -> bool {
        self.token_secret.is_some() || self.token_secret_file.is_some()
    }

    /// The token secret, read from its file or credential where it is kept in one.
    pub fn secret(&self) -> Result<Option<Secret>, SecretError> {
        if let Some(secret) = &self.token_secret {
            return Ok(Some(secret.clone()));
        }
        self.token_secret_file.as_deref().map(find_secret).transpose()
    }
}

/// Reads a secret from where the configuration says it is: a file, or a systemd credential.
pub fn find_secret(file: &std::path::Path) -> Result<Secret, SecretError> {
    read_secret(&credential::locate(file)?)
}

/// Reads a secret from a file. White space around it is ignored; shorter than [`Secret::MIN_CHARS`] is refused.
pub fn read_secret(path: &std::path::Path) -> Result<Secret, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::Unreadable { path: path.into(), source })?;
    let text = Zeroizing::new(text);
    let secret = text.trim();
    match secret.chars().count() {
        chars if chars < Secret::MIN_CHARS => Err(SecretError::Short { path: path.into(), chars }),
        _ => Ok(Secret::new(secret)),
    }
}

/// Why there is no usable secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A credential is named, and systemd gave none.
    #[error("the secret: {0}")]
    NoCredential(#[from] NoCredential),
    /// The file cannot be read.
    #[error("the secret file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds too little.
    #[error("the secret in {} has {chars} characters, at least {} are needed", path.display(), Secret::MIN_CHARS)]
    Short {
        /// The file.
        path: PathBuf,
        /// How many characters it has.
        chars: usize,
    },
}
