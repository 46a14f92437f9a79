//! What a connection sends can change while it lives.

use super::*;

async fn detached(layer: &Layer) {
    let wait = async {
        while layer.figures().sinks != 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("detached in time");
}

impl Gateway {
    fn feed(&self, peer: PeerId, layers: &[&Arc<Layer>]) {
        let track = |layer: &&Arc<Layer>| SendTrack { layers: Arc::clone(layer).into(), stream_label: "later".into() };
        self.shards.send(PeerCommand::Feed { peer, send: layers.iter().map(track).collect() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_place_is_filled_emptied_and_filled_again_on_one_numbering() {
    let mut gateway = Gateway::start();
    let requests = Requests::default();
    let idle = Arc::new(Layer::idle(TrackFormat::h264_baseline()));
    let (mut player, peer) = gateway.play(&[Arc::clone(&idle)], &OutgoingConfig::default()).await;
    gateway.up(peer).await;
    assert_eq!(idle.figures().sinks, 0, "nobody waits for what never comes");

    let first = video_layer(&requests);
    gateway.feed(peer, &[&first]);
    attached(&first).await;
    first.write(frame(&first, 0, true));
    let mut last = next(&mut player).await;
    assert_eq!(number(&last), 0);
    for n in 1..3 {
        last = next(&mut player).await;
        assert_eq!(number(&last), n);
    }

    gateway.feed(peer, &[]);
    detached(&first).await;
    first.write(frame(&first, 1, true));

    // one of another codec than was agreed is not sent
    let id = LayerId { track: TrackId::next(), index: 0 };
    let other = Arc::new(Layer::new(id, TrackFormat::plain(Codec::VP8), Refresh::OnRequest, Box::new(requests.clone())));
    gateway.feed(peer, &[&other]);
    let second = video_layer(&requests);
    gateway.feed(peer, &[&second]);
    attached(&second).await;
    assert_eq!(other.figures().sinks, 0);
    second.write(frame(&second, 10, true));
    for n in 30..33u16 {
        let packet = next(&mut player).await;
        assert_eq!(number(&packet), n, "nothing of what was written meanwhile");
        assert_eq!(packet.packet.sequence, last.packet.sequence.wrapping_add(1));
        assert_eq!(packet.ssrc, last.ssrc);
        last = packet;
    }
    gateway.shards.stop();
}
