//! A viewer at the end of a narrow way, in simulated time: real engines, real feedback, a bottleneck between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::forward::{FrameSink, Offered, SinkId};
use crate::peer::demux::{Wire, classify};

const MS: Duration = Duration::from_millis(1);
/// Frames of 33 ms.
const FRAME: u32 = 33;
/// What the bottleneck's queue holds.
const QUEUE: Duration = Duration::from_millis(300);
const DELAY: Duration = Duration::from_millis(15);

#[derive(Default)]
struct Wanted(AtomicBool);
impl KeyframeRequest for Arc<Wanted> {
    fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One layer of a publisher.
pub(super) struct Encoding {
    pub(super) layer: Arc<Layer>,
    wanted: Arc<Wanted>,
    pub(super) rate: usize,
    sequence: u16,
    number: u32,
}

impl Encoding {
    pub(super) fn new(track: TrackId, index: u8, rate: usize) -> Self {
        let wanted = Arc::new(Wanted::default());
        let id = LayerId { track, index };
        let layer = Arc::new(Layer::new(id, TrackFormat::h264_baseline(), Refresh::OnRequest, Box::new(Arc::clone(&wanted))));
        // every encoder counts from somewhere else
        Self { layer, wanted, rate, sequence: u16::from(index) * 20_000, number: u32::from(index) * 1_000_000 }
    }

    pub(super) fn frame(&mut self, now: Instant) -> FramePackets {
        let key = self.wanted.0.swap(false, Ordering::Relaxed) || self.number.is_multiple_of(1_000_000);
        self.number += 1;
        let bytes = self.rate * FRAME as usize / 8000 * if key { 3 } else { 1 };
        let count = bytes.div_ceil(1100);
        let packets = (0..count)
            .map(|n| {
                self.sequence = self.sequence.wrapping_add(1);
                let mut payload = vec![self.layer.id().index; bytes / count];
                payload[0] = if key { 0x65 } else { 0x41 };
                let timestamp = self.number.wrapping_mul(90 * FRAME);
                MediaPacket { sequence: self.sequence, timestamp, marker: n + 1 == count, payload: payload.into() }
            })
            .collect();
        FramePackets { layer: self.layer.id(), key, packets, arrived: now }
    }
}

/// What the viewer sees: which layer, key frame or not, and the numbers of the packets. Probes bring packets again that were there already:
/// those are left out.
#[derive(Default)]
struct Seen(Mutex<Vec<(u8, bool, Vec<u16>)>>);
impl FrameSink for Seen {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        let mut seen = self.0.lock().unwrap();
        let newest = seen.last().and_then(|(.., numbers)| numbers.last().copied());
        let ahead = |number: &u16| newest.is_none_or(|newest| (number.wrapping_sub(newest) as i16) > 0);
        let numbers: Vec<u16> = frame.packets.iter().map(|packet| packet.sequence).filter(ahead).collect();
        if !numbers.is_empty() {
            seen.push((frame.packets[0].payload[1], frame.key, numbers));
        }
        Offered::Taken
    }
}

struct Scene {
    world: World,
    encodings: Vec<Encoding>,
    /// Layers the viewer is attached to.
    attached: Vec<LayerId>,
    capacity: u64,
    free_at: Instant,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    seen: Arc<Seen>,
    ticks: u32,
    dropped: usize,
    numbered: usize,
}

impl Scene {
    fn new(rates: &[usize], capacity: u64) -> Self {
        Self::between(rates, capacity, false)
    }

    fn between(rates: &[usize], capacity: u64, viewer_offers: bool) -> Self {
        let track = TrackId::next();
        let encodings: Vec<Encoding> = (0..).zip(rates).map(|(index, rate)| Encoding::new(track, index, *rate)).collect();
        let layers = Layers::new(encodings.iter().map(|encoding| Arc::clone(&encoding.layer)).collect()).unwrap();
        let send = vec![SendTrack { layers, stream_label: "main".into() }];
        let receive = Some(Receive { video: vec![Codec::H264], audio: false });
        let (publisher, viewer) = (PeerSpec { send, ..bare(LIMIT) }, PeerSpec { receive, ..bare(LIMIT) });
        let world = if viewer_offers { World::between(viewer, publisher) } else { World::between(publisher, viewer) };
        Self::of(world, encodings, capacity)
    }

    fn of(mut world: World, encodings: Vec<Encoding>, capacity: u64) -> Self {
        world.ends.sort_by_key(|end| end.connection.tracks().len());
        world.up();
        let seen = Arc::new(Seen::default());
        world.ends[1].connection.tracks()[0].layers.first().attach(SinkId(0), seen.clone());
        let free_at = world.now;
        let mut scene = Self {
            world,
            encodings,
            attached: Vec::new(),
            capacity,
            free_at,
            under_way: VecDeque::new(),
            seen,
            ticks: 0,
            dropped: 0,
            numbered: 0,
        };
        scene.attach();
        scene
    }

    /// What a shard does when layers change.
    fn attach(&mut self) {
        let end = &mut self.world.ends[0];
        let wanted: Vec<Arc<Layer>> = end.connection.layers().map(|(_, layer)| Arc::clone(layer)).collect();
        let before = std::mem::replace(&mut self.attached, wanted.iter().map(|layer| layer.id()).collect());
        for layer in wanted.iter().filter(|layer| !before.contains(&layer.id())) {
            end.connection.start_layer(self.world.now, 0, layer, &mut end.out);
        }
    }

    fn tick(&mut self) {
        self.world.now += MS;
        self.ticks += 1;
        let now = self.world.now;
        for end in &mut self.world.ends {
            if end.connection.next_timeout() <= now {
                end.connection.timeout(now);
            }
        }
        if self.ticks.is_multiple_of(FRAME) {
            for encoding in &mut self.encodings {
                let frame = encoding.frame(now);
                encoding.layer.write(frame.clone());
                if self.attached.contains(&frame.layer) {
                    self.world.ends[0].play(now, &frame);
                }
            }
        }
        while self.under_way.front().is_some_and(|(at, _)| *at <= now) {
            let (_, datagram) = self.under_way.pop_front().unwrap();
            let (from, to) = (self.world.ends[0].address, self.world.ends[1].address);
            self.world.ends[1].connection.datagram(now, to, from, &datagram);
        }
        for from in 0..2 {
            self.world.ends[from].drain(now);
            for (_, _, datagram) in self.world.ends[from].out.take() {
                let media = classify(&datagram) == Wire::Rtp && datagram[1] & 0x7f >= 96;
                if from == 1 || !media {
                    let (to, source) = (self.world.ends[1 - from].address, self.world.ends[from].address);
                    self.world.ends[1 - from].connection.datagram(now, to, source, &datagram);
                    continue;
                }
                self.numbered += usize::from(datagram[0] & 0x10 != 0);
                self.free_at = self.free_at.max(now);
                if self.free_at - now > QUEUE {
                    self.dropped += 1;
                    continue;
                }
                self.free_at += Duration::from_secs_f64((datagram.len() + 28) as f64 * 8.0 / self.capacity as f64);
                self.under_way.push_back((self.free_at + DELAY, datagram));
            }
        }
        for news in std::mem::take(&mut self.world.ends[0].news) {
            match news {
                News::Ready => self.attach(),
                News::Down(reason) => panic!("down: {reason}"),
                _ => {}
            }
        }
    }

    /// Layers that the viewer saw in the last second of so many, with how many frames of each.
    fn after(&mut self, seconds: u32) -> BTreeMap<u8, usize> {
        for second in 0..seconds {
            if second + 1 == seconds {
                let mut seen = self.seen.0.lock().unwrap();
                let last = seen.len().saturating_sub(1);
                *seen = seen.split_off(last);
            }
            (0..1000).for_each(|_| self.tick());
        }
        // the first is from before
        let seen = self.seen.0.lock().unwrap();
        seen.iter().skip(1).fold(BTreeMap::new(), |mut counts, (index, ..)| {
            *counts.entry(*index).or_default() += 1;
            counts
        })
    }

    fn shows(&mut self, seconds: u32) -> Option<u8> {
        let counts = self.after(seconds);
        counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count >= 20).map(|(index, _)| index)
    }
}

const LAYERS: [usize; 3] = [150_000, 600_000, 2_500_000];

#[test]
fn a_viewer_gets_the_layer_its_way_carries() {
    let mut scene = Scene::new(&LAYERS, 20_000_000);
    assert_eq!(scene.shows(4), Some(2), "a wide way");
    scene.capacity = 1_000_000;
    assert_eq!(scene.shows(6), Some(1), "narrow");
    scene.capacity = 300_000;
    assert_eq!(scene.shows(8), Some(0), "narrower");
    let estimate = scene.world.ends[0].connection.figures().estimate_bps.unwrap();
    assert!((150_000..=345_000).contains(&estimate), "{estimate}");
    scene.capacity = 20_000_000;
    assert_eq!(scene.shows(12), Some(2), "wide again");
}

#[test]
fn so_does_one_that_offers() {
    let mut scene = Scene::between(&LAYERS, 1_000_000, true);
    assert_eq!(scene.shows(4), Some(1));
    assert!(scene.numbered > 0);
}

/// aiortc and GStreamer know nothing of transport-wide numbers.
#[test]
fn one_that_knows_no_numbers_is_judged_by_its_reports() {
    let track = TrackId::next();
    let encodings: Vec<Encoding> = (0..).zip(LAYERS).map(|(index, rate)| Encoding::new(track, index, rate)).collect();
    let layers = Layers::new(encodings.iter().map(|encoding| Arc::clone(&encoding.layer)).collect()).unwrap();
    let send = vec![SendTrack { layers, stream_label: "main".into() }];
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let plain = |text: &str| {
        let known = |line: &&str| !line.contains("transport-cc") && !line.contains("transport-wide");
        text.lines().filter(known).flat_map(|line| [line, "\r\n"]).collect::<String>()
    };
    let world = World::where_it_is_said(PeerSpec { send, ..bare(LIMIT) }, PeerSpec { receive, ..bare(LIMIT) }, plain);
    let mut scene = Scene::of(world, encodings, 20_000_000);
    assert_eq!(scene.shows(4), Some(2));
    scene.capacity = 1_000_000;
    assert!(scene.shows(8).is_some_and(|layer| layer < 2));
    scene.capacity = 20_000_000;
    assert_eq!(scene.shows(120), Some(2));
    assert_eq!(scene.numbered, 0);
}

#[test]
fn a_switch_begins_with_a_key_frame_and_leaves_no_gap() {
    let mut scene = Scene::new(&LAYERS, 20_000_000);
    (0..4000).for_each(|_| scene.tick());
    assert_eq!(scene.dropped, 0);
    let seen = scene.seen.0.lock().unwrap();
    let numbers: Vec<u16> = seen.iter().flat_map(|(.., numbers)| numbers.iter().copied()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "a gap");
    let switches: Vec<_> = seen.windows(2).filter(|pair| pair[0].0 != pair[1].0).collect();
    assert!(!switches.is_empty() && switches.len() <= 2, "one layer after the other");
    assert!(switches.iter().all(|pair| pair[1].1), "not with a key frame");
    // every frame since the first that could be: a layer is shown until the next begins
    assert!(seen.len() >= 4000 / FRAME as usize - 8, "{}", seen.len());
}

#[test]
fn the_picture_pauses_where_nothing_fits_and_comes_back() {
    let mut scene = Scene::new(&LAYERS, 1_000_000);
    assert_eq!(scene.shows(4), Some(1));
    scene.capacity = 60_000;
    assert_eq!(scene.after(20), BTreeMap::new());
    assert!(scene.world.ends[0].connection.figures().paused);
    scene.capacity = 1_000_000;
    assert_eq!(scene.shows(25), Some(1));
    assert!(!scene.world.ends[0].connection.figures().paused);
}

#[test]
fn one_layer_is_numbered_only_while_there_is_trouble() {
    let mut scene = Scene::new(&[600_000], 20_000_000);
    assert_eq!(scene.shows(5), Some(0));
    assert_eq!(scene.numbered, 0);
    // far too narrow: what is sent is lost, and then it is not sent
    scene.capacity = 100_000;
    assert_eq!(scene.after(20), BTreeMap::new());
    assert!(scene.numbered > 0 && scene.world.ends[0].connection.figures().paused);
    scene.capacity = 20_000_000;
    assert_eq!(scene.shows(30), Some(0));
    scene.after(90);
    let before = scene.numbered;
    assert_eq!(scene.shows(5), Some(0));
    assert_eq!(scene.numbered, before);
}
