//! `[[source]]` as it is written: one flat table, checked key by key.
//!
//! `serde(flatten)` accepts unknown keys. This table knows all keys of all types and refuses others itself; which keys a type
//! takes, and their ranges, are checked in the conversion.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{
    CameraFormat, FileConfig, PictureConfig, RtspConfig, RtspTransport, RtspUrl, SourceConfig, SourceKind, TestConfig, V4l2Config,
};
use crate::vocab::{Bitrate, SourceName};

/// Why a `[[source]]` cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceTableError {
    /// A key that another type of source has.
    #[error("key `{key}` does not belong to a source of type `{kind}`; it takes: {takes}")]
    Foreign {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
        /// The keys it has.
        takes: &'static str,
    },
    /// A key that the type needs.
    #[error("a source of type `{kind}` needs the key `{key}`")]
    Needed {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// A number outside its range.
    #[error("`{key} = {value}` is out of range: {low} to {high} are allowed")]
    Range {
        /// The key.
        key: &'static str,
        /// The number.
        value: u64,
        /// Least allowed.
        low: u64,
        /// Most allowed.
        high: u64,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    V4l2,
    Csi,
    Test,
    File,
    Rtsp,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::V4l2 => "v4l2",
            Self::Csi => "csi",
            Self::Test => "test",
            Self::File => "file",
            Self::Rtsp => "rtsp",
        }
    }

    /// Its keys beside `name`, `type` and `bitrate`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::V4l2 => &["device", "width", "height", "framerate", "format", "audio_device"],
            Self::Csi => &["width", "height", "framerate", "audio_device"],
            Self::Test => &["width", "height", "framerate", "pattern", "tone"],
            Self::File => &["path"],
            Self::Rtsp => &["url", "transport", "latency"],
        }
    }

    fn takes(self) -> &'static str {
        match self {
            Self::V4l2 => "name, device, width, height, framerate, format, bitrate, audio_device",
            Self::Csi => "name, width, height, framerate, bitrate, audio_device",
            Self::Test => "name, width, height, framerate, pattern, tone, bitrate",
            Self::File => "name, path, bitrate",
            Self::Rtsp => "name, url, transport, latency, bitrate",
        }
    }
}

/// Every key of every type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    name: SourceName,
    #[serde(rename = "type")]
    kind: Type,
    bitrate: Option<u64>,
    audio_device: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    framerate: Option<u32>,
    device: Option<String>,
    format: Option<CameraFormat>,
    pattern: Option<String>,
    tone: Option<u32>,
    path: Option<PathBuf>,
    url: Option<RtspUrl>,
    transport: Option<RtspTransport>,
    #[serde(default, with = "humantime_serde")]
    latency: Option<Duration>,
}

impl<'de> Deserialize<'de> for SourceConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SourceTable::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<SourceTable> for SourceConfig {
    type Error = SourceTableError;

    fn try_from(table: SourceTable) -> Result<Self, SourceTableError> {
        let kind = table.kind;
        let present = [
            ("audio_device", table.audio_device.is_some()),
            ("width", table.width.is_some()),
            ("height", table.height.is_some()),
            ("framerate", table.framerate.is_some()),
            ("device", table.device.is_some()),
            ("format", table.format.is_some()),
            ("pattern", table.pattern.is_some()),
            ("tone", table.tone.is_some()),
            ("path", table.path.is_some()),
            ("url", table.url.is_some()),
            ("transport", table.transport.is_some()),
            ("latency", table.latency.is_some()),
        ];
        if let Some((key, _)) = present.into_iter().find(|(key, given)| *given && !kind.keys().contains(key)) {
            return Err(SourceTableError::Foreign { key, kind: kind.name(), takes: kind.takes() });
        }
        let standard = PictureConfig::default();
        let picture = PictureConfig {
            width: ranged("width", table.width, 16, 7680, standard.width)?,
            height: ranged("height", table.height, 16, 4320, standard.height)?,
            framerate: ranged("framerate", table.framerate, 1, 240, standard.framerate)?,
        };
        let needed = |key| SourceTableError::Needed { key, kind: kind.name() };
        let test = TestConfig::default();
        let source = match kind {
            Type::V4l2 => SourceKind::V4l2(V4l2Config {
                device: table.device.ok_or_else(|| needed("device"))?,
                picture,
                format: table.format.unwrap_or_default(),
            }),
            Type::Csi => SourceKind::Csi(picture),
            Type::Test => SourceKind::Test(TestConfig {
                picture,
                pattern: table.pattern.unwrap_or(test.pattern),
                tone: ranged("tone", table.tone, 0, 20_000, test.tone)?,
            }),
            Type::File => SourceKind::File(FileConfig { path: table.path.ok_or_else(|| needed("path"))? }),
            Type::Rtsp => SourceKind::Rtsp(RtspConfig {
                url: table.url.ok_or_else(|| needed("url"))?,
                transport: table.transport.unwrap_or_default(),
                latency: latency(table.latency)?,
            }),
        };
        let bitrate = table.bitrate.unwrap_or(super::default_bitrate().bps());
        if !(100_000..=50_000_000).contains(&bitrate) {
            return Err(SourceTableError::Range { key: "bitrate", value: bitrate, low: 100_000, high: 50_000_000 });
        }
        Ok(Self { name: table.name, kind: source, bitrate: Bitrate::from_bps(bitrate), audio_device: table.audio_device })
    }
}

fn ranged(key: &'static str, value: Option<u32>, low: u32, high: u32, standard: u32) -> Result<u32, SourceTableError> {
    match value.unwrap_or(standard) {
        value if (low..=high).contains(&value) => Ok(value),
        value => Err(SourceTableError::Range { key, value: value.into(), low: low.into(), high: high.into() }),
    }
}

/// In milliseconds; 10 s would be no live picture any more.
fn latency(value: Option<Duration>) -> Result<Duration, SourceTableError> {
    let value = value.unwrap_or_else(super::default_latency);
    let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if ms > 10_000 {
        return Err(SourceTableError::Range { key: "latency (ms)", value: ms, low: 0, high: 10_000 });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SourceConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = read("name = 'a'\ntype = 'test'\nwitdh = 3").unwrap_err();
        assert!(error.contains("witdh") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn a_key_of_another_type_is_an_error_that_says_what_is_allowed() {
        let error = read("name = 'a'\ntype = 'file'\npath = 'x.mp4'\ndevice = 'any'").unwrap_err();
        assert!(error.contains("`device`") && error.contains("name, path, bitrate"), "{error}");
        assert!(read("name = 'a'\ntype = 'rtsp'").unwrap_err().contains("`url`"));
        assert!(read("name = 'a'\ntype = 'test'\nwidth = 8").unwrap_err().contains("16 to 7680"));
        assert!(read("name = 'a'\ntype = 'test'\nbitrate = 5").unwrap_err().contains("100000"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "name = 'a'\ntype = 'test'\nwidth = 320\nheight = 240\ntone = 0",
            "name = 'b'\ntype = 'v4l2'\ndevice = 'any'\nformat = 'h264'\naudio_device = 'hw:1'",
            "name = 'c'\ntype = 'csi'\nframerate = 60",
            "name = 'd'\ntype = 'file'\npath = '/x.webm'\nbitrate = 300000",
            "name = 'e'\ntype = 'rtsp'\nurl = 'rtsp://u:p@cam/1'\ntransport = 'udp'\nlatency = '50ms'",
        ] {
            let source = read(text).unwrap();
            assert_eq!(read(&toml::to_string(&source).unwrap()).unwrap(), source);
        }
    }
}
