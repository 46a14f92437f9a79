//! What passes between engine and network that the engine keeps to itself: key-frame requests, reports, NACKs. An interceptor next to
//! the network writes it down; the connection takes it. Media that is received goes this way, too: the engine binds what reports on it
//! only to streams that are declared, so here it is bound to those the connection has placed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rtc::interceptor::{
    Interceptor, Packet, RTPHeaderExtension, ReceiverReportBuilder, ReceiverReportInterceptor, StreamInfo, TaggedPacket,
    TwccReceiverBuilder, TwccReceiverInterceptor,
};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::negotiate::NUMBERS;

/// Packets kept until the connection takes them, which it does after every datagram.
const ARRIVALS: usize = 64;
/// Key-frame requests kept; more in one turn say nothing new.
const REQUESTS: usize = 32;

/// Packets asked for again that are kept until the connection takes them; a budget limits how many of them are sent.
const NACKS: usize = 512;

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
    /// RTP that is received, where [`Watch::receiver`] is.
    pub(super) arrivals: Vec<rtc::rtp::Packet>,
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
    /// Number of the header extension that counts the packets of the transport.
    pub(super) transport_cc: Option<u8>,
    /// `(ssrc, clock rate)` of the streams that are reported on. As many as a peer has encodings.
    pub(super) streams: Vec<(u32, u32)>,
    least_rtt_ms: Option<f64>,
}

impl Seen {
    fn clock(&mut self, report: &SenderReport) {
        self.clocks.retain(|(ssrc, ..)| *ssrc != report.ssrc);
        // as many as a peer has streams
        if self.clocks.len() < 8 {
            self.clocks.push((report.ssrc, report.ntp_time, report.rtp_time));
        }
    }

    fn report(&mut self, report: &ReceptionReport) {
        let known = self.lost.iter().position(|(ssrc, _)| *ssrc == report.ssrc);
        // a peer has one stream per kind, and their retransmissions
        if known.is_none() && self.lost.len() < 8 {
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
            self.rtt_ms = round_trip_ms(compact_ntp(SystemTime::now()), report.last_sender_report, report.delay).or(self.rtt_ms);
        }
        if let Some(rtt) = self.rtt_ms {
            let least = self.least_rtt_ms.map_or(rtt, |least| least.min(rtt));
            self.least_rtt_ms = Some(least);
            self.trouble |= rtt > least + TROUBLE_LATE;
        }
    }
}

/// The middle 32 bits of an NTP time: seconds and 1/65536 s (RFC 3550 §4).
fn compact_ntp(time: SystemTime) -> u32 {
    const NTP_TO_UNIX_SECONDS: u64 = 2_208_988_800;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + NTP_TO_UNIX_SECONDS) as u32;
    (seconds << 16) | ((u64::from(since.subsec_nanos()) << 16) / 1_000_000_000) as u32
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

    /// The engine's end where it keeps the media that it receives.
    pub(super) fn interceptor(&self) -> impl Interceptor + use<> {
        Watcher { seen: self.clone(), reception: None, reads: VecDeque::new(), writes: VecDeque::new() }
    }

    /// The engine's end where media goes to [`Seen::arrivals`] and not to the engine.
    pub(super) fn receiver(&self) -> impl Interceptor + use<> {
        Watcher { seen: self.clone(), reception: Some(Reception::new()), reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

/// What reports on received media: receiver reports (RFC 3550 §6.4.2) of the streams that were placed, transport-wide feedback of all.
struct Reception {
    reports: ReceiverReportInterceptor,
    transport: TwccReceiverInterceptor,
    transport_cc: Option<u8>,
    streams: Vec<(u32, u32)>,
}

impl Reception {
    fn new() -> Self {
        Self {
            reports: ReceiverReportBuilder::new().build(),
            transport: TwccReceiverBuilder::new().build(),
            transport_cc: None,
            streams: Vec::new(),
        }
    }

    fn follow(&mut self, seen: &Seen) {
        if self.transport_cc != seen.transport_cc {
            self.transport_cc = seen.transport_cc;
            let extension = |id: u8| RTPHeaderExtension { uri: NUMBERS.to_owned(), id: u16::from(id) };
            let rtp_header_extensions: Vec<_> = self.transport_cc.map(extension).into_iter().collect();
            // no stream has this SSRC: the number holds for all that are not bound themselves
            let info = StreamInfo { ssrc: 0, rtp_header_extensions, ..StreamInfo::default() };
            match self.transport_cc {
                Some(_) => self.transport.bind_remote_stream(&info),
                None => self.transport.unbind_remote_stream(&info),
            }
        }
        if self.streams != seen.streams {
            let info = |(ssrc, clock_rate): (u32, u32)| StreamInfo { ssrc, clock_rate, ..StreamInfo::default() };
            let gone = self.streams.iter().filter(|stream| !seen.streams.contains(stream));
            gone.for_each(|stream| self.reports.unbind_remote_stream(&info(*stream)));
            let new = seen.streams.iter().filter(|stream| !self.streams.contains(stream));
            new.for_each(|stream| self.reports.bind_remote_stream(&info(*stream)));
            self.streams.clone_from(&seen.streams);
        }
    }

    /// Hears a packet and gives it back.
    fn hear(&mut self, packet: TaggedPacket) -> Result<Option<TaggedPacket>, Error> {
        self.transport.handle_read(packet)?;
        let Some(packet) = self.transport.poll_read() else { return Ok(None) };
        self.reports.handle_read(packet)?;
        Ok(self.reports.poll_read())
    }

    fn said(&mut self) -> Option<TaggedPacket> {
        self.transport.poll_write().or_else(|| self.reports.poll_write())
    }
}

struct Watcher {
    seen: Watch,
    reception: Option<Reception>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Watcher {
    fn note_incoming(&self, packet: &Packet) {
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
                report.reports.iter().for_each(|report| seen.report(report));
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                report.reports.iter().for_each(|report| seen.report(report));
                seen.clock(report);
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
        self.note_incoming(&packet.message.packet);
        let Some(reception) = &mut self.reception else {
            self.reads.push_back(packet);
            return Ok(());
        };
        reception.follow(&self.seen.lock());
        let Some(packet) = reception.hear(packet)? else { return Ok(()) };
        match packet.message.packet {
            Packet::Rtp(packet) => {
                let mut seen = self.seen.lock();
                if seen.arrivals.len() < ARRIVALS {
                    seen.arrivals.push(packet);
                }
            }
            _ => self.reads.push_back(packet),
        }
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
        self.writes.pop_front().or_else(|| self.reception.as_mut()?.said())
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let Some(reception) = &mut self.reception else { return Ok(()) };
        reception.follow(&self.seen.lock());
        reception.transport.handle_timeout(now)?;
        reception.reports.handle_timeout(now)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let reception = self.reception.as_mut()?;
        [reception.transport.poll_timeout(), reception.reports.poll_timeout()].into_iter().flatten().min()
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

    use bytes::Bytes;
    use rtc::interceptor::AttributedPacket;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
    use rtc::shared::TransportContext;
    use std::time::Duration;

    const TRANSPORT_NUMBER: u8 = 3;

    fn rtp(now: Instant, ssrc: u32, number: u16) -> TaggedPacket {
        let mut header = rtc::rtp::Header { version: 2, ssrc, sequence_number: number, ..Default::default() };
        header.set_extension(TRANSPORT_NUMBER, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        let packet = rtc::rtp::Packet { header, payload: Bytes::from_static(&[1; 50]) };
        TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(Packet::Rtp(packet)) }
    }

    /// What leaves by this time: SSRCs reported on, and how many packets transport-wide feedback speaks of.
    fn said(watcher: &mut impl Interceptor, until: Instant) -> (Vec<u32>, usize) {
        let (mut reported, mut counted) = (Vec::new(), 0);
        while let Some(at) = watcher.poll_timeout().filter(|at| *at <= until) {
            watcher.handle_timeout(at).unwrap();
            while let Some(packet) = watcher.poll_write() {
                let Packet::Rtcp(packets) = packet.message.packet else { panic!("media does not leave here") };
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<ReceiverReport>() {
                        reported.extend(report.reports.iter().map(|report| report.ssrc));
                    } else if let Some(feedback) = packet.as_any().downcast_ref::<TransportLayerCc>() {
                        counted += usize::from(feedback.packet_status_count);
                    }
                }
            }
        }
        reported.sort_unstable();
        (reported, counted)
    }

    #[test]
    fn every_packet_counts_for_the_transport_and_placed_streams_are_reported_on() {
        let (watch, now) = (Watch::default(), Instant::now());
        let mut watcher = watch.receiver();
        watch.lock().transport_cc = Some(TRANSPORT_NUMBER);
        watch.lock().streams = vec![(1, 90_000), (2, 90_000)];
        for number in 0..30 {
            watcher.handle_read(rtp(now, 1 + u32::from(number) % 3, number)).unwrap();
            assert!(watcher.poll_read().is_none(), "nothing is left to the engine");
        }
        assert_eq!(std::mem::take(&mut watch.lock().arrivals).len(), 30);
        assert_eq!(said(&mut watcher, now + Duration::from_millis(1100)), (vec![1, 2], 30));
        // a stream that goes on by another SSRC leaves nothing
        watch.lock().streams = vec![(1, 90_000), (7, 90_000)];
        watcher.handle_read(rtp(now, 7, 30)).unwrap();
        assert_eq!(said(&mut watcher, now + Duration::from_millis(2100)), (vec![1, 7], 1));
    }

    #[test]
    fn packets_that_nobody_takes_are_bounded() {
        let (watch, now) = (Watch::default(), Instant::now());
        let mut watcher = watch.receiver();
        (0..1000).for_each(|number| watcher.handle_read(rtp(now, 1, number)).unwrap());
        assert_eq!(watch.lock().arrivals.len(), ARRIVALS);
    }

    #[test]
    fn round_trips_are_what_remains_of_the_far_ends_delay() {
        assert_eq!(round_trip_ms(0x0002_0000, 0x0000_0000, 0x0001_0000), Some(1000.0));
        assert_eq!(round_trip_ms(10, 5, 6), Some(0.0));
        assert_eq!(round_trip_ms(10, 5, 0x7fff_0000), None);
        assert_eq!(round_trip_ms(0x0000_8000, 0xffff_8000, 0), Some(1000.0), "the compact clock wraps every 18 hours");
    }
}
