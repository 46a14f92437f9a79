//! A board file as it is written, and how it becomes a [`Board`]. The schema is told for people in `pipelines/README.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use super::{
    BitrateControl, Board, CompositorCandidate, CsiCandidate, DecoderCandidate, DecoderInput, EncoderCandidate, EncoderLimits,
    KeyMethod, Origin, PadNames, Quirk, System,
};
use crate::vocab::Codec;

/// A board file as it is written.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoardFile {
    description: String,
    #[serde(default)]
    pub(super) compatible: Vec<String>,
    #[serde(default)]
    pub(super) pci: Vec<PciPattern>,
    /// The file applies only where one of these exists.
    #[serde(default)]
    pub(super) nodes: Vec<PathBuf>,
    #[serde(default)]
    system: Vec<System>,
    #[serde(default)]
    quirk: Vec<Quirk>,
    #[serde(default)]
    convert: Vec<Chain>,
    #[serde(default)]
    encoder: Vec<EncoderEntry>,
    #[serde(default)]
    decoder: Vec<DecoderEntry>,
    #[serde(default)]
    compose: Vec<ComposeEntry>,
    #[serde(default)]
    csi: Vec<CsiEntry>,
    #[serde(default)]
    vendor: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncoderEntry {
    codec: Codec,
    element: ElementName,
    hardware: bool,
    input_caps: String,
    output_caps: String,
    convert: Option<Chain>,
    #[serde(default)]
    properties: BTreeMap<String, PropertyValue>,
    bitrate: BitrateControl,
    #[serde(default)]
    key_frame: KeyFrame,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    nodes: Vec<PathBuf>,
    #[serde(default)]
    limits: EncoderLimits,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecoderEntry {
    input: DecoderInput,
    element: ElementName,
    hardware: bool,
    #[serde(default)]
    output_caps: String,
    #[serde(default)]
    properties: BTreeMap<String, PropertyValue>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    nodes: Vec<PathBuf>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComposeEntry {
    element: ElementName,
    hardware: bool,
    upload: Option<Chain>,
    #[serde(default)]
    input_caps: String,
    output_caps: String,
    download: Option<Chain>,
    #[serde(default)]
    properties: BTreeMap<String, PropertyValue>,
    #[serde(default)]
    pad: PadNames,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    nodes: Vec<PathBuf>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CsiEntry {
    element: ElementName,
    output_caps: String,
    #[serde(default)]
    properties: BTreeMap<String, PropertyValue>,
}

impl BoardFile {
    pub(super) fn board(self, name: String, origin: Origin) -> Board {
        Board {
            name,
            description: self.description,
            origin,
            encoders: self.encoder.into_iter().map(EncoderEntry::candidate).collect(),
            decoders: self.decoder.into_iter().map(DecoderEntry::candidate).collect(),
            compositors: self.compose.into_iter().map(ComposeEntry::candidate).collect(),
            csi: self.csi.into_iter().map(CsiEntry::candidate).collect(),
            convert: self.convert.into_iter().map(|chain| chain.0).collect(),
            vendor: self.vendor,
            systems: self.system,
            quirks: self.quirk,
        }
    }
}

impl EncoderEntry {
    fn candidate(self) -> EncoderCandidate {
        EncoderCandidate {
            codec: self.codec,
            element: self.element.0,
            hardware: self.hardware,
            input_caps: self.input_caps,
            output_caps: self.output_caps,
            convert: self.convert.map(|chain| chain.0),
            properties: texts(self.properties),
            bitrate: self.bitrate,
            key_frame: self.key_frame.into(),
            requires: self.requires,
            nodes: self.nodes,
            limits: self.limits,
        }
    }
}

impl DecoderEntry {
    fn candidate(self) -> DecoderCandidate {
        DecoderCandidate {
            input: self.input,
            element: self.element.0,
            hardware: self.hardware,
            output_caps: self.output_caps,
            properties: texts(self.properties),
            requires: self.requires,
            nodes: self.nodes,
        }
    }
}

impl ComposeEntry {
    fn candidate(self) -> CompositorCandidate {
        let text = |chain: Option<Chain>| chain.map(|chain| chain.0).unwrap_or_default();
        CompositorCandidate {
            element: self.element.0,
            hardware: self.hardware,
            upload: text(self.upload),
            input_caps: self.input_caps,
            output_caps: self.output_caps,
            download: text(self.download),
            properties: texts(self.properties),
            pad: self.pad,
            requires: self.requires,
            nodes: self.nodes,
        }
    }
}

impl CsiEntry {
    fn candidate(self) -> CsiCandidate {
        CsiCandidate { element: self.element.0, output_caps: self.output_caps, properties: texts(self.properties) }
    }
}

fn texts(properties: BTreeMap<String, PropertyValue>) -> BTreeMap<String, String> {
    properties.into_iter().map(|(name, value)| (name, value.0)).collect()
}

/// A PCI device: vendor and device in four hexadecimal digits each, or `*` for every device of the vendor.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PciPattern {
    vendor: String,
    device: Option<String>,
}

impl PciPattern {
    /// Whether an id as [`super::Identity`] has it is meant.
    pub(super) fn matches(&self, id: &str) -> bool {
        id.split_once(':')
            .is_some_and(|(vendor, device)| vendor == self.vendor && self.device.as_ref().is_none_or(|wanted| wanted == device))
    }
}

impl TryFrom<String> for PciPattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = |part: &str| part.len() == 4 && part.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        match text.split_once(':') {
            Some((vendor, "*")) if digits(vendor) => Ok(Self { vendor: vendor.into(), device: None }),
            Some((vendor, device)) if digits(vendor) && digits(device) => {
                Ok(Self { vendor: vendor.into(), device: Some(device.into()) })
            }
            _ => Err(format!("`{text}` is no PCI device: write `8086:*` or `8086:46a6`, in small letters")),
        }
    }
}

/// An element's name: letters, digits, `_`, `-`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
struct ElementName(String);

impl TryFrom<String> for ElementName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is no element name: letters, digits, `_` and `-` are allowed"))
    }
}

/// Elements in a row: `a` or `a ! b`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
struct Chain(String);

impl TryFrom<String> for Chain {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let names: Result<Vec<_>, _> = super::chain(&text).map(|name| ElementName::try_from(name.to_owned())).collect();
        names.map(|names| Self(names.into_iter().map(|name| name.0).collect::<Vec<_>>().join(" ! ")))
    }
}

/// A property's value: text, number or truth value in the file, text for GStreamer.
#[derive(Clone)]
struct PropertyValue(String);

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl de::Visitor<'_> for Scalar {
            type Value = PropertyValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }
            fn visit_str<E>(self, value: &str) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

/// `"force-key-unit"` or `"action:SIGNAL"`.
#[derive(Clone, Default, Deserialize)]
#[serde(try_from = "String")]
enum KeyFrame {
    #[default]
    ForceKeyUnit,
    Action(String),
}

impl TryFrom<String> for KeyFrame {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "force-key-unit" => Ok(Self::ForceKeyUnit),
            Some(("action", signal)) if !signal.is_empty() => Ok(Self::Action(signal.to_owned())),
            _ => Err(format!("`{text}` is no way to ask for a key frame: write `force-key-unit` or `action:SIGNAL`")),
        }
    }
}

impl From<KeyFrame> for KeyMethod {
    fn from(key: KeyFrame) -> Self {
        match key {
            KeyFrame::ForceKeyUnit => Self::ForceKeyUnit,
            KeyFrame::Action(signal) => Self::ActionSignal(signal),
        }
    }
}

impl<'de> Deserialize<'de> for DecoderInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.eq_ignore_ascii_case("jpeg") {
            return Ok(Self::Jpeg);
        }
        Codec::from_name(&text)
            .map(Self::Codec)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is no input: H264, H265, VP8, VP9, AV1, opus or jpeg")))
    }
}
