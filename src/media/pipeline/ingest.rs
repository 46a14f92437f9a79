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
use crate::media::h264::{self, Profile};
use crate::media::plan::{SourceOffer, StreamOffer};
use crate::media::{SourceError, SourceKind};
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
const H264_CAPS: &str = "video/x-h264,stream-format=byte-stream,alignment=au";

/// How a coded stream enters.
struct Stream {
    kind: MediaKind,
    /// In front of the hold.
    front: Vec<gst::Element>,
    /// Known already, or `None`: found out by looking at H.264 frames.
    offer: Option<StreamOffer>,
}

/// What the callbacks of one source share.
struct Ingest {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    orders: Mutex<mpsc::Sender<Order>>,
    marks: Marks,
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
    Ok(Built { pipeline, offer: SourceOffer::default(), offer_later: true, rewinder: Some(rewinder) })
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
    Ingest::new(start, &pipeline, orders, None).listen(&client);
    Ok(Built { pipeline, offer: SourceOffer::default(), offer_later: true, rewinder: None })
}

/// A camera that encodes: its frames leave the element `coded`.
pub(super) fn coded_camera(start: &Start, pipeline: &gst::Pipeline, orders: &mpsc::Sender<Order>) -> Result<(), SourceError> {
    let Some(coded) = pipeline.by_name("coded") else {
        return Err(SourceError::Failed("the camera's pipeline is incomplete".into()));
    };
    let ingest = Ingest::new(start, pipeline, orders, None);
    let stream = Stream { kind: MediaKind::Video, front: h264_front(None)?, offer: None };
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

/// Lets held streams flow.
pub(super) fn release(pipeline: &gst::Pipeline) {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        if let Some(gate) = pipeline.by_name(&gate_name(kind)) {
            gate.set_property("drop", false);
        }
    }
}
