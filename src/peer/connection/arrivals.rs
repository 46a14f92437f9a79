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
        let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(packet)]);
        if let Err(error) = self.engine.handle_write(TaggedRTCMessage { now, message }) {
            tracing::trace!(peer = %self.peer, %error, "feedback not sent");
        }
    }

    /// Reports follow the streams that are known.
    pub(super) fn follow_streams(&mut self) {
        let mut seen = self.watch.lock();
        seen.transport_cc = self.receivings.iter().find_map(Receiving::transport_cc);
        seen.streams.clear();
        for receiving in &self.receivings {
            let rate = receiving.layers.format().codec.clock_rate();
            seen.streams.extend(receiving.encodings.iter().filter_map(|encoding| Some((encoding.ssrc?, rate))));
        }
    }

    /// Takes what came since the last call.
    pub(super) fn receive(&mut self, now: Instant) {
        let arrivals = std::mem::take(&mut self.watch.lock().arrivals);
        let mut news = false;
        for mut packet in arrivals {
            let placed = self.receivings.iter_mut().find_map(|receiving| Some((receiving.place(&mut packet)?, receiving)));
            let Some((Placed { index, recovered, new }, receiving)) = placed else { continue };
            let taken = receiving.encodings[index].push(now, packet, recovered);
            self.figures.packets_received += u64::from(taken);
            news |= new;
        }
        if news {
            self.follow_streams();
        }
    }

    /// Whether packets wait for the rest of their frame: drain again after a pause.
    pub(in crate::peer) fn gathers(&self) -> bool {
        self.gathers
    }

    /// Hands what was received since the last call to the layers, but for what waits.
    pub(in crate::peer) fn write_layers(&mut self, now: Instant, news: &mut Vec<News>) {
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
