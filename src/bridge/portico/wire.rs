//! What two Porticos say to each other over the websocket of a bridge: one JSON object per text, `t` says what it is.
//!
//! Unknown fields are passed over, so that a later version may add some; another [`VERSION`] is refused.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::graph::{MAX_NODE, MAX_NODES, Node};
use crate::room::Facts;
use crate::vocab::{Codec, LaneTrack, TrackFormat};

/// Of the protocol. A far side of another one is refused.
pub(super) const VERSION: u32 = 1;
/// Largest message, in bytes: a description, or what a member says.
pub(super) const MAX_MESSAGE: usize = 128 << 10;
/// Longest `fmtp` of a track, in bytes.
const MAX_FMTP: usize = 256;

/// A message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Message {
    /// The first, by who dials.
    Hello(Hello),
    /// The answer to it.
    Welcome {
        version: u32,
        /// The room of who answers.
        node: Node,
        /// What is behind it.
        reach: Vec<Node>,
        /// What it shows of itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// The other answer, or the reason of an end. The websocket is closed then.
    Refuse { code: String, message: String },
    /// By who dials: the connection for media.
    Offer { sdp: String },
    /// The answer to it.
    Answer { sdp: String },
    /// What is behind this side has changed.
    Reach { nodes: Vec<Node> },
    /// A member is there, or has changed.
    Member(Person),
    /// A member is gone, with all its streams.
    Gone { id: String },
    /// A stream of a member crosses by a lane from now on.
    Lane { lane: u64, member: String, stream: String, tracks: Vec<Track> },
    /// And no more.
    LaneEnd { lane: u64 },
    /// A member says something in words; to a member of the receiver's side, or to all.
    Said {
        from: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        text: String,
    },
    /// A member sends a member of the receiver's side something.
    Told { from: String, to: String, body: Box<RawValue> },
}

/// See [`Message::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    /// The room of who dials.
    pub(super) node: Node,
    /// The bridge's name there.
    pub(super) name: String,
    /// The room that is asked for.
    pub(super) room: String,
    /// What is behind who dials.
    pub(super) reach: Vec<Node>,
    /// The rooms that it is joined with already.
    #[serde(default)]
    pub(super) next_to: Vec<Node>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Person {
    /// Its id at the side it is of.
    pub(super) id: String,
    #[serde(default)]
    pub(super) user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) audio_muted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) video_muted: Option<bool>,
}

/// A track of a lane, as its sender describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Track {
    /// As in SDP.
    codec: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    fmtp: String,
    ssrc: u32,
    payload_type: u8,
    /// Payload type and SSRC of retransmissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repair: Option<(u8, u32)>,
}

impl Message {
    pub(super) fn text(&self) -> String {
        // it cannot fail: no map has keys that are no texts
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Track {
    pub(super) fn of(track: &LaneTrack) -> Self {
        Self {
            codec: track.format.codec.name().to_owned(),
            fmtp: track.format.fmtp.clone(),
            ssrc: track.ssrc,
            payload_type: track.payload_type,
            repair: track.repair,
        }
    }

    /// `None` for a codec that is not known here, or parameters that cannot be.
    pub(super) fn read(&self) -> Option<LaneTrack> {
        let plain = self.fmtp.len() <= MAX_FMTP && self.fmtp.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let codec = Codec::from_name(&self.codec).filter(|_| plain)?;
        let format = TrackFormat { codec, fmtp: self.fmtp.clone() };
        Some(LaneTrack { ssrc: self.ssrc, payload_type: self.payload_type, repair: self.repair, format })
    }
}

impl Person {
    pub(super) fn of(id: String, user: &str, facts: &Facts) -> Self {
        let Facts { name, audio_muted, video_muted, .. } = facts.clone();
        Self { id, user: user.into(), name, audio_muted, video_muted }
    }
}

/// Nodes that a far side names, as many as may be; `None` where there are more or one is none.
pub(super) fn nodes(named: &[Node]) -> Option<BTreeSet<Node>> {
    let good = |node: &Node| (1..=MAX_NODE).contains(&node.len());
    (named.len() <= MAX_NODES && named.iter().all(good)).then(|| named.iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_like_this() {
        let track = LaneTrack { ssrc: 7, payload_type: 117, repair: Some((118, 8)), format: TrackFormat::h264_baseline() };
        let lane = Message::Lane { lane: 3, member: "m".into(), stream: "main".into(), tracks: vec![Track::of(&track)] };
        let fmtp = TrackFormat::H264_BASELINE;
        let text = format!(
            r#"{{"t":"lane","lane":3,"member":"m","stream":"main","tracks":[{{"codec":"H264","fmtp":"{fmtp}","ssrc":7,"payload_type":117,"repair":[118,8]}}]}}"#
        );
        assert_eq!(lane.text(), text);
        let Ok(Message::Lane { tracks, .. }) = serde_json::from_str(&text) else { panic!() };
        assert_eq!(tracks[0].read(), Some(track));
        let opus: Track = serde_json::from_str(r#"{"codec":"OPUS","ssrc":1,"payload_type":116,"new":true}"#).unwrap();
        assert_eq!(opus.read().unwrap().format, TrackFormat { codec: Codec::Opus, fmtp: String::new() });
        assert_eq!(Track { codec: "theora".into(), ..opus.clone() }.read(), None);
        assert_eq!(Track { fmtp: "a\r\nb".into(), ..opus }.read(), None);
        let said = r#"{"t":"said","from":"a","text":"hello"}"#;
        assert!(matches!(serde_json::from_str(said), Ok(Message::Said { to: None, .. })));
        assert_eq!(nodes(&vec!["a".into(); MAX_NODES + 1]), None);
        assert_eq!(nodes(&[String::new()]), None);
    }
}
