//! `portico bench crypto`: what SRTP costs on this board, profile by profile.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::report::Machine;
use crate::cli::{exit, print, tell};
use crate::peer::load::{SrtpCost, srtp_costs};
use crate::peer::{Processor, Suite};

/// A viewer's video, for the column of viewers.
const VIEWER_BPS: f64 = 2e6;

/// Measures what SRTP costs on this board with each profile.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "Examples:
  portico bench crypto
  portico bench crypto --json | jq '.preferred, .rows[]'

How: packets are protected by the code that forwards them, and checked and decrypted by the
engine, on one core, both profiles and sizes in turn. The median counts.

Columns:
  bytes         of payload: sound, and video as it is cut
  protect ns    a packet on its way to a viewer
  unprotect ns  a packet that came from a publisher
  MB/s          of payload
  viewers       viewers of 2 Mbit/s that a core could protect for if it did nothing else;
                sending costs several times as much, and `portico bench` measures all of it

Preferred is what `media.srtp = \"auto\"` takes where a client knows both profiles. It is decided
by the processor's instructions; where this run says otherwise, the key can say so.

Exit status: 0, or 69 when a cipher is missing.")]
pub struct Args {
    /// Seconds to measure.
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Everything.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    processor: Processor,
    preferred: Suite,
    why: &'static str,
    /// What protecting large packets cost less with in this run.
    cheaper: Suite,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    cost: SrtpCost,
    protect_mb_per_second: f64,
    unprotect_mb_per_second: f64,
    /// Of 2 Mbit/s, by a core that only protects.
    viewers: u64,
}

impl Row {
    fn of(cost: SrtpCost) -> Self {
        let bytes = cost.payload_bytes as f64;
        let packets_per_second = VIEWER_BPS / 8.0 / bytes;
        Self {
            protect_mb_per_second: bytes * 1e3 / cost.protect_ns,
            unprotect_mb_per_second: bytes * 1e3 / cost.unprotect_ns,
            viewers: (1e9 / cost.protect_ns / packets_per_second) as u64,
            cost,
        }
    }
}

impl Report {
    fn new(machine: Machine, processor: Processor, costs: Vec<SrtpCost>) -> Self {
        let preference = processor.preference();
        let large = costs.iter().map(|cost| cost.payload_bytes).max();
        let video = costs.iter().filter(|cost| Some(cost.payload_bytes) == large);
        let cheaper = video.min_by(|a, b| a.protect_ns.total_cmp(&b.protect_ns)).map_or(preference.suite, |cost| cost.profile);
        let rows = costs.into_iter().map(Row::of).collect();
        Self { machine, processor, preferred: preference.suite, why: preference.why, cheaper, rows }
    }

    fn text(&self) -> String {
        let instructions = match &self.processor.instructions[..] {
            [] => "none that ciphers use".to_owned(),
            some => some.join(", "),
        };
        let mut text = format!("Processor  {}, {} cores; {instructions}\n", self.machine.cpu, self.machine.cores);
        text.push_str(&format!("Preferred  {}: {}\n", self.preferred.name(), self.why));
        if self.cheaper != self.preferred {
            text.push_str(&format!("           but {} cost less in this run (media.srtp chooses)\n", self.cheaper.name()));
        }
        if self.machine.debug_build {
            text.push_str("           This is a build without optimisation: its figures say little.\n");
        }
        let mut table = print::table(&["profile", "bytes", "protect ns", "MB/s", "unprotect ns", "MB/s", "viewers"]);
        for row in &self.rows {
            table.add_row(vec![
                row.cost.profile.name().to_owned(),
                row.cost.payload_bytes.to_string(),
                format!("{:.0}", row.cost.protect_ns),
                format!("{:.0}", row.protect_mb_per_second),
                format!("{:.0}", row.cost.unprotect_ns),
                format!("{:.0}", row.unprotect_mb_per_second),
                row.viewers.to_string(),
            ]);
        }
        format!("{text}\n{table}")
    }
}

pub(super) fn main(args: &Args) -> ExitCode {
    let machine = Machine::here();
    match srtp_costs(Duration::from_secs(args.seconds)) {
        Ok(costs) => {
            let report = Report::new(machine, Processor::here(), costs);
            if args.json {
                print::json(&report)
            } else {
                print::text(&report.text())
            }
            exit::OK
        }
        Err(error) => {
            tell(&format!("portico bench crypto: {error}\n"));
            ExitCode::from(exit::UNAVAILABLE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(profile: Suite, payload_bytes: usize, protect_ns: f64) -> SrtpCost {
        SrtpCost { profile, payload_bytes, protect_ns, unprotect_ns: 2.0 * protect_ns }
    }

    #[test]
    fn figures_follow_from_the_time_of_a_packet() {
        let row = Row::of(cost(Suite::Gcm, 1000, 500.0));
        assert_eq!((row.protect_mb_per_second, row.unprotect_mb_per_second), (2000.0, 1000.0));
        // 250 packets/s each, 2 million packets/s in all
        assert_eq!(row.viewers, 8000);
    }

    #[test]
    fn a_board_that_measures_otherwise_is_told_of_the_key() {
        let pi4 = || Processor::read("aarch64", "Features\t: fp asimd evtstrm crc32 cpuid");
        let rows = |gcm, cm| vec![cost(Suite::Gcm, 100, 9.0), cost(Suite::Gcm, 1200, gcm), cost(Suite::Cm, 1200, cm)];
        let agrees = Report::new(Machine::here(), pi4(), rows(10.0, 20.0)).text();
        assert!(
            agrees.contains("asimd\n") && agrees.contains("Preferred  AEAD_AES_128_GCM: without AES instructions"),
            "{agrees}"
        );
        assert!(!agrees.contains("media.srtp"), "{agrees}");
        let differs = Report::new(Machine::here(), pi4(), rows(20.0, 10.0)).text();
        assert!(differs.contains("but AES_CM_128_HMAC_SHA1_80 cost less"), "{differs}");
    }
}
