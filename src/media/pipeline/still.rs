//! One key frame to one JPEG, by a pipeline that lives for just that.
//!
//! ```text
//! appsrc (RTP) ─► depayloader ─► parser ─► size ─► decoder ─► convert, scale ─► jpegenc ─► appsink
//! ```
//!
//! What a publisher sent is not to be trusted: a few bytes can announce a picture of gigabytes. So one that is larger than [`LARGEST`]
//! never reaches the decoder.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::debug;

use super::{PresenceCache, fault, make};
use crate::media::SourceError;
use crate::media::board::{Board, Candidate, DecoderCandidate, DecoderInput};
use crate::media::element::Presence;
use crate::media::inlet::{self, LARGEST, PAYLOAD_TYPE, depayloader};
use crate::media::plan;
use crate::media::snapshot::SnapshotError;
use crate::vocab::Codec;

/// Good enough for a wall of cameras, and about 80 KB at 640 by 360.
const QUALITY: u32 = 85;

/// A key frame as it travels.
pub(in crate::media) struct KeyFrame {
    /// How it is encoded.
    pub codec: Codec,
    /// RTP payloads, in order, all of them.
    pub payloads: Vec<Bytes>,
}

/// The key frame as a JPEG that is at most `width` pixels wide, with the picture's own proportions. The decoders that are there are
/// tried one after the other until `deadline`. Blocks.
pub(in crate::media) fn jpeg(
    frame: &KeyFrame,
    width: Option<u16>,
    board: &Board,
    presences: &PresenceCache,
    deadline: Instant,
) -> Result<Bytes, SnapshotError> {
    let presence = |it: &DecoderCandidate| presences.get(Candidate::Decoder(it));
    let mut candidates: Vec<&DecoderCandidate> = board.decoders_of(DecoderInput::Codec(frame.codec)).collect();
    // software first: one frame is soon decoded, and the board's few hardware decoders stay with those that need them all the time
    candidates.sort_by_key(|it| it.hardware);
    let mut failed = None;
    for decoder in candidates.iter().filter(|it| presence(it).is_ready()) {
        match run(frame, width, decoder, board, presences, deadline) {
            Ok(jpeg) => return Ok(jpeg),
            Err(error) => {
                debug!(decoder = decoder.element, %error, "no picture by this decoder");
                failed.get_or_insert(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| {
        let missing = candidates.iter().find_map(|it| match presence(it) {
            Presence::Missing { package: Some(package) } => Some(package),
            _ => None,
        });
        SnapshotError::NoDecoder { codec: frame.codec, package: missing }
    }))
}

fn run(
    frame: &KeyFrame,
    width: Option<u16>,
    decoder: &DecoderCandidate,
    board: &Board,
    presences: &PresenceCache,
    deadline: Instant,
) -> Result<Bytes, SnapshotError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(SnapshotError::Undecoded("there was no time left".into()));
    }
    let pipeline = make::pipeline(&describe(frame.codec, width, decoder, board, presences)?).map_err(unusable)?;
    if let Some(element) = pipeline.by_name("decoder") {
        make::set_all(&element, &decoder.properties);
    }
    let outcome = pass(&pipeline, frame, left);
    // stops the threads; a driver that hangs here keeps this thread and its permit
    let _ = pipeline.set_state(gst::State::Null);
    outcome
}

/// What cannot be built for want of an element.
fn unusable(error: SourceError) -> SnapshotError {
    match error {
        SourceError::MissingElement { element, package } => SnapshotError::MissingElement { element, package },
        other => SnapshotError::Undecoded(other.to_string()),
    }
}

fn describe(
    codec: Codec,
    width: Option<u16>,
    decoder: &DecoderCandidate,
    board: &Board,
    presences: &PresenceCache,
) -> Result<String, SnapshotError> {
    if codec == Codec::Opus {
        return Err(SnapshotError::NoPicture);
    }
    let (name, depayload, coded) = depayloader(codec);
    let some = |caps: &str| if caps.is_empty() { String::new() } else { format!("{caps} ! ") };
    // what leaves a hardware decoder may be in memory that only the board's own converter reads
    let own = |asked: Candidate<'_>| presences.get(asked);
    let size = format!("width=[1,{LARGEST}],height=[1,{LARGEST}]");
    let fetch = match decoder.hardware {
        true => format!("{} ! ", plan::board_converter(board, &own)),
        false => format!("video/x-raw,{size} ! "),
    };
    // a range is fixed next to what comes in, so a small picture is not blown up; square pixels keep the proportions
    let most = width.unwrap_or(LARGEST);
    Ok(format!(
        "appsrc name=in format=time caps=\"application/x-rtp,media=(string)video,clock-rate=(int)90000,\
         encoding-name=(string){name},payload=(int){PAYLOAD_TYPE}\" ! {depayload} ! {coded},{size} ! {} name=decoder ! {}{fetch}videoconvert ! \
         videoscale ! video/x-raw,width=[1,{most}],pixel-aspect-ratio=1/1 ! jpegenc quality={QUALITY} ! \
         appsink name=out sync=false async=false max-buffers=1 enable-last-sample=false",
        decoder.element,
        some(&decoder.output_caps),
    ))
}

/// Sends the frame through and takes the first picture that comes out.
fn pass(pipeline: &gst::Pipeline, frame: &KeyFrame, left: Duration) -> Result<Bytes, SnapshotError> {
    let undecoded = |why: &str| SnapshotError::Undecoded(why.into());
    let end = |name| pipeline.by_name(name).ok_or_else(|| undecoded("the pipeline is incomplete"));
    let source: gst_app::AppSrc = end("in")?.downcast().map_err(|_| undecoded("the pipeline is incomplete"))?;
    let sink: gst_app::AppSink = end("out")?.downcast().map_err(|_| undecoded("the pipeline is incomplete"))?;
    let said = |fallback: &str| {
        let bus = pipeline.bus();
        let error = bus.and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match error.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => SnapshotError::Undecoded(fault::redact(error.error().message())),
            _ => undecoded(fallback),
        }
    };
    pipeline.set_state(gst::State::Playing).map_err(|_| said("it does not start"))?;
    let last = frame.payloads.len().saturating_sub(1);
    for (index, payload) in frame.payloads.iter().enumerate() {
        let sequence = u16::try_from(index & 0xffff).unwrap_or_default();
        let mut buffer = gst::Buffer::from_slice(inlet::header(sequence, 0, index == last, payload));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::ZERO);
        }
        source.push_buffer(buffer).map_err(|_| said("it does not take the frame"))?;
    }
    source.end_of_stream().map_err(|_| said("it does not take the frame"))?;
    let wait = gst::ClockTime::from_nseconds(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX >> 1));
    let sample = sink.try_pull_sample(wait).ok_or_else(|| said("nothing came out in time"))?;
    let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok()).ok_or_else(|| said("nothing came out"))?;
    Ok(Bytes::copy_from_slice(&map))
}
