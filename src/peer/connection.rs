//! One peer: its engine, what it sends and receives, and when it is over.
//!
//! Time is an argument; datagrams go in by [`Connection::datagram`] and come out by [`Connection::drain`], which must be
//! called after every other call that takes `now`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::statistics::StatsSelector;

use crate::forward::{FramePackets, Layer, Refresh, Rewriter, Verdict};
use crate::room::EndReason;
use crate::vocab::{Candidate, LayerId, MediaKind, PeerId, Sdp, SdpKind, TrackFormat, TrackId};

use super::demux::{self, Wire, classify};
use super::engine::{self, Blueprint, Built, Identity, OutTrack};
use super::feedback::Watch;
use super::negotiate::{self, Agreed, Origin, Plan, PlanError, Use};
use super::receiving::Receiving;
use super::sdp::Description;
use super::shard::Mailbox;
use super::socket::Outbox;
use super::srtp::{Gate, HelloGate, Profile};
use super::stats;
use super::{PeerFigures, PeerSpec, Receive, ReceivedTrack, SendTrack};

/// Without any datagram for so long a connected peer is lost. Its agent checks the path every few seconds (RFC 7675: at
/// least every 5 s on average), and answers Portico's checks every 2 s.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// From the end of DTLS here to the first packet of media. The far end ends DTLS when it has our last flight, and several
/// stacks install its keys only after they read everything that came with it: what overtakes that is lost, and the first
/// packet of all is the key picture's.
const START_DELAY: Duration = Duration::from_millis(20);
/// Checks kept to be told again to a rebuilt engine; a far end has a few pairs under test.
const KEPT_CHECKS: usize = 16;
/// Late remote candidates kept.
const KEPT_CANDIDATES: usize = 64;
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
    /// It is over.
    Down(EndReason),
}

/// A track that leaves.
struct Sending {
    layer: Arc<Layer>,
    ssrc: u32,
    rtx_ssrc: u32,
    pt: u8,
    /// Negotiated and taken by the far end.
    active: bool,
    rewriter: Rewriter,
    flowing: bool,
}

/// What came of a later description.
pub(super) enum Described {
    /// An answer was taken.
    Taken,
    /// Answer to an offer; `tracks` when the far end's tracks changed.
    Answer {
        /// The answer.
        sdp: Sdp,
        /// All incoming tracks.
        tracks: Option<Vec<ReceivedTrack>>,
    },
    /// Unusable; the connection goes on.
    Rejected(EndReason),
    /// The answer leaves nothing to do.
    Down(EndReason),
}

/// One peer.
pub(super) struct Connection {
    peer: PeerId,
    blueprint: Blueprint,
    engine: RTCPeerConnection,
    watch: Watch,
    send: Vec<SendTrack>,
    receive: Option<Receive>,
    sendings: Vec<Sending>,
    pub(super) receivings: Vec<Receiving>,
    origin: Origin,
    gate: HelloGate,
    checks: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// DTLS datagrams for a rebuilt engine that has no pair yet.
    waiting: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Sums of engines that were replaced are not worth keeping; these are the connection's own.
    figures: PeerFigures,
    up: bool,
    over: bool,
    connect_by: Instant,
    /// When media may leave; `None` before it is up and once it did.
    start_at: Option<Instant>,
    started: bool,
    heard: Instant,
    /// What the engine told between two drains.
    events: VecDeque<RTCPeerConnectionEvent>,
    timer: Option<Instant>,
}

impl Connection {
    /// Opens a connection. Returns it with the description to send and the tracks it will receive.
    pub(super) fn open(
        now: Instant,
        spec: PeerSpec,
        identity: &Identity,
        mailbox: &Mailbox,
    ) -> Result<(Self, Sdp, Vec<ReceivedTrack>), EndReason> {
        let formats: Vec<TrackFormat> = spec.send.iter().map(|track| track.layer.format().clone()).collect();
        let (ufrag, pwd) = Blueprint::credentials();
        let mut offer = None;
        let plan = match &spec.offer {
            Some(sdp) => {
                let description = Description::parse(&sdp.text).map_err(|error| unusable(spec.peer, &error))?;
                let plan = negotiate::plan_answer(&description, &formats, spec.receive.as_ref(), None)
                    .map_err(|error| refused(spec.peer, &error))?;
                offer = Some(description);
                plan
            }
            None if formats.is_empty() => return Err(EndReason::NoCommonCodec),
            None => own_offer(&formats),
        };
        let mut blueprint = Blueprint {
            identity: identity.clone(),
            ufrag,
            pwd,
            profile: if plan.dtls_client { Profile::Either } else { Profile::Gcm },
            dtls_client: plan.dtls_client,
            tracks: Vec::new(),
            offer: match &offer {
                Some(offer) => Some(negotiate::engine_text(offer, &plan).map_err(|error| unusable(spec.peer, &error))?),
                None => None,
            },
            answer: None,
            candidates: Vec::new(),
            plan,
        };
        let sendings = spec.send.iter().map(Sending::new).collect::<Vec<_>>();
        blueprint.tracks = out_tracks(&blueprint.plan, &spec.send, &sendings);
        let Built { engine, watch, local } = blueprint.build(now).map_err(|error| {
            tracing::debug!(peer = %spec.peer, %error, "engine refused the description");
            EndReason::BadDescription
        })?;
        let mut connection = Self {
            peer: spec.peer,
            engine,
            watch,
            receive: spec.receive,
            sendings,
            receivings: Vec::new(),
            origin: Origin { session: rand::random::<u64>() >> 1, version: 1 },
            gate: HelloGate::default(),
            checks: VecDeque::new(),
            waiting: Vec::new(),
            figures: PeerFigures { peer: spec.peer.0, ..PeerFigures::default() },
            up: false,
            over: false,
            connect_by: now + spec.connect_limit,
            start_at: None,
            started: false,
            heard: now,
            events: VecDeque::new(),
            timer: Some(now),
            send: spec.send,
            blueprint,
        };
        connection.follow_plan();
        let sdp = match &offer {
            Some(offer) => {
                connection.follow_incoming(offer, mailbox);
                Sdp::answer(negotiate::public_answer(&local, offer, &connection.blueprint.plan, connection.origin))
            }
            None => Sdp::offer(negotiate::public_offer(&local, &connection.blueprint.plan, connection.origin)),
        };
        let tracks = connection.tracks();
        Ok((connection, sdp, tracks))
    }

    /// The user fragment the far end addresses Portico by.
    pub(super) fn ufrag(&self) -> &str {
        &self.blueprint.ufrag
    }

    /// Whether media may leave.
    pub(super) fn is_ready(&self) -> bool {
        self.started
    }

    /// Layers to be attached for it, with the number of the track.
    pub(super) fn layers(&self) -> impl Iterator<Item = (usize, &Arc<Layer>)> {
        self.sendings.iter().enumerate().filter(|(_, sending)| sending.active).map(|(index, sending)| (index, &sending.layer))
    }

    /// Takes a later description. `Err` is not used: every outcome is told by [`Described`].
    pub(super) fn describe(&mut self, now: Instant, sdp: &Sdp, mailbox: &Mailbox) -> Described {
        let description = match Description::parse(&sdp.text) {
            Ok(description) => description,
            Err(error) => return self.refuse(unusable(self.peer, &error)),
        };
        match (sdp.kind, &self.blueprint.offer, &self.blueprint.answer) {
            (SdpKind::Answer, None, None) => self.take_answer(now, &description),
            (SdpKind::Answer, ..) => {
                tracing::debug!(peer = %self.peer, "answer without an offer");
                Described::Rejected(EndReason::BadDescription)
            }
            (SdpKind::Offer, None, None) => {
                tracing::debug!(peer = %self.peer, "offer while one of ours waits for its answer");
                Described::Rejected(EndReason::BadDescription)
            }
            (SdpKind::Offer, ..) => self.take_offer(now, &description, mailbox),
        }
    }

    fn refuse(&self, reason: EndReason) -> Described {
        // before the first answer there is nothing that could go on
        match (&self.blueprint.offer, &self.blueprint.answer) {
            (None, None) => Described::Down(reason),
            _ => Described::Rejected(reason),
        }
    }

    fn take_answer(&mut self, now: Instant, answer: &Description) -> Described {
        let plan = match negotiate::plan_from_answer(answer, &self.blueprint.plan) {
            Ok(plan) => plan,
            Err(error) => return Described::Down(refused(self.peer, &error)),
        };
        let text = match negotiate::engine_text(answer, &plan) {
            Ok(text) => text,
            Err(error) => return Described::Down(unusable(self.peer, &error)),
        };
        self.blueprint.answer = Some(text.clone());
        let taken = if plan.dtls_client {
            // Portico is the DTLS client: the far end chooses the profile
            self.blueprint.profile = Profile::Either;
            self.rebuild(now)
        } else {
            engine::accept(&mut self.engine, now, &text)
        };
        if let Err(error) = taken {
            tracing::debug!(peer = %self.peer, %error, "engine refused the answer");
            return Described::Down(EndReason::BadDescription);
        }
        self.blueprint.plan = plan;
        self.blueprint.dtls_client = self.blueprint.plan.dtls_client;
        self.follow_plan();
        Described::Taken
    }

    fn take_offer(&mut self, now: Instant, offer: &Description, mailbox: &Mailbox) -> Described {
        let formats: Vec<TrackFormat> = self.send.iter().map(|track| track.layer.format().clone()).collect();
        let before = &self.blueprint.plan;
        let mut plan = match negotiate::plan_answer(offer, &formats, self.receive.as_ref(), Some(before)) {
            Ok(plan) => plan,
            Err(error) => return Described::Rejected(refused(self.peer, &error)),
        };
        // RFC 8829 §5.2.2: sections stay where they were
        let moved =
            before.sections.iter().enumerate().any(|(index, (mid, used))| {
                *used != Use::Refuse && plan.sections.get(index).is_none_or(|(theirs, _)| theirs != mid)
            });
        if moved {
            tracing::debug!(peer = %self.peer, "offer moves or drops sections");
            return Described::Rejected(EndReason::BadDescription);
        }
        plan.dtls_client = self.blueprint.dtls_client;
        let text = match negotiate::engine_text(offer, &plan) {
            Ok(text) => text,
            Err(error) => return Described::Rejected(unusable(self.peer, &error)),
        };
        let tracks = out_tracks(&plan, &self.send, &self.sendings);
        let added = |track: &&OutTrack| !self.blueprint.tracks.iter().any(|known| known.index == track.index);
        for track in tracks.iter().filter(added) {
            if let Err(error) = engine::add_track(&mut self.engine, track) {
                tracing::debug!(peer = %self.peer, %error, "engine refused a track");
                return Described::Rejected(EndReason::BadDescription);
            }
        }
        let local = match engine::answer(&mut self.engine, now, &text) {
            Ok(local) => local,
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "engine refused the offer");
                let _ = self.engine.set_remote_description(now, rollback());
                return Described::Rejected(EndReason::BadDescription);
            }
        };
        let (ufrag, pwd) = credentials_of(&local);
        self.blueprint.ufrag = ufrag.unwrap_or_else(|| self.blueprint.ufrag.clone());
        self.blueprint.pwd = pwd.unwrap_or_else(|| self.blueprint.pwd.clone());
        self.blueprint.tracks = tracks;
        self.blueprint.plan = plan;
        // what a rebuilt engine is told is the last offer alone; before DTLS it is all there is
        self.blueprint.offer = Some(text);
        self.blueprint.candidates.clear();
        self.follow_plan();
        let before: Vec<TrackId> = self.receivings.iter().map(|receiving| receiving.track).collect();
        self.follow_incoming(offer, mailbox);
        let after = self.tracks();
        let changed = before.len() != after.len() || after.iter().any(|track| !before.contains(&track.track));
        self.origin.version += 1;
        let sdp = Sdp::answer(negotiate::public_answer(&local, offer, &self.blueprint.plan, self.origin));
        Described::Answer { sdp, tracks: changed.then_some(after) }
    }

    /// Takes a remote candidate; what cannot be used is left out.
    pub(super) fn add_candidate(&mut self, candidate: &Candidate) {
        let text = candidate.candidate.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        let bare = text.strip_prefix("candidate:").unwrap_or(text);
        if bare.is_empty() || !super::sdp::usable_candidate(text) || self.blueprint.candidates.len() >= KEPT_CANDIDATES {
            return;
        }
        self.blueprint.candidates.push(bare.into());
        if let Err(error) = engine::add_candidate(&mut self.engine, bare) {
            tracing::debug!(peer = %self.peer, %error, "remote candidate not used");
        }
    }

    /// Takes a datagram of this peer.
    pub(super) fn datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) {
        self.heard = now;
        let gated = self.blueprint.profile == Profile::Gcm && !self.up;
        match classify(datagram) {
            // the rebuilt engine takes a nomination only for a pair it has checked itself, and the far end nominated the old
            // one: after each answer to its checks it is told the nomination again
            Wire::Stun if !self.waiting.is_empty() => {
                self.feed(now, local, from, datagram);
                self.repeat_checks(now);
            }
            Wire::Stun if gated && demux::local_ufrag(datagram).is_some() => {
                if self.checks.len() == KEPT_CHECKS {
                    self.checks.pop_front();
                }
                self.checks.push_back((local, from, datagram.to_vec()));
                self.feed(now, local, from, datagram);
            }
            Wire::Dtls if gated => match self.gate.admit(datagram) {
                Gate::Pass => self.feed(now, local, from, datagram),
                Gate::Hold => {}
                Gate::Decided { gcm: true, datagrams } => datagrams.iter().for_each(|held| self.feed(now, local, from, held)),
                Gate::Decided { gcm: false, datagrams } => self.fall_back(now, local, from, datagrams),
            },
            Wire::Dtls if !self.waiting.is_empty() => {}
            Wire::Dtls => {
                self.feed(now, local, from, datagram);
                self.notice_goodbye();
            }
            _ => self.feed(now, local, from, datagram),
        }
    }

    fn feed(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) {
        let transport =
            TransportContext { local_addr: local, peer_addr: from, ecn: None, transport_protocol: TransportProtocol::UDP };
        let message = BytesMut::from(datagram);
        if let Err(error) = self.engine.handle_read(TaggedBytesMut { now, transport, message }) {
            tracing::trace!(peer = %self.peer, %error, "datagram refused");
        }
        if !self.up {
            // the engine installs SRTP keys with its events: media that comes in the same batch needs them
            self.events.extend(std::iter::from_fn(|| self.engine.poll_event()));
        }
        self.collect();
    }

    /// The far end knows no GCM: a new engine for AES_CM, with the same credentials and certificate, is told the checks
    /// again; the ClientHello follows when it has a pair.
    fn fall_back(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagrams: Vec<Vec<u8>>) {
        self.blueprint.profile = Profile::Cm;
        if let Err(error) = self.rebuild(now) {
            tracing::warn!(peer = %self.peer, %error, "engine not rebuilt for AES_CM");
            return;
        }
        tracing::debug!(peer = %self.peer, "far end knows no GCM, using AES_CM");
        self.waiting = datagrams.into_iter().map(|datagram| (local, from, datagram)).collect();
        self.repeat_checks(now);
    }

    fn repeat_checks(&mut self, now: Instant) {
        let checks = std::mem::take(&mut self.checks);
        checks.iter().for_each(|(local, from, check)| self.feed(now, *local, *from, check));
        self.checks = checks;
    }

    fn rebuild(&mut self, now: Instant) -> Result<(), rtc::shared::error::Error> {
        let Built { engine, watch, .. } = self.blueprint.build(now)?;
        self.engine = engine;
        self.watch = watch;
        self.timer = Some(now);
        Ok(())
    }

    /// Runs the engine's timers and the connection's own.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.timer.is_some_and(|timer| timer <= now)
            && let Err(error) = self.engine.handle_timeout(now)
        {
            tracing::trace!(peer = %self.peer, %error, "timer");
        }
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Instant {
        let own = if self.up { self.heard + SILENCE_LIMIT } else { self.connect_by };
        [self.timer, self.start_at].into_iter().flatten().fold(own, Instant::min)
    }

    /// Sends a frame of one of its layers.
    pub(super) fn send_frame(&mut self, now: Instant, index: usize, frame: &FramePackets) {
        let Some(sending) = self.sendings.get_mut(index).filter(|sending| sending.active) else { return };
        match sending.rewriter.admit(now, frame) {
            Verdict::Send => {}
            Verdict::Old => return,
            Verdict::WaitKey => {
                // merged there, so this repeats a request that was lost
                sending.layer.request_keyframe(now);
                return;
            }
        }
        for packet in &frame.packets {
            let Some(numbers) = sending.rewriter.rewrite(packet.sequence, packet.timestamp) else { continue };
            let header = rtc::rtp::Header {
                version: 2,
                marker: packet.marker,
                payload_type: sending.pt,
                sequence_number: numbers.sequence,
                timestamp: numbers.timestamp,
                ssrc: sending.ssrc,
                ..Default::default()
            };
            self.figures.packets_sent += 1;
            self.figures.bytes_sent += packet.payload.len() as u64;
            let packet = rtc::rtp::Packet { header, payload: packet.payload.clone() };
            // the track's name is not looked at: the SSRC says which stream it is
            let message = RTCMessage::RtpPacket(String::new(), packet);
            if let Err(error) = self.engine.handle_write(TaggedRTCMessage { now, message }) {
                tracing::trace!(peer = %self.peer, %error, "packet not sent");
            }
        }
    }

    /// Sends what a joiner gets first and asks for the live picture.
    pub(super) fn start_layer(&mut self, now: Instant, index: usize) {
        let Some(sending) = self.sendings.get(index) else { return };
        let layer = Arc::clone(&sending.layer);
        let cached = layer.cached();
        cached.iter().for_each(|frame| self.send_frame(now, index, frame));
        if layer.refresh() == Refresh::OnRequest {
            // the cached picture is older than what comes next
            if !cached.is_empty() {
                self.sendings[index].rewriter.cache_sent();
            }
            layer.request_keyframe(now);
        }
    }

    /// The ring of a layer overran, or datagrams were lost in the kernel.
    pub(super) fn skip_to_key(&mut self, now: Instant, index: usize) {
        if let Some(sending) = self.sendings.get_mut(index).filter(|sending| sending.layer.refresh() != Refresh::Always) {
            sending.rewriter.skip_to_key();
            sending.layer.request_keyframe(now);
        }
    }

    /// Numbers of the tracks being sent.
    pub(super) fn tracks_sent(&self) -> std::ops::Range<usize> {
        0..self.sendings.len()
    }

    /// Asks the far end for a key frame of a track it sends.
    pub(super) fn request_key(&mut self, now: Instant, track: TrackId) {
        let Some(receiving) = self.receivings.iter_mut().find(|receiving| receiving.track == track) else { return };
        let Some(media_ssrc) = receiving.ssrc.filter(|_| self.up) else {
            receiving.key_wanted = true;
            return;
        };
        receiving.key_wanted = false;
        let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc };
        let message = RTCMessage::RtcpPacket(String::new(), vec![Box::new(pli)]);
        if let Err(error) = self.engine.handle_write(TaggedRTCMessage { now, message }) {
            tracing::trace!(peer = %self.peer, %error, "key-frame request not sent");
        }
    }

    /// Takes media out of the engine.
    fn collect(&mut self) {
        while let Some(message) = self.engine.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message.message {
                self.receive(packet, true);
            }
        }
        let strays = std::mem::take(&mut self.watch.lock().strays);
        strays.into_iter().for_each(|packet| self.receive(packet, false));
    }

    fn receive(&mut self, packet: rtc::rtp::Packet, bound: bool) {
        if let Some(receiving) = self.receivings.iter_mut().find(|receiving| receiving.pt == packet.header.payload_type)
            && receiving.push(packet, bound)
        {
            self.figures.packets_received += 1;
        }
    }

    /// Hands what was received since the last call to the layers.
    pub(super) fn write_layers(&mut self, now: Instant, news: &mut Vec<News>) {
        for index in 0..self.receivings.len() {
            let receiving = &mut self.receivings[index];
            if !receiving.has_burst() {
                continue;
            }
            if !std::mem::replace(&mut receiving.flowing, true) {
                news.push(News::Flowing(receiving.kind));
            }
            self.figures.bytes_received += receiving.write(now);
            if receiving.key_wanted {
                let track = receiving.track;
                self.request_key(now, track);
            }
        }
    }

    /// Takes everything out of the engine: datagrams to `out`, what happened to `news`. Returns when it must be woken.
    pub(super) fn drain(&mut self, now: Instant, out: &mut Outbox, news: &mut Vec<News>) {
        self.write_layers(now, news);
        loop {
            self.forward_requests(now);
            while let Some(datagram) = self.engine.poll_write() {
                let (local, to) = (datagram.transport.local_addr, datagram.transport.peer_addr);
                if classify(&datagram.message) != Wire::Stun {
                    // checks go to every address, the rest only to the one in use
                    self.figures.remote = Some(to);
                }
                out.push(self.peer, local, to, &datagram.message);
            }
            let mut again = false;
            while let Some(event) = self.events.pop_front().or_else(|| self.engine.poll_event()) {
                again |= self.event(now, event, news);
            }
            if !again {
                break;
            }
        }
        self.collect();
        for sending in &mut self.sendings {
            if !sending.flowing && sending.rewriter.figures().sent > 0 {
                sending.flowing = true;
                news.push(News::Flowing(sending.layer.format().codec.kind()));
            }
        }
        let floor = now + TIMER_FLOOR;
        self.timer = self.engine.poll_timeout().map(|timer| timer.max(floor));
        self.judge(now, news);
    }

    /// Returns whether the engine was given something because of the event.
    fn event(&mut self, now: Instant, event: RTCPeerConnectionEvent, news: &mut Vec<News>) -> bool {
        match event {
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected) if !self.up => {
                self.up = true;
                self.heard = now;
                self.start_at = Some(now + START_DELAY);
                self.checks = VecDeque::new();
                self.figures.connected = true;
                tracing::debug!(peer = %self.peer, profile = ?self.blueprint.profile, "connected");
                news.push(News::Up);
            }
            RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Failed) => {
                self.end(if self.up { EndReason::Lost } else { EndReason::NeverConnected }, news);
            }
            RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => {
                use rtc::peer_connection::state::RTCIceConnectionState::{Completed, Connected};
                if matches!(state, Connected | Completed) && !self.waiting.is_empty() {
                    for (local, from, datagram) in std::mem::take(&mut self.waiting) {
                        self.feed(now, local, from, &datagram);
                    }
                    return true;
                }
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
                sending.layer.request_keyframe(now);
            }
        }
    }

    fn notice_goodbye(&mut self) {
        if self.up && self.dtls_state() == Some(RTCDtlsTransportState::Closed) {
            self.over = true;
        }
    }

    fn dtls_state(&mut self) -> Option<RTCDtlsTransportState> {
        let sender = self.engine.get_senders().next();
        if let Some(sender) = sender {
            return self.engine.rtp_sender(sender)?.transport().map(|transport| transport.state());
        }
        let receiver = self.engine.get_receivers().next()?;
        self.engine.rtp_receiver(receiver)?.transport().map(|transport| transport.state())
    }

    fn judge(&mut self, now: Instant, news: &mut Vec<News>) {
        if self.over {
            self.end(EndReason::Left, news);
        } else if self.up && now >= self.heard + SILENCE_LIMIT {
            self.end(EndReason::Lost, news);
        } else if !self.up && now >= self.connect_by {
            self.end(EndReason::NeverConnected, news);
        } else if self.start_at.is_some_and(|at| at <= now) {
            (self.start_at, self.started) = (None, true);
            news.push(News::Ready);
        }
    }

    fn end(&mut self, reason: EndReason, news: &mut Vec<News>) {
        if !news.iter().any(|news| matches!(news, News::Down(_))) {
            news.push(News::Down(reason));
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
        let missing: u64 = self.receivings.iter().map(Receiving::missing).sum();
        let reported: u64 =
            seen.lost.iter().filter(|(ssrc, _)| self.sendings.iter().any(|s| s.ssrc == *ssrc)).map(|(_, lost)| lost).sum();
        let mut figures = PeerFigures {
            packets_lost: missing + reported,
            retransmitted: seen.retransmitted,
            rtt_ms: seen.rtt_ms,
            frames_dropped: self.sendings.iter().map(|sending| sending.rewriter.figures().dropped).sum(),
            ..self.figures.clone()
        };
        drop(seen);
        if self.up {
            figures.srtp_profile = match self.blueprint.profile {
                Profile::Gcm => Some(stats::GCM),
                Profile::Cm => Some(stats::CM),
                Profile::Either => stats::srtp_profile(&self.engine.get_stats(self.heard, StatsSelector::None)),
            };
        }
        figures
    }

    /// Incoming tracks.
    pub(super) fn tracks(&self) -> Vec<ReceivedTrack> {
        self.receivings
            .iter()
            .map(|receiving| ReceivedTrack { track: receiving.track, layer: Arc::clone(&receiving.layer) })
            .collect()
    }

    /// Payload types and activity of the tracks being sent follow the plan.
    fn follow_plan(&mut self) {
        for sending in &mut self.sendings {
            sending.active = false;
        }
        for (_, _, send, _, agreed) in self.blueprint.plan.media() {
            if let Some(sending) = send.and_then(|index| self.sendings.get_mut(index)) {
                sending.pt = agreed.pt;
                sending.active = true;
            }
        }
    }

    /// Received tracks follow the plan and the offer; a section keeps its track.
    fn follow_incoming(&mut self, offer: &Description, mailbox: &Mailbox) {
        let mut kept: Vec<Receiving> = std::mem::take(&mut self.receivings);
        for ((mid, used), section) in self.blueprint.plan.sections.iter().zip(&offer.sections) {
            let Use::Media { kind, receive: true, agreed, .. } = used else { continue };
            let known = kept.iter().position(|receiving| receiving.mid == *mid).map(|at| kept.swap_remove(at));
            let mut receiving = known.unwrap_or_else(|| new_receiving(self.peer, mid, *kind, agreed, mailbox));
            receiving.declare(agreed.pt, negotiate::primary_ssrc(section), section.rids.is_empty());
            self.receivings.push(receiving);
        }
    }
}

impl Sending {
    fn new(track: &SendTrack) -> Self {
        let format = track.layer.format();
        let needs_key = track.layer.refresh() != Refresh::Always;
        // 0 and small numbers are left to those who stand for something
        let ssrc = || rand::random::<u32>() | 0x1000_0000;
        Self {
            layer: Arc::clone(&track.layer),
            ssrc: ssrc(),
            rtx_ssrc: ssrc(),
            pt: 0,
            active: false,
            // below half, so that the receiver's rollover counter starts where ours does (RFC 3711 §3.3.1)
            rewriter: Rewriter::new(format.codec.clock_rate(), needs_key, rand::random::<u16>() >> 1, rand::random()),
            flowing: false,
        }
    }
}

fn new_receiving(peer: PeerId, mid: &str, kind: MediaKind, agreed: &Agreed, mailbox: &Mailbox) -> Receiving {
    let track = TrackId::next();
    let refresh = match kind {
        MediaKind::Video => Refresh::OnRequest,
        MediaKind::Audio => Refresh::Always,
    };
    let source = mailbox.keyframe_request(peer, track);
    let layer = Layer::new(LayerId { track, index: 0 }, agreed.format.clone(), refresh, Box::new(source));
    Receiving::new(mid, kind, track, Arc::new(layer))
}

/// The tracks that a plan sends, with the numbers they keep for the life of the peer.
fn out_tracks(plan: &Plan, send: &[SendTrack], sendings: &[Sending]) -> Vec<OutTrack> {
    let track = |(_, _, index, receive, agreed): (&str, MediaKind, Option<usize>, bool, &Agreed)| {
        let index = index?;
        let (track, sending) = (send.get(index)?, sendings.get(index)?);
        Some(OutTrack {
            index,
            ssrc: sending.ssrc,
            rtx_ssrc: sending.rtx_ssrc,
            stream: stream_id(&track.stream_label),
            both_ways: receive,
            agreed: agreed.clone(),
        })
    };
    plan.media().filter_map(track).collect()
}

/// A stream label as an `msid` token (RFC 8830 §2: at most 64 characters).
fn stream_id(label: &str) -> String {
    let token: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' }).take(64).collect();
    if token.is_empty() { "stream".into() } else { token }
}

/// Portico's own offer: one section per track, sent only.
fn own_offer(formats: &[TrackFormat]) -> Plan {
    let section = |(index, format): (usize, &TrackFormat)| {
        let kind = format.codec.kind();
        let (pt, rtx) = super::codecs::own_payload_types(kind);
        // transport-wide feedback is not asked for: nothing reads it yet
        let feedback = super::codecs::feedback(kind)
            .iter()
            .filter(|value| **value != "transport-cc")
            .map(|value| (*value).to_owned())
            .collect();
        let agreed = Agreed { pt, rtx, format: format.clone(), feedback };
        (index.to_string(), Use::Media { kind, send: Some(index), receive: false, agreed })
    };
    Plan { sections: formats.iter().enumerate().map(section).collect(), dtls_client: false }
}

fn credentials_of(sdp: &str) -> (Option<String>, Option<String>) {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    (value("a=ice-ufrag:"), value("a=ice-pwd:"))
}

fn rollback() -> rtc::peer_connection::sdp::RTCSessionDescription {
    let mut description = rtc::peer_connection::sdp::RTCSessionDescription::default();
    description.sdp_type = rtc::peer_connection::sdp::RTCSdpType::Rollback;
    description
}

fn unusable(peer: PeerId, error: &negotiate::SdpError) -> EndReason {
    tracing::debug!(%peer, %error, "description not usable");
    EndReason::BadDescription
}

fn refused(peer: PeerId, error: &PlanError) -> EndReason {
    match error {
        PlanError::Sdp(error) => unusable(peer, error),
        PlanError::NoCommonCodec => EndReason::NoCommonCodec,
    }
}
