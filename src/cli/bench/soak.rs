//! `portico bench soak`: viewers come and go over a bad line, and nothing may grow.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::gateway::{Gateway, Sample};
use super::stage::Stage;
use super::{BenchError, exit, failed, with_runtime};
use crate::cli::print;
use crate::peer::load::{Feed, Parting, Sight};

/// The publisher's number in the rig.
const PUBLISHER: u64 = 0;
/// Viewers that stay from the beginning to the end.
const STAYERS: usize = 3;
/// A connection or a first picture that takes longer will not come: a lost datagram of DTLS is sent again after 1, 2, 4 s.
const DARK: Duration = Duration::from_secs(20);
/// After everybody left, until the gateway has noticed: those who said nothing are missed after 10 s.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Samples of a moment are compared with those of another: what is between is held by the allocator or by who just came.
const SAMPLE_SPACING: Duration = Duration::from_millis(500);

/// How long, and with whom.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "soak")]
#[command(after_help = "Examples:
  portico bench soak                             half an hour
  portico bench soak --seconds 60 --json

How: a gateway of its own gets a picture by WHIP. Viewers come by WHEP, as many a second as `--rate`
says, and the oldest leave: by turns with a goodbye, by DELETE, and without a word. Three stay. All
far ends lose some datagrams in both directions.

It fails when a viewer gets no picture within 20 s, when a picture stands still for too long, when
the gateway has more memory, descriptors or threads in the last quarter than in the second, or when
it has not forgotten everybody half a minute after all have left.

Exit status: 0 when all is well, 1 when something is not, 69 when the gateway cannot be started.")]
pub(super) struct Args {
    /// Seconds of coming and going
    #[arg(long, value_name = "S", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(8..=604_800))]
    seconds: u64,
    /// Viewers that come each second
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rate: u64,
    /// Viewers at a time, about; those who left without a word not counted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(4..=100))]
    viewers: u64,
    /// Datagrams lost at each far end, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=20))]
    loss: u64,
    /// Longest time a picture may stand still, in seconds
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    still: u64,
    /// Bits per second of the picture
    #[arg(long, value_name = "BPS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100_000..=50_000_000))]
    bitrate: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    seconds: u64,
    joined: u64,
    left: u64,
    /// Longest time any picture stood still.
    still_ms: f64,
    /// Packets that viewers got, and that they never got.
    packets: u64,
    lost: u64,
    /// Resident, in megabytes.
    rss_mb: Growth<f64>,
    descriptors: Growth<u64>,
    threads: Growth<u64>,
    /// What the gateway counts when all have left, and has forgotten.
    peers_at_end: u64,
    /// What is not as it should be; empty when all is well.
    wrong: Vec<String>,
}

/// The second quarter of the time, the last, and when all have left.
#[derive(Clone, Copy, Debug, Serialize)]
struct Growth<T> {
    early: T,
    late: T,
    end: T,
}

pub(super) fn main(args: &Args) -> ExitCode {
    match with_runtime(run(args)) {
        Ok(outcome) => {
            if args.json {
                print::json(&outcome);
            } else {
                outcome.text();
            }
            if outcome.wrong.is_empty() { exit::OK } else { ExitCode::FAILURE }
        }
        Err(error) => failed(&error),
    }
}

/// A viewer that will leave.
struct Visitor {
    number: u64,
    came: Instant,
    session: String,
}

async fn run(args: &Args) -> Result<Outcome, BenchError> {
    let progress = ProgressBar::new(args.seconds);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} of {len} s: {msg}") {
        progress.set_style(style);
    }
    let gateway = Gateway::start()?;
    let mut stage = Stage::new(&gateway.base, Feed::picture(args.bitrate), args.loss as f64 / 100.0)?;
    stage.publish(PUBLISHER, 0).await?;
    let mut soak = Soak::new(args);
    let began = Instant::now();
    let length = Duration::from_secs(args.seconds);
    for _ in 0..STAYERS {
        soak.come(&mut stage, began).await?;
    }
    soak.stayers = soak.visitors.drain(..).collect();
    stage.rig.begin();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / args.rate as u32);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut samples: Vec<(Duration, Sample)> = Vec::new();
    while began.elapsed() < length {
        tick.tick().await;
        let now = Instant::now();
        soak.come(&mut stage, now).await?;
        soak.look(&stage.rig.look().await, now);
        soak.go(&stage).await?;
        stage.forget_news();
        let elapsed = began.elapsed();
        if samples.last().is_none_or(|(at, _)| *at + SAMPLE_SPACING <= elapsed) {
            samples.push((elapsed, gateway.sample()?));
            progress.set_position(elapsed.as_secs());
            progress.set_message(format!("{} came, {} left", soak.joined, soak.left));
        }
    }
    soak.look(&stage.rig.look().await, Instant::now());
    let seen = stage.rig.take().await;
    progress.set_message("all leave");
    for visitor in soak.stayers.iter().chain(&soak.visitors) {
        stage.rig.remove(visitor.number, Parting::Goodbye);
    }
    // the publisher stays until the gateway has missed those who left without a word: with it all of its viewers go
    let mut peers_at_end = forgotten(&stage, 1).await?;
    if peers_at_end <= 1 {
        stage.rig.remove(PUBLISHER, Parting::Goodbye);
        peers_at_end = forgotten(&stage, 0).await?;
    }
    let end = gateway.sample()?;
    progress.finish_and_clear();
    let mut outcome = Outcome {
        seconds: args.seconds,
        joined: soak.joined,
        left: soak.left,
        still_ms: soak.still.as_secs_f64() * 1e3,
        packets: seen.packets,
        lost: seen.missing,
        rss_mb: growth(length, &samples, &end, |sample| sample.rss as f64 / 1e6),
        descriptors: growth(length, &samples, &end, |sample| sample.descriptors),
        threads: growth(length, &samples, &end, |sample| sample.threads),
        peers_at_end,
        wrong: soak.wrong,
    };
    outcome.judge(Duration::from_secs(args.still));
    Ok(outcome)
}

/// Waits until the gateway has no more connections than these. Returns how many it has.
async fn forgotten(stage: &Stage, remaining: u64) -> Result<u64, BenchError> {
    let began = Instant::now();
    loop {
        let peers = stage.count("portico_peers").await?;
        if peers <= remaining || began.elapsed() >= FORGOTTEN {
            return Ok(peers);
        }
        tokio::time::sleep(SAMPLE_SPACING).await;
    }
}

/// Who is there, and what was seen of them.
struct Soak {
    lifetime: Duration,
    visitors: VecDeque<Visitor>,
    stayers: Vec<Visitor>,
    joined: u64,
    left: u64,
    still: Duration,
    wrong: Vec<String>,
    /// Who has a picture at the last look.
    seeing: Vec<u64>,
    next: u64,
}

impl Soak {
    fn new(args: &Args) -> Self {
        Self {
            lifetime: Duration::from_secs(args.viewers) / args.rate as u32,
            visitors: VecDeque::new(),
            stayers: Vec::new(),
            joined: 0,
            left: 0,
            still: Duration::ZERO,
            wrong: Vec::new(),
            seeing: Vec::new(),
            next: PUBLISHER + 1,
        }
    }

    async fn come(&mut self, stage: &mut Stage, now: Instant) -> Result<(), BenchError> {
        let number = self.next;
        self.next += 1;
        let (session, _) = stage.enter(number, 0).await?;
        self.visitors.push_back(Visitor { number, came: now, session });
        self.joined += 1;
        Ok(())
    }

    fn look(&mut self, sights: &[(u64, Sight)], now: Instant) {
        self.seeing.clear();
        for (number, sight) in sights {
            self.still = self.still.max(sight.still);
            if sight.picture {
                self.seeing.push(*number);
            }
        }
        for visitor in self.stayers.iter_mut().chain(&mut self.visitors) {
            if now.saturating_duration_since(visitor.came) > DARK && !self.seeing.contains(&visitor.number) {
                let connected = sights.iter().any(|(number, sight)| *number == visitor.number && sight.connected);
                let what = if connected { "connected and without a picture" } else { "not connected" };
                self.wrong.push(format!("viewer {} was {what} after {} s", visitor.number, DARK.as_secs()));
                // said once
                visitor.came = now;
            }
        }
    }

    /// The oldest who have seen something leave when their time is over.
    async fn go(&mut self, stage: &Stage) -> Result<(), BenchError> {
        let over = |visitor: &Visitor| visitor.came.elapsed() >= self.lifetime && self.seeing.contains(&visitor.number);
        while let Some(at) = self.visitors.iter().position(over) {
            let Some(visitor) = self.visitors.remove(at) else { break };
            match visitor.number % 3 {
                0 => stage.rig.remove(visitor.number, Parting::Goodbye),
                1 => {
                    stage.delete(&visitor.session).await?;
                    stage.rig.remove(visitor.number, Parting::Silence);
                }
                _ => stage.rig.remove(visitor.number, Parting::Silence),
            }
            self.left += 1;
        }
        Ok(())
    }
}

/// Medians of the second and the last quarter: in the first those who leave without a word are still getting more.
fn growth<T: PartialOrd + Copy>(
    length: Duration,
    samples: &[(Duration, Sample)],
    end: &Sample,
    figure: impl Fn(&Sample) -> T,
) -> Growth<T> {
    let median = |from: Duration, to: Duration| {
        let within = samples.iter().filter(|(at, _)| (from..to).contains(at));
        let mut figures: Vec<T> = within.map(|(_, sample)| figure(sample)).collect();
        figures.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        figures.get(figures.len() / 2).copied().unwrap_or_else(|| figure(end))
    };
    Growth { early: median(length / 4, length / 2), late: median(length * 3 / 4, length * 2), end: figure(end) }
}

/// Memory may differ by a tenth and so many megabytes: what 5 joins a second leave behind in the quarters between is much more if each
/// leaves anything, and the allocator does not give back every page.
const RSS_MARGIN: (f64, f64) = (1.1, 8.0);
/// Descriptors and threads may differ by so many: connections of HTTP and threads for files that come and go.
const COUNT_MARGIN: u64 = 8;

impl Outcome {
    fn judge(&mut self, still: Duration) {
        if self.still_ms > still.as_secs_f64() * 1e3 {
            self.wrong.push(format!("a picture stood still for {:.1} s", self.still_ms / 1e3));
        }
        let Growth { early, late, end } = self.rss_mb;
        if late.max(end) > early * RSS_MARGIN.0 + RSS_MARGIN.1 {
            self.wrong.push(format!("memory grew from {early:.1} MB to {late:.1} MB, and was {end:.1} MB in the end"));
        }
        for (what, Growth { early, late, end }) in [("descriptors", self.descriptors), ("threads", self.threads)] {
            if late.max(end) > early + COUNT_MARGIN {
                self.wrong.push(format!("there were {early} {what}, then {late}, and {end} in the end"));
            }
        }
        if self.peers_at_end > 0 {
            let seconds = FORGOTTEN.as_secs();
            self.wrong.push(format!("{} connections were left {seconds} s after everybody", self.peers_at_end));
        }
    }

    fn text(&self) {
        print::text(&format!(
            "{} s: {} viewers came, {} left; {} packets, {} lost for good; the longest a picture stood still: {:.0} ms",
            self.seconds, self.joined, self.left, self.packets, self.lost, self.still_ms
        ));
        let mut table = print::table(&["", "second quarter", "last quarter", "all have left"]);
        let megabytes = |value: f64| format!("{value:.1}");
        let Growth { early, late, end } = self.rss_mb;
        table.add_row(["RSS, MB".to_owned(), megabytes(early), megabytes(late), megabytes(end)]);
        for (what, Growth { early, late, end }) in [("descriptors", self.descriptors), ("threads", self.threads)] {
            table.add_row([what.to_owned(), early.to_string(), late.to_string(), end.to_string()]);
        }
        print::text(&table.to_string());
        self.wrong.iter().for_each(|wrong| print::text(&format!("wrong: {wrong}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            seconds: 60,
            joined: 300,
            left: 290,
            still_ms: 400.0,
            packets: 1,
            lost: 0,
            rss_mb: Growth { early: 40.0, late: 45.0, end: 44.0 },
            descriptors: Growth { early: 20, late: 24, end: 19 },
            threads: Growth { early: 5, late: 5, end: 5 },
            peers_at_end: 0,
            wrong: Vec::new(),
        }
    }

    fn judged(change: impl FnOnce(&mut Outcome)) -> Vec<String> {
        let mut outcome = outcome();
        change(&mut outcome);
        outcome.judge(Duration::from_secs(5));
        outcome.wrong
    }

    #[test]
    fn what_grows_or_stands_still_is_told() {
        assert_eq!(judged(|_| ()), [""; 0]);
        type Spoil = fn(&mut Outcome);
        let cases: [(Spoil, &str); 5] = [
            (|outcome| outcome.rss_mb.late = 53.0, "memory grew"),
            (|outcome| outcome.descriptors.end = 40, "40 in the end"),
            (|outcome| outcome.threads.late = 14, "5 threads, then 14"),
            (|outcome| outcome.still_ms = 5100.0, "stood still for 5.1 s"),
            (|outcome| outcome.peers_at_end = 1, "1 connections were left"),
        ];
        for (change, said) in cases {
            let wrong = judged(change);
            assert!(wrong.len() == 1 && wrong[0].contains(said), "{wrong:?}");
        }
    }
}
