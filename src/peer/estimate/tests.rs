use proptest::prelude::*;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, SymbolTypeTcc, TransportLayerCc,
};

use super::*;

const MS: Duration = Duration::from_millis(1);
/// RTP bytes of a packet.
const PACKET: usize = 1200;

/// A way with a bottleneck and a queue before it, in simulated time, and a far end that tells what arrived.
struct Way {
    /// bit/s.
    capacity: u64,
    /// What the queue holds, in time.
    queue: Duration,
    delay: Duration,
    /// Every so many-th packet is lost without any queue.
    lose_every: u64,
    free_at: Instant,
    count: u64,
    lost: u64,
    /// `(number, when it arrives)`.
    under_way: VecDeque<(u16, Option<Instant>)>,
}

impl Way {
    fn new(now: Instant, capacity: u64) -> Self {
        let (queue, delay) = (Duration::from_millis(300), Duration::from_millis(25));
        Self { capacity, queue, delay, lose_every: u64::MAX, free_at: now, count: 0, lost: 0, under_way: VecDeque::new() }
    }

    fn send(&mut self, now: Instant, number: u16, size: usize) {
        self.count += 1;
        self.free_at = self.free_at.max(now);
        let full = self.free_at - now > self.queue;
        if full || self.count.is_multiple_of(self.lose_every) {
            self.lost += 1;
            self.under_way.push_back((number, None));
            return;
        }
        self.free_at += Duration::from_secs_f64((size + OVERHEAD) as f64 * 8.0 / self.capacity as f64);
        self.under_way.push_back((number, Some(self.free_at + self.delay)));
    }

    /// What arrived by then, as the far end tells it.
    fn feedback(&mut self, epoch: Instant, now: Instant) -> Option<TransportLayerCc> {
        let last = self.under_way.iter().rposition(|(_, arrival)| arrival.is_some_and(|arrival| arrival <= now))?;
        let told: Vec<(u16, Option<Instant>)> = self.under_way.drain(..=last).collect();
        let first = told.iter().find_map(|(_, arrival)| *arrival)?;
        let reference = (first - epoch).as_micros() as i64 / REFERENCE;
        let mut at = reference * REFERENCE;
        let mut feedback = TransportLayerCc {
            base_sequence_number: told[0].0,
            packet_status_count: told.len() as u16,
            reference_time: reference as u32,
            ..Default::default()
        };
        for (_, arrival) in told {
            let symbol = match arrival {
                None => SymbolTypeTcc::PacketNotReceived,
                Some(arrival) => {
                    let arrival = (arrival - epoch).as_micros() as i64;
                    let type_tcc_packet = SymbolTypeTcc::PacketReceivedLargeDelta;
                    feedback.recv_deltas.push(RecvDelta { type_tcc_packet, delta: arrival - at });
                    at = arrival;
                    type_tcc_packet
                }
            };
            feedback.packet_chunks.push(run(symbol, 1));
        }
        Some(feedback)
    }
}

fn run(packet_status_symbol: SymbolTypeTcc, run_length: u16) -> PacketStatusChunk {
    let type_tcc = StatusChunkTypeTcc::RunLengthChunk;
    PacketStatusChunk::RunLengthChunk(RunLengthChunk { type_tcc, packet_status_symbol, run_length })
}

/// A picture of 30 frames/s on its way.
struct Show {
    epoch: Instant,
    now: Instant,
    way: Way,
    estimator: Estimator,
    owed: f64,
}

impl Show {
    fn new(capacity: u64, wanted: u64) -> Self {
        let epoch = Instant::now();
        let mut estimator = Estimator::new(epoch, START);
        estimator.want(epoch, wanted);
        Self { epoch, now: epoch, way: Way::new(epoch, capacity), estimator, owed: 0.0 }
    }

    fn send(&mut self) {
        let number = self.estimator.number(self.now, PACKET);
        self.way.send(self.now, number, PACKET);
    }

    /// Sends what `rate` makes of the estimate, in bit/s, for so long.
    fn go_on(&mut self, seconds: u64, rate: impl Fn(u64) -> u64) -> u64 {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            let passed = (self.now - self.epoch).as_millis();
            if passed.is_multiple_of(33) {
                self.owed += rate(self.estimator.target()) as f64 * 0.033 / 8.0;
                while self.owed >= (PACKET + OVERHEAD) as f64 {
                    self.owed -= (PACKET + OVERHEAD) as f64;
                    self.send();
                }
            }
            while self.estimator.probe(self.now) > 0 {
                self.send();
            }
            if passed.is_multiple_of(60)
                && let Some(feedback) = self.way.feedback(self.epoch, self.now)
            {
                self.estimator.feedback(self.now, &feedback);
            }
            if passed.is_multiple_of(100) {
                self.estimator.process(self.now);
            }
            self.now += MS;
        }
        self.estimator.target()
    }
}

fn near(estimate: u64, capacity: u64, part: f64) -> bool {
    (estimate as f64 - capacity as f64).abs() <= capacity as f64 * part
}

/// What a viewer gets of a picture with three layers.
fn layer(target: u64) -> u64 {
    [2_500_000, 600_000].into_iter().find(|rate| *rate <= target).unwrap_or(150_000)
}

#[test]
fn a_bottleneck_is_found_when_it_comes() {
    let mut show = Show::new(5_000_000, 4_000_000);
    let estimate = show.go_on(10, |target| target.min(4_000_000));
    assert!(estimate >= 3_500_000, "{estimate}");
    show.way.capacity = 1_000_000;
    let estimate = show.go_on(10, |target| target.min(4_000_000));
    assert!(near(estimate, 1_000_000, 0.15), "{estimate}");
}

#[test]
fn a_bottleneck_is_left_when_it_goes() {
    let mut show = Show::new(5_000_000, 2_500_000);
    assert_eq!(layer(show.go_on(5, layer)), 2_500_000);
    show.way.capacity = 1_000_000;
    let estimate = show.go_on(10, layer);
    assert!((600_000..=1_150_000).contains(&estimate), "{estimate}");
    show.way.capacity = 5_000_000;
    assert_eq!(layer(show.go_on(10, layer)), 2_500_000);
}

#[test]
fn a_small_layer_shows_by_probes_that_a_large_one_fits() {
    let mut show = Show::new(20_000_000, 2_500_000);
    let estimate = show.go_on(5, |_| 150_000);
    assert!(estimate >= 2_500_000, "{estimate}");
    // and costs little: what is sent for it is not more than a second of the small layer per second
    let sent = show.way.count as usize * PACKET * 8;
    assert!(sent < 5 * 600_000, "{sent} bits in 5 s");
}

#[test]
fn where_a_large_layer_does_not_fit_probes_do_not_say_so() {
    let mut show = Show::new(600_000, 2_500_000);
    for _ in 0..6 {
        let estimate = show.go_on(5, |_| 150_000);
        assert!(estimate <= 800_000, "{estimate}");
    }
    let lost = show.way.lost as f64 / show.way.count as f64;
    assert!(lost < 0.05, "{lost} lost by probing");
}

#[test]
fn losses_of_a_radio_do_not_end_the_picture() {
    let mut show = Show::new(20_000_000, 1_000_000);
    show.way.lose_every = 20;
    let estimate = show.go_on(20, |_| 1_000_000);
    assert!(estimate >= 700_000, "{estimate}");
}

#[test]
fn what_is_told_twice_or_of_nobody_is_left_out() {
    let mut show = Show::new(5_000_000, 1_000_000);
    show.go_on(2, |_| 1_000_000);
    let before = show.estimator.target();
    let strange = TransportLayerCc {
        base_sequence_number: 40_000,
        packet_status_count: 8191,
        packet_chunks: vec![run(SymbolTypeTcc::PacketReceivedWithoutDelta, 4000)],
        ..Default::default()
    };
    show.estimator.feedback(show.now, &strange);
    // a few bytes that stand for five million packets
    let huge = TransportLayerCc { packet_chunks: vec![run(SymbolTypeTcc::PacketNotReceived, 8191); 700], ..strange };
    show.estimator.feedback(show.now, &huge);
    assert_eq!(show.estimator.target(), before);
}

#[test]
fn reference_times_wrap() {
    let mut estimator = Estimator::new(Instant::now(), START);
    assert_eq!(estimator.unwrap_reference(0xff_fffe), 0);
    assert_eq!(estimator.unwrap_reference(1), 3 * REFERENCE);
    assert_eq!(estimator.unwrap_reference(0), 2 * REFERENCE);
}

fn symbol() -> impl Strategy<Value = SymbolTypeTcc> {
    prop_oneof![
        Just(SymbolTypeTcc::PacketNotReceived),
        Just(SymbolTypeTcc::PacketReceivedSmallDelta),
        Just(SymbolTypeTcc::PacketReceivedLargeDelta),
        Just(SymbolTypeTcc::PacketReceivedWithoutDelta),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a far end says, nothing breaks, and the controller's own checks hold: it is not begun anew.
    #[test]
    fn no_feedback_breaks_it(
        words in proptest::collection::vec(
            (any::<u8>(), any::<u32>(), proptest::collection::vec((symbol(), 1u16..40), 1..8),
             proptest::collection::vec(prop_oneof![-32768i64..32768, 0i64..20], 0..64), 0u64..400),
            1..60,
        ),
    ) {
        let mut show = Show::new(2_000_000, 3_000_000);
        for (back, reference, runs, deltas, later) in words {
            for _ in 0..20 {
                show.send();
                show.now += MS;
            }
            let type_tcc_packet = SymbolTypeTcc::PacketReceivedLargeDelta;
            let feedback = TransportLayerCc {
                base_sequence_number: (show.estimator.next as u16).wrapping_sub(u16::from(back)),
                packet_status_count: 0,
                reference_time: reference & 0xff_ffff,
                packet_chunks: runs.into_iter().map(|(symbol, length)| run(symbol, length)).collect(),
                recv_deltas: deltas.into_iter().map(|delta| RecvDelta { type_tcc_packet, delta: delta * 250 }).collect(),
                ..Default::default()
            };
            show.estimator.feedback(show.now, &feedback);
            show.now += MS * later as u32;
            show.estimator.process(show.now);
            prop_assert!(show.estimator.wanted > 0, "begun anew");
            prop_assert!(show.estimator.target() >= LEAST);
            prop_assert!(show.estimator.probes.len() <= PROBES);
        }
    }
}
