//! What leaves beside the engine, in simulated time.

use super::*;
use crate::peer::demux::{Wire, classify};

/// The first end offers video, the second takes it.
fn watched() -> (World, Arc<Layer>) {
    let id = LayerId { track: TrackId::next(), index: 0 };
    let layer = Arc::new(Layer::new(id, TrackFormat::h264_baseline(), Refresh::OnRequest, Box::new(Nobody)));
    let send = vec![SendTrack { layers: Arc::clone(&layer).into(), stream_label: "main".into() }];
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let mut world = World::between(PeerSpec { send, ..bare(LIMIT) }, PeerSpec { receive, ..bare(LIMIT) });
    world.up();
    (world, layer)
}

fn picture(world: &World, layer: &Layer, n: u16) -> FramePackets {
    let packet = MediaPacket { sequence: n, timestamp: u32::from(n) * 3000, marker: true, payload: vec![0x65; 500].into() };
    FramePackets { layer: layer.id(), key: n == 0, packets: vec![packet], arrived: world.now }
}

/// Payload types of media are 96 and more; RTCP's types look like 72 to 78 there (RFC 5761 §4).
fn is_media(datagram: &[u8]) -> bool {
    classify(datagram) == Wire::Rtp && datagram[1] & 0x7f >= 96
}

/// Datagrams of media among those that wait to leave.
fn media(end: &mut End) -> Vec<Vec<u8>> {
    end.out.take().into_iter().map(|(_, _, datagram)| datagram).filter(|datagram| is_media(datagram)).collect()
}

fn ask(end: &mut End, sequence: u16, times: usize) {
    let ssrc = end.connection.sendings[0].ssrc;
    end.connection.watch.lock().nacks.extend(std::iter::repeat_n((ssrc, sequence), times));
}

#[test]
fn what_is_lost_is_sent_again_until_it_is_there() {
    let (mut world, layer) = watched();
    for n in 0..60 {
        let frame = picture(&world, &layer, n);
        world.ends[0].play(world.now, &frame);
        if n % 10 == 5 {
            // this one never arrives
            assert_eq!(media(&mut world.ends[0]).len(), 1);
        }
        let next = world.now + Duration::from_millis(33);
        world.until(Duration::from_secs(2), |world| world.now >= next);
    }
    let sent = world.ends[0].connection.figures();
    let heard = world.ends[1].connection.figures();
    // one may have come by itself: the way is probed with what was sent last
    assert!(sent.retransmitted >= 5 && sent.retransmitted == heard.nacked, "{sent:?}");
    assert_eq!((heard.packets_received, heard.packets_lost), (60, 0), "{heard:?}");
}

#[test]
fn nobody_gets_much_more_than_was_sent() {
    let (mut world, layer) = watched();
    for n in 0..40 {
        let frame = picture(&world, &layer, n);
        world.ends[0].play(world.now, &frame);
    }
    let sent = media(&mut world.ends[0]);
    assert_eq!(sent.len(), 40);
    let first = u16::from_be_bytes([sent[0][2], sent[0][3]]);
    // one packet, asked for again and again
    ask(&mut world.ends[0], first, 100);
    world.ends[0].drain(world.now);
    assert_eq!(media(&mut world.ends[0]).len(), 5);
    // every packet: two that were sent pay for one
    (0..40).for_each(|n| ask(&mut world.ends[0], first + n, 1));
    world.ends[0].drain(world.now);
    assert_eq!(media(&mut world.ends[0]).len(), 15);
    // what was never sent, and what is of nobody
    ask(&mut world.ends[0], first + 1000, 1);
    world.ends[0].connection.watch.lock().nacks.push((1, first));
    world.ends[0].drain(world.now);
    assert_eq!(media(&mut world.ends[0]).len(), 0);
    assert_eq!(world.ends[0].connection.figures().retransmitted, 20);
}

fn sequence(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[2], datagram[3]])
}

/// A picture of so many packets, numbered from `first`.
fn large(world: &World, layer: &Layer, first: u16, packets: u16, key: bool) -> FramePackets {
    let packet = |n| MediaPacket {
        sequence: first + n,
        timestamp: u32::from(first) * 3000,
        marker: n + 1 == packets,
        payload: vec![0x65; 500].into(),
    };
    FramePackets { layer: layer.id(), key, packets: (0..packets).map(packet).collect(), arrived: world.now }
}

#[test]
fn a_large_picture_leaves_in_portions_and_the_next_behind_it() {
    let (mut world, layer) = watched();
    let began = world.now;
    let (key, next) = (large(&world, &layer, 0, 130, true), large(&world, &layer, 130, 10, false));
    world.ends[0].play(began, &key);
    world.ends[0].play(began, &next);
    let mut sent = media(&mut world.ends[0]);
    assert_eq!(sent.len(), 48);
    for portion in [48, 44] {
        let at = world.ends[0].connection.next_timeout();
        assert!(at > world.now && at <= world.now + Duration::from_millis(1));
        assert!(world.ends[0].connection.slack().is_zero());
        world.now = at;
        world.ends[0].connection.timeout(at);
        world.ends[0].drain(at);
        let more = media(&mut world.ends[0]);
        assert_eq!(more.len(), portion);
        sent.extend(more);
    }
    assert!(sent.windows(2).all(|pair| sequence(&pair[1]) == sequence(&pair[0]).wrapping_add(1)));
    assert!(world.ends[0].connection.next_timeout() > world.now + Duration::from_millis(1), "nothing waits");
}

#[test]
fn a_cached_group_is_not_a_burst_and_the_live_picture_follows_it() {
    let (mut world, layer) = watched();
    layer.write(large(&world, &layer, 0, 100, true));
    let mut sent = Vec::new();
    let now = world.now;
    world.ends[0].connection.start_layer(now, 0, &layer, &mut world.ends[0].out);
    // directly after the cached picture, while it waits
    let next = large(&world, &layer, 100, 1, false);
    world.ends[0].play(now, &next);
    while sent.len() < 101 {
        let portion = media(&mut world.ends[0]);
        assert!(!portion.is_empty() && portion.len() <= 48);
        sent.extend(portion);
        world.now += Duration::from_millis(1);
        world.ends[0].drain(world.now);
    }
    assert!(sent.windows(2).all(|pair| sequence(&pair[1]) == sequence(&pair[0]).wrapping_add(1)));
}

#[test]
fn a_viewer_that_skips_to_a_key_frame_gets_nothing_that_waited() {
    let (mut world, layer) = watched();
    let key = large(&world, &layer, 0, 100, true);
    world.ends[0].play(world.now, &key);
    let now = world.now;
    world.ends[0].connection.skip_to_key(now, 0);
    assert_eq!(media(&mut world.ends[0]).len(), 48);
    world.now += Duration::from_millis(1);
    world.ends[0].drain(world.now);
    assert_eq!(media(&mut world.ends[0]).len(), 0);
}

#[test]
fn reports_come_once_a_second_while_something_is_sent() {
    let (mut world, layer) = watched();
    assert_eq!(world.ends[0].connection.report_at, None, "nothing to report");
    let mut reports = 0;
    let mut n = 0;
    let end = world.now + Duration::from_secs(10);
    while world.now < end {
        let frame = picture(&world, &layer, n);
        n += 1;
        world.ends[0].play(world.now, &frame);
        world.exchange();
        let next = world.now + Duration::from_millis(33);
        while world.now < next {
            let before = world.ends[0].connection.report_at;
            world.step();
            reports += usize::from(world.ends[0].connection.report_at != before);
        }
    }
    assert!((9..=10).contains(&reports), "{reports}");
    let clocks = world.ends[1].connection.watch.lock().clocks.clone();
    let [(ssrc, _, time)] = clocks[..] else { panic!("{clocks:?}") };
    let sending = &world.ends[0].connection.sendings[0];
    assert_eq!(ssrc, sending.ssrc);
    let newest = sending.rewriter.viewer_time(u32::from(n - 1) * 3000).unwrap();
    assert!((newest.wrapping_sub(time) as i32).unsigned_abs() < 3 * 90_000, "of a moment ago: {time}, {newest}");
    // then the last one, and silence
    world.until(Duration::from_secs(5), |world| world.ends[0].connection.report_at.is_none());
}

#[test]
fn media_follows_the_far_end_to_another_address() {
    let (mut world, layer) = watched();
    let frame = picture(&world, &layer, 0);
    world.ends[0].play(world.now, &frame);
    let [(_, to, _)] = &world.ends[0].out.take()[..] else { panic!("one datagram") };
    assert_eq!(*to, world.ends[1].address);
    // a stranger's datagram changes nothing but that the way is looked at soon
    let stranger = SocketAddr::from(([127, 0, 0, 9], 9));
    let now = world.now;
    world.ends[0].connection.datagram(now, *to, stranger, &[0x80; 40]);
    assert_eq!(world.ends[0].connection.report_at, Some(now + Duration::from_millis(100)));
    assert_eq!(world.ends[0].connection.way.map(|(_, to)| to), Some(world.ends[1].address));
}
