//! What passes between engine and network that the engine keeps to itself: key-frame requests, reports, NACKs. An interceptor next to
//! the network writes it down; the connection takes it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::{MAX_LANES, wall};

/// Key-frame requests kept; more in one turn say nothing new.
const REQUESTS: usize = 32;

/// Streams of each side that reports are kept of: as many as a connection with all its lanes has.
const STREAMS: usize = 2 * MAX_LANES;

/// Packets asked for again that are kept until the connection takes them; a budget limits how many of them are sent.
const NACKS: usize = 512;

/// Reports kept until the connection takes them, which it does after every datagram of them; nobody takes them where nothing is received.
const SENDER_REPORTS: usize = 2 * STREAMS;
/// Words about arrival kept until the connection takes them, which it does after every datagram; nobody takes them where nothing is
/// numbered.
const WORDS: usize = 8;
/// Of 256 packets reported lost so many are trouble: 5 %.
const TROUBLE_LOST: u8 = 13;
/// A round trip is trouble when it is so much longer than the shortest, in milliseconds: a queue stands somewhere.
const TROUBLE_LATE: f64 = 200.0;

/// What was seen since it was last taken, and sums since the beginning.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// SSRCs a key frame was asked for.
    pub(super) key_requests: Vec<u32>,
    /// `(ssrc, sequence number)` of packets that a far end has not got (RFC 4585 §6.2.1).
    pub(super) nacks: Vec<(u32, u16)>,
    /// `(ssrc, packets lost)` of the newest report about each of our streams.
    pub(super) lost: Vec<(u32, u64)>,
    /// `(ssrc, NTP time, RTP time)` of the newest report of each of the far end's streams.
    pub(super) clocks: Vec<(u32, u64, u32)>,
    /// When packets arrived, by their transport-wide numbers.
    pub(super) transport: Vec<TransportLayerCc>,
    /// The far end loses much of what is sent, or has it late.
    pub(super) trouble: bool,
    /// Newest and shortest round trip, in milliseconds.
    pub(super) rtt_ms: Option<f64>,
    /// Reports of the far end's streams that ours answer to.
    pub(super) sender_reports: Vec<SenderReport>,
    least_rtt_ms: Option<f64>,
}

impl Seen {
    /// How much longer the newest round trip took than the shortest.
    pub(super) fn late(&self) -> Option<Duration> {
        let late = self.rtt_ms? - self.least_rtt_ms?;
        Some(Duration::from_secs_f64(late.clamp(0.0, 60_000.0) / 1000.0))
    }

    fn clock(&mut self, report: &SenderReport) {
        self.clocks.retain(|(ssrc, ..)| *ssrc != report.ssrc);
        if self.clocks.len() < STREAMS {
            self.clocks.push((report.ssrc, report.ntp_time, report.rtp_time));
        }
    }

    fn report(&mut self, now: Instant, report: &ReceptionReport) {
        let known = self.lost.iter().position(|(ssrc, _)| *ssrc == report.ssrc);
        if known.is_none() && self.lost.len() < 2 * STREAMS {
            self.lost.push((report.ssrc, 0));
        }
        let at = known.unwrap_or(self.lost.len() - 1);
        if self.lost[at].0 == report.ssrc {
            // a signed number of 24 bits (RFC 3550 §6.4.1): duplicates make it negative
            let lost = if report.total_lost & 0x80_0000 == 0 { report.total_lost } else { 0 };
            self.lost[at].1 = u64::from(lost);
        }
        self.trouble |= report.fraction_lost >= TROUBLE_LOST;
        if report.last_sender_report != 0 {
            self.rtt_ms = round_trip_ms(wall::compact(now), report.last_sender_report, report.delay).or(self.rtt_ms);
        }
        if let Some(rtt) = self.rtt_ms {
            let least = self.least_rtt_ms.map_or(rtt, |least| least.min(rtt));
            self.least_rtt_ms = Some(least);
            self.trouble |= rtt > least + TROUBLE_LATE;
        }
    }
}

/// RFC 3550 §6.4.1; `None` when clocks and rounding leave nothing sensible.
fn round_trip_ms(now: u32, last_report: u32, delay: u32) -> Option<f64> {
    let ticks = now.wrapping_sub(last_report).wrapping_sub(delay);
    // up to a minute; a small negative is rounding
    match ticks as i32 {
        -64..0 => Some(0.0),
        ticks @ 0..3_932_160 => Some(f64::from(ticks) * 1000.0 / 65536.0),
        _ => None,
    }
}

/// The connection's end.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        // no code that can panic runs under the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine's end.
    pub(super) fn interceptor(&self) -> impl Interceptor + use<> {
        Watcher { seen: self.clone(), reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

struct Watcher {
    seen: Watch,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Watcher {
    fn note_incoming(&self, now: Instant, packet: &Packet) {
        let Packet::Rtcp(packets) = packet else { return };
        let mut seen = self.seen.lock();
        for packet in packets {
            let packet = packet.as_any();
            let room = REQUESTS.saturating_sub(seen.key_requests.len());
            if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                seen.key_requests.extend(Some(pli.media_ssrc).filter(|_| room > 0));
            } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
                seen.key_requests.extend(fir.fir.iter().map(|entry| entry.ssrc).take(room));
            } else if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                let room = NACKS.saturating_sub(seen.nacks.len());
                let lost = nack.nacks.iter().flat_map(|pair| pair.packet_list());
                seen.nacks.extend(lost.map(|sequence| (nack.media_ssrc, sequence)).take(room));
            } else if let Some(word) = packet.downcast_ref::<TransportLayerCc>() {
                if seen.transport.len() < WORDS {
                    seen.transport.push(word.clone());
                }
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                report.reports.iter().for_each(|report| seen.report(now, report));
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                report.reports.iter().for_each(|report| seen.report(now, report));
                seen.clock(report);
                if seen.sender_reports.len() < SENDER_REPORTS {
                    seen.sender_reports.push(report.clone());
                }
            }
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Watcher {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.note_incoming(packet.now, &packet.message.packet);
        self.reads.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Watcher {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_what_remains_of_the_far_ends_delay() {
        assert_eq!(round_trip_ms(0x0002_0000, 0x0000_0000, 0x0001_0000), Some(1000.0));
        assert_eq!(round_trip_ms(10, 5, 6), Some(0.0));
        assert_eq!(round_trip_ms(10, 5, 0x7fff_0000), None);
        assert_eq!(round_trip_ms(0x0000_8000, 0xffff_8000, 0), Some(1000.0), "the compact clock wraps every 18 hours");
    }
}
