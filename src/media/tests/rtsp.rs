//! RTSP, from Debian's GStreamer RTSP server.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};

use super::support::*;
use crate::media::h264::nal_units as nal_units_of;
use crate::media::plan::Path;
use crate::media::*;
use crate::vocab::{Codec, MediaKind};

const H264: &[Codec] = &[Codec::H264, Codec::VP8];

/// A server process, ended with its test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(launch: &str, credentials: &str) -> Self {
        Self::on(free_port(), launch, credentials)
    }

    fn on(port: u16, launch: &str, credentials: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/media/tests/rtsp_server.py");
        let mut child = Command::new("/usr/bin/python3")
            .args([script, &port.to_string(), credentials, launch])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "needs Debian packages python3-gi and gir1.2-gst-rtsp-server-1.0");
        Self { child, port }
    }

    fn source(&self, credentials: &str) -> String {
        source(self.port, credentials)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn source(port: u16, credentials: &str) -> String {
    format!("[[source]]\nname = 'cam'\ntype = 'rtsp'\nurl = 'rtsp://{credentials}127.0.0.1:{port}/live'")
}

/// Writes a film as a byte stream and as Matroska, and gives its slices.
fn film(dir: &FilePath, encoder: &str) -> (String, Vec<Vec<u8>>) {
    let (raw, boxed) = (dir.join("film.h264"), dir.join("film.mkv"));
    run(&format!(
        "videotestsrc num-buffers=150 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! {encoder} ! \
         h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! tee name=both ! queue ! filesink location={} \
         both. ! queue ! h264parse ! matroskamux ! filesink location={}",
        raw.display(),
        boxed.display()
    ));
    let bytes = std::fs::read(raw).unwrap();
    let slices = nal_units_of(&bytes).filter(|unit| is_slice(unit)).map(<[u8]>::to_vec).collect();
    (format!("filesrc location={} ! matroskademux ! h264parse ! rtph264pay name=pay0 pt=96", boxed.display()), slices)
}

fn is_slice(unit: &[u8]) -> bool {
    unit.first().is_some_and(|head| matches!(head & 0x1f, 1 | 5))
}

const HIGH: &str = "x264enc key-int-max=25 bframes=0 speed-preset=veryfast threads=1 ! video/x-h264,profile=high";
/// A picture that never ends, for what happens to a connection.
const LIVE: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96";

#[test]
fn h264_passes_with_every_slice_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (launch, slices) = film(dir.path(), HIGH);
    let server = Server::start(&format!("( {launch} )"), "-");
    let mut bench = Bench::new(&server.source(""));
    let (_, tracks) = bench.play("cam", H264);
    let video = track(&tracks, MediaKind::Video);
    assert_eq!((video.choice.path, tracks.len()), (Path::Repacketise, 1));
    assert_eq!(video.layers.first().format().parameter("profile-level-id").map(|id| &id[..2]), Some("64"));
    assert_eq!(bench.figures().encoders, 0);
    let frames = Watch::new(video.layers.first()).take(75);
    assert!(frames[0].key, "nothing of the start is lost");
    let received: Vec<Vec<u8>> = frames.iter().flat_map(|frame| nal_units(frame)).filter(|unit| is_slice(unit)).collect();
    let first = slices.iter().position(|slice| *slice == received[0]).expect("the first slice is one of the film");
    assert_eq!(received, slices[first..first + received.len()]);
    bench.media.stop();
}

#[test]
fn b_frames_are_transcoded() {
    let dir = tempfile::tempdir().unwrap();
    let (launch, _) = film(dir.path(), "x264enc key-int-max=25 bframes=2 b-adapt=false threads=1 ! video/x-h264,profile=main");
    let server = Server::start(&format!("( {launch} )"), "-");
    let mut bench = Bench::new(&server.source(""));
    let (_, tracks) = bench.play("cam", H264);
    let video = track(&tracks, MediaKind::Video);
    assert_eq!(video.choice.path, Path::Software);
    assert!(video.choice.reason.contains("B-frames"), "{}", video.choice.reason);
    let steps = steps(&Watch::new(video.layers.first()).take(30));
    assert!(steps.iter().all(|step| *step > 0), "{steps:?}");
    bench.media.stop();
}

#[test]
fn opus_passes_and_other_sound_is_encoded() {
    for (encoder, path) in [("opusenc ! rtpopuspay", Path::Repacketise), ("alawenc ! rtppcmapay", Path::Software)] {
        let rate = if path == Path::Software { 8000 } else { 48000 };
        let sound = format!("audiotestsrc is-live=true ! audio/x-raw,rate={rate},channels=1 ! {encoder} name=pay1 pt=97");
        let server = Server::start(&format!("( {LIVE} {sound} )"), "-");
        let mut bench = Bench::new(&server.source(""));
        let (_, tracks) = bench.play("cam", H264);
        assert_eq!(track(&tracks, MediaKind::Audio).choice.path, path);
        let frames = Watch::new(track(&tracks, MediaKind::Audio).layers.first()).take(30);
        let steps = steps(&frames);
        assert!(steps.iter().all(|step| *step > 0), "{steps:?}");
        assert!(steps.iter().filter(|step| **step == 960).count() > 15, "{steps:?}");
        Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(10);
        bench.media.stop();
    }
}

#[test]
fn a_server_that_goes_and_comes_back_is_found_again() {
    let server = Server::start(&format!("( {LIVE} )"), "-");
    let port = server.port;
    let mut bench = Bench::new(&server.source(""));
    let (_, tracks) = bench.play("cam", H264);
    let watch = Watch::new(track(&tracks, MediaKind::Video).layers.first());
    let last = watch.take(10).pop().unwrap();
    drop(server);
    assert!(matches!(bench.event(), MediaEvent::Failed { .. }));
    assert_eq!(bench.figures().state, "failed");
    let _server = Server::on(port, &format!("( {LIVE} )"), "-");
    assert!(matches!(bench.event(), MediaEvent::Recovered { .. }));
    let (_, key) = watch.key();
    let passed = key.packets[0].timestamp.wrapping_sub(last.packets[0].timestamp) / 90;
    assert!((100..60_000).contains(&passed), "time goes on: {passed} ms");
    watch.take(10);
    bench.media.stop();
}

#[test]
fn a_wrong_password_is_said_without_saying_it() {
    let server = Server::start(&format!("( {LIVE} )"), "me:right");
    let mut bench = Bench::new(&server.source("me:wr%6Fng@"));
    let error = bench.refusal("cam").to_string();
    assert!(error.contains("refuses the user name or password") && !error.contains("ng@"), "{error}");
    let mut bench = Bench::new(&server.source("me:r%69ght@"));
    let (_, tracks) = bench.play("cam", H264);
    Watch::new(track(&tracks, MediaKind::Video).layers.first()).take(5);
    bench.media.stop();
}

#[test]
fn a_server_that_is_not_there_and_a_stream_it_has_not() {
    let mut bench = Bench::new(&source(free_port(), "me:secret@"));
    let error = bench.refusal("cam").to_string();
    assert!(error.contains("cannot be reached") && !error.contains("secret"), "{error}");
    let server = Server::start(&format!("( {LIVE} )"), "-");
    let mut bench = Bench::new(&server.source("").replace("/live", "/other"));
    let error = bench.refusal("cam").to_string();
    assert!(error.contains("has no stream"), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    // accepts and never answers
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut bench = Bench::on(board::Board::generic(), &source(port, ""), "open_limit = '300ms'");
    let error = bench.refusal("cam");
    assert!(matches!(error, SourceError::Silent(_)), "{error}");
    assert_eq!(bench.figures().state, "failed");
    bench.media.stop();
}
