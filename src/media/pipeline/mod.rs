//! One running source: a thread that owns the GStreamer pipeline, adds and removes its branches, and watches its bus.
//!
//! State changes block, sometimes for seconds (a camera, an RTSP server), so each pipeline has a thread of its own and talks to
//! the sources' owner by [`Order`] and [`News`]. Nothing here decides: which branches, which elements and when to try again come
//! from the owner.
//!
//! ```text
//! capture or ingest ─► tee "video" ─┬─► [decoder ─► tee] ─► encoder branch ─► appsink ─► Feed
//!                                   └─► pass branch ─────────────────────────► appsink ─► Feed
//!                  └─► tee "audio" ─── ...
//! ```

mod branch;
mod broken;
mod capture;
mod fault;
mod ingest;
pub(super) mod launch;
pub(super) mod make;
mod raw;
mod rewind;
mod shape;
pub(super) mod still;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{debug, info, warn};

use super::board::{BitrateChange, Board, Candidate, DecoderCandidate, DecoderInput, EncoderCandidate};
use super::decoding::{AtWork, Decoding};
use super::element::Presence;
use super::mix::{self, Stage};
use super::plan::composing::Composer;
use super::plan::{SourceOffer, StreamOffer};
use super::probe::Verdicts;
use super::probe::prober::{Usage, Using};
use super::sound::Timebase;
use super::tap::{Feed, LastFrame};
use super::{SourceConfig, SourceError};
use crate::forward::Stages;
use crate::vocab::{Bitrate, Codec, MediaKind, PeerId};

pub(super) use branch::{sound_branch, write_bitrate};
pub(super) use broken::end as end_apart;
pub(super) use capture::RAW_QUEUE;
pub(super) use ingest::{Holds, opus_format};
pub(super) use raw::{RawDemand, RawTap};
pub(super) use shape::Shape;
pub(super) use watch::Passed;

/// What the owner, the bus and the streaming threads ask of a pipeline's thread.
pub(super) enum Order {
    /// Fill a feed. Answered by `News::Branch`.
    Add(Box<BranchSpec>),
    /// Take a branch away.
    Remove(BranchId),
    /// Hang what somebody takes as it is on the tees.
    AddRaw(Arc<RawDemand>),
    /// Take it away.
    RemoveRaw(PeerId),
    /// All branches of the start are there: let what was held back flow.
    Flow,
    /// Set an encoder's bit rate.
    Bitrate(BranchId, Bitrate),
    /// Encode less of the picture, or all of it again.
    Shape(Shape),
    /// End.
    Stop,
    /// An error message of the bus.
    Error(gst::Message),
    /// The bus said that the stream ended.
    Ended,
    /// A stream's offer is known.
    Known(MediaKind, StreamOffer),
    /// Every stream has appeared.
    AllStreams,
    /// Every stream should have appeared; some may be a moment late.
    StreamsDue,
    /// A stream could not be taken.
    Fail(SourceError),
    /// The file came to its end.
    Rewind,
}

/// What the owner is told.
pub(super) enum News {
    /// The streams are known; branches may be added.
    Opened(SourceOffer),
    /// What a coded picture is once decoded: width, height, frames a second rounded up (0: not known).
    Decoded(u32, u32, u32),
    /// A branch runs, or why not.
    Branch(BranchId, Result<(), SourceError>),
    /// The first buffer came.
    Flowing,
    /// A codec failed while it ran. What it filled is taken away; the rest goes on.
    Broke { element: String, branches: Vec<BranchId>, error: SourceError },
    /// What puts a mix's pictures together from now on, and what is of no use for that.
    Composes { composer: Composer, broken: Vec<String> },
    /// The pipeline failed and has stopped. `culprit` is the codec that said so, if it was one.
    Failed { error: SourceError, culprit: Option<String> },
}

/// Names a branch of a source: what comes out, and which of its layers, 0 for the full size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BranchId {
    pub codec: Codec,
    pub layer: usize,
}

impl std::fmt::Display for BranchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.layer {
            0 => self.codec.fmt(f),
            layer => write!(f, "{} 1/{}", self.codec, 1_u32 << layer.min(8)),
        }
    }
}

/// A branch to be added.
#[derive(Clone)]
pub(super) struct BranchSpec {
    pub id: BranchId,
    /// Where to.
    pub feed: Arc<Feed>,
    /// `None` passes the source's own frames on.
    pub encode: Option<Encode>,
}

/// How a branch encodes.
#[derive(Clone)]
pub(super) struct Encode {
    pub encoder: EncoderCandidate,
    /// In front of the encoder: an element or a chain.
    pub convert: String,
    /// For coded sources: what decodes; `None` leaves it to GStreamer.
    pub decoder: Option<DecoderCandidate>,
    pub bitrate: Bitrate,
    /// Pixels, where it is not the source's own size. Before `shape` is applied.
    pub size: Option<(u32, u32)>,
    /// It must be started anew for another bit rate.
    pub restarts: bool,
    /// How much of the picture is encoded.
    pub shape: Shape,
}

/// Everything a pipeline starts from.
pub(super) struct Start {
    pub source: SourceConfig,
    pub board: Arc<Board>,
    pub presences: Arc<PresenceCache>,
    /// Time zero of the source: frames' times count from here, whichever pipeline made them.
    pub epoch: Instant,
    pub marks: Marks,
    /// What is held back until [`Order::Flow`].
    pub holds: Arc<Holds>,
    pub device: Arc<Device>,
    /// Where it is counted how long frames take.
    pub stages: Arc<Stages>,
    /// Where it is noted what decodes pictures.
    pub decoding: Arc<Decoding>,
    /// Of a mix: what is to be mixed.
    pub stage: Option<Arc<Stage>>,
    /// Codecs that failed while in use: they are passed over.
    pub broken: HashSet<String>,
    /// Its microphone hears the board's speaker.
    pub cancel_echo: bool,
}

impl Start {
    /// Whether it has a microphone whose echo is cancelled.
    fn cancels_echo(&self) -> bool {
        self.cancel_echo && self.source.audio_device.is_some()
    }
}

/// A source's device or server, which one pipeline holds at a time: the next may be started while the last still closes it.
#[derive(Default)]
pub(super) struct Device(AtomicBool);

/// The device is held until this is dropped.
struct Held(Arc<Device>);

impl Device {
    /// How often a waiting pipeline looks again.
    const LOOK: Duration = Duration::from_millis(20);

    /// Waits for the device; `None` when told to stop meanwhile.
    fn hold(self: &Arc<Self>, inbox: &mpsc::Receiver<Order>) -> Option<Held> {
        while self.0.swap(true, Ordering::Acquire) {
            if let Ok(Order::Stop) = inbox.recv_timeout(Self::LOOK) {
                return None;
            }
        }
        Some(Held(Arc::clone(self)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

/// Where a pipeline's threads report to.
#[derive(Clone)]
pub(super) struct Marks {
    pub last_frame: Arc<LastFrame>,
    pub news: Arc<dyn Fn(News) + Send + Sync>,
}

impl Marks {
    /// Notes each buffer that passes, and tells the owner of the first.
    fn watch(&self, pad: &gst::Pad) {
        let marks = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if marks.last_frame.mark() {
                (marks.news)(News::Flowing);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// A handle to a running pipeline.
pub(super) struct Pipeline {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Pipeline {
    /// Starts the thread. What becomes of it is told by `start.news`.
    pub fn start(start: Start) -> std::io::Result<Self> {
        // unbounded: orders come from the owner (a few per viewer) and from the bus (errors only), never per frame
        let (orders, inbox) = mpsc::channel();
        let to_self = orders.clone();
        let name = format!("src-{}", start.source.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || run(start, to_self, &inbox))?;
        Ok(Self { orders, thread })
    }

    /// Sends an order; a thread that has ended ignores it.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Asks it to end; the thread may still be busy closing its device.
    pub fn stop(self) -> JoinHandle<()> {
        self.order(Order::Stop);
        self.thread
    }
}

/// How long a stream may come after an RTSP server's last one; a stream the server does not send must not hold up the others.
const STREAMS_LATE: Duration = Duration::from_secs(1);

/// How long an element that does not reach READY is left alone: a try can take seconds.
const RETRY_ELEMENT: Duration = Duration::from_secs(60);

/// What is known of elements: what trials found, and whether they reach READY.
#[derive(Default)]
pub(super) struct PresenceCache {
    ready: Mutex<HashMap<String, (Presence, Instant)>>,
    verdicts: Arc<Verdicts>,
    usage: Arc<Usage>,
}

impl PresenceCache {
    /// With what trials found, and who is told that codecs are in use.
    pub fn new(verdicts: Arc<Verdicts>, usage: Arc<Usage>) -> Self {
        Self { ready: Mutex::default(), verdicts, usage }
    }

    /// The board's codecs are used until the answer is dropped: no candidate is tried meanwhile. `None` where the board has none that may
    /// be used now.
    pub fn use_codecs(&self, board: &Board) -> Option<Using> {
        let usable = |asked: Candidate<'_>| {
            self.verdicts.refusal(asked).is_none() && super::element::installed(asked.element(), asked.nodes()).is_ready()
        };
        let encoders = board.encoders.iter().filter(|it| it.hardware).map(Candidate::Encoder);
        let decoders = board.decoders.iter().filter(|it| it.hardware).map(Candidate::Decoder);
        encoders.chain(decoders).any(usable).then(|| self.usage.enter())
    }

    /// A codec of the board is about to be used, which may not have been foreseen. Waits for a trial to let go of it.
    pub fn use_hardware(&self) -> Using {
        self.usage.enter_when_free()
    }

    /// What trials found.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Why a picture is too large for an encoder, as its trial found.
    pub fn too_large(&self, encoder: &EncoderCandidate, picture: (u32, u32)) -> Option<String> {
        self.verdicts.get(Candidate::Encoder(encoder))?.too_large(picture)
    }

    /// Whether an encoder must be started anew for another bit rate.
    pub fn restarts_for_bitrate(&self, encoder: &EncoderCandidate) -> bool {
        encoder.bitrate.change == BitrateChange::Restart
            || self.verdicts.get(Candidate::Encoder(encoder)).is_some_and(|verdict| verdict.restarts_for_bitrate())
    }

    /// As [`Candidate::presence`]. A good verdict stays, a bad one is tried again after a while; what is missing is always looked
    /// up, which costs nothing. What a trial refused is not touched.
    pub fn get(&self, asked: Candidate<'_>) -> Presence {
        if let Some(refusal) = self.verdicts.refusal(asked) {
            return refusal;
        }
        let key = format!("{} {:?} {:?}", asked.element(), asked.requires(), asked.nodes());
        let known = self.ready().get(&key).cloned();
        if let Some((verdict, since)) = known
            && (verdict.is_ready() || since.elapsed() < RETRY_ELEMENT)
        {
            return verdict;
        }
        if self.verdicts.get(asked).is_some() {
            // its trial did more than reach READY
            return super::element::installed(asked.element(), asked.nodes());
        }
        let verdict = match asked.is_hardware_codec() {
            true => self.verdicts.touch(asked, || asked.presence()),
            false => asked.presence(),
        };
        if !matches!(verdict, Presence::Missing { .. }) {
            self.ready().insert(key, (verdict.clone(), Instant::now()));
        }
        verdict
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Presence, Instant)>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds what a plan will ask for, on the caller's thread.
    fn warm(&self, board: &Board) {
        self.verdicts.refresh();
        for it in &board.encoders {
            self.get(Candidate::Encoder(it));
        }
        for element in board.convert.iter().flat_map(|entry| super::board::chain(entry)) {
            self.get(Candidate::Element(element));
        }
    }
}

/// The pipeline while it runs.
struct Session {
    start: Start,
    orders: mpsc::Sender<Order>,
    pipeline: gst::Pipeline,
    /// Added to running time: the pipeline's start on the source's own clock.
    offset: Duration,
    /// What is known of coded streams.
    offer: SourceOffer,
    expects: Vec<MediaKind>,
    all_streams: bool,
    streams_due: Option<Instant>,
    opened: bool,
    branches: HashMap<BranchId, branch::Branch>,
    raws: Vec<raw::Raw>,
    /// Once a codec of the board is used.
    using: Option<Using>,
    decoders: HashMap<MediaKind, branch::Decoder>,
    /// Of a camera that gives JPEG: its decoder is there for as long as the pipeline.
    _jpeg: Option<AtWork>,
    rewinder: Option<Arc<rewind::Rewinder>>,
    /// Of a mix: what gives its pictures and its sound.
    mix: Option<mix::Running>,
    flowing: bool,
    /// Orders that were met while looking for an error.
    kept: VecDeque<Order>,
}

fn run(start: Start, orders: mpsc::Sender<Order>, inbox: &mpsc::Receiver<Order>) {
    let _span = tracing::info_span!("pipeline", source = %start.source.name).entered();
    let using = start.presences.use_codecs(&start.board);
    let Some(_held) = start.device.hold(inbox) else { return };
    start.presences.warm(&start.board);
    let built = match capture::build(&start, &orders) {
        Ok(built) => built,
        Err(error) => {
            (start.marks.news)(News::Failed { error, culprit: None });
            return;
        }
    };
    let mut session = Session::start(start, orders, built);
    session.using = using;
    let end = session.play(inbox);
    session.close();
    if let Err((error, culprit)) = end {
        (session.start.marks.news)(News::Failed { error, culprit });
    }
}

/// Why a session ended other than by order: the error, and the encoder that said so.
type End = (SourceError, Option<String>);

impl Session {
    /// Sets the pipeline going. Whether it does is found out by `play`.
    fn start(start: Start, orders: mpsc::Sender<Order>, built: capture::Built) -> Self {
        // the canceller compares times with the speaker's pipeline; they go on from one pipeline of the source to the next by themselves
        let cancels = start.cancels_echo();
        if cancels {
            Timebase::get().apply(&built.pipeline);
        }
        let jpeg = built.pipeline.by_name("jpeg").and_then(|jpeg| jpeg.factory());
        let mut session = Self {
            orders,
            _jpeg: jpeg.map(|factory| start.decoding.begin(&factory.name())),
            pipeline: built.pipeline,
            offset: if cancels { Duration::ZERO } else { start.epoch.elapsed() },
            all_streams: !built.offer_later,
            streams_due: None,
            expects: Vec::new(),
            offer: built.offer,
            opened: false,
            branches: HashMap::new(),
            raws: Vec::new(),
            using: None,
            decoders: HashMap::new(),
            rewinder: built.rewinder,
            mix: None,
            flowing: false,
            kept: VecDeque::new(),
            start,
        };
        session.watch_bus();
        if session.pipeline.set_state(gst::State::Playing).is_err() {
            // the reason is on the bus, which the handler has turned into an order; `play` finds it first
            debug!("pipeline does not start");
        }
        session.mix = built.mix.map(|desk| desk.start(session.offset, session.reports()));
        session
    }

    /// Where a mix tells what becomes of it.
    fn reports(&self) -> mix::Reports {
        let (news, orders) = (Arc::clone(&self.start.marks.news), self.orders.clone());
        mix::Reports {
            composes: Box::new(move |composer, broken| news(News::Composes { composer, broken })),
            // after the thread's end nobody needs to know
            fails: Box::new(move |error| drop(orders.send(Order::Fail(error)))),
        }
    }

    /// Errors become orders, on whatever thread posts them; everything else is dropped.
    fn watch_bus(&self) {
        let Some(bus) = self.pipeline.bus() else { return };
        let orders = Mutex::new(self.orders.clone());
        bus.set_sync_handler(move |_, message| {
            let order = match message.view() {
                gst::MessageView::Error(_) => Some(Order::Error(message.clone())),
                gst::MessageView::Eos(_) => Some(Order::Ended),
                gst::MessageView::Warning(warning) => {
                    warn!(error = %fault::redact(&warning.error().to_string()), "pipeline warns");
                    None
                }
                _ => None,
            };
            if let Some(order) = order {
                let _ = orders.lock().unwrap_or_else(PoisonError::into_inner).send(order);
            }
            gst::BusSyncReply::Drop
        });
    }

    /// Carries orders out until told to stop.
    fn play(&mut self, inbox: &mpsc::Receiver<Order>) -> Result<(), End> {
        if self.pipeline.current_state() < gst::State::Paused && self.pipeline.state(gst::ClockTime::ZERO).0.is_err() {
            // an error said at the start lies in the inbox already
            while let Ok(order) = inbox.try_recv() {
                if let Order::Error(error) = order {
                    return Err(self.judge(&error));
                }
            }
            return Err((SourceError::Failed("it does not start and does not say why".into()), None));
        }
        self.announce();
        loop {
            let order = match (self.kept.pop_front(), self.streams_due.filter(|_| !self.all_streams)) {
                (Some(order), _) => order,
                (None, None) => inbox.recv().unwrap_or(Order::Stop),
                (None, Some(due)) => {
                    inbox.recv_timeout(due.saturating_duration_since(Instant::now())).unwrap_or(Order::AllStreams)
                }
            };
            match order {
                Order::Stop => return Ok(()),
                Order::Add(spec) => {
                    let id = spec.id;
                    let outcome = self.add_branch(*spec, inbox);
                    (self.start.marks.news)(News::Branch(id, outcome));
                }
                Order::Remove(id) => self.remove_branch(id),
                Order::AddRaw(demand) => self.add_raw(demand, inbox),
                Order::RemoveRaw(viewer) => self.remove_raw(viewer),
                Order::Flow => self.flow(),
                Order::Bitrate(id, bitrate) => self.set_bitrate(id, bitrate, inbox),
                Order::Shape(shape) => self.set_shape(shape, inbox),
                Order::Error(error) if self.contain(&error) => {}
                Order::Error(error) => return Err(self.judge(&error)),
                Order::Ended => return Err((SourceError::Failed("the stream ended".into()), None)),
                Order::Fail(error) => return Err((error, None)),
                Order::Known(kind, stream) => {
                    match kind {
                        MediaKind::Audio => self.offer.audio = Some(stream),
                        MediaKind::Video => self.offer.video = Some(stream),
                    }
                    self.announce();
                }
                Order::StreamsDue => self.streams_due = Some(Instant::now() + STREAMS_LATE),
                Order::AllStreams => {
                    self.all_streams = true;
                    self.expects = ingest::linked_kinds(&self.pipeline);
                    if self.expects.is_empty() {
                        return Err((SourceError::Failed("it has no stream that can be taken".into()), None));
                    }
                    self.announce();
                }
                Order::Rewind => {
                    if let Some(rewinder) = &self.rewinder
                        && !rewinder.rewind()
                    {
                        return Err((SourceError::Failed("the file cannot be played again from its start".into()), None));
                    }
                }
            }
        }
    }

    /// Finds out what could decode a stream that cannot pass, before the owner asks.
    fn warm_decoders(&self) {
        for stream in [&self.offer.video, &self.offer.audio].into_iter().flatten() {
            if let StreamOffer::Coded { format: Some(format), obstacle: Some(_), .. } = stream {
                for it in self.start.board.decoders_of(DecoderInput::Codec(format.codec)) {
                    if self.start.presences.get(Candidate::Decoder(it)).is_ready() {
                        break;
                    }
                }
            }
        }
    }

    /// Tells the owner once everything is known.
    fn announce(&mut self) {
        let known = self.expects.iter().all(|kind| self.offer.of(*kind).is_some());
        if self.opened || !self.all_streams || !known {
            return;
        }
        self.opened = true;
        self.warm_decoders();
        info!(
            video = self.offer.video.as_ref().map(tracing::field::display),
            audio = self.offer.audio.as_ref().map(tracing::field::display),
            "source opened"
        );
        (self.start.marks.news)(News::Opened(self.offer.clone()));
    }

    fn flow(&mut self) {
        if !std::mem::replace(&mut self.flowing, true) {
            self.start.holds.release();
        }
    }

    fn judge(&self, message: &gst::Message) -> End {
        let gst::MessageView::Error(error) = message.view() else {
            return (SourceError::Failed("the pipeline failed without a reason".into()), None);
        };
        (fault::source_error(&self.start.source, error), self.culprit(error))
    }

    fn close(&mut self) {
        // before its elements stop
        self.mix = None;
        if self.pipeline.set_state(gst::State::Null).is_err() {
            warn!("pipeline did not close cleanly");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        self.branches.clear();
        self.raws.clear();
        self.decoders.clear();
        info!("source closed");
    }
}
