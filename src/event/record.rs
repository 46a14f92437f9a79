//! The events and their JSON, as live-webrtcsignaling's consumers know them. Pure.

use std::borrow::Cow;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 by the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallMs(pub u64);

impl WallMs {
    /// Times before this one (2024-01-01) come from a clock that was not set yet: boards without a battery start in 1970.
    const PLAUSIBLE: Self = Self(1_704_067_200_000);

    /// Reads the system's clock; 0 when it stands before 1970.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether the clock was set when this time was read.
    pub fn is_plausible(self) -> bool {
        self >= Self::PLAUSIBLE
    }
}

/// What happened. The name is the routing key, the end of the topic, the `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventName {
    /// A member has joined.
    RoomJoin,
    /// A member is gone.
    RoomLeave,
    /// A room exists; told for each room at an interval.
    RoomLive,
    /// A tribe client is connected; told at the same interval. Only with `extended`.
    WebrtcPing,
    /// A client's own picture stands still. Only with `extended`.
    WebrtcFreeze,
    /// How busy a client's processor is. Only with `extended`.
    WebrtcCpu,
    /// A client's network changed. Only with `extended`.
    NetworkChange,
}

impl EventName {
    const ALL: [Self; 7] = [
        Self::RoomJoin,
        Self::RoomLeave,
        Self::RoomLive,
        Self::WebrtcPing,
        Self::WebrtcFreeze,
        Self::WebrtcCpu,
        Self::NetworkChange,
    ];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoomJoin => "room.join",
            Self::RoomLeave => "room.leave",
            Self::RoomLive => "room.live",
            Self::WebrtcPing => "webrtc.ping",
            Self::WebrtcFreeze => "webrtc.freeze",
            Self::WebrtcCpu => "webrtc.cpu",
            Self::NetworkChange => "network.change",
        }
    }

    /// The event of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// An event, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub name: EventName,
    /// When.
    pub made: WallMs,
    /// One JSON object.
    pub payload: String,
}

impl Event {
    pub(super) fn new(name: EventName, made: WallMs, payload: &impl Serialize) -> Self {
        Self { name, made, payload: serde_json::to_string(payload).expect("numbers, strings and lists always serialise") }
    }
}

/// What an event's order is kept among: its room's events, or for one without a room its client's. Two of one number are of one
/// lane for all that follows.
pub(super) fn lane(payload: &[u8]) -> u64 {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct About<'a> {
        #[serde(borrow)]
        room_id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        socket_id: Option<Cow<'a, str>>,
    }
    // a payload that is no object was damaged on disk in a way that its sum does not tell; it goes with others of its kind
    let about: About<'_> = serde_json::from_slice(payload).unwrap_or_default();
    BuildHasherDefault::<DefaultHasher>::default().hash_one((about.room_id.is_some(), about.room_id.or(about.socket_id)))
}

/// `room.join`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Join<'a> {
    pub room_id: &'a str,
    pub room_size: usize,
    pub socket_id: &'a str,
    pub user_id: &'a str,
    pub platform: &'a str,
    pub device_name: &'a str,
    pub network_type: &'a str,
    pub app_version: &'a str,
    pub version: &'a str,
    pub ip: String,
    /// The effective cap on video sent to the member, bit/s.
    pub bitrate: u64,
}

/// `room.leave`; the size is of those who remain.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leave<'a> {
    pub room_id: &'a str,
    pub room_size: usize,
    pub socket_id: &'a str,
    pub user_id: &'a str,
}

/// `room.live`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Live<'a> {
    pub room_id: &'a str,
    pub room_size: usize,
    pub sessions: Vec<Session<'a>>,
}

/// A member in `room.live`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session<'a> {
    pub socket_id: &'a str,
    pub user_id: &'a str,
}

/// `webrtc.ping`, `webrtc.freeze`, `webrtc.cpu`, `network.change`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Own<'a> {
    pub socket_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_type: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_room_are_of_one_lane_whatever_they_tell() {
        let join = lane(br#"{"roomId":"a\u00e4","roomSize":1,"socketId":"1"}"#);
        assert_eq!(join, lane("{\"roomId\":\"a\u{e4}\",\"roomSize\":2,\"sessions\":[{\"socketId\":\"2\"}]}".as_bytes()));
        assert_ne!(join, lane(br#"{"roomId":"b","socketId":"1"}"#));
        assert_eq!(lane(br#"{"socketId":"1"}"#), lane(br#"{"socketId":"1","cpuUsed":3}"#));
        assert_ne!(lane(br#"{"socketId":"1"}"#), lane(br#"{"roomId":"1"}"#));
        assert_eq!(lane(b"?"), lane(b""));
    }
}
