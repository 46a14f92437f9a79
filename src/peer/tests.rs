//! The driver against real far ends over UDP on loopback.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

use super::outgoing::{OutgoingConfig, OutgoingPlayer, OutgoingPublisher, PlayedPacket, SenderClock, SrtpChoice};
use super::*;
use crate::forward::{FramePackets, KeyframeRequest, Layer, MediaPacket, Refresh};
use crate::vocab::{LayerId, SdpKind, TrackFormat};

mod apart;
mod channels;
mod ends;
mod feed;
mod figures;
mod lanes;
mod publishing;
mod relay;
mod restart;
mod several;
mod slow;
mod srtp;

/// Longest wait for anything; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

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
        Self::at(vec![[127, 0, 0, 1].into()])
    }

    fn at(addresses: Vec<IpAddr>) -> Self {
        // who publishes is on the thread that reads the sockets, a first viewer on the other
        Self::with(addresses, 2, Suite::Gcm)
    }

    fn preferring(prefer: Suite, addresses: Vec<IpAddr>) -> Self {
        Self::with(addresses, 2, prefer)
    }

    fn on_one_thread() -> Self {
        Self::with(vec![[127, 0, 0, 1].into()], 1, Suite::Gcm)
    }

    /// One that leaves the checks to far ends.
    fn lite() -> Self {
        Self::placed(vec![[127, 0, 0, 1].into()], 1, Suite::Gcm, Place { lite: true, ..Place::default() })
    }

    fn with(addresses: Vec<IpAddr>, shards: usize, prefer: Suite) -> Self {
        Self::placed(addresses, shards, prefer, Place::default())
    }

    fn placed(addresses: Vec<IpAddr>, shards: usize, prefer: Suite, place: Place) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let config = ShardConfig { port: 0, tcp: true, addresses, shards, fill: 0, prefer, place, stages: Arc::default() };
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
        send: layers
            .iter()
            .map(|layer| SendTrack { layers: Arc::clone(layer).into(), stream_label: "room main".into() })
            .collect(),
        receive: None,
        data: None,
        connect_limit: Duration::from_secs(15),
        own_port: false,
    }
}

async fn next(player: &mut OutgoingPlayer) -> PlayedPacket {
    timeout(PATIENCE, player.next_packet()).await.expect("a packet in time").expect("player lives")
}

/// Waits until a shard plays the layer.
async fn attached(layer: &Layer) {
    let wait = async {
        while layer.figures().sinks == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("attached in time");
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
    attached(&layer).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_gets_the_cached_key_frame_then_the_next_live_one() {
    let mut gateway = Gateway::start();
    let requests = Requests::default();
    let layer = video_layer(&requests);
    for n in 0..5 {
        layer.write(frame(&layer, n, n == 0));
    }
    let (mut player, _) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    for n in 0..3 {
        assert_eq!(number(&next(&mut player).await), n, "the cached key frame, before anything is written");
    }
    assert_eq!(requests.count(), 1, "and a fresh one is asked for");
    // frames between the cached picture and the next key frame cannot be decoded
    layer.write(frame(&layer, 5, false));
    layer.write(frame(&layer, 6, true));
    for n in 18..21 {
        assert_eq!(number(&next(&mut player).await), n);
    }
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_all_viewers_merge_into_one() {
    let mut gateway = Gateway::start();
    let requests = Requests::default();
    let layer = video_layer(&requests);
    layer.write(frame(&layer, 0, true));
    let mut players = Vec::new();
    for _ in 0..3 {
        let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
        next(&mut player).await;
        players.push((player, peer));
    }
    let began = Instant::now();
    let before = requests.count();
    for round in 1..=20u64 {
        for (player, _) in &players {
            player.request_keyframe().await.unwrap();
        }
        // each round is seen by the gateway before the next begins
        for (_, peer) in &players {
            timeout(PATIENCE, async { while gateway.figures(*peer).await.key_requests < round {} }).await.unwrap();
        }
    }
    let passed = 1 + began.elapsed().as_millis() as u64 / Layer::REQUEST_SPACING.as_millis() as u64;
    assert!(requests.count() - before <= passed, "{} requests", requests.count() - before);
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_answers_our_offer() {
    for (lite, mut gateway) in [(false, Gateway::start()), (true, Gateway::lite())] {
        our_offer_is_answered(&mut gateway, lite).await;
        gateway.shards.stop();
    }
}

async fn our_offer_is_answered(gateway: &mut Gateway, lite: bool) {
    let layer = video_layer(&Requests::default());
    let audio_id = LayerId { track: TrackId::next(), index: 0 };
    let audio = Arc::new(Layer::new(audio_id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Requests::default())));
    let peer = gateway.open(spec(None, &[Arc::clone(&layer), audio]));
    let offer = gateway.description(peer).await;
    assert!(offer.kind == SdpKind::Offer && offer.text.contains("a=end-of-candidates") && offer.text.contains("a=sendonly"));
    assert_eq!(offer.text.contains("a=ice-lite\r\n"), lite);
    let (mut player, answer) = OutgoingPlayer::answer(&OutgoingConfig::default(), &offer).await.unwrap();
    gateway.shards.send(PeerCommand::Describe { peer, sdp: answer });
    gateway.up(peer).await;
    attached(&layer).await;
    layer.write(frame(&layer, 0, true));
    assert_eq!(number(&next(&mut player).await), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_nothing_ends_the_peer() {
    let mut gateway = Gateway::start();
    let peer = gateway.open(spec(None, &[video_layer(&Requests::default())]));
    let offer = gateway.description(peer).await;
    let refusal = offer.text.replace("m=video 9", "m=video 0").replace("a=sendonly", "a=inactive");
    gateway.shards.send(PeerCommand::Describe { peer, sdp: Sdp::answer(refusal) });
    assert_eq!(gateway.down(peer).await, EndReason::NoCommonCodec);
    assert_eq!(gateway.shards.demux_entries(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_said() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    for text in ["", "garbage", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"] {
        let peer = gateway.open(spec(Some(Sdp::offer(text)), &[Arc::clone(&layer)]));
        assert_eq!(gateway.down(peer).await, EndReason::BadDescription);
    }
    let config = OutgoingConfig { formats: vec![TrackFormat::plain(Codec::VP8)], ..OutgoingConfig::default() };
    let (_player, offer) = OutgoingPlayer::offer(&config).await.unwrap();
    let peer = gateway.open(spec(Some(offer), &[layer]));
    assert_eq!(gateway.down(peer).await, EndReason::NoCommonCodec);
    assert_eq!(gateway.shards.demux_entries(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_later_offer_is_rejected_and_media_goes_on() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    next(&mut player).await;
    for sdp in [Sdp::offer("garbage"), Sdp::answer("garbage")] {
        gateway.shards.send(PeerCommand::Describe { peer, sdp });
        let rejected =
            gateway.until(|event| if let PeerEvent::Rejected { reason, .. } = event { Some(reason) } else { None }).await;
        assert_eq!(rejected, EndReason::BadDescription);
    }
    layer.write(frame(&layer, 9, true));
    while number(&next(&mut player).await) != 27 {}
    gateway.shards.stop();
}
