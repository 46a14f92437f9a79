//! A viewer that is slow hurts nobody else.

use super::*;

/// The next packet of each number in turn, retransmissions and repeats left out.
async fn expect(player: &mut OutgoingPlayer, numbers: std::ops::Range<u16>) {
    for wanted in numbers {
        assert_eq!(number(&next(player).await), wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_viewer_waits_for_a_key_frame_and_a_fast_one_gets_everything() {
    let mut gateway = Gateway::on_one_thread();
    let requests = Requests::default();
    let layer = video_layer(&requests);
    layer.write(frame(&layer, 0, true));
    let (mut fast, fast_peer) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    expect(&mut fast, 0..3).await;
    let (mut slow, slow_peer) = gateway.play(&[Arc::clone(&layer)], &OutgoingConfig::default()).await;
    expect(&mut slow, 0..3).await;
    // a fresh key frame, because both had theirs from the cache
    layer.write(frame(&layer, 1, true));
    expect(&mut fast, 3..6).await;
    expect(&mut slow, 3..6).await;
    let asked = requests.count();
    gateway.shards.clog(Some(slow_peer));
    gateway.figures(slow_peer).await;
    for n in 2..600 {
        layer.write(frame(&layer, n, false));
        expect(&mut fast, n * 3..n * 3 + 3).await;
    }
    gateway.shards.clog(None);
    // the far end can be reached again, but a picture that builds on lost ones is of no use: it asks until one comes
    let mut n = 600;
    while n < 610 || requests.count() == asked {
        layer.write(frame(&layer, n, false));
        expect(&mut fast, n * 3..n * 3 + 3).await;
        n += 1;
    }
    let (ahead, behind) = (gateway.figures(fast_peer).await, gateway.figures(slow_peer).await);
    assert_eq!(ahead.frames_dropped, 0, "{ahead:?}");
    // what was lost in the kernel is one turn's, the rest is not even protected
    assert!(behind.frames_dropped >= 600, "{behind:?}");
    assert!(behind.packets_sent < 40, "{behind:?}");
    let key = n * 3;
    layer.write(frame(&layer, n, true));
    layer.write(frame(&layer, n + 1, false));
    expect(&mut fast, key..key + 6).await;
    let mut rest = Vec::new();
    while rest.last() != Some(&(key + 5)) {
        // what was lost in the kernel may be sent again in between
        rest.extend(Some(number(&next(&mut slow).await)).filter(|number| *number >= 60));
    }
    assert_eq!(rest, (key..key + 6).collect::<Vec<_>>());
    assert_eq!(layer.figures().sinks, 1, "one ring for both");
    gateway.shards.stop();
}
