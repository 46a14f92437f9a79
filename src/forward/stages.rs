//! How long a picture takes through the gateway, stage by stage: histograms that any thread counts into without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds. A frame at 30/s has 33 ms.
const BOUNDS: [u64; 13] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// The stages of a frame of video.
#[derive(Debug, Default)]
pub struct Stages {
    /// From the moment it was taken, as its source says, to the branch that passes it on or encodes it.
    pub capture: Durations,
    /// From the encoder's entry to its exit; nothing where frames are passed on.
    pub encode: Durations,
    /// Cutting it into packets, and writing them to its layer.
    pub packetise: Durations,
    /// From its layer, or from the publisher's datagram, to the kernel, for all its viewers.
    pub send: Durations,
}

impl Stages {
    /// All, by name.
    pub fn all(&self) -> [(&'static str, &Durations); 4] {
        [("capture", &self.capture), ("encode", &self.encode), ("packetise", &self.packetise), ("send", &self.send)]
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Durations {
    /// Not cumulative; the last is for what is longer than every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationsView {
    /// Sum in seconds.
    pub sum: f64,
    /// Upper bound in seconds, and how many there are within it and not within the one before. The last bound is the largest number
    /// there is, for what is longer.
    pub buckets: Vec<(f64, u64)>,
}

impl DurationsView {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

impl Durations {
    /// Counts one.
    pub fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn view(&self) -> DurationsView {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        DurationsView { sum: self.microseconds.load(Ordering::Relaxed) as f64 / 1e6, buckets: bounds.zip(counts).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_falls_into_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for micros in [0, 50, 51, 33_000, 2_000_000] {
            durations.note(Duration::from_micros(micros));
        }
        durations.note(Duration::from_millis(50));
        let view = durations.view();
        let filled: Vec<(f64, u64)> = view.buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.00005, 2), (0.0001, 1), (0.05, 2), (f64::MAX, 1)]);
        assert_eq!(view.count(), 6);
        assert!((view.sum - 2.083101).abs() < 1e-9, "{}", view.sum);
    }
}
