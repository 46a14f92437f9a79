//! What is mixed, as the runner keeps it.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use super::input::{Eye, Input, Picture, Tools, raw_taps};
use super::scene::Pane;
use super::sound::Ring;
use super::{Key, MixFrom, MixInput, Stage};
use crate::forward::Layer;
use crate::media::pipeline::RawDemand;
use crate::media::sources::ToOwner;
use crate::media::{MediaCommand, PlannedTrack, SourceError, Wants};
use crate::vocab::{Codec, MediaKind, PeerId, SourceName};

/// A source that gave nothing is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// One thing that is mixed, as the runner keeps it.
pub(super) struct Part {
    pub input: MixInput,
    /// A demand on its source, where it is one.
    pub order: Option<Order>,
    pub video: Option<Seen>,
    pub audio: Option<Heard>,
}

impl Part {
    /// Whether it has a picture, or may have one.
    pub fn is_seen(&self) -> bool {
        self.video.is_some() || self.order.as_ref().is_some_and(|order| order.is_open())
    }

    pub fn key(&self) -> Key {
        (self.input.member, self.input.stream.clone())
    }
}

/// A demand on a source of this gateway: for its raw pictures and sound, or for what is encoded of it where that is all it has.
pub(super) struct Order {
    viewer: PeerId,
    raw: Raw,
    answer: Option<oneshot::Receiver<Result<Vec<PlannedTrack>, SourceError>>>,
    /// Its tracks, once they are there.
    pub tracks: Vec<Arc<Layer>>,
    /// When it is asked again, after it gave nothing.
    again: Option<Instant>,
}

/// How it stands with what is raw.
enum Raw {
    Wanted,
    Asked(Taken, oneshot::Receiver<Result<Option<Vec<MediaKind>>, SourceError>>),
    Taken(Taken),
    /// The source gives encoded streams, or its raw pictures cannot be taken.
    Refused,
}

/// What is taken of a source as it is.
#[derive(Clone)]
pub(super) struct Taken {
    demand: Arc<RawDemand>,
    pub kinds: Vec<MediaKind>,
    pub eye: Arc<Eye>,
    pub ring: Arc<Mutex<Ring>>,
}

pub(super) struct Seen {
    pub input: Input,
    pub eye: Arc<Eye>,
    /// From its first picture on.
    pub pane: Option<Pane>,
    /// The last picture that was composed: which eye's, and its number.
    pub composed: Option<(usize, u64)>,
    /// What it was decoded from before: its last picture stays until there is one of the other encoding.
    pub before: Option<Arc<Eye>>,
    /// Its part of the frame's height.
    pub share: f64,
    /// The encoding that fitted better at the last look.
    pub better: Option<usize>,
}

impl Seen {
    pub fn new(layer: &Arc<Layer>, part: &MixInput, framerate: u32, tools: &Tools) -> Self {
        let eye = Arc::new(Eye::new(framerate, part.turns));
        let input = Input::pictures(layer, tools, Arc::clone(&eye));
        Self { input, eye, pane: None, composed: None, before: None, share: 1.0, better: None }
    }

    /// Pictures that another's pipeline leaves in the eye.
    pub fn raw(eye: &Arc<Eye>) -> Self {
        let (input, eye) = (Input::raw(), Arc::clone(eye));
        Self { input, eye, pane: None, composed: None, before: None, share: 1.0, better: None }
    }

    /// Goes on with what another one decodes. The last picture stays until there is one of that.
    pub fn go_on_with(&mut self, newer: Self) -> Option<JoinHandle<()>> {
        let old = std::mem::replace(self, newer);
        let before = if old.eye.newest().is_some() { Some(old.eye) } else { old.before };
        (self.pane, self.composed, self.share, self.before) = (old.pane, old.composed, old.share, before);
        old.input.stop()
    }

    /// The eye that has the newest picture, and the picture.
    pub fn newest(&self) -> Option<(&Eye, Picture)> {
        let of = |eye: &'_ Eye| eye.newest();
        let now = of(&self.eye).map(|picture| (&*self.eye, picture));
        now.or_else(|| self.before.as_deref().and_then(|before| Some((before, of(before)?))))
    }

    /// Which picture that is.
    pub fn mark((eye, picture): &(&Eye, Picture)) -> Option<(usize, u64)> {
        Some((std::ptr::from_ref(*eye).addr(), picture.number))
    }
}

pub(super) struct Heard {
    pub input: Input,
    pub ring: Arc<Mutex<Ring>>,
}

/// Whether it can go on as it is, or with another name or turned otherwise.
pub(super) fn same_thing(one: &MixInput, other: &MixInput) -> bool {
    let from = match (&one.from, &other.from) {
        (MixFrom::Published(one), MixFrom::Published(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one.first(), other.first()))
        }
        (MixFrom::Source(one), MixFrom::Source(other)) => one == other,
        _ => false,
    };
    from && one.member == other.member && one.stream == other.stream
}

impl Order {
    pub fn new() -> Self {
        Self { viewer: PeerId::next(), raw: Raw::Wanted, answer: None, tracks: Vec::new(), again: None }
    }

    /// What is taken of the source as it is, once it is.
    pub fn taken(&self) -> Option<&Taken> {
        match &self.raw {
            Raw::Taken(taken) => Some(taken),
            _ => None,
        }
    }

    /// Whether it is not known yet what the source has.
    fn is_open(&self) -> bool {
        self.tracks.is_empty() && self.taken().is_none()
    }

    /// Asks, and takes the answer once it is there. Returns whether what was taken raw is of no use any more.
    pub fn poll(&mut self, now: Instant, source: &SourceName, stage: &Stage, framerate: u32, tools: &Tools) -> bool {
        let waits = self.again.is_some_and(|again| now < again);
        match &mut self.raw {
            Raw::Wanted if waits => {}
            Raw::Wanted => self.ask_raw(source, stage, framerate, tools),
            Raw::Asked(taken, answer) => match answer.try_recv() {
                Ok(Ok(Some(kinds))) => {
                    taken.kinds = kinds;
                    self.raw = Raw::Taken(taken.clone());
                }
                Ok(Ok(None)) => self.raw = Raw::Refused,
                Ok(Err(error)) => {
                    warn!(%source, %error, "a source cannot be mixed in; it is asked again");
                    (self.raw, self.again) = (Raw::Wanted, Some(now + ASK_AGAIN));
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => (self.raw, self.again) = (Raw::Wanted, Some(now + ASK_AGAIN)),
            },
            Raw::Taken(taken) if taken.demand.is_broken() => {
                self.raw = Raw::Refused;
                self.release(source, stage);
                return true;
            }
            Raw::Taken(_) => {}
            Raw::Refused => self.poll_encoded(now, source, stage),
        }
        false
    }

    /// Wants pictures and sound before anybody encodes them.
    fn ask_raw(&mut self, source: &SourceName, stage: &Stage, framerate: u32, tools: &Tools) {
        let (eye, ring) = (Arc::new(Eye::new(framerate, 0)), Arc::<Mutex<Ring>>::default());
        let demand = Arc::new(RawDemand::new(self.viewer, raw_taps(tools, &eye, &ring)));
        let (reply, answer) = oneshot::channel();
        // after the owner's end nobody answers, and nobody waits
        let _ = stage.orders.send(ToOwner::Raw { source: source.clone(), demand: Arc::clone(&demand), reply });
        self.raw = Raw::Asked(Taken { demand, kinds: Vec::new(), eye, ring }, answer);
    }

    fn poll_encoded(&mut self, now: Instant, source: &SourceName, stage: &Stage) {
        if let Some(answer) = &mut self.answer {
            match answer.try_recv() {
                Ok(Ok(tracks)) => {
                    self.tracks = tracks.iter().map(|track| Arc::clone(track.layers.first())).collect();
                    self.answer = None;
                }
                Ok(Err(error)) => {
                    warn!(%source, %error, "a source cannot be mixed in; it is asked again");
                    (self.answer, self.again) = (None, Some(now + ASK_AGAIN));
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => (self.answer, self.again) = (None, Some(now + ASK_AGAIN)),
            }
            return;
        }
        if !self.tracks.is_empty() || self.again.is_some_and(|again| now < again) {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let wants = Wants { video: vec![Codec::H264, Codec::VP8, Codec::VP9], audio: vec![Codec::Opus] };
        let demand = MediaCommand::Demand { source: source.clone(), viewer: self.viewer, listener: None, wants, reply };
        // after the owner's end nobody answers, and nobody waits
        let _ = stage.orders.send(ToOwner::Command(demand));
        self.answer = Some(answer);
    }

    pub fn release(&self, source: &SourceName, stage: &Stage) {
        let _ = stage.orders.send(ToOwner::Command(MediaCommand::Release { source: source.clone(), viewer: self.viewer }));
    }
}
