//! Films for the tests, made with GStreamer.

use std::path::Path;

use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

/// Frames per second of every film here.
pub const RATE: u64 = 25;

/// The colours of a [`colours`] film in their order, as BT.601 Y, U, V.
const COLOURS: [[u8; 3]; 3] = [[81, 90, 240], [145, 54, 34], [41, 240, 110]];

/// Runs a description to its end.
pub fn run(description: &str) {
    gstreamer::init().expect("GStreamer starts");
    let pipeline = gstreamer::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
    pipeline.set_state(gstreamer::State::Playing).unwrap_or_else(|e| panic!("{description}: {e}"));
    finish(&pipeline);
}

/// Writes a film that is red, green, blue for so many seconds each, with a tone, in a container.
pub fn colours(path: &Path, seconds: u64, video: &str, audio: &str, muxer: &str) {
    const WIDTH: usize = 160;
    const HEIGHT: usize = 120;
    gstreamer::init().expect("GStreamer starts");
    let sounds = 3 * seconds * 50;
    let description = format!(
        "appsrc name=pictures format=time caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={RATE}/1 ! \
         {video} ! queue ! {muxer} name=mux ! filesink location={} \
         audiotestsrc num-buffers={sounds} samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 ! {audio} ! queue ! mux.",
        path.display()
    );
    let pipeline = gstreamer::parse::launch(&description).unwrap_or_else(|e| panic!("{description}: {e}"));
    let bin = pipeline.downcast_ref::<gstreamer::Bin>().expect("several elements");
    let pictures = bin.by_name("pictures").and_downcast::<AppSrc>().expect("the appsrc");
    pipeline.set_state(gstreamer::State::Playing).unwrap_or_else(|e| panic!("{description}: {e}"));
    for number in 0..3 * seconds * RATE {
        let [y, u, v] = COLOURS[(number / (seconds * RATE)) as usize];
        let mut picture = vec![y; WIDTH * HEIGHT];
        picture.extend(std::iter::repeat_n(u, WIDTH * HEIGHT / 4).chain(std::iter::repeat_n(v, WIDTH * HEIGHT / 4)));
        let mut buffer = gstreamer::Buffer::from_mut_slice(picture);
        let time = |frames| gstreamer::ClockTime::from_mseconds(frames * 1000 / RATE);
        let fresh = buffer.get_mut().expect("nobody else has it");
        fresh.set_pts(time(number));
        fresh.set_duration(time(1));
        pictures.push_buffer(buffer).expect("the pipeline runs");
    }
    pictures.end_of_stream().expect("the pipeline runs");
    finish(&pipeline);
}

fn finish(pipeline: &gstreamer::Element) {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let ends = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
    let end = bus.timed_pop_filtered(gstreamer::ClockTime::from_seconds(120), &ends);
    let _ = pipeline.set_state(gstreamer::State::Null);
    let end = end.expect("the film is made in time");
    assert_eq!(end.type_(), gstreamer::MessageType::Eos, "{end:?}");
}
