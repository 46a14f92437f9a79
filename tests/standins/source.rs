//! CSI cameras: GStreamer's test picture, live.

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use super::convert::RENAME;

macro_rules! classes {
    ($($module:ident: $name:literal, $caps:literal;)*) => {
        $(mod $module {
            use super::*;
            use gstreamer::subclass::prelude::*;

            #[derive(Default)]
            pub struct Imp;

            glib::wrapper! {
                pub struct Element(ObjectSubclass<Imp>) @extends gst::Bin, gst::Element, gst::Object;
            }

            #[glib::object_subclass]
            impl ObjectSubclass for Imp {
                const NAME: &'static str = concat!("PorticoStandInCamera_", stringify!($module));
                type Type = Element;
                type ParentType = gst::Bin;
            }

            impl ObjectImpl for Imp {
                fn constructed(&self) {
                    self.parent_constructed();
                    let bin = self.obj();
                    let make = |name| gst::ElementFactory::make(name);
                    let source = make("videotestsrc").property("is-live", true).build().expect("base elements are installed");
                    let rename = make(RENAME).build().expect("it is in this plugin");
                    bin.add_many([&source, &rename]).expect("a new bin takes elements");
                    source.link(&rename).expect("a picture can be called otherwise");
                    let (target, template) = rename.static_pad("src").zip(bin.pad_template("src")).expect("both have the pad");
                    let pad = gst::GhostPad::from_template_with_target(&template, &target).expect("the pad is free");
                    bin.add_pad(&pad).expect("the name is free");
                }
            }

            impl GstObjectImpl for Imp {}

            impl ElementImpl for Imp {
                fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                    static IT: std::sync::OnceLock<gst::subclass::ElementMetadata> = std::sync::OnceLock::new();
                    Some(IT.get_or_init(|| gst::subclass::ElementMetadata::new("Stand-in", "Source/Video", "For tests", "Portico")))
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static ALL: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
                    ALL.get_or_init(|| crate::spec::pads("video/x-raw", $caps).split_off(1))
                }
            }

            impl BinImpl for Imp {}
        })*

        pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
            $(gst::Element::register(Some(plugin), $name, gst::Rank::NONE, $module::Element::static_type())?;)*
            Ok(())
        }
    };
}

classes! {
    argus: "nvarguscamerasrc", "video/x-raw(memory:NVMM),format=NV12";
    libcamera: "libcamerasrc", "video/x-raw";
}
