//! Looks at H.264 as a viewer gets it: decodes it with GStreamer's `openh264dec`.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as app;

use crate::whep::Frame;

/// A decoded picture.
pub struct Picture {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    stride: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// Red, green and blue of a pixel.
    pub fn pixel(&self, x: usize, y: usize) -> (u8, u8, u8) {
        let at = y * self.stride + x * 3;
        (self.rgb[at], self.rgb[at + 1], self.rgb[at + 2])
    }
}

/// The pictures of frames that begin with a key frame.
pub fn decode(frames: &[Frame]) -> Vec<Picture> {
    gst::init().expect("GStreamer starts");
    let pipeline = gst::parse::launch(
        "appsrc name=in format=time caps=video/x-h264,stream-format=byte-stream,alignment=au ! h264parse ! openh264dec ! \
         videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false",
    )
    .expect("the elements are installed")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let source = pipeline.by_name("in").and_then(|it| it.downcast::<app::AppSrc>().ok()).expect("an appsrc");
    let sink = pipeline.by_name("out").and_then(|it| it.downcast::<app::AppSink>().ok()).expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("the pipeline starts");
    let first = frames.first().map_or(0, |frame| frame.timestamp);
    for frame in frames {
        let mut buffer = gst::Buffer::from_slice(frame.byte_stream());
        let ticks = u64::from(frame.timestamp.wrapping_sub(first));
        buffer.get_mut().expect("not shared yet").set_pts(gst::ClockTime::from_nseconds(ticks * 100_000 / 9));
        source.push_buffer(buffer).expect("the frame is taken");
    }
    source.end_of_stream().expect("the end is taken");
    let mut pictures = Vec::new();
    // `None` at the end
    while let Ok(sample) = sink.pull_sample() {
        let caps = sample.caps().expect("caps");
        let info = gstreamer_video::VideoInfo::from_caps(caps).expect("video");
        let map = sample.buffer().expect("a buffer").map_readable().expect("readable");
        let (width, height) = (info.width() as usize, info.height() as usize);
        pictures.push(Picture { width, height, stride: info.stride()[0] as usize, rgb: map.to_vec() });
    }
    if let Some(message) = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error])) {
        panic!("not decoded: {message:?}");
    }
    pipeline.set_state(gst::State::Null).expect("the pipeline ends");
    pictures
}
