//! PURE. From what a driver enumerates to a list a person or a planner can use.

use super::PixelFormat;

/// Sizes offered where a driver takes any size in a range.
const COMMON_SIZES: [(u32, u32); 10] = [
    (320, 180),
    (320, 240),
    (640, 360),
    (640, 480),
    (800, 600),
    (1280, 720),
    (1280, 960),
    (1920, 1080),
    (2560, 1440),
    (3840, 2160),
];

/// Rates offered where a driver takes any interval in a range.
const COMMON_RATES: [u32; 10] = [5, 10, 15, 20, 24, 25, 30, 50, 60, 120];

/// A range of one dimension, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub min: u32,
    pub max: u32,
    /// 0 counts as 1 (drivers are not careful about it).
    pub step: u32,
}

impl Range {
    fn has(self, value: u32) -> bool {
        value >= self.min && value <= self.max && (value - self.min).is_multiple_of(self.step.max(1))
    }
}

/// The common sizes a range holds, and always its largest; smallest first.
pub(super) fn sizes(width: Range, height: Range) -> Vec<(u32, u32)> {
    let mut sizes: Vec<_> = COMMON_SIZES.into_iter().filter(|(w, h)| width.has(*w) && height.has(*h)).collect();
    let largest = (width.max, height.max);
    if !sizes.contains(&largest) {
        sizes.push(largest);
    }
    sizes
}

/// A frame interval in seconds as a fraction.
pub(super) type Interval = (u32, u32);

/// The rate of an interval, in lowest terms; `None` for an interval of nothing.
pub(super) fn rate((numerator, denominator): Interval) -> Option<(u32, u32)> {
    if numerator == 0 || denominator == 0 {
        return None;
    }
    let divisor = gcd(numerator, denominator);
    Some((denominator / divisor, numerator / divisor))
}

/// The common rates between the shortest and longest interval, and always the highest; highest first.
pub(super) fn rates(shortest: Interval, longest: Interval) -> Vec<(u32, u32)> {
    let (Some(highest), Some(lowest)) = (rate(shortest), rate(longest)) else { return Vec::new() };
    let common = COMMON_RATES.into_iter().map(|fps| (fps, 1));
    let inside = common.filter(|fps| !less(*fps, lowest) && !less(highest, *fps));
    sorted(inside.chain([highest]).collect())
}

/// Highest first, each once.
pub(super) fn sorted(mut rates: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    rates.sort_by_key(|(numerator, denominator)| {
        // Exact for any pair of 32-bit numbers to 2^-32 of a frame per second, and without floats.
        std::cmp::Reverse((u128::from(*numerator) << 32) / u128::from((*denominator).max(1)))
    });
    rates.dedup();
    rates
}

fn less(a: (u32, u32), b: (u32, u32)) -> bool {
    u64::from(a.0) * u64::from(b.1) < u64::from(b.0) * u64::from(a.1)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The format behind four characters. `compressed` is the driver's own flag. Bit 31 marks a big-endian variant
/// (`v4l2_fourcc_be`, videodev2.h), written as `Y16-BE`.
pub(super) fn pixel(fourcc: [u8; 4], compressed: bool) -> PixelFormat {
    let [first, second, third, fourth] = fourcc;
    let plain = String::from_utf8_lossy(&[first, second, third, fourth & 0x7f]).trim_end().to_owned();
    let text = if fourth & 0x80 == 0 { plain } else { format!("{plain}-BE") };
    match &fourcc {
        b"MJPG" | b"JPEG" => PixelFormat::Mjpeg,
        b"H264" => PixelFormat::H264,
        // Bayer patterns (`RGGB`, `BG10`, …) are raw too, but nothing here can make a picture of them without an ISP.
        _ if compressed || is_bayer(&fourcc) => PixelFormat::Other(text),
        _ => PixelFormat::Raw(text),
    }
}

/// Sensor patterns: `BA81`, `GBRG`, `GRBG`, `RGGB` and the deeper and packed ones (`BG10`, `pRAA`, …), videodev2.h.
fn is_bayer(fourcc: &[u8; 4]) -> bool {
    const EIGHT: [&[u8; 4]; 4] = [b"BA81", b"GBRG", b"GRBG", b"RGGB"];
    let [first, second, third, fourth] = fourcc;
    let deep = matches!((first, second), (b'B', b'G') | (b'G', b'B') | (b'B', b'A') | (b'R', b'G'))
        && matches!((third, fourth), (b'1', b'0' | b'2' | b'4' | b'6'))
        || fourcc == b"BYR2"
        || fourcc == b"GR16";
    let packed = *first == b'p' && matches!(second, b'B' | b'G' | b'g' | b'R') && matches!(third, b'A' | b'C' | b'E');
    EIGHT.contains(&fourcc) || deep || packed
}
