use super::*;
use crate::media::config::TestConfig;
use crate::media::{SourceKind, pipeline::capture::Built};
use crate::vocab::{LayerId, SourceName, TrackId};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(news: mpsc::Sender<News>) -> Start {
    gst::init().unwrap();
    let now = Instant::now();
    Start {
        source: SourceConfig {
            name: SourceName::new("camera").unwrap(),
            kind: SourceKind::Test(TestConfig::default()),
            bitrate: Bitrate::from_bps(1_000_000),
            audio_device: None,
        },
        board: Arc::new(Board::generic()),
        presences: Arc::default(),
        epoch: now,
        marks: Marks { last_frame: Arc::new(LastFrame::new(now)), news: Arc::new(move |it| drop(news.send(it))) },
        holds: Arc::default(),
        device: Arc::default(),
        stages: Arc::default(),
        decoding: Arc::default(),
        broken: HashSet::new(),
        cancel_echo: false,
        stage: None,
    }
}

/// An H.264 camera is a `v4l2src` in front of `coded`; here an encoder stands for it.
#[test]
fn a_camera_that_encodes_is_passed_on() {
    let (news, told) = mpsc::channel();
    let start = start(news);
    let (orders, inbox) = mpsc::channel();
    let pipeline = make::pipeline(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
         x264enc tune=zerolatency key-int-max=30 ! video/x-h264,profile=high,stream-format=byte-stream,alignment=au ! \
         identity name=coded",
    )
    .unwrap();
    ingest::coded_camera(&start, &pipeline, &orders).unwrap();
    let built = Built { pipeline, offer: SourceOffer::default(), offer_later: true, rewinder: None, mix: None };
    let mut session = Session::start(start, orders.clone(), built);
    let played = std::thread::spawn(move || {
        let end = session.play(&inbox);
        session.close();
        end
    });
    let offer = loop {
        match told.recv_timeout(PATIENCE).unwrap() {
            News::Opened(offer) => break offer,
            News::Failed { error, .. } => panic!("{error}"),
            _ => {}
        }
    };
    let Some(StreamOffer::Coded { format: Some(format), obstacle: None, .. }) = offer.video else { panic!("{offer:?}") };
    assert!(format.parameter("profile-level-id").unwrap().starts_with("64"));
    let feed = Arc::new(Feed::new(LayerId { track: TrackId::next(), index: 0 }, format, false).unwrap());
    let spec = BranchSpec { id: BranchId { codec: Codec::H264, layer: 0 }, feed: Arc::clone(&feed), encode: None };
    orders.send(Order::Add(Box::new(spec))).unwrap();
    orders.send(Order::Flow).unwrap();
    let limit = Instant::now() + PATIENCE;
    while feed.layer().figures().frames < 20 {
        assert!(Instant::now() < limit);
        std::thread::yield_now();
    }
    assert!(feed.layer().cached()[0].key);
    orders.send(Order::Stop).unwrap();
    assert!(played.join().unwrap().is_ok());
}

#[test]
fn a_pipeline_waits_for_the_one_before_and_can_be_told_not_to() {
    let device = Arc::new(Device::default());
    let (orders, inbox) = mpsc::channel();
    let held = device.hold(&inbox).unwrap();
    orders.send(Order::Stop).unwrap();
    assert!(device.hold(&inbox).is_none());
    drop(held);
    assert!(device.hold(&inbox).is_some());
}

/// A driver's decoder takes JPEG parsed only, and is told by its properties what it gets (`mjpeg` of NVIDIA's); here software stands
/// for it.
#[test]
fn a_cameras_jpeg_is_decoded_as_the_board_file_says() {
    gst::init().unwrap();
    let candidate = |hardware| DecoderCandidate {
        input: DecoderInput::Jpeg,
        element: "jpegdec".into(),
        hardware,
        output_caps: "video/x-raw".into(),
        properties: [("max-errors".to_owned(), "7".to_owned())].into(),
        requires: Vec::new(),
        nodes: Vec::new(),
    };
    for (decoder, parsed, errors) in [(Some(candidate(true)), true, 7), (Some(candidate(false)), false, 7), (None, false, 0)] {
        let rest = capture::decoded_jpeg(decoder.as_ref());
        assert_eq!(rest.contains("jpegparse"), parsed, "{rest}");
        let source = "videotestsrc num-buffers=3 ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! jpegenc";
        let pipeline = make::pipeline(&format!("{source} ! {rest} ! appsink name=out sync=false")).unwrap();
        capture::set_jpeg(&pipeline, decoder.as_ref());
        assert_eq!(pipeline.by_name("jpeg").unwrap().property::<i32>("max-errors"), errors);
        let out = pipeline.by_name("out").and_then(|out| out.downcast::<gstreamer_app::AppSink>().ok()).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let sample = out.try_pull_sample(gst::ClockTime::from_seconds(20)).expect("a picture");
        let caps = sample.caps_owned().unwrap();
        assert_eq!(caps.structure(0).unwrap().get::<i32>("width"), Ok(64));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
