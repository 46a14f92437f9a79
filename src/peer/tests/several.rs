//! Several shards behind one port.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_on_all_threads_get_everything_of_a_publisher_on_the_first() {
    let (sender, events) = mpsc::unbounded_channel();
    let addresses = vec![[127, 0, 0, 1].into()];
    let config = ShardConfig {
        port: 0,
        tcp: true,
        addresses,
        shards: 3,
        fill: 2,
        prefer: Suite::Gcm,
        place: Place::default(),
        stages: Arc::default(),
    };
    let mut gateway = Gateway { shards: Shards::start(config, sender).unwrap(), events };
    assert_eq!(gateway.shards.addresses().len(), 1, "one port");
    let (mut publisher, offer) = OutgoingPublisher::offer(&OutgoingConfig::default(), "cam").await.unwrap();
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let publishing = gateway.open(PeerSpec { receive, ..spec(Some(offer), &[]) });
    let layer = gateway
        .until(|event| match event {
            PeerEvent::Tracks { tracks, .. } => Some(Arc::clone(tracks[0].layers.first())),
            _ => None,
        })
        .await;
    let answer = gateway.description(publishing).await;
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.unwrap();
    gateway.up(publishing).await;
    // from the cache, so that all are there when the live picture comes
    publisher.send_all(MediaKind::Video, &frame(&layer, 0, true).packets).await.unwrap();
    timeout(PATIENCE, async {
        while layer.figures().packets < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the first frame");
    let mut players = Vec::new();
    for _ in 0..7 {
        let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
        for n in 0..3 {
            assert_eq!(number(&next(&mut player).await), n);
        }
        players.push((player, peer));
    }
    assert_eq!(layer.figures().sinks, 3);
    for n in 1..40 {
        publisher.send_all(MediaKind::Video, &frame(&layer, n, n == 1).packets).await.unwrap();
    }
    for (player, _) in &mut players {
        for n in 3..120 {
            assert_eq!(number(&next(player).await), n);
        }
    }
    // the figures of all, wherever they are
    let (reply, answer) = tokio::sync::oneshot::channel();
    gateway.shards.send(PeerCommand::Figures { peer: None, reply });
    let figures = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(figures.iter().filter(|figures| figures.packets_sent >= 120).count(), 7);
    assert_eq!(figures.len(), 8);
    // the last one asks by its own thread, the publisher hears it on the first
    let before = publisher.figures().key_requests;
    timeout(PATIENCE, async {
        // those within half a second of each other are one
        while publisher.figures().key_requests == before {
            players[6].0.request_keyframe().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a request for a key frame");
    assert!(timeout(PATIENCE, gateway.shards.ping()).await.unwrap());
    // one leaves by itself, the others are closed
    let (gone, peer) = players.pop().unwrap();
    gone.close().await.unwrap();
    assert_eq!(gateway.down(peer).await, EndReason::Left);
    for peer in players.iter().map(|(_, peer)| *peer).chain([publishing]) {
        gateway.shards.send(PeerCommand::Close { peer });
    }
    assert_eq!(gateway.shards.demux_entries(), 0);
    gateway.shards.stop();
    assert!(!timeout(PATIENCE, gateway.shards.ping()).await.unwrap(), "nobody answers any more");
}
