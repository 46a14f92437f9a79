use proptest::prelude::*;

use super::super::board::{BitrateControl, BitrateUnit, EncoderLimits, KeyMethod};
use super::*;

fn encoder(codec: Codec, element: &str, hardware: bool) -> EncoderCandidate {
    EncoderCandidate {
        codec,
        element: element.into(),
        hardware,
        input_caps: "video/x-raw".into(),
        output_caps: String::new(),
        convert: None,
        properties: Default::default(),
        bitrate: BitrateControl { property: "bitrate".into(), field: None, unit: BitrateUnit::Bps, change: Default::default() },
        key_frame: KeyMethod::default(),
        requires: Vec::new(),
        nodes: Vec::new(),
        limits: EncoderLimits::default(),
    }
}

fn board() -> Board {
    Board {
        name: "test".into(),
        encoders: vec![
            encoder(Codec::H264, "hard264", true),
            encoder(Codec::H264, "soft264", false),
            encoder(Codec::VP8, "softvp8", false),
            encoder(Codec::Opus, "softopus", false),
        ],
        ..Board::default()
    }
}

fn picture() -> SourceOffer {
    SourceOffer { video: Some(StreamOffer::Picture { width: 640, height: 360, framerate: 30 }), audio: Some(StreamOffer::Sound) }
}

fn coded(codec: Codec, obstacle: Option<&str>) -> SourceOffer {
    let format = Some(TrackFormat::plain(codec));
    let stream = StreamOffer::Coded { name: codec.to_string(), format, obstacle: obstacle.map(Into::into) };
    SourceOffer { video: Some(stream), audio: None }
}

fn browser() -> Wants {
    Wants { video: vec![Codec::H264, Codec::VP8], audio: vec![Codec::Opus] }
}

fn only(present: &'static [&'static str]) -> impl Fn(Candidate<'_>) -> Presence {
    move |asked| match present.contains(&asked.element()) {
        true => Presence::Ready,
        false => Presence::Missing { package: Some("some-package") },
    }
}

#[test]
fn hardware_comes_before_software_and_says_what_was_passed_over() {
    let all = only(&["hard264", "soft264", "softvp8", "softopus"]);
    let plan = |presence: Presences<'_>| super::plan(&picture(), &browser(), &board(), presence, &[]).unwrap();
    let choices = plan(&all);
    assert_eq!((choices[0].path, choices[0].encoder.as_deref()), (Path::Hardware, Some("hard264")));
    assert_eq!((choices[1].path, choices[1].codec), (Path::Software, Codec::Opus));
    let choices = plan(&only(&["soft264", "softopus"]));
    assert_eq!(choices[0].encoder.as_deref(), Some("soft264"));
    assert!(choices[0].reason.contains("hard264 is missing (Debian package some-package)"), "{}", choices[0].reason);
}

#[test]
fn a_fitting_codec_is_never_encoded() {
    let all = only(&["hard264", "soft264", "softvp8"]);
    let choice = &plan(&coded(Codec::VP8, None), &browser(), &board(), &all, &[]).unwrap()[0];
    assert_eq!((choice.path, choice.codec, choice.encoder.as_deref()), (Path::Repacketise, Codec::VP8, None));
}

#[test]
fn b_frames_are_transcoded_with_the_reason() {
    let choice = &plan(&coded(Codec::H264, Some("it has B-frames")), &browser(), &board(), &only(&["soft264"]), &[]).unwrap()[0];
    assert_eq!(choice.path, Path::Software);
    assert!(choice.reason.contains("B-frames"), "{}", choice.reason);
}

#[test]
fn a_running_encoder_is_shared_even_if_another_codec_is_preferred() {
    let all = only(&["hard264", "soft264", "softvp8", "softopus"]);
    let running = plan(&picture(), &Wants { video: vec![Codec::VP8], audio: vec![] }, &board(), &all, &[]).unwrap();
    let choice = &plan(&picture(), &browser(), &board(), &all, &running).unwrap()[0];
    assert_eq!((choice.path, choice.codec, choice.encoder.as_deref()), (Path::Layer, Codec::VP8, Some("softvp8")));
}

#[test]
fn a_missing_picture_refuses_and_missing_sound_does_not() {
    let plan = |present| plan(&picture(), &browser(), &board(), &only(present), &[]);
    assert_eq!(plan(&["softopus"]).unwrap_err().reason.matches("some-package").count(), 3);
    assert_eq!(plan(&["soft264"]).unwrap().len(), 1);
}

#[test]
fn limits_of_an_encoder_are_kept() {
    let mut board = board();
    board.encoders[0].limits.macroblocks_per_second = Some(1000);
    let choice = &plan(&picture(), &browser(), &board, &only(&["hard264", "soft264"]), &[]).unwrap()[0];
    assert_eq!(choice.encoder.as_deref(), Some("soft264"));
    assert!(choice.reason.contains("hard264 cannot encode 640x360 at 30/s"), "{}", choice.reason);
}

fn any_codecs() -> impl Strategy<Value = Vec<Codec>> {
    proptest::collection::vec(proptest::sample::select(Codec::ALL.to_vec()), 0..6)
}

fn any_stream() -> impl Strategy<Value = StreamOffer> {
    prop_oneof![
        (16u32..4000, 16u32..2200, 1u32..120).prop_map(|(width, height, framerate)| StreamOffer::Picture {
            width,
            height,
            framerate
        }),
        Just(StreamOffer::Sound),
        (proptest::sample::select(Codec::ALL.to_vec()), any::<bool>(), any::<bool>()).prop_map(|(codec, known, clean)| {
            StreamOffer::Coded {
                name: codec.to_string(),
                format: known.then(|| TrackFormat::plain(codec)),
                obstacle: (!clean).then(|| "reason".into()),
            }
        }),
    ]
}

fn any_encoders() -> impl Strategy<Value = Vec<EncoderCandidate>> {
    let one = (proptest::sample::select(Codec::ALL.to_vec()), 0..8u8, any::<bool>(), proptest::option::of(16u32..4000));
    proptest::collection::vec(one, 0..10).prop_map(|all| {
        let make = |(codec, name, hardware, max_width)| {
            let mut it = encoder(codec, &format!("enc{name}"), hardware);
            it.limits.max_width = max_width;
            it
        };
        all.into_iter().map(make).collect()
    })
}

proptest! {
    #[test]
    fn plans_keep_their_promises(
        video in proptest::option::of(any_stream()), audio in proptest::option::of(any_stream()),
        want_video in any_codecs(), want_audio in any_codecs(),
        encoders in any_encoders(), present in any::<u8>(), warm in any::<bool>(),
    ) {
        let source = SourceOffer { video, audio };
        let wants = Wants { video: want_video, audio: want_audio };
        let board = Board { name: "any".into(), encoders, ..Board::default() };
        let is_there = |element: &str| (0..8).any(|n| present & 1 << n != 0 && element == format!("enc{n}"));
        let presence = |asked: Candidate<'_>| match is_there(asked.element()) {
            true => Presence::Ready,
            false => Presence::Missing { package: None },
        };
        let running = if warm { plan(&source, &wants, &board, &presence, &[]).unwrap_or_default() } else { Vec::new() };
        match plan(&source, &wants, &board, &presence, &running) {
            Ok(choices) => {
                prop_assert!(!choices.is_empty() && choices.len() <= 2);
                for choice in &choices {
                    prop_assert!(!choice.reason.is_empty());
                    let wanted = if choice.codec.kind() == MediaKind::Video { &wants.video } else { &wants.audio };
                    prop_assert!(wanted.contains(&choice.codec));
                    if let Some(element) = &choice.encoder {
                        prop_assert!(is_there(element));
                        let known = board.encoders_of(choice.codec).any(|it| it.element == *element);
                        prop_assert!(known);
                    }
                    // passing beats encoding whenever it is possible
                    let offer = source.of(choice.codec.kind()).unwrap();
                    if let StreamOffer::Coded { format: Some(format), obstacle: None, .. } = offer
                        && format.codec.kind() == choice.codec.kind() && wanted.contains(&format.codec)
                    {
                        prop_assert_eq!(choice.path, Path::Repacketise);
                    }
                    prop_assert_eq!(choice.encoder.is_none(), choice.path <= Path::Repacketise);
                }
            }
            Err(refusal) => prop_assert!(!refusal.reason.is_empty() && !refusal.have.is_empty() && !refusal.want.is_empty()),
        }
    }
}
