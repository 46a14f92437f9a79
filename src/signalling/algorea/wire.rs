//! The wire form: what a client's frame says, and the frames to a client. No behaviour.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::Variant;
use crate::room::Step;
use crate::vocab::MemberId;

/// A frame of a client.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its action; `None` when there is none or it is no text.
    pub action: Option<Cow<'a, str>>,
    /// The addressee as written; `None` when there is none or it is no text.
    pub to: Option<Cow<'a, str>>,
    /// What it asks for.
    pub ask: Ask<'a>,
    /// It uses a name that only clients of the branch use.
    pub is_branch: bool,
}

/// What a frame asks for.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Pass a description or candidate on. `None`: the value is missing; an offer or answer of `null` counts as missing.
    Forward(Step, Option<&'a RawValue>),
    /// Nothing: a sign of life.
    Heartbeat,
    /// Something this service does not do.
    Unknown,
}

/// The frame is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one JSON object")]
pub struct NotJson;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    action: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    to_peer_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    offer: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    answer: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    candidate: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    ice_candidate: Option<&'a RawValue>,
}

/// Tells `null` from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text a JSON value is, if it is one.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// Whether a JSON value is `null`.
pub fn is_null(value: &RawValue) -> bool {
    value.get().trim_ascii() == "null"
}

/// Reads a frame. Takes any text, in time and memory of its length; values are not looked into, however deep they are.
pub fn read(frame: &str) -> Result<Request<'_>, NotJson> {
    // serde would take an array for a struct as well
    if !frame.trim_ascii_start().starts_with('{') {
        return Err(NotJson);
    }
    let body: Body<'_> = serde_json::from_str(frame).map_err(|_| NotJson)?;
    let action = body.action.and_then(text);
    let some = |value: Option<&'_ RawValue>| value.is_some_and(|value| !is_null(value));
    let ask = match action.as_deref() {
        Some("forward-offer") => Ask::Forward(Step::Offer, body.offer.filter(|_| some(body.offer))),
        Some("forward-answer") => Ask::Forward(Step::Answer, body.answer.filter(|_| some(body.answer))),
        Some("forward-icecandidate" | "forward-ice-candidate") => Ask::Forward(
            Step::Candidate,
            if some(body.candidate) { body.candidate } else { body.ice_candidate.or(body.candidate) },
        ),
        Some("heartbeat") => Ask::Heartbeat,
        _ => Ask::Unknown,
    };
    let is_branch = action.as_deref() == Some("forward-ice-candidate") || body.ice_candidate.is_some();
    Ok(Request { to: body.to_peer_id.and_then(text), action, ask, is_branch })
}

/// Reads a frame of bytes as [`read`] does; what is no UTF-8 is no JSON.
pub fn read_bytes(frame: &[u8]) -> Result<Request<'_>, NotJson> {
    read(std::str::from_utf8(frame).map_err(|_| NotJson)?)
}

/// A member's id as clients see it: 22 characters of base64url.
pub fn write_id(member: MemberId) -> String {
    URL_SAFE_NO_PAD.encode(member.0)
}

/// Reads what [`write_id`] writes, and nothing else.
pub fn read_id(text: &str) -> Option<MemberId> {
    let mut bytes = [0; 16];
    // the decoder refuses other lengths, and bits that an encoder would not have set
    let written = (text.len() == 22).then(|| URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()).flatten()?;
    (written == bytes.len()).then_some(MemberId(bytes))
}

/// Who is there already: the first frame of a connection.
pub fn peers(variant: Variant, members: impl IntoIterator<Item = MemberId>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Peers {
        r#type: &'static str,
        peer_ids: Vec<String>,
    }
    let r#type = match variant {
        Variant::Document => "connected-peers",
        Variant::Branch => "peers",
    };
    written(&Peers { r#type, peer_ids: members.into_iter().map(write_id).collect() })
}

/// An offer, answer or candidate from another. `None` for a step that the dialect has no frame for.
pub fn forwarded(variant: Variant, step: Step, value: &RawValue, from: MemberId) -> Option<String> {
    #[derive(Serialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct Forwarded<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        offer: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        answer: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        candidate: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ice_candidate: Option<&'a RawValue>,
        from_peer_id: String,
    }
    let empty = Forwarded { from_peer_id: write_id(from), ..Forwarded::default() };
    let frame = match (step, variant) {
        (Step::Offer, _) => Forwarded { r#type: "offer", offer: Some(value), ..empty },
        (Step::Answer, _) => Forwarded { r#type: "answer", answer: Some(value), ..empty },
        (Step::Candidate, Variant::Document) => Forwarded { r#type: "icecandidate", candidate: Some(value), ..empty },
        (Step::Candidate, Variant::Branch) => Forwarded { r#type: "ice-candidate", ice_candidate: Some(value), ..empty },
        (Step::Other, _) => return None,
    };
    Some(written(&frame))
}

/// Somebody left.
pub fn peer_disconnected(member: MemberId) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Left {
        r#type: &'static str,
        peer_id: String,
    }
    written(&Left { r#type: "peer-disconnected", peer_id: write_id(member) })
}

/// Why a frame could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The addressee is not there.
    PeerNotConnected,
    /// The room does not let this pass.
    NotForwarded,
    /// The other's dialect uses data channels in another way: the code says how.
    CannotMeet(&'static str),
    /// A needed member is missing or of the wrong kind.
    BadPayload,
    /// Not one JSON object.
    BadJson,
    /// An action that is not served.
    UnknownAction,
}

impl Fault {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::PeerNotConnected => "peer-not-connected",
            Self::NotForwarded => "not-forwarded",
            Self::CannotMeet(code) => code,
            Self::BadPayload => "bad-payload",
            Self::BadJson => "bad-json",
            Self::UnknownAction => "unknown-action",
        }
    }

    /// What the original's gateway would say.
    fn message(self) -> &'static str {
        match self {
            Self::PeerNotConnected | Self::NotForwarded | Self::CannotMeet(_) | Self::BadPayload => "Internal server error",
            Self::BadJson | Self::UnknownAction => "Forbidden",
        }
    }
}

/// Longest action or addressee that an error repeats, in bytes; a longer one is left out.
const MAX_ECHO: usize = 128;

/// The error frame: the original gateway's members, then ours.
pub fn error(own: MemberId, request_id: &str, fault: Fault, action: Option<&str>, to: Option<&str>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Error<'a> {
        r#type: &'static str,
        message: &'static str,
        connection_id: String,
        request_id: &'a str,
        code: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        action: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_peer_id: Option<&'a str>,
    }
    let short = |text: &&str| text.len() <= MAX_ECHO;
    written(&Error {
        r#type: "error",
        message: fault.message(),
        connection_id: write_id(own),
        request_id,
        code: fault.code(),
        action: action.filter(short),
        to_peer_id: to.filter(short),
    })
}

fn written(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("strings, lists and JSON values always serialise")
}
