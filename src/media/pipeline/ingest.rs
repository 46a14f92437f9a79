//! Sources that come encoded: files, RTSP servers, H.264 cameras.
//!
//! Their streams are found while the pipeline runs. Each is parsed, looked at (codec, profile, B-frames) and held back until the
//! owner has planned and its branches hang on the tee, so that nothing of the start is lost.
//!
//! ```text
//! pad ─► [depay] ─► [parse] ─► hold (queue, blocked until Flow) ─► [clocksync] ─► tee
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{debug, warn};

use super::capture::{Built, tee_name};
use super::rewind::Rewinder;
use super::{Marks, Order, Start, fault, make};
use crate::media::config::{RtspConfig, RtspTransport};
use crate::media::plan::{SourceOffer, StreamOffer};
use crate::media::{SourceError, SourceKind};
use crate::media::{h264, h265};
use crate::vocab::{Codec, MediaKind, TrackFormat};

/// A live stream's first frames are looked at for B-frames: this many, 1/3 s of most cameras.
const LOOK_LIVE: usize = 10;
/// A file is read ahead, so more of it can be looked at.
const LOOK_FILE: usize = 60;
/// No more than this much of a stream is looked at, however few its frames. Less than [`HOLD`].
const LOOK_TIME: gst::ClockTime = gst::ClockTime::from_mseconds(1500);
/// What is held back at most: long enough for the look and for a file whose sound and picture are stored far apart.
const HOLD: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// And in bytes; 10 s at 50 Mbit/s.
const HOLD_BYTES: u32 = 64 << 20;

/// H.264 as `tap` and viewers need it: start codes, whole access units, parameter sets with every IDR.
const H265_CAPS: &str = "video/x-h265,stream-format=byte-stream,alignment=au";
const H264_CAPS: &str = "video/x-h264,stream-format=byte-stream,alignment=au";

/// How a coded stream enters.
struct Stream {
    kind: MediaKind,
    /// In front of the hold.
    front: Vec<gst::Element>,
    offer: Offer,
}

/// What a stream is.
enum Offer {
    /// Known already.
    Known(StreamOffer),
    /// Found out by looking at its first frames: H.264 or H.265.
    LookAt(Codec),
}

/// What the callbacks of one source share.
struct Ingest {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    orders: Mutex<mpsc::Sender<Order>>,
    marks: Marks,
    holds: Arc<Holds>,
    /// The streams chosen of an RTSP server.
    selected: Mutex<Vec<MediaKind>>,
    rewinder: Option<Arc<Rewinder>>,
    /// A file: its own time is kept by the clock.
    paced: bool,
}

/// A file, played without end.
pub(super) fn file(start: &Start, path: &Path, orders: &mpsc::Sender<Order>) -> Result<Built, SourceError> {
    let what = fault::what(&start.source);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(SourceError::Failed(format!("{what} is a folder"))),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(SourceError::Missing { what }),
        Err(error) => return Err(SourceError::Failed(format!("{what}: {error}"))),
    }
    let pipeline = gst::Pipeline::new();
    let reader = make::element("filesrc")?;
    reader.set_property("location", path);
    let parser = make::element("parsebin")?;
    make::add_row(&pipeline, &[reader, parser.clone()])?;
    let rewinder = Arc::new(Rewinder::new(orders.clone()));
    let ingest = Ingest::new(start, &pipeline, orders, Some(Arc::clone(&rewinder)));
    ingest.listen(&parser);
    Ok(Built { pipeline, offer: SourceOffer::default(), offer_later: true, rewinder: Some(rewinder), mix: None })
}

/// A stream of an RTSP server.
pub(super) fn rtsp(start: &Start, rtsp: &RtspConfig, orders: &mpsc::Sender<Order>) -> Result<Built, SourceError> {
    let pipeline = gst::Pipeline::new();
    let client = make::element("rtspsrc")?;
    // the address goes in without credentials, so that nothing that GStreamer logs or reports can hold them
    client.set_property("location", rtsp.url.without_credentials());
    if let Some((user, password)) = rtsp.url.credentials() {
        client.set_property("user-id", user);
        client.set_property("user-pw", password);
    }
    client.set_property("latency", u32::try_from(rtsp.latency.as_millis()).unwrap_or(u32::MAX));
    make::set(&client, "protocols", if rtsp.transport == RtspTransport::Tcp { "tcp" } else { "udp" });
    pipeline.add(&client).map_err(|error| SourceError::Failed(error.to_string()))?;
    let ingest = Ingest::new(start, &pipeline, orders, None);
    ingest.listen(&client);
    ingest.select(&client);
    Ok(Built { pipeline, offer: SourceOffer::default(), offer_later: true, rewinder: None, mix: None })
}

/// A camera that encodes: its frames leave the element `coded`.
pub(super) fn coded_camera(start: &Start, pipeline: &gst::Pipeline, orders: &mpsc::Sender<Order>) -> Result<(), SourceError> {
    let Some(coded) = pipeline.by_name("coded") else {
        return Err(SourceError::Failed("the camera's pipeline is incomplete".into()));
    };
    let ingest = Ingest::new(start, pipeline, orders, None);
    let stream = Stream { kind: MediaKind::Video, front: h26x_front(Codec::H264, None)?, offer: Offer::LookAt(Codec::H264) };
    let entry = ingest.take(pipeline, stream)?;
    let exit = coded.static_pad("src").ok_or_else(|| SourceError::Failed("the camera's pipeline is incomplete".into()))?;
    exit.link(&entry).map_err(|error| SourceError::Failed(error.to_string()))?;
    ingest.tell(Order::AllStreams);
    Ok(())
}

/// The kinds of streams that were taken.
pub(super) fn linked_kinds(pipeline: &gst::Pipeline) -> Vec<MediaKind> {
    let taken = |kind: &MediaKind| pipeline.by_name(&hold_name(*kind)).is_some();
    [MediaKind::Video, MediaKind::Audio].into_iter().filter(taken).collect()
}

/// Where streams are held back, until [`Holds::release`].
#[derive(Default)]
pub(in crate::media) struct Holds(Mutex<Vec<(gst::Pad, gst::PadProbeId)>>);

impl Holds {
    /// Lets everything flow.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (pad, probe) in held {
            pad.remove_probe(probe);
        }
    }

    fn hold(&self, pad: &gst::Pad) {
        let mask = gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER;
        if let Some(probe) = pad.add_probe(mask, |_, _| gst::PadProbeReturn::Ok) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((pad.clone(), probe));
        }
    }
}

impl Ingest {
    fn new(start: &Start, pipeline: &gst::Pipeline, orders: &mpsc::Sender<Order>, rewinder: Option<Arc<Rewinder>>) -> Arc<Self> {
        Arc::new(Self {
            pipeline: pipeline.downgrade(),
            orders: Mutex::new(orders.clone()),
            marks: start.marks.clone(),
            holds: Arc::clone(&start.holds),
            selected: Mutex::default(),
            paced: matches!(start.source.kind, SourceKind::File(_)),
            rewinder,
        })
    }

    /// Takes the streams that an element finds.
    fn listen(self: &Arc<Self>, element: &gst::Element) {
        let ingest = Arc::clone(self);
        element.connect_pad_added(move |_, pad| {
            if pad.direction() == gst::PadDirection::Src {
                ingest.found(pad);
            }
        });
        let ingest = Arc::clone(self);
        // `parsebin` never says this, see `take`; `rtspsrc` may say it while the other stream's thread still adds its pad
        element.connect_no_more_pads(move |_| ingest.tell(Order::StreamsDue));
    }

    /// Takes one picture and one sound of what an RTSP server has, and leaves the rest (a camera's metadata) unsent.
    fn select(self: &Arc<Self>, client: &gst::Element) {
        let ingest = Arc::clone(self);
        client.connect("select-stream", false, move |arguments| {
            let caps = arguments.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let stream = caps.as_ref().and_then(|caps| caps.structure(0)).and_then(|caps| of_rtp(caps).transpose());
            let kind = match stream {
                Some(Ok(stream)) => stream.kind,
                Some(Err(error)) => {
                    ingest.tell(Order::Fail(error));
                    return Some(false.to_value());
                }
                None => return Some(false.to_value()),
            };
            let mut selected = ingest.selected.lock().unwrap_or_else(PoisonError::into_inner);
            let first = !selected.contains(&kind);
            if first {
                selected.push(kind);
            }
            Some(first.to_value())
        });
    }

    /// Tells when every selected stream is there.
    fn count(&self, pipeline: &gst::Pipeline) {
        let selected = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        if !selected.is_empty() && linked_kinds(pipeline).len() == selected.len() {
            self.tell(Order::AllStreams);
        }
    }

    fn found(&self, pad: &gst::Pad) {
        let Some(pipeline) = self.pipeline.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(structure) = caps.structure(0) else { return };
        let stream = if structure.name() == "application/x-rtp" { of_rtp(structure) } else { of_file(structure) };
        let taken = stream.and_then(|stream| match stream {
            Some(stream) if pipeline.by_name(&hold_name(stream.kind)).is_none() => {
                let entry = self.take(&pipeline, stream)?;
                pad.link(&entry).map(drop).map_err(|error| SourceError::Failed(error.to_string()))
            }
            _ => {
                debug!(caps = %structure.name(), "stream left aside");
                Ok(())
            }
        });
        match taken {
            Ok(()) => self.count(&pipeline),
            Err(error) => self.tell(Order::Fail(error)),
        }
    }

    /// Builds what stands between a stream and its branches. Returns where the stream enters.
    fn take(&self, pipeline: &gst::Pipeline, stream: Stream) -> Result<gst::Pad, SourceError> {
        let Stream { kind, front, offer } = stream;
        let hold = make::element("queue")?;
        hold.set_property("name", hold_name(kind));
        hold.set_property("max-size-buffers", 0u32);
        hold.set_property("max-size-bytes", HOLD_BYTES);
        hold.set_property("max-size-time", HOLD.nseconds());
        let tee = make::element("tee")?;
        tee.set_property("name", tee_name(kind));
        tee.set_property("allow-not-linked", true);
        let mut row = front;
        row.push(hold.clone());
        if self.paced {
            row.push(make::element("clocksync")?);
        }
        row.push(tee);
        let pad_of = |element: &gst::Element, name: &str| {
            element.static_pad(name).ok_or_else(|| SourceError::Failed(format!("{} has no pad {name}", element.name())))
        };
        let entry = pad_of(row.first().unwrap_or(&hold), "sink")?;
        let looked_at = pad_of(&hold, "sink")?;
        if let Some(rewinder) = &self.rewinder {
            rewinder.join(&entry);
        }
        self.marks.watch(&looked_at);
        answer_queries(&looked_at);
        self.holds.hold(&pad_of(&hold, "src")?);
        if self.paced {
            // `parsebin` shows all its pads before the first buffer leaves any of them (gst_parse_bin_expose)
            let orders = Mutex::new(self.sender());
            looked_at.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                let _ = orders.lock().unwrap_or_else(PoisonError::into_inner).send(Order::AllStreams);
                gst::PadProbeReturn::Remove
            });
        }
        make::add_row(pipeline, &row)?;
        match offer {
            Offer::Known(offer) => self.tell(Order::Known(kind, offer)),
            Offer::LookAt(codec) => look_at(&looked_at, codec, if self.paced { LOOK_FILE } else { LOOK_LIVE }, self.sender()),
        }
        for element in row.iter().rev() {
            element.sync_state_with_parent().map_err(|error| SourceError::Failed(error.to_string()))?;
        }
        Ok(entry)
    }

    fn sender(&self) -> mpsc::Sender<Order> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, order: Order) {
        let _ = self.sender().send(order);
    }
}

/// Answers queries that would travel in order with the buffers, such as those for a buffer pool: behind a held queue they would
/// wait for ever, and the stream with them.
fn answer_queries(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PUSH, |_, info| match &info.data {
        Some(gst::PadProbeData::Query(query)) if query.is_serialized() => gst::PadProbeReturn::Handled,
        _ => gst::PadProbeReturn::Ok,
    });
}

fn hold_name(kind: MediaKind) -> String {
    format!("hold-{kind}")
}

/// What is to be known of a stream before it can be offered.
#[derive(Default)]
struct Sight {
    profile: Option<Profile>,
    /// Times of the frames, where they jump back: they come in another order than they are shown in.
    latest: Option<gst::ClockTime>,
}

#[derive(Clone)]
enum Profile {
    H264(h264::Profile),
    H265(h265::Profile),
}

impl Sight {
    /// Takes a frame. True when it tells of reordering.
    fn take(&mut self, codec: Codec, frame: &[u8], time: Option<gst::ClockTime>) -> bool {
        match codec {
            Codec::H265 => {
                self.profile = self.profile.take().or_else(|| h265::Profile::of(frame).map(Profile::H265));
                // every picture may be of B slices without any being reordered: only their times tell
                let back = self.latest.zip(time).is_some_and(|(latest, time)| time < latest);
                self.latest = self.latest.max(time);
                back
            }
            _ => {
                self.profile = self.profile.take().or_else(|| h264::Profile::of(frame).map(Profile::H264));
                h264::has_b_slice(frame)
            }
        }
    }

    /// It begins anew: a file is played again.
    fn rewound(&mut self) {
        self.latest = None;
    }
}

impl Profile {
    /// Never with B-frames.
    fn in_order(&self) -> bool {
        matches!(self, Self::H264(profile) if profile.without_b_frames())
    }

    fn obstacle(&self) -> Option<String> {
        match self {
            Self::H264(profile) => profile.obstacle(),
            Self::H265(profile) => profile.obstacle(),
        }
    }

    fn format(&self) -> TrackFormat {
        match self {
            Self::H264(profile) => profile.format(),
            Self::H265(profile) => profile.format(),
        }
    }
}

/// Looks at the first frames and tells what they are; B-frames later than that are said in the log.
fn look_at(pad: &gst::Pad, codec: Codec, frames: usize, orders: mpsc::Sender<Order>) {
    let mut sight = Sight::default();
    let mut began: Option<gst::ClockTime> = None;
    let mut seen = 0;
    let mut told = false;
    let look = Mutex::new(move |buffer: Option<&gst::BufferRef>| -> gst::PadProbeReturn {
        let mut b_frames = false;
        if buffer.is_some_and(|buffer| buffer.flags().contains(gst::BufferFlags::DISCONT)) {
            sight.rewound();
        }
        if let Some((buffer, map)) = buffer.and_then(|buffer| Some((buffer, buffer.map_readable().ok()?))) {
            b_frames = sight.take(codec, &map, buffer.pts());
            seen += 1;
        }
        // decoding time goes on evenly, presentation time jumps about B-frames
        let time = buffer.and_then(|buffer| buffer.dts().or(buffer.pts()));
        began = began.or(time);
        let long = time.zip(began).is_some_and(|(now, began)| now.saturating_sub(began) >= LOOK_TIME);
        if told {
            if b_frames {
                warn!(%codec, "B-frames after a start without: viewers see it stutter");
                return gst::PadProbeReturn::Remove;
            }
            return gst::PadProbeReturn::Ok;
        }
        let Some(profile) = &sight.profile else { return gst::PadProbeReturn::Ok };
        let sure = b_frames || profile.in_order() || profile.obstacle().is_some();
        if !sure && !long && seen < frames && buffer.is_some() {
            return gst::PadProbeReturn::Ok;
        }
        told = true;
        let obstacle =
            profile.obstacle().or_else(|| b_frames.then(|| "it has B-frames, which WebRTC viewers do not reorder".into()));
        let offer = StreamOffer::Coded { name: codec.to_string(), format: Some(profile.format()), obstacle };
        let _ = orders.send(Order::Known(MediaKind::Video, offer));
        if sure { gst::PadProbeReturn::Remove } else { gst::PadProbeReturn::Ok }
    });
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => look(Some(buffer)),
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => look(None),
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

fn h26x_front(codec: Codec, depay: Option<&str>) -> Result<Vec<gst::Element>, SourceError> {
    let (parser, wanted) = match codec {
        Codec::H265 => ("h265parse", H265_CAPS),
        _ => ("h264parse", H264_CAPS),
    };
    let parse = make::element(parser)?;
    parse.set_property("config-interval", -1i32);
    let caps = make::element("capsfilter")?;
    make::set(&caps, "caps", wanted);
    depay.map(make::element).into_iter().chain([Ok(parse), Ok(caps)]).collect()
}

/// A stream as a demuxer gives it, parsed. `None` for what is neither picture nor sound.
fn of_file(caps: &gst::StructureRef) -> Result<Option<Stream>, SourceError> {
    let name = caps.name().as_str();
    let stream = |kind, codec: Codec, obstacle| {
        let format = Some(TrackFormat::plain(codec));
        Some(Stream {
            kind,
            front: Vec::new(),
            offer: Offer::Known(StreamOffer::Coded { name: codec.to_string(), format, obstacle }),
        })
    };
    let video = MediaKind::Video;
    Ok(match name {
        "video/x-h264" => Some(Stream { kind: video, front: h26x_front(Codec::H264, None)?, offer: Offer::LookAt(Codec::H264) }),
        "video/x-vp8" => stream(video, Codec::VP8, None),
        "video/x-vp9" => stream(video, Codec::VP9, vp9_obstacle(caps)),
        "video/x-h265" => Some(Stream { kind: video, front: h26x_front(Codec::H265, None)?, offer: Offer::LookAt(Codec::H265) }),
        "video/x-av1" => stream(video, Codec::AV1, Some("AV1 is not passed on".into())),
        "audio/x-opus" => {
            let mut opus = opus_stream();
            if caps.get::<i32>("channel-mapping-family").unwrap_or(0) != 0 {
                opus.offer = Offer::Known(foreign("surround Opus"));
            }
            Some(opus)
        }
        "audio/mpeg" => {
            let version = caps.get::<i32>("mpegversion").unwrap_or(4);
            let layer = caps.get::<i32>("layer").unwrap_or(3);
            let name = if version == 1 { format!("MPEG audio layer {layer}") } else { "AAC".into() };
            Some(Stream { kind: MediaKind::Audio, front: Vec::new(), offer: Offer::Known(foreign(&name)) })
        }
        "audio/x-raw" => Some(Stream { kind: MediaKind::Audio, front: Vec::new(), offer: Offer::Known(foreign("PCM")) }),
        "video/x-raw" => Some(Stream { kind: video, front: Vec::new(), offer: Offer::Known(foreign("raw video")) }),
        _ => match name.split_once('/') {
            Some(("video" | "image", codec)) => {
                Some(Stream { kind: video, front: Vec::new(), offer: Offer::Known(foreign(codec.trim_start_matches("x-"))) })
            }
            Some(("audio", codec)) => Some(Stream {
                kind: MediaKind::Audio,
                front: Vec::new(),
                offer: Offer::Known(foreign(codec.trim_start_matches("x-"))),
            }),
            _ => None,
        },
    })
}

/// A stream as an RTSP server announces it. `None` for what Portico has no use for.
fn of_rtp(caps: &gst::StructureRef) -> Result<Option<Stream>, SourceError> {
    let encoding = caps.get::<String>("encoding-name").unwrap_or_default().to_uppercase();
    let chain = |elements: &[&str]| elements.iter().map(|element| make::element(element)).collect::<Result<Vec<_>, _>>();
    let coded =
        |codec: Codec| StreamOffer::Coded { name: codec.to_string(), format: Some(TrackFormat::plain(codec)), obstacle: None };
    let looked_at = |codec, depay| {
        Ok(Some(Stream { kind: MediaKind::Video, front: h26x_front(codec, Some(depay))?, offer: Offer::LookAt(codec) }))
    };
    let audio = |elements: &[&str], name: &str| {
        Ok(Some(Stream { kind: MediaKind::Audio, front: chain(elements)?, offer: Offer::Known(foreign(name)) }))
    };
    let video = |elements: &[&str], offer| {
        Ok(Some(Stream { kind: MediaKind::Video, front: chain(elements)?, offer: Offer::Known(offer) }))
    };
    match encoding.as_str() {
        "H264" => looked_at(Codec::H264, "rtph264depay"),
        "H265" => looked_at(Codec::H265, "rtph265depay"),
        "VP8" => video(&["rtpvp8depay"], coded(Codec::VP8)),
        "VP9" => video(&["rtpvp9depay"], coded(Codec::VP9)),
        "JPEG" => video(&["rtpjpegdepay"], foreign("Motion JPEG")),
        "MP4V-ES" => video(&["rtpmp4vdepay"], foreign("MPEG-4")),
        "OPUS" => Ok(Some(Stream { front: chain(&["rtpopusdepay", "opusparse"])?, ..opus_stream() })),
        "PCMU" => audio(&["rtppcmudepay"], "PCMU"),
        "PCMA" => audio(&["rtppcmadepay"], "PCMA"),
        "G722" => audio(&["rtpg722depay"], "G722"),
        "L16" => audio(&["rtpL16depay"], "PCM"),
        "MPEG4-GENERIC" => audio(&["rtpmp4gdepay", "aacparse"], "AAC"),
        "MP4A-LATM" => audio(&["rtpmp4adepay", "aacparse"], "AAC"),
        "MPA" => audio(&["rtpmpadepay", "mpegaudioparse"], "MPEG audio"),
        _ => Ok(None),
    }
}

fn opus_stream() -> Stream {
    let offer = StreamOffer::Coded { name: "opus".into(), format: Some(opus_format()), obstacle: None };
    Stream { kind: MediaKind::Audio, front: Vec::new(), offer: Offer::Known(offer) }
}

/// Opus, as it is announced.
pub(in crate::media) fn opus_format() -> TrackFormat {
    TrackFormat::opus()
}

/// Something that has to be decoded.
fn foreign(name: &str) -> StreamOffer {
    StreamOffer::Coded { name: name.into(), format: None, obstacle: None }
}

/// Browsers announce VP9 profile 0; the other profiles have more bits or colours.
fn vp9_obstacle(caps: &gst::StructureRef) -> Option<String> {
    let profile = caps.get::<String>("profile").unwrap_or_else(|_| "0".into());
    (profile != "0").then(|| format!("browsers do not decode VP9 profile {profile} everywhere"))
}
