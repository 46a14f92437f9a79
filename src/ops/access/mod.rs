//! Who may do what: the one place where a request's token, or its lack, becomes a [`Grant`].
//!
//! Pure but for reading the secret file once. It knows nothing of HTTP: callers hand it the token and the remote address.
//!
//! | listener | secret | anonymous rights named | without a token |
//! |---|---|---|---|
//! | loopback | none | none | everything, for a remote on loopback (**open**) |
//! | any | any | some | those rights, in `anonymous_rooms` |
//! | any other case | | | nothing |

mod bearer;
mod config;
mod token;

pub use bearer::PageTokens;
pub use config::{AccessConfig, Secret, SecretError, find_secret, read_secret};
pub use token::{AccessError, LEEWAY, TokenRequest, sign};

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::vocab::{Grant, Rights, RoomPattern};

/// Turns tokens into grants. Cheap to ask; share it in an `Arc`.
#[derive(Debug)]
pub struct Access {
    secret: Option<Secret>,
    anonymous: Grant,
    open: bool,
}

impl Access {
    /// Reads the secret, if one is configured.
    pub fn new(config: &AccessConfig, listen_is_loopback: bool) -> Result<Self, SecretError> {
        let secret = config.secret()?;
        let open = listen_is_loopback && secret.is_none() && config.anonymous.is_empty();
        let rights: Rights = config.anonymous.iter().copied().collect();
        let rooms = match config.anonymous_rooms.as_slice() {
            [] => RoomPattern::any(),
            some => RoomPattern::any_of(some.iter().map(|pattern| pattern.0.as_str())),
        };
        let anonymous = if rights == Rights::NONE { Grant::nothing() } else { Grant { rooms, rights, ..Grant::nothing() } };
        Ok(Self { secret, anonymous, open })
    }

    /// An access that lets everyone do everything: for tests and tools.
    pub fn open() -> Self {
        Self { secret: None, anonymous: Grant::nothing(), open: true }
    }

    /// What a request may do. Without a token the anonymous rights, perhaps none: that is no error. A token that cannot be
    /// checked because no secret is configured counts as none (some encoders always send one).
    pub fn grant(&self, remote: IpAddr, token: Option<&str>, now: SystemTime) -> Result<Grant, AccessError> {
        match (token.map(str::trim).filter(|token| !token.is_empty()), &self.secret) {
            (Some(token), Some(secret)) => token::verify(token, secret, now).and_then(token::Claims::into_grant),
            _ if self.open && crate::ops::net::is_loopback(remote) => Ok(Grant::all("")),
            _ => Ok(self.anonymous.clone()),
        }
    }

    /// Whether tokens can be checked and made.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether everyone on this machine may do everything.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Signs a token, or says `None` when no secret is configured.
    pub fn sign(&self, request: &TokenRequest, now: SystemTime) -> Option<String> {
        self.secret.as_ref().map(|secret| sign(request, secret, now))
    }

    /// What to warn of once at start, if anything. Where everyone on this machine may do everything, a bearer gives nothing more.
    pub fn start_warning(&self) -> Option<&'static str> {
        (self.secret.is_none() && !self.open).then_some("no token secret: signatures of tribe bearers are not checked")
    }

    /// The grant of those who bring no token, as seen from this machine.
    fn local_anonymous(&self) -> Grant {
        if self.open { Grant::all("") } else { self.anonymous.clone() }
    }
}

/// A listener that others can reach while nothing says who may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{listen} can be reached by others, and nothing says who may do what: set access.token_secret_file (make tokens with \
     `portico token`), or grant rights to everyone with access.anonymous = [\"subscribe\"]"
)]
pub struct Exposed {
    /// The address.
    pub listen: SocketAddr,
}

/// The rule of starting: an address that others can reach needs a token secret, or anonymous rights granted by name.
pub fn check_exposure(config: &AccessConfig, listen: SocketAddr) -> Result<(), Exposed> {
    let guarded = config.has_secret() || !config.anonymous.is_empty();
    if guarded || crate::ops::net::is_loopback(listen.ip()) { Ok(()) } else { Err(Exposed { listen }) }
}

#[cfg(test)]
mod tests;
