//! A network in simulated time: one direction of a line that loses, delays and holds up datagrams, by dice with a seed. What it does to them
//! may change at any moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Bytes of IPv4 and UDP headers.
const OVERHEAD: usize = 28;

/// What a line does to datagrams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Way {
    /// Lost by chance, in percent.
    pub loss: f64,
    /// Time from the bottleneck to the other end.
    pub delay: Duration,
    /// It varies by so much in both directions: datagrams overtake each other, as with the kernel's `netem`.
    pub jitter: Duration,
    /// What the bottleneck carries, in bit/s; `None` without one.
    pub rate: Option<u64>,
    /// What waits before the bottleneck, in time; what finds it full is dropped.
    pub queue: Duration,
}

impl Way {
    /// Loses and delays nothing.
    pub const fn clear() -> Self {
        let none = Duration::ZERO;
        Self { loss: 0.0, delay: none, jitter: none, rate: None, queue: Duration::from_millis(300) }
    }

    /// Far: 100 ms one way, 30 ms more or less.
    pub const fn far(loss: f64) -> Self {
        let [delay, jitter] = [Duration::from_millis(100), Duration::from_millis(30)];
        Self { loss, delay, jitter, ..Self::clear() }
    }

    /// Through a bottleneck.
    pub const fn narrow(rate: u64) -> Self {
        Self { rate: Some(rate), delay: Duration::from_millis(25), ..Self::clear() }
    }
}

/// One direction of a line.
pub(super) struct Line {
    pub way: Way,
    dice: StdRng,
    free_at: Option<Instant>,
    /// By the time of arrival; the count keeps the order of those that arrive together.
    under_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    count: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Found the queue full.
    pub dropped: u64,
    /// The longest wait before the bottleneck.
    pub longest: Duration,
}

impl Line {
    pub fn new(way: Way, seed: u64) -> Self {
        Self {
            way,
            dice: StdRng::seed_from_u64(seed),
            free_at: None,
            under_way: BinaryHeap::new(),
            count: 0,
            lost: 0,
            dropped: 0,
            longest: Duration::ZERO,
        }
    }

    pub fn send(&mut self, now: Instant, datagram: Vec<u8>) {
        self.count += 1;
        let mut leaves = now;
        if let Some(rate) = self.way.rate {
            let free = self.free_at.unwrap_or(now).max(now);
            if free - now > self.way.queue {
                self.dropped += 1;
                return;
            }
            self.longest = self.longest.max(free - now);
            leaves = free + Duration::from_secs_f64((datagram.len() + OVERHEAD) as f64 * 8.0 / rate as f64);
            self.free_at = Some(leaves);
        }
        if self.dice.random_bool(self.way.loss / 100.0) {
            self.lost += 1;
            return;
        }
        let jitter = self.way.jitter.min(self.way.delay).as_micros() as u64;
        let varied = Duration::from_micros(self.dice.random_range(0..=2 * jitter));
        let arrives = leaves + self.way.delay + varied - Duration::from_micros(jitter);
        self.under_way.push(Reverse((arrives, self.count, datagram)));
    }

    /// What has arrived by now.
    pub fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next().filter(|next| *next <= now)?;
        self.under_way.pop().map(|Reverse((.., datagram))| datagram)
    }

    /// When the next arrives.
    pub fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }
}

/// Sends so many datagrams of 1000 bytes, one each 10 ms, and gives when each arrived, by its number.
fn arrivals(way: Way, seed: u64, count: u64) -> Vec<(u64, Duration)> {
    let (began, mut line) = (Instant::now(), Line::new(way, seed));
    for number in 0..count {
        let mut datagram = vec![0; 1000];
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        line.send(began + Duration::from_millis(10 * number), datagram);
    }
    let mut arrivals = Vec::new();
    while let Some(at) = line.next() {
        let datagram = line.arrived(at).unwrap();
        arrivals.push((u64::from_be_bytes(datagram[..8].try_into().unwrap()), at - began));
    }
    arrivals
}

#[test]
fn a_clear_line_changes_nothing() {
    let arrivals = arrivals(Way::clear(), 1, 100);
    assert!(arrivals.iter().enumerate().all(|(n, arrival)| *arrival == (n as u64, Duration::from_millis(10 * n as u64))));
    assert_eq!(arrivals.len(), 100);
}

#[test]
fn it_loses_and_delays_as_it_is_told_and_the_same_by_the_same_dice() {
    let far = arrivals(Way::far(5.0), 7, 10_000);
    assert!((9_400..=9_600).contains(&far.len()), "{}", far.len());
    let times: Vec<i64> = far.iter().map(|(number, at)| at.as_millis() as i64 - 10 * *number as i64).collect();
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!((70..=72).contains(least) && (128..=130).contains(most), "{least} to {most} ms");
    assert!(far.windows(2).any(|pair| pair[0].0 > pair[1].0), "none overtakes another");
    assert_eq!(far, arrivals(Way::far(5.0), 7, 10_000));
    assert_ne!(far, arrivals(Way::far(5.0), 8, 10_000));
}

#[test]
fn a_bottleneck_lets_through_what_it_carries_and_its_queue_has_an_end() {
    // 822 kbit/s are sent with their headers
    let narrow = arrivals(Way::narrow(411_200), 1, 2_000);
    assert!((1_000..=1_020).contains(&narrow.len()), "{}", narrow.len());
    let (number, at) = narrow.last().unwrap();
    let waited = *at - Duration::from_millis(10 * number + 25);
    assert!((300..=340).contains(&waited.as_millis()), "{waited:?}");
}
