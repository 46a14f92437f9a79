//! `portico bench`: what forwarding costs on this machine, and how far that is from the least possible.
//!
//! The gateway runs as a process of its own; publisher, viewers and the bare sender run here, on [`crate::peer::load`].

mod channel;
mod crypto;
mod gateway;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use self::gateway::{Gateway, GatewayError, Sample};
use self::report::{Idle, Machine, Report, Row};
use super::{exit, tell};
use crate::peer::load::{Floor, Interval, LoadError, LoadPeer, Picture, Rig, RigNews, floor};
use crate::vocab::Sdp;

/// Frames per second of the synthetic picture.
const FRAME_RATE: u32 = 30;
/// Where the load meets: an ad-hoc room.
const ROOM: &str = "bench";
/// Joins whose time to the first frame is taken, per number of viewers.
const JOINS: usize = 9;
/// The publisher's number in the rig; viewers count from 1, joins after them.
const PUBLISHER: u64 = 0;
/// Longest wait for a connection or a picture; a machine that needs longer has nothing to measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the last join before counting begins: key frames asked for by joins are through.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures what forwarding costs on this machine.
#[derive(clap::Args, Debug, Clone)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  portico bench                                  1, 10 and 50 viewers of 2 Mbit/s, about 2 minutes
  portico bench --viewers 100 --seconds 30
  portico bench crypto                           SRTP alone, both profiles, 3 s
  portico bench channel                          one data channel beside a picture, 20 s
  portico bench --json | jq '.rows[] | {viewers, cpu_us_per_packet, times_floor}'

How: a gateway of its own (`portico run`, free ports of loopback, default configuration) gets a
synthetic H264 picture by WHIP and forwards it to viewers by WHEP; nothing is encoded. Publisher and
viewers are whole WebRTC peers in this process. Only the gateway's time is counted. Let nothing else
run, and compare figures of one run with each other.

Columns:
  packets/s    packets that reached the viewers
  lost         packets that did not, after repair
  CPU          of one core, all threads of the gateway
  µs/packet    that time by packets that reached viewers; what the publisher costs is in it
  floor        the same for a bare sender: SRTP (AES-128-GCM) and one UDP train per viewer and frame
  ratio        µs/packet by floor
  wake-ups/s   times a thread of the gateway slept and was woken
  p50, p99 ms  added latency of plain frames' packets: from the publisher's send to the kernel's
               arrival at the viewer's socket
  floor p99    the same for the bare sender, from the frame's time
  key p99      the same for packets of key frames, which are six times as large
  floor key    the same for the bare sender
  first frame  from the WHEP request to a complete key frame at one more viewer, median of 9 joins
  RSS          resident memory of the gateway, its libraries included

Exit status: 0, or 69 when the gateway cannot be started or a viewer gets no picture."
)]
pub struct Args {
    /// Something else than forwarding.
    #[command(subcommand)]
    pub what: Option<What>,
    /// Numbers of viewers, each measured with a fresh gateway. 0 shows what the publisher alone costs.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,10,50",
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=200))]
    pub viewers: Vec<usize>,
    /// Seconds counted, per number of viewers, for the floor, and idle.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Bits per second of the picture.
    #[arg(long, value_name = "BPS", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(100_000..=50_000_000))]
    pub bitrate: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is measured by itself.
#[derive(clap::Subcommand, Debug, Clone)]
pub enum What {
    /// Measures what SRTP costs on this board with each profile, and tells which one is preferred.
    Crypto(crypto::Args),
    /// Measures what one data channel carries, and what that does to a picture beside it.
    Channel(channel::Args),
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{what}: {source}")]
    Http { what: &'static str, source: reqwest::Error },
    #[error("{what} was answered with {status}: {body}")]
    Refused { what: &'static str, status: reqwest::StatusCode, body: String },
    #[error("{0}")]
    Nothing(&'static str),
    #[error("the gateway ended, or its figures cannot be read: {0}")]
    Figures(#[from] std::io::Error),
}

pub(super) fn main(args: &Args) -> ExitCode {
    match &args.what {
        Some(What::Crypto(args)) => crypto::main(args),
        Some(What::Channel(args)) => channel::main(args),
        None => forward(args),
    }
}

fn forward(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(args)) {
        Ok(report) => {
            if args.json {
                report.json()
            } else {
                report.text()
            }
            exit::OK
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &BenchError) -> ExitCode {
    tell(&format!("portico bench: {error}\n"));
    ExitCode::from(exit::UNAVAILABLE)
}

async fn run(args: &Args) -> Result<Report, BenchError> {
    let progress = ProgressBar::new(1 + 2 * args.viewers.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} [{elapsed_precise}] {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_secs(1));
    let machine = Machine::here();
    let picture = Picture { bitrate: args.bitrate, frame_rate: FRAME_RATE };
    let length = Duration::from_secs(args.seconds);
    progress.set_message("idle");
    let idle = idle(length).await?;
    progress.inc(1);
    let mut rows = Vec::new();
    for viewers in &args.viewers {
        progress.set_message(format!("{viewers} viewers: floor"));
        let wanted = *viewers;
        // a thread of its own, because it blocks; the runtime has nothing else to do meanwhile
        let floor = match wanted {
            0 => Floor::default(),
            _ => tokio::task::spawn_blocking(move || floor(wanted, picture, length))
                .await
                .map_err(|_| BenchError::Nothing("the bare sender panicked"))??,
        };
        progress.inc(1);
        progress.set_message(format!("{viewers} viewers: gateway"));
        rows.push(measure(wanted, picture, length, floor).await?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(Report { machine, bitrate_bps: args.bitrate, frame_rate: FRAME_RATE, seconds: args.seconds, idle, rows })
}

async fn idle(length: Duration) -> Result<Idle, BenchError> {
    let gateway = Gateway::start()?;
    // whatever is done after the start, like looking for cameras, is over
    tokio::time::sleep(SETTLE).await;
    let before = gateway.sample()?;
    tokio::time::sleep(length).await;
    let after = gateway.sample()?;
    let spent = Spent::between(&before, &after);
    Ok(Idle {
        start_ms: gateway.started_in.as_secs_f64() * 1e3,
        cpu_percent: spent.cpu_percent,
        wakeups_per_second: spent.wakeups_per_second,
        rss_mb: megabytes(after.rss),
        anonymous_mb: megabytes(after.anonymous),
    })
}

/// The gateway's use of the machine between two samples.
struct Spent {
    seconds: f64,
    cpu_percent: f64,
    busy_us: f64,
    media_us: f64,
    wakeups_per_second: f64,
}

impl Spent {
    fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let busy_us = after.busy.saturating_sub(before.busy).as_secs_f64() * 1e6;
        Self {
            seconds,
            cpu_percent: busy_us / seconds / 1e4,
            busy_us,
            media_us: after.media.saturating_sub(before.media).as_secs_f64() * 1e6,
            wakeups_per_second: after.wakeups.saturating_sub(before.wakeups) as f64 / seconds,
        }
    }
}

async fn measure(viewers: usize, picture: Picture, length: Duration, mut floor: Floor) -> Result<Row, BenchError> {
    let gateway = Gateway::start()?;
    let (rig, news) = Rig::start()?;
    let mut stage = Stage { client: reqwest::Client::new(), base: gateway.base.clone(), rig, news };
    stage.publish(picture).await?;
    for number in 1..=viewers as u64 {
        stage.join(number).await?;
    }
    tokio::time::sleep(SETTLE).await;

    let before = gateway.sample()?;
    stage.rig.begin();
    tokio::time::sleep(length).await;
    let mut seen: Interval = stage.rig.take().await;
    let after = gateway.sample()?;

    let mut joins = Vec::new();
    for number in (1 + viewers as u64..).take(JOINS) {
        joins.push(stage.join(number).await?.as_secs_f64() * 1e3);
        stage.rig.remove(number);
    }
    joins.sort_by(f64::total_cmp);

    let spent = Spent::between(&before, &after);
    let per = |time: f64, packets: u64| (packets > 0).then(|| time / packets as f64);
    let cpu_us_per_packet = per(spent.busy_us, seen.packets);
    let floor_us_per_packet = per(floor.busy.as_secs_f64() * 1e6, floor.sent);
    Ok(Row {
        viewers,
        packets: seen.packets,
        packets_per_second: seen.packets as f64 / spent.seconds,
        lost_percent: per(100.0 * seen.missing as f64, seen.packets + seen.missing).unwrap_or(0.0),
        cpu_percent: spent.cpu_percent,
        cpu_us_per_packet,
        media_us_per_packet: per(spent.media_us, seen.packets),
        floor_us_per_packet,
        times_floor: cpu_us_per_packet.zip(floor_us_per_packet).map(|(ours, floor)| ours / floor),
        wakeups_per_second: spent.wakeups_per_second,
        latency_p50_ms: seen.delta.quantile_ms(0.5),
        latency_p99_ms: seen.delta.quantile_ms(0.99),
        key_latency_p99_ms: seen.key.quantile_ms(0.99),
        floor_latency_p99_ms: floor.delta.quantile_ms(0.99),
        floor_key_latency_p99_ms: floor.key.quantile_ms(0.99),
        first_frame_ms: joins.get(joins.len() / 2).copied(),
        first_frame_worst_ms: joins.last().copied(),
        joins: joins.len(),
        rss_mb: megabytes(after.rss),
        anonymous_mb: megabytes(after.anonymous),
    })
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A gateway with its load.
struct Stage {
    client: reqwest::Client,
    base: String,
    rig: Rig,
    news: mpsc::UnboundedReceiver<RigNews>,
}

impl Stage {
    async fn publish(&mut self, picture: Picture) -> Result<(), BenchError> {
        let (mut peer, offer) = LoadPeer::publisher(picture)?;
        peer.accept(&self.exchange("the WHIP request", "whip", offer).await?)?;
        self.rig.add(PUBLISHER, peer);
        self.wait(|news| (news == RigNews::Connected(PUBLISHER)).then_some(())).await
    }

    /// Adds a viewer. Returns the time from the request to a complete key frame.
    async fn join(&mut self, number: u64) -> Result<Duration, BenchError> {
        let (mut peer, offer) = LoadPeer::player()?;
        let began = Instant::now();
        peer.accept(&self.exchange("the WHEP request", "whep", offer).await?)?;
        self.rig.add(number, peer);
        self.wait(|news| match news {
            RigNews::FirstFrame(its, at) if its == number => Some(at.duration_since(began)),
            _ => None,
        })
        .await
    }

    async fn exchange(&self, what: &'static str, end: &str, offer: Sdp) -> Result<Sdp, BenchError> {
        let failed = |source| BenchError::Http { what, source };
        let url = format!("{}/{end}/{ROOM}/main", self.base);
        let request = self.client.post(url).header("content-type", "application/sdp").body(offer.text);
        let response = request.timeout(PATIENCE).send().await.map_err(failed)?;
        let status = response.status();
        let body = response.text().await.map_err(failed)?;
        match status {
            reqwest::StatusCode::CREATED => Ok(Sdp::answer(body)),
            _ => Err(BenchError::Refused { what, status, body }),
        }
    }

    /// Waits for a piece of news; others are passed over.
    async fn wait<T>(&mut self, wanted: impl Fn(RigNews) -> Option<T>) -> Result<T, BenchError> {
        let search = async {
            while let Some(news) = self.news.recv().await {
                if let Some(found) = wanted(news) {
                    return Some(found);
                }
            }
            None
        };
        let found = tokio::time::timeout(PATIENCE, search).await.ok().flatten();
        found.ok_or(BenchError::Nothing("a connection or its picture did not come within a minute"))
    }
}
