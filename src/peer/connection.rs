//! One peer: its engine, what it sends and receives, and when it is over.
//!
//! Time is an argument; datagrams go in by [`Connection::datagram`] and come out by [`Connection::drain`], which must be
//! called after every other call that takes `now`.

mod adapting;
mod arrivals;
mod channels;
mod describe;
mod intake;
mod lanes;
mod moving;
mod rehearsal;
mod sending;

pub(super) use describe::Described;
pub(super) use intake::Then;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::sansio::Protocol;
use rtc::statistics::StatsSelector;

use crate::forward::{Layer, Refresh};
use crate::room::EndReason;
use crate::vocab::{ChannelId, DataMessage, MediaKind, NewChannel, PeerId};

use super::demux::{Wire, classify};
use super::engine::{Blueprint, Credentials};
use super::feedback::Watch;
use super::names::Names;
use super::negotiate::Origin;
use super::protect::Protector;
use super::random::Seeded;
use super::receiving::Receiving;
use super::reception::Reception;
use super::repeats::{Repeats, Said};
use super::search::Search;
use super::socket::Outbox;
use super::srtp::HelloGate;
use super::stats;
use super::unprotect::Unprotector;
use super::{PeerEvent, PeerFigures, Receive, ReceivedFigures, SendTrack};
use adapting::Adaptive;
use channels::{Channels, Pumped};
use moving::{Moved, Nomination};
use sending::Sending;

/// Without any datagram for so long a connected peer is lost. Its agent checks the path every few seconds (RFC 7675: at
/// least every 5 s on average), and answers Portico's checks every 2 s.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// The same where data channels may be: a cut network keeps them so long (vamp.md §9 line 19), and RFC 7675 §5.1 ends a far end's
/// consent then.
pub(super) const CHANNELS_SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// From the end of DTLS here to the first packet of media. The far end ends DTLS when it has our last flight, and several
/// stacks install its keys only after they read everything that came with it: what overtakes that is lost, and the first
/// packet of all is the key picture's. A far end that took long for its own part of the handshake gets twice that time, up to the second.
const START_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// From the moment all channels were closed to the end of the connection: the far end answers each reset with its own, and
/// a browser whose connection ends before fires `error`.
const RESET_GRACE: Duration = Duration::from_millis(300);
/// How late the timers of a peer may be that is sent media and nothing else: of its reports, 1 s apart, and checks, 2 s apart.
const VIEWER_SLACK: Duration = Duration::from_millis(50);
/// The same of others, which wait for packets to be sent again (every 100 ms) and for SCTP (acknowledgements within 200 ms).
const SLACK: Duration = Duration::from_millis(10);
/// Shortest time between two calls for an overdue engine timer.
const TIMER_FLOOR: Duration = Duration::from_millis(1);

/// What the shard must know or tell.
#[derive(Debug)]
pub(super) enum News {
    /// ICE and DTLS are up.
    Up,
    /// Media may leave.
    Ready,
    /// First packet of a kind.
    Flowing(MediaKind),
    /// Something of a data channel.
    Told(PeerEvent),
    /// It is over.
    Down(EndReason),
}

/// One peer.
pub(super) struct Connection {
    peer: PeerId,
    blueprint: Blueprint,
    engine: RTCPeerConnection,
    /// The engine's cryptography.
    crypto: Arc<Seeded>,
    /// What protects packets of media; `None` until DTLS is done.
    protector: Option<Protector>,
    /// What opens packets of media; `None` until the first comes after DTLS.
    unprotector: Option<Unprotector>,
    /// The pair of addresses in use, ours first.
    way: Option<(SocketAddr, SocketAddr)>,
    /// Another pair is in use than the engine chose.
    moved: Option<Moved>,
    nomination: Option<Nomination>,
    names: Names,
    /// Looks for another way.
    search: Option<Search>,
    /// What the far end addresses it by.
    ice: Credentials,
    /// ICE was restarted and has no pair yet.
    restarting: bool,
    watch: Watch,
    send: Vec<SendTrack>,
    receive: Option<Receive>,
    /// `None` without data channels.
    channels: Option<Channels>,
    /// Closed by Portico: when it ends at the latest.
    closing: Option<Instant>,
    sendings: Vec<Sending>,
    /// What the far end's way carries; `None` while nothing depends on it.
    adaptive: Option<Box<Adaptive>>,
    /// Other layers are to be attached.
    relayered: bool,
    /// Packets sent that retransmissions may still be paid with.
    savings: u32,
    /// When sender reports are due; `None` while nothing is sent.
    report_at: Option<Instant>,
    /// Packets sent at the last report.
    reported: u64,
    pub(super) receivings: Vec<Receiving>,
    /// What reports on them; `None` while nothing is received.
    reception: Option<Box<Reception>>,
    /// The engine was given feedback to be sent since it was drained.
    spoke: bool,
    gathers: bool,
    /// The round trip to the far end, and when it was looked up.
    trip: Option<(Option<Duration>, Instant)>,
    origin: Origin,
    gate: HelloGate,
    checks: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// DTLS datagrams for a rebuilt engine that has no pair yet.
    waiting: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Sums of engines that were replaced are not worth keeping; these are the connection's own.
    figures: PeerFigures,
    up: bool,
    over: bool,
    /// When it must be connected, or its own offer answered.
    connect_by: Instant,
    connect_limit: Duration,
    /// When media may leave; `None` before it is up and once it did.
    start_at: Option<Instant>,
    started: bool,
    /// When our newest part of the handshake left, while nothing came back.
    said: Option<Instant>,
    /// The longest time the far end took to go on with it.
    turn: Duration,
    heard: Instant,
    repeats: Repeats,
    /// What leaves again with the next drain.
    again: Vec<Said>,
    /// What the engine told between two drains.
    events: VecDeque<RTCPeerConnectionEvent>,
    timer: Option<Instant>,
    /// When the engine's timers ran last.
    timed: Instant,
    /// Data channels have more to give than one turn takes.
    pumping: bool,
}

impl Connection {
    /// The user fragment the far end addresses Portico by.
    pub(super) fn ufrag(&self) -> &str {
        &self.ice.ufrag
    }

    /// Whether media may leave.
    pub(super) fn is_ready(&self) -> bool {
        self.started
    }

    /// Layers to be attached for it, with the number of the track.
    pub(super) fn layers(&self) -> impl Iterator<Item = (usize, &Arc<Layer>)> {
        let playing = |sending: &Sending| sending.active && !sending.paused && !sending.layer.is_idle();
        self.sendings
            .iter()
            .enumerate()
            .filter(move |(_, sending)| playing(sending))
            .flat_map(|(index, sending)| sending.leaving.iter().chain([&sending.layer]).map(move |layer| (index, layer)))
    }

    /// Runs the engine's timers and the connection's own.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.timer.is_some_and(|timer| timer <= now) {
            self.timed = now;
            if let Err(error) = self.engine.handle_timeout(now) {
                tracing::trace!(peer = %self.peer, %error, "timer");
            }
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report(now);
            self.follow_need(now);
        }
        self.report_reception(now);
    }

    fn silence_limit(&self) -> Duration {
        if self.channels.is_some() { CHANNELS_SILENCE_LIMIT } else { SILENCE_LIMIT }
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Instant {
        let own = if self.up { self.heard + self.silence_limit() } else { self.connect_by };
        let portion = self.sendings.iter().filter_map(Sending::next_portion).min();
        let look = self.adaptive.as_ref().map(|adaptive| adaptive.look());
        let reception = self.reception.as_ref().and_then(|reception| reception.next_timeout());
        let (probe, question) = (self.next_probe(), self.next_question());
        let search = self.search.as_ref().map(Search::next_timeout);
        let times = [self.timer, self.start_at, self.closing, self.report_at, portion, look, reception, probe, question, search];
        times.into_iter().flatten().fold(own, Instant::min)
    }

    /// How late [`Self::timeout`] may be called. Checks, reports and losses noticed by time have tens of milliseconds and more; how
    /// a connection begins and ends has not.
    pub(super) fn slack(&self) -> Duration {
        let portions = self.sendings.iter().any(|sending| !sending.backlog.is_empty());
        let precise = portions || self.search.is_some() || self.next_probe().is_some();
        if !self.up || self.pumping || precise || self.start_at.is_some() || self.closing.is_some() {
            Duration::ZERO
        } else if self.receivings.is_empty() && self.channels.is_none() {
            VIEWER_SLACK
        } else {
            SLACK
        }
    }

    /// The ring of a layer overran, or datagrams were lost in the kernel.
    pub(super) fn skip_to_key(&mut self, now: Instant, index: usize) {
        if let Some(sending) = self.sendings.get_mut(index).filter(|sending| sending.layer.refresh() != Refresh::Always) {
            sending.backlog.clear();
            sending.rewriter.skip_to_key();
            sending.shown().request_keyframe(now);
        }
    }

    /// Numbers of the tracks being sent.
    pub(super) fn tracks_sent(&self) -> std::ops::Range<usize> {
        0..self.sendings.len()
    }

    /// Takes media and messages out of the engine; messages only while there is room for them. Returns whether there were
    /// messages.
    fn collect(&mut self) -> bool {
        let mut messages = false;
        loop {
            let reads = self.channels.as_ref().is_none_or(Channels::may_read);
            let Some(message) = (if reads { self.engine.poll_read() } else { self.engine.poll_media_read() }) else { break };
            if let (RTCMessage::DataChannelMessage(handle, message), Some(channels)) = (message.message, &mut self.channels) {
                messages = true;
                channels.take(handle, message);
            }
        }
        messages
    }

    /// Takes everything out of the engine: datagrams to `out`, what happened to `news`. Returns when it must be woken.
    pub(super) fn drain(&mut self, now: Instant, out: &mut Outbox, news: &mut Vec<News>) {
        self.pass_on(now, news);
        for Said { local, to, datagram } in std::mem::take(&mut self.again) {
            out.push(self.peer, local, to, &datagram);
        }
        self.look_for_way(now, out);
        self.retransmit(now, out);
        if self.adaptive.is_some() {
            self.relayered |= self.adapt(now);
            self.probe(now, out);
        }
        self.release(now, out);
        let mut pumped = Pumped::default();
        loop {
            self.forward_requests(now);
            if let Some(channels) = &mut self.channels {
                pumped = channels.pump(now, &mut self.engine, news);
            }
            while let Some(datagram) = self.engine.poll_write() {
                let pair = (datagram.transport.local_addr, datagram.transport.peer_addr);
                let (local, to) = self.outward(pair, &datagram.message);
                if classify(&datagram.message) != Wire::Stun {
                    // checks go to every address, the rest only to the one in use
                    self.figures.remote = Some(to);
                    self.way = Some((local, to));
                }
                if !self.up && classify(&datagram.message) == Wire::Dtls {
                    self.repeats.says(local, to, &datagram.message);
                    self.said = Some(now);
                }
                out.push(self.peer, local, to, &datagram.message);
            }
            // messages are taken before the events, so that their channels are known
            let mut again = self.collect() || pumped.given;
            while let Some(event) = self.events.pop_front().or_else(|| self.engine.poll_event()) {
                again |= self.event(now, event, news);
            }
            if !again {
                break;
            }
        }
        self.repeats.drained();
        if let Some(channels) = &mut self.channels {
            channels.deliver(news);
        }
        for sending in &mut self.sendings {
            if !sending.flowing && sending.rewriter.figures().sent > 0 {
                sending.flowing = true;
                news.push(News::Flowing(sending.layer.format().codec.kind()));
            }
        }
        // counted from the last call, not from now: who is drained all the time has its turn as well
        let floor = self.timed + TIMER_FLOOR;
        self.timer = self.engine.poll_timeout().map(|timer| timer.max(floor));
        if std::mem::take(&mut self.relayered) && self.started {
            news.push(News::Ready);
        }
        self.pumping = pumped.more;
        if pumped.more {
            self.timer = Some(now + TIMER_FLOOR);
        }
        self.judge(now, news);
    }

    /// Returns whether the engine was given something because of the event.
    fn event(&mut self, now: Instant, event: RTCPeerConnectionEvent, news: &mut Vec<News>) -> bool {
        match event {
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected) if !self.up => {
                self.up = true;
                self.heard = now;
                self.start_at = Some(now + (2 * self.turn).clamp(START_DELAY.0, START_DELAY.1));
                self.checks = VecDeque::new();
                self.repeats = Repeats::default();
                self.figures.connected = true;
                match self.crypto.keys().protector() {
                    Ok(protector) => self.protector = Some(protector),
                    Err(error) if self.blueprint.plan.has_media() => {
                        tracing::error!(peer = %self.peer, %error, "no way to protect media");
                        self.end(EndReason::NeverConnected, news);
                    }
                    // of data channels alone nothing goes by SRTP
                    Err(_) => {}
                }
                tracing::debug!(peer = %self.peer, profile = ?self.blueprint.profile, "connected");
                news.push(News::Up);
            }
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Failed) => {
                self.end(if self.up { EndReason::Lost } else { EndReason::NeverConnected }, news);
            }
            RTCPeerConnectionEvent::OnDataChannel(event) => {
                if let Some(channels) = &mut self.channels {
                    channels.event(&mut self.engine, event, news);
                    // a new channel may have something waiting, and its acknowledgement leaves now
                    return true;
                }
            }
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => {
                use rtc::peer_connection::state::RTCIceConnectionState::{Completed, Connected};
                if !matches!(state, Connected | Completed) {
                    return false;
                }
                if std::mem::take(&mut self.restarting) {
                    // what left in between went nowhere
                    for (_, layer) in self.layers().filter(|(_, layer)| layer.refresh() == Refresh::OnRequest) {
                        layer.request_keyframe(now);
                    }
                }
                let waiting = std::mem::take(&mut self.waiting);
                waiting.iter().for_each(|(local, from, datagram)| self.feed(now, *local, *from, datagram));
                // what leaves next shows the pair that is in use now
                return self.report(now) | !waiting.is_empty();
            }
            _ => {}
        }
        false
    }

    /// Key frames the far end asked for go to the layers, which merge them.
    fn forward_requests(&mut self, now: Instant) {
        let requests = std::mem::take(&mut self.watch.lock().key_requests);
        for ssrc in requests {
            if let Some(sending) = self.sendings.iter().find(|sending| sending.ssrc == ssrc) {
                self.figures.key_requests += 1;
                sending.shown().request_keyframe(now);
            }
        }
    }

    fn notice_goodbye(&mut self) {
        if self.up && self.dtls_state() == Some(RTCDtlsTransportState::Closed) {
            self.over = true;
        }
    }

    fn dtls_state(&mut self) -> Option<RTCDtlsTransportState> {
        if let Some(sctp) = self.engine.sctp() {
            return Some(sctp.transport().state());
        }
        let sender = self.engine.get_senders().next();
        if let Some(sender) = sender {
            return self.engine.rtp_sender(sender)?.transport().map(|transport| transport.state());
        }
        let receiver = self.engine.get_receivers().next()?;
        self.engine.rtp_receiver(receiver)?.transport().map(|transport| transport.state())
    }

    fn judge(&mut self, now: Instant, news: &mut Vec<News>) {
        if let Some(channels) = &self.channels {
            // without media nothing is left when the far end aborts SCTP, as browsers do before they close DTLS
            self.over |= channels.is_cut(&self.engine) && !self.blueprint.plan.has_media();
            if let Some(by) = self.closing.as_mut().filter(|_| !channels.any_open()) {
                *by = (*by).min(now + RESET_GRACE);
            }
        }
        if self.channels.as_ref().is_some_and(Channels::abused) {
            tracing::info!(peer = %self.peer, "far end opens too many data channels");
            self.end(EndReason::Lost, news);
        }
        if self.over || self.closing.is_some_and(|by| by <= now) {
            self.end(EndReason::Left, news);
        } else if self.up && now >= self.heard + self.silence_limit() {
            self.end(EndReason::Lost, news);
        } else if !self.up && now >= self.connect_by {
            self.end(EndReason::NeverConnected, news);
        } else if self.start_at.is_some_and(|at| at <= now) {
            (self.start_at, self.started) = (None, true);
            self.follow_need(now);
            news.push(News::Ready);
        }
    }

    fn end(&mut self, reason: EndReason, news: &mut Vec<News>) {
        if !news.iter().any(|news| matches!(news, News::Down(_))) {
            news.push(News::Down(reason));
        }
    }

    /// Begins to end the connection: its channels are closed first, for at most `limit`. False where there is nothing to be
    /// done before [`Self::close`]. Otherwise it is over when [`News::Down`] is told.
    pub(super) fn begin_close(&mut self, now: Instant, limit: Duration) -> bool {
        let Some(channels) = self.channels.as_mut().filter(|channels| self.up && channels.any_open()) else { return false };
        channels.close_all();
        self.closing.get_or_insert(now + limit);
        true
    }

    /// Whether it is ending by Portico's will.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Opens a data channel.
    pub(super) fn open_channel(&mut self, channel: ChannelId, new: NewChannel, news: &mut Vec<News>) {
        match &mut self.channels {
            Some(channels) => channels.open(&mut self.engine, channel, new, news),
            None => news.push(News::Told(PeerEvent::ChannelClosed { peer: self.peer, channel })),
        }
    }

    /// Sends a message.
    pub(super) fn send_message(&mut self, channel: ChannelId, message: DataMessage, news: &mut Vec<News>) {
        if let Some(channels) = &mut self.channels {
            channels.send(channel, message, news);
        }
    }

    /// Closes a data channel.
    pub(super) fn close_channel(&mut self, channel: ChannelId, news: &mut Vec<News>) {
        if let Some(channels) = &mut self.channels {
            channels.close(channel, news);
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, out: &mut Outbox) {
        if let Err(error) = self.engine.close() {
            tracing::trace!(peer = %self.peer, %error, "close");
        }
        while let Some(datagram) = self.engine.poll_write() {
            out.push(self.peer, datagram.transport.local_addr, datagram.transport.peer_addr, &datagram.message);
        }
    }

    /// What happened so far.
    pub(super) fn figures(&mut self) -> PeerFigures {
        let seen = self.watch.lock();
        let received: Vec<ReceivedFigures> = self.received();
        let missing: u64 = received.iter().map(|received| received.packets_lost).sum();
        let reported: u64 =
            seen.lost.iter().filter(|(ssrc, _)| self.sendings.iter().any(|s| s.ssrc == *ssrc)).map(|(_, lost)| lost).sum();
        let mut figures = PeerFigures {
            packets_lost: missing + reported,
            rtt_ms: seen.rtt_ms,
            relayed: self.way.is_some_and(|(local, _)| self.blueprint.identity.reach.relays.contains(&local)),
            received,
            frames_dropped: self.sendings.iter().map(|sending| sending.rewriter.figures().dropped).sum(),
            ..self.figures.clone()
        };
        drop(seen);
        if self.up {
            let report = self.engine.get_stats(self.heard, StatsSelector::None);
            figures.srtp_profile = self.protector.as_ref().map(|protector| protector.suite().name());
            // reports about our media tell it only where we send
            figures.rtt_ms = figures.rtt_ms.or_else(|| stats::check_rtt_ms(&report));
        }
        figures
    }
}

#[cfg(test)]
mod tests;
