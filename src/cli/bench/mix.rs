//! `portico bench mix`: what a mix costs, beside the same pipeline in `gst-launch-1.0`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::BenchError;
use super::launch::{Launch, SETTLE, busy, in_folder, median, show};
use super::report::Machine;
use crate::media::mix::rehearsal::Film;

/// Measures what a mix costs, beside the same pipeline without Portico.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "mix")]
#[command(after_help = "Examples:
  portico bench mix
  portico bench mix --publishers 4 --runs 1

How: a film of 640x360 in H.264 at 25 frames/s is published by so many at a time, in this process
and without a network, and mixed to 1280x720 at 25 frames/s, with names, encoded once. The same is
then done by gst-launch-1.0 (Debian package gstreamer1.0-tools), from a file. The two take turns.

Columns:
  portico, gst-launch   time on a processor, in per cent of one core, median of the runs
  ratio                 of the two, median of the runs
  frames/s              that came out of the mix

Exit status: 0, or 69 when an element or gst-launch-1.0 is missing.")]
pub(super) struct Args {
    /// How many publish
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [2, 4, 9],
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=25))]
    publishers: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Runs of each of the two
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=25))]
    runs: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    publishers: usize,
    /// In per cent of one core, median.
    cpu_percent: f64,
    launch_percent: f64,
    /// Median of the runs' ratios.
    ratio: f64,
    /// Of each run.
    ratios: Vec<f64>,
    frames_per_second: f64,
}

pub(super) fn main(args: &Args) -> ExitCode {
    let measured = in_folder(|folder| Ok(Report { machine: Machine::here(), rows: rows(args, folder)? }));
    show(measured, args.json, text)
}

fn rows(args: &Args, folder: &Path) -> Result<Vec<Row>, BenchError> {
    let window = Duration::from_secs(args.seconds);
    // for gst-launch-1.0, which plays it once; the start of a decoder takes a moment
    let film = Film::make(folder, (window + SETTLE).as_secs() + 5)?;
    args.publishers.iter().map(|publishers| row(&film, *publishers, args.runs, window)).collect()
}

fn row(film: &Film, publishers: usize, runs: u64, window: Duration) -> Result<Row, BenchError> {
    let (mut own, mut launched, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let rehearsal = film.play(publishers)?;
        std::thread::sleep(SETTLE);
        let frames = rehearsal.frames();
        own.push(busy(std::process::id(), window)?);
        rates.push((rehearsal.frames() - frames) as f64 / window.as_secs_f64());
        drop(rehearsal);
        let launch = Launch::start(&film.launch(publishers)?)?;
        std::thread::sleep(SETTLE);
        launched.push(busy(launch.pid(), window)?);
    }
    let ratios: Vec<f64> = own.iter().zip(&launched).map(|(own, launched)| own / launched.max(0.01)).collect();
    Ok(Row {
        publishers,
        cpu_percent: median(&own),
        launch_percent: median(&launched),
        ratio: median(&ratios),
        ratios,
        frames_per_second: median(&rates),
    })
}

fn text(report: &Report) -> String {
    let mut text = String::from("publishers   portico   gst-launch   ratio   frames/s\n");
    for row in &report.rows {
        let Row { publishers, cpu_percent, launch_percent, ratio, frames_per_second, .. } = row;
        let _ = writeln!(
            text,
            "{publishers:>10}   {cpu_percent:>5.0} %   {launch_percent:>8.0} %   {ratio:>5.2}   {frames_per_second:>8.1}"
        );
    }
    text
}
