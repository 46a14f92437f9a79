//! What was measured, as a table and as JSON.

use serde::Serialize;

use crate::cli::print;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) scene: String,
    /// Of one stream.
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

/// Parts of many times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// The gateway with so many viewers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// That come in.
    pub(super) streams: usize,
    /// Of all streams together.
    pub(super) viewers: usize,
    /// Packets that reached viewers.
    pub(super) packets: u64,
    pub(super) packets_per_second: f64,
    /// Packets that never came.
    pub(super) lost: u64,
    pub(super) lost_percent: f64,
    pub(super) cpu_percent: f64,
    /// All of the gateway's time by packets that reached viewers; nothing without viewers.
    pub(super) cpu_us_per_packet: Option<f64>,
    /// The media thread's part of it.
    pub(super) media_us_per_packet: Option<f64>,
    /// The bare sender's.
    pub(super) floor_us_per_packet: Option<f64>,
    pub(super) times_floor: Option<f64>,
    /// By megabits of payload that reached viewers.
    pub(super) cpu_us_per_mbit: Option<f64>,
    pub(super) wakeups_per_second: f64,
    pub(super) latency_ms: Option<Times>,
    pub(super) floor_latency_ms: Option<Times>,
    pub(super) key_latency_ms: Option<Times>,
    pub(super) floor_key_latency_ms: Option<Times>,
    /// From the answer to the end of DTLS, median of the joins.
    pub(super) connected_ms: Option<f64>,
    pub(super) connected_worst_ms: Option<f64>,
    /// From the request to a complete key frame, median of the joins.
    pub(super) first_frame_ms: Option<f64>,
    pub(super) first_frame_worst_ms: Option<f64>,
    pub(super) joins: usize,
    pub(super) rss_mb: f64,
    pub(super) anonymous_mb: f64,
    /// Another server with the same load, where one was asked for.
    pub(super) janus: Option<Other>,
    /// Portico's time per packet by that of the other server.
    pub(super) times_janus: Option<f64>,
}

/// Another server under the same load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Other {
    pub(super) packets: u64,
    pub(super) packets_per_second: f64,
    pub(super) lost: u64,
    pub(super) cpu_percent: f64,
    pub(super) cpu_us_per_packet: Option<f64>,
    pub(super) latency_ms: Option<Times>,
    pub(super) key_latency_ms: Option<Times>,
    pub(super) rss_mb: f64,
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
            "{}: {:.3} Mbit/s at {} frames/s, {} s each",
            self.scene,
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
            "in",
            "out",
            "packets/s",
            "lost",
            "CPU",
            "µs/packet",
            "floor",
            "ratio",
            "µs/Mbit",
            "wake-ups/s",
            "added ms",
            "floor ms",
            "key ms",
            "floor key",
            "connected",
            "first frame",
            "RSS",
        ]);
        for row in &self.rows {
            table.add_row([
                row.streams.to_string(),
                row.viewers.to_string(),
                format!("{:.0}", row.packets_per_second),
                row.lost.to_string(),
                format!("{:.1} %", row.cpu_percent),
                figure(row.cpu_us_per_packet, 2),
                figure(row.floor_us_per_packet, 2),
                figure(row.times_floor, 2),
                figure(row.cpu_us_per_mbit, 0),
                format!("{:.0}", row.wakeups_per_second),
                times(row.latency_ms),
                times(row.floor_latency_ms),
                times(row.key_latency_ms),
                times(row.floor_key_latency_ms),
                figure(row.connected_ms, 1),
                figure(row.first_frame_ms, 0),
                format!("{:.1}", row.rss_mb),
            ]);
        }
        print::text(&table.to_string());
        self.compared();
    }

    fn compared(&self) {
        if self.rows.iter().all(|row| row.janus.is_none()) {
            return;
        }
        print::text("\njanus, streaming plugin, event_loops = 1, with the same streams and viewers");
        let heading = ["in", "out", "packets/s", "lost", "CPU", "µs/packet", "portico by janus", "added ms", "key ms", "RSS"];
        let mut table = print::table(&heading);
        for row in &self.rows {
            let Some(janus) = &row.janus else { continue };
            table.add_row([
                row.streams.to_string(),
                row.viewers.to_string(),
                format!("{:.0}", janus.packets_per_second),
                janus.lost.to_string(),
                format!("{:.1} %", janus.cpu_percent),
                figure(janus.cpu_us_per_packet, 2),
                figure(row.times_janus, 2),
                times(janus.latency_ms),
                times(janus.key_latency_ms),
                format!("{:.1}", janus.rss_mb),
            ]);
        }
        print::text(&table.to_string());
    }
}

/// Three numbers below each other: a row with all of them side by side is wider than most screens.
fn times(times: Option<Times>) -> String {
    times.map_or_else(|| "-".to_owned(), |Times { p50, p99, max }| format!("{p50:.2}\n{p99:.2}\n{max:.2}"))
}

/// A number, or a dash where there is none.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
