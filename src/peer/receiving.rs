//! PURE. One incoming track: packets of a turn are gathered, put in order, cut at frames and written to the layer.

use std::sync::Arc;
use std::time::Instant;

use crate::forward::{FramePackets, Layer, MediaPacket};
use crate::vocab::{MediaKind, TrackId};

use super::gather::Gather;
use super::keyframe::starts_key_frame;

/// Packets gathered before they are written even within a turn: a frame of 600 kB.
const BURST_PACKETS: usize = 512;

/// One incoming track.
pub(super) struct Receiving {
    pub(super) mid: String,
    pub(super) kind: MediaKind,
    pub(super) track: TrackId,
    pub(super) layer: Arc<Layer>,
    pub(super) pt: u8,
    /// The SSRC in use: declared, or of the first packet.
    pub(super) ssrc: Option<u32>,
    /// A key frame was asked for before it could be passed on.
    pub(super) key_wanted: bool,
    pub(super) flowing: bool,
    /// Packets of undeclared SSRCs are this track's if they have its payload type.
    open: bool,
    burst: Vec<MediaPacket>,
    gather: Gather,
    /// When the first of the burst came, where it waited.
    since: Option<Instant>,
    last_key: Option<u32>,
    count: Count,
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

impl Receiving {
    pub(super) fn new(mid: &str, kind: MediaKind, track: TrackId, layer: Arc<Layer>) -> Self {
        Self {
            mid: mid.into(),
            kind,
            track,
            layer,
            pt: 0,
            ssrc: None,
            key_wanted: false,
            flowing: false,
            open: true,
            burst: Vec::new(),
            gather: Gather::default(),
            since: None,
            last_key: None,
            count: Count::default(),
        }
    }

    /// What the newest description says of it.
    pub(super) fn declare(&mut self, pt: u8, ssrc: Option<u32>, open: bool) {
        self.pt = pt;
        self.open = open;
        if ssrc.is_some() && ssrc != self.ssrc {
            self.ssrc = ssrc;
            self.count = Count::default();
        }
    }

    /// Takes a packet; `bound` when the engine knows its stream. Returns whether it belongs to the track.
    pub(super) fn push(&mut self, packet: rtc::rtp::Packet, bound: bool) -> bool {
        let header = packet.header;
        let ours = bound || (self.open && self.ssrc.is_none_or(|ssrc| ssrc == header.ssrc));
        if !ours {
            return false;
        }
        if self.ssrc != Some(header.ssrc) {
            self.ssrc = Some(header.ssrc);
            self.count = Count::default();
        }
        self.count.add(header.sequence_number);
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
    pub(super) fn missing(&self) -> u64 {
        self.count.missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{FrameSink, KeyframeRequest, Offered, Refresh, SinkId};
    use crate::vocab::{Codec, LayerId, TrackFormat};
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

    fn receiving() -> (Receiving, Arc<Frames>) {
        let track = TrackId(1);
        let layer = Arc::new(Layer::new(
            LayerId { track, index: 0 },
            TrackFormat::plain(Codec::VP8),
            Refresh::OnRequest,
            Box::new(Nobody),
        ));
        let frames = Arc::new(Frames::default());
        layer.attach(SinkId(0), frames.clone());
        let mut receiving = Receiving::new("0", MediaKind::Video, track, layer);
        receiving.declare(96, None, true);
        (receiving, frames)
    }

    fn packet(sequence: u16, timestamp: u32, payload: &[u8]) -> rtc::rtp::Packet {
        let header = rtc::rtp::Header { sequence_number: sequence, timestamp, ssrc: 7, payload_type: 96, ..Default::default() };
        rtc::rtp::Packet { header, payload: bytes::Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn a_burst_is_ordered_and_cut_at_frames() {
        let (mut receiving, frames) = receiving();
        for (sequence, timestamp, payload) in
            [(1, 10, [0x10, 1]), (65535, 5, [0x10, 1]), (0, 5, [0, 0]), (2, 20, [0x10, 0]), (3, 20, [0, 9])]
        {
            assert!(receiving.push(packet(sequence, timestamp, &payload), true));
        }
        receiving.write(Instant::now());
        assert_eq!(*frames.0.lock().unwrap(), [(false, vec![65535, 0]), (false, vec![1]), (true, vec![2, 3])]);
    }

    #[test]
    fn a_key_frame_begins_once_though_it_comes_in_two_bursts() {
        let (mut receiving, frames) = receiving();
        receiving.push(packet(1, 10, &[0x10, 0]), true);
        receiving.write(Instant::now());
        receiving.push(packet(2, 10, &[0x10, 0]), true);
        receiving.write(Instant::now());
        assert_eq!(*frames.0.lock().unwrap(), [(true, vec![1]), (false, vec![2])]);
    }

    #[test]
    fn undeclared_streams_are_taken_only_where_there_is_one() {
        let (mut receiving, _) = receiving();
        assert!(receiving.push(packet(1, 1, &[1]), false));
        let mut other = packet(1, 1, &[1]);
        other.header.ssrc = 8;
        assert!(!receiving.push(other.clone(), false));
        receiving.declare(96, None, false);
        assert!(!receiving.push(packet(2, 1, &[1]), false));
    }

    #[test]
    fn missing_packets_are_counted_over_the_wrap() {
        let mut count = Count::default();
        [65534, 65535, 1, 2, 0, 5].into_iter().for_each(|sequence| count.add(sequence));
        assert_eq!(count.missing(), 2);
    }
}
