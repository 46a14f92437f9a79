//! Servers that help clients find their way, and what they show a TURN server.
//!
//! A relay is not for everybody. It shares a secret with the gateway, and a client gets a name that says until when it holds, and a password that proves
//! that the gateway gave it (draft-uberti-behave-turn-rest-00 §2.2; coturn's `use-auth-secret`). Nothing is stored and no account is made.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::access::Secret;

/// Whom the credentials are made out to; relays write it into their logs.
const NAME: &str = "portico";

/// STUN and TURN servers that clients are told of.
#[derive(Clone, Debug, Default)]
pub struct IceServers {
    urls: Vec<String>,
    secret: Option<Secret>,
    lasts: Duration,
}

/// One of them, as one client is told.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, `turns:…` (RFC 7064, RFC 7065).
    pub url: String,
    /// A TURN server's user name and password.
    pub credentials: Option<(String, String)>,
}

impl IceServers {
    /// These servers, with the secret that the relays among them share with the gateway. A client may use a relay for `lasts`.
    pub fn new(urls: Vec<String>, secret: Option<Secret>, lasts: Duration) -> Self {
        Self { urls, secret, lasts }
    }

    /// Makes names for the gateway itself, and passwords, that hold until a time; `None` without a secret.
    pub fn own(&self) -> Option<impl Fn(SystemTime) -> (String, String) + Send + Sync + 'static> {
        let secret = self.secret.clone()?;
        Some(move |until| credentials(&secret, until))
    }

    /// What a client is told at this time of day.
    pub fn told(&self, now: SystemTime) -> Vec<IceServer> {
        let credentials = self.secret.as_ref().map(|secret| credentials(secret, now + self.lasts));
        let server = |url: &String| {
            let relay = url.starts_with("turn:") || url.starts_with("turns:");
            IceServer { url: url.clone(), credentials: credentials.clone().filter(|_| relay) }
        };
        self.urls.iter().map(server).collect()
    }
}

impl std::fmt::Debug for IceServer {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("url", &self.url).field("credentials", &self.credentials.is_some()).finish()
    }
}

/// User name and password that hold until then.
fn credentials(secret: &Secret, until: SystemTime) -> (String, String) {
    let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = format!("{until}:{NAME}");
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).expect("an HMAC takes keys of any length");
    mac.update(name.as_bytes());
    let password = STANDARD.encode(mac.finalize().into_bytes());
    (name, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_get_credentials_that_end_and_others_none() {
        let urls = ["stun:a:3478", "turn:a:3478?transport=udp", "turns:a:5349"].map(str::to_owned).to_vec();
        let servers = IceServers::new(urls.clone(), Some(Secret::new("north-of-the-wall")), Duration::from_secs(3600));
        let told = servers.told(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        // printf 1700003600:portico | openssl dgst -sha1 -hmac north-of-the-wall -binary | base64
        let credentials = Some(("1700003600:portico".to_owned(), "NaZ1dDRCL7mJMipmMwHpmLnI0k4=".to_owned()));
        assert_eq!(
            told.iter().map(|server| server.credentials.clone()).collect::<Vec<_>>(),
            [None, credentials.clone(), credentials]
        );
        assert_eq!(told.iter().map(|server| server.url.clone()).collect::<Vec<_>>(), urls);
        let shown = format!("{told:?} {servers:?}");
        assert!(!shown.contains("NaZ1dDRCL7mJMipmMwHpmLnI0k4=") && !shown.contains("north-of"), "{shown}");
        let own = servers.own().unwrap();
        assert_eq!(own(UNIX_EPOCH + Duration::from_secs(1_700_003_600)), told[1].credentials.clone().unwrap());
        assert!(IceServers::new(urls.clone(), None, Duration::ZERO).own().is_none());
        let open = IceServers::new(urls, None, Duration::from_secs(3600));
        assert!(open.told(UNIX_EPOCH).iter().all(|server| server.credentials.is_none()));
    }
}
