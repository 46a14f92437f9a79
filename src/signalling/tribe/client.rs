//! The same JSON from the client's side, for bridges: what a client writes, and what it reads. The requests are those of `wire`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::{Description, Join, RemoteCandidate, Text, Whole};

/// An answer or an event.
#[derive(Debug, Deserialize)]
pub(crate) struct Heard<'a> {
    /// The action; of an answer with an `R` behind it.
    pub a: String,
    /// Of answers: whether it was done.
    #[serde(default)]
    pub s: Option<bool>,
    /// Of refusals: why.
    #[serde(default)]
    pub e: Option<Whole>,
    /// What it says.
    #[serde(default, borrow)]
    pub d: Option<&'a RawValue>,
}

impl Heard<'_> {
    /// What it says, if that can be read.
    pub(crate) fn argument<T: DeserializeOwned>(&self) -> Option<T> {
        // serde would take an array for a struct as well
        let d = self.d.map(RawValue::get).filter(|d| d.starts_with('{'))?;
        serde_json::from_str(d).ok()
    }
}

/// Reads a frame; `None` when it is none of this dialect.
pub(crate) fn read(text: &str) -> Option<Heard<'_>> {
    text.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A request as text.
pub(crate) fn request(action: &'static str, d: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Request<'a, D> {
        a: &'static str,
        d: &'a D,
    }
    serde_json::to_string(&Request { a: action, d }).expect("texts, numbers and JSON always serialise")
}

/// A join with its bearer.
#[derive(Serialize)]
pub(crate) struct JoinAs<'a> {
    #[serde(flatten)]
    pub join: Join,
    pub bearer: &'a str,
}

/// Somebody in the room.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Party {
    pub socket_id: Text,
    #[serde(default)]
    pub user_id: Option<Text>,
}

/// The answer to a join.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Joined {
    pub socket_id: Text,
    #[serde(default)]
    pub sessions: Vec<Party>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SdpFrom {
    pub from: Party,
    pub sdp: Description,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CandidateFrom {
    pub from: Party,
    pub candidate: RemoteCandidate,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OrientationFrom {
    pub from: Party,
    #[serde(default)]
    pub orientation: Option<Whole>,
    #[serde(default)]
    pub platform: Option<Text>,
    #[serde(default)]
    pub camera: Option<Text>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MessageFrom {
    pub from: Party,
    #[serde(default)]
    pub message: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ModeFrom {
    pub from: Party,
    pub audio: bool,
    pub video: bool,
}

#[cfg(test)]
mod tests {
    use super::super::wire::{ExchangeSdp, SendMessage};
    use super::*;

    #[test]
    fn what_a_client_writes_is_what_a_server_reads() {
        let join = Join { room_id: Some(Text("r".into())), platform: Some(Text("Web".into())), ..Join::default() };
        let join = JoinAs { join, bearer: "b" };
        assert_eq!(request("join", &join), r#"{"a":"join","d":{"roomId":"r","platform":"Web","bearer":"b"}}"#);
        let sdp = Description { kind: Text("answer".into()), sdp: Text("v=0".into()) };
        let text = request("exchangeSdp", &ExchangeSdp { to: Text("AA".into()), sdp });
        assert_eq!(text, r#"{"a":"exchangeSdp","d":{"to":"AA","sdp":{"type":"answer","sdp":"v=0"}}}"#);
        let message = RawValue::from_string("[1]".into()).ok();
        let text = request("sendMessage", &SendMessage { to: Text("AA".into()), message });
        assert_eq!(text, r#"{"a":"sendMessage","d":{"to":"AA","message":[1]}}"#);
    }

    #[test]
    fn answers_and_events_are_read_leniently() {
        let answer = read(r#"{"a":"joinR","s":false,"e":1316}"#).unwrap();
        assert_eq!((answer.a.as_str(), answer.s, answer.e), ("joinR", Some(false), Some(Whole(1316))));
        let text = r#" {"a":"joinR","s":true,"d":{"socketId":7,"sessions":[{"socketId":"B","x":[]}]}}"#;
        let joined: Joined = read(text).unwrap().argument().unwrap();
        assert_eq!((joined.socket_id.0.as_str(), joined.sessions.len()), ("7", 1));
        assert!(read("[]").is_none() && read("{").is_none() && read(r#"{"d":1}"#).is_none());
        assert!(read(r#"{"a":"x","d":[]}"#).unwrap().argument::<Party>().is_none());
    }
}
