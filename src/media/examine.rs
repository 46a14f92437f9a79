//! Whether a source could be opened, as far as that can be told without opening it: is its camera or file there, is every
//! element installed that it will need.
//!
//! For the start, when nobody watches yet: what is broken is said then and not only to the first viewer. Nothing is started, no
//! picture is taken; a camera's driver is asked for its formats, as `portico devices` does. Whether a server answers, a camera is
//! free and an encoder's driver works is found out by opening.

use std::fs::File;
use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::board::{Board, Candidate, DecoderInput};
use super::config::{PictureConfig, V4l2Config};
use super::device::{self, FindError, PixelFormat};
use super::element::{self, Presence};
use super::plan::{self, Choice, Refusal, SourceOffer, StreamOffer, camera, composing};
use super::probe::Verdicts;
use super::{SourceConfig, SourceError, SourceKind, Wants};
use crate::vocab::{Codec, MediaKind};

/// What keeps a source from being opened, and what to do about it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is wrong.
    pub error: SourceError,
    /// What to do, for people.
    pub help: String,
}

/// Elements without which no source works.
const ALWAYS: &[&str] = &["queue", "tee", "appsink"];

/// Looks at a source. `Ok` holds the encoder its picture would get, where one is needed and that is known before the source is
/// open. GStreamer must be initialised. May take as long as a camera's driver takes to answer, usually milliseconds.
pub fn examine(source: &SourceConfig, board: &Board, verdicts: &Verdicts) -> Result<Option<Choice>, Finding> {
    installed(ALWAYS)?;
    let encoder = match &source.kind {
        SourceKind::V4l2(config) => v4l2(config, board, verdicts)?,
        SourceKind::Csi(picture) => {
            csi(board)?;
            Some(encoder(picture_offer(picture), board, verdicts)?)
        }
        SourceKind::Test(test) => {
            installed(&["videotestsrc", "audiotestsrc"])?;
            pattern(&test.pattern)?;
            Some(encoder(picture_offer(&test.picture), board, verdicts)?)
        }
        SourceKind::File(file) => {
            readable(&file.path)?;
            installed(&["filesrc", "parsebin", "clocksync"])?;
            installed(demuxer(&file.path))?;
            None
        }
        SourceKind::Rtsp(_) => {
            installed(&["rtspsrc"])?;
            None
        }
        SourceKind::Mix(mix) => {
            installed(&["appsrc", "rtpjitterbuffer", "videoscale"])?;
            if composing::compositor_for(board, &|asked| presence(asked, verdicts)).is_err() {
                installed(&["compositor"])?;
            }
            let picture = PictureConfig { width: mix.width, height: mix.height, framerate: mix.framerate };
            Some(encoder(picture_offer(&picture), board, verdicts)?)
        }
    };
    if source.audio_device.is_some() {
        installed(&["alsasrc", "audioconvert", "audioresample"])?;
    }
    Ok(encoder)
}

fn v4l2(config: &V4l2Config, board: &Board, verdicts: &Verdicts) -> Result<Option<Choice>, Finding> {
    let camera = device::find(&config.device).map_err(|error| {
        let help = "plug it in, or name another: `portico devices` lists cameras with the text to write as `device`";
        match error {
            FindError::NotFound { have, .. } => Finding {
                error: SourceError::Missing { what: format!("camera {}", config.device) },
                help: format!("{have}; {help}"),
            },
            other => Finding { error: SourceError::Failed(other.to_string()), help: help.into() },
        }
    })?;
    installed(&["v4l2src"])?;
    let mode = camera::choose(&camera.modes, &config.picture, config.format).map_err(|error| Finding {
        error: SourceError::Failed(error.to_string()),
        help: "change `format`; `portico devices` lists what the camera has".into(),
    })?;
    match &mode.pixel {
        PixelFormat::H264 => installed(&["h264parse"]).map(|()| None),
        pixel => {
            if *pixel == PixelFormat::Mjpeg {
                jpeg(board, verdicts)?;
            }
            let (width, height, framerate) = (mode.width, mode.height, mode.frames_per_second());
            encoder(StreamOffer::Picture { width, height, framerate }, board, verdicts).map(Some)
        }
    }
}

/// The decoder of a camera's JPEG: the board's, else the plain one.
fn jpeg(board: &Board, verdicts: &Verdicts) -> Result<(), Finding> {
    match plan::decoder_for(DecoderInput::Jpeg, board, &|asked| presence(asked, verdicts)) {
        Some(_) => Ok(()),
        None => installed(&["jpegdec"]),
    }
}

fn csi(board: &Board) -> Result<(), Finding> {
    let mut candidates = board.csi.iter().map(|it| it.element.as_str());
    let Some(first) = candidates.next() else {
        return Err(Finding {
            error: SourceError::Missing { what: format!("a CSI connector (board file {})", board.name) },
            help: "set `board` of [sources], or a `csi` entry in the board's file".into(),
        });
    };
    match candidates.any(|element| element::registered(element).is_ready()) {
        true => Ok(()),
        false => installed(&[first]),
    }
}

fn pattern(nick: &str) -> Result<(), Finding> {
    let wrong = |error: String| Finding {
        error: SourceError::Failed(error),
        help: "`gst-inspect-1.0 videotestsrc` lists the patterns; `smpte` and `ball` are two".into(),
    };
    let element = gst::ElementFactory::make("videotestsrc").build().map_err(|error| wrong(error.to_string()))?;
    let known =
        element.find_property("pattern").is_some_and(|spec| gst::glib::Value::deserialize_with_pspec(nick, &spec).is_ok());
    if known { Ok(()) } else { Err(wrong(format!("videotestsrc has no pattern `{nick}`"))) }
}

fn readable(path: &Path) -> Result<(), Finding> {
    let what = format!("file {}", path.display());
    let help = "put a file there that the user portico runs as may read, or change `path`";
    let wrong = |error| Err(Finding { error, help: help.into() });
    // looked at before it is opened: opening a pipe waits for its other end
    match std::fs::metadata(path).and_then(|meta| if meta.is_file() { File::open(path).map(|_| meta) } else { Ok(meta) }) {
        Ok(meta) if meta.is_dir() => wrong(SourceError::Failed(format!("{what} is a folder"))),
        Ok(meta) if !meta.is_file() => wrong(SourceError::Failed(format!("{what} is no file"))),
        Ok(meta) if meta.len() == 0 => wrong(SourceError::Failed(format!("{what} is empty"))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => wrong(SourceError::Missing { what }),
        Err(error) => wrong(SourceError::Failed(format!("{what}: {error}"))),
    }
}

/// What takes a file apart, by the end of its name; nothing where that says nothing.
fn demuxer(path: &Path) -> &'static [&'static str] {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
    match end.as_str() {
        "mp4" | "m4v" | "mov" => &["qtdemux"],
        "mkv" | "webm" => &["matroskademux"],
        _ => &[],
    }
}

fn picture_offer(picture: &PictureConfig) -> StreamOffer {
    let PictureConfig { width, height, framerate } = *picture;
    StreamOffer::Picture { width, height, framerate }
}

/// The encoder a viewer would be given that takes any codec.
fn encoder(picture: StreamOffer, board: &Board, verdicts: &Verdicts) -> Result<Choice, Finding> {
    let video = Codec::ALL.iter().copied().filter(|codec| codec.kind() == MediaKind::Video).collect();
    let wants = Wants { video, audio: Vec::new() };
    let offer = SourceOffer { video: Some(picture), audio: None };
    let planned = plan::plan_kind(MediaKind::Video, &offer, &wants, board, &|asked| presence(asked, verdicts), &[]);
    let refused = |error| Finding { error, help: "`portico doctor` tells what this machine has and what is missing".into() };
    match planned {
        Some(Ok(choice)) => Ok(choice),
        Some(Err(refusal)) => Err(refused(SourceError::Refused(refusal))),
        None => Err(refused(SourceError::Refused(Refusal {
            have: "a picture".into(),
            want: "any codec".into(),
            reason: format!("board file {} names no encoder", board.name),
        }))),
    }
}

/// Installed, its device node there, and not refused by a trial; whether it works is not tried.
fn presence(asked: Candidate<'_>, verdicts: &Verdicts) -> Presence {
    verdicts.refusal(asked).unwrap_or_else(|| element::installed(asked.element(), asked.nodes()))
}

fn installed(elements: &[&str]) -> Result<(), Finding> {
    for element in elements {
        if let Presence::Missing { package } = element::registered(element) {
            let error = SourceError::MissingElement {
                element: (*element).into(),
                package: package.unwrap_or("(none known; see the board's vendor)").into(),
            };
            return Err(Finding { error, help: "then restart portico".into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::board::EncoderCandidate;

    fn look(table: &str, board: &Board) -> Result<Option<Choice>, String> {
        gst::init().unwrap();
        let source: SourceConfig = toml::from_str(&format!("name = 's'\n{table}")).unwrap();
        examine(&source, board, &Verdicts::default()).map_err(|finding| format!("{}; {}", finding.error, finding.help))
    }

    #[test]
    fn what_is_there_is_found_good() {
        let board = Board::generic();
        let choice = look("type = 'test'", &board).unwrap().expect("a picture is encoded");
        assert!(choice.encoder.is_some());
        let dir = tempfile::tempdir().unwrap();
        let film = dir.path().join("film.mkv");
        std::fs::write(&film, b"anything").unwrap();
        assert_eq!(look(&format!("type = 'file'\npath = {film:?}"), &board), Ok(None));
        assert_eq!(look("type = 'rtsp'\nurl = 'rtsp://192.0.2.1/a'", &board), Ok(None), "nobody is called");
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let board = Board::generic();
        let dir = tempfile::tempdir().unwrap();
        let (absent, empty) = (dir.path().join("gone.mp4"), dir.path().join("empty.mp4"));
        std::fs::write(&empty, b"").unwrap();
        for (table, parts) in [
            ("type = 'v4l2'\ndevice = 'name:NoSuchCamera'".to_owned(), ["camera name:NoSuchCamera", "portico devices"]),
            (format!("type = 'file'\npath = {absent:?}"), ["gone.mp4 is missing", "`path`"]),
            (format!("type = 'file'\npath = {empty:?}"), ["empty.mp4 is empty", "`path`"]),
            (format!("type = 'file'\npath = {:?}", dir.path()), ["is a folder", "`path`"]),
            ("type = 'test'\npattern = 'plaid'".to_owned(), ["no pattern `plaid`", "smpte"]),
            ("type = 'csi'".to_owned(), ["CSI connector", "board"]),
        ] {
            let told = look(&table, &board).unwrap_err();
            assert!(parts.iter().all(|part| told.contains(part)) || told.contains("/dev/video"), "{parts:?} in {told}");
        }
    }

    #[test]
    fn missing_encoder_is_named_and_another_takes_its_place() {
        let mut board = Board::generic();
        let only = |element: &str| EncoderCandidate { element: element.into(), ..Board::generic().encoders[0].clone() };
        board.encoders = vec![only("nosuchenc")];
        let told = look("type = 'test'", &board).unwrap_err();
        assert!(told.contains("nosuchenc is missing") && told.contains("portico doctor"), "{told}");
        board.encoders.push(only("x264enc"));
        let choice = look("type = 'test'", &board).unwrap().unwrap();
        assert_eq!(choice.encoder.as_deref(), Some("x264enc"));
        assert!(choice.reason.contains("nosuchenc is missing"), "{}", choice.reason);
        board.encoders.clear();
        assert!(look("type = 'test'", &board).unwrap_err().contains("names no encoder"));
    }
}
