//! One data channel between two drivers on loopback, as fast as it goes, and a picture that the sending one forwards meanwhile.
//!
//! ```text
//! gateway: sender ─► channel ─► far end (a driver of its own: a thread, a port)
//! gateway: picture ─► layer ─► viewer (on the rig's thread)
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::feed::Frames;
use super::{Feed, Interval, LoadError, LoadPeer, Rig, RigNews, wall_clock};
use crate::forward::{FramePackets, KeyframeRequest, Layer, Refresh};
use crate::peer::{
    Buffered, DataSpec, PeerCommand, PeerEvent, PeerSpec, Place, SendTrack, ShardConfig, Shards, ShardsError, Suite,
};
use crate::vocab::{ChannelId, DataMessage, LayerId, NewChannel, PeerId, Sdp, TrackFormat, TrackId};

/// Longest wait for a connection, a channel or a picture.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the sender looks whether there is room, besides when it is told.
const LOOK: Duration = Duration::from_millis(1);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct ChannelLoad {
    /// Bytes of a message, 8 to 262 144.
    pub message: usize,
    /// For how long.
    pub length: Duration,
    /// The picture beside it.
    pub picture: Feed,
    /// The far end sends and the gateway receives.
    pub receive: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct ChannelFigures {
    /// Bytes of messages that arrived.
    pub bytes: u64,
    /// In what time.
    pub taken: Duration,
    /// Messages that were not the next.
    pub disordered: u64,
    /// Most bytes that waited to leave, one message perhaps counted twice on its way into the channel.
    pub most_waiting: usize,
    /// The picture before.
    pub alone: Interval,
    /// The picture beside the channel.
    pub beside: Interval,
}

/// A driver and what it tells.
struct End {
    shards: Shards,
    events: UnboundedReceiver<PeerEvent>,
}

impl End {
    fn start() -> Result<Self, LoadError> {
        let (sender, events) = mpsc::unbounded_channel();
        let addresses = vec![Ipv4Addr::LOCALHOST.into()];
        let config = ShardConfig {
            port: 0,
            tcp: false,
            addresses,
            shards: 1,
            fill: 1,
            prefer: Suite::Gcm,
            place: Place::default(),
            stages: Arc::default(),
        };
        let shards = Shards::start(config, sender).map_err(|error| match error {
            ShardsError::Thread(source) | ShardsError::Bind { source, .. } => LoadError::System(source),
            other => LoadError::System(std::io::Error::other(other)),
        })?;
        Ok(Self { shards, events })
    }

    /// The next event that `pick` takes.
    async fn until<T>(&mut self, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> Result<T, LoadError> {
        let search = async {
            while let Some(event) = self.events.recv().await {
                if let PeerEvent::Down { reason, .. } = event {
                    return Err(LoadError::System(std::io::Error::other(format!("the connection ended: {reason}"))));
                }
                if let Some(found) = pick(event) {
                    return Ok(found);
                }
            }
            Err(LoadError::Late)
        };
        tokio::time::timeout(PATIENCE, search).await.map_err(|_| LoadError::Late)?
    }

    async fn open(&mut self, spec: PeerSpec) -> Result<(PeerId, Sdp), LoadError> {
        let peer = spec.peer;
        self.shards.send(PeerCommand::Open(Box::new(spec)));
        let sdp = self.until(|event| if let PeerEvent::Description { sdp, .. } = event { Some(sdp) } else { None }).await?;
        Ok((peer, sdp))
    }

    async fn channel(&mut self) -> Result<(ChannelId, Buffered), LoadError> {
        let open = |event| match event {
            PeerEvent::ChannelOpen { channel, buffered, .. } => Some((channel, buffered)),
            _ => None,
        };
        self.until(open).await
    }
}

fn spec(offer: Option<Sdp>, send: Vec<SendTrack>, data: Option<DataSpec>) -> PeerSpec {
    PeerSpec { peer: PeerId::next(), offer, send, receive: None, data, connect_limit: PATIENCE, own_port: false }
}

/// Runs it. To be called on a runtime with time.
pub async fn channel_load(load: ChannelLoad) -> Result<ChannelFigures, LoadError> {
    let (mut gateway, mut far) = (End::start()?, End::start()?);
    let show = Show::start(load.picture)?;
    let (rig, mut news) = Rig::start()?;
    let (mut viewer, offer) = LoadPeer::player(load.picture)?;
    let track = SendTrack { layers: Arc::clone(&show.layer).into(), stream_label: "bench".into() };
    let (_, answer) = gateway.open(spec(Some(offer), vec![track], None)).await?;
    viewer.accept(&answer)?;
    rig.add(0, viewer);
    let seen = async { while !matches!(news.recv().await, Some(RigNews::FirstFrame(..)) | None) {} };
    tokio::time::timeout(PATIENCE, seen).await.map_err(|_| LoadError::Late)?;

    let data = |open: Vec<NewChannel>| Some(DataSpec { open });
    let (near_peer, offer) = gateway.open(spec(None, vec![], data(vec![NewChannel::labelled("bench")]))).await?;
    let (far_peer, answer) = far.open(spec(Some(offer), vec![], data(vec![]))).await?;
    gateway.shards.send(PeerCommand::Describe { peer: near_peer, sdp: answer });
    let (near, far_channel) = (gateway.channel().await?, far.channel().await?);

    rig.begin();
    tokio::time::sleep(load.length).await;
    let alone = rig.take().await;
    rig.begin();
    let mut figures = match load.receive {
        false => transfer(load, (&mut gateway, near_peer, near), &mut far).await,
        true => transfer(load, (&mut far, far_peer, far_channel), &mut gateway).await,
    }?;
    figures.alone = alone;
    figures.beside = rig.take().await;
    Ok(figures)
}

/// Sends as fast as there is room, and takes what arrives at once.
async fn transfer(
    load: ChannelLoad,
    (sender, peer, (channel, buffered)): (&mut End, PeerId, (ChannelId, Buffered)),
    receiver: &mut End,
) -> Result<ChannelFigures, LoadError> {
    let size = load.message.clamp(8, DataSpec::MAX_MESSAGE);
    let body = Bytes::from(vec![7; size - 8]);
    let mut figures = ChannelFigures::default();
    let (mut sent, mut got) = (0u64, 0u64);
    let began = Instant::now();
    while began.elapsed() < load.length {
        loop {
            let waiting = buffered.bytes();
            figures.most_waiting = figures.most_waiting.max(waiting);
            if waiting + size > DataSpec::OUTBOUND {
                break;
            }
            let mut message = BytesMut::with_capacity(size);
            message.extend_from_slice(&sent.to_be_bytes());
            message.extend_from_slice(&body);
            sender.shards.send(PeerCommand::SendMessage { peer, channel, message: DataMessage::Binary(message.freeze()) });
            sent += 1;
        }
        let mut next = tokio::time::timeout(LOOK, receiver.events.recv()).await.ok().flatten();
        while let Some(event) = next {
            match event {
                PeerEvent::ChannelMessage { message, .. } => {
                    figures.bytes += message.len() as u64;
                    figures.disordered += u64::from(message.bytes()[..8] != got.to_be_bytes());
                    got += 1;
                }
                PeerEvent::Down { .. } => return Err(LoadError::Late),
                _ => {}
            }
            next = receiver.events.try_recv().ok();
        }
        while let Ok(event) = sender.events.try_recv() {
            if let PeerEvent::Down { .. } = event {
                return Err(LoadError::Late);
            }
        }
    }
    figures.taken = began.elapsed();
    Ok(figures)
}

/// A picture written to a layer by a thread of its own, until it is dropped.
struct Show {
    layer: Arc<Layer>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The picture has key frames of its own.
#[derive(Clone, Default)]
struct Wanted(Arc<AtomicBool>);

impl KeyframeRequest for Wanted {
    fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Show {
    fn start(picture: Feed) -> Result<Self, LoadError> {
        let wanted = Wanted::default();
        let id = LayerId { track: TrackId::next(), index: 0 };
        let layer = Arc::new(Layer::new(id, TrackFormat::h264_baseline(), Refresh::OnRequest, Box::new(wanted.clone())));
        let mut frames = Frames::new(picture).map_err(|error| rtc::shared::error::Error::Other(error.to_string()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (its, over) = (Arc::clone(&layer), Arc::clone(&stop));
        let run = move || {
            let mut due = Instant::now();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due += picture.spacing();
                let Ok(frame) = frames.next(wanted.0.swap(false, Ordering::Relaxed)) else { break };
                let packets = frame.stamped(wall_clock).collect();
                its.write(FramePackets { layer: id, packets, arrived: Instant::now(), ..frame.packets });
            }
        };
        let thread = std::thread::Builder::new().name("bench-picture".into()).spawn(run)?;
        Ok(Self { layer, stop, thread: Some(thread) })
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
