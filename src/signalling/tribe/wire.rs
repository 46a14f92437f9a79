//! The JSON of the API. Nothing but types and how they read.
//!
//! Reading is lenient where clients are: a number serves where a text is expected, an integral text or number where an
//! integer is; null is the same as absent; unknown members are ignored.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::code::ErrorCode;
use super::picture::UserMedia;
use crate::room::MemberView;
use crate::vocab::{MemberId, SdpKind};

/// The peer id that stands for a client's own uplink.
pub(crate) const PUBLISHER: &str = "publisher";

/// A request, or an event of the client.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    /// The action.
    pub a: String,
    /// Its argument.
    #[serde(default, borrow)]
    pub d: Option<&'a RawValue>,
}

/// A text, or a number in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Text(pub String);

/// An integer, or an integral text in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Whole(pub i64);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bearer {
    #[serde(default)]
    pub bearer: Option<Text>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Join {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_id: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_type: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_video_bitrate: Option<Whole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_audio_bitrate: Option<Whole>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reconnect {
    pub socket_id: Text,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExchangeSdp {
    pub to: Text,
    pub sdp: Description,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    #[serde(rename = "type")]
    pub kind: Text,
    pub sdp: Text,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExchangeCandidate {
    pub to: Text,
    pub candidate: RemoteCandidate,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RemoteCandidate {
    #[serde(default)]
    pub completed: Option<bool>,
    #[serde(default)]
    pub candidate: Option<Text>,
    #[serde(default, rename = "sdpMid")]
    pub mid: Option<Text>,
    #[serde(default, rename = "sdpMLineIndex")]
    pub mline_index: Option<Whole>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OrientationChange {
    #[serde(default)]
    pub orientation: Option<Whole>,
    #[serde(default)]
    pub camera: Option<Text>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SendMessage {
    pub to: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cpu {
    pub cpu_used: Whole,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetworkChange {
    pub network_type: Text,
}

/// `{"a":…,"s":true,"d":…}`.
#[derive(Debug, Serialize)]
pub(super) struct Success<'a, D> {
    pub a: &'a str,
    pub s: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d: Option<D>,
}

/// `{"a":…,"s":false,"e":…}`. Only here is there an `e`: published clients leave the call over any object that has one.
#[derive(Debug, Serialize)]
pub(super) struct Failure<'a> {
    a: &'a str,
    s: bool,
    e: u16,
}

impl<'a> Failure<'a> {
    pub(super) fn new(a: &'a str, code: ErrorCode) -> Self {
        Self { a, s: false, e: code.number() }
    }
}

/// `{"a":…,"d":…}`.
#[derive(Debug, Serialize)]
pub(super) struct Event<D> {
    pub a: &'static str,
    pub d: D,
}

/// Who an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Who {
    socket_id: String,
    user_id: String,
}

impl Who {
    /// A member. One without a user id is known by its name, or by its id.
    pub(super) fn member(view: &MemberView) -> Self {
        let name = view.facts.name.as_deref().filter(|name| !name.is_empty());
        let user_id = Some(view.user_id.as_str()).filter(|id| !id.is_empty()).or(name);
        let socket_id = socket_id(view.member);
        Self { user_id: user_id.unwrap_or(&socket_id).to_owned(), socket_id }
    }

    /// The user id alone.
    pub(super) fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The client's own uplink.
    pub(super) fn publisher() -> Self {
        Self { socket_id: PUBLISHER.into(), user_id: String::new() }
    }
}

/// A member id as clients know it.
pub(super) fn socket_id(member: MemberId) -> String {
    member.to_string().to_ascii_uppercase()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joined<'a> {
    pub socket_id: String,
    pub user_id: &'a str,
    pub room_size: usize,
    pub user_media_configuration: &'a UserMedia,
    pub sessions: Vec<Who>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reconnected {
    pub room_size: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct SdpFrom<'a> {
    pub from: Who,
    pub sdp: SdpBody<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct SdpBody<'a> {
    #[serde(rename = "type")]
    pub kind: SdpKind,
    pub sdp: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct CandidateFrom<'a> {
    pub from: Who,
    pub candidate: CandidateBody<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct CandidateBody<'a> {
    pub candidate: &'a str,
    #[serde(rename = "sdpMid", skip_serializing_if = "Option::is_none")]
    pub mid: Option<&'a str>,
    #[serde(rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub mline_index: Option<u16>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Left<'a> {
    pub room_id: &'a str,
    pub room_size: usize,
    pub socket_id: String,
    pub user_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct OrientationFrom<'a> {
    pub from: Who,
    pub orientation: i64,
    pub platform: &'a str,
    pub camera: &'a str,
}

impl<'a> OrientationFrom<'a> {
    /// What a member shows; upright and in front where it says nothing.
    pub(super) fn member(view: &'a MemberView) -> Self {
        Self {
            from: Who::member(view),
            orientation: view.facts.orientation.unwrap_or(super::UPRIGHT),
            platform: view.facts.platform.as_deref().unwrap_or_default(),
            camera: view.facts.camera.as_deref().unwrap_or("front"),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct MessageFrom<'a> {
    pub from: Who,
    pub message: &'a RawValue,
}

#[derive(Debug, Serialize)]
pub(super) struct About {
    pub from: Who,
}

#[derive(Debug, Serialize)]
pub(super) struct ModeFrom {
    pub from: Who,
    pub audio: bool,
    pub video: bool,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.into()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                text.trim().parse().map(Whole).map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                i64::try_from(number).map(Whole).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                // above 2^53 a float is no integer any more that its sender could have meant
                if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::custom("not an integer"))
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_serve_as_texts_and_integral_texts_as_integers() {
        let text = |json: &str| serde_json::from_str::<Text>(json).ok().map(|text| text.0);
        assert_eq!(text("\"a\"").as_deref(), Some("a"));
        assert_eq!(text("12").as_deref(), Some("12"));
        assert_eq!(text("-1.5").as_deref(), Some("-1.5"));
        assert!(text("true").is_none() && text("{}").is_none() && text("null").is_none());
        let whole = |json: &str| serde_json::from_str::<Whole>(json).ok().map(|whole| whole.0);
        assert_eq!((whole("90"), whole("\"-90\""), whole("90.0")), (Some(90), Some(-90), Some(90)));
        assert!([r#""x""#, "0.5", "1e300", "18446744073709551615", "true", "[]"].iter().all(|json| whole(json).is_none()));
    }

    #[test]
    fn a_nameless_member_is_known_by_its_id() {
        let view = MemberView {
            member: MemberId([0xAB; 16]),
            user_id: String::new(),
            dialect: crate::room::DialectName::Whip,
            facts: crate::room::Facts::default(),
            streams: Vec::new(),
        };
        let who = Who::member(&view);
        assert_eq!((who.socket_id.as_str(), who.user_id.as_str()), ("AB".repeat(16).as_str(), "AB".repeat(16).as_str()));
    }
}
