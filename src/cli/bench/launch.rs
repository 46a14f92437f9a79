//! `gst-launch-1.0` as what Portico is compared with.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use serde::Serialize;

use super::gateway::Sample;
use super::{BenchError, failed};
use crate::cli::{exit, print};

/// Before it is measured: files are read, buffers are filled.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// A running `gst-launch-1.0`; ended when dropped.
pub(super) struct Launch(Child);

impl Launch {
    /// Starts it with these arguments.
    pub(super) fn start(arguments: &[String]) -> Result<Self, BenchError> {
        let mut command = Command::new("gst-launch-1.0");
        command.arg("-q").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let missing = BenchError::Nothing("gst-launch-1.0 does not start: install Debian package gstreamer1.0-tools");
        command.spawn().map(Self).map_err(|_| missing)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Time on a processor in per cent of one core.
pub(super) fn busy(pid: u32, window: Duration) -> Result<f64, BenchError> {
    let before = Sample::of(pid)?;
    std::thread::sleep(window);
    let after = Sample::of(pid)?;
    Ok(100.0 * after.busy.saturating_sub(before.busy).as_secs_f64() / (after.at - before.at).as_secs_f64())
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Does something that needs a folder for files, which is gone afterwards.
pub(super) fn in_folder<T>(work: impl FnOnce(&Path) -> Result<T, BenchError>) -> Result<T, BenchError> {
    let folder = std::env::temp_dir().join(format!("portico-bench-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder)?;
    let done = work(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    done
}

/// Prints what was measured, as JSON or as `text` has it.
pub(super) fn show<T: Serialize>(report: Result<T, BenchError>, json: bool, text: impl FnOnce(&T) -> String) -> ExitCode {
    match report {
        Ok(report) => {
            match json {
                true => print(&(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n")),
                false => print(&text(&report)),
            }
            exit::OK
        }
        Err(error) => failed(&error),
    }
}
