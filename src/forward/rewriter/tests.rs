use bytes::Bytes;

use super::*;
use crate::vocab::TrackId;

const RATE: u32 = 90_000;
const FRAME: u32 = RATE / 30;

fn layer(track: u64) -> LayerId {
    LayerId { track: TrackId(track), index: 0 }
}

fn frame(track: u64, key: bool, timestamp: u32, sequences: &[u16], arrived: Instant) -> FramePackets {
    let packets =
        sequences.iter().map(|&sequence| MediaPacket { sequence, timestamp, marker: false, payload: Bytes::new() }).collect();
    FramePackets { layer: layer(track), key, packets, arrived }
}

/// A viewer with a clock of its own.
struct Viewer {
    rewriter: Rewriter,
    now: Instant,
}

impl Viewer {
    fn video() -> Self {
        Self { rewriter: Rewriter::new(RATE, true, 65_530, u32::MAX - 10), now: Instant::now() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn give(&mut self, frame: &FramePackets) -> (Verdict, Vec<(u16, u32)>) {
        let verdict = self.rewriter.admit(self.now, frame);
        let mut sent = Vec::new();
        if verdict == Verdict::Send {
            for packet in &frame.packets {
                if let Some(new) = self.rewriter.rewrite(packet.sequence, packet.timestamp) {
                    sent.push((new.sequence.wrapping_sub(65_530), new.timestamp.wrapping_sub(u32::MAX - 10)));
                }
            }
        }
        (verdict, sent)
    }

    fn key(&mut self, timestamp: u32, sequences: &[u16]) -> (Verdict, Vec<(u16, u32)>) {
        self.give(&frame(1, true, timestamp, sequences, self.now))
    }

    fn delta(&mut self, timestamp: u32, sequences: &[u16]) -> (Verdict, Vec<(u16, u32)>) {
        self.give(&frame(1, false, timestamp, sequences, self.now))
    }
}

#[test]
fn video_starts_at_the_first_key_frame_with_the_given_numbers() {
    let mut viewer = Viewer::video();
    assert_eq!(viewer.delta(5, &[1, 2]).0, Verdict::WaitKey);
    assert_eq!(viewer.key(5 + FRAME, &[3, 4]), (Verdict::Send, vec![(0, 0), (1, 0)]));
    viewer.pass(Duration::from_millis(33));
    assert_eq!(viewer.delta(5 + 2 * FRAME, &[5]), (Verdict::Send, vec![(2, FRAME)]));
}

#[test]
fn losses_and_late_packets_upstream_keep_their_numbers() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[65_534, 65_535, 1]);
    assert_eq!(viewer.delta(FRAME, &[4]).1, [(6, FRAME)]);
    assert_eq!(viewer.delta(0, &[0]), (Verdict::Send, vec![(2, 0)]));
    assert_eq!(viewer.delta(0, &[0]).0, Verdict::Old);
    assert_eq!(viewer.delta(0, &[3, 4, 5]).1, [(5, 0), (7, 0)]);
    assert_eq!(viewer.delta(0, &[65_533]).0, Verdict::Old, "before the viewer's first packet");
}

#[test]
fn live_key_frame_follows_the_cached_one_with_the_next_number_and_the_time_that_passed() {
    let mut viewer = Viewer::video();
    viewer.key(1_000, &[10, 11]);
    viewer.rewriter.cache_sent();
    assert_eq!(viewer.key(1_000, &[10, 11]).0, Verdict::Old);
    viewer.pass(Duration::from_millis(100));
    assert_eq!(viewer.delta(1_000 + 300 * RATE, &[5_000]).0, Verdict::WaitKey);
    viewer.pass(Duration::from_millis(100));
    assert_eq!(viewer.key(1_000 + 300 * RATE + FRAME, &[5_001, 5_002]).1, [(2, RATE / 5), (3, RATE / 5)]);
}

#[test]
fn a_burst_directly_after_the_cached_key_frame_goes_on() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[10, 11]);
    viewer.rewriter.cache_sent();
    assert!(viewer.rewriter.waits_for_key());
    assert_eq!(viewer.delta(0, &[12]).1, [(2, 0)]);
    assert!(!viewer.rewriter.waits_for_key());
    assert_eq!(viewer.delta(FRAME, &[13]).1, [(3, FRAME)]);
}

#[test]
fn skipped_frames_leave_no_gap_and_keep_the_sources_time() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[1]);
    viewer.rewriter.skip_to_key();
    viewer.pass(Duration::from_millis(33));
    assert_eq!(viewer.delta(FRAME, &[2]).0, Verdict::WaitKey);
    viewer.pass(Duration::from_millis(40));
    assert_eq!(viewer.key(2 * FRAME, &[3]).1, [(1, 2 * FRAME)]);
    assert_eq!(viewer.rewriter.figures(), RewriterFigures { sent: 2, dropped: 1, old: 0 });
}

#[test]
fn a_restarted_source_goes_on_at_its_key_frame_by_the_time_that_passed() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[1]);
    viewer.pass(Duration::from_secs(2));
    assert_eq!(viewer.delta(77_000_000, &[40_000]).0, Verdict::WaitKey);
    assert_eq!(viewer.key(77_000_000, &[40_001]).1, [(1, 2 * RATE)]);
}

#[test]
fn another_layer_takes_over_at_its_key_frame_and_until_then_the_old_one_passes() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[1]);
    viewer.pass(Duration::from_millis(50));
    let other = frame(2, false, 9_999_999, &[500], viewer.now);
    assert_eq!(viewer.give(&other).0, Verdict::WaitKey);
    assert_eq!(viewer.delta(FRAME, &[2]).1, [(1, FRAME)]);
    viewer.pass(Duration::from_millis(50));
    let other = frame(2, true, 9_999_999, &[501, 502], viewer.now);
    assert_eq!(viewer.give(&other).1, [(2, FRAME + RATE / 20), (3, FRAME + RATE / 20)]);
    assert_eq!(viewer.rewriter.layer(), Some(layer(2)));
    assert_eq!(viewer.delta(2 * FRAME, &[3]).0, Verdict::WaitKey);
}

#[test]
fn a_looping_file_keeps_its_numbers_and_its_time_goes_on() {
    let mut viewer = Viewer::video();
    viewer.key(600 * RATE, &[1]);
    viewer.pass(Duration::from_millis(40));
    assert_eq!(viewer.key(0, &[2, 3]).1, [(1, RATE / 25), (2, RATE / 25)]);
    viewer.pass(Duration::from_millis(40));
    assert_eq!(viewer.delta(RATE / 25, &[4]).1, [(3, 2 * RATE / 25)]);
    assert_eq!(viewer.rewriter.viewer_time(0).map(|time| time.wrapping_sub(u32::MAX - 10)), Some(RATE / 25));
}

#[test]
fn a_long_silence_is_kept_when_the_sources_time_counts_it() {
    let mut audio = Rewriter::new(48_000, false, 7, 7);
    let start = Instant::now();
    assert_eq!(audio.admit(start, &frame(1, true, 100, &[1], start)), Verdict::Send);
    assert_eq!(audio.rewrite(1, 100), Some(Rewritten { sequence: 7, timestamp: 7 }));
    let later = start + Duration::from_secs(3600);
    assert_eq!(audio.admit(later, &frame(1, true, 100 + 3600 * 48_000, &[2], later)), Verdict::Send);
    assert_eq!(audio.rewrite(2, 100 + 3600 * 48_000), Some(Rewritten { sequence: 8, timestamp: 7 + 3600 * 48_000 }));
}

#[test]
fn a_replayed_group_goes_over_into_live_frames() {
    let mut viewer = Viewer::video();
    let group: Vec<_> = (0..60).map(|n| frame(1, n == 0, n * FRAME, &[n as u16 * 2, n as u16 * 2 + 1], viewer.now)).collect();
    for (n, cached) in group.iter().enumerate() {
        assert_eq!(viewer.give(cached).1[0], (n as u16 * 2, n as u32 * FRAME));
    }
    assert_eq!(viewer.give(&group[58]).0, Verdict::Old);
    assert_eq!(viewer.give(&group[59]).0, Verdict::Old);
    assert_eq!(viewer.delta(60 * FRAME, &[120]).1, [(120, 60 * FRAME)]);
}

#[test]
fn packets_older_than_the_window_get_no_number() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[0]);
    for n in 1..400 {
        viewer.delta(u32::from(n), &[n * 2]);
    }
    assert_eq!(viewer.delta(0, &[798 - 511]).1, [(798 - 511, 0)]);
    assert_eq!(viewer.delta(0, &[798 - 513]).0, Verdict::Old);
}

#[test]
fn withheld_sound_leaves_no_gap() {
    let mut audio = Rewriter::new(48_000, false, 7, 7);
    let start = Instant::now();
    let give = |audio: &mut Rewriter, n: u16| {
        let (now, time) = (start + Duration::from_millis(20) * u32::from(n), 960 * u32::from(n));
        match audio.admit(now, &frame(1, true, time, &[n], now)) {
            Verdict::Send => audio.rewrite(n, time).map(|new| (new.sequence - 7, new.timestamp - 7)),
            _ => None,
        }
    };
    assert_eq!(give(&mut audio, 0), Some((0, 0)));
    audio.skip_to_key();
    assert!(!audio.waits_for_key());
    assert_eq!(give(&mut audio, 5), Some((1, 5 * 960)));
    assert_eq!(give(&mut audio, 4), None, "from before the gap");
    assert_eq!(give(&mut audio, 7), Some((3, 7 * 960)), "lost upstream");
}

#[test]
fn a_packet_overtaken_by_one_from_after_a_silence_is_late_not_a_restart() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[1, 2]);
    viewer.pass(Duration::from_secs(15));
    assert_eq!(viewer.delta(15 * RATE, &[4]).1, [(3, 15 * RATE)]);
    assert_eq!(viewer.delta(FRAME, &[3]).1, [(2, FRAME)]);
    assert_eq!(viewer.delta(15 * RATE + FRAME, &[5]).1, [(4, 15 * RATE + FRAME)]);
}

#[test]
fn sender_reports_wait_for_live_packets() {
    let mut viewer = Viewer::video();
    assert_eq!(viewer.rewriter.viewer_time(0), None);
    viewer.key(0, &[1]);
    viewer.rewriter.cache_sent();
    assert_eq!(viewer.rewriter.viewer_time(0), None);
    viewer.delta(FRAME, &[2]);
    assert_eq!(viewer.rewriter.viewer_time(FRAME), Some((u32::MAX - 10).wrapping_add(FRAME)));
}

#[test]
fn a_late_packet_has_its_number_wherever_the_window_stands() {
    let mut viewer = Viewer::video();
    viewer.key(0, &[0]);
    for n in 1..1_000 {
        viewer.delta(u32::from(n), &[n]);
    }
    assert_eq!(viewer.delta(1_001, &[1_002]).1, [(1_002, 1_001)]);
    assert_eq!(viewer.delta(1_000, &[1_000, 1_001]).1, [(1_000, 1_000), (1_001, 1_000)]);
}

mod properties {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What happens upstream or to the viewer.
    #[derive(Clone, Debug)]
    enum Event {
        /// A frame of that many packets; those whose bit is set are lost, or come after the next frame.
        Frame {
            key: bool,
            packets: u16,
            lost: u16,
            late: u16,
        },
        /// Time without frames.
        Pause(u64),
        SkipToKey,
        CacheSent,
        /// Frames that the ring had no room for.
        Missed(u16),
        /// The last frame is offered again.
        Again,
        /// New numbers; a new layer as well, or not.
        Restart {
            other_layer: bool,
            sequence: u16,
            timestamp: u32,
        },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            12 => (prop::bool::weighted(0.2), 1_u16..12, any::<u16>(), any::<u16>(), any::<u16>())
                .prop_map(|(key, packets, a, b, c)| Event::Frame { key, packets, lost: a & b & c, late: !a & b & c }),
            1 => (1_u64..20_000).prop_map(Event::Pause),
            1 => Just(Event::SkipToKey),
            1 => Just(Event::CacheSent),
            1 => (1_u16..2_000).prop_map(Event::Missed),
            2 => Just(Event::Again),
            1 => any::<(bool, u16, u32)>().prop_map(|(other_layer, sequence, timestamp)| Event::Restart { other_layer, sequence, timestamp }),
        ]
    }

    /// Everything a viewer was sent, with the identity of each packet.
    #[derive(Default)]
    struct Seen {
        /// By number counted without wrapping: which packet it was (era, number in the era).
        numbers: HashMap<i64, (u32, u64)>,
        newest: Option<(i64, u32)>,
    }

    proptest! {
        #[test]
        fn numbers_follow_the_input_and_none_is_used_twice(
            needs_key: bool,
            first_sequence: u16,
            first_timestamp: u32,
            (mut sequence, mut timestamp) in any::<(u16, u32)>(),
            events in vec(event(), 1..200),
        ) {
            let mut rewriter = Rewriter::new(RATE, needs_key, first_sequence, first_timestamp);
            let mut now = Instant::now();
            let (mut era, mut count, mut track) = (0_u32, 0_u64, 1_u64);
            let mut seen = Seen::default();
            let mut waiting: Vec<(u64, MediaPacket)> = Vec::new();
            let mut last: Option<(FramePackets, Vec<(u32, u64)>)> = None;
            for event in events {
                let mut offers = Vec::new();
                match event {
                    Event::Frame { key, packets, lost, late } => {
                        now += Duration::from_millis(33);
                        timestamp = timestamp.wrapping_add(FRAME);
                        let mut whole = frame(track, key, timestamp, &[], now);
                        let mut names = Vec::new();
                        let mut delayed = Vec::new();
                        for index in 0..packets {
                            let packet = MediaPacket { sequence, timestamp, marker: false, payload: Bytes::new() };
                            let bit = 1 << index;
                            if index > 0 && late & bit != 0 {
                                delayed.push((count, packet));
                            } else if index == 0 || lost & bit == 0 {
                                whole.packets.push(packet);
                                names.push((era, count));
                            }
                            sequence = sequence.wrapping_add(1);
                            count += 1;
                        }
                        offers.push((whole.clone(), names.clone()));
                        last = Some((whole, names));
                        for (name, packet) in std::mem::replace(&mut waiting, delayed) {
                            offers.push((FramePackets { packets: vec![packet], ..frame(track, false, 0, &[], now) }, vec![(era, name)]));
                        }
                    }
                    Event::Pause(millis) => {
                        now += Duration::from_millis(millis);
                        timestamp = timestamp.wrapping_add(millis as u32 * (RATE / 1000));
                        waiting.clear();
                    }
                    Event::SkipToKey => rewriter.skip_to_key(),
                    Event::CacheSent => rewriter.cache_sent(),
                    Event::Missed(packets) => {
                        rewriter.skip_to_key();
                        sequence = sequence.wrapping_add(packets);
                        count += u64::from(packets);
                        timestamp = timestamp.wrapping_add(FRAME);
                        now += Duration::from_millis(33);
                        waiting.clear();
                    }
                    Event::Again => offers.extend(last.clone()),
                    Event::Restart { other_layer, sequence: new, timestamp: time } => {
                        (sequence, timestamp, era, count) = (new, time, era + 1, 0);
                        track += u64::from(other_layer);
                        waiting.clear();
                        last = None;
                    }
                }
                for (offer, names) in offers {
                    let shut = rewriter.waits_for_key() && !offer.key;
                    let newest_before = seen.newest;
                    let verdict = rewriter.admit(now, &offer);
                    if verdict != Verdict::Send {
                        continue;
                    }
                    prop_assert!(!(shut && newest_before.is_none()), "video starts with a key frame");
                    for (packet, name) in offer.packets.iter().zip(names) {
                        let Some(new) = rewriter.rewrite(packet.sequence, packet.timestamp) else { continue };
                        let Some((newest, newest_time)) = seen.newest else {
                            prop_assert_eq!(new, Rewritten { sequence: first_sequence, timestamp: first_timestamp });
                            seen.newest = Some((i64::from(new.sequence), new.timestamp));
                            seen.numbers.insert(i64::from(new.sequence), name);
                            continue;
                        };
                        let step = new.sequence.wrapping_sub(newest as u16) as i16;
                        let number = newest + i64::from(step);
                        prop_assert!(seen.numbers.insert(number, name).is_none(), "number {} used twice", number);
                        prop_assert!(step > -512);
                        if step > 0 {
                            // in order, and the time does not go back
                            let before = seen.numbers[&newest];
                            prop_assert!(name > before || name.0 > before.0);
                            prop_assert!(signed(new.timestamp, newest_time) >= 0);
                            seen.newest = Some((number, new.timestamp));
                        } else {
                            // late: between its neighbours of the same era by its own distance
                            let anchor = seen.numbers[&newest];
                            prop_assert!(name.0 == anchor.0 && number - newest == name.1 as i64 - anchor.1 as i64);
                        }
                    }
                }
            }
        }

        #[test]
        fn an_open_viewer_sees_upstream_gaps_as_they_are(
            first_sequence: u16,
            (start, time) in any::<(u16, u32)>(),
            steps in vec(1_u16..100, 1..300),
        ) {
            let mut rewriter = Rewriter::new(RATE, true, first_sequence, 0);
            let now = Instant::now();
            let mut sequence = start;
            let mut key = true;
            for step in steps {
                prop_assert_eq!(rewriter.admit(now, &frame(1, key, time, &[sequence], now)), Verdict::Send);
                let new = rewriter.rewrite(sequence, time).unwrap();
                prop_assert_eq!(new.sequence.wrapping_sub(first_sequence), sequence.wrapping_sub(start));
                sequence = sequence.wrapping_add(step);
                key = false;
            }
        }
    }
}
