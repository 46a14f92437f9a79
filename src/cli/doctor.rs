//! `portico doctor`: which board this is, what it could use, what is missing and which package brings it.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::{ConfigArgs, exit, print, tell};
use crate::config::Flags;
use crate::media::SourcesConfig;
use crate::media::board::{Board, Candidate, Identity, Origin, Quirk, System, chain};
use crate::media::device::{self, ClosedNode};
use crate::media::element::{self, Presence};
use crate::media::probe::child::Runner;
use crate::media::probe::prober::{Usage, try_one};
use crate::media::probe::{self, Verdict as Trial, Verdicts};
use crate::peer::{Processor, SrtpPreference, Suite};

/// Tell what this board is, what Portico can use on it, and what is missing.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(after_help = "\
Examples:
  portico doctor                      this machine
  portico doctor --board generic      as if the board were another
  portico doctor --json | jq -r '.packages[]'
  sudo portico doctor --probe         try each codec for the service, too
  sudo portico doctor --refresh       the same anew, after a driver was changed

Each element the board's file names is looked up, and started as far as READY, where drivers are opened. A codec that a trial
refused is not touched: the trial's reason is shown. The service tries hardware codecs by itself while nobody watches, and keeps
what it found; trials of root and of the service are the same, those of other users are their own.

Exit status: 0 when a camera's picture and sound can be encoded (an H264 or VP8 encoder and opusenc work), 69 when not,
78 when a board file is broken or unknown.")]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Board file to use instead of the recognised one
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    /// Try each codec that was not tried yet, in a process of its own: 1 s each, up to 20 s for one that hangs
    #[arg(long)]
    pub probe: bool,

    /// Try every codec anew, whatever is known of it
    #[arg(long)]
    pub refresh: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Elements that every pipeline is made of, beside the board's own candidates, and what goes without them.
const COMMON: [(&str, &str); 13] = [
    ("appsink", "everything"),
    ("audioconvert", "sound"),
    ("audioresample", "sound"),
    ("videorate", "cameras"),
    ("v4l2src", "cameras"),
    ("alsasrc", "microphones"),
    ("h264parse", "H.264 cameras, files and RTSP"),
    ("videotestsrc", "the test source"),
    ("audiotestsrc", "the test source"),
    ("clockoverlay", "the test source's clock"),
    ("rtspsrc", "RTSP sources"),
    ("qtdemux", "MP4 files"),
    ("matroskademux", "Matroska and WebM files"),
];

/// Everything the command found out.
#[derive(Clone, Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    identity: Identity,
    board: String,
    board_description: String,
    board_origin: Origin,
    kernel: String,
    crypto: Crypto,
    gstreamer: Option<String>,
    /// Systems that the board's maker gives out, where that matters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    systems: Vec<SystemRow>,
    /// What is known to go wrong on the board.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quirks: Vec<Quirk>,
    elements: Vec<Row>,
    cameras: usize,
    /// Camera nodes that cannot be opened.
    closed: Vec<ClosedNode>,
    /// Debian packages that would bring something missing.
    packages: BTreeSet<&'static str>,
    verdict: Verdict,
}

/// A system of the board's maker.
#[derive(Clone, Debug, Serialize)]
struct SystemRow {
    name: String,
    gstreamer: String,
    /// Portico cannot run on it.
    too_old: bool,
    /// This machine runs it.
    here: bool,
}

impl SystemRow {
    fn of(system: &System) -> Self {
        let (major, minor) = system.gstreamer;
        Self {
            name: system.name.clone(),
            gstreamer: format!("{major}.{minor}"),
            too_old: system.is_too_old(),
            here: system.is_here(Path::new("/")),
        }
    }
}

/// What media is encrypted with.
#[derive(Clone, Debug, Serialize)]
struct Crypto {
    #[serde(flatten)]
    processor: Processor,
    /// The SRTP profile taken where a client knows both.
    srtp: Suite,
    why: &'static str,
}

impl Crypto {
    fn of(processor: Processor, wanted: SrtpPreference) -> Self {
        let why = match wanted {
            SrtpPreference::Auto => processor.preference().why,
            _ => "media.srtp says so",
        };
        Self { srtp: wanted.suite(&processor), why, processor }
    }
}

/// One element and how it does.
#[derive(Clone, Debug, Serialize)]
struct Row {
    role: Role,
    /// Codec, or what the element is needed for.
    what: String,
    element: String,
    hardware: bool,
    /// Properties that this way of using the element needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requires: Vec<String>,
    #[serde(flatten)]
    presence: Presence,
    /// Where a vendor's element comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    /// What its trial found, where one was made that still holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Tried>,
}

/// The outcome of a trial.
#[derive(Clone, Debug, Serialize)]
struct Tried {
    #[serde(flatten)]
    verdict: Trial,
    /// When, seconds since 1970.
    tried: u64,
    /// What to do about a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Encoder,
    Decoder,
    Compositor,
    Convert,
    Csi,
    Common,
}

/// Whether the main job can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Verdict {
    can_run: bool,
    /// The element that encodes video, where one does.
    video: Option<String>,
    /// What is missing, for people; empty when nothing is.
    lacks: Vec<String>,
}

pub(super) fn main(args: &Args) -> ExitCode {
    match args.config.load(Flags::default()) {
        Ok(loaded) => run(args, &loaded.config.sources, loaded.config.media.srtp),
        Err(code) => code,
    }
}

/// Examines and prints. `sources` says where board files are and which one to use, `srtp` which profile is wanted.
pub fn run(args: &Args, sources: &SourcesConfig, srtp: SrtpPreference) -> ExitCode {
    let root = Path::new("/");
    let forced = args.board.as_deref().or(sources.board.as_deref());
    let board = match Board::recognise(&sources.board_dir, forced, root) {
        Ok(board) => board,
        Err(error) => {
            eprintln!("portico doctor: {}", with_causes(&error));
            return ExitCode::from(exit::CONFIG);
        }
    };
    let state = crate::ops::default_state_dir();
    let verdicts = Verdicts::open(&state, &board);
    if (args.probe || args.refresh)
        && let Err(why) = try_codecs(&board, &verdicts, &Usage::of(&state), args.refresh)
    {
        tell(&format!("portico doctor: {why}\n"));
        return ExitCode::from(exit::UNAVAILABLE);
    }
    let report = examine(&board, &verdicts, Identity::read(root), Crypto::of(Processor::here(), srtp));
    if args.json {
        print::json(&report);
    } else {
        print::text(&text(&report));
    }
    if report.verdict.can_run { ExitCode::SUCCESS } else { ExitCode::from(exit::UNAVAILABLE) }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Tries the codecs that are installed, one after the other; never while the gateway uses any.
fn try_codecs(board: &Board, verdicts: &Verdicts, usage: &Usage, anew: bool) -> Result<(), String> {
    let there = |it: &Candidate<'_>| element::installed(it.element(), it.nodes()).is_ready();
    let wanted: Vec<_> = probe::candidates(board).filter(|it| there(it) && (anew || verdicts.wants_trial(*it))).collect();
    let progress = indicatif::ProgressBar::new(wanted.len() as u64);
    for candidate in wanted {
        progress.set_message(format!("trying {}", candidate.element()));
        let Some(_claim) = usage.claim() else {
            progress.finish_and_clear();
            return Err(
                "codecs are in use: the gateway has a source open, or tries them itself. Try again when nobody watches".into()
            );
        };
        if let Err(why) = try_one(candidate, board, verdicts, &Runner::this_program(), &|| false) {
            progress.suspend(|| tell(&format!("{} was not tried: {why}\n", candidate.element())));
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

fn examine(board: &Board, verdicts: &Verdicts, identity: Identity, crypto: Crypto) -> Report {
    let scan = device::scan();
    let elements = rows(board, verdicts);
    let packages = elements.iter().filter_map(|row| match row.presence {
        Presence::Missing { package } => package,
        _ => None,
    });
    Report {
        identity,
        board: board.name.clone(),
        board_description: board.description.clone(),
        board_origin: board.origin.clone(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        crypto,
        gstreamer: element::gstreamer_version(),
        systems: board.systems.iter().map(SystemRow::of).collect(),
        quirks: board.quirks.clone(),
        packages: packages.collect(),
        verdict: verdict(&elements),
        elements,
        cameras: scan.cameras.len(),
        closed: scan.closed,
    }
}

fn rows(board: &Board, verdicts: &Verdicts) -> Vec<Row> {
    let mut rows = Vec::new();
    for entry in &board.encoders {
        let row = codec_row(board, verdicts, Candidate::Encoder(entry));
        rows.push(Row { role: Role::Encoder, what: entry.codec.to_string(), hardware: entry.hardware, ..row });
    }
    for entry in &board.decoders {
        let row = codec_row(board, verdicts, Candidate::Decoder(entry));
        rows.push(Row { role: Role::Decoder, what: entry.input.to_string(), hardware: entry.hardware, ..row });
    }
    for entry in &board.compositors {
        let row = codec_row(board, verdicts, Candidate::Compositor(entry));
        rows.push(Row { role: Role::Compositor, what: "mixed rooms".into(), hardware: entry.hardware, ..row });
    }
    let mut add = |role, what: String, element: &str, hardware, presence| {
        let (vendor, element) = (board.vendor.get(element).cloned(), element.to_owned());
        rows.push(Row { role, what, element, hardware, requires: Vec::new(), presence, vendor, trial: None });
    };
    let own = board.encoders.iter().filter_map(|entry| entry.convert.as_ref());
    let mut converters: BTreeSet<&str> = board.convert.iter().chain(own).flat_map(|entry| chain(entry)).collect();
    converters.extend(board.compositors.iter().flat_map(|entry| entry.around()).filter(|element| *element != "queue"));
    for element in converters {
        add(Role::Convert, "size and format".into(), element, false, element::presence(element));
    }
    // These open a camera or sound card when they start: whether they are installed says enough, devices are looked at apart.
    for entry in &board.csi {
        add(Role::Csi, "CSI camera".into(), &entry.element, true, element::registered(&entry.element));
    }
    for (element, what) in COMMON {
        add(Role::Common, what.into(), element, false, element::registered(element));
    }
    rows
}

/// A codec's row but for what depends on its role. What a trial refused is not touched again.
fn codec_row(board: &Board, verdicts: &Verdicts, candidate: Candidate<'_>) -> Row {
    let trial = verdicts.get(candidate).map(|verdict| Tried {
        help: verdict.fault().map(|fault| fault.help()),
        verdict,
        tried: verdicts.tried(candidate).unwrap_or_default(),
    });
    let presence = match trial.as_ref().and_then(|trial| trial.verdict.fault()) {
        Some(fault) => Presence::NotReady { why: fault.to_string() },
        None => candidate.presence(),
    };
    Row {
        role: Role::Encoder,
        what: String::new(),
        element: candidate.element().to_owned(),
        hardware: false,
        requires: candidate.requires().to_vec(),
        presence,
        vendor: board.vendor.get(candidate.element()).cloned(),
        trial,
    }
}

fn verdict(rows: &[Row]) -> Verdict {
    let ready = |what: &str| {
        let works = |row: &&Row| row.role == Role::Encoder && row.what == what && row.presence.is_ready();
        rows.iter().find(works).map(|row| row.element.clone())
    };
    let video = ready("H264").or_else(|| ready("VP8"));
    let mut lacks = Vec::new();
    if video.is_none() {
        lacks.push("no H264 or VP8 encoder works: install gstreamer1.0-plugins-ugly (x264enc)".to_owned());
    }
    if ready("opus").is_none() {
        lacks.push("opusenc does not work: install gstreamer1.0-plugins-base".to_owned());
    }
    let absent = |row: &&Row| row.role == Role::Common && row.what == "everything" && !row.presence.is_ready();
    lacks.extend(rows.iter().find(absent).map(|row| format!("{} is missing: install gstreamer1.0-plugins-base", row.element)));
    Verdict { can_run: lacks.is_empty(), video, lacks }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let model = report.identity.model.as_deref().unwrap_or("unknown");
    let _ = writeln!(out, "Machine    {model}");
    if !report.identity.compatible.is_empty() {
        let _ = writeln!(out, "           {}", report.identity.compatible.join(", "));
    }
    let origin = match &report.board_origin {
        Origin::BuiltIn => "built in".to_owned(),
        Origin::File(path) => path.display().to_string(),
    };
    let _ = writeln!(out, "Board      {}: {} ({origin})", report.board, report.board_description);
    let _ = writeln!(out, "Kernel     {}", report.kernel);
    let _ = writeln!(out, "Media      {}", report.gstreamer.as_deref().unwrap_or("GStreamer cannot start"));
    for system in &report.systems {
        let here = if system.here { ", which runs here" } else { "" };
        let fits = match system.too_old {
            true => format!(
                "too old for Portico: it has GStreamer {}, needed is {}.{}",
                system.gstreamer,
                System::OLDEST.0,
                System::OLDEST.1
            ),
            false => "new enough".into(),
        };
        let _ = writeln!(out, "System     {}{here}: {fits}", system.name);
    }
    if !report.systems.is_empty() && report.systems.iter().all(|system| system.too_old) {
        let _ = writeln!(out, "           The maker has no system for this board that Portico runs on.");
    }
    let _ = writeln!(out, "SRTP       {} is preferred: {}", report.crypto.srtp.name(), report.crypto.why);
    let _ = writeln!(out, "Cameras    {} (`portico devices` lists them)", report.cameras);
    for same_reason in report.closed.chunk_by(|a, b| a.why == b.why) {
        let nodes: Vec<_> = same_reason.iter().map(|closed| closed.node.display().to_string()).collect();
        let _ = writeln!(out, "           {}: {}", nodes.join(", "), same_reason[0].why);
    }
    let titles = [
        (Role::Encoder, "Encoders, in order of preference"),
        (Role::Decoder, "Decoders, in order of preference"),
        (Role::Compositor, "Compositors, in order of preference"),
        (Role::Convert, "Converters"),
        (Role::Csi, "CSI capture"),
        (Role::Common, "Other elements"),
    ];
    for (role, title) in titles {
        let rows: Vec<_> = report.elements.iter().filter(|row| row.role == role).collect();
        if !rows.is_empty() {
            let _ = write!(out, "\n{title}\n{}\n", element_table(&rows));
        }
    }
    if !report.quirks.is_empty() {
        let _ = write!(out, "\nKnown of this board\n");
        for quirk in &report.quirks {
            let _ = writeln!(out, "- {}: {} [{}]", quirk.what, quirk.remedy, quirk.source);
        }
    }
    out.push('\n');
    for row in &report.elements {
        if let Some(help) = row.trial.as_ref().and_then(|trial| trial.help) {
            let _ = writeln!(out, "{} is passed over: {help}.", row.element);
        }
    }
    if !report.packages.is_empty() {
        let packages: Vec<_> = report.packages.iter().copied().collect();
        let _ = writeln!(out, "What is missing comes with: sudo apt install {}", packages.join(" "));
    }
    match &report.verdict.video {
        Some(video) if report.verdict.can_run => {
            let _ = writeln!(out, "Ready: video is encoded by {video}, sound by opusenc.");
        }
        _ => {
            for lack in &report.verdict.lacks {
                let _ = writeln!(out, "Cannot run: {lack}");
            }
        }
    }
    out
}

fn element_table(rows: &[&Row]) -> comfy_table::Table {
    let mut table = print::table(&["For", "Element", "By", "State"]);
    for row in rows {
        let by = match (row.role, row.hardware) {
            (Role::Convert | Role::Csi | Role::Common, _) => "-",
            (_, true) => "hardware",
            (_, false) => "software",
        };
        let name = match row.requires.is_empty() {
            true => row.element.clone(),
            false => format!("{} ({})", row.element, row.requires.join(", ")),
        };
        let state = match &row.presence {
            // CSI and common elements are only looked up.
            Presence::Ready if matches!(row.role, Role::Csi | Role::Common) => print::verdict("installed", Some(true)),
            Presence::Ready => print::verdict(&state_of_working(row), Some(true)),
            Presence::Missing { package: Some(package) } => print::verdict(&format!("missing: package {package}"), None),
            Presence::Missing { package: None } => {
                let from = row.vendor.as_deref().unwrap_or("not a Debian package");
                print::verdict(&format!("missing: {from}"), None)
            }
            Presence::NotReady { why } if row.trial.is_some() => print::verdict(&format!("refused: {why}"), Some(false)),
            Presence::NotReady { why } => print::verdict(&format!("not ready: {why}"), Some(false)),
            Presence::Busy { why } => print::verdict(&format!("busy: {why}"), None),
        };
        table.add_row(vec![row.what.as_str().into(), name.into(), by.into(), state]);
    }
    table
}

/// `opens` for what was not tried further.
fn state_of_working(row: &Row) -> String {
    match &row.trial {
        Some(trial) if trial.verdict.notes().is_empty() => "works: tried".into(),
        Some(trial) => {
            let notes: Vec<String> = trial.verdict.notes().iter().map(ToString::to_string).collect();
            format!("works: {}", notes.join("; "))
        }
        None if row.hardware && matches!(row.role, Role::Encoder | Role::Decoder) => "opens, not tried yet".into(),
        None => "works".into(),
    }
}
