//! Opus payloads (RFC 7587): one Opus packet per RTP packet, as it is.

use std::time::Duration;

use bytes::Bytes;

use super::{Cut, Marker, Packetiser};

/// Remembers when the sound sent so far ends.
#[derive(Debug, Default)]
pub(super) struct Opus {
    /// Start and length of the last packet.
    last: Option<(Duration, Duration)>,
}

impl Opus {
    pub(super) fn cut(&mut self, data: &Bytes, pts: Duration) -> Result<Cut, &'static str> {
        let length = packet_length(data).ok_or("it is empty")?;
        if data.len() > Packetiser::MAX_PAYLOAD {
            return Err("it is larger than a packet, and sound is not split");
        }
        // half a packet of slack: capture clocks jitter, a silence is at least one packet long
        let goes_on = self.last.is_some_and(|(start, length)| pts >= start && pts <= start + length + length / 2);
        self.last = Some((pts, length));
        // RFC 7587 §4.1: the first packet after silence carries the marker
        let marker = if goes_on { Marker::None } else { Marker::Last };
        Ok(Cut { key: true, payloads: vec![data.clone()], marker })
    }
}

/// How long an Opus packet sounds, from its first bytes (RFC 6716 §3.1 and §3.2). `None` when empty. A code 3 packet without its
/// count counts as one frame.
fn packet_length(data: &[u8]) -> Option<Duration> {
    let toc = *data.first()?;
    let frame_us = match toc >> 3 {
        config @ 0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        config @ 12..=15 => [10_000, 20_000][usize::from(config % 2)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => data.get(1).map_or(1, |count| u64::from(count & 0x3f).max(1)),
    };
    Some(Duration::from_micros(frame_us * frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_follows_the_first_byte() {
        let millis = |data: &[u8]| packet_length(data).map(|length| length.as_micros() as f64 / 1000.0);
        assert_eq!(millis(&[]), None);
        assert_eq!(millis(&[31 << 3]), Some(20.0), "CELT fullband 20 ms");
        assert_eq!(millis(&[16 << 3 | 1]), Some(5.0), "two of 2.5 ms");
        assert_eq!(millis(&[3 << 3]), Some(60.0), "SILK 60 ms");
        assert_eq!(millis(&[13 << 3 | 3, 3]), Some(60.0), "hybrid, three of 20 ms");
        assert_eq!(millis(&[13 << 3 | 3]), Some(20.0));
    }

    #[test]
    fn marker_stands_on_the_first_packet_and_after_silence() {
        let mut opus = Opus::default();
        let packet = Bytes::from_static(&[31 << 3, 1, 2]);
        let mut marker = |millis| opus.cut(&packet, Duration::from_millis(millis)).unwrap().marker;
        assert_eq!(marker(0), Marker::Last);
        assert_eq!(marker(20), Marker::None);
        assert_eq!(marker(41), Marker::None);
        assert_eq!(marker(100), Marker::Last);
        assert_eq!(marker(120), Marker::None);
        assert_eq!(marker(0), Marker::Last);
    }
}
