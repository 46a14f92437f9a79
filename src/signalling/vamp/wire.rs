//! What Vamp's events hold.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::room::Step;
use crate::signalling::json;

/// `sending signal`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sending<'a> {
    /// The addressee.
    pub user_to_signal: String,
    /// A simple-peer signal.
    #[serde(borrow)]
    pub signal: &'a RawValue,
}

/// `returning signal`.
#[derive(Debug, Deserialize)]
pub(super) struct Returning<'a> {
    /// Who had offered.
    #[serde(rename = "callerID")]
    pub caller_id: String,
    /// A simple-peer signal.
    #[serde(borrow)]
    pub signal: &'a RawValue,
}

/// `user joined`.
#[derive(Debug, Serialize)]
pub(super) struct UserJoined<'a> {
    pub signal: &'a RawValue,
    #[serde(rename = "callerID")]
    pub caller_id: &'a str,
}

/// `receiving returned signal`.
#[derive(Debug, Serialize)]
pub(super) struct Returned<'a> {
    pub signal: &'a RawValue,
    pub id: &'a str,
}

/// What of a simple-peer signal counts.
#[derive(Debug, Deserialize)]
struct Signal<'a> {
    #[serde(default, borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(default, borrow)]
    candidate: Option<&'a RawValue>,
}

/// A member of an object, as an object: a signal that is something else is nobody's.
pub(super) fn object(value: &RawValue) -> Option<&RawValue> {
    value.get().starts_with('{').then_some(value)
}

/// What a simple-peer signal is, and its W3C value: the signal itself is a description; a candidate is inside. simple-peer with
/// trickling says `{"type":"candidate","candidate":{…}}`.
pub(super) fn step(signal: &RawValue) -> (Step, &RawValue) {
    // descriptions are long and nearly always written so
    match json::member(signal.get(), "type") {
        Some("\"offer\"") => return (Step::Offer, signal),
        Some("\"answer\"") => return (Step::Answer, signal),
        _ => {}
    }
    let read = serde_json::from_str::<Signal<'_>>(signal.get()).ok();
    let kind = read.as_ref().and_then(|read| read.r#type).and_then(|kind| serde_json::from_str::<String>(kind.get()).ok());
    match (kind.as_deref(), read.and_then(|read| read.candidate)) {
        (Some("offer"), _) => (Step::Offer, signal),
        (Some("answer"), _) => (Step::Answer, signal),
        (_, Some(candidate)) if candidate.get().starts_with('{') => (Step::Candidate, candidate),
        _ => (Step::Other, signal),
    }
}
