//! Viewers and publishers at the ends of bad lines, in simulated time: real connections, each with its engine, its reports and its
//! questions, and a network of `line` in both directions.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::adapting::Encoding;
use super::line::{Line, Way};
use super::*;
use crate::forward::{Appetite, FrameSink, Offered, SinkId};

mod player;

use player::{Player, Watched};

const MS: Duration = Duration::from_millis(1);
/// From one frame to the next.
const FRAME: Duration = Duration::from_millis(33);
const LAYERS: [usize; 3] = [150_000, 600_000, 2_500_000];

/// What is encoded.
struct Studio {
    encodings: Vec<Encoding>,
    layers: Layers,
    /// There is one encoder, which gives what the viewers' ways carry.
    follows: bool,
}

impl Studio {
    fn new(rates: &[usize]) -> Self {
        let track = TrackId::next();
        let encodings: Vec<Encoding> = (0..).zip(rates).map(|(index, rate)| Encoding::new(track, index, *rate)).collect();
        let layers = Layers::new(encodings.iter().map(|encoding| Arc::clone(&encoding.layer)).collect()).unwrap();
        Self { encodings, layers, follows: false }
    }

    /// One encoder that follows, with that rate where nothing is in the way.
    fn following(ceiling: usize) -> Self {
        let studio = Self::new(&[ceiling]);
        Self { layers: studio.layers.with_appetite(Appetite::new(ceiling as u64)), follows: true, ..studio }
    }

    fn follow(&mut self) {
        let Some(appetite) = self.layers.appetite().filter(|_| self.follows) else { return };
        let told = appetite.told().into_iter().min().unwrap_or(u64::MAX);
        self.encodings[0].rate = told.clamp(100_000, appetite.ceiling()) as usize;
    }
}

/// A viewer: the gateway's end, the far end, a line there and one back.
struct Link {
    ends: [End; 2],
    lines: [Line; 2],
    attached: Vec<LayerId>,
    player: Arc<Player>,
    /// Bytes of media sent in each second.
    sent: Vec<usize>,
    /// Most frames that ever waited to be sent.
    backlog: usize,
}

impl Link {
    fn new(studio: &Studio, ways: [Way; 2], seed: u64) -> (Self, Instant) {
        let send = vec![SendTrack { layers: studio.layers.clone(), stream_label: "main".into() }];
        let receive = Some(Receive { video: vec![Codec::H264], audio: false });
        let mut world = World::between(PeerSpec { send, ..bare(LIMIT) }, PeerSpec { receive, ..bare(LIMIT) });
        world.up();
        let player = Arc::new(Player::default());
        world.ends[1].connection.tracks()[0].layers.first().attach(SinkId(0), player.clone());
        let [there, back] = ways;
        let lines = [Line::new(there, 2 * seed), Line::new(back, 2 * seed + 1)];
        (Self { ends: world.ends, lines, attached: Vec::new(), player, sent: Vec::new(), backlog: 0 }, world.now)
    }

    /// What a shard does when layers change.
    fn attach(&mut self, now: Instant) {
        let end = &mut self.ends[0];
        let wanted: Vec<Arc<Layer>> = end.connection.layers().map(|(_, layer)| Arc::clone(layer)).collect();
        let before = std::mem::replace(&mut self.attached, wanted.iter().map(|layer| layer.id()).collect());
        for layer in wanted.iter().filter(|layer| !before.contains(&layer.id())) {
            end.connection.start_layer(now, 0, layer, &mut end.out);
        }
    }

    fn tick(&mut self, now: Instant, second: usize) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (source, local) = (self.ends[from].address, self.ends[to].address);
            while let Some(datagram) = self.lines[from].arrived(now) {
                self.ends[to].connection.datagram(now, local, source, &datagram);
            }
        }
        if self.player.wants_key(now) {
            let layer = self.ends[1].connection.tracks()[0].layers.first().id();
            self.ends[1].connection.request_key(now, layer);
        }
        self.sent.resize(second + 1, 0);
        for from in 0..2 {
            let end = &mut self.ends[from];
            if end.connection.next_timeout() <= now {
                end.connection.timeout(now);
            }
            end.drain(now);
            for (_, _, datagram) in end.out.take() {
                if from == 0 && classify(&datagram) == Wire::Rtp && datagram[1] & 0x7f >= 96 {
                    self.sent[second] += datagram.len() + 28;
                }
                self.lines[from].send(now, datagram);
            }
        }
        self.backlog = self.backlog.max(self.ends[0].connection.sendings[0].backlog.len());
        for news in std::mem::take(&mut self.ends[0].news) {
            match news {
                News::Ready => self.attach(now),
                News::Down(reason) => panic!("down: {reason}"),
                _ => {}
            }
        }
    }

    fn estimate(&mut self) -> Option<u64> {
        self.ends[0].connection.figures().estimate_bps
    }

    fn narrow(&mut self, rate: Option<u64>) {
        self.lines[0].way.rate = rate;
    }
}

/// A room with viewers.
struct Show {
    began: Instant,
    now: Instant,
    studio: Studio,
    links: Vec<Link>,
    next_frame: Instant,
}

impl Show {
    /// Each viewer with what its line does there and back.
    fn new(studio: Studio, ways: &[[Way; 2]], seed: u64) -> Self {
        let link = |(number, ways): (u64, &[Way; 2])| Link::new(&studio, *ways, 1000 * seed + number);
        let (links, times): (Vec<Link>, Vec<Instant>) = (0..).zip(ways).map(link).unzip();
        let now = times.into_iter().max().expect("a viewer");
        let mut show = Self { began: now, now, studio, links, next_frame: now };
        show.links.iter_mut().for_each(|link| link.attach(now));
        show
    }

    fn second(&self) -> usize {
        (self.now - self.began).as_secs() as usize
    }

    fn tick(&mut self) {
        self.now += MS;
        let (now, second) = (self.now, self.second());
        if now >= self.next_frame {
            self.next_frame += FRAME;
            self.studio.follow();
            for encoding in &mut self.studio.encodings {
                let frame = encoding.frame(now);
                encoding.layer.write(frame.clone());
                for link in self.links.iter_mut().filter(|link| link.attached.contains(&frame.layer)) {
                    link.ends[0].play(now, &frame);
                }
            }
        }
        self.links.iter_mut().for_each(|link| link.tick(now, second));
    }

    fn go_on(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
        }
    }

    /// The estimates of a viewer, one a second.
    fn estimates(&mut self, link: usize, seconds: u32) -> Vec<u64> {
        let look = |_| {
            self.go_on(Duration::from_secs(1));
            self.links[link].estimate().unwrap_or(0)
        };
        (0..seconds).map(look).collect()
    }

    /// What a viewer saw in that time.
    fn watch(&mut self, link: usize, time: Duration) -> Watched {
        let from = self.now;
        self.go_on(time);
        self.links[link].player.watched(from, self.now)
    }
}

fn there_and_back(way: Way) -> [Way; 2] {
    [way, Way { rate: None, ..way }]
}

/// Whether it is within 15 %.
fn near(estimate: u64, rate: u64) -> bool {
    estimate.abs_diff(rate) * 100 <= rate * 15
}

const WIDE: u64 = 5_000_000;
const NARROW: u64 = 1_000_000;

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// What the controller believes goes up until a queue stands, and down by 15 %: so the mean of five seconds counts.
#[test]
fn a_bottleneck_is_found_within_ten_seconds_and_left_within_ten() {
    for (seed, follows) in (0..3).flat_map(|seed| [(seed, false), (seed, true)]) {
        let studio = if follows { Studio::following(2_500_000) } else { Studio::new(&LAYERS) };
        let mut show = Show::new(studio, &[there_and_back(Way { jitter: 5 * MS, ..Way::narrow(WIDE) })], seed);
        show.go_on(Duration::from_secs(10));
        show.links[0].narrow(Some(NARROW));
        let first = show.estimates(0, 10);
        let line = &mut show.links[0].lines[0];
        (line.longest, line.dropped) = (Duration::ZERO, 0);
        let found = show.estimates(0, 5);
        let narrow = show.watch(0, Duration::from_secs(5));
        let queue = show.links[0].lines[0].longest;
        show.links[0].narrow(Some(WIDE));
        let left = show.estimates(0, 10);
        let wide = show.watch(0, Duration::from_secs(5));
        let backlog = show.links[0].backlog;
        let said = format!(
            "seed {seed}, follows {follows}: {first:?} {found:?} {narrow:?} queue {queue:?}, then {left:?} {wide:?}, {backlog}"
        );
        println!("{said}");
        assert!(near(mean(found.iter().map(|estimate| *estimate as f64)) as u64, NARROW), "{said}");
        assert!(narrow.frozen <= 0.05 && wide.frozen <= 0.05, "{said}");
        assert!(*left.last().unwrap() >= 2_500_000, "{said}");
        assert!(follows || wide.layer == Some(2), "{said}");
        assert!(backlog <= 15, "half a second waits: {said}");
    }
}

/// 100 ms each way, 30 ms more or less, so that packets overtake each other.
#[test]
fn losses_are_repaired_and_the_picture_goes_on() {
    for (loss, most, least_estimate) in [(0.0, 0.01, 600_000), (5.0, 0.07, 600_000), (15.0, 0.3, 100_000)] {
        let mut frozen = Vec::new();
        for (seed, follows) in (0..3).flat_map(|seed| [(seed, false), (seed, true)]) {
            let studio = if follows { Studio::following(1_000_000) } else { Studio::new(&LAYERS) };
            let mut show = Show::new(studio, &[there_and_back(Way::far(loss))], seed);
            let estimates = show.estimates(0, 10);
            let before = show.links[0].player.watched(show.began, show.now).given_up;
            let watched = show.watch(0, Duration::from_secs(20));
            let link = &mut show.links[0];
            let (figures, estimate) = (link.ends[0].connection.figures(), link.estimate());
            let given_up = watched.given_up - before;
            let asked = link.ends[1].connection.figures().nacked;
            let said =
                format!("{loss} %, seed {seed}, follows {follows}: {estimates:?} {watched:?} {given_up} {asked} {figures:?}");
            println!("{said}");
            assert!(estimate.is_none_or(|estimate| estimate >= least_estimate), "{said}");
            assert!(given_up * 100 <= figures.packets_sent * 2, "{said}");
            assert!(link.backlog <= 15, "{said}");
            // of what only overtook, next to nothing is asked for
            assert!(asked as f64 <= figures.packets_sent as f64 * (0.04 + 3.0 * loss / 100.0), "{said}");
            assert!(watched.pictures >= 200, "{said}");
            frozen.push(watched.frozen);
        }
        assert!(mean(frozen.iter().copied()) <= most, "{loss} %: {frozen:?}");
    }
}

#[test]
fn each_of_two_viewers_gets_what_fits() {
    for (rates, fits) in [(LAYERS, 0), ([150_000, 350_000, 2_500_000], 1)] {
        let ways = [500_000, 20_000_000].map(|rate| there_and_back(Way::narrow(rate)));
        let mut show = Show::new(Studio::new(&rates), &ways, 1);
        show.go_on(Duration::from_secs(20));
        let begun = show.now;
        let narrow = show.watch(0, Duration::from_secs(20));
        let wide = show.links[1].player.watched(begun, show.now);
        assert_eq!((narrow.layer, wide.layer), (Some(fits), Some(2)), "{narrow:?} {wide:?}");
        assert!(narrow.frozen <= 0.05, "{narrow:?}");
        // what the first one's line loses never shows at the second
        let [first, second] = [0, 1].map(|link: usize| show.links[link].lines[0].dropped);
        assert!(first > 0 && second == 0, "{first} and {second} were dropped");
        assert_eq!((wide.frozen, wide.given_up), (0.0, 0), "{wide:?}");
    }
}
