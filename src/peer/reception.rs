//! Reports on media that is received: receiver reports (RFC 3550 §6.4.2) of the streams that were placed, transport-wide feedback
//! of all packets.
//!
//! The interceptors of the engine's crate make them, outside of the engine: it would bind them only to streams that are declared, and media does not
//! pass it.

use std::time::Instant;

use rtc::interceptor::{
    AttributedPacket, Interceptor, Packet, RTPHeaderExtension, ReceiverReportBuilder, ReceiverReportInterceptor, StreamInfo,
    TaggedPacket, TwccReceiverBuilder, TwccReceiverInterceptor,
};
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;

use super::negotiate::NUMBERS;

/// RTCP that is to be sent.
pub(super) type Words = Vec<Box<dyn rtc::rtcp::Packet>>;

/// What reports on the media of one connection.
pub(super) struct Reception {
    reports: ReceiverReportInterceptor,
    transport: TwccReceiverInterceptor,
    transport_cc: Option<u8>,
    streams: Vec<(u32, u32)>,
    due: Option<Instant>,
}

impl Reception {
    pub(super) fn new() -> Self {
        Self {
            reports: ReceiverReportBuilder::new().build(),
            transport: TwccReceiverBuilder::new().build(),
            transport_cc: None,
            streams: Vec::new(),
            due: None,
        }
    }

    /// Reports from now on follow these streams, `(ssrc, clock rate)`, as many as a peer has encodings, and the numbers in the header extension
    /// with this id.
    pub(super) fn follow(&mut self, transport_cc: Option<u8>, streams: Vec<(u32, u32)>) {
        if self.transport_cc != transport_cc {
            self.transport_cc = transport_cc;
            let extension = |id: u8| RTPHeaderExtension { uri: NUMBERS.to_owned(), id: u16::from(id) };
            let rtp_header_extensions: Vec<_> = self.transport_cc.map(extension).into_iter().collect();
            // no stream has this SSRC: the number holds for all that are not bound themselves
            let info = StreamInfo { ssrc: 0, rtp_header_extensions, ..StreamInfo::default() };
            match self.transport_cc {
                Some(_) => self.transport.bind_remote_stream(&info),
                None => self.transport.unbind_remote_stream(&info),
            }
        }
        if self.streams != streams {
            let info = |(ssrc, clock_rate): (u32, u32)| StreamInfo { ssrc, clock_rate, ..StreamInfo::default() };
            let gone = self.streams.iter().filter(|stream| !streams.contains(stream));
            gone.for_each(|stream| self.reports.unbind_remote_stream(&info(*stream)));
            let new = streams.iter().filter(|stream| !self.streams.contains(stream));
            new.for_each(|stream| self.reports.bind_remote_stream(&info(*stream)));
            self.streams = streams;
        }
    }

    /// Hears a packet of media and gives it back.
    pub(super) fn hear(&mut self, now: Instant, packet: rtc::rtp::Packet) -> Option<rtc::rtp::Packet> {
        let mut packet = tagged(now, Packet::Rtp(packet));
        if self.transport_cc.is_some() {
            self.transport.handle_read(packet).ok()?;
            packet = self.transport.poll_read()?;
        }
        self.reports.handle_read(packet).ok()?;
        self.set_due();
        match self.reports.poll_read()?.message.packet {
            Packet::Rtp(packet) => Some(packet),
            _ => None,
        }
    }

    /// Hears the far end's report of a stream, which ours answers to.
    pub(super) fn hear_report(&mut self, now: Instant, report: SenderReport) {
        // it cannot fail: nothing is parsed
        let _ = self.reports.handle_read(tagged(now, Packet::Rtcp(vec![Box::new(report)])));
        while self.reports.poll_read().is_some() {}
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn set_due(&mut self) {
        self.due = [self.transport.poll_timeout(), self.reports.poll_timeout()].into_iter().flatten().min();
    }

    /// Makes what is due. Returns what is to be sent.
    pub(super) fn timeout(&mut self, now: Instant) -> Words {
        // neither can fail: nothing is parsed
        let _ = (self.transport.handle_timeout(now), self.reports.handle_timeout(now));
        self.set_due();
        let mut words = Words::new();
        while let Some(said) = self.transport.poll_write().or_else(|| self.reports.poll_write()) {
            if let Packet::Rtcp(packets) = said.message.packet {
                words.extend(packets);
            }
        }
        words
    }
}

fn tagged(now: Instant, packet: Packet) -> TaggedPacket {
    TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use rtc::rtcp::receiver_report::ReceiverReport;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;

    use super::*;

    const TRANSPORT_NUMBER: u8 = 3;

    fn rtp(ssrc: u32, number: u16) -> rtc::rtp::Packet {
        let mut header = rtc::rtp::Header { version: 2, ssrc, sequence_number: number, ..Default::default() };
        header.set_extension(TRANSPORT_NUMBER, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        rtc::rtp::Packet { header, payload: Bytes::from_static(&[1; 50]) }
    }

    /// What leaves by this time: SSRCs reported on and the reports they answer to, and how many packets transport-wide feedback speaks of.
    fn said(reception: &mut Reception, until: Instant) -> (Vec<(u32, u32)>, usize) {
        let (mut reported, mut counted) = (Vec::new(), 0);
        while let Some(at) = reception.next_timeout().filter(|at| *at <= until) {
            for packet in reception.timeout(at) {
                if let Some(report) = packet.as_any().downcast_ref::<ReceiverReport>() {
                    reported.extend(report.reports.iter().map(|report| (report.ssrc, report.last_sender_report)));
                } else if let Some(feedback) = packet.as_any().downcast_ref::<TransportLayerCc>() {
                    counted += usize::from(feedback.packet_status_count);
                }
            }
        }
        reported.sort_unstable();
        (reported, counted)
    }

    #[test]
    fn every_packet_counts_for_the_transport_and_placed_streams_are_reported_on() {
        let (mut reception, now) = (Reception::new(), Instant::now());
        reception.follow(Some(TRANSPORT_NUMBER), vec![(1, 90_000), (2, 90_000)]);
        for number in 0..30 {
            assert_eq!(reception.hear(now, rtp(1 + u32::from(number) % 3, number)).unwrap().header.sequence_number, number);
        }
        reception.hear_report(now, SenderReport { ssrc: 2, ntp_time: 0x0001_0002_0003_0004, ..Default::default() });
        assert_eq!(said(&mut reception, now + Duration::from_millis(1100)), (vec![(1, 0), (2, 0x0002_0003)], 30));
        // a stream that goes on by another SSRC leaves nothing
        reception.follow(Some(TRANSPORT_NUMBER), vec![(1, 90_000), (7, 90_000)]);
        reception.hear(now, rtp(7, 30)).unwrap();
        assert_eq!(said(&mut reception, now + Duration::from_millis(2100)), (vec![(1, 0), (7, 0)], 1));
    }
}
