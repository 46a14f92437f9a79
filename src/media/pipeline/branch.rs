//! What hangs on a tee: encoders, decoders and taps, added and taken away while the rest runs.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::{debug, info, warn};

use super::capture::{RAW_QUEUE, tee_name};
use super::shape::Cut;
use super::watch::watch;
use super::{BranchId, BranchSpec, Encode, News, Order, Session, broken, fault, make};
use crate::forward::Stages;
use crate::media::SourceError;
use crate::media::board::{BitrateControl, EncoderLimits};
use crate::media::decoding::AtWork;
use crate::media::plan::StreamOffer;
use crate::vocab::{Bitrate, Codec, MediaKind};

/// Longest wait for a tee's thread to let go of a branch. It passes a pad within a frame; a camera that hangs must not hold
/// the others.
const UNLINK_LIMIT: Duration = Duration::from_secs(1);

/// Encoded frames wait here in front of a decoder. 2 s: a decoder that falls further behind goes on at a later key frame.
const CODED_QUEUE: &str = "queue max-size-buffers=0 max-size-bytes=0 max-size-time=2000000000 leaky=downstream";

/// Sound waits here for at most 200 ms.
const SOUND_QUEUE: &str = "queue max-size-buffers=0 max-size-bytes=0 max-size-time=200000000 leaky=downstream";

/// The tap's queue is never longer than the frame in hand; the bound is for the moment before the feed is attached.
const TAP: &str = "appsink name=tap sync=false async=false max-buffers=16 drop=true enable-last-sample=false wait-on-eos=false";

/// Something linked to a tee.
pub(super) struct Hung {
    bin: gst::Bin,
    tee: gst::Element,
    tee_pad: gst::Pad,
}

/// One feed being filled.
pub(super) struct Branch {
    pub(super) hung: Hung,
    pub(super) kind: MediaKind,
    encoder: Option<(gst::Element, BitrateControl, EncoderLimits)>,
    /// Hangs on the decoder's tee.
    pub(super) decoded: bool,
    /// How it was ordered.
    pub(super) spec: BranchSpec,
}

/// A coded stream being decoded for one or more branches.
pub(super) struct Decoder {
    hung: Hung,
    tee: gst::Element,
    _at_work: Option<AtWork>,
}

impl Hung {
    /// Whether the error comes from an element of it.
    pub fn owns(&self, error: &gst::message::Error) -> bool {
        error.src().is_some_and(|source| source.has_as_ancestor(&self.bin))
    }
}

impl Decoder {
    /// Whether the error comes from it.
    pub fn owns(&self, error: &gst::message::Error) -> bool {
        self.hung.owns(error)
    }

    /// The decoder's factory name; `None` where GStreamer chose it.
    pub fn name(&self) -> Option<String> {
        let decoder = self.hung.bin.by_name("decoder")?;
        decoder.factory().map(|factory| factory.name().to_string())
    }
}

impl Branch {
    /// Whether the error comes from an element of this branch.
    pub fn owns(&self, error: &gst::message::Error) -> bool {
        self.hung.owns(error)
    }

    /// The encoder's factory name.
    pub fn encoder_name(&self) -> Option<String> {
        self.encoder.as_ref().and_then(|(encoder, ..)| encoder.factory()).map(|factory| factory.name().to_string())
    }

    /// Sets the encoder's bit rate, within its limits and steps.
    fn set_bitrate(&self, bitrate: Bitrate) {
        if let (MediaKind::Video, Some((encoder, control, limits))) = (self.kind, &self.encoder) {
            write_bitrate(encoder, control, limits, bitrate, false);
        }
    }

    /// The order for the same branch at another bit rate, where its encoder takes none while it runs and the rates are a
    /// quarter apart: a new encoder costs viewers a key frame.
    fn again_at(&self, bitrate: Bitrate) -> Option<BranchSpec> {
        let encode = self.spec.encode.as_ref().filter(|encode| encode.restarts && self.kind == MediaKind::Video)?;
        let (have, want) = (encode.bitrate.bps(), bitrate.bps());
        let differs = have.abs_diff(want).saturating_mul(4) >= have.min(want);
        differs.then(|| BranchSpec { encode: Some(Encode { bitrate, ..encode.clone() }), ..self.spec.clone() })
    }
}

impl Session {
    /// Sets the bit rate of an encoder. One that ignores that, as a trial found, is started anew. Unknown ones are ignored.
    pub(super) fn set_bitrate(&mut self, id: BranchId, bitrate: Bitrate, inbox: &mpsc::Receiver<Order>) {
        let Some(branch) = self.branches.get(&id) else { return };
        branch.set_bitrate(bitrate);
        if let Some(spec) = branch.again_at(bitrate) {
            info!(branch = %id, bitrate_bps = bitrate.bps(), "encoder started anew for another bit rate");
            self.start_anew(spec, inbox);
        }
    }

    /// Puts a branch in the place of one of the same layer; viewers see a key frame.
    pub(super) fn start_anew(&mut self, spec: BranchSpec, inbox: &mpsc::Receiver<Order>) {
        let id = spec.id;
        if let Some(branch) = self.branches.remove(&id) {
            self.take_down(branch.hung);
        }
        let outcome = self.add_branch(spec, inbox);
        (self.start.marks.news)(News::Branch(id, outcome));
    }

    /// Adds a branch and starts it. On failure nothing of it stays.
    pub(super) fn add_branch(&mut self, spec: BranchSpec, inbox: &mpsc::Receiver<Order>) -> Result<(), SourceError> {
        let kind = spec.id.codec.kind();
        if self.branches.contains_key(&spec.id) {
            return Ok(());
        }
        let Some(mut tee) = self.pipeline.by_name(tee_name(kind)) else {
            return Err(SourceError::Failed(format!("the source has no {kind}")));
        };
        let mut decoded = false;
        let hardware = |it: &Encode| it.encoder.hardware || it.decoder.as_ref().is_some_and(|decoder| decoder.hardware);
        if self.using.is_none() && spec.encode.as_ref().is_some_and(hardware) {
            self.using = Some(self.start.presences.use_hardware());
        }
        if let Some(encode) = &spec.encode
            && matches!(self.offer.of(kind), Some(StreamOffer::Coded { .. }))
        {
            decoded = true;
            tee = self.decoder(kind, &tee, encode, inbox)?;
        }
        let cut = spec.encode.as_ref().map(|encode| self.cut(&tee, kind, encode)).unwrap_or_default();
        let bin = make::bin(&describe(&spec, &cut))?;
        let encoder = bin.by_name("encoder").zip(spec.encode.as_ref()).map(|(element, encode)| {
            let candidate = &encode.encoder;
            make::set_all(&element, &candidate.properties);
            if kind == MediaKind::Video {
                write_bitrate(&element, &candidate.bitrate, &candidate.limits, encode.bitrate, true);
            }
            spec.feed.set_encoder(&element, candidate.key_frame.clone());
            (element, candidate.bitrate.clone(), candidate.limits.clone())
        });
        if let Some(sink) = bin.by_name("tap").and_then(|tap| tap.downcast::<gst_app::AppSink>().ok()) {
            spec.feed.attach(&sink, self.offset, Arc::clone(&self.start.stages));
        }
        if let Some(entry) = bin.static_pad("sink").filter(|_| kind == MediaKind::Video) {
            // the queue behind what leaves frames out
            let line = bin.by_name("line").and_then(|queue| queue.static_pad("sink"));
            let line = line.as_ref().unwrap_or(&entry);
            watch(&entry, encoder.as_ref().map(|(element, ..)| (element, line)), &self.start.stages, spec.feed.passed());
        }
        let name = encoder.as_ref().map(|(element, ..)| element.name().to_string());
        match self.hang(&tee, bin, inbox) {
            Ok(hung) => {
                info!(branch = %spec.id, element = name, "branch added");
                self.branches.insert(spec.id, Branch { hung, kind, encoder, decoded, spec });
                Ok(())
            }
            Err(error) => {
                self.drop_unused_decoder(kind);
                Err(error)
            }
        }
    }

    /// Takes a branch away; unknown ones are ignored.
    pub(super) fn remove_branch(&mut self, id: BranchId) {
        if let Some(branch) = self.branches.remove(&id) {
            self.take_down(branch.hung);
            self.drop_unused_decoder(branch.kind);
            info!(branch = %id, "branch removed");
        }
    }

    /// The tee behind the kind's decoder, which is started if it does not run.
    fn decoder(
        &mut self,
        kind: MediaKind,
        tee: &gst::Element,
        encode: &Encode,
        inbox: &mpsc::Receiver<Order>,
    ) -> Result<gst::Element, SourceError> {
        if let Some(decoder) = self.decoders.get(&kind) {
            return Ok(decoder.tee.clone());
        }
        let description = match &encode.decoder {
            Some(it) if it.output_caps.is_empty() => {
                format!("{CODED_QUEUE} name=entry ! {} name=decoder ! identity name=exit", it.element)
            }
            Some(it) => {
                format!("{CODED_QUEUE} name=entry ! {} name=decoder ! {} ! identity name=exit", it.element, it.output_caps)
            }
            None if kind == MediaKind::Audio => format!("{CODED_QUEUE} name=entry ! decodebin ! audioconvert name=exit"),
            None => format!("{CODED_QUEUE} name=entry ! decodebin ! videoconvert name=exit"),
        };
        let bin = make::bin(&description)?;
        if let (Some(element), Some(candidate)) = (bin.by_name("decoder"), &encode.decoder) {
            make::set_all(&element, &candidate.properties);
        }
        if kind == MediaKind::Video {
            wait_for_key(&bin);
        }
        let behind = make::element("tee")?;
        behind.set_property("allow-not-linked", true);
        if let Some(entry) = behind.static_pad("sink").filter(|_| kind == MediaKind::Video) {
            tell_size(&entry, Arc::clone(&self.start.marks.news));
        }
        let failed = |error: String| SourceError::Failed(error);
        self.pipeline.add_many([bin.upcast_ref::<gst::Element>(), &behind]).map_err(|error| failed(error.to_string()))?;
        bin.link(&behind).map_err(|error| failed(error.to_string()))?;
        let _ = behind.sync_state_with_parent();
        match self.hang(tee, bin, inbox) {
            Ok(hung) => {
                let element = encode.decoder.as_ref().map_or("decodebin", |it| it.element.as_str());
                let at_work = (kind == MediaKind::Video).then(|| self.start.decoding.begin(element));
                self.decoders.insert(kind, Decoder { hung, tee: behind.clone(), _at_work: at_work });
                Ok(behind)
            }
            Err(error) => {
                let _ = behind.set_state(gst::State::Null);
                let _ = self.pipeline.remove(&behind);
                Err(error)
            }
        }
    }

    pub(super) fn drop_unused_decoder(&mut self, kind: MediaKind) {
        if self.branches.values().any(|branch| branch.kind == kind && branch.decoded) {
            return;
        }
        if let Some(decoder) = self.decoders.remove(&kind) {
            self.take_down(decoder.hung);
            let _ = decoder.tee.set_state(gst::State::Null);
            let _ = self.pipeline.remove(&decoder.tee);
        }
    }

    /// Starts the bin, then links it, so that data meets running elements.
    pub(super) fn hang(&mut self, tee: &gst::Element, bin: gst::Bin, inbox: &mpsc::Receiver<Order>) -> Result<Hung, SourceError> {
        if bin.parent().is_none() {
            self.pipeline.add(&bin).map_err(|error| SourceError::Failed(error.to_string()))?;
        }
        let started = bin.sync_state_with_parent();
        let tee_pad = tee.request_pad_simple("src_%u").zip(bin.static_pad("sink"));
        let linked = started.is_ok() && tee_pad.as_ref().is_some_and(|(from, to)| from.link(to).is_ok());
        match tee_pad {
            Some((tee_pad, _)) if linked => Ok(Hung { bin, tee: tee.clone(), tee_pad }),
            other => {
                let error = self.error_of(&bin, inbox);
                if let Some((tee_pad, _)) = other {
                    tee.release_request_pad(&tee_pad);
                }
                let _ = bin.set_state(gst::State::Null);
                let _ = self.pipeline.remove(&bin);
                Err(error)
            }
        }
    }

    /// What the bin said on the bus; other orders are kept for later.
    fn error_of(&mut self, bin: &gst::Bin, inbox: &mpsc::Receiver<Order>) -> SourceError {
        let mut said = None;
        for order in inbox.try_iter() {
            match order {
                Order::Error(message) if message.src().is_some_and(|source| source.has_as_ancestor(bin)) => {
                    if let gst::MessageView::Error(error) = message.view() {
                        said.get_or_insert_with(|| fault::source_error(&self.start.source, error));
                    }
                }
                other => self.kept.push_back(other),
            }
        }
        said.unwrap_or_else(|| SourceError::Failed("the encoder does not start and does not say why".into()))
    }

    /// Unlinks at a moment when no buffer passes, then stops the elements.
    pub(super) fn take_down(&self, hung: Hung) {
        let (done, unlinked) = mpsc::sync_channel(1);
        hung.tee_pad.add_probe(gst::PadProbeType::IDLE, move |pad, _| {
            if let Some(peer) = pad.peer() {
                let _ = pad.unlink(&peer);
            }
            let _ = done.try_send(());
            gst::PadProbeReturn::Remove
        });
        if unlinked.recv_timeout(UNLINK_LIMIT).is_err() {
            warn!("a branch is taken away while its tee is busy");
        }
        hung.tee.release_request_pad(&hung.tee_pad);
        // out of the pipeline first: one that hangs in its driver must not hold up whoever stops the rest
        let _ = self.pipeline.remove(&hung.bin);
        broken::end(hung.bin);
    }
}

/// A branch that encodes sound, outside of any source: whoever has it puts it into a pipeline and feeds it.
pub(in crate::media) fn sound_branch(spec: &BranchSpec, offset: Duration, stages: &Arc<Stages>) -> Result<gst::Bin, SourceError> {
    let bin = make::bin(&describe(spec, &Cut::default()))?;
    if let (Some(element), Some(encode)) = (bin.by_name("encoder"), &spec.encode) {
        make::set_all(&element, &encode.encoder.properties);
    }
    if let Some(sink) = bin.by_name("tap").and_then(|tap| tap.downcast::<gst_app::AppSink>().ok()) {
        spec.feed.attach(&sink, offset, Arc::clone(stages));
    }
    Ok(bin)
}

/// The branch as `gst-launch-1.0` would write it; what needs quoting is set as a property instead.
fn describe(spec: &BranchSpec, cut: &Cut) -> String {
    let Some(encode) = &spec.encode else { return format!("identity name=entry silent=true ! {TAP}") };
    let Encode { encoder, convert, .. } = encode;
    let caps = |caps: &str| if caps.is_empty() { String::new() } else { format!("{caps} ! ") };
    let (entry, convert) = match spec.id.codec.kind() {
        MediaKind::Video => (cut.entry(RAW_QUEUE), cut.convert(convert)),
        MediaKind::Audio => (format!("{SOUND_QUEUE} name=entry"), "audioconvert ! audioresample".into()),
    };
    let (input, output) = (caps(&cut.input(&encoder.input_caps)), caps(&encoder.output_caps));
    let parser = match spec.id.codec {
        Codec::H264 => "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! ",
        Codec::H265 => "h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au ! ",
        Codec::AV1 => "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu ! ",
        Codec::VP8 | Codec::VP9 | Codec::Opus => "",
    };
    format!("{entry} ! {convert} ! {input}{} name=encoder ! {output}{parser}{TAP}", encoder.element)
}

/// Tells what a decoder's pictures are, whenever that changes.
fn tell_size(pad: &gst::Pad, news: Arc<dyn Fn(News) + Send + Sync>) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && let gst::EventView::Caps(caps) = event.view()
            && let Some(caps) = caps.caps().structure(0)
        {
            let pixels = |name| caps.get::<i32>(name).ok().and_then(|pixels| u32::try_from(pixels).ok());
            let framerate = caps.get::<gst::Fraction>("framerate").ok().filter(|rate| rate.numer() > 0 && rate.denom() > 0);
            let framerate = framerate.map_or(0, |rate| rate.numer().unsigned_abs().div_ceil(rate.denom().unsigned_abs()));
            if let (Some(width), Some(height)) = (pixels("width"), pixels("height")) {
                news(News::Decoded(width, height, framerate));
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Keeps what cannot be decoded from a decoder that is started in the middle of a stream.
fn wait_for_key(bin: &gst::Bin) {
    if let Some(pad) = bin.static_pad("sink") {
        pad.add_probe(gst::PadProbeType::BUFFER, |_, info| match info.buffer() {
            Some(buffer) if buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Remove,
        });
    }
}

/// Writes a bit rate in the encoder's own property, unit, limits and step. A structure property is completed at the start and
/// gets only the one field while running, as its drivers want it.
pub(in crate::media) fn write_bitrate(
    encoder: &gst::Element,
    control: &BitrateControl,
    limits: &EncoderLimits,
    bitrate: Bitrate,
    at_start: bool,
) {
    let (low, high) = (limits.min_bitrate.unwrap_or(0), limits.max_bitrate.unwrap_or(u64::MAX));
    let bps = bitrate.bps().min(high).max(low);
    let step = limits.bitrate_step.filter(|step| *step > 0).unwrap_or(1);
    let value = control.value(Bitrate::from_bps((bps / step * step).max(low)));
    let Some(field) = &control.field else {
        make::set(encoder, &control.property, &value.to_string());
        return;
    };
    let is_structure =
        encoder.find_property(&control.property).is_some_and(|it| it.value_type() == gst::Structure::static_type());
    if !is_structure {
        debug!(property = control.property, "encoder lacks the property for its bit rate");
        return;
    }
    let present = at_start.then(|| encoder.property::<Option<gst::Structure>>(&control.property)).flatten();
    let mut structure = present.unwrap_or_else(|| gst::Structure::new_empty("controls"));
    structure.set(field.as_str(), i32::try_from(value).unwrap_or(i32::MAX));
    encoder.set_property(&control.property, structure);
}
