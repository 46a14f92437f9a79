//! PURE. One encoding of an incoming track: packets of a turn are gathered, put in order, cut at frames and written to its layer.

use std::sync::Arc;
use std::time::Instant;

use crate::forward::{FramePackets, Layer, MediaPacket};
use crate::vocab::{Bitrate, MediaKind};

use super::ReceivedFigures;
use super::gather::Gather;
use super::keyframe::starts_key_frame;
use super::nack::{Arrival, Missing};

/// Packets gathered before they are written even within a turn: a frame of 600 kB.
const BURST_PACKETS: usize = 512;

/// One encoding.
pub(super) struct Encoding {
    /// Its name, where its packets say it.
    pub(super) rid: Option<String>,
    pub(super) layer: Arc<Layer>,
    /// The SSRC in use: declared, or of the first packet.
    pub(super) ssrc: Option<u32>,
    /// That of its retransmissions.
    pub(super) repair: Option<u32>,
    /// A key frame was asked for before it could be passed on.
    pub(super) key_wanted: bool,
    /// What is asked for again; `None` where the far end does not send again.
    pub(super) missing: Option<Missing>,
    kind: MediaKind,
    burst: Vec<MediaPacket>,
    gather: Gather,
    /// When the first of the burst came, where it waited.
    since: Option<Instant>,
    last_key: Option<u32>,
    count: Count,
    packets: u64,
    bytes: u64,
    recovered: u64,
}

/// Expected and received packets (RFC 3550 appendix A.3).
#[derive(Debug, Default)]
struct Count {
    first: Option<u64>,
    highest: u64,
    received: u64,
}

impl Count {
    fn add(&mut self, sequence: u16) {
        self.received += 1;
        match self.first {
            None => {
                // one cycle up, so that what arrives out of order at the beginning stays above zero
                let extended = 0x1_0000 + u64::from(sequence);
                (self.first, self.highest) = (Some(extended), extended);
            }
            Some(_) => {
                let ahead = sequence.wrapping_sub(self.highest as u16);
                if ahead < 0x8000 {
                    self.highest += u64::from(ahead);
                }
            }
        }
    }

    fn missing(&self) -> u64 {
        self.first.map_or(0, |first| (self.highest + 1 - first).saturating_sub(self.received))
    }
}

impl Encoding {
    pub(super) fn new(kind: MediaKind, rid: Option<String>, layer: Arc<Layer>) -> Self {
        Self {
            rid,
            layer,
            ssrc: None,
            repair: None,
            key_wanted: false,
            missing: None,
            kind,
            burst: Vec::new(),
            gather: Gather::default(),
            since: None,
            last_key: None,
            count: Count::default(),
            packets: 0,
            bytes: 0,
            recovered: 0,
        }
    }

    /// The SSRC of its packets, or of those that are sent again.
    pub(super) fn used(&self, again: bool) -> Option<u32> {
        if again { self.repair } else { self.ssrc }
    }

    /// Its packets have this SSRC from now on.
    pub(super) fn use_ssrc(&mut self, ssrc: u32) {
        if self.ssrc.replace(ssrc) != Some(ssrc) {
            self.count = Count::default();
            self.missing = self.missing.take().map(|_| Missing::default());
        }
    }

    /// Takes a packet of its own; `again` when it came as a retransmission. Senders fill the line with those of packets that have come
    /// long ago, to probe it; they are left out: an old key frame's would pass for a new one. Returns whether it was taken.
    pub(super) fn push(&mut self, now: Instant, packet: rtc::rtp::Packet, again: bool) -> bool {
        let header = packet.header;
        if let Some(missing) = &mut self.missing {
            match missing.arrived(now, header.sequence_number, again) {
                Arrival::Other if again => return false,
                Arrival::Filled { asked: true } => self.recovered += 1,
                _ => {}
            }
        }
        self.count.add(header.sequence_number);
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        if self.burst.len() < BURST_PACKETS {
            self.burst.push(MediaPacket {
                sequence: header.sequence_number,
                timestamp: header.timestamp,
                marker: header.marker,
                payload: packet.payload,
            });
        }
        true
    }

    pub(super) fn has_burst(&self) -> bool {
        !self.burst.is_empty()
    }

    /// Whether what was gathered waits for the rest of its frame: then ask again after [`PAUSE`](super::gather::PAUSE).
    pub(super) fn waits(&mut self, now: Instant) -> bool {
        let Some(base) = self.burst.first().map(|packet| packet.sequence) else { return false };
        let newest = self.burst.iter().max_by_key(|packet| packet.sequence.wrapping_sub(base) as i16);
        let several = self.burst.iter().any(|packet| packet.timestamp != self.burst[0].timestamp);
        let ended = several || newest.is_some_and(|packet| packet.marker);
        let whole = self.kind == MediaKind::Audio || self.burst.len() == BURST_PACKETS || ended;
        let began = self.gather.since();
        let waits = self.gather.wait(now, self.burst.len(), whole);
        self.since = began.or(self.gather.since());
        waits
    }

    /// Writes what was gathered to the layer, one write per frame in it. Returns the payload bytes.
    pub(super) fn write(&mut self, now: Instant) -> u64 {
        let mut burst = std::mem::take(&mut self.burst);
        let now = self.since.take().unwrap_or(now);
        let Some(base) = burst.first().map(|packet| packet.sequence) else { return 0 };
        burst.sort_by_key(|packet| packet.sequence.wrapping_sub(base) as i16);
        let bytes = burst.iter().map(|packet| packet.payload.len() as u64).sum();
        let mut frame: Vec<MediaPacket> = Vec::new();
        let mut key = false;
        for packet in burst {
            let starts = self.last_key != Some(packet.timestamp) && starts_key_frame(self.layer.format().codec, &packet.payload);
            if starts {
                self.last_key = Some(packet.timestamp);
            }
            if starts || frame.last().is_some_and(|last| last.timestamp != packet.timestamp) {
                self.write_frame(now, key, std::mem::take(&mut frame));
                key = starts;
            }
            frame.push(packet);
        }
        self.write_frame(now, key, frame);
        bytes
    }

    fn write_frame(&self, now: Instant, key: bool, packets: Vec<MediaPacket>) {
        if !packets.is_empty() {
            self.layer.write(FramePackets { layer: self.layer.id(), key, packets, arrived: now });
        }
    }

    /// Packets that never came.
    pub(super) fn lost(&self) -> u64 {
        self.count.missing()
    }

    /// What happened so far.
    pub(super) fn figures(&self, now: Instant) -> ReceivedFigures {
        ReceivedFigures {
            kind: self.kind,
            rid: self.rid.clone(),
            layer: self.layer.id().index,
            packets: self.packets,
            bytes: self.bytes,
            packets_lost: self.lost(),
            recovered: self.recovered,
            bitrate: Bitrate::from_bps(self.layer.bitrate(now)),
            watched: self.layer.figures().sinks > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{FrameSink, KeyframeRequest, Offered, Refresh, SinkId};
    use crate::vocab::{Codec, LayerId, TrackFormat, TrackId};
    use std::sync::Mutex;

    struct Nobody;
    impl KeyframeRequest for Nobody {
        fn request(&self) {}
    }

    #[derive(Default)]
    struct Frames(Mutex<Vec<(bool, Vec<u16>)>>);
    impl FrameSink for Frames {
        fn offer(&self, frame: &Arc<FramePackets>) -> Offered {
            self.0.lock().unwrap().push((frame.key, frame.packets.iter().map(|packet| packet.sequence).collect()));
            Offered::Taken
        }
    }

    fn encoding() -> (Encoding, Arc<Frames>) {
        let track = TrackId(1);
        let layer = Arc::new(Layer::new(
            LayerId { track, index: 0 },
            TrackFormat::plain(Codec::VP8),
            Refresh::OnRequest,
            Box::new(Nobody),
        ));
        let frames = Arc::new(Frames::default());
        layer.attach(SinkId(0), frames.clone());
        (Encoding::new(MediaKind::Video, None, layer), frames)
    }

    fn packet(sequence: u16, timestamp: u32, payload: &[u8]) -> rtc::rtp::Packet {
        let header = rtc::rtp::Header { sequence_number: sequence, timestamp, ssrc: 7, payload_type: 96, ..Default::default() };
        rtc::rtp::Packet { header, payload: bytes::Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn a_burst_is_ordered_and_cut_at_frames() {
        let (mut encoding, frames) = encoding();
        for (sequence, timestamp, payload) in
            [(1, 10, [0x10, 1]), (65535, 5, [0x10, 1]), (0, 5, [0, 0]), (2, 20, [0x10, 0]), (3, 20, [0, 9])]
        {
            encoding.push(Instant::now(), packet(sequence, timestamp, &payload), false);
        }
        encoding.write(Instant::now());
        assert_eq!(*frames.0.lock().unwrap(), [(false, vec![65535, 0]), (false, vec![1]), (true, vec![2, 3])]);
    }

    #[test]
    fn a_key_frame_begins_once_though_it_comes_in_two_bursts() {
        let (mut encoding, frames) = encoding();
        encoding.push(Instant::now(), packet(1, 10, &[0x10, 0]), false);
        encoding.write(Instant::now());
        encoding.push(Instant::now(), packet(2, 10, &[0x10, 0]), false);
        encoding.write(Instant::now());
        assert_eq!(*frames.0.lock().unwrap(), [(true, vec![1]), (false, vec![2])]);
    }

    #[test]
    fn what_is_sent_again_is_taken_where_it_is_missing() {
        let (mut encoding, frames) = encoding();
        encoding.missing = Some(Missing::default());
        let now = Instant::now();
        let mut take = |sequence, timestamp, again| {
            let taken = encoding.push(now, packet(sequence, timestamp, &[0x10, 0]), again);
            encoding.write(now);
            taken
        };
        assert!(take(1, 10, false) && take(3, 30, false));
        assert!(!take(1, 10, true) && take(2, 20, true) && !take(2, 20, true));
        assert_eq!(*frames.0.lock().unwrap(), [(true, vec![1]), (true, vec![3]), (true, vec![2])]);
        assert_eq!((encoding.packets, encoding.lost()), (3, 0));
    }

    #[test]
    fn missing_packets_are_counted_over_the_wrap() {
        let mut count = Count::default();
        [65534, 65535, 1, 2, 0, 5].into_iter().for_each(|sequence| count.add(sequence));
        assert_eq!(count.missing(), 2);
    }
}
