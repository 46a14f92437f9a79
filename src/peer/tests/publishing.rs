//! What publishers send: taken, repaired, put on one clock.

use super::*;

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
    let layers: Vec<Arc<Layer>> = tracks.iter().map(|track| Arc::clone(track.layers.first())).collect();
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
    track.layers.first().attach(crate::forward::SinkId(9), sink.clone());
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for n in 0..110 {
        pace.tick().await;
        publisher.send_all(MediaKind::Video, &frame(track.layers.first(), n, n == 0).packets).await.unwrap();
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
                // of the moment that the timestamp is of, however long this thread waits in between
                layer.write(FramePackets { layer: layer.id(), key: true, packets: vec![packet], arrived: began + age });
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
async fn every_encoding_of_a_lossy_publisher_is_a_layer_and_complete() {
    let mut gateway = Gateway::start();
    let rids = ["q", "h", "f"].map(str::to_owned).to_vec();
    let config = OutgoingConfig { lose_every: NonZeroU32::new(10), rids, ..OutgoingConfig::default() };
    let (mut publisher, offer) = OutgoingPublisher::offer(&config, "cam").await.unwrap();
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let peer = gateway.open(PeerSpec { receive, ..spec(Some(offer), &[]) });
    let track = gateway.until(|event| if let PeerEvent::Tracks { mut tracks, .. } = event { tracks.pop() } else { None }).await;
    assert_eq!(track.layers.iter().map(|layer| layer.id().index).collect::<Vec<_>>(), [0, 1, 2]);
    let answer = gateway.description(peer).await;
    assert!(answer.text.contains("a=simulcast:recv q;h;f\r\n"), "{}", answer.text);
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.unwrap();
    gateway.up(peer).await;
    let sinks = [0, 1, 2].map(|_| Arc::new(Sequences::default()));
    for (layer, sink) in track.layers.iter().zip(&sinks) {
        layer.attach(crate::forward::SinkId(9), sink.clone());
    }
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for n in 0..60 {
        pace.tick().await;
        for (index, layer) in track.layers.iter().enumerate() {
            // each has numbers of its own: one that took another's packets would have too many
            let packets = frame(layer, n, n == 0).packets.into_iter();
            for packet in packets.map(|packet| MediaPacket { sequence: packet.sequence + 1000 * index as u16, ..packet }) {
                publisher.send_encoding(MediaKind::Video, index, &packet).await.unwrap();
            }
        }
    }
    let wanted = |index: u16| 1000 * (index + 1) + 3..1000 * (index + 1) + 150;
    let complete = async {
        while (0u16..3).zip(&sinks).any(|(index, sink)| sink.0.lock().unwrap().range(wanted(index)).count() < 147) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = timeout(PATIENCE, complete).await;
    let figures = gateway.figures(peer).await;
    assert!(done.is_ok(), "every packet of every layer: {figures:?}");
    for (index, (sink, received)) in sinks.iter().zip(&figures.received).enumerate() {
        let own = 1000 * (index as u16 + 1)..1000 * (index as u16 + 1) + 180;
        assert!(sink.0.lock().unwrap().iter().all(|sequence| own.contains(sequence)), "{index}");
        assert_eq!((received.rid.as_deref(), received.layer), (Some(["q", "h", "f"][index]), index as u8));
        assert!(received.packets >= 147 && received.recovered >= 10 && received.watched, "{received:?}");
    }
    // a packet that was lost is asked for once or twice, and its answer as well is lost now and then
    let recovered: u64 = figures.received.iter().map(|received| received.recovered).sum();
    assert!(figures.nacked < 6 * recovered, "{figures:?}");
    let before = publisher.figures().key_requests;
    track.layers[2].request_keyframe(Instant::now());
    let asked = async {
        while publisher.figures().key_requests == before {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    timeout(PATIENCE, asked).await.expect("each layer has its own key-frame request");
    gateway.shards.stop();
}
