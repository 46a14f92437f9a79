//! How peers and shards begin and end: limits, goodbyes, sockets.

use super::*;

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
            let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &config).await;
            // a far end that is late with its keys misses the first picture
            let mut pictures = 1..;
            let heard = async {
                loop {
                    tokio::select! {
                        packet = player.next_packet() => break packet.is_some(),
                        () = tokio::time::sleep(Duration::from_millis(50)) => {
                            pictures.next().into_iter().for_each(|n| layer.write(frame(&layer, n, true)));
                        }
                    }
                }
            };
            assert!(timeout(PATIENCE, heard).await.expect("a packet in time"));
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
    let config = ShardConfig {
        port,
        tcp: true,
        addresses: vec![[127, 0, 0, 1].into()],
        shards: 1,
        fill: 0,
        prefer: Suite::Gcm,
        place: Place::default(),
        stages: Arc::default(),
    };
    let error = Shards::start(config, sender).unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let (sender, _events) = mpsc::unbounded_channel();
    assert!(matches!(
        Shards::start(
            ShardConfig {
                port: 0,
                tcp: true,
                addresses: vec![],
                shards: 1,
                fill: 0,
                prefer: Suite::Gcm,
                place: Place::default(),
                stages: Arc::default()
            },
            sender
        ),
        Err(ShardsError::NoAddress)
    ));
}
