use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use bytes::Bytes;

use super::*;
use crate::forward::{MediaPacket, Rewriter, Verdict};
use crate::vocab::{Codec, TrackId};

/// Counts requests.
#[derive(Clone, Default)]
struct Requests(Arc<AtomicU32>);

impl KeyframeRequest for Requests {
    fn request(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A ring of given size.
struct Ring {
    frames: Mutex<Vec<Arc<FramePackets>>>,
    size: usize,
    gone: AtomicBool,
}

impl Ring {
    fn of(size: usize) -> Arc<Self> {
        Arc::new(Self { frames: Mutex::default(), size, gone: AtomicBool::new(false) })
    }

    fn sequences(&self) -> Vec<u16> {
        self.frames.lock().unwrap().iter().map(|frame| frame.packets[0].sequence).collect()
    }
}

impl FrameSink for Ring {
    fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
        let mut frames = self.frames.lock().unwrap();
        if self.gone.load(Ordering::Relaxed) {
            Offered::Gone
        } else if frames.len() == self.size {
            Offered::Full
        } else {
            frames.push(Arc::clone(frame));
            Offered::Taken
        }
    }
}

fn layer(refresh: Refresh) -> (Layer, Requests) {
    let requests = Requests::default();
    let id = LayerId { track: TrackId(1), index: 0 };
    (Layer::new(id, TrackFormat::plain(Codec::VP8), refresh, Box::new(requests.clone())), requests)
}

fn frame(key: bool, timestamp: u32, sequence: u16, bytes: usize, arrived: Instant) -> FramePackets {
    let packet = MediaPacket { sequence, timestamp, marker: true, payload: Bytes::from(vec![0; bytes]) };
    FramePackets { layer: LayerId { track: TrackId(1), index: 0 }, key, packets: vec![packet], arrived }
}

fn cached(layer: &Layer) -> Vec<u16> {
    layer.cached().iter().map(|frame| frame.packets[0].sequence).collect()
}

#[test]
fn only_the_key_frame_with_all_its_bursts_is_cached_on_request() {
    let (layer, _) = layer(Refresh::OnRequest);
    let now = Instant::now();
    layer.write(frame(false, 0, 1, 10, now));
    assert!(cached(&layer).is_empty());
    for (key, timestamp, sequence) in [(true, 1, 2), (false, 1, 4), (false, 2, 5), (false, 1, 3)] {
        layer.write(frame(key, timestamp, sequence, 10, now));
    }
    assert_eq!(cached(&layer), [2, 4, 3]);
    layer.write(frame(true, 3, 6, 10, now));
    assert_eq!(cached(&layer), [6]);
}

#[test]
fn the_group_since_the_key_frame_is_cached_for_replay() {
    let (layer, _) = layer(Refresh::ReplayGroup);
    let now = Instant::now();
    for (key, sequence) in [(false, 1), (true, 2), (false, 3), (false, 4)] {
        layer.write(frame(key, u32::from(sequence), sequence, 10, now));
    }
    assert_eq!(cached(&layer), [2, 3, 4]);
}

#[test]
fn sound_is_not_cached_and_needs_no_key_frame() {
    let (layer, requests) = layer(Refresh::Always);
    layer.write(frame(true, 0, 1, 10, Instant::now()));
    assert!(cached(&layer).is_empty());
    assert!(!layer.request_keyframe(Instant::now()));
    assert_eq!(requests.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_group_that_outgrows_the_cache_is_forgotten_until_the_next_key_frame() {
    let now = Instant::now();
    for (bytes, frames) in [(Layer::CACHE_BYTES / 4, 5), (1, Layer::CACHE_FRAMES as u16 + 1)] {
        let (layer, _) = layer(Refresh::ReplayGroup);
        for sequence in 0..frames {
            assert_eq!(cached(&layer).len(), usize::from(sequence));
            layer.write(frame(sequence == 0, 0, sequence, bytes, now));
        }
        layer.write(frame(false, 1, frames, 1, now));
        assert!(cached(&layer).is_empty());
        layer.write(frame(true, 2, frames + 1, 1, now));
        assert_eq!(cached(&layer), [frames + 1]);
    }
}

#[test]
fn requests_close_together_become_one() {
    let (layer, requests) = layer(Refresh::OnRequest);
    let start = Instant::now();
    assert!(layer.request_keyframe(start));
    assert!(!layer.request_keyframe(start + Layer::REQUEST_SPACING / 2));
    assert!(layer.request_keyframe(start + Layer::REQUEST_SPACING));
    assert_eq!((requests.0.load(Ordering::Relaxed), layer.figures().key_requests), (2, 2));
}

#[test]
fn a_request_held_back_is_made_up_for_unless_a_key_frame_came() {
    let (layer, requests) = layer(Refresh::OnRequest);
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let made = || requests.0.load(Ordering::Relaxed);
    layer.request_keyframe(start);
    layer.write(frame(true, 0, 1, 10, at(50)));
    layer.request_keyframe(at(300));
    layer.write(frame(false, 1, 2, 10, at(499)));
    assert_eq!(made(), 1);
    layer.write(frame(false, 2, 3, 10, at(533)));
    assert_eq!(made(), 2);
    layer.write(frame(false, 3, 4, 10, at(2_000)));
    assert_eq!(made(), 2);
    layer.request_keyframe(at(2_000));
    layer.request_keyframe(at(2_100));
    layer.write(frame(true, 4, 5, 10, at(2_200)));
    layer.write(frame(false, 5, 6, 10, at(3_000)));
    assert_eq!(made(), 3);
}

#[test]
fn a_full_ring_is_counted_and_one_that_is_gone_is_detached() {
    let (layer, _) = layer(Refresh::OnRequest);
    let now = Instant::now();
    let (small, large) = (Ring::of(1), Ring::of(9));
    layer.attach(SinkId(0), small.clone());
    layer.attach(SinkId(1), large.clone());
    layer.write(frame(true, 0, 1, 10, now));
    layer.write(frame(false, 1, 2, 10, now));
    small.gone.store(true, Ordering::Relaxed);
    layer.write(frame(false, 2, 3, 10, now));
    assert_eq!((small.sequences(), large.sequences()), (vec![1], vec![1, 2, 3]));
    layer.attach(SinkId(1), Ring::of(9));
    layer.write(FramePackets { packets: Vec::new(), ..frame(false, 3, 0, 0, now) });
    let expected = LayerFigures { frames: 3, packets: 3, bytes: 30, key_frames: 1, overruns: 1, sinks: 1, key_requests: 0 };
    assert_eq!(layer.figures(), expected);
    layer.detach(SinkId(1));
    assert_eq!((layer.figures().sinks, large.sequences().len()), (0, 3));
}

#[test]
fn a_frame_written_between_attaching_and_reading_the_cache_is_sent_once() {
    for (refresh, key, expected) in [
        (Refresh::ReplayGroup, false, [Verdict::Send, Verdict::Send, Verdict::Old, Verdict::Send].as_slice()),
        (Refresh::OnRequest, true, &[Verdict::Send, Verdict::Old, Verdict::Send]),
    ] {
        let (layer, _) = layer(refresh);
        let now = Instant::now();
        layer.write(frame(true, 0, 1, 10, now));
        let ring = Ring::of(9);
        layer.attach(SinkId(0), ring.clone());
        layer.write(frame(key, 1, 2, 10, now));
        let cached = layer.cached();
        layer.write(frame(false, 2, 3, 10, now));
        let mut rewriter = Rewriter::new(90_000, true, 0, 0);
        let mut verdicts = Vec::new();
        let mut give = |rewriter: &mut Rewriter, frame: &FramePackets| {
            verdicts.push(rewriter.admit(now, frame));
            rewriter.rewrite(frame.packets[0].sequence, frame.packets[0].timestamp);
        };
        cached.iter().for_each(|frame| give(&mut rewriter, frame));
        if refresh == Refresh::OnRequest {
            rewriter.cache_sent();
        }
        ring.frames.lock().unwrap().iter().for_each(|frame| give(&mut rewriter, frame));
        assert_eq!(verdicts, expected);
    }
}

/// Joins again and again while another thread writes; every joiner must see an unbroken row from a key frame to the end.
#[test]
fn a_joiner_misses_nothing_and_sends_nothing_twice() {
    const FRAMES: u16 = 60_000;
    const GROUP: u16 = 100;
    let (layer, _) = layer(Refresh::ReplayGroup);
    let start = Instant::now();
    let write = |n: u16| {
        layer.write(frame(n.is_multiple_of(GROUP), u32::from(n) * 3_000, n, 0, start));
        if n.is_multiple_of(8) {
            thread::yield_now();
        }
    };
    let done = AtomicBool::new(false);
    let join = |shard: usize| {
        let mut joined = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let ring = Ring::of(usize::MAX);
            layer.attach(SinkId(shard), ring.clone());
            let cached = layer.cached();
            let seen = ring.sequences().len();
            while ring.sequences().len() < seen + 20 && !done.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            layer.detach(SinkId(shard));
            joined.push((ring, cached));
        }
        joined
    };
    let join = &join;
    let joined: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            (0..FRAMES).for_each(write);
            done.store(true, Ordering::Relaxed);
        });
        let joiners: Vec<_> = (0..2).map(|shard| scope.spawn(move || join(shard))).collect();
        joiners.into_iter().flat_map(|joiner| joiner.join().unwrap()).collect()
    });
    for (ring, cached) in joined {
        let live = ring.frames.lock().unwrap();
        // a joiner that lost its core between the two calls: no real ring is long enough to hold so much of the past
        let overlap =
            |live: &FramePackets, cached: &FramePackets| cached.packets[0].sequence.saturating_sub(live.packets[0].sequence);
        if live.first().zip(cached.last()).is_some_and(|(live, cached)| overlap(live, cached) > 1_000) {
            continue;
        }
        let end = live.last().or(cached.last()).map(|frame| frame.packets[0].sequence);
        let mut rewriter = Rewriter::new(90_000, true, 0, 0);
        let mut sent = Vec::new();
        for frame in cached.iter().chain(live.iter()) {
            if rewriter.admit(start, frame) == Verdict::Send {
                let source = frame.packets[0].sequence;
                sent.push((source, rewriter.rewrite(source, frame.packets[0].timestamp).unwrap().sequence));
            }
        }
        let Some((first, _)) = sent.first().copied() else { continue };
        assert_eq!(first % GROUP, 0);
        assert_eq!(sent.last().map(|(source, _)| *source), end);
        assert!(sent.iter().enumerate().all(|(n, (source, number))| *number == n as u16 && *source == first + n as u16));
    }
}
