//! `portico bench encode`: what it costs to encode a camera for its viewers, beside an encoder for each; and to pass on what is encoded
//! already, beside playing it for nobody.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::gateway::{Gateway, GatewayError};
use super::launch::{Launch, SETTLE, busy, in_folder, median, show};
use super::report::Machine;
use super::stage::Stage;
use super::{BenchError, with_runtime};
use crate::media::mix::rehearsal::Film;
use crate::media::{an_encoder_each, played_for_nobody};
use crate::peer::load::Feed;
use crate::vocab::Bitrate;

/// Width, height and frames a second: small enough that two cores are not the limit.
const PICTURE: (u32, u32, u32) = (640, 360, 15);
/// Bits a second.
const BITRATE: u64 = 1_000_000;

/// Measures what encoding for viewers costs, beside an encoder for each of them.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "encode")]
#[command(after_help = "Examples:
  portico bench encode
  portico bench encode --viewers 1,5 --runs 1

How: a gateway of its own has a test camera of 640x360 at 15 frames/s and so many viewers by WHEP,
whole WebRTC peers in this process. gst-launch-1.0 (Debian package gstreamer1.0-tools) then encodes
the same picture as often as there are viewers, with the same encoder and settings, without
encryption and without a network: the least that a server with an encoder per viewer can cost. The
two take turns.

The last row is a film in H.264 that is passed on to one viewer, encrypted and sent, beside
gst-launch-1.0 that only reads it at its own pace.

Columns:
  portico, gst-launch   time on a processor, in per cent of one core, median of the runs
  ratio                 of the two, median of the runs
  encoders              at work in the gateway

Exit status: 0, or 69 when an element or gst-launch-1.0 is missing.")]
pub(super) struct Args {
    /// How many watch
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 5, 20],
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=50))]
    viewers: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Runs of each of the two
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=25))]
    runs: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// What encodes, here and there.
    encoder: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    viewers: usize,
    /// In per cent of one core, median.
    cpu_percent: f64,
    launch_percent: f64,
    /// Median of the runs' ratios.
    ratio: f64,
    /// Of each run.
    ratios: Vec<f64>,
    encoders: u64,
}

pub(super) fn main(args: &Args) -> ExitCode {
    show(in_folder(|folder| report(args, folder)), args.json, text)
}

fn report(args: &Args, folder: &Path) -> Result<Report, BenchError> {
    let window = Duration::from_secs(args.seconds);
    let film = Film::make(folder, (window + SETTLE).as_secs() + 5)?;
    let mut rows = Vec::new();
    let mut encoder = String::new();
    let (width, height, framerate) = PICTURE;
    let camera = format!("type = \"test\"\nwidth = {width}\nheight = {height}\nframerate = {framerate}\nbitrate = {BITRATE}\n");
    for viewers in &args.viewers {
        let (launch, element) = an_encoder_each(PICTURE, Bitrate::from_bps(BITRATE), *viewers)?;
        encoder = element;
        rows.push(row("camera", &camera, *viewers, &launch, args.runs, window)?);
    }
    let path = format!("type = \"file\"\npath = {:?}\n", film.path());
    rows.push(row("passed", &path, 1, &played_for_nobody(film.path()), args.runs, window)?);
    Ok(Report { machine: Machine::here(), encoder, rows })
}

fn row(
    what: &'static str,
    source: &str,
    viewers: usize,
    launch: &[String],
    runs: u64,
    window: Duration,
) -> Result<Row, BenchError> {
    let config = format!("[[room]]\nname = \"cam\"\nsources = [\"cam\"]\n\n[[source]]\nname = \"cam\"\n{source}");
    let (mut own, mut launched, mut encoders) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let (percent, count) = with_runtime(watched(&config, viewers, window))?;
        own.push(percent);
        encoders = count;
        let launch = Launch::start(launch)?;
        std::thread::sleep(SETTLE);
        launched.push(busy(launch.pid(), window)?);
    }
    let ratios: Vec<f64> = own.iter().zip(&launched).map(|(own, launched)| own / launched.max(0.01)).collect();
    let (cpu_percent, launch_percent, ratio) = (median(&own), median(&launched), median(&ratios));
    Ok(Row { what, viewers, cpu_percent, launch_percent, ratio, ratios, encoders })
}

/// What a gateway takes while so many watch its camera, in per cent of one core; and how many encoders are at work.
async fn watched(config: &str, viewers: usize, window: Duration) -> Result<(f64, u64), BenchError> {
    let gateway = Gateway::start_with(config)?;
    let mut stage = Stage::new(&gateway.base, Feed::picture(BITRATE), 0.0)?;
    for viewer in 0..viewers {
        stage.watch(viewer as u64, "whep/cam").await?;
    }
    tokio::time::sleep(SETTLE).await;
    let before = gateway.sample().map_err(GatewayError::Start)?;
    tokio::time::sleep(window).await;
    let after = gateway.sample().map_err(GatewayError::Start)?;
    let encoders = stage.count("portico_video_encoders").await?;
    let busy = after.busy.saturating_sub(before.busy).as_secs_f64();
    Ok((100.0 * busy / (after.at - before.at).as_secs_f64(), encoders))
}

fn text(report: &Report) -> String {
    let mut text = format!("encoder: {}\n", report.encoder);
    text.push_str("what     viewers   portico   gst-launch   ratio   encoders\n");
    for row in &report.rows {
        let Row { what, viewers, cpu_percent, launch_percent, ratio, encoders, .. } = row;
        let _ = writeln!(
            text,
            "{what:<8} {viewers:>7}   {cpu_percent:>5.1} %   {launch_percent:>8.1} %   {ratio:>5.2}   {encoders:>8}"
        );
    }
    text
}
