//! PURE. Which of a camera's modes to use.

use super::super::config::{CameraFormat, PictureConfig};
use super::super::device::{CameraMode, PixelFormat};

/// A mode as it goes into caps.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChosenMode {
    /// The pixel format.
    pub pixel: PixelFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second as a fraction.
    pub framerate: (u32, u32),
}

impl ChosenMode {
    /// Frames per second, rounded up.
    pub fn frames_per_second(&self) -> u32 {
        self.framerate.0.div_ceil(self.framerate.1.max(1))
    }
}

/// The camera has no mode of the wanted format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the camera gives no {wanted} pictures, it gives {have}")]
pub struct NoMode {
    /// What was wanted.
    pub wanted: &'static str,
    /// The formats it has.
    pub have: String,
}

/// The nearest mode: nearest in size, then nearest in rate, then the cheapest format (H.264 made in the camera, raw, JPEG).
///
/// A format is never preferred at the price of a worse picture. A camera that lists no modes is asked for what is wanted.
pub fn choose(modes: &[CameraMode], picture: &PictureConfig, format: CameraFormat) -> Result<ChosenMode, NoMode> {
    if modes.is_empty() {
        let pixel = match format {
            CameraFormat::Auto | CameraFormat::Raw => PixelFormat::Raw(String::new()),
            CameraFormat::Mjpeg => PixelFormat::Mjpeg,
            CameraFormat::H264 => PixelFormat::H264,
        };
        return Ok(ChosenMode { pixel, width: picture.width, height: picture.height, framerate: (picture.framerate, 1) });
    }
    let fits = |pixel: &PixelFormat| match format {
        CameraFormat::Auto => !matches!(pixel, PixelFormat::Other(_)),
        CameraFormat::Raw => matches!(pixel, PixelFormat::Raw(_)),
        CameraFormat::Mjpeg => *pixel == PixelFormat::Mjpeg,
        CameraFormat::H264 => *pixel == PixelFormat::H264,
    };
    let best = modes.iter().filter(|mode| fits(&mode.pixel)).min_by_key(|mode| {
        let size = u64::from(mode.width.abs_diff(picture.width)) + u64::from(mode.height.abs_diff(picture.height));
        let rate = nearest_rate(mode, picture.framerate);
        (size, distance(rate, picture.framerate), cost(&mode.pixel))
    });
    let Some(mode) = best else {
        let mut have: Vec<String> = modes.iter().map(|mode| name(&mode.pixel)).collect();
        have.dedup();
        let wanted = match format {
            CameraFormat::Auto => "usable",
            CameraFormat::Raw => "raw",
            CameraFormat::Mjpeg => "Motion JPEG",
            CameraFormat::H264 => "H.264",
        };
        return Err(NoMode { wanted, have: have.join(", ") });
    };
    let framerate = nearest_rate(mode, picture.framerate);
    Ok(ChosenMode { pixel: mode.pixel.clone(), width: mode.width, height: mode.height, framerate })
}

fn nearest_rate(mode: &CameraMode, wanted: u32) -> (u32, u32) {
    let usable = mode.framerates.iter().copied().filter(|(numerator, denominator)| *numerator > 0 && *denominator > 0);
    usable.min_by_key(|rate| distance(*rate, wanted)).unwrap_or((wanted, 1))
}

/// How far a rate is from the wanted one, in thousandths; too slow counts more than too fast.
fn distance((numerator, denominator): (u32, u32), wanted: u32) -> u64 {
    let have = u64::from(numerator) * 1000 / u64::from(denominator.max(1));
    let want = u64::from(wanted) * 1000;
    if have < want { (want - have) * 2 } else { have - want }
}

/// What a format costs on the board, less is better. Formats an encoder takes without conversion come before others.
fn cost(pixel: &PixelFormat) -> u8 {
    match pixel {
        PixelFormat::H264 => 0,
        PixelFormat::Raw(fourcc) if matches!(fourcc.as_str(), "NV12" | "YU12") => 1,
        PixelFormat::Raw(fourcc) if matches!(fourcc.as_str(), "YUYV" | "UYVY") => 2,
        PixelFormat::Raw(_) => 3,
        PixelFormat::Mjpeg => 4,
        PixelFormat::Other(_) => 5,
    }
}

fn name(pixel: &PixelFormat) -> String {
    match pixel {
        PixelFormat::Raw(fourcc) | PixelFormat::Other(fourcc) => fourcc.clone(),
        PixelFormat::Mjpeg => "Motion JPEG".into(),
        PixelFormat::H264 => "H.264".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(pixel: PixelFormat, width: u32, height: u32, rates: &[u32]) -> CameraMode {
        CameraMode { pixel, width, height, framerates: rates.iter().map(|rate| (*rate, 1)).collect() }
    }

    fn raw(fourcc: &str) -> PixelFormat {
        PixelFormat::Raw(fourcc.into())
    }

    #[test]
    fn usb_camera_gives_jpeg_where_raw_is_too_slow() {
        let modes = [
            mode(raw("YUYV"), 1280, 720, &[10, 5]),
            mode(PixelFormat::Mjpeg, 1280, 720, &[30, 15]),
            mode(raw("YUYV"), 640, 480, &[30]),
        ];
        let wanted = PictureConfig::default();
        let chosen = choose(&modes, &wanted, CameraFormat::Auto).unwrap();
        assert_eq!((chosen.pixel, chosen.framerate), (PixelFormat::Mjpeg, (30, 1)));
        let chosen = choose(&modes, &wanted, CameraFormat::Raw).unwrap();
        assert_eq!((chosen.pixel, chosen.framerate), (raw("YUYV"), (10, 1)));
        assert!(choose(&modes, &wanted, CameraFormat::H264).unwrap_err().to_string().contains("YUYV"));
    }

    #[test]
    fn camera_made_h264_wins_at_equal_size_and_rate() {
        let modes = [mode(raw("NV12"), 1280, 720, &[30]), mode(PixelFormat::H264, 1280, 720, &[30])];
        assert_eq!(choose(&modes, &PictureConfig::default(), CameraFormat::Auto).unwrap().pixel, PixelFormat::H264);
    }

    #[test]
    fn camera_without_a_list_is_asked_for_what_is_wanted() {
        let chosen = choose(&[], &PictureConfig::default(), CameraFormat::Auto).unwrap();
        assert_eq!((chosen.width, chosen.height, chosen.frames_per_second()), (1280, 720, 30));
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_what_the_camera_has(
            modes in proptest::collection::vec((0..4u8, 16u32..4000, 16u32..3000, proptest::collection::vec((0u32..120, 0u32..1002), 0..4)), 1..12),
            width in 16u32..4000, height in 16u32..3000, framerate in 1u32..240,
        ) {
            let pixel = |kind| match kind { 0 => raw("YUYV"), 1 => PixelFormat::Mjpeg, 2 => PixelFormat::H264, _ => PixelFormat::Other("XXXX".into()) };
            let modes: Vec<_> = modes.into_iter()
                .map(|(kind, width, height, framerates)| CameraMode { pixel: pixel(kind), width, height, framerates }).collect();
            let wanted = PictureConfig { width, height, framerate };
            match choose(&modes, &wanted, CameraFormat::Auto) {
                Ok(chosen) => {
                    prop_assert!(modes.iter().any(|it| it.pixel == chosen.pixel && it.width == chosen.width && it.height == chosen.height));
                    prop_assert!(chosen.framerate.0 > 0 && chosen.framerate.1 > 0);
                }
                Err(_) => prop_assert!(modes.iter().all(|it| matches!(it.pixel, PixelFormat::Other(_)))),
            }
        }
    }
}
