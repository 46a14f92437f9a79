//! What a packet costs in `forward`: nanoseconds per packet for cutting a frame once and for rewriting it per viewer.
//!
//! `cargo bench --bench forward`. Prints the median of several rounds; asserts nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use portico::forward::{FramePackets, Packetiser, Rewriter, Verdict};
use portico::vocab::{Codec, EncodedFrame, LayerId, TrackId};

/// Frames per round: 10 s of picture at 30 frames/s.
const FRAMES: u32 = 300;
const ROUNDS: usize = 31;

fn main() {
    // 2 Mbit/s at 30 frames/s, 20 Mbit/s, and one packet per frame
    for bytes in [8_000, 80_000, 1_000] {
        for codec in [Codec::H264, Codec::VP8] {
            measure_packetise(codec, bytes);
        }
    }
    measure_packetise(Codec::Opus, 160);
    measure_copies(8_000);
    measure_rewrite(8_000, 1);
    measure_rewrite(8_000, 50);
    measure_rewrite(1_000, 50);
}

fn frame(codec: Codec, bytes: usize, index: u32) -> EncodedFrame {
    let start: &[u8] = match codec {
        Codec::H264 => &[0, 0, 0, 1, 0x41],
        Codec::VP8 => &[0x11, 0, 0],
        _ => &[0xf8],
    };
    // noise without start codes, as entropy coded data is
    let body = (0..bytes).map(|n| (n as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 4);
    let data = start.iter().copied().chain(body).collect::<Vec<u8>>().into();
    EncodedFrame { codec, pts: Duration::from_millis(33) * index, key: false, data, arrived: Instant::now() }
}

fn packetiser(codec: Codec) -> Packetiser {
    Packetiser::new(LayerId { track: TrackId(1), index: 0 }, codec).expect("the codec has a packetiser")
}

fn packetised(codec: Codec, bytes: usize) -> Vec<FramePackets> {
    let mut packetiser = packetiser(codec);
    let cut = |index| FramePackets {
        key: index == 0,
        ..packetiser.packetise(&frame(codec, bytes, index)).expect("the frame is well formed")
    };
    (0..FRAMES).map(cut).collect()
}

/// Median over the rounds, in nanoseconds per packet.
fn report(what: &str, packets: usize, mut round: impl FnMut()) {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .collect();
    times.sort();
    let nanos = times[ROUNDS / 2].as_nanos() as f64 / packets as f64;
    println!("{what:<60} {nanos:8.1} ns per packet");
}

fn measure_packetise(codec: Codec, bytes: usize) {
    let frames: Vec<_> = (0..FRAMES).map(|index| frame(codec, bytes, index)).collect();
    let mut packetiser = packetiser(codec);
    let packets = frames.iter().filter_map(|frame| packetiser.packetise(frame).ok()).map(|out| out.packets.len()).sum();
    report(&format!("packetise {codec}, frames of {bytes} B"), packets, || {
        for frame in &frames {
            black_box(packetiser.packetise(frame).ok());
        }
    });
}

/// The two ways to give every packet its header: one buffer per frame shared out, or one buffer per packet.
fn measure_copies(bytes: usize) {
    const PIECE: usize = 1_144;
    let data = vec![7_u8; bytes];
    let packets = bytes.div_ceil(PIECE) * FRAMES as usize;
    report(&format!("  one buffer per frame, shared out, {bytes} B"), packets, || {
        for _ in 0..FRAMES {
            let mut buffer = BytesMut::with_capacity(bytes + 2 * bytes.div_ceil(PIECE));
            for piece in data.chunks(PIECE) {
                buffer.put_slice(&[1, 2]);
                buffer.put_slice(piece);
            }
            let buffer = buffer.freeze();
            let slice = |n| buffer.slice(n * (PIECE + 2)..buffer.len().min((n + 1) * (PIECE + 2)));
            black_box((0..bytes.div_ceil(PIECE)).map(slice).collect::<Vec<Bytes>>());
        }
    });
    report(&format!("  one buffer per packet, {bytes} B"), packets, || {
        for _ in 0..FRAMES {
            let copy = |piece: &[u8]| {
                let mut buffer = BytesMut::with_capacity(2 + piece.len());
                buffer.put_slice(&[1, 2]);
                buffer.put_slice(piece);
                buffer.freeze()
            };
            black_box(data.chunks(PIECE).map(copy).collect::<Vec<Bytes>>());
        }
    });
}

fn measure_rewrite(bytes: usize, viewers: usize) {
    let frames = packetised(Codec::H264, bytes);
    let packets: usize = frames.iter().map(|frame| frame.packets.len()).sum();
    let mut rewriters: Vec<_> = (0..viewers).map(|n| Rewriter::new(90_000, true, n as u16, n as u32)).collect();
    let start = Instant::now();
    report(&format!("rewrite for {viewers} viewers, frames of {bytes} B"), packets * viewers, || {
        rewriters.iter_mut().for_each(|rewriter| *rewriter = Rewriter::new(90_000, true, 0, 0));
        for (index, frame) in frames.iter().enumerate() {
            let now = start + Duration::from_millis(33) * index as u32;
            for rewriter in &mut rewriters {
                if rewriter.admit(now, frame) == Verdict::Send {
                    for packet in &frame.packets {
                        black_box(rewriter.rewrite(packet.sequence, packet.timestamp));
                    }
                }
            }
        }
    });
}
