//! The board's microphone and speaker: the kernel's loopback card, on which a microphone hears what is played, all of it and nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as app;
use portico::forward::MediaPacket;
use portico::peer::outgoing::{OutgoingConfig, OutgoingPlayer, OutgoingPublisher};
use portico::vocab::{Codec, MediaKind, Sdp, TrackFormat};

use crate::support::{Gateway, PATIENCE};
use crate::whep::request;
use crate::{config, only_user};

fn only_sound() -> OutgoingConfig {
    OutgoingConfig { formats: vec![TrackFormat::plain(Codec::Opus)], ..OutgoingConfig::default() }
}

fn exchange(base: &str, path: &str, offer: &Sdp) -> Sdp {
    let answer = request("POST", base, path, "application/sdp", &offer.text);
    assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    Sdp::answer(answer.body)
}

/// A tone as Opus packets of 20 ms, in real time.
fn tone() -> (gst::Pipeline, app::AppSink) {
    let description = "audiotestsrc is-live=true samplesperbuffer=960 freq=440 volume=0.3 ! audio/x-raw,rate=48000,channels=1 ! \
                       opusenc ! appsink name=out max-buffers=50 drop=true sync=false";
    let pipeline = gst::parse::launch(description).expect("the elements are installed");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let out = pipeline.by_name("out").and_then(|it| it.downcast().ok()).expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    (pipeline, out)
}

/// Decodes Opus packets; samples come out with the loudness of 100 ms each.
struct Ear {
    pipeline: gst::Pipeline,
    source: app::AppSrc,
    sink: app::AppSink,
}

impl Ear {
    fn new() -> Self {
        let description = "appsrc name=in format=time is-live=true do-timestamp=true \
                           caps=audio/x-opus,channel-mapping-family=0,channels=2,rate=48000 ! opusdec ! audioconvert ! \
                           audio/x-raw,format=S16LE,rate=48000,channels=1 ! appsink name=out sync=false";
        let pipeline = gst::parse::launch(description).expect("the elements are installed");
        let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
        let source = pipeline.by_name("in").and_then(|it| it.downcast().ok()).expect("an appsrc");
        let sink = pipeline.by_name("out").and_then(|it| it.downcast().ok()).expect("an appsink");
        pipeline.set_state(gst::State::Playing).expect("it plays");
        Self { pipeline, source, sink }
    }

    fn hear(&self, packet: Bytes) -> Vec<f64> {
        self.source.push_buffer(gst::Buffer::from_slice(packet)).expect("a packet is taken");
        let mut squares = Vec::new();
        while let Some(sample) = self.sink.try_pull_sample(gst::ClockTime::ZERO) {
            let map = sample.buffer().expect("a buffer").map_readable().expect("readable");
            squares.extend(map.chunks_exact(2).map(|pair| (f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0).powi(2)));
        }
        squares
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Somebody talks to the board, in a tone; the loudness of each second of what comes back, dB of full scale, until `enough`.
fn comes_back(cancelled: bool, enough: impl Fn(&[f64]) -> bool) -> Vec<f64> {
    let speaker = format!("[speaker]\nroom = 'main'\ndevice = 'plughw:CARD=Loopback,DEV=0'\necho_cancellation = {cancelled}\n");
    let camera =
        config(&[("camera", "any")]).replace("type = 'v4l2'\n", "type = 'v4l2'\naudio_device = 'plughw:CARD=Loopback,DEV=1'\n");
    let mut gateway = Gateway::start(&format!("{speaker}{camera}"));
    gst::init().expect("GStreamer starts");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut talker, offer) = runtime.block_on(OutgoingPublisher::offer(&only_sound(), "talk")).expect("an offer");
    let answer = exchange(&gateway.base, "/whip/main/talk", &offer);
    runtime.block_on(async {
        talker.accept(&answer).await.unwrap();
        talker.connected(PATIENCE).await.unwrap()
    });
    let (mut listener, offer) = runtime.block_on(OutgoingPlayer::offer(&only_sound())).expect("an offer");
    let answer = exchange(&gateway.base, "/whep/main/camera", &offer);
    runtime.block_on(async {
        listener.accept(&answer).await.unwrap();
        listener.connected(PATIENCE).await.unwrap()
    });

    let (pipeline, packets) = tone();
    let talk = runtime.spawn(async move {
        let (mut sequence, mut timestamp) = (0_u16, 0_u32);
        loop {
            let Some(sample) = packets.try_pull_sample(gst::ClockTime::ZERO) else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let payload = Bytes::copy_from_slice(&sample.buffer().expect("a buffer").map_readable().expect("readable"));
            let packet = MediaPacket { sequence, timestamp, marker: false, payload };
            if talker.send(MediaKind::Audio, &packet).await.is_err() {
                return;
            }
            (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(960));
        }
    });
    let ear = Ear::new();
    let (mut second, mut seconds) = (Vec::new(), Vec::new());
    let limit = Instant::now() + PATIENCE;
    while !enough(&seconds) {
        assert!(Instant::now() < limit, "echo cancelled: {cancelled}; what came back, dB: {seconds:.0?}\n{}", gateway.log());
        let Some(packet) = runtime.block_on(listener.next_packet()) else { panic!("the line is gone: {}", gateway.log()) };
        second.extend(ear.hear(packet.packet.payload));
        if second.len() >= 48_000 {
            let mean = second.iter().sum::<f64>() / second.len() as f64;
            seconds.push(10.0 * (mean + 1e-12).log10());
            second.clear();
        }
    }
    gateway.wait_log("the speaker plays");
    talk.abort();
    let _ = pipeline.set_state(gst::State::Null);
    seconds
}

#[test]
#[ignore = "needs the vivid camera and the loopback sound card of the test VM: make test-board"]
fn what_is_said_is_heard_on_the_speaker_and_by_the_microphone() {
    let _camera = only_user();
    // what is played comes back as loud as it was said: the tone is at -13 dB
    let loud = |seconds: &[f64]| seconds.iter().filter(|level| **level > -25.0).count() >= 3;
    comes_back(false, loud);
    // What the canceller leaves is judged in simulated time, by `media::sound`: here it takes too little off a tone, see
    // docs/guide/testing.md. That the same devices give sound through it is seen.
    comes_back(true, |seconds| seconds.len() >= 3);
}
