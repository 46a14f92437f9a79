//! What `/dev` and `/sys` say about video nodes: numbers, links that stay, serial numbers. `root` is `/`; tests give a tree.

use std::path::{Path, PathBuf};

use super::query::Card;

/// The `/dev/videoN` nodes, by number.
pub(super) fn nodes(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("dev")).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("video")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = entries.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| PathBuf::from(format!("/dev/video{number}"))).collect()
}

/// A link to the node below `/dev/v4l/by-id`, else below `/dev/v4l/by-path`; the first by name where there are several.
///
/// `by-path` has two names for one USB port (`usb-` and `usbv2-`, systemd 254 and later); the alphabet picks the older form.
pub(super) fn stable(root: &Path, node: &Path) -> Option<PathBuf> {
    ["/dev/v4l/by-id", "/dev/v4l/by-path"].iter().find_map(|dir| {
        let entries = std::fs::read_dir(below(root, Path::new(dir))).ok()?;
        let mut names: Vec<_> = entries.flatten().map(|entry| Path::new(dir).join(entry.file_name())).collect();
        names.sort();
        names.into_iter().find(|link| target(root, link).as_deref() == Some(node))
    })
}

/// The `/dev/videoN` a link leads to (through other links too); `None` when it leads nowhere or elsewhere.
pub(super) fn target(root: &Path, link: &Path) -> Option<PathBuf> {
    let resolved = std::fs::canonicalize(below(root, link)).ok()?;
    let inside = resolved.strip_prefix(std::fs::canonicalize(root).ok()?).ok()?;
    let node = Path::new("/").join(inside);
    let name = node.file_name()?.to_str()?;
    let is_node =
        node.parent() == Some(Path::new("/dev")) && name.strip_prefix("video").is_some_and(|n| n.parse::<u32>().is_ok());
    is_node.then_some(node)
}

/// The serial number of the USB device a node belongs to: `serial` of the nearest parent in `/sys` that has `idVendor`.
pub(super) fn serial(root: &Path, node: &Path) -> Option<String> {
    let class = root.join("sys/class/video4linux").join(node.file_name()?).join("device");
    let device = std::fs::canonicalize(class).ok()?;
    let usb = device.ancestors().find(|dir| dir.join("idVendor").exists())?;
    let bytes = std::fs::read(usb.join("serial")).ok()?;
    let serial = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!serial.is_empty()).then_some(serial)
}

/// Name and driver of a node as `/sys` has them, for a card that cannot be asked. Bytes that are no UTF-8 are replaced.
pub(super) fn card(root: &Path, node: &Path) -> Card {
    let class = root.join("sys/class/video4linux").join(node.file_name().unwrap_or_default());
    let name = std::fs::read(class.join("name")).unwrap_or_default();
    let last = |link: &str| {
        let target = std::fs::canonicalize(class.join(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    Card {
        name: String::from_utf8_lossy(&name).trim().to_owned(),
        bus: last("device").unwrap_or_default(),
        driver: last("device/driver").unwrap_or_default(),
    }
}

fn below(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}
