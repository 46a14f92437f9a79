//! How an element is described: caps, properties, habits.

use std::collections::HashMap;
use std::sync::Mutex;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

/// A property with its default.
#[derive(Clone, Copy)]
pub enum Kind {
    Bool(bool),
    Int(i32),
    Uint(u32),
    /// One of these words; the first is the default.
    Word(&'static [&'static str]),
    /// A structure (`extra-controls`).
    Controls,
}

/// A property.
pub type Property = (&'static str, Kind);

/// An encoder of H.264.
pub struct Encoder {
    pub element: &'static str,
    /// Caps it takes, with the board's memory feature.
    pub sink: &'static str,
    pub properties: &'static [Property],
    /// Asked for key frames by this action signal alone; `None`: by GStreamer's event.
    pub signal: Option<&'static str>,
    /// bit/s as it is set.
    pub bitrate: fn(&Settings) -> u64,
    /// Whether it puts parameter sets in front of each key frame.
    pub repeats_headers: fn(&Settings) -> bool,
    /// Whether it makes baseline; else High. The caps are what stands behind it allows.
    pub is_baseline: fn(&Settings, &gst::Caps) -> bool,
    /// Why it does not take pictures of a size; the caps are what stands behind it allows.
    pub refuses: fn(&Settings, (u32, u32), &gst::Caps) -> Option<String>,
}

/// A decoder.
pub struct Decoder {
    pub element: &'static str,
    /// Caps it takes.
    pub sink: &'static str,
    /// Caps it gives, with the board's memory feature, without size.
    pub src: &'static str,
    pub properties: &'static [Property],
}

/// A property's value.
#[derive(Clone)]
enum Held {
    Bool(bool),
    Int(i32),
    Uint(u32),
    Word(String),
    Controls(Option<gst::Structure>),
}

/// The values of an element's properties.
pub struct Settings {
    properties: &'static [Property],
    values: Mutex<HashMap<String, Held>>,
}

impl Settings {
    pub fn new(properties: &'static [Property]) -> Self {
        Self { properties, values: Mutex::default() }
    }

    pub fn set(&self, name: &str, value: &glib::Value) {
        let held = match self.kind(name) {
            Kind::Bool(_) => Held::Bool(value.get().expect("GObject checks types")),
            Kind::Int(_) => Held::Int(value.get().expect("GObject checks types")),
            Kind::Uint(_) => Held::Uint(value.get().expect("GObject checks types")),
            Kind::Word(_) => Held::Word(value.get::<Option<String>>().ok().flatten().unwrap_or_default()),
            // a driver keeps the controls that are not sent again
            Kind::Controls => {
                let new = value.get::<Option<gst::Structure>>().expect("GObject checks types");
                let mut all = self.controls(name).unwrap_or_else(|| gst::Structure::new_empty("controls"));
                for (field, value) in new.iter().flat_map(|new| new.iter()) {
                    all.set_value(field, value.clone());
                }
                Held::Controls(Some(all))
            }
        };
        self.values.lock().unwrap().insert(name.into(), held);
    }

    pub fn get(&self, name: &str) -> glib::Value {
        match self.held(name) {
            Held::Bool(it) => it.to_value(),
            Held::Int(it) => it.to_value(),
            Held::Uint(it) => it.to_value(),
            Held::Word(it) => it.to_value(),
            Held::Controls(it) => it.to_value(),
        }
    }

    fn held(&self, name: &str) -> Held {
        let default = || match self.kind(name) {
            Kind::Bool(default) => Held::Bool(default),
            Kind::Int(default) => Held::Int(default),
            Kind::Uint(default) => Held::Uint(default),
            Kind::Word(words) => Held::Word(words[0].into()),
            Kind::Controls => Held::Controls(None),
        };
        self.values.lock().unwrap().get(name).cloned().unwrap_or_else(default)
    }

    pub fn number(&self, name: &str) -> u64 {
        let value = self.get(name);
        value.get::<u32>().map(u64::from).or_else(|_| value.get::<i32>().map(|it| u64::try_from(it).unwrap_or(0))).unwrap()
    }

    pub fn truth(&self, name: &str) -> bool {
        self.get(name).get().unwrap()
    }

    pub fn word(&self, name: &str) -> String {
        self.get(name).get().unwrap()
    }

    fn controls(&self, name: &str) -> Option<gst::Structure> {
        self.get(name).get().unwrap()
    }

    /// A field of a structure.
    pub fn control(&self, name: &str, field: &str) -> Option<u64> {
        let value = self.controls(name)?.get::<i32>(field).ok()?;
        u64::try_from(value).ok()
    }

    /// Names of a structure's fields.
    pub fn controls_set(&self, name: &str) -> Vec<String> {
        self.controls(name).iter().flat_map(|it| it.fields().map(ToString::to_string).collect::<Vec<_>>()).collect()
    }

    /// A word that a property does not know: the real element would not take it.
    pub fn wrong_word(&self) -> Option<String> {
        self.properties.iter().find_map(|(name, kind)| match kind {
            Kind::Word(words) if !words.contains(&self.word(name).as_str()) => {
                Some(format!("{name} takes no {}", self.word(name)))
            }
            _ => None,
        })
    }

    fn kind(&self, name: &str) -> Kind {
        self.properties.iter().find(|(known, _)| *known == name).expect("GObject knows its properties").1
    }
}

/// The properties as GObject wants them.
pub fn param_specs(properties: &[Property]) -> Vec<glib::ParamSpec> {
    let spec = |(name, kind): &Property| match kind {
        Kind::Bool(default) => glib::ParamSpecBoolean::builder(name).default_value(*default).mutable_playing().build(),
        Kind::Int(default) => glib::ParamSpecInt::builder(name).default_value(*default).mutable_playing().build(),
        Kind::Uint(default) => glib::ParamSpecUInt::builder(name).default_value(*default).mutable_playing().build(),
        Kind::Word(words) => glib::ParamSpecString::builder(name).default_value(words[0]).mutable_playing().build(),
        Kind::Controls => glib::ParamSpecBoxed::builder::<gst::Structure>(name).mutable_playing().build(),
    };
    properties.iter().map(spec).collect()
}

/// The pad templates of an element.
pub fn pads(sink: &str, src: &str) -> Vec<gst::PadTemplate> {
    let pad = |name: &str, direction, caps: &str| {
        let caps = caps.parse::<gst::Caps>().expect("caps of a table are caps");
        gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).expect("a pad has a name and caps")
    };
    vec![pad("sink", gst::PadDirection::Sink, sink), pad("src", gst::PadDirection::Src, src)]
}
