//! A JPEG of a stream as it looks now.
//!
//! Whoever asks is a viewer for a moment: a source is opened for it and closes after it, a key frame is asked for, and that one frame is
//! decoded. All who ask within a second get the same picture. `shelf` and `gather` are PURE; decoding is `pipeline::still`, on a
//! thread that may block. Nothing of it runs on the threads that forward, but for the copy of a list of packets.
//!
//! ```text
//! ask ─► shelf ─┬─ there, or being made ─────────────────────────────────────► picture
//!               └─ new ─► demand ─► layer ─► gather ─► (one of two) decoder ─► picture
//! ```

mod gather;
mod shelf;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::pipeline::still::KeyFrame;
use super::{Media, MediaCommand, SourceError, Wants};
use crate::forward::{FramePackets, FrameSink, Layer, Offered, Refresh, SinkId};
use crate::vocab::{Codec, LayerId, MediaKind, PeerId, SourceName};
use gather::Gather;
use shelf::{FRESH, Shelf};

/// From the wish to a whole key frame, the opening of the source included. As long as sources have by default to give their first
/// frame.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// From the key frame to the picture. Mostly some 50 ms; the first time the decoder is read from the disk, which may be a slow card.
const DECODE_LIMIT: Duration = Duration::from_secs(6);
/// A key frame that did not come is asked for again after this time: the request, or the frame, may have been lost.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A camera that was opened just now finds its exposure first.
const SETTLE: Duration = Duration::from_secs(1);
/// A layer with fewer frames belongs to such a one.
const SETTLED_FRAMES: u64 = 10;
/// Decoders at work at a time, on the whole gateway.
const DECODERS: usize = 2;

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The JPEG.
    pub jpeg: Bytes,
    /// Names its bytes: an entity tag with its quotes.
    pub etag: String,
}

impl Picture {
    /// With its tag.
    pub fn new(jpeg: Bytes) -> Self {
        let digest: String = Sha256::digest(&jpeg).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { jpeg, etag: format!("\"{digest}\"") }
    }
}

/// What a picture is wanted of.
#[derive(Clone)]
pub enum Subject {
    /// A source of this gateway.
    Source(SourceName),
    /// Video that somebody publishes.
    Published(Arc<Layer>),
}

/// Why there is no picture.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The stream has no video.
    #[error("the stream has no picture")]
    NoPicture,
    /// The source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No whole key frame came in time.
    #[error("no picture came within {0:?}")]
    NoKeyFrame(Duration),
    /// Nothing here decodes the codec.
    #[error("nothing here decodes {codec}{}", .package.map(|it| format!(": install Debian package {it}")).unwrap_or_default())]
    NoDecoder {
        /// The codec.
        codec: Codec,
        /// What has a decoder for it.
        package: Option<&'static str>,
    },
    /// An element other than the decoder is not installed.
    #[error("GStreamer element {element} is missing: install Debian package {package}")]
    MissingElement {
        /// The element.
        element: String,
        /// The package that has it.
        package: String,
    },
    /// The decoders that are there made nothing of it.
    #[error("the key frame cannot be decoded: {0}")]
    Undecoded(String),
    /// Too many pictures are being made.
    #[error("{} pictures are being made already", shelf::MOST_UNDER_WAY)]
    Busy,
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
}

impl SnapshotError {
    fn result(&self) -> SnapshotResult {
        match self {
            Self::NoPicture | Self::Source(_) => SnapshotResult::SourceFailed,
            Self::NoKeyFrame(_) | Self::Stopping => SnapshotResult::NoKeyFrame,
            Self::NoDecoder { .. } | Self::MissingElement { .. } => SnapshotResult::NoDecoder,
            Self::Undecoded(_) => SnapshotResult::Undecoded,
            Self::Busy => SnapshotResult::Busy,
        }
    }
}

/// What came of a wish for a picture, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SnapshotResult {
    Made,
    Shared,
    SourceFailed,
    NoKeyFrame,
    NoDecoder,
    Undecoded,
    Busy,
}

impl SnapshotResult {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Made, "made"),
        (Self::Shared, "shared"),
        (Self::SourceFailed, "source_failed"),
        (Self::NoKeyFrame, "no_key_frame"),
        (Self::NoDecoder, "no_decoder"),
        (Self::Undecoded, "undecoded"),
        (Self::Busy, "busy"),
    ];
}

/// How many wishes for pictures came to what. Each failure is counted once, however many wait for it.
#[derive(Debug, Default)]
pub struct SnapshotFigures([AtomicU64; SnapshotResult::ALL.len()]);

impl SnapshotFigures {
    /// The counts by word: `made`, `shared` (with somebody who asked before), `source_failed`, `no_key_frame`, `no_decoder`,
    /// `undecoded`, `busy`.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SnapshotResult::ALL.iter().zip(&self.0).map(|((_, word), count)| (*word, count.load(Ordering::Relaxed)))
    }

    fn count(&self, result: SnapshotResult) {
        if let Some(count) = self.0.get(result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Source(SourceName),
    Layer(LayerId),
}

type Key = (Of, Option<u16>);
type Outcome = Result<Arc<Picture>, SnapshotError>;
/// Tells the outcome once it is there.
type Line = watch::Receiver<Option<Outcome>>;

/// Makes pictures. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots {
    media: Arc<Media>,
    shelf: Arc<Mutex<Shelf<Key, Line>>>,
    decoders: Arc<Semaphore>,
    figures: Arc<SnapshotFigures>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Snapshots {
    /// Nothing is made yet. What is under way at `stop` is given up; whoever stops the gateway waits for `tasks`.
    pub fn new(media: Arc<Media>, figures: Arc<SnapshotFigures>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::new()));
        Self { media, shelf, decoders: Arc::new(Semaphore::new(DECODERS)), figures, tasks, stop }
    }

    /// A picture that is at most a second old when it is made (of a stream whose key frames nobody can ask for: as old as its last
    /// one), at most `width` pixels wide ([`PICTURE_WIDTHS`](crate::vocab::PICTURE_WIDTHS)) and never wider than the stream. Takes up to some 20 s. Who stops waiting
    /// leaves the making to those who ask next. Must be called within the runtime.
    pub async fn take(&self, subject: Subject, width: Option<u16>) -> Outcome {
        let of = match &subject {
            Subject::Source(name) => Of::Source(name.clone()),
            Subject::Published(layer) if layer.format().codec.kind() == MediaKind::Video => Of::Layer(layer.id()),
            Subject::Published(_) => return Err(SnapshotError::NoPicture),
        };
        let key = (of, width);
        let mut begun = None;
        let line = self.shelf().ask(Instant::now(), &key, || {
            let (tell, line) = watch::channel(None);
            begun = Some(tell);
            line
        });
        let Ok(mut line) = line else {
            self.figures.count(SnapshotResult::Busy);
            return Err(SnapshotError::Busy);
        };
        let first = begun.is_some();
        if let Some(tell) = begun {
            // a task of its own: it does not end with who asked first
            self.tasks.spawn(self.clone().make(key, subject, tell));
        }
        let outcome = line.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        let outcome = outcome.unwrap_or(Err(SnapshotError::Stopping));
        if !first && outcome.is_ok() {
            self.figures.count(SnapshotResult::Shared);
        }
        outcome
    }

    async fn make(self, key: Key, subject: Subject, tell: watch::Sender<Option<Outcome>>) {
        let began = Instant::now();
        let outcome = tokio::select! {
            outcome = self.picture(&subject, key.1) => outcome,
            () = self.stop.cancelled() => Err(SnapshotError::Stopping),
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let bytes = match &outcome {
            Ok(picture) => {
                self.figures.count(SnapshotResult::Made);
                debug!(of = ?key.0, bytes = picture.jpeg.len(), took_ms, "picture taken");
                picture.jpeg.len()
            }
            Err(error) => {
                self.figures.count(error.result());
                info!(of = ?key.0, %error, took_ms, "no picture");
                0
            }
        };
        self.shelf().made(Instant::now(), &key, bytes);
        tell.send_replace(Some(outcome));
        drop(tell);
        tokio::select! {
            () = sleep(FRESH) => self.shelf().clear_away(Instant::now()),
            () = self.stop.cancelled() => {}
        }
    }

    async fn picture(&self, subject: &Subject, width: Option<u16>) -> Outcome {
        let limit = tokio::time::Instant::now() + FRAME_LIMIT;
        let late = |_| SnapshotError::NoKeyFrame(FRAME_LIMIT);
        // one that is kept is good enough if it is not older
        let newest = Instant::now().checked_sub(FRESH).unwrap_or_else(Instant::now);
        let frame = match subject {
            Subject::Published(layer) => timeout_at(limit, key_frame(layer, newest)).await.map_err(late)?,
            Subject::Source(source) => {
                // a viewer until the frame is there
                let viewing = Viewing { media: &self.media, source, viewer: PeerId::next() };
                let layer = timeout_at(limit, viewing.layer()).await.map_err(late)??;
                let newest = match layer.refresh() == Refresh::OnRequest && layer.figures().frames < SETTLED_FRAMES {
                    true => {
                        sleep(SETTLE).await;
                        Instant::now()
                    }
                    false => newest,
                };
                timeout_at(limit, key_frame(&layer, newest)).await.map_err(late)?
            }
        };
        let decoding = async {
            let permit = Arc::clone(&self.decoders).acquire_owned().await.map_err(|_| SnapshotError::Stopping)?;
            let (media, deadline) = (Arc::clone(&self.media), Instant::now() + DECODE_LIMIT);
            let work = move || {
                // kept until the decoder is gone, also when nobody waits for it any more
                let _permit = permit;
                media.jpeg(&frame, width, deadline)
            };
            tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|_| Err(SnapshotError::Undecoded("the decoder crashed".into())))
        };
        // twice: once to wait for a decoder
        let decoded = timeout(DECODE_LIMIT * 2, decoding).await;
        let jpeg = decoded.map_err(|_| SnapshotError::Undecoded("the decoder does not answer".into()))??;
        Ok(Arc::new(Picture::new(jpeg)))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<Key, Line>> {
        // no code that can panic runs under the lock
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A demand on a source, given up when it is dropped.
struct Viewing<'a> {
    media: &'a Media,
    source: &'a SourceName,
    viewer: PeerId,
}

impl Viewing<'_> {
    /// Where its video comes from.
    async fn layer(&self) -> Result<Arc<Layer>, SnapshotError> {
        let (reply, answer) = oneshot::channel();
        let wants = Wants { video: vec![Codec::H264, Codec::VP8, Codec::VP9], audio: Vec::new() };
        self.media.send(MediaCommand::Demand { source: self.source.clone(), viewer: self.viewer, listener: None, wants, reply });
        let tracks = answer.await.map_err(|_| SnapshotError::Stopping)??;
        let video = tracks.into_iter().find(|track| track.kind == MediaKind::Video);
        video.map(|track| Arc::clone(track.layers.flowing(Instant::now()))).ok_or(SnapshotError::NoPicture)
    }
}

impl Drop for Viewing<'_> {
    fn drop(&mut self) {
        self.media.send(MediaCommand::Release { source: self.source.clone(), viewer: self.viewer });
    }
}

/// The layer's next key frame, or the last where that came after `newest` or no other can be asked for. Waits without end.
async fn key_frame(layer: &Arc<Layer>, newest: Instant) -> KeyFrame {
    let catching = Catching::new(layer);
    // attached before the cache is looked at: nothing falls in between
    let cached = layer.cached();
    if cached.first().is_some_and(|first| layer.refresh() == Refresh::ReplayGroup || first.arrived > newest) {
        let mut gather = Gather::default();
        cached.iter().any(|frame| gather.take_in(frame));
        if let Some(payloads) = gather.finish() {
            return KeyFrame { codec: layer.format().codec, payloads };
        }
    }
    loop {
        // held back by the layer when another was asked for a moment ago
        layer.request_keyframe(Instant::now());
        tokio::select! {
            payloads = catching.caught() => return KeyFrame { codec: layer.format().codec, payloads },
            () = sleep(ASK_AGAIN) => {}
        }
    }
}

/// Attached to a layer until it is dropped.
struct Catching<'a> {
    layer: &'a Layer,
    id: SinkId,
    catcher: Arc<Catcher>,
}

/// Runs on the thread that writes the layer.
struct Catcher {
    /// `None` once the frame was taken out. Holds one frame at most.
    gather: Mutex<Option<Gather>>,
    whole: Notify,
}

impl FrameSink for Catcher {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        let mut gather = self.gather.lock().unwrap_or_else(PoisonError::into_inner);
        match gather.as_mut().map(|gather| gather.take_in(frame)) {
            Some(false) => Offered::Taken,
            Some(true) => {
                self.whole.notify_one();
                Offered::Gone
            }
            None => Offered::Gone,
        }
    }
}

impl<'a> Catching<'a> {
    fn new(layer: &'a Layer) -> Self {
        // shards count from 0
        static NEXT: AtomicUsize = AtomicUsize::new(usize::MAX / 2);
        let id = SinkId(NEXT.fetch_add(1, Ordering::Relaxed));
        let catcher = Arc::new(Catcher { gather: Mutex::new(Some(Gather::default())), whole: Notify::new() });
        layer.attach(id, Arc::<Catcher>::clone(&catcher));
        Self { layer, id, catcher }
    }

    /// Cancel-safe.
    async fn caught(&self) -> Vec<Bytes> {
        loop {
            self.catcher.whole.notified().await;
            let gather = self.catcher.gather.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(payloads) = gather.and_then(Gather::finish) {
                return payloads;
            }
        }
    }
}

impl Drop for Catching<'_> {
    fn drop(&mut self) {
        self.layer.detach(self.id);
    }
}
