//! Every board file with the stand-ins of its elements: tried, planned, run.

use std::time::Duration;

use portico::media::board::{Board, Candidate};
use portico::media::probe::{Verdict, candidates};

use super::standins::standins;

/// Elements that the stand-ins have; the rest of a board's hardware is one more codec of an element, or a rarer one.
const STAND_INS: [&str; 22] = [
    "v4l2h264enc",
    "nvv4l2h264enc",
    "mpph264enc",
    "vpuenc_h264",
    "imxvpuenc_h264",
    "vah264enc",
    "vah264lpenc",
    "qsvh264enc",
    "nvh264enc",
    "v4l2h264dec",
    "v4l2jpegdec",
    "nvv4l2decoder",
    "mppvideodec",
    "mppjpegdec",
    "vpudec",
    "imxvpudec_h264",
    "vah264dec",
    "nvh264dec",
    "v4l2slh264dec",
    "v4l2slh265dec",
    "v4l2slvp8dec",
    "v4l2slvp9dec",
];

/// The stand-in `v4l2h264enc` is a Raspberry Pi's, which wants a level that other boards do not ask for; here it is told to be another's.
const OTHER_DRIVER: (&str, &str) = ("imx8q", "v4l2h264enc=amphion");

#[test]
fn every_board_file_sets_its_elements_up_as_they_want_it() {
    let standins = standins();
    let mut tried: Vec<String> = Vec::new();
    for board in Board::all(&standins.boards()).unwrap() {
        let quirks = if board.name == OTHER_DRIVER.0 { OTHER_DRIVER.1 } else { "" };
        let ours = |it: &Candidate<'_>| STAND_INS.contains(&it.element()) && !lacks_property(it);
        for candidate in candidates(&board).filter(ours) {
            // the same setting for several boards is tried once
            let setting = format!("{quirks} {candidate:?}");
            if tried.contains(&setting) {
                continue;
            }
            let verdict = standins.verdict(quirks, candidate, &board, Duration::from_secs(60));
            assert_eq!(verdict, Verdict::Works { notes: vec![] }, "{}: {}", board.name, candidate.element());
            tried.push(setting);
        }
    }
    for element in STAND_INS {
        assert!(tried.iter().any(|setting| setting.contains(&format!("\"{element}\""))), "{element} was not tried");
    }
}

/// Entries for other versions of an element than the stand-in is of.
fn lacks_property(candidate: &Candidate<'_>) -> bool {
    candidate.requires().iter().any(|property| property == "bitrate")
}
