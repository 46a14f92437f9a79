//! What is in a JPEG, by GStreamer's decoder.

use std::collections::HashSet;

use gstreamer::prelude::*;

/// A decoded picture.
#[derive(Debug)]
pub struct Seen {
    pub width: usize,
    pub height: usize,
    /// Distinct colours.
    pub colours: usize,
    /// Red, green, blue of the pixel in the middle.
    pub middle: [u8; 3],
}

/// Decodes a JPEG; a test fails where it is none.
pub fn see(jpeg: &[u8]) -> Seen {
    gstreamer::init().expect("GStreamer starts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("a.jpg");
    std::fs::write(&file, jpeg).expect("it is written");
    let description = format!(
        "filesrc location={} ! jpegdec ! videoconvert ! video/x-raw,format=RGBA ! appsink name=out sync=false",
        file.display()
    );
    let pipeline = gstreamer::parse::launch(&description).expect("the elements are there");
    let bin = pipeline.downcast_ref::<gstreamer::Bin>().expect("several elements");
    let out = bin.by_name("out").and_downcast::<gstreamer_app::AppSink>().expect("the appsink");
    pipeline.set_state(gstreamer::State::Playing).expect("it plays");
    let sample = out.try_pull_sample(gstreamer::ClockTime::from_seconds(30)).expect("a JPEG that decodes");
    let caps = sample.caps().and_then(|caps| caps.structure(0)).expect("caps");
    let size = |field: &str| usize::try_from(caps.get::<i32>(field).expect(field)).expect(field);
    let (width, height) = (size("width"), size("height"));
    let pixels = sample.buffer().expect("a picture").map_readable().expect("memory");
    let middle = (height / 2 * width + width / 2) * 4;
    let seen = Seen {
        width,
        height,
        colours: pixels.chunks_exact(4).collect::<HashSet<_>>().len(),
        middle: [pixels[middle], pixels[middle + 1], pixels[middle + 2]],
    };
    drop(pixels);
    let _ = pipeline.set_state(gstreamer::State::Null);
    seen
}
