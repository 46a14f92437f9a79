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
