//! Converters: GStreamer's own, between two elements that call memory by a board's name.

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_video::gst_base;

/// The kinds of memory there are; all of them are plain memory here.
const FEATURES: &[&str] = &["memory:SystemMemory", "memory:NVMM", "memory:VAMemory", "memory:CUDAMemory"];

/// The name of the element that calls memory otherwise.
pub const RENAME: &str = "porticostandinmemory";

/// Names, and which memory each takes and gives.
const CONVERTERS: &[(&str, &[&str])] = &[
    ("v4l2convert", &["memory:SystemMemory"]),
    ("nvvidconv", &["memory:SystemMemory", "memory:NVMM"]),
    ("imxvideoconvert_g2d", &["memory:SystemMemory"]),
    ("vapostproc", &["memory:SystemMemory", "memory:VAMemory"]),
    ("cudaupload", &["memory:SystemMemory", "memory:CUDAMemory"]),
    ("cudaconvertscale", &["memory:CUDAMemory"]),
    ("cudadownload", &["memory:SystemMemory", "memory:CUDAMemory"]),
];

fn memory(names: &[&str]) -> String {
    names.iter().map(|name| format!("video/x-raw({name})")).collect::<Vec<_>>().join(";")
}

mod rename {
    use super::*;
    use gstreamer::subclass::prelude::*;
    use gstreamer_video::gst_base::subclass::prelude::*;

    #[derive(Default)]
    pub struct Imp;

    glib::wrapper! {
        pub struct Element(ObjectSubclass<Imp>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Imp {
        const NAME: &'static str = "PorticoStandInMemory";
        type Type = Element;
        type ParentType = gst_base::BaseTransform;
    }

    impl ObjectImpl for Imp {}
    impl GstObjectImpl for Imp {}

    impl ElementImpl for Imp {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static IT: std::sync::OnceLock<gst::subclass::ElementMetadata> = std::sync::OnceLock::new();
            Some(IT.get_or_init(|| gst::subclass::ElementMetadata::new("Stand-in", "Filter/Video", "For tests", "Portico")))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static ALL: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
            ALL.get_or_init(|| crate::spec::pads(&memory(FEATURES), &memory(FEATURES)))
        }
    }

    impl BaseTransformImpl for Imp {
        const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = true;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(&self, _: gst::PadDirection, caps: &gst::Caps, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
            let mut all = gst::Caps::new_empty();
            for feature in FEATURES {
                for structure in caps.iter() {
                    let features = gst::CapsFeatures::new([*feature]);
                    all.get_mut()?.append_structure_full(structure.to_owned(), Some(features));
                }
            }
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&all, gst::CapsIntersectMode::First),
                None => all,
            })
        }

        fn transform_ip(&self, _: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
            Ok(gst::FlowSuccess::Ok)
        }
    }
}

macro_rules! classes {
    ($($module:ident: $index:literal;)*) => {
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
                const NAME: &'static str = concat!("PorticoStandInConvert_", stringify!($module));
                type Type = Element;
                type ParentType = gst::Bin;
            }

            impl ObjectImpl for Imp {
                fn constructed(&self) {
                    self.parent_constructed();
                    let bin = self.obj();
                    let make = |name| gst::ElementFactory::make(name).build().expect("base elements are installed");
                    let row = [make(RENAME), make("videoconvert"), make("videoscale"), make(RENAME)];
                    bin.add_many(&row).expect("a new bin takes elements");
                    gst::Element::link_many(&row).expect("converters link");
                    for (name, element) in [("sink", &row[0]), ("src", &row[3])] {
                        let (target, template) = (element.static_pad(name), bin.pad_template(name));
                        let (target, template) = target.zip(template).expect("both have these pads");
                        let pad = gst::GhostPad::from_template_with_target(&template, &target).expect("the pad is free");
                        bin.add_pad(&pad).expect("the name is free");
                    }
                }
            }

            impl GstObjectImpl for Imp {}

            impl ElementImpl for Imp {
                fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                    static IT: std::sync::OnceLock<gst::subclass::ElementMetadata> = std::sync::OnceLock::new();
                    let class = "Filter/Converter/Video/Scaler/Hardware";
                    Some(IT.get_or_init(|| gst::subclass::ElementMetadata::new("Stand-in", class, "For tests", "Portico")))
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static ALL: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
                    let caps = || memory(CONVERTERS[$index].1);
                    ALL.get_or_init(|| crate::spec::pads(&caps(), &caps()))
                }
            }

            impl BinImpl for Imp {}
        })*

        pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
            gst::Element::register(Some(plugin), RENAME, gst::Rank::NONE, rename::Element::static_type())?;
            $(gst::Element::register(Some(plugin), CONVERTERS[$index].0, gst::Rank::NONE, $module::Element::static_type())?;)*
            Ok(())
        }
    };
}

classes! {
    v4l2: 0;
    nv: 1;
    g2d: 2;
    va: 3;
    cuda_up: 4;
    cuda: 5;
    cuda_down: 6;
}
