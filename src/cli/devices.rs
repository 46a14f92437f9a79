//! `portico devices`: cameras, sound devices, installed encoders and decoders.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::print;
use crate::media::device::{self, Camera, CameraMode, PixelFormat, Scan, SoundDevice};
use crate::media::element::{self, CodecElement};

/// Show cameras, sound devices, and installed encoders and decoders.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(after_help = "\
Examples:
  portico devices                     cameras with formats, sizes and rates; sound; codecs
  portico devices --cameras           cameras only
  portico devices --json | jq -r '.cameras[].stable'

The line `device` of a camera is what `device` of a `[[source]]` with `type = \"v4l2\"` takes.

Exit status: 0, also when there is no camera.")]
pub struct Args {
    /// Only cameras
    #[arg(long)]
    pub cameras: bool,

    /// Print JSON: `cameras`, `closed` (nodes that could not be asked), `sound`, `encoders`, `decoders`
    #[arg(long)]
    pub json: bool,
}

/// Everything the command shows.
#[derive(Clone, Debug, Default, Serialize)]
struct Devices {
    #[serde(flatten)]
    scan: Scan,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<Vec<SoundDevice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoders: Option<Vec<CodecElement>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoders: Option<Vec<CodecElement>>,
}

/// Looks and prints.
pub fn run(args: &Args) -> ExitCode {
    let all = !args.cameras;
    let devices = Devices {
        scan: device::scan(),
        sound: all.then(device::sound_devices),
        encoders: all.then(|| element::codec_elements(true)),
        decoders: all.then(|| element::codec_elements(false)),
    };
    if args.json {
        print::json(&devices);
    } else {
        print::text(&report(&devices));
    }
    ExitCode::SUCCESS
}

fn report(devices: &Devices) -> String {
    let mut out = cameras(&devices.scan);
    if let Some(sound) = &devices.sound {
        out += &sound_table(sound);
    }
    for (title, elements) in [("Encoders", &devices.encoders), ("Decoders", &devices.decoders)] {
        if let Some(elements) = elements {
            out += &codec_table(title, elements);
        }
    }
    out
}

fn cameras(scan: &Scan) -> String {
    let mut out = String::from("Cameras\n");
    for camera in &scan.cameras {
        out += &camera_text(camera, scan.selector(camera));
    }
    for same_reason in scan.closed.chunk_by(|a, b| a.why == b.why) {
        let nodes: Vec<_> = same_reason.iter().map(|closed| closed.node.display().to_string()).collect();
        let _ = writeln!(out, "\n  {} cannot be asked: {}", nodes.join(", "), same_reason[0].why);
    }
    if scan.cameras.is_empty() && scan.closed.is_empty() {
        out += "\n  None found. Check that the camera is plugged in (`lsusb`) and that /dev/video* exists; in a container, that the\n  \
                devices are passed in. A camera on the CSI connector is used by `type = \"csi\"` and not listed here.\n";
    } else if scan.cameras.is_empty() {
        out += "\n  No camera can be used until then.\n";
    }
    out
}

fn camera_text(camera: &Camera, selector: Option<String>) -> String {
    let mut out = format!("\n  {}\n", camera.name);
    let device = selector.unwrap_or_else(|| "none that stays: another camera has this name, and udev made no link".into());
    let _ = writeln!(out, "    device  {device}");
    let _ = write!(out, "    now     {}, driver {}, bus {}", camera.node.display(), camera.driver, camera.bus);
    if let Some(serial) = &camera.serial {
        let _ = write!(out, ", serial {serial}");
    }
    out.push('\n');
    if camera.modes.is_empty() {
        out += "    The driver lists no sizes; v4l2src may still be able to use it.\n";
        return out;
    }
    let mut table = print::table(&["Format", "Size", "Frames per second"]);
    for (formats, sizes) in grouped(&camera.modes) {
        let mut formats = formats.chunks(FORMATS_A_LINE);
        let mut sizes = sizes.into_iter();
        loop {
            let (names, size) = (formats.next(), sizes.next());
            if names.is_none() && size.is_none() {
                break;
            }
            let (size, rates) = size.unwrap_or_default();
            table.add_row([names.unwrap_or_default().join(", "), size, rates]);
        }
    }
    let _ = writeln!(out, "{table}");
    out
}

/// Formats side by side in one line, so that a table fits 80 columns.
const FORMATS_A_LINE: usize = 4;

/// Sizes and rates, as text.
type Sizes = Vec<(String, String)>;

/// Formats that have the same sizes and rates share one group; many cameras offer a dozen of them.
fn grouped(modes: &[CameraMode]) -> Vec<(Vec<String>, Sizes)> {
    let mut groups: Vec<(Vec<String>, Sizes)> = Vec::new();
    for one_format in modes.chunk_by(|a, b| a.pixel == b.pixel) {
        let sizes: Sizes = one_format.iter().map(|mode| (format!("{}x{}", mode.width, mode.height), rates(mode))).collect();
        let name = pixel(&one_format[0].pixel);
        match groups.iter_mut().find(|(_, have)| *have == sizes) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], sizes)),
        }
    }
    groups
}

fn pixel(format: &PixelFormat) -> String {
    match format {
        PixelFormat::Raw(fourcc) => fourcc.clone(),
        PixelFormat::Mjpeg => "mjpeg".into(),
        PixelFormat::H264 => "h264".into(),
        PixelFormat::Other(fourcc) => format!("{fourcc} (not used)"),
    }
}

/// `30, 29.97, 15`; a dash where the driver does not say.
fn rates(mode: &CameraMode) -> String {
    let rate = |(numerator, denominator): &(u32, u32)| match (numerator, denominator) {
        (whole, 1) => whole.to_string(),
        _ => format!("{:.2}", f64::from(*numerator) / f64::from((*denominator).max(1))),
    };
    match mode.framerates.is_empty() {
        true => "-".into(),
        false => mode.framerates.iter().map(rate).collect::<Vec<_>>().join(", "),
    }
}

fn sound_table(sound: &[SoundDevice]) -> String {
    if sound.is_empty() {
        return "\nSound devices\n\n  None found. Check `cat /proc/asound/cards`; a USB microphone needs the module snd-usb-audio.\n".into();
    }
    let mut table = print::table(&["Device", "Card", "Name", "Capture", "Playback"]);
    for device in sound {
        let yes = |is: bool| if is { "yes" } else { "-" };
        table.add_row([&device.device, &device.card, &device.name, yes(device.capture), yes(device.playback)]);
    }
    format!("\nSound devices\n{table}\n")
}

fn codec_table(title: &str, elements: &[CodecElement]) -> String {
    if elements.is_empty() {
        return format!("\n{title}\n\n  None found: GStreamer has no plugins. `portico doctor` names the packages.\n");
    }
    let mut table = print::table(&["Codec", "Element", "By", "What"]);
    for element in elements {
        let by = if element.hardware { "hardware" } else { "software" };
        table.add_row([element.codecs.join(", ").as_str(), &element.element, by, &element.title]);
    }
    format!("\n{title} installed (`portico doctor` tries those this board would use)\n{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::device::ClosedNode;

    fn camera() -> Camera {
        let mode = |pixel, width, height, framerates| CameraMode { pixel, width, height, framerates };
        Camera {
            node: "/dev/video2".into(),
            stable: Some("/dev/v4l/by-id/usb-ACME".into()),
            name: "ACME Cam".into(),
            serial: Some("123".into()),
            bus: "usb-1".into(),
            driver: "uvcvideo".into(),
            modes: vec![
                mode(PixelFormat::Raw("YUYV".into()), 640, 480, vec![(30, 1), (30_000, 1001)]),
                mode(PixelFormat::Raw("YUYV".into()), 1280, 720, vec![]),
                mode(PixelFormat::Mjpeg, 1280, 720, vec![(30, 1)]),
            ],
        }
    }

    #[test]
    fn camera_shows_the_name_to_write_and_its_modes() {
        let text = cameras(&Scan { cameras: vec![camera()], closed: vec![] });
        for part in ["device  /dev/v4l/by-id/usb-ACME", "serial 123", "YUYV", "640x480", "30, 29.97", "mjpeg"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("YUYV").count(), 1);
    }

    #[test]
    fn formats_with_the_same_sizes_share_a_group() {
        let mut modes = camera().modes;
        let same = modes[..2].iter().map(|mode| CameraMode { pixel: PixelFormat::Raw("NV12".into()), ..mode.clone() });
        modes.extend(same.collect::<Vec<_>>());
        let names: Vec<_> = grouped(&modes).into_iter().map(|(names, _)| names.join(" ")).collect();
        assert_eq!(names, ["YUYV NV12", "mjpeg"]);
    }

    #[test]
    fn camera_without_a_link_is_named_by_serial_or_name() {
        let device = |camera: Camera| cameras(&Scan { cameras: vec![camera], closed: vec![] });
        let serial = Camera { stable: None, ..camera() };
        assert!(device(serial.clone()).contains("device  serial:123"));
        assert!(device(Camera { serial: None, ..serial.clone() }).contains("device  name:ACME Cam"));
        let twins = cameras(&Scan { cameras: vec![serial.clone(), serial], closed: vec![] });
        assert!(twins.contains("device  none that stays"), "{twins}");
    }

    #[test]
    fn nothing_found_says_what_to_check() {
        let text = report(&Devices { sound: Some(vec![]), encoders: Some(vec![]), decoders: Some(vec![]), ..Devices::default() });
        assert!(text.contains("lsusb") && text.contains("/proc/asound") && text.contains("portico doctor"), "{text}");
    }

    #[test]
    fn closed_node_is_shown_with_its_reason() {
        let closed = |node: &str| ClosedNode { node: node.into(), why: "permission denied: add …".into() };
        let text = cameras(&Scan { cameras: vec![], closed: vec![closed("/dev/video0"), closed("/dev/video1")] });
        assert!(
            text.contains("/dev/video0, /dev/video1 cannot be asked: permission denied") && !text.contains("lsusb"),
            "{text}"
        );
    }

    #[test]
    fn json_leaves_out_what_was_not_asked() {
        let json = serde_json::to_value(Devices::default()).unwrap();
        assert!(json["cameras"].is_array() && json["closed"].is_array() && json.get("sound").is_none());
        let mode = serde_json::to_value(&camera().modes[0]).unwrap();
        assert_eq!(mode["pixel"]["raw"], "YUYV");
        assert_eq!(mode["framerates"][1][0], 30_000);
    }
}
