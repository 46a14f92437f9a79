//! The page's JSON, as `README.md` beside this file says. Nothing but types.

use serde::{Deserialize, Serialize};

use crate::room::{EndReason, MemberView, StreamView};
use crate::vocab::{Candidate, MediaKind, MemberId, RoomId, StreamName};

/// What the page sends. Unknown members are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Request {
    /// Enter a room.
    Join {
        /// Which.
        room: RoomId,
        /// For people; may be empty.
        #[serde(default)]
        name: String,
        /// A room token; without one the connection's own rights count.
        #[serde(default)]
        token: Option<String>,
    },
    /// Send a stream.
    Publish { peer: String, stream: StreamName, sdp: String },
    /// Watch a stream.
    Play { peer: String, member: MemberKey, stream: StreamName, sdp: String },
    /// A candidate of the page, or null at their end.
    Candidate {
        peer: String,
        #[serde(deserialize_with = "Option::deserialize")] // without it serde would take a missing member for null
        candidate: Option<Candidate>,
    },
    /// A new offer on a living connection.
    Restart { peer: String, sdp: String },
    /// End a connection.
    Stop { peer: String },
    /// Tell the others what is muted.
    Mute {
        #[serde(default)]
        audio: Option<bool>,
        #[serde(default)]
        video: Option<bool>,
    },
    /// Say something to all others.
    Say {
        text: String,
        /// The page's own name for it, repeated in the answer; without one a success has no answer.
        #[serde(default)]
        id: Option<String>,
    },
    /// Goodbye.
    Leave,
}

/// The part of a request that a refusal repeats even if the rest cannot be read.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    /// The request's type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A member id as text.
#[derive(Debug)]
pub(super) struct MemberKey(pub MemberId);

impl<'de> Deserialize<'de> for MemberKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| serde::de::Error::custom("a member id is 32 hex digits"))
    }
}

/// What Portico sends.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(super) enum Message<'a> {
    Welcome {
        member: MemberId,
        room: &'a RoomId,
        size: usize,
        members: Vec<Member<'a>>,
        ice_servers: &'a [super::IceServer],
    },
    Refused {
        re: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        code: Code,
        message: String,
    },
    Joined {
        member: Member<'a>,
        size: usize,
    },
    Changed {
        member: Member<'a>,
    },
    Left {
        member: MemberId,
        size: usize,
        reason: EndReason,
    },
    StreamUp {
        member: MemberId,
        stream: Stream<'a>,
    },
    StreamDown {
        member: MemberId,
        stream: &'a StreamName,
    },
    Answer {
        peer: &'a str,
        sdp: &'a str,
    },
    PeerUp {
        peer: &'a str,
    },
    PeerDown {
        peer: &'a str,
        reason: EndReason,
    },
    Sent {
        id: &'a str,
    },
    Said {
        member: MemberId,
        name: &'a str,
        text: &'a str,
    },
    Ended {
        reason: EndReason,
    },
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    /// The request's type, if it could be read.
    pub re: Option<&'a str>,
    /// The peer it names.
    pub peer: Option<&'a str>,
    /// The page's own name for what it says.
    pub id: Option<&'a str>,
}

/// The stable code of a refusal.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Code {
    /// Of the room or of this dialect.
    Named(&'static str),
    /// Of a connection that ended before it was answered; these share the words of the room's refusals.
    Reason(EndReason),
}

/// A member as the page shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member<'a> {
    id: MemberId,
    name: &'a str,
    dialect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a str>,
    streams: Vec<Stream<'a>>,
    audio_muted: bool,
    video_muted: bool,
}

/// A stream as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct Stream<'a> {
    name: &'a StreamName,
    kinds: &'a [MediaKind],
}

impl<'a> From<&'a StreamView> for Stream<'a> {
    fn from(view: &'a StreamView) -> Self {
        Self { name: &view.name, kinds: &view.kinds }
    }
}

/// How a member is called; may be empty.
pub(super) fn name_of(view: &MemberView) -> &str {
    view.facts.name.as_deref().unwrap_or(&view.user_id)
}

impl<'a> From<&'a MemberView> for Member<'a> {
    fn from(view: &'a MemberView) -> Self {
        Self {
            id: view.member,
            name: name_of(view),
            dialect: view.dialect.as_str(),
            via: view.facts.via.as_deref(),
            streams: view.streams.iter().map(Stream::from).collect(),
            audio_muted: view.facts.audio_muted.unwrap_or(false),
            video_muted: view.facts.video_muted.unwrap_or(false),
        }
    }
}
