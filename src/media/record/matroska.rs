//! PURE. Matroska as far as a recording needs it (RFC 9559): a head, clusters one after the other, and an index at the end.
//!
//! Written by hand because GStreamer's muxer waits for every one of its streams: a microphone that is switched off would hold up the
//! picture, and what is on disk at a moment would not be ours to say. A cluster is complete in itself and its length stands in front,
//! so a file that was cut off anywhere plays to its last whole cluster. What is known only at the end (duration, index, lengths) has
//! its place kept in the head.
//!
//! ```text
//! EBML head │ Segment ( room for SeekHead │ Info │ Tracks │ Cluster │ Cluster │ … │ Cues )
//! ```

use std::time::Duration;

use crate::vocab::{Codec, MediaKind};

/// Ticks of all times: milliseconds.
const SCALE_NS: u64 = 1_000_000;
/// The eight bytes of a length that is not known yet.
const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
/// Room kept for the SeekHead, all in all.
const SEEK_ROOM: usize = 80;
/// Nanoseconds from 1970 to 2001, the epoch of `DateUTC`.
const EPOCH_2001: i64 = 978_307_200_000_000_000;

pub(super) mod id {
    pub const EBML: u32 = 0x1a45_dfa3;
    pub const SEGMENT: u32 = 0x1853_8067;
    pub const SEEK_HEAD: u32 = 0x114d_9b74;
    pub const INFO: u32 = 0x1549_a966;
    pub const TRACKS: u32 = 0x1654_ae6b;
    pub const CLUSTER: u32 = 0x1f43_b675;
    pub const CUES: u32 = 0x1c53_bb6b;
    pub const VOID: u32 = 0xec;
    pub const DURATION: u32 = 0x4489;
    pub const TIMESTAMP: u32 = 0xe7;
    pub const SIMPLE_BLOCK: u32 = 0xa3;
    pub const TRACK_ENTRY: u32 = 0xae;
    pub const TRACK_NUMBER: u32 = 0xd7;
    pub const TRACK_TYPE: u32 = 0x83;
    pub const CODEC_ID: u32 = 0x86;
}

/// What one track holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub codec: Codec,
    /// The codec's own head (`avcC` and the like), empty where it has none.
    pub private: Vec<u8>,
    /// Pixels; 0 for sound.
    pub width: u32,
    /// Pixels; 0 for sound.
    pub height: u32,
}

impl Format {
    /// Opus as WebRTC has it.
    pub fn opus() -> Self {
        // RFC 7845 §5.1: version 1, two channels (one is played as two), nothing skipped, 48 kHz, no gain, mapping family 0
        let mut private = b"OpusHead\x01\x02".to_vec();
        private.extend(0u16.to_le_bytes());
        private.extend(48_000u32.to_le_bytes());
        private.extend([0, 0, 0]);
        Self { codec: Codec::Opus, private, width: 0, height: 0 }
    }
}

/// The number of the track of a kind.
pub(super) fn track_number(kind: MediaKind) -> u8 {
    match kind {
        MediaKind::Video => 1,
        MediaKind::Audio => 2,
    }
}

fn codec_id(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "V_MPEG4/ISO/AVC",
        Codec::H265 => "V_MPEGH/ISO/HEVC",
        Codec::VP8 => "V_VP8",
        Codec::VP9 => "V_VP9",
        Codec::AV1 => "V_AV1",
        Codec::Opus => "A_OPUS",
    }
}

/// Whether WebM, the subset that browsers play, has these codecs.
pub(super) fn is_webm(formats: &[&Format]) -> bool {
    formats.iter().all(|format| !matches!(format.codec, Codec::H264 | Codec::H265))
}

/// Where in the file what is changed at its end. Bytes from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The first byte inside the segment: positions of SeekHead and Cues count from there.
    pub inside: u64,
    pub info: u64,
    pub tracks: u64,
    /// The room kept for `Duration`.
    pub duration: u64,
}

/// Bytes to be written over others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// Where playing can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    /// Milliseconds.
    pub time: u64,
    /// The cluster, from the start of the file.
    pub cluster: u64,
    pub track: u8,
}

/// The first bytes of a file.
pub(super) fn head(formats: &[&Format], title: &str, since_1970: Duration) -> (Vec<u8>, Places) {
    let kind = if is_webm(formats) { "webm" } else { "matroska" };
    let mut ebml = Vec::new();
    for (id, value) in [(0x4286, 1), (0x42f7, 1), (0x42f2, 4), (0x42f3, 8)] {
        uint(&mut ebml, id, value);
    }
    element(&mut ebml, 0x4282, kind.as_bytes());
    uint(&mut ebml, 0x4287, 4);
    uint(&mut ebml, 0x4285, 2);
    let mut out = Vec::new();
    element(&mut out, id::EBML, &ebml);
    put_id(&mut out, id::SEGMENT);
    out.extend(UNKNOWN);
    let inside = out.len() as u64;
    out.extend(void(SEEK_ROOM));

    let info_at = out.len() as u64;
    let mut info = Vec::new();
    uint(&mut info, 0x2a_d7b1, SCALE_NS);
    let duration_in = info.len();
    info.extend(void(DURATION_BYTES));
    let since_2001 = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX).saturating_sub(EPOCH_2001);
    element(&mut info, 0x4461, &since_2001.to_be_bytes());
    element(&mut info, 0x7ba9, title.as_bytes());
    let program = concat!("Portico ", env!("CARGO_PKG_VERSION"));
    element(&mut info, 0x4d80, program.as_bytes());
    element(&mut info, 0x5741, program.as_bytes());
    element(&mut out, id::INFO, &info);
    let duration = out.len() as u64 - info.len() as u64 + duration_in as u64;

    let tracks_at = out.len() as u64;
    let entries: Vec<u8> = formats.iter().flat_map(|format| track_entry(format)).collect();
    element(&mut out, id::TRACKS, &entries);
    (out, Places { inside, info: info_at, tracks: tracks_at, duration })
}

fn track_entry(format: &Format) -> Vec<u8> {
    let kind = format.codec.kind();
    let number = u64::from(track_number(kind));
    let mut entry = Vec::new();
    uint(&mut entry, id::TRACK_NUMBER, number);
    uint(&mut entry, 0x73c5, number);
    uint(&mut entry, id::TRACK_TYPE, if kind == MediaKind::Video { 1 } else { 2 });
    // no lacing
    uint(&mut entry, 0x9c, 0);
    element(&mut entry, id::CODEC_ID, codec_id(format.codec).as_bytes());
    if !format.private.is_empty() {
        element(&mut entry, 0x63a2, &format.private);
    }
    let mut inner = Vec::new();
    match kind {
        MediaKind::Video => {
            uint(&mut inner, 0xb0, u64::from(format.width));
            uint(&mut inner, 0xba, u64::from(format.height));
            element(&mut entry, 0xe0, &inner);
        }
        MediaKind::Audio => {
            // an Opus decoder needs 80 ms to settle after a jump (RFC 7845 §4.6)
            uint(&mut entry, 0x56bb, 80_000_000);
            element(&mut inner, 0xb5, &48_000f64.to_be_bytes());
            uint(&mut inner, 0x9f, 2);
            element(&mut entry, 0xe1, &inner);
        }
    }
    let mut out = Vec::new();
    element(&mut out, id::TRACK_ENTRY, &entry);
    out
}

/// Blocks of a short time.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Milliseconds.
    time: u64,
    blocks: Vec<u8>,
    /// What of it can be started with: track, and whether it is the first block and a key frame.
    first: (u8, bool),
}

impl Cluster {
    /// With its first block.
    pub fn new(time: u64, track: u8, key: bool, data: &[u8]) -> Self {
        let mut cluster = Self { time, blocks: Vec::with_capacity(data.len() + 16), first: (track, key) };
        cluster.block(track, 0, key, data);
        cluster
    }

    /// Adds a block, unless its time is out of what a cluster can say (32 s either way). Returns whether it did.
    pub fn add(&mut self, time: u64, track: u8, key: bool, data: &[u8]) -> bool {
        let apart = i128::from(time) - i128::from(self.time);
        let Ok(relative) = i16::try_from(apart) else { return false };
        self.block(track, relative, key, data);
        true
    }

    /// Milliseconds.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.blocks.len()
    }

    /// Whether its first block is a key frame of that track.
    pub fn starts_with_key_of(&self, track: u8) -> bool {
        self.first == (track, true)
    }

    /// As it is written.
    pub fn finish(self) -> Vec<u8> {
        let mut inside = Vec::with_capacity(self.blocks.len() + 16);
        uint(&mut inside, id::TIMESTAMP, self.time);
        inside.extend(self.blocks);
        let mut out = Vec::with_capacity(inside.len() + 12);
        put_id(&mut out, id::CLUSTER);
        out.extend(long_length(inside.len() as u64));
        out.extend(inside);
        out
    }

    fn block(&mut self, track: u8, relative: i16, key: bool, data: &[u8]) {
        put_id(&mut self.blocks, id::SIMPLE_BLOCK);
        self.blocks.extend(length(data.len() as u64 + 4));
        self.blocks.push(0x80 | track);
        self.blocks.extend(relative.to_be_bytes());
        self.blocks.push(if key { 0x80 } else { 0 });
        self.blocks.extend_from_slice(data);
    }
}

/// What makes a file whole: the index, to be added at `len`, and what is written over the head. The patches are to be written
/// after the index is on disk, the last of them last.
pub(super) fn finish(places: &Places, len: u64, duration_ms: u64, cues: &[Cue]) -> (Vec<u8>, Vec<Patch>) {
    let mut points = Vec::new();
    for cue in cues {
        let mut position = Vec::new();
        uint(&mut position, 0xf7, u64::from(cue.track));
        uint(&mut position, 0xf1, cue.cluster.saturating_sub(places.inside));
        let mut point = Vec::new();
        uint(&mut point, 0xb3, cue.time);
        element(&mut point, 0xb7, &position);
        element(&mut points, 0xbb, &point);
    }
    let mut index = Vec::new();
    if !cues.is_empty() {
        element(&mut index, id::CUES, &points);
    }
    let mut seeks = Vec::new();
    let mut entries = vec![(id::INFO, places.info), (id::TRACKS, places.tracks)];
    entries.extend((!cues.is_empty()).then_some((id::CUES, len)));
    for (id, at) in entries {
        let mut seek = Vec::new();
        element(&mut seek, 0x53ab, &id.to_be_bytes());
        element(&mut seek, 0x53ac, &at.saturating_sub(places.inside).to_be_bytes());
        element(&mut seeks, 0x4dbb, &seek);
    }
    let mut seek_head = Vec::new();
    element(&mut seek_head, id::SEEK_HEAD, &seeks);
    seek_head.extend(void(SEEK_ROOM - seek_head.len()));
    let mut duration = Vec::new();
    element(&mut duration, id::DURATION, &(duration_ms as f64).to_be_bytes());
    let whole = len + index.len() as u64 - places.inside;
    let patches = vec![
        Patch { at: places.duration, bytes: duration },
        Patch { at: places.inside, bytes: seek_head },
        Patch { at: places.inside - 8, bytes: long_length(whole).into() },
    ];
    (index, patches)
}

/// `Duration` with its id and length.
const DURATION_BYTES: usize = 11;

/// An element that says nothing, `room` bytes long; at least 2.
fn void(room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(room);
    put_id(&mut out, id::VOID);
    let inside = room.saturating_sub(2);
    out.extend(length(inside as u64));
    out.resize(out.len() + inside, 0);
    out
}

fn put_id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    out.extend(&bytes[skip..]);
}

/// A length in as few bytes as it takes.
fn length(len: u64) -> Vec<u8> {
    let bytes = (1..=8u32).find(|bytes| len < (1 << (7 * bytes)) - 1).unwrap_or(8);
    let marked = len | 1 << (7 * bytes);
    marked.to_be_bytes()[8 - bytes as usize..].to_vec()
}

/// A length in eight bytes.
fn long_length(len: u64) -> [u8; 8] {
    (len | 1 << 56).to_be_bytes()
}

fn element(out: &mut Vec<u8>, id: u32, data: &[u8]) {
    put_id(out, id);
    out.extend(length(data.len() as u64));
    out.extend_from_slice(data);
}

fn uint(out: &mut Vec<u8>, id: u32, value: u64) {
    let bytes = value.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
    element(out, id, &bytes[skip..]);
}
