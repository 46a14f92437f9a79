//! One source as the owner keeps it: its demand, its pipeline while there is one, its layers, and the viewers that wait.

mod broken;
mod encoding;
mod layers;
pub(super) mod raw;
mod strained;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::board::Candidate;
use super::config::SourcesConfig;
use super::decoding::Decoding;
use super::demand::{Action, Demand, Habits};
use super::element::Presence;
use super::examine::Finding;
use super::mix::Stage;
use super::pipeline::{BranchId, Device, Marks, News, Order, Pipeline, Start};
use super::plan::composing::Composer;
use super::plan::layering::Layering;
use super::plan::{self, Choice, Path, SourceOffer, StreamOffer};
use super::sources::{Shared, SlotId, ToOwner};
use super::tap::{Feed, LastFrame};
use super::{MediaEvent, PlannedTrack, SourceConfig, SourceError, SourceFigures, SourceKind, Wants};
use crate::forward::Layers;
use crate::vocab::{Codec, MediaKind, MemberId, MixConfig, PeerId, SourceName, TrackId};

/// Longest pause between tries of an RTSP server: a server or network that is down is not hammered.
const LONGEST_PAUSE_REMOTE: Duration = Duration::from_secs(30);
/// And of a device or file of this machine, where a look costs little: back within 2 s of being plugged in again.
const LONGEST_PAUSE_LOCAL: Duration = Duration::from_millis(1500);

fn habits_of(config: &SourceConfig, habits: &SourcesConfig) -> Habits {
    let longest_pause = match config.kind {
        SourceKind::Rtsp(_) => LONGEST_PAUSE_REMOTE,
        _ => LONGEST_PAUSE_LOCAL,
    };
    Habits { linger: habits.linger, open_limit: habits.open_limit, longest_pause }
}

type Reply = oneshot::Sender<Result<Vec<PlannedTrack>, SourceError>>;

/// One source.
pub(super) struct Slot {
    id: SlotId,
    config: SourceConfig,
    open_limit: Duration,
    shared: Arc<Shared>,
    demand: Demand,
    /// Viewers without an answer yet.
    waiting: BTreeMap<PeerId, Waiting>,
    /// Those who take it as it is.
    raws: BTreeMap<PeerId, raw::RawViewer>,
    pipeline: Option<Pipeline>,
    device: Arc<Device>,
    /// Threads of pipelines that may still be closing the device.
    closing: Vec<JoinHandle<()>>,
    /// Counts pipelines; news of an earlier one is out of date.
    run: u64,
    offer: Option<SourceOffer>,
    fed: BTreeMap<Codec, Fed>,
    last_frame: Arc<LastFrame>,
    decoding: Arc<Decoding>,
    epoch: Instant,
    video: TrackId,
    audio: TrackId,
    error: Option<SourceError>,
    /// Of a mix that runs: what puts its pictures together.
    composer: Option<Composer>,
    /// What the last look found, until the source is opened.
    look: Look,
    /// Encoders that failed while in use; passed over until the source is closed.
    broken: HashSet<String>,
    /// Of a mix: what is to be mixed, and who listens.
    stage: Option<Arc<Stage>>,
    /// How much less is done than could be, and why. What is planned keeps to it: see [`Slot::strain`].
    strained: strained::Strained,
    /// Width, height and frames a second of a coded picture, once the present pipeline has decoded some.
    decoded: Option<(u32, u32, u32)>,
    /// When to look what viewers' ways carry; while something is encoded.
    look_at_ways: Option<Instant>,
    /// What had been given back of the board's encoders when they were asked for last.
    freed: u64,
}

/// What a look at a source that was not open showed.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Never,
    Good,
    /// The error as it was logged.
    Bad(String),
}

struct Waiting {
    listener: Option<MemberId>,
    wants: Wants,
    reply: Reply,
    /// Planned once the source is open.
    choices: Vec<Choice>,
}

/// The layers of one codec and how they are filled.
struct Fed {
    choice: Choice,
    /// What viewers hold.
    layers: Layers,
    /// As many as there are layers.
    filled: Vec<Filled>,
    /// Which are encoded, at which rates.
    layering: Layering,
    /// Layers from this one on do not start, until the source is opened anew.
    most: usize,
}

/// A layer and what fills it.
struct Filled {
    feed: Arc<Feed>,
    /// The present pipeline fills it.
    up: bool,
    /// Frames at the last look, once the present pipeline has been looked at.
    seen: Option<u64>,
}

impl Fed {
    fn encodes_video(&self) -> bool {
        self.choice.encoder.is_some() && self.choice.codec.kind() == MediaKind::Video
    }

    /// Something of it flows, or is about to.
    fn up(&self) -> bool {
        self.filled.iter().any(|filled| filled.up)
    }

    /// The present pipeline fills nothing of it any more.
    fn down(&mut self) {
        for (index, filled) in self.filled.iter_mut().enumerate() {
            (filled.up, filled.seen) = (false, None);
            self.layering.ended(index);
        }
    }

    fn frames(&self) -> u64 {
        self.filled.iter().map(|filled| filled.feed.layer().figures().frames).sum()
    }
}

impl Slot {
    /// A source nobody uses.
    pub fn new(id: SlotId, config: SourceConfig, habits: &SourcesConfig, shared: Arc<Shared>) -> Self {
        let epoch = Instant::now();
        let stage = match &config.kind {
            SourceKind::Mix(mix) => Some(Arc::new(Stage::new(mix, epoch, shared.orders.clone()))),
            _ => None,
        };
        Self {
            id,
            stage,
            demand: Demand::new(habits_of(&config, habits)),
            config,
            open_limit: habits.open_limit,
            waiting: BTreeMap::new(),
            raws: BTreeMap::new(),
            pipeline: None,
            device: Arc::default(),
            closing: Vec::new(),
            run: 0,
            offer: None,
            fed: BTreeMap::new(),
            last_frame: Arc::new(LastFrame::new(epoch)),
            decoding: Arc::default(),
            epoch,
            video: TrackId::next(),
            audio: TrackId::next(),
            error: None,
            composer: None,
            look: Look::Never,
            broken: HashSet::new(),
            decoded: None,
            look_at_ways: None,
            freed: 0,
            strained: strained::Strained::new(&shared.strain, epoch),
            shared,
        }
    }

    /// Its name.
    pub fn name(&self) -> &SourceName {
        &self.config.name
    }

    /// Of a mix: what is to be mixed.
    pub fn stage(&self) -> Option<&Stage> {
        self.stage.as_deref()
    }

    /// Which it is, for who reports of it.
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// Takes over another configuration. One that runs is opened anew only where its own part changed; its viewers stay.
    pub fn configure(&mut self, now: Instant, config: SourceConfig, habits: &SourcesConfig) {
        self.open_limit = habits.open_limit;
        self.demand.set_habits(habits_of(&config, habits));
        if config == self.config {
            return;
        }
        if (SourceConfig { bitrate: config.bitrate, ..self.config.clone() }) == config {
            // encoders change it as they run
            return self.set_bitrate(now, config.bitrate);
        }
        if let (SourceKind::Mix(had), SourceKind::Mix(mix), Some(stage)) = (&self.config.kind, &config.kind, &self.stage) {
            stage.set_layout(mix.layout);
            if (MixConfig { layout: mix.layout, ..had.clone() }) == *mix && self.config.bitrate == config.bitrate {
                // who is where changes as it runs
                self.config = config;
                return;
            }
        }
        info!(source = %config.name, viewers = self.demand.viewers(), "source changed");
        self.config = config;
        (self.error, self.look) = (None, Look::Never);
        self.broken.clear();
        self.demand.restart(now);
        self.act(now);
    }

    /// Somebody looked at it. One that is open, or being opened, knows better.
    pub fn examined(&mut self, outcome: Result<Option<Choice>, Finding>) {
        if self.pipeline.is_some() {
            return;
        }
        let source = &self.config.name;
        let look = match &outcome {
            Ok(_) => Look::Good,
            Err(finding) => Look::Bad(finding.error.to_string()),
        };
        if look == self.look {
            return;
        }
        match outcome {
            Err(Finding { error, help }) => {
                warn!(%source, %error, help, "source cannot be opened; it is tried again when somebody wants it");
                self.error = Some(error);
            }
            Ok(_) if self.look != Look::Never => {
                info!(%source, "source can be opened now");
                self.error = None;
            }
            Ok(Some(choice)) => {
                info!(%source, codec = %choice.codec, encoder = choice.encoder, reason = choice.reason, "source found good")
            }
            Ok(None) => info!(%source, "source found good"),
        }
        self.look = look;
    }

    /// A viewer wants it.
    pub fn demand(&mut self, now: Instant, viewer: PeerId, listener: Option<MemberId>, wants: Wants, reply: Reply) {
        let strain = self.strain();
        if !strain.degree.takes_viewers() && !self.demand.has(viewer) {
            // nobody listening is nobody to tell
            return drop(reply.send(Err(SourceError::Overloaded(strain.reason.clone()))));
        }
        self.waiting.insert(viewer, Waiting { listener, wants, reply, choices: Vec::new() });
        self.demand.arrive(now, viewer);
        self.act(now);
    }

    /// A viewer left.
    pub fn release(&mut self, now: Instant, viewer: PeerId) {
        self.waiting.remove(&viewer);
        self.release_raw(viewer);
        if let Some(stage) = &self.stage {
            stage.release(viewer);
        }
        self.demand.release(now, viewer);
        self.act(now);
        self.drop_unwanted();
    }

    /// When `handle_timeout` is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.demand.next_timeout(), self.look_at_ways, self.look_due()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_at_encoders(now);
        self.demand.handle_timeout(now);
        self.act(now);
        if self.look_at_ways.is_some_and(|at| at <= now) {
            self.follow_ways(now);
        }
    }

    /// News of a pipeline.
    pub fn handle_news(&mut self, now: Instant, run: u64, news: News) {
        if run != self.run || self.pipeline.is_none() {
            return;
        }
        match news {
            News::Opened(offer) => {
                self.offer = Some(offer);
                self.demand.opened(now);
                self.flowed(now);
            }
            News::Flowing => {
                self.flowed(now);
                self.answer_ready(now);
            }
            News::Decoded(width, height, framerate) => self.decoded_as(now, (width, height, framerate)),
            News::Branch(id, Ok(())) => {
                if let Some(filled) = self.fed.get_mut(&id.codec).and_then(|fed| fed.filled.get_mut(id.layer)) {
                    filled.up = true;
                }
                self.answer_ready(now);
            }
            News::Composes { composer, broken } => {
                self.broken.extend(broken);
                self.composer = Some(composer);
            }
            News::Branch(id, Err(error)) => self.branch_failed(now, id, error),
            News::Broke { element, branches, error } => self.codec_broke(now, element, &branches, &error),
            News::Failed { error, culprit } => {
                self.broken.extend(culprit);
                self.fail(now, error);
            }
        }
        self.act(now);
        // everything planned at the opening is ordered before: nothing of the start is lost
        if self.offer.is_some() {
            self.order(Order::Flow);
        }
    }

    /// What it does now.
    pub fn figures(&self) -> SourceFigures {
        let in_use = self.fed.iter().filter(|(codec, fed)| fed.up() || self.demand.uses(**codec));
        SourceFigures {
            source: self.config.name.to_string(),
            state: self.demand.state(),
            viewers: self.demand.viewers(),
            encoders: self.encoders().count(),
            layers: self.encoded_layers(),
            decoders: self.decoding.elements(),
            paths: in_use.map(|(_, fed)| fed.choice.clone()).collect(),
            compositor: self.composer.clone(),
            frames: self.fed.values().map(Fed::frames).sum(),
            strain: self.strain().clone(),
            error: self.error.as_ref().map(ToString::to_string),
        }
    }

    /// Ends it; the threads may still be closing its device.
    pub fn stop(mut self) -> Vec<JoinHandle<()>> {
        self.end_pipeline();
        self.closing
    }

    fn act(&mut self, now: Instant) {
        while let Some(action) = self.demand.poll_action() {
            debug!(source = %self.config.name, ?action, "source action");
            match action {
                Action::Open => self.open(now),
                Action::Abandon => self.end_pipeline(),
                Action::Close => {
                    self.end_pipeline();
                    self.fed.clear();
                    self.look_at_ways = None;
                    self.broken.clear();
                    self.strained.forget(&self.shared.strain);
                }
                Action::Restore => self.restore(now),
                Action::Plan(viewer) if self.plan_raw(now, viewer) => {}
                Action::Plan(viewer) => self.plan(now, viewer),
                Action::Reject(viewer) => {
                    let error = self.error.clone().unwrap_or(SourceError::Silent(self.open_limit));
                    if !self.reject_raw(viewer, &error) {
                        self.answer(viewer, Err(error));
                    }
                }
                Action::DropLayer(codec) => self.drop_layer(codec),
                Action::CheckFlow => self.check_flow(now),
                Action::TellFailed => {
                    let error = self.error.clone().unwrap_or(SourceError::Silent(self.open_limit));
                    self.tell(MediaEvent::Failed { source: self.config.name.clone(), error });
                }
                Action::TellRecovered => self.tell(MediaEvent::Recovered { source: self.config.name.clone() }),
            }
        }
    }

    fn open(&mut self, now: Instant) {
        self.run += 1;
        let (run, slot, orders) = (self.run, self.id, self.shared.orders.clone());
        let news = move |news| {
            // after the owner's end nobody needs news
            let _ = orders.send(ToOwner::News { slot, run, news });
        };
        self.last_frame = Arc::new(LastFrame::new(now));
        let start = Start {
            source: self.config.clone(),
            board: Arc::clone(&self.shared.board),
            presences: Arc::clone(&self.shared.presences),
            epoch: self.epoch,
            marks: Marks { last_frame: Arc::clone(&self.last_frame), news: Arc::new(news) },
            holds: Arc::default(),
            device: Arc::clone(&self.device),
            stages: Arc::clone(&self.shared.stages),
            decoding: Arc::clone(&self.decoding),
            broken: self.broken.clone(),
            cancel_echo: self.shared.speaker.cancels_echo(),
            stage: self.stage.clone(),
        };
        match Pipeline::start(start) {
            Ok(pipeline) => self.pipeline = Some(pipeline),
            Err(error) => self.fail(now, SourceError::Failed(format!("no thread for it: {error}"))),
        }
    }

    fn fail(&mut self, now: Instant, error: SourceError) {
        warn!(source = %self.config.name, %error, viewers = self.demand.viewers(), "source failed");
        if matches!(error, SourceError::Refused(_)) {
            // nothing is left in their place: the next opening tries them again
            self.broken.clear();
        }
        self.error = Some(error);
        self.demand.failed(now, rand::random());
    }

    fn flowed(&mut self, now: Instant) {
        if let Some(last) = self.last_frame.last()
            && self.offer.is_some()
        {
            (self.error, self.look) = (None, Look::Good);
            self.demand.flowed(now, last);
        }
    }

    fn check_flow(&mut self, now: Instant) {
        match self.last_frame.last() {
            Some(last) if now.saturating_duration_since(last) < self.open_limit => match self.offer {
                Some(_) => match self.mute_encoder() {
                    Some((branch, element)) => {
                        self.give_up(now, branch, element);
                        self.flowed(now);
                    }
                    None => self.flowed(now),
                },
                None => {
                    self.fail(now, SourceError::Failed(format!("its streams are not understood within {:?}", self.open_limit)))
                }
            },
            _ => self.fail(now, SourceError::Silent(self.open_limit)),
        }
    }

    /// A video encoder that gave nothing since the last look, while the source gave frames.
    fn mute_encoder(&mut self) -> Option<(BranchId, String)> {
        let mut mute = None;
        for (codec, fed) in self.fed.iter_mut().filter(|(_, fed)| fed.encodes_video()) {
            for (layer, filled) in fed.filled.iter_mut().enumerate().filter(|(_, filled)| filled.up) {
                let frames = filled.feed.layer().figures().frames;
                if filled.seen.replace(frames) == Some(frames) {
                    mute = fed.choice.encoder.clone().map(|element| (BranchId { codec: *codec, layer }, element));
                }
            }
        }
        mute
    }

    fn end_pipeline(&mut self) {
        if let Some(pipeline) = self.pipeline.take() {
            self.closing.retain(|thread| !thread.is_finished());
            self.closing.push(pipeline.stop());
        }
        (self.offer, self.decoded, self.composer) = (None, None, None);
        self.fed.values_mut().for_each(Fed::down);
        self.release_claims();
    }

    /// A new pipeline runs: what passes without an encoder is fed from its first frame, and every layer in use again.
    fn restore(&mut self, now: Instant) {
        let Some(offer) = self.offer.clone() else { return };
        let demand = &self.demand;
        self.fed.retain(|codec, _| demand.uses(*codec));
        for kind in [MediaKind::Video, MediaKind::Audio] {
            if let Some(StreamOffer::Coded { format: Some(format), obstacle: None, .. }) = offer.of(kind)
                && !self.fed.contains_key(&format.codec)
            {
                let reason = "the source gives it ready for viewers".into();
                let choice = Choice { path: Path::Repacketise, codec: format.codec, encoder: None, reason };
                if let Err(error) = self.feed(now, &choice) {
                    warn!(source = %self.config.name, %error, "stream cannot be passed on");
                }
            }
        }
        self.restore_raws();
        for codec in self.fed.iter().filter(|(_, fed)| !fed.up()).map(|(codec, _)| *codec).collect::<Vec<_>>() {
            self.refeed(now, codec);
        }
    }

    fn answer(&mut self, viewer: PeerId, answer: Result<Vec<PlannedTrack>, SourceError>) {
        if let Some(waiting) = self.waiting.remove(&viewer) {
            // one that left meanwhile needs no answer
            let _ = waiting.reply.send(answer);
        }
    }

    /// Encoders started for viewers that never came to use them.
    fn drop_unwanted(&mut self) {
        let wanted: BTreeSet<Codec> =
            self.waiting.values().flat_map(|waiting| waiting.choices.iter().map(|choice| choice.codec)).collect();
        for codec in self.fed.keys().copied().filter(|codec| !wanted.contains(codec)).collect::<Vec<_>>() {
            if !self.demand.keeps(codec) {
                self.drop_layer(codec);
            }
        }
    }

    /// Stops an encoder. What is passed on stays as long as the source is open: it costs next to nothing, and its cached
    /// group gives the next viewer a picture at once.
    fn drop_layer(&mut self, codec: Codec) {
        if self.fed.get(&codec).is_some_and(|fed| fed.choice.encoder.is_some())
            && let Some(fed) = self.fed.remove(&codec)
        {
            for layer in 0..fed.filled.len() {
                self.remove(BranchId { codec, layer });
            }
        }
    }

    fn order(&self, order: Order) {
        if let Some(pipeline) = &self.pipeline {
            pipeline.order(order);
        }
    }

    fn tell(&self, event: MediaEvent) {
        // after the hub's end nobody needs news
        let _ = self.shared.events.send(event);
    }

    fn with_presence<T>(&self, ask: impl FnOnce(plan::Presences<'_>) -> T) -> T {
        ask(&|asked: Candidate<'_>| match (self.broken.contains(asked.element()), asked) {
            (true, _) => Presence::NotReady { why: "it failed while in use".into() },
            (false, Candidate::Encoder(encoder)) => match (self.fits(encoder, 0), self.too_large_for(encoder)) {
                (Ok(()), None) => self.shared.presences.get(asked),
                (Err(why), _) => Presence::Busy { why },
                (_, Some(why)) => Presence::NotReady { why },
            },
            (false, _) => self.shared.presences.get(asked),
        })
    }
}
