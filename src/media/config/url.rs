//! An RTSP address, which may hold a password: never shown with it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `rtsp://[user:password@]host[:port][/path]`, or `rtsps`. Its `Debug` and `Display` leave user and password out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct RtspUrl(String);

/// Why a text is no RTSP address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtspUrlError {
    /// Another scheme, or none.
    #[error("an RTSP address begins with rtsp:// or rtsps://")]
    Scheme,
    /// Nothing where the host should be.
    #[error("the RTSP address names no host")]
    Host,
    /// A space or control character.
    #[error("the RTSP address holds a space or control character")]
    Space,
}

impl RtspUrl {
    /// Checks scheme and host.
    pub fn new(text: &str) -> Result<Self, RtspUrlError> {
        let url = Self(text.to_owned());
        if !matches!(url.parts().0, "rtsp" | "rtsps") {
            return Err(RtspUrlError::Scheme);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(RtspUrlError::Space);
        }
        match url.parts().2.starts_with(['/', ':', '?']) || url.parts().2.is_empty() {
            true => Err(RtspUrlError::Host),
            false => Ok(url),
        }
    }

    /// The address without user and password.
    pub fn without_credentials(&self) -> String {
        let (scheme, _, rest) = self.parts();
        format!("{scheme}://{rest}")
    }

    /// User and password, percent-decoded; the password may be empty.
    pub fn credentials(&self) -> Option<(String, String)> {
        let (user, password) = match self.parts().1?.split_once(':') {
            Some((user, password)) => (user, password),
            None => (self.parts().1?, ""),
        };
        Some((percent_decoded(user), percent_decoded(password)))
    }

    /// Scheme, credentials, and host with what follows.
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let Some((scheme, rest)) = self.0.split_once("://") else { return ("", None, "") };
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        match authority.rfind('@') {
            Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
            None => (scheme, None, rest),
        }
    }
}

/// Broken escapes stay as they are.
fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl TryFrom<String> for RtspUrl {
    type Error = RtspUrlError;
    fn try_from(text: String) -> Result<Self, RtspUrlError> {
        Self::new(&text)
    }
}
impl From<RtspUrl> for String {
    fn from(url: RtspUrl) -> Self {
        url.0
    }
}
impl fmt::Display for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_credentials())
    }
}
impl fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.without_credentials())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_apart_and_never_shown() {
        let url = RtspUrl::new("rtsp://me:p%40ss%zz@cam.local:554/live?x=a@b").unwrap();
        assert_eq!(url.credentials(), Some(("me".into(), "p@ss%zz".into())));
        assert_eq!(url.to_string(), "rtsp://cam.local:554/live?x=a@b");
        assert!(!format!("{url:?}").contains("p%40ss"));
        assert_eq!(RtspUrl::new("rtsp://cam/").unwrap().credentials(), None);
        assert_eq!(RtspUrl::new("rtsp://me@cam/").unwrap().credentials(), Some(("me".into(), String::new())));
    }

    #[test]
    fn other_addresses_are_refused() {
        assert_eq!(RtspUrl::new("http://cam/"), Err(RtspUrlError::Scheme));
        assert_eq!(RtspUrl::new("cam"), Err(RtspUrlError::Scheme));
        assert_eq!(RtspUrl::new("rtsp://"), Err(RtspUrlError::Host));
        assert_eq!(RtspUrl::new("rtsp://u:p@/x"), Err(RtspUrlError::Host));
        assert_eq!(RtspUrl::new("rtsp://a b/"), Err(RtspUrlError::Space));
    }
}
