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
use crate::forward::{FramePackets, KeyframeRequest, MediaPacket, Refresh};
use crate::vocab::{LayerId, SdpKind, TrackFormat};

mod channels;
mod feed;
mod figures;
mod restart;
mod slow;

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
        Self::at(vec![[127, 0, 0, 1].into()])
    }

    fn at(addresses: Vec<IpAddr>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let config = ShardConfig { port: 0, addresses, shards: 1 };
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
        data: None,
        connect_limit: Duration::from_secs(15),
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
async fn what_a_publisher_sends_is_played_by_another() {
    let mut gateway = Gateway::start();
    let (mut publisher, offer) = OutgoingPublisher::offer(&OutgoingConfig::default(), "cam").await.unwrap();
    let receive = Some(Receive { video: vec![Codec::VP8, Codec::H264], audio: true });
    let peer = gateway.open(PeerSpec { receive, ..spec(Some(offer), &[]) });
    let tracks = gateway
        .until(|event| match event {
            PeerEvent::Tracks { tracks, .. } => Some(tracks),
            other => panic!("tracks come first, not {other:?}"),
        })
        .await;
    assert_eq!(tracks.len(), 2);
    let answer = gateway.description(peer).await;
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.unwrap();
    gateway.up(peer).await;
    let layers: Vec<Arc<Layer>> = tracks.iter().map(|track| Arc::clone(&track.layer)).collect();
    let video = layers.iter().find(|layer| layer.format().codec == Codec::H264).unwrap();
    publisher.send_all(MediaKind::Video, &frame(video, 0, true).packets).await.unwrap();
    let mut flowing = Vec::new();
    flowing.push(gateway.until(|event| if let PeerEvent::Flowing { kind, .. } = event { Some(kind) } else { None }).await);
    let (mut player, watching) = gateway.play(&layers, &OutgoingConfig::default()).await;
    for n in 0..3 {
        assert_eq!(number(&next(&mut player).await), n, "the publisher's cached key frame");
    }
    timeout(PATIENCE, async { while publisher.figures().key_requests == 0 {} })
        .await
        .expect("the viewer's join asks for a key frame");
    for n in 1..30 {
        publisher.send_all(MediaKind::Video, &frame(video, n, n == 1).packets).await.unwrap();
        let sound = MediaPacket { sequence: n, timestamp: u32::from(n) * 960, marker: false, payload: vec![n as u8; 40].into() };
        publisher.send(MediaKind::Audio, &sound).await.unwrap();
    }
    let (mut pictures, mut sounds) = (3, 0);
    while pictures < 90 || sounds == 0 {
        let packet = next(&mut player).await;
        match packet.kind {
            MediaKind::Video => {
                assert_eq!(number(&packet), pictures);
                pictures += 1;
            }
            MediaKind::Audio => sounds += 1,
        }
    }
    let figures = gateway.figures(peer).await;
    assert!(figures.packets_received >= 90 && figures.packets_lost == 0 && figures.bytes_received > 27_000, "{figures:?}");
    assert!(gateway.figures(watching).await.remote.is_some());
    publisher.close().await.unwrap();
    assert_eq!(gateway.down(peer).await, EndReason::Left);
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_answers_our_offer() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    let audio_id = LayerId { track: TrackId::next(), index: 0 };
    let audio = Arc::new(Layer::new(audio_id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Requests::default())));
    let peer = gateway.open(spec(None, &[Arc::clone(&layer), audio]));
    let offer = gateway.description(peer).await;
    assert!(offer.kind == SdpKind::Offer && offer.text.contains("a=end-of-candidates") && offer.text.contains("a=sendonly"));
    let (mut player, answer) = OutgoingPlayer::answer(&OutgoingConfig::default(), &offer).await.unwrap();
    gateway.shards.send(PeerCommand::Describe { peer, sdp: answer });
    gateway.up(peer).await;
    attached(&layer).await;
    layer.write(frame(&layer, 0, true));
    assert_eq!(number(&next(&mut player).await), 0);
    gateway.shards.stop();
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
async fn one_that_never_connects_is_given_up() {
    let mut gateway = Gateway::start();
    let (_player, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.unwrap();
    let connect_limit = Duration::from_millis(150);
    let peer = gateway.open(PeerSpec { connect_limit, ..spec(Some(offer), &[video_layer(&Requests::default())]) });
    let began = Instant::now();
    assert_eq!(gateway.down(peer).await, EndReason::NeverConnected);
    assert!(began.elapsed() < Duration::from_secs(5));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_far_end_gets_the_best_srtp_it_knows() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    for (srtp, profile) in [
        (SrtpChoice::CmOnly, "AES_CM_128_HMAC_SHA1_80"),
        (SrtpChoice::CmFirst, "AEAD_AES_128_GCM"),
        (SrtpChoice::Any, "AEAD_AES_128_GCM"),
    ] {
        let config = OutgoingConfig { srtp, ..OutgoingConfig::default() };
        let began = Instant::now();
        let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &config).await;
        assert_eq!(number(&next(&mut player).await), 0);
        assert_eq!(gateway.figures(peer).await.srtp_profile, Some(profile));
        assert!(began.elapsed() < Duration::from_secs(5), "not only after a second ClientHello");
    }
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_ended_leave_nothing() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    // a few that connect, and many that only open
    let (mut player, connected) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    next(&mut player).await;
    let (_other, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.unwrap();
    for _ in 0..200 {
        let peer = gateway.open(spec(Some(offer.clone()), &[Arc::clone(&layer)]));
        gateway.description(peer).await;
        gateway.shards.send(PeerCommand::Close { peer });
    }
    assert_eq!(layer.figures().sinks, 1);
    gateway.shards.send(PeerCommand::Close { peer: connected });
    assert_eq!(gateway.shards.demux_entries(), 0);
    assert_eq!(layer.figures().sinks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_says_goodbye_in_time() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    let (mut player, _) = gateway.play(&[layer], &OutgoingConfig::default()).await;
    next(&mut player).await;
    let began = Instant::now();
    gateway.shards.stop();
    assert!(began.elapsed() < Duration::from_millis(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_packets_are_sent_again() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    let config = OutgoingConfig { lose_every: NonZeroU32::new(10), ..OutgoingConfig::default() };
    let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &config).await;
    attached(&layer).await;
    let mut missing: std::collections::BTreeSet<u16> = (0..300).collect();
    let mut frames = (0..200).map(|n| frame(&layer, n, n == 0));
    let everything = async {
        // written on while something is missing, because a receiver notices a loss by what comes after it
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while !missing.is_empty() {
            tokio::select! {
                _ = pace.tick() => if let Some(frame) = frames.next() { layer.write(frame) },
                packet = player.next_packet() => { missing.remove(&number(&packet.expect("player lives"))); }
            }
        }
    };
    let done = timeout(PATIENCE, everything).await;
    assert!(done.is_ok(), "missing: {missing:?}");
    assert!(gateway.figures(peer).await.retransmitted >= 25);
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_publisher_is_asked_to_send_again() {
    let mut gateway = Gateway::start();
    let config = OutgoingConfig { lose_every: NonZeroU32::new(10), ..OutgoingConfig::default() };
    let (mut publisher, offer) = OutgoingPublisher::offer(&config, "cam").await.unwrap();
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let peer = gateway.open(PeerSpec { receive, ..spec(Some(offer), &[]) });
    let track = gateway.until(|event| if let PeerEvent::Tracks { mut tracks, .. } = event { tracks.pop() } else { None }).await;
    let answer = gateway.description(peer).await;
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.unwrap();
    gateway.up(peer).await;
    let sink = Arc::new(Sequences::default());
    track.layer.attach(crate::forward::SinkId(9), sink.clone());
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for n in 0..110 {
        pace.tick().await;
        publisher.send_all(MediaKind::Video, &frame(&track.layer, n, n == 0).packets).await.unwrap();
    }
    let complete = async {
        while sink.0.lock().unwrap().range(..1300).count() < 300 {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, complete).await.expect("every packet once");
    assert!(gateway.figures(peer).await.packets_received >= 300);
    gateway.shards.stop();
}

/// Sequence numbers written to a layer.
#[derive(Default)]
struct Sequences(std::sync::Mutex<std::collections::BTreeSet<u16>>);
impl crate::forward::FrameSink for Sequences {
    fn offer(&self, frame: &Arc<FramePackets>) -> crate::forward::Offered {
        self.0.lock().unwrap().extend(frame.packets.iter().map(|packet| packet.sequence));
        crate::forward::Offered::Taken
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sender_reports_put_sound_and_picture_on_one_clock() {
    let mut gateway = Gateway::start();
    let video = video_layer(&Requests::default());
    let id = LayerId { track: TrackId::next(), index: 0 };
    let audio = Arc::new(Layer::new(id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Requests::default())));
    let (mut player, _) = gateway.play(&[Arc::clone(&video), Arc::clone(&audio)], &OutgoingConfig::default()).await;
    attached(&video).await;
    attached(&audio).await;
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    // numbers are milliseconds: two ticks in one would be one packet, and the second never comes
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: [Option<PlayedPacket>; 2] = [None, None];
    let both = async {
        loop {
            pace.tick().await;
            let age = began.elapsed();
            for (layer, clock) in [(&video, 90_000), (&audio, 48_000)] {
                let n = age.as_millis() as u16;
                let timestamp = (age.as_secs_f64() * f64::from(clock)) as u32;
                let packet = MediaPacket { sequence: n, timestamp, marker: true, payload: vec![0x65; 50].into() };
                layer.write(FramePackets { layer: layer.id(), key: true, packets: vec![packet], arrived: Instant::now() });
                let packet = next(&mut player).await;
                let at = usize::from(packet.kind == MediaKind::Audio);
                last[at] = Some(packet);
            }
            if let [Some(picture), Some(sound)] = &last
                && let (Some(of_picture), Some(of_sound)) = (player.clock(picture.ssrc), player.clock(sound.ssrc))
            {
                let wall = |clock: SenderClock, packet: &PlayedPacket, rate: f64| {
                    clock.seconds + f64::from(packet.packet.timestamp.wrapping_sub(clock.timestamp) as i32) / rate
                };
                break wall(of_picture, picture, 90_000.0) - wall(of_sound, sound, 48_000.0);
            }
        }
    };
    let apart = timeout(PATIENCE, both).await.expect("reports within seconds");
    assert!(apart.abs() < 0.045, "{apart} s apart");
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_declares_no_ssrc_is_heard() {
    let mut gateway = Gateway::start();
    let (mut publisher, offer) = OutgoingPublisher::offer(&OutgoingConfig::default(), "cam").await.unwrap();
    let undeclared: String = offer.text.split_inclusive('\n').filter(|line| !line.starts_with("a=ssrc")).collect();
    let receive = Some(Receive { video: vec![Codec::H264], audio: true });
    let peer = gateway.open(PeerSpec { receive, ..spec(Some(Sdp::offer(undeclared)), &[]) });
    let answer = gateway.description(peer).await;
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.unwrap();
    gateway.up(peer).await;
    let any = video_layer(&Requests::default());
    publisher.send_all(MediaKind::Video, &frame(&any, 0, true).packets).await.unwrap();
    let kind = gateway.until(|event| if let PeerEvent::Flowing { kind, .. } = event { Some(kind) } else { None }).await;
    assert_eq!(kind, MediaKind::Video);
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcard_sockets_answer_from_the_address_that_was_asked() {
    // an address of nobody (RFC 5737) keeps the sockets off plain loopback
    let nobody = IpAddr::from([192, 0, 2, 1]);
    for local in [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)] {
        if std::net::UdpSocket::bind((local, 0)).is_err() {
            eprintln!("no {local} on this machine");
            continue;
        }
        for addresses in [vec![local], vec![local, nobody]] {
            let mut gateway = Gateway::at(addresses);
            let layer = video_layer(&Requests::default());
            layer.write(frame(&layer, 0, true));
            let config = OutgoingConfig { bind: vec![(local, 0).into()], ..OutgoingConfig::default() };
            let (mut player, peer) = gateway.play(&[layer], &config).await;
            assert_eq!(number(&next(&mut player).await), 0);
            assert_eq!(gateway.figures(peer).await.remote.map(|remote| remote.ip()), Some(local));
            gateway.shards.stop();
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (sender, _events) = mpsc::unbounded_channel();
    let config = ShardConfig { port, addresses: vec![[127, 0, 0, 1].into()], shards: 1 };
    let error = Shards::start(config, sender).unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let (sender, _events) = mpsc::unbounded_channel();
    assert!(matches!(Shards::start(ShardConfig { port: 0, addresses: vec![], shards: 1 }, sender), Err(ShardsError::NoAddress)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portico_is_the_dtls_client_where_the_far_end_is_the_server() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    for (srtp, profile) in [(SrtpChoice::Any, "AEAD_AES_128_GCM"), (SrtpChoice::CmOnly, "AES_CM_128_HMAC_SHA1_80")] {
        let config = OutgoingConfig { srtp, dtls_server: true, ..OutgoingConfig::default() };
        // our offer, answered passively
        let peer = gateway.open(spec(None, &[Arc::clone(&layer)]));
        let offer = gateway.description(peer).await;
        let (mut player, answer) = OutgoingPlayer::answer(&config, &offer).await.unwrap();
        assert!(answer.text.contains("a=setup:passive"));
        gateway.shards.send(PeerCommand::Describe { peer, sdp: answer });
        assert_eq!(number(&next(&mut player).await), 0);
        assert_eq!(gateway.figures(peer).await.srtp_profile, Some(profile));
        // their offer, passive from the start
        let (mut player, offer) = OutgoingPlayer::offer(&config).await.unwrap();
        let passive = Sdp::offer(offer.text.replace("a=setup:actpass", "a=setup:passive"));
        let peer = gateway.open(spec(Some(passive), &[Arc::clone(&layer)]));
        let answer = gateway.description(peer).await;
        assert!(answer.text.contains("a=setup:active"));
        player.accept(&answer).await.unwrap();
        assert_eq!(number(&next(&mut player).await), 0);
        assert_eq!(gateway.figures(peer).await.srtp_profile, Some(profile));
    }
    gateway.shards.stop();
}
