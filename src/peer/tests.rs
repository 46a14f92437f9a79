//! The driver against real far ends over UDP on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

use super::outgoing::{OutgoingConfig, OutgoingPlayer, OutgoingPublisher, PlayedPacket, SrtpChoice};
use super::*;
use crate::forward::{FramePackets, KeyframeRequest, MediaPacket, Refresh};
use crate::vocab::{LayerId, TrackFormat};

/// Longest wait for anything; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Requests(Arc<AtomicU64>);
impl KeyframeRequest for Requests {
    fn request(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
impl Requests {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn video_layer(requests: &Requests) -> Arc<Layer> {
    let id = LayerId { track: TrackId::next(), index: 0 };
    Arc::new(Layer::new(id, TrackFormat::h264_baseline(), Refresh::OnRequest, Box::new(requests.clone())))
}

/// Frame `n` of a stream of three packets a frame, every one telling its number.
fn frame(layer: &Layer, n: u16, key: bool) -> FramePackets {
    let packets = (0..3u16).map(|part| {
        let mut payload = vec![if key { 0x65 } else { 0x41 }; 300 + usize::from(part)];
        payload[1..3].copy_from_slice(&(n * 3 + part).to_be_bytes());
        MediaPacket {
            sequence: 1000 + n * 3 + part,
            timestamp: u32::from(n) * 3000,
            marker: part == 2,
            payload: Bytes::from(payload),
        }
    });
    FramePackets { layer: layer.id(), key, packets: packets.collect(), arrived: Instant::now() }
}

struct Gateway {
    shards: Shards,
    events: UnboundedReceiver<PeerEvent>,
}

impl Gateway {
    fn start() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let config = ShardConfig { port: 0, addresses: vec![[127, 0, 0, 1].into()], shards: 1 };
        Self { shards: Shards::start(config, sender).unwrap(), events }
    }

    async fn event(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("shards run")
    }

    /// The next event that `pick` takes.
    async fn until<T>(&mut self, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.event().await) {
                return found;
            }
        }
    }

    async fn description(&mut self, peer: PeerId) -> Sdp {
        self.until(|event| match event {
            PeerEvent::Description { peer: of, sdp } if of == peer => Some(sdp),
            PeerEvent::Down { peer: of, reason } if of == peer => panic!("{of} is down: {reason}"),
            _ => None,
        })
        .await
    }

    async fn down(&mut self, peer: PeerId) -> EndReason {
        self.until(|event| match event {
            PeerEvent::Down { peer: of, reason } if of == peer => Some(reason),
            _ => None,
        })
        .await
    }

    async fn up(&mut self, peer: PeerId) {
        self.until(|event| matches!(event, PeerEvent::Up { peer: of } if of == peer).then_some(())).await;
    }

    fn open(&self, spec: PeerSpec) -> PeerId {
        let peer = spec.peer;
        self.shards.send(PeerCommand::Open(Box::new(spec)));
        peer
    }

    async fn play(&mut self, layers: &[Arc<Layer>], config: &OutgoingConfig) -> (OutgoingPlayer, PeerId) {
        let (player, offer) = OutgoingPlayer::offer(config).await.unwrap();
        let peer = self.open(spec(Some(offer), layers));
        let answer = self.description(peer).await;
        player.accept(&answer).await.unwrap();
        (player, peer)
    }

    async fn figures(&self, peer: PeerId) -> PeerFigures {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.shards.send(PeerCommand::Figures { peer: Some(peer), reply });
        timeout(PATIENCE, answer).await.unwrap().unwrap().pop().expect("the peer lives")
    }
}

fn spec(offer: Option<Sdp>, layers: &[Arc<Layer>]) -> PeerSpec {
    PeerSpec {
        peer: PeerId::next(),
        offer,
        send: layers.iter().map(|layer| SendTrack { layer: Arc::clone(layer), stream_label: "room main".into() }).collect(),
        receive: None,
        connect_limit: Duration::from_secs(15),
    }
}

async fn next(player: &mut OutgoingPlayer) -> PlayedPacket {
    timeout(PATIENCE, player.next_packet()).await.expect("a packet in time").expect("player lives")
}

fn number(packet: &PlayedPacket) -> u16 {
    u16::from_be_bytes([packet.packet.payload[1], packet.packet.payload[2]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_gets_the_layers_packets_unchanged_and_in_order() {
    let mut gateway = Gateway::start();
    let requests = Requests::default();
    let layer = video_layer(&requests);
    let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    gateway.up(peer).await;
    for n in 0..20 {
        layer.write(frame(&layer, n, n == 0));
    }
    let mut before: Option<PlayedPacket> = None;
    for n in 0..60u16 {
        let packet = next(&mut player).await;
        assert_eq!(number(&packet), n);
        assert_eq!(packet.packet.payload, frame(&layer, n / 3, n < 3).packets[usize::from(n % 3)].payload);
        assert_eq!(packet.packet.marker, n % 3 == 2);
        if let Some(before) = before {
            assert_eq!(packet.packet.sequence, before.packet.sequence.wrapping_add(1));
            assert_eq!(packet.ssrc, before.ssrc);
            let step = packet.packet.timestamp.wrapping_sub(before.packet.timestamp);
            assert_eq!(step, if n % 3 == 0 { 3000 } else { 0 });
        }
        before = Some(packet);
    }
    let figures = gateway.figures(peer).await;
    assert_eq!((figures.packets_sent, figures.srtp_profile), (60, Some("AEAD_AES_128_GCM")));
    player.close().await.unwrap();
    assert_eq!(gateway.down(peer).await, EndReason::Left);
    gateway.shards.stop();
}
