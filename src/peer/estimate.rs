//! PURE. How much the way to a far end carries: packets are numbered transport-wide, the far end tells when each arrived
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01), and Google congestion control (`goog_cc`) makes a rate of it.
//!
//! The controller asks for **probes**: so many bytes at such a rate, to see whether more would go through than is sent. What they are
//! made of is the connection's affair.

mod arrivals;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use goog_cc::network_control::{NetworkControllerConfig, NetworkControllerInterface};
use goog_cc::transport::{
    NetworkAvailability, NetworkControlUpdate, PacedPacketInfo, PacketResult, ProbeClusterConfig, ProcessInterval, SentPacket,
    StreamsConfig, TargetRateConstraints, TransportPacketsFeedback,
};
use goog_cc::units::{DataRate, DataSize, TimeDelta, Timestamp};
use goog_cc::{GoogCcConfig, GoogCcNetworkController};
use rtc::interceptor::convert_twcc;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, TransportLayerCc};

use crate::forward::Rate;
use arrivals::Arrivals;

/// Packets whose arrival may still be told: 4 s at 5 Mbit/s, 48 kB. A power of two, as numbers wrap at 2^16.
const HISTORY: usize = 2048;
/// What is believed where nothing is known, in bit/s. Probes follow at once with three and six times as much.
pub(super) const START: u64 = 1_000_000;
/// Lowest estimate, in bit/s.
const LEAST: u64 = 30_000;
/// Bytes of IPv4 and UDP headers, as the controller wants them counted.
const OVERHEAD: usize = 28;
/// From one look at the clock to the next, at least.
const PROCESS: Duration = Duration::from_millis(25);
/// Probes that wait; the controller asks for two at a time.
const PROBES: usize = 4;
/// Probes that feedback may still speak of.
const PROBED: usize = 8;
/// A probe that could not be sent in this time is given up.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// From one probe of our own to the next at first, and at most where they show nothing.
const OWN_SPACING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));
/// No probe for so long after what is sent changed.
const CHANGE: Duration = Duration::from_secs(3);
/// Numbers of our own probes; the controller counts from 1.
const OWN_PROBES: i32 = 1 << 20;
/// Packets and time of a probe of our own, as the controller has them.
const OWN_PROBE: (i32, Duration) = (5, Duration::from_millis(15));
/// Such a probe where packets vary in how long they take: so many times the spread, and so long at most.
const SPREADS: i64 = 5;
const LONGEST_PROBE: Duration = Duration::from_millis(150);
/// For so long after a probe of our own no less is believed than before: the queue that it makes says nothing of the way.
const AFTERMATH: Duration = Duration::from_secs(1);
/// Without word for so long nobody knows what arrives.
const TOLD: Duration = Duration::from_secs(1);
/// What is missing is lost once something arrived that left so much later, in microseconds: packets overtake each other, and the far end tells of
/// those it has not got yet as of lost ones.
const OVERTAKEN: i64 = 100_000;
/// Numbers of packets that may be lost or late.
const DOUBTFUL: usize = HISTORY;
/// A unit of the reference time of feedback, in microseconds (§3.1 of the draft).
const REFERENCE: i64 = 64_000;

/// A packet as it left.
#[derive(Clone, Copy)]
struct Sent {
    number: i64,
    /// Microseconds since the beginning.
    at: i64,
    size: u16,
    /// Whether it belongs to a probe, by the lowest bits of its number.
    probe: Option<u8>,
    /// The far end told that it has not got it.
    missed: bool,
}

/// Bytes to be sent at a rate.
struct Probe {
    config: ProbeClusterConfig,
    since: Instant,
    began: Option<Instant>,
    bytes: usize,
    packets: i32,
}

impl Probe {
    fn rate(&self) -> f64 {
        self.config.target_data_rate.bps() as f64 / 8.0
    }

    fn least_bytes(&self) -> i64 {
        (self.rate() * self.config.target_duration.us() as f64 / 1e6) as i64
    }

    fn info(&self) -> PacedPacketInfo {
        PacedPacketInfo::new(self.config.id, i64::from(self.config.target_probe_count.max(1)), self.least_bytes().max(1))
    }

    fn is_done(&self) -> bool {
        self.bytes as i64 >= self.least_bytes() && self.packets >= self.config.target_probe_count
    }

    /// Bytes that should have left by then.
    fn due(&self, now: Instant) -> usize {
        let passed = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let ahead = self.config.min_probe_delta.us().max(1000) as f64 / 1e6;
        (self.rate() * (passed.as_secs_f64() + ahead)) as usize
    }

    /// When the next byte is due.
    fn next(&self) -> Instant {
        let spent = Duration::from_secs_f64(self.bytes as f64 / self.rate().max(1.0));
        self.began.map_or(self.since, |began| began + spent)
    }
}

/// The estimate of one connection.
pub(super) struct Estimator {
    controller: GoogCcNetworkController,
    epoch: Instant,
    sent: Box<[Option<Sent>]>,
    next: i64,
    /// Bytes that left at one time and are not told yet.
    train: Option<(Instant, usize)>,
    /// The far end's clock, unwrapped: units seen last, and microseconds.
    reference: Option<(u32, i64)>,
    probes: VecDeque<Probe>,
    /// The newest that were begun.
    probed: VecDeque<PacedPacketInfo>,
    processed: Option<Instant>,
    target: u64,
    wanted: u64,
    paused: bool,
    /// What arrived.
    delivered: Rate,
    /// When the far end last told of packets that arrived.
    told: Option<Instant>,
    arrivals: Arrivals,
    /// Packets told as missing, which may come yet, in the order in which they were.
    doubtful: VecDeque<i64>,
    /// What the controller was told the way carries at least, in bit/s.
    floor: u64,
    /// No probe before.
    quiet: Option<Instant>,
    own: OwnProbes,
}

/// When we probe by ourselves: the controller does so only while much less is sent than it believes in. Of what it thinks too little of
/// since a way was crowded, it would be convinced in minutes.
struct OwnProbes {
    next: Instant,
    last: Option<Instant>,
    spacing: Duration,
    /// What was believed at the last one.
    before: u64,
    count: i32,
}

impl Estimator {
    /// `start` is what is believed at first, in bit/s.
    pub(super) fn new(now: Instant, start: u64) -> Self {
        let start = start.max(LEAST);
        let mut estimator = Self {
            controller: controller(Timestamp::from_micros(0), start),
            epoch: now,
            sent: vec![None; HISTORY].into(),
            next: 0,
            train: None,
            reference: None,
            probes: VecDeque::new(),
            probed: VecDeque::new(),
            processed: None,
            target: start,
            wanted: 0,
            paused: false,
            delivered: Rate::default(),
            told: None,
            arrivals: Arrivals::default(),
            doubtful: VecDeque::new(),
            floor: LEAST,
            quiet: None,
            own: OwnProbes { next: now + OWN_SPACING.0, last: None, spacing: OWN_SPACING.0, before: 0, count: 0 },
        };
        estimator.begin(now);
        estimator
    }

    /// Lets the controller have its first probes.
    fn begin(&mut self, now: Instant) {
        let at_time = self.time(now);
        self.guarded(now, |controller| {
            controller.on_network_availability(NetworkAvailability { at_time, network_available: true })
        });
        self.processed = None;
        self.process(now);
    }

    /// Nothing was sent for a while but probes: what was known of the way is forgotten, but for its rate. The controller's model of losses
    /// would hold on to it until hundreds of packets arrive.
    fn begin_anew(&mut self, now: Instant) {
        let wanted = std::mem::take(&mut self.wanted);
        self.sent.fill(None);
        (self.arrivals, self.floor) = (Arrivals::default(), LEAST);
        self.doubtful.clear();
        self.controller = controller(self.time(now), self.target.max(LEAST));
        self.begin(now);
        self.want(now, wanted);
    }

    /// Another layer is sent from now on: what comes of that is seen before the next probe.
    pub(super) fn layer_changed(&mut self, now: Instant) {
        self.probes.clear();
        self.quiet = Some(now + CHANGE);
        (self.own.spacing, self.own.next) = (OWN_SPACING.0, now + CHANGE);
    }

    /// Whether nothing but probes is to be sent for now.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What the way carries, in bit/s, as far as is known.
    pub(super) fn target(&self) -> u64 {
        self.target
    }

    /// What arrived lately, in bit/s; `None` when the far end has not told for a second.
    pub(super) fn delivered(&self, now: Instant) -> Option<u64> {
        let told = self.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD);
        told.then(|| self.delivered.get(now))
    }

    /// What would be sent if it went through, in bit/s: probes go no higher than twice that.
    pub(super) fn want(&mut self, now: Instant, wanted: u64) {
        // a rate that is measured is never the same twice
        if self.wanted.abs_diff(wanted) <= self.wanted / 8 {
            return;
        }
        self.wanted = wanted;
        let config = StreamsConfig {
            at_time: self.time(now),
            requests_alr_probing: Some(true),
            max_total_allocated_bitrate: Some(DataRate::from_bits_per_sec(wanted.min(i64::MAX as u64) as i64)),
            ..Default::default()
        };
        self.guarded(now, |controller| controller.on_streams_config(config));
    }

    /// The number of a packet that leaves now, with `size` bytes of RTP.
    pub(super) fn number(&mut self, now: Instant, size: usize) -> u16 {
        let size = size + OVERHEAD;
        let number = self.next;
        self.next += 1;
        let mut of = None;
        if let Some(probe) = self.probes.front_mut().filter(|probe| probe.began.is_some()) {
            of = Some(probe.config.id as u8);
            probe.bytes += size;
            probe.packets += 1;
            if probe.is_done() {
                self.probes.pop_front();
            }
        }
        let at = self.time(now).us();
        self.sent[number as usize % HISTORY] =
            Some(Sent { number, at, size: u16::try_from(size).unwrap_or(u16::MAX), probe: of, missed: false });
        match &mut self.train {
            Some((when, bytes)) if *when == now => *bytes += size,
            _ => {
                self.tell_train();
                self.train = Some((now, size));
            }
        }
        number as u16
    }

    /// Bytes to be sent now for the sake of a probe; 0 for none.
    pub(super) fn probe(&mut self, now: Instant) -> usize {
        self.probes.retain(|probe| now.saturating_duration_since(probe.since) < PROBE_LIMIT);
        let Some(probe) = self.probes.front_mut() else { return 0 };
        if probe.began.is_none() {
            probe.began = Some(now);
            if self.probed.len() == PROBED {
                self.probed.pop_front();
            }
            self.probed.push_back(probe.info());
        }
        probe.due(now).saturating_sub(probe.bytes)
    }

    /// When [`Self::probe`] has something.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.probes.front().map(Probe::next)
    }

    /// There is nothing to probe with.
    pub(super) fn give_up_probes(&mut self) {
        self.probes.clear();
    }

    /// A round trip takes so much longer than the shortest, by the far end's reports.
    pub(super) fn late(&mut self, late: Duration) {
        self.arrivals.late(late.as_micros() as i64);
    }

    /// Looks at the clock; to be called every 25 ms to 1 s.
    pub(super) fn process(&mut self, now: Instant) {
        if self.processed.is_some_and(|last| now.saturating_duration_since(last) < PROCESS) {
            return;
        }
        self.processed = Some(now);
        self.tell_train();
        let at_time = self.time(now);
        self.guarded(now, |controller| controller.on_process_interval(ProcessInterval { at_time, pacer_queue: None }));
        self.probe_by_ourselves(now);
    }

    fn probe_by_ourselves(&mut self, now: Instant) {
        // a probe that showed something is followed by the next at once, as it were
        let rose = self.target > self.own.before + self.own.before / 10;
        let next = if rose { self.own.last.map_or(self.own.next, |last| last + OWN_SPACING.0) } else { self.own.next };
        if now < next || self.quiet.is_some_and(|quiet| now < quiet) || !self.probes.is_empty() || self.target >= self.wanted {
            return;
        }
        self.own.spacing = if rose { OWN_SPACING.0 } else { (self.own.spacing * 2).min(OWN_SPACING.1) };
        (self.own.next, self.own.last) = (now + self.own.spacing, Some(now));
        (self.own.before, self.own.count) = (self.target, self.own.count.wrapping_add(1) & 0xffff);
        if self.paused {
            return self.begin_anew(now);
        }
        let config = ProbeClusterConfig {
            at_time: self.time(now),
            target_data_rate: DataRate::from_bits_per_sec((self.target * 2).min(self.wanted * 2) as i64),
            target_duration: TimeDelta::from_micros(self.own_probe_micros()),
            target_probe_count: OWN_PROBE.0,
            id: OWN_PROBES + self.own.count,
            ..Default::default()
        };
        self.probes.push_back(Probe { config, since: now, began: None, bytes: 0, packets: 0 });
    }

    /// Where packets take now more and now less time, a short probe arrives as a long one, and seems to show that little gets through.
    fn own_probe_micros(&self) -> i64 {
        let [least, most] = [OWN_PROBE.1, LONGEST_PROBE].map(|time| time.as_micros() as i64);
        self.arrivals.spread().saturating_mul(SPREADS).clamp(least, most)
    }

    /// Takes the far end's word. What it says of packets that never left, or too long ago, is left out.
    pub(super) fn feedback(&mut self, now: Instant, feedback: &TransportLayerCc) {
        if !is_sane(feedback) {
            return;
        }
        let base = self.unwrap_reference(feedback.reference_time);
        let zero = Duration::from_micros(REFERENCE as u64) * feedback.reference_time;
        let mut results = Vec::new();
        for word in convert_twcc(feedback) {
            let slot = &mut self.sent[usize::from(word.sequence_number) % HISTORY];
            let Some(sent) = slot.filter(|sent| sent.number as u16 == word.sequence_number) else { continue };
            if !word.arrived {
                if !sent.missed && self.doubtful.len() < DOUBTFUL {
                    self.doubtful.push_back(sent.number);
                }
                *slot = Some(Sent { missed: true, ..sent });
                continue;
            }
            // arrived, but nobody knows when: neither lost nor of use
            let Some(arrival) = word.arrival else { continue };
            *slot = None;
            let arrival = base + arrival.as_micros() as i64 - zero.as_micros() as i64;
            self.delivered.add(now, usize::from(sent.size));
            self.arrivals.add(sent.at, Some(arrival), sent.size);
            results.push(self.result(sent, Timestamp::from_micros(arrival)));
        }
        // the controller fails when it is told of losses alone; they are told with the next packet that arrives
        if results.is_empty() {
            return;
        }
        self.told = Some(now);
        self.process(now);
        self.tell_train();
        results.extend(self.lost());
        results.sort_by_key(|result| result.sent_packet.sequence_number);
        let feedback =
            TransportPacketsFeedback { feedback_time: self.time(now), packet_feedbacks: results, ..Default::default() };
        self.raise_floor(now);
        self.guarded(now, |controller| controller.on_transport_packets_feedback(feedback));
    }

    fn result(&self, sent: Sent, receive_time: Timestamp) -> PacketResult {
        let info = sent.probe.and_then(|id| self.probed.iter().find(|info| info.probe_cluster_id as u8 == id).copied());
        let sent_packet = SentPacket {
            send_time: Timestamp::from_micros(sent.at),
            size: DataSize::from_bytes(i64::from(sent.size)),
            sequence_number: sent.number,
            pacing_info: info.unwrap_or_default(),
            ..Default::default()
        };
        PacketResult { sent_packet, receive_time, ..Default::default() }
    }

    /// What is lost by now, of all that was missing. Each is told once.
    fn lost(&mut self) -> Vec<PacketResult> {
        let mut lost = Vec::new();
        let newest = self.arrivals.newest().unwrap_or(0);
        let late = |sent: &Sent| sent.at + OVERTAKEN > newest;
        for _ in 0..self.doubtful.len() {
            let Some(number) = self.doubtful.pop_front() else { break };
            let slot = &mut self.sent[number as usize % HISTORY];
            // one that came after all, or nobody knows of any more
            let Some(sent) = slot.filter(|sent| sent.number == number) else { continue };
            if late(&sent) {
                self.doubtful.push_back(number);
                continue;
            }
            *slot = None;
            self.arrivals.add(sent.at, None, sent.size);
            lost.push(self.result(sent, Timestamp::plus_infinity()));
        }
        lost
    }

    /// Tells the controller that the way carries what arrives.
    fn raise_floor(&mut self, now: Instant) {
        let probed = self.own.last.is_some_and(|last| now.saturating_duration_since(last) < AFTERMATH);
        let floor = self.arrivals.floor().max(if probed { self.own.before } else { LEAST });
        if floor.abs_diff(self.floor) <= self.floor / 32 {
            return;
        }
        self.floor = floor;
        let at_time = self.time(now);
        let min_data_rate = Some(DataRate::from_bits_per_sec(floor as i64));
        let constraints = TargetRateConstraints { at_time, min_data_rate, max_data_rate: None, starting_rate: None };
        self.guarded(now, |controller| controller.on_target_rate_constraints(constraints));
    }

    /// Reference times are 24 bits of 64 ms and wrap every twelve days.
    fn unwrap_reference(&mut self, reference: u32) -> i64 {
        let unwrapped = match self.reference {
            None => 0,
            Some((last, at)) => {
                let step = (reference.wrapping_sub(last) << 8) as i32 >> 8;
                at + i64::from(step) * REFERENCE
            }
        };
        self.reference = Some((reference, unwrapped));
        unwrapped
    }

    fn tell_train(&mut self) {
        let Some((when, bytes)) = self.train.take() else { return };
        let sent = SentPacket {
            send_time: self.time(when),
            size: DataSize::from_bytes(bytes as i64),
            sequence_number: self.next - 1,
            ..Default::default()
        };
        self.guarded(when, |controller| controller.on_sent_packet(sent));
    }

    fn time(&self, now: Instant) -> Timestamp {
        Timestamp::from_micros(now.saturating_duration_since(self.epoch).as_micros() as i64)
    }

    /// Asks the controller. It was carried over from C++ with its checks, which end a program there only when it is tested and here always:
    /// one that fails costs the estimate, and nothing else.
    fn guarded(&mut self, now: Instant, ask: impl FnOnce(&mut GoogCcNetworkController) -> NetworkControlUpdate) {
        match catch_unwind(AssertUnwindSafe(|| ask(&mut self.controller))) {
            Ok(update) => self.take(now, update),
            Err(_) => {
                tracing::warn!(target = self.target, "bandwidth estimation failed and begins anew");
                self.controller = controller(self.time(now), self.target.max(LEAST));
                self.processed = None;
                self.probes.clear();
                (self.wanted, self.floor) = (0, LEAST);
            }
        }
    }

    fn take(&mut self, now: Instant, update: NetworkControlUpdate) {
        if let Some(target) = update.target_rate {
            self.target = u64::try_from(target.target_rate.bps_or(0)).unwrap_or(0);
        }
        let quiet = self.quiet.is_some_and(|quiet| now < quiet);
        for config in update.probe_cluster_configs {
            if !quiet && self.probes.len() < PROBES && config.target_data_rate.bps_or(0) > 0 {
                self.probes.push_back(Probe { config, since: now, began: None, bytes: 0, packets: 0 });
            }
        }
    }
}

fn controller(at_time: Timestamp, start: u64) -> GoogCcNetworkController {
    let rate = |rate: u64| Some(DataRate::from_bits_per_sec(rate as i64));
    let constraints =
        TargetRateConstraints { at_time, min_data_rate: rate(LEAST), max_data_rate: None, starting_rate: rate(start) };
    let stream_based_config = StreamsConfig { at_time, requests_alr_probing: Some(true), ..Default::default() };
    let config = NetworkControllerConfig { constraints, stream_based_config, ..Default::default() };
    GoogCcNetworkController::new(config, GoogCcConfig { feedback_only: true })
}

/// A few bytes may speak of thousands of packets each: no more are taken than have left.
fn is_sane(feedback: &TransportLayerCc) -> bool {
    let told: usize = feedback
        .packet_chunks
        .iter()
        .map(|chunk| match chunk {
            PacketStatusChunk::RunLengthChunk(run) => usize::from(run.run_length),
            PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.len(),
        })
        .sum();
    told <= HISTORY
}

#[cfg(test)]
mod tests;
