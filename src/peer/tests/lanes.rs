//! Streams that are added to a living connection and taken off it.

use super::*;

/// Two gateways with a connection between them that has no stream yet.
async fn trunk(from: &mut Gateway, to: &mut Gateway) -> [PeerId; 2] {
    let idle = || {
        let layers = Arc::new(Layer::idle(TrackFormat::opus())).into();
        vec![SendTrack { layers, stream_label: "trunk".into() }]
    };
    let receive = || Some(Receive { video: Vec::new(), audio: true });
    let dialling = from.open(PeerSpec { own_port: true, send: idle(), receive: receive(), ..spec(None, &[]) });
    let offer = from.description(dialling).await;
    let answering = to.open(PeerSpec { send: idle(), receive: receive(), ..spec(Some(offer), &[]) });
    let answer = to.description(answering).await;
    from.shards.send(PeerCommand::Describe { peer: dialling, sdp: answer });
    from.up(dialling).await;
    to.up(answering).await;
    [dialling, answering]
}

struct Lane {
    sent: PeerId,
    taken: PeerId,
    layer: Arc<Layer>,
    received: Arc<Layer>,
}

/// One more stream over a connection.
async fn lane(from: &mut Gateway, to: &mut Gateway, trunk: [PeerId; 2], requests: &Requests) -> Lane {
    let (sent, layer) = (PeerId::next(), video_layer(requests));
    let send = vec![SendTrack { layers: Arc::clone(&layer).into(), stream_label: "lane".into() }];
    from.shards.send(PeerCommand::SendLane { peer: trunk[0], lane: sent, send });
    let tracks = from
        .until(|event| match event {
            PeerEvent::LaneSent { lane, tracks } if lane == sent => Some(tracks),
            PeerEvent::LaneRefused { lane, reason } => panic!("{lane}: {reason}"),
            _ => None,
        })
        .await;
    let taken = PeerId::next();
    to.shards.send(PeerCommand::TakeLane { peer: trunk[1], lane: taken, tracks });
    let received = to
        .until(|event| match event {
            PeerEvent::LaneTaken { lane, mut tracks } if lane == taken => tracks.pop(),
            PeerEvent::LaneRefused { lane, reason } => panic!("{lane}: {reason}"),
            _ => None,
        })
        .await;
    Lane { sent, taken, layer, received: Arc::clone(received.layers.first()) }
}

async fn holds(what: &str, so: impl Fn() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn arrives(received: &Layer, packets: u64) {
    let arrived = async {
        while received.figures().packets < packets {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, arrived).await.unwrap_or_else(|_| panic!("{packets}: {:?}", received.figures()));
    assert_eq!(received.figures().packets, packets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_cross_one_connection_both_ways() {
    let (mut from, mut to) = (Gateway::start(), Gateway::start());
    let there = trunk(&mut from, &mut to).await;
    let back = [there[1], there[0]];
    let requests = Requests::default();
    let mut lanes = Vec::new();
    for _ in 0..3 {
        lanes.push(lane(&mut from, &mut to, there, &requests).await);
        lanes.push(lane(&mut to, &mut from, back, &requests).await);
    }
    for lane in &lanes {
        attached(&lane.layer).await;
    }
    for n in 0..30 {
        for (index, lane) in lanes.iter().enumerate().take(1 + usize::from(n) % 6) {
            lane.layer.write(frame(&lane.layer, n, usize::from(n) == index));
        }
    }
    for (index, lane) in (0u64..).zip(&lanes) {
        arrives(&lane.received, 3 * 5 * (6 - index)).await;
    }
    // a viewer there asks the source here; what comes too soon after another request is made up for by a later frame
    let before = requests.count();
    lanes[2].received.request_keyframe(Instant::now() + Duration::from_secs(5));
    let mut n = 30;
    while requests.count() == before {
        assert!(n < 2000, "a request crosses");
        lanes[2].layer.write(frame(&lanes[2].layer, n, false));
        n += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // one goes, the others stay; its place is used again
    from.shards.send(PeerCommand::EndLane { peer: there[0], lane: lanes[0].sent });
    to.shards.send(PeerCommand::EndLane { peer: there[1], lane: lanes[0].taken });
    holds("nobody plays it any more", || lanes[0].layer.figures().sinks == 0).await;
    let again = lane(&mut from, &mut to, there, &requests).await;
    attached(&again.layer).await;
    again.layer.write(frame(&again.layer, 0, true));
    lanes[2].layer.write(frame(&lanes[2].layer, n, false));
    arrives(&again.received, 3).await;
    arrives(&lanes[2].received, 3 * (5 * 4 + u64::from(n) - 30 + 1)).await;
    assert_eq!(lanes[0].received.figures().packets, 90, "what ended is not written to");

    from.shards.send(PeerCommand::Close { peer: there[0] });
    assert_eq!(to.down(there[1]).await, EndReason::Left);
    holds("nothing stays", || from.shards.demux_entries() + to.shards.demux_entries() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_cannot_be_are_refused_and_the_others_go_on() {
    let (mut from, mut to) = (Gateway::start(), Gateway::start());
    let there = trunk(&mut from, &mut to).await;
    let requests = Requests::default();
    let good = lane(&mut from, &mut to, there, &requests).await;
    let track = |ssrc, payload_type| LaneTrack { ssrc, payload_type, repair: None, format: TrackFormat::opus() };
    let refused: [Vec<LaneTrack>; 5] = [
        vec![],
        // not a lane's payload type
        vec![track(7, 111)],
        // two tracks of one SSRC
        vec![track(7, 116), track(7, 116)],
        (0..3).map(|n| track(100 + n, 116)).collect(),
        // a picture without what repairs it
        vec![LaneTrack { format: TrackFormat::h264_baseline(), ..track(7, 117) }],
    ];
    for tracks in refused {
        let lane = PeerId::next();
        to.shards.send(PeerCommand::TakeLane { peer: there[1], lane, tracks: tracks.clone() });
        let reason = to.until(|event| match event {
            PeerEvent::LaneRefused { lane: of, reason } if of == lane => Some(reason),
            PeerEvent::LaneTaken { .. } => panic!("{tracks:?} was taken"),
            _ => None,
        });
        assert_eq!(reason.await, EndReason::BadDescription);
    }
    // as many as may be, and one more
    let take = |n: u32| (PeerId::next(), vec![track(1000 + n, 116)]);
    for n in 1..MAX_LANES as u32 {
        let (lane, tracks) = take(n);
        to.shards.send(PeerCommand::TakeLane { peer: there[1], lane, tracks });
        to.until(|event| matches!(event, PeerEvent::LaneTaken { lane: of, .. } if of == lane).then_some(())).await;
    }
    let (lane, tracks) = take(0);
    to.shards.send(PeerCommand::TakeLane { peer: there[1], lane, tracks });
    let full = to.until(|event| if let PeerEvent::LaneRefused { reason, .. } = event { Some(reason) } else { None }).await;
    assert_eq!(full, EndReason::Overloaded);
    // a connection that is not there
    let lane = PeerId::next();
    to.shards.send(PeerCommand::TakeLane { peer: there[1], lane: PeerId::next(), tracks: vec![track(7, 116)] });
    to.shards.send(PeerCommand::SendLane { peer: there[1], lane, send: vec![] });
    let none = to.until(|event| match event {
        PeerEvent::LaneRefused { lane: of, reason } if of == lane => Some(reason),
        _ => None,
    });
    assert_eq!(none.await, EndReason::NoCommonCodec);

    attached(&good.layer).await;
    good.layer.write(frame(&good.layer, 0, true));
    arrives(&good.received, 3).await;
}
