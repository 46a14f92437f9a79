//! Compositors: GStreamer's own, behind pads that take a board's memory and nothing else.

use std::sync::atomic::{AtomicU32, Ordering};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use crate::convert::RENAME;
use crate::quirk::{self, Quirk};

/// NVIDIA L4T: RGBA in the board's memory.
const NAME: &str = "nvcompositor";
const CAPS: &str = "video/x-raw(memory:NVMM),format=RGBA";
/// What its pads are told, and so the real compositor's.
const TOLD: &[&str] = &["xpos", "ypos", "width", "height", "zorder", "alpha"];

mod pad {
    use super::*;
    use gstreamer::subclass::prelude::*;

    /// A pad whose properties are those of the compositor's pad behind it.
    #[derive(Default)]
    pub struct Imp(pub std::sync::OnceLock<gst::Pad>);

    glib::wrapper! {
        pub struct Pad(ObjectSubclass<Imp>) @extends gst::GhostPad, gst::ProxyPad, gst::Pad, gst::Object;
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Imp {
        const NAME: &'static str = "PorticoStandInCompositorPad";
        type Type = Pad;
        type ParentType = gst::GhostPad;
    }

    impl ObjectImpl for Imp {
        fn properties() -> &'static [glib::ParamSpec] {
            static ALL: std::sync::OnceLock<Vec<glib::ParamSpec>> = std::sync::OnceLock::new();
            ALL.get_or_init(|| {
                let number = |name: &&&str| glib::ParamSpecInt::builder(name).build();
                let numbers = TOLD[..4].iter().map(|name| number(&name));
                let depth = glib::ParamSpecUInt::builder(TOLD[4]).build();
                numbers.chain([depth, glib::ParamSpecDouble::builder(TOLD[5]).default_value(1.0).build()]).collect()
            })
        }

        fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            self.0.get().expect("a pad has one behind it").set_property_from_value(spec.name(), value);
        }

        fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
            self.0.get().expect("a pad has one behind it").property_value(spec.name())
        }
    }

    impl GstObjectImpl for Imp {}
    impl PadImpl for Imp {}
    impl ProxyPadImpl for Imp {}
    impl GhostPadImpl for Imp {}
}

mod element {
    use super::*;
    use gstreamer::subclass::prelude::*;

    #[derive(Default)]
    pub struct Imp {
        compositor: std::sync::OnceLock<gst::Element>,
        pads: AtomicU32,
    }

    glib::wrapper! {
        pub struct Element(ObjectSubclass<Imp>) @extends gst::Bin, gst::Element, gst::Object;
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Imp {
        const NAME: &'static str = "PorticoStandInCompositor";
        type Type = Element;
        type ParentType = gst::Bin;
    }

    fn make(name: &str) -> gst::Element {
        gst::ElementFactory::make(name).build().expect("base elements are installed")
    }

    fn only() -> gst::Element {
        let only = make("capsfilter");
        only.set_property("caps", CAPS.parse::<gst::Caps>().expect("caps"));
        only
    }

    impl ObjectImpl for Imp {
        fn constructed(&self) {
            self.parent_constructed();
            let bin = self.obj();
            let row = [make("compositor"), make(RENAME), only()];
            row[0].set_property_from_str("background", "black");
            bin.add_many(&row).expect("a new bin takes elements");
            gst::Element::link_many(&row).expect("its picture can be called otherwise");
            let exit = row[2].static_pad("src").expect("it has the pad");
            let template = bin.pad_template("src").expect("it has the template");
            let pad = gst::GhostPad::from_template_with_target(&template, &exit).expect("the pad is free");
            bin.add_pad(&pad).expect("the name is free");
            let quirks = quirk::of(NAME);
            let (frames, told) = (AtomicU32::new(0), row[1].downgrade());
            exit.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if quirk::frame(&quirks, frames.fetch_add(1, Ordering::Relaxed), 1).is_ok() {
                    return gst::PadProbeReturn::Ok;
                }
                if let Some(element) = told.upgrade() {
                    gst::element_error!(element, gst::StreamError::Failed, ("nvbuffer_composite Failed"));
                }
                info.flow_res = Err(gst::FlowError::Error);
                gst::PadProbeReturn::Handled
            });
            self.compositor.set(row[0].clone()).expect("it is made once");
        }
    }

    impl GstObjectImpl for Imp {}

    impl ElementImpl for Imp {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static IT: std::sync::OnceLock<gst::subclass::ElementMetadata> = std::sync::OnceLock::new();
            let class = "Filter/Editor/Video/Compositor/Hardware";
            Some(IT.get_or_init(|| gst::subclass::ElementMetadata::new("Stand-in", class, "For tests", "Portico")))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static ALL: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
            ALL.get_or_init(|| {
                let caps = CAPS.parse::<gst::Caps>().expect("caps");
                let sink = gst::PadTemplate::new("sink_%u", gst::PadDirection::Sink, gst::PadPresence::Request, &caps);
                vec![sink.expect("a pad has a name and caps"), crate::spec::pads(CAPS, CAPS).remove(1)]
            })
        }

        fn request_new_pad(&self, template: &gst::PadTemplate, _: Option<&str>, _: Option<&gst::Caps>) -> Option<gst::Pad> {
            let bin = self.obj();
            let number = self.pads.fetch_add(1, Ordering::Relaxed);
            let front = [only(), make(RENAME)];
            bin.add_many(&front).ok()?;
            gst::Element::link_many(&front).ok()?;
            let behind = self.compositor.get()?.request_pad_simple("sink_%u")?;
            front[1].static_pad("src")?.link(&behind).ok()?;
            front.iter().for_each(|element| assert!(element.sync_state_with_parent().is_ok()));
            let pad: pad::Pad = glib::Object::builder()
                .property("name", format!("sink_{number}"))
                .property("direction", gst::PadDirection::Sink)
                .property("template", template)
                .build();
            pad.imp().0.set(behind).ok()?;
            pad.set_target(front[0].static_pad("sink").as_ref()).ok()?;
            pad.set_active(true).ok()?;
            bin.add_pad(&pad).ok()?;
            Some(pad.upcast())
        }

        fn release_pad(&self, pad: &gst::Pad) {
            let bin = self.obj();
            let Some(pad) = pad.downcast_ref::<pad::Pad>() else { return };
            let first = pad.target().and_then(|target| target.parent_element());
            let behind = pad.imp().0.get();
            let second = behind.and_then(|behind| behind.peer()).and_then(|peer| peer.parent_element());
            let _ = pad.set_active(false);
            let _ = bin.remove_pad(pad);
            if let (Some(compositor), Some(behind)) = (self.compositor.get(), behind) {
                compositor.release_request_pad(behind);
            }
            for element in [first, second].into_iter().flatten() {
                let _ = element.set_state(gst::State::Null);
                let _ = bin.remove(&element);
            }
        }

        fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            let quirks = quirk::of(NAME);
            // the presence asks for READY alone, the mix for more
            if transition == gst::StateChange::ReadyToPaused && quirks.contains(&Quirk::RefuseSize) {
                gst::element_error!(self.obj(), gst::ResourceError::OpenReadWrite, ("the engine is not there"));
                return Err(gst::StateChangeError);
            }
            self.parent_change_state(transition)
        }
    }

    impl BinImpl for Imp {}
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), NAME, gst::Rank::NONE, element::Element::static_type())
}
