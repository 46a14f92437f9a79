//! Decoders: grey pictures of the size that the caps say.

use std::sync::atomic::{AtomicU32, Ordering};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::quirk::{self, Quirk};
use super::spec::{Decoder, Settings};
use super::table;

pub struct Core {
    spec: &'static Decoder,
    pub settings: Settings,
    quirks: Vec<Quirk>,
    frames: AtomicU32,
}

impl Core {
    pub fn new(spec: &'static Decoder) -> Self {
        Self { spec, settings: Settings::new(spec.properties), quirks: quirk::of(spec.element), frames: AtomicU32::new(0) }
    }

    pub fn open(&self) {
        quirk::open(&self.quirks);
    }

    pub fn set_format(
        &self,
        element: &gst_video::VideoDecoder,
        state: &gst_video::VideoCodecState<'static, gst_video::video_codec_state::Readable>,
    ) -> Result<(), gst::LoggableError> {
        let fail = |why: &str| gst::loggable_error!(gst::CAT_DEFAULT, "{why}");
        let info = state.info();
        let more = if self.quirks.contains(&Quirk::Uncropped) { 16 } else { 0 };
        let format = gst_video::VideoFormat::Nv12;
        let mut output = element
            .set_output_state(format, info.width(), info.height() + more, Some(state))
            .map_err(|_| fail("no such picture"))?;
        // the first of what it gives that fits behind it, with the memory feature
        let given = self.spec.src.parse::<gst::Caps>().map_err(|_| fail("caps of the table"))?;
        let behind = element.static_pad("src").and_then(|pad| pad.allowed_caps()).unwrap_or(given);
        let feature = behind.features(0).map(|features| features.to_owned());
        let mut caps = output.info().to_caps().map_err(|_| fail("no caps"))?;
        if let (Some(feature), Some(caps)) = (feature, caps.get_mut()) {
            caps.set_features_simple(Some(feature));
        }
        output.set_caps(&caps);
        element.negotiate(output).map_err(|_| fail("what stands behind takes none of it"))
    }

    pub fn handle_frame(
        &self,
        element: &gst_video::VideoDecoder,
        mut frame: gst_video::VideoCodecFrame<'_>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let index = self.frames.fetch_add(1, Ordering::Relaxed);
        if quirk::frame(&self.quirks, index, 640 * 360).is_err() {
            gst::element_error!(element, gst::StreamError::Decode, ("the driver gave an error"));
            return Err(gst::FlowError::Error);
        }
        if self.quirks.contains(&Quirk::Silent) || self.quirks.contains(&Quirk::Lose) && index % 4 == 3 {
            return element.drop_frame(frame);
        }
        element.allocate_output_frame(&mut frame, None)?;
        if let Some(mut map) = frame.output_buffer_mut().and_then(|buffer| buffer.map_writable().ok()) {
            map.fill(128);
        }
        element.finish_frame(frame)
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
                pub struct Element(ObjectSubclass<Imp>) @extends gst_video::VideoDecoder, gst::Element, gst::Object;
            }

            #[glib::object_subclass]
            impl ObjectSubclass for Imp {
                const NAME: &'static str = concat!("PorticoStandInDecoder_", stringify!($module));
                type Type = Element;
                type ParentType = gst_video::VideoDecoder;
            }

            impl ObjectImpl for Imp {
                fn properties() -> &'static [glib::ParamSpec] {
                    static ALL: std::sync::OnceLock<Vec<glib::ParamSpec>> = std::sync::OnceLock::new();
                    ALL.get_or_init(|| crate::spec::param_specs($spec.properties))
                }

                fn constructed(&self) {
                    self.parent_constructed();
                    // access units come whole
                    self.obj().set_packetized(true);
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
                    let class = "Codec/Decoder/Video/Hardware";
                    Some(IT.get_or_init(|| gst::subclass::ElementMetadata::new("Stand-in", class, "For tests", "Portico")))
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static ALL: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
                    ALL.get_or_init(|| crate::spec::pads($spec.sink, $spec.src))
                }
            }

            impl VideoDecoderImpl for Imp {
                fn open(&self) -> Result<(), gst::ErrorMessage> {
                    self.0.open();
                    Ok(())
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
    v4l2: table::V4L2_DEC;
    v4l2_jpeg: table::V4L2_JPEG;
    nvv4l2: table::NVV4L2_DEC;
    mpp: table::MPP_DEC;
    mpp_jpeg: table::MPP_JPEG;
    vpu: table::VPU_DEC;
    imx: table::IMX_DEC;
    va: table::VA_DEC;
    nv: table::NV_DEC;
    sl_h264: table::SL_H264;
    sl_h265: table::SL_H265;
    sl_vp8: table::SL_VP8;
    sl_vp9: table::SL_VP9;
}
