//! What `gst-launch-1.0` would do in Portico's place, for benchmarks: an encoder for each viewer, and a file that is played for nobody.

use std::path::Path;

use super::{PresenceCache, make};
use crate::media::SourceError;
use crate::media::board::{Board, Candidate};
use crate::media::plan::board_converter;
use crate::vocab::Codec;

/// The test picture of a source, encoded as often as there are viewers, by the encoder and with the settings that Portico uses here.
/// GStreamer must be initialised. Also tells the encoder's name.
pub fn an_encoder_each(
    (width, height, framerate): (u32, u32, u32),
    bitrate: crate::vocab::Bitrate,
    viewers: usize,
) -> Result<(Vec<String>, String), SourceError> {
    let failed = |error: crate::media::board::BoardError| SourceError::Failed(error.to_string());
    let board = Board::recognise(Path::new("/etc/portico/boards"), None, Path::new("/")).map_err(failed)?;
    let presences = PresenceCache::default();
    let ready = |asked: Candidate<'_>| presences.get(asked);
    let mut candidates = board.encoders_of(Codec::H264);
    let encoder = candidates.find(|it| ready(Candidate::Encoder(it)).is_ready()).ok_or_else(|| make::missing("x264enc"))?;
    let convert = encoder.convert.as_deref().unwrap_or_else(|| board_converter(&board, &ready));
    let mut words = vec![format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1 ! \
         timeoverlay font-desc=Monospace shaded-background=true valignment=center halignment=center ! tee name=t"
    )];
    let mut settings: Vec<String> = encoder.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    settings.push(format!("{}={}", encoder.bitrate.property, encoder.bitrate.value(bitrate)));
    for _ in 0..viewers {
        words.push(format!(
            "t. ! queue ! {convert} ! {} ! {} {} ! {} ! h264parse ! rtph264pay mtu=1200 ! fakesink sync=false",
            encoder.input_caps,
            encoder.element,
            settings.join(" "),
            encoder.output_caps,
        ));
    }
    Ok((words.iter().flat_map(|part| part.split_whitespace().map(str::to_owned)).collect(), encoder.element.clone()))
}

/// A Matroska file with H.264, parsed and thrown away at its own pace.
pub fn played_for_nobody(film: &Path) -> Vec<String> {
    let film = format!("location={}", film.display());
    ["filesrc", &film, "!", "matroskademux", "!", "h264parse", "!", "fakesink", "sync=true"].map(str::to_owned).into()
}
