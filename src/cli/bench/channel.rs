//! `portico bench channel`: what one data channel carries, and what that does to a picture beside it.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::report::Machine;
use crate::cli::{exit, print, tell};
use crate::peer::DataSpec;
use crate::peer::load::{ChannelFigures, ChannelLoad, Feed, Interval, LoadError, channel_load};

/// Measures what one data channel carries, and what that does to a picture beside it.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "Examples:
  portico bench channel
  portico bench channel --message 1200 --seconds 5

How: two drivers in this process, connected over loopback, each with a thread and a port of its own;
one sends messages through a channel as fast as there is room. The first, which stands for the
gateway, also forwards a picture of 2 Mbit/s to a viewer: for the same time alone, then beside the
channel. Three threads are at work: with fewer cores they share.

Columns:
  gateway      what it does with the messages
  Mbit/s       of payload that arrived
  waiting kB   most that waited to leave
  p50, p99 ms  from the picture's source to the kernel's arrival at the viewer's socket, plain frames;
               first alone, then beside the channel
  lost         packets of the picture that did not arrive beside it, after repair

Exit status: 0, or 69 when a connection does not come or messages come in another order.")]
pub struct Args {
    /// Bytes of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(8..=DataSpec::MAX_MESSAGE as u64))]
    pub message: usize,
    /// Seconds per direction, and for the picture alone.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    message_bytes: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    gateway: &'static str,
    mbit_per_second: f64,
    most_waiting_bytes: usize,
    alone_p50_ms: Option<f64>,
    alone_p99_ms: Option<f64>,
    beside_p50_ms: Option<f64>,
    beside_p99_ms: Option<f64>,
    beside_packets: u64,
    beside_lost: u64,
}

impl Row {
    fn of(gateway: &'static str, mut figures: ChannelFigures) -> Self {
        let quantile = |of: &mut Interval, part| of.delta.quantile_ms(part);
        Self {
            gateway,
            mbit_per_second: figures.bytes as f64 * 8.0 / 1e6 / figures.taken.as_secs_f64().max(1e-3),
            most_waiting_bytes: figures.most_waiting,
            alone_p50_ms: quantile(&mut figures.alone, 0.5),
            alone_p99_ms: quantile(&mut figures.alone, 0.99),
            beside_p50_ms: quantile(&mut figures.beside, 0.5),
            beside_p99_ms: quantile(&mut figures.beside, 0.99),
            beside_packets: figures.beside.packets,
            beside_lost: figures.beside.missing,
        }
    }
}

pub(super) fn main(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(args)) {
        Ok(report) => {
            if args.json {
                print::json(&report)
            } else {
                print::text(&text(&report))
            }
            exit::OK
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &LoadError) -> ExitCode {
    tell(&format!("portico bench channel: {error}\n"));
    ExitCode::from(exit::UNAVAILABLE)
}

async fn run(args: &Args) -> Result<Report, LoadError> {
    let machine = Machine::here();
    let mut rows = Vec::new();
    for (gateway, receive) in [("sends", false), ("receives", true)] {
        let picture = Feed::picture(2_000_000);
        let load = ChannelLoad { message: args.message, length: Duration::from_secs(args.seconds), picture, receive };
        let figures = channel_load(load).await?;
        if figures.disordered > 0 {
            return Err(LoadError::Disordered);
        }
        rows.push(Row::of(gateway, figures));
    }
    Ok(Report { machine, message_bytes: args.message, rows })
}

fn text(report: &Report) -> String {
    let mut table = print::table(&["gateway", "Mbit/s", "waiting kB", "p50 ms", "p99 ms", "beside p50", "beside p99", "lost"]);
    let ms = |figure: Option<f64>| figure.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    for row in &report.rows {
        table.add_row(vec![
            row.gateway.to_owned(),
            format!("{:.0}", row.mbit_per_second),
            (row.most_waiting_bytes / 1000).to_string(),
            ms(row.alone_p50_ms),
            ms(row.alone_p99_ms),
            ms(row.beside_p50_ms),
            ms(row.beside_p99_ms),
            row.beside_lost.to_string(),
        ]);
    }
    let machine = &report.machine;
    let build = if machine.debug_build { ", without optimisation" } else { "" };
    format!(
        "{}, {} cores, load {:.1}{build}; messages of {} bytes\n\n{table}",
        machine.cpu, machine.cores, machine.load_before, report.message_bytes
    )
}
