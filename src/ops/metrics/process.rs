//! What the kernel says of this process (proc(5)), read at each scrape.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Figures of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// CPU time of all threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}

impl ProcessFigures {
    /// Now; `None` where `/proc` cannot be read.
    pub fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // counting does include the descriptor that counts
        let open_fds = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64);
        let page = rustix::param::page_size() as u64;
        Some(Self { open_fds, ..Self::parse(&stat, page, rustix::param::clock_ticks_per_second())? })
    }

    /// Reads `/proc/PID/stat`: fields 14 and 15 are times in ticks, 20 threads, 24 resident pages. Field 2, the name in
    /// parentheses, may itself hold spaces and parentheses.
    fn parse(stat: &str, page_bytes: u64, ticks_per_second: u64) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            resident_bytes: field(24)?.saturating_mul(page_bytes),
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks_per_second.max(1) as f64,
            threads: field(20)?,
            open_fds: 0,
        })
    }
}

/// Puts [`ProcessFigures`] on the page of metrics, under the names every Prometheus client uses.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(figures) = ProcessFigures::now() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: u64| {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Resident memory.", figures.resident_bytes)?;
        gauge("process_threads", "Threads.", figures.threads)?;
        gauge("process_open_fds", "Open file descriptors.", figures.open_fds)?;
        let cpu = ConstCounter::new(figures.cpu_seconds);
        let help = "CPU time of all threads, user and system.";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_trap() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("1 (a) b) S {}", numbers.join(" "));
        let figures = ProcessFigures::parse(&stat, 4096, 100).unwrap();
        assert_eq!((figures.resident_bytes, figures.threads), (24 * 4096, 20));
        assert!((figures.cpu_seconds - 0.29).abs() < 1e-9);
        assert_eq!(ProcessFigures::parse("", 1, 1), None);
        assert_eq!(ProcessFigures::parse("1 (x) S 1", 1, 1), None);
    }

    #[test]
    fn this_process_has_figures() {
        let figures = ProcessFigures::now().unwrap();
        assert!(figures.resident_bytes > 1 << 20 && figures.threads >= 1 && figures.open_fds >= 3, "{figures:?}");
    }
}
