//! What is inside `payload`, where Portico is one of the two ends. Nothing but how it reads and how it is written.
//!
//! PeerJS and simple-peerjs use one envelope and different payloads. A client shows which library it is by its first payload, or
//! by the `version` in its address; until then Portico writes both forms into one payload, and each library reads its own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::Kind;
use crate::room::Framing;
use crate::vocab::{Candidate, MemberId};

/// Which library's form a payload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `connectionId` with `sdp` or `candidate`; a connection of data or of media.
    Peerjs {
        /// A call, not a data connection.
        media: bool,
    },
    /// `id` with `signal`.
    Simple,
    /// Both at once.
    Either {
        /// As above.
        media: bool,
    },
}

/// A payload that was read.
#[derive(Debug)]
pub struct Payload<'a> {
    /// Its form.
    pub style: Style,
    /// The client's id of the connection; may be empty.
    pub connection: String,
    /// The description (an `RTCSessionDescriptionInit`) or the candidate (an `RTCIceCandidateInit`).
    pub value: &'a RawValue,
    /// How messages on the connection look; `None` for a serialization that nobody here knows. Counts in offers.
    pub framing: Option<Framing>,
    /// What else an offer says.
    pub says: Says<'a>,
}

/// What a PeerJS offer says to the other side's program. Calls have metadata alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Says<'a> {
    /// Its label; `None`: its id.
    pub label: Option<Cow<'a, str>>,
    /// Whether messages keep their order.
    pub reliable: bool,
    /// Whatever the program wants to say.
    #[serde(borrow)]
    pub metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    sdp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    candidate: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "connectionId")]
    connection_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    serialization: Option<&'a RawValue>,
    #[serde(borrow, default)]
    label: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reliable: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// The label of a media connection's only channel, as PeerJS makes it: closing it hangs up.
pub const HANG_UP: &str = "undefined";

/// A connection id that nobody has, in the form of the clients' own.
pub fn fresh(prefix: &str) -> String {
    let random = MemberId::random().to_string();
    format!("{prefix}{}", &random[..16])
}

/// The text of a description.
pub fn description(value: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Description {
        sdp: String,
    }
    object::<Description>(value).map(|description| description.sdp)
}

/// A candidate.
pub fn candidate(value: &RawValue) -> Option<Candidate> {
    object(value)
}

/// Reads the payload of an OFFER, ANSWER or CANDIDATE; `None` when it is neither library's.
pub fn read(kind: Kind, payload: &RawValue) -> Option<Payload<'_>> {
    let members: Members<'_> = object(payload)?;
    let text = |value: Option<&RawValue>| value.and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    if let Some(signal) = members.signal {
        #[derive(Deserialize)]
        struct Signal<'a> {
            #[serde(borrow)]
            candidate: &'a RawValue,
        }
        let value = match kind {
            Kind::Candidate => object::<Signal<'_>>(signal)?.candidate,
            _ => signal,
        };
        let connection = text(members.id).unwrap_or_default();
        let says = Says { reliable: true, ..Says::default() };
        return Some(Payload { style: Style::Simple, connection, value, framing: Some(Framing::Plain), says });
    }
    let value = if kind == Kind::Candidate { members.candidate? } else { members.sdp? };
    let media = text(members.r#type).as_deref() == Some("media");
    let framing = match (media, members.serialization) {
        (true, _) => Some(Framing::None),
        (false, None) => Some(Framing::BinaryPack),
        (false, name) => match text(name).as_deref() {
            Some("binary" | "binary-utf8") => Some(Framing::BinaryPack),
            Some("json") => Some(Framing::Json),
            // `none` is what it was called before 1.5
            Some("raw" | "none") => Some(Framing::Plain),
            _ => None,
        },
    };
    let connection = text(members.connection_id).unwrap_or_default();
    let says = Says {
        label: text(members.label).map(Cow::Owned),
        reliable: members.reliable.is_some_and(|reliable| reliable.get() == "true"),
        metadata: members.metadata,
    };
    Some(Payload { style: Style::Peerjs { media }, connection, value, framing, says })
}

/// Reads an object; a derived reader would also take an array.
fn object<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten()
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sdp: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "connectionId")]
    connection_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reliable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serialization: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<Box<RawValue>>,
}

/// Writes the payload of an OFFER, ANSWER or CANDIDATE. `framing` counts in offers of data connections, which are reliable and
/// labelled by their id.
pub fn write(kind: Kind, style: Style, connection: &str, value: &RawValue, framing: Framing) -> Box<RawValue> {
    let says = Says { reliable: true, ..Says::default() };
    write_saying(kind, style, connection, value, framing, &says)
}

/// The same with what an offer says.
pub fn write_saying(
    kind: Kind,
    style: Style,
    connection: &str,
    value: &RawValue,
    framing: Framing,
    says: &Says<'_>,
) -> Box<RawValue> {
    let (peerjs, media) = match style {
        Style::Peerjs { media } | Style::Either { media } => (true, media),
        Style::Simple => (false, false),
    };
    let simple = matches!(style, Style::Simple | Style::Either { .. });
    let candidate = kind == Kind::Candidate;
    let of_data = peerjs && kind == Kind::Offer && !media;
    let signal = simple.then(|| {
        #[derive(Serialize)]
        struct Signal<'a> {
            r#type: &'static str,
            candidate: &'a RawValue,
        }
        if candidate { raw(&Signal { r#type: "candidate", candidate: value }) } else { value.to_owned() }
    });
    raw(&Written {
        sdp: (peerjs && !candidate).then_some(value),
        candidate: (peerjs && candidate).then_some(value),
        r#type: peerjs.then_some(if media { "media" } else { "data" }),
        connection_id: peerjs.then_some(connection),
        label: of_data.then_some(says.label.as_deref().unwrap_or(connection)),
        reliable: of_data.then_some(says.reliable),
        serialization: of_data.then_some(match framing {
            Framing::Json | Framing::JsonText => "json",
            Framing::BinaryPack => "binary",
            _ => "raw",
        }),
        metadata: says.metadata.filter(|_| peerjs && kind == Kind::Offer),
        id: simple.then_some(connection),
        signal,
    })
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("texts and JSON always serialise")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn value(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    #[test]
    fn both_libraries_are_read() {
        let sdp = json!({"type": "offer", "sdp": "v=0"});
        for (members, style, framing) in [
            (json!({"type": "data", "serialization": "binary"}), Style::Peerjs { media: false }, Some(Framing::BinaryPack)),
            (json!({"type": "data", "serialization": "binary-utf8"}), Style::Peerjs { media: false }, Some(Framing::BinaryPack)),
            (json!({"type": "data"}), Style::Peerjs { media: false }, Some(Framing::BinaryPack)),
            (json!({"type": "data", "serialization": "json"}), Style::Peerjs { media: false }, Some(Framing::Json)),
            (json!({"type": "data", "serialization": "raw"}), Style::Peerjs { media: false }, Some(Framing::Plain)),
            (json!({"type": "data", "serialization": "MsgPack"}), Style::Peerjs { media: false }, None),
            (json!({"type": "data", "serialization": 5}), Style::Peerjs { media: false }, None),
            (json!({"type": "media", "metadata": [1]}), Style::Peerjs { media: true }, Some(Framing::None)),
        ] {
            let mut members = members;
            members["sdp"] = sdp.clone();
            members["connectionId"] = "dc_1".into();
            let payload = value(&members);
            let read = read(Kind::Offer, &payload).unwrap();
            assert_eq!((read.style, read.framing, read.connection.as_str()), (style, framing, "dc_1"), "{members}");
            assert_eq!(read.value.get(), sdp.to_string());
        }
        let simple = value(&json!({"id": "q7", "signal": sdp}));
        let read = read(Kind::Offer, &simple).unwrap();
        assert_eq!((read.style, read.framing, read.connection.as_str()), (Style::Simple, Some(Framing::Plain), "q7"));
        assert_eq!(read.value.get(), sdp.to_string());
    }

    #[test]
    fn candidates_of_both_are_read() {
        let candidate = json!({"candidate": "candidate:1", "sdpMid": "0"});
        for payload in [
            json!({"candidate": candidate, "type": "data", "connectionId": "c"}),
            json!({"id": "c", "signal": {"type": "candidate", "candidate": candidate}}),
        ] {
            let payload = value(&payload);
            let read = read(Kind::Candidate, &payload).unwrap();
            assert_eq!((read.connection.as_str(), read.value.get()), ("c", candidate.to_string().as_str()));
        }
    }

    #[test]
    fn what_is_neither_is_nothing() {
        for payload in [json!(null), json!([1]), json!("x"), json!({}), json!({"id": "q"}), json!({"sdp": null}), json!({"n": 1})]
        {
            assert!(read(Kind::Offer, &value(&payload)).is_none(), "{payload}");
        }
        for payload in
            [json!({"id": "q", "signal": null}), json!({"id": "q", "signal": {"renegotiate": true}}), json!({"sdp": {}})]
        {
            assert!(read(Kind::Candidate, &value(&payload)).is_none(), "{payload}");
        }
    }

    #[test]
    fn each_library_finds_its_own_form_and_what_is_written_reads_back() {
        let sdp = value(&json!({"type": "offer", "sdp": "v=0"}));
        let both = write(Kind::Offer, Style::Either { media: false }, "c", &sdp, Framing::Plain);
        let members: Value = serde_json::from_str(both.get()).unwrap();
        let expected = json!({
            "sdp": {"type": "offer", "sdp": "v=0"}, "type": "data", "connectionId": "c", "label": "c", "reliable": true,
            "serialization": "raw", "id": "c", "signal": {"type": "offer", "sdp": "v=0"},
        });
        assert_eq!(members, expected);
        let answer = write(Kind::Answer, Style::Peerjs { media: true }, "c", &sdp, Framing::None);
        assert_eq!(answer.get(), r#"{"sdp":{"sdp":"v=0","type":"offer"},"type":"media","connectionId":"c"}"#);
        for (style, framing) in [
            (Style::Peerjs { media: false }, Framing::Json),
            (Style::Peerjs { media: false }, Framing::BinaryPack),
            (Style::Peerjs { media: true }, Framing::None),
            (Style::Simple, Framing::Plain),
        ] {
            for kind in [Kind::Offer, Kind::Candidate] {
                let payload = write(kind, style, "c", &sdp, framing);
                let read = read(kind, &payload).unwrap();
                assert_eq!((read.style, read.connection.as_str(), read.value.get()), (style, "c", sdp.get()));
                assert!(kind == Kind::Candidate || read.framing == Some(framing));
            }
        }
    }
}
