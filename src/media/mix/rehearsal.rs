//! A mix without a network, for `portico bench mix`: a film is made once, and published by so many at a time. And the same pipeline as
//! `gst-launch-1.0` has it, to be compared with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{mpsc, oneshot};

use super::layout::{Size, place};
use super::{MixFrom, MixInput};
use crate::forward::{FramePackets, FrameSink, Offered, SinkId};
use crate::media::board::{Board, Candidate, DecoderInput};
use crate::media::pipeline::{PresenceCache, make};
use crate::media::tap::Feed;
use crate::media::{Media, MediaCommand, MediaSourceConfig, SourceConfig, SourceError, SourceKind, Wants};
use crate::vocab::{Codec, EncodedFrame, LayerId, MemberId, MixConfig, PeerId, SourceName, StreamName, TrackFormat, TrackId};

/// Of publishers and of the mix.
const FRAMERATE: u32 = 25;
/// Longest wait for the first picture of the mix.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// GStreamer, an element or a codec.
    #[error(transparent)]
    Media(#[from] SourceError),
    /// The mix gave nothing.
    #[error("the mix gave no picture within {} s", PATIENCE.as_secs())]
    Silent,
    /// The board file, or a thread.
    #[error("the media plane does not start")]
    Start(#[from] crate::media::MediaError),
}

/// What is mixed.
pub struct Film {
    frames: Vec<(Bytes, bool)>,
    path: PathBuf,
    board: Board,
}

/// A mix at work, until this is dropped.
pub struct Rehearsal {
    media: Media,
    stop: Arc<AtomicBool>,
    feeder: Option<JoinHandle<()>>,
    seen: Arc<AtomicU64>,
}

fn failed(error: impl ToString) -> SourceError {
    SourceError::Failed(error.to_string())
}

/// How the mix looks.
fn config() -> MixConfig {
    MixConfig { framerate: FRAMERATE, ..MixConfig::default() }
}

impl Film {
    /// Makes a film of so many seconds, 640 by 360 in H.264; `folder` gets a copy for `gst-launch-1.0`.
    pub fn make(folder: &Path, seconds: u64) -> Result<Self, RehearsalError> {
        gst::init().map_err(failed)?;
        let board =
            Board::recognise(Path::new("/etc/portico/boards"), None, Path::new("/")).map_err(crate::media::MediaError::Board)?;
        let path = folder.join("film.mkv");
        let pipeline = make::pipeline(&format!(
            "videotestsrc num-buffers={} pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate={FRAMERATE}/1 ! \
             x264enc tune=zerolatency speed-preset=veryfast bitrate=800 key-int-max=50 ! \
             h264parse config-interval=-1 ! tee name=t ! queue ! matroskamux ! filesink name=file \
             t. ! queue ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! \
             appsink name=frames sync=false max-buffers=0",
            seconds * u64::from(FRAMERATE)
        ))?;
        if let Some(file) = pipeline.by_name("file") {
            file.set_property("location", path.to_string_lossy().as_ref());
        }
        let sink = pipeline.by_name("frames").and_then(|it| it.downcast::<gst_app::AppSink>().ok());
        let sink = sink.ok_or_else(|| failed("the film's pipeline is incomplete"))?;
        pipeline.set_state(gst::State::Playing).map_err(failed)?;
        let mut frames = Vec::new();
        while let Ok(sample) = sink.pull_sample() {
            let Some(buffer) = sample.buffer() else { continue };
            let map = buffer.map_readable().map_err(failed)?;
            frames.push((Bytes::copy_from_slice(&map), !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)));
        }
        let bus = pipeline.bus();
        let end = bus.and_then(|bus| {
            bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error])
        });
        let _ = pipeline.set_state(gst::State::Null);
        match end.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) if !frames.is_empty() => Ok(Self { frames, path, board }),
            Some(gst::MessageView::Error(error)) => Err(failed(error.error()).into()),
            _ => Err(failed("the film did not come to its end").into()),
        }
    }

    /// Where it lies, as Matroska.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Mixes it, published so many times at once. Returns when the first pictures have come out.
    pub fn play(&self, publishers: usize) -> Result<Rehearsal, RehearsalError> {
        let name = SourceName::new("mix:bench").map_err(failed)?;
        let kind = SourceKind::Mix(config());
        let source = SourceConfig { name: name.clone(), kind, bitrate: config().bitrate, audio_device: None };
        let (tell, _events) = mpsc::unbounded_channel();
        let config = MediaSourceConfig { sources: vec![source], ..MediaSourceConfig::default() };
        let media = Media::start_on(self.board.clone(), PresenceCache::default(), config, tell)?;
        let feeds = (0..publishers).map(|_| self.feed()).collect::<Result<Vec<_>, _>>()?;
        let input = |(number, feed): (u8, &Arc<Feed>)| MixInput {
            member: MemberId([number; 16]),
            stream: StreamName::new("main").expect("a short constant is a name"),
            label: format!("publisher {number}"),
            from: MixFrom::Published(vec![Arc::clone(feed.layer()).into()]),
            turns: 0,
        };
        media.send(MediaCommand::Mix { source: name.clone(), inputs: (1..).zip(&feeds).map(input).collect() });
        let stop = Arc::<AtomicBool>::default();
        let (frames, stopped) = (self.frames.clone(), Arc::clone(&stop));
        let feeder = std::thread::spawn(move || feed_all(&feeds, &frames, &stopped));
        let seen = Arc::<AtomicU64>::default();
        let rehearsal = Rehearsal { media, stop, feeder: Some(feeder), seen };
        let (reply, answer) = oneshot::channel();
        let wants = Wants { video: vec![Codec::H264], audio: vec![Codec::Opus] };
        rehearsal.media.send(MediaCommand::Demand { source: name, viewer: PeerId::next(), listener: None, wants, reply });
        let tracks = answer.blocking_recv().map_err(failed)??;
        for track in tracks {
            let counts = track.layers.format().codec == Codec::H264;
            let seen = if counts { Arc::clone(&rehearsal.seen) } else { Arc::default() };
            track.layers.first().attach(SinkId(0), Arc::new(Count(seen)));
        }
        let limit = Instant::now() + PATIENCE;
        while rehearsal.frames() < u64::from(FRAMERATE) {
            if Instant::now() > limit {
                return Err(RehearsalError::Silent);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(rehearsal)
    }

    /// The arguments of `gst-launch-1.0` for the same without Portico.
    pub fn launch(&self, publishers: usize) -> Result<Vec<String>, RehearsalError> {
        let presences = PresenceCache::default();
        let encoder = self.board.encoders_of(Codec::H264).find(|it| presences.get(Candidate::Encoder(it)).is_ready());
        let decoder =
            self.board.decoders_of(DecoderInput::Codec(Codec::H264)).find(|it| presences.get(Candidate::Decoder(it)).is_ready());
        let (Some(encoder), Some(decoder)) = (encoder, decoder) else {
            return Err(failed("nothing here encodes and decodes H264").into());
        };
        let config = config();
        let frame = Size { width: config.width, height: config.height };
        let with = |properties: &std::collections::BTreeMap<String, String>| {
            properties.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>()
        };
        let bitrate = encoder.bitrate.value(config.bitrate);
        let caps = |caps: &str| if caps.is_empty() { String::new() } else { format!("{caps} ! ") };
        let mut pads = String::new();
        let mut inputs = String::new();
        // as many seats as the grid has for them
        let mut seats = super::layout::Seats::default();
        seats.seat(config.layout, &(0..publishers).collect::<Vec<_>>());
        for (seat, number) in seats.taken() {
            let rect = place(config.layout, frame, seats.len(), seat).fit(Size { width: 640, height: 360 });
            pads.push_str(&format!(
                " sink_{number}::xpos={} sink_{number}::ypos={} sink_{number}::width={w} sink_{number}::height={h}",
                rect.x,
                rect.y,
                w = rect.size.width,
                h = rect.size.height
            ));
            inputs.push_str(&format!(
                " filesrc location={} ! matroskademux ! h264parse ! {}{} ! videoscale ! videoconvert ! \
                 video/x-raw,format=I420,width={},height={} ! queue ! \
                 textoverlay text=publisher halignment=left valignment=bottom shaded-background=true font-desc=Sans,14 ! mix.sink_{number}",
                self.path.display(),
                decoder.element,
                with(&decoder.properties),
                rect.size.width,
                rect.size.height
            ));
        }
        let description = format!(
            "compositor name=mix background=black{pads} ! video/x-raw,format=I420,width={},height={},framerate={FRAMERATE}/1 ! queue ! \
             {}{}{} {}={bitrate} ! {}h264parse ! fakesink sync=true{inputs} \
             audiotestsrc is-live=true wave=silence samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! fakesink",
            frame.width,
            frame.height,
            caps(&encoder.input_caps),
            encoder.element,
            with(&encoder.properties),
            encoder.bitrate.property,
            caps(&encoder.output_caps),
        );
        Ok(description.split_whitespace().map(str::to_owned).collect())
    }

    fn feed(&self) -> Result<Arc<Feed>, SourceError> {
        let id = LayerId { track: TrackId::next(), index: 0 };
        Feed::new(id, TrackFormat::h264_baseline(), false).map(Arc::new).map_err(failed)
    }
}

impl Rehearsal {
    /// Pictures that came out so far.
    pub fn frames(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(feeder) = self.feeder.take() {
            // it only writes
            let _ = feeder.join();
        }
        self.media.stop();
    }
}

/// Writes the film's frames in their time, over and over.
fn feed_all(feeds: &[Arc<Feed>], frames: &[(Bytes, bool)], stop: &AtomicBool) {
    let (began, step) = (Instant::now(), Duration::from_secs(1) / FRAMERATE);
    for (number, (data, key)) in (0u32..).zip(frames.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let pts = step * number;
        for feed in feeds {
            let frame = EncodedFrame { codec: Codec::H264, pts, key: *key, data: data.clone(), arrived: Instant::now() };
            feed.put(frame, step);
        }
        std::thread::sleep((began + pts + step).saturating_duration_since(Instant::now()));
    }
}

struct Count(Arc<AtomicU64>);

impl FrameSink for Count {
    fn offer(&self, _: &Arc<FramePackets>) -> Offered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Offered::Taken
    }
}
