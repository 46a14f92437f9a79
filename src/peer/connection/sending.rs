//! What leaves: packets of layers, beside the engine. Only their reports, asked for by time, go through it.
//!
//! A frame is rewritten, protected and put into the batch in one pass; the engine is not touched. So what an engine would do for the
//! packets it sends is done here: counting, sender reports (RFC 3550 §6.4.1) and answers to NACK (RFC 4585 §6.2.1, RFC 4588).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;

use super::Connection;
use crate::forward::{FramePackets, Layer, Layers, Refresh, Rewriter, Teller, Verdict};
use crate::peer::SendTrack;
use crate::peer::choice::Chooser;
use crate::peer::cipher::HEADER;
use crate::peer::pace::Pace;
use crate::peer::protect::{EXTENSION, Header};
use crate::peer::socket::Outbox;
use crate::peer::wall;
use crate::vocab::PeerId;

/// From one sender report to the next.
const REPORT_SPACING: Duration = Duration::from_secs(1);
/// From a packet that comes by another way than ours leave to a report, which tells the way in use.
const WAY_CHECK: Duration = Duration::from_millis(100);
/// Packets of a track that can be sent again: 5 s at 2 Mbit/s. Their payloads are the layer's, shared by all viewers.
const KEPT: usize = 1024;
/// Packets sent that pay for one that is sent again, so that a lossy or hostile far end cannot multiply what it gets.
const PRICE: u32 = 2;
/// Frames of a track that wait for their portions: what joiners get of a group, and as much again.
const BACKLOG: usize = 2 * Layer::CACHE_FRAMES;
/// How often one packet is sent again. Some far ends do not see that a retransmission filled a gap, and go on asking.
const AGAIN: u8 = 5;
/// Most that is saved up, in packets sent.
const SAVINGS: u32 = 512;

/// A packet as it left.
struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    /// Its transport-wide number and the id of the extension.
    number: Option<(u8, u16)>,
    /// How often it may still be sent again.
    left: u8,
    /// When it was sent again last.
    again_at: Option<Instant>,
}

/// What waits for its portion.
pub(super) enum Waiting {
    /// Packets of a frame, from that one on.
    Frame(Arc<FramePackets>, usize),
    /// The end of what a joiner gets from the cache.
    CacheSent,
}

/// A track that leaves.
pub(super) struct Sending {
    /// What it may be sent of.
    pub(super) layers: Layers,
    /// The one of them that is sent, or will be from its next key frame on.
    pub(super) layer: Arc<Layer>,
    /// What is sent until then.
    pub(super) leaving: Option<Arc<Layer>>,
    /// Nothing is sent: the way carries not even the smallest.
    pub(super) paused: bool,
    /// What is cached of the layer is of use: nothing was sent of the track yet.
    pub(super) fresh: bool,
    pub(super) chooser: Chooser,
    /// Tells whoever encodes the track what the way carries, while that is estimated.
    pub(super) teller: Option<Teller>,
    /// Id of the extension for transport-wide numbers, where it was agreed on.
    pub(super) number_id: Option<u8>,
    /// The lane it is of; `None`: a section's.
    pub(super) lane: Option<PeerId>,
    /// A lane's that ended: its place may be used again.
    pub(super) free: bool,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
    pub(super) pt: u8,
    /// Payload type of retransmissions; `None`: the packet itself is sent again.
    pub(super) rtx_pt: Option<u8>,
    /// The far end asks for what it has not got.
    pub(super) nack: bool,
    /// Negotiated and taken by the far end.
    pub(super) active: bool,
    pub(super) rewriter: Rewriter,
    pub(super) flowing: bool,
    pub(super) pace: Pace,
    /// What waits for its portion, at most [`BACKLOG`].
    pub(super) backlog: VecDeque<Waiting>,
    /// The last packets by sequence number modulo [`KEPT`]; empty until the first.
    kept: Vec<Option<Kept>>,
    /// Sequence number of the newest of them.
    newest_kept: Option<u16>,
    /// Where the newest key frame began: on a crowded way, what is older is not worth sending again.
    newest_key: Option<u16>,
    rtx_sequence: u16,
    /// RTP time of the newest frame, and when its first packet left.
    newest: Option<(u32, Instant)>,
    /// As sender reports count them: modulo 2^32.
    packets: u32,
    octets: u32,
}

impl Sending {
    pub(super) fn new(track: &SendTrack) -> Self {
        let format = track.layers.format();
        let needs_key = track.layers.first().refresh() != Refresh::Always;
        // 0 and small numbers are left to those who stand for something
        let ssrc = || rand::random::<u32>() | 0x1000_0000;
        // below half, so that the receiver's rollover counter starts where ours does (RFC 3711 §3.3.1)
        let sequence = || rand::random::<u16>() >> 1;
        Self {
            layers: track.layers.clone(),
            layer: Arc::clone(track.layers.first()),
            leaving: None,
            paused: false,
            fresh: true,
            chooser: Chooser::default(),
            teller: None,
            number_id: None,
            lane: None,
            free: false,
            ssrc: ssrc(),
            rtx_ssrc: ssrc(),
            pt: 0,
            rtx_pt: None,
            nack: false,
            active: false,
            rewriter: Rewriter::new(format.codec.clock_rate(), needs_key, sequence(), rand::random()),
            flowing: false,
            pace: Pace::default(),
            backlog: VecDeque::new(),
            kept: Vec::new(),
            newest_kept: None,
            newest_key: None,
            rtx_sequence: sequence(),
            newest: None,
            packets: 0,
            octets: 0,
        }
    }

    /// When a part of the backlog may leave.
    pub(super) fn next_portion(&self) -> Option<Instant> {
        self.backlog.front().and_then(|_| self.pace.next())
    }

    fn keep(&mut self, kept: Kept) {
        if self.kept.is_empty() {
            self.kept.resize_with(KEPT, || None);
        }
        self.newest_kept = Some(kept.sequence);
        let slot = usize::from(kept.sequence) % KEPT;
        self.kept[slot] = Some(kept);
    }

    fn kept(&mut self, sequence: u16) -> Option<&mut Kept> {
        let kept = self.kept.get_mut(usize::from(sequence) % KEPT)?.as_mut();
        kept.filter(|kept| kept.sequence == sequence)
    }

    /// The packet that was sent last, where it is kept.
    pub(super) fn newest_kept(&self) -> Option<u16> {
        self.newest_kept
    }

    fn count(&mut self, now: Instant, timestamp: u32, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
        // a frame's first packet says when the frame left; an older frame says nothing
        if self.newest.is_none_or(|(newest, _)| (timestamp.wrapping_sub(newest) as i32) > 0) {
            self.newest = Some((timestamp, now));
        }
    }

    fn report(&self, now: Instant) -> Option<SenderReport> {
        let (timestamp, at) = self.newest?;
        let passed = now.saturating_duration_since(at).as_micros() * u128::from(self.layer.format().codec.clock_rate());
        Some(SenderReport {
            ssrc: self.ssrc,
            ntp_time: wall::ntp(now),
            rtp_time: timestamp.wrapping_add((passed / 1_000_000) as u32),
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        })
    }
}

impl Connection {
    /// Sends a frame of one of its layers, or a portion of it now and the rest in [`Self::release`]. Returns whether it is the
    /// first of its track: then the connection must be drained.
    pub(in crate::peer) fn send_frame(
        &mut self,
        now: Instant,
        index: usize,
        frame: &Arc<FramePackets>,
        out: &mut Outbox,
    ) -> bool {
        let Some(sending) = self.sendings.get_mut(index).filter(|sending| sending.active && !sending.paused) else {
            return false;
        };
        if !sending.backlog.is_empty() {
            if sending.backlog.len() < BACKLOG {
                sending.backlog.push_back(Waiting::Frame(Arc::clone(frame), 0));
            } else {
                self.skip_to_key(now, index);
            }
            return false;
        }
        self.send_from(now, index, frame, 0, out)
    }

    /// Sends the packets of a frame from that one on, as many as may leave now; the others are first in the backlog then.
    fn send_from(&mut self, now: Instant, index: usize, frame: &Arc<FramePackets>, from: usize, out: &mut Outbox) -> bool {
        let Some(sending) = self.sendings.get_mut(index) else { return false };
        let (Some(protector), Some((local, to))) = (&mut self.protector, self.way) else { return false };
        if !sending.pace.may(now) {
            sending.backlog.push_front(Waiting::Frame(Arc::clone(frame), from));
            return false;
        }
        let mut switched = false;
        if from == 0 {
            let moves = sending.leaving.is_some() && frame.layer == sending.layer.id();
            let known = moves || frame.layer == sending.shown().id();
            if !known || (moves && !frame.key && sending.layer.refresh() != Refresh::Always) {
                // of a layer that was left, or of one that is not there yet
                return false;
            }
            match sending.rewriter.admit(now, frame) {
                Verdict::Send => {
                    switched = moves;
                    if moves {
                        sending.leaving = None;
                    }
                }
                Verdict::Old => return false,
                Verdict::WaitKey => {
                    // merged there, so this repeats a request that was lost
                    sending.layer.request_keyframe(now);
                    return false;
                }
            }
        }
        let mut begun = false;
        let left = frame.packets.len() - from;
        let granted = sending.pace.take(now, left);
        if granted < left {
            sending.backlog.push_front(Waiting::Frame(Arc::clone(frame), from + granted));
        }
        for packet in &frame.packets[from..from + granted] {
            let Some(numbers) = sending.rewriter.rewrite(packet.sequence, packet.timestamp) else { continue };
            let mut header = Header::new(packet.marker, sending.pt, numbers.sequence, numbers.timestamp, sending.ssrc);
            let mut number = None;
            if frame.key && from == 0 && !std::mem::replace(&mut begun, true) {
                sending.newest_key = Some(numbers.sequence);
            }
            if let (Some(adaptive), Some(id)) = (&mut self.adaptive, sending.number_id)
                && let Some(given) = adaptive.number(now, HEADER + EXTENSION + packet.payload.len())
            {
                header = header.numbered(id, given);
                number = Some((id, given));
            }
            let protected = out.append(self.peer, local, to, |bytes| protector.protect(&header, &[&packet.payload], bytes));
            if let Err(error) = protected {
                tracing::trace!(peer = %self.peer, %error, "packet not sent");
                continue;
            }
            let octets = packet.payload.len();
            sending.count(now, numbers.timestamp, octets);
            if sending.nack {
                let (sequence, timestamp) = (numbers.sequence, numbers.timestamp);
                sending.keep(Kept {
                    sequence,
                    timestamp,
                    marker: packet.marker,
                    payload: packet.payload.clone(),
                    number,
                    left: AGAIN,
                    again_at: None,
                });
            }
            self.figures.packets_sent += 1;
            self.figures.bytes_sent += octets as u64;
            self.savings = (self.savings + 1).min(SAVINGS);
        }
        self.report_at.get_or_insert(now + REPORT_SPACING);
        self.relayered |= switched;
        !sending.flowing || switched
    }

    /// Sends what a joiner gets first and asks for the live picture. Who has seen the track waits for the live picture alone: what is
    /// cached is older than what it saw last.
    pub(in crate::peer) fn start_layer(&mut self, now: Instant, index: usize, layer: &Layer, out: &mut Outbox) {
        let Some(sending) = self.sendings.get_mut(index) else { return };
        let fresh = std::mem::take(&mut sending.fresh);
        let cached = if fresh { layer.cached() } else { Vec::new() };
        for frame in &cached {
            self.send_frame(now, index, frame, out);
        }
        if layer.refresh() == Refresh::OnRequest {
            // the cached picture is older than what comes next
            if !cached.is_empty() {
                let sending = &mut self.sendings[index];
                match sending.backlog.is_empty() {
                    true => sending.rewriter.cache_sent(),
                    false => sending.backlog.push_back(Waiting::CacheSent),
                }
            }
            layer.request_keyframe(now);
        }
    }

    /// Sends what waits and may leave now.
    pub(super) fn release(&mut self, now: Instant, out: &mut Outbox) {
        for index in 0..self.sendings.len() {
            if !self.sendings[index].active {
                self.sendings[index].backlog.clear();
            }
            while self.sendings[index].pace.may(now)
                && let Some(waiting) = self.sendings[index].backlog.pop_front()
            {
                match waiting {
                    Waiting::CacheSent => self.sendings[index].rewriter.cache_sent(),
                    Waiting::Frame(frame, from) => {
                        self.send_from(now, index, &frame, from, out);
                    }
                }
            }
        }
    }

    /// Sends again what the far end asked for, as far as it is kept and paid for.
    pub(super) fn retransmit(&mut self, now: Instant, out: &mut Outbox) {
        let (nacks, trip) = {
            let mut seen = self.watch.lock();
            (std::mem::take(&mut seen.nacks), seen.rtt_ms)
        };
        // a quarter less: it varies
        let trip = Duration::from_secs_f64(trip.unwrap_or(0.0).clamp(0.0, 1000.0) / 1000.0) * 3 / 4;
        for (ssrc, sequence) in nacks {
            let sending = self.sendings.iter_mut().find(|sending| sending.ssrc == ssrc && sending.active);
            // a picture that pauses begins again with a key frame
            let Some(sending) = sending.filter(|sending| !sending.paused) else { continue };
            let rtx = sending.rtx_pt.is_some();
            let outdated = sending.newest_key.is_some_and(|key| (sequence.wrapping_sub(key) as i16) < 0);
            // who only watches does not know the round trip, and asks again while the answer is on its way
            let is_due = |kept: &&mut Kept| kept.again_at.is_none_or(|at| now.saturating_duration_since(at) >= trip);
            let Some(kept) = sending.kept(sequence).filter(|kept| kept.left > 0).filter(is_due) else { continue };
            if self.savings < PRICE {
                continue;
            }
            if let Some(adaptive) = &mut self.adaptive {
                let Some(rest) = adaptive.again.checked_sub(kept.payload.len()).filter(|_| !outdated) else { continue };
                adaptive.again = rest;
            }
            // the answer before was lost, or its question: on such a way one more is cheaper than another round trip
            let copies = if kept.left < AGAIN && rtx { kept.left.min(2) } else { 1 };
            kept.left -= copies;
            kept.again_at = Some(now);
            let size = kept.payload.len();
            for _ in 0..copies {
                if self.savings >= PRICE && self.send_again(now, ssrc, sequence, out) {
                    self.savings -= PRICE;
                    self.figures.retransmitted += 1;
                    if let Some(adaptive) = &mut self.adaptive {
                        adaptive.resent.add(now, size);
                    }
                }
            }
        }
    }

    /// Sends a packet again that is kept.
    pub(super) fn send_again(&mut self, now: Instant, ssrc: u32, sequence: u16, out: &mut Outbox) -> bool {
        let (Some(protector), Some((local, to))) = (&mut self.protector, self.way) else { return false };
        let Some(sending) = self.sendings.iter_mut().find(|sending| sending.ssrc == ssrc) else { return false };
        let (pt, rtx_pt, rtx_ssrc, rtx_sequence) = (sending.pt, sending.rtx_pt, sending.rtx_ssrc, sending.rtx_sequence);
        let number_id = sending.number_id;
        let Some(kept) = sending.kept(sequence) else { return false };
        let original = sequence.to_be_bytes();
        let sent = match rtx_pt {
            Some(pt) => {
                let mut header = Header::new(kept.marker, pt, rtx_sequence, kept.timestamp, rtx_ssrc);
                if let (Some(adaptive), Some(id)) = (&mut self.adaptive, number_id)
                    && let Some(number) = adaptive.number(now, HEADER + EXTENSION + original.len() + kept.payload.len())
                {
                    header = header.numbered(id, number);
                }
                out.append(self.peer, local, to, |bytes| protector.protect(&header, &[&original, &kept.payload], bytes))
            }
            // the same packet, bit by bit: its number is used for no other (RFC 3711 §9.1)
            None => {
                let mut header = Header::new(kept.marker, pt, kept.sequence, kept.timestamp, ssrc);
                if let Some((id, number)) = kept.number {
                    header = header.numbered(id, number);
                }
                out.append(self.peer, local, to, |bytes| protector.protect(&header, &[&kept.payload], bytes))
            }
        };
        sending.rtx_sequence = rtx_sequence.wrapping_add(u16::from(rtx_pt.is_some() && sent.is_ok()));
        sent.is_ok()
    }

    /// Notes by which way a packet came: where that is another than ours, the engine is made to send something soon.
    pub(super) fn note_way(&mut self, now: Instant, from: SocketAddr) {
        if self.way.is_some_and(|(_, to)| to != from) {
            let soon = now + WAY_CHECK;
            self.report_at = Some(self.report_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Gives the engine a report of every track that sent something. Returns whether there was one.
    pub(super) fn report(&mut self, now: Instant) -> bool {
        let reports: Vec<SenderReport> = self.sendings.iter().filter_map(|sending| sending.report(now)).collect();
        let packets = self.figures.packets_sent;
        // the next packet starts them again
        let idle = std::mem::replace(&mut self.reported, packets) == packets;
        self.report_at = (!idle).then_some(now + REPORT_SPACING);
        let told = !reports.is_empty();
        for report in reports {
            let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(report)]);
            if let Err(error) = self.engine.handle_write(TaggedRTCMessage { now, message }) {
                tracing::trace!(peer = %self.peer, %error, "report not sent");
            }
        }
        told
    }
}
