//! GStreamer elements as facts: registered or not, which Debian package has them, do they reach READY.
//!
//! Must not know boards or plans.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use serde::Serialize;

/// Longest time an element may take to reach READY. A driver answers in milliseconds; one that needs longer than this hangs.
pub const READY_LIMIT: Duration = Duration::from_secs(3);

/// Whether an element can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Presence {
    /// Registered, and reached READY.
    Ready,
    /// Not registered.
    Missing {
        /// The Debian package that has it; `None` where Debian has none (a vendor's element).
        package: Option<&'static str>,
    },
    /// Registered, but of no use here.
    NotReady {
        /// Why, for people.
        why: String,
    },
    /// It works, and has no room for one more.
    Busy {
        /// What it is busy with, for people.
        why: String,
    },
}

impl Presence {
    /// True for [`Presence::Ready`].
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// Whether an element is registered and reaches READY (where drivers are opened). Blocks for up to [`READY_LIMIT`]; an element
/// that hangs for longer keeps one thread for good, so ask about it once.
pub fn presence(element: &str) -> Presence {
    candidate(element, &[], &[])
}

/// As [`presence`], for an element that needs one of `nodes` to exist and all of `requires` among its properties.
///
/// The nodes come first: touching an element whose hardware is absent is reported to have frozen a machine (`boards.md`, the
/// Jetson files), and a missing node is certain.
pub fn candidate(element: &str, requires: &[String], nodes: &[PathBuf]) -> Presence {
    if let Err(why) = look_at_nodes(nodes) {
        // A package may be missing as well, but installing it would not help without the device.
        return Presence::NotReady { why };
    }
    if let Err(error) = gst::init() {
        return Presence::NotReady { why: format!("GStreamer cannot start: {error}") };
    }
    let Some(factory) = gst::ElementFactory::find(element) else {
        return absent(element);
    };
    let (tell, told) = mpsc::sync_channel(1);
    let requires = requires.to_vec();
    let work = move || {
        let _ = tell.send(reach_ready(&factory, &requires));
    };
    if let Err(error) = std::thread::Builder::new().name(format!("ready-{element}")).spawn(work) {
        return Presence::NotReady { why: format!("no thread to try it on: {error}") };
    }
    match told.recv_timeout(READY_LIMIT) {
        Ok(Ok(())) => Presence::Ready,
        Ok(Err(why)) => Presence::NotReady { why },
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Presence::NotReady { why: format!("it hangs: not READY within {} s", READY_LIMIT.as_secs()) }
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Presence::NotReady { why: "it crashed on the way to READY".into() },
    }
}

/// The version of an element's plugin and of GStreamer; `None` when it is not registered.
pub fn version(element: &str) -> Option<String> {
    gst::init().ok()?;
    let plugin = gst::ElementFactory::find(element)?.plugin()?;
    Some(format!("{} {} ({})", plugin.plugin_name(), plugin.version(), gst::version_string()))
}

/// As [`presence`], but an element that is registered counts as ready: nothing is started, no device opened.
pub fn registered(element: &str) -> Presence {
    if let Err(error) = gst::init() {
        return Presence::NotReady { why: format!("GStreamer cannot start: {error}") };
    }
    match gst::ElementFactory::find(element) {
        Some(_) => Presence::Ready,
        None => absent(element),
    }
}

/// As [`registered`], for an element that needs one of `nodes` to exist.
pub fn installed(element: &str, nodes: &[PathBuf]) -> Presence {
    match look_at_nodes(nodes) {
        Err(why) => Presence::NotReady { why },
        Ok(()) => registered(element),
    }
}

/// Why an element is not registered: a package is missing only where installing it would help.
fn absent(element: &str) -> Presence {
    let (major, minor, ..) = gst::version();
    if let Some((_, since)) = SINCE.iter().find(|(name, _)| *name == element)
        && (major, minor) < *since
    {
        return Presence::NotReady { why: format!("it needs GStreamer {}.{}, here is {major}.{minor}", since.0, since.1) };
    }
    match DEVICE_PLUGINS.iter().find(|(_, elements)| elements.contains(&element)) {
        Some((plugin, _)) if gst::Registry::get().find_plugin(plugin).is_some() => {
            Presence::NotReady { why: "no device of this machine offers it".into() }
        }
        _ => Presence::Missing { package: package_of(element) },
    }
}

/// GStreamer's version, for example `GStreamer 1.22.0`; `None` when it cannot start.
pub fn gstreamer_version() -> Option<String> {
    gst::init().ok().map(|()| gst::version_string().to_string())
}

/// An installed encoder or decoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodecElement {
    /// GStreamer's name of it.
    pub element: String,
    /// What it makes or takes: `H264`, `opus`, `jpeg`, …
    pub codecs: Vec<&'static str>,
    /// Its long name.
    pub title: String,
    /// True when its class says hardware.
    pub hardware: bool,
}

/// What caps names stand for.
const CAPS_NAMES: [(&str, &str); 7] = [
    ("video/x-h264", "H264"),
    ("video/x-h265", "H265"),
    ("video/x-vp8", "VP8"),
    ("video/x-vp9", "VP9"),
    ("video/x-av1", "AV1"),
    ("audio/x-opus", "opus"),
    ("image/jpeg", "jpeg"),
];

/// Installed elements that encode (or decode) what Portico knows, by codec and name. Registered only, not tried.
pub fn codec_elements(encoders: bool) -> Vec<CodecElement> {
    if gst::init().is_err() {
        return Vec::new();
    }
    let (kind, coded) = match encoders {
        true => (gst::ElementFactoryType::ENCODER, gst::PadDirection::Src),
        false => (gst::ElementFactoryType::DECODER, gst::PadDirection::Sink),
    };
    let row = |factory: &gst::ElementFactory| {
        let pads = factory.static_pad_templates();
        let caps: Vec<_> = pads.iter().filter(|pad| pad.direction() == coded).map(|pad| pad.caps()).collect();
        let has = |name: &str| caps.iter().any(|caps| caps.iter().any(|structure| structure.name() == name));
        let codecs: Vec<_> = CAPS_NAMES.iter().filter(|(caps, _)| has(caps)).map(|(_, codec)| *codec).collect();
        (!codecs.is_empty()).then(|| CodecElement {
            element: factory.name().to_string(),
            codecs,
            title: factory.metadata("long-name").unwrap_or_default().to_owned(),
            hardware: factory.metadata("klass").unwrap_or_default().contains("Hardware"),
        })
    };
    // MEDIA_ANY leaves out encryption, which calls itself an encoder too.
    let factories = gst::ElementFactory::factories_with_type(kind | gst::ElementFactoryType::MEDIA_ANY, gst::Rank::NONE);
    let mut rows: Vec<_> = factories.iter().filter_map(row).collect();
    rows.sort_by(|a, b| (&a.codecs, &a.element).cmp(&(&b.codecs, &b.element)));
    rows
}

fn reach_ready(factory: &gst::ElementFactory, requires: &[String]) -> Result<(), String> {
    let element = factory.create().build().map_err(|error| format!("it cannot be made: {error}"))?;
    if let Some(property) = requires.iter().find(|property| element.find_property(property).is_none()) {
        return Err(format!("it has no property `{property}`"));
    }
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let ready = element.set_state(gst::State::Ready);
    let why = bus.iter().find_map(|message| match message.view() {
        gst::MessageView::Error(error) => Some(error.error().to_string()),
        _ => None,
    });
    let _ = element.set_state(gst::State::Null);
    element.set_bus(None);
    ready.map(|_| ()).map_err(|_| why.unwrap_or_else(|| "it does not reach READY".into()))
}

fn look_at_nodes(nodes: &[PathBuf]) -> Result<(), String> {
    let names = || nodes.iter().map(|node| node.display().to_string()).collect::<Vec<_>>().join(", ");
    let existing: Vec<_> = nodes.iter().filter(|node| node.exists()).collect();
    if nodes.is_empty() || existing.iter().any(|node| !is_stub(node)) {
        return Ok(());
    }
    match existing.first() {
        None => Err(format!("the device is not there: {}", names())),
        Some(node) => Err(format!("the device {} is a stub", node.display())),
    }
}

/// True for a copy of `/dev/null` (character device 1:3), which one vendor ships in place of an absent encoder.
fn is_stub(node: &Path) -> bool {
    std::fs::metadata(node).is_ok_and(|meta| {
        meta.file_type().is_char_device() && (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())) == (1, 3)
    })
}

/// The Debian package that has an element; `None` for elements that Debian does not have.
pub fn package_of(element: &str) -> Option<&'static str> {
    PACKAGES.iter().find(|(_, elements)| elements.contains(&element)).map(|(package, _)| *package)
}

/// Elements newer than the oldest GStreamer that Portico runs on (1.20), with the version that brought them.
const SINCE: &[(&str, (u32, u32))] = &[
    ("cudacompositor", (1, 26)),
    ("qsvh264dec", (1, 22)),
    ("qsvh264enc", (1, 22)),
    ("vah264enc", (1, 22)),
    ("vacompositor", (1, 22)),
    ("vah264lpenc", (1, 22)),
    ("videoconvertscale", (1, 22)),
];

/// Plugins that register elements only for the devices they find.
const DEVICE_PLUGINS: &[(&str, &[&str])] = &[
    (
        "nvcodec",
        &[
            "cudacompositor",
            "cudadownload",
            "cudaupload",
            "nvav1dec",
            "nvh264dec",
            "nvh264enc",
            "nvh265dec",
            "nvvp8dec",
            "nvvp9dec",
        ],
    ),
    ("qsv", &["qsvh264dec", "qsvh264enc"]),
    (
        "va",
        &["vah264dec", "vah264enc", "vah264lpenc", "vah265dec", "vavp8dec", "vavp9dec", "vaav1dec", "vacompositor", "vapostproc"],
    ),
    ("v4l2codecs", &["v4l2slh264dec", "v4l2slh265dec", "v4l2slvp8dec", "v4l2slvp9dec"]),
    ("video4linux2", &["v4l2convert", "v4l2h264dec", "v4l2h264enc", "v4l2h265dec", "v4l2jpegdec", "v4l2jpegenc"]),
];

/// Every element that Portico or a board file names, by Debian package (bookworm).
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "libgstreamer1.0-0",
        &[
            "capsfilter",
            "fakesink",
            "fakesrc",
            "filesink",
            "filesrc",
            "funnel",
            "identity",
            "input-selector",
            "multiqueue",
            "queue",
            "queue2",
            "tee",
            "typefind",
            "valve",
        ],
    ),
    (
        "gstreamer1.0-plugins-base",
        &[
            "appsink",
            "appsrc",
            "audioconvert",
            "audiomixer",
            "audiorate",
            "audioresample",
            "audiotestsrc",
            "compositor",
            "decodebin",
            "decodebin3",
            "oggdemux",
            "opusdec",
            "opusenc",
            "parsebin",
            "uridecodebin",
            "uridecodebin3",
            "urisourcebin",
            "videoconvert",
            "videoconvertscale",
            "videorate",
            "videoscale",
            "videotestsrc",
            "volume",
        ],
    ),
    ("gstreamer1.0-alsa", &["alsasink", "alsasrc"]),
    ("gstreamer1.0-x", &["clockoverlay", "textoverlay", "timeoverlay"]),
    (
        "gstreamer1.0-plugins-good",
        &[
            "avidemux",
            "imagefreeze",
            "jpegdec",
            "jpegenc",
            "level",
            "matroskademux",
            "matroskamux",
            "mp4mux",
            "multifilesrc",
            "pulsesrc",
            "qtdemux",
            "qtmux",
            "rtpbin",
            "rtph264depay",
            "rtph264pay",
            "rtph265depay",
            "rtpjitterbuffer",
            "rtpopusdepay",
            "rtpopuspay",
            "rtpvp8depay",
            "rtpvp8pay",
            "rtpvp9depay",
            "rtspsrc",
            "splitmuxsink",
            "udpsink",
            "udpsrc",
            "v4l2convert",
            "v4l2h264dec",
            "v4l2h264enc",
            "v4l2h265dec",
            "v4l2jpegdec",
            "v4l2jpegenc",
            "v4l2src",
            "videoflip",
            "vp8dec",
            "vp8enc",
            "vp9dec",
            "vp9enc",
            "wavparse",
            "webmmux",
        ],
    ),
    (
        "gstreamer1.0-plugins-bad",
        &[
            "av1dec",
            "av1enc",
            "av1parse",
            "cudacompositor",
            "cudadownload",
            "cudaupload",
            "h264parse",
            "h264timestamper",
            "h265parse",
            "jpegparse",
            "nvav1dec",
            "nvh264dec",
            "nvh264enc",
            "nvh265dec",
            "nvvp8dec",
            "nvvp9dec",
            "openh264dec",
            "openh264enc",
            "opusparse",
            "qsvh264dec",
            "qsvh264enc",
            "v4l2slh264dec",
            "v4l2slh265dec",
            "v4l2slvp8dec",
            "v4l2slvp9dec",
            "vaav1dec",
            "vacompositor",
            "vah264dec",
            "vah264enc",
            "vah264lpenc",
            "vah265dec",
            "vapostproc",
            "vavp8dec",
            "vavp9dec",
            "vp9parse",
            "x265enc",
            "webrtcdsp",
            "webrtcechoprobe",
        ],
    ),
    ("gstreamer1.0-plugins-ugly", &["x264enc"]),
    ("gstreamer1.0-libav", &["avdec_aac", "avdec_h264", "avdec_h265", "avdec_mjpeg"]),
    ("gstreamer1.0-vaapi", &["vaapih264dec", "vaapih264enc", "vaapipostproc"]),
    ("gstreamer1.0-libcamera", &["libcamerasrc"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_element_is_ready_and_absent_one_names_its_package() {
        assert_eq!(presence("identity"), Presence::Ready);
        assert_eq!(presence("no-such-element"), Presence::Missing { package: None });
        assert_eq!(package_of("x264enc"), Some("gstreamer1.0-plugins-ugly"));
    }

    #[test]
    fn element_that_cannot_open_its_device_says_why() {
        // Without a device v4l2src fails on its way to READY; with one it is ready.
        match presence("v4l2src") {
            Presence::NotReady { why } => assert!(why.contains("/dev/video"), "{why}"),
            other => assert!(other.is_ready() && Path::new("/dev/video0").exists(), "{other:?}"),
        }
    }

    #[test]
    fn absent_device_is_not_called_a_missing_package() {
        // With plugins-good, and with or without a device of that kind.
        match presence("v4l2h264enc") {
            Presence::NotReady { why } => assert!(why.contains("no device"), "{why}"),
            other => assert!(other.is_ready(), "{other:?}"),
        }
        for element in DEVICE_PLUGINS.iter().flat_map(|(_, elements)| *elements).chain(SINCE.iter().map(|(name, _)| name)) {
            assert!(package_of(element).is_some(), "{element}");
        }
    }

    #[test]
    fn lacking_property_makes_a_candidate_not_ready() {
        let lacking = candidate("identity", &["bps".into()], &[]);
        assert_eq!(lacking, Presence::NotReady { why: "it has no property `bps`".into() });
        assert!(candidate("identity", &["silent".into()], &[]).is_ready());
    }

    #[test]
    fn missing_node_or_stub_decides_before_the_element_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("encoder");
        let Presence::NotReady { why } = candidate("identity", &[], std::slice::from_ref(&absent)) else { panic!("ready") };
        assert!(why.contains("encoder"), "{why}");
        let Presence::NotReady { why } = candidate("identity", &[], &[absent.clone(), "/dev/null".into()]) else {
            panic!("a copy of /dev/null passed")
        };
        assert!(why.contains("stub"), "{why}");
        assert!(candidate("identity", &[], &[absent, "/dev/zero".into()]).is_ready());
    }

    #[test]
    fn installed_codecs_are_listed_by_what_they_make() {
        let has = |encoders, element: &str, codec: &str| {
            codec_elements(encoders).iter().any(|row| row.element == element && row.codecs == [codec])
        };
        assert!(has(true, "vp8enc", "VP8") && has(true, "opusenc", "opus") && has(false, "jpegdec", "jpeg"));
        assert!(!codec_elements(true).iter().any(|row| row.element == "vp8dec"));
    }

    #[test]
    fn no_element_is_listed_twice() {
        let mut all: Vec<_> = PACKAGES.iter().flat_map(|(_, elements)| *elements).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
