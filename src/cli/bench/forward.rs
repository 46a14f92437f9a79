//! `portico bench forward`: what forwarding costs, and how far that is from the least possible.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};

use super::gateway::{Gateway, Sample};
use super::report::{Idle, Machine, Report, Row, Times};
use super::stage::Stage;
use super::{BenchError, exit, failed, janus, with_runtime};
use crate::peer::load::{Feed, Floor, Interval, Latencies, Parting, floor};

/// Joins whose time to the first frame is taken, per row.
const JOINS: usize = 9;
/// After the last join before counting begins: key frames asked for by joins are through.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// Most who speak at a time in the scene `audio`; the others have nothing to say.
const SPEAKERS: usize = 5;

pub(super) const HELP: &str = "Examples:
  portico bench                                  1, 10, 50 and 100 viewers of 2 Mbit/s, about 2 minutes
  portico bench forward                          the same
  portico bench --viewers 200 --seconds 30
  portico bench --scene room                     10 publishers, each with 10 viewers
  portico bench --scene audio                    50 members hear 5 who speak
  portico bench --scene 4k                       10 viewers of 20 Mbit/s
  portico bench --compare janus --viewers 50     beside Debian's janus
  portico bench crypto                           SRTP alone, both profiles, 3 s
  portico bench channel                          one data channel beside a picture, 20 s
  portico bench --json | jq '.rows[] | {viewers, cpu_us_per_packet, times_floor}'

How: a gateway of its own (`portico run`, free ports of loopback, default configuration) gets
synthetic H264 pictures or Opus sound by WHIP and forwards them to viewers by WHEP, each stream by a
connection of its own; nothing is encoded. Publishers and viewers are whole WebRTC peers in this
process. Only the gateway's time is counted. Let nothing else run, and compare figures of one run
with each other.

With `--compare janus` Janus' streaming plugin gets the same streams as plain RTP and has as many
viewers, by its HTTP API, on a configuration of the benchmark's own with `event_loops = 1`, its
cheapest. The package is enough, its service need not run.

Columns:
  in, out      streams that come in, and viewers of all streams together
  packets/s    packets that reached the viewers
  lost         packets that did not, after repair
  CPU          of one core, all threads of the gateway
  µs/packet    that time by packets that reached viewers; what the publishers cost is in it
  floor        the same for a bare sender: SRTP (AES-128-GCM) and one UDP train per viewer and frame
  ratio        µs/packet by floor
  µs/Mbit      the time by megabits of payload that reached viewers
  wake-ups/s   times a thread of the gateway slept and was woken
  added ms     median, 99th part and worst added latency of plain frames' and sound's packets: from
               the publisher's send to the kernel's arrival at the viewer's socket
  floor ms     the same for the bare sender, from the frame's time
  key ms       the same for packets of key frames, which are six times as large
  floor key    the same for the bare sender
  connected    from the WHEP answer to the end of DTLS at one more viewer, in ms, median of 9 joins
  first frame  from the WHEP request to a complete key frame there (to the first packet of sound)
  RSS          resident memory of the gateway, its libraries included, in MB

Exit status: 0, or 69 when the gateway cannot be started or a viewer gets no picture.";

/// What is measured.
#[derive(clap::Args, Debug, Clone)]
// its name is not that of the group around it
#[group(id = "forward")]
pub(super) struct Args {
    /// What is forwarded
    #[arg(long, value_name = "SCENE", value_enum, default_value_t = Scene::Viewers)]
    scene: Scene,
    /// Numbers of viewers, each measured with a fresh gateway; of members in the scenes `room` and
    /// `audio`. 0 shows what the publisher alone costs. Default: 1,10,50,100; `room` 10, `audio` 50,
    /// `4k` 10
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=200))]
    viewers: Vec<usize>,
    /// Seconds counted, per number of viewers, for the floor, and idle.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Bits per second of a picture. Default: 2000000; `4k` 20000000
    #[arg(long, value_name = "BPS", value_parser = clap::value_parser!(u64).range(100_000..=50_000_000))]
    bitrate: Option<u64>,
    /// Measure another server with the same load in the same run
    #[arg(long, value_name = "SERVER", value_enum)]
    compare: Option<Compare>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What Portico is compared with.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    /// Debian's package `janus`
    Janus,
}

/// Who sends what to whom.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// One picture for all viewers
    Viewers,
    /// As many pictures as members, and as many viewers of each
    Room,
    /// Sound alone: all members hear those who speak, at most 5
    Audio,
    /// As `viewers`, at ten times the rate
    #[value(name = "4k")]
    Uhd,
}

impl Scene {
    fn default_viewers(self) -> Vec<usize> {
        match self {
            Self::Viewers => vec![1, 10, 50, 100],
            Self::Room | Self::Uhd => vec![10],
            Self::Audio => vec![50],
        }
    }

    /// For so many viewers or members.
    fn cast(self, number: usize, bitrate: Option<u64>) -> Cast {
        let streams = match self {
            Self::Viewers | Self::Uhd => 1,
            // more would be 200 times 200
            Self::Room => number.clamp(1, 15),
            Self::Audio => number.clamp(1, SPEAKERS),
        };
        let viewers = if self == Self::Room { number.min(15) } else { number };
        let feed = match self {
            Self::Audio => Feed::sound(),
            Self::Uhd => Feed::picture(bitrate.unwrap_or(20_000_000)),
            _ => Feed::picture(bitrate.unwrap_or(2_000_000)),
        };
        Cast { streams, viewers, feed }
    }

    fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What one row is of.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    pub(super) streams: usize,
    /// Of each stream.
    pub(super) viewers: usize,
    pub(super) feed: Feed,
}

pub(super) fn main(args: &Args) -> ExitCode {
    match with_runtime(run(args)) {
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

async fn run(args: &Args) -> Result<Report, BenchError> {
    let numbers = if args.viewers.is_empty() { args.scene.default_viewers() } else { args.viewers.clone() };
    let progress = ProgressBar::new(1 + 2 * numbers.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} [{elapsed_precise}] {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_secs(1));
    let machine = Machine::here();
    let length = Duration::from_secs(args.seconds);
    progress.set_message("idle");
    let idle = idle(length).await?;
    progress.inc(1);
    let mut rows = Vec::new();
    for number in &numbers {
        let cast = args.scene.cast(*number, args.bitrate);
        progress.set_message(format!("{number}: floor"));
        // a thread of its own, because it blocks; the runtime has nothing else to do meanwhile
        let floor = match cast.viewers {
            0 => Floor::default(),
            _ => tokio::task::spawn_blocking(move || floor(cast.streams, cast.viewers, cast.feed, length))
                .await
                .map_err(|_| BenchError::Nothing("the bare sender panicked"))??,
        };
        progress.inc(1);
        progress.set_message(format!("{number}: gateway"));
        let mut row = measure(cast, length, floor).await?;
        if args.compare == Some(Compare::Janus) && cast.viewers > 0 {
            progress.set_message(format!("{number}: janus"));
            let other = janus::measure(cast, length).await?;
            row.times_janus = row.cpu_us_per_packet.zip(other.cpu_us_per_packet).map(|(ours, theirs)| ours / theirs);
            row.janus = Some(other);
        }
        rows.push(row);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let feed = args.scene.cast(1, args.bitrate).feed;
    let (bitrate_bps, frame_rate) = (feed.bitrate, feed.frame_rate);
    Ok(Report { machine, scene: args.scene.name(), bitrate_bps, frame_rate, seconds: args.seconds, idle, rows })
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
pub(super) struct Spent {
    pub(super) seconds: f64,
    pub(super) cpu_percent: f64,
    pub(super) busy_us: f64,
    media_us: f64,
    wakeups_per_second: f64,
}

impl Spent {
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
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

async fn measure(cast: Cast, length: Duration, mut floor: Floor) -> Result<Row, BenchError> {
    let gateway = Gateway::start()?;
    let mut stage = Stage::new(&gateway.base, cast.feed, 0.0)?;
    let mut numbers = 0u64..;
    let mut number = || numbers.next().unwrap_or(u64::MAX);
    for stream in 0..cast.streams {
        stage.publish(number(), stream).await?;
    }
    for stream in 0..cast.streams {
        for _ in 0..cast.viewers {
            stage.join(number(), stream).await?;
        }
    }
    tokio::time::sleep(SETTLE).await;

    let before = gateway.sample()?;
    stage.rig.begin();
    tokio::time::sleep(length).await;
    let mut seen: Interval = stage.rig.take().await;
    let after = gateway.sample()?;

    let mut joins = Vec::new();
    for _ in 0..JOINS {
        let number = number();
        joins.push(stage.join(number, 0).await?);
        stage.rig.remove(number, Parting::Goodbye);
    }
    let sorted = |times: &mut dyn Iterator<Item = Duration>| {
        let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let connected = sorted(&mut joins.iter().map(|joined| joined.connected));
    let first_frame = sorted(&mut joins.iter().map(|joined| joined.first_frame));

    let spent = Spent::between(&before, &after);
    let per = |time: f64, number: f64| (number > 0.0).then(|| time / number);
    let cpu_us_per_packet = per(spent.busy_us, seen.packets as f64);
    let floor_us_per_packet = per(floor.busy.as_secs_f64() * 1e6, floor.sent as f64);
    Ok(Row {
        streams: cast.streams,
        viewers: cast.streams * cast.viewers,
        packets: seen.packets,
        packets_per_second: seen.packets as f64 / spent.seconds,
        lost: seen.missing,
        lost_percent: per(100.0 * seen.missing as f64, (seen.packets + seen.missing) as f64).unwrap_or(0.0),
        cpu_percent: spent.cpu_percent,
        cpu_us_per_packet,
        media_us_per_packet: per(spent.media_us, seen.packets as f64),
        floor_us_per_packet,
        times_floor: cpu_us_per_packet.zip(floor_us_per_packet).map(|(ours, floor)| ours / floor),
        cpu_us_per_mbit: per(spent.busy_us, seen.bytes as f64 * 8.0 / 1e6),
        wakeups_per_second: spent.wakeups_per_second,
        latency_ms: times(&mut seen.delta),
        floor_latency_ms: times(&mut floor.delta),
        key_latency_ms: times(&mut seen.key),
        floor_key_latency_ms: times(&mut floor.key),
        connected_ms: connected.get(joins.len() / 2).copied(),
        connected_worst_ms: connected.last().copied(),
        first_frame_ms: first_frame.get(joins.len() / 2).copied(),
        first_frame_worst_ms: first_frame.last().copied(),
        joins: joins.len(),
        rss_mb: megabytes(after.rss),
        anonymous_mb: megabytes(after.anonymous),
        janus: None,
        times_janus: None,
    })
}

pub(super) fn times(latencies: &mut Latencies) -> Option<Times> {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| latencies.quantile_ms(part));
    Some(Times { p50: p50?, p99: p99?, max: max? })
}

pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
