use super::*;
use crate::media::probe::{Fault, Note};

fn row(role: Role, what: &str, element: &str, presence: Presence) -> Row {
    Row {
        role,
        what: what.into(),
        element: element.into(),
        hardware: false,
        requires: vec![],
        presence,
        vendor: None,
        trial: None,
    }
}

fn pi4() -> Crypto {
    Crypto::of(Processor::read("aarch64", "Features\t: fp asimd evtstrm crc32 cpuid"), SrtpPreference::Auto)
}

fn missing(element: &str) -> Presence {
    Presence::Missing { package: element::package_of(element) }
}

#[test]
fn this_machine_can_run_with_software() {
    let report = examine(&Board::generic(), &Verdicts::default(), Identity::default(), pi4());
    assert!(report.verdict.can_run, "{:?}", report.verdict);
    let text = text(&report);
    for part in [
        "GStreamer 1.",
        "x264enc",
        "opusenc",
        "Ready: video is encoded by",
        "SRTP       AEAD_AES_128_GCM is preferred: without AES",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn vp8_alone_is_enough_and_no_sound_is_not() {
    let video = row(Role::Encoder, "VP8", "vp8enc", Presence::Ready);
    let sound = row(Role::Encoder, "opus", "opusenc", Presence::Ready);
    let h264 = row(Role::Encoder, "H264", "x264enc", missing("x264enc"));
    assert_eq!(verdict(&[h264.clone(), video.clone(), sound.clone()]).video.as_deref(), Some("vp8enc"));
    let lacks = |rows: &[Row]| verdict(rows).lacks.join("; ");
    assert!(lacks(&[video]).contains("opusenc"));
    assert!(lacks(&[h264, sound]).contains("gstreamer1.0-plugins-ugly"));
}

#[test]
fn decoder_of_a_codec_is_no_encoder() {
    let rows = [row(Role::Decoder, "H264", "avdec_h264", Presence::Ready)];
    assert_eq!(verdict(&rows).video, None);
}

#[test]
fn missing_vendor_element_says_where_it_comes_from() {
    let orin = Board::all(Path::new("/nonexistent")).unwrap().into_iter().find(|board| board.name == "jetson-agx-orin").unwrap();
    let report = examine(
        &orin,
        &Verdicts::default(),
        Identity { model: Some("Orin NX".into()), compatible: vec!["nvidia,tegra234".into()], ..Identity::default() },
        pi4(),
    );
    let text = text(&report);
    assert!(text.contains("Orin NX") && text.contains("nvidia,tegra234"), "{text}");
    let encoder = &report.elements[0];
    assert_eq!(encoder.element, "nvv4l2h264enc");
    assert!(matches!(&encoder.presence, Presence::NotReady { why } if why.contains("/dev/v4l2-nvenc")));
    let camera = report.elements.iter().find(|row| row.role == Role::Csi).unwrap();
    assert!(camera.vendor.as_ref().unwrap().contains("nvidia-l4t-camera"));
    assert!(report.verdict.can_run, "software ends the list");
}

#[test]
fn a_refusal_is_shown_with_its_reason_and_what_to_do_and_the_next_is_taken() {
    let (board, verdicts) = (Board::generic(), Verdicts::default());
    gstreamer::init().unwrap();
    let fault = Fault::Hangs { seconds: 20 };
    verdicts.put(Candidate::Encoder(&board.encoders[0]), Trial::Refused { fault: fault.clone() }, 1000).unwrap();
    let bare = Trial::Works { notes: vec![Note::BareKeys] };
    verdicts.put(Candidate::Encoder(&board.encoders[1]), bare, 1000).unwrap();
    let report = examine(&board, &verdicts, Identity::default(), pi4());
    assert_eq!(report.verdict.video.as_deref(), Some("openh264enc"));
    let text = text(&report);
    for part in ["refused: it hung and was killed after 20 s", "x264enc is passed over", fault.help(), "works: headers are not"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    let trial = &json["elements"][0]["trial"];
    assert_eq!((&trial["verdict"], &trial["fault"]["fault"]), (&"refused".into(), &"hangs".into()));
    assert_eq!((&trial["tried"], trial["help"].is_string()), (&1000.into(), true));
}

#[test]
fn systems_that_are_too_old_and_what_is_known_of_a_board_are_told() {
    let boards = Board::all(Path::new("/nonexistent")).unwrap();
    let told = |name: &str| {
        let board = boards.iter().find(|board| board.name == name).unwrap();
        text(&examine(board, &Verdicts::default(), Identity::default(), pi4()))
    };
    let nano = told("jetson-nano");
    for part in [
        "JetPack 4 (L4T 32, Ubuntu 18.04): too old for Portico: it has GStreamer 1.14, needed is 1.20",
        "no system for this board",
        "Known of this board\n- ",
    ] {
        assert!(nano.contains(part), "{part} in {nano}");
    }
    let orin = told("jetson-orin-nx");
    assert!(orin.contains("JetPack 6 (L4T 36, Ubuntu 22.04): new enough") && !orin.contains("no system for"), "{orin}");
}

#[test]
fn the_key_has_the_last_word_on_srtp() {
    let crypto = Crypto::of(pi4().processor, SrtpPreference::AesCm);
    assert_eq!((crypto.srtp, crypto.why), (Suite::Cm, "media.srtp says so"));
}

#[test]
fn common_elements_have_packages() {
    for (element, _) in COMMON {
        assert!(element::package_of(element).is_some(), "{element}");
    }
}

#[test]
fn broken_or_unknown_board_file_is_a_configuration_error() {
    let sources = SourcesConfig { board: Some("anvil".into()), ..SourcesConfig::default() };
    let code = run(&Args { json: true, ..Args::default() }, &sources, SrtpPreference::Auto);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(78)));
}

#[test]
fn json_is_flat_enough_for_scripts() {
    let json = serde_json::to_value(examine(&Board::generic(), &Verdicts::default(), Identity::default(), pi4())).unwrap();
    assert_eq!(json["board"], "generic");
    assert_eq!((&json["crypto"]["srtp"], &json["crypto"]["gcm"]), (&"AEAD_AES_128_GCM".into(), &"vector".into()));
    assert_eq!(json["verdict"]["can_run"], true);
    let first = &json["elements"][0];
    assert_eq!((&first["role"], &first["element"], &first["what"]), (&"encoder".into(), &"x264enc".into(), &"H264".into()));
    assert_eq!(first["state"], "ready");
}
