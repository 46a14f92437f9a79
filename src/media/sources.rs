//! The owner of all sources: one thread that carries out orders, and what [`super::demand`] decides.
//!
//! It never waits for a device: each pipeline has a thread of its own (see [`super::pipeline`]) and reports back here.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use super::board::{Board, BoardError};
use super::budget::{Budget, ClaimId};
use super::examine::{Finding, examine};
use super::mix::{MixInput, Stage};
use super::pipeline::still::{self, KeyFrame};
use super::pipeline::{Marks, News, Order, Pipeline, PresenceCache, RawDemand, Start};
use super::plan::{Choice, SourceOffer};
use super::probe::Verdicts;
use super::probe::child::Runner;
use super::probe::prober::{Prober, Usage};
use super::slot::Slot;
use super::slot::raw::RawReply;
use super::snapshot::SnapshotError;
use super::sound::{self, Speaker, SpeakerConfig};
use super::strain::heat::{Warmth, judge};
use super::strain::{Degree, Ladder, Strain, StrainConfig};
use super::tap::LastFrame;
use super::{MediaCommand, MediaEvent, MediaSourceConfig, SourceConfig, SourceError, SourcesConfig};
use crate::forward::{Layer, Layers, Stages};
use crate::vocab::{PeerId, RoomId, SourceName, TrackId};

/// Longest time `stop` waits for devices to close.
const STOP_LIMIT: Duration = Duration::from_millis(900);

/// Why the media subsystem cannot start.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// GStreamer did not initialise.
    #[error("GStreamer cannot start")]
    Init(#[source] gstreamer::glib::Error),
    /// A board file is broken, or there is none of the configured name.
    #[error("the board file cannot be used")]
    Board(#[source] BoardError),
    /// No thread can be started.
    #[error("no thread for the sources")]
    Thread(#[source] std::io::Error),
}

/// A source's place with the owner. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId(pub(super) u64);

/// What reaches the owner.
pub(super) enum ToOwner {
    Command(MediaCommand),
    /// A mix wants a source as it is.
    Raw {
        source: SourceName,
        demand: Arc<RawDemand>,
        reply: RawReply,
    },
    /// These sources from now on.
    Configure {
        habits: SourcesConfig,
        sources: Vec<(SlotId, SourceConfig)>,
    },
    /// News of the run `run` of the source at `slot`.
    News {
        slot: SlotId,
        run: u64,
        news: News,
    },
    /// What a look at the source at `slot` showed.
    Examined {
        slot: SlotId,
        outcome: Result<Option<Choice>, Finding>,
    },
    /// A smaller layer must end, as a picture needs its encoder.
    GiveWay(ClaimId),
    /// A codec has its verdict.
    Tried,
    Stop,
}

/// The running sources.
pub struct Media {
    orders: mpsc::Sender<ToOwner>,
    board: Arc<Board>,
    presences: Arc<PresenceCache>,
    listed: Mutex<Listed>,
    /// Taken by [`Self::stop`].
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Taken by [`Self::stop`].
    prober: Mutex<Option<Prober>>,
}

/// The configured sources.
#[derive(Default)]
struct Listed {
    next: u64,
    sources: Vec<(SlotId, SourceConfig)>,
}

impl Listed {
    /// Other sources; one that was there keeps its place.
    fn replace(&mut self, sources: Vec<SourceConfig>) {
        let before = std::mem::take(&mut self.sources);
        for source in sources {
            if self.sources.iter().any(|(_, other)| other.name == source.name) {
                error!(source = %source.name, "two sources have the same name, the later one is left out");
                continue;
            }
            let known = before.iter().find(|(_, other)| other.name == source.name).map(|(slot, _)| *slot);
            let slot = known.unwrap_or(SlotId(self.next));
            self.next += u64::from(known.is_none());
            self.sources.push((slot, source));
        }
    }
}

impl Media {
    /// Initialises GStreamer, recognises the board and starts the owner thread. No source is opened yet. What is known of codecs is
    /// kept in `state_dir`; hardware codecs of which nothing is known are tried in processes of their own while nobody watches.
    pub fn start(config: MediaSourceConfig, state_dir: &Path, events: UnboundedSender<MediaEvent>) -> Result<Self, MediaError> {
        gstreamer::init().map_err(MediaError::Init)?;
        let habits = &config.habits;
        let board = Board::recognise(&habits.board_dir, habits.board.as_deref(), Path::new("/")).map_err(MediaError::Board)?;
        let (verdicts, usage) = (Arc::new(Verdicts::open(state_dir, &board)), Arc::new(Usage::of(state_dir)));
        let presences = PresenceCache::new(Arc::clone(&verdicts), Arc::clone(&usage));
        let media = Self::start_on(board, presences, config, events)?;
        let orders = media.orders.clone();
        let tell = move || {
            // after `stop` nobody wants to know
            let _ = orders.send(ToOwner::Tried);
        };
        match Prober::start(Arc::clone(&media.board), verdicts, usage, Runner::this_program(), tell) {
            Ok(prober) => *media.prober.lock().unwrap_or_else(PoisonError::into_inner) = Some(prober),
            Err(error) => warn!(%error, "no thread to try codecs on"),
        }
        Ok(media)
    }

    /// As [`Media::start`], on a given board, without trying anything. GStreamer must be initialised.
    pub(super) fn start_on(
        board: Board,
        presences: PresenceCache,
        config: MediaSourceConfig,
        events: UnboundedSender<MediaEvent>,
    ) -> Result<Self, MediaError> {
        // unbounded: orders come from the hub alone, a few per viewer, and `send` may neither block nor lose a release
        let (orders, inbox) = mpsc::channel();
        let (board, presences) = (Arc::new(board), Arc::new(presences));
        let speaker_config = sound::possible(config.speaker);
        let shared = Arc::new(Shared {
            board: Arc::clone(&board),
            presences: Arc::clone(&presences),
            orders: orders.clone(),
            events,
            stages: Arc::clone(&config.stages),
            strain: config.strain,
            speaker: speaker_config.clone(),
            budget: Budget::default(),
        });
        let mut listed = Listed::default();
        listed.replace(config.sources);
        let speaker = speaker_config.on().and_then(|_| {
            let started = Speaker::start(speaker_config.clone(), Arc::clone(&board), Arc::clone(&presences));
            started.inspect_err(|error| error!(%error, "there is no speaker")).ok()
        });
        let heat = (Ladder::new(&shared.strain), Strain::default());
        let mut owner = Owner {
            shared,
            slots: Vec::new(),
            closing: Vec::new(),
            heat,
            speaker,
            heard: BTreeMap::new(),
            mixed: HashMap::new(),
            inbox,
        };
        owner.configure(Instant::now(), &config.habits, listed.sources.clone());
        let thread = std::thread::Builder::new().name("sources".into()).spawn(move || owner.run()).map_err(MediaError::Thread)?;
        Ok(Self {
            orders,
            board,
            presences,
            listed: Mutex::new(listed),
            thread: Mutex::new(Some(thread)),
            prober: Mutex::default(),
        })
    }

    /// Other sources and habits from now on; the board stays. A source whose own configuration is as before is not touched. One that
    /// changed is opened anew, and who watches it goes on after a moment; one that is gone is closed. Never blocks.
    pub fn configure(&self, config: MediaSourceConfig) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.replace(config.sources);
        // after `stop` nothing is opened any more
        let _ = self.orders.send(ToOwner::Configure { habits: config.habits, sources: listed.sources.clone() });
    }

    /// Hands over an order. Never blocks.
    pub fn send(&self, command: MediaCommand) {
        // after `stop` the order's reply channel is dropped, which its owner sees
        let _ = self.orders.send(ToOwner::Command(command));
    }

    /// A key frame as a JPEG; see [`still::jpeg`]. Blocks until `deadline` at the longest, but for drivers that hang.
    pub(super) fn jpeg(&self, frame: &KeyFrame, width: Option<u16>, deadline: Instant) -> Result<Bytes, SnapshotError> {
        let _using = self.presences.use_codecs(&self.board);
        still::jpeg(frame, width, &self.board, &self.presences, deadline)
    }

    /// Looks at every source without opening it. What keeps one from being opened is logged, and stands in its figures until it
    /// is opened or a later look finds it good. Returns how many cannot be opened now. Blocks, for as long as cameras' drivers
    /// take to answer.
    pub fn examine(&self) -> usize {
        let mut bad = 0;
        let sources = self.listed.lock().unwrap_or_else(PoisonError::into_inner).sources.clone();
        for (slot, source) in sources {
            let outcome = examine(&source, &self.board, self.presences.verdicts());
            bad += usize::from(outcome.is_err());
            // after `stop` nobody wants to know
            let _ = self.orders.send(ToOwner::Examined { slot, outcome });
        }
        bad
    }

    /// Closes every pipeline and joins the thread; takes at most 1 s. A device that does not close by then is left to the exit.
    /// Doing it again does nothing.
    pub fn stop(&self) {
        let _ = self.orders.send(ToOwner::Stop);
        if let Some(prober) = self.prober.lock().unwrap_or_else(PoisonError::into_inner).take() {
            prober.stop();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("the sources' thread ended by a panic");
        }
    }
}

/// What all sources share.
pub(super) struct Shared {
    pub board: Arc<Board>,
    pub presences: Arc<PresenceCache>,
    pub orders: mpsc::Sender<ToOwner>,
    pub events: UnboundedSender<MediaEvent>,
    pub stages: Arc<Stages>,
    pub strain: StrainConfig,
    pub speaker: SpeakerConfig,
    /// What the encoders of all sources use of the board's.
    pub budget: Budget,
}

struct Owner {
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    /// Threads of sources that are gone and may still be closing their devices.
    closing: Vec<JoinHandle<()>>,
    /// What all sources do with less, because the board is hot.
    heat: (Ladder, Strain),
    speaker: Option<Speaker>,
    /// Who publishes sound in the speaker's room.
    heard: BTreeMap<PeerId, Vec<(TrackId, Arc<Layer>)>>,
    /// What is to be mixed, by mix: a room may tell it before its mix is configured. Bounded by the rooms that are listed.
    mixed: HashMap<SourceName, Vec<MixInput>>,
    inbox: mpsc::Receiver<ToOwner>,
}

impl Owner {
    fn run(mut self) {
        loop {
            let next = self.slots.iter().filter_map(Slot::next_timeout).min();
            let message = match next {
                Some(next) => self.inbox.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => self.inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            let now = Instant::now();
            match message {
                Ok(ToOwner::Command(command)) => self.command(now, command),
                Ok(ToOwner::Raw { source, demand, reply }) => match self.slots.iter_mut().find(|slot| *slot.name() == source) {
                    Some(slot) => slot.demand_raw(now, demand, reply),
                    // nobody listening is nobody to tell
                    None => drop(reply.send(Err(SourceError::Unknown(source)))),
                },
                Ok(ToOwner::Configure { habits, sources }) => self.configure(now, &habits, sources),
                Ok(ToOwner::News { slot, run, news }) => {
                    if let Some(slot) = self.slot(slot) {
                        slot.handle_news(now, run, news);
                    }
                }
                Ok(ToOwner::Examined { slot, outcome }) => {
                    if let Some(slot) = self.slot(slot) {
                        slot.examined(outcome);
                    }
                }
                Ok(ToOwner::GiveWay(id)) => {
                    if let Some(slot) = self.slot(SlotId(id.owner)) {
                        slot.give_way(id);
                    }
                }
                Ok(ToOwner::Tried) => self.slots.iter_mut().for_each(|slot| slot.improve_all(now)),
                Ok(ToOwner::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            for slot in &mut self.slots {
                if slot.next_timeout().is_some_and(|due| due <= now) {
                    slot.handle_timeout(now);
                }
            }
        }
        self.close();
    }

    fn slot(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id() == id)
    }

    /// What a mix of that name mixes.
    fn stage(&self, source: &SourceName) -> Option<&Stage> {
        self.slots.iter().find(|slot| slot.name() == source)?.stage()
    }

    fn configure(&mut self, now: Instant, habits: &SourcesConfig, sources: Vec<(SlotId, SourceConfig)>) {
        let mut before = std::mem::take(&mut self.slots);
        for (id, source) in sources {
            match before.iter().position(|slot| slot.id() == id) {
                Some(index) => {
                    let mut slot = before.swap_remove(index);
                    slot.configure(now, source, habits);
                    self.slots.push(slot);
                }
                None => {
                    let mut slot = Slot::new(id, source, habits, Arc::clone(&self.shared));
                    slot.set_heat(&self.heat.1);
                    if let (Some(stage), Some(inputs)) = (slot.stage(), self.mixed.get(slot.name())) {
                        stage.set_inputs(inputs.clone());
                    }
                    self.slots.push(slot);
                }
            }
        }
        self.closing.retain(|thread| !thread.is_finished());
        for slot in before {
            info!(source = %slot.name(), "source removed");
            self.closing.extend(slot.stop());
        }
    }

    fn command(&mut self, now: Instant, command: MediaCommand) {
        match command {
            MediaCommand::Demand { source, viewer, listener, wants, reply } => {
                match self.slots.iter_mut().find(|slot| *slot.name() == source) {
                    Some(slot) => slot.demand(now, viewer, listener, wants, reply),
                    // nobody listening is nobody to tell
                    None => drop(reply.send(Err(SourceError::Unknown(source)))),
                }
            }
            MediaCommand::Release { source, viewer } => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| *slot.name() == source) {
                    slot.release(now, viewer);
                }
            }
            MediaCommand::Bitrate { source, bitrate } => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| *slot.name() == source) {
                    slot.set_bitrate(now, bitrate);
                }
            }
            MediaCommand::Heard { room, peer, tracks } => self.hear(room.as_ref(), peer, &tracks),
            MediaCommand::Warmth(warmth) => self.feel(now, &warmth),
            MediaCommand::Mix { source, inputs } => {
                if let Some(stage) = self.stage(&source) {
                    stage.set_inputs(inputs.clone());
                }
                match inputs.is_empty() {
                    true => drop(self.mixed.remove(&source)),
                    false => drop(self.mixed.insert(source, inputs)),
                }
            }
            MediaCommand::MixLayout { source, layout, reply } => {
                let stage = self.stage(&source);
                if let (Some(stage), Some(layout)) = (stage, layout) {
                    stage.set_layout(layout);
                }
                // nobody listening is nobody to tell
                let _ = reply.send(stage.map(|stage| stage.layout()));
            }
            MediaCommand::Figures { reply } => drop(reply.send(self.slots.iter().map(Slot::figures).collect())),
        }
    }

    /// Somebody publishes other sound than before.
    fn hear(&mut self, room: Option<&RoomId>, peer: PeerId, tracks: &[(TrackId, Layers)]) {
        let Some(speaker) = &self.speaker else { return };
        let before = self.heard.remove(&peer);
        if room == Some(&self.shared.speaker.room) && !tracks.is_empty() {
            let layers = tracks.iter().map(|(track, layers)| (*track, Arc::clone(layers.first())));
            self.heard.insert(peer, layers.collect());
        } else if before.is_none() {
            return;
        }
        speaker.play(self.heard.values().flatten().map(|(track, layer)| (*track, Arc::clone(layer))).collect());
    }

    /// How warm the board is.
    fn feel(&mut self, now: Instant, warmth: &Warmth) {
        let config = &self.shared.strain;
        if !config.enabled {
            return;
        }
        let (ladder, strain) = &mut self.heat;
        let Some(step) = ladder.feel(now, &judge(warmth, f64::from(config.hot))) else { return };
        let (from, to, reason) = (step.from.as_str(), step.to.as_str(), step.reason.as_str());
        *strain = if step.to > step.from {
            warn!(from, to, reason, "the board is hot: all sources do with less");
            Strain { degree: step.to, reason: step.reason }
        } else {
            info!(from, to, reason, "the board is cooler: all sources do with more again");
            // what led here
            let reason = if step.to == Degree::Full { String::new() } else { std::mem::take(&mut strain.reason) };
            Strain { degree: step.to, reason }
        };
        self.slots.iter_mut().for_each(|slot| slot.set_heat(strain));
    }

    fn close(self) {
        let mut threads = self.closing;
        threads.extend(self.speaker.map(Speaker::stop));
        threads.extend(self.slots.into_iter().flat_map(Slot::stop));
        let limit = Instant::now() + STOP_LIMIT;
        while threads.iter().any(|thread| !thread.is_finished()) {
            if Instant::now() >= limit {
                warn!("a source did not close in time");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Opens a source for as long as it takes to know its streams: what `portico plan` plans with. Blocks for at most `limit`.
/// GStreamer must be initialised.
pub fn look(source: SourceConfig, board: &Board, limit: Duration) -> Result<SourceOffer, SourceError> {
    let (tell, told) = mpsc::channel();
    let now = Instant::now();
    let news = move |news| {
        // the listener has what it wanted
        let _ = tell.send(news);
    };
    let start = Start {
        source,
        board: Arc::new(board.clone()),
        presences: Arc::default(),
        epoch: now,
        marks: Marks { last_frame: Arc::new(LastFrame::new(now)), news: Arc::new(news) },
        holds: Arc::default(),
        device: Arc::default(),
        stages: Arc::default(),
        decoding: Arc::default(),
        broken: std::collections::HashSet::new(),
        cancel_echo: false,
        stage: None,
    };
    let pipeline = Pipeline::start(start).map_err(|error| SourceError::Failed(error.to_string()))?;
    let outcome = loop {
        match told.recv_timeout((now + limit).saturating_duration_since(Instant::now())) {
            Ok(News::Opened(offer)) => break Ok(offer),
            Ok(News::Failed { error, .. }) => break Err(error),
            Ok(_) => {}
            Err(_) => break Err(SourceError::Silent(limit)),
        }
    };
    pipeline.order(Order::Stop);
    outcome
}
