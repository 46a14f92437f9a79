//! What a trial saw, as the child process tells it: figures only, no judgement. Every field is bounded.

use serde::{Deserialize, Serialize};

/// How far a candidate came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// There was nothing to try it with.
    #[default]
    Untried,
    /// It is there, and was about to be opened.
    Made,
    /// It reached READY: its driver was opened.
    Opened,
    /// Frames were sent to it.
    Started,
    /// Everything was sent, and what is inside was flushed out.
    Ended,
}

/// Bit rates in bit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// What was asked for.
    pub asked: u64,
    /// What came out, key frames left out.
    pub measured: u64,
}

/// What a trial saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observed {
    /// How far it came.
    pub stage: Stage,
    /// What went wrong, in GStreamer's words. At most [`Observed::LONGEST`] bytes.
    pub error: Option<String>,
    /// A property of the file's `requires` that the element lacks. At most [`Observed::LONGEST`] bytes.
    pub lacks: Option<String>,
    /// Frames sent to it, and frames that came out.
    pub entered: u32,
    /// See `entered`.
    pub left: u32,
    /// The first frame out is a key frame.
    pub first_key: bool,
    /// Frames from the request for a key frame to the key frame; `None`: none came.
    pub key_after: Option<u32>,
    /// Key frames that came out.
    pub keys: u32,
    /// Of these, key frames without parameter sets right behind the encoder (H.264 only).
    pub bare_keys: u32,
    /// H.264: `profile_idc` of the last sequence parameter set behind the encoder.
    pub profile: Option<u8>,
    /// H.264: frames with B slices.
    pub b_frames: u32,
    /// Bit rates before the change and after it.
    pub rates: Option<[Rate; 2]>,
    /// Decoders: size of what came out, pixels.
    pub size: Option<(u32, u32)>,
    /// Decoders: size of what went in, pixels.
    pub size_in: Option<(u32, u32)>,
}

impl Observed {
    /// Longest text of a field, bytes.
    pub const LONGEST: usize = 300;

    /// Text made fit for a field: one line, no longer than [`Self::LONGEST`].
    pub fn text(text: &str) -> String {
        let mut line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        while line.len() > Self::LONGEST {
            line.pop();
        }
        line
    }

    /// The same with every field in its bounds, whatever was read.
    pub fn bounded(mut self) -> Self {
        self.error = self.error.as_deref().map(Self::text);
        self.lacks = self.lacks.as_deref().map(Self::text);
        self
    }
}

/// How a child process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It told what it saw.
    Told(Box<Observed>),
    /// It did not end by itself in this many seconds, and was killed.
    Hung(u64),
    /// It was ended by a signal of its own making (SIGSEGV, SIGABRT, …).
    Crashed(i32),
    /// It ended without telling anything that can be read.
    Mute(Option<i32>),
    /// It was not tried to its end, through no fault of the candidate.
    Interrupted(String),
}
