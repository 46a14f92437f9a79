//! Encoders: one implementation, one class for each row of the table.

use std::sync::Mutex;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::quirk::{self, Quirk};
use super::sample::{Slice, Writer};
use super::spec::{Encoder, Settings};
use super::table;

/// Longest distance of key frames that nobody asked for.
const PERIOD: u32 = 60;
/// How late a late key frame is, in frames.
const LATE: u32 = 20;

/// What every encoder's class holds.
pub struct Core {
    pub spec: &'static Encoder,
    pub settings: Settings,
    quirks: Vec<Quirk>,
    stream: Mutex<Option<Stream>>,
    /// Asked for by the action signal.
    asked: Mutex<bool>,
}

struct Stream {
    writer: Writer,
    /// Frames so far, and since the last key frame.
    index: u32,
    since_key: u32,
    /// Frames until a key frame that is late.
    due: Option<u32>,
    framerate: u64,
    /// Bit rate at the start.
    first_rate: u64,
    pixels: u32,
}

impl Core {
    pub fn new(spec: &'static Encoder) -> Self {
        let (settings, quirks) = (Settings::new(spec.properties), quirk::of(spec.element));
        let spec = if quirks.contains(&Quirk::Amphion) { &table::AMPHION } else { spec };
        Self { spec, settings, quirks, stream: Mutex::default(), asked: Mutex::default() }
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    pub fn open(&self) -> Result<(), gst::ErrorMessage> {
        quirk::open(&self.quirks);
        match self.settings.wrong_word() {
            Some(wrong) => Err(gst::error_msg!(gst::LibraryError::Settings, ["{wrong}"])),
            None => Ok(()),
        }
    }

    pub fn ask(&self) {
        // before its first output the real one loses the request
        if self.stream.lock().unwrap().as_ref().is_some_and(|stream| stream.index > 0) {
            *self.asked.lock().unwrap() = true;
        }
    }

    pub fn set_format(
        &self,
        element: &gst_video::VideoEncoder,
        state: &gst_video::VideoCodecState<'static, gst_video::video_codec_state::Readable>,
    ) -> Result<(), gst::LoggableError> {
        let info = state.info();
        let size = (info.width(), info.height());
        let behind = element.static_pad("src").and_then(|pad| pad.allowed_caps()).unwrap_or_else(gst::Caps::new_empty);
        let large = self.has(Quirk::RefuseLarge) && size.0 * size.1 > 1280 * 720;
        let refused = match self.has(Quirk::RefuseSize) || large {
            true => Some(format!("cannot encode {}x{}", size.0, size.1)),
            false => (self.spec.refuses)(&self.settings, size, &behind),
        };
        if let Some(why) = refused {
            gst::element_error!(element, gst::LibraryError::Settings, ("{why}"));
            return Err(gst::loggable_error!(gst::CAT_DEFAULT, "{why}"));
        }
        let baseline = (self.spec.is_baseline)(&self.settings, &behind) && !self.has(Quirk::High);
        let profile = if baseline { 66 } else { 100 };
        let framerate = u64::try_from(info.fps().numer() / info.fps().denom().max(1)).unwrap_or(30).max(1);
        let first_rate = (self.spec.bitrate)(&self.settings);
        *self.stream.lock().unwrap() = Some(Stream {
            writer: Writer::new(size.0, size.1, profile),
            index: 0,
            since_key: 0,
            due: None,
            framerate,
            first_rate,
            pixels: size.0 * size.1,
        });
        let mut caps = gst::Caps::builder("video/x-h264").field("stream-format", "byte-stream").field("alignment", "au");
        if !behind.is_any() && behind.iter().any(|structure| structure.has_field("profile")) {
            // what was asked for, also by one that does otherwise
            let asked = behind.iter().find_map(|structure| structure.get::<&str>("profile").ok().map(str::to_owned));
            caps = caps.field("profile", asked.unwrap_or_else(|| "constrained-baseline".into()));
        }
        if behind.iter().any(|structure| structure.has_field("level")) {
            caps = caps.field("level", "4");
        }
        let output = element.set_output_state(caps.build(), Some(state));
        let negotiated = output.and_then(|output| element.negotiate(output));
        negotiated.map_err(|_| gst::loggable_error!(gst::CAT_DEFAULT, "what stands behind takes none of it"))
    }

    pub fn handle_frame(
        &self,
        element: &gst_video::VideoEncoder,
        mut frame: gst_video::VideoCodecFrame<'_>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let by_event = frame.flags().contains(gst_video::VideoCodecFrameFlags::FORCE_KEYFRAME) && self.spec.signal.is_none();
        let asked = std::mem::take(&mut *self.asked.lock().unwrap()) || by_event;
        let mut stream = self.stream.lock().unwrap();
        let stream = stream.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        if quirk::frame(&self.quirks, stream.index, stream.pixels).is_err() {
            gst::element_error!(element, gst::StreamError::Encode, ("the driver gave an error"));
            return Err(gst::FlowError::Error);
        }
        let index = stream.index;
        stream.index += 1;
        if self.has(Quirk::Silent) || self.has(Quirk::Lose) && index % 4 == 3 {
            return element.finish_frame(frame);
        }
        let key = self.is_key(stream, index, asked);
        stream.since_key = if key { 0 } else { stream.since_key + 1 };
        let slice = match key {
            true => Slice::Key,
            false if self.has(Quirk::BFrames) && index % 3 == 2 => Slice::Bidirectional,
            false => Slice::Predicted,
        };
        let headers = key && !self.has(Quirk::NoHeaders) && (index == 0 || self.repeats_headers());
        let mut unit = if headers { stream.writer.headers() } else { Vec::new() };
        let picture = stream.writer.picture(slice);
        let rate = match self.has(Quirk::IgnoreBitrate) {
            true => stream.first_rate,
            false => (self.spec.bitrate)(&self.settings),
        };
        let share = usize::try_from(rate / 8 / stream.framerate).unwrap_or(usize::MAX);
        if share > picture.len() + 32 {
            unit.extend(Writer::padding(share - picture.len() - 16));
        }
        unit.extend(picture);
        frame.set_output_buffer(gst::Buffer::from_mut_slice(unit));
        if key {
            frame.set_flags(gst_video::VideoCodecFrameFlags::SYNC_POINT);
        }
        element.finish_frame(frame)
    }

    fn repeats_headers(&self) -> bool {
        (self.spec.repeats_headers)(&self.settings) && !self.has(Quirk::HeadersOnce)
    }

    fn is_key(&self, stream: &mut Stream, index: u32, asked: bool) -> bool {
        let due = match stream.due.take() {
            Some(0) => true,
            Some(left) => {
                stream.due = Some(left - 1);
                false
            }
            None => false,
        };
        if asked && self.has(Quirk::LateKey) {
            stream.due.get_or_insert(LATE - 1);
        }
        let at_once = asked && !self.has(Quirk::LateKey) && !self.has(Quirk::NoKey);
        index == 0 || due || at_once || stream.since_key >= PERIOD && !self.has(Quirk::NoKey)
    }
}

macro_rules! classes {
    ($($module:ident: $spec:path;)*) => {
        $(mod $module {
            use super::*;
            use gstreamer::subclass::prelude::*;
            use gstreamer_video::subclass::prelude::*;

            pub struct Imp(Core);

            impl Default for Imp {
                fn default() -> Self {
                    Self(Core::new(&$spec))
                }
            }

            glib::wrapper! {
                pub struct Element(ObjectSubclass<Imp>) @extends gst_video::VideoEncoder, gst::Element, gst::Object;
            }

            #[glib::object_subclass]
            impl ObjectSubclass for Imp {
                const NAME: &'static str = concat!("PorticoStandIn_", stringify!($module));
                type Type = Element;
                type ParentType = gst_video::VideoEncoder;
            }

            impl ObjectImpl for Imp {
                fn properties() -> &'static [glib::ParamSpec] {
                    static ALL: std::sync::OnceLock<Vec<glib::ParamSpec>> = std::sync::OnceLock::new();
                    ALL.get_or_init(|| crate::spec::param_specs($spec.properties))
                }

                fn signals() -> &'static [glib::subclass::Signal] {
                    static ALL: std::sync::OnceLock<Vec<glib::subclass::Signal>> = std::sync::OnceLock::new();
                    ALL.get_or_init(|| {
                        let signal = |name: &str| {
                            glib::subclass::Signal::builder(name)
                                .action()
                                .class_handler(|arguments| {
                                    let element = arguments[0].get::<Element>().expect("a signal's first argument is its element");
                                    element.imp().0.ask();
                                    None
                                })
                                .build()
                        };
                        $spec.signal.map(signal).into_iter().collect()
                    })
                }

                fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
                    self.0.settings.set(spec.name(), value);
                }

                fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
                    self.0.settings.get(spec.name())
                }
            }

            impl GstObjectImpl for Imp {}

            impl ElementImpl for Imp {
                fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                    static IT: std::sync::OnceLock<gst::subclass::ElementMetadata> = std::sync::OnceLock::new();
                    let class = "Codec/Encoder/Video/Hardware";
                    Some(IT.get_or_init(|| gst::subclass::ElementMetadata::new("Stand-in", class, "For tests", "Portico")))
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static ALL: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
                    ALL.get_or_init(|| {
                        crate::spec::pads($spec.sink, "video/x-h264,stream-format=byte-stream,alignment=au")
                    })
                }
            }

            impl VideoEncoderImpl for Imp {
                fn open(&self) -> Result<(), gst::ErrorMessage> {
                    self.0.open()
                }

                fn set_format(
                    &self,
                    state: &gst_video::VideoCodecState<'static, gst_video::video_codec_state::Readable>,
                ) -> Result<(), gst::LoggableError> {
                    self.0.set_format(self.obj().upcast_ref(), state)
                }

                fn handle_frame(
                    &self,
                    frame: gst_video::VideoCodecFrame<'_>,
                ) -> Result<gst::FlowSuccess, gst::FlowError> {
                    self.0.handle_frame(self.obj().upcast_ref(), frame)
                }
            }
        })*

        pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
            $(gst::Element::register(Some(plugin), $spec.element, gst::Rank::NONE, $module::Element::static_type())?;)*
            Ok(())
        }
    };
}

classes! {
    v4l2: table::V4L2;
    nvv4l2: table::NVV4L2;
    mpp: table::MPP;
    vpu: table::VPU;
    imx: table::IMX;
    va: table::VA;
    va_lp: table::VA_LP;
    qsv: table::QSV;
    nv: table::NV;
}
