//! Asks one node's driver, through the `v4l` crate. Opening a node for questions does not start a camera.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use v4l::capability::Flags;
use v4l::format::description::Flags as FormatFlags;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::{Device, FourCC, Fraction};

use super::CameraMode;
use super::modes::{self, Range};

/// Most modes taken from one camera: an honest one has below 100, and a driver that enumerates without end must not fill memory.
const MOST_MODES: usize = 512;

/// What a capture node says.
pub(super) struct Answer {
    /// `None` when it cannot be read, see [`ask`].
    pub card: Option<Card>,
    pub modes: Vec<CameraMode>,
}

/// Who a node is.
pub(super) struct Card {
    pub name: String,
    pub bus: String,
    pub driver: String,
}

/// `None` for a node that captures no pictures (codec, metadata, output). Fails with a sentence for people.
///
/// `v4l` 0.14 panics on a card name that is no UTF-8, and an honest camera can have one: the kernel cuts names at 31 bytes, maybe
/// inside a character. Such a node is a camera if it lists formats for single-planar capture, which codecs and metadata nodes
/// do not.
pub(super) fn ask(node: &Path) -> Result<Option<Answer>, String> {
    let device = Device::with_path(node).map_err(|error| reason(&error))?;
    match std::panic::catch_unwind(AssertUnwindSafe(|| device.query_caps())) {
        Ok(Ok(caps)) if captures(caps.capabilities) => {
            let card = Card { name: caps.card, bus: caps.bus, driver: caps.driver };
            Ok(Some(Answer { card: Some(card), modes: read_modes(&device) }))
        }
        Ok(Ok(_)) => Ok(None),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => {
            let modes = read_modes(&device);
            Ok((!modes.is_empty()).then_some(Answer { card: None, modes }))
        }
    }
}

/// Whether a node with these `device_caps` is a camera.
fn captures(caps: Flags) -> bool {
    let codec = Flags::VIDEO_M2M | Flags::VIDEO_M2M_MPLANE | Flags::VIDEO_OUTPUT | Flags::VIDEO_OUTPUT_MPLANE;
    caps.intersects(Flags::VIDEO_CAPTURE | Flags::VIDEO_CAPTURE_MPLANE) && !caps.intersects(codec)
}

fn read_modes(device: &Device) -> Vec<CameraMode> {
    let mut found = Vec::new();
    // Multi-planar drivers answer with no formats here: `v4l` asks for single-planar ones only. They are used without a list.
    for format in device.enum_formats().unwrap_or_default() {
        // Formats that libv4l would make up are not the camera's.
        if format.flags.contains(FormatFlags::EMULATED) {
            continue;
        }
        let pixel = modes::pixel(format.fourcc.repr, format.flags.contains(FormatFlags::COMPRESSED));
        for (width, height) in read_sizes(device, format.fourcc) {
            if found.len() >= MOST_MODES {
                return found;
            }
            let framerates = read_rates(device, format.fourcc, width, height);
            found.push(CameraMode { pixel: pixel.clone(), width, height, framerates });
        }
    }
    found
}

fn read_sizes(device: &Device, fourcc: FourCC) -> Vec<(u32, u32)> {
    let sizes = device.enum_framesizes(fourcc).unwrap_or_default();
    let listed = sizes.into_iter().flat_map(|size| match size.size {
        FrameSizeEnum::Discrete(size) => vec![(size.width, size.height)],
        FrameSizeEnum::Stepwise(range) => modes::sizes(
            Range { min: range.min_width, max: range.max_width, step: range.step_width },
            Range { min: range.min_height, max: range.max_height, step: range.step_height },
        ),
    });
    listed.collect()
}

fn read_rates(device: &Device, fourcc: FourCC, width: u32, height: u32) -> Vec<(u32, u32)> {
    let pair = |fraction: Fraction| (fraction.numerator, fraction.denominator);
    let intervals = device.enum_frameintervals(fourcc, width, height).unwrap_or_default();
    let rates = intervals.into_iter().flat_map(|interval| match interval.interval {
        FrameIntervalEnum::Discrete(fraction) => modes::rate(pair(fraction)).into_iter().collect(),
        FrameIntervalEnum::Stepwise(range) => modes::rates(pair(range.min), pair(range.max)),
    });
    modes::sorted(rates.collect())
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "permission denied: add the user to the group `video` (`sudo usermod -aG video USER`, then log in again)".into()
        }
        io::ErrorKind::NotFound => "it is gone".into(),
        io::ErrorKind::ResourceBusy => "it is in use by another program".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_metadata_and_outputs_are_no_cameras() {
        assert!(captures(Flags::VIDEO_CAPTURE | Flags::STREAMING));
        assert!(captures(Flags::VIDEO_CAPTURE_MPLANE | Flags::STREAMING));
        assert!(!captures(Flags::VIDEO_M2M_MPLANE | Flags::STREAMING));
        // Older drivers of codecs report both directions instead of M2M.
        assert!(!captures(Flags::VIDEO_CAPTURE_MPLANE | Flags::VIDEO_OUTPUT_MPLANE));
        assert!(!captures(Flags::META_CAPTURE | Flags::STREAMING));
    }

    #[test]
    fn node_that_is_no_camera_answers_with_a_sentence() {
        assert_eq!(ask(Path::new("/dev/video-of-nobody")).err().as_deref(), Some("it is gone"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(reason(&denied).contains("group `video`"));
    }
}
