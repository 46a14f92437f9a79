//! The first part of a pipeline: where pictures and sound come from.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::warn;

use super::rewind::Rewinder;
use super::{Order, Start, fault, ingest, make};
use crate::media::board::{Candidate, DecoderCandidate, DecoderInput};
use crate::media::config::{PictureConfig, TestConfig, V4l2Config};
use crate::media::device::{self, FindError, PixelFormat};
use crate::media::element::{Presence, package_of};
use crate::media::plan::camera::{self, ChosenMode};
use crate::media::plan::{SourceOffer, StreamOffer, decoder_for};
use crate::media::{SourceError, SourceKind, mix, sound};
use crate::vocab::{MediaKind, MixConfig};

/// Pictures (raw or JPEG) wait here for at most 3 frames; older ones are dropped, so a slow codec costs frames, not latency.
pub(in crate::media) const RAW_QUEUE: &str = "queue max-size-buffers=3 max-size-bytes=0 max-size-time=0 leaky=downstream";

/// A pipeline that has not been started.
pub(super) struct Built {
    pub pipeline: gst::Pipeline,
    /// What it gives, as far as known.
    pub offer: SourceOffer,
    /// True when the streams are found only while it runs; told by `Order::Known` and `Order::AllStreams`.
    pub offer_later: bool,
    pub rewinder: Option<Arc<Rewinder>>,
    /// Of a mix: what gives its pictures and its sound once it plays.
    pub mix: Option<mix::Desk>,
}

/// Builds the pipeline of a source up to its tees.
pub(super) fn build(start: &Start, orders: &mpsc::Sender<Order>) -> Result<Built, SourceError> {
    let built = match &start.source.kind {
        SourceKind::Test(test) => self::test(test)?,
        SourceKind::V4l2(config) => v4l2(start, config, orders)?,
        SourceKind::Csi(picture) => csi(start, picture)?,
        SourceKind::File(file) => return ingest::file(start, &file.path, orders),
        SourceKind::Rtsp(rtsp) => return ingest::rtsp(start, rtsp, orders),
        SourceKind::Mix(config) => mixed(start, config)?,
    };
    for kind in [MediaKind::Video, MediaKind::Audio] {
        if let Some(pad) = built.pipeline.by_name(tee_name(kind)).and_then(|tee| tee.static_pad("sink")) {
            start.marks.watch(&pad);
            if kind == MediaKind::Video {
                keep_pixels(&pad);
            }
        }
    }
    Ok(built)
}

/// Leaves the shape of pixels to the source. A branch that scales takes any shape and says so; asked in the middle of a stream, when
/// the branch is added, a source whose device tells none (most cameras) would take the first that is allowed, 1:2147483647.
fn keep_pixels(tee: &gst::Pad) {
    let answered = gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PULL;
    tee.add_probe(answered, |_, info| {
        if let Some(gst::QueryViewMut::Caps(caps)) = info.query_mut().map(gst::QueryRef::view_mut)
            && let Some(mut allowed) = caps.result_owned()
        {
            let fields = allowed.make_mut();
            fields.iter_mut().for_each(|fields| fields.remove_field("pixel-aspect-ratio"));
            caps.set_result(&allowed);
        }
        gst::PadProbeReturn::Ok
    });
}

/// The name of the tee a kind's branches hang on.
pub(super) fn tee_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

fn raw(pipeline: gst::Pipeline, picture: (u32, u32, u32), sound: bool) -> Built {
    let (width, height, framerate) = picture;
    let offer = SourceOffer {
        video: Some(StreamOffer::Picture { width, height, framerate }),
        audio: sound.then_some(StreamOffer::Sound),
    };
    Built { pipeline, offer, offer_later: false, rewinder: None, mix: None }
}

fn test(test: &TestConfig) -> Result<Built, SourceError> {
    let PictureConfig { width, height, framerate } = test.picture;
    let overlay = match gst::ElementFactory::find("textoverlay") {
        Some(_) => {
            "textoverlay name=label font-desc=\"Monospace 18\" shaded-background=true valignment=center halignment=center !"
        }
        None => {
            let package = package_of("textoverlay").unwrap_or("gstreamer1.0-x");
            warn!(element = "textoverlay", package, "test picture without clock: install the package");
            ""
        }
    };
    let wave = if test.tone == 0 { "silence" } else { "sine" };
    let pipeline = make::pipeline(&format!(
        "videotestsrc name=picture is-live=true ! \
         video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1 ! {overlay} \
         tee name=video allow-not-linked=true \
         audiotestsrc name=tone is-live=true samplesperbuffer=480 volume=0.2 wave={wave} freq={} ! \
         audio/x-raw,format=S16LE,rate=48000,channels=1 ! tee name=audio allow-not-linked=true",
        test.tone.max(1)
    ))?;
    if let Some(source) = pipeline.by_name("picture")
        && !make::set(&source, "pattern", &test.pattern)
    {
        return Err(SourceError::Failed(format!("videotestsrc has no pattern `{}`", test.pattern)));
    }
    if let Some(label) = pipeline.by_name("label") {
        number_frames(&label);
    }
    Ok(raw(pipeline, (width, height, framerate), true))
}

/// Writes the time of day and a frame number into each picture.
fn number_frames(label: &gst::Element) {
    let Some(pad) = label.static_pad("video_sink") else { return };
    let (label, frames) = (label.downgrade(), AtomicU64::new(0));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if let Some(label) = label.upgrade() {
            let number = frames.fetch_add(1, Ordering::Relaxed);
            let clock = jiff::Zoned::now().strftime("%H:%M:%S%.3f").to_string();
            label.set_property("text", format!("{clock}  frame {number}"));
        }
        gst::PadProbeReturn::Ok
    });
}

fn csi(start: &Start, picture: &PictureConfig) -> Result<Built, SourceError> {
    let presence = |element: &str| start.presences.get(Candidate::Element(element)).is_ready();
    let candidates = &start.board.csi;
    let Some(chosen) = candidates.iter().find(|it| presence(&it.element)) else {
        return Err(match candidates.first() {
            Some(first) if gst::ElementFactory::find(&first.element).is_none() => make::missing(&first.element),
            Some(first) => SourceError::Failed(format!("{} does not work here", first.element)),
            None => SourceError::Missing { what: format!("a CSI connector (board file {})", start.board.name) },
        });
    };
    let PictureConfig { width, height, framerate } = *picture;
    let caps = if chosen.output_caps.is_empty() { "video/x-raw" } else { &chosen.output_caps };
    let mut description = format!(
        "{} name=camera ! {caps},width={width},height={height},framerate={framerate}/1 ! tee name=video allow-not-linked=true",
        chosen.element
    );
    let sound = microphone(start, &mut description);
    let pipeline = make::pipeline(&description)?;
    if let Some(camera) = pipeline.by_name("camera") {
        make::set_all(&camera, &chosen.properties);
    }
    set_microphone(start, &pipeline);
    Ok(raw(pipeline, (width, height, framerate), sound))
}

fn v4l2(start: &Start, config: &V4l2Config, orders: &mpsc::Sender<Order>) -> Result<Built, SourceError> {
    let found = device::find(&config.device).map_err(|error| match error {
        FindError::NotFound { .. } => SourceError::Missing { what: fault::what(&start.source) },
        other => SourceError::Failed(other.to_string()),
    })?;
    let mode =
        camera::choose(&found.modes, &config.picture, config.format).map_err(|error| SourceError::Failed(error.to_string()))?;
    let presence = |asked: Candidate<'_>| match start.broken.contains(asked.element()) {
        true => Presence::NotReady { why: "it failed while in use".into() },
        false => start.presences.get(asked),
    };
    let jpeg = (mode.pixel == PixelFormat::Mjpeg).then(|| decoder_for(DecoderInput::Jpeg, &start.board, &presence)).flatten();
    let mut description = match &mode.pixel {
        PixelFormat::Mjpeg => format!("v4l2src name=camera ! {} ! {}", caps_of(&mode), decoded_jpeg(jpeg)),
        // the rest is added below: what it holds is known only from the stream
        PixelFormat::H264 => format!("v4l2src name=camera ! {} ! identity name=coded silent=true", caps_of(&mode)),
        PixelFormat::Raw(_) | PixelFormat::Other(_) => {
            format!("v4l2src name=camera ! {} ! tee name=video allow-not-linked=true", caps_of(&mode))
        }
    };
    let sound = microphone(start, &mut description);
    let pipeline = make::pipeline(&description)?;
    if let Some(camera) = pipeline.by_name("camera") {
        camera.set_property("device", found.node.to_string_lossy().as_ref());
    }
    set_jpeg(&pipeline, jpeg);
    set_microphone(start, &pipeline);
    if mode.pixel != PixelFormat::H264 {
        return Ok(raw(pipeline, (mode.width, mode.height, mode.frames_per_second()), sound));
    }
    ingest::coded_camera(start, &pipeline, orders)?;
    let offer = SourceOffer { video: None, audio: sound.then_some(StreamOffer::Sound) };
    Ok(Built { pipeline, offer, offer_later: true, rewinder: None, mix: None })
}

/// From a camera's JPEG to pictures; `jpegdec` where the board names no decoder.
pub(super) fn decoded_jpeg(decoder: Option<&DecoderCandidate>) -> String {
    let (element, caps) = decoder.map_or(("jpegdec", ""), |it| (it.element.as_str(), it.output_caps.as_str()));
    let caps = if caps.is_empty() { String::new() } else { format!("{caps} !") };
    let parser = decoder.map_or("", make::jpeg_parser);
    format!("{RAW_QUEUE} ! {parser}{element} name=jpeg ! {caps} tee name=video allow-not-linked=true")
}

/// Gives that decoder its properties.
pub(super) fn set_jpeg(pipeline: &gst::Pipeline, decoder: Option<&DecoderCandidate>) {
    if let (Some(element), Some(decoder)) = (pipeline.by_name("jpeg"), decoder) {
        make::set_all(&element, &decoder.properties);
    }
}

fn mixed(start: &Start, config: &MixConfig) -> Result<Built, SourceError> {
    let stage = start.stage.as_ref().ok_or_else(|| SourceError::Failed("there is nothing to mix".into()))?;
    let (pipeline, desk) = mix::build(stage, config, &start.board, &start.presences, &start.broken, &start.decoding)?;
    let picture = (config.width & !1, config.height & !1, config.framerate);
    Ok(Built { mix: Some(desk), ..raw(pipeline, picture, true) })
}

/// The caps of a camera mode.
fn caps_of(mode: &ChosenMode) -> String {
    let kind = match &mode.pixel {
        PixelFormat::Mjpeg => "image/jpeg".to_owned(),
        PixelFormat::H264 => "video/x-h264".to_owned(),
        PixelFormat::Raw(fourcc) | PixelFormat::Other(fourcc) => match gst_format(fourcc) {
            Some(format) => format!("video/x-raw,format={format}"),
            None => "video/x-raw".to_owned(),
        },
    };
    let (numerator, denominator) = mode.framerate;
    format!("{kind},width={},height={},framerate={numerator}/{denominator}", mode.width, mode.height)
}

/// GStreamer's name of a V4L2 pixel format (`sys/v4l2/gstv4l2object.c`); `None` leaves the choice to GStreamer.
fn gst_format(fourcc: &str) -> Option<&'static str> {
    Some(match fourcc {
        "YUYV" => "YUY2",
        "UYVY" => "UYVY",
        "YU12" => "I420",
        "YV12" => "YV12",
        "NV12" => "NV12",
        "NV21" => "NV21",
        "NV16" => "NV16",
        "422P" => "Y42B",
        "GREY" => "GRAY8",
        "RGB3" => "RGB",
        "BGR3" => "BGR",
        _ => return None,
    })
}

/// Adds the configured sound device to a description. Returns whether there is one.
fn microphone(start: &Start, description: &mut String) -> bool {
    if start.source.audio_device.is_none() {
        return false;
    }
    let behind = match start.cancels_echo() {
        true => sound::canceller(),
        false => "audioconvert ! audioresample ! audio/x-raw,rate=48000".into(),
    };
    let _ = write!(description, " alsasrc name=microphone ! {behind} ! tee name=audio allow-not-linked=true");
    true
}

fn set_microphone(start: &Start, pipeline: &gst::Pipeline) {
    if let (Some(device), Some(microphone)) = (&start.source.audio_device, pipeline.by_name("microphone")) {
        microphone.set_property("device", device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `v4l2src` of a camera: no word of the pixels' shape, and of what is allowed the first.
    #[test]
    fn a_branch_that_scales_leaves_the_shape_of_pixels_as_it_is() {
        gst::init().unwrap();
        let pipeline = make::pipeline(
            "appsrc name=camera is-live=true format=time caps=video/x-raw,format=I420,width=320,height=180,framerate=10/1 ! \
             tee name=video allow-not-linked=true ! queue ! videoscale ! video/x-raw,width=160,height=90,pixel-aspect-ratio=1/1 ! \
             fakesink",
        )
        .unwrap();
        let tee = pipeline.by_name("video").unwrap().static_pad("sink").unwrap();
        let first = |caps: gst::Caps| {
            let mut first = caps;
            first.fixate();
            first.structure(0).unwrap().get::<gst::Fraction>("pixel-aspect-ratio").ok()
        };
        let camera = gst::Caps::builder("video/x-raw").field("width", 320).field("height", 180).build();
        let offered = |tee: &gst::Pad| first(tee.query_caps(Some(&camera)).intersect(&camera));
        assert_eq!(offered(&tee), Some(gst::Fraction::new(1, i32::MAX)), "what it is about");
        keep_pixels(&tee);
        assert_eq!(offered(&tee), None);
    }
}
