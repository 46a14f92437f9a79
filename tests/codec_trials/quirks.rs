//! Each fault of an element leads to its verdict, through a real child process, and costs nothing but the element.

use std::time::Duration;

use portico::media::board::Candidate;
use portico::media::probe::{Fault, Note, Verdict};

use super::standins::standins;
use super::{doctor, row};

/// Long enough for any machine.
const PATIENT: Duration = Duration::from_secs(60);
/// For what never ends.
const SHORT: Duration = Duration::from_secs(2);

/// The verdict on a board's first encoder (or decoder) of an element that has quirks.
fn verdict_in(deadline: Duration, board: &str, element: &str, quirks: &str) -> Verdict {
    let standins = standins();
    let board = standins.board(board);
    // the entry for GStreamer before 1.30 where there are two
    let encoder = board.encoders.iter().filter(|it| it.element == element).find(|it| !it.requires.contains(&"bitrate".into()));
    let decoder = board.decoders.iter().find(|it| it.element == element);
    let candidate = encoder.map(Candidate::Encoder).or(decoder.map(Candidate::Decoder)).expect("the board has it");
    let quirks = if quirks.is_empty() { String::new() } else { format!("{element}={quirks}") };
    standins.verdict(&quirks, candidate, &board, deadline)
}

fn verdict(board: &str, element: &str, quirks: &str) -> Verdict {
    verdict_in(PATIENT, board, element, quirks)
}

fn fault(board: &str, element: &str, quirks: &str) -> Fault {
    verdict(board, element, quirks).fault().cloned().unwrap_or_else(|| panic!("{element} with {quirks} is not refused"))
}

#[test]
fn faults_of_encoders_are_found() {
    let pi = |quirk| fault("raspberry-pi-4", "v4l2h264enc", quirk);
    assert!(matches!(pi("refuse-size"), Fault::Fails { after: 0, .. }));
    assert!(matches!(pi("fail"), Fault::Fails { why, after: ..=9 } if why.contains("the driver gave an error")));
    assert_eq!(pi("silent"), Fault::Silent);
    assert_eq!(pi("lose"), Fault::Loses { left: 68, entered: 90 });
    assert_eq!(pi("no-key"), Fault::NoKey { after: None });
    assert_eq!(pi("no-headers"), Fault::NoHeaders);
    assert_eq!(pi("high"), Fault::Profile { profile: 100 });
    assert_eq!(pi("b-frames"), Fault::BFrames);
}

#[test]
fn what_can_be_lived_with_is_noted() {
    let notes = |quirk| verdict("rk3588", "mpph264enc", quirk).notes().to_vec();
    assert_eq!(notes(""), []);
    assert_eq!(notes("late-key"), [Note::LateKeys { after: 20 }]);
    assert_eq!(notes("headers-once"), [Note::BareKeys]);
    assert_eq!(notes("ignore-bitrate"), [Note::BitrateIgnored]);
}

#[test]
fn a_key_frame_by_the_wrong_method_is_found() {
    let standins = standins();
    let board = standins.board("jetson-agx-orin");
    let mut encoder = board.encoders[0].clone();
    encoder.key_frame = Default::default();
    let verdict = standins.verdict("", Candidate::Encoder(&encoder), &board, PATIENT);
    assert_eq!(verdict.fault(), Some(&Fault::NoKey { after: Some(41) }), "the event is not honoured, the period is 60");
}

#[test]
fn a_wrong_unit_is_noted() {
    let standins = standins();
    let board = standins.board("imx8mp");
    let mut encoder = board.encoders[0].clone();
    encoder.bitrate.unit = portico::media::board::BitrateUnit::Bps;
    let verdict = standins.verdict("", Candidate::Encoder(&encoder), &board, PATIENT);
    let far = |note: &Note| matches!(note, Note::OffRate { asked: 1_200_000, measured } if *measured > 100_000_000);
    assert!(verdict.notes().iter().any(far), "{verdict:?}");
}

#[test]
fn faults_of_decoders_are_found() {
    let of = |quirk| fault("imx8mp", "vpudec", quirk);
    assert_eq!(of("silent"), Fault::Silent);
    assert_eq!(of("lose"), Fault::Loses { left: 23, entered: 30 });
    assert_eq!(of("uncropped"), Fault::WrongSize { width: 640, height: 368 });
    assert_eq!(verdict("imx8mp", "vpudec", "").fault(), None);
}

#[test]
fn what_crashes_or_hangs_costs_its_process() {
    for quirk in ["crash-at-open", "crash"] {
        assert_eq!(fault("raspberry-pi-4", "v4l2h264enc", quirk), Fault::Crashes { how: "signal 6".into() });
    }
    for (board, element, quirk) in [
        ("raspberry-pi-4", "v4l2h264enc", "hang-at-open"),
        ("jetson-agx-orin", "nvv4l2h264enc", "hang"),
        ("imx8mp", "vpudec", "hang"),
    ] {
        let verdict = verdict_in(SHORT, board, element, quirk);
        assert_eq!(verdict.fault(), Some(&Fault::Hangs { seconds: 2 }), "{element} {quirk}");
    }
}

#[test]
fn doctor_passes_a_crashing_codec_over_and_tells_why() {
    let (standins, state) = (standins(), tempfile::tempdir().unwrap());
    let config = format!("[sources]\nboard = \"imx8mm\"\nboard_dir = {:?}\n", standins.boards());
    std::fs::write(state.path().join("portico.toml"), config).unwrap();
    let quirks = "vpuenc_h264=crash-at-open;vpudec=lose";
    let tried = doctor(&mut standins.portico(quirks, state.path()), &["--probe"]);
    let refused = row(&tried, "encoder", "vpuenc_h264");
    assert_eq!((&refused["state"], &refused["trial"]["fault"]["fault"]), (&"not-ready".into(), &"crashes".into()));
    assert!(refused["trial"]["help"].as_str().unwrap().contains("--refresh"));
    assert_eq!(row(&tried, "decoder", "vpudec")["trial"]["fault"]["fault"], "loses");
    assert_eq!(row(&tried, "encoder", "imxvpuenc_h264")["trial"]["verdict"], "works");
    assert_eq!(tried["verdict"]["video"], "imxvpuenc_h264");
    // the verdict holds, so what would crash now is not touched; a trial on request finds that it was mended
    let kept = doctor(&mut standins.portico(quirks, state.path()), &[]);
    assert_eq!(row(&kept, "encoder", "vpuenc_h264"), refused);
    let mended = doctor(&mut standins.portico("", state.path()), &["--refresh"]);
    assert_eq!(mended["verdict"]["video"], "vpuenc_h264");
}
