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
    /// The same of the left and the right half, at three tenths of the height.
    pub halves: [[u8; 3]; 2],
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
    let pixel = |x: usize, y: usize| {
        let at = (y * width + x) * 4;
        [pixels[at], pixels[at + 1], pixels[at + 2]]
    };
    let seen = Seen {
        width,
        height,
        colours: pixels.chunks_exact(4).collect::<HashSet<_>>().len(),
        middle: pixel(width / 2, height / 2),
        halves: [pixel(width / 4, height * 3 / 10), pixel(width * 3 / 4, height * 3 / 10)],
    };
    drop(pixels);
    let _ = pipeline.set_state(gstreamer::State::Null);
    seen
}
