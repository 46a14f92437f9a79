//! What was measured, as a table and as JSON.

use serde::Serialize;

use crate::cli::print;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) bitrate_bps: u64,
    pub(super) frame_rate: u32,
    pub(super) seconds: u64,
    pub(super) idle: Idle,
    pub(super) rows: Vec<Row>,
}

/// Where it ran.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) version: &'static str,
    /// Without optimisation the figures mean little.
    pub(super) debug_build: bool,
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    /// Load average over a minute when it began: above a tenth of the cores something else was running.
    pub(super) load_before: f64,
}

impl Machine {
    pub(super) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
        let board = read("/proc/device-tree/model");
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            debug_build: cfg!(debug_assertions),
            cpu: model.unwrap_or(if board.is_empty() { "unknown" } else { board.trim_end_matches('\0') }).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load.unwrap_or(0.0),
        }
    }
}

/// The gateway with a source and no viewer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    /// From exec to the printed address.
    pub(super) start_ms: f64,
    /// Of one core.
    pub(super) cpu_percent: f64,
    pub(super) wakeups_per_second: f64,
    pub(super) rss_mb: f64,
    pub(super) anonymous_mb: f64,
}

/// The gateway with so many viewers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) viewers: usize,
    /// Packets that reached viewers.
    pub(super) packets: u64,
    pub(super) packets_per_second: f64,
    pub(super) lost_percent: f64,
    pub(super) cpu_percent: f64,
    /// All of the gateway's time by packets that reached viewers; nothing without viewers.
    pub(super) cpu_us_per_packet: Option<f64>,
    /// The media thread's part of it.
    pub(super) media_us_per_packet: Option<f64>,
    /// The bare sender's.
    pub(super) floor_us_per_packet: Option<f64>,
    pub(super) times_floor: Option<f64>,
    pub(super) wakeups_per_second: f64,
    pub(super) latency_p50_ms: Option<f64>,
    pub(super) latency_p99_ms: Option<f64>,
    pub(super) key_latency_p99_ms: Option<f64>,
    pub(super) floor_latency_p99_ms: Option<f64>,
    pub(super) floor_key_latency_p99_ms: Option<f64>,
    /// Median of the joins.
    pub(super) first_frame_ms: Option<f64>,
    pub(super) first_frame_worst_ms: Option<f64>,
    pub(super) joins: usize,
    pub(super) rss_mb: f64,
    pub(super) anonymous_mb: f64,
}

impl Report {
    pub(super) fn json(&self) {
        print::json(self);
    }

    pub(super) fn text(&self) {
        let Machine { version, debug_build, cpu, cores, kernel, load_before } = &self.machine;
        let build = if *debug_build { ", DEBUG BUILD: the figures mean little" } else { "" };
        print::text(&format!(
            "portico {version}{build}; {cpu}, {cores} cores, Linux {kernel}, load {load_before:.1} at the start"
        ));
        print::text(&format!(
            "{:.1} Mbit/s at {} frames/s, {} s each",
            self.bitrate_bps as f64 / 1e6,
            self.frame_rate,
            self.seconds
        ));
        let idle = &self.idle;
        print::text(&format!(
            "idle, with a source and no viewer: started in {:.0} ms, CPU {:.2} %, {:.0} wake-ups/s, RSS {:.1} MB ({:.1} MB anonymous)\n",
            idle.start_ms, idle.cpu_percent, idle.wakeups_per_second, idle.rss_mb, idle.anonymous_mb
        ));
        let mut table = print::table(&[
            "viewers",
            "packets/s",
            "lost",
            "CPU",
            "µs/packet",
            "floor",
            "ratio",
            "wake-ups/s",
            "p50 ms",
            "p99 ms",
            "floor p99",
            "key p99",
            "floor key",
            "first frame ms",
            "RSS MB",
        ]);
        for row in &self.rows {
            table.add_row([
                row.viewers.to_string(),
                format!("{:.0}", row.packets_per_second),
                format!("{:.2} %", row.lost_percent),
                format!("{:.1} %", row.cpu_percent),
                figure(row.cpu_us_per_packet, 2),
                figure(row.floor_us_per_packet, 2),
                figure(row.times_floor, 2),
                format!("{:.0}", row.wakeups_per_second),
                figure(row.latency_p50_ms, 2),
                figure(row.latency_p99_ms, 2),
                figure(row.floor_latency_p99_ms, 2),
                figure(row.key_latency_p99_ms, 2),
                figure(row.floor_key_latency_p99_ms, 2),
                figure(row.first_frame_ms, 0),
                format!("{:.1}", row.rss_mb),
            ]);
        }
        print::text(&table.to_string());
    }
}

/// A number, or a dash where there is none.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
