//! Faults that an element can be told to have.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// A change of the bit rate while it runs does nothing.
    IgnoreBitrate,
    /// Parameter sets with the first key frame only, whatever is set.
    HeadersOnce,
    /// No parameter sets at all.
    NoHeaders,
    /// A key frame comes 20 frames after it was asked for.
    LateKey,
    /// No key frame but the first.
    NoKey,
    /// Pictures of any size are refused; a compositor does not start.
    RefuseSize,
    /// Pictures of more than 1280x720 are refused.
    RefuseLarge,
    /// `v4l2h264enc` is that of another driver: Amphion's.
    Amphion,
    /// Never returns from being opened.
    HangAtOpen,
    /// Takes the process with it when opened.
    CrashAtOpen,
    /// Never returns from its tenth frame.
    Hang,
    /// Takes the process with it at its tenth frame.
    Crash,
    /// An error at its tenth frame.
    Fail,
    /// An error at its 120th frame, when it has long proved itself.
    FailLater,
    /// Never returns from its 120th frame.
    HangLater,
    /// Takes as many milliseconds for a picture of 640x360 as the file named by `PORTICO_STANDIN_SLOW` says, for others by their size.
    Slow,
    /// Every third frame is a B-frame.
    BFrames,
    /// High profile, whatever is set.
    High,
    /// Nothing comes out.
    Silent,
    /// Every fourth frame is lost.
    Lose,
    /// A decoder's pictures are 16 lines higher.
    Uncropped,
}

const NAMES: &[(&str, Quirk)] = &[
    ("ignore-bitrate", Quirk::IgnoreBitrate),
    ("headers-once", Quirk::HeadersOnce),
    ("no-headers", Quirk::NoHeaders),
    ("late-key", Quirk::LateKey),
    ("no-key", Quirk::NoKey),
    ("refuse-size", Quirk::RefuseSize),
    ("refuse-large", Quirk::RefuseLarge),
    ("amphion", Quirk::Amphion),
    ("hang-at-open", Quirk::HangAtOpen),
    ("crash-at-open", Quirk::CrashAtOpen),
    ("hang", Quirk::Hang),
    ("crash", Quirk::Crash),
    ("fail", Quirk::Fail),
    ("fail-later", Quirk::FailLater),
    ("hang-later", Quirk::HangLater),
    ("slow", Quirk::Slow),
    ("b-frames", Quirk::BFrames),
    ("high", Quirk::High),
    ("silent", Quirk::Silent),
    ("lose", Quirk::Lose),
    ("uncropped", Quirk::Uncropped),
];

/// The faults of an element, from the environment. A word that is none ends the process: a test would not test what it says.
pub fn of(element: &str) -> Vec<Quirk> {
    let told = std::env::var("PORTICO_STANDIN_QUIRKS").unwrap_or_default();
    let entry = told.split(';').filter_map(|entry| entry.split_once('=')).find(|(name, _)| *name == element);
    let words = entry.map(|(_, words)| words.split('+')).into_iter().flatten();
    words
        .map(|word| match NAMES.iter().find(|(name, _)| *name == word) {
            Some((_, quirk)) => *quirk,
            None => panic!("PORTICO_STANDIN_QUIRKS: no quirk `{word}`"),
        })
        .collect()
}

/// What becomes of an element that is opened.
pub fn open(quirks: &[Quirk]) {
    if quirks.contains(&Quirk::CrashAtOpen) {
        std::process::abort();
    }
    if quirks.contains(&Quirk::HangAtOpen) {
        hang();
    }
}

/// What becomes of an element at a frame, counted from 0, of so many pixels. `Err` when it fails.
pub fn frame(quirks: &[Quirk], index: u32, pixels: u32) -> Result<(), ()> {
    if quirks.contains(&Quirk::Slow) {
        let file = std::env::var_os("PORTICO_STANDIN_SLOW").expect("`slow` needs PORTICO_STANDIN_SLOW");
        let told = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
        std::thread::sleep(std::time::Duration::from_micros(told * 1000 * u64::from(pixels) / (640 * 360)));
    }
    if index == 119 {
        if quirks.contains(&Quirk::HangLater) {
            hang();
        }
        if quirks.contains(&Quirk::FailLater) {
            return Err(());
        }
    }
    if index == 9 {
        if quirks.contains(&Quirk::Crash) {
            std::process::abort();
        }
        if quirks.contains(&Quirk::Hang) {
            hang();
        }
        if quirks.contains(&Quirk::Fail) {
            return Err(());
        }
    }
    Ok(())
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
