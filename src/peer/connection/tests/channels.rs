//! Data channels between two connections in simulated time.

use bytes::Bytes;

use super::*;
use crate::peer::{Buffered, Credit, DataSpec, Refusal};

fn data(open: &[&str]) -> PeerSpec {
    let open = open.iter().map(|label| NewChannel::labelled(*label)).collect();
    PeerSpec { data: Some(DataSpec { open }), ..bare(LIMIT) }
}

/// The first offers and opens the channels that are named.
fn world(open: &[&str]) -> World {
    World::between(data(open), data(&[]))
}

impl End {
    fn told(&self) -> impl Iterator<Item = &PeerEvent> {
        self.news.iter().filter_map(|news| if let News::Told(event) = news { Some(event) } else { None })
    }

    fn opened(&self) -> Vec<(ChannelId, String, bool, bool, Buffered)> {
        let open = |event: &PeerEvent| match event {
            PeerEvent::ChannelOpen { channel, label, ordered, ours, buffered, .. } => {
                Some((*channel, label.clone(), *ordered, *ours, buffered.clone()))
            }
            _ => None,
        };
        self.told().filter_map(open).collect()
    }

    fn channel(&self) -> ChannelId {
        self.opened()[0].0
    }

    /// Takes the messages told so far, with their credits.
    fn messages(&mut self) -> Vec<(DataMessage, Credit)> {
        let (mut messages, mut rest) = (Vec::new(), Vec::new());
        for news in self.news.drain(..) {
            match news {
                News::Told(PeerEvent::ChannelMessage { message, credit, .. }) => messages.push((message, credit)),
                news => rest.push(news),
            }
        }
        self.news = rest;
        messages
    }

    fn closed(&self) -> usize {
        self.told().filter(|event| matches!(event, PeerEvent::ChannelClosed { .. })).count()
    }

    fn refusals(&self) -> Vec<Refusal> {
        self.told()
            .filter_map(|e| if let PeerEvent::MessageRefused { refusal, .. } = e { Some(*refusal) } else { None })
            .collect()
    }

    fn send(&mut self, channel: ChannelId, message: DataMessage) {
        self.connection.send_message(channel, message, &mut self.news);
    }
}

impl World {
    fn both_open(&mut self, count: usize) {
        self.until(LIMIT, |world| world.ends.iter().all(|end| end.opened().len() >= count));
    }

    /// Lets `millis` pass, with all that happens in it.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        self.exchange();
        while self.ends.iter().filter(|end| end.down().is_none()).any(|other| other.connection.next_timeout() <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Everything the second end is told within `limit`, its credits given back at once.
    fn receive(&mut self, at: usize, count: usize) -> Vec<DataMessage> {
        let mut received = Vec::new();
        let limit = self.now + Duration::from_secs(60);
        self.exchange();
        loop {
            received.extend(self.ends[at].messages().into_iter().map(|(message, _)| message));
            if received.len() >= count {
                return received;
            }
            assert!(self.now < limit, "{} of {count} messages", received.len());
            self.step();
        }
    }
}

#[test]
fn a_connection_of_channels_alone_carries_messages_both_ways() {
    let mut world = world(&["chat"]);
    world.both_open(1);
    let [first, second] = [0, 1].map(|at| world.ends[at].opened().remove(0));
    assert_eq!((first.1.as_str(), first.2, first.3), ("chat", true, true));
    assert_eq!((second.1.as_str(), second.2, second.3), ("chat", true, false));
    let messages = [
        DataMessage::text("héllo"),
        DataMessage::text(""),
        DataMessage::binary(vec![0, 255]),
        DataMessage::binary(Bytes::new()),
        DataMessage::binary(vec![7; 65536]),
        DataMessage::text("x".repeat(DataSpec::MAX_MESSAGE)),
    ];
    for (from, channel) in [(0, first.0), (1, second.0)] {
        messages.iter().for_each(|message| world.ends[from].send(channel, message.clone()));
        let received = world.receive(1 - from, messages.len());
        assert!(received == messages, "{received:?}");
    }
    world.pass(1000);
    assert_eq!((first.4.bytes(), second.4.bytes()), (0, 0), "all is acknowledged");
}

/// vamp.md §9 line 19.
#[test]
fn a_cut_network_keeps_the_channel_for_30_seconds() {
    let mut world = world(&["audio"]);
    world.both_open(1);
    let channel = world.ends[0].channel();
    world.connected = [false; 2];
    for n in 0..29_u8 {
        world.ends[0].send(channel, DataMessage::binary(vec![n]));
        world.pass(1000);
    }
    assert!(world.ends.iter().all(|end| end.down().is_none() && end.closed() == 0));
    world.connected = [true; 2];
    let received = world.receive(1, 29);
    assert!(received.iter().enumerate().all(|(n, message)| message.bytes() == &vec![n as u8]), "{received:?}");
    world.connected = [false; 2];
    let cut = world.now;
    world.until(CHANNELS_SILENCE_LIMIT * 2, |world| world.ends.iter().all(|end| end.down() == Some(EndReason::Lost)));
    assert!(world.now - cut <= CHANNELS_SILENCE_LIMIT + Duration::from_millis(10), "{:?}", world.now - cut);
}

#[test]
fn every_message_comes_once_and_in_order() {
    let mut world = world(&["many"]);
    world.both_open(1);
    let channel = world.ends[0].channel();
    for n in 0..1000u32 {
        world.ends[0].send(channel, DataMessage::binary(n.to_be_bytes().to_vec()));
    }
    let received = world.receive(1, 1000);
    let numbers: Vec<u32> = received.iter().map(|m| u32::from_be_bytes(m.bytes()[..].try_into().unwrap())).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn an_offer_of_data_is_refused_where_no_channels_are_wanted() {
    let identity =
        Identity::generate(Reach { hosts: ["127.0.0.1:5000".parse().unwrap()].into(), ..Reach::default() }, Suite::Gcm).unwrap();
    let now = Instant::now();
    let (_, offer, _) = Connection::open(now, data(&[]), &identity, &Mailbox::detached()).unwrap();
    assert!(offer.text.contains("m=application 9 UDP/DTLS/SCTP webrtc-datachannel"), "{}", offer.text);
    assert!(offer.text.contains("a=max-message-size:262144") && offer.text.contains("a=candidate:"), "{}", offer.text);
    let refused = Connection::open(now, PeerSpec { offer: Some(offer), ..bare(LIMIT) }, &identity, &Mailbox::detached());
    assert_eq!(refused.err(), Some(EndReason::NoCommonCodec));
}

#[test]
fn the_far_ends_limit_is_kept() {
    for (attribute, limit) in [("", 65536), ("a=max-message-size:1000\r\n", 1000), ("a=max-message-size:0\r\n", 262_144)] {
        let now = Instant::now();
        let [one, two] = [1, 2].map(|host| SocketAddr::from(([127, 0, 0, host], 5000)));
        let (first, offer) = End::open(now, one, data(&["chat"]));
        let offer = Sdp::offer(offer.text.replace("a=max-message-size:262144\r\n", attribute));
        let (second, answer) = End::open(now, two, PeerSpec { offer: Some(offer), ..data(&[]) });
        let mut world = World { now, began: now, ends: [first, second], connected: [true; 2], lose: [None; 2], loss: None };
        let taken = world.ends[0].connection.describe(now, &answer, &Mailbox::detached());
        assert!(matches!(taken, Described::Taken(_)));
        world.both_open(1);
        let channel = world.ends[1].channel();
        world.ends[1].send(channel, DataMessage::binary(vec![1; limit + 1]));
        assert_eq!(world.ends[1].refusals(), [Refusal::TooLarge { len: limit + 1, max: limit }]);
        world.ends[1].send(channel, DataMessage::binary(vec![1; limit]));
        assert_eq!(world.receive(0, 1)[0].len(), limit);
    }
}

#[test]
fn what_is_not_dealt_with_stops_the_far_end_and_nothing_is_lost() {
    let mut world = world(&["bulk"]);
    world.both_open(1);
    let channel = world.ends[0].channel();
    let message = |n: usize| DataMessage::binary(vec![n as u8; 16 << 10]);
    let (mut sent, mut held) = (0, Vec::new());
    for _ in 0..100 {
        while world.ends[0].opened()[0].4.bytes() + (16 << 10) <= DataSpec::OUTBOUND {
            world.ends[0].send(channel, message(sent));
            sent += 1;
        }
        world.pass(100);
        held.extend(world.ends[1].messages());
    }
    assert_eq!(world.ends[0].refusals(), [], "the sender minded what waits");
    assert!(held.len() <= DataSpec::INBOUND / (16 << 10) + 1, "{} held", held.len());
    // the far end's queue, its SCTP window, and what the engine holds
    assert!(sent <= 64 + 64 + 64 + 256, "{sent} sent");
    let mut received: Vec<DataMessage> = held.drain(..).map(|(message, _)| message).collect();
    received.extend(world.receive(1, sent - received.len()));
    assert!(received.iter().enumerate().all(|(n, got)| *got == message(n)));
}

#[test]
fn what_waits_in_a_channel_is_bounded_and_its_end_is_told() {
    let mut world = world(&["bulk"]);
    world.both_open(1);
    let channel = world.ends[0].channel();
    world.connected = [false; 2];
    for _ in 0..20 {
        world.ends[0].send(channel, DataMessage::binary(vec![1; 64 << 10]));
    }
    assert_eq!(world.ends[0].refusals(), [Refusal::Full; 4]);
    let buffered = world.ends[0].opened()[0].4.clone();
    assert_eq!(buffered.bytes(), DataSpec::OUTBOUND);
    for _ in 0..20_000 {
        world.ends[0].send(channel, DataMessage::text(""));
    }
    assert!(world.ends[0].refusals().len() > 3000, "empty ones are bounded too");
    world.connected = [true; 2];
    world.receive(1, 16);
    world.pass(2000);
    let drained = world.ends[0].told().filter(|event| matches!(event, PeerEvent::ChannelDrained { .. })).count();
    assert_eq!((drained, buffered.bytes()), (1, 0));
}

#[test]
fn either_end_may_close_a_channel_after_its_last_message() {
    for closer in [0, 1] {
        let mut world = world(&["chat"]);
        world.both_open(1);
        let channel = world.ends[closer].channel();
        let End { connection, news, .. } = &mut world.ends[closer];
        connection.send_message(channel, DataMessage::text("bye"), news);
        connection.close_channel(channel, news);
        world.until(LIMIT, |world| world.ends.iter().all(|end| end.closed() == 1));
        assert_eq!(world.ends[1 - closer].messages()[0].0, DataMessage::text("bye"));
        // and another can be opened
        let again = ChannelId::next();
        let End { connection, news, .. } = &mut world.ends[closer];
        connection.open_channel(again, NewChannel { ordered: false, ..NewChannel::labelled("again") }, news);
        world.both_open(2);
        assert_eq!(world.ends[closer].opened()[1].0, again);
        let theirs = world.ends[1 - closer].opened().remove(1);
        assert_eq!((theirs.1.as_str(), theirs.2), ("again", false));
    }
}

#[test]
fn channels_end_before_the_connection_does() {
    let mut world = world(&["one", "two"]);
    world.both_open(2);
    let closed = world.now;
    assert!(world.ends[0].connection.begin_close(world.now, Duration::from_secs(1)));
    world.until(LIMIT, |world| world.ends[1].closed() == 2);
    assert_eq!(world.ends[1].down(), None, "channels first");
    world.until(LIMIT, |world| world.ends[0].down().is_some());
    assert!(world.now - closed <= Duration::from_millis(400), "{:?}", world.now - closed);
    let End { connection, out, .. } = &mut world.ends[0];
    connection.close(out);
    world.exchange();
    assert_eq!(world.ends[1].down(), Some(EndReason::Left));
}

#[test]
fn the_number_of_channels_is_bounded_on_both_sides() {
    let mut world = world(&[]);
    world.up();
    let End { connection, news, .. } = &mut world.ends[0];
    for _ in 0..DataSpec::MAX_CHANNELS + 1 {
        connection.open_channel(ChannelId::next(), NewChannel::labelled("x"), news);
    }
    let long = NewChannel::labelled("x".repeat(NewChannel::MAX_NAME + 1));
    connection.open_channel(ChannelId::next(), long, news);
    assert_eq!(world.ends[0].closed(), 2);
    world.both_open(DataSpec::MAX_CHANNELS);
    // one more by the second end is closed at once by the first
    let extra = ChannelId::next();
    let limit = world.now + LIMIT;
    world.ends[1].connection.engine.create_data_channel("extra", None).unwrap();
    assert_eq!(world.ends[1].closed(), 0);
    let End { connection, news, .. } = &mut world.ends[1];
    connection.open_channel(extra, NewChannel::labelled("x"), news);
    assert_eq!(world.ends[1].closed(), 1, "its own bound");
    while world.now < limit {
        world.step();
    }
    assert_eq!(world.ends[0].opened().len(), DataSpec::MAX_CHANNELS);
    assert!(world.ends.iter().all(|end| end.down().is_none()));
}

#[test]
fn sound_and_channels_share_a_connection_in_both_directions() {
    let layer = || {
        let id = LayerId { track: TrackId::next(), index: 0 };
        Arc::new(Layer::new(id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Nobody)))
    };
    let both = |open: &[&str]| PeerSpec {
        send: vec![SendTrack { layers: layer().into(), stream_label: "main".into() }],
        receive: Some(Receive { video: vec![], audio: true }),
        ..data(open)
    };
    let mut world = World::between(both(&["chat"]), both(&[]));
    world.both_open(1);
    world.up();
    for at in [0, 1] {
        assert_eq!(world.ends[at].connection.tracks().len(), 1);
        for n in 0..10u16 {
            let packet = MediaPacket { sequence: n, timestamp: u32::from(n) * 960, marker: false, payload: vec![7; 80].into() };
            let layer = world.ends[at].connection.sendings[0].layer.id();
            let frame = FramePackets { layer, key: true, packets: vec![packet], arrived: world.now };
            world.ends[at].play(world.now, &frame);
            world.pass(20);
        }
        let channel = world.ends[at].channel();
        world.ends[at].send(channel, DataMessage::text("hello"));
        assert_eq!(world.receive(1 - at, 1), [DataMessage::text("hello")]);
        assert_eq!(world.ends[1 - at].connection.figures().packets_received, 10);
    }
}

#[test]
fn a_far_end_without_gcm_gets_its_channels_too() {
    let mut world = world(&["chat"]);
    // the first, which is the DTLS client, knows what an old stack knows
    let first = &mut world.ends[0].connection;
    first.blueprint.profile = Profile::Only(Suite::Cm);
    first.rebuild(world.now).unwrap();
    world.both_open(1);
    assert_eq!(world.ends[1].connection.blueprint.profile, Profile::Only(Suite::Cm), "it fell back");
    let channel = world.ends[1].channel();
    world.ends[1].send(channel, DataMessage::text("hello"));
    assert_eq!(world.receive(0, 1), [DataMessage::text("hello")]);
}
