//! The camera's plug.

use std::path::Path;

/// The driver's folder in sysfs; takes a device's name in `unbind` and `bind`.
const DRIVER: &str = "/sys/bus/platform/drivers/vivid";

/// The camera's driver without it; plugged in again when dropped, so that a test that fails leaves a camera to the next.
pub struct Unplugged;

impl Unplugged {
    /// Takes the camera away.
    pub fn new() -> Self {
        std::fs::write(Path::new(DRIVER).join("unbind"), "vivid.0").expect("the camera is unplugged");
        Self
    }
}

impl Drop for Unplugged {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(Path::new(DRIVER).join("bind"), "vivid.0") {
            eprintln!("the camera is not plugged in again: {error}");
        }
    }
}
