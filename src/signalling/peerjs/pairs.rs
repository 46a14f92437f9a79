//! Two clients that are connected through Portico: what the session of one tells that of the other. Pure.
//!
//! ```text
//! a ─ OFFER dc_1 to b ─► a's Calls ─► Link (a, dc_1) stands for b ┐ what comes by one
//!                            │ Between::Calls                     │ leaves by the other
//!                            └─► b's Calls ─► Link (b, dc_1) ─────┘ stands for a ─ OFFER dc_1 from a ─► b
//! ```
//!
//! So the program at `b` hears of a connection as it would without Portico: from `a`, with the same id, label, serialization and
//! metadata. When either end is closed, so is the other. A data connection has its answer at once; a call has it when `b` has taken
//! it (`Between::Takes`), so that the program at `a` sees it ring, and then `b`'s media.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::payload::Says;
use super::wire::json;
use crate::room::Framing;
use crate::vocab::MediaKind;

/// What a session tells another by their realm. Written as JSON, so that it counts in the addressee's backlog.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Between<'a> {
    /// My client opened a connection with yours: call it in my client's name.
    Calls {
        /// The client's id.
        #[serde(borrow)]
        from: Cow<'a, str>,
        /// Its id for the connection.
        #[serde(borrow)]
        connection: Cow<'a, str>,
        /// How messages look at its end; `None` for a call with media alone.
        form: Option<Form>,
        /// The kinds of media in its offer.
        media: Vec<MediaKind>,
        /// What it said in its offer.
        #[serde(borrow)]
        says: Says<'a>,
    },
    /// My client has taken that call of yours.
    Takes {
        /// The client's id.
        #[serde(borrow)]
        from: Cow<'a, str>,
        /// The connection's.
        #[serde(borrow)]
        connection: Cow<'a, str>,
    },
    /// My client's end of that connection is closed.
    HangsUp {
        /// The client's id.
        #[serde(borrow)]
        from: Cow<'a, str>,
        /// The connection's.
        #[serde(borrow)]
        connection: Cow<'a, str>,
    },
}

/// The framings of data connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Form {
    Raw,
    Json,
    Binary,
}

impl Form {
    /// `None` for a connection without messages.
    pub(super) fn of(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Plain => Some(Self::Raw),
            Framing::Json | Framing::JsonText => Some(Self::Json),
            Framing::BinaryPack => Some(Self::Binary),
            Framing::Free | Framing::OwnChannels | Framing::None | Framing::Own => None,
        }
    }

    pub(super) fn framing(self) -> Framing {
        match self {
            Self::Raw => Framing::Plain,
            Self::Json => Framing::Json,
            Self::Binary => Framing::BinaryPack,
        }
    }
}

impl Between<'_> {
    pub(super) fn write(&self) -> String {
        json(self)
    }
}

/// What Portico's offer repeats of the offer that led to it.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    pub(super) framing: Framing,
    pub(super) label: Option<Box<str>>,
    pub(super) reliable: bool,
    pub(super) metadata: Option<Box<serde_json::value::RawValue>>,
}

impl Repeats {
    pub(super) fn new(framing: Framing, says: &Says<'_>) -> Self {
        Self {
            framing,
            label: says.label.as_deref().map(Into::into),
            reliable: says.reliable,
            metadata: says.metadata.map(ToOwned::to_owned),
        }
    }

    pub(super) fn says(&self) -> Says<'_> {
        Says { label: self.label.as_deref().map(Cow::Borrowed), reliable: self.reliable, metadata: self.metadata.as_deref() }
    }
}
