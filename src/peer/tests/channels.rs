//! Data channels between two drivers over UDP on loopback.

use super::*;

fn data(open: &[&str]) -> PeerSpec {
    let open = open.iter().map(|label| NewChannel::labelled(*label)).collect();
    PeerSpec { data: Some(DataSpec { open }), ..spec(None, &[]) }
}

/// Two gateways with a channel between them, which the first opened.
struct Pair {
    gateways: [Gateway; 2],
    peers: [PeerId; 2],
    channels: [ChannelId; 2],
    buffered: Buffered,
}

impl Pair {
    async fn connect() -> Self {
        let mut gateways = [Gateway::start(), Gateway::start()];
        let first = gateways[0].open(data(&["bulk"]));
        let offer = gateways[0].description(first).await;
        let second = gateways[1].open(PeerSpec { offer: Some(offer), ..data(&[]) });
        let answer = gateways[1].description(second).await;
        gateways[0].shards.send(PeerCommand::Describe { peer: first, sdp: answer });
        let open = |event: PeerEvent| match event {
            PeerEvent::ChannelOpen { channel, buffered, .. } => Some((channel, buffered)),
            _ => None,
        };
        let (theirs, _) = gateways[1].until(open).await;
        let (ours, buffered) = gateways[0].until(open).await;
        Self { gateways, peers: [first, second], channels: [ours, theirs], buffered }
    }

    fn send(&self, from: usize, message: DataMessage) {
        let (peer, channel) = (self.peers[from], self.channels[from]);
        self.gateways[from].shards.send(PeerCommand::SendMessage { peer, channel, message });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_closed_ends_its_channels_first() {
    for stopped in [false, true] {
        let Pair { mut gateways, peers, channels, .. } = Pair::connect().await;
        let [first, second] = &mut gateways;
        match stopped {
            false => first.shards.send(PeerCommand::Close { peer: peers[0] }),
            true => first.shards.stop(),
        }
        match second.event().await {
            PeerEvent::Up { .. } => assert!(matches!(second.event().await, PeerEvent::ChannelClosed { .. })),
            PeerEvent::ChannelClosed { peer, channel } => assert_eq!((peer, channel), (peers[1], channels[1])),
            other => panic!("{other:?}"),
        }
        assert_eq!(second.down(peers[1]).await, EndReason::Left);
        if !stopped {
            timeout(PATIENCE, async { while first.shards.demux_entries() > 0 {} }).await.expect("everything is forgotten");
        }
        assert_eq!(second.shards.demux_entries(), 0);
        second.shards.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credits_given_back_on_another_thread_let_the_far_end_go_on() {
    let mut pair = Pair::connect().await;
    let message = |n: u32| DataMessage::binary(n.to_be_bytes().repeat(16 << 10));
    let mut held = Vec::new();
    let mut sent = 0;
    // until nothing more is taken: the receiver's budget, its window and the sender's queue are full
    let mut full = None;
    while full.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(500)) {
        if pair.buffered.bytes() + (64 << 10) <= DataSpec::OUTBOUND {
            pair.send(0, message(sent));
            (sent, full) = (sent + 1, None);
        } else {
            full.get_or_insert_with(Instant::now);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Ok(event) = pair.gateways[1].events.try_recv() {
            if let PeerEvent::ChannelMessage { message, credit, .. } = event {
                held.push((message, credit));
            }
        }
    }
    assert!(held.len() <= 17, "{} held", held.len());
    let mut got = 0;
    for (had, credit) in held.drain(..) {
        assert_eq!(had, message(got));
        got += 1;
        drop(credit);
    }
    while got < sent {
        let (next, _credit) = pair.gateways[1]
            .until(|event| match event {
                PeerEvent::ChannelMessage { message, credit, .. } => Some((message, credit)),
                _ => None,
            })
            .await;
        assert_eq!(next, message(got));
        got += 1;
    }
}

/// The first gateway fills a channel and plays a layer. What it plays comes whole and in order, whether the far end of the channel takes
/// messages or not, and so do the messages; what waits stays within its bounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_always_full_neither_stops_media_nor_loses_a_message() {
    const MESSAGE: usize = 64 << 10;
    let mut pair = Pair::connect().await;
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    let (mut player, viewer) = pair.gateways[0].play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    for part in 0..3 {
        assert_eq!(number(&next(&mut player).await), part);
    }
    layer.write(frame(&layer, 1, true));
    let message = |n: u32| DataMessage::binary(n.to_be_bytes().repeat(MESSAGE / 4));
    let (mut sent, mut got, mut most) = (0u32, 0u32, 0);
    let mut held = Vec::new();
    // 16 MiB, of which nothing is given back during the first 40 frames
    let mut n = 1;
    while got < 256 {
        loop {
            let waiting = pair.buffered.bytes();
            most = most.max(waiting);
            if waiting + MESSAGE > DataSpec::OUTBOUND {
                break;
            }
            pair.send(0, message(sent));
            sent += 1;
        }
        if n <= 40 {
            // the last message may go beyond the budget
            assert!(held.len() <= DataSpec::INBOUND / MESSAGE + 1, "{} held", held.len());
        } else {
            held.clear();
        }
        // one frame for each step of the channel, whatever time that takes
        let mut event = if n <= 40 { None } else { Some(pair.gateways[1].event().await) };
        while let Some(told) = event.or_else(|| pair.gateways[1].events.try_recv().ok()) {
            if let PeerEvent::ChannelMessage { message: had, credit, .. } = told {
                assert_eq!(had, message(got));
                got += 1;
                held.push(credit);
            }
            event = None;
        }
        while let Ok(event) = pair.gateways[0].events.try_recv() {
            assert!(!matches!(event, PeerEvent::MessageRefused { .. } | PeerEvent::Down { .. }), "{event:?}");
        }
        for part in 0..3 {
            assert_eq!(number(&next(&mut player).await), n * 3 + part);
        }
        n += 1;
        layer.write(frame(&layer, n, false));
    }
    // a message that reaches its channel just now is counted on its way, too
    assert!((DataSpec::OUTBOUND - MESSAGE..=DataSpec::OUTBOUND + MESSAGE).contains(&most), "{most} bytes waited");
    let figures = pair.gateways[0].figures(viewer).await;
    assert_eq!((figures.packets_lost, figures.frames_dropped), (0, 0));
    pair.gateways.iter().for_each(|gateway| gateway.shards.stop());
}
