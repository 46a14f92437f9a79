//! What the child process does: opens one candidate, sends frames through it, and tells what it saw.
//!
//! Nothing here decides. Whatever blocks for good is ended by the parent.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::Trial;
use super::observed::{Observed, Rate, Stage};
use super::sample::{BASELINE, Slice, Writer};
use crate::media::SourceError;
use crate::media::board::{DecoderCandidate, DecoderInput, EncoderCandidate, EncoderLimits};
use crate::media::pipeline::{make, write_bitrate};
use crate::media::{h264, tap};
use crate::vocab::{Bitrate, Codec};

/// Frames sent to an encoder: 3 s of a test picture, as fast as it takes them.
const FRAMES: u32 = 90;
const FRAMERATE: u32 = 30;
/// The key frame is asked for before this frame goes in.
const KEY_AT: u32 = 20;
/// The bit rate is changed before this one. What comes out from 25 on is measured, then, after a while to settle, from 65 on.
const RATE_AT: u32 = 45;
const MEASURED_BEFORE: std::ops::Range<u32> = 25..RATE_AT;
const MEASURED_AFTER: std::ops::Range<u32> = 65..FRAMES;
/// Bit rates before and after the change; both within what every board's encoder can do.
const RATES: [u64; 2] = [1_200_000, 400_000];
/// Frames sent to a decoder of H.264.
const DECODED: u32 = 30;
/// And of what must be encoded in software first, whose time counts as the decoder's.
const DECODED_OTHER: u32 = 12;
/// The picture: modest, and a multiple of what encoders want.
pub(super) const SIZE: (u32, u32) = (640, 352);
/// Frames sent to an encoder to see whether it carries a size.
const AT_SIZE: u32 = 15;
/// When nothing moves for this long, the trial ends with what was seen.
const STALL: Duration = Duration::from_secs(8);
/// The test picture: moving, and as hard to encode everywhere, so that the bit rate is used.
const PICTURE: &str = "pattern=zone-plate kx2=20 ky2=20 kt=1";

/// Tries a candidate. May block for good, or take the process with it: that is what the process is for.
pub fn run(trial: &Trial) -> Observed {
    if let Err(error) = gst::init() {
        return Observed { error: Some(Observed::text(&format!("GStreamer cannot start: {error}"))), ..Observed::default() };
    }
    match trial {
        Trial::Encoder { candidate, convert, size: None } => encoder(candidate, convert),
        Trial::Encoder { candidate, convert, size: Some(size) } => encoder_at(candidate, convert, *size),
        Trial::Decoder { candidate } => decoder(candidate),
    }
}

/// What happens while a trial runs.
enum Event {
    /// This frame is about to go in, and waits.
    Step(u32),
    Error(String),
    Ended,
}

/// What came out.
#[derive(Default)]
struct Seen {
    /// Index by time, bytes, key frame. At most [`FRAMES`] + 16.
    frames: Vec<(u32, usize, bool)>,
    b_frames: u32,
    size: Option<(u32, u32)>,
}

/// What the encoder's own pad gave, before any parser mends it.
#[derive(Default)]
struct Raw {
    headers: bool,
    bare_keys: u32,
    profile: Option<u8>,
}

fn encoder(candidate: &EncoderCandidate, convert: &str) -> Observed {
    let mut observed = Observed { stage: Stage::Made, ..Observed::default() };
    let (width, height) = size(&candidate.limits);
    let caps = |caps: &str| if caps.is_empty() { String::new() } else { format!("{caps} ! ") };
    let description = format!(
        "videotestsrc num-buffers={FRAMES} {PICTURE} ! video/x-raw,format=I420,width={width},height={height},\
         framerate={FRAMERATE}/1 ! identity name=gate silent=true ! {convert} ! {}{} name=encoder ! {}{}\
         appsink name=tap sync=false async=false enable-last-sample=false",
        caps(&candidate.input_caps),
        candidate.element,
        caps(&candidate.output_caps),
        parser(candidate.codec),
    );
    let pipeline = match make::pipeline(&description) {
        Ok(pipeline) => pipeline,
        Err(error) => return failed(observed, &error),
    };
    let (Some(element), Some(gate)) = (pipeline.by_name("encoder"), pipeline.by_name("gate")) else { return observed };
    observed.lacks = lacking(&element, &candidate.requires);
    if observed.lacks.is_some() {
        return observed;
    }
    make::set_all(&element, &candidate.properties);
    write_bitrate(&element, &candidate.bitrate, &candidate.limits, Bitrate::from_bps(RATES[0]), true);

    let (tell, events) = mpsc::channel();
    let (go, went) = mpsc::sync_channel::<()>(1);
    let entered = Arc::new(AtomicU32::new(0));
    if let Some(pad) = gate.static_pad("src") {
        let (entered, tell, went) = (Arc::clone(&entered), tell.clone(), Mutex::new(went));
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let index = entered.load(Ordering::Acquire);
            if matches!(index, KEY_AT | RATE_AT) && tell.send(Event::Step(index)).is_ok() {
                // a lost partner must not hold the stream
                let _ = went.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(STALL);
            }
            entered.fetch_add(1, Ordering::Release);
            gst::PadProbeReturn::Ok
        });
    }
    let raw = Arc::<Mutex<Raw>>::default();
    if candidate.codec == Codec::H264 {
        watch_headers(&element, &raw);
    }
    let seen = collect(&pipeline, candidate.codec == Codec::H264);

    let mut asked = None;
    let moved = || (entered.load(Ordering::Acquire), lock(&seen).frames.len());
    let outcome = play(&pipeline, &element, tell, &events, &mut observed.stage, &moved, |step| {
        match step {
            KEY_AT => {
                // some take requests only after their first output
                wait_for_output(&seen);
                tap::ask_for_key(&element, &candidate.key_frame);
                asked = Some(KEY_AT);
            }
            _ => write_bitrate(&element, &candidate.bitrate, &candidate.limits, Bitrate::from_bps(RATES[1]), false),
        }
        let _ = go.try_send(());
    });
    observed.error = outcome.err();
    let _ = pipeline.set_state(gst::State::Null);

    let (seen, raw) = (lock(&seen), lock(&raw));
    observed.entered = entered.load(Ordering::Acquire);
    observed.left = u32::try_from(seen.frames.len()).unwrap_or(u32::MAX);
    observed.first_key = seen.frames.first().is_some_and(|(_, _, key)| *key);
    observed.keys = u32::try_from(seen.frames.iter().filter(|(_, _, key)| *key).count()).unwrap_or(u32::MAX);
    observed.key_after = asked.and_then(|asked| {
        let later = seen.frames.iter().filter(|(index, _, key)| *key && *index >= asked);
        later.map(|(index, ..)| index - asked).min()
    });
    (observed.bare_keys, observed.profile, observed.b_frames) = (raw.bare_keys, raw.profile, seen.b_frames);
    let limited = |bps: u64| bps.max(candidate.limits.min_bitrate.unwrap_or(0));
    observed.rates = rate(&seen.frames, &MEASURED_BEFORE).zip(rate(&seen.frames, &MEASURED_AFTER)).map(|(before, after)| {
        [(RATES[0], before), (RATES[1], after)].map(|(bps, measured)| Rate { asked: limited(bps), measured })
    });
    observed
}

/// A few pictures of one size, as they come.
fn encoder_at(candidate: &EncoderCandidate, convert: &str, (width, height): (u32, u32)) -> Observed {
    let mut observed = Observed { stage: Stage::Made, size_in: Some((width, height)), ..Observed::default() };
    let caps = |caps: &str| if caps.is_empty() { String::new() } else { format!("{caps} ! ") };
    let description = format!(
        "videotestsrc num-buffers={AT_SIZE} pattern=ball ! video/x-raw,format=I420,width={width},height={height},\
         framerate={FRAMERATE}/1 ! {convert} ! {}{} name=encoder ! {}{}\
         appsink name=tap sync=false async=false enable-last-sample=false",
        caps(&candidate.input_caps),
        candidate.element,
        caps(&candidate.output_caps),
        parser(candidate.codec),
    );
    let pipeline = match make::pipeline(&description) {
        Ok(pipeline) => pipeline,
        Err(error) => return failed(observed, &error),
    };
    let Some(element) = pipeline.by_name("encoder") else { return observed };
    make::set_all(&element, &candidate.properties);
    write_bitrate(&element, &candidate.bitrate, &candidate.limits, Bitrate::from_bps(RATES[0]), true);
    let entered = Arc::new(AtomicU32::new(0));
    if let Some(pad) = element.static_pad("sink") {
        count(&pad, &entered);
    }
    let seen = collect(&pipeline, false);
    let (tell, events) = mpsc::channel();
    let moved = || (entered.load(Ordering::Acquire), lock(&seen).frames.len());
    let outcome = play(&pipeline, &element, tell, &events, &mut observed.stage, &moved, |_| {});
    observed.error = outcome.err();
    let _ = pipeline.set_state(gst::State::Null);
    observed.entered = entered.load(Ordering::Acquire);
    observed.left = u32::try_from(lock(&seen).frames.len()).unwrap_or(u32::MAX);
    observed
}

fn count(pad: &gst::Pad, passed: &Arc<AtomicU32>) {
    let passed = Arc::clone(passed);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        passed.fetch_add(1, Ordering::Release);
        gst::PadProbeReturn::Ok
    });
}

fn decoder(candidate: &DecoderCandidate) -> Observed {
    let mut observed = Observed { stage: Stage::Made, size_in: Some(SIZE), ..Observed::default() };
    let source = match sample_source(candidate) {
        Ok(source) => source,
        Err(why) => return Observed { stage: Stage::Untried, error: Some(why), ..observed },
    };
    let output = match candidate.output_caps.as_str() {
        "" => String::new(),
        caps => format!("{caps} ! "),
    };
    let description = format!(
        "{source}{} name=decoder ! {output}appsink name=tap sync=false async=false enable-last-sample=false",
        candidate.element
    );
    let pipeline = match make::pipeline(&description) {
        Ok(pipeline) => pipeline,
        Err(error) => return failed(observed, &error),
    };
    let Some(element) = pipeline.by_name("decoder") else { return observed };
    observed.lacks = lacking(&element, &candidate.requires);
    if observed.lacks.is_some() {
        return observed;
    }
    make::set_all(&element, &candidate.properties);
    let entered = Arc::new(AtomicU32::new(0));
    if let Some(pad) = element.static_pad("sink") {
        count(&pad, &entered);
    }
    let seen = collect(&pipeline, false);
    if let Some(source) = pipeline.by_name("sample").and_then(|it| it.downcast::<gst_app::AppSrc>().ok()) {
        push_sample(&source);
    }
    let (tell, events) = mpsc::channel();
    let moved = || (entered.load(Ordering::Acquire), lock(&seen).frames.len());
    let outcome = play(&pipeline, &element, tell, &events, &mut observed.stage, &moved, |_| {});
    observed.error = outcome.err();
    let _ = pipeline.set_state(gst::State::Null);
    let seen = lock(&seen);
    observed.entered = entered.load(Ordering::Acquire);
    observed.left = u32::try_from(seen.frames.len()).unwrap_or(u32::MAX);
    observed.size = seen.size;
    observed
}

/// Opens the candidate, plays until everything went through, and answers steps. `Err` says what went wrong.
fn play(
    pipeline: &gst::Pipeline,
    element: &gst::Element,
    tell: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
    stage: &mut Stage,
    moved: &dyn Fn() -> (u32, usize),
    mut step: impl FnMut(u32),
) -> Result<(), String> {
    if let Some(bus) = pipeline.bus() {
        let tell = Mutex::new(tell);
        bus.set_sync_handler(move |_, message| {
            let event = match message.view() {
                gst::MessageView::Error(error) => Some(Event::Error(describe(error))),
                gst::MessageView::Eos(_) => Some(Event::Ended),
                _ => None,
            };
            if let Some(event) = event {
                let _ = lock(&tell).send(event);
            }
            gst::BusSyncReply::Drop
        });
    }
    let said = |fallback: &str| {
        let error = events.try_iter().find_map(|event| match event {
            Event::Error(error) => Some(error),
            _ => None,
        });
        error.unwrap_or_else(|| fallback.to_owned())
    };
    // opened by itself first, so that an error of opening is told from one of running
    if element.set_state(gst::State::Ready).is_err() {
        return Err(said("it does not reach READY"));
    }
    *stage = Stage::Opened;
    if pipeline.set_state(gst::State::Playing).is_err() {
        return Err(said("it does not start"));
    }
    *stage = Stage::Started;
    let mut last = moved();
    loop {
        match events.recv_timeout(STALL) {
            Ok(Event::Step(index)) => step(index),
            // slow is not stuck
            Err(_) if moved() != last => last = moved(),
            Ok(Event::Error(error)) => return Err(error),
            Ok(Event::Ended) => {
                *stage = Stage::Ended;
                return Ok(());
            }
            Err(_) => return Err(format!("nothing moved for {} s", STALL.as_secs())),
        }
    }
}

fn describe(error: &gst::message::Error) -> String {
    let from = error.src().map(|source| source.name().to_string()).unwrap_or_default();
    // the first line of the debug text is a place in the source, the reason follows
    let debug = error.debug().and_then(|debug| debug.lines().skip(1).last().map(str::to_owned));
    let reason = debug.map(|line| format!(" ({line})")).unwrap_or_default();
    Observed::text(&format!("{from}: {}{reason}", error.error().message()))
}

fn failed(observed: Observed, error: &SourceError) -> Observed {
    Observed { error: Some(Observed::text(&error.to_string())), ..observed }
}

fn lacking(element: &gst::Element, requires: &[String]) -> Option<String> {
    requires.iter().find(|property| element.find_property(property).is_none()).map(|property| Observed::text(property))
}

/// The parser behind an encoder, as a source's branch has it.
fn parser(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! ",
        Codec::H265 => "h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au ! ",
        Codec::AV1 => "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu ! ",
        Codec::VP8 | Codec::VP9 | Codec::Opus => "",
    }
}

/// The trial's size within an encoder's limits.
fn size(limits: &EncoderLimits) -> (u32, u32) {
    let align = limits.width_align.unwrap_or(2).max(2);
    let width = SIZE.0.min(limits.max_width.unwrap_or(u32::MAX));
    let width = (width / align * align).max(align);
    (width, SIZE.1.min(limits.max_height.unwrap_or(u32::MAX)) & !1)
}

/// What gives a decoder its sample, up to the `!` in front of it. `Err` when nothing here makes one.
fn sample_source(candidate: &DecoderCandidate) -> Result<String, String> {
    let (width, height) = SIZE;
    let (maker, parser) = match candidate.input {
        DecoderInput::Codec(Codec::H264) => {
            return Ok(format!(
                "appsrc name=sample format=time caps=\"video/x-h264,stream-format=(string)byte-stream,alignment=(string)au,\
                 width=(int){width},height=(int){height},framerate=(fraction){FRAMERATE}/1\" ! h264parse ! "
            ));
        }
        DecoderInput::Codec(Codec::H265) => ("x265enc speed-preset=ultrafast tune=zerolatency", "h265parse ! "),
        DecoderInput::Codec(Codec::VP8) => ("vp8enc deadline=1 cpu-used=16", ""),
        DecoderInput::Codec(Codec::VP9) => ("vp9enc deadline=1 cpu-used=8", "vp9parse ! "),
        DecoderInput::Codec(Codec::AV1) => ("av1enc cpu-used=8 usage-profile=realtime", "av1parse ! "),
        DecoderInput::Codec(Codec::Opus) => return Err("sound is not tried".into()),
        DecoderInput::Jpeg => ("jpegenc", make::jpeg_parser(candidate)),
    };
    let element = maker.split(' ').next().unwrap_or(maker);
    if gst::ElementFactory::find(element).is_none() {
        return Err(format!("{element} is missing, so there is nothing to decode"));
    }
    let mut source = format!("videotestsrc num-buffers={DECODED_OTHER} ! video/x-raw,format=I420,width={width},height={height},");
    let _ = write!(source, "framerate={FRAMERATE}/1 ! {maker} ! {parser}");
    Ok(source)
}

fn push_sample(source: &gst_app::AppSrc) {
    let mut writer = Writer::new(SIZE.0, SIZE.1, BASELINE);
    for index in 0..DECODED {
        let mut unit = Vec::new();
        // a key frame in the middle, too
        let key = index % (DECODED / 2) == 0;
        if key {
            unit.extend(writer.headers());
        }
        unit.extend(writer.picture(if key { Slice::Key } else { Slice::Predicted }));
        let mut buffer = gst::Buffer::from_slice(unit);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(frame_time(index));
            buffer.set_duration(frame_time(1));
        }
        // appsrc keeps what comes before the start
        let _ = source.push_buffer(buffer);
    }
    let _ = source.end_of_stream();
}

fn frame_time(index: u32) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::from(index) * 1_000_000_000 / u64::from(FRAMERATE))
}

/// Notes what comes out at the end.
fn collect(pipeline: &gst::Pipeline, is_h264: bool) -> Arc<Mutex<Seen>> {
    let seen = Arc::<Mutex<Seen>>::default();
    let note = Arc::clone(&seen);
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let Some(buffer) = sample.buffer() else { return Ok(gst::FlowSuccess::Ok) };
        let mut seen = lock(&note);
        let next = u32::try_from(seen.frames.len()).unwrap_or(u32::MAX);
        let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        let time = segment.zip(buffer.pts()).and_then(|(segment, pts)| segment.to_running_time(pts));
        let index = time.and_then(|time| {
            let index = (time.nseconds().saturating_mul(u64::from(FRAMERATE)) + 500_000_000) / 1_000_000_000;
            u32::try_from(index).ok().filter(|index| *index < FRAMES)
        });
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if is_h264 && buffer.map_readable().is_ok_and(|map| h264::has_b_slice(&map)) {
            seen.b_frames += 1;
        }
        let structure = sample.caps().and_then(|caps| caps.structure(0));
        let pixels = |name| structure.and_then(|it| it.get::<i32>(name).ok()).and_then(|it| u32::try_from(it).ok());
        seen.size = pixels("width").zip(pixels("height"));
        if next < FRAMES + 16 {
            seen.frames.push((index.unwrap_or(next), buffer.size(), key));
        }
        Ok(gst::FlowSuccess::Ok)
    });
    if let Some(sink) = pipeline.by_name("tap").and_then(|tap| tap.downcast::<gst_app::AppSink>().ok()) {
        sink.set_callbacks(callbacks.build());
    }
    seen
}

/// Looks for parameter sets right behind the encoder. They may come in a buffer of their own in front of the key frame.
fn watch_headers(encoder: &gst::Element, raw: &Arc<Mutex<Raw>>) {
    let Some(pad) = encoder.static_pad("src") else { return };
    let raw = Arc::clone(raw);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) else { return gst::PadProbeReturn::Ok };
        let mut raw = lock(&raw);
        if let Some(profile) = h264::Profile::of(&map) {
            raw.profile = Some(profile.profile);
            raw.headers = true;
        }
        match h264::picture(&map) {
            Some(h264::Picture::Key) => {
                raw.bare_keys += u32::from(!raw.headers);
                raw.headers = false;
            }
            Some(h264::Picture::Other) => raw.headers = false,
            None => {}
        }
        gst::PadProbeReturn::Ok
    });
}

fn wait_for_output(seen: &Mutex<Seen>) {
    for _ in 0..200 {
        if !lock(seen).frames.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// bit/s of the frames in a range, key frames left out.
fn rate(frames: &[(u32, usize, bool)], range: &std::ops::Range<u32>) -> Option<u64> {
    let counted: Vec<u64> = frames
        .iter()
        .filter(|(index, _, key)| range.contains(index) && !key)
        .map(|(_, bytes, _)| u64::try_from(*bytes).unwrap_or(u64::MAX))
        .collect();
    let bytes = counted.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    let count = u64::try_from(counted.len()).ok().filter(|count| *count > 0)?;
    Some(bytes.saturating_mul(8 * u64::from(FRAMERATE)) / count)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // plain figures are valid in every state
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
