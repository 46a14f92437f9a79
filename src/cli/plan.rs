//! `portico plan`: for each source and demand the chosen path and why. Prints rows that were computed elsewhere.

use std::process::ExitCode;

use serde::Serialize;

use super::{ConfigArgs, exit, print, tell};
use crate::config::Flags;
use crate::media::board::{Board, Candidate};
use crate::media::element;
use crate::media::plan::composing::{Composer, compositor_for};
use crate::media::plan::{Choice, Path, Refusal, SourceOffer, StreamOffer, plan_kind};
use crate::media::probe::Verdicts;
use crate::media::{SourceConfig, SourceKind, Wants, device, look};
use crate::vocab::{Codec, MediaKind, RoomId};

/// Show how each source would reach a viewer, and why.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(after_help = "\
Examples:
  portico plan                        every source, for what browsers take
  portico plan kitchen                the sources of one room
  portico plan --codec VP8,opus       for a viewer that takes only these
  portico plan --json | jq '.[] | select(.path == \"software\")'

Paths, cheapest first:
  pass        packets are forwarded as they come
  repacketise encoded frames as they come, in new packets
  layer       shares an encoder that runs anyway
  hardware    encoded by the board
  software    encoded by the CPU

Exit status: 0 when some source has a path, 64 when there is no such room, 69 when no source has a path.")]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Only the sources of this room
    pub room: Option<RoomId>,

    /// Codecs the viewer can take, best first [default: what browsers take]
    #[arg(long, value_name = "CODEC", value_delimiter = ',', value_parser = codec)]
    pub codec: Vec<Codec>,

    /// Print JSON: a list of objects with `source`, `demand`, and `path`, `codec`, `reason` or `refused`
    #[arg(long)]
    pub json: bool,
}

fn codec(text: &str) -> Result<Codec, String> {
    let names = || Codec::ALL.map(Codec::name).join(", ");
    Codec::from_name(text.trim()).ok_or_else(|| format!("codecs are {}", names()))
}

/// One source, one demand, and what comes of it.
#[derive(Clone, Debug)]
pub struct PlanRow {
    /// The source's name.
    pub source: String,
    /// What the viewer takes, for example `video H264, VP8`.
    pub demand: String,
    /// The path, or why there is none.
    pub outcome: Result<Choice, Refusal>,
    /// Of a mixed room's picture: what puts it together.
    pub compositor: Option<Composer>,
}

/// What browsers can play, best first.
const BROWSERS: [Codec; 5] = [Codec::H264, Codec::VP8, Codec::VP9, Codec::AV1, Codec::Opus];

/// Opens each source for as long as it takes to know what it gives, plans, and prints.
pub(super) fn main(args: &Args) -> ExitCode {
    let loaded = match args.config.load(Flags::default()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = loaded.config;
    if let Err(error) = gstreamer_ready() {
        tell(&format!("portico plan: {error}\n"));
        return ExitCode::from(exit::UNAVAILABLE);
    }
    let habits = &config.sources;
    let board = match Board::recognise(&habits.board_dir, habits.board.as_deref(), std::path::Path::new("/")) {
        Ok(board) => board,
        Err(error) => {
            tell(&format!("portico plan: {error}\n"));
            return ExitCode::from(exit::CONFIG);
        }
    };
    let effective = config.effective(!device::cameras().is_empty());
    if let Some(room) = args.room.as_ref().filter(|name| effective.rooms.iter().all(|room| &room.name != *name)) {
        let known: Vec<&str> = effective.rooms.iter().map(|room| room.name.as_str()).collect();
        tell(&format!("portico plan: no room {room} in the configuration; its rooms: {}\n", known.join(", ")));
        return ExitCode::from(exit::USAGE);
    }
    let in_room = |source: &SourceConfig| match &args.room {
        Some(name) => effective.rooms.iter().any(|room| {
            let mixes = room.mix_source().as_ref() == Some(&source.name);
            &room.name == name && (mixes || room.sources.contains(&source.name))
        }),
        None => true,
    };
    let codecs = if args.codec.is_empty() { BROWSERS.to_vec() } else { args.codec.clone() };
    let of = |kind: MediaKind| codecs.iter().copied().filter(|codec| codec.kind() == kind).collect::<Vec<_>>();
    let wants = Wants { video: of(MediaKind::Video), audio: of(MediaKind::Audio) };
    let sources: Vec<SourceConfig> = effective.all_sources().into_iter().filter(in_room).collect();
    let progress = indicatif::ProgressBar::new(sources.len() as u64);
    let verdicts = Verdicts::open(&crate::ops::default_state_dir(), &board);
    let mut rows = Vec::new();
    for source in &sources {
        progress.set_message(format!("opening {}", source.name));
        rows.extend(plan_source(source, &wants, &board, &verdicts, habits.open_limit));
        progress.inc(1);
    }
    progress.finish_and_clear();
    run(args, &rows)
}

fn gstreamer_ready() -> Result<(), String> {
    element::gstreamer_version().map(|_| ()).ok_or_else(|| "GStreamer cannot start".into())
}

/// One row per kind that the source has and the viewer wants; one row that says why when it cannot be opened.
fn plan_source(
    source: &SourceConfig,
    wants: &Wants,
    board: &Board,
    verdicts: &Verdicts,
    limit: std::time::Duration,
) -> Vec<PlanRow> {
    let demand = |kind: MediaKind, codecs: &[Codec]| {
        format!("{kind} {}", codecs.iter().map(|codec| codec.name()).collect::<Vec<_>>().join(", "))
    };
    let name = source.name.to_string();
    let presence = |asked: Candidate<'_>| verdicts.refusal(asked).unwrap_or_else(|| asked.presence());
    let known = match &source.kind {
        // what it gives is as configured; opened is what it mixes, each for itself
        SourceKind::Mix(mix) => {
            let (width, height, framerate) = (mix.width & !1, mix.height & !1, mix.framerate);
            let picture = StreamOffer::Picture { width, height, framerate };
            Ok(SourceOffer { video: Some(picture), audio: Some(StreamOffer::Sound) })
        }
        _ => look(source.clone(), board, limit),
    };
    let mixed = matches!(source.kind, SourceKind::Mix(_));
    let compositor = mixed.then(|| compositor_for(board, &presence).ok()).flatten().map(|(_, composer)| composer);
    let offer = match known {
        Ok(offer) => offer,
        Err(error) => {
            let want = demand(MediaKind::Video, &wants.video);
            let refusal = Refusal { have: "nothing".into(), want: want.clone(), reason: error.to_string() };
            return vec![PlanRow { source: name, demand: want, outcome: Err(refusal), compositor: None }];
        }
    };
    let kinds = [(MediaKind::Video, &wants.video), (MediaKind::Audio, &wants.audio)];
    let row = |(kind, codecs): (MediaKind, &Vec<Codec>)| {
        let outcome = plan_kind(kind, &offer, wants, board, &presence, &[])?;
        let compositor = compositor.clone().filter(|_| kind == MediaKind::Video);
        Some(PlanRow { source: name.clone(), demand: demand(kind, codecs), outcome, compositor })
    };
    kinds.into_iter().filter_map(row).collect()
}

/// Prints the rows.
pub fn run(args: &Args, rows: &[PlanRow]) -> ExitCode {
    if args.json {
        print::json(&rows.iter().map(Line::from).collect::<Vec<_>>());
    } else {
        print::text(&report(args.room.as_ref(), rows));
    }
    // No source at all is a legal configuration: rooms work without.
    match rows.is_empty() || rows.iter().any(|row| row.outcome.is_ok()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::UNAVAILABLE),
    }
}

/// A row as JSON has it.
#[derive(Serialize)]
struct Line<'a> {
    source: &'a str,
    demand: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    choice: Option<&'a Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compositor: Option<&'a Composer>,
}

impl<'a> From<&'a PlanRow> for Line<'a> {
    fn from(row: &'a PlanRow) -> Self {
        let outcome = row.outcome.as_ref();
        let compositor = row.compositor.as_ref();
        Self { source: &row.source, demand: &row.demand, choice: outcome.ok(), refused: outcome.err(), compositor }
    }
}

fn report(room: Option<&RoomId>, rows: &[PlanRow]) -> String {
    if rows.is_empty() {
        return match room {
            Some(room) => format!("Room {room} has no sources. See `sources` of its [[room]] in the configuration."),
            None => "No sources are configured. Add a [[source]] to the configuration; `portico devices` lists cameras.".into(),
        };
    }
    let mut table = print::table(&["Source", "Demand", "Path", "Codec", "Encoder", "Reason"]);
    for row in rows {
        let (source, demand) = (row.source.as_str().into(), row.demand.as_str().into());
        table.add_row(match &row.outcome {
            Ok(choice) => vec![
                source,
                demand,
                print::verdict(name(choice.path), if choice.path == Path::Software { None } else { Some(true) }),
                choice.codec.name().into(),
                choice.encoder.as_deref().unwrap_or("-").into(),
                match &row.compositor {
                    Some(it) => format!("{}; {}", it.reason, choice.reason).into(),
                    None => choice.reason.as_str().into(),
                },
            ],
            Err(refusal) => vec![
                source,
                demand,
                print::verdict("refused", Some(false)),
                "-".into(),
                "-".into(),
                format!("has {}: {}", refusal.have, refusal.reason).into(),
            ],
        });
    }
    table.to_string()
}

fn name(path: Path) -> &'static str {
    match path {
        Path::Pass => "pass",
        Path::Repacketise => "repacketise",
        Path::Layer => "layer",
        Path::Hardware => "hardware",
        Path::Software => "software",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn rows() -> Vec<PlanRow> {
        let choice =
            Choice { path: Path::Software, codec: Codec::H264, encoder: Some("x264enc".into()), reason: "only encoder".into() };
        let refusal = Refusal { have: "raw".into(), want: "VP9".into(), reason: "no encoder".into() };
        vec![
            PlanRow { source: "door".into(), demand: "video H264".into(), outcome: Ok(choice), compositor: None },
            PlanRow { source: "door".into(), demand: "video VP9".into(), outcome: Err(refusal), compositor: None },
        ]
    }

    #[test]
    fn codecs_are_a_list_and_an_unknown_one_names_the_known() {
        let parsed = Cli::try_parse_from(["plan", "kitchen", "--codec", "h264,OPUS", "--json"]).unwrap().args;
        assert_eq!((parsed.codec, parsed.json), (vec![Codec::H264, Codec::Opus], true));
        assert_eq!(parsed.room.unwrap().as_str(), "kitchen");
        let error = Cli::try_parse_from(["plan", "--codec", "MPEG2"]).err().unwrap().to_string();
        assert!(error.contains("H264, H265, VP8"), "{error}");
    }

    #[test]
    fn json_has_the_choice_flat_and_the_refusal_named() {
        let lines = serde_json::to_value(rows().iter().map(Line::from).collect::<Vec<_>>()).unwrap();
        assert_eq!(lines[0]["path"], "software");
        assert_eq!(lines[0]["encoder"], "x264enc");
        assert!(lines[0].get("refused").is_none() && lines[1].get("path").is_none());
        assert_eq!(lines[1]["refused"]["reason"], "no encoder");
    }

    #[test]
    fn a_mix_is_planned_as_configured_with_what_puts_it_together() {
        gstreamer::init().unwrap();
        let kind = SourceKind::Mix(crate::vocab::MixConfig::default());
        let name = crate::vocab::SourceName::new("mix:hall").unwrap();
        let mix = SourceConfig { name, kind, bitrate: crate::vocab::Bitrate::from_bps(1_000_000), audio_device: None };
        let wants = Wants { video: vec![Codec::VP8], audio: vec![Codec::Opus] };
        let rows = plan_source(&mix, &wants, &Board::generic(), &Verdicts::default(), std::time::Duration::ZERO);
        assert_eq!(rows[0].compositor.as_ref().map(|it| it.element.as_str()), Some("compositor"));
        assert!(rows[1].compositor.is_none() && rows.iter().all(|row| row.outcome.is_ok()), "{rows:?}");
        assert!(report(None, &rows).contains("put together in software by compositor; encoded in software by vp8enc"));
    }

    #[test]
    fn table_has_a_line_for_each_and_nothing_says_so() {
        let text = report(None, &rows());
        assert!(text.contains("x264enc") && text.contains("refused") && text.contains("has raw: no encoder"), "{text}");
        assert!(report(None, &[]).starts_with("No sources"));
        assert!(report(Some(&RoomId::new("kitchen").unwrap()), &[]).starts_with("Room kitchen"));
    }

    #[test]
    fn exit_status_tells_whether_any_path_is_there() {
        let quiet = Args { json: true, ..Args::default() };
        let same = |a: ExitCode, b: ExitCode| format!("{a:?}") == format!("{b:?}");
        assert!(same(run(&quiet, &rows()), ExitCode::SUCCESS) && same(run(&quiet, &[]), ExitCode::SUCCESS));
        assert!(same(run(&quiet, &rows()[1..]), ExitCode::from(69)));
    }
}
