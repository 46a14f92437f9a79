//! What arrives of a publisher's media: placed, written to layers, reported on, and asked for again where it is missing.

use std::time::{Duration, Instant};

use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::rtcp::Packet;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtc::sansio::Protocol;
use rtc::statistics::StatsSelector;

use super::{Connection, News};
use crate::peer::encoding::Encoding;
use crate::peer::nack::Missing;
use crate::peer::receiving::{Placed, Receiving};
use crate::peer::reception::{Reception, Words};
use crate::peer::{ReceivedFigures, stats};
use crate::vocab::LayerId;

/// How long a measured round trip is taken for the present one.
const TRIP_LASTS: Duration = Duration::from_secs(2);

impl Connection {
    /// Asks the far end for a key frame of a layer it sends.
    pub(in crate::peer) fn request_key(&mut self, now: Instant, layer: LayerId) {
        let up = self.up;
        let Some(encoding) = self.encodings().find(|encoding| encoding.layer.id() == layer) else { return };
        let Some(media_ssrc) = encoding.ssrc.filter(|_| up) else {
            encoding.key_wanted = true;
            return;
        };
        encoding.key_wanted = false;
        self.say(now, PictureLossIndication { sender_ssrc: 0, media_ssrc });
    }

    fn encodings(&mut self) -> impl Iterator<Item = &mut Encoding> {
        self.receivings.iter_mut().flat_map(|receiving| &mut receiving.encodings)
    }

    fn say(&mut self, now: Instant, packet: impl Packet + 'static) {
        self.say_all(now, vec![Box::new(packet)]);
    }

    fn say_all(&mut self, now: Instant, words: Words) {
        if words.is_empty() {
            return;
        }
        self.spoke = true;
        let message = RTCMessage::RtcpPacket(String::new(), words);
        if let Err(error) = self.engine.handle_write(TaggedRTCMessage { now, message }) {
            tracing::trace!(peer = %self.peer, %error, "feedback not sent");
        }
    }

    /// Reports follow the streams that are known.
    pub(super) fn follow_streams(&mut self) {
        let mut streams = Vec::new();
        for receiving in &self.receivings {
            let rate = receiving.layers.format().codec.clock_rate();
            streams.extend(receiving.encodings.iter().filter_map(|encoding| Some((encoding.ssrc?, rate))));
        }
        if self.reception.is_some() || !self.receivings.is_empty() {
            let transport_cc = self.receivings.iter().find_map(Receiving::transport_cc);
            self.reception.get_or_insert_with(|| Box::new(Reception::new())).follow(transport_cc, streams);
        }
    }

    /// Takes a datagram of media.
    pub(super) fn take_media(&mut self, now: Instant, datagram: &[u8]) {
        if self.receivings.is_empty() {
            return;
        }
        if self.unprotector.is_none() {
            self.unprotector = self.crypto.keys().unprotector().ok();
        }
        // what comes before the keys is lost
        let Some(unprotector) = &mut self.unprotector else { return };
        let packet = match unprotector.open(datagram) {
            Ok(packet) => packet,
            Err(refused) => return tracing::trace!(peer = %self.peer, ?refused, "packet of media dropped"),
        };
        let heard = match &mut self.reception {
            Some(reception) => reception.hear(now, packet),
            None => Some(packet),
        };
        let Some(mut packet) = heard else { return };
        let placed = self.receivings.iter_mut().find_map(|receiving| Some((receiving.place(&mut packet)?, receiving)));
        let Some((Placed { index, recovered, new }, receiving)) = placed else { return };
        let taken = receiving.encodings[index].push(now, packet, recovered);
        self.figures.packets_received += u64::from(taken);
        if new {
            self.follow_streams();
        }
    }

    /// Hears the far end's reports of its streams.
    pub(super) fn hear_reports(&mut self, now: Instant) {
        let Some(reception) = &mut self.reception else { return };
        let reports = std::mem::take(&mut self.watch.lock().sender_reports);
        reports.into_iter().for_each(|report| reception.hear_report(now, report));
    }

    /// Reports on what was received, when it is time.
    pub(super) fn report_reception(&mut self, now: Instant) {
        let Some(reception) = self.reception.as_mut() else { return };
        if reception.next_timeout().is_some_and(|due| due <= now) {
            let words = reception.timeout(now);
            self.say_all(now, words);
        }
    }

    /// Whether packets wait for the rest of their frame: drain again after a pause.
    pub(in crate::peer) fn gathers(&self) -> bool {
        self.gathers
    }

    /// Hands on what was received since the last call. Returns whether the connection must be drained: something is to be said.
    pub(in crate::peer) fn pass_on(&mut self, now: Instant, news: &mut Vec<News>) -> bool {
        self.write_layers(now, news);
        self.ask_again(now);
        std::mem::take(&mut self.spoke)
    }

    /// Hands what was received since the last call to the layers, but for what waits.
    fn write_layers(&mut self, now: Instant, news: &mut Vec<News>) {
        self.gathers = false;
        let mut wanted: Vec<LayerId> = Vec::new();
        for receiving in &mut self.receivings {
            for encoding in &mut receiving.encodings {
                if !encoding.has_burst() {
                    continue;
                }
                if encoding.waits(now) {
                    self.gathers = true;
                    continue;
                }
                if !std::mem::replace(&mut receiving.flowing, true) {
                    news.push(News::Flowing(receiving.kind));
                }
                self.figures.bytes_received += encoding.write(now);
                wanted.extend(encoding.key_wanted.then(|| encoding.layer.id()));
            }
        }
        wanted.into_iter().for_each(|layer| self.request_key(now, layer));
    }

    /// When [`Self::ask_again`] is due.
    pub(super) fn next_question(&self) -> Option<Instant> {
        let encodings = self.receivings.iter().flat_map(|receiving| &receiving.encodings);
        encodings.filter_map(|encoding| encoding.missing.as_ref().and_then(Missing::next)).min()
    }

    /// Asks for what is missing.
    pub(super) fn ask_again(&mut self, now: Instant) {
        if self.next_question().is_none_or(|next| next > now) {
            return;
        }
        let trip = self.round_trip(now);
        let due = |encoding: &mut Encoding| Some((encoding.ssrc?, encoding.missing.as_mut()?.due(now, trip)));
        let questions: Vec<(u32, Vec<u16>)> = self.encodings().filter_map(due).collect();
        for (media_ssrc, missing) in questions.into_iter().filter(|(_, missing)| !missing.is_empty()) {
            self.figures.nacked += missing.len() as u64;
            let nacks = nack_pairs_from_sequence_numbers(&missing);
            self.say(now, TransportLayerNack { sender_ssrc: 0, media_ssrc, nacks });
        }
    }

    /// The time a question and its answer take at least, where known.
    fn round_trip(&mut self, now: Instant) -> Option<Duration> {
        if let Some((trip, _)) = self.trip.filter(|(_, at)| now < *at + TRIP_LASTS) {
            return trip;
        }
        // reports measure it where we send, else the engine's checks do
        let reported = self.watch.lock().rtt_ms;
        let millis = reported.or_else(|| stats::check_rtt_ms(&self.engine.get_stats(now, StatsSelector::None)));
        let trip = millis.map(|millis| Duration::from_secs_f64(millis.clamp(0.0, 60_000.0) / 1000.0));
        self.trip = Some((trip, now));
        trip
    }

    /// Figures of the encodings that are received.
    pub(super) fn received(&self) -> Vec<ReceivedFigures> {
        let now = self.heard;
        self.receivings.iter().flat_map(|receiving| &receiving.encodings).map(|encoding| encoding.figures(now)).collect()
    }
}
