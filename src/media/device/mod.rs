//! Cameras and sound devices of this machine.
//!
//! Discovery only: frames come through GStreamer's `v4l2src`. Must not know boards, plans or pipelines.

use std::path::PathBuf;

use serde::Serialize;

/// A camera: a V4L2 node that captures pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Camera {
    /// The node now, `/dev/videoN`; the number may be another after a boot or replug.
    pub node: PathBuf,
    /// A link that stays: below `/dev/v4l/by-id`, else below `/dev/v4l/by-path`.
    pub stable: Option<PathBuf>,
    /// The card's name as the driver gives it.
    pub name: String,
    /// The USB serial number, where the device has one.
    pub serial: Option<String>,
    /// Where it is attached, for example `usb-0000:00:14.0-1`.
    pub bus: String,
    /// The kernel driver, for example `uvcvideo`.
    pub driver: String,
    /// What it can give, in the driver's order. Empty for drivers without frame size enumeration.
    pub modes: Vec<CameraMode>,
}

/// One pixel format and size with its rates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CameraMode {
    /// The pixel format.
    pub pixel: PixelFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second as fractions (numerator, denominator), highest first. Empty: the driver does not say.
    pub framerates: Vec<(u32, u32)>,
}

/// A pixel format, by its V4L2 four characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// Uncompressed, for example `YUYV`, `NV12`.
    Raw(String),
    /// Motion JPEG (`MJPG`, `JPEG`).
    Mjpeg,
    /// H.264 byte-stream (`H264`).
    H264,
    /// Something Portico does not take.
    Other(String),
}

/// The cameras of this machine, by node number.
pub fn cameras() -> Vec<Camera> {
    Vec::new()
}

/// Why a camera cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No camera fits.
    #[error("no camera fits `{device}`: {have}")]
    NotFound {
        /// What was asked for.
        device: String,
        /// What there is.
        have: String,
    },
    /// A node's number.
    #[error("`{device}` is a number that changes from boot to boot: {advice}")]
    Numbered {
        /// What was asked for.
        device: String,
        /// What to write instead.
        advice: String,
    },
    /// The node cannot be opened.
    #[error("camera {node} cannot be opened: {why}")]
    Closed {
        /// The node.
        node: String,
        /// Why, and what to do.
        why: String,
    },
    /// Not one of the forms.
    #[error("`{device}` is no camera: use a link below /dev/v4l/by-id or /dev/v4l/by-path, `name:TEXT`, `serial:TEXT` or `any`")]
    Form {
        /// What was asked for.
        device: String,
    },
}

/// The camera a configuration means: a link below `/dev/v4l/by-id` or `by-path`, `name:TEXT` (part of the name), `serial:TEXT`,
/// or `any` (the first). `/dev/videoN` is refused with the stable name to use instead.
pub fn find(device: &str) -> Result<Camera, FindError> {
    Err(FindError::Form { device: device.into() })
}
