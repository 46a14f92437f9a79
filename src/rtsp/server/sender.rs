//! PURE. RTP of one track for one viewer, and the reports that keep sound and picture together (RFC 3550).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::forward::{FramePackets, Layer, Layers, MediaPacket, Refresh, Rewriter, Rewritten, Verdict};
use crate::vocab::MediaKind;

/// From one sender report to the next.
const REPORT_SPACING: Duration = Duration::from_secs(5);
/// A layer that stays the best for so many looks, a second apart, is taken. One that is silent is left at once.
const PATIENCE: u32 = 5;

/// Of RTP without extensions.
pub const RTP_HEAD: usize = 12;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Their payload.
    pub bytes: u64,
    /// Frames left out because the viewer was behind or waited for a key frame.
    pub dropped: u64,
}

/// One track of one viewer.
#[derive(Debug)]
pub struct Track {
    payload_type: u8,
    ssrc: u32,
    rewriter: Rewriter,
    layers: Layers,
    layer: LayerOf,
    /// Another one looks better, for so many looks.
    better: u32,
    sent: Sent,
    /// RTP time of the newest frame, and when it was taken.
    newest: Option<(u32, Instant)>,
    reported: Option<Instant>,
}

struct LayerOf(Arc<Layer>);

impl std::fmt::Debug for LayerOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0.id())
    }
}

/// How a track goes on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Of its packets.
    pub payload_type: u8,
    /// Of its packets.
    pub ssrc: u32,
    /// The number of the first.
    pub sequence: u16,
    /// The time of the first.
    pub timestamp: u32,
}

impl Track {
    /// A track that was sent nothing yet.
    pub fn new(now: Instant, layers: Layers, way: Way) -> Self {
        let layer = choose(now, &layers);
        let codec = layer.format().codec;
        let needs_key = codec.kind() == MediaKind::Video;
        Self {
            payload_type: way.payload_type,
            ssrc: way.ssrc,
            rewriter: Rewriter::new(codec.clock_rate(), needs_key, way.sequence, way.timestamp),
            layers,
            layer: LayerOf(layer),
            better: 0,
            sent: Sent::default(),
            newest: None,
            reported: None,
        }
    }

    /// The layer that it is sent.
    pub fn layer(&self) -> &Arc<Layer> {
        &self.layer.0
    }

    /// What was sent.
    pub fn sent(&self) -> Sent {
        Sent { dropped: self.rewriter.figures().dropped, ..self.sent }
    }

    /// Hands the packets of a frame to `send`, head and payload, unless the viewer must wait.
    pub fn frame(&mut self, now: Instant, frame: &FramePackets, mut send: impl FnMut(&[u8; RTP_HEAD], &[u8])) {
        if self.rewriter.admit(now, frame) != Verdict::Send {
            return;
        }
        for packet in &frame.packets {
            let Some(rewritten) = self.rewriter.rewrite(packet.sequence, packet.timestamp) else { continue };
            self.sent.packets += 1;
            self.sent.bytes += packet.payload.len() as u64;
            // an older frame says nothing of now
            if self.newest.is_none_or(|(newest, _)| (rewritten.timestamp.wrapping_sub(newest) as i32) > 0) {
                self.newest = Some((rewritten.timestamp, frame.arrived));
            }
            send(&self.head(packet, rewritten), &packet.payload);
        }
    }

    /// What the layer had for a joiner was sent: what follows is live. Asks for a key frame where one is needed.
    pub fn joined(&mut self, now: Instant) {
        if self.layer.0.refresh() == Refresh::OnRequest {
            self.rewriter.cache_sent();
        }
        self.ask_for_key(now);
    }

    /// Frames are missing: it goes on at the next key frame, which is asked for.
    pub fn skipped(&mut self, now: Instant) {
        self.rewriter.skip_to_key();
        self.ask_for_key(now);
    }

    /// Looks once a second; the layer to change over to, where another is better now. Sound and what has one layer never change.
    pub fn look(&mut self, now: Instant) -> Option<Arc<Layer>> {
        self.ask_for_key(now);
        let best = choose(now, &self.layers);
        let current = Arc::clone(&self.layer.0);
        if best.id() == current.id() || best.bitrate(now) == 0 {
            self.better = 0;
            return None;
        }
        self.better += 1;
        if current.bitrate(now) > 0 && self.better < PATIENCE {
            return None;
        }
        self.better = 0;
        self.layer = LayerOf(Arc::clone(&best));
        self.skipped(now);
        Some(best)
    }

    /// The report that is due: the first with the first live packet, so that a player never guesses how sound and picture lie to each other.
    pub fn report(&mut self, now: Instant, ntp: u64, name: &str) -> Option<Vec<u8>> {
        let due = self.reported.is_none_or(|last| now.saturating_duration_since(last) >= REPORT_SPACING);
        if !due || self.rewriter.waits_for_key() {
            return None;
        }
        let report = self.sender_report(now, ntp)?;
        self.reported = Some(now);
        Some([report.as_slice(), &self.source_description(name)].concat())
    }

    /// What is said at the end (section 6.6): a report, and a goodbye.
    pub fn goodbye(&self, now: Instant, ntp: u64) -> Vec<u8> {
        let [a, b, c, d] = self.ssrc.to_be_bytes();
        // without anything sent, the empty report of a receiver
        let report = self.sender_report(now, ntp).unwrap_or_else(|| vec![0x80, 201, 0, 1, a, b, c, d]);
        [report.as_slice(), &[0x81, 203, 0, 1, a, b, c, d]].concat()
    }

    fn ask_for_key(&self, now: Instant) {
        if self.rewriter.waits_for_key() {
            self.layer.0.request_keyframe(now);
        }
    }

    /// Section 5.1.
    fn head(&self, packet: &MediaPacket, rewritten: Rewritten) -> [u8; RTP_HEAD] {
        let mut head = [0; RTP_HEAD];
        head[0] = 0x80;
        head[1] = self.payload_type | if packet.marker { 0x80 } else { 0 };
        head[2..4].copy_from_slice(&rewritten.sequence.to_be_bytes());
        head[4..8].copy_from_slice(&rewritten.timestamp.to_be_bytes());
        head[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        head
    }

    /// Section 6.4.1.
    fn sender_report(&self, now: Instant, ntp: u64) -> Option<Vec<u8>> {
        let (newest, at) = self.newest?;
        let rate = u128::from(self.layer.0.format().codec.clock_rate());
        let passed = now.saturating_duration_since(at).as_micros() * rate / 1_000_000;
        let mut report = vec![0x80, 200, 0, 6];
        report.extend(self.ssrc.to_be_bytes());
        report.extend(ntp.to_be_bytes());
        report.extend(newest.wrapping_add(passed as u32).to_be_bytes());
        report.extend((self.sent.packets as u32).to_be_bytes());
        report.extend((self.sent.bytes as u32).to_be_bytes());
        Some(report)
    }

    /// Section 6.5: the name tells which tracks belong together.
    fn source_description(&self, name: &str) -> Vec<u8> {
        let name = &name.as_bytes()[..name.len().min(32)];
        let mut chunk = self.ssrc.to_be_bytes().to_vec();
        chunk.extend([1, name.len() as u8]);
        chunk.extend(name);
        // one zero ends the list, more fill up to four bytes
        chunk.resize((chunk.len() + 1).next_multiple_of(4), 0);
        let mut packet = vec![0x81, 202, 0, (chunk.len() / 4) as u8];
        packet.extend(chunk);
        packet
    }
}

/// The layer to send. Who encodes by what viewers tell makes the largest for who tells nothing; a publisher's encodings come and go.
fn choose(now: Instant, layers: &Layers) -> Arc<Layer> {
    match layers.appetite() {
        Some(_) => Arc::clone(layers.first()),
        None => Arc::clone(layers.flowing(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::KeyframeRequest;
    use crate::vocab::{Codec, LayerId, TrackFormat, TrackId};

    struct Nobody;
    impl KeyframeRequest for Nobody {
        fn request(&self) {}
    }

    const WAY: Way = Way { payload_type: 96, ssrc: 0x0a0b_0c0d, sequence: 65535, timestamp: 1000 };

    fn layer(index: u8) -> Arc<Layer> {
        let id = LayerId { track: TrackId(1), index };
        Arc::new(Layer::new(id, TrackFormat::plain(Codec::VP8), Refresh::OnRequest, Box::new(Nobody)))
    }

    fn frame(layer: &Layer, key: bool, sequence: u16, timestamp: u32, arrived: Instant) -> FramePackets {
        let packet = |step: u16| MediaPacket {
            sequence: sequence.wrapping_add(step),
            timestamp,
            marker: step == 1,
            payload: vec![step as u8; 10].into(),
        };
        FramePackets { layer: layer.id(), key, packets: vec![packet(0), packet(1)], arrived }
    }

    /// Number, time and marker of each packet.
    fn sent(track: &mut Track, now: Instant, frame: &FramePackets) -> Vec<(u16, u32, bool)> {
        let mut sent = Vec::new();
        track.frame(now, frame, |head, payload| {
            assert_eq!((head[0], head[1] & 0x7f, payload.len()), (0x80, 96, 10));
            assert_eq!(head[8..], [0x0a, 0x0b, 0x0c, 0x0d]);
            let timestamp = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            sent.push((u16::from_be_bytes([head[2], head[3]]), timestamp, head[1] & 0x80 != 0));
        });
        sent
    }

    #[test]
    fn a_track_begins_with_a_key_frame_at_the_numbers_that_were_told() {
        let (now, layer) = (Instant::now(), layer(0));
        let mut track = Track::new(now, Arc::clone(&layer).into(), WAY);
        assert_eq!(sent(&mut track, now, &frame(&layer, false, 7, 90_000, now)), []);
        assert_eq!(track.report(now, 0, "name"), None, "nothing was sent");
        assert_eq!(sent(&mut track, now, &frame(&layer, true, 9, 93_000, now)), [(65535, 1000, false), (0, 1000, true)]);
        track.skipped(now);
        assert_eq!(sent(&mut track, now, &frame(&layer, false, 11, 96_000, now)), []);
        assert_eq!(track.sent(), Sent { packets: 2, bytes: 20, dropped: 2 });
    }

    #[test]
    fn reports_say_which_time_is_now_and_what_belongs_together() {
        let (now, layer) = (Instant::now(), layer(0));
        let mut track = Track::new(now, Arc::clone(&layer).into(), WAY);
        sent(&mut track, now, &frame(&layer, true, 9, 93_000, now));
        let second = now + Duration::from_secs(1);
        let report = track.report(second, 0x0102_0304_0506_0708, "name").unwrap();
        let ssrc = [0x0a, 0x0b, 0x0c, 0x0d];
        let mut expected = [&[0x80, 200, 0, 6], &ssrc[..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        expected.extend((1000u32 + 90_000).to_be_bytes());
        expected.extend([0, 0, 0, 2, 0, 0, 0, 20]);
        expected.extend([0x81, 202, 0, 3]);
        expected.extend(ssrc);
        expected.extend([1, 4, b'n', b'a', b'm', b'e', 0, 0]);
        assert_eq!(report, expected);
        assert_eq!(track.report(second, 0, "name"), None, "not so soon");
        assert!(track.report(second + REPORT_SPACING, 0, "name").is_some());
        assert!(track.goodbye(second, 0).ends_with(&[0x81, 203, 0, 1, 0x0a, 0x0b, 0x0c, 0x0d]));
        let silent = Track::new(now, Arc::clone(&layer).into(), WAY);
        assert!(silent.goodbye(now, 0).starts_with(&[0x80, 201, 0, 1]));
    }

    #[test]
    fn an_encoding_that_falls_silent_is_left_for_one_that_flows() {
        let start = Instant::now();
        let (large, small) = (layer(0), layer(1));
        let layers = Layers::new(vec![Arc::clone(&large), Arc::clone(&small)]).unwrap();
        let write = |layer: &Layer, at: Instant, copies: usize| {
            for _ in 0..copies {
                layer.write(frame(layer, true, 0, 0, at));
            }
        };
        write(&large, start, 10);
        let mut track = Track::new(start, layers, WAY);
        assert_eq!(track.layer().id(), large.id());
        let later = start + Duration::from_secs(4);
        write(&small, later, 1);
        assert_eq!(track.look(later).map(|layer| layer.id()), Some(small.id()));
        assert!(track.look(later).is_none());
        // a larger one is taken once it stays
        for second in 0..PATIENCE {
            let now = later + Duration::from_secs(u64::from(second));
            write(&small, now, 1);
            write(&large, now, 10);
            assert_eq!(track.look(now).is_some(), second + 1 == PATIENCE, "{second}");
        }
        assert_eq!(track.layer().id(), large.id());
    }
}
