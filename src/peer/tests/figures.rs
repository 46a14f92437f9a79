//! Every figure of a peer is filled.

use super::*;

/// Figures of a peer once `done` finds them complete.
async fn complete(gateway: &Gateway, peer: PeerId, done: impl Fn(&PeerFigures) -> bool) -> PeerFigures {
    let wait = async {
        loop {
            let figures = gateway.figures(peer).await;
            if done(&figures) {
                break figures;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match timeout(PATIENCE, wait).await {
        Ok(figures) => figures,
        Err(_) => panic!("never complete: {:?}", gateway.figures(peer).await),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_viewers_figures_are_complete() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    let config = OutgoingConfig { lose_every: NonZeroU32::new(10), ..OutgoingConfig::default() };
    let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &config).await;
    next(&mut player).await;
    player.request_keyframe().await.unwrap();
    let writing = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for n in 1.. {
            pace.tick().await;
            layer.write(frame(&layer, n, n % 10 == 1));
            while let Ok(Some(_)) = timeout(Duration::ZERO, player.next_packet()).await {}
        }
    };
    let done = |figures: &PeerFigures| {
        figures.packets_lost > 0 && figures.retransmitted > 0 && figures.key_requests > 0 && figures.rtt_ms.is_some()
    };
    let figures = tokio::select! {
        figures = complete(&gateway, peer, done) => figures,
        () = writing => unreachable!("it writes on"),
    };
    assert_eq!((figures.peer, figures.connected, figures.srtp_profile), (peer.0, true, Some("AEAD_AES_128_GCM")));
    assert!(figures.remote.is_some_and(|remote| remote.ip().is_loopback()), "{figures:?}");
    assert!(
        figures.packets_lost < figures.packets_sent / 2 && figures.bytes_sent > 300 * (figures.packets_sent - 1),
        "{figures:?}"
    );
    assert!(figures.rtt_ms.is_some_and(|rtt| (0.0..5_000.0).contains(&rtt)), "{figures:?}");
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_publishers_figures_are_complete() {
    let mut gateway = Gateway::start();
    let config = OutgoingConfig { lose_every: NonZeroU32::new(10), ..OutgoingConfig::default() };
    let (mut publisher, offer) = OutgoingPublisher::offer(&config, "cam").await.unwrap();
    // one that repairs nothing
    let bare: String = offer.text.split_inclusive('\n').filter(|line| !line.starts_with("a=rtcp-fb:")).collect();
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let peer = gateway.open(PeerSpec { receive, ..spec(Some(Sdp::offer(bare)), &[]) });
    let answer = gateway.description(peer).await;
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.unwrap();
    gateway.up(peer).await;
    let any = video_layer(&Requests::default());
    for n in 0..50 {
        publisher.send_all(MediaKind::Video, &frame(&any, n, n == 0).packets).await.unwrap();
    }
    // 150 packets, of which every tenth is lost; the last one is not missed, because nothing comes after it
    let done =
        |figures: &PeerFigures| figures.packets_lost == 14 && figures.rtt_ms.is_some() && figures.bytes_received > 135 * 300;
    let figures = complete(&gateway, peer, done).await;
    assert_eq!(figures.packets_received, 135, "{figures:?}");
    assert!(figures.remote.is_some() && figures.connected, "{figures:?}");
    assert_eq!(figures.srtp_profile, Some("AEAD_AES_128_GCM"));
    gateway.shards.stop();
}
