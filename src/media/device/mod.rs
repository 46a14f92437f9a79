//! Cameras and sound devices of this machine.
//!
//! Discovery only: frames come through GStreamer's `v4l2src`. Must not know boards, plans or pipelines. `query.rs` asks the
//! driver, `links.rs` reads `/dev` and `/sys`, `modes.rs` is pure, `sound.rs` reads `/proc/asound`.

mod links;
mod modes;
mod query;
mod sound;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use sound::{SoundDevice, sound_devices};

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

/// What a look at all nodes found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// The cameras, by node number.
    pub cameras: Vec<Camera>,
    /// Nodes that could not be asked.
    pub closed: Vec<ClosedNode>,
}

/// A node that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosedNode {
    /// `/dev/videoN`.
    pub node: PathBuf,
    /// Why, and what to do.
    pub why: String,
}

/// The cameras of this machine, by node number.
pub fn cameras() -> Vec<Camera> {
    scan().cameras
}

/// Every camera, and the nodes that could not be asked. Nodes for codecs, metadata and output are left out.
pub fn scan() -> Scan {
    let root = Path::new("/");
    let mut scan = Scan::default();
    for node in links::nodes(root) {
        match query::ask(&node) {
            Ok(Some(answer)) => {
                let card = answer.card.unwrap_or_else(|| links::card(root, &node));
                scan.cameras.push(Camera {
                    stable: links::stable(root, &node),
                    serial: links::serial(root, &node),
                    name: card.name,
                    bus: card.bus,
                    driver: card.driver,
                    modes: answer.modes,
                    node,
                });
            }
            Ok(None) => {}
            Err(why) => scan.closed.push(ClosedNode { node, why }),
        }
    }
    scan
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

/// The camera a configuration means: a link below `/dev/v4l` (or another link that udev keeps below `/dev`), `name:TEXT` (part
/// of the name, any case), `serial:TEXT`, or `any` (the first). `/dev/videoN` is refused with the stable name to use instead.
pub fn find(device: &str) -> Result<Camera, FindError> {
    choose(device, &scan(), Path::new("/"))
}

/// Whether a configuration's text has one of the forms [`find`] takes; looks at no device.
pub fn check_form(device: &str) -> Result<(), FindError> {
    match Selector::parse(device)? {
        Selector::Number => Err(FindError::Numbered {
            device: device.to_owned(),
            advice: "run `portico devices` and write the camera's stable name, `name:TEXT`, `serial:TEXT` or `any`".into(),
        }),
        _ => Ok(()),
    }
}

enum Selector<'a> {
    Any,
    Name(&'a str),
    Serial(&'a str),
    Number,
    Link(&'a str),
}

impl<'a> Selector<'a> {
    fn parse(device: &'a str) -> Result<Self, FindError> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = device.strip_prefix("/dev/video").unwrap_or(device);
        if is_number(number) {
            return Ok(Self::Number);
        }
        match device.split_once(':') {
            Some(("name", text)) if !text.trim().is_empty() => return Ok(Self::Name(text.trim())),
            Some(("serial", text)) if !text.trim().is_empty() => return Ok(Self::Serial(text.trim())),
            _ => {}
        }
        match device {
            "any" => Ok(Self::Any),
            link if link.starts_with("/dev/") && !link.ends_with('/') => Ok(Self::Link(link)),
            _ => Err(FindError::Form { device: device.to_owned() }),
        }
    }
}

fn choose(device: &str, scan: &Scan, root: &Path) -> Result<Camera, FindError> {
    let found = match Selector::parse(device)? {
        Selector::Any => scan.cameras.first(),
        Selector::Name(text) => {
            let text = text.to_lowercase();
            scan.cameras.iter().find(|camera| camera.name.to_lowercase().contains(&text))
        }
        Selector::Serial(text) => scan.cameras.iter().find(|camera| camera.serial.as_deref() == Some(text)),
        Selector::Number => return Err(numbered(device, scan)),
        Selector::Link(link) => {
            let node = links::target(root, Path::new(link));
            if let Some(closed) = scan.closed.iter().find(|closed| Some(&closed.node) == node.as_ref()) {
                return Err(closed.error());
            }
            scan.cameras.iter().find(|camera| Some(&camera.node) == node.as_ref())
        }
    };
    match found {
        Some(camera) => Ok(camera.clone()),
        // Nothing could be looked at: the reason is not that there is no camera.
        None if scan.cameras.is_empty() && !scan.closed.is_empty() => Err(scan.closed[0].error()),
        None => Err(FindError::NotFound { device: device.to_owned(), have: scan.have() }),
    }
}

fn numbered(device: &str, scan: &Scan) -> FindError {
    let node = if device.starts_with('/') { PathBuf::from(device) } else { PathBuf::from(format!("/dev/video{device}")) };
    let advice = match scan.cameras.iter().find(|camera| camera.node == node) {
        Some(camera) => match scan.selector(camera) {
            Some(selector) => format!("write `{selector}`"),
            None => "and another camera has the same name; with udev, each has a link below /dev/v4l/by-path".into(),
        },
        None => format!("and no camera is there now; {}", scan.have()),
    };
    FindError::Numbered { device: device.to_owned(), advice }
}

impl ClosedNode {
    fn error(&self) -> FindError {
        FindError::Closed { node: self.node.display().to_string(), why: self.why.clone() }
    }
}

impl Scan {
    /// What to write in a configuration to mean this camera: its link, serial number or name. `None` where another camera has
    /// the same name and nothing else tells them apart.
    pub fn selector(&self, camera: &Camera) -> Option<String> {
        let alone = |same: &dyn Fn(&Camera) -> bool| self.cameras.iter().filter(|other| same(other)).count() == 1;
        let has_name = |other: &Camera| other.name.to_lowercase().contains(&camera.name.to_lowercase());
        match (&camera.stable, &camera.serial) {
            (Some(stable), _) => Some(stable.display().to_string()),
            (None, Some(serial)) if alone(&|other| other.serial == camera.serial) => Some(format!("serial:{serial}")),
            _ if alone(&has_name) => Some(format!("name:{}", camera.name)),
            _ => None,
        }
    }

    fn have(&self) -> String {
        if self.cameras.is_empty() {
            return "this machine has no camera now".into();
        }
        let name = |camera: &Camera| match &camera.stable {
            Some(stable) => format!("{} ({})", stable.display(), camera.name),
            None => self.selector(camera).unwrap_or_else(|| camera.name.clone()),
        };
        format!("there is {}", self.cameras.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests;
