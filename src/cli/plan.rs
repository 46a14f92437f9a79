//! `portico plan`: for each source and demand the chosen path and why. Prints rows that were computed elsewhere.

use std::process::ExitCode;

use serde::Serialize;

use super::print;
use crate::media::plan::{Choice, Path, Refusal};
use crate::vocab::{Codec, RoomId};

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

Exit status: 0 when some source has a path, 69 when none has.")]
pub struct Args {
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
        false => ExitCode::from(print::UNAVAILABLE),
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
}

impl<'a> From<&'a PlanRow> for Line<'a> {
    fn from(row: &'a PlanRow) -> Self {
        let outcome = row.outcome.as_ref();
        Self { source: &row.source, demand: &row.demand, choice: outcome.ok(), refused: outcome.err() }
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
                choice.reason.as_str().into(),
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
            PlanRow { source: "door".into(), demand: "video H264".into(), outcome: Ok(choice) },
            PlanRow { source: "door".into(), demand: "video VP9".into(), outcome: Err(refusal) },
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
