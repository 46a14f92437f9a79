//! The other way round from `tap`: packets of a [`Layer`] enter a pipeline and come out decoded.
//!
//! ```text
//! Layer ─► Door (FrameSink) ─► appsrc ─► rtpjitterbuffer ─► depayloader ─► [parser] ─► size ─► decoder ─► [board's converter] ─► src
//!   ▲                                         │ lost                                      │ broken
//!   └──────────── key frame, please ──────────┴───────────────────────────────────────────┘
//! ```
//!
//! An [`Inlet`] is a bin to be put into a pipeline that runs on a clock. Packets are offered by whoever writes the layer and are never
//! waited for: what does not fit is dropped, and a key frame asked for. Must not know what becomes of the pictures and the sound.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tracing::debug;

use super::SourceError;
use super::board::{Board, Candidate, DecoderCandidate, DecoderInput};
use super::element::Presence;
use super::pipeline::{PresenceCache, make};
use super::plan;
use crate::forward::{FramePackets, FrameSink, Layer, MediaPacket, Offered, SinkId};
use crate::vocab::{Codec, MediaKind};

/// A packet that is missing is waited for this long: a question and its answer on most lines, and less than people notice in talk.
/// Packets that come in order wait for nothing.
const JITTER: Duration = Duration::from_millis(100);
/// Most bytes that wait in front of the decoder: a second at 16 Mbit/s.
const WAITING: u64 = 2 << 20;
/// Most pixels in width and in height of what is decoded: 24 MiB a picture. 4K is 3840 by 2160, either way up.
pub(super) const LARGEST: u16 = 4096;
/// Any: the depayloader only needs one.
pub(super) const PAYLOAD_TYPE: u8 = 96;
/// Any.
const SSRC: u32 = 1;

/// How a codec leaves RTP: its encoding name, the elements up to one that reads the size of pictures, and the caps behind them.
pub(super) fn depayloader(codec: Codec) -> (&'static str, &'static str, &'static str) {
    match codec {
        Codec::H264 => ("H264", "rtph264depay name=depay ! h264parse", "video/x-h264"),
        Codec::H265 => ("H265", "rtph265depay name=depay ! h265parse", "video/x-h265"),
        Codec::VP8 => ("VP8", "rtpvp8depay name=depay", "video/x-vp8"),
        Codec::VP9 => ("VP9", "rtpvp9depay name=depay ! vp9parse", "video/x-vp9"),
        // GStreamer's depayloader for it is in no package of Debian 12
        Codec::AV1 => ("AV1", "rtpav1depay name=depay ! av1parse", "video/x-av1"),
        Codec::Opus => ("OPUS", "rtpopusdepay name=depay", "audio/x-opus"),
    }
}

/// A layer's way into a pipeline. Nothing is taken of the layer before [`Inlet::open`]; when it is dropped the layer is let go.
pub(super) struct Inlet {
    bin: gst::Bin,
    layer: Arc<Layer>,
    door: Arc<Door>,
    decoder: String,
    id: SinkId,
}

impl Inlet {
    /// Decoded by the first of the board's decoders that is there and not among those `passed_over`. Its bin's pad `src` gives raw
    /// pictures in memory that every element reads, or raw sound.
    pub fn new(
        layer: Arc<Layer>,
        board: &Board,
        presences: &PresenceCache,
        passed_over: &HashSet<String>,
    ) -> Result<Self, SourceError> {
        Self::make(layer, board, presences, passed_over, true)
    }

    /// As [`Inlet::new`], but pictures stay in the memory that the decoder leaves them in: for who has the board's converter behind it.
    pub fn unfetched(
        layer: Arc<Layer>,
        board: &Board,
        presences: &PresenceCache,
        passed_over: &HashSet<String>,
    ) -> Result<Self, SourceError> {
        Self::make(layer, board, presences, passed_over, false)
    }

    fn make(
        layer: Arc<Layer>,
        board: &Board,
        presences: &PresenceCache,
        passed_over: &HashSet<String>,
        fetch: bool,
    ) -> Result<Self, SourceError> {
        let codec = layer.format().codec;
        let decoder = decoder(codec, board, presences, passed_over)?;
        let bin = make::bin(&describe(codec, decoder, board, presences, fetch))?;
        let (name, element) = match decoder {
            Some(it) => (it.element.clone(), Some(it)),
            None => ("opusdec".into(), None),
        };
        if let (Some(into), Some(candidate)) = (bin.by_name("decoder"), element) {
            make::set_all(&into, &candidate.properties);
        }
        Self::with(layer, bin, name)
    }

    /// Nothing is decoded: the bin's pad `src` gives whole frames as they are encoded, H.264 and H.265 with their heads in the caps.
    pub fn coded(layer: Arc<Layer>) -> Result<Self, SourceError> {
        let codec = layer.format().codec;
        let front = front(codec);
        let caps = match codec {
            Codec::H264 => ",stream-format=avc,alignment=au",
            Codec::H265 => ",stream-format=hvc1,alignment=au",
            Codec::VP8 => "",
            Codec::VP9 => ",alignment=super-frame",
            Codec::AV1 => ",stream-format=obu-stream,alignment=tu",
            Codec::Opus => {
                return Self::with(layer, make::bin(&format!("{front} ! identity name=exit silent=true"))?, String::new());
            }
        };
        let (_, _, coded) = depayloader(codec);
        let bin = make::bin(&format!("{front} ! {coded}{caps},{} ! identity name=exit silent=true", size_caps()))?;
        Self::with(layer, bin, String::new())
    }

    fn with(layer: Arc<Layer>, bin: gst::Bin, name: String) -> Result<Self, SourceError> {
        let codec = layer.format().codec;
        if let Some(depay) = bin.by_name("depay") {
            // since 1.20: what cannot be decoded whole is not shown, the last picture stays until the key frame
            make::set(&depay, "wait-for-keyframe", "true");
        }
        let packets = bin.by_name("packets").and_then(|it| it.downcast::<gst_app::AppSrc>().ok());
        let packets = packets.ok_or_else(|| SourceError::Failed("the way in is incomplete".into()))?;
        let door = Arc::new(Door { packets, kind: codec.kind(), lost: AtomicBool::new(false), closed: AtomicBool::new(false) });
        // shards count from 0, snapshots too; from the other end nobody does
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let id = SinkId(usize::MAX - NEXT.fetch_add(1, Ordering::Relaxed));
        let inlet = Self { bin, layer, door, decoder: name, id };
        inlet.watch_for_loss();
        Ok(inlet)
    }

    /// The bin with the pad `src`.
    pub fn bin(&self) -> &gst::Bin {
        &self.bin
    }

    /// The decoder's element; empty where nothing is decoded.
    pub fn decoder(&self) -> &str {
        &self.decoder
    }

    /// Takes what is written from now on, and asks for a key frame. To be called when the pipeline plays.
    pub fn open(&self) {
        self.layer.attach(self.id, Arc::clone(&self.door) as Arc<dyn FrameSink>);
        self.layer.request_keyframe(Instant::now());
    }

    /// A key frame is asked for where packets are lost for good, and where a decoder says that it needs one.
    fn watch_for_loss(&self) {
        if self.layer.format().codec.kind() == MediaKind::Audio {
            return;
        }
        let ask = |layer: &Arc<Layer>| {
            let layer = Arc::downgrade(layer);
            move || {
                if let Some(layer) = layer.upgrade() {
                    layer.request_keyframe(Instant::now());
                }
            }
        };
        if let Some(pad) = self.bin.by_name("depay").and_then(|depay| depay.static_pad("sink")) {
            let ask = ask(&self.layer);
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                let lost = info.event().and_then(|event| event.structure()).is_some_and(|it| it.name() == "GstRTPPacketLost");
                if lost {
                    ask();
                }
                gst::PadProbeReturn::Ok
            });
        }
        if let Some(pad) = self.bin.by_name("decoder").and_then(|decoder| decoder.static_pad("sink")) {
            let ask = ask(&self.layer);
            pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
                if info.event().is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok()) {
                    ask();
                    // nobody further up would know what to do
                    return make::CONSUME_EVENT;
                }
                gst::PadProbeReturn::Ok
            });
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.door.closed.store(true, Ordering::Relaxed);
        self.layer.detach(self.id);
    }
}

/// The decoder for a codec; `None` for Opus where the board file names none.
fn decoder<'b>(
    codec: Codec,
    board: &'b Board,
    presences: &PresenceCache,
    passed_over: &HashSet<String>,
) -> Result<Option<&'b DecoderCandidate>, SourceError> {
    let candidates = || board.decoders_of(DecoderInput::Codec(codec));
    let presence = |it: &DecoderCandidate| presences.get(Candidate::Decoder(it));
    let ready = candidates().filter(|it| !passed_over.contains(&it.element)).find(|it| presence(it).is_ready());
    if ready.is_some() || (codec == Codec::Opus && candidates().next().is_none()) {
        return Ok(ready);
    }
    let missing = candidates().find_map(|it| match presence(it) {
        Presence::Missing { package: Some(package) } => Some((it.element.clone(), package)),
        _ => None,
    });
    Err(match missing {
        Some((element, package)) => SourceError::MissingElement { element, package: package.into() },
        None => SourceError::Failed(format!("nothing here decodes {codec}")),
    })
}

fn describe(codec: Codec, decoder: Option<&DecoderCandidate>, board: &Board, presences: &PresenceCache, fetch: bool) -> String {
    let (_, _, coded) = depayloader(codec);
    let front = front(codec);
    let element = decoder.map_or("opusdec", |it| it.element.as_str());
    if codec.kind() == MediaKind::Audio {
        return format!("{front} ! {element} name=decoder ! identity name=exit silent=true");
    }
    let output = match decoder.map(|it| it.output_caps.as_str()) {
        None | Some("") => String::new(),
        Some(caps) => format!("{caps} ! "),
    };
    // what leaves a hardware decoder may be in memory that only the board's own converter reads
    let fetch = match decoder {
        Some(it) if it.hardware && fetch => {
            format!("{} ! video/x-raw ! ", plan::board_converter(board, &|asked: Candidate<'_>| presences.get(asked)))
        }
        _ => String::new(),
    };
    format!("{front} ! {coded},{} ! {element} name=decoder ! {output}{fetch}identity name=exit silent=true", size_caps())
}

/// From packets to what the depayloader and the parser give.
fn front(codec: Codec) -> String {
    let (name, depay, _) = depayloader(codec);
    let caps = format!(
        "application/x-rtp,media=(string){},clock-rate=(int){},encoding-name=(string){name},payload=(int){PAYLOAD_TYPE}",
        codec.kind(),
        codec.clock_rate()
    );
    format!(
        "appsrc name=packets is-live=true do-timestamp=true format=time max-bytes={WAITING} caps=\"{caps}\" ! \
         rtpjitterbuffer name=jitter latency={} do-lost=true ! {depay}",
        JITTER.as_millis()
    )
}

fn size_caps() -> String {
    format!("width=[1,{LARGEST}],height=[1,{LARGEST}]")
}

/// Where a layer's packets enter.
struct Door {
    packets: gst_app::AppSrc,
    kind: MediaKind,
    /// Something was left out for want of room: nothing is taken until a key frame.
    lost: AtomicBool,
    closed: AtomicBool,
}

impl FrameSink for Door {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        if self.closed.load(Ordering::Relaxed) {
            return Offered::Gone;
        }
        let video = self.kind == MediaKind::Video;
        if self.packets.current_level_bytes() > WAITING {
            self.lost.store(video, Ordering::Relaxed);
            return Offered::Full;
        }
        if frame.key {
            self.lost.store(false, Ordering::Relaxed);
        }
        if self.lost.load(Ordering::Relaxed) {
            return Offered::Full;
        }
        let mut list = gst::BufferList::new_sized(frame.packets.len());
        if let Some(list) = list.get_mut() {
            frame.packets.iter().for_each(|packet| list.add(gst::Buffer::from_slice(rtp(packet))));
        }
        match self.packets.push_buffer_list(list) {
            Ok(_) => Offered::Taken,
            Err(flow) => {
                // the pipeline is not running, or not any more; whoever owns the inlet knows
                debug!(?flow, "packets not taken");
                Offered::Taken
            }
        }
    }
}

/// A packet as RFC 3550 section 5.1 has it, for a depayloader of this process.
fn rtp(packet: &MediaPacket) -> Vec<u8> {
    header(packet.sequence, packet.timestamp, packet.marker, &packet.payload)
}

/// See [`rtp`].
pub(super) fn header(sequence: u16, timestamp: u32, marker: bool, payload: &Bytes) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + payload.len());
    bytes.extend([0x80, PAYLOAD_TYPE | if marker { 0x80 } else { 0 }]);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(SSRC.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::forward::{KeyframeRequest, Refresh};
    use crate::media::tests::support::{Bench, PATIENCE, track};
    use crate::vocab::{LayerId, TrackFormat, TrackId};

    /// A pipeline around an inlet, and the sizes of what comes out: pixels of pictures, bytes of sound.
    struct Out {
        pipeline: gst::Pipeline,
        inlet: Inlet,
        sizes: Receiver<(i32, i32)>,
    }

    impl Out {
        fn new(layer: Arc<Layer>) -> Self {
            let inlet = Inlet::new(layer, &Board::generic(), &PresenceCache::default(), &HashSet::new()).unwrap();
            let pipeline = gst::Pipeline::new();
            let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(4).drop(true).build();
            let (tell, sizes) = channel();
            let tell = Mutex::new(tell);
            sink.set_callbacks(
                gst_app::AppSinkCallbacks::builder()
                    .new_sample(move |sink| {
                        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                        let caps = sample.caps().unwrap().structure(0).unwrap().to_owned();
                        let size = match caps.get::<i32>("width") {
                            Ok(width) => (width, caps.get::<i32>("height").unwrap()),
                            Err(_) => (caps.get::<i32>("rate").unwrap(), i32::try_from(sample.buffer().unwrap().size()).unwrap()),
                        };
                        let _ = tell.lock().unwrap().send(size);
                        Ok(gst::FlowSuccess::Ok)
                    })
                    .build(),
            );
            pipeline.add(inlet.bin()).unwrap();
            pipeline.add(&sink).unwrap();
            inlet.bin().link(&sink).unwrap();
            pipeline.set_state(gst::State::Playing).unwrap();
            inlet.open();
            Self { pipeline, inlet, sizes }
        }

        fn size(&self) -> (i32, i32) {
            self.sizes.recv_timeout(PATIENCE).expect("something decoded in time")
        }
    }

    impl Drop for Out {
        fn drop(&mut self) {
            self.pipeline.set_state(gst::State::Null).unwrap();
        }
    }

    #[test]
    fn what_a_source_sends_comes_out_decoded() {
        let mut bench = Bench::new("[[source]]\nname='test'\ntype='test'\nwidth=160\nheight=90\nframerate=15\n");
        for codec in [Codec::VP8, Codec::H264] {
            let (viewer, tracks) = bench.play("test", &[codec]);
            let pictures = Out::new(Arc::clone(track(&tracks, MediaKind::Video).layers.first()));
            let sound = Out::new(Arc::clone(track(&tracks, MediaKind::Audio).layers.first()));
            for _ in 0..5 {
                assert_eq!(pictures.size(), (160, 90), "{codec}");
            }
            for _ in 0..5 {
                let (rate, bytes) = sound.size();
                assert!(rate == 48_000 && bytes > 0);
            }
            assert!(!pictures.inlet.decoder().is_empty());
            let layer = Arc::clone(track(&tracks, MediaKind::Video).layers.first());
            let before = layer.figures().sinks;
            drop(pictures);
            assert_eq!(layer.figures().sinks, before - 1, "the layer is let go");
            bench.release("test", viewer);
        }
    }

    #[derive(Clone, Default)]
    struct Asked(Arc<AtomicUsize>);

    impl KeyframeRequest for Asked {
        fn request(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Frames of a real encoder, so that what is lost is what a decoder would miss.
    #[test]
    fn a_key_frame_is_asked_for_at_the_start_and_where_packets_are_lost() {
        let mut bench = Bench::new("[[source]]\nname='test'\ntype='test'\nwidth=160\nheight=90\nframerate=15\n");
        let (_viewer, tracks) = bench.play("test", &[Codec::VP8]);
        let from = Arc::clone(track(&tracks, MediaKind::Video).layers.first());
        let asked = Asked::default();
        let id = LayerId { track: TrackId::next(), index: 0 };
        let to = Arc::new(Layer::new(id, TrackFormat::plain(Codec::VP8), Refresh::OnRequest, Box::new(asked.clone())));
        let out = Out::new(Arc::clone(&to));
        assert_eq!(asked.0.load(Ordering::Relaxed), 1, "at the start");
        let watch = crate::media::tests::support::Watch::new(&from);
        let (_, key) = watch.key();
        to.write(FramePackets::clone(&key));
        assert_eq!(out.size(), (160, 90));
        // requests come closer than they are passed on: only then does it count
        let limit = Instant::now() + PATIENCE;
        watch.frame();
        while asked.0.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < limit, "no key frame asked for");
            to.write(FramePackets::clone(&watch.frame()));
        }
    }
}
