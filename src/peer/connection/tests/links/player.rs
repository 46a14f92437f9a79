//! A far end that shows what it gets: it waits for what is missing, decodes in order, and asks for a key frame where waiting is no use. As
//! browsers do; when each picture is shown says what stood still and for how long.

use super::*;

/// From the earliest a picture can be there to when it is shown: longer than it takes to have a packet again over a line of 100 ms. Browsers
/// make theirs as long as that when packets are sent again (`rtt_mult` of libwebrtc's jitter estimator).
const BUFFER: Duration = Duration::from_millis(500);
/// What is missing for so long is not waited for any more.
const PATIENCE: Duration = Duration::from_millis(1000);
/// From one request for a key frame to the next.
const REQUESTS: Duration = Duration::from_millis(300);
/// Beyond so much more than usual between two pictures, the picture stands still (W3C webrtc-stats, `freezeCount`).
const FREEZE: Duration = Duration::from_millis(150);

struct Packet {
    timestamp: u32,
    marker: bool,
    key: bool,
    layer: u8,
    arrived: Instant,
}

/// A picture that was decoded.
#[derive(Clone, Copy)]
struct Picture {
    /// RTP time, from the first on.
    time: Duration,
    decoded: Instant,
    layer: u8,
}

#[derive(Default)]
struct State {
    packets: BTreeMap<i64, Packet>,
    highest: Option<i64>,
    /// The next packet to be decoded.
    next: Option<i64>,
    /// Since when it is missing.
    stuck: Option<Instant>,
    asked: Option<Instant>,
    first_timestamp: Option<u32>,
    pictures: Vec<Picture>,
    /// Packets given up.
    given_up: u64,
}

#[derive(Default)]
pub(super) struct Player(Mutex<State>);

/// What was seen in some time.
#[derive(Debug)]
pub(super) struct Watched {
    pub pictures: usize,
    /// Part of the time without a new picture, beyond what is usual.
    pub frozen: f64,
    /// The layer of most of them.
    pub layer: Option<u8>,
    /// Packets that never came, so far.
    pub given_up: u64,
}

impl FrameSink for Player {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        let mut state = self.0.lock().unwrap();
        for packet in &frame.packets {
            let number = match state.highest {
                None => i64::from(packet.sequence),
                Some(highest) => highest + i64::from(packet.sequence.wrapping_sub(highest as u16) as i16),
            };
            state.highest = Some(state.highest.map_or(number, |highest| highest.max(number)));
            let key = packet.payload[0] == 0x65;
            let (timestamp, marker, layer) = (packet.timestamp, packet.marker, packet.payload[1]);
            state.packets.entry(number).or_insert(Packet { timestamp, marker, key, layer, arrived: frame.arrived });
        }
        Offered::Taken
    }
}

impl State {
    /// The packets of a picture from that number on, when all are there: the number behind them.
    fn whole(&self, from: i64) -> Option<i64> {
        let timestamp = self.packets.get(&from)?.timestamp;
        let mut number = from;
        loop {
            let packet = self.packets.get(&number)?;
            if packet.timestamp != timestamp {
                return Some(number);
            }
            number += 1;
            if packet.marker {
                return Some(number);
            }
        }
    }

    fn decode(&mut self, now: Instant, from: i64, until: i64) {
        let first = &self.packets[&from];
        let begun = *self.first_timestamp.get_or_insert(first.timestamp);
        let time = Duration::from_micros(u64::from(first.timestamp.wrapping_sub(begun)) * 1000 / 90);
        let layer = first.layer;
        let arrived = self.packets.range(from..until).map(|(_, packet)| packet.arrived).max().unwrap_or(now);
        let decoded = self.pictures.last().map_or(arrived, |last| last.decoded.max(arrived)).max(self.stuck.unwrap_or(arrived));
        self.pictures.push(Picture { time, decoded: decoded.min(now), layer });
        self.packets = self.packets.split_off(&until);
        (self.next, self.stuck) = (Some(until), None);
    }

    fn look(&mut self, now: Instant) -> bool {
        loop {
            let key = || self.packets.iter().find(|(_, packet)| packet.key).map(|(number, _)| *number);
            let Some(next) = self.next.or_else(key) else { return false };
            if let Some(until) = self.whole(next) {
                self.decode(now, next, until);
                continue;
            }
            if self.packets.range(next..).next().is_none() {
                return false;
            }
            let since = *self.stuck.get_or_insert(now);
            if now - since < PATIENCE {
                return false;
            }
            // it waits for a key frame, whose first packet follows the end of another frame
            let begins = |number: i64| {
                let before = self.packets.get(&(number - 1));
                before.is_some_and(|before| before.timestamp != self.packets[&number].timestamp)
            };
            let whole = |number: &i64| begins(*number) && self.whole(*number).is_some();
            let keys = self.packets.range(next + 1..).filter(|(_, packet)| packet.key).map(|(number, _)| *number);
            if let Some(number) = keys.into_iter().find(|number| whole(number)) {
                let there = self.packets.range(next..number).count() as i64;
                self.given_up += u64::try_from(number - next - there).unwrap_or(0);
                (self.next, self.stuck) = (Some(number), None);
                continue;
            }
            let asks = self.asked.is_none_or(|asked| now - asked >= REQUESTS);
            if asks {
                self.asked = Some(now);
            }
            return asks;
        }
    }
}

impl Player {
    /// Shows what can be shown. Whether a key frame is to be asked for.
    pub fn wants_key(&self, now: Instant) -> bool {
        self.0.lock().unwrap().look(now)
    }

    /// What was shown in that time, as far as is known by its end.
    pub fn watched(&self, from: Instant, until: Instant) -> Watched {
        let state = self.0.lock().unwrap();
        // by the picture that was there soonest after its time
        let base =
            state.pictures.iter().filter(|picture| picture.decoded >= from).map(|picture| picture.decoded - picture.time).min();
        let mut shown: Vec<Instant> = Vec::new();
        let mut layers = BTreeMap::<u8, usize>::new();
        for picture in state.pictures.iter().filter(|picture| picture.decoded >= from) {
            let Some(due) = base.map(|base| base + picture.time + BUFFER) else { continue };
            let at = picture.decoded.max(due).max(shown.last().copied().unwrap_or(due));
            if at <= until {
                shown.push(at);
                *layers.entry(picture.layer).or_default() += 1;
            }
        }
        let gaps = shown.windows(2).map(|pair| pair[1] - pair[0]).chain(shown.last().map(|last| until - *last));
        let frozen: Vec<Duration> = gaps.filter(|gap| *gap > FRAME + FREEZE).collect();
        let time = until - shown.first().copied().unwrap_or(from);
        let layer = layers.into_iter().max_by_key(|(_, count)| *count).map(|(layer, _)| layer);
        let frozen_time = if shown.is_empty() { 1.0 } else { frozen.iter().sum::<Duration>().as_secs_f64() / time.as_secs_f64() };
        Watched { pictures: shown.len(), frozen: frozen_time, layer, given_up: state.given_up }
    }
}
