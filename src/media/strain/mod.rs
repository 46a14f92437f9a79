//! PURE. When a source does with less, because the board is hot or its encoder is too slow, and when with all again.
//!
//! ```text
//! thermal zones, throttle flags ─► heat ──┐
//! frames in, frames out, delay ──► pace ──┴─► Pressure ─► Ladder ─► Degree ─► the source's encoders; who may join
//! ```
//!
//! Time is an argument. Must not know sysfs, encoders or viewers. See `docs/design/strain.md`.

pub mod heat;
mod ladder;
pub mod pace;

pub use ladder::{Ladder, Step};

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much less a source does, least first. Each degree includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Degree {
    /// Nothing is left out.
    #[default]
    Full,
    /// One layer instead of several.
    OneLayer,
    /// Half the frame rate.
    HalfRate,
    /// Half the width and height.
    HalfSize,
    /// And nobody new may watch.
    NoNewViewers,
}

impl Degree {
    /// All, least first.
    pub const ALL: [Self; 5] = [Self::Full, Self::OneLayer, Self::HalfRate, Self::HalfSize, Self::NoNewViewers];

    /// The word for it in the API, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::OneLayer => "one-layer",
            Self::HalfRate => "half-rate",
            Self::HalfSize => "half-size",
            Self::NoNewViewers => "no-new-viewers",
        }
    }

    /// Most layers that an encoder of a source makes.
    pub fn most_layers(self) -> usize {
        if self >= Self::OneLayer { 1 } else { usize::MAX }
    }

    /// The frame rate is divided by this.
    pub fn rate_divisor(self) -> u32 {
        if self >= Self::HalfRate { 2 } else { 1 }
    }

    /// Width and height are divided by this.
    pub fn size_divisor(self) -> u32 {
        if self >= Self::HalfSize { 2 } else { 1 }
    }

    /// Whether somebody new may watch.
    pub fn takes_viewers(self) -> bool {
        self < Self::NoNewViewers
    }

    fn harder(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }

    fn easier(self) -> Option<Self> {
        (self as usize).checked_sub(1).and_then(|at| Self::ALL.get(at)).copied()
    }
}

impl std::fmt::Display for Degree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a look at one cause went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// It is too much, for this reason.
    Over(String),
    /// It is as much as can be.
    Steady,
    /// There is room.
    Relieved,
}

/// A degree and its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Strain {
    /// How much less is done.
    pub degree: Degree,
    /// Why; empty at [`Degree::Full`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Strain {
    /// The harder of two causes.
    pub fn worse<'a>(&'a self, other: &'a Self) -> &'a Self {
        if other.degree > self.degree { other } else { self }
    }
}

/// What is done when the board is hot or an encoder too slow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StrainConfig {
    /// Whether sources do with less then: one layer, half the frame rate, half the width and height, nobody new. Default true.
    pub enabled: bool,
    /// Where temperatures and throttle flags are read. Default `/sys`.
    pub sysfs: PathBuf,
    /// A thermal zone for which the kernel names no limit of its own is too hot from here on, degrees Celsius. 40 to 120, default
    /// 90.
    #[schemars(range(min = 40, max = 120))]
    pub hot: u32,
    /// From one step to the next: as long as a step takes to show. Default 5 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub settle: Duration,
    /// Quiet time before a step is taken back. Doubled, up to 16 times, where that proves too early. Default 20 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub relief: Duration,
}

impl Default for StrainConfig {
    fn default() -> Self {
        Self { enabled: true, sysfs: "/sys".into(), hot: 90, settle: Duration::from_secs(5), relief: Duration::from_secs(20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_degree_includes_those_before_it() {
        let does = |it: Degree| (it.most_layers() > 1, it.rate_divisor(), it.size_divisor(), it.takes_viewers());
        assert_eq!(
            Degree::ALL.map(does),
            [(true, 1, 1, true), (false, 1, 1, true), (false, 2, 1, true), (false, 2, 2, true), (false, 2, 2, false)]
        );
        for pair in Degree::ALL.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].harder() == Some(pair[1]) && pair[1].easier() == Some(pair[0]));
        }
        assert_eq!((Degree::Full.easier(), Degree::NoNewViewers.harder()), (None, None));
    }

    #[test]
    fn the_worse_of_two_causes_counts() {
        let strain = |degree, reason: &str| Strain { degree, reason: reason.into() };
        let (hot, slow) = (strain(Degree::HalfRate, "hot"), strain(Degree::OneLayer, "slow"));
        assert_eq!((hot.worse(&slow), slow.worse(&hot)), (&hot, &hot));
    }
}
