//! Two connections in simulated time, without sockets: one offers a layer, the other takes it.

use rand::{Rng, SeedableRng};

use super::*;
use crate::forward::{FramePackets, KeyframeRequest, Layers, MediaPacket};
use crate::peer::engine::Identity;
use crate::peer::mailbox::Mailbox;
use crate::peer::protect::Suite;
use crate::peer::reach::Reach;
use crate::peer::srtp::Profile;
use crate::peer::{PeerSpec, SendTrack};
use crate::vocab::{Codec, LayerId, Sdp, TrackFormat, TrackId};

mod adapting;
mod channels;
mod line;
mod links;
mod sending;

struct Nobody;
impl KeyframeRequest for Nobody {
    fn request(&self) {}
}

/// A connection at an address of its own, and what was heard of it.
struct End {
    connection: Connection,
    address: SocketAddr,
    out: Outbox,
    news: Vec<News>,
}

impl End {
    fn open(now: Instant, address: SocketAddr, spec: PeerSpec) -> (Self, Sdp) {
        let identity = Identity::generate(Reach { hosts: [address].into(), ..Reach::default() }, Suite::Gcm).unwrap();
        let (connection, sdp, _) = Connection::open(now, spec, &identity, &Mailbox::detached()).unwrap();
        (Self { connection, address, out: Outbox::default(), news: Vec::new() }, sdp)
    }

    fn drain(&mut self, now: Instant) {
        self.connection.drain(now, &mut self.out, &mut self.news);
    }

    fn play(&mut self, now: Instant, frame: &FramePackets) {
        self.connection.send_frame(now, 0, &Arc::new(frame.clone()), &mut self.out);
    }

    fn down(&self) -> Option<EndReason> {
        self.news.iter().find_map(|news| if let News::Down(reason) = news { Some(*reason) } else { None })
    }

    fn has(&self, wanted: fn(&News) -> bool) -> bool {
        self.news.iter().any(wanted)
    }
}

struct World {
    now: Instant,
    began: Instant,
    ends: [End; 2],
    /// Whether datagrams of each end arrive.
    connected: [bool; 2],
    /// Datagrams of DTLS that do not, by end: how many come before the next that is lost.
    lose: [Option<usize>; 2],
    /// Of all datagrams so many in a hundred do not, by this dice.
    loss: Option<(u32, rand::rngs::StdRng)>,
}

fn bare(connect_limit: Duration) -> PeerSpec {
    PeerSpec { peer: PeerId::next(), offer: None, send: Vec::new(), receive: None, data: None, connect_limit, own_port: false }
}

impl World {
    /// The first end offers a layer, the second takes it.
    fn new(connect_limit: Duration) -> Self {
        let id = LayerId { track: TrackId::next(), index: 0 };
        let layer = Arc::new(Layer::new(id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Nobody)));
        let send = vec![SendTrack { layers: layer.into(), stream_label: "main".into() }];
        let receive = Some(Receive { video: vec![], audio: true });
        Self::between(PeerSpec { send, ..bare(connect_limit) }, PeerSpec { receive, ..bare(connect_limit) })
    }

    /// The first end offers, the second answers.
    fn between(first: PeerSpec, second: PeerSpec) -> Self {
        Self::where_it_is_said(first, second, str::to_owned)
    }

    /// The same where the second gets other words than the first's.
    fn where_it_is_said(first: PeerSpec, second: PeerSpec, words: impl Fn(&str) -> String) -> Self {
        let now = Instant::now();
        let [one, two] = [1, 2].map(|host| SocketAddr::from(([127, 0, 0, host], 5000)));
        let (mut first, mut offer) = End::open(now, one, first);
        offer.text = words(&offer.text);
        let (second, answer) = End::open(now, two, PeerSpec { offer: Some(offer), ..second });
        assert!(matches!(first.connection.describe(now, &answer, &Mailbox::detached()), Described::Taken(_)));
        Self { now, began: now, ends: [first, second], connected: [true; 2], lose: [None; 2], loss: None }
    }

    fn age(&self) -> Duration {
        self.now - self.began
    }

    /// Moves time to the next timer of anyone still there, and then datagrams until nothing moves.
    fn step(&mut self) {
        let alive = self.ends.iter().filter(|end| end.down().is_none());
        let next = alive.map(|end| end.connection.next_timeout()).min().expect("somebody is there");
        self.now = next.max(self.now);
        self.ends.iter_mut().for_each(|end| end.connection.timeout(next));
        self.exchange();
    }

    /// The same where the way takes a moment: of two timers that are due together, that end's is first.
    fn step_from(&mut self, first: usize) {
        let alive = self.ends.iter().filter(|end| end.down().is_none());
        let next = alive.map(|end| end.connection.next_timeout()).min().expect("somebody is there");
        self.now = next.max(self.now);
        let due = self.ends.each_ref().map(|end| end.connection.next_timeout() <= next);
        for end in [first, 1 - first] {
            if due[end] {
                self.ends[end].connection.timeout(next);
            }
            self.exchange();
        }
    }

    fn exchange(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for from in 0..2 {
                self.ends[from].drain(self.now);
                let source = self.ends[from].address;
                for (_, to, datagram) in self.ends[from].out.take() {
                    if classify(&datagram) == Wire::Dtls
                        && let Some(left) = self.lose[from]
                    {
                        self.lose[from] = left.checked_sub(1);
                        if left == 0 {
                            continue;
                        }
                    }
                    if let Some((percent, dice)) = &mut self.loss
                        && dice.random_range(0..100) < *percent
                    {
                        continue;
                    }
                    let other = &mut self.ends[1 - from];
                    if self.connected[from] && to == other.address {
                        other.connection.datagram(self.now, to, source, &datagram);
                        moved = true;
                    }
                }
            }
        }
    }

    fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now <= end, "not within {limit:?}");
            self.step();
        }
    }

    fn up(&mut self) {
        self.until(Duration::from_secs(5), |world| world.ends.iter().all(|end| end.has(|news| matches!(news, News::Ready))));
    }
}

/// RFC 6347 §4.2.4: whichever datagram of a handshake is lost, it is sent again.
#[test]
fn a_lost_datagram_of_the_handshake_delays_it_and_no_more() {
    for (end, number, first) in (0..2).flat_map(|end| (0..6).flat_map(move |number| [(end, number, 0), (end, number, 1)])) {
        let mut world = World::new(Duration::from_secs(30));
        world.lose[end] = Some(number);
        let up = |world: &World| world.ends.iter().all(|end| end.has(|news| matches!(news, News::Ready)));
        let limit = world.now + Duration::from_secs(10);
        while !up(&world) && world.now < limit {
            world.step_from(first);
        }
        assert!(
            up(&world),
            "datagram {number} of end {end} was lost, {first} is first: {:?}",
            world.ends.each_ref().map(|end| &end.news)
        );
    }
}

/// One datagram in twenty is lost, checks as well. `HANDSHAKES` says how many are tried, `LOSS` how many in a hundred are lost.
#[test]
fn a_lossy_way_ends_no_handshake() {
    let number = |name: &str| std::env::var(name).ok().and_then(|count| count.parse::<u32>().ok());
    let (count, loss) = (number("HANDSHAKES").unwrap_or(200), number("LOSS").unwrap_or(5));
    for seed in 0..count {
        let mut world = World::new(Duration::from_secs(30));
        world.loss = Some((loss, rand::rngs::StdRng::seed_from_u64(u64::from(seed))));
        let up = |world: &World| world.ends.iter().all(|end| end.has(|news| matches!(news, News::Ready)));
        let limit = world.now + LIMIT;
        while !up(&world) && world.now < limit {
            world.step_from(usize::from(seed % 2 == 1));
        }
        assert!(up(&world), "seed {seed}: {:?}", world.ends.each_ref().map(|end| &end.news));
    }
}

const LIMIT: Duration = Duration::from_secs(15);

#[test]
fn one_that_falls_silent_is_lost_after_the_limit() {
    let mut world = World::new(LIMIT);
    world.up();
    // checks alone keep it
    world.until(Duration::from_secs(61), |world| world.age() > Duration::from_secs(60));
    assert!(world.ends.iter().all(|end| end.down().is_none()));
    // the second goes on sending, but hears nothing of the first
    world.connected = [false, true];
    let cut = world.now;
    world.until(SILENCE_LIMIT * 2, |world| world.ends[1].down().is_some());
    assert_eq!(world.ends[1].down(), Some(EndReason::Lost));
    let silent = world.now - world.ends[1].connection.heard;
    assert!(silent >= SILENCE_LIMIT && silent < SILENCE_LIMIT + Duration::from_millis(10), "{silent:?}");
    assert!(world.now - cut <= SILENCE_LIMIT + Duration::from_millis(10));
    assert_eq!(world.ends[0].down(), None, "the first hears the second's checks");
}

#[test]
fn a_short_silence_is_forgiven() {
    let mut world = World::new(LIMIT);
    world.up();
    for _ in 0..3 {
        world.connected = [false; 2];
        let cut = world.now;
        world.until(SILENCE_LIMIT, |world| world.now >= cut + Duration::from_secs(5));
        world.connected = [true; 2];
        let back = world.now;
        world.until(SILENCE_LIMIT * 2, |world| world.now >= back + Duration::from_secs(10));
    }
    assert!(world.ends.iter().all(|end| end.down().is_none()));
}

#[test]
fn one_that_never_answers_is_given_up_at_its_limit() {
    let mut world = World::new(LIMIT);
    world.connected = [false; 2];
    world.until(LIMIT * 2, |world| world.ends.iter().all(|end| end.down().is_some()));
    assert!(world.ends.iter().all(|end| end.down() == Some(EndReason::NeverConnected)));
    assert!(world.age() >= LIMIT && world.age() < LIMIT + Duration::from_millis(10));
}

/// A pull takes what the far end has, as long as it can be forwarded.
#[test]
fn a_pull_proposes_everything_and_the_far_end_chooses() {
    let video = [Codec::H264, Codec::VP8, Codec::VP9, Codec::AV1];
    let plain = [Codec::VP8, Codec::VP9, Codec::AV1].map(TrackFormat::plain);
    for format in plain.into_iter().chain([TrackFormat::h264_baseline(), TrackFormat::h264_high()]) {
        let id = LayerId { track: TrackId::next(), index: 0 };
        let layer = Arc::new(Layer::new(id, format.clone(), Refresh::OnRequest, Box::new(Nobody)));
        let send = vec![SendTrack { layers: layer.into(), stream_label: "main".into() }];
        let receive = Some(Receive { video: video.to_vec(), audio: true });
        let mut world = World::between(PeerSpec { receive, ..bare(LIMIT) }, PeerSpec { send, ..bare(LIMIT) });
        let tracks = world.ends[0].connection.tracks();
        assert_eq!(tracks.len(), 1, "it has no sound");
        assert_eq!(*tracks[0].layers.format(), format);
        world.up();
    }
}

/// Somebody may have to pick up.
#[test]
fn an_own_offer_waits_two_minutes_for_its_answer() {
    let limit = Duration::from_secs(15);
    let id = LayerId { track: TrackId::next(), index: 0 };
    let layer = Arc::new(Layer::new(id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Nobody)));
    let began = Instant::now();
    let open = || {
        let send = vec![SendTrack { layers: Arc::clone(&layer).into(), stream_label: "main".into() }];
        End::open(began, SocketAddr::from(([127, 0, 0, 1], 5000)), PeerSpec { send, ..bare(limit) })
    };
    let given_up = |end: &mut End, from: Instant| {
        let mut now = from;
        while end.down().is_none() {
            now = now.max(end.connection.next_timeout());
            end.connection.timeout(now);
            end.drain(now);
        }
        assert_eq!(end.down(), Some(EndReason::NeverConnected));
        now - from
    };
    let (mut ringing, _) = open();
    assert_eq!(given_up(&mut ringing, began), Duration::from_secs(120));
    // once it is answered, it has as long as any other
    let (mut taken, offer) = open();
    let receive = Some(Receive { video: vec![], audio: true });
    let spec = PeerSpec { offer: Some(offer), receive, ..bare(limit) };
    let (_far, answer) = End::open(began, SocketAddr::from(([127, 0, 0, 2], 5000)), spec);
    let later = began + Duration::from_secs(100);
    assert!(matches!(taken.connection.describe(later, &answer, &Mailbox::detached()), Described::Taken(_)));
    assert_eq!(given_up(&mut taken, later), limit);
}

#[test]
fn a_goodbye_is_told_at_once() {
    let mut world = World::new(LIMIT);
    world.up();
    let End { connection, out, .. } = &mut world.ends[0];
    connection.close(out);
    let closed = world.now;
    let datagrams = world.ends[0].out.take();
    let source = world.ends[0].address;
    let other = &mut world.ends[1];
    for (_, to, datagram) in &datagrams {
        other.connection.datagram(closed, *to, source, datagram);
    }
    other.drain(closed);
    assert_eq!(other.down(), Some(EndReason::Left));
}

#[test]
fn media_arrives_in_simulated_time() {
    let mut world = World::new(LIMIT);
    world.up();
    for n in 0..50u16 {
        let packet = MediaPacket { sequence: n, timestamp: u32::from(n) * 960, marker: false, payload: vec![7; 80].into() };
        let layer = world.ends[0].connection.sendings[0].layer.id();
        let frame = FramePackets { layer, key: true, packets: vec![packet], arrived: world.now };
        world.ends[0].play(world.now, &frame);
        let next = world.now + Duration::from_millis(20);
        world.until(Duration::from_secs(1), |world| world.now >= next);
    }
    let received = world.ends[1].connection.figures();
    assert_eq!((received.packets_received, received.packets_lost, received.bytes_received), (50, 0, 4000));
}

/// What Portico offers to a client that knows only its offers: sections held for what may come, which take what the client has.
fn takes_all() -> PeerSpec {
    let slot = |format| SendTrack { layers: Arc::new(Layer::idle(format)).into(), stream_label: "main".into() };
    let send = [TrackFormat::h264_baseline(), TrackFormat::plain(Codec::Opus)].map(slot).into();
    PeerSpec { send, receive: Some(Receive { video: vec![Codec::H264, Codec::VP8], audio: true }), ..bare(LIMIT) }
}

#[test]
fn an_own_offer_has_sound_first_and_both_codecs_for_what_it_takes() {
    let (_, offer) = End::open(Instant::now(), SocketAddr::from(([127, 0, 0, 1], 5000)), takes_all());
    let media: Vec<&str> = offer.text.lines().filter(|line| line.starts_with("m=")).collect();
    assert!(media[0].starts_with("m=audio 9 "), "{media:?}");
    assert_eq!(media[1..], ["m=video 9 UDP/TLS/RTP/SAVPF 102 103 104 105"]);
    for line in ["a=rtpmap:102 H264/90000", "a=rtpmap:104 VP8/90000", "a=fmtp:105 apt=104", "a=rtcp-fb:104 nack pli"] {
        assert!(offer.text.lines().any(|other| other == line), "{line} in {}", offer.text);
    }
    let only_sends = PeerSpec { receive: None, ..takes_all() };
    let (_, offer) = End::open(Instant::now(), SocketAddr::from(([127, 0, 0, 1], 5000)), only_sends);
    assert!(!offer.text.contains("VP8"), "what is sent has one codec");
}

/// `useinbandfec` is what a receiver asks for (RFC 7587 §6.1): both sides say it, whoever offers.
#[test]
fn sound_that_mends_itself_is_asked_for_in_offers_and_answers() {
    let first = PeerSpec { receive: Some(Receive { video: vec![], audio: true }), ..bare(LIMIT) };
    let (_, offer) = End::open(Instant::now(), SocketAddr::from(([127, 0, 0, 1], 5000)), first);
    let second = PeerSpec { offer: Some(offer.clone()), send: vec![opus_track()], ..bare(LIMIT) };
    let (_, answer) = End::open(Instant::now(), SocketAddr::from(([127, 0, 0, 2], 5000)), second);
    for text in [offer.text, answer.text] {
        assert!(text.lines().any(|line| line.starts_with("a=fmtp:") && line.contains("useinbandfec=1")), "{text}");
    }
}

fn opus_track() -> SendTrack {
    let id = LayerId { track: TrackId::next(), index: 0 };
    let layer = Arc::new(Layer::new(id, TrackFormat::opus(), Refresh::Always, Box::new(Nobody)));
    SendTrack { layers: layer.into(), stream_label: "main".into() }
}

/// A far end without H264, and without GCM: the engine is built anew after its answer.
#[test]
fn a_refused_section_keeps_its_place_when_the_engine_is_built_anew() {
    let only_sends = PeerSpec { receive: None, ..takes_all() };
    let only_hears = PeerSpec { receive: Some(Receive { video: vec![], audio: true }), ..bare(LIMIT) };
    let mut world = World::between(only_sends, only_hears);
    let now = world.now;
    world.ends[0].connection.rebuild(now).expect("as the plan has it");
    world.up();
    let sends = world.ends[0].connection.sendings.iter().map(|sending| sending.active).collect::<Vec<_>>();
    assert_eq!(sends, [false, true], "picture is refused");
}

#[test]
fn the_answer_chooses_the_codec_of_what_portico_takes() {
    for theirs in [TrackFormat::h264_baseline(), TrackFormat::plain(Codec::VP8)] {
        let id = LayerId { track: TrackId::next(), index: 0 };
        let layer = Arc::new(Layer::new(id, theirs.clone(), Refresh::Always, Box::new(Nobody)));
        let brings = PeerSpec { send: vec![SendTrack { layers: layer.into(), stream_label: "own".into() }], ..bare(LIMIT) };
        let mut world = World::between(takes_all(), brings);
        world.up();
        for n in 0..10u16 {
            let packet =
                MediaPacket { sequence: n, timestamp: u32::from(n) * 3000, marker: true, payload: vec![0x65; 80].into() };
            let frame = FramePackets { layer: id, key: true, packets: vec![packet], arrived: world.now };
            world.ends[1].play(world.now, &frame);
            let next = world.now + Duration::from_millis(33);
            world.until(Duration::from_secs(1), |world| world.now >= next);
        }
        let taken = &mut world.ends[0].connection;
        assert_eq!(taken.figures().packets_received, 10, "{theirs:?}");
        let codecs: Vec<Codec> = taken.tracks().iter().map(|track| track.layers.format().codec).collect();
        assert_eq!(codecs, [theirs.codec]);
    }
}

/// A far end on a busy machine installs its keys late, and the first packet of all is the key picture's.
#[test]
fn a_far_end_that_is_slow_in_the_handshake_gets_time_before_the_first_packet() {
    let delay = |turn: u64| {
        let mut world = World::new(LIMIT);
        let is_up = |end: &End| end.has(|news| matches!(news, News::Up));
        let mut since = None;
        while !world.ends[0].has(|news| matches!(news, News::Ready)) {
            if !is_up(&world.ends[0]) {
                world.ends[0].connection.turn = Duration::from_millis(turn);
            }
            world.step();
            if is_up(&world.ends[0]) {
                since.get_or_insert(world.now);
            }
        }
        world.now - since.unwrap()
    };
    let [quick, slow, slowest] = [1, 60, 5000].map(delay);
    assert_eq!((quick, slow, slowest), (START_DELAY.0, Duration::from_millis(120), START_DELAY.1));
}
