//! Recordings and their files.

use serde::{Deserialize, Serialize};

view! {
    /// Recordings that run, and their files.
    pub struct Recordings {
        /// What is being recorded, or is to be.
        pub running: Vec<Recording>,
        /// The files, in order of room, stream and time.
        pub files: Vec<RecordingFile>,
    }

    /// A recording from its start to its stop.
    pub struct Recording {
        /// Its number.
        pub id: u64,
        /// The room.
        pub room: String,
        /// The stream; absent where it is the room's mix.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stream: Option<String>,
        /// Whose stream of that name, 32 hex digits; absent where it is the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub member: Option<String>,
        /// Whether the configuration asks for it.
        pub configured: bool,
        /// When it was started, RFC 3339.
        pub since: String,
        /// `waiting` (there is no such stream now), `opening`, `recording` or `failed`.
        pub state: String,
        /// Why it failed; it is tried again.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
        /// The file that is being written.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub file: Option<String>,
        /// What is in it.
        pub codecs: Vec<String>,
        /// Bytes of all files since it was started.
        pub bytes: u64,
        /// Files begun since.
        pub files: u64,
        /// Frames that are missing because the disk was too slow.
        pub frames_dropped: u64,
    }

    /// A file with a recording.
    pub struct RecordingFile {
        /// The room.
        pub room: String,
        /// The stream; absent where it is the room's mix.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stream: Option<String>,
        /// Its name.
        pub file: String,
        /// Where it can be fetched.
        pub url: String,
        /// When it began, RFC 3339.
        pub began: String,
        /// Its length in seconds.
        pub seconds: f64,
        /// Its size.
        pub bytes: u64,
        /// Whether it is still written.
        pub open: bool,
    }
}

/// What is to be recorded.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// The stream's name; left out, it is the mix of a mixed room.
    #[serde(default)]
    pub stream: Option<String>,
    /// 32 hex digits: this member's stream of that name. Default: the first of that name.
    #[serde(default)]
    pub member: Option<String>,
}
